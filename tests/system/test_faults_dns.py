"""DNS is dead, slow, or lies: no session notices, no hit is recorded in doubt, and nobody is probed who must not be."""
import random
import re
import socket
import struct
import threading
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest

from testbed.base import STATE, Server, let_pass, run, wait_for
from testbed.load import Load
from testbed.milter import environment

FAST_S = 1  # for a whole session; every time limit of DNS and of probes is longer
DNS = {"nameservers": ["127.0.0.2:53"], "timeout": "2s", "attempts": 1}
BACKUP = "@ MX 5 p\n@ MX 20 mx2.example.org.\n"
HONEST = BACKUP + "p A 198.51.100.1\n"


def response(query):
    return dns.message.make_response(query, recursion_available=True)


class World:
    """What the name server says.  A domain NAME.example has records, in which @ is the domain itself, and may have a lie:
    lie(query, truth, transport) is sent instead of TRUTH."""

    def __init__(self):
        self.zone = dns.zone.Zone(".", relativize=False)
        self.lies = {}
        self.add("mx2", "mx2.example.org. A 192.0.2.1\n", origin=".")

    def add(self, name, records, lie=None, origin=None):
        part = dns.zone.from_text("$TTL 60\n" + records, origin or f"{name}.example.", relativize=False, check_origin=False)
        for owner, rdataset in part.iterate_rdatasets():
            self.zone.replace_rdataset(owner, rdataset)
        self.lies[name] = lie

    def truth(self, query):
        answer = response(query)
        name, kind = query.question[0].name, query.question[0].rdtype
        found = self.zone.get_rrset(name, kind) or self.zone.get_rrset(name, "CNAME")
        if found:
            answer.answer.append(found)
        elif not self.zone.get_node(name):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer

    def __call__(self, query, transport):
        labels = query.question[0].name.labels
        lie = self.lies.get(labels[-3].decode()) if len(labels) > 2 else None
        truth = self.truth(query)
        return lie(query, truth, transport) if lie else truth


@pytest.fixture
def world(lying_dns):
    made = World()
    made.server = lying_dns(made)
    return made


@pytest.fixture
def load(pg, milter):
    """load(...) starts the daemon, and gives the sessions to put on it."""
    return lambda **settings: Load(milter(**{"dns": DNS, **settings}))


def judged(load, recipients, timeout=30, ipv6=()):
    """{key: verdict} for {key: recipient}, one session for each; of an IPv6 client for the keys in IPV6."""
    names = {key: load.session(recipient, family=6 if key in ipv6 else 4) for key, recipient in recipients.items()}
    load.wait_judged(names.values(), timeout)
    verdicts = load.verdicts()
    return {key: verdicts[name] for key, name in names.items()}


def check(load, pg):
    """In the database is what was judged an offence, and nobody waited."""
    without = {name for name, verdict in load.verdicts().items() if verdict != "offence"}
    assert load.slowest < FAST_S
    load.check(pg, without=without)


# Who is probed

class Watch:
    """What a daemon connects to, seen from outside, whether or not the kernel would let it."""

    def __init__(self, daemon):
        self.calls = STATE / "connects"
        self.strace = Server("strace", ["strace", "-f", "-e", "trace=connect", "-o", self.calls, "-p", daemon.pid],
                             STATE / "strace.log")
        self.strace.wait_ready(lambda: " attached" in self.strace.log())

    def probed(self):
        """Addresses whose port 25 it went to."""
        return set(re.findall(r'connect\(.*htons\(25\)[^\n]*?"([^"\n]+)"', self.calls.read_text()))


@pytest.fixture
def watch(load):
    """watch(daemon); it ends before the daemon does, whose check for leaks it would disturb."""
    made = []

    def begin(daemon):
        made.append(Watch(daemon))
        return made[-1]
    yield begin
    for one in made:
        one.strace.stop()


FORBIDDEN = """
127.0.0.1 127.9.9.9 0.0.0.0 0.1.2.3 169.254.1.1 224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255
10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1 100.64.0.1 100.127.255.254
:: ::1 fe80::1 febf::1 ff02::1 ff0e::1 fc00::1 fdff::1 fec0::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0.0.0.0 ::ffff:169.254.1.1
::10.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 2002:7f00:1::1 2002:c0a8:101::1
""".split()
OURS = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "192.0.2.25"]  # the last by the word of the MTA
LEGAL = {"A": "198.51.100.1", "AAAA": "2001:db8:100::1"}


