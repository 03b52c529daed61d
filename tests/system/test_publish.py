"""The door of hunnypot-web, which anybody may ask, alone and behind the real nginx and Caddy as doc/publish.md sets them up."""
import contextlib
import json
import re
import shutil
import ssl
import time

import pytest

from test_door import Door
from test_ripening import CLIENT, Ripening
from testbed.base import DEBS, STATE, TOP, Server, run, wait_for
from testbed.web import Answer, Connection, ask, connect, say

UNIX, OPEN, OPEN6, BOTH = "unix:/run/hunnypot-web/public", "192.0.2.1:8080", "[2001:db8::1]:8080", "[::]:8080"
CLIENT6, ELSEWHERE = "2001:db8:c::7", "203.0.113.99"
FORM = "application/x-www-form-urlencoded"
# Each page that there is, and ways to write what leads there elsewhere.
PRIVATE = sorted(set(re.findall(r'\.path = "(/[^"]*)"', (TOP / "src/web/private.c").read_text())))
WAYS = [way for path in PRIVATE for way in (
    path, path + "?since=1d", "/" + path, "/lookup/.." + path, "/lookup" + path, path + "/", "/%2e" + path, path.upper() + "x",
    "/lookup%2f.." + path, path + "?192.0.2.1")]


class Listed(Door):
    def __init__(self, pg):
        Ripening.__init__(self, pg)  # it is hunnypot-web that visits


@pytest.fixture
def listed(pg_plain):
    """Somebody to ask for."""
    door = Listed(pg_plain)
    door.enable()
    door.infer(CLIENT, CLIENT6)
    return door


def told(at, address=CLIENT, source=None, **headers):
    done = ask(at, f"/lookup?{address}", source=source, Accept="application/json", **headers)
    assert done.status == 200 and done.headers["Content-Type"] == "application/json; charset=utf-8"
    return json.loads(done.text)


def may_ask(at, address=CLIENT, source=None, **headers):
    """Is there a form with a token for whoever asks?"""
    return bool(told(at, address, source, **headers)["token"])


