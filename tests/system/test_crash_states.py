"""Killed at each step of ARCHITECTURE.md's "States of a hit": the hit is where the table says, and recorded once in the end.

No case goes by the clock: the daemon is killed while the step waits for what the test holds (SQLite's lock, DNS,
PostgreSQL's answer), or by strace within the n-th system call of its kind, when it had nothing else to do.
"""
import shutil
import signal
import sqlite3
import subprocess
import threading

import pytest

from testbed.base import STATE
from testbed.load import Load
from testbed.proxy import Proxy

REFUSE = "ALTER TABLE hunnypot.hit ADD CONSTRAINT refused CHECK (domain <> 'new.trap.example') NOT VALID"
ALLOW = "ALTER TABLE hunnypot.hit DROP CONSTRAINT IF EXISTS refused"
LOCK = """import sqlite3, sys
sqlite3.connect(sys.argv[1]).execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()"""


class Scene:
    """A daemon that has recorded some hits and has nothing to do."""

    def __init__(self, pg, dns, daemon, proxy, wait_for):
        self.pg, self.dns, self.daemon, self.proxy, self.wait_for = pg, dns, daemon, proxy, wait_for
        self.load = Load(daemon)
        self.helpers = []
        self.load.send(3)
        wait_for(lambda: self.count("hunnypot.hit") == 3 and self.in_spool("outbox") == 0, what="rest")
        self.load.recipient = "<someone@new.trap.example>"  # not in the daemon's memory
        self.load.crashing = True

    def count(self, table):
        return self.pg.query(f"SELECT count(*) FROM {table} WHERE domain LIKE '%trap.example'")[0][0]

    def in_spool(self, table):
        """Of a copy: the file is left as the daemon left it."""
        folder = STATE / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for part in self.daemon.spool.parent.glob("spool.db*"):
            if part.name in ("spool.db", "spool.db-wal"):
                shutil.copy(part, folder)
        copy = sqlite3.connect(folder / "spool.db")
        try:
            unsent = " WHERE id > (SELECT mark FROM spool)" if table == "outbox" else ""
            return copy.execute(f"SELECT count(*) FROM {table}{unsent}").fetchone()[0]
        finally:
            copy.close()

    def places(self):
        found = {table for table in ("inbox", "outbox", "aside") if self.in_spool(table)}
        return found | ({"postgresql"} if self.count("hunnypot.hit") > 3 else set())

    def help(self, *command, until, pipe):
        helper = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **{pipe: subprocess.PIPE})
        self.helpers.append(helper)
        line = getattr(helper, pipe).readline()
        assert until in line, line
        return helper

    def lock(self):
        """Nobody else writes to the spool, for as long as it takes."""
        self.help("/usr/bin/python3", "-c", LOCK, str(self.daemon.spool), until="held", pipe="stdout")

    def hit(self):
        """A session of its own, which may have to wait; its thread."""
        thread = threading.Thread(target=self.load.session, daemon=True)
        thread.start()
        return thread

    def answered_hit(self):
        self.load.crashing = False
        self.load.send(1)
        self.load.crashing = True

    def wait_for_lock(self):
        """SQLite sleeps between its tries; nothing else in the daemon does."""
        self.wait_for(lambda: any("nanosleep" in line for line in self.daemon.server.threads()), what="wait for the lock")

    def kill_in(self, call, number):
        """Let the daemon die in its NUMBER-th CALL on the spool from now on."""
        spool = str(self.daemon.spool)
        paths = [word for suffix in ("", "-wal", "-shm") for word in ("-P", spool + suffix)]
        self.help("strace", "-f", "-p", str(self.daemon.pid), "-o", "/dev/null", *paths, "-e", f"trace={call}",
                  "-e", f"inject={call}:signal=SIGKILL:when={number}", until="attached", pipe="stderr")

    def die(self):
        """Of a hit."""
        self.hit()
        assert self.daemon.server.process.wait(20) == -signal.SIGKILL
        self.daemon.check_log()
        self.daemon.server = None

    def end(self):
        for helper in self.helpers:
            helper.kill()
            helper.communicate()
        self.proxy.release()


# Each brings the hit to its step and returns with the step undone, or the daemon dead.

def before_the_inbox_has_it(scene):
    scene.lock()
    scene.hit()
    scene.wait_for_lock()


def in_the_commit_to_the_inbox(scene):
    scene.kill_in("fdatasync", 1)
    scene.die()


