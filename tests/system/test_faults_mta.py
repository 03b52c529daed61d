"""The mail server fails, or those who talk to it: places are given back, others are served, and no hit is lost."""
import collections
import concurrent.futures
import os
import random
import re
import resource
import signal
import time
from pathlib import Path

import pytest

from milter_client import MilterClient, speak_nonsense
from testbed.base import let_pass, run, wait_for
from testbed.load import Load
from testbed.smtp import Closed, Smtp

REPLY = "451 4.7.1 caught"
LINES = ("EHLO {}", "MAIL FROM:<someone@client.example>", "RCPT TO:<someone@trap.example>", "DATA")
# Each MTA without limits of its own, so that the daemon's can be seen.
WIDE = {
    "postfix": {"main": {"smtpd_client_connection_count_limit": "0", "smtpd_timeout": "300s"}, "processes": "1100"},
    "sendmail": {"replace": {"O DaemonPortOptions=Name=Trap, Family=inet,": "O DaemonPortOptions=Name=Trap, Family=inet, Listen=1000,",
                             "O MaxDaemonChildren=20": "O MaxDaemonChildren=1100", "O Timeout.command=30s": "O Timeout.command=300s",
                             "$(hunnypot_count l $@ 3 $@": "$(hunnypot_count l $@ 9999 $@"}},
}
IDLE_S = 6
IMPATIENT = {"postfix": {"main": {"smtpd_timeout": "2s"}},
             "sendmail": {"replace": {"O Timeout.command=30s": "O Timeout.command=2s"}}}


class Visitor(Smtp):
    """One client of LOAD, who says line after line; what it hears goes into the load's account."""

    def __init__(self, load, client=None, **options):
        self.load = load
        self.number = next(load.numbers)
        self.name = f"n{self.number}.load.example"
        self.lines = [line.format(self.name) for line in LINES]
        super().__init__(client or f"203.0.113.{self.number % 100 + 1}", **options)
        load.visitors.append(self)

    def go(self, count=len(LINES)):
        """Say the next COUNT lines; the code that the last of them, or the first refused one, is answered with."""
        code = self.greeting[:3]
        while code in ("220", "250") and self.lines and count > 0:
            count -= 1
            line = self.lines.pop(0)
            if line == "DATA":
                self.load.unanswered.add(self.name)
            reply = self.command(line)
            code = reply[:3]
            if code == "421":
                self.lines.clear()
            if reply == REPLY:
                self.load.answered.add(self.name)
        if code not in ("220", "250", "421") and self.name not in self.load.answered:
            self.load.faults.append(f"{self.name}: {code}")
        return code


class Visits(Load):
    """A load that goes through the mail server."""

    def __init__(self, daemon):
        super().__init__(daemon)
        self.visitors = []

    def session(self):
        try:
            with Visitor(self) as visitor:
                code = visitor.go()
                visitor.quit()
            return code == "451"
        except (OSError, Closed) as error:
            if not self.crashing:
                self.faults.append(repr(error))
            return False

    def serves(self):
        """Is one more client served to the end?"""
        with Visitor(self, "203.0.113.200") as visitor:
            return visitor.go() == "451"

    def ended(self, count):
        """Did all sessions of clients that the daemon saw end, COUNT or more?"""
        log = self.daemon.log()
        return log.count(" connect client=203.0.113.") == log.count(" close client=203.0.113.") >= count

    def check(self, pg):
        """Also that each session has an end."""
        self.stop()
        for visitor in self.visitors:
            visitor.close()
        wait_for(lambda: self.ended(len(self.answered)), what="end of the sessions")
        super().check(pg)


@pytest.fixture(params=["postfix", "sendmail"])
def visits(request, pg, dns, milter):
    """visits(impatient=..., connections=..., ...) starts the daemon with these limits, and the MTA as `server`."""
    made = []

    def begin(impatient=False, **limits):
        load = Visits(milter(reply=REPLY, limits={"connections_per_client": 0, "idle": "0s", **limits}))
        options = WIDE[request.param]
        for kind, more in IMPATIENT[request.param].items() if impatient else ():
            options = {**options, kind: {**options[kind], **more}}
        load.server = request.getfixturevalue(request.param)(**options)
        made.append(load)
        return load
    yield begin
    for load in made:
        load.stop()


def signal_all(server, number):
    """Every process of the MTA gets the signal."""
    os.killpg(os.getpgid(server.pid), number)


def at_all_steps(load, count):
    visitors = [Visitor(load) for _ in range(count)]
    for number, visitor in enumerate(visitors):
        visitor.go(number % (len(LINES) + 1))
    return visitors


def test_killed_in_mid_session(visits, pg):
    """With sessions at every step, and more of them coming and going."""
    load = visits(connections=70)
    visitors = at_all_steps(load, 60)
    load.crashing = True
    load.start(4)
    load.more(50)
    load.server.kill()
    load.stop()
    wait_for(lambda: load.ended(110), what="end of the sessions")
    load.server.start()
    visitors = at_all_steps(load, 70)
    assert not load.serves()  # 421
    assert {visitor.go() for visitor in visitors if visitor.lines} == {"451"}
    load.check(pg)


def test_frozen_and_thawed(visits, pg):
    """What the sessions of a frozen MTA hold comes free after the idle time; thawed, each goes on to a 451 or 421."""
    load = visits(connections=40, idle="1s")
    visitors = at_all_steps(load, 40)
    waiting = [visitor for visitor in visitors if visitor.lines]
    signal_all(load.server, signal.SIGSTOP)
    other = Load(load.daemon, first=1000)
    wait_for(other.session, 10, "session with another MTA")
    signal_all(load.server, signal.SIGCONT)
    assert {visitor.go() for visitor in waiting} <= {"451", "421"}
    wait_for(load.serves, what="free place")
    load.answered |= other.answered
    load.check(pg)