def test_it_is_all_that_is_there(pg, web):
    web("--public", OPEN, "--private", "127.0.0.1:9180", "--rate", "0")
    assert len(PRIVATE) > 4 and ask("127.0.0.1:9180", "/").status == 200
    assert {way: ask(OPEN, way).status for way in WAYS if not way.startswith("/lookup?")} == dict.fromkeys(WAYS, 404)
    for path in PRIVATE:
        assert ask(OPEN, path, "POST", body=b"", Content_Type=FORM).status == 404
        assert b" 404 " in say(OPEN, f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:9180\r\n\r\n".encode())


@pytest.mark.parametrize("at", [OPEN, OPEN6, BOTH, UNIX])
def test_what_is_said_to_anybody(listed, web, at):
    web("--public", at)
    at = OPEN6 if at == BOTH else at
    for target in (f"/lookup?{CLIENT}", f"/lookup?address={CLIENT}", f"/lookup?%3a%3affff%3a{CLIENT}"):
        page = ask(at, target)
        assert page.status == 200 and f"{CLIENT} is listed" in page.text
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Language"] == "en"
    assert ask(at, "/lookup", Accept_Language="de").headers["Content-Language"] == "de"
    assert (page.headers["Cache-Control"], page.headers["Set-Cookie"]) == ("no-store", None)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script" not in policy
    assert told(at, CLIENT6)["listed"] and not told(at, "203.0.113.8")["listed"]
    assert json.loads(ask(at, f"/lookup?{CLIENT}&format=json").text)["listed"]
    assert ask(at, f"/lookup?{CLIENT}", Accept="text/html,application/json").text == page.text
    assert ask(at, "/lookup?nobody").status == 400 and ask(at, "/lookup").status == 200


def test_who_asks(listed, web):
    """It is the peer; over loopback and a socket nobody knows, and what a client says of itself counts for nothing."""
    web("--public", BOTH)
    assert may_ask(OPEN, CLIENT, CLIENT) and may_ask(OPEN6, CLIENT6, CLIENT6)
    assert not may_ask(OPEN, CLIENT, ELSEWHERE) and not may_ask(OPEN6, CLIENT6, "2001:db8:c::8")
    assert not may_ask(OPEN, CLIENT, ELSEWHERE, X_Forwarded_For=CLIENT)
    for loopback in ("127.0.0.1:8080", "[::1]:8080"):
        assert not may_ask(loopback, CLIENT, X_Forwarded_For=CLIENT)


def test_whom_a_trusted_server_asks_for(listed, web):
    web("--public", BOTH, "--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "::1", "--trusted-proxy", "203.0.113.99")
    for at, source in (("127.0.0.1:8080", None), ("[::1]:8080", None), (OPEN, ELSEWHERE)):
        assert may_ask(at, CLIENT, source, X_Forwarded_For=CLIENT)
        assert may_ask(at, CLIENT6, source, X_Forwarded_For=f"x, {CLIENT6}")
        assert may_ask(at, CLIENT, source, X_Forwarded_For=f"::ffff:{CLIENT}")
        for forwarded in (f"{CLIENT}, {ELSEWHERE}", f"{CLIENT},", "unknown", "127.0.0.1", ""):
            assert not may_ask(at, CLIENT, source, X_Forwarded_For=forwarded)
    assert not may_ask(OPEN, CLIENT, "203.0.113.98", X_Forwarded_For=CLIENT)
    head = f"GET /lookup?{CLIENT}&format=json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    two = [f"X-Forwarded-For: {address}\r\n".encode() for address in (ELSEWHERE, CLIENT)]
    assert b'"token":null' not in say("127.0.0.1:8080", head, *two, b"\r\n").replace(b" ", b"")
    assert b'"token":null' in say("127.0.0.1:8080", head, *reversed(two), b"\r\n").replace(b" ", b"")


@pytest.mark.parametrize("trusted, wanted", [(["--trusted-proxy", "unix"], True), ([], False)])
def test_a_server_at_the_socket(listed, web, trusted, wanted):
    web("--public", UNIX, *trusted)
    assert may_ask(UNIX, CLIENT, X_Forwarded_For=CLIENT) is wanted and not may_ask(UNIX, CLIENT)


def test_off_the_list(listed, web):
    web("--public", BOTH)
    token = told(OPEN, CLIENT, CLIENT)["token"]

    def post(source, **fields):
        body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
        return ask(OPEN, "/lookup?format=json", "POST", source, body, Content_Type=FORM, Accept="application/json")
    assert post(CLIENT, address=CLIENT, token="x").status == 403
    assert json.loads(post(ELSEWHERE, address=CLIENT6, token=token).text)["outcome"] == "name" and listed.listing(CLIENT6)
    done = post(CLIENT, address=CLIENT, token=told(OPEN, CLIENT, CLIENT)["token"])
    assert done.status == 200 and json.loads(done.text)["outcome"] == "removed" and listed.listing() == []
    assert not told(OPEN, CLIENT, CLIENT)["listed"] and told(OPEN, CLIENT6)["listed"]


ODD = [("POST", b"address=x" * 300, {"Content_Type": FORM}, 413), ("POST", b"address=%zz", {"Content_Type": FORM}, 400),
       ("POST", b"address=a&address=b", {"Content_Type": FORM}, 400), ("POST", b"{}", {"Content_Type": "application/json"}, 400),
       ("POST", b"", {}, 400), ("PUT", b"x", {}, 405), ("DELETE", None, {}, 405), ("OPTIONS", None, {}, 405),
       ("GET", b"x" * 100000, {}, 200)]


def test_odd_forms(listed, web):
    web("--public", OPEN)
    for method, body, headers, status in ODD:
        done = ask(OPEN, "/lookup", method, ELSEWHERE, body, **headers)
        assert done.status == status and done.text
        assert done.headers["Allow"] == ("GET, HEAD, POST" if status == 405 else None)
    assert listed.listing()


HOSTILE = ["/lookup?%00", "/lookup?%zz", "/lookup?" + "x" * 1900, "/lookup?a=1&a=2", "/lookup?%3Cscript%3Ealert(1)",
           "/lookup?203.0.113.0/24", "/lookup?address='%20OR%20true%20--"]


def test_hostile_lookups(listed, web):
    web("--public", OPEN)
    for target in HOSTILE:
        for form in ("text/html", "application/json"):
            done = ask(OPEN, target, source=CLIENT, Accept=form)
            assert done.status == 400 and "<script" not in done.text and CLIENT not in done.text
    assert ask(OPEN, "/lookup?" + "x" * 2100).status == 414


def test_not_more_often_than_it_may(listed, web):
    web("--public", BOTH, "--rate", "5", "--trusted-proxy", "127.0.0.1")

    def statuses(at, source, **headers):
        return [ask(at, f"/lookup?{CLIENT}", source=source, **headers).status for _ in range(7)]
    assert statuses(OPEN, ELSEWHERE) == [200] * 5 + [429] * 2
    done = ask(OPEN, "/lookup", source=ELSEWHERE)
    assert done.status == 429 and 1 <= int(done.headers["Retry-After"]) <= 13 and done.text
    assert ask(OPEN, "/lookup", source="203.0.113.98").status == 200
    neighbours = [ask(OPEN6, "/lookup", source=f"2001:db8:c::{number}").status for number in range(1, 8)]
    assert neighbours == [200] * 5 + [429] * 2, "a /64 is one"
    assert statuses("127.0.0.1:8080", None, X_Forwarded_For="192.0.2.77") == [200] * 5 + [429] * 2
    assert ask("127.0.0.1:8080", "/lookup", X_Forwarded_For="192.0.2.78").status == 200


def test_it_knows_no_more_than_the_door_may(listed, web):
    web("--public", OPEN, user="postgres")
    assert told(OPEN)["listed"]
    listed.pg.query("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA hunnypot FROM hunnypot_door")
    done = ask(OPEN, f"/lookup?{CLIENT}")
    assert done.status == 503 and not re.search("permission|denied|function|postgres", done.text)


def test_database_away_and_frozen(listed, web):
    server = web("--public", OPEN, "--rate", "0")
    assert told(OPEN)["listed"]
    pg = listed.pg
    pg.stop("immediate")
    done = ask(OPEN, f"/lookup?{CLIENT}")
    assert done.status == 503 and not re.search("postgresql|socket|server|libpq|connect", done.text.split("</style>")[-1])
    pg.start()
    wait_for(lambda: ask(OPEN, f"/lookup?{CLIENT}").status == 200, what="an answer")
    pg.freeze()
    began = time.monotonic()
    assert ask(OPEN, f"/lookup?{CLIENT}").status == 503 and time.monotonic() - began < 15
    assert ask(OPEN, "/nothing").status == 404
    pg.thaw()
    wait_for(lambda: ask(OPEN, f"/lookup?{CLIENT}").status == 200, what="an answer")
    assert server.log().count("database-away site=public") >= 2


def test_very_many_connections(listed, web):
    """10,000, each of which waits for its answer or has not asked yet, from a whole network; meanwhile others are answered."""
    web("--public", OPEN, "--rate", "0")
    began, held = time.monotonic(), []
    for number in range(10000):
        client = connect(OPEN, f"203.0.113.{number % 200 + 1}", timeout=5)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET /lookup HTTP/1.1\r\nHost: x\r\n" + (b"\r\n" if number % 10 == 0 else b""))
        held.append(client)
        if number % 1000 == 999:
            assert told(OPEN, CLIENT, "203.0.113.250")["listed"]
        if len(held) > 1500:
            held.pop(0).close()
    assert time.monotonic() - began < 60
    for client in held:
        client.close()


# --- behind real servers ---

def shown(language):
    """The block of doc/publish.md in LANGUAGE."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", (TOP / "doc/publish.md").read_text(), re.S)
    return block


@pytest.fixture
def certificate(net, tmp_path):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=bl.example.org", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def nginx(folder, certificate):
    text = shown("nginx").replace("/etc/letsencrypt/live/bl.example.org/fullchain.pem", str(certificate[0])).replace(
        "/etc/letsencrypt/live/bl.example.org/privkey.pem", str(certificate[1]))
    paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    head = f"user hunnypot hunnypot;\npid {folder}/pid;\nerror_log stderr;\ndaemon off;\nevents {{ }}\n"
    (folder / "nginx.conf").write_text(f"{head}http {{\naccess_log off;\n{paths}{text}}}\n")
    return [DEBS / "nginx/usr/sbin/nginx", "-c", folder / "nginx.conf"]


def caddy(folder, certificate):
    # With a certificate of this test's instead of one that it would get from elsewhere.
    text = shown("caddy").replace("bl.example.org {\n", f"bl.example.org {{\n    tls {certificate[0]} {certificate[1]}\n")
    (folder / "Caddyfile").write_text("{\n    admin off\n}\n" + text)
    return ["env", f"HOME={folder}", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}", DEBS / "caddy/usr/bin/caddy", "run",
            "--config", folder / "Caddyfile", "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy])
def front(request, net, certificate):
    folder = STATE / "front"
    folder.mkdir()
    server = Server(request.param.__name__, request.param(folder, certificate), folder / "log", cwd="/")
    server.wait_ready(lambda: answers("192.0.2.1:443"), 30)
    yield server
    server.kill()
    shutil.rmtree(folder)


def answers(at):
    try:
        connect(at).close()
    except OSError:
        return False
    return True


TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE


class Secure(Connection):
    def connect(self):
        super().connect()
        self.sock = TLS.wrap_socket(self.sock, server_hostname="bl.example.org")


def through(target, source, method="GET", body=None, at="192.0.2.1:443", **headers):
    connection = Secure(at, source)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, {"Host": "bl.example.org", **given})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_behind_a_server(listed, web, front):
    """Who asks is who asks the server, whatever it says of itself; and nothing else than the door is there."""
    web("--public", UNIX, "--trusted-proxy", "unix", "--private", "127.0.0.1:9180")
    for at, client in (("192.0.2.1:443", CLIENT), ("[2001:db8::1]:443", CLIENT6)):
        def tokens(source, **headers):
            return json.loads(through(f"/lookup?{client}&format=json", source, at=at, **headers).text)["token"]
        assert tokens(client)
        other = ELSEWHERE if client == CLIENT else "2001:db8:c::8"
        assert not tokens(other) and not tokens(other, X_Forwarded_For=client) and tokens(client, X_Forwarded_For=other)
    assert {way: through(way, ELSEWHERE).status for way in PRIVATE} == dict.fromkeys(PRIVATE, 404)
    statuses = {way: through(way, ELSEWHERE) for way in WAYS}
    assert not [way for way, done in statuses.items() if done.status < 300 and "lookup" not in done.text], statuses
    assert not [way for way, done in statuses.items() if "What the trap caught" in done.text or "# TYPE" in done.text]
    token = json.loads(through(f"/lookup?{CLIENT}&format=json", CLIENT).text)["token"]
    done = through("/lookup", CLIENT, "POST", f"address={CLIENT}&token={token}".encode(), Content_Type=FORM)
    assert done.status == 200 and listed.listing(CLIENT) == []
