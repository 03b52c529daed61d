"""The primary is ill: no session notices, and what comes while it is ill, or may be, is not recorded."""
import socket
import struct
import threading
import time

import pytest

from testbed.base import let_pass, wait_for
from testbed.load import Load

FAST_S = 4  # for a whole session, also on a slow machine; probe_timeout is longer


@pytest.fixture
def load(pg, dns, milter, primary):
    """load({name: state of its primary}, ...) starts the daemon, and gives the sessions to put on it and the primaries."""
    def begin(states, **liveness):
        records, hosts = [], {}
        for number, (name, state) in enumerate(states.items(), 1):
            records += [f"{name}.example. MX 5 p.{name}.example.", f"{name}.example. MX 20 mx2.example.org.",
                        f"p.{name}.example. A 198.51.100.{number}"]
            hosts[name] = primary(f"198.51.100.{number}", state)
        dns.add(*records)
        return Load(milter(liveness={"probe_timeout": "5s", "verdict_timeout": "60s", **liveness})), hosts
    return begin


def says(*parts, pause=0, then=None):
    """Greets in PARTS, with a pause after each; then hears the client out, or does what comes THEN."""
    def state(connection):
        for part in parts:
            connection.sendall(part)
            let_pass(pause)
        if then:
            then(connection)
        else:
            while connection.recv(4096):
                pass
    return state


def go(connection):
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Flood:
    """Says START, and then PART for 64 megabytes, if it can."""

    def __init__(self, start, part):
        self.start, self.part = start, part * (4096 // len(part))
        self.sent = []

    def __call__(self, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = 0
        try:
            connection.sendall(self.start)
            while sent < 64 << 20:
                sent += connection.send(self.part)
        finally:
            self.sent.append(sent)


FLOODS = {"flood-lines": Flood(b"", b"220-mx1\r\n"), "flood-line": Flood(b"220 ", b"x"), "flood-nul": Flood(b"", b"\0")}
AFTERWARDS = Flood(b"220 mx1\r\n", b"x")
ILL = {
    **{state: state for state in ("hang", "drip", "flood", "reset", "refuse", "blackhole", "defer", "reject")},
    **FLOODS,
    "lines-without-end": says(*[b"220-mx1\r\n"] * 100, pause=0.1),
    "line-without-end": says(b"220 mx1", *[b"x"] * 100, pause=0.1),
    "no-line-end": says(b"220 mx1"),
    "last-line-refuses": says(b"220-mx1\r\n220-mx1\r\n554 mx1\r\n"),
    "goes-at-once": says(then=go),
    "goes-in-the-greeting": says(b"220 mx1", then=go),
    "goes-between-lines": says(b"220-mx1\r\n", then=go),
    "resets-in-the-greeting": says(b"220-mx1\r\n22", pause=0.1, then=reset),
    "noise": says(bytes(range(256)) * 16),
    "http": says(b"HTTP/1.1 400 Bad Request\r\n\r\n", then=go),
}
WELL = {
    "accept": "accept",
    "in-pieces": says(b"2", b"20-mx1\r", b"\n220", b" mx1", b"\r\n", pause=0.2),
    "goes-after-the-greeting": says(b"220 mx1\r\n", then=go),
    "floods-after-the-greeting": AFTERWARDS,
}


def test_ill_primaries(load, pg):
    """Each is an outage, and costs no more than its time limit; those that are well, if odd, are told from them."""
    one, _ = load({**ILL, **WELL}, probers=32)
    names = {name: one.session(f"<a@{name}.example>") for name in (*ILL, *WELL)}
    one.wait_judged(names.values(), 30)
    verdicts = one.verdicts()
    assert {name: verdicts[names[name]] for name in names} == {**dict.fromkeys(ILL, "outage"), **dict.fromkeys(WELL, "offence")}
    for flood in (*FLOODS.values(), AFTERWARDS):
        wait_for(lambda: flood.sent, what="end of the flood")
        assert len(flood.sent) == 1 and flood.sent[0] < 1 << 20
    assert one.slowest < FAST_S
    one.check(pg, without={names[name] for name in ILL})


REMEMBER_S, DOWN_S, GRACE_S = 1, 3, 3  # with room for some sessions in each, on a slow machine
WELL_S = 13  # an outage is doubt for as long as it was seen to last, too: four seconds, and what is remembered before and after


class Flapping(threading.Thread):
    """A primary that comes and goes.  `downs` has when it was down for sure.  While `quiet`, nobody is to ask for it: what is
    remembered of it is not refreshed, and grows old."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host = host
        self.downs, self.quiet = [], False

    def run(self):
        for state in ("refuse", "blackhole", "blackhole"):
            let_pass(WELL_S)
            self.host.set(state)
            began = time.monotonic()
            self.quiet = bool(self.downs)
            let_pass(REMEMBER_S)
            self.quiet = False
            let_pass(DOWN_S)  # nobody knows by the millisecond when it was looked at
            self.downs.append((began, time.monotonic()))
            self.host.set("accept")
        let_pass(WELL_S)


def test_comes_and_goes(load, pg):
    """It is taken for up no longer than `remember` after it went down, and not before it was up for `outage_grace`; for what
    comes to another domain meanwhile nothing changes."""
    one, hosts = load({"flapping": "accept", "steady": "accept"}, remember=f"{REMEMBER_S}s", outage_grace=f"{GRACE_S}s",
                      probe_timeout="500ms")
    judged, flapping = [], Flapping(hosts["flapping"])
    flapping.start()
    while flapping.is_alive():
        if flapping.quiet:
            wait_for(lambda: not flapping.quiet, what="end of the quiet time")
            continue
        sent_at = time.monotonic()
        name, steady = one.session("<a@flapping.example>"), one.session("<a@steady.example>")
        one.wait_judged((name, steady))
        verdicts = one.verdicts()
        assert verdicts[steady] == "offence"
        judged.append((sent_at, time.monotonic(), verdicts[name]))

    for down, up in flapping.downs:
        in_doubt = {verdict for sent, told, verdict in judged if down + REMEMBER_S <= sent and told < up + GRACE_S}
        assert in_doubt == {"outage", "recovering"}
        assert "offence" in {verdict for sent, told, verdict in judged if up + GRACE_S < sent < up + WELL_S}
    assert {verdict for _, _, verdict in judged} == {"offence", "outage", "recovering"}
    assert one.slowest < FAST_S
    one.check(pg, without={name for name, verdict in one.verdicts().items() if verdict != "offence"})
