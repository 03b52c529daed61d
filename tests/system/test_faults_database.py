"""PostgreSQL fails in every way: sessions are answered as ever, and each hit is in the database once in the end."""
import time

import pytest

from testbed.base import run
from testbed.load import Load
from testbed.proxy import Line, Proxy


@pytest.fixture
def start(pg, dns, milter):
    """start(...) starts the daemon and a load on it that does not end before load.check()."""
    loads = []

    def begin(busy=True, **settings):
        trap = milter(**settings)
        loads.append(Load(trap))
        if busy:
            loads[-1].start()
            loads[-1].more()
        return trap, loads[-1]
    yield begin
    for load in loads:
        load.stop()


def recorded(pg):
    return pg.query("SELECT count(*) FROM hunnypot.hit")[0][0]


# The server goes and comes

@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_stopped(pg, start, mode):
    _, load = start()
    pg.stop(mode)
    load.more(200)
    pg.start()
    load.more(200)
    load.check(pg)


def test_killed(pg, start):
    _, load = start()
    pg.kill()
    load.more(200)
    pg.start()
    load.more(200)
    load.check(pg)


def test_not_there_at_the_start(pg, start, wait_for):
    pg.stop()
    trap, load = start()
    wait_for(lambda: "database-error" in trap.log(), what="word of the database")
    pg.start()
    load.check(pg)


def test_frozen(pg, start):
    _, load = start()
    pg.freeze()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        load.more(20)
    pg.thaw()
    load.more(200)
    load.check(pg)


def test_frozen_while_the_daemon_stops(pg, start, wait_for):
    trap, load = start()
    wait_for(lambda: recorded(pg), what="first hit")
    pg.freeze()
    load.more(200)
    load.stop()
    began = time.monotonic()
    trap.stop()
    assert time.monotonic() - began < 10
    pg.thaw()
    trap.start()
    load.check(pg)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarted_during_batches(pg, start, mode):
    _, load = start()
    for _ in range(4):
        pg.restart(mode)
        load.more(100)
    load.check(pg)


def test_backend_terminated_again_and_again(pg, start):
    _, load = start()
    for _ in range(15):
        pg.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sensor'")
        load.more(30)
    load.check(pg)


def test_a_lock_piles_nothing_up(pg, start, wait_for):
    """What a call that timed out was doing is cancelled before the next one comes, however long the lock lasts."""
    _, load = start(busy=False)
    load.send(1)
    wait_for(lambda: recorded(pg), what="first hit")
    waiting = "SELECT pid FROM pg_stat_activity WHERE usename = 'sensor' AND wait_event_type = 'Lock'"
    locker = pg.connect()
    locker.autocommit = False
    try:
        locker.cursor().execute("LOCK TABLE hunnypot.hit")
        load.send(2)
        wait_for(lambda: pg.query(waiting), what="a batch behind the lock")
        first = pg.query(waiting)
        wait_for(lambda: pg.query(waiting) not in (first, []), 60, "the next try")
        assert len(pg.query(waiting)) == 1
    finally:
        locker.close()
    load.check(pg)


# The connection breaks

@pytest.mark.parametrize("how", ["request", "answer"])
def test_connection_cut(pg, start, wait_for, how):
    """"request": in the middle of a batch.  "answer": it is committed, and the daemon does not get to know."""
    proxy = Proxy()
    try:
        _, load = start(database=f"user=sensor host={proxy.folder}")
        for times in (1, 2):
            before = proxy.cuts
            proxy.cut(how, times)
            wait_for(lambda: proxy.cuts == before + times, 20, "cut connection")
            load.more(100)
        load.check(pg)
    finally:
        proxy.stop()


@pytest.fixture
def lost_in(net):
    """lost_in(100, 20): of the packets to and from that port, 20 in 100 get lost."""
    def begin(port, percent):
        run("nft", "add table inet line; add chain inet line in { type filter hook input priority 0; };" + "".join(
            f"add rule inet line in tcp {end} {port} numgen random mod 100 < {percent} drop;" for end in ("sport", "dport")))
    yield begin
    run("nft", "delete", "table", "inet", "line", check=False)


@pytest.mark.parametrize("line, percent", [({"rate": 30000}, 0), ({"delay_s": 0.4}, 0), ({}, 15), ({"rate": 60000, "delay_s": 0.1}, 5)],
                         ids=["slow", "far away", "lossy", "all of it"])
def test_over_a_bad_line(pg, start, lost_in, line, percent):
    line = Line(**line)
    if percent:
        lost_in(line.PORT, percent)
    try:
        _, load = start(database=f"host=127.0.0.1 port={line.PORT} dbname=hunnypot user=sensor")
        load.more(300)
        load.check(pg, timeout=120)
        assert load.slowest < 10
    finally:
        line.stop()


# The server is there and says no

def denied(pg, trap, load, reason, wait_for):
    """The server says no twice, and why; sessions go on.  The daemon says one reason a minute, maybe that of before."""
    seen = pg.server.log().count(reason)
    wait_for(lambda: pg.server.log().count(reason) >= seen + 2, 20, f"two refusals ({reason})")
    assert "database-error" in trap.log()
    load.more(100)


def end_connections(pg):
    pg.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sensor'")