def test_restarted_under_load(visits, pg):
    load = visits(connections=100)
    load.crashing = True
    load.start(6)
    for _ in range(3):
        load.more(50)
        load.server.stop()
        load.server.start()
    load.more(50)
    load.stop()
    assert load.serves()
    load.check(pg)


def test_garbage_on_the_milters_socket_harms_no_other_session(visits, pg):
    load = visits(connections=100)
    load.start(4)
    load.more(20)
    rng = random.Random(1)
    for _ in range(300):
        with MilterClient(load.daemon.settings["socket"]) as mta:
            speak_nonsense(mta, rng)
    load.more(20)
    assert load.serves()
    load.check(pg)


@pytest.fixture
def kernel(net):
    """kernel("tcp_wmem", "4096 4096 4096") sets it for this test."""
    before = {}

    def change(name, value):
        path = Path("/proc/sys/net/ipv4") / name
        before[path] = path.read_text()
        path.write_text(value)
    yield change
    for path, value in before.items():
        path.write_text(value)


def test_a_thousand_clients_at_once(kernel, visits, pg):
    """Five connections of each of 200 clients: as many are served as the limits say, and all others are told 421."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    kernel("tcp_syncookies", "0")  # or a client that finds the queue full waits for ever
    load = visits(connections=20, connections_per_client=3)

    def enter(number):
        visitor = Visitor(load, f"203.0.113.{number // 5 + 1}", timeout=200)
        return visitor, visitor.go(1), number // 5
    with concurrent.futures.ThreadPoolExecutor(1000) as pool:
        entered = list(pool.map(enter, range(1000)))
    assert collections.Counter(code for _, code, _ in entered) == {"250": 20, "421": 980}
    inside = [(visitor, client) for visitor, code, client in entered if code == "250"]
    assert max(collections.Counter(client for _, client in inside).values()) <= 3
    assert load.daemon.log().count(" refuse client=") == 980
    for visitor, _ in inside:
        assert visitor.go() == "451"
        visitor.quit()
    wait_for(lambda: load.ended(1000), what="end of the sessions")
    assert load.serves()
    load.check(pg)


# Clients

@pytest.fixture
def unplugged(net):
    """unplugged() lets nothing of the clients 203.0.113.1 to .127 come in any more."""
    yield lambda: run("nft", "add table inet cut; add chain inet cut in { type filter hook input priority 0; };"
                      "add rule inet cut in ip saddr 203.0.113.0/25 drop")
    run("nft", "delete", "table", "inet", "cut")


def test_clients_that_are_gone_without_a_word(visits, pg, unplugged):
    """No FIN, no RST: the MTA waits its time, others are served meanwhile, and then the places are free."""
    load = visits(impatient=True, connections=40)
    at_all_steps(load, 20)
    unplugged()
    for _ in range(20):
        assert load.serves()
    wait_for(lambda: load.ended(40), what="end of the sessions")
    load.check(pg)


def test_clients_that_say_a_byte_a_second(visits, pg):
    """They keep the MTA busy, for ever where it counts reads; the places that they hold come free after the idle time."""
    load = visits(connections=20, idle=f"{IDLE_S}s")
    slow = [Visitor(load, f"203.0.113.{1 + number // 3}") for number in range(20)]
    for visitor in slow:
        visitor.go(2)
    assert not load.serves()
    said = 0
    began = time.monotonic()
    # Until the last of them has been idle for too long, too: Postfix may have kept two of its commands back (milter/pace.h).
    while not load.serves() or time.monotonic() < began + 3 * IDLE_S:
        for visitor in slow:
            visitor.send(visitor.lines[0].encode()[said:said + 1])
        said += 1
        assert time.monotonic() < began + 60, "no place came free"
        let_pass(1)
    for visitor in slow:
        visitor.send(f"{visitor.lines[0]}\r\n".encode()[said:])
        assert visitor.reply()[:3] == "421"
    load.check(pg)


@pytest.mark.parametrize("visits", ["postfix"], indirect=True)
def test_clients_that_never_read(kernel, visits, pg):
    """Postfix cannot write to them, waits its time, and goes."""
    for buffer in ("tcp_wmem", "tcp_rmem"):
        kernel(buffer, "4096 4096 4096")
    load = visits(impatient=True, connections=40)
    for _ in range(20):
        deaf = Visitor(load)
        deaf.send(b"EHLO client.example\r\n" * 90)  # after 100, Postfix slows down
    for _ in range(20):
        assert load.serves()
    wait_for(lambda: load.ended(40), what="end of the sessions")

    def answered():
        """How many EHLOs of each deaf client; of the others it is one."""
        return [int(count) for count in re.findall(r" ehlo=(\d+)", load.server.log()) if count != "1"]
    wait_for(lambda: len(answered()) == 20, what="word of each from Postfix")
    assert max(answered()) < 90
    load.check(pg)


def test_mail_servers_that_never_read(pg, dns, milter):
    """On the milter's socket: libmilter waits for each of them, others are served, and the daemon stops all the same."""
    load = Load(milter(reply=REPLY, limits={"connections": 0, "client_bytes": 0}))
    deaf = [MilterClient(load.daemon.settings["socket"]) for _ in range(20)]
    for mta in deaf:
        mta.session()
        mta.mail()
        mta.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                mta.raw(b"\0\0\0\x05R<@>\0" * 1000)
    load.send(50)
    load.check(pg)
