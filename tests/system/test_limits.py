"""Each limit as the client sees it.  The MTA's own limits are taken out of the way where ours is looked at."""
import socket
import threading
import time

import pytest

from testbed.base import let_pass
from testbed.smtp import Closed

REPLY = "451 4.7.1 "
WIDE = {
    "postfix": {"main": {"smtpd_client_connection_count_limit": "0"}},
    "sendmail": {"replace": {"$(hunnypot_count l $@ 3 $@": "$(hunnypot_count l $@ 999 $@"}},
}


@pytest.fixture(params=["postfix", "sendmail"])
def wide_mta(request):
    """An MTA whose own limit for each client is out of the way."""
    start = request.getfixturevalue(request.param)
    return lambda: start(**WIDE[request.param])


def refused(connect, **options):
    """Is the connection answered 421 and closed?"""
    try:
        session = connect(**options)
    except (Closed, ConnectionResetError):
        return False
    greeting = session.greeting
    if greeting.startswith("220"):  # sendmail says its greeting first
        greeting = session.command("EHLO client.example.com")
    return greeting.startswith("421") and session.closed()


def test_connections_per_client(wide_mta, milter, smtp):
    milter(limits={"connections_per_client": 2})
    wide_mta()
    first, second = smtp("203.0.113.7"), smtp("203.0.113.7")
    assert first.command("NOOP").startswith("250") and second.command("NOOP").startswith("250")
    assert refused(smtp, client="203.0.113.7")
    assert smtp("203.0.113.8").command("EHLO x.example.com").startswith("250")
    first.quit()
    deadline = time.monotonic() + 5
    while refused(smtp, client="203.0.113.7"):
        assert time.monotonic() < deadline, "the place was not given back"


def test_ipv6_clients_are_counted_per_64(wide_mta, milter, smtp):
    milter(limits={"connections_per_client": 2})
    wide_mta()
    smtp("2001:db8:c::1").command("EHLO x.example.com")
    smtp("2001:db8:c::2").command("EHLO x.example.com")
    assert refused(smtp, client="2001:db8:c::3")
    assert smtp("2001:db8:c:1::1").command("EHLO x.example.com").startswith("250")


def test_connections(wide_mta, milter, smtp):
    milter(limits={"connections": 3})
    wide_mta()
    for number in range(1, 4):
        smtp(f"203.0.113.{number}").command("EHLO x.example.com")
    assert refused(smtp, client="203.0.113.9")


def test_a_refused_connection_is_no_hit(wide_mta, milter, smtp, pg, hits):
    milter(limits={"connections": 1})
    wide_mta()
    session = smtp("203.0.113.1")
    session.command("EHLO x.example.com")
    assert refused(smtp, client="203.0.113.9")
    session.transaction("a@trap.example")
    assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.1"]


def test_client_bytes(mta, milter, smtp):
    """The limit is 1024 bytes of what a milter can see."""
    milter()
    mta()
    session = smtp()
    assert session.command("EHLO client.example.com").startswith("250")
    sent, replies = 0, []
    try:
        for number in range(60):
            for line in (f"MAIL FROM:<a{number}@sender.example>", f"RCPT TO:<a{number}@trap.example>", "RSET"):
                reply = session.command(line)
                replies.append(reply[:3])
                sent += 0 if line == "RSET" else len(line) + 2
                if reply.startswith("421"):
                    raise Closed
    except Closed:
        pass
    assert replies[-1] == "421" and session.closed()
    assert 900 < sent < 1150


def test_client_bytes_under_the_limit(mta, milter, smtp):
    milter()
    mta()
    session = smtp()
    assert session.transaction(*[f"a{number}@trap.example" for number in range(20)]).startswith(REPLY)


