"""What the measures share: processes whose CPU is counted, the load, PostgreSQL, and the two trees that are compared."""
import json
import os
import resource
from pathlib import Path

from testbed import base, milter, postgres
from testbed.base import BUILD, STATE, TOP, run

TICK = os.sysconf("SC_CLK_TCK")
BEFORE = Path(os.environ.get("BENCH_BEFORE", "/nonexistent"))


class Tree:
    """A source tree and its build."""

    def __init__(self, name, top, build):
        self.name, self.top, self.build = name, Path(top), Path(build)

    def hunnypot(self, *words):
        return run(self.build / "hunnypot", *words, env=milter.environment(HUNNYPOT_DATADIR=str(self.top)), timeout=120)


HERE = Tree("this tree", TOP, BUILD)


def tree_before():
    """The tree that targets are counted from; None where there is no git to get it from."""
    return Tree("before", BEFORE, BEFORE / "build") if (BEFORE / "built").exists() else None


def cpu_seconds(pid, with_children=False):
    """User and system time of a process, and of its children if wanted: those that live and those that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15 if with_children else 13])
    if with_children:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                ticks += cpu_seconds(int(child)) * TICK
            except (FileNotFoundError, ProcessLookupError):
                pass
    return ticks / TICK


def many_descriptors():
    """For a load of thousands of connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def load(socket, connections, sessions, recipients, pace_ms=0, first=0, clients=None):
    done = run(BUILD / "tests/bench/milter_load", socket, connections, sessions, pace_ms, first, clients or sessions, *recipients, timeout=600)
    return json.loads(done.stdout)


class Database(postgres.Postgres):
    """As in operation, and its clock can be set ahead (libfaketime), so that what takes a day is not waited for."""

    def __init__(self):
        self.ahead = STATE / "ahead"
        self.set_ahead(0)
        super().__init__()
        with open(self.data / "postgresql.conf", "a", encoding="ascii") as settings:
            # Autovacuum would come into one run, and not into the other.
            settings.write("shared_buffers = 256MB\nmax_wal_size = 2GB\nautovacuum_naptime = 1h\n")

    def set_ahead(self, seconds):
        self.ahead.write_text(f"+{seconds}\n")
        self.ahead.chmod(0o644)

    def start(self):
        faketime = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))[0]
        command = ["env", f"LD_PRELOAD={faketime}", f"FAKETIME_TIMESTAMP_FILE={self.ahead}", "FAKETIME_DONT_FAKE_MONOTONIC=1",
                   "NO_FAKE_STAT=1", "FAKETIME_CACHE_DURATION=1"]
        self.server = base.Server("postgres", [*postgres.AS_POSTGRES, *command, postgres.binary("postgres"), "-D", self.data],
                                  self.folder / "log", cwd="/")
        self.server.wait_ready(self._answers, 60)
        if not self.query("SELECT 1 FROM pg_roles WHERE rolname = 'needs_password'", database="postgres"):
            self.query("CREATE ROLE needs_password", database="postgres")

    def restart_with_true_clock(self):
        """For what is so quick that it would be felt."""
        self.stop()
        super().start()

    def anew(self):
        """The database hunnypot as `hunnypot db init` makes it, whatever was there."""
        self.query("DROP DATABASE IF EXISTS hunnypot WITH (FORCE)", database="postgres")
        self.query("CREATE DATABASE hunnypot", database="postgres")
        HERE.hunnypot("db", "init")

    def cpu(self):
        return cpu_seconds(self.server.pid, with_children=True)


def fresh_database(needs):
    """One that a sensor may record into."""
    database = needs.database()
    database.anew()
    if not database.query("SELECT 1 FROM pg_roles WHERE rolname = 'sensor'"):
        database.query("CREATE ROLE sensor LOGIN IN ROLE hunnypot_sensor", database="postgres")
    return database
