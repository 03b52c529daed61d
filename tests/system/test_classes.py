"""Who is recorded, as what, and with which evidence; and who never is."""
import contextlib
import ipaddress
import re
import sqlite3
import time

import pytest

from testbed import mx
from testbed.base import let_pass, wait_for

REPLY = "451 4.7.1 "
OURS = {"4": "192.0.2.1", "6": "2001:db8::1"}


def spooled(daemon):
    """How many hits were put into the spool since it was made."""
    with contextlib.closing(sqlite3.connect(daemon.spool)) as spool:
        return spool.execute("SELECT seq FROM sqlite_sequence WHERE name = 'inbox'").fetchone()[0]


def not_recorded(daemon, client, verdict, timeout=15):
    """Wait for the verdict about CLIENT in the daemon's log."""
    wait_for(lambda: f"not-recorded client={client} verdict={verdict}" in daemon.log(), timeout,
             f"verdict {verdict} about {client}; the log says {daemon.log()[-2000:]}")


@pytest.mark.parametrize("recipient, kind, primary_host", [
    ("a@trap.example", "trap", None),
    ("a@backup.example", "backup", "mx1.backup.example"),
    ("a@address.example", "address", "mx1.address.example"),
], ids=["trap", "backup", "address"])
@pytest.mark.parametrize("client", ["203.0.113.7", "2001:db8:c::7"], ids=["IPv4", "IPv6"])
def test_class_and_evidence(mta, milter, smtp, primaries, pg, hits, client, recipient, kind,
                            primary_host):
    milter(record_envelope="full")
    server = mta()
    before = pg.query("SELECT now()")[0][0]
    session = smtp(client)
    assert session.transaction(recipient, sender="x@sender.example").startswith(REPLY)
    session.quit()
    hit = hits(wait=1)[0]
    told = {key: hit[key] for key in ("client", "client_port", "client_name", "helo", "sender", "recipients",
                                      "recipients_total", "null_sender", "tls", "class", "domain", "primary_host",
                                      "mta_name", "local")}
    assert told == {"client": client, "client_port": session.port, "client_name": "client7.example.com",
                    "helo": "client.example.com", "sender": "x@sender.example", "recipients": [recipient],
                    "recipients_total": 1, "null_sender": False, "tls": False, "class": kind,
                    "domain": recipient.split("@")[1], "primary_host": primary_host, "mta_name": "mx2.example.org",
                    "local": OURS["6" if ":" in client else "4"]}
    assert hit["owner"] == recipient.split("@")[1]
    assert hit["queue_id"] and hit["queue_id"] in server.log()
    assert (hit["primary_age_ms"] is None) == (kind == "trap")
    if kind != "trap":
        assert 0 <= hit["primary_age_ms"] < 15000
    assert pg.query("SELECT time BETWEEN %s AND now() FROM hunnypot.hit", before) == [(True,)]
    network = client + ("/32" if "." in client else "/128")
    assert pg.query("SELECT network::text, class, domain, hits FROM hunnypot.offence") == [
        (network, kind, recipient.split("@")[1], 1)]


@pytest.mark.parametrize("client, name, state", [
    ("203.0.113.7", None, "confirmed"),                    # client7.example.com, both ways
    ("2001:db8:c::7", None, "confirmed"),
    ("203.0.113.99", None, "none"),
    ("203.0.113.99", "203-0-113-99.dyn.example.com.", "none"),
    ("203.0.113.99", "mail.example.com.", "confirmed"),
    ("2001:db8:c::99", "2001-db8-c--0000-0099.example.com.", "none"),
])
def test_the_judge_looks_for_a_name_where_the_mail_server_did_not(postfix, milter, dns, deliver, pg, hits, client, name,
                                                                  state):
    if name:
        dns.add(f"{name} {'AAAA' if ':' in client else 'A'} {client}",
                f"{ipaddress.ip_address(client).reverse_pointer}. PTR {name}")
    daemon = milter()
    postfix(main={"smtpd_peername_lookup": "no"})
    assert deliver(client, "a@trap.example").startswith(REPLY)
    assert hits(wait=1)[0]["client_name"] == f"[{client}]"
    assert f"named client={client} state={state}" in daemon.log()


