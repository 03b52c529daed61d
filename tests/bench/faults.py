"""How long a session waits for the reply to DATA while what judging or recording needs does not answer, to when all is well."""
from bench import parts, sessions
from bench.stats import Ratio

CONNECTIONS, PACE_MS = 16, 4
# A host of another backup each time: what DNS said before is no answer for the next.
DOMAINS = [f"d{number}.many.example" for number in range(300)]
RECORDS = ["*.many.example. MX 10 mx1.backup.example.", "*.many.example. MX 20 mx2.example.org."]


def well(_needs):
    return lambda: None


def primaries_hung(needs):
    hosts = [needs.primary("198.51.100.1"), needs.primary("2001:db8:100::1")]
    for host in hosts:
        host.set("hang")
    return lambda: [host.set("accept") for host in hosts]


def database_frozen(needs):
    needs.database().freeze()
    return needs.database().thaw


def dns_silent(needs):
    needs.dns().freeze()
    return needs.dns().thaw


def one(break_it, needs, count, database):
    """(p99 of DATA in microseconds, CPU microseconds a session)"""
    real = sessions.Real(database=database)
    try:
        parts.load(real.socket, CONNECTIONS, count // 10, ["backup.example"], PACE_MS, first=10 ** 6)
        mend = break_it(needs)
        try:
            before = parts.cpu_seconds(real.pid)
            took = parts.load(real.socket, CONNECTIONS, count, DOMAINS, PACE_MS)
            cpu = parts.cpu_seconds(real.pid) - before
        finally:
            mend()
    finally:
        real.close()
    return took["p99_us"], cpu / count * 1e6


def measure(options, needs):
    needs.dns().add(*RECORDS)
    for address in ("198.51.100.1", "2001:db8:100::1"):
        needs.primary(address)
    parts.fresh_database(needs)
    count, found = 200 if options.quick else 5000, []
    for name, fault, where in (("primaries hung", primaries_hung, ""), ("PostgreSQL frozen", database_frozen, "user=sensor"),
                               ("DNS silent", dns_silent, "")):
        pairs = []
        for number in range(options.rounds):
            sides = (well, fault) if number % 2 == 0 else (fault, well)
            took = {side: one(side, needs, count, where) for side in sides}
            pairs.append((took[well], took[fault]))
        found.append(Ratio(f"DATA p99, {name} / all well", [(a[0], b[0]) for a, b in pairs], at_most=1.1, unit="us"))
        found.append(Ratio(f"CPU a session, {name} / all well", [(a[1], b[1]) for a, b in pairs], unit="us"))
        for ratio in found[-2:]:
            print(ratio.line(), flush=True)
    return found
