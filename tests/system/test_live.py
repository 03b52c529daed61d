"""The list without an export: Postfix asks the database, and PowerDNS answers from it as a DNSBL."""
import collections
import re
from datetime import timedelta
from pathlib import Path

import dns.name
import dns.query
import dns.rdatatype
import pytest

from testbed import powerdns as powerdns_part
from testbed.base import DEBS, STATE, TOP, TRAP_HOST, TRAP_HOST6, TestbedError, run, wait_for
from testbed.offences import list_networks, offend
from testbed.smtp import Smtp

CLIENT, CLIENT6, FREE, FREE6 = "203.0.113.7", "2001:db8:c::7", "203.0.113.10", "2001:db8:d::7"
TEXT = "Listed for sending to a domain that gets no mail"
SOON = 3  # seconds from the listing to what follows from it: PowerDNS remembers for one


def refusal(client, port=25):
    """The reply that refuses CLIENT, or "" when it is served."""
    with Smtp(client, port=port) as smtp:
        last = smtp.greeting.splitlines()[-1]  # postscreen refuses after a first "220-"
        if last.startswith("2"):
            last = smtp.command("EHLO client.example.com").splitlines()[-1]
    return "" if last.startswith("2") else last


def soon(predicate):
    """Is PREDICATE true SOON?  It is asked a last time at the end of that."""
    try:
        return wait_for(predicate, SOON)
    except TestbedError:
        return predicate()


MAIN = {"smtpd_milters": "", "soft_bounce": "no", "smtpd_delay_reject": "no", "smtpd_client_connection_count_limit": "0"}


@pytest.fixture
def asking_postfix(pg, postfix):
    """Postfix with the shipped map, as a role that may only read."""
    pg.query("DROP ROLE IF EXISTS postfix")
    pg.query("CREATE ROLE postfix LOGIN IN ROLE hunnypot_reader")
    table = STATE / "hunnypot-pgsql.cf"
    table.write_text((TOP / "postfix/hunnypot-pgsql.cf").read_text())
    server = postfix(main={**MAIN, "smtpd_client_restrictions": f"check_client_access proxy:pgsql:{table}"})
    server.table = f"pgsql:{table}"
    return server


def test_postfix_refuses_a_client_as_soon_as_it_is_listed_and_takes_it_when_allowed(pg, asking_postfix, hunnypot):
    assert refusal(CLIENT) == refusal(CLIENT6) == ""
    offend(pg, CLIENT)
    offend(pg, CLIENT6)
    assert soon(lambda: refusal(CLIENT) and refusal(CLIENT6))
    assert refusal(CLIENT).endswith(TEXT) and refusal(CLIENT).startswith("550 5.7.1")
    assert refusal(FREE) == refusal(FREE6) == ""
    hunnypot("allow", "add", "203.0.113.0/24", "--reason", "a mistake")
    hunnypot("allow", "add", CLIENT6, "--reason", "a mistake")
    assert soon(lambda: not refusal(CLIENT) and not refusal(CLIENT6))
    assert "warning" not in asking_postfix.log()[asking_postfix.before:]


def test_postfix_asks_for_any_key_without_an_error(pg, asking_postfix):
    offend(pg, CLIENT)
    for key, status in ((CLIENT, 0), (FREE, 1), ("203.0.113", 1), ("client7.example.com", 1), ("it's \"\\ $%s", 1),
                        ("2001:db8:c", 1), ("2001:db8:c::", 0), ("gr\u00fc\u00df", 1)):
        done = asking_postfix.command("postmap", "-q", key, asking_postfix.table, check=False)
        assert (done.returncode, done.stderr) == (status, ""), key


def test_postfix_goes_on_after_a_restart_of_the_database(pg, asking_postfix):
    offend(pg, CLIENT)
    assert refusal(CLIENT).startswith("550")
    pg.restart("immediate")
    assert soon(lambda: refusal(CLIENT).startswith("550") and not refusal(FREE))


@pytest.fixture
def start_powerdns(pg):
    """start_powerdns("name=value") is the zone of a PowerDNS with the shipped configuration and functions, and these lines on top."""
    powerdns_part.prepare(pg)
    started = []

    def start(*lines):
        started.append(powerdns_part.PowerDns(*lines))
        return started[-1].zone
    yield start
    for powerdns in started:
        powerdns.server.stop()


NO_CACHES = ["cache-ttl=0", "query-cache-ttl=0", "negquery-cache-ttl=0", "consistent-backends=no"]


@pytest.fixture
def powerdns(start_powerdns, request):
    return start_powerdns(*getattr(request, "param", []))


AS_SHIPPED_AND_NOT = pytest.mark.parametrize("powerdns", [[], NO_CACHES], ids=["as shipped", "no caches"], indirect=True)


