"""The list that is kept is the list that the facts make: after any history, row by row; what changed is told, and nothing else
is written."""
import random
import re
import subprocess
import threading
import time
from datetime import timedelta

import pytest

from cli_data import Sensor
from testbed.base import BUILD, wait_for
from testbed.milter import environment
from testbed.offences import list_networks, offend, offend_all, tick_on

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CLIENTS = [f"203.0.113.{number}" for number in range(1, 25)] + [f"2001:db8:c:{number % 3}::{number}" for number in range(1, 13)]
KEPT = """SELECT network, class, since, until, witnessed, soft_until, worse_until, hits, domains, last_seen, due FROM hunnypot.listed_network
    WHERE removed IS NULL ORDER BY network, class"""


def finish(cursor):
    """tick() until there is nothing to do."""
    for _ in range(1000):
        cursor.execute("SELECT hunnypot.tick()")
        if cursor.fetchone() == (False,):
            return
    pytest.fail("tick() finds no end")


def kept_and_rebuilt(pg):
    """The list as it is kept and as it is made anew, both at the same moment."""
    connection = pg.connect()
    connection.autocommit = False
    try:
        with connection.cursor() as cursor:
            finish(cursor)
            cursor.execute(KEPT)
            kept = cursor.fetchall()
            cursor.execute("""SELECT class, witnessed, number FROM hunnypot.listing_count WHERE number <> 0 EXCEPT ALL
                SELECT class, witnessed, count(*) FROM hunnypot.listed_network WHERE removed IS NULL GROUP BY 1, 2""")
            assert cursor.fetchall() == []
            cursor.execute("TRUNCATE hunnypot.listed_network; SELECT hunnypot.rebuild()")
            finish(cursor)
            cursor.execute(KEPT)
            return kept, cursor.fetchall()
    finally:
        connection.close()


def time_goes_by(pg, days):
    """As if all that is there had happened DAYS earlier, without anybody having been told."""
    pg.query(f"""SET session_replication_role = replica;
        UPDATE hunnypot.offence_day SET day = day - 20000;
        UPDATE hunnypot.offence_day SET day = day + 20000 - {days}, first_seen = first_seen - interval '{days} days',
            last_seen = last_seen - interval '{days} days', counted = counted - interval '{days} days',
            counted_again = counted_again - interval '{days} days';
        UPDATE hunnypot.waiting SET due = due - interval '{days} days', ripe = ripe - interval '{days} days',
            recorded = recorded - interval '{days} days', time = time - interval '{days} days';
        UPDATE hunnypot.allow SET expires = expires - interval '{days} days';
        UPDATE hunnypot.listed_network SET since = since - interval '{days} days', until = until - interval '{days} days',
            worse_until = worse_until - interval '{days} days', removed = removed - interval '{days} days',
            last_seen = last_seen - interval '{days} days', due = due - interval '{days} days',
            soft_until = soft_until - interval '{days} days'""")


def some_hits(chance):
    return [(chance.choice(CLIENTS), chance.choice(["trap", "backup", "backup", "address"]),
             chance.choice(["a.example", "b.example", "c.example"]), chance.choice([0, 0, 0, 1, 30, 100]) * HOUR
             + timedelta(minutes=chance.randrange(90)), chance.random() < 0.1) for _ in range(chance.randrange(1, 12))]


def a_network(chance):
    client = chance.choice(CLIENTS)
    return client if chance.random() < 0.7 else "203.0.113.0/28" if "." in client else "2001:db8:c::/48"


POLICY = ["listed = NOT listed", "min_hits = 1 + (min_hits %% 3)", "growth = CASE growth WHEN 2 THEN 1 ELSE 2 END",
          "lasts = (CASE WHEN lasts = '3 days' THEN '9 days' ELSE '3 days' END)::interval",
          "min_span = (CASE WHEN min_span = '0' THEN '3 hours' ELSE '0' END)::interval",
          "ripens = (CASE WHEN ripens = '0' THEN '1 day' ELSE '0' END)::interval",
          "firm_after = (CASE WHEN firm_after = '0' THEN '2 days' ELSE '0' END)::interval",
          "inferred_pause = (CASE WHEN inferred_pause = '0' THEN '1 day' ELSE '0' END)::interval",
          "counts_for = (CASE WHEN counts_for = '10 days' THEN '40 days' ELSE '10 days' END)::interval",
          "min_days = 3 - min_days", "witnessed_hits = 3 - witnessed_hits"]


