"""How long a start takes until the first DATA is answered, with an empty spool and with a full one, after a stop and after a crash."""
import contextlib
import sqlite3
import time
from pathlib import Path

from bench import parts
from bench.sessions import Real
from bench.stats import Figure
from testbed import milter as milter_part
from testbed.base import wait_for

UUID = "printf('%08x-%04x-7%03x-8%03x-%012x', i, i % 65536, i % 4096, i % 4096, i)"


def fill(path, hits, clients=1):
    """As many hits that wait for the database, all like the one that is there, but for CLIENTS."""
    spool = sqlite3.connect(path)
    columns = [name for _, name, *_ in spool.execute("PRAGMA table_info(outbox)") if name != "id"]
    values = [UUID if name in ("hit_id", "link") else f"printf('20.%d.%d.%d', i % {clients} / 65536, i % {clients} / 256 % 256, i % {clients} % 256)"
              if name == "client" and clients > 1 else name for name in columns]
    spool.execute(f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {hits}) INSERT INTO outbox ({', '.join(columns)}) "
                  f"SELECT {', '.join(values)} FROM (SELECT * FROM outbox LIMIT 1), n")
    spool.commit()
    spool.close()


def first_answer(daemon):
    began = time.monotonic()
    daemon.start()
    parts.load(milter_part.SOCKET, 1, 1, ["trap.example"])
    return time.monotonic() - began


def started():
    """A daemon with one hit that waits for the database."""
    real = Real(domain={"trap.example": {"role": "trap"}})
    parts.load(real.socket, 1, 1, ["trap.example"])

    def waiting():
        # Closed at once: as long as somebody else has it open, the daemon cannot close it in order.
        with contextlib.closing(sqlite3.connect(f"file:{real.daemon.spool}?mode=ro", uri=True)) as spool:
            return spool.execute("SELECT count(*) FROM outbox").fetchone()[0]
    wait_for(waiting, 30, "the hit is judged")
    return real


def measure(options, needs):
    needs.dns()
    real = started()
    daemon, found = real.daemon, []
    hits = 2000 if options.quick else options.facts
    for words, target in (("an empty spool", None), (f"{hits} hits in the spool", 0.2)):
        took = {"a stop": [], "a crash": []}
        for _ in range(options.rounds):
            for end, end_it in (("a stop", daemon.stop), ("a crash", daemon.kill)):
                end_it()
                took[end].append(first_answer(daemon))
        found += [Figure(f"start to first answer with {words}, after {end}", values, at_most=target if end == "a stop" else None, unit="s")
                  for end, values in took.items()]
        daemon.stop()
        if target is None:
            fill(Path(daemon.spool), hits)
        daemon.start()
    real.close()
    return found