def test_late_command(mta, milter, smtp):
    """The MTA's own 30 s come first as shipped; a milter with a shorter time answers the next command it sees.

    Postfix keeps EHLO, MAIL and RCPT back until DATA: the client has the time for each of them.
    """
    milter(limits={"idle": "1s"})
    mta()
    session = smtp()
    assert session.command("EHLO client.example.com").startswith("250")
    let_pass(4.5)
    session.send(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<a@trap.example>\r\nDATA\r\n")
    replies = []
    try:
        while len(replies) < 3:
            replies.append(session.reply()[:3])
    except Closed:
        pass
    assert replies[-1] == "421" and session.closed(), replies


class SlowPolicy(threading.Thread):
    """A policy server of Postfix' that takes its time before it says that anybody may go on."""

    def __init__(self, pause):
        super().__init__(daemon=True)
        self.pause = pause
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                while any(line != b"\n" for line in iter(lines.readline, b"\n")):
                    time.sleep(self.pause)
                    connection.sendall(b"action=dunno\n\n")


@pytest.fixture
def slow_policy():
    server = SlowPolicy(4)  # longer than a client has for the three commands that Postfix keeps back
    server.start()
    yield f"check_policy_service inet:127.0.0.1:{server.port}"
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.mark.parametrize("client", ["203.0.113.7", "2001:db8:c::7"])
@pytest.mark.parametrize("where", ["smtpd_recipient_restrictions", "smtpd_data_restrictions"])
def test_what_postfix_waits_for_is_not_the_clients_time(postfix, milter, smtp, pg, hits, slow_policy, where, client):
    milter(limits={"idle": "1s", "connections": 1})
    postfix(main={where: slow_policy})
    assert smtp(client).transaction("a@trap.example").startswith(REPLY)
    assert len(hits(wait=1)) == 1


def test_a_pause_before_sendmails_greeting_is_not_the_clients_time(sendmail, milter, smtp, pg, hits):
    milter(limits={"idle": "1500ms"})
    sendmail(extra="FEATURE(`greet_pause', `2000')dnl")
    assert smtp().transaction("a@trap.example").startswith(REPLY)
    assert len(hits(wait=1)) == 1


@pytest.mark.parametrize("recipients, count", [(1, 0), (2, 1)])
def test_a_client_that_says_too_much_is_recorded_after_two_recipients(mta, milter, smtp, pg, hits, recipients, count):
    milter(limits={"client_bytes": 250})
    mta()
    session = smtp()
    session.command("EHLO client.example.com")
    session.command("MAIL FROM:<a@sender.example>")
    for number in range(recipients):
        assert session.command(f"RCPT TO:<a{number}@trap.example>").startswith("250")
    assert session.command(f"RCPT TO:<{'x' * 200}@trap.example>").startswith("421")
    smtp("203.0.113.9").transaction("a@trap.example")
    assert len(hits(wait=count + 1)) == count + 1


def test_silent_session_gives_its_place_back(mta, milter, smtp):
    milter(limits={"idle": "4s", "connections": 1})
    mta()
    silent = smtp("203.0.113.1")
    assert silent.command("EHLO x.example.com").startswith("250")
    assert refused(smtp, client="203.0.113.2")
    let_pass(12.2)  # Postfix may keep three commands back
    assert smtp("203.0.113.3").transaction("a@trap.example").startswith(REPLY)


def test_no_limits(wide_mta, milter, smtp):
    milter(limits={"connections": 0, "connections_per_client": 0, "idle": "0s", "client_bytes": 0})
    wide_mta()
    sessions = [smtp() for _ in range(10)]
    assert all(session.transaction("a@trap.example").startswith(REPLY) for session in sessions)


@pytest.mark.parametrize("name", ["postfix", "sendmail"])
def test_shipped_limit_for_each_client(request, name, milter, smtp):
    """The MTA's own: the fourth connection at once gets 421 before the milter hears of it."""
    milter(limits={"connections_per_client": 0})
    request.getfixturevalue(name)()
    for _ in range(3):
        assert smtp().command("EHLO x.example.com").startswith("250")
    assert refused(smtp, client="203.0.113.7")
    assert smtp("203.0.113.8").command("EHLO x.example.com").startswith("250")


def test_shipped_limit_beside_somebody_elses_arithmetic_sendmail(sendmail, milter, smtp):
    """What counts connections is a map of our own, whoever has defined sendmail's."""
    milter(limits={"connections_per_client": 0})
    sendmail(extra="define(`_ARITH_MAP_', `1')dnl\nLOCAL_CONFIG\nKarith arith\n")
    for _ in range(3):
        assert smtp().command("EHLO x.example.com").startswith("250")
    assert refused(smtp, client="203.0.113.7")


def test_shipped_limit_holds_for_mynetworks(postfix, milter, smtp):
    milter(limits={"connections_per_client": 0})
    postfix(main={"mynetworks": "192.0.2.0/24"})
    for _ in range(3):
        smtp("192.0.2.1")
    assert smtp("192.0.2.1").greeting.startswith("421")


def test_shipped_limit_of_all_connections_sendmail(sendmail, milter, smtp):
    """The twenty-first is not let in."""
    milter(limits={"connections": 0})
    sendmail()
    for number in range(1, 21):
        smtp(f"203.0.113.{number}").command("EHLO x.example.com")
    with pytest.raises((ConnectionRefusedError, TimeoutError)):
        smtp("203.0.113.30", timeout=3)


def test_shipped_limit_of_all_connections_postfix(postfix, milter, smtp):
    """The twenty-first waits outside until another leaves, and none does because the machine is slow."""
    milter(limits={"connections": 0})
    postfix(main={"smtpd_timeout": "300s"})
    sessions = [smtp(f"203.0.113.{number}") for number in range(1, 21)]
    waiting = smtp("203.0.113.30", greeting=False, timeout=1)
    with pytest.raises(TimeoutError):
        waiting.reply()
    sessions[0].quit()
    waiting.socket.settimeout(10)
    assert waiting.reply().startswith("220")


@pytest.mark.parametrize("name, options, seconds", [
    ("postfix", {"main": {"smtpd_timeout": "2s"}}, 2),
    ("sendmail", {"replace": {"O Timeout.command=30s": "O Timeout.command=2s"}}, 2),
])
def test_silent_client_is_cut_off(request, name, options, seconds, milter, smtp):
    """Shipped with 30 s; shortened here."""
    milter()
    request.getfixturevalue(name)(**options)
    session = smtp()
    started = time.monotonic()
    try:
        assert session.reply().startswith("421")
    except Closed:
        pass
    assert seconds - 0.5 < time.monotonic() - started < seconds + 3
    assert session.closed()


def test_trickling_client_is_cut_off(postfix, milter, smtp):
    """A byte now and then does not count as an answer."""
    milter()
    postfix(main={"smtpd_timeout": "2s"})
    session = smtp()
    started = time.monotonic()
    with pytest.raises((BrokenPipeError, ConnectionResetError, AssertionError)):
        while time.monotonic() - started < 10:
            session.send(b"x")
            let_pass(0.5)
        raise AssertionError
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("name", ["postfix", "sendmail"])
def test_shipped_timeouts_are_thirty_seconds(request, name):
    if name == "postfix":
        shown = request.getfixturevalue(name)().command("postconf", "-P", "smtp/inet/smtpd_timeout",
                                                        "smtp/inet/smtpd_per_request_deadline",
                                                        "hunnypot-cleanup/unix/in_flow_delay").stdout.splitlines()
        assert [line.split(" = ")[1] for line in shown] == ["30s", "yes", "0"]
    else:
        text = (request.getfixturevalue(name)().etc / "sendmail.cf").read_text()
        assert {"O Timeout.command=30s", "O Timeout.datablock=30s", "O MaxDaemonChildren=20",
                "Xhunnypot, S=unix:/run/hunnypot/milter.sock, F=T, T=C:5s;S:10s;R:10s;E:10s"} <= set(text.splitlines())