def kind_of(address):
    return "AAAA" if ":" in address else "A"


def test_who_is_never_probed(world, load, watch, primaries, pg):
    """Neither alone nor beside an address that may be probed, nor behind an alias; the watch sees those that may."""
    wanted, ipv6 = {}, set()
    for number, address in enumerate(FORBIDDEN + OURS):
        kind = kind_of(address)
        if kind == "AAAA":
            ipv6.update((f"alone{number}", f"beside{number}", f"alias{number}"))
        ours = address in OURS
        world.add(f"alone{number}", f"{BACKUP}p {kind} {address}\n")
        world.add(f"beside{number}", f"{BACKUP}p {kind} {LEGAL[kind]}\np {kind} {address}\n")
        world.add(f"alias{number}", f"{BACKUP}p CNAME q\nq {kind} {address}\n")
        wanted[f"alone{number}"] = wanted[f"alias{number}"] = "none" if ours else "unknown"
        wanted[f"beside{number}"] = "none" if ours else "offence"
    one = load(trap_host={"addresses": OURS[:2]})  # not set, loopback would be ours as well
    seen = watch(one.daemon)
    assert judged(one, {name: f"<a@{name}.example>" for name in wanted}, ipv6=ipv6) == wanted
    assert seen.probed() == set(LEGAL.values())
    seen.strace.stop()
    check(one, pg)


def test_private_addresses_are_probed_where_the_settings_say_so(world, load, watch, primary, pg):
    run("ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo")
    wanted = {"10.0.0.1": "offence", "127.0.0.9": "offence", "192.168.0.1": "unknown", "169.254.1.1": "unknown"}
    for number, address in enumerate(wanted):
        world.add(f"before{number}", f"{BACKUP}p A {address}\n")
        world.add(f"after{number}", f"{BACKUP}p A {address}\n")
        if wanted[address] == "offence":
            primary(address)
    one = load()
    seen = watch(one.daemon)
    before = judged(one, {address: f"<a@before{number}.example>" for number, address in enumerate(wanted)})
    assert before == dict.fromkeys(wanted, "unknown")
    assert seen.probed() == set()
    one.daemon.configure(liveness={"probe_networks": ["10.0.0.0/8", "127.0.0.0/8"]})
    one.daemon.reload()
    wait_for(lambda: " reloaded" in one.daemon.log(), what="new settings")
    assert judged(one, {address: f"<a@after{number}.example>" for number, address in enumerate(wanted)}) == wanted
    assert seen.probed() == {"10.0.0.1", "127.0.0.9"}
    seen.strace.stop()
    check(one, pg)


# Lies

def rcode(number):
    def lie(query, truth, transport):
        answer = response(query)
        answer.set_rcode(number)
        return answer
    return lie


def silent(query, truth, transport):
    return None


def slow(query, truth, transport):
    let_pass(2.5)
    return truth


def constant(data):
    return lambda query, truth, transport: data


def wrong_id(query, truth, transport):
    truth.id ^= 0x5555
    return truth


def wrong_question(query, truth, transport):
    truth.question = dns.message.make_query("honest.example.", truth.question[0].rdtype).question
    return truth


def other_owner(query, truth, transport):
    truth.answer = [dns.rrset.from_rdata_list("honest.example.", 60, rrset) for rrset in truth.answer]
    return truth


def mirror(query, truth, transport):
    return query.to_wire()


def truncated(over_tcp):
    """Over UDP the truth is cut; over TCP OVER_TCP tells."""
    def lie(query, truth, transport):
        if transport == "tcp":
            return over_tcp(query, truth, transport)
        answer = response(query)
        answer.flags |= dns.flags.TC
        return answer
    return lie


def honest(query, truth, transport):
    return truth


def hang(query, truth, transport):
    let_pass(10)


def still_truncated(query, truth, transport):
    truth.flags |= dns.flags.TC
    return truth


