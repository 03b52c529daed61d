"""hunnypot-web, running under the filters of its unit, and a client that says byte for byte what a test wants."""
import contextlib
import http.client
import shutil
import socket
import tempfile
import time
from pathlib import Path

from testbed.base import BUILD, STATE, Server, TestbedError, run
from testbed.milter import REPORTS, confined, environment

PRIVATE = "/run/hunnypot-web/private"


def connect(at, source=None, timeout=20):
    """AT: "unix:PATH", "ADDRESS:PORT" or "[ADDRESS]:PORT"; from the address SOURCE."""
    host, _, port = at.rpartition(":")
    if host == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        client.connect(port)
        return client
    return socket.create_connection((host.strip("[]"), int(port)), timeout, (source, 0) if source else None)


class Connection(http.client.HTTPConnection):
    def __init__(self, at, source=None, timeout=20):
        super().__init__("localhost", timeout=timeout)
        self.at, self.source = at, source

    def connect(self):
        self.sock = connect(self.at, self.source, self.timeout)


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.text = response.status, response.headers, response.read().decode()


def ask(at, target, method="GET", source=None, body=None, timeout=20, **headers):
    """One request on a connection of its own."""
    connection = Connection(at, source, timeout)
    try:
        with contextlib.suppress(BrokenPipeError):  # the answer may come before all was said
            connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def say(at, *pieces, source=None, timeout=20):
    """The bytes of PIECES, and all that comes back until the other side closes."""
    with connect(at, source, timeout) as client:
        got = b""
        try:
            for piece in pieces:
                client.sendall(piece)
            while True:
                piece = client.recv(65536)
                if not piece:
                    return got
                got += piece
        except ConnectionError:
            return got


class Web:
    """stop() demands exit status 0 in time (a second, and one more for the sanitizers' look at what is left), and a log without
    their report."""

    def __init__(self, *words, user="hunnypot-web", program=None, env=None):
        self.folder = Path(tempfile.mkdtemp(prefix="web", dir=STATE))
        run("mkdir", "-p", "/run/hunnypot-web")
        run("chown", "hunnypot:hunnypot", "/run/hunnypot-web")
        program = confined(BUILD / "hunnypot-web", "hunnypot-web") if program is None else program
        self.server = Server("hunnypot-web", [*program, *words], self.folder / "log", cwd="/",
                             env=environment(PGUSER=user, **(env or {})))
        sites = sum(word in ("--private", "--public") for word in words)
        self.server.wait_ready(lambda: self.log().count("listening site=") == sites)

    def log(self):
        return self.server.log()

    def stop(self, within=2):
        began = time.monotonic()
        was_running, status = self.server.running(), self.server.stop()
        took = time.monotonic() - began
        found = REPORTS.search(self.log())
        if found:
            raise TestbedError(f"hunnypot-web's log has: {self.log()[found.start():][:6000]}")
        if not was_running or status != 0 or took > within:
            raise TestbedError(f"hunnypot-web ended with {status} after {took:.1f} s: {self.log()[-4000:]}")

    def remove(self):
        if self.server.running():
            self.server.kill()
        shutil.rmtree(self.folder)
