"""Three etcd and three PostgreSQL under Patroni, all on loopback."""
import contextlib
import json
import os
import signal
import urllib.request

import psycopg2
import yaml

from testbed.base import DEBS, STATE, Server, end_family, family, run, wait_for
from testbed.postgres import AS_POSTGRES, binary

HOST = "127.0.0.1"
NODES = range(3)
PORTS = [5433, 5434, 5435]
CONNINFO = f"host={','.join([HOST] * 3)} port={','.join(map(str, PORTS))} target_session_attrs=read-write connect_timeout=3"
# A dead leader is one after TTL_S seconds.
TTL_S = 20
PATRONI = {"PYTHONPATH": f"{DEBS}/patroni/usr/lib/python3/dist-packages", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def etcd(number):
    peers = ",".join(f"e{n}=http://{HOST}:{2380 + 2 * n}" for n in NODES)
    client, peer = (f"http://{HOST}:{port + 2 * number}" for port in (2379, 2380))
    return Server("etcd", [DEBS / "etcd/usr/bin/etcd", "--name", f"e{number}", "--data-dir", STATE / f"etcd{number}",
                           "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                           "--initial-advertise-peer-urls", peer, "--initial-cluster", peers], STATE / f"etcd{number}.log")


class Node:
    """One Patroni with its PostgreSQL."""

    def __init__(self, number, synchronous):
        self.name, self.port, self.rest = f"n{number}", PORTS[number], f"{HOST}:{8008 + number}"
        self.folder = STATE / self.name
        self.folder.mkdir()
        run("chown", "postgres:postgres", self.folder)
        self.settings = self.folder / "patroni.yml"
        self.settings.write_text(yaml.safe_dump({
            "scope": "hunnypot", "name": self.name,
            "etcd3": {"hosts": [f"{HOST}:{2379 + 2 * n}" for n in NODES]},
            "restapi": {"listen": self.rest, "connect_address": self.rest},
            "bootstrap": {
                "dcs": {"ttl": TTL_S, "loop_wait": 1, "retry_timeout": 3, "synchronous_mode": synchronous,
                        "postgresql": {"use_pg_rewind": True, "use_slots": True,
                                       "parameters": {"wal_log_hints": "on", "max_wal_size": "256MB", "shared_buffers": "32MB"}}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}]},
            "postgresql": {
                "listen": f"{HOST}:{self.port}", "connect_address": f"{HOST}:{self.port}", "data_dir": str(self.folder / "data"),
                "bin_dir": str(binary("postgres").parent), "remove_data_directory_on_diverged_timelines": True,
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "replicator"}},
                "pg_hba": ["local all all trust", f"host all all {HOST}/32 trust", f"host replication all {HOST}/32 trust"],
                "parameters": {"unix_socket_directories": "/run/postgresql"}}}))
        self.server = None

    def start(self):
        self.server = Server("patroni", [*AS_POSTGRES, "/usr/bin/python3", "-m", "patroni", self.settings], self.folder / "log",
                             env=PATRONI, cwd="/")

    def connect(self, database="hunnypot"):
        connection = psycopg2.connect(host=HOST, port=self.port, user="postgres", dbname=database, connect_timeout=3)
        connection.autocommit = True
        return connection

    def postmaster(self):
        return int((self.folder / "data/postmaster.pid").read_text().splitlines()[0])

    def is_leader(self):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.rest}/leader", timeout=3):
            return True
        return False

    def has_heir(self):
        """Is there a synchronous standby, by what the cluster has agreed on?"""
        with urllib.request.urlopen(f"http://{self.rest}/cluster", timeout=3) as answer:
            return any(member["role"] == "sync_standby" for member in json.load(answer)["members"])

    def standbys(self):
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            return cursor.fetchone()[0]

    def recorded(self):
        """The names of the hits that this node has."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT helo FROM hunnypot.hit")
            return {name for name, in cursor.fetchall()}

    def cut_off(self):
        """What it records from now on no standby gets to know."""
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pid FROM pg_stat_replication")
            for pid, in cursor.fetchall():
                os.kill(pid, signal.SIGSTOP)

    def kill(self):
        """The whole machine is gone."""
        postmaster = self.postmaster()
        members = family(postmaster)
        self.server.kill()
        end_family(postmaster, os.getpgid(postmaster) if os.path.exists(f"/proc/{postmaster}") else postmaster)
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in members), 20, f"end of {self.name}")
        (self.folder / "data/postmaster.pid").unlink(missing_ok=True)


class Cluster:
    def __init__(self, synchronous):
        self.synchronous = synchronous
        self.etcds = [etcd(number) for number in NODES]
        self.nodes = [Node(number, synchronous) for number in NODES]
        self.nodes[0].start()
        wait_for(lambda: self.leader(), 120, "leader")
        for node in self.nodes[1:]:
            node.start()
        self.wait_whole()

    def leader(self):
        return next((node for node in self.nodes if node.is_leader()), None)

    def wait_whole(self):
        """Both others follow the leader, and one of them may take over, if not all may."""
        def is_whole():
            node = self.leader()
            try:
                return node and node.standbys() == 2 and (not self.synchronous or node.has_heir())
            except (psycopg2.Error, OSError):
                return False
        wait_for(is_whole, 180, "two standbys", interval=0.5)

    def query(self, sql, *values, database="hunnypot"):
        with contextlib.closing(psycopg2.connect(f"{CONNINFO} user=postgres dbname={database}")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return cursor.fetchall() if cursor.description else None

    def stop(self):
        for node in self.nodes:
            node.kill()
            run("rm", "-r", node.folder)
        for server in self.etcds:
            server.kill()
        for number in NODES:
            run("rm", "-r", STATE / f"etcd{number}")
