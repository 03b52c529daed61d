"""PostgreSQL's CPU for 100,000 hits, everything included: recorded, ripened, counted, listed, one witness asking; against the commit that
the target is counted from."""
import shutil
import time

from bench import parts
from bench.stats import Ratio
from testbed import milter as milter_part
from testbed.base import STATE, run, wait_for

DOMAINS = ["backup.example"]
AHEAD_S = 25 * 3600  # longer than any hit ripens
KEY = STATE / "envelope.key"


def make_key(tree, database):
    KEY.unlink(missing_ok=True)
    tree.hunnypot("witness", "key", "--new", "--key", KEY)
    run("chown", "root:hunnypot", KEY)
    if not database.query("SELECT 1 FROM pg_roles WHERE rolname = 'witness'", database="postgres"):
        database.query("CREATE ROLE witness LOGIN IN ROLE hunnypot_witness", database="postgres")


def read_log(tree, text):
    """A new witness of the primary, whose log is TEXT: it fetches what waits, and tells what it can."""
    log, ledgers = STATE / "primary.log", STATE / "bench-ledgers"
    shutil.rmtree(ledgers, ignore_errors=True)
    ledgers.mkdir()
    log.write_text(text)
    began = time.monotonic()
    tree.hunnypot("--database", "user=witness dbname=hunnypot", "witness", "--format", "postfix", "--host", "mx1.backup.example",
                  "--name", "one", "--key", KEY, "--state", ledgers, log)
    return time.monotonic() - began


def witness(tree, watch):
    """One whose log says nothing, and that is to have watched all the time."""
    read_log(tree, "")
    watch.execute("INSERT INTO hunnypot.witness_stretch SELECT witness_id, now() - interval '3 days', now() + interval '3 days', keys "
                  "FROM hunnypot.witness ON CONFLICT DO NOTHING")


def one(tree, database, hits):
    """CPU seconds for HITS hits of half as many clients, through the daemon of TREE."""
    database.query("DROP DATABASE IF EXISTS hunnypot WITH (FORCE)", database="postgres")
    database.set_ahead(0)
    database.restart()  # a process may go by what it, or the one that it was forked from, read before
    database.query("CREATE DATABASE hunnypot", database="postgres")
    tree.hunnypot("db", "init")
    if not database.query("SELECT 1 FROM pg_roles WHERE rolname = 'sensor'"):
        database.query("CREATE ROLE sensor LOGIN IN ROLE hunnypot_sensor", database="postgres")
    settings = {"limits": {"connections": 0, "connections_per_client": 0, "client_bytes": 0}, "log_level": "warning",
                "liveness": {"verdict_timeout": None}}  # a burst of new clients waits for their names: none is to be given up
    if tree is parts.HERE:
        make_key(tree, database)
        settings["envelope_key"] = str(KEY)
    else:
        settings["liveness"] |= {"probe_interval": None, "fresh": None}  # it had none of these
    daemon = milter_part.Milter(settings, "bench", program=tree.build / "hunnypot-milter", under=("env",))
    daemon.start()
    watch = database.connect().cursor()  # one session for all looks, whose CPU is not counted

    def cpu():
        return database.cpu() - parts.cpu_seconds(watch.connection.info.backend_pid)

    def first(sql):
        watch.execute(sql)
        return watch.fetchone()[0]
    try:
        before = cpu()
        parts.load(milter_part.SOCKET, 16, hits, DOMAINS, clients=hits // 2)
        # Not the numbers that a spool gave: what is recorded after the clock was set ahead ripens later still.
        wait_for(lambda: first("SELECT count(*) FROM hunnypot.hit") >= hits, 300, "end of the hits", interval=0.5)
        if tree is parts.HERE:
            witness(tree, watch)
            assert first("SELECT count(*) FROM hunnypot.envelope") == hits
        database.set_ahead(AHEAD_S)
        if first("SELECT to_regclass('hunnypot.waiting') IS NOT NULL"):
            while database.query("SELECT hunnypot.tick()") == [(True,)]:  # as the sensor does, each 10 s
                pass
            wait_for(lambda: not first("SELECT EXISTS (SELECT FROM hunnypot.waiting)"), 300, "end of the ripening", interval=0.5)
        time.sleep(1)  # what was committed last is still being counted by the kernel
        return cpu() - before
    finally:
        watch.connection.close()
        daemon.stop()
        daemon.remove()


def measure(options, needs):
    before = parts.tree_before() or (parts.HERE if options.quick else None)
    if before is None:
        print("recording: there is no commit to compare with")
        return []
    needs.dns()
    needs.primary("198.51.100.1")
    needs.primary("2001:db8:100::1")
    database = needs.database()
    hits = 2000 if options.quick else options.hits
    pairs = []
    for number in range(options.rounds):
        turn = dict.fromkeys((before, parts.HERE) if number % 2 == 0 else (parts.HERE, before))  # in the quick form both may be one
        took = {tree: one(tree, database, hits) * 100000 / hits for tree in turn}
        pairs.append((took[before], took[parts.HERE]))
        print(f"recording: {took[before]:.2f} s and {took[parts.HERE]:.2f} s of backend CPU for 100,000 hits", flush=True)
    return [Ratio("backend CPU for 100,000 hits, everything included / start commit", pairs, at_most=1.25, unit="s")]
