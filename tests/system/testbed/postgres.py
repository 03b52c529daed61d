"""A private PostgreSQL: its socket is /run/postgresql, where libpq looks first, and there is no TCP port."""
import contextlib
import os
import signal
from pathlib import Path

import psycopg2

from testbed.base import STATE, Server, TestbedError, family, run, wait_for
from testbed.offences import AT_ONCE

AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def binary(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        raise TestbedError(f"{name} is not here; tests/setup installs PostgreSQL")
    return found[-1]


class Postgres:
    """PORT is in the name of the socket.  LIKE, a running server: this one is its standby."""

    def __init__(self, name="pg", port=5432, like=None):
        self.folder = STATE / name
        self.data = self.folder / "data"
        self.port = port
        self.server = None
        self.folder.mkdir()
        run("chown", "postgres:postgres", self.folder)
        if like:
            run(*AS_POSTGRES, binary("pg_basebackup"), "-h", "/run/postgresql", "-p", like.port, "-U", "postgres", "--no-sync",
                "--checkpoint=fast", "--write-recovery-conf", "-D", self.data, cwd="/")
        else:
            self._make()
        with open(self.data / "postgresql.conf", "a", encoding="ascii") as settings:
            settings.write(f"port = {port}\n")

    def _make(self):
        run(*AS_POSTGRES, binary("initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--locale=C.UTF-8",
            "--pgdata", self.data, cwd="/")
        # Anyone may be any role here, except those in needs_password: it takes that to see a wrong password refused.
        (self.data / "pg_hba.conf").write_text("local all +needs_password scram-sha-256\nlocal all all trust\nlocal replication all trust\n")
        with open(self.data / "postgresql.conf", "a", encoding="ascii") as settings:
            settings.write("listen_addresses = ''\nunix_socket_directories = '/run/postgresql'\nshared_buffers = 32MB\n"
                           "max_wal_size = 256MB\nautovacuum_naptime = 10s\nlog_line_prefix = '%m %u@%d '\n"
                           "dynamic_shared_memory_type = posix\nlog_checkpoints = off\n")

    def start(self):
        self.server = Server("postgres", [*AS_POSTGRES, binary("postgres"), "-D", self.data],
                             self.folder / "log", cwd="/")
        self.server.wait_ready(self._answers, 60)
        if self.query("SELECT pg_is_in_recovery()", database="postgres") == [(True,)]:
            return
        if not self.query("SELECT 1 FROM pg_roles WHERE rolname = 'needs_password'", database="postgres"):
            self.query("CREATE ROLE needs_password", database="postgres")

    def _answers(self):
        try:
            self.connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def connect(self, database="hunnypot", user="postgres", **options):
        """A psycopg2 connection in autocommit mode."""
        connection = psycopg2.connect(dbname=database, user=user, host="/run/postgresql", port=self.port, connect_timeout=5, **options)
        connection.autocommit = True
        return connection

    def query(self, sql, *values, database="hunnypot", user="postgres"):
        """All rows of one statement, as tuples; None when it has none to give."""
        connection = self.connect(database, user)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def stop(self, mode="fast"):
        """As pg_ctl stop -m: "smart", "fast" or "immediate"."""
        if self.server:
            self.thaw()
            self.server.stop({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode], 60)
            self.server = None

    def kill(self):
        """SIGKILL for the postmaster and all its children: a new postmaster does not start beside one of them."""
        self.server.kill()
        self.server = None

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def freeze(self):
        """The postmaster and all its children stand still: connections are taken by the kernel and never answered."""
        for pid in family(self.server.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in family(self.server.pid):
            with contextlib.suppress(ProcessLookupError):  # a child that has just ended
                os.kill(pid, signal.SIGCONT)

    def reload(self):
        self.server.send(signal.SIGHUP)

    def make_template(self, initialise):
        """The database that each test gets a copy of; INITIALISE() sets up "hunnypot" (hunnypot db init)."""
        self.make_database(initialise)
        self.query("CREATE DATABASE hunnypot_plain TEMPLATE hunnypot", database="postgres")
        self.query(AT_ONCE)
        self.query("ALTER DATABASE hunnypot RENAME TO hunnypot_template", database="postgres")

    def make_database(self, initialise):
        """An initialised "hunnypot", and logins named after the roles that they have."""
        self.query("CREATE DATABASE hunnypot", database="postgres")
        initialise()
        for role in ("sensor", "reader", "operator", "witness", "door"):
            self.query(f"CREATE ROLE {role} LOGIN IN ROLE hunnypot_{role}", database="postgres")
        self.query('CREATE ROLE "hunnypot-web" LOGIN NOINHERIT IN ROLE hunnypot_reader, hunnypot_door', database="postgres")

    def fresh(self, template="hunnypot_template"):
        """A new database "hunnypot", as db init leaves it but with a policy that lists at once; or, with the TEMPLATE
        "hunnypot_plain", as db init leaves it."""
        self.query("DROP DATABASE IF EXISTS hunnypot WITH (FORCE)", database="postgres")
        # In half the time of what PostgreSQL 15 does by itself, as the files are in memory.
        self.query(f"CREATE DATABASE hunnypot TEMPLATE {template} STRATEGY FILE_COPY", database="postgres")

    def restore(self):
        """Running again, whatever a test did to it."""
        if self.server and not self.server.running():
            self.server = None
        if self.server:
            self.thaw()
            wait_for(self._answers, 30, "answer from postgres")
        else:
            self.start()
