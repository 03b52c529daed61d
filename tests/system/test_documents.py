"""Documents and shipped files, used as they say, in a clean root with Debian's real packages."""
import re

import pytest

from testbed.base import TOP, run, wait_for
from testbed.clean import CleanRoot, commands_in, own_mail_goes_out
from testbed.postfix import logical_lines

BUILDS = ("clean-root", "quickstart")
README = (TOP / "README").read_text()


@pytest.fixture
def clean(dns):
    """clean("postfix") is a clean root with that package, our programs installed and the database as README says."""
    made = []

    def make(package, settings=""):
        root = CleanRoot(package)
        made.append(root)
        root.install()
        root.run("systemd-sysusers")
        root.run("pg_ctlcluster 15 main start")
        for command in commands_in(README):
            if command.startswith("runuser"):
                root.run(command)
        shown = [line for line in commands_in(README) if re.match(r"(database|domain) ", line)]
        root.write("/etc/hunnypot.conf", "\n".join([*shown, settings]).replace("old.example.com", "trap.example") + "\n")
        for command in commands_in(README):
            if package == "sendmail" and "hunnypot-milter.service.d" in command:
                root.run(command)
        for command in commands_in(README):
            if command.startswith(("hunnypot-milter --check", "systemctl enable")):
                root.run(command)
        wait_for((root.path / "run/hunnypot/milter.sock").exists, what="socket")
        return root
    yield make
    for root in made:
        root.remove()


def caught(root):
    return root.run("runuser -u postgres -- hunnypot list").stdout


def trap_works(root, deliver):
    """A client is caught, at both addresses; a domain that was forgotten is put off."""
    assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
    assert deliver("2001:db8:c::7", "a@trap.example").startswith("451 4.7.1")
    assert deliver("203.0.113.8", "a@forgotten.example").startswith("4")
    wait_for(lambda: "203.0.113.7/32" in caught(root) and "2001:db8:c::7/128" in caught(root), what="both in the list")
    assert "203.0.113.8" not in caught(root)


def test_postfix_on_a_host_that_does_nothing_else(clean, hub, syslog, deliver):
    root = clean("postfix", "socket_group = \"postfix\"")
    documents = root.path / "usr/share/doc/hunnypot-milter/postfix"
    root.write("/etc/postfix/main.cf", (documents / "example-main.cf").read_text())
    master = root.read("/etc/postfix/master.cf")
    (line,) = re.findall(r"^smtp +inet .*$", master, re.M)
    root.write("/etc/postfix/master.cf", master.replace(line, (documents / "master.cf").read_text()))
    assert root.run("postfix check").stderr == ""
    root.run("/etc/init.d/postfix start")
    trap_works(root, deliver)
    own_mail_goes_out(root, hub)
    assert root.run("postqueue -p").stdout.startswith("Mail queue is empty")


def test_postfix_beside_real_mail_keeps_all_it_had(clean, syslog, deliver):
    """All commands of the documents, twice, and the trap at an address of its own."""
    run("ip", "addr", "add", "192.0.2.2/32", "dev", "lo")
    root = clean("postfix", "socket_group = \"postfix\"")
    for setting in ("myhostname = mail.real.example", "relay_domains = real.example", "smtpd_milters = inet:127.0.0.1:11332",
                    "non_smtpd_milters = $smtpd_milters", "milter_default_action = accept", "inet_interfaces = 192.0.2.2, 127.0.0.1",
                    "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
                    "relay_transport = discard:", "relay_recipient_maps =", "smtpd_timeout = 77s", "message_size_limit = 4711"):
        root.run(f"postconf -e '{setting}'")
    before, services = (root.run(command).stdout.splitlines() for command in ("postconf -n", "postconf -M"))
    documents = root.path / "usr/share/doc/hunnypot-milter/postfix"
    commands = [command for name in ("master.cf", "example-main.cf", "hunnypot-pgsql.cf")
                for command in commands_in((documents / name).read_text(), "#     ") if command.split()[0] in ("postconf", "sed")]
    commands += [command for command in commands_in(README) if command.split()[0] in ("postconf", "sed", "cp", "cat")]
    assert commands
    for command in commands * 2:
        root.run(command)
    lines = logical_lines((documents / "master.cf").read_text())
    ours = [re.sub("^smtp ", "192.0.2.1:smtp ", line) for line in lines if not line.startswith("localhost:smtp")]
    root.write("/etc/postfix/master.cf", root.read("/etc/postfix/master.cf") + "\n".join(ours) + "\n")
    after = root.run("postconf -n").stdout.splitlines()
    assert set(before) <= set(after) and {line.split()[0] for line in set(after) - set(before)} == {"hunnypot_domains"}
    assert set(services) <= set(root.run("postconf -M").stdout.splitlines())
    assert root.run("postfix check").stderr == ""
    root.run("/etc/init.d/postfix start")
    assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
    assert deliver("203.0.113.7", "a@real.example").startswith("454 4.7.1")
    assert deliver("203.0.113.7", "a@real.example", server="192.0.2.2").startswith("354")
    assert deliver("203.0.113.7", "a@trap.example", server="192.0.2.2").startswith("554 5.7.1")


def test_sendmail_by_debians_makefile(clean, hub, syslog, deliver):
    root = clean("sendmail")
    shipped = "/usr/share/hunnypot-milter/sendmail-cf"
    root.run(f"cp {shipped}/feature/hunnypot.m4 /usr/share/sendmail/cf/feature/")
    root.run(f"mv /etc/mail/sendmail.mc /etc/mail/sendmail.mc.before && cp {shipped}/hunnypot.mc /etc/mail/sendmail.mc")
    for _ in range(2):
        made = root.run("make -C /etc/mail")
        assert not re.search(r"\*\*\* (ERROR|WARNING):|m4:", made.stdout + made.stderr)
    made = root.read("/etc/mail/sendmail.cf")
    assert re.search(r"^Mesmtp,", made, re.M) and re.search(r"^Xhunnypot,", made, re.M)
    root.run("/etc/init.d/sendmail start")
    trap_works(root, deliver)
    own_mail_goes_out(root, hub)
    assert "Total requests: 0" in root.run("mailq -Ac; mailq").stdout
