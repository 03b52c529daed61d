"""Recording: failover, full disks, a frozen minute, many sensors at once, wrong clocks, TLS; and what goes into a row."""
import concurrent.futures
import shutil
import subprocess
import time

import psycopg2
import pytest

from cli_data import Sensor
from milter_client import MilterClient
from testbed.base import STATE, Server, run, wait_for
from testbed.load import Load
from testbed.offences import list_networks
from testbed.postgres import AS_POSTGRES, binary


@pytest.fixture
def start(pg, dns, milter):
    """start(...) starts the daemon and a load on it that does not end before load.check()."""
    loads = []

    def begin(name="milter", first=1, **settings):
        loads.append(Load(milter(name, **settings), first=first))
        loads[-1].start()
        loads[-1].more()
        return loads[-1]
    yield begin
    for load in loads:
        load.stop()


def test_frozen_for_a_minute(pg, start):
    """Longer than any call of the daemon's waits."""
    load = start()
    pg.freeze()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        load.more(20)
    pg.thaw()
    load.more()
    load.check(pg, timeout=90)


def test_disk_of_the_database_is_full(pg, start):
    folder = STATE / "full"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", folder)
    try:
        run("chown", "postgres:postgres", folder)
        pg.query(f"CREATE TABLESPACE small LOCATION '{folder}'")
        pg.query("GRANT CREATE ON TABLESPACE small TO hunnypot_owner")
        pg.query("ALTER DATABASE hunnypot SET default_tablespace = 'small'")
        load = start()
        with open(folder / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(b"x" * 4096)
        wait_for(lambda: "No space left on device" in pg.server.log(), 60, "full disk in PostgreSQL's log")
        load.more()
        wait_for(lambda: "database-error" in load.daemon.log(), what="word of it")  # another process of PostgreSQL may have come upon it first
        run("mount", "-o", "remount,size=100m", folder)
        load.more()
        load.check(pg)
        pg.query("DROP DATABASE hunnypot WITH (FORCE)", database="postgres")
        pg.query("DROP TABLESPACE small", database="postgres")
    finally:
        run("umount", "-l", folder)
        folder.rmdir()


@pytest.fixture
def standby(pg):
    """A hot standby, with its socket in its folder.  What is committed on the first server is on both."""
    folder = STATE / "standby"
    folder.mkdir()
    run("chown", "postgres:postgres", folder)
    run(*AS_POSTGRES, binary("pg_basebackup"), "-h", "/run/postgresql", "-U", "postgres", "-D", folder / "data", "-R",
        "-c", "fast", cwd="/")
    server = Server("standby", [*AS_POSTGRES, binary("postgres"), "-D", folder / "data",
                                "-c", f"unix_socket_directories={folder}"], folder / "log", cwd="/")
    server.folder = folder

    def query(sql):
        connection = psycopg2.connect(host=str(folder), user="postgres", dbname="hunnypot")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def answers():
        try:
            return query("SELECT 1")
        except psycopg2.OperationalError:
            return False
    server.query = query
    server.wait_ready(answers, 30)
    pg.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
    pg.reload()
    wait_for(lambda: pg.query("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"), 20, "synchronous standby")
    yield server
    server.kill()
    shutil.rmtree(folder)
    settings = pg.data / "postgresql.auto.conf"
    settings.write_text("".join(line for line in settings.open() if "synchronous_standby_names" not in line))
    pg.restore()
    pg.reload()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_failover_to_another_server(pg, start, standby, how):
    """Two hosts in the connection string; the second one takes over."""
    load = start(database=f"host=/run/postgresql,{standby.folder} user=sensor target_session_attrs=read-write")
    load.more()
    if how == "killed":
        pg.kill()
    else:
        pg.freeze()
    load.more()
    assert standby.query("SELECT pg_promote()") == [(True,)]
    load.more()
    load.check(standby, timeout=90)


def test_several_sensors_hit_the_same_rows(pg, start):
    """Each batch counts the same 250 offences, in one order: sensors wait for each other, never in a circle."""
    loads = [start(f"milter{number}", 1000000 * number, socket=f"unix:/run/hunnypot/milter{number}.sock",
                   sensor=f"sensor{number}") for number in range(1, 5)]
    for load in loads:
        load.more(300)
    for load in loads[1:]:
        load.stop()
        loads[0].answered |= load.answered
        loads[0].faults += load.faults
        load.daemon.stop()
    loads[0].check(pg)
    assert pg.query("SELECT count(*) FROM hunnypot.sensor") == [(4,)]
    assert "deadlock detected" not in pg.server.log()


def test_partition_that_cannot_be_made(pg, start):
    """A reader of the whole table holds what making a partition needs: the default partition takes the hits."""
    for (name,) in pg.query("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'hunnypot.hit'::regclass"):
        if not name.endswith("_default"):
            pg.query(f"DROP TABLE {name}")
    reader = pg.connect()
    reader.autocommit = False
    reader.cursor().execute("SELECT FROM hunnypot.hit")
    load = start()
    wait_for(lambda: pg.query("SELECT count(*) > 0 FROM hunnypot.hit_default") == [(True,)], 10, "hits in hit_default")
    reader.close()
    load.check(pg)


def test_partition_that_somebody_else_makes(pg):
    """Meanwhile a batch gives up waiting for it, and means its hits for the default partition: they are recorded all the same."""
    for (name,) in pg.query("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'hunnypot.hit'::regclass"):
        if not name.endswith("_default"):
            pg.query(f"DROP TABLE {name}")
    sensor = Sensor(pg)
    maker = pg.connect()
    maker.autocommit = False
    maker.cursor().execute("SELECT hunnypot.make_partitions(ARRAY[current_date])")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        batch = pool.submit(sensor.record, {"client": "203.0.113.1"})
        try:
            wait_for(lambda: pg.query("SELECT 1 FROM pg_locks WHERE relation = 'hunnypot.hit_default'::regclass AND NOT granted"),
                     10, "a batch at hit_default")
        finally:
            maker.commit()
        batch.result()
    assert pg.query("SELECT count(*) FROM hunnypot.hit") == [(1,)]
    assert pg.query("SELECT count(*) FROM hunnypot.hit_default") == [(0,)]


def hit_times(pg, wanted):
    """Hours from now of the recorded hits, in the order in which they were recorded."""
    def rows():
        return pg.query("SELECT round(extract(epoch FROM time - now()) / 3600)::int FROM hunnypot.hit ORDER BY seq")
    wait_for(lambda: len(rows()) == wanted, 10, f"{wanted} hits")
    return [hours for (hours,) in rows()]


def test_clock_that_jumps(pg, dns, milter, jumping):
    """A day ahead and a day back: each hit is recorded, under the time that the clock had, and verdicts and shipping go on;
    a clock that is ahead makes no offence last longer."""
    trap = milter(program=jumping.program)
    load = Load(trap)
    for count, offset in enumerate((0, 24, 0, -24, 0)):
        jumping.set(offset * 3600)
        load.send(1)
        hit_times(pg, count + 1)
    assert hit_times(pg, 5) == [0, 24, 0, -24, 0]
    assert pg.query("SELECT bool_and(last_seen <= now()) FROM hunnypot.offence") == [(True,)]
    load.check(pg)


HOSTILE = [bytes(range(1, 256)), b"\\" * 300, b"'; DROP TABLE hunnypot.hit; --", b"\xff\xfe\xc0\x80", b"{,\"}", b"%s%n%99999d",
           b"\xed\xa0\x80", b"a" * 500, b"\x1b]0;x\x07", b"$1", b"\n\n", b"\t\r\n"]


def test_no_byte_makes_a_row_fail(pg, dns, milter, hits):
    trap = milter(record_envelope="full")
    for text in HOSTILE:
        with MilterClient(trap.settings["socket"]) as mta:
            mta.session("203.0.113.9", helo=text, hostname=text)
            assert mta.transaction("<someone@trap.example>", sender=b"<" + text[:200] + b"@b.example>").code == 451
    rows = hits(wait=len(HOSTILE))
    for row in rows:
        for text in (row["helo"], row["client_name"], row["sender"]):
            assert all(" " <= letter <= "~" for letter in text)
    assert {row["helo"] for row in rows} >= {"a" * 500, "%s%n%99999d", "\\xFF\\xFE\\xC0\\x80", "$1"}
    assert "set-aside" not in trap.log()


def test_the_brake_is_said_in_the_log(pg, dns, milter):
    trap = milter()
    list_networks(pg, "SELECT ('198.51.100.0'::inet + i)::cidr FROM generate_series(1, 40) i", right=False)
    wait_for(lambda: " brake reason=\"since " in trap.log(), 30, "brake in the log")
    pg.query("SELECT hunnypot.brake_release()")
    wait_for(lambda: " brake-released" in trap.log(), 30, "release in the log")
    assert trap.log().count(" warning brake ") == 1


def test_password_is_never_told(pg, dns, milter):
    pg.query("CREATE ROLE guarded LOGIN PASSWORD 'right' IN ROLE hunnypot_sensor, needs_password", database="postgres")
    passfile = STATE / "passfile"
    passfile.write_text("*:*:*:guarded:s3cret-wrong\n")
    run("chown", "hunnypot:hunnypot", passfile)
    passfile.chmod(0o600)
    try:
        trap = milter(database=f"user=guarded passfile={passfile}")
        wait_for(lambda: "password authentication failed" in trap.log(), 10, "refusal in the log")
        passfile.write_text("*:*:*:guarded:right\n")
        load = Load(trap)
        load.send(1)
        load.check(pg)
        assert "s3cret" not in trap.folder.joinpath("log").read_text()
    finally:
        passfile.unlink()
        pg.query("DROP ROLE guarded", database="postgres")


@pytest.fixture
def tls(pg):
    """PostgreSQL with TLS on 127.0.0.1 for "localhost", by an authority of our own; gives its folder."""
    folder = STATE / "tls"
    folder.mkdir()

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    for authority in ("ours", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}",
                "-keyout", f"{authority}.key", "-out", f"{authority}.crt")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ours.crt", "-CAkey", "ours.key", "-CAcreateserial", "-days", "2",
            "-out", "server.crt")
    run("chown", "postgres:postgres", folder / "server.key")
    hba = pg.data / "pg_hba.conf"
    before, settings = hba.read_text(), (pg.data / "postgresql.auto.conf").read_text()
    hba.write_text(before + "hostssl all all 127.0.0.1/32 trust\n")
    for name, value in (("listen_addresses", "127.0.0.1"), ("ssl", "on"), ("ssl_cert_file", folder / "server.crt"),
                        ("ssl_key_file", folder / "server.key")):
        pg.query(f"ALTER SYSTEM SET {name} = '{value}'")
    pg.restart()
    yield folder
    hba.write_text(before)
    (pg.data / "postgresql.auto.conf").write_text(settings)
    pg.restart()
    shutil.rmtree(folder)


@pytest.mark.parametrize("host, authority, wanted", [
    ("localhost", "ours", "database-connected"),
    ("localhost", "other", "certificate verify failed"),
    ("127.0.0.1", "ours", "does not match host name"),
])
def test_tls_with_verify_full(pg, tls, dns, milter, host, authority, wanted):
    trap = milter(database=f"host={host} user=sensor sslmode=verify-full sslrootcert={tls}/{authority}.crt")
    load = Load(trap)
    load.send(3)
    wait_for(lambda: wanted in trap.log(), 10, f"{wanted!r} in {trap.log()}")
    if wanted == "database-connected":
        load.check(pg)
    else:
        assert pg.query("SELECT count(*) FROM hunnypot.hit") == [(0,)]