def test_visible_to_list_within_two_seconds(mta, milter, deliver, pg, hunnypot, wait_for):
    """Liveness is not in question for a trap, and the database is up."""
    milter()
    mta()
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY)
    wait_for(lambda: "203.0.113.7" in hunnypot("list").stdout, timeout=2, what="hit in hunnypot list")


@pytest.mark.parametrize("record, sender, recipients", [
    ("full", "who@sender.example", ["rcpt@trap.example"]),
    ("domain", "sender.example", ["trap.example"]),
    ("none", "", []),
])
def test_envelope_is_recorded_as_set(postfix, milter, deliver, pg, hits, record, sender, recipients):
    milter(record_envelope=record)
    postfix()
    deliver("203.0.113.7", "rcpt@trap.example", sender="who@sender.example")
    hit = hits(wait=1)[0]
    assert (hit["sender"].lstrip("@"), [item.lstrip("@") for item in hit["recipients"]]) == (sender, recipients)


@pytest.mark.parametrize("state", ["refuse", "blackhole", "hang", "defer", "reject", "reset", "flood"])
def test_sick_primary_is_an_outage(postfix, milter, primary, deliver, pg, hits, state):
    primary("198.51.100.1", state)
    primary("2001:db8:100::1", state)
    daemon = milter(liveness={"probe_timeout": "1s"})
    postfix()
    assert deliver("203.0.113.7", "a@backup.example").startswith(REPLY)
    not_recorded(daemon, "203.0.113.7", "outage")
    assert hits() == []


@pytest.mark.parametrize("depth, main, verdict", [
    ("greeting", {"smtpd_milters": "unix:/nowhere"}, None),
    ("envelope", {}, None),
    ("envelope", {"smtpd_milters": "unix:/nowhere"}, "outage"),
    ("envelope", {"smtpd_sender_restrictions": "static:{452 4.3.1 Insufficient system storage}"}, "outage"),
    ("envelope", {"smtpd_recipient_restrictions": "static:{450 4.2.0 Later}"}, "outage"),
    ("envelope", {"smtpd_recipient_restrictions": "static:{550 5.7.1 Not you}"}, None),
], ids=["shallow", "well", "dead milter", "full disk", "defers", "refuses"])
def test_probe_as_deep_as_the_envelope(dns, postfix, milter, deliver, pg, hits, depth, main, verdict):
    """The primary is a real Postfix: what it puts off behind a 220 is doubt, when the settings want that."""
    main = {key: value.replace("static:", "check_sender_access static:" if key == "smtpd_sender_restrictions"
                               else "check_recipient_access static:") for key, value in main.items()}
    first = mx.PostfixMx(main={"milter_default_action": "tempfail", **main})
    first.start()
    try:
        daemon = milter(liveness={"probe": depth})
        postfix()
        assert deliver("203.0.113.7", "a@backup.example").startswith(REPLY)
        if verdict is None:
            assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.7"]
        else:
            not_recorded(daemon, "203.0.113.7", verdict)
            assert hits() == []
    finally:
        first.stop()


def recorded_again(daemon, deliver, hits, number, already=()):
    """The grace is over, or soon: it is as long as the outage was, which on a slow machine may have been longer than was meant."""
    left = iter(range(number, 250))

    def is_offence():
        client = f"203.0.113.{next(left)}"
        deliver(client, "a@backup.example")
        wait_for(lambda: re.search(f"(offence|not-recorded) client={client} ", daemon.log()), what=f"verdict about {client}")
        return f"offence client={client} " in daemon.log()
    wait_for(is_offence, 30, "hit that is recorded")
    found = [hit["client"] for hit in hits(wait=len(already) + 1)]
    assert found[:-1] == list(already) and int(found[-1].split(".")[-1]) >= number


