"""Who waits for whom in the database: no order of steps is a deadlock, and nobody holds anybody up by a lock that anybody may take."""
import collections
import contextlib
import itertools
import json
import random
import subprocess
import threading
import uuid

import psycopg2
import pytest

from cli_data import Sensor
from testbed.base import BUILD, wait_for
from testbed.milter import environment
from testbed.offences import offend, tick_on


def test_a_sensor_holds_no_upgrade_up(pg):
    """With a lock that everybody may take who may connect."""
    sensor = pg.connect(user="sensor")
    sensor.cursor().execute("SELECT pg_advisory_lock(hashtext('hunnypot.schema'))")
    assert subprocess.run([BUILD / "hunnypot", "db", "upgrade"], env=environment(PGUSER="postgres"), timeout=60, check=False).returncode == 0
    sensor.close()


def test_nobody_waits_for_a_lock_that_anybody_may_take(pg):
    """What is locked are tables, and no role that programs log in as may lock those so that somebody waits."""
    assert pg.query("SELECT proname FROM pg_proc WHERE pronamespace = 'hunnypot'::regnamespace AND prosrc ~ 'advisory'") == []
    tables = [name for name, in pg.query("SELECT relname FROM pg_class WHERE relnamespace = 'hunnypot'::regnamespace AND relkind IN ('r', 'p')")]
    assert {"turn_list", "turn_record", "turn_partitions"} < set(tables)
    for user in ("sensor", "reader", "witness"):
        for table in tables:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                pg.query(f"BEGIN; LOCK TABLE hunnypot.{table} IN ROW EXCLUSIVE MODE NOWAIT", user=user)


# Who is on the list, and why.
KEPT = """SELECT network, class, witnessed, hits, domains, last_seen FROM hunnypot.listed_network WHERE removed IS NULL AND until > now()
    ORDER BY network, class"""
CLIENTS = [f"203.0.113.{number}" for number in range(8)] + [f"2001:db8::{number}" for number in range(8)]


def test_all_that_writes_at_the_same_time(pg):
    """Sensors, operators, witnesses and time touch the same few networks, each from a connection of its own: no deadlock, and no error."""
    rng = random.Random(1)
    sensors = [Sensor(pg, f"sensor{number}") for number in range(2)]
    stop, faults, done = threading.Event(), [], collections.Counter()

    def record(sensor):
        sensor.record(*({"client": rng.choice(CLIENTS), "class": rng.choice(["trap", "backup", "address"]),
                         "hit_id": str(uuid.uuid4()), "ago": rng.choice(["0 s", "40 days", "1 day"])} for _ in range(rng.randrange(1, 9))))
    works = {
        "record 0": lambda: record(sensors[0]),
        "record 1": lambda: record(sensors[1]),
        "tick": lambda: pg.query("SELECT hunnypot.tick()"),
        "forget": lambda: pg.query("SELECT hunnypot.forget(%s)", rng.choice(CLIENTS)),
        "forget many": lambda: pg.query("SELECT hunnypot.forget(%s)", rng.choice(["203.0.113.0/29", "2001:db8::/64"])),
        "expire": lambda: pg.query("SELECT hunnypot.expire()"),
        "allow": lambda: pg.query("SELECT hunnypot.allow_add(%s)", rng.choice(CLIENTS)),
        "allow no more": lambda: pg.query("SELECT hunnypot.allow_del(%s)", rng.choice(CLIENTS)),
        "policy": lambda: pg.query("UPDATE hunnypot.policy SET min_hits = %s WHERE class = 'backup'", rng.randrange(1, 4)),
        "rebuild": lambda: pg.query("SELECT hunnypot.rebuild()"),
        "redeem": lambda: pg.query("SELECT hunnypot.redeem(ARRAY(SELECT hit_id FROM hunnypot.hit ORDER BY random() LIMIT 3))"),
        "brake": lambda: pg.query("SELECT hunnypot.publish_check(), hunnypot.brake_release()"),
    }

    def work(name):
        while not stop.is_set():
            try:
                works[name]()
                done[name] += 1
            except psycopg2.Error as error:
                faults.append(f"{name}: {error}")
                return
    threads = [threading.Thread(target=work, args=(name,)) for name in works]
    for thread in threads:
        thread.start()
    wait_for(lambda: faults or (len(done) == len(works) and min(done.values()) >= 20), 240, "twenty of each")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert pg.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
    tick_on(pg)
    before = pg.query(KEPT)
    pg.query("SELECT hunnypot.rebuild()")
    tick_on(pg)
    assert pg.query(KEPT) == before


