"""What anybody may ask: /lookup of hunnypot-web, with itself and PostgreSQL on one core, and who asks on another, as often as they get
answers.  Of addresses that are listed and of others, as a page and as JSON, over connections that stay and over one each; with
statistics of the database as it is, and with those of the empty one that it was.

Who asks is wrk.  The CPU of a request is that of hunnypot-web and of its backends, which others on the machine disturb less than time.
"""
import json
import os
from pathlib import Path

from bench import keeping, parts, readers
from bench.stats import Figure
from testbed import milter, web
from testbed.base import STATE, TOP, TestbedError, run

AT = "198.51.100.80:8080"
ASK = TOP / "tests/bench/ask.lua"
CONNECTIONS = 8  # at 2,000/s, with all of them always busy, 4 ms each on average
STATES = ("statistics of an empty database", "no statistics", "statistics")
KINDS = (("listed", 0, []), ("not listed", 1, []), ("listed, JSON", 0, ["json"]), ("listed, a connection each", 0, ["close"]))


def facts(database, options):
    """FACTS of --facts, and the list that they make, as refresh() would write it; who has two is listed.  Statistics are of what was
    there before.  Half of the listings are inferred."""
    database.anew()
    if not database.query("SELECT 1 FROM pg_roles WHERE rolname = 'hunnypot-web'", database="postgres"):
        database.query('CREATE ROLE "hunnypot-web" LOGIN NOINHERIT IN ROLE hunnypot_reader, hunnypot_door', database="postgres")
    networks = (20000 if options.quick else options.facts) * 2 // 5
    database.query("ALTER SYSTEM SET autovacuum = off")
    database.reload()
    database.query("ANALYZE")
    database.query("UPDATE hunnypot.policy SET listed = true WHERE class = 'trap'")
    database.query(keeping.FACTS.format(networks=networks))
    # Every second network has facts that are new enough.
    database.query("""INSERT INTO hunnypot.listed_network (network, class, since, until, witnessed, soft_until, hits, domains, last_seen,
            due, serial, entered)
        SELECT network, class, min(counted), max(counted) + interval '30 days', (network - '16.0.0.0'::inet) % 4 = 0, min(counted),
               sum(hits), count(*), max(last_seen), max(counted) + interval '30 days', 1, 1
        FROM hunnypot.offence_day WHERE day > current_date - 30 GROUP BY 1, 2""")
    return networks


class Server:
    """hunnypot-web and its backends, on one core; the rest of PostgreSQL too."""

    def __init__(self, database, core):
        self.database = database
        self.web = web.Web("--public", AT, "--rate", "0", "--trusted-proxy", "198.51.100.0/24")
        for pid in [self.web.server.pid, *parts.base.family(database.server.pid)]:
            run("taskset", "-a", "-c", "-p", core, pid)

    def cpu_us(self):
        """Of hunnypot-web, and of its backends."""
        pids = self.database.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'hunnypot-web'")
        return readers.cpu_us(self.web.server.pid), sum(readers.cpu_us(pid) for (pid,) in pids)

    def stop(self):
        self.web.stop(within=5)
        self.web.remove()


def ask(server, core, seconds, networks, other, *words):
    """What wrk came to, and the CPU of a request in microseconds."""
    before = server.cpu_us()
    done = run("taskset", "-c", core, "wrk", "--threads", "1", "--connections", CONNECTIONS, "--duration", f"{seconds}s", "--timeout",
               "10s", "--script", ASK, f"http://{AT}/lookup", "--", networks, other, *words, timeout=120)
    after = server.cpu_us()
    found = json.loads(done.stdout.splitlines()[-1])
    if found["wrong"]:
        raise TestbedError(f"of {found['requests']} look-ups {found['wrong']} came to nothing: {server.web.log()[-2000:]}")
    found["cpu_us"] = [(b - a) / found["requests"] for a, b in zip(before, after)]
    return found


def check(networks):
    """That what is asked for is answered."""
    for number, listed in ((0, True), (1, False), (networks - 2, True)):
        answer = web.ask(AT, f"/lookup?{readers.text(readers.FIRST + number)}&format=json", source="203.0.113.9")
        if json.loads(answer.text)["listed"] != listed:
            raise TestbedError(f"network {number}: {answer.text}")


def measure(options, needs):
    database = needs.database()
    database.restart_with_true_clock()
    networks = facts(database, options)
    cores = sorted(os.sched_getaffinity(0))
    # With a connection each, who asks would soon have no port left that is not waiting.
    Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text("1000")
    server = Server(database, cores[0])
    found = []
    try:
        check(networks)
        for state in STATES[:1] if options.quick else STATES:
            if state != STATES[0]:
                database.query(keeping.STALE if state == "no statistics" else "ANALYZE")
            for name, other, words in KINDS[:2] if options.quick else KINDS:
                def once(seconds):
                    return ask(server, cores[-1], seconds, networks, other, *words)
                once(1)  # plans are made, pages are read
                runs = [once(1 if options.quick else 5) for _ in range(options.rounds)]
                title = f"/lookup of {networks} networks, {name}, {state}"
                found += [Figure(f"{title}: look-ups/s", [r["requests"] / r["seconds"] for r in runs], at_least=2000, unit="1/s"),
                          Figure(f"{title}: p99", [r["p99_ms"] for r in runs], at_most=20, unit="ms"),
                          Figure(f"{title}: CPU", [sum(r["cpu_us"]) for r in runs], unit="us"),
                          Figure(f"{title}: of it PostgreSQL's", [r["cpu_us"][1] for r in runs], unit="us")]
    finally:
        server.stop()
        database.query("ALTER SYSTEM RESET autovacuum")
    return found
