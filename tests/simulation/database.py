"""A real PostgreSQL with the project's schema, on a clock that stands still until it is moved (libfaketime)."""
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

from testbed import base, milter, postgres

LIBFAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


class Database(postgres.Postgres):
    """As the testbed's, but every process of it asks a file for the time."""

    def __init__(self, moment):
        self.clock_file = base.STATE / "clock"
        super().__init__()
        with open(self.data / "postgresql.conf", "a", encoding="ascii") as settings:
            # Nothing here has to outlive a crash, and autovacuum's launcher would wait for a clock that stands still.
            settings.write("fsync = off\nautovacuum = off\nfull_page_writes = off\nsynchronous_commit = off\n")
        self.set_clock(moment)
        self.start()

    def start(self):
        if not LIBFAKETIME:
            raise base.TestbedError("libfaketime is not here; tests/setup installs it")
        command = ["env", f"LD_PRELOAD={LIBFAKETIME[0]}", f"FAKETIME_TIMESTAMP_FILE={self.clock_file}", "FAKETIME_NO_CACHE=1",
                   "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", "TZ=UTC"]
        self.server = base.Server("postgres", [*postgres.AS_POSTGRES, *command, postgres.binary("postgres"), "-D", self.data],
                                  self.folder / "log", cwd="/")
        self.server.wait_ready(self._answers, 60)
        self.query("CREATE ROLE needs_password", database="postgres")

    def remove(self):
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def set_clock(self, moment):
        text = datetime.fromtimestamp(int(moment), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        temporary = self.clock_file.with_suffix(".new")
        temporary.write_text(text + "\n")
        temporary.chmod(0o644)
        os.replace(temporary, self.clock_file)


def stamp(moment):
    return datetime.fromtimestamp(moment, timezone.utc)


def initialise():
    milter.hunnypot("db", "init")