def giant(query, truth, transport):
    texts = dns.rrset.from_text_list("honest.example.", 60, "IN", "TXT", [f"{n:03}{'x' * 240}" for n in range(230)])
    truth.answer.insert(0, texts)
    return truth


def record(owner, rdata=None):
    """An answer of one MX record, of which the name OWNER and the RDATA get the place where they stand."""
    def lie(query, truth, transport):
        question = query.to_wire()[12:]
        head = struct.pack("!6H", query.id, 0x8180, 1, 1, 0, 0) + question
        name = owner(len(head))
        data = rdata(len(head) + len(name) + 10) if rdata else b""
        return head + name + struct.pack("!HHIH", 15, 1, 60, len(data)) + data
    return lie


def pointer(to):
    return struct.pack("!H", 0xc000 | to)


def count(number):
    def lie(query, truth, transport):
        wire = bytearray(truth.to_wire())
        wire[6:8] = struct.pack("!H", number)
        return bytes(wire)
    return lie


def only(kind, lie):
    """LIE to questions for records of KIND."""
    return lambda query, truth, transport: (
        lie(query, truth, transport) if query.question[0].rdtype == dns.rdatatype.from_text(kind) else truth)


ALIASES = BACKUP + "".join(f"{'p' if n == 0 else f'p{n}'} CNAME p{n + 1}\n" for n in range(20)) + "p20 A 198.51.100.1\n"
LIES = {  # name: lie, records, verdict
    "servfail": (rcode(dns.rcode.SERVFAIL), HONEST, "unknown"),
    "refused": (rcode(dns.rcode.REFUSED), HONEST, "unknown"),
    "notimp": (rcode(dns.rcode.NOTIMP), HONEST, "unknown"),
    "formerr": (rcode(dns.rcode.FORMERR), HONEST, "unknown"),
    "nxdomain": (rcode(dns.rcode.NXDOMAIN), HONEST, "none"),
    "silent": (silent, HONEST, "unknown"),
    "slow": (slow, HONEST, "unknown"),
    "empty-packet": (constant(b""), HONEST, "unknown"),
    "short-packet": (constant(b"\0" * 11), HONEST, "unknown"),
    "noise": (constant(b"\xff" * 600), HONEST, "unknown"),
    "wrong-id": (wrong_id, HONEST, "unknown"),
    "wrong-question": (wrong_question, HONEST, "unknown"),
    "other-owner": (other_owner, HONEST, "none"),
    "mirror": (mirror, HONEST, "unknown"),
    "no-address": (only("A", rcode(dns.rcode.SERVFAIL)), HONEST, "unknown"),
    "no-address6": (only("AAAA", silent), HONEST, "unknown"),
    "truncated": (truncated(honest), HONEST, "offence"),
    "truncated-cut": (truncated(silent), HONEST, "unknown"),
    "truncated-hang": (truncated(hang), HONEST, "unknown"),
    "truncated-empty": (truncated(constant(b"")), HONEST, "unknown"),
    "truncated-short": (truncated(constant(b"\0" * 11)), HONEST, "unknown"),
    "truncated-wrong-id": (truncated(wrong_id), HONEST, "unknown"),
    "truncated-again": (truncated(still_truncated), HONEST, "unknown"),
    "giant": (giant, HONEST, "offence"),
    "giant-tcp": (truncated(giant), HONEST, "offence"),
    "hundred": (None, BACKUP + "".join(f"@ MX 1 p{n}\np{n} A 198.51.100.1\n" for n in range(100)), "unknown"),
    "hundred-addresses": (None, BACKUP + "".join(f"p A 198.51.100.{n}\n" for n in range(100)), "unknown"),
    "alias": (None, BACKUP + "p CNAME q\nq A 198.51.100.1\n", "offence"),
    "alias-loop": (None, "@ CNAME q\nq CNAME @\n", "unknown"),
    "alias-of-itself": (None, "@ CNAME @\n", "unknown"),
    "alias-loop-host": (None, BACKUP + "p CNAME q\nq CNAME p\n", "unknown"),
    "aliases": (None, ALIASES, "unknown"),
    "pointer-to-itself": (record(pointer), HONEST, "unknown"),
    "pointers-in-a-ring": (record(lambda at: b"\1x" + pointer(at)), HONEST, "unknown"),
    "pointer-past-the-end": (record(lambda at: pointer(0x3fff)), HONEST, "unknown"),
    "pointer-in-rdata": (record(lambda at: pointer(12), lambda at: b"\0\5" + pointer(at + 2)), HONEST, "unknown"),
    "no-rdata": (record(lambda at: pointer(12)), HONEST, "unknown"),
    "more-promised": (count(0xffff), HONEST, "unknown"),
    "none-promised": (count(0), HONEST, "none"),
    "honest": (None, HONEST, "offence"),
}


