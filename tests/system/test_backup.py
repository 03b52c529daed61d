"""A backup MX that is one: with `on_outage = accept` mail is taken while the primaries are surely down, and delivered when they are
back; with `role = off` ordinary mail passes.  The mail servers are real, and so is what they deliver to: it keeps each letter."""
import re
import shutil
import threading
from pathlib import Path

import pytest

from testbed.base import BUILD, TOP, run, wait_for
from testbed.sendmail import Sendmail

EGRESS = ["198.51.100.2", "2001:db8:100::2"]  # the primary of address.example: another host, that is up
# As they are shipped, for a host that takes mail: without the second net, and with a way out.
OPEN = {
    "postfix": {"main": {"smtpd_end_of_data_restrictions": "", "default_transport": "smtp:", "relay_transport": "smtp:",
                         "hunnypot_domains": "trap.example, backup.example, plain.example", "smtp_host_lookup": "dns",
                         "queue_run_delay": "1s", "minimal_backoff_time": "3s", "maximal_backoff_time": "3s",
                         "message_size_limit": "20000000"}},
    "sendmail": {"mc": {"FEATURE(`hunnypot', `/run/hunnypot/milter.sock')": "FEATURE(`hunnypot', `/run/hunnypot/milter.sock', `backup')",
                        "define(`SMART_HOST', `mail.example.org')dnl\n": "",
                        "RELAY_DOMAIN(`trap.example": "RELAY_DOMAIN(`plain.example trap.example"}},
}


class Mailbox:
    """A mail host that takes whatever comes, as the state of a Primary."""

    def __init__(self):
        self.letters = []  # (recipients, text)
        self.lock = threading.Lock()

    def __call__(self, connection):
        file = connection.makefile("rb")
        recipients = []
        connection.sendall(b"220 mx1 ESMTP\r\n")
        while line := file.readline():
            verb = line[:4].upper()
            if verb == b"QUIT":
                connection.sendall(b"221 bye\r\n")
                return
            if verb == b"MAIL":
                recipients = []
            elif verb == b"RCPT":
                recipients.append(re.search(rb"<(.*)>", line)[1].decode())
            elif verb == b"DATA":
                connection.sendall(b"354 go on\r\n")
                text = b"".join(iter(file.readline, b".\r\n"))
                with self.lock:
                    self.letters.append((recipients, text.decode()))
            connection.sendall(b"250 ok\r\n")

    def subjects(self):
        """One for each recipient of each letter."""
        with self.lock:
            return sorted(f"{re.search('Subject: ([0-9a-z]+)', text)[1]} {recipient}"
                          for recipients, text in self.letters for recipient in recipients)


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def server(mta, request):
    server = mta(**OPEN[request.node.callspec.params["mta"]])
    yield server
    for path in server.queued():  # what a failed test left is not the next one's
        path.unlink(missing_ok=True)


def send(session, recipients, subject, body="hello"):
    """All replies to RCPT, and the reply to DATA, or that to the message."""
    session.command("MAIL FROM:<sender@sender.example>")
    replies = [session.command(f"RCPT TO:<{recipient}>") for recipient in recipients]
    reply = session.command("DATA")
    if reply.startswith("354"):
        reply = session.command(f"Subject: {subject}\r\n\r\n{body}\r\n.")
    else:
        session.command("RSET")
    return replies, reply


def run_queue(server):
    if isinstance(server, Sendmail):
        run(server.binary, "-C", server.etc / "sendmail.cf", "-q", env=server.environment, check=False)
    else:
        server.command("postqueue", "-f", check=False)


def backup(milter, **more):
    more = {"liveness": {"fresh": "1s", "egress_hosts": EGRESS, **more.pop("liveness", {})}, **more}
    return milter(domain={"backup.example": {"on_outage": "accept"}, "trap.example": {"role": "trap"}}, **more)


def await_states(daemon, state, *addresses):
    for address in addresses:
        wait_for(lambda address=address: [line for line in daemon.log().splitlines() if f"probed address={address} " in line][-1:]
                 and f"state={state}" in [line for line in daemon.log().splitlines() if f"probed address={address} " in line][-1],
                 what=f"{address} to be {state}")


PRIMARIES = ["198.51.100.1", "2001:db8:100::1"]


