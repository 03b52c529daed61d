"""hunnypot setup, in a clean root with Debian's mail servers and PostgreSQL: what it writes works, what others wrote stays."""
import re

import pytest

from testbed.base import TOP, run, wait_for
from testbed.clean import PATH, CleanRoot, commands_in, own_mail_goes_out
from testbed.milter import hunnypot
from testbed.smtp import Smtp
from testbed.terminal import Terminal

README = [command for command in commands_in((TOP / "README").read_text()) if command.startswith("hunnypot setup")]
BUILDS = ("clean-root", "quickstart")
TRAP = "--domain trap.example=trap --address 192.0.2.1 --address 2001:db8::1"
MASTER, MC, CONF = "/etc/postfix/master.cf", "/etc/mail/sendmail.mc", "/etc/hunnypot.conf"


@pytest.fixture
def fresh(dns, syslog):
    """fresh("postfix") is a clean root with that package, PostgreSQL running and our programs installed; no more."""
    made = []

    def make(package):
        root = CleanRoot(package)
        made.append(root)
        root.install()
        root.run("pg_ctlcluster 15 main start")
        return root
    yield make
    for root in made:
        root.remove()


def setup_host(root, mta, words, check=True):
    done = root.run(f"hunnypot setup --mta {mta} {words}", check=False, timeout=250)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def files(root):
    """All that setup might write to, and what is beside it."""
    folders = ("etc", "usr/share/sendmail", "var/lib/hunnypot")
    return {path: path.read_bytes() for folder in folders for path in sorted((root.path / folder).rglob("*"))
            if path.is_file() and not path.is_symlink() and "hunnypot/spool" not in str(path) and not path.name.endswith(".db")
            and "-wal" not in path.name and "-shm" not in path.name}


def caught(root):
    return root.run("hunnypot list").stdout


def refused(root, mta, words, line):
    before = files(root)
    done = setup_host(root, mta, words, check=False)
    assert done.returncode != 0 and re.search(line, done.stderr), done.stdout + done.stderr
    assert files(root) == before
    return done


def trap_works(root, deliver):
    assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
    assert deliver("2001:db8:c::7", "a@trap.example").startswith("451 4.7.1")
    assert deliver("203.0.113.8", "a@forgotten.example").startswith("4")
    wait_for(lambda: "203.0.113.7/32" in caught(root) and "2001:db8:c::7/128" in caught(root), what="both in the list")


def roots_mail_goes_to_its_admin(root):
    root.write("/etc/aliases", "root: admin@example.org\n")
    root.run("newaliases")


def test_postfix(fresh, hub, deliver):
    """A fresh host: dry run, apply, again, a changed line, undo."""
    root = fresh("postfix")
    roots_mail_goes_to_its_admin(root)
    root.run("/etc/init.d/postfix start")
    # Settings that somebody else wrote.
    root.write(CONF, 'domain "mine.example" { role = trap }\n')
    assert "-domain \"mine.example\"" in refused(root, "postfix", f"{TRAP} --apply", "setup did not write it").stdout
    (root.path / CONF[1:]).unlink()
    before = files(root)
    shown, applied = [command.replace("old.example.com", "trap.example") for command in README if "postfix" in command]
    done = root.run(shown)
    assert re.search(r"^\+192\.0\.2\.1:smtp +inet", done.stdout, re.M) and "database hunnypot would be made" in done.stdout
    assert "--apply does all this" in done.stdout and files(root) == before
    done = root.run(applied)
    assert "hunnypot check:" in done.stdout and not re.search("^problem", done.stdout, re.M)
    trap_works(root, deliver)
    own_mail_goes_out(root, hub)
    assert root.run("hunnypot status", check=False).returncode == 0
    assert root.run("stat -c '%a %G' /etc/hunnypot/envelope.key").stdout.strip() == "640 hunnypot"
    # Again: nothing changes, also of what the first run noted.
    after = files(root)
    done = root.run(applied)
    assert "nothing was to be changed" in done.stdout and files(root) == after
    assert "Nothing is to be changed" in root.run(shown).stdout
    # What the operator changed stays, and is shown.
    master = root.read(MASTER)
    root.write(MASTER, master.replace("smtpd_timeout=30s", "smtpd_timeout=31s"))
    done = refused(root, "postfix", "--undo", "changed since")
    assert "-  -o smtpd_timeout=30s\n+  -o smtpd_timeout=31s" in done.stdout
    refused(root, "postfix", applied.split("postfix ")[1], "changed since")
    # Lines of others, in the same files, are no matter.
    root.write(MASTER, master + "127.0.0.1:2525 inet n - y - - smtpd\n")
    root.write(CONF, "# mine\n" + root.read(CONF))
    setup_host(root, "postfix", "--undo")
    original = next(text for path, text in before.items() if str(path).endswith(MASTER)).decode()
    assert root.read(MASTER) == original + "127.0.0.1:2525 inet n - y - - smtpd\n"
    assert root.read(CONF) == "# mine\n"
    wait_for(lambda: deliver("203.0.113.9", "a@vm").startswith(("250", "354", "5")), what="Postfix as it was before")