def test_outage_is_not_recorded_and_its_end_is_waited_for(mta, milter, primary, deliver, pg, hits):
    """Up: recorded.  Down: not.  Up again: not, until outage_grace is over."""
    hosts = [primary("198.51.100.1"), primary("2001:db8:100::1")]
    daemon = milter(liveness={"remember": "1s", "probe_timeout": "1s", "outage_grace": "3s"})
    mta()
    deliver("203.0.113.1", "a@backup.example")
    assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.1"]

    for host in hosts:
        host.set("refuse")
    let_pass(1.1)  # `remember`
    deliver("203.0.113.2", "a@backup.example")
    not_recorded(daemon, "203.0.113.2", "outage")

    for host in hosts:
        host.set("accept")
    let_pass(1.1)  # `remember`
    deliver("203.0.113.3", "a@backup.example")
    not_recorded(daemon, "203.0.113.3", "recovering")

    let_pass(3)  # `outage_grace`
    recorded_again(daemon, deliver, hits, 4, already=["203.0.113.1"])


def test_outage_is_remembered_over_a_restart(postfix, milter, primary, deliver, pg, hits):
    """An outage is over before the milter is back; what is remembered is nobody else's to read, and goes with the grace."""
    hosts = [primary(address, "refuse") for address in ("198.51.100.1", "2001:db8:100::1")]
    daemon = milter(liveness={"remember": "1s", "probe_timeout": "1s", "outage_grace": "10s"})
    postfix()
    deliver("203.0.113.1", "a@backup.example")
    not_recorded(daemon, "203.0.113.1", "outage")
    seen = time.monotonic()
    daemon.restart()
    outages = daemon.spool.with_name(daemon.spool.name + ".outages")
    assert "address 198.51.100.1 " in outages.read_text() and outages.stat().st_mode & 0o777 == 0o600
    for host in hosts:
        host.set("accept")
    deliver("203.0.113.2", "a@backup.example")
    not_recorded(daemon, "203.0.113.2", "recovering")

    let_pass(seen + 11 - time.monotonic())  # `outage_grace`
    recorded_again(daemon, deliver, hits, 3)
    daemon.stop()
    assert "address" not in outages.read_text()


def test_one_of_two_primaries_is_enough(postfix, milter, primary, dns, deliver, pg, hits):
    dns.add("two.example. MX 5 a.two.example.", "two.example. MX 6 b.two.example.", "two.example. MX 20 mx2.example.org.",
            "a.two.example. A 198.51.100.11", "b.two.example. A 198.51.100.12")
    primary("198.51.100.12")
    milter()
    postfix(main={"relay_domains": "two.example"})
    deliver("203.0.113.7", "a@two.example")
    assert hits(wait=1)[0]["primary_host"] == "b.two.example"


def test_all_primaries_can_be_required(postfix, milter, primary, dns, deliver, pg, hits):
    dns.add("two.example. MX 5 a.two.example.", "two.example. MX 6 b.two.example.", "two.example. MX 20 mx2.example.org.",
            "a.two.example. A 198.51.100.11", "b.two.example. A 198.51.100.12")
    primary("198.51.100.12")
    daemon = milter(liveness={"require": "all"})
    postfix(main={"relay_domains": "two.example"})
    deliver("203.0.113.7", "a@two.example")
    not_recorded(daemon, "203.0.113.7", "outage")


def test_probe_only_greets(postfix, milter, primary, deliver, pg, hits):
    """No EHLO, no mail, no RCPT; and hits within the interval share one probe that begins after them."""
    host = primary("198.51.100.1")
    primary("2001:db8:100::1")
    milter(liveness={"probe_interval": "15s", "verdict_timeout": "60s"})
    postfix()
    for number in range(1, 4):
        deliver(f"203.0.113.{number}", "a@backup.example")
        hits(wait=min(number, 1))
    assert host.connections == 1
    hits(wait=3, timeout=40)
    wait_for(lambda: len(host.commands) >= 2, what="both QUITs")
    assert b"".join(host.commands).upper() == b"QUIT\r\n" * 2 and host.connections == 2


def test_startup_grace(postfix, milter, primaries, deliver, pg, hits):
    daemon = milter(liveness={"startup_grace": "60s"})
    postfix()
    deliver("203.0.113.7", "a@backup.example")
    not_recorded(daemon, "203.0.113.7", "recovering")
    deliver("203.0.113.8", "a@trap.example")
    assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.8"]


