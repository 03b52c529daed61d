"""hunnypot-web: what each listener tells and to whom, whatever is asked, and however the database fares."""
import re
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from cli_data import Sensor
from test_report import Page
from testbed.base import BUILD, run, wait_for
from testbed.milter import environment
from testbed.web import PRIVATE, Connection, Web, ask, connect, say

UNIX, LOOP, LOOP6 = f"unix:{PRIVATE}", "127.0.0.1:9180", "[::1]:9180"
PAGES = ["/", "/report", "/metrics", "/readyz", "/healthz"]


@pytest.fixture
def private(pg, web):
    return web("--private", UNIX)


@pytest.mark.parametrize("at", [UNIX, LOOP, LOOP6])
def test_pages_at_each_kind_of_address(pg, web, at):
    Sensor(pg).record({"client": "203.0.113.7"})
    web("--private", at)
    assert {path: ask(at, path).status for path in PAGES} == dict.fromkeys(PAGES, 200)
    page = ask(at, "/report?since=12h&tz=Asia/Kathmandu")
    assert dict(zip(*Page(page.text).tables["Overview"]))["hits"] == "1" and "Asia/Kathmandu" in page.text
    metrics = ask(at, "/metrics")
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8" and "# TYPE " in metrics.text
    if at == UNIX:
        assert stat.S_IMODE(Path(PRIVATE).stat().st_mode) == 0o660


@pytest.fixture(scope="module")
def standing(postgres_template):
    """Where one answers that goes on from test to test, whatever is asked."""
    postgres_template.fresh()
    one, at = Web("--private", "unix:/run/hunnypot-web/standing"), "unix:/run/hunnypot-web/standing"
    yield at
    assert ask(at, "/readyz").text == "ready\n"
    one.stop()
    one.remove()


def test_what_goes_with_each_answer(standing):
    for path in (*PAGES, "/nothing", "/report?since=never"):
        headers = ask(standing, path).headers
        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
        rest = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
                "X-Robots-Tag": "noindex, nofollow", "Set-Cookie": None}
        assert {name: headers[name] for name in rest} == rest
    whole, head = ask(standing, "/report"), ask(standing, "/report", "HEAD")
    assert head.status == 200 and head.text == "" and head.headers["Content-Type"] == whole.headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X" * 100])
