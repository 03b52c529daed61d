"""The list of a large database: what readers ask of it, exports beside a COPY of the same, and a day's worth of expire()."""
import collections
import contextlib
import os
import re
import subprocess
import threading
import time
from pathlib import Path

from bench import parts
from bench.stats import Figure, Ratio
from testbed import milter, postgres
from testbed.base import STATE, TOP
from testbed.offences import tick_on

DAY_S = 86400
# Of five facts, two are of a network that is listed, and three of one that was, 31 to 89 days ago.
FACTS = """INSERT INTO hunnypot.offence_day (network, class, domain, day, named, witnessed, while_listed, owner, hits,
        first_seen, last_seen, counted)
    SELECT ('16.0.0.0'::inet + i)::cidr, 'trap', 'd' || d || '.example', (t AT TIME ZONE 'UTC')::date, false, true, false,
           'example', 1, t, t, t
    FROM generate_series(0, {networks} - 1) i, generate_series(1, 2 + i % 2) d,
         LATERAL (SELECT now() - CASE i % 2 WHEN 0 THEN i / 2 % 29 ELSE 31 + i / 2 % 59 END * interval '1 day') x (t)"""
# The hits of the days that are dropped, and those of today.
HITS = """INSERT INTO hunnypot.hit (hit_id, time, sensor_id, spool, seq, client, client_port, client_name,
        helo, sender, recipients, recipients_total, null_sender, tls, class, domain, queue_id, mta_name, owner, name_state,
        while_listed)
    SELECT gen_random_uuid(), {time}, 1, gen_random_uuid(), i, '16.0.0.0'::inet + i, 25, '', 'helo.example', '', '{{}}', 1,
           false, false, 'trap', 'd1.example', 'Q', 'mx.example', 'example', 'none', false FROM generate_series(1, {hits}) i"""
PARTITION = """DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - {ago}; BEGIN
    EXECUTE format('CREATE TABLE hunnypot.hit_%s PARTITION OF hunnypot.hit FOR VALUES FROM (%L) TO (%L)',
                   to_char(day, 'YYYYMMDD'), day::timestamp AT TIME ZONE 'UTC',
                   (day + 1)::timestamp AT TIME ZONE 'UTC'); END $$"""

STALE = """DO $$ BEGIN
    DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'hunnypot'::regnamespace);
    UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relnamespace = 'hunnypot'::regnamespace; END $$"""


