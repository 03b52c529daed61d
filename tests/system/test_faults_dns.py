"""DNS is dead, slow, or lies: no session notices, no hit is recorded in doubt, and nobody is probed who must not be."""
import re
import struct
import time
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest

from testbed.base import STATE, Server, run, wait_for
from testbed.load import Load

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


def judged(load, recipients, timeout=30):
    """{key: verdict} for {key: recipient}, one session for each."""
    names = {key: load.session(recipient) for key, recipient in recipients.items()}
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
""".split()
OURS = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "192.0.2.25"]  # the last by the word of the MTA
LEGAL = {"A": "198.51.100.1", "AAAA": "2001:db8:100::1"}


def kind_of(address):
    return "AAAA" if ":" in address else "A"


def test_who_is_never_probed(world, load, watch, primaries, pg):
    """Neither alone nor beside an address that may be probed, nor behind an alias; the watch sees those that may."""
    wanted = {}
    for number, address in enumerate(FORBIDDEN + OURS):
        kind = kind_of(address)
        ours = address in OURS
        world.add(f"alone{number}", f"{BACKUP}p {kind} {address}\n")
        world.add(f"beside{number}", f"{BACKUP}p {kind} {LEGAL[kind]}\np {kind} {address}\n")
        world.add(f"alias{number}", f"{BACKUP}p CNAME q\nq {kind} {address}\n")
        wanted[f"alone{number}"] = wanted[f"alias{number}"] = "none" if ours else "unknown"
        wanted[f"beside{number}"] = "none" if ours else "offence"
    one = load(trap_host={"addresses": OURS[:2]})  # not set, loopback would be ours as well
    seen = watch(one.daemon)
    assert judged(one, {name: f"<a@{name}.example>" for name in wanted}) == wanted
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
    time.sleep(2.5)
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
    time.sleep(10)


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
    assert host.connections == list(wanted.values()).count("offence")
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
