"""What the daemon takes of the memory (PSS): at the start, with sessions that do nothing, with many clients and domains, and after many
sessions."""
import subprocess
from pathlib import Path

from bench import parts, sessions
from bench.stats import Figure
from testbed.base import BUILD, wait_for

RECORDS = ["*.many.example. MX 10 mx1.backup.example.", "*.many.example. MX 20 mx2.example.org."]
AT_ONCE = 10000  # domains of one load: what a command line takes


def pss_mb(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no Pss")


def idle(real, count, pace_ms=4000):
    """With COUNT sessions open at once, none of which has come to DATA: they are all opened within PACE_MS."""
    words = [BUILD / "tests/bench/milter_load", real.socket, count, count, pace_ms, 0, count, "backup.example"]
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL) as loading:
        wait_for(lambda: len(list(Path(f"/proc/{real.pid}/fd").iterdir())) >= count, 60, "open sessions", interval=0.05)
        taken = pss_mb(real.pid)
        loading.wait(120)
    return taken


def one(many, open_at_once, in_all, pace_ms):
    real = sessions.Real()
    try:
        parts.load(real.socket, 1, 1, ["backup.example"])  # then it has started
        found = [pss_mb(real.pid), idle(real, open_at_once, pace_ms)]
        for first in range(0, many, AT_ONCE):
            names = [f"d{number}.many.example" for number in range(first, min(many, first + AT_ONCE))]
            parts.load(real.socket, 16, len(names), names, first=first, clients=many)
        found.append(pss_mb(real.pid))
        parts.load(real.socket, 16, in_all, ["backup.example"], clients=many)
        return [*found, pss_mb(real.pid)]
    finally:
        real.close()


def measure(options, needs):
    needs.dns().add(*RECORDS)
    for address in ("198.51.100.1", "2001:db8:100::1"):
        needs.primary(address)
    parts.many_descriptors()
    many, open_at_once, in_all, pace_ms = (500, 50, 500, 500) if options.quick else (100000, 5000, 300000, 4000)
    taken = [one(many, open_at_once, in_all, pace_ms) for _ in range(min(options.rounds, 3))]  # it hardly differs
    names = [("at the start", 8), (f"{open_at_once} idle sessions", 14), (f"{many} clients and domains", 18),
             (f"after {in_all} sessions", 18)]
    return [Figure(f"memory, {name}", values, at_most=target, unit="MB") for (name, target), values in zip(names, zip(*taken))]
