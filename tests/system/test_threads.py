"""Our threads under ThreadSanitizer: no data race, no lock order that could deadlock, nothing used after its end.

build/tsan (./runtests makes it) is the same source with -fsanitize=thread.  libmilter, libpq, SQLite and libConfuse are
not instrumented: TSan sees their locks and what they hand to libc, but not their own memory.  What of theirs is suppressed is in
tests/tsan.supp.
"""
import re
import subprocess
import time

import pytest

from milter_client import MilterClient
from testbed.base import STATE, TOP, make, run, wait_for
from testbed.milter import REPORTS, environment
from testbed.mix import Mix, name_of

BUILDS = ("tests", "tsan")

BUILD = TOP / "build/tsan"
FOUND = 66  # TSan's exit status when it has reported something

# With more random bits in addresses than it knows, the TSan of GCC 12 does not start; a few systems do not let us ask.
UNDER = ["setarch", "-R"] if subprocess.run(["setarch", "-R", "true"], check=False).returncode == 0 else []

# A race that every run has.
RACE = r"""
#include <pthread.h>
static int shared;
static void *add(void *unused) { (void)unused; shared++; return NULL; }
int main(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, add, NULL);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return shared == 2 ? 0 : 1;
}
"""


def run_watched(program):
    return run(*UNDER, program, check=False, env=environment(), timeout=500)


def test_a_race_would_be_reported(net):
    program = STATE / "race"
    (STATE / "race.c").write_text(RACE)
    run("gcc", "-fsanitize=thread", "-g", "-o", program, STATE / "race.c")
    done = run_watched(program)
    assert REPORTS.search(done.stderr), done.stderr
    assert done.returncode == FOUND


@pytest.mark.parametrize("name", ["db", "judge", "judging", "limits", "liveness", "mx", "probe", "session", "settings",
                                  "shipper", "spool"])
def test_unit(net, name):
    program = f"tests/unit/test_{name}"
    make(BUILD, program)
    done = run_watched(BUILD / program)
    assert not REPORTS.search(done.stderr), done.stderr
    assert done.returncode == 0, done.stderr


def open_sessions(daemon, count):
    """Sessions in mid transaction, of which nothing more is heard."""
    made = [MilterClient(daemon.settings["socket"]) for _ in range(count)]
    for number, client in enumerate(made):
        client.session(f"203.0.113.{number + 100}")
        client.mail()
        client.rcpt()
    return made


def test_daemon(pg, dns, primaries, milter):
    """Sessions of all kinds from six threads, while everything around changes that can change."""
    daemon = milter(program=BUILD / "hunnypot-milter", under=UNDER,
                    limits={"connections": 9, "connections_per_client": 2, "idle": "1s"},
                    liveness={"remember": "1s", "probe_timeout": "1s", "outage_grace": "0s"})
    one = Mix(daemon)

    def settings(turn):
        daemon.configure(record_envelope=("none", "full")[turn % 2], limits={"connections": 9 - turn % 2},
                         ignore_clients=[f"198.51.100.{turn}"])
        daemon.reload()

    def doubted():
        """Hits not recorded because of DNS."""
        return {name_of(number) for number in re.findall(r"verdict=unknown .*queue=Q(\d+)$", daemon.log(), re.M)}

    for turn, state in enumerate(("defer", "hang", "accept")):
        one.start(threads=6)
        idle, since = open_sessions(daemon, 5), time.monotonic()
        for step in (lambda: settings(turn), dns.freeze, dns.thaw, lambda: primaries.backup.set(state),
                     lambda: primaries.address.set("refuse"), pg.freeze, pg.thaw, pg.restart,
                     lambda: settings(turn + 10), dns.stop, dns.start, lambda: primaries.address.set("accept"), pg.stop):
            step()
            one.more(30)
        while time.monotonic() < since + 3:
            one.more(30)
        assert {client.data().code for client in idle} == {421}
        one.crashing = True
        more_idle = open_sessions(daemon, 5)
        if turn == 1:
            pg.start()
            pg.freeze()
        daemon.stop()
        one.stop()
        one.crashing = False
        for client in idle + more_idle:
            client.close()
        pg.restore()
        daemon.start()
    one.stop()
    wait_for(lambda: one.answered <= doubted() | {name for name, in pg.query("SELECT helo FROM hunnypot.hit")}, 40,
             "end of the hits")
    one.check(pg, without=doubted())
