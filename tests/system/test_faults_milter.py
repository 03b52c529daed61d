"""The daemon fails, or what it stands on: each hit that got its 451 is in the database once in the end, or counted as lost."""
import random
import re
import sqlite3
import time

import dns.query as dnspython_query
import pytest

from testbed.base import STATE, let_pass, run, wait_for
from testbed.load import Load
from testbed.milter import AS_HUNNYPOT, environment

KILLS = 100


@pytest.fixture
def load(pg, dns, milter):
    """load(...) starts the daemon and gives the sessions to put on it."""
    made = []

    def begin(**settings):
        made.append(Load(milter(**settings)))
        return made[-1]
    yield begin
    for one in made:
        one.stop()


def recorded(pg):
    return {name for name, in pg.query("SELECT helo FROM hunnypot.hit")}


# The daemon ends

def test_killed_at_random_moments(pg, load):
    one = load()
    one.crashing = True
    one.start()
    random.seed(1)
    for _ in range(KILLS):
        let_pass(random.uniform(0, 0.15))
        one.daemon.kill()
        one.daemon.start()
    one.more(100)
    one.crashing = False
    one.check(pg)


def test_killed_while_the_database_is_away(pg, load):
    """What waits in the spool survives."""
    one = load()
    pg.stop()
    one.send(100)
    one.daemon.kill()
    one.daemon.start()
    one.send(100)
    one.daemon.stop()
    pg.start()
    one.daemon.start()
    one.check(pg)


def test_stopped_under_load(pg, load):
    """SIGTERM: what got its 451 is in the database when the daemon is gone."""
    one = load()
    one.crashing = True
    for _ in range(5):
        one.start()
        one.more(100)
        began = time.monotonic()
        one.daemon.stop()
        assert time.monotonic() - began < 10
        one.stop()
        assert one.faults == []
        assert one.answered - recorded(pg) == set()
        one.daemon.start()
    one.check(pg)


# The spool

@pytest.fixture
def small_disk():
    """A folder on a file system of one megabyte."""
    folder = STATE / "small"
    folder.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", folder)
    run("chown", "hunnypot:hunnypot", folder)
    yield folder
    run("umount", "-l", folder)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    return folder / "filler"


def test_the_spools_disk_is_full(pg, load, small_disk, wait_for):
    one = load(spool=str(small_disk / "spool.db"))
    first = one.send(20)
    filler = fill(small_disk)
    during = one.send(200)
    log = one.daemon.log()
    assert log.count(" hits-lost ") == 1, log
    assert "spool cannot be written" in log
    filler.unlink()
    after = one.send(20)
    wait_for(lambda: first | after <= recorded(pg), 40, "hits of before and after")
    server = one.daemon.server
    one.daemon.stop()
    lost = int(re.search(r" stopped .*lost=(\d+)", server.log()).group(1))
    assert lost > 0
    assert len(during - recorded(pg)) == lost
    one.daemon.start()
    one.check(pg, without=during - recorded(pg))


@pytest.mark.parametrize("offset, garbage", [(0, b"\0" * 100), (0, b"not a database\n" * 300), (4096, b"\xff" * 20000)],
                         ids=["no header", "other file", "pages"])
def test_a_damaged_spool_is_set_aside_at_the_start(pg, load, wait_for, offset, garbage):
    one = load()
    one.send(20)
    wait_for(lambda: recorded(pg) == one.answered, what="hits of before")
    one.daemon.stop()
    with open(one.daemon.spool, "r+b") as file:
        file.seek(offset)
        file.write(garbage)
    one.daemon.start()
    # The log is of both runs, so " ready " is in it already.
    wait_for(lambda: re.search(r" error spool-damaged .*moved_to=\S+\.damaged-", one.daemon.log()), what="loud word")
    assert len(list(one.daemon.spool.parent.glob("*.damaged-*Z"))) == 1
    one.send(20)
    one.check(pg)


def test_a_spool_damaged_while_in_use(pg, load, wait_for):
    """Not even the hit that comes upon the damage is lost; those of before are in the database already."""
    one = load()
    one.send(20)
    wait_for(lambda: recorded(pg) == one.answered, what="hits of before")
    with sqlite3.connect(one.daemon.spool) as other:
        other.execute("PRAGMA writable_schema = on")
        other.execute("UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'inbox'")
        version, = other.execute("PRAGMA schema_version").fetchone()
        other.execute(f"PRAGMA schema_version = {version + 1}")
    one.send(20)
    assert one.daemon.log().count(" spool-damaged ") == 1
    one.daemon.kill()
    one.daemon.start()
    one.send(20)
    one.check(pg)