def test_nothing_but_get(standing, method):
    done = ask(standing, "/report", method, body=b"x=1" if method in ("POST", "PUT") else None)
    assert (done.status, done.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("target, status, said", [
    ("/report?since=", 200, ""), ("/report?since=1d&", 200, ""), ("/repor%74", 200, ""),
    ("/report?since=401d", 400, "400d"), ("/report?since=-1", 400, "400d"), ("/report?tz=Mars/Olympus", 400, "Mars/Olympus"),
    ("/report?tz=%27%3B%20DROP%20SCHEMA%20hunnypot%20CASCADE", 400, "DROP"), ("/report?tz=" + "x" * 300, 400, "too long"),
    ("/report?tz=%00", 400, "control character"), ("/report?tz=%1b%5b2J", 400, "control character"), ("/report?tz=%zz", 400, "%"),
    ("/report?tz=%ff%fe", 400, "invalid byte sequence"), ("/report?tz=%c3%a9", 400, "\\xC3\\xA9"),
    ("/report?a=1&a=2", 400, "twice"), ("/report?" + "&".join(f"a{n}=" for n in range(9)), 400, "too many"),
    ("/report?" + "n" * 40 + "=1", 400, "too long"), ("/report?" + "a" * 2100, 414, ""), ("/" + "a" * 500, 404, ""),
    ("/%2e%2e/etc/passwd", 404, ""), ("/report/", 404, ""), ("//report", 404, ""), ("/REPORT", 404, ""),
    ("/report%00", 400, "control character"), ("*", 404, ""), ("http://x.example/report", 421, ""),
    ("/lookup?192.0.2.1", 404, "")])
def test_hostile_targets(standing, target, status, said):
    done = ask(standing, target)
    assert done.status == status and said in done.text and (done.text.isascii() and "\x1b" not in done.text)
    assert ask(standing, "/readyz").text == "ready\n"


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
BYTES = {
    "long header": (HEAD + b"X: " + b"x" * 20000 + b"\r\n\r\n", b"4"),
    "many headers": (HEAD + b"X: x\r\n" * 5000 + b"\r\n", b"4"),
    "long path": (b"GET /" + b"x" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"), "old version": (b"GET /healthz HTTP/1.0\r\n\r\n", b"200"),
    "no such version": (b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", b"505"),
    "not ASCII": (b"GET /\xff\xfe\x80 HTTP/1.0\r\n\r\n", b"404"), "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
    "nothing": (b"\r\n" * 3000, None), "SSH": (b"SSH-2.0-x\r\n\r\n", None),
    "endless body": (HEAD + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 100000, None),
    "negative body": (HEAD + b"Content-Length: -1\r\n\r\n", b"4"),
    "odd chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"4"),
}


@pytest.mark.parametrize("name", BYTES)
def test_hostile_bytes(standing, name):
    sent, status = BYTES[name]
    with connect(standing) as client:
        client.sendall(sent)
        if status:
            assert re.match(b"HTTP/1.[01] " + status, client.recv(65536))
    assert ask(standing, "/healthz").text == "ok\n"


def test_cookies_without_room(private):
    """They are copied, for which there is no room, and then there is none for the answer: nothing is left of such a request."""
    for _ in range(3):
        assert say(UNIX, b"GET /domain?address=400d%ff%fe&tz99999999999999999999d0.0.0.0/0 HTTP/1.1\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n") == b""
    assert ask(UNIX, "/healthz").text == "ok\n"
    private.stop()


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("LOCALHOST:9180", 200), ("127.0.0.1:9180", 200), ("[::1]:9180", 200), ("evil.example", 421),
    ("evil.example:9180", 421), ("127.0.0.1.evil.example", 421), ("localhost.evil.example", 421), ("[::1", 421), ("", 421)])
def test_a_name_that_was_led_here_reads_nothing(standing, host, status):
    """A page in a browser on this host, whose name in DNS is changed to 127.0.0.1, is of the same origin as this then."""
    assert ask(standing, "/report", Host=host).status == status


def test_slow_clients_keep_out_nobody(private):
    """More of them than there are places: each that comes gets an answer."""
    slow = []
    for _ in range(150):
        slow.append(connect(UNIX))
        slow[-1].sendall(b"GET /healthz HT")
    assert ask(UNIX, "/healthz", timeout=5).status == 200
    for client in slow:
        client.close()


def test_many_requests_on_one_connection(standing):
    connection = Connection(standing)
    for path in ("/healthz", "/readyz", "/nothing") * 20:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == (404 if path == "/nothing" else 200) and response.read()
    connection.close()
    last = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    pipelined = say(standing, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 9 + last)
    assert pipelined.count(b"HTTP/1.1 200 OK") == pipelined.count(b"ready\n") == 10


def test_clients_that_go_before_the_answer(private, pg):
    for _ in range(30):
        with connect(UNIX) as client:
            client.sendall(b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: ask(UNIX, "/readyz").status == 200, what="an answer")


def test_database_away_and_back(private, pg):
    assert ask(UNIX, "/readyz").status == 200
    pg.restart()
    assert ask(UNIX, "/readyz").status == 200, "the first that notices does not pay for it"
    pg.stop("immediate")
    done = ask(UNIX, "/report")
    assert done.status == 503 and "not now: " in done.text and ask(UNIX, "/healthz").status == 200
    wait_for(lambda: "database-away site=private" in private.log(), what="line in the log")
    pg.start()
    wait_for(lambda: ask(UNIX, "/readyz").status == 200, what="an answer")
    wait_for(lambda: private.log().count("database-back site=private") == 1, what="line in the log")


def test_database_frozen(private, pg):
    """Each request is answered in bounded time, and others than those that ask it at once."""
    assert ask(UNIX, "/readyz").status == 200
    pg.freeze()
    took = []

    def one():
        began = time.monotonic()
        assert ask(UNIX, "/report").status == 503
        took.append(time.monotonic() - began)
    threads = [threading.Thread(target=one) for _ in range(40)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    assert ask(UNIX, "/healthz").status == 200 and time.monotonic() - began < 1
    for thread in threads:
        thread.join()
    assert len(took) == 40 and max(took) < 12
    pg.thaw()
    wait_for(lambda: ask(UNIX, "/readyz").status == 200, what="an answer")


def test_it_stops_in_time_while_the_database_is_frozen(private, pg):
    assert ask(UNIX, "/readyz").status == 200
    pg.freeze()
    threads = [threading.Thread(target=lambda: say(UNIX, b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n")) for _ in range(10)]
    for thread in threads:
        thread.start()
    private.stop()
    for thread in threads:
        thread.join()
    pg.thaw()


def test_schema_that_is_too_old(pg, web):
    pg.query("DELETE FROM hunnypot.schema_version WHERE version > 2")
    web("--private", UNIX)
    done = ask(UNIX, "/readyz")
    assert done.status == 503 and "the schema is version 2" in done.text and "run: hunnypot db upgrade" in done.text


def test_it_has_the_rights_of_a_reader_whoever_it_logs_in_as(pg, web):
    web("--private", UNIX, user="postgres")
    assert ask(UNIX, "/report").status == 200
    pg.query("REVOKE SELECT ON hunnypot.hourly FROM hunnypot_reader")
    done = ask(UNIX, "/report")
    assert done.status == 503 and "permission denied" in done.text


@pytest.mark.parametrize("words, said", [
    ([], "where to listen? --private"), (["--private"], "--private: needs a value"), (["--private", "x"], "--private: unix:PATH"),
    (["--private", "0.0.0.0:80"], "can be reached from elsewhere"), (["--private", "[::]:80"], "can be reached from elsewhere"),
    (["--private", "192.0.2.1:80"], "can be reached from elsewhere"), (["--private", "::1:80"], "--private: unix:PATH"),
    (["--private", "127.0.0.1:0"], "--private: unix:PATH"), (["--private", "127.0.0.1:65536"], "--private: unix:PATH"),
    (["--private", "unix:relative"], "--private: unix:PATH"), (["--private", "unix:/" + "x" * 120], "--private: unix:PATH"),
    (["--private", LOOP, "--private", LOOP], "only once"), (["--private", LOOP, "x"], "takes no argument"),
    (["--port", "1"], "no such option"),
    (["--private", LOOP, "--database", "password=geheim"], "without the password"), (["--private", "\x1b[2J:80"], "\\x1B[2J")])
def test_errors_of_use(net, words, said):
    done = run(BUILD / "hunnypot-web", *words, check=False, env=environment())
    assert done.returncode == 64 and said in done.stderr and done.stderr.count("\n") == 1 and "geheim" not in done.stderr
    assert done.stderr.startswith("hunnypot-web: ") and "\x1b" not in done.stderr


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help(net, word):
    done = run(BUILD / "hunnypot-web", word, env=environment())
    assert re.search("^(usage: )?hunnypot-web ", done.stdout)


def test_places_that_are_taken(private):
    done = run(BUILD / "hunnypot-web", "--private", UNIX, check=False, env=environment())
    assert done.returncode == 1 and 'not-listening site=private' in done.stderr and "in use by a running program" in done.stderr
    done = run(BUILD / "hunnypot-web", "--private", "unix:/etc/passwd", check=False, env=environment())
    assert done.returncode == 1 and "in the way and no socket" in done.stderr and Path("/etc/passwd").stat().st_size
    private.server.kill()
    Path(PRIVATE).unlink()
    done = run(BUILD / "hunnypot-web", "--private", "unix:/nonexistent/x", check=False, env=environment())
    assert done.returncode == 1 and "No such file" in done.stderr


def test_a_socket_left_behind_gives_way(private, web):
    private.server.kill()
    assert Path(PRIVATE).exists()
    web("--private", UNIX)
    assert ask(UNIX, "/healthz").status == 200