@pytest.mark.parametrize("seed", range(4))
def test_kept_is_rebuilt_after_any_history(pg, seed):
    chance = random.Random(seed)
    seen = 0
    for step in range(120):
        what = chance.random()
        if what < 0.45:
            offend_all(pg, some_hits(chance))
        elif what < 0.6:
            time_goes_by(pg, chance.choice([1, 2, 5, 20]))
        elif what < 0.7:
            pg.query("SELECT hunnypot.allow_add(%s, '', '', now() + %s)", a_network(chance),
                     chance.choice([None, HOUR, 3 * DAY]))
        elif what < 0.77:
            pg.query("DELETE FROM hunnypot.allow WHERE network = (SELECT network FROM hunnypot.allow ORDER BY random() LIMIT 1)")
        elif what < 0.87:
            pg.query(f"UPDATE hunnypot.policy SET {chance.choice(POLICY)} WHERE class = %s",
                     chance.choice(["trap", "backup", "address", "null-sender"]))
        elif what < 0.93:
            pg.query("SELECT * FROM hunnypot.expire()")
        elif what < 0.96:
            pg.query("SELECT * FROM hunnypot.forget(%s)", a_network(chance))
        else:
            pg.query("SELECT hunnypot.tick()")
        if step % 10 == 9:
            kept, rebuilt = kept_and_rebuilt(pg)
            assert kept == rebuilt, f"after step {step}"
            seen += len(kept)
    assert seen > 50, "there was hardly anything to compare"


def changes(pg, after):
    return pg.query("SELECT serial, host(network), class, listed FROM hunnypot.changes(%s)", after)


def test_what_changed_is_told_and_no_more(pg):
    offend(pg, "203.0.113.1")
    offend(pg, "203.0.113.2")
    (first, *_), (second, *row) = changes(pg, 0)
    assert row == ["203.0.113.2", "trap", True] and changes(pg, first) == [(second, *row)] and changes(pg, second) == []
    for nothing in ("SELECT hunnypot.tick()", "SELECT hunnypot.rebuild()", "SELECT hunnypot.allow_add('198.51.100.0/24')",
                    "UPDATE hunnypot.policy SET reason = 'another'"):
        pg.query(nothing)
        assert changes(pg, second) == [], nothing
    pg.query("SELECT hunnypot.allow_add('203.0.113.2')")
    [(third, *row)] = changes(pg, second)
    assert row == ["203.0.113.2", "trap", False]
    offend(pg, "203.0.113.1")
    assert [row[1] for row in changes(pg, third)] == ["203.0.113.1"]


def test_what_left_is_remembered_for_a_while(pg):
    offend(pg, "203.0.113.1")
    [(first, *_)] = changes(pg, 0)
    pg.query("SELECT hunnypot.allow_add('203.0.113.1')")
    [(second, *_)] = changes(pg, first)
    time_goes_by(pg, 8)
    pg.query("SELECT hunnypot.tick()")
    assert pg.query("SELECT count(*) FROM hunnypot.listed_network") == [(0,)]
    assert changes(pg, 0) == [] and changes(pg, second) == []
    with pytest.raises(Exception, match="not remembered any more"):
        changes(pg, first)


def test_time_alone_ends_listings_and_allows(pg):
    offend(pg, "203.0.113.1", ago=29 * DAY)
    offend(pg, "203.0.113.2")
    pg.query("SELECT hunnypot.allow_add('203.0.113.2', '', '', now() + interval '1 day')")
    last = changes(pg, 0)[-1][0]
    serial = pg.query("SELECT hunnypot.listing_serial()")
    time_goes_by(pg, 2)
    assert pg.query("SELECT * FROM hunnypot.listing") == [], "readers look at the clock, and wait for nobody to lift an allow"
    assert pg.query("SELECT hunnypot.tick()") == [(False,)]
    assert [row[1:] for row in changes(pg, last)] == [("203.0.113.2", "trap", True), ("203.0.113.1", "trap", False)] or \
        sorted(row[1:] for row in changes(pg, last)) == [("203.0.113.1", "trap", False), ("203.0.113.2", "trap", True)]
    assert pg.query("SELECT hunnypot.listing_serial()") > serial


