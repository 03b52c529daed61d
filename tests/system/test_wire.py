"""The daemon at the other end of the milter protocol: what an MTA says seldom, wrongly, or never."""
import os
import random
import re
import resource
import time

import pytest

import milter_client as wire
from milter_client import Closed, MilterClient
from testbed.base import BUILD, DEBS, TOP, let_pass, make, run

REPLY = "451 4.7.1 100% later"
REPLIED = "451 4.7.1 100%% later"
NO_LIMITS = {"connections": 0, "connections_per_client": 0, "idle": "0s", "client_bytes": 0}
TRAP = "<someone@trap.example>"
ALWAYS = wire.NO_HEADERS | wire.NO_EOH | wire.NO_BODY | wire.NR_HELO | wire.NR_MAIL


@pytest.fixture
def daemon(milter, wait_for):
    """daemon(limit=value, ...) starts the daemon with these limits, and no others, beside other settings."""
    def start(settings=None, **limits):
        trap = milter(database="", reply=REPLY, limits={**NO_LIMITS, **limits}, **(settings or {}))
        wait_for(lambda: " primed\n" in trap.log(), what="cure for the stall")
        return trap
    return start


@pytest.fixture
def unprimed(milter):
    """The daemon without prime.c."""
    program = "tests/system/hunnypot-milter-unprimed"
    make(BUILD, program)
    return milter(program=BUILD / program, database="", reply=REPLY, limits=NO_LIMITS)


@pytest.fixture
def mta():
    """mta(daemon) is an MTA connected to it; closed in the end."""
    opened = []

    def connect(daemon, kind="postfix", **options):
        opened.append(MilterClient(daemon.settings["socket"], kind, **options))
        return opened[-1]
    yield connect
    for client in opened:
        client.close()


def hits(daemon):
    """What the daemon said about each hit, as dictionaries."""
    lines = [line.split(" data ", 1)[1] for line in daemon.log().splitlines() if " info data " in line]
    return [dict(re.findall(r"(\w+)=((?<=helo=).*|\S*)", line)) for line in lines]


def served(daemon):
    """A new session is answered as it should be."""
    with MilterClient(daemon.settings["socket"]) as client:
        answer = client.session("203.0.113.200")
        if answer is not None and not answer.goes_on:
            return False
        assert client.transaction(TRAP).text == REPLIED
        client.quit()
        assert client.is_closed()
    return True


# Negotiation

@pytest.mark.parametrize("limits, steps", [
    ({}, ALWAYS | wire.NR_CONNECT | wire.NR_RCPT | wire.NR_UNKNOWN),
    ({"connections": 20}, ALWAYS | wire.NR_RCPT | wire.NR_UNKNOWN),
    ({"connections_per_client": 3}, ALWAYS | wire.NR_RCPT | wire.NR_UNKNOWN),
    ({"idle": "30s"}, ALWAYS | wire.NR_CONNECT),
    ({"client_bytes": 1024}, ALWAYS | wire.NR_CONNECT),
    ({"connections": 20, "connections_per_client": 3, "idle": "30s", "client_bytes": 1024}, ALWAYS),
])
def test_only_steps_that_may_need_an_answer_wait_for_one(daemon, mta, limits, steps):
    client = mta(daemon(**limits))
    negotiated = client.negotiate()
    assert (negotiated.version, negotiated.actions, negotiated.steps) == (6, wire.SET_MACROS, steps)
    assert negotiated.macros == {"connect": ["j", "v", "{daemon_addr}", "{daemon_port}", "{if_addr}"], "helo": ["{tls_version}"],
                                 "mail": ["i"], "rcpt": ["i"], "data": ["i", "{tls_version}"]}
    client.connect()
    client.helo()
    assert client.transaction(TRAP).text == REPLIED
    assert client.is_silent(0.1)


