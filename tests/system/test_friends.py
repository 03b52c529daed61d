"""Lists of friends in DNS (friends.zones): whom one has is not recorded, and of whom it does not tell nothing counts before it does."""
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest

from testbed.base import wait_for

CLIENT = "203.0.113.7"
ZONES = {"zones": ["white.example"]}
UNANSWERED = "SELECT h.friend, w.asks IS NOT NULL FROM hunnypot.hit h LEFT JOIN hunnypot.waiting w USING (hit_id)"


def told(hunnypot, word="why"):
    return hunnypot(word, CLIENT).stdout


@pytest.fixture
def listing(pg):
    return lambda: pg.query("SELECT class, proof FROM hunnypot.listed(%s)", CLIENT)


@pytest.mark.parametrize("client, entry, domain", [
    ("203.0.113.7", "7.113.0.203.white.example.", "backup.example"),
    ("64:ff9b::cb00:7107", "7.113.0.203.white.example.", "trap.example"),
    ("2001:db8:c::7", "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.0.0.0.8.b.d.0.1.0.0.2.white.example.", "trap.example"),
], ids=["IPv4", "IPv4 in IPv6", "IPv6"])
def test_whom_a_list_has_is_a_friend(postfix, milter, dns, primaries, deliver, pg, hits, client, entry, domain):
    dns.add(f"{entry} A 127.0.5.1")
    daemon = milter(friends=ZONES)
    postfix()
    assert deliver(client, f"a@{domain}").startswith("451 ")
    wait_for(lambda: "verdict=friend why=\"a list of friends has it\"" in daemon.log(), what="verdict")
    assert hits() == []


def test_who_is_on_no_list_is_judged_on(postfix, milter, dns, deliver, pg, hits, listing, hunnypot):
    dns.add("8.113.0.203.white.example. A 127.0.5.1")
    milter(friends=ZONES)
    postfix()
    deliver(CLIENT, "a@trap.example")
    assert hits(wait=1)[0]["friend"] == "no"
    wait_for(lambda: listing() == [("trap", "witnessed")], what="listing")
    assert "; no list of friends has it" in told(hunnypot)


class List:
    """A server of white.example beside the root, which answers as it is told."""

    def __init__(self, lying_dns, dns):
        self.rcode, self.entries, self.silent = "SERVFAIL", {}, False
        self.server = lying_dns(self.answer)
        self.asked = lambda: sum(name.endswith(".white.example.") for name, _, _ in self.server.queries)

    def answer(self, query, transport):
        name = str(query.question[0].name).lower()
        if name.endswith("white.example."):
            if self.silent:
                return None
            reply = dns.message.make_response(query)
            reply.set_rcode(dns.rcode.from_text(self.rcode))
            if name in self.entries:
                reply.set_rcode(dns.rcode.NOERROR)
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", self.entries[name]))
            return reply
        return dns.query.udp(query, "127.0.0.1", timeout=2)


@pytest.fixture
def friends_list(lying_dns, dns):
    return List(lying_dns, dns)


LYING = {"nameservers": ["127.0.0.2"], "timeout": "1s", "attempts": 1}


@pytest.mark.parametrize("fault", ["servfail", "silent", "asked too much"])
def test_no_answer_is_held_against_nobody(postfix, milter, deliver, pg, hits, listing, hunnypot, friends_list, fault):
    """It is recorded, waits, and is asked for again, also after the daemon was killed."""
    friends_list.silent = fault == "silent"
    if fault == "asked too much":
        friends_list.entries["7.113.0.203.white.example."] = "127.0.0.255"
    daemon = milter(friends=ZONES, dns=LYING)
    postfix()
    deliver(CLIENT, "a@trap.example")
    hits(wait=1)
    assert pg.query(UNANSWERED) == [("unanswered", True)]
    assert "no-answer zone=white.example " in daemon.log()
    pg.query("SELECT hunnypot.tick()")
    assert listing() == []
    for word in ("why", "show"):
        assert "; a list of friends did not tell whether it is one" in told(hunnypot, word)
        assert "to be told by a list of friends whether the client is one, and then does not count" in told(hunnypot, word)
    assert pg.query("SELECT ripening, counted FROM hunnypot.offence") == [(1, None)]
    # Other clients find it resting.
    asked = friends_list.asked()
    deliver("203.0.113.9", "a@trap.example")
    hits(wait=2)
    assert friends_list.asked() == asked
    daemon.kill()
    friends_list.silent, friends_list.rcode, friends_list.entries = False, "NXDOMAIN", {"7.113.0.203.white.example.": "127.0.9.1"}
    daemon.start()
    wait_for(lambda: sorted(pg.query("SELECT host(network), why FROM hunnypot.pardoned")) == [(CLIENT, "friend")], 60, "friend")
    wait_for(lambda: pg.query("SELECT host(network) FROM hunnypot.listing") == [("203.0.113.9",)], 60, "listing of the other")
    assert "a list of friends has the client: this hit does not count" in told(hunnypot)
    assert "; 1 hit of a friend" in told(hunnypot)
    assert pg.query("SELECT what, number FROM hunnypot.hourly WHERE what IN ('friend', 'proven')") == [("friend", 1), ("proven", 1)]


def test_without_an_answer_a_hit_is_watched_after_a_day(postfix, milter, deliver, pg, hits, listing, hunnypot, friends_list):
    milter(friends=ZONES, dns=LYING)
    postfix()
    deliver(CLIENT, "a@trap.example")
    hits(wait=1)
    for by, states in (("23 hours 59 minutes", (1, None, None)), ("2 minutes", (None, 1, None))):
        pg.query("UPDATE hunnypot.waiting SET due = due - %s::interval, recorded = recorded - %s::interval", by, by)
        pg.query("SELECT hunnypot.tick()")
        assert pg.query("SELECT ripening, excused, counted FROM hunnypot.offence") == [states]
        assert listing() == []
    assert pg.query("SELECT why FROM hunnypot.pardoned") == [("unanswered",)]
    assert "no list of friends told whether the client is one: this hit is watched, and does not count" in told(hunnypot)
    assert "; 1 hit of which no list told whether it is a friend" in told(hunnypot)


def test_who_waits_for_a_list_that_is_not_asked_any_more_is_judged_without_it(postfix, milter, deliver, pg, hits, listing, friends_list):
    daemon = milter(friends=ZONES, dns=LYING)
    postfix()
    deliver(CLIENT, "a@trap.example")
    hits(wait=1)
    assert pg.query(UNANSWERED) == [("unanswered", True)]
    daemon.configure(friends={"zones": []})
    daemon.reload()
    wait_for(lambda: listing() == [("trap", "witnessed")], 60, "listing")
    assert pg.query("SELECT count(*) FROM hunnypot.pardoned") == [(0,)]


def test_a_reload_brings_lists(postfix, milter, dns, deliver, pg, hits):
    dns.add("7.113.0.203.white.example. A 127.0.5.1")
    daemon = milter()
    postfix()
    deliver(CLIENT, "a@trap.example")
    assert hits(wait=1)[0]["friend"] is None
    daemon.configure(friends=ZONES)
    daemon.reload()
    wait_for(lambda: "reloaded " in daemon.log(), what="reload")
    deliver(CLIENT, "a@trap.example")
    wait_for(lambda: "verdict=friend why=\"a list of friends has it\"" in daemon.log(), what="verdict")
    assert len(hits()) == 1
