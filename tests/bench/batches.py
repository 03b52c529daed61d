"""Batches into PostgreSQL, as sensors send them, by themselves: beside a binary COPY of the same rows of evidence; several sensors at once; a
long backlog; and what it costs to count what is ripe, a distinct client and domain.  `recording` has the same with all around it."""
import io
import threading
import time
import uuid

from bench.readers import both, cpu_us
from bench.stats import Figure, Ratio

BATCH, COPIED = 500, 1000  # what the daemon sends at most; what the COPY is given at a time
MAKE = """CREATE UNLOGGED TABLE IF NOT EXISTS bench_batch (number int PRIMARY KEY, hits hunnypot.new_hit[]);
    INSERT INTO bench_batch
    SELECT (i - 1) / {batch} + coalesce((SELECT max(number) + 1 FROM bench_batch), 0),
           array_agg((i, gen_random_uuid(), now(), '20.0.0.0'::inet + (i - 1) / 2, 4660, '[20.0.0.1]', 'n' || i || '.load.example',
                      'x' || i || '@forged' || i % 1000 || '.example', ARRAY['user' || i % 5000 || '@backup.example'], 1, false, false, 'backup',
                      'backup.example', 'mx1.backup.example', 120, '4QZ1xW0abc', 'mx2.example.org', '192.0.2.1', 'backup.example', 'none',
                      '0123456789abcdef', sha256(i::text::bytea) || substr(sha256(''), 1, 16), true,
                      ARRAY['mx1.backup.example'])::hunnypot.new_hit)
    FROM generate_series(1, {hits}) i GROUP BY (i - 1) / {batch}"""
RIPE = """SELECT hunnypot.witness_hello('mx1.backup.example', 'one', '1', '{0123456789abcdef}', 'envelope');
    INSERT INTO hunnypot.witness_stretch SELECT witness_id, now() - interval '3 days', now() + interval '1 day', keys FROM hunnypot.witness
        ON CONFLICT DO NOTHING;
    UPDATE hunnypot.waiting SET due = now(), ripe = now(); VACUUM hunnypot.waiting"""


class Life:
    """Of one sensor, over a connection of its own."""

    def __init__(self, database, name):
        self.name, self.life, self.mark = name, str(uuid.uuid4()), None
        self.connection = database.connect()
        self.cursor = self.connection.cursor()
        self.cursor.execute("SELECT hunnypot.sensor_hello(%s, %s, '{}', 1)", (name, self.life))
        self.pid = self.connection.info.backend_pid

    def record(self, numbers):
        """(CPU microseconds, seconds) for these batches."""
        before, began = cpu_us(self.pid), time.monotonic()
        for number in numbers:
            link = str(uuid.uuid4())
            self.cursor.execute("SELECT hunnypot.record_batch(%s, %s, %s, %s, false, hits) FROM bench_batch WHERE number = %s",
                                (self.name, self.life, self.mark, link, number))
            assert self.cursor.fetchone()[0] == link
            self.mark = link
        return cpu_us(self.pid) - before, time.monotonic() - began


def fresh(database, hits):
    database.anew()
    database.query(MAKE.format(batch=BATCH, hits=hits))
    database.query("SELECT hunnypot.make_partitions(ARRAY[current_date, current_date + 1])")
    for statement in ("VACUUM ANALYZE bench_batch", "CHECKPOINT"):
        database.query(statement)


def clear(database):
    """As many hits as before go in, and the clients are the same: nothing of the last round is to be there."""
    database.query("TRUNCATE hunnypot.hit, hunnypot.envelope, hunnypot.witness_found, hunnypot.waiting, hunnypot.offence_day")
    database.query("CHECKPOINT")