def test_postfix_beside_real_mail(fresh, deliver):
    """Another milter, relay_domains and the like stay; what the trap has no place for is refused."""
    run("ip", "addr", "add", "192.0.2.2/32", "dev", "lo")
    root = fresh("postfix")
    root.write("/etc/postfix/virtual", "virtual.example anything\n")
    for setting in ("relay_domains = real.example", "smtpd_milters = inet:127.0.0.1:11332", "milter_default_action = accept",
                    "non_smtpd_milters = $smtpd_milters", "relay_transport = discard:", "relay_recipient_maps =",
                    "virtual_alias_maps = hash:/etc/postfix/virtual", "mydestination = $myhostname, own.example, /etc/postfix/more",
                    "virtual_mailbox_domains = b\u00fccher.example, regexp:/etc/postfix/many", "virtual_alias_domains = alias.example"
                    " $virtual_alias_maps"):
        root.run(f"postconf -e '{setting}'")
    root.write("/etc/postfix/more", "# not.example\nfile.example\n")
    root.write("/etc/postfix/many", "/^many[0-9]\\.example$/ yes\n")
    root.run("postmap /etc/postfix/virtual")
    refused(root, "postfix", f"{TRAP} --apply", r"takes other mail .*relay_domains = real.example.*--address")
    root.run("postconf -e 'inet_interfaces = 192.0.2.2, 127.0.0.1'")
    for domain, where in (("own.example", "mydestination"), ("file.example", "mydestination"), ("alias.example", "virtual_alias_domains"),
                          ("virtual.example", "virtual_alias_domains"), ("xn--bcher-kva.example", "virtual_mailbox_domains"),
                          ("many7.example", "virtual_mailbox_domains")):
        refused(root, "postfix", f"--domain not.example=trap --domain {domain}=trap --address 192.0.2.1 --apply",
                f"{domain} is delivered by this host .{where}")
    root.run("/etc/init.d/postfix start")
    settings, services = (root.run(command).stdout for command in ("postconf -n", "postconf -M"))
    setup_host(root, "postfix", f"{TRAP} --apply")
    assert root.run("postconf -n").stdout == settings
    assert set(services.splitlines()) <= set(root.run("postconf -M").stdout.splitlines())
    assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
    assert deliver("203.0.113.7", "a@real.example").startswith("454 4.7.1")
    with Smtp("203.0.113.7", server="192.0.2.2") as session:
        assert session.transaction("a@real.example").startswith("354")
        session.send(b".\r\n")
        assert session.reply().startswith("250")
    setup_host(root, "postfix", "--undo")
    assert root.run("postconf -M").stdout == services