def while_dns_is_asked(scene):
    scene.dns.freeze()
    scene.answered_hit()


def judged_and_not_settled(scene):
    while_dns_is_asked(scene)
    scene.lock()
    scene.dns.thaw()
    scene.wait_for_lock()


def in_the_commit_that_settles(scene):
    scene.kill_in("fdatasync", 2)
    scene.die()


def before_the_batch_is_sent(scene):
    scene.pg.stop()
    scene.answered_hit()
    scene.wait_for(lambda: scene.in_spool("outbox") == 1, what="outbox")
    scene.daemon.kill()
    scene.pg.start()


def before_the_batch_arrives(scene):
    scene.proxy.hold("request")
    scene.answered_hit()
    assert scene.proxy.held.wait(10)


def before_the_answer_of_postgresql(scene):
    scene.proxy.hold("answer")
    scene.answered_hit()
    assert scene.proxy.held.wait(10)


def recorded_and_not_confirmed(scene):
    before_the_answer_of_postgresql(scene)
    scene.lock()
    scene.proxy.release()
    scene.wait_for_lock()


def in_the_commit_that_confirms(scene):
    scene.kill_in("fdatasync", 3)
    scene.die()


def confirmed(scene):
    scene.answered_hit()
    scene.wait_for(lambda: scene.count("hunnypot.hit") == 4 and scene.in_spool("outbox") == 0, what="confirmation")


def refused_and_not_set_aside(scene):
    scene.pg.query(REFUSE)
    before_the_batch_arrives(scene)
    scene.lock()
    scene.proxy.release()
    scene.wait_for_lock()


def in_the_commit_that_sets_aside(scene):
    scene.pg.query(REFUSE)
    scene.kill_in("fdatasync", 3)
    scene.die()


CASES = [
    (before_the_inbox_has_it, set()),
    (in_the_commit_to_the_inbox, {"inbox"}),
    (while_dns_is_asked, {"inbox"}),
    (judged_and_not_settled, {"inbox"}),
    (in_the_commit_that_settles, {"outbox"}),
    (before_the_batch_is_sent, {"outbox"}),
    (before_the_batch_arrives, {"outbox"}),
    (before_the_answer_of_postgresql, {"outbox", "postgresql"}),
    (recorded_and_not_confirmed, {"outbox", "postgresql"}),
    (in_the_commit_that_confirms, {"postgresql"}),
    (confirmed, {"postgresql"}),
    (refused_and_not_set_aside, {"outbox"}),
    (in_the_commit_that_sets_aside, {"aside"}),
]


@pytest.fixture
def scene(pg, dns, milter, wait_for):
    proxy = Proxy()
    daemon = milter(database=f"user=sensor host={proxy.folder}", dns={"timeout": "30s"},
                    liveness={"verdict_timeout": "60s"},
                    domain={"trap.example": {"role": "trap"}, "new.trap.example": {"role": "trap"}})
    made = Scene(pg, dns, daemon, proxy, wait_for)
    yield made
    made.end()
    proxy.stop()


def go_on(scene):
    """After the death of the daemon, nothing is in its way any more."""
    scene.end()
    scene.dns.thaw()
    scene.pg.query(ALLOW)
    scene.daemon.start()
    scene.load.crashing = False
    scene.load.send(3)
    scene.load.check(scene.pg)


@pytest.mark.parametrize("step, places", CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_killed(scene, step, places):
    step(scene)
    if scene.daemon.server:
        scene.daemon.kill()
    assert scene.places() == places
    go_on(scene)
    if places:
        assert scene.count("hunnypot.hit") == 7


@pytest.mark.parametrize("call, number", [("rename", 1), ("rename", 2), ("rename", 3), ("fdatasync", 1), ("fdatasync", 2)])
def test_killed_while_a_damaged_file_is_replaced(scene, call, number):
    """Before each of its parts is moved, and while the new one is made."""
    scene.kill_in(call, number)
    other = sqlite3.connect(scene.daemon.spool, isolation_level=None)
    other.execute("PRAGMA writable_schema = on")
    other.execute("UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'inbox'")
    version, = other.execute("PRAGMA schema_version").fetchone()
    other.execute(f"PRAGMA schema_version = {version + 1}")
    other.close()
    scene.die()
    go_on(scene)
    for part in ("Z", "Z-wal"):
        assert len(list(scene.daemon.spool.parent.glob(f"*.damaged-*{part}"))) == 1