def test_lies(world, load, primary, pg):
    """The last one is a domain that nobody lies about: the daemon is in order afterwards."""
    host = primary("198.51.100.1")
    for name, (lie, records, _) in LIES.items():
        world.add(name, records, lie)
    one = load(liveness={"verdict_timeout": "60s"})
    wanted = {name: verdict for name, (_, _, verdict) in LIES.items()}
    assert judged(one, {name: f"<a@{name}.example>" for name in wanted}) == wanted
    assert 1 <= host.connections <= list(wanted.values()).count("offence")  # they have one address, and may share a probe
    check(one, pg)


def test_name_servers_that_do_not_answer(world, load, lying_dns, primary, pg):
    """Nobody listens; somebody does, but not on TCP; then all is well."""
    host = primary("198.51.100.1")
    for name, lie in (("dead", None), ("no-tcp", truncated(honest)), ("well", None)):
        world.add(name, HONEST, lie)
    one = load(dns={**DNS, "nameservers": ["127.0.0.3:53"]})
    assert judged(one, {"backup": "<a@dead.example>", "trap": "<a@trap.example>"}) == {"backup": "unknown", "trap": "unknown"}
    server = lying_dns(world, "127.0.0.3")
    server.refuse_tcp()
    assert judged(one, {"backup": "<a@no-tcp.example>"}) == {"backup": "unknown"}
    assert host.connections == 0
    assert judged(one, {"backup": "<a@well.example>"}) == {"backup": "offence"}
    check(one, pg)


@pytest.fixture
def resolv_conf():
    """The system's, to be written; as before after the test."""
    file = Path("/etc/resolv.conf")
    before = file.read_text()
    yield file
    file.write_text(before)


def test_a_resolver_that_asks_over_tcp_only(world, load, resolv_conf, primary, pg):
    resolv_conf.write_text("nameserver 127.0.0.2\noptions use-vc\n")
    primary("198.51.100.1")
    world.add("well", HONEST)
    world.add("hang", HONEST, hang)
    one = load(dns={**DNS, "nameservers": None})
    assert judged(one, {name: f"<a@{name}.example>" for name in ("hang", "well")}) == {"hang": "unknown", "well": "offence"}
    assert {transport for _, _, transport in world.server.queries} == {"tcp"}
    check(one, pg)


# Bounds

def under_way():
    """The sockets of probes and of questions to the name server, as the kernel lists them."""
    found = set()
    for kind, port, states in (("tcp", ":0019", ("01", "02")), ("udp", ":0035", ("01",))):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if remote.endswith(port) and state in states:
                found.add((kind, local))
    return found