# How to make a Postfix take other mail at the trap's address, and what setup says of it.
OTHER_MAIL = {
    "a network's smarthost": ("postconf -e 'mynetworks = 127.0.0.0/8 203.0.113.0/24'", "mynetworks = 127.0.0.0/8 203.0.113.0/24"),
    "another host's": ("postconf -e 'mynetworks = [::1]/128 [2001:db8::7]/128'", r"mynetworks = .*2001:db8::7"),
    "of a table": ("postconf -e 'mynetworks = hash:/etc/postfix/networks'", "mynetworks = hash:"),
    "of its subnets": ("postconf -X mynetworks; postconf -e mynetworks_style=class", r"mynetworks = .*192\.0\.2\.0/24"),
    "of those who log in": ("postconf -e smtpd_sasl_auth_enable=yes", "smtpd_sasl_auth_enable = yes"),
    "of known clients": ("postconf -e 'smtpd_relay_restrictions = permit_tls_clientcerts, reject_unauth_destination'",
                         "smtpd_relay_restrictions = permit_tls_clientcerts"),
    "by an option": ("postconf -P smtp/inet/relay_domains=real.example", "master.cf has -o relay_domains=real.example"),
    "by an option on its line": (r"sed -i 's/^smtp .*inet.*/& -v -o smtpd_milters=x/' /etc/postfix/master.cf", "has -o smtpd_milters=x"),
    "behind postscreen": ("printf 'smtpd pass - - y - - smtpd\\n# no\\n\\t-o relay_domains=real.example\\n' >>/etc/postfix/master.cf",
                          "has -o relay_domains"),
    "at port 25, relayed": ("sed -i 's/^smtp .*inet/mail\\n inet/' /etc/postfix/master.cf; postconf -e relay_domains=real.example",
                            "relay_domains = real.example"),
    "of an interface by name": ("postconf -e 'inet_interfaces = mx2.example.org, localhost' relay_domains=real.example",
                                "relay_domains = real.example"),
}
# How master.cf names a service that is, or may be, there already.
TAKEN = {"0.0.0.0:smtp": r"192\.0\.2\.1 already .0\.0\.0\.0:smtp", "[::]:25": "2001:db8::1 already", "mx2.example.org:25": r"192\.0\.2\.1 already",
         "[2001:DB8:0::1]:smtp": "2001:db8::1 already", "192.0.2.1:025": r"192\.0\.2\.1 already", "nobody.invalid:25": "no address to be found"}


def test_a_postfix_that_takes_other_mail_is_left_alone(fresh):
    """Whatever it takes that mail by, and wherever master.cf has it; what it has for itself alone is no matter."""
    root = fresh("postfix")
    root.run("echo '192.0.2.1 mx2.example.org' >>/etc/hosts; cp -r /etc/postfix /root/kept")
    taken = {name: (f"sed -i 's/^smtp .*inet/{name} inet/' /etc/postfix/master.cf", line) for name, line in TAKEN.items()}
    for what, (command, line) in (OTHER_MAIL | taken).items():
        print(what)
        root.run(command)
        refused(root, "postfix", TRAP, line)
        root.run("rm -r /etc/postfix; cp -r /root/kept /etc/postfix")
    for command in ("postconf -e 'mynetworks = !192.0.2.9 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.0.2.1 [2001:db8::1]/128'",
                    "postconf -X mynetworks",
                    "printf 'localhost:smtp inet n - y - - smtpd -o a=b\\n192.0.2.2:smtp inet n - y - - smtpd\\n' >>/etc/postfix/master.cf",
                    "sed -i 's/^smtp .*inet.*/&\\n# -o a=b\\n #-o a=b\\n  -v/' /etc/postfix/master.cf"):
        root.run(command)
        assert "-smtp " in setup_host(root, "postfix", TRAP).stdout


