"""The N-th allocation fails, or the N-th system call, of a scenario: start, sessions, judging, shipping, a reload, the stop.

Whatever fails: no session gets a wrong answer or none, each hit that got its 451 is recorded in the end, or counted as lost, or
in doubt, and nothing hangs.  The daemon may end, but not by a signal; the next one goes on.

./runtests tries one N in some; HUNNYPOT_FAULTS=1 ./runtests test_each_fault.py tries every one, which takes about an hour, and
HUNNYPOT_FAULTS=FIRST-LAST those.
"""
import collections
import os
import re
import time

import pytest

import milter_client
from testbed.base import STATE, TOP, TestbedError, run, wait_for
from testbed.load import Load

BUILDS = ("tests", "quickstart")

SAMPLE = 60  # of each kind
REFUSALS = (451, 421)
TOGETHER = 25  # faults, until it is counted what became of the hits
RECIPIENTS = ("<someone@trap.example>", "<someone@backup.example>", "<someone@trap.example>")
HANG_S = 20
# These do not look at what malloc() returned, and nothing of ours can: reading the settings, and names of users and groups.
CARELESS = re.compile(r"/libconfuse\.so|__nss_database_get|__nss_(group|passwd)_lookup2")


class Scenario:
    def __init__(self, milter, pg, kind):
        self.shim = STATE / "fault.so"
        run("gcc", "-O1", "-shared", "-fPIC", "-o", self.shim, TOP / "tests/system/fault.c")
        self.kind = kind
        self.pg = pg
        self.seen = STATE / "fault.log"
        self.seen.touch()
        self.seen.chmod(0o666)
        self.daemon = milter(program=TOP / "build/quickstart/hunnypot-milter", under=("env",),
                             liveness={"probe_timeout": "1s", "verdict_timeout": "120s"})
        self.daemon.stop()
        self.number = 0
        self.answered, self.lost, self.faults = {}, collections.Counter(), []
        self.what = ""

    def fail(self, why):
        self.faults.append(f"{self.what}: {why}; {self.seen.read_text()[:2000]}; {self.daemon.log()[-1500:]}")
        print(self.faults[-1], flush=True)

    def session(self, recipient):
        """One more; a closed connection is what an MTA answers with a 451 of its own."""
        self.number += 1
        name = f"n{self.number}.fault.example"
        try:
            with milter_client.MilterClient(self.daemon.settings["socket"], timeout=HANG_S) as client:
                client.session(f"203.0.113.{self.number % 250 + 1}", helo=name)
                client.mail()
                client.rcpt(recipient)
                answer = client.data({"i": f"Q{self.number}"})
        except TimeoutError:
            self.fail(f"no answer for {name}")
            return
        except (OSError, milter_client.Closed):
            return
        if answer.code == 451:
            self.answered[name] = self.what
        elif answer.code not in REFUSALS and answer.command != "t":
            self.fail(f"{name} was answered {answer}")

    def start(self, at, count):
        """False when it ended before it was ready."""
        self.daemon.under = ("env", f"LD_PRELOAD={self.shim}", f"FAULT_KIND={self.kind}", f"FAULT_AT={at}",
                             f"FAULT_COUNT={count}", f"FAULT_LOG={self.seen}")
        self.daemon.folder.joinpath("log").unlink(missing_ok=True)
        self.seen.write_text("")
        self.daemon.start(wait=False)
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline and self.daemon.running():
            if self.daemon.listens():
                return True
            time.sleep(0.005)
        if self.daemon.running():
            self.fail("it does not start")
        return self.daemon.running()

    def end(self):
        """How it ended, and what it counted."""
        server = self.daemon.server
        try:
            status = server.stop(timeout=HANG_S)
        except TestbedError as error:
            self.fail(str(error)[:1000])
            status = 0
        if status not in (0, 1) and not CARELESS.search(self.seen.read_text()):
            self.fail(f"it ended with {status}")
        log = server.log()
        self.in_doubt(log)
        found = re.search(r" stopped hits=\d+ lost=(\d+)", log)
        said = [int(count) for count in re.findall(r" hits-lost count=(\d+)", log)]
        self.lost[self.what] = int(found.group(1)) if found else sum(said)
        self.daemon.server = None

    def in_doubt(self, log):
        """Where what was asked failed, a hit is not recorded (unknown, or an outage was seen), and the log says so."""
        for number in re.findall(r" not-recorded .*queue=Q(\d+)$", log, re.M):
            self.answered.pop(f"n{number}.fault.example", None)

    def play(self, at, count=1):
        self.what = f"{self.kind} {at}+{count}"
        if self.start(at, count):
            for recipient in RECIPIENTS[:2]:
                self.session(recipient)
            if self.daemon.running():
                self.daemon.reload()
            for recipient in RECIPIENTS[2:]:
                self.session(recipient)
        self.end()

    def calls(self):
        """How many there were: the last number that was told."""
        return int(re.findall(r"^calls (\d+)$", self.seen.read_text(), re.M)[-1])

    def settle(self):
        """A daemon to which nothing happens goes on with what was left; then every answered hit is there or counted."""
        self.daemon.under = ("env",)
        self.daemon.folder.joinpath("log").unlink(missing_ok=True)
        self.daemon.start()
        missing = {}

        def done():
            self.in_doubt(self.daemon.log())
            recorded = collections.Counter(helo for helo, in self.pg.query("SELECT helo FROM hunnypot.hit"))
            missing.clear()
            missing.update({name: what for name, what in self.answered.items() if name not in recorded})
            twice = [name for name, times in recorded.items() if times > 1]
            if twice:
                self.fail(f"recorded twice: {twice}")
            return len(missing) <= self.lost.total()  # what one run answered another may have lost
        try:
            wait_for(done, 60, "answered hits")
        except TestbedError:
            self.fail(f"answered, and neither recorded nor counted: {missing}, lost {dict(+self.lost)}")
        self.daemon.stop()
        self.answered, self.lost = {}, collections.Counter()