class Step:
    """A connection that does one thing, and takes it back as soon as it is done."""

    def __init__(self, pg):
        self.connection = pg.connect()
        self.cursor = self.connection.cursor()
        self.pid = self.connection.get_backend_pid()
        self.error, self.thread = None, None

    def begin(self, sql, values=None):
        def work():
            try:
                self.cursor.execute("BEGIN")
                self.cursor.execute(sql, values)
            except psycopg2.Error as error:
                self.error = error
            self.cursor.execute("ROLLBACK")
        self.error = None
        self.thread = threading.Thread(target=work)
        self.thread.start()

    def end(self):
        self.thread.join(60)
        assert not self.thread.is_alive(), "it waits for ever"
        return self.error


class Steps:
    """HOLDER locks a table, FIRST comes to it and waits there with what it has locked so far, SECOND goes as far as it can, and
    HOLDER lets go: every place where one of them can be overtaken."""

    def __init__(self, pg):
        self.looker = pg.connect().cursor()
        self.holder = pg.connect().cursor()
        self.first, self.second = Step(pg), Step(pg)

    def settled(self, step):
        """"done" or "waits"."""
        def look():
            if not step.thread.is_alive():
                return "done"
            self.looker.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (step.pid,))
            return "waits" if self.looker.fetchone()[0] else None
        return wait_for(look, 60, "step that is done or waits", interval=0.0005)

    @contextlib.contextmanager
    def stopped_at(self, table, *first):
        """Yields whether FIRST waits for TABLE."""
        self.holder.execute(f"BEGIN; LOCK TABLE hunnypot.{table}")
        self.first.begin(*first)
        waits = self.settled(self.first) == "waits"
        try:
            yield waits
        finally:
            self.holder.execute("ROLLBACK")
            self.first.end()

    def tables(self, names, *work):
        """Those of NAMES that WORK ever waits for."""
        found = []
        for table in names:
            with self.stopped_at(table, *work) as waits:
                if waits:
                    found.append(table)
        return found

    def meet(self, first, second):
        """Does one of them ever wait for the other?"""
        self.holder.execute("BEGIN")
        self.holder.execute(*first)
        self.second.begin(*second)
        waits = self.settled(self.second) == "waits"
        self.holder.execute("ROLLBACK")
        return waits | (self.second.end() is not None)

    def overtake(self, table, first, second):
        """The errors of both; one that will not wait as long as HOLDER holds is none."""
        with self.stopped_at(table, *first):
            self.second.begin(*second)
            self.settled(self.second)
        return [str(error) for error in (self.first.error, self.second.end())
                if error and not isinstance(error, psycopg2.errors.LockNotAvailable)]