@AS_SHIPPED_AND_NOT
def test_powerdns_answers_from_the_listing(pg, powerdns):
    pg.query("UPDATE hunnypot.setting SET value = 'https://why.example/?$' WHERE name = 'lookup_url'")
    assert powerdns.about(CLIENT) == ("NXDOMAIN", [])
    offend(pg, CLIENT)
    assert soon(lambda: powerdns.about(CLIENT) == ("NOERROR", ["127.0.0.2"]))
    assert powerdns.about(CLIENT, "TXT") == ("NOERROR", [f'"{TEXT}, see https://why.example/?{CLIENT}"'])
    assert powerdns.about(CLIENT, "ANY")[0] == "NOERROR"
    assert powerdns.about(CLIENT, "MX") == ("NOERROR", [])
    offend(pg, CLIENT6)
    assert soon(lambda: powerdns.about(CLIENT6) == ("NOERROR", ["127.0.0.2"]))
    assert powerdns.about("2001:db8:c:0:ffff::1") == ("NXDOMAIN", []), "a neighbour"
    for client in ("2001:db8:c::8", "2001:db8:c::9"):
        offend(pg, client)
    assert soon(lambda: powerdns.about("2001:db8:c:0:ffff::1") == ("NOERROR", ["127.0.0.2"])), "of the same /64"
    pg.query("SELECT hunnypot.allow_add(%s)", CLIENT)
    assert soon(lambda: powerdns.about(CLIENT) == ("NXDOMAIN", []))
    for client in (FREE, FREE6, "2001:db8:c:1::7"):
        assert powerdns.about(client) == ("NXDOMAIN", [])


def test_powerdns_has_a_sub_zone_for_each_class(pg, powerdns):
    offend(pg, CLIENT)
    for domain in ("a.example", "b.example"):
        offend(pg, CLIENT, "address", domain)
        offend(pg, CLIENT6, "backup", domain)
        offend(pg, FREE, "backup", domain, null_sender=True)
    for client, kind, wanted in (
            (CLIENT, "", ["127.0.0.2", "127.0.0.4"]), (CLIENT, "trap.", ["127.0.0.2"]), (CLIENT, "backup.", []),
            (CLIENT, "address.", ["127.0.0.4"]), (CLIENT6, "", ["127.0.0.3"]), (CLIENT6, "trap.", []),
            (CLIENT6, "backup.", ["127.0.0.3"]), (FREE, "", []), (FREE, "null-sender.", [])):
        assert powerdns.about(client, sub_zone=kind) == ("NOERROR" if wanted else "NXDOMAIN", wanted), (client, kind)


@pytest.mark.parametrize("kind, answer", [("", "127.0.0.2"), ("trap.", "127.0.0.2"), ("backup.", "127.0.0.3"),
                                          ("address.", "127.0.0.4")])
def test_powerdns_has_the_test_entries(pg, powerdns, kind, answer):
    for client in ("127.0.0.1", "::1"):
        offend(pg, client)
    for listed in ("127.0.0.2", "::ffff:127.0.0.2"):
        assert powerdns.about(listed, sub_zone=kind) == ("NOERROR", [answer])
        assert powerdns.about(listed, "TXT", sub_zone=kind) == ("NOERROR", ['"Test entry"'])
    for not_listed in ("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.3"):
        assert powerdns.about(not_listed, sub_zone=kind) == ("NXDOMAIN", [])


@AS_SHIPPED_AND_NOT
def test_powerdns_knows_the_zone_and_no_other_name(pg, powerdns):
    offend(pg, CLIENT)
    assert powerdns.ask("bl.test", "NS") == ("NOERROR", ["ns.example.org."])
    code, [soa] = powerdns.ask("bl.test", "SOA")
    assert code == "NOERROR" and soa.startswith("ns.example.org. hostmaster.example.org. ")
    for name in ("mail.bl.test", "7.113.0.300.bl.test", "07.113.0.203.bl.test", "1.7.113.0.203.bl.test", "*.bl.test",
                 "7.113.0.203.mail.bl.test", "g.0.bl.test", ".".join("0" * 33) + ".bl.test"):
        assert powerdns.ask(name)[0] == "NXDOMAIN", name
    # Names on the way to an address are there: a resolver may ask label by label.
    for name in ("203.bl.test", "113.0.203.bl.test", "trap.bl.test", "203.trap.bl.test", "1.0.0.2.bl.test"):
        assert powerdns.ask(name) == ("NOERROR", []), name
    assert powerdns.ask("7.113.0.203.bl.test.example")[0] == "REFUSED"
    # Asked in capitals it answers likewise.
    assert powerdns.ask("7.113.0.203.TRAP.BL.TEST") == ("NOERROR", ["127.0.0.2"])


@pytest.mark.parametrize("lines", [[], NO_CACHES], ids=["as shipped", "no caches"])
def test_powerdns_knows_a_zone_whose_name_begins_like_an_address(pg, lines):
    powerdns_part.prepare(pg, "d.bl.test")
    offend(pg, CLIENT)
    powerdns = powerdns_part.PowerDns(*lines, zone="d.bl.test")
    try:
        zone = powerdns.zone
        assert zone.ask("d.bl.test", "NS") == ("NOERROR", ["ns.example.org."])
        assert zone.ask("d.bl.test", "SOA")[0] == "NOERROR"
        assert zone.about(CLIENT) == ("NOERROR", ["127.0.0.2"]) and zone.about(FREE) == ("NXDOMAIN", [])
    finally:
        powerdns.server.stop()