def fill(database, facts):
    """A database with so many FACTS, of two fifths as many networks, and the list that is made of them.  (networks, seconds to make it)"""
    database.anew()
    database.query("UPDATE hunnypot.policy SET listed = true WHERE class = 'trap'")
    keep = database.query("SELECT extract(epoch FROM value::interval)::int / 86400 FROM hunnypot.setting "
                          "WHERE name = 'keep_hits'")[0][0]
    database.query(FACTS.format(networks=facts * 2 // 5))
    for ago in (keep, keep - 1, 0):
        database.query(PARTITION.format(ago=ago))
    for ago in (keep, keep - 1):
        database.query(HITS.format(time=f"now() - interval '{ago} days'", hits=facts // 30))
    began = time.monotonic()
    database.query("SELECT hunnypot.rebuild()")
    tick_on(database)
    networks, listed = database.query("""SELECT (SELECT count(DISTINCT network) FROM hunnypot.offence_day),
        (SELECT count(*) FROM hunnypot.listed_network WHERE removed IS NULL)""")[0]
    took = time.monotonic() - began
    print(f"keeping: {facts} facts of {networks} networks, {listed} of them listed: {took / networks * 1e6:.1f} µs each", flush=True)
    database.query("SELECT hunnypot.brake_release()")
    return networks, took


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def select_of(name):
    """What an export of the format NAME selects when no parameter is given."""
    text = (TOP / f"sql/export/{name}.sql").read_text()
    for parameter, value in re.findall("^-- parameter: ([a-z]+) = ([^ ]*)  ", text, re.M):
        text = text.replace(f":'{parameter}'", f"'{value}'")
    return text


def copy_out(select, path):
    """The least that an export has to do: what it selects, in its order, on the disk."""
    with open(path, "wb") as out:
        subprocess.run([postgres.binary("psql"), "-h", "/run/postgresql", "-U", "postgres", "-qXc", f"COPY ({select}\n) TO STDOUT", "hunnypot"],
                       stdout=out, check=True)
        os.fsync(out.fileno())


def export(name="plain", target=STATE / "exported"):
    parts.HERE.hunnypot("export", name, "-o", target)


def export_anew():
    """Seconds."""
    (STATE / "exported").unlink(missing_ok=True)
    return timed(export)


def export_memory(name, target):
    """The most memory that it took, in MB."""
    target.unlink(missing_ok=True)
    most = 0
    with subprocess.Popen([parts.HERE.build / "hunnypot", "export", name, "-o", target],
                          env=milter.environment(HUNNYPOT_DATADIR=str(TOP))) as process:
        while process.poll() is None:
            with contextlib.suppress(FileNotFoundError):  # it ended between the two looks
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:") and os.readlink(f"/proc/{process.pid}/exe").endswith("hunnypot"):
                        most = max(most, int(line.split()[1]) / 1024)
            time.sleep(0.01)
    return most


def exports(options):
    bare, target = STATE / "bare", STATE / "exported"
    found = []
    for name in ("plain", "postfix-cidr", "rbldnsd-ip4"):
        select, anew, again = select_of(name), [], []
        for number in range(options.rounds):
            target.unlink(missing_ok=True)
            bare.unlink(missing_ok=True)
            sides = [lambda: timed(lambda: copy_out(select, bare)), lambda: timed(lambda: export(name))]
            if number % 2 == 0:
                pair = sides[0](), sides[1]()
            else:
                second = sides[1]()
                pair = sides[0](), second
            anew.append(pair)
            again.append((pair[0], timed(lambda: export(name))))
            assert bare.read_bytes() == target.read_bytes(), name
        found += [Ratio(f"export {name} -o / psql COPY of the same SELECT, fsynced", anew, at_most=1.1, unit="s"),
                  Ratio(f"export {name} again, nothing changed / COPY", again, unit="s"),
                  Figure(f"export {name}: memory", [export_memory(name, target)], at_most=16, unit="MB")]
    return found


def expired(database, days, statistics):
    """DAYS have passed since the clock was set right: expire() until nothing is removed, beside somebody who records.  Seconds of each step, how
    many rows of what went, and the seconds of each hit recorded meanwhile."""
    database.query("ANALYZE" if statistics else STALE)
    database.set_ahead(days * DAY_S)
    database.restart()
    waited, stop = [], threading.Event()

    def record():
        connection = database.connect()
        with connection.cursor() as cursor:
            while not stop.is_set():
                waited.append(timed(lambda: cursor.execute(HITS.format(time="now()", hits=1))))
                stop.wait(0.01)
        connection.close()
    recorder = threading.Thread(target=record)
    recorder.start()
    took, removed, step = [], collections.Counter(), True
    while step:
        began = time.monotonic()
        step = {what: number for what, number in database.query("SELECT * FROM hunnypot.expire()") if number}
        took.append(time.monotonic() - began)
        removed.update(step)
    stop.set()
    recorder.join()
    database.set_ahead(0)
    return took, removed, waited


def expire(database, days, statistics):
    """DAYS have passed, and expire() has seen all but the last.  How long it takes, and the longest that recording a hit took
    meanwhile."""
    took, removed, waited = expired(database, days, statistics)
    print(f"keeping: expire() removed {removed['offences']} facts in {sum(took):.2f} s", flush=True)
    name = "" if statistics else ", without statistics"
    return [Figure(f"expire() of a day's worth{name}", [sum(took)], at_most=5, unit="s"),
            Figure(f"recording a hit meanwhile, at the longest{name}", [max(waited)], at_most=0.2, unit="s")]


def measure(options, needs):
    database = needs.database()
    database.set_ahead(0)
    database.restart()
    fill(database, 20000 if options.quick else options.facts)
    found = []
    connection = database.connect()
    with connection.cursor() as cursor:
        for question in ("publish_check()", "listing_serial()", "listed('16.0.0.9')", "why('16.0.0.9')"):
            def ask():
                cursor.execute(f"SELECT * FROM hunnypot.{question}")
                cursor.fetchall()
            found.append(Figure(f"SELECT {question}", [timed(ask) for _ in range(options.rounds)], at_most=0.1, unit="s"))
    connection.close()
    return found + exports(options) + expire(database, 1, statistics=False) + expire(database, 2, statistics=True)
