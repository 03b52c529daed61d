"""Whoever reads the daemon's standard error stands still: a log driver, a paused terminal, a journal that hangs."""
import fcntl
import os
import pty
import re
import socket
import threading
import time

import pytest

from testbed.load import Load
from testbed.offences import NO_BRAKE

SESSIONS = 600  # of debug lines, more than the ring and any pipe hold
STOP_S = 1
LEAK_CHECK_S = 2  # of the sanitizers, after main() has returned


class Reader:
    """A way that lines take, full up from the start; nobody reads before read() is called."""

    def __init__(self, kind):
        if kind == "pipe":
            self.ours, self.theirs = os.pipe()
        elif kind == "terminal":
            self.ours, self.theirs = pty.openpty()
        else:
            self.ours, self.theirs = (end.detach() for end in socket.socketpair())
        self.text = b""
        self.thread = None
        flags = fcntl.fcntl(self.theirs, fcntl.F_GETFL)
        fcntl.fcntl(self.theirs, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        try:
            while True:
                os.write(self.theirs, b"-" * 4095 + b"\n")
        except BlockingIOError:
            pass
        fcntl.fcntl(self.theirs, fcntl.F_SETFL, flags)

    def read(self):
        def work():
            try:
                while data := os.read(self.ours, 65536):
                    self.text += data
            except OSError:
                pass  # a terminal that everybody has left
        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def lines(self):
        return [line for line in self.text.decode().replace("\r", "").splitlines() if not line.startswith("-")]

    def let_go(self):
        """The daemon alone has its end."""
        os.close(self.theirs)


@pytest.fixture(params=["pipe", "terminal", "socket"])
def reader(request):
    made = Reader(request.param)
    yield made
    if made.thread:
        made.thread.join(10)
    os.close(made.ours)


def sensor(hunnypot_json):
    status, = hunnypot_json("status")
    return status


def test_mail_goes_on_and_the_stop_is_in_time(reader, pg, dns, milter, hunnypot_json, wait_for):
    pg.query(NO_BRAKE)
    daemon = milter(stderr=reader.theirs, log_level="debug")
    reader.let_go()
    load = Load(daemon)
    load.start(threads=3)
    load.more(SESSIONS, timeout=60)
    load.stop()
    wait_for(lambda: pg.query("SELECT count(*) FROM hunnypot.hit") == [(len(load.answered),)], 20, "every hit")
    wait_for(lambda: sensor(hunnypot_json)["counters"]["log_dropped"] > 0, 20, "count of lines dropped")
    assert sensor(hunnypot_json)["state"] == "alive"
    assert load.slowest < 2
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < STOP_S + LEAK_CHECK_S
    load.check(pg)


def test_the_reader_comes_back(reader, dns, milter, wait_for):
    """What was dropped is said, and nothing else is missing."""
    daemon = milter(stderr=reader.theirs, log_level="debug", database="")
    reader.let_go()
    load = Load(daemon)
    load.start(threads=3)
    load.more(SESSIONS, timeout=60)
    load.stop()
    reader.read()
    wait_for(lambda: any(" log-dropped " in line for line in reader.lines()), 10, "word about what was dropped")
    load.send(5)
    last = max(int(name[1:].split(".")[0]) for name in load.answered)
    wait_for(lambda: any(f"queue=Q{last}" in line for line in reader.lines()), 10, "lines of now")
    daemon.stop()
    reader.thread.join(10)
    lines = reader.lines()
    assert any(" ready " in line for line in lines[:20]), lines[:20]
    assert " stopped " in lines[-1]
    dropped = sum(int(found) for found in re.findall(r" log-dropped lines=(\d+) ", "\n".join(lines)))
    assert dropped > 0
    numbers = [int(found) for found in re.findall(r" data .*queue=Q(\d+)", "\n".join(lines))]
    assert len(load.answered) - len(numbers) <= dropped