@pytest.mark.parametrize("socket", ["milter.sock", "second.sock"])
def test_a_second_daemon_on_one_spool_refuses(pg, load, socket):
    """And leaves the first one alone, even when it was started with the same settings."""
    one = load()
    one.send(5)
    conf = one.daemon.folder / "second.conf"
    conf.write_text(one.daemon.conf.read_text().replace("milter.sock", socket))
    done = run(*AS_HUNNYPOT, one.daemon.program, "-c", conf, env=environment(), check=False, cwd="/")
    assert done.returncode == 1
    assert socket == "milter.sock" or "another daemon has this spool" in done.stderr
    one.send(5)
    one.check(pg)


# The clock

def doubted(one, recipient):
    """The hits that the log says are not recorded because the clocks disagree; of a trap, which no primary proves, only those for which
    DNS did not say in time who its mail hosts are."""
    why = 'why="the addresses of an MX host are not known" ' if "trap" in recipient else ""
    one.stop()
    time_s = 20
    wait_for(lambda: set(re.findall(r" (?:offence|not-recorded) .*queue=(\S+)", one.daemon.log())) >=
             set(re.findall(r" data .*queue=(\S+)", one.daemon.log())), time_s, "verdicts")
    helos = dict(re.findall(r" data .*queue=(\S+) .*helo=(\S+)", one.daemon.log()))
    return {helos[queue] for queue in re.findall(rf"not-recorded .*verdict=unknown {why}.*queue=(\S+)", one.daemon.log())}


@pytest.mark.parametrize("recipient", ["<someone@trap.example>", "<someone@backup.example>"])
def test_the_clock_jumps(pg, load, primaries, jumping, recipient):
    """Back and forth, under load, also while PostgreSQL is away."""
    one = load(program=jumping.program)
    one.recipient = recipient
    one.start()
    for days in (1, -1, 3650, -10000, 0):
        one.more(50)
        jumping.set(days * 86400)
    pg.stop()
    for days in (2, -2, 0):
        one.more(50)
        jumping.set(days * 86400)
    pg.start()
    one.more(50)
    # What is remembered of a primary is doubt once the clocks disagree, and a hit that waited for it then is none.
    one.check(pg, without=doubted(one, recipient))
    days, = pg.query("SELECT count(DISTINCT time::date) FROM hunnypot.hit")[0]
    assert days >= 6


@pytest.mark.parametrize("drift_ppm", [5000, -5000])
def test_the_clock_drifts(pg, load, primaries, jumping, drift_ppm):
    """A machine that sleeps again and again: an hour or more goes by in a few seconds, and the real time drifts ten times as far as
    kernels slew it.  What is remembered gets old and is found out anew; what waited over a long sleep is doubt, but for drift nothing is."""
    jumping.set(0, 0, 200, drift_ppm)
    one = load(program=jumping.program)
    one.recipient = "<someone@backup.example>"
    one.start()
    began = time.monotonic()
    while time.monotonic() < began + 20:
        one.more(20)
    late = doubted(one, one.recipient)
    log = one.daemon.log()
    one.check(pg, without=late)
    hour_s, = pg.query("SELECT extract(epoch FROM max(time) - min(time))::int FROM hunnypot.hit")[0]
    assert hour_s > 3600
    assert set(re.findall(r"verdict=unknown why=\"(.*?)\"", log)) <= {"too old for the state of the primaries today"}
    assert len(late) < len(one.answered) / 2
    assert log.count(" probed address=") > 8


def test_what_was_being_found_out_while_the_clock_jumped_is_not_known(load, dns, lying_dns, primary, jumping):
    """An answer of DNS, or a greeting, that may be from before the machine stood still."""
    jumps = []

    def jump(what):
        if what not in jumps:
            jumps.append(what)
            jumping.set(7200 * len(jumps))

    def answer(query, _):
        if str(query.question[0].name).lower() == "backup.example.":
            jump("in DNS")
        return dnspython_query.udp(query, "127.0.0.1", timeout=2)

    def greet(connection):
        jump("in a probe")
        connection.sendall(b"220 mx1 ESMTP\r\n")
    lying_dns(answer)
    primary("198.51.100.1", state=greet)
    one = load(program=jumping.program, dns={"nameservers": ["127.0.0.2"]}, liveness={"probe_interval": "1s"})
    one.recipient = "<someone@backup.example>"
    for word, known in (("looked-up domain=backup.example answer=", "ok"), ("probed address=198.51.100.1 state=", "accepting")):
        wait_for(lambda: f" {word}{known}" in one.daemon.log() or one.session() and let_pass(0.1), 60, known)
        assert re.findall(rf" {word}(\w+)", one.daemon.log())[:2] == ["unknown", known]
    assert jumps == ["in DNS", "in a probe"]
