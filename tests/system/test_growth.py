"""The daemon as it is installed, under valgrind: memory does not grow with the sessions, and none is lost or misused.

./runtests does 20,000 sessions, which takes one to two minutes; HUNNYPOT_SESSIONS=100000 ./runtests test_growth.py
does more, at about 1 ms of a processor each.
"""
import collections
import contextlib
import os
import re
import sqlite3
import subprocess
import tempfile

import pytest

from testbed.base import STATE, TOP, wait_for
from testbed.milter import AS_HUNNYPOT
from testbed.mix import Mix, exchange

BUILDS = ("tests", "quickstart")

SESSIONS = int(os.environ.get("HUNNYPOT_SESSIONS", 20000))
WARM_UP = 2000  # sessions of all kinds, with all domains
STAGES = 10
# What is allocated at the moment depends on what just runs (a session, a batch, 16 KiB for a connection).  What stays for
# each session, or for each of one kind, is more than a byte a session.  What is lost is seen to the byte.
NOISE_BYTES = SESSIONS
# SQLite keeps up to 2,000 KiB of the spool's pages (PRAGMA cache_size), as many as it ever had in hand at once, and 300 KiB
# of its own.  What stays of each session there, a statement for example, is more.
SQLITE_BYTES = 3 << 20

VGDB = f"--vgdb-prefix={STATE}/milter/state/vgdb"
VALGRIND = ["valgrind", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect", "--error-exitcode=99", VGDB]


def heap(daemon):
    """How many bytes the daemon has allocated, by the calls that led to it; nothing of it is lost.

    vgdb could also stop the threads by ptrace, but that breaks the system call that a signal interrupts later on.  So
    valgrind looks for its commands itself, when the daemon does something.
    """
    with tempfile.TemporaryFile("w+") as answer:
        ask = subprocess.Popen([*AS_HUNNYPOT, "vgdb", VGDB, f"--pid={daemon.pid}", "--max-invoke-ms=0",
                                "leak_check", "full", "reachable", "any"], stdout=answer, stderr=subprocess.STDOUT)
        while ask.poll() is None:
            exchange(daemon.settings["socket"], b"")
        answer.seek(0)
        words = answer.read()
    for kind in ("definitely", "indirectly"):
        assert f" {kind} lost: 0 " in words, words
    found = collections.Counter()
    for size, calls in re.findall(r"== ([\d,]+) bytes in [\d,]+ blocks are .*\n((?:==\d+==    (?:at|by) .*\n)+)", words):
        found[re.sub(r"(?m)^==\d+== +(at|by) 0x\w+: ", "", calls)] += int(size.replace(",", ""))
    return found


def split(found):
    """Bytes that SQLite itself asked for, and the others."""
    pages = sum(size for calls, size in found.items() if "libsqlite3" in calls.splitlines()[1])
    return pages, sum(found.values()) - pages


@pytest.mark.timeout(1500)
def test_memory_does_not_grow(pg, dns, primaries, milter):
    # What is kept after the database has it would fill SQLite's cache of pages, which ends at 2 MB; here it leaves at once.
    daemon = milter(spool_keep="1s", program=TOP / "build/quickstart/hunnypot-milter", under=VALGRIND, log_level="info",
                    limits={"connections_per_client": 2})
    one = Mix(daemon)

    def waiting():
        """Hits that are not judged or not in the database."""
        with contextlib.closing(sqlite3.connect(daemon.spool)) as spool:
            return sum(spool.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("inbox", "outbox WHERE id > (SELECT mark FROM spool)"))

    def measure():
        """After a whole batch for the database and a look at every domain: what both need stays allocated."""
        pg.stop()
        one.send(WARM_UP)
        pg.start()
        daemon.reload()
        one.send(WARM_UP)
        wait_for(lambda: waiting() == 0, 60, "end of the hits")
        return heap(daemon)

    before = measure()
    for _ in range(STAGES):
        one.send(SESSIONS // STAGES)
        daemon.reload()
    after = measure()
    sqlite, ours = split(after)
    grown = "\n".join(f"+{size} {calls}" for calls, size in (after - before).most_common(5))
    assert ours > 100000 and ours - split(before)[1] < NOISE_BYTES, f"{split(before)} before, {split(after)} after: {grown}"
    assert 0 < sqlite < SQLITE_BYTES, f"{split(before)} before, {split(after)} after: {grown}"
    one.check(pg)