def test_out_of_connections(pg, start, wait_for):
    pg.query("ALTER ROLE sensor CONNECTION LIMIT 0", database="postgres")
    try:
        trap, load = start()
        denied(pg, trap, load, "too many connections", wait_for)
    finally:
        pg.query("ALTER ROLE sensor CONNECTION LIMIT -1", database="postgres")
    load.check(pg)


def test_read_only(pg, start, wait_for):
    trap, load = start()
    pg.query("ALTER DATABASE hunnypot SET default_transaction_read_only = on", database="postgres")
    end_connections(pg)
    denied(pg, trap, load, "read-only transaction", wait_for)
    pg.query("ALTER DATABASE hunnypot RESET default_transaction_read_only", database="postgres")
    load.check(pg)


@pytest.mark.parametrize("reason, broken, mended", [
    ("permission denied", "REVOKE hunnypot_sensor FROM sensor", "GRANT hunnypot_sensor TO sensor"),
    ("permission denied", "REVOKE EXECUTE ON FUNCTION hunnypot.record_batch FROM hunnypot_sensor",
     "GRANT EXECUTE ON FUNCTION hunnypot.record_batch TO hunnypot_sensor"),
    ("does not exist", "ALTER SCHEMA hunnypot RENAME TO other", "ALTER SCHEMA other RENAME TO hunnypot"),
    ("does not exist", "ALTER TABLE hunnypot.waiting RENAME TO other", "ALTER TABLE hunnypot.other RENAME TO waiting"),
    ("schema version -", "UPDATE hunnypot.schema_version SET version = version - 1000",
     "UPDATE hunnypot.schema_version SET version = version + 1000"),
    ("not permitted to log in", "ALTER ROLE sensor NOLOGIN", "ALTER ROLE sensor LOGIN"),
], ids=["no role", "no function", "no schema", "no table", "old schema", "no login"])
def test_refused(pg, start, wait_for, reason, broken, mended):
    trap, load = start()
    pg.query(broken)
    try:
        end_connections(pg)
        denied(pg, trap, load, reason, wait_for)
    finally:
        pg.query(mended)
    load.check(pg)


def test_wrong_database(pg, start, wait_for):
    pg.query("ALTER DATABASE hunnypot RENAME TO elsewhere", database="postgres")
    trap, load = start()
    denied(pg, trap, load, "does not exist", wait_for)
    pg.query("ALTER DATABASE elsewhere RENAME TO hunnypot", database="postgres")
    load.check(pg)


# Rows that it refuses

def test_rows_that_are_refused_are_set_aside(pg, start, wait_for):
    """Alone and many in one batch; the others go on."""
    pg.query("ALTER TABLE hunnypot.hit ADD CONSTRAINT no_sevens CHECK (helo NOT LIKE 'n%7.load.example')")
    pg.stop()
    trap, load = start(busy=False)
    load.send(60)
    pg.start()
    load.send(20)
    refused = {name for name in load.answered if name.endswith("7.load.example")}
    wait_for(lambda: trap.log().count(" set-aside ") == len(refused) == 8, what="refused rows")
    assert "no_sevens" in trap.log()
    load.check(pg, without=refused)
    sqlite = run("/usr/bin/python3", "-c", f"""import sqlite3
for row in sqlite3.connect({str(trap.spool)!r}).execute('SELECT helo, reason FROM aside'): print(*row)""").stdout
    assert {line.split(" ")[0] for line in sqlite.splitlines()} == refused
    assert all("no_sevens" in line for line in sqlite.splitlines())
    trap.restart()
    wait_for(lambda: trap.log().count(" set-aside ") == 16, what="them to be refused again")
    pg.query("ALTER TABLE hunnypot.hit DROP CONSTRAINT no_sevens")
    trap.restart()
    load.check(pg)


@pytest.mark.parametrize("sqlstate", ["P0001", "54000", "42501", "XX000", "0A000", "40001"])
def test_rows_that_fail_again_and_again_block_nothing(pg, start, wait_for, sqlstate):
    """Whatever the database says to them."""
    pg.query(f"""CREATE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF new.helo LIKE 'n%7.load.example' THEN
                RAISE EXCEPTION 'poison' USING ERRCODE = '{sqlstate}';
            END IF;
            RETURN new;
        END $$;
        CREATE TRIGGER poison BEFORE INSERT ON hunnypot.hit FOR EACH ROW EXECUTE FUNCTION public.poison()""")
    pg.stop()
    trap, load = start(busy=False)
    load.send(40)
    pg.start()
    load.send(8)
    refused = {name for name in load.answered if name.endswith("7.load.example")}
    wait_for(lambda: trap.log().count(" set-aside ") == len(refused) == 5, 60, "refused rows")
    load.check(pg, without=refused)


def test_rows_that_are_refused_while_the_connection_breaks(pg, start, wait_for):
    pg.query("ALTER TABLE hunnypot.hit ADD CONSTRAINT no_sevens CHECK (helo NOT LIKE 'n%7.load.example')")
    trap, load = start()
    for _ in range(10):
        end_connections(pg)
        load.more(30)
    load.stop()
    refused = {name for name in load.answered if name.endswith("7.load.example")}
    wait_for(lambda: trap.log().count(" set-aside ") == len(refused), 30, "refused rows")
    load.check(pg, without=refused)