@pytest.fixture
def world(pg):
    """What programs and operators do to a database in which each of it finds work."""
    sensors = [Sensor(pg, f"sensor{number}") for number in range(2)]
    envelope = {"key_id": "k", "envelope": "\\x" + "00" * 16, "envelope_whole": True, "primaries": ["mx1.backup.example"]}
    for number, sensor in enumerate(sensors):
        sensor.record(*({"client": client, "hit_id": str(uuid.uuid4()), "class": kind, **envelope}
                        for client in ("203.0.113.1", "203.0.113.2", "2001:db8::1") for kind in ("trap", "backup")))
    offend(pg, "203.0.113.1")
    pg.query("SELECT hunnypot.witness_hello('mx1.backup.example', 'm', '1', '{k}', 'envelope')")
    pg.query("SELECT hunnypot.allow_add('203.0.113.9', expires => now())")
    hit, = pg.query("SELECT hit_id FROM hunnypot.envelope ORDER BY client LIMIT 1")[0]
    found = json.dumps([{"hit": hit, "what": "accepted", "time": int(pg.query("SELECT extract(epoch FROM now()) * 1000000")[0][0])}])
    list(map(lambda sensor: sensor.heartbeat(), sensors))
    # Some of it is not counted yet.
    pg.query("UPDATE hunnypot.policy SET ripens = '1 hour' WHERE class = 'backup'")
    sensors[0].record({"client": "203.0.113.2", "class": "backup", "hit_id": str(uuid.uuid4()), **envelope})
    pg.query("UPDATE hunnypot.waiting SET due = now()")

    def hits(*clients):
        return [{"client": client, "class": kind, "hit_id": str(uuid.uuid4()), **envelope} for client in clients for kind in ("trap", "backup")]
    return {
        "record": sensors[0].batch(*hits("203.0.113.2", "203.0.113.1")),
        "record of another": sensors[1].batch(*hits("203.0.113.1", "203.0.113.2")),
        "hello": ("SELECT hunnypot.sensor_hello('sensor0', gen_random_uuid(), '{}', 1)",),
        "heartbeat": ("SELECT hunnypot.sensor_heartbeat('sensor1', '', 0, 0, 0, '{}')",),
        "retire": ("SELECT hunnypot.sensor_retire('sensor1')",),
        "friends": ("SELECT hunnypot.sensor_friends('sensor0', '{203.0.113.2}', '{203.0.113.1}', NULL, 10)",),
        "tick": ("SELECT hunnypot.tick()",),
        "expire": ("SELECT hunnypot.expire()",),
        "forget": ("SELECT hunnypot.forget('203.0.113.0/30')",),
        "allow": ("SELECT hunnypot.allow_add('203.0.113.1')",),
        "allow again": ("SELECT hunnypot.allow_add('203.0.113.9')",),
        "allow no more": ("SELECT hunnypot.allow_del('203.0.113.9')",),
        "setting": ("UPDATE hunnypot.setting SET value = '5' WHERE name = 'brake_floor'",),
        "policy": ("UPDATE hunnypot.policy SET min_hits = min_hits + 1",),
        "enable": ("SELECT hunnypot.policy_enable('trap', false)",),
        "rebuild": ("SELECT hunnypot.rebuild()",),
        "release": ("SELECT hunnypot.brake_release()",),
        "witness": ("SELECT hunnypot.witness_hello('mx1.backup.example', 'm', '1', '{k}', 'envelope')",),
        "witness found": ("SELECT hunnypot.witness_found('mx1.backup.example', 'm', %s)", (found,)),
        "witness removed": ("SELECT hunnypot.witness_remove('mx1.backup.example', 'm')",),
        "ask for removal": ("SELECT hunnypot.door_ask('203.0.113.1', '203.0.113.1', hunnypot.door_token('203.0.113.1'))",),
    }


def test_no_order_of_steps_is_a_deadlock(pg, world):
    """Each of it is stopped at each table that it comes to, while each other with which it may meet goes on."""
    pg.query("ALTER DATABASE hunnypot SET deadlock_timeout = '5ms'")
    steps = Steps(pg)
    tables = [name for name, in pg.query("SELECT relname FROM pg_class c WHERE relnamespace = 'hunnypot'::regnamespace AND relkind IN ('r', 'p') "
                                         "AND NOT relispartition ORDER BY relname")]
    stops = {name: steps.tables(tables, *work) for name, work in world.items()}
    assert [name for name, found in stops.items() if not found] == []
    met = {(first, second) for first, second in itertools.combinations_with_replacement(world, 2) if steps.meet(world[first], world[second])}
    faults = [f"{second} overtakes {first} at {table}: {error}"
              for first, found in stops.items() for table in found for second in world if met & {(first, second), (second, first)}
              for error in steps.overtake(table, world[first], world[second])]
    assert faults == []