def test_an_mta_that_wants_every_answer_gets_it(daemon, mta):
    client = mta(daemon(), "sendmail")
    no_reply = wire.NR_CONNECT | wire.NR_HELO | wire.NR_MAIL | wire.NR_RCPT | wire.NR_DATA | wire.NR_UNKNOWN
    assert client.negotiate(steps=wire.STEPS & ~no_reply).steps == wire.NO_HEADERS | wire.NO_EOH | wire.NO_BODY
    assert all(reply.goes_on for reply in (client.connect(), client.helo(), client.mail(), client.rcpt(TRAP),
                                           client.unknown("FOO")))
    assert client.data().text == REPLIED


@pytest.mark.parametrize("version, actions, steps", [
    (2, 0x3F, 0x7F),           # sendmail 8.12, Postfix 2.3
    (3, 0x3F, 0x1FF),          # sendmail 8.13: unknown commands, but no DATA
    (6, wire.ACTIONS, wire.STEPS & ~wire.NO_DATA),
])
def test_an_mta_that_cannot_call_at_data_is_refused_and_told_why(daemon, mta, version, actions, steps):
    trap = daemon()
    with pytest.raises(Closed):
        mta(trap).negotiate(version, actions, steps)
    assert "mta-too-old" in trap.log() and "sendmail 8.14, or Postfix 2.5" in trap.log()
    assert served(trap)


def test_protocol_4_without_macro_lists_is_enough(daemon, mta):
    client = mta(daemon(), "sendmail")
    negotiated = client.negotiate(4, 0x3F, 0x3FF)
    assert negotiated.actions == 0 and negotiated.macros == {}
    client.connect()
    assert client.transaction(TRAP).text == REPLIED


# After the 451

def data_again(client):
    """After a whole transaction, does DATA without RSET get an answer?"""
    client.session()
    assert client.transaction(TRAP).text == REPLIED
    client.send("T")
    return None if client.is_silent(1) else client.read().text


def test_data_again_without_rset_hangs_without_the_cure(unprimed, mta):
    """The hang is libmilter's; if this fails, it was mended there, and prime.c can go."""
    assert data_again(mta(unprimed)) is None


@pytest.mark.parametrize("kind", ["postfix", "sendmail"])
def test_data_again_without_rset_is_answered_and_is_the_same_hit(daemon, mta, kind):
    trap = daemon(client_bytes=2000)
    client = mta(trap, kind)
    assert data_again(client) == REPLIED
    assert client.rcpt("<another@trap.example>").goes_on
    assert [client.data().text for _ in range(5)] == [REPLIED] * 5
    assert len(hits(trap)) == 1


def test_a_dead_transaction_does_not_blind_the_next(daemon, mta):
    trap = daemon()
    client = mta(trap)
    assert data_again(client) == REPLIED
    client.abort()
    client.abort()
    assert client.transaction(TRAP).text == REPLIED
    assert client.transaction("<b@other.example>").text == REPLIED  # without an abort between
    client.helo("again")
    assert client.data().text == REPLIED  # nothing of the transaction is left
    assert [hit["domain"] for hit in hits(trap)] == ["trap.example", "trap.example", "other.example"]


def test_many_transactions_on_one_connection(daemon, mta):
    trap = daemon()
    client = mta(trap)
    client.session()
    for number in range(200):
        assert client.transaction(f"<u@d{number}.example>").text == REPLIED
        if number % 2:
            client.abort()
    assert [hit["domain"] for hit in hits(trap)] == [f"d{number}.example" for number in range(200)]


def test_data_without_recipient_is_answered_but_no_hit(daemon, mta):
    trap = daemon()
    client = mta(trap)
    client.session()
    assert client.data().text == REPLIED
    client.mail()
    assert client.data().text == REPLIED
    assert hits(trap) == []


def test_a_client_without_an_address_is_answered_but_no_hit(daemon, mta):
    trap = daemon(connections=5)
    client = mta(trap)
    assert client.session(None).goes_on
    assert client.transaction(TRAP).text == REPLIED
    assert hits(trap) == []