def begin_outage(daemon, primaries):
    await_states(daemon, "accepting", *PRIMARIES, *EGRESS)
    primaries.backup.set("refuse")
    primaries.backup6.set("refuse")
    await_states(daemon, "down", *PRIMARIES)


def end_outage(daemon, primaries, mailbox):
    primaries.backup.set(mailbox)
    primaries.backup6.set(mailbox)
    await_states(daemon, "accepting", *PRIMARIES)


def test_mail_of_an_outage_is_queued_and_delivered_once(server, milter, primaries, mailbox, smtp, deliver, pg, hits):
    daemon = backup(milter)
    await_states(daemon, "accepting", *PRIMARIES)
    assert deliver("203.0.113.7", "before@backup.example").startswith("451")
    begin_outage(daemon, primaries)
    wanted = []
    for number in range(1, 5):
        session = smtp(f"203.0.113.{number}" if number % 2 else f"2001:db8:c::{number}")
        session.command("EHLO client.example.com")
        for letter in "ab":
            recipients = [f"{letter}{i}@backup.example" for i in range(number)]
            replies, reply = send(session, recipients, f"{number}{letter}")
            assert [reply[:3] for reply in (*replies, reply)] == ["250"] * (number + 1), (replies, reply)
            wanted += [f"{number}{letter} {recipient}" for recipient in recipients]
        session.quit()
    assert server.queued()
    assert not mailbox.letters
    end_outage(daemon, primaries, mailbox)

    def delivered():
        run_queue(server)
        return not server.queued()
    wait_for(delivered, 60, "an empty queue")
    assert mailbox.subjects() == sorted(wanted)
    assert deliver("203.0.113.7", "after@backup.example").startswith("451")
    assert deliver("203.0.113.7", "trap@trap.example").startswith("451")
    assert [hit["domain"] for hit in hits(wait=1) if hit["client"] != "203.0.113.7"] == []
    assert not server.queued()


def test_nothing_is_taken_while_our_own_net_may_be_gone(server, milter, primaries, deliver):
    """Nobody but the primaries could tell; those that are down prove nothing."""
    primaries.address.set("refuse")
    primaries.address6.set("refuse")
    daemon = backup(milter)
    await_states(daemon, "accepting", *PRIMARIES)
    await_states(daemon, "down", *EGRESS)
    primaries.backup.set("refuse")
    primaries.backup6.set("refuse")
    await_states(daemon, "down", *PRIMARIES)
    for client in ("203.0.113.7", "2001:db8:c::7"):
        assert deliver(client, "a@backup.example").startswith("451")
    assert not server.queued()


def test_each_family_needs_its_own_proof(server, milter, primaries, smtp):
    """Without IPv6 out of here, IPv4 tells for IPv4 clients alone."""
    primaries.address6.set("refuse")
    daemon = backup(milter)
    await_states(daemon, "down", EGRESS[1])
    primaries.backup6.set("refuse")
    primaries.backup.set("refuse")
    await_states(daemon, "down", *PRIMARIES)
    await_states(daemon, "accepting", EGRESS[0])
    for client, wanted in (("203.0.113.7", "250"), ("2001:db8:c::7", "451")):
        session = smtp(client)
        session.command("EHLO client.example.com")
        assert send(session, ["a@backup.example"], "x")[1].startswith(wanted)


def test_a_primary_that_comes_back_before_data_has_it_deferred(server, milter, primaries, mailbox, smtp):
    daemon = backup(milter)
    begin_outage(daemon, primaries)
    session = smtp()
    session.command("EHLO client.example.com")
    session.command("MAIL FROM:<a@sender.example>")
    assert session.command("RCPT TO:<a@backup.example>").startswith("250")
    end_outage(daemon, primaries, mailbox)
    assert session.command("DATA").startswith("451")
    assert not server.queued()


def test_recipients_that_need_another_answer_come_by_themselves(server, milter, primaries, smtp, pg, hits):
    daemon = backup(milter)
    begin_outage(daemon, primaries)
    session = smtp()
    session.command("EHLO client.example.com")
    replies, reply = send(session, ["a@backup.example", "b@trap.example", "c@backup.example"], "first")
    assert [reply[:9] for reply in replies][1] == "452 4.5.3"
    assert [reply[:3] for reply in (*replies, reply)] == ["250", "452", "250", "250"]
    replies, reply = send(session, ["b@trap.example", "a@backup.example"], "second")
    assert [reply[:3] for reply in (*replies, reply)] == ["250", "452", "451"]
    assert [hit["domain"] for hit in hits(wait=1)] == ["trap.example"]