def test_one_at_a_time_and_nobody_waits(pg):
    """While one session works on the list, tick() of another returns at once, and hits are recorded."""
    holder = pg.connect()
    holder.autocommit = False
    holder.cursor().execute("SELECT hunnypot.tick()")
    assert pg.query("SELECT hunnypot.tick()") == [(None,)]
    Sensor(pg).record({"class": "trap"})
    assert pg.query("SELECT (SELECT count(*) FROM hunnypot.waiting), (SELECT count(*) FROM hunnypot.listing)") == [(1, 0)]
    holder.close()
    assert pg.query("SELECT hunnypot.tick()") == [(False,)]
    assert pg.query("SELECT (SELECT count(*) FROM hunnypot.waiting), (SELECT count(*) FROM hunnypot.listing)") == [(0, 1)]


def test_a_change_of_the_policy_goes_on_in_steps(pg):
    """Some thousand at once, the rest by tick(); recording goes on meanwhile."""
    list_networks(pg, "SELECT ('10.0.0.0'::inet + i)::cidr FROM generate_series(1, 9000) i")
    pg.query("UPDATE hunnypot.policy SET listed = false WHERE class = 'trap'")
    [(left,)] = pg.query("SELECT count(*) FROM hunnypot.listing")
    assert 0 < left < 9000
    Sensor(pg).record({"class": "backup", "client": "198.51.100.1"})
    tick_on(pg)
    assert pg.query("SELECT (SELECT count(*) FROM hunnypot.listing), (SELECT count(*) FROM hunnypot.hit)") == [(0, 1)]


def test_db_rebuild(pg, hunnypot):
    offend(pg, "203.0.113.1")
    pg.query("UPDATE hunnypot.listed_network SET until = until + interval '1 year'")
    pg.query("INSERT INTO hunnypot.listed_network SELECT '203.0.113.9', class, since, until, worse_until, removed, witnessed,"
             " soft_until, hits, domains, last_seen, due, serial, entered FROM hunnypot.listed_network")
    hunnypot("db", "rebuild", user="operator")
    assert pg.query("SELECT host(network), until < now() + interval '31 days' FROM hunnypot.listing") == [("203.0.113.1", True)]


