"""CPU of sessions that take their time, many at once, with and without limits, to a null milter that answers each step."""
import time

from bench import parts, sessions
from bench.stats import Ratio

LIMITS = {"connections": 2000}


def one(make, connections, count, pace_ms):
    """CPU microseconds a session."""
    milter = make()
    try:
        parts.load(milter.socket, 16, count // 10, ["backup.example"], first=10 ** 6, clients=count)
        before = parts.cpu_seconds(milter.pid)
        took = parts.load(milter.socket, connections, count, ["backup.example"], pace_ms, clients=count)
        assert took["deferred"] == count, took
        time.sleep(0.3)  # until what came last is judged
        return (parts.cpu_seconds(milter.pid) - before) / count * 1e6
    finally:
        milter.close()


def measure(options, needs):
    needs.dns()
    for address in ("198.51.100.1", "2001:db8:100::1"):
        needs.primary(address)
    parts.many_descriptors()
    connections, count, pace_ms = (50, 200, 20) if options.quick else (1000, 4000, 400)
    found = []
    for name, real, target in (("limits off", sessions.Real, 0.40),
                               ("connections = 2000, other limits the default", lambda: sessions.Real(limits=LIMITS), 0.50)):
        pairs = []
        for number in range(options.rounds):
            sides = [("a", lambda: sessions.Null(False, answers=True)), ("b", real)]
            took = {side: one(make, connections, count, pace_ms) for side, make in sides[::1 if number % 2 == 0 else -1]}
            pairs.append((took["a"], took["b"]))
        found.append(Ratio(f"CPU, {connections} paced, {name} / null", pairs, at_most=target, unit="us"))
        print(found[-1].line(), flush=True)
    return found