def test_ordinary_mail_passes_untouched_and_without_limits(server, milter, mailbox, primary, dns, smtp, pg, hits):
    dns.add("plain.example. MX 10 mx1.plain.example.", "mx1.plain.example. A 198.51.100.3")
    primary("198.51.100.3", mailbox)
    milter(domain={"*": {"role": "off"}, "trap.example": {"role": "trap"}},
           limits={"connections": 1, "client_bytes": 200, "idle": "1s"})
    body = "\r\n".join(f"line {number} " + "x" * 60 for number in range(20000))
    sessions = [smtp(f"203.0.113.{number}") for number in range(1, 4)]
    for session in sessions:
        session.command("EHLO client.example.com")
    for number, session in enumerate(sessions):
        replies, reply = send(session, [f"{number}-{i}@plain.example" for i in range(10)], str(number), body)
        assert [reply[:3] for reply in (*replies, reply)] == ["250"] * 11, (replies, reply)
    replies, reply = send(sessions[0], ["a@trap.example"], "trapped")
    assert [reply[:3] for reply in (*replies, reply)] == ["250", "451"]
    assert send(sessions[0], ["again@plain.example"], "again", body)[1].startswith("250")

    def delivered():
        run_queue(server)
        return not server.queued()
    wait_for(delivered, 60, "an empty queue")
    assert len(mailbox.subjects()) == 31
    assert all(text.endswith(f"\r\n\r\n{body}\r\n") for _, text in mailbox.letters)
    assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.1"]


def check(tmp_path, domain, socket="unix:/run/hunnypot/milter.sock"):
    path = tmp_path / "hunnypot.conf"
    path.write_text(f'socket = "{socket}"\nspool = "{tmp_path}/spool.db"\n{domain}\n')
    return run(BUILD / "hunnypot-milter", "-c", path, "--check", check=False)


TAKING = 'domain "a.example" { on_outage = accept }'


@pytest.fixture
def etc(net):
    folders = [Path("/etc/postfix"), Path("/etc/mail")]  # the namespace's own
    for folder in folders:
        folder.mkdir(exist_ok=True)
    yield
    for folder in folders:
        shutil.rmtree(folder)


@pytest.mark.parametrize("domain", [TAKING, 'domain "*" { role = off }'])
def test_the_second_net_is_refused_where_mail_is_taken(etc, tmp_path, domain, sendmail):
    master, cf = Path("/etc/postfix/master.cf"), Path("/etc/mail/sendmail.cf")
    assert check(tmp_path, domain).returncode == 0
    shipped = (TOP / "postfix/master.cf").read_text()
    number = next(number for number, line in enumerate(shipped.splitlines(), 1) if "-o smtpd_end_of_data" in line)
    for chrooted in (False, True):
        socket = f"unix:{tmp_path}/hunnypot/milter.sock" if chrooted else "unix:/run/hunnypot/milter.sock"
        text = shipped.replace("unix:/run/hunnypot/milter.sock", "unix:hunnypot/milter.sock") if chrooted else shipped
        master.write_text(text)
        (tmp_path / "hunnypot").mkdir(exist_ok=True)
        refused = check(tmp_path, domain, socket)
        assert refused.returncode == 78 and f"{master}:{number}: take out" in refused.stderr, refused.stderr
        assert check(tmp_path, "", socket).returncode == 0
        master.write_text(text.replace("  -o smtpd_end_of_data_restrictions=defer\n", ""))
        assert check(tmp_path, domain, socket).returncode == 0
    master.write_text(shipped.replace("milter.sock", "another.sock"))
    assert check(tmp_path, domain).returncode == 0
    cf.write_text((sendmail().etc / "sendmail.cf").read_text())
    refused = check(tmp_path, domain)
    assert refused.returncode == 78 and re.search(rf"{cf}:[0-9]+: give FEATURE", refused.stderr), refused.stderr


def test_the_second_net_is_left_out_for_a_backup(etc, tmp_path, sendmail):
    server = sendmail(**OPEN["sendmail"])
    Path("/etc/mail/sendmail.cf").write_text((server.etc / "sendmail.cf").read_text())
    assert check(tmp_path, TAKING).returncode == 0