def test_no_thread_is_to_be_had(milter, dns, pg):
    """From when it is ready: libmilter would forget each connection for which it wants one, and its client would wait."""
    scenario = Scenario(milter, pg, "thread")
    assert scenario.start(0, 0)
    wait_for(lambda: " ready " in scenario.daemon.log(), what="daemon")
    scenario.end()
    assert scenario.start(scenario.calls() + 1, 1000000)
    wait_for(lambda: " ready " in scenario.daemon.log(), what="daemon")
    load = Load(scenario.daemon)
    load.start(threads=60)
    load.more(3000, timeout=120)
    load.stop()
    assert "pthread_create" in scenario.seen.read_text()
    assert " no-thread part=worker " in scenario.daemon.log()
    load.check(pg)


def chosen(total):
    """The numbers to try of 1 to TOTAL; what is tried together is spread."""
    asked = os.environ.get("HUNNYPOT_FAULTS", "")
    if "-" in asked:
        first, last = asked.split("-")
        return range(int(first), min(int(last), total) + 1)
    return range(1, total + 1, int(asked) if asked else max(1, total // SAMPLE))


@pytest.mark.timeout(24 * 3600)
@pytest.mark.parametrize("kind", ["memory", "system"])
def test_each_fault(kind, milter, dns, pg, primaries):
    scenario = Scenario(milter, pg, kind)
    scenario.play(0)
    total = scenario.calls()
    print(f"{kind}: {total} calls")
    for tried, at in enumerate(chosen(total), 1):
        scenario.play(at, count=1 if at % 3 else 10)
        if tried % TOGETHER == 0:
            scenario.settle()
            print(f"{kind}: up to {at}, {len(scenario.faults)} faults", flush=True)
    scenario.settle()
    assert scenario.faults == []