@pytest.mark.parametrize("commands", ["E", "TE", "TLNBE", "LNBE", "BE"])
def test_a_message_is_never_taken(daemon, mta, commands):
    """No MTA goes on to the message after the 451, or without DATA; if one did, the end of it would be refused too."""
    trap = daemon()
    client = mta(trap, "sendmail")
    client.negotiate()
    client.connect()
    client.mail()
    client.rcpt(TRAP)
    for command in commands:
        client.send(command, {"L": b"Subject\0x\0", "B": b"text"}.get(command, b""))
    replies = [client.read() for _ in commands]
    assert replies[-1].text == REPLIED
    assert len(hits(trap)) == 1


# Limits

def leave_with_quit(client):
    client.quit()


def leave_amid_a_transaction(client):
    client.mail()
    client.rcpt(TRAP)
    client.close()


def leave_after_data(client):
    client.transaction(TRAP)
    client.close()


def leave_after_unknown(client):
    client.mail()
    client.unknown("FOO")
    client.reset()


@pytest.mark.parametrize("leave", [MilterClient.close, MilterClient.reset, leave_with_quit, leave_amid_a_transaction,
                                   leave_after_data, leave_after_unknown])
def test_however_a_session_ends_its_place_is_free_again(daemon, mta, wait_for, leave):
    trap = daemon(connections=1)
    for _ in range(3):
        client = mta(trap)
        client.session()
        assert not served(trap)
        leave(client)
        wait_for(lambda: served(trap), what="free place")


def test_connections_over_the_limits_are_refused_at_connect(daemon, mta):
    trap = daemon(connections=5, connections_per_client=2)
    clients = ["203.0.113.1", "203.0.113.1", "2001:db8:c::1", "2001:db8:c::ffff:0:2", "203.0.113.2"]
    assert all(mta(trap).session(client).goes_on for client in clients[:4])
    for client, hostname in (("203.0.113.1", None), ("2001:db8:c::3", "mail.example")):
        answer = mta(trap).session(client, hostname=hostname)
        assert answer.text == "421 4.7.0 Too many connections from your network, closing"
    assert mta(trap).session(clients[4]).goes_on
    assert mta(trap).session("203.0.113.3").text == "421 4.7.0 Too many connections, closing"
    assert trap.log().count("refuse client=") == 3


def test_a_byte_over_the_limit_is_one_too_many(daemon, mta):
    trap = daemon(client_bytes=1024)
    said = len("EHLO client.example\r\n") + len("MAIL FROM:<> SIZE=1000 BODY=8BITMIME\r\n") + len("RCPT TO:<@>\r\n")
    for length, answer in ((1024 - said, "c"), (1024 - said + 1, "421 4.7.0 Too much was said, closing")):
        client = mta(trap)
        client.session()
        client.mail("<>", "SIZE=1000", "BODY=8BITMIME")
        reply = client.rcpt(f"<{'x' * length}@>")
        assert (reply.text or reply.command) == answer


def test_unknown_commands_count_as_bytes(daemon, mta):
    client = mta(daemon(client_bytes=1024))
    client.session()
    answers = [client.unknown("X" * 98) for _ in range(11)]
    assert [answer.goes_on for answer in answers] == [True] * 10 + [False]
    assert answers[-1].code == 421
    assert client.data().code == 421


LATE = "421 4.4.2 Timeout exceeded, closing"
IDLE_S = 2  # a busy machine may keep a test waiting for half a second


@pytest.mark.parametrize("pauses, rcpt, data", [  # in times of IDLE_S
    ((0, 0, 0, 0), "c", REPLIED),
    ((1.2, 0, 0, 0), LATE, LATE),
    ((0, 1.2, 0, 0), LATE, LATE),
    ((0, 0, 1.2, 0), LATE, LATE),
    ((0, 0, 0, 1.2), "c", LATE),
])
def test_a_late_command_is_told_so_where_each_is_seen_at_once(daemon, mta, pauses, rcpt, data):
    trap = daemon(idle=f"{IDLE_S}s")
    client = mta(trap, "sendmail")
    client.session()
    replies = []
    for pause, step in zip(pauses, (client.helo, client.mail, lambda: client.rcpt(TRAP), client.data)):
        let_pass(pause * IDLE_S)
        replies.append(step())
    assert [reply.text or reply.command for reply in replies[2:]] == [rcpt, data]
    assert len(hits(trap)) == (data == REPLIED)