@pytest.mark.parametrize("settings, client, recipients, verdict", [
    ({"ignore_clients": ["203.0.113.0/28"]}, "203.0.113.7", ["a@trap.example"], "ignored"),
    ({"ignore_clients": ["2001:db8:c::/48"]}, "2001:db8:c::7", ["a@trap.example"], "ignored"),
    ({}, "127.0.0.1", ["a@trap.example"], "ignored"),
    ({}, "198.51.100.1", ["a@backup.example"], "friend"),
    ({"trap_host": {"addresses": ["203.0.113.7"]}}, "203.0.113.7", ["a@trap.example"], "friend"),
    ({}, "203.0.113.7", ["Postmaster@trap.example", "abuse@trap.example"], "exempt"),
    ({"exempt_localparts": ["hostmaster"]}, "203.0.113.7", ["hostmaster@trap.example"], "exempt"),
    ({"domain": {"trap.example": {"role": "auto"}}}, "203.0.113.7", ["a@trap.example"], "none"),
], ids=["ignored", "ignored IPv6", "loopback", "MX host", "own address", "postmaster", "exempt", "no primary"])
def test_never_recorded(postfix, milter, primaries, deliver, pg, hits, settings, client, recipients, verdict):
    daemon = milter(**settings)
    postfix()
    assert deliver(client, *recipients).startswith(REPLY)
    not_recorded(daemon, client, verdict)
    assert hits() == []
    if verdict in ("ignored", "exempt"):  # known at once: it was never in the spool
        assert spooled(daemon) == 0


def test_off_passes_and_is_never_recorded(postfix, milter, smtp, pg, hits, wait_for):
    """What becomes of it is the mail server's: as it is shipped for a trap, its second net."""
    daemon = milter(domain={"trap.example": {"role": "off"}})
    postfix()
    session = smtp()
    assert session.transaction("a@trap.example").startswith("354")
    assert session.command("Subject: x\r\n\r\nx\r\n.").startswith("450")
    session.quit()
    wait_for(lambda: "close client=203.0.113.7" in daemon.log(), what="end of the session")
    assert " data client=" not in daemon.log()
    assert hits() == []


@pytest.mark.parametrize("client", ["64:ff9b::cb00:7107", "2002:cb00:7107::25", "2001:0:4136:e378:8000:63bf:34ff:8ef8",
                                    "2001:db8:64::cb00:7107"], ids=["NAT64", "6to4", "Teredo", "named prefix"])
def test_ipv4_inside_ipv6_is_recorded_as_ipv4(postfix, milter, deliver, pg, hits, client):
    daemon = milter(nat64_prefixes=["2001:db8:64::/96"])
    postfix()
    assert deliver(client, "a@trap.example").startswith(REPLY)
    assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.7"]
    assert f"data client=203.0.113.7 address={client} " in daemon.log()


@pytest.mark.parametrize("client, who, domain, verdict", [
    ("64:ff9b::cb00:7107", "203.0.113.7", "trap.example", "ignored"),
    ("2002:c633:6401::25", "198.51.100.1", "backup.example", "friend"),
    ("64:ff9b::c000:201", "192.0.2.1", "trap.example", "friend"),
    ("64:ff9b::a00:1", "64:ff9b::a00:1", "trap.example", "ignored"),
], ids=["ignored", "MX host", "own address", "private"])
def test_ipv4_inside_ipv6_is_never_recorded_either(postfix, milter, primaries, deliver, pg, hits, client, who, domain, verdict):
    daemon = milter(ignore_clients=["203.0.113.0/28", "10.0.0.0/8"])
    postfix()
    assert deliver(client, f"a@{domain}").startswith(REPLY)
    not_recorded(daemon, who, verdict)
    assert hits() == []


def test_postmaster_beside_another_recipient_is_no_excuse(postfix, milter, deliver, pg, hits):
    milter()
    postfix()
    deliver("203.0.113.7", "postmaster@trap.example", "a@trap.example")
    assert len(hits(wait=1)) == 1


