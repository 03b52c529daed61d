"""A spool and the database disagree about what is recorded: copies, old copies, damage, a lost name, a database that comes back
older.  Each hit that was answered is recorded once in the end; what a damaged file cost is counted."""
import re
import shutil

import pytest

from testbed.base import STATE, run
from testbed.load import Load


def recorded(pg):
    return pg.query("SELECT count(*) FROM hunnypot.hit")[0][0]


def copy(daemon, to):
    """The spool's files, as a backup or a snapshot of the disk has them."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for part in daemon.spool.parent.glob("spool.db*"):
        shutil.copy2(part, to)


def put_back(daemon, kept):
    for part in daemon.spool.parent.glob("spool.db*"):
        part.unlink()
    for part in kept.iterdir():
        shutil.copy2(part, daemon.spool.parent)
    run("chown", "-R", "hunnypot:hunnypot", daemon.spool.parent)


@pytest.fixture
def trap(pg, dns, milter):
    return milter()


def lost(daemon):
    return sum(int(number) for number in re.findall(r" spool-older \S+ lost=(\d+)", daemon.log()))


@pytest.mark.parametrize("locks_too", [True, False], ids=["all of the folder", "not the lock"])
def test_an_old_copy_is_put_back_while_the_database_is_away(pg, trap, wait_for, tmp_path, locks_too):
    load = Load(trap)
    load.send(5)
    wait_for(lambda: recorded(pg) == 5, what="first hits")
    trap.stop()
    copy(trap, tmp_path / "old")
    trap.start()
    load.send(30)
    wait_for(lambda: recorded(pg) == 35, what="more hits")
    trap.stop()
    pg.stop()
    lock = (trap.spool.parent / "spool.db.lock").read_bytes()
    put_back(trap, tmp_path / "old")
    if not locks_too:
        (trap.spool.parent / "spool.db.lock").write_bytes(lock)
    trap.start()
    load.send(20)
    pg.start()
    load.check(pg)


def test_two_sensors_from_one_image(pg, trap, milter, wait_for, tmp_path):
    """The second one runs with all that the first one had, hits that were not sent among it."""
    load = Load(trap)
    load.send(5)
    wait_for(lambda: recorded(pg) == 5, what="first hits")
    pg.stop()
    load.send(10)
    trap.stop()
    copy(trap, tmp_path / "image")
    other = milter("other", wait=False, socket="unix:/run/hunnypot/other.sock", sensor="mx3.example.org")
    other.server.kill()
    put_back(other, tmp_path / "image")
    trap.start()
    other.start()
    second = Load(other, first=1000)
    load.send(25)
    second.send(25)
    pg.start()
    load.send(25)
    second.send(25)
    wait_for(lambda: recorded(pg) >= 115, 40, "hits of both")
    # Whose life was ended by the other one's hears of it with its next hit.
    load.send(1)
    second.send(1)
    for daemon in (trap, other):
        wait_for(lambda daemon=daemon: "spool-new-life" in daemon.log(), what="word of a new life")
    other.stop()
    trap.stop()
    names = [name for name, in pg.query("SELECT helo FROM hunnypot.hit")]
    assert sorted(names) == sorted(load.answered | second.answered)


def test_two_daemons_of_one_name_are_both_told(pg, trap, milter, wait_for):
    other = milter("other", socket="unix:/run/hunnypot/other.sock")
    for daemon in (trap, other):
        wait_for(lambda daemon=daemon: " sensor-twice " in daemon.log(), 45, "word of the other one")


@pytest.mark.parametrize("where, size", [(0.1, 1), (0.5, 1), (0.9, 1), (0.5, 512)])
def test_the_wal_is_damaged(pg, trap, wait_for, where, size):
    """SQLite leaves out all behind it.  Most single bytes are put right; what is there no more is counted, and what comes later is
    recorded."""
    pg.stop()
    load = Load(trap)
    before = load.send(40)
    trap.kill()
    wal = trap.spool.parent / "spool.db-wal"
    damaged = bytearray(wal.read_bytes())
    at = int(len(damaged) * where)
    damaged[at:at + size] = bytes(byte ^ 0x41 for byte in damaged[at:at + size])
    wal.write_bytes(damaged)
    trap.start()
    load.send(20)
    pg.start()
    cost = lost(trap)
    later = load.answered - before

    def names():
        return [name for name, in pg.query("SELECT helo FROM hunnypot.hit")]
    wait_for(lambda: later <= set(names()), 40, "what came later")
    wait_for(lambda: len(set(names())) >= 60 - cost, 40, "the rest")
    mended = " spool-mended " in trap.log()
    trap.stop()
    found = names()
    assert len(found) == len(set(found))
    assert len(before - set(found)) == cost
    assert cost == 0 if mended else cost > 0


@pytest.mark.parametrize("parts", ["spool.db", "spool.db*", "spool.db-wal"])
def test_the_spool_is_removed_while_it_is_open(pg, trap, parts):
    pg.stop()
    load = Load(trap)
    load.send(25)
    for part in trap.spool.parent.glob(parts):
        part.unlink()
    load.send(25)
    trap.kill()
    trap.start()
    load.send(5)
    pg.start()
    load.check(pg)


def test_the_database_comes_back_older(pg, trap, wait_for):
    """As a standby that had not got the last commits and was promoted, or a server that ran with synchronous_commit off."""
    load = Load(trap)
    load.send(20)
    wait_for(lambda: recorded(pg) == 20, what="first hits")
    pg.stop()
    older = STATE / "older"
    shutil.rmtree(older, ignore_errors=True)
    run("cp", "-a", pg.data, older)
    pg.start()
    load.send(60)
    wait_for(lambda: recorded(pg) == 80, what="more hits")
    pg.stop("immediate")
    shutil.rmtree(pg.data)
    run("mv", older, pg.data)
    pg.start()
    load.send(20)
    load.check(pg)


def test_the_commit_is_durable_where_the_server_would_not_have_it(pg, trap, wait_for):
    """The server flushes its log each 10 s at most, if nobody insists; then it is killed."""
    for name, value in (("synchronous_commit", "off"), ("wal_writer_delay", "10s")):
        pg.query(f"ALTER SYSTEM SET {name} = '{value}'")
    pg.restart()
    try:
        trap.restart()
        load = Load(trap)
        load.send(30)
        wait_for(lambda: recorded(pg) == 30, what="hits")
        pg.kill()
        pg.start()
        assert recorded(pg) == 30
        load.check(pg)
    finally:
        pg.query("ALTER SYSTEM RESET ALL")
        pg.restart()