def test_what_postfix_does_not_take_is_put_back(fresh):
    root = fresh("postfix")
    root.run("postconf -e 'mail_owner = nobody-there'")
    before = root.read(MASTER)
    done = setup_host(root, "postfix", f"{TRAP} --apply", check=False)
    assert done.returncode == 1 and "put back" in done.stderr
    assert root.read(MASTER) == before
    root.run("postconf -e 'mail_owner = postfix'")
    setup_host(root, "postfix", f"{TRAP} --apply")


def test_the_key_belongs_to_the_database(fresh):
    """A second sensor of a database needs the first one's key."""
    root = fresh("postfix")
    setup_host(root, "postfix", f"{TRAP} --apply")
    first = root.read("/etc/hunnypot/envelope.key")
    root.run("mv /etc/hunnypot/envelope.key /root/first.key")
    refused(root, "postfix", f"{TRAP} --apply", "the database has the key .*--key-file")
    root.run("hunnypot witness key --new --key /root/other.key")
    refused(root, "postfix", f"{TRAP} --apply --key-file /root/other.key", "the database has the key")
    setup_host(root, "postfix", f"{TRAP} --apply --key-file /root/first.key")
    assert root.read("/etc/hunnypot/envelope.key") == first
    assert root.run("stat -c '%a %G' /etc/hunnypot/envelope.key").stdout.strip() == "640 hunnypot"
    refused(root, "postfix", f"{TRAP} --apply --key-file /root/other.key", "is there already, with another key")


def test_a_database_of_another_name(fresh):
    """What looks and what expires by itself is told of it; a file that somebody else wrote stays."""
    root = fresh("postfix")
    root.write("/etc/hunnypot/operator", "HUNNYPOT_DATABASE=dbname=mine\n")
    refused(root, "postfix", f"{TRAP} --database 'host=/run/postgresql dbname=a$b' --apply", "/etc/hunnypot/operator: is there already")
    root.run("rm /etc/hunnypot/operator")
    done = setup_host(root, "postfix", f"{TRAP} --database 'host=/run/postgresql dbname=a$b' --apply")
    (said,) = re.findall(r"export (HUNNYPOT_DATABASE='.*')", done.stdout)
    assert "mx2.example.org" in root.run(f"{said} hunnypot status", check=False).stdout
    assert "removed" in root.run("systemctl start hunnypot-expire").stdout
    # With the usual one again there is nothing to be told.
    setup_host(root, "postfix", f"{TRAP} --apply")
    assert not (root.path / "etc/hunnypot/operator").exists()


def test_a_database_elsewhere(fresh, deliver):
    """The SQL is printed; done by its operator, it is what the second run needs."""
    root = fresh("postfix")
    root.run("systemd-sysusers")
    remote = f"--database 'host=192.0.2.1 dbname=hits' {TRAP}"
    before = root.read(MASTER)
    assert "PASSWORD '...'" in setup_host(root, "postfix", remote).stdout
    done = setup_host(root, "postfix", f"{remote} --apply", check=False)
    assert done.returncode == 1 and "does not take this host yet" in done.stderr and root.read(MASTER) == before
    assert root.run("stat -c '%a %U' /etc/hunnypot/hunnypot.pgpass").stdout.strip() == "600 hunnypot"
    sql = [line for line in done.stdout.splitlines() if line.startswith("CREATE")]
    root.run("echo \"listen_addresses = '192.0.2.1'\" >>/etc/postgresql/15/main/postgresql.conf")
    root.run("echo 'host hits all 192.0.2.0/24 scram-sha-256' >>/etc/postgresql/15/main/pg_hba.conf")
    root.run("pg_ctlcluster 15 main restart")
    root.write("/tmp/database.sql", sql[0])
    root.write("/tmp/roles.sql", "\n".join(sql[1:]))
    root.run("cd / && runuser -u postgres -- psql -qf /tmp/database.sql"
             " && runuser -u postgres -- hunnypot -d dbname=hits db init"
             " && runuser -u postgres -- psql -v ON_ERROR_STOP=1 -qf /tmp/roles.sql")
    done = setup_host(root, "postfix", f"{remote} --apply")
    (said,) = re.findall(r"export (HUNNYPOT_DATABASE='.*')", done.stdout)
    root.run("/etc/init.d/postfix start")
    assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
    wait_for(lambda: "203.0.113.7/32" in root.run(f"{said} hunnypot list").stdout, what="the hit")
    # What the timer starts gets there too: there is no database of the usual name.
    assert "removed" in root.run("systemctl start hunnypot-expire && systemctl start hunnypot-requests").stdout
    root.run("systemctl start hunnypot-export@plain")
    wait_for(lambda: (root.path / "var/lib/hunnypot-export/plain/list").exists(), 20, "the list")
    root.run("systemctl stop hunnypot-export@plain")
    environment = root.read("/etc/hunnypot/operator")
    root.write("/etc/hunnypot/operator", environment + "PGOPTIONS=\n")
    assert "+PGOPTIONS" in refused(root, "postfix", "--undo", "changed since").stdout
    root.write("/etc/hunnypot/operator", environment)
    setup_host(root, "postfix", "--undo")
    assert not (root.path / "etc/hunnypot/operator").exists()
    assert root.run("systemctl start hunnypot-expire", check=False).returncode != 0