@pytest.mark.parametrize("records, verdict", [
    ([], "none"),
    (["x.example. MX 0 ."], "none"),
    (["x.example. A 192.0.2.1"], "none"),
    (["x.example. A 198.51.100.77"], "none"),
    (["x.example. MX 10 mx2.example.org."], "none"),
    (["x.example. MX 10 elsewhere.example."], "none"),
    (["x.example. MX 5 localhost.example.", "x.example. MX 20 mx2.example.org.", "localhost.example. A 127.0.0.1"], None),
    (["x.example. MX 5 gone.example.", "x.example. MX 20 mx2.example.org."], None),
], ids=["NXDOMAIN", "null MX", "implicit MX", "not ours", "only us", "elsewhere", "primary is loopback",
        "primary has no address"])
def test_domains_without_a_role(postfix, milter, dns, deliver, pg, hits, wait_for, records, verdict):
    dns.add("_.example. A 198.51.100.99", *records)
    daemon = milter()
    postfix(main={"relay_domains": "x.example"})
    assert deliver("203.0.113.7", "a@x.example").startswith(REPLY)
    wait_for(lambda: f"not-recorded client=203.0.113.7 verdict={verdict or ''}" in daemon.log(), what="verdict")
    assert hits() == []


@pytest.mark.parametrize("role, records, wanted", [
    ("trap", [], "trap"),
    ("backup", ["x.example. MX 10 mx1.backup.example."], "backup"),
    ("address", ["x.example. MX 10 mx1.backup.example."], "address"),
])
def test_configured_roles(postfix, milter, dns, primaries, deliver, pg, hits, role, records, wanted):
    dns.add("_.example. A 198.51.100.99", *records)
    milter(domain={"*.example": {"role": "off"}, "x.example": {"role": role}})
    postfix(main={"relay_domains": "x.example"})
    deliver("203.0.113.7", "a@x.example")
    assert hits(wait=1)[0]["class"] == wanted


def test_domain_names_are_one_however_written(postfix, milter, deliver, pg, hits):
    """Upper case, a final dot: the same domain, one offence."""
    milter()
    postfix()
    for recipient in ("a@TRAP.example", "a@Trap.Example", "a@trap.example"):
        assert deliver("203.0.113.7", recipient).startswith(REPLY)
    assert {hit["domain"] for hit in hits(wait=3)} == {"trap.example"}


def test_u_labels(postfix, milter, dns, smtp, pg, hits):
    """SMTPUTF8: a domain in U-labels is the same as in A-labels."""
    milter(domain={"xn--bcher-kva.example": {"role": "trap"}})
    postfix(main={"relay_domains": "b\u00fccher.example, xn--bcher-kva.example", "smtputf8_enable": "yes"})
    session = smtp()
    for line in ("EHLO client.example.com", "MAIL FROM:<a@sender.example> SMTPUTF8", "RCPT TO:<a@b\u00fccher.example>"):
        assert session.command(line).startswith("250")
    assert session.command("DATA").startswith(REPLY)
    assert hits(wait=1)[0]["domain"] == "xn--bcher-kva.example"


def test_servfail_is_no_offence(postfix, milter, lying_dns, deliver, primaries, pg, hits):
    import dns.message
    import dns.rcode

    def servfail(query, _):
        answer = dns.message.make_response(query)
        answer.set_rcode(dns.rcode.SERVFAIL)
        return answer
    lying_dns(servfail)
    daemon = milter(dns={"nameservers": ["127.0.0.2:53"]})
    postfix()
    assert deliver("203.0.113.7", "a@backup.example").startswith(REPLY)
    not_recorded(daemon, "203.0.113.7", "unknown")
    assert hits() == []


def test_tunnelled_reply_text(mta, milter, deliver):
    """The reply is the postmaster's own, % and all."""
    milter(reply="451 4.7.1 100% no, try mx1.example.org")
    mta()
    assert deliver("203.0.113.7", "a@trap.example") == "451 4.7.1 100% no, try mx1.example.org"