def against_copy(database, rounds, hits):
    record(database, Life(database, "copied"), hits)
    connection = database.connect()
    cursor, chunks = connection.cursor(), []
    cursor.execute("CREATE TEMP TABLE evidence AS SELECT * FROM hunnypot.hit ORDER BY seq")
    for first in range(0, hits, COPIED):
        chunks.append(io.BytesIO())
        cursor.copy_expert(f"COPY (SELECT * FROM evidence OFFSET {first} LIMIT {COPIED}) TO STDOUT (FORMAT binary)", chunks[-1])
    life = Life(database, "one")

    def copy():
        clear(database)
        before, began = cpu_us(connection.info.backend_pid), time.monotonic()
        for chunk in chunks:
            chunk.seek(0)
            cursor.copy_expert("COPY hunnypot.hit FROM STDIN (FORMAT binary)", chunk)
        return cpu_us(connection.info.backend_pid) - before, time.monotonic() - began
    pairs = both(rounds, copy, lambda: record(database, life, hits))
    connection.close()
    return [Ratio("hits/s into PostgreSQL / binary COPY of the evidence", [(hits / a[1], hits / b[1]) for a, b in pairs], at_least=0.45, unit="1/s"),
            Ratio("the same: CPU of a hit", [(a[0] / hits, b[0] / hits) for a, b in pairs], unit="us")]


def record(database, life, hits):
    """(CPU microseconds, seconds) for the first HITS, into tables with nothing in them."""
    clear(database)
    return life.record(range(hits // BATCH))


def count_ripe(database, life):
    """(CPU microseconds, seconds) to count all that was recorded, which becomes ripe at once."""
    for statement in RIPE.split(";"):
        database.query(statement)
    before, began, more = cpu_us(life.pid), time.monotonic(), True
    while more:
        life.cursor.execute("SELECT hunnypot.tick()")
        [more] = life.cursor.fetchone()
    return cpu_us(life.pid) - before, time.monotonic() - began


def counting(database, rounds, hits):
    """Half as many clients as hits."""
    took = []
    life = Life(database, "counted")
    for _ in range(rounds):
        record(database, life, hits)
        took.append(count_ripe(database, life)[0] / (hits / 2))
    assert database.query("SELECT count(*), sum(hits) FROM hunnypot.offence_day") == [(hits // 2, hits)]
    return [Figure("counting what is ripe: backend CPU a distinct client and domain, of two hits", took, at_most=12, unit="us")]


def sensors(database, rounds, hits):
    lives = [Life(database, f"sensor{number}") for number in range(4)]

    def together(count):
        clear(database)
        shares, began = [range(number, hits // BATCH, count) for number in range(count)], time.monotonic()
        threads = [threading.Thread(target=life.record, args=(share,)) for life, share in zip(lives, shares)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return hits / (time.monotonic() - began)
    pairs = both(rounds, lambda: together(1), lambda: together(4))
    [(deadlocks,)] = database.query("SELECT deadlocks FROM pg_stat_database WHERE datname = 'hunnypot'")
    return [Ratio("hits/s of four sensors / of one", pairs, at_least=1.1, unit="1/s"), Figure("deadlocks", [deadlocks], at_most=0)]


def backlog(database, hits):
    """CPU of a hit in the first hundredth of a backlog, and at its end."""
    clear(database)
    life, at, costs = Life(database, "behind"), 0, []
    for upto in (hits // 100, hits // 10, hits):
        numbers = range(at // BATCH, upto // BATCH)
        cpu, _ = life.record(numbers)
        costs.append(cpu / (len(numbers) * BATCH))
        print(f"batches: from {at} to {upto} hits {costs[-1]:.1f} µs of CPU each", flush=True)
        at = upto
    return [Ratio(f"a backlog of {hits}: CPU of a hit at its end / in its first hundredth", [(costs[0], costs[-1])], at_most=1.1, unit="us")]


def measure(options, needs):
    database = needs.database()
    database.set_ahead(0)
    database.restart_with_true_clock()
    hits = 2000 if options.quick else max(options.hits, 20000)
    fresh(database, hits)
    found = against_copy(database, options.rounds, hits) + counting(database, options.rounds, hits) + sensors(database, options.rounds, hits)
    behind = 50000 if options.quick else options.facts
    fresh(database, behind)
    found += backlog(database, behind)
    database.restart()
    return found