@pytest.mark.parametrize("pauses, rcpt, data", [
    ((0.6, 0.6, 0.6, 0), "c", REPLIED),   # Postfix sends all three with the last, after more than the idle time
    ((1.6, 1.6, 1.6, 0), LATE, LATE),
    ((0, 0, 0, 1.2), "c", LATE),
])
def test_commands_that_postfix_keeps_back_are_not_late_for_that(daemon, mta, pauses, rcpt, data):
    trap = daemon(idle=f"{IDLE_S}s")
    client = mta(trap, "postfix")
    client.negotiate()
    client.connect()
    replies = []
    for pause, step in zip(pauses, (client.helo, client.mail, lambda: client.rcpt(TRAP), client.data)):
        let_pass(pause * IDLE_S)
        replies.append(step())
    assert [reply.text or reply.command for reply in replies[2:]] == [rcpt, data]
    assert len(hits(trap)) == (data == REPLIED)


@pytest.mark.parametrize("kind", ["postfix", "sendmail"])
def test_a_silent_session_gives_its_place_back(daemon, mta, wait_for, kind):
    trap = daemon(connections=1, idle="3s")
    silent = mta(trap, kind)
    assert silent.session().goes_on
    assert not served(trap)
    wait_for(lambda: served(trap), what="free place")
    silent.mail()
    assert silent.rcpt(TRAP).text == LATE


# Envelopes

@pytest.mark.parametrize("recipient, domain", [
    ("<a@TRAP.Example>", "trap.example"),
    ("<a@trap.example.>", "trap.example"),
    ("a@trap.example", "trap.example"),
    ("<@relay.example,@relay2.example:a@trap.example>", "trap.example"),
    ('<"a b"@trap.example>', "trap.example"),
    ('<"a@b.example"@trap.example>', "trap.example"),
    ("<a@bücher.example>", "xn--bcher-kva.example"),
    (b"<a@\xff\xfe.example>", "-"),
    (b"<\xff\xfe@trap.example>", "trap.example"),
    ("<a@[192.0.2.1]>", "-"),
    ("<a@[IPv6:2001:db8::1]>", "-"),
    ("<a@%s>" % ".".join(["x" * 63] * 5), "-"),
    ("<postmaster>", "-"),
    ("<POSTMASTER@trap.example>", "-"),
    ("<\"abuse\"@trap.example>", "-"),
    ("<a%b%s%n@trap.example>", "trap.example"),
    ("<a\r\n451 data client=1@trap.example>", "trap.example"),
    ("", "-"), ("<>", "-"), ("<", "-"), ("@", "-"), ("<@:>", "-"), ('<"@trap.example>', None),
])
def test_any_recipient_is_answered_and_understood(daemon, mta, recipient, domain):
    trap = daemon()
    client = mta(trap)
    client.session()
    assert client.transaction(recipient, sender="<>").text == REPLIED
    assert len(hits(trap)) == 1
    assert domain is None or hits(trap)[0]["domain"] == domain


def test_more_recipients_than_are_judged(daemon, mta):
    """The domain after the hundredth stands for all that are not looked at."""
    trap = daemon()
    client = mta(trap)
    client.session()
    assert client.transaction(*(f"<u@d{number}.example>" for number in range(500))).text == REPLIED
    assert (hits(trap)[0]["recipients"], hits(trap)[0]["domains"]) == ("500", "101")


def test_giant_arguments(daemon, mta):
    trap = daemon(settings={"record_envelope": "full"})
    client = mta(trap)
    client.session(helo="h" * 65000)
    giants = ("<" + "u" * 32000 + "@" + "d" * 32000 + ".example>", "<" + "\xff" * 32000 + "@trap.example>")
    assert client.transaction(*giants, sender="<" + "s" * 65000 + "@x.example>").text == REPLIED
    assert (hits(trap)[0]["recipients"], hits(trap)[0]["domain"]) == ("2", "trap.example")
    assert served(trap)