class Census(threading.Thread):
    """The most sockets that were open at one moment.  What is in two listings was open all the time between them."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = {"tcp": 0, "udp": 0, "both": 0}
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.005):
            open_now = under_way() & under_way()
            for kind in ("tcp", "udp"):
                self.most[kind] = max(self.most[kind], sum(kind == one for one, _ in open_now))
            self.most["both"] = max(self.most["both"], len(open_now))

    def result(self):
        self.ended.set()
        self.join()
        return self.most


@pytest.fixture
def lost_packets():
    """What comes for port 25 of the upper half of 198.51.100.0/24 gets lost."""
    run("nft", "add table inet lost; add chain inet lost input { type filter hook input priority 0; }; "
        "add rule inet lost input ip daddr 198.51.100.128/25 tcp dport 25 drop")
    yield
    run("nft", "delete table inet lost")


def test_no_more_probes_and_questions_at_once_than_probers(world, load, primary, lost_packets, pg):
    """50 domains, whose primaries say nothing or do not even answer a SYN, and some that DNS says nothing about."""
    hanging = primary("0.0.0.0", "hang")
    wanted = {}
    for number in range(50):
        world.add(f"hang{number}", f"{BACKUP}p A 198.51.100.{number + (1 if number < 25 else 128)}\n")
        wanted[f"hang{number}"] = "outage"
    for number in range(8):
        world.add(f"silent{number}", HONEST, silent)
        wanted[f"silent{number}"] = "unknown"
    one = load(liveness={"probers": 4, "probe_timeout": "1s", "verdict_timeout": "60s"})
    census = Census()
    census.start()
    assert judged(one, {name: f"<a@{name}.example>" for name in wanted}, 60) == wanted
    assert census.result() == {"tcp": 4, "udp": 4, "both": 4}
    assert hanging.connections == 25
    hanging.set("accept")
    world.add("well", BACKUP + "p A 198.51.100.100\n")  # one that nobody hung at
    assert judged(one, {"": "<a@well.example>"}) == {"": "offence"}
    check(one, pg)


class FastDns(threading.Thread):
    """LyingDns is too slow for a flood.  Names below many.example have 20 MX hosts of their own, names below none.example do
    not exist, others have this host as the less preferred MX.  It answers while `open` is set."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.2", 53))
        self.open = threading.Event()

    def run(self):
        while True:
            query, peer = self.socket.recvfrom(512)
            if not query:
                return
            self.open.wait()
            self.socket.sendto(self.answer(query), peer)

    def answer(self, query):
        kind, rcode, records = query[-3], 0, []
        if b"\4none" in query:
            rcode = 3
        elif kind == 15:
            hosts = [b"\2p%c\xc0\x0c" % (97 + n) for n in range(20 if b"\4many" in query else 1)]
            records = [b"\0\5" + host for host in hosts]
            if b"\4many" not in query:
                records.append(b"\0\x14\3mx2\7example\3org\0")
        elif kind == 1:
            ours = query[12:16] == b"\3mx2"
            records = [bytes((192, 0, 2, 1) if ours else (198, 51, 100, 200 if b"\4many" in query else 1))]
        body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 3600, len(data)) + data for data in records)
        return query[:2] + struct.pack("!5H", 0x8180 | rcode, 1, len(records), 0, 0) + query[12:] + body

    def stop(self):
        self.open.set()
        self.socket.sendto(b"", ("127.0.0.2", 53))
        self.join()
        self.socket.close()


@pytest.fixture
def fast_dns(net):
    server = FastDns()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def frugal(monkeypatch):
    """Without the freed memory that AddressSanitizer keeps."""
    options = environment()["ASAN_OPTIONS"] + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
    monkeypatch.setattr("testbed.milter.environment", lambda **more: environment(ASAN_OPTIONS=options, **more))


def flood(load):
    """12,000 domains that do not exist, 600 with 20 hosts each, and honest ones between them: {name: verdict}."""
    wanted = {}
    for number in range(126):
        place, verdict = ("many", "outage") if number % 21 == 0 else ("none", "none")
        wanted[load.session(*(f"<a@{random.getrandbits(64):x}.{place}.example>" for _ in range(100)))] = verdict
        if number % 6 == 0:
            wanted[load.session("<a@well.example>")] = "offence"
            wanted[load.session("<a@trap.example>")] = "offence"
    return wanted


def test_a_flood_of_domains(pg, frugal, milter, fast_dns, primary):
    """More of them, and of hosts, wait for DNS than there is room for.  In the end each hit is judged as it should be, and
    a second flood takes no more memory than the first."""
    primary("198.51.100.1")
    one = Load(milter(dns={**DNS, "timeout": "30s"}, limits={"client_bytes": 0},
                      liveness={"verdict_timeout": "120s", "outage_grace": "0s"},
                      domain={"*.many.example": {"role": "backup"}}))
    used = []
    for _ in range(2):
        fast_dns.open.clear()
        wanted = flood(one)
        fast_dns.open.set()
        one.wait_judged(wanted, 100)
        verdicts = one.verdicts()
        assert {name: verdicts[name] for name in wanted} == wanted
        used.append(int(Path(f"/proc/{one.daemon.pid}/statm").read_text().split()[1]) * 4096)
    assert used[1] < used[0] + 8e6
    check(one, pg)
