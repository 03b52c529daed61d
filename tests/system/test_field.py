"""PostgreSQL as it is in the field: restored where the roles are not, read on a standby, behind a pooler, with odd settings."""
import json
import subprocess

import psycopg2
import pytest

from cli_data import Sensor
from testbed.base import BUILD, DEBS, STATE, TOP, Server, run, wait_for
from testbed.milter import environment
from testbed.offences import AT_ONCE, list_networks, offend
from testbed.postgres import AS_POSTGRES, Postgres, binary


@pytest.fixture
def other(net):
    """other(...) starts another PostgreSQL, on port 5433."""
    made = []

    def begin(**options):
        made.append(Postgres("other", 5433, **options))
        made[0].start()
        return made[0]
    yield begin
    for server in made:
        server.stop("immediate")
        run("rm", "-r", server.folder)


@pytest.fixture
def there():
    """The environment in which the command line uses the other PostgreSQL."""
    return environment(PGUSER="postgres", PGPORT="5433", HUNNYPOT_DATABASE="dbname=hunnypot")


def said(*words, env):
    """Exit status, and both outputs, of the command line."""
    done = subprocess.run([BUILD / "hunnypot", *words], env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


RESTORE = {
    "as the manual has it": ["--no-owner", "--no-privileges"],
    "just so": [],
}


@pytest.mark.parametrize("how", RESTORE)
def test_restored_on_a_new_cluster(pg, other, there, how):
    """Nobody's rights come along; `db status` says so, and `db init` gives them back."""
    offend(pg, "203.0.113.1")
    dump = STATE / "hunnypot.dump"
    server = other()
    with open(dump, "wb") as out:
        subprocess.run([binary("pg_dump"), "-h", "/run/postgresql", "-U", "postgres", "-Fc", "hunnypot"], stdout=out, check=True)
    run(binary("createdb"), "-h", "/run/postgresql", "-p", 5433, "-U", "postgres", "hunnypot")
    restored = subprocess.run([binary("pg_restore"), "-h", "/run/postgresql", "-p", "5433", "-U", "postgres", *RESTORE[how], "-d", "hunnypot",
                               dump], capture_output=True, text=True, check=False)
    dump.unlink()
    assert (restored.returncode == 0) == bool(RESTORE[how]), restored.stderr
    status, _, errors = said("db", "status", env=there)
    assert status == 1
    assert "there is no role hunnypot_sensor; run: hunnypot db init" in errors and "things of the schema are owned by postgres" in errors
    assert "everybody may call" in errors
    status, output, errors = said("db", "init", env=there)
    assert (status, errors) == (0, "") and "mended: there is no role hunnypot_owner\n" in output
    assert said("db", "init", env=there)[1].startswith("already at version")
    assert said("db", "status", env=there)[0::2] == (0, "")
    for role in ("sensor", "reader", "operator", "witness"):
        server.query(f"CREATE ROLE {role} LOGIN IN ROLE hunnypot_{role}")
    assert json.loads(said("list", "--format", "json", env={**there, "PGUSER": "reader"})[1])[0]["network"] == "203.0.113.1/32"
    sensor = Sensor(server, "again")
    sensor.record({"class": "trap"})
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        server.query("SELECT hunnypot.forget('203.0.113.1')", user="reader")
    assert server.query("SELECT count(*) FROM pg_proc WHERE pronamespace = 'hunnypot'::regnamespace "
                        "AND proowner <> 'hunnypot_owner'::regrole") == [(0,)]


def test_status_tells_what_is_wrong_and_init_mends_it(pg):
    env = environment(PGUSER="postgres")
    wrong = {
        "REVOKE hunnypot_reader FROM hunnypot_operator": "hunnypot_operator is not a member of hunnypot_reader",
        "ALTER FUNCTION hunnypot.forget OWNER TO postgres": "function forget is owned by postgres, not by hunnypot_owner",
        "ALTER TABLE hunnypot.allow OWNER TO postgres": "table, view or sequence allow is owned by postgres, not by hunnypot_owner",
        "GRANT EXECUTE ON FUNCTION hunnypot.forget TO public": "everybody may call forget",
        "REVOKE EXECUTE ON FUNCTION hunnypot.record_batch FROM hunnypot_sensor": "hunnypot_sensor may not call record_batch()",
        "REVOKE SELECT ON hunnypot.listing FROM hunnypot_reader": "hunnypot_reader may not read listing",
    }
    assert said("db", "status", env=env)[0::2] == (0, "")
    for broken, words in wrong.items():
        pg.query(broken)
        assert said("db", "status", env=env)[0::2] == (1, f"hunnypot: {words}; run: hunnypot db init\n")
        assert said("db", "init", env=env)[1].splitlines()[0] == f"mended: {words}"
        assert said("db", "status", env=env)[0::2] == (0, "")


def test_readers_on_a_standby(pg, other, there):
    """What only reads works there as well; what waits for news asks for it."""
    offend(pg, "203.0.113.1")
    standby = other(like=pg)
    reader = {**there, "PGUSER": "reader"}
    plain = STATE / "plain"
    for words in (["list"], ["show", "203.0.113.1"], ["why", "203.0.113.1"], ["status"], ["db", "status"], ["export", "plain"],
                  ["export", "plain", "-o", plain], ["allow", "list"], ["policy", "test", "trap"]):
        assert said(*words, env=reader)[0::2] == (0, ""), words
    assert plain.read_text().splitlines()[-1] == "203.0.113.1/32"
    watch = subprocess.Popen([BUILD / "hunnypot", "export", "plain", "-o", plain, "--watch"], env=reader, stderr=subprocess.PIPE, text=True)
    tail = subprocess.Popen([BUILD / "hunnypot", "tail"], env=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: standby.query("SELECT count(*) > 1 FROM pg_stat_activity WHERE usename = 'reader'") == [(True,)], 20, "both readers")
        offend(pg, "203.0.113.2")
        wait_for(lambda: "203.0.113.2" in plain.read_text(), 30, "new listing in the file")
        list_networks(pg, "SELECT ('198.51.100.0'::inet + i)::cidr FROM generate_series(1, 40) i", right=False)
        pg.query("SELECT hunnypot.allow_add('203.0.113.2')")
        wait_for(lambda: "203.0.113.2" not in plain.read_text(), 30, "removal from the file")
        assert "198.51.100" not in plain.read_text() + said("export", "plain", env=reader)[1]
        Sensor(pg, "s").record({"class": "trap"})
        line = tail.stdout.readline()
        assert "trap" in line
    finally:
        for process in (watch, tail):
            process.terminate()
            process.wait(20)
    assert "recovery" not in watch.stderr.read() + tail.stderr.read()
    assert said("allow", "add", "192.0.2.1", env=there)[0] == 1


@pytest.fixture
def pooler(pg):
    """pgbouncer in transaction pooling, on port 6432 of the same folder."""
    folder = STATE / "pgbouncer"
    folder.mkdir()
    (folder / "ini").write_text("""[databases]
* = host=/run/postgresql port=5432
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = /run/postgresql
auth_type = trust
auth_file = users
pool_mode = transaction
default_pool_size = 4
""")
    (folder / "users").write_text('"reader" ""\n"sensor" ""\n')
    run("chown", "-R", "postgres:postgres", folder)
    server = Server("pgbouncer", [*AS_POSTGRES, DEBS / "pgbouncer/usr/sbin/pgbouncer", folder / "ini"], folder / "log", cwd=folder)

    def answers():
        try:
            psycopg2.connect(dbname="hunnypot", user="sensor", host="/run/postgresql", port=6432, connect_timeout=5).close()
            return True
        except psycopg2.OperationalError:
            return False
    server.wait_ready(answers, 20)
    yield
    server.stop()
    run("rm", "-r", folder)


def test_behind_a_pooler(pg, pooler, dns, primaries, milter):
    """Transactions of one connection take turns on several of the server's: nothing that a session keeps may count."""
    env = environment(PGUSER="reader", PGPORT="6432")
    pg.query("UPDATE hunnypot.setting SET value = '1000' WHERE name = 'brake_floor'")
    trap = milter(database="dbname=hunnypot user=sensor port=6432")
    plain = STATE / "plain"
    watch = subprocess.Popen([BUILD / "hunnypot", "export", "plain", "-o", plain, "--watch"], env=env, stderr=subprocess.PIPE, text=True)
    tail = subprocess.Popen([BUILD / "hunnypot", "tail"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(plain.exists, 20, "first export")
        from testbed.load import Load  # pylint: disable=import-outside-toplevel
        load = Load(trap)
        load.send(50)
        load.check(pg)
        assert "trap" in tail.stdout.readline()
        pg.query("SELECT hunnypot.tick()")
        listed = pg.query("SELECT host(network) FROM hunnypot.listing LIMIT 1")[0][0]
        wait_for(lambda: listed in plain.read_text(), 30, "new listing in the file")
    finally:
        for process in (watch, tail):
            process.terminate()
            process.wait(20)


def test_a_hit_dated_ahead(pg):
    """It waits where all days are; then its day has a partition and takes it along.  One of never goes with its recording."""
    tomorrow = pg.query("SELECT 'hit_' || to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD')")[0][0]
    pg.query(f"DROP TABLE IF EXISTS hunnypot.{tomorrow}")
    columns = """(hit_id, time, sensor_id, spool, seq, client, client_port, client_name, helo, sender, recipients, recipients_total,
        null_sender, tls, class, domain, queue_id, mta_name, owner, name_state, while_listed, recorded)
        SELECT gen_random_uuid(), {}, 1, gen_random_uuid(), 1, '203.0.113.1', 25, '', 'h', '', '{{}}', 1, false, false, 'trap',
               'trap.example', 'Q', 'mx', 'trap.example', 'none', false, {}"""
    tick = "(now() AT TIME ZONE 'UTC')::date + 1 + interval '1 hour'"
    pg.query("INSERT INTO hunnypot.hit " + columns.format(tick, "now()"))
    pg.query("INSERT INTO hunnypot.hit " + columns.format("now() + interval '3 years'", "now() - interval '2 years'"))
    assert pg.query("SELECT count(*) FROM hunnypot.hit_default") == [(2,)]
    before = pg.query("SELECT count(*) FROM pg_class")
    for _ in range(3):
        pg.query("SELECT hunnypot.sensor_hello('s', gen_random_uuid(), '{}', 1); SELECT hunnypot.sensor_heartbeat('s', '', 0, 0, 0, '{}')")
    assert pg.query(f"SELECT count(*) FROM hunnypot.{tomorrow}") == [(1,)] and before < pg.query("SELECT count(*) FROM pg_class")
    assert dict(pg.query("SELECT * FROM hunnypot.expire()"))["hits"] == 1
    assert pg.query("SELECT count(*) FROM hunnypot.hit_default") == [(0,)]


@pytest.mark.parametrize("name,wrong", [("dnsbl_ttl", "abc"), ("dnsbl_ttl", "0"), ("dnsbl_ttl", "99999999"), ("dnsbl_zone", "bl.example."),
                                        ("dnsbl_zone", "BL.example"), ("dnsbl_ns", ""), ("lookup_url", "https://l.example/$/$")])
def test_settings_that_nothing_could_answer_by(pg, name, wrong):
    pg.query((TOP / "sql/dnsbl/powerdns.sql").read_text())
    with pytest.raises(psycopg2.errors.CheckViolation):
        pg.query("UPDATE hunnypot.setting SET value = %s WHERE name = %s", wrong, name)


def test_strings_that_do_not_conform(pg_server, other, there):
    """A server whose strings read backslashes, as before PostgreSQL 9.1."""
    server = other()
    server.query("ALTER SYSTEM SET standard_conforming_strings = off", database="postgres")
    server.reload()
    server.query("CREATE DATABASE hunnypot", database="postgres")
    assert said("db", "init", env=there)[0::2] == (0, "")
    assert said("db", "upgrade", env=there)[0::2] == (0, "")
    server.query((TOP / "sql/dnsbl/powerdns.sql").read_text())
    server.query(AT_ONCE)
    offend(server, "203.0.113.1")
    offend(server, "2001:db8::1")
    assert server.query("SHOW standard_conforming_strings") == [("off",)]
    assert server.query("SELECT hunnypot.postfix_action('203.0.113.1')")[0][0].startswith("550 ")
    assert server.query("SELECT hunnypot.postfix_action(%s)", "x\\'") == [(None,)]
    for name, address in (("1.113.0.203", "203.0.113.1"), ("2.113.0.203", "203.0.113.2"),
                          ("1." + "0." * 23 + "8.b.d.0.1.0.0.2", "2001:db8::1")):
        assert server.query("SELECT host(hunnypot.dnsbl_address(%s))", name) == [(address,)]
    for words in (["list"], ["show", "203.0.113.1"], ["why", "203.0.113.1"], ["export", "postfix-cidr"], ["status"], ["db", "status"]):
        assert said(*words, env=there)[0::2] == (0, ""), words