def transfer(zone):
    """{(name, type): texts} of the whole zone, as a secondary gets it; None when it is refused."""
    found = collections.defaultdict(set)
    try:
        for message in dns.query.xfr(zone.server, zone.name, port=zone.port, lifetime=20):
            for rrset in message.answer:
                name = str(rrset.name.derelativize(dns.name.from_text(zone.name)))
                found[name.rstrip("."), dns.rdatatype.to_text(rrset.rdtype)] |= {str(item) for item in rrset}
    except dns.query.TransferError:
        return None
    return found


def serial_of(zone):
    return int(zone.ask(zone.name, "SOA")[1][0].split()[2])


def test_powerdns_gives_the_zone_to_its_secondaries_and_to_nobody_else(pg, start_powerdns):
    """What they get is what it answers itself, and the serial tells them when to come again."""
    for client, kind in ((CLIENT, "trap"), (CLIENT6, "trap"), ("203.0.113.99", "backup")):
        offend(pg, client, kind, "a.example", timedelta(hours=1))
        offend(pg, client, kind, "b.example")
    list_networks(pg, "VALUES (cidr '203.0.113.64/28'), ('203.0.113.66/32')")
    zone = start_powerdns("disable-axfr=no", "allow-axfr-ips=127.0.0.1")
    records = transfer(zone)
    assert records["7.113.0.203.bl.test", "A"] == records["7.113.0.203.trap.bl.test", "A"] == {"127.0.0.2"}
    assert ("7.113.0.203.backup.bl.test", "A") not in records and ("100.113.0.203.bl.test", "A") not in records
    for (name, kind), texts in records.items():
        asked = name.replace("*", ".".join("0" * 16))
        assert (kind == "SOA" or set(zone.ask(asked, kind)[1]) == texts), name
    assert sum(name.endswith("113.0.203.bl.test") for name, kind in records if kind == "A") == 1 + 1 + 16
    checked = run(DEBS / "pdns/usr/bin/pdnsutil", f"--config-dir={zone.folder}", "check-zone", "bl.test")
    assert re.search(r"Checked \d+ records of 'bl.test', 0 errors, 0 warnings", checked.stdout), checked.stdout
    shown = run(DEBS / "pdns/usr/bin/pdnsutil", f"--config-dir={zone.folder}", "list-zone", "bl.test").stdout
    assert "7.113.0.203.bl.test" in shown
    before = serial_of(zone)
    assert serial_of(zone) == before
    offend(pg, "203.0.113.77")
    assert soon(lambda: serial_of(zone) > before) and ("77.113.0.203.bl.test", "A") in transfer(zone)


def test_powerdns_as_shipped_gives_the_zone_to_nobody(pg, powerdns):
    assert transfer(powerdns) is None


@pytest.fixture
def resolve_with_powerdns(powerdns):
    """Programs that start now ask PowerDNS first, and nsd for what that refuses."""
    path = Path("/etc/resolv.conf")  # a copy of the testbed's
    before = path.read_text()
    path.write_text("nameserver 127.0.0.3\n" + before)
    yield
    path.write_text(before)


def test_postscreen_refuses_by_the_dnsbl(pg, resolve_with_powerdns, postfix):
    offend(pg, CLIENT)
    offend(pg, CLIENT6)
    for domain in ("a.example", "b.example"):
        offend(pg, "203.0.113.8", "backup", domain)
    postfix(
        main={**MAIN, "postscreen_access_list": "", "postscreen_dnsbl_sites": "bl.test=127.0.0.[2;4]",
              "postscreen_dnsbl_action": "drop", "postscreen_greet_action": "ignore", "postscreen_greet_wait": "8s",
              "postscreen_cache_map": ""},
        master=[f"[{TRAP_HOST}]:2525 inet n - n - 1 postscreen", f"[{TRAP_HOST6}]:2525 inet n - n - 1 postscreen",
                "smtpd pass - - n - - smtpd", "dnsblog unix - - n - 0 dnsblog", "tlsproxy unix - - n - 0 tlsproxy"])
    for client in (CLIENT, CLIENT6):
        assert refusal(client, 2525).endswith(f"Service unavailable; client [{client}] blocked using bl.test")
    for client in (FREE, FREE6, "203.0.113.8"):
        assert refusal(client, 2525) == "", client


def test_the_list_of_a_real_hit(pg, powerdns, milter, mta, deliver, hunnypot):
    """From the client's DATA to the DNSBL's answer."""
    milter()
    mta()
    assert deliver(CLIENT, "a@trap.example").startswith("451")
    assert soon(lambda: powerdns.about(CLIENT) == ("NOERROR", ["127.0.0.2"]))
    hunnypot("forget", CLIENT)
    assert soon(lambda: powerdns.about(CLIENT) == ("NXDOMAIN", []))
