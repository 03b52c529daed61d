"""Milter sessions with a durable hit each, against null milters: plain, and one that appends 128 bytes durably."""
import time
from pathlib import Path

from bench import parts
from bench.stats import Ratio
from testbed import milter as milter_part
from testbed.base import BUILD, STATE, Server

NULL_SOCKET = "/run/hunnypot/null.sock"


class Null:
    def __init__(self, durable, answers=False, socket=NULL_SOCKET):
        """ANSWERS: each step, also where it need not."""
        self.file = STATE / "null.log"
        words = ["env", *(["NULL_MILTER_ANSWERS=1"] if answers else []), BUILD / "tests/bench/null_milter", f"unix:{socket}", *([self.file] if durable else [])]
        Path(socket).unlink(missing_ok=True)
        self.server = Server("null_milter", words, STATE / "null.out")
        self.server.wait_ready(Path(socket).exists)
        self.socket, self.pid = socket, self.server.pid

    def close(self):
        self.server.kill()
        self.file.unlink(missing_ok=True)


class Real:
    """hunnypot-milter, release build; SETTINGS on top of no limits."""

    def __init__(self, **settings):
        self.daemon = milter_part.Milter(
            {"limits": {"connections": 0, "connections_per_client": 0, "client_bytes": 0, "idle": "0s"}, "log_level": "warning",
             "database": "", **settings}, "bench", under=("env",))
        self.daemon.start()
        self.socket, self.pid = milter_part.SOCKET, self.daemon.pid

    def close(self):
        self.daemon.stop()
        self.daemon.remove()


def one(make, connections, sessions, recipients):
    """(sessions a second, CPU microseconds a session, of all of its processes)"""
    milter = make()
    try:
        parts.load(milter.socket, connections, sessions // 10, recipients, first=10 ** 6, clients=1000)
        before = parts.cpu_seconds(milter.pid, with_children=True)
        took = parts.load(milter.socket, connections, sessions, recipients, clients=1000)
        time.sleep(0.3)
        cpu = parts.cpu_seconds(milter.pid, with_children=True) - before
    finally:
        milter.close()
    return took["sessions"] / took["seconds"], cpu / took["sessions"] * 1e6


def measure(options, needs):
    needs.dns()
    needs.primary("198.51.100.1")
    needs.primary("2001:db8:100::1")
    cases = [
        ("durable hit, {} connections / durable null", lambda: Null(True), Real, ["backup.example"], 0.95, 1.12),
        ("durable hit, {} connections / plain null", lambda: Null(False), Real, ["backup.example"], None, None),
        ("decided at once (ignore_clients), {} connections / plain null", lambda: Null(False),
         lambda: Real(ignore_clients=["20.0.0.0/8"]), ["backup.example"], 0.97, None),
        ("nothing to record (role off), {} connections / plain null", lambda: Null(False),
         lambda: Real(domain={"backup.example": {"role": "off"}}), ["backup.example"], 0.97, None),
    ]
    found = []
    for name, null, real, recipients, rate_target, cpu_target in cases:
        for connections in (1, 16) if cpu_target or not options.quick else (16,):
            sessions = 300 if options.quick else 4000 if connections == 1 else 10000
            pairs = []
            for number in range(options.rounds):
                sides = (null, real) if number % 2 == 0 else (real, null)
                took = {make: one(make, connections, sessions, recipients) for make in sides}
                pairs.append((took[null], took[real]))
            words = name.format(connections)
            found.append(Ratio(words + ": sessions/s", [(a[0], b[0]) for a, b in pairs], at_least=rate_target, unit="1/s"))
            found.append(Ratio(words + ": CPU", [(a[1], b[1]) for a, b in pairs], at_most=cpu_target, unit="us"))
            for ratio in found[-2:]:
                print(ratio.line(), flush=True)
    return found