def test_no_argument_can_forge_a_log_line(daemon, mta):
    trap = daemon()
    client = mta(trap)
    client.session(helo="x\r\n2026-01-01T00:00:00Z info data client=198.51.100.1 \x1b[2J%s%n")
    assert client.transaction(TRAP).text == REPLIED
    assert [hit["client"] for hit in hits(trap)] == ["192.0.2.7"]
    assert hits(trap)[0]["helo"] == r"x\x0D\x0A2026-01-01T00:00:00Z info data client=198.51.100.1 \x1B[2J%s%n"


# An MTA gone mad

def test_garbage_ends_its_own_session_only(daemon, mta):
    trap = daemon(connections=50)
    rng = random.Random(2026)
    for _ in range(300):
        with mta(trap, timeout=2) as client:
            wire.speak_nonsense(client, rng)
    assert served(trap)


@pytest.mark.parametrize("command, body", [
    ("U", b"FOO"),
    ("D", b"Cj\0mx2.example\0v\0"),
    ("C", b"client.example"),
])
def test_nothing_behind_the_end_of_a_packet_is_read(daemon, mta, command, body):
    """libmilter would; the sanitizer, if any, ends the daemon."""
    trap = daemon(client_bytes=1024)
    client = mta(trap)
    client.negotiate()
    client.send(command, body)
    assert client.is_closed()
    assert f" bad-packet command={command} " in trap.log()
    assert served(trap)


def test_words_of_libmilter_are_in_our_log(daemon, mta):
    """It would wait for syslog with them."""
    trap = daemon()
    client = mta(trap)
    client.send("O", (1).to_bytes(4, "big") + bytes(8))
    assert client.is_closed()
    assert re.search(r' error libmilter says="hunnypot-milter: st_optionneg.*protocol version too old', trap.log())
    assert served(trap)


def test_steps_out_of_order_do_no_harm(daemon, mta):
    trap = daemon()
    for order in ("TTTT", "RTMTRT", "UTUMURTU", "HHMMRRTT", "MRTAT", "AAAMRT", "MTRT", "CCMRT", "OOMRT"):
        client = mta(trap, "sendmail")
        client.negotiate(steps=wire.NO_DATA | wire.NO_UNKNOWN | wire.NO_BODY | wire.NO_HEADERS | wire.NO_EOH)
        client.connect()
        bodies = {"H": b"x\0", "M": b"<>\0", "R": TRAP.encode() + b"\0", "U": b"FOO\0", "C": b"x\0U", "O": bytes(12)}
        for command in order:
            client.send(command, bodies.get(command, b""))
        client.quit()
        client.socket.settimeout(5)
        answers = b""
        while piece := client.socket.recv(4096):
            answers += piece
        assert b"451 4.7.1" in answers, order
    assert served(trap)


def test_a_thousand_connections_at_once_are_all_answered(daemon, mta):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    trap = daemon(connections=1001)
    clients = [mta(trap, timeout=60) for _ in range(1000)]
    for number, client in enumerate(clients):
        assert client.session(f"203.0.113.{number % 250}").goes_on
    for client in clients:
        client.mail()
        client.rcpt(TRAP)
        client.send("T")
    assert [client.read().text for client in clients] == [REPLIED] * 1000
    assert len(hits(trap)) == 1000
    assert served(trap)


# The daemon's life

def test_stopping_with_sessions_open_leaves_nothing_behind(daemon, mta):
    """The sanitizer's leak report, if any, fails the stop."""
    trap = daemon()
    clients = [mta(trap) for _ in range(20)]
    for number, client in enumerate(clients):
        client.session()
        if number % 2:
            client.mail()
            client.rcpt(TRAP)
        if number % 4 == 3:
            assert client.data().text == REPLIED
    began = time.monotonic()
    trap.stop()
    assert time.monotonic() - began < 1.5


