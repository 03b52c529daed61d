"""Sessions at the trap, one after the other from several threads, and the account of what became of each."""
import collections
import itertools
import re
import threading
import time

import milter_client
from testbed.base import TestbedError, wait_for

REFUSALS = (451, 421)


class Load:
    """Every session is known by its HELO.  A hit that got its 451 must be recorded once, one that got no answer (because
    the daemon was killed) at most once; any other answer is a fault, and so is no answer while DAEMON lives.
    """

    def __init__(self, daemon, recipient="<someone@trap.example>", first=1):
        self.daemon = daemon
        self.recipient = recipient
        self.numbers = itertools.count(first)
        self.lock = threading.Lock()
        self.answered, self.unanswered, self.faults = set(), set(), []
        self.crashing = False  # the daemon may go away in mid session
        self.slowest = 0       # seconds, of the sessions that got their 451
        self.threads = []
        self.stopping = threading.Event()

    def session(self, *recipients, family=4):
        """One session of a client of that FAMILY; its name when it got its 451, or None."""
        number = next(self.numbers)
        name = f"n{number}.load.example"
        sent = False
        began = time.monotonic()
        try:
            with milter_client.MilterClient(self.daemon.settings["socket"]) as client:
                client.session(f"203.0.113.{number % 250 + 1}" if family == 4 else f"2001:db8:c::{number:x}", helo=name)
                client.mail()
                for recipient in recipients or (self.recipient,):
                    client.rcpt(recipient)
                sent = True
                answer = client.data({"i": f"Q{number}"})
                client.quit()
        except (OSError, milter_client.Closed) as error:
            with self.lock:
                if not self.crashing:
                    self.faults.append(f"{name}: {error!r}")
                elif sent:
                    self.unanswered.add(name)
            return False
        with self.lock:
            if self.crashing and answer.command == "t":  # a 451 of the MTA's own
                self.unanswered.add(name)
            elif answer.code not in REFUSALS:
                self.faults.append(f"{name}: {answer}")
            elif answer.code == 451:
                self.answered.add(name)
                self.slowest = max(self.slowest, time.monotonic() - began)
        return name if answer.code == 451 else None

    def send(self, count):
        """COUNT sessions, each of which gets a 451; their names."""
        before = set(self.answered)
        for _ in range(count):
            if not self.session():
                raise TestbedError(f"a session got no 451: {self.faults}")
        return self.answered - before

    def verdicts(self):
        """{name: "offence" or why not} of the sessions that are judged, as the daemon's log has it."""
        found = re.findall(r" (?:offence|not-recorded client=\S+ verdict=(\w+)) .* queue=Q(\d+)$", self.daemon.log(), re.M)
        return {f"n{number}.load.example": verdict or "offence" for verdict, number in found}

    def wait_judged(self, names, timeout=20):
        wait_for(lambda: set(names) <= set(self.verdicts()), timeout, "verdict about each session")

    def start(self, threads=3):
        def work():
            while not self.stopping.is_set():
                self.session()
                self.stopping.wait(0.01)
        self.stopping.clear()
        self.threads = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def more(self, count=50, timeout=120):
        """Wait until COUNT more sessions got their 451."""
        wanted = len(self.answered) + count
        wait_for(lambda: len(self.answered) >= wanted or self.faults, timeout, f"{count} more sessions answered")

    def stop(self):
        """No new session; returns when the last one has its answer."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
            if thread.is_alive():
                raise TestbedError("a session hangs")
        self.threads = []

    def check(self, pg, timeout=40, without=()):
        """Every answered hit, but those of WITHOUT, is in PostgreSQL once, and none that was not sent; also in the counts
        that the list is made of.  Ends the load and the daemon."""
        self.stop()
        wanted = self.answered - set(without)

        def recorded():
            return [name for name, in pg.query("SELECT helo FROM hunnypot.hit")]
        try:
            wait_for(lambda: wanted <= set(recorded()), timeout, "end of the hits")
        except TestbedError:
            pass  # the assertion says it better
        self.daemon.stop()
        count = collections.Counter(recorded())
        assert self.faults == []
        assert sorted(wanted - set(count)) == [], f"not recorded, of {len(wanted)}"
        assert {name: times for name, times in count.items() if times > 1} == {}, "recorded twice"
        assert sorted(set(count) - wanted - self.unanswered) == [], "recorded without a 451"
        assert pg.query("SELECT sum(hits) FROM hunnypot.offence")[0][0] == sum(count.values())