def test_upgrade_while_all_go_on(pg, hunnypot):
    """Sensors record and readers read all the while, on connections that they had before; nothing is lost, nobody fails."""
    stop = threading.Event()
    sensors = [Sensor(pg, f"sensor{number}") for number in range(2)]
    faults, reads = [], [0]

    def work(step):
        while not stop.is_set():
            try:
                step()
            except Exception as error:  # pylint: disable=broad-except
                faults.append(repr(error))
                return

    def read():
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM hunnypot.listing; SELECT hunnypot.publish_check()")
            reads[0] += 1
    reader = pg.connect()
    export = subprocess.Popen([BUILD / "hunnypot", "tail"], env=environment(PGUSER="postgres"), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
    threads = [threading.Thread(target=work, args=(lambda sensor=sensor: sensor.record({"class": "trap"}, {"class": "backup"}),))
               for sensor in sensors] + [threading.Thread(target=work, args=(read,))]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = sensors[0].seq, sensors[1].seq, reads[0]
        wait_for(lambda: all(now > then for now, then in zip((sensors[0].seq, sensors[1].seq, reads[0]), before)) or faults,
                 what="sensors and reader at work")
        hunnypot("db", "upgrade")
    stop.set()
    for thread in threads:
        thread.join(30)
    export.terminate()
    assert faults == [] and export.communicate(timeout=10)[1] == ""
    assert pg.query("SELECT count(*) FROM hunnypot.hit") == [(sensors[0].seq + sensors[1].seq,)]
    assert pg.query("SELECT sum(hits)::int FROM hunnypot.offence") == [(sensors[0].seq + sensors[1].seq,)]
    reader.close()


def test_upgrade_waits_for_a_reader_and_keeps_nobody_waiting(pg):
    """An export that takes long is not broken off, and those who come after it do not queue behind the upgrade."""
    reader = pg.connect()
    reader.autocommit = False
    reader.cursor().execute("SELECT * FROM hunnypot.listing")
    upgrade = subprocess.Popen([BUILD / "hunnypot", "db", "upgrade"], env=environment(PGUSER="postgres"),
                               stdout=subprocess.PIPE, text=True)
    wait_for(lambda: pg.query("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%always somebody who read%%' "
                              "AND wait_event = 'PgSleep' AND pid <> pg_backend_pid()"), what="upgrade that tries")
    connection = pg.connect(options="-c lock_timeout=5s")
    for _ in range(20):
        connection.cursor().execute("SELECT * FROM hunnypot.listing")
    connection.close()
    assert upgrade.poll() is None
    reader.close()
    assert upgrade.communicate(timeout=30)[0].startswith("already at version")
    assert upgrade.returncode == 0


def removed(done):
    """{what: how many} of the table that `hunnypot expire` printed."""
    return dict(re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[1:])


def test_expire_leaves_a_partition_that_is_read(pg, hunnypot):
    pg.query("SELECT hunnypot.make_partitions(ARRAY[current_date - 20])")
    pg.query("UPDATE hunnypot.setting SET value = '10 days' WHERE name = 'keep_hits'")
    part = pg.query("SELECT 'hit_' || to_char(current_date - 20, 'YYYYMMDD')")[0][0]
    pg.query("SELECT hunnypot.allow_add('192.0.2.0/24', expires => now() - interval '1 day')")
    dump = pg.connect()
    dump.autocommit = False
    for table in pg.query("SELECT oid::regclass FROM pg_class WHERE relnamespace = 'hunnypot'::regnamespace AND relkind IN ('r', 'p')"):
        dump.cursor().execute(f"LOCK TABLE {table[0]} IN ACCESS SHARE MODE")  # as pg_dump begins
    done = hunnypot("expire")
    assert done.stderr == f"hunnypot: {part} stays until the next run: somebody reads it\n"
    assert removed(done) == {"hit partitions": "0", "hits": "0", "offences": "0", "envelopes": "0", "requests": "0", "allows": "1"}
    dump.close()
    done = hunnypot("expire")
    assert done.stderr == "" and removed(done)["hit partitions"] == "1"


def test_expire_locks_recording_out_for_a_moment_only(pg):
    """From the first partition that is dropped to the end hit is locked: then nobody waits for a reader of the next."""
    pg.query("SELECT hunnypot.make_partitions(ARRAY(SELECT current_date - 29 + i FROM generate_series(0, 20) i))")
    pg.query("UPDATE hunnypot.setting SET value = '5 days' WHERE name = 'keep_hits'")
    partitions = [row[0] for row in pg.query("SELECT relname FROM pg_class WHERE relname ~ '^hit_[0-9]{8}$' ORDER BY 1")]
    assert len(partitions) == 21
    reader = pg.connect()
    reader.autocommit = False
    for name in partitions[1:]:  # and not hit, so that the first one can go
        reader.cursor().execute(f"SELECT FROM hunnypot.{name}")
    done = dict(pg.query("SELECT * FROM hunnypot.expire()"))
    assert done["hit partitions"] == 1
    assert [what for what, number in done.items() if number is None] == partitions[1:2], "it waits for no other reader under the lock"
    reader.close()
    assert [dict(pg.query("SELECT * FROM hunnypot.expire()"))["hit partitions"] for _ in range(3)] == [10, 10, 0]


def rows_of_the_list_read(pg, work, tables="listed_network"):
    """How many, also in an index, the statement WORK reads, which is undone."""
    connection = pg.connect()
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(work)
        cursor.execute("SELECT sum(pg_stat_get_xact_tuples_returned(oid))::int FROM pg_class "
                       f"WHERE relname ~ '^({tables})' AND relkind IN ('r', 'i')")
        read = cursor.fetchone()[0]
        cursor.execute("ROLLBACK")
    connection.close()
    return read


# None, true ones, and those of another time.
STATISTICS = ("DELETE FROM pg_statistic WHERE starelid = 'hunnypot.listed_network'::regclass",
              "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname ~ '^listed_network'",
              "ANALYZE hunnypot.listed_network",
              "UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE relname ~ '^listed_network'",
              "UPDATE pg_class SET reltuples = 1e8, relpages = 1000000 WHERE relname ~ '^listed_network'")


def test_a_long_list_is_not_read_for_a_few(pg):
    """However long the list, and however stale the statistics: expire() looks up the facts that are old, one by one, and
    the brake those who came."""
    list_networks(pg, "SELECT ('10.0.0.0'::inet + i)::cidr FROM generate_series(1, 60000) i")
    pg.query("""INSERT INTO hunnypot.offence_day (network, class, domain, day, named, witnessed, while_listed, owner, hits,
            first_seen, last_seen, counted)
        SELECT ('172.16.0.0'::inet + i)::cidr, 'backup', 'a.example', (t AT TIME ZONE 'UTC')::date, false, false, false,
               'a.example', 1, t, t, t
        FROM generate_series(1, 10) i, (SELECT now() - interval '91 days') x (t)""")
    assert rows_of_the_list_read(pg, "SELECT * FROM hunnypot.expire()") < 100
    pg.query("SELECT hunnypot.brake_release()")
    offend(pg, "203.0.113.1")
    pg.query("SELECT hunnypot.allow_add('10.0.0.1')")
    ((mark,),) = pg.query("SELECT hunnypot.list_mark()")
    offend(pg, "2001:db8::1")
    for statistics in STATISTICS:
        pg.query(statistics)
        assert pg.query("SELECT network::text FROM hunnypot.changed_listing('', '', %s)", mark) == [("2001:db8::1/128",)]
        for reader in ("publish_check()", "listing_serial()", "listing_state('')", "brake_room(1)", "brake_release()", f"list_mark('{mark}')",
                       f"changed_networks('{mark}')", f"changed_listing('', '', '{mark}')"):
            assert rows_of_the_list_read(pg, f"SELECT hunnypot.{reader}") < 100, (statistics, reader)
    assert dict(pg.query("SELECT * FROM hunnypot.expire()"))["offences"] == 10
    assert pg.query("SELECT networks FROM hunnypot.brake") == [(60001,)]


# All of 20000 /64 of one address, of 5000 with four, and of one with 20000.
MANY_OF_IPV6 = """SELECT format('2001:db8:1:%s::1', to_hex(i))::cidr FROM generate_series(1, 20000) i
    UNION ALL SELECT format('2001:db8:2:%s::%s', to_hex(i / 4), to_hex(i % 4 + 1))::cidr FROM generate_series(0, 19999) i
    UNION ALL SELECT format('2001:db8:3::%s', to_hex(i))::cidr FROM generate_series(1, 20000) i"""


def test_of_ipv6_only_those_concerned_are_read(pg):
    """Whatever the statistics, a hit costs what its /64 is judged by, and so does an address that is forgotten or allowed."""
    list_networks(pg, MANY_OF_IPV6)
    assert pg.query("SELECT count(*) FROM hunnypot.listed_network") == [(65001,)]
    hit = """INSERT INTO hunnypot.waiting (hit_id, due, ripe, time, network, class, domain, owner, name_state, while_listed)
        VALUES (gen_random_uuid(), now(), now(), now(), '{}', 'trap', 'b', 'b', 'none', false); SELECT hunnypot.tick()"""
    works = [hit.format(address) for address in ("2001:db8:1:5::9", "2001:db8:2:5::1", "2001:db8:3::9:9")] + [
        "SELECT hunnypot.forget('2001:db8:3::99')", "SELECT hunnypot.allow_add('2001:db8:3::99')",
        "SELECT * FROM hunnypot.expire()"]
    for table in ("listed_network", "offence_day"):
        for statistics in STATISTICS:
            pg.query(statistics.replace("listed_network", table))
            for work in works:
                read = rows_of_the_list_read(pg, work, "listed_network|offence_day")
                assert read < 3000, (statistics, table, work)
    pg.query("SELECT hunnypot.allow_add('2001:db8:3::99')")
    assert pg.query("SELECT count(*) FROM hunnypot.listing WHERE network <<= '2001:db8:3::/64'") == [(19999,)], "its /64 neither"
    pg.query("SELECT hunnypot.allow_del('2001:db8:3::99')")
    assert pg.query("SELECT count(*) FROM hunnypot.listing WHERE network <<= '2001:db8:3::/64'") == [(20001,)]
