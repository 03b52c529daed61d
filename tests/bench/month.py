"""A month of a large site: 30 daily partitions, the marks of a thousand sensors, and the month's expiry.  What a million hits take on the disk
and in WAL, what a batch takes beside all that, and whether recording goes on while the month goes."""
from bench.keeping import expired, timed
from bench.stats import Figure
from cli_data import Sensor

DAYS, SENSORS, BATCH = 30, 1000, 100
SENSOR_ROWS = """INSERT INTO hunnypot.sensor (name, last_seen) SELECT 'sensor' || i, now() FROM generate_series(1, {sensors}) i;
    INSERT INTO hunnypot.spool (spool, sensor_id, mark, last_seq, last_batch)
    SELECT gen_random_uuid(), sensor_id, gen_random_uuid(), 1000, now() FROM hunnypot.sensor"""
# As sensors record them, of a third as many clients, and with what witnesses are asked for.
DAY = """WITH new AS (
        INSERT INTO hunnypot.hit (hit_id, time, recorded, sensor_id, spool, seq, client, client_port, client_name, helo, sender, recipients,
            recipients_total, null_sender, tls, class, domain, primary_host, primary_age_ms, queue_id, mta_name, local, owner, name_state,
            while_listed)
        SELECT gen_random_uuid(), day + i * interval '1 day' / {hits}, day + i * interval '1 day' / {hits}, 1 + i % {sensors}, gen_random_uuid(), i,
               '16.0.0.0'::inet + (i / 3 * 7919::bigint % {hits}), 40000 + i % 20000, '[192.0.2.1]', 'host' || i % 1000 || '.example',
               'forged' || i % 5000 || '.example', ARRAY['backup' || i % 50 || '.example'], 1, false, false, 'backup', 'backup' || i % 50 || '.example',
               'mx1.backup.example', 1500, '4QZ1xW0abc', 'mx2.example.org', '192.0.2.25', 'example', 'none', false
        FROM generate_series(1, {hits}) i, (SELECT now()::date - {ago} + interval '0 s' AS day) d
        RETURNING hit_id, time, recorded, client, class, domain)
    INSERT INTO hunnypot.envelope (hit_id, recorded, time, client, class, domain, primaries, key_id, hashes, whole)
    SELECT hit_id, recorded, time, client, class, domain, '{{mx1.backup.example}}', '0123456789abcdef', sha256(hit_id::text::bytea) || substr(sha256(''), 1, 16), true
    FROM new WHERE {ago} < 6"""
FACTS = """INSERT INTO hunnypot.offence_day (network, class, domain, day, named, witnessed, while_listed, owner, hits, first_seen, last_seen, counted)
    SELECT hunnypot.client_network(client), class, domain, time::date, false, true, false, owner, count(*), min(time), max(time), max(recorded)
    FROM hunnypot.hit_{day} GROUP BY 1, 2, 3, 4, owner"""


def fill(database, hits):
    database.anew()
    database.query("SET timezone = 'UTC'; " + SENSOR_ROWS.format(sensors=SENSORS))
    for ago in range(DAYS - 1, -1, -1):
        [(day,)] = database.query(f"SELECT to_char((now() AT TIME ZONE 'UTC')::date - {ago}, 'YYYYMMDD')")
        database.query(f"SELECT hunnypot.make_partitions(ARRAY[to_date('{day}', 'YYYYMMDD')])")
        database.query("SET timezone = 'UTC'; " + DAY.format(hits=hits, sensors=SENSORS, ago=ago))
        database.query("SET timezone = 'UTC'; " + FACTS.format(day=day))


def sizes(database, millions):
    """Megabytes a million hits."""
    rows = database.query("""SELECT sum(pg_total_relation_size(c.oid)) FILTER (WHERE relname ~ '^hit_[0-9]'), pg_total_relation_size('hunnypot.envelope'),
        pg_total_relation_size('hunnypot.offence_day') FROM pg_class c WHERE relnamespace = 'hunnypot'::regnamespace""")[0]
    return [Figure(f"size of a million hits: {name}", [float(size) / 1e6 / count], unit="MB")
            for name, size, count in (("evidence", rows[0], millions), ("envelopes, for 6 days", rows[1], millions * 6 / DAYS),
                                      ("facts, a day's", rows[2], millions))]


def batches(database, rounds):
    """Of one sensor after the other: seconds a batch, and WAL."""
    [(before,)] = database.query("SELECT pg_current_wal_lsn() - '0/0'")
    took = []
    for number in range(rounds * 10):
        sensor = Sensor(database, name=f"sensor{number + 1}")
        hits = [{"client": f"20.{number % 250}.{i}.1", "key_id": "0123456789abcdef", "envelope": "\\x" + "00" * 48, "envelope_whole": True,
                 "primaries": ["mx1.backup.example"]} for i in range(BATCH)]
        took.append(timed(lambda: sensor.record(*hits)))  # pylint: disable=cell-var-from-loop
    [(after,)] = database.query("SELECT pg_current_wal_lsn() - '0/0'")
    return [Figure(f"a batch of {BATCH} hits, one sensor of {SENSORS} after the other", took, unit="s"),
            Figure("WAL of a million hits, recorded so", [float(after - before) / 1e6 / (len(took) * BATCH) * 1e6], unit="MB")]


def expiry(database):
    """Thirty days later all of the month is too old."""
    took, removed, waited = expired(database, DAYS + 1, statistics=False)
    print(f"month: expire() removed {dict(removed)} in {len(took)} steps, at the longest {max(took):.2f} s", flush=True)
    return [Figure("expire() of a month, without statistics", [sum(took)], unit="s"),
            Figure("recording a hit meanwhile, at the longest", [max(waited)], at_most=0.2, unit="s")]


def measure(options, needs):
    database = needs.database()
    database.set_ahead(0)
    database.restart()
    hits = 500 if options.quick else options.facts
    took = timed(lambda: fill(database, hits))
    print(f"month: {DAYS} days of {hits} hits, made in {took:.0f} s", flush=True)
    return sizes(database, hits * DAYS / 1e6) + batches(database, options.rounds) + expiry(database)