def test_a_running_session_keeps_its_settings(daemon, mta, wait_for):
    trap = daemon()
    old = mta(trap)
    old.session()
    trap.configure(reply="451 4.7.2 new", limits={"connections": 1})
    trap.reload()

    def is_new():
        with MilterClient(trap.settings["socket"]) as client:
            return not client.negotiate().steps & wire.NR_CONNECT
    wait_for(is_new, what="reload")
    assert old.transaction(TRAP).text == REPLIED
    new = mta(trap)
    new.session()
    assert new.transaction(TRAP).text in ("451 4.7.2 new", "421 4.7.0 Too many connections, closing")


# What miltertest says, in its words.  An error ends it with another exit status than 0.
STRANGER = """
local function want(what, failed, reply)
    if failed ~= nil then error(what .. ": " .. failed) end
    if reply and mt.getreply(conn) ~= reply then error(what .. ": " .. string.char(mt.getreply(conn))) end
end
conn = mt.connect("SOCKET")
if conn == nil then error("no connection") end
want("negotiate", NEGOTIATE)
want("conninfo", mt.conninfo(conn, "client7.example.com", "203.0.113.7"))
want("helo", mt.helo(conn, "stranger.example"))
for number = 1, 3 do
    mt.macro(conn, SMFIC_MAIL, "i", "S" .. number)
    want("mail", mt.mailfrom(conn, "<a@sender.example>", "SIZE=1"))
    want("rcpt", mt.rcptto(conn, "<someone@trap.example>"), SMFIR_CONTINUE)
    if number == 2 then
        want("unknown", mt.unknown(conn, "STRANGE"))
        mt.abort(conn)
        want("mail", mt.mailfrom(conn, "<a@sender.example>"))
        want("rcpt", mt.rcptto(conn, "<someone@trap.example>"), SMFIR_CONTINUE)
    end
    want("data", mt.data(conn), SMFIR_REPLYCODE)
    mt.abort(conn)
end
mt.disconnect(conn, POLITE)
"""


@pytest.mark.parametrize("negotiate, polite", [
    ("nil", True), ("mt.negotiate(conn, 6, nil, nil)", True), ("mt.negotiate(conn, 6, 0x1fffff, 0x1ff)", False)])
def test_miltertest(daemon, wait_for, tmp_path, negotiate, polite):
    trap = daemon()
    script = tmp_path / "stranger.lua"
    script.write_text(STRANGER.replace("SOCKET", trap.settings["socket"]).replace("NEGOTIATE", negotiate)
                      .replace("POLITE", str(polite).lower()))
    run(DEBS / "miltertest/usr/bin/miltertest", "-s", script)
    wait_for(lambda: len(hits(trap)) == 3, what="three hits")
    assert [(hit["helo"], hit["queue"]) for hit in hits(trap)] == [("stranger.example", f"S{number}") for number in (1, 2, 3)]
    served(trap)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stranger")
    run("go", "build", "-o", folder / "stranger", TOP / "tests/system/stranger.go",
        env={"PATH": os.environ["PATH"], "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache")})
    return folder / "stranger"


def test_go_milter_which_has_no_data(daemon, wait_for, stranger):
    """It offers to leave out what we want left out.  What is answered at the end of the letter is the same."""
    trap = daemon()
    answers = [run(stranger, trap.settings["socket"].removeprefix("unix:"), "0x1fffff").stdout.splitlines() for _ in range(3)]
    for steps in answers:
        assert steps[:-1] == ["connect c", "helo c", "mail c", "rcpt c", "header c", "eoh c"]
        assert steps[-1].startswith("end 451 4.")
    wait_for(lambda: len(hits(trap)) == 3, what="three hits")
    assert {(hit["helo"], hit["queue"]) for hit in hits(trap)} == {("stranger.example", "G1")}
    served(trap)


@pytest.mark.parametrize("mask", ["0", "0x400"])
def test_go_milter_which_offers_too_little(daemon, wait_for, stranger, mask):
    """It is told so at once, and the letter is left to what it does without a milter."""
    trap = daemon()
    done = run(stranger, trap.settings["socket"].removeprefix("unix:"), mask, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    wait_for(lambda: "error mta-too-old " in trap.log(), what="the line in the log")
    served(trap)