def at_terminal(root):
    return Terminal(["chroot", root.path, "hunnypot", "setup"], {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"})


def answer_all(terminal, mta="\n", database="\n", domains="trap.example=trap\n"):
    said = terminal.answer("Which mail server", mta) + terminal.answer("Which PostgreSQL", database)
    return said + terminal.answer("Which domains", domains)


def test_questions_at_a_terminal(fresh, deliver):
    """Without options it asks, shows what it would do, and does it only after a yes; nobody is asked who is no terminal."""
    root = fresh("postfix")
    root.run("/etc/init.d/postfix start")
    before = files(root)
    done = root.run("hunnypot setup </dev/null", check=False)
    assert done.returncode == 64 and "--mta is postfix or sendmail" in done.stderr and done.stdout == ""
    # What is no answer is asked again; one who leaves, or says no, has changed nothing.
    person = at_terminal(root)
    person.answer("Which mail server", "exim\n")
    person.answer("Which mail server", "\x04")
    status, said = person.end()
    assert status == 1 and "no answer; nothing was done" in said
    person = at_terminal(root)
    assert "[postfix]" in person.answer("Which mail server", "Postfix\n")
    person.answer("Which PostgreSQL", "host=x password=y\n")
    assert "without the password" in person.answer("Which PostgreSQL", "\n")
    person.answer("Which domains", "a..b\n")
    assert "a..b is no domain" in person.answer("Which domains", "trap.example=drop\n")
    assert "a role is auto" in person.answer("Which domains", "trap.example=trap, other.example\n")
    person.answer("Which file", "/root/nothing\n")
    assert "there is no such file" in person.answer("Which file", "\n")
    said = person.answer("Apply all this?", "\n")
    assert "--mta postfix --database 'hunnypot' --domain trap.example=trap --domain other.example --apply" in said
    assert "+domain \"other.example\" { role = auto }" in said and "database hunnypot would be made" in said
    status, said = person.end()
    assert status == 0 and "Nothing was changed." in said and files(root) == before
    # Yes; then what is there is the default, and nothing is to be done.
    person = at_terminal(root)
    answer_all(person)
    person.answer("Which file", "\n")
    person.answer("Apply all this?", "yes\n")
    status, said = person.end()
    assert status == 0 and "hunnypot check:" in said, said
    assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
    after = files(root)
    person = at_terminal(root)
    assert "[trap.example=trap]" in answer_all(person, domains="\n")
    status, said = person.end()
    assert status == 0 and "Nothing is to be changed." in said and files(root) == after


@pytest.mark.parametrize("words, line", [
    ("--mta exim --domain a.example", "--mta is postfix or sendmail"),
    ("--mta postfix", "which domains"),
    ("--mta postfix --domain a..b", "is no domain"),
    ("--mta postfix --domain a.example=drop", "a role is auto"),
    ("--mta postfix --domain a.example --address here", "is no address"),
    ("--mta postfix --domain a.example --apply --undo", "--dry-run, --apply or --undo"),
])
def test_usage(net, words, line):
    done = hunnypot("setup", *words.split(), check=False)
    assert done.returncode == 64 and line in done.stderr


def test_sendmail(fresh, hub, deliver):
    """Debian's sendmail as it is installed: apply, again, a configuration that cannot be built, undo."""
    root = fresh("sendmail")
    roots_mail_goes_to_its_admin(root)
    root.write("/etc/mail/local-host-names", "localhost\nreal.example\n")
    root.write("/etc/mail/sendmail.mc", root.read("/etc/mail/sendmail.mc") + "VIRTUSER_DOMAIN(`virtual.example')dnl\n")
    root.run("make -C /etc/mail")
    root.run("/etc/init.d/sendmail start")
    before = files(root)
    assert "+RELAY_DOMAIN(`trap.example')" in setup_host(root, "sendmail", TRAP).stdout and files(root) == before
    for domain in ("localhost", "real.example", "virtual.example"):
        refused(root, "sendmail", f"--domain {domain}=trap --apply", f"{domain} is delivered by this host .class w or VirtHost")
    # It takes other mail, or would lose a line that is in its .cf only.
    mc, made = root.read(MC), root.read("/etc/mail/sendmail.cf")
    root.write("/etc/mail/sendmail.cf", made + "Kmine hash /etc/mail/mine\n")
    refused(root, "sendmail", f"{TRAP} --apply", "is not what /etc/mail/sendmail.mc makes")
    root.write(MC, mc.replace("Port=smtp, Addr=127.0.0.1", "Port=smtp"))
    root.run("make -C /etc/mail")
    refused(root, "sendmail", f"{TRAP} --apply", "takes other mail .*MTA-v4")
    # Without such lines it listens everywhere.
    root.write(MC, re.sub("(?m)^DAEMON_OPTIONS.*\n", "", mc))
    root.run("make -C /etc/mail")
    refused(root, "sendmail", f"{TRAP} --apply", "takes other mail .*Name=MTA")
    # Rules of the operator's that have the name of ours: what was made of both is put back.
    root.write(MC, mc + "LOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$@ OK\n")
    root.run("make -C /etc/mail")
    text = root.read(MC)
    done = setup_host(root, "sendmail", f"{TRAP} --apply", check=False)
    assert done.returncode == 1 and "multiple definitions" in done.stdout and "put back" in done.stderr
    assert root.read(MC) == text and "Name=Trap" not in root.read("/etc/mail/sendmail.cf")
    root.write(MC, mc)
    root.run("make -C /etc/mail")
    done = setup_host(root, "sendmail", f"{TRAP} --apply")
    assert "hunnypot check:" in done.stdout and not re.search("^problem", done.stdout, re.M)
    trap_works(root, deliver)
    own_mail_goes_out(root, hub)
    after = files(root)
    assert "nothing was to be changed" in setup_host(root, "sendmail", f"{TRAP} --apply").stdout and files(root) == after
    mc = root.read(MC)
    root.write(MC, mc.replace("RELAY_DOMAIN(`trap.example')", "RELAY_DOMAIN(`trap.example more.example')"))
    refused(root, "sendmail", "--undo", "changed since")
    root.write(MC, mc)
    setup_host(root, "sendmail", "--undo")
    original = {str(path): text for path, text in before.items()}
    for path in (MC, "/etc/mail/sendmail.cf"):
        lines = [line for line in original[f"{root.path}{path}"].decode().splitlines() if not line.startswith("#")]
        assert [line for line in root.read(path).splitlines() if not line.startswith("#")] == lines
    assert not (root.path / "usr/share/sendmail/cf/feature/hunnypot.m4").exists()
