"""What a client waits for at DATA when something behind the trap stands still, beside when all is well."""
import contextlib

from bench import parts
from bench.readers import both
from bench.sessions import Real
from bench.stats import Ratio
from testbed import milter as milter_part

DOMAINS = ["backup.example"]
CONNECTIONS, PACE_MS = 50, 10  # a thousand sessions a second at most: less than the processors can do


@contextlib.contextmanager
def nothing(_needs):
    yield


@contextlib.contextmanager
def hung_primaries(needs):
    both = [needs.primary("198.51.100.1"), needs.primary("2001:db8:100::1")]
    for primary in both:
        primary.set("hang")
    yield
    for primary in both:
        primary.set("accept")


@contextlib.contextmanager
def frozen_database(needs):
    needs.database().freeze()
    yield
    needs.database().thaw()


@contextlib.contextmanager
def silent_dns(needs):
    needs.dns().freeze()
    yield
    needs.dns().thaw()


def p99(needs, state, sessions):
    """Microseconds; the daemon is a new one, which knows nothing yet."""
    real = Real(database="user=sensor dbname=hunnypot")
    try:
        with state(needs):
            parts.load(milter_part.SOCKET, CONNECTIONS, sessions // 10, DOMAINS, PACE_MS, first=10 ** 6)
            return parts.load(milter_part.SOCKET, CONNECTIONS, sessions, DOMAINS, PACE_MS)["p99_us"]
    finally:
        real.close()


def measure(options, needs):
    needs.dns()
    needs.primary("198.51.100.1")
    needs.primary("2001:db8:100::1")
    database = needs.database()
    database.set_ahead(0)
    database.query("DROP DATABASE IF EXISTS hunnypot WITH (FORCE)", database="postgres")
    database.query("CREATE DATABASE hunnypot", database="postgres")
    parts.HERE.hunnypot("db", "init")
    if not database.query("SELECT 1 FROM pg_roles WHERE rolname = 'sensor'"):
        database.query("CREATE ROLE sensor LOGIN IN ROLE hunnypot_sensor", database="postgres")
    sessions, found = 300 if options.quick else 5000, []
    for words, state in (("primaries hung", hung_primaries), ("PostgreSQL frozen", frozen_database), ("DNS silent", silent_dns)):
        pairs = both(options.rounds, lambda: p99(needs, nothing, sessions),
                     lambda: p99(needs, state, sessions))  # pylint: disable=cell-var-from-loop
        found.append(Ratio(f"DATA p99, {words} / all well", pairs, at_most=1.1, unit="us"))
        print(found[-1].line(), flush=True)
    return found
