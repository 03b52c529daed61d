"""The policy in the database: who is listed and for how long, who never is, when the brake holds, what is forgotten."""
import re
import select
from datetime import timedelta

import psycopg2
import pytest

from testbed.base import TOP
from testbed.offences import list_networks, listings, offend, offend_all, tick_on

CLIENT = "203.0.113.7"
NOW, DAY, HOUR, SECOND = timedelta(), timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)


def as_role(pg, role, statement):
    """The rows of STATEMENT, run by a role that nobody logs in as."""
    connection = pg.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


# name: ((class, domain, ago, null sender) of each hit, {class: days left})
CASES = {
    "one hit on a trap": ([("trap", "a", NOW)], {"trap": 30}),
    "a trap hit at the end of its listing": ([("trap", "a", 29.9 * DAY)], {"trap": 0.1}),
    "a trap hit after its listing": ([("trap", "a", 30 * DAY + SECOND)], {}),
    "one hit on a backup": ([("backup", "a", NOW)], {}),
    "two hits on a backup an hour apart": ([("backup", "a", HOUR), ("backup", "a", NOW)], {"backup": 7}),
    "two hits on a backup, the later reported first":
        ([("backup", "a", NOW), ("backup", "a", 2 * HOUR)], {"backup": 7}),
    "two domains at once": ([("backup", "a", NOW), ("backup", "b", NOW)], {"backup": 7}),
    "a backup and an address hit do not add up": ([("backup", "a", 2 * HOUR), ("address", "b", NOW)], {}),
    "two hits on an address": ([("address", "a", 2 * HOUR), ("address", "a", HOUR)], {"address": 7}),
    "one network in two classes":
        ([("trap", "a", NOW), ("address", "a", NOW), ("address", "b", NOW)], {"trap": 30, "address": 7}),
    "bounces to a trap are watched only": ([("trap", "a", NOW, True)], {}),
    "bounces elsewhere are watched only":
        ([("backup", "a", 2 * DAY, True), ("address", "b", DAY, True), ("backup", "a", NOW, True)], {}),
    "bounces do not add to other hits": ([("backup", "a", 2 * HOUR, True), ("backup", "a", NOW)], {}),
    "back after its listing": ([("trap", "a", 40 * DAY), ("trap", "a", NOW)], {"trap": 60}),
    "back with another domain": ([("trap", "a", 40 * DAY), ("trap", "b", NOW)], {"trap": 60}),
    "back twice": ([("trap", "a", 110 * DAY), ("trap", "a", 70 * DAY), ("trap", "a", NOW)], {"trap": 120}),
    "back so often that the maximum counts":
        ([("trap", "a", 400 * DAY), ("trap", "a", 360 * DAY), ("trap", "a", 290 * DAY),
          ("trap", "a", 160 * DAY), ("trap", "a", NOW)], {"trap": 120}),
    "still listed from coming back is not back again":
        ([("trap", "a", 100 * DAY), ("trap", "a", 60 * DAY), ("trap", "a", DAY)], {"trap": 59}),
    "still listed is not back": ([("trap", "a", 20 * DAY), ("trap", "a", NOW)], {"trap": 30}),
    "a late report is not back": ([("trap", "a", NOW), ("trap", "a", 40 * DAY)], {"trap": 30}),
    "never listed before is not back": ([("backup", "a", 20 * DAY), ("backup", "a", NOW)], {"backup": 7}),
    "listed for two domains, then back":
        ([("backup", "a", 20 * DAY), ("backup", "b", 20 * DAY), ("backup", "c", NOW)], {"backup": 14}),
}


@pytest.mark.parametrize("name", CASES)
def test_who_is_listed_for_how_long(pg, name):
    hits, wanted = CASES[name]
    for kind, domain, ago, *null_sender in hits:
        offend(pg, CLIENT, kind, domain, ago, bool(null_sender))
    assert listings(pg, CLIENT) == wanted


def test_two_hits_on_a_backup_within_the_hour(pg):
    """Of one moment, or the second one would be as much later as it took to count the first."""
    offend_all(pg, [(CLIENT, "backup", "a", HOUR - SECOND, False), (CLIENT, "backup", "a", NOW, False)])
    assert listings(pg, CLIENT) == {}


def test_one_batch_counts_as_its_hits_one_by_one(pg):
    offend_all(pg, [(CLIENT, "backup", "a.example", 2 * HOUR, False), (CLIENT, "backup", "a.example", NOW, False),
                    (CLIENT, "backup", "b.example", NOW, True)])
    assert listings(pg, CLIENT) == {"backup": 7}
    assert pg.query("SELECT class, domain, hits FROM hunnypot.offence ORDER BY class, domain") == [
        ("backup", "a.example", 2), ("null-sender", "b.example", 1)]


def test_since_is_when_it_came_on_the_list(pg):
    offend(pg, CLIENT, "backup", "a.example", 2 * DAY)
    offend(pg, CLIENT, "backup", "a.example", 2 * DAY)
    assert listings(pg, CLIENT) == {}, "the same domain twice is not two domains"
    offend(pg, CLIENT, "backup", "b.example", 2 * DAY)
    [(since,)] = pg.query("SELECT since FROM hunnypot.listed(%s)", CLIENT)
    [(recent,)] = pg.query("SELECT now() - %s < interval '1 minute'", since)
    assert recent
    offend(pg, CLIENT, "backup", "c.example")
    assert pg.query("SELECT since FROM hunnypot.listed(%s)", CLIENT) == [(since,)]


def test_a_rule_that_is_changed_counts_at_once_for_what_was_recorded(pg):
    offend(pg, CLIENT, "backup")
    assert listings(pg, CLIENT) == {}
    pg.query("UPDATE hunnypot.policy SET min_hits = 1, min_domains = 1, lasts = '1 day' WHERE class = 'backup'")
    assert listings(pg, CLIENT) == {"backup": 1}
    pg.query("UPDATE hunnypot.policy SET listed = false WHERE class = 'backup'")
    assert listings(pg, CLIENT) == {}


@pytest.mark.parametrize("change", [
    "policy SET reason = 'say \"hi\"'", "policy SET reason = E'two\\nlines'", "policy SET reason = 'gr\u00fc\u00df'",
    "policy SET reason = 'costs $1'", "policy SET code = '250 2.0.0'", "policy SET code = '550 4.7.1'",
    "policy SET return_address = '127.0.0.1' WHERE rank = 1", "policy SET return_address = '192.0.2.1' WHERE rank = 1",
    "policy SET growth = 0.5", "policy SET min_hits = 0", "setting SET value = '-1 day' WHERE name = 'keep_hits'",
    *[f"setting SET value = '{wrong}' WHERE name = 'nat64_prefixes'" for wrong in (
        "192.0.2.0/24", "2001:db8::/33", "2001:db8:0:0:100::/96", "2001:db8::/128")],
    "setting SET value = 'soon' WHERE name = 'keep_offences'", "setting SET value = '7' WHERE name = 'brake_share'",
    "setting SET value = E'http://x/\\t' WHERE name = 'lookup_url'"])
def test_nonsense_is_refused(pg, change):
    with pytest.raises(psycopg2.DataError if "soon" in change else psycopg2.IntegrityError):
        pg.query(f"UPDATE hunnypot.{change}")


NEIGHBOURS = ["2001:db8:c:1::7", "2001:db8:c:1::8", "2001:db8:c:1:ffff::9"]


def listed_networks(pg, query="listing"):
    return [network for network, in pg.query(f"SELECT network FROM hunnypot.{query} ORDER BY network")]


def test_ipv6_clients_are_listed_by_address(pg):
    offend(pg, "2001:db8:c:1::7", "backup", "a.example", 2 * HOUR)
    offend(pg, "2001:db8:c:1:ffff::8", "backup", "a.example")
    assert listed_networks(pg) == [], "two hits, but of two clients"
    offend(pg, "2001:db8:c:1::7", "backup", "a.example")
    assert listed_networks(pg) == ["2001:db8:c:1::7/128"]
    assert listings(pg, "2001:db8:c:1::7") == {"backup": 7}
    assert listings(pg, "2001:db8:c:1:ffff::8") == {}


def test_a_64_is_listed_when_several_of_its_addresses_offended(pg):
    for number, client in enumerate(NEIGHBOURS):
        assert listings(pg, "2001:db8:c:1::99") == {}, f"{number} of three are not several"
        offend(pg, client, "backup", "a.example", (3 - number) * HOUR)
    assert listings(pg, "2001:db8:c:1::99").keys() == {"backup"}
    assert listings(pg, "2001:db8:c:2::7") == {}
    assert listed_networks(pg) == ["2001:db8:c:1::/64"], "no address did enough by itself"
    [said] = [what for what, in pg.query("SELECT what FROM hunnypot.why('2001:db8:c:1::99')") if "/64" in what]
    assert "listed (" in said and "hits of 3 clients, of 3 that it takes" in said
    pg.query("SELECT * FROM hunnypot.forget(%s)", NEIGHBOURS[0])
    assert listed_networks(pg) == [], "two are not several any more"


def test_a_64_is_not_listed_for_offenders_of_different_times(pg):
    pg.query("UPDATE hunnypot.policy SET counts_for = '7 days'")
    for number, client in enumerate(NEIGHBOURS):
        offend(pg, client, ago=24 * HOUR * 8 * (2 - number))
    assert "2001:db8:c:1::/64" not in listed_networks(pg)
    offend(pg, "2001:db8:c:1::10")
    assert "2001:db8:c:1::/64" not in listed_networks(pg)
    offend(pg, "2001:db8:c:1::11")
    assert "2001:db8:c:1::/64" in listed_networks(pg)


def test_what_comes_from_a_listed_64_came_while_listed(pg):
    for client in NEIGHBOURS:
        offend(pg, client)
    assert pg.query("SELECT l.network FROM hunnypot.listed('2001:db8:c:1::99') l") == [("2001:db8:c:1::/64",)]
    # An address that says no more than its /64 is not named beside it.
    for query in ("worst_listing('')", "worst_listing('trap')", "firm_listing('', 'no')"):
        assert listed_networks(pg, query) == ["2001:db8:c:1::/64"]
    assert [row for row in pg.query("SELECT network, result FROM hunnypot.policy_test('trap')") if row[0].endswith("/64")] == [
        ("2001:db8:c:1::/64", "listed, witnessed")]


def test_a_64_with_any_number_of_offenders_is_judged_by_a_few(pg):
    list_networks(pg, "SELECT ('2001:db8:c:1::1'::inet + number)::cidr FROM generate_series(1, 3000) number")
    plan = "\n".join(row[0] for row in pg.query(
        "SET enable_seqscan = off; EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT * FROM hunnypot.facts_of('2001:db8:c:1::/64')"))
    assert "offence_day_prefix" in plan and "rows=3000" not in plan, plan
    assert listings(pg, "2001:db8:c:1:ffff::99") == {"trap": 30}


@pytest.mark.parametrize("address, who", [
    # RFC 4291 2.5.5.2, 6052 2.4, 3056 2, 4380 4.
    ("::ffff:192.0.2.33", "192.0.2.33"), ("64:ff9b::192.0.2.33", "192.0.2.33"), ("2002:c000:221::1", "192.0.2.33"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"), ("::ffff:10.0.0.1", "10.0.0.1"),
    ("::ffff:192.0.2.0/120", "192.0.2.0/24"), ("64:ff9b::c000:200/120", "192.0.2.0/24"), ("2002:c000:200::/40", "192.0.2.0/24"),
    ("2002:c000:221::/48", "192.0.2.33"), ("2002:c000:221:5::/64", "192.0.2.33"),
    ("2001:0:4136:e378:8000:63bf:3fff:fd00/120", "192.0.2.0/24"),
    *[(same, same) for same in (
        "192.0.2.1", "192.0.2.0/24", "2001:db8::1", "2001:db8::/32", "::192.0.2.1", "64:ff9b:1::c000:221", "64:ff9b::7f00:1",
        "64:ff9b::a00:1", "2002:c0a8:101::1", "2002::1", "2002:e000:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "64:ff9b::/96",
        "2002::/16", "2001::/32", "2001:0:4136::/48", "::/0", "2000::/3")]])
def test_ipv4_inside_ipv6_is_the_ipv4_client(pg, address, who):
    assert pg.query("SELECT hunnypot.client_address(%s) = %s::inet", address, who) == [(True,)]


# RFC 6052 2.4: one address behind prefixes of each length.
@pytest.mark.parametrize("prefix, address", [
    ("2001:db8::/32", "2001:db8:c000:221::"), ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"), ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"), ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b:1::/48", "64:ff9b:1:c000:2:2100::")])
def test_ipv4_behind_a_prefix_of_the_settings_is_the_ipv4_client(pg, hunnypot_json, prefix, address):
    pg.query("UPDATE hunnypot.setting SET value = %s WHERE name = 'nat64_prefixes'", "2001:db8:9::/96 " + prefix)
    assert pg.query("SELECT host(hunnypot.client_address(%s))", address) == [("192.0.2.33",)]
    offend(pg, address)
    assert listed_networks(pg) == ["192.0.2.33/32"]
    assert listings(pg, address) == {"trap": 30}
    assert pg.query("SELECT hunnypot.client_address(%s) = %s", prefix, prefix) == [(True,)]
    assert [row["network"] for row in hunnypot_json("list", "--network", address)] == ["192.0.2.33/32"]
    assert hunnypot_json("show", address)["network"] == "192.0.2.33/32"
    pg.query("SELECT hunnypot.allow_add(%s)", address)
    assert listings(pg, "192.0.2.33") == {}


def test_a_prefix_of_the_settings_may_hold_private_clients_but_no_nonsense(pg):
    pg.query("UPDATE hunnypot.setting SET value = '2001:db8:64::/96' WHERE name = 'nat64_prefixes'")
    assert pg.query("SELECT host(hunnypot.client_address('2001:db8:64::10.0.0.1'))") == [("10.0.0.1",)]
    assert pg.query("SELECT host(hunnypot.client_address('2001:db8:64::127.0.0.1'))") == [("2001:db8:64::7f00:1",)]


def test_ipv4_inside_ipv6_is_listed_allowed_and_forgotten_as_ipv4(pg):
    ways = ("::ffff:203.0.113.7", "64:ff9b::cb00:7107", "2002:cb00:7107::9", "2001:0:4136:e378:8000:63bf:34ff:8ef8")
    offend(pg, ways[1])
    assert pg.query("SELECT network FROM hunnypot.listing") == [(CLIENT + "/32",)]
    for way in ways:
        assert listings(pg, way) == {"trap": 30}
        assert pg.query("SELECT count(*) > 0 FROM hunnypot.why(%s)", way) == [(True,)]
        pg.query("SELECT hunnypot.allow_add(%s)", way)
        assert pg.query("SELECT network FROM hunnypot.allow") == [(CLIENT + "/32",)]
        assert listings(pg, CLIENT) == {}
        assert pg.query("SELECT hunnypot.allow_del(%s)", way) == [(True,)]
    assert listings(pg, "64:ff9b::cb00:7108") == {}
    pg.query("SELECT * FROM hunnypot.forget(%s)", ways[2])
    assert listings(pg, CLIENT) == {}


@pytest.mark.parametrize("network, expires, listed", [
    ("203.0.113.7/32", None, False), ("203.0.112.0/20", None, False), ("0.0.0.0/0", None, False),
    ("203.0.113.8/32", None, True), ("203.0.113.0/24", "+1 hour", False), ("203.0.113.0/24", "-1 hour", True)])
def test_allowed_networks_are_never_listed(pg, network, expires, listed):
    offend(pg, CLIENT)
    pg.query("SELECT hunnypot.allow_add('198.51.100.0/24', 'other', 'me')")
    pg.query("SELECT hunnypot.allow_add(%s, 'a friend', 'me', now() + %s::interval)", network, expires)
    assert (listings(pg, CLIENT) != {}) == listed
    assert (pg.query("SELECT count(*) FROM hunnypot.listing") != [(0,)]) == listed
    assert pg.query("SELECT hunnypot.allow_del(%s)", network) == [(True,)]
    assert pg.query("SELECT hunnypot.allow_del(%s)", network) == [(False,)]
    assert listings(pg, CLIENT) == {"trap": 30}


@pytest.mark.parametrize("allowed", ["2001:db8:c:1::25", NEIGHBOURS[0]])
def test_one_allowed_address_frees_just_that_one(pg, allowed):
    for client in NEIGHBOURS:
        offend(pg, client)
    pg.query("SELECT hunnypot.allow_add(%s)", allowed)
    assert listings(pg, allowed) == {}
    assert listed_networks(pg) == [f"{client}/128" for client in NEIGHBOURS if client != allowed]
    assert pg.query("SELECT hunnypot.allow_del(%s)", allowed) == [(True,)]
    assert listings(pg, allowed) == {"trap": 30}


def test_allowing_again_changes_the_words(pg):
    pg.query("SELECT hunnypot.allow_add('203.0.113.0/24', 'first', 'me', now() + interval '1 day')")
    pg.query("SELECT hunnypot.allow_add('203.0.113.0/24', 'second', 'you')")
    assert pg.query("SELECT reason, author, expires FROM hunnypot.allow") == [("second", "you", None)]


def test_test_entries_of_a_dnsbl_are_never_clients(pg):
    for client in ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"):
        offend(pg, client)
    assert pg.query("SELECT * FROM hunnypot.listing") == []


def test_the_worst_class_speaks_for_a_network(pg):
    offend(pg, CLIENT, "address", "a.example")
    offend(pg, CLIENT, "address", "b.example")
    offend(pg, CLIENT, "trap")
    assert pg.query("SELECT class FROM hunnypot.worst_listing('')") == [("trap",)]
    assert pg.query("SELECT class FROM hunnypot.worst_listing('address')") == [("address",)]
    assert pg.query("SELECT class FROM hunnypot.worst_listing('backup')") == []
    with pytest.raises(psycopg2.DataError, match='no class "adress"'):
        pg.query("SELECT class FROM hunnypot.worst_listing('adress')")


REFUSED = "550 5.7.1 Listed for sending to a domain that gets no mail, see https://why.example/?"


@pytest.mark.parametrize("key, wanted", [
    (CLIENT, REFUSED + CLIENT),
    *[(key, REFUSED + CLIENT) for key in (
        "::ffff:203.0.113.7", "::FFFF:cb00:7107", "64:ff9b::cb00:7107", "64:ff9b::203.0.113.7", "2002:cb00:7107:1::25",
        "2001:0:4136:e378:8000:63bf:34ff:8ef8")],
    ("2001:db8:c:1::1", REFUSED + "2001:db8:c:1::1"),
    ("2001:DB8:C:1:0:0:0:1", REFUSED + "2001:db8:c:1::1"),
    ("2001:db8:c:2::99", REFUSED + "2001:db8:c:2::"),
    # Of these Postfix would cut something off and ask again: for another client.
    ("2001:db8:c:1::1:2", "DUNNO"), ("2001:db8:c:1::", "DUNNO"), ("2001::5:6:7:8", "DUNNO"), ("::ffff:203.0.113.8", "DUNNO"), ("::ffff:203.0.113", "DUNNO"),
    *[(key, None) for key in (
        "203.0.113.8", "203.0.113", "203", "", "client7.example.com", "com", "203.0.113.7.", " 203.0.113.7",
        "203.0.113.07", "203.0.113.256", "unknown", "[203.0.113.7]", "203.0.113.7/32", "'; SELECT 1",
        "2001:db8:c:1", "2001:db8:c:1:", ":::", "::203.0.113.7", "1:2:3:4:5:6:7:8:9", "2001:db8:c:g::",
        "a" * 10000)]],
    ids=lambda value: str(value)[:30])
def test_postfix_gets_an_answer_or_nothing_for_any_key(pg, key, wanted):
    pg.query("UPDATE hunnypot.setting SET value = 'https://why.example/?$' WHERE name = 'lookup_url'")
    for client in (CLIENT, "2001:db8:c:1::1", "2001::1", "::5", "2001:db8:c:2::1", "2001:db8:c:2::2", "2001:db8:c:2::3"):
        offend(pg, client)
    assert pg.query("SELECT hunnypot.postfix_action(%s)", key) == [(wanted,)]
    assert pg.query("SELECT hunnypot.postfix_actions(%s)", key) == ([(wanted,)] if wanted else [])


def test_the_map_of_postfix_says_what_its_export_says(pg):
    """Of a client that the worse class puts off and another one refuses."""
    for kind in ("trap", "backup"):
        list_networks(pg, f"SELECT '{CLIENT}/32'::cidr", kind)
    pg.query("UPDATE hunnypot.policy SET firm_after = '1 year', inferred_code = '450 4.7.1' WHERE class = 'trap'")
    tick_on(pg)
    assert pg.query("SELECT class, left(code, 3), worst FROM hunnypot.listing ORDER BY rank") == [("trap", "450", False), ("backup", "550", True)]
    [(line,)] = pg.query("SELECT code || ' ' || reason FROM hunnypot.worst_listing('')")
    assert pg.query("SELECT hunnypot.postfix_action(%s)", CLIENT) == [(line,)]


def test_a_network_of_any_length_is_found(pg):
    """There is none as a rule, which is looked at first."""
    pg.query((TOP / "sql/dnsbl/powerdns.sql").read_text())

    def found(client):
        labels = pg.query("SELECT hunnypot.reversed(%s::inet)", client)[0][0]
        return [pg.query(question, word)[0][0] > 0 for question, word in (
            ("SELECT count(*) FROM hunnypot.listed(%s)", client),
            ("SELECT count(*) FROM hunnypot.postfix_actions(%s) action WHERE action LIKE '550 %%'", client),
            ("SELECT count(*) FROM hunnypot.dnsbl(%s, 'ANY') WHERE type = 'A'", labels + ".bl.example.org"))]
    asked = [CLIENT, "203.0.113.65", "203.0.113.66", "198.51.100.1", "2001:db8:c:1::1", "2001:db8:d:ff::1"]
    for client in (CLIENT, "2001:db8:c:1::7", "2001:db8:c:1::8", "2001:db8:c:1::9"):
        offend(pg, client)
    assert [found(client) for client in asked] == [[listed] * 3 for listed in (True, False, False, False, True, False)]
    list_networks(pg, "VALUES (cidr '203.0.113.64/28'), ('203.0.113.66/32'), ('2001:db8:d::/56')")
    assert [found(client) for client in asked] == [[listed] * 3 for listed in (True, True, True, False, True, True)]


@pytest.mark.parametrize("question", ["listed('10.0.4.4')", "postfix_actions('10.0.4.4')", "dnsbl('4.4.0.10.bl.example.org', 'ANY')"])
def test_an_address_is_looked_up_by_index(pg, question):
    """Also in a session that planned it when the list was empty, and keeps that plan."""
    pg.query((TOP / "sql/dnsbl/powerdns.sql").read_text())
    connection = pg.connect()
    with connection.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; "
                       "SET client_min_messages = log; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0; "
                       "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
        for statistics in ("none", "stale", "fresh"):
            for _ in range(10):
                connection.notices.clear()
                cursor.execute(f"SELECT * FROM hunnypot.{question}")
            plan = "".join(connection.notices)
            assert "using listed_network_pkey" in plan or "on listed_network_pkey" in plan, plan
            assert "using listed_network_odd" in plan, plan
            assert "Seq Scan on listed_network" not in plan and not re.search("Parallel .* on listed_network", plan), (statistics, plan)
            if statistics == "none":
                fill(pg, 1, 100000)
            else:
                pg.query("ANALYZE hunnypot.listed_network")
    connection.close()
    assert listings(pg, "10.0.4.4") == {"trap": 30}


def fill(pg, first, count):
    list_networks(pg, f"SELECT ('10.0.0.0'::inet + number)::cidr FROM generate_series({first}, {first + count - 1}) number")


def grow(pg, first, count):
    """COUNT new networks, of which the operator has said nothing."""
    list_networks(pg, f"SELECT ('10.0.0.0'::inet + number)::cidr FROM generate_series({first}, {first + count - 1}) number",
                  right=False)


def brake(pg):
    return pg.query("SELECT hunnypot.publish_check()")[0][0]


def exported(pg):
    return pg.query("SET hunnypot.export = 'on'; SELECT count(*) FROM hunnypot.listing")[0][0]


def let_pass(pg, time):
    for by in (time + 10000 * DAY, -10000 * DAY):  # no row comes upon another on the way
        pg.query("UPDATE hunnypot.brake_growth SET at = at - %s", by)


def test_the_brake_holds_for_a_list_that_is_nearly_empty(pg):
    """For the first publication as well, and whether or not anybody ever exports."""
    grow(pg, 1, 25)
    assert (brake(pg), exported(pg)) == (None, 25)
    grow(pg, 101, 1)
    assert "the brake holds 1 network back from exports: 26 new in an hour, of at most 25" in brake(pg)
    assert (exported(pg), pg.query("SELECT count(*) FROM hunnypot.listing")) == (25, [(26,)])
    pg.query("SELECT hunnypot.brake_release()")
    assert (brake(pg), exported(pg)) == (None, 26)
    grow(pg, 201, 100)
    assert "100 networks" in brake(pg) and exported(pg) == 26


def test_the_brake_gives_a_large_list_its_share(pg):
    fill(pg, 1, 1000)
    grow(pg, 2001, 125)
    assert brake(pg) is None
    grow(pg, 3001, 1)
    assert "126 new in an hour, of at most 125" in brake(pg)


def test_the_brake_goes_by_a_day_as_well(pg):
    fill(pg, 1, 1000)
    for number in range(4):
        grow(pg, 10000 * number + 2001, 125)
        assert brake(pg) is None, number
        let_pass(pg, HOUR)
    grow(pg, 60001, 1)
    assert "501 new in 24 hours, of at most 500" in brake(pg)
    pg.query("SELECT hunnypot.brake_release()")
    let_pass(pg, DAY)
    grow(pg, 70001, 1)
    assert brake(pg) is None


@pytest.mark.parametrize("apart", [timedelta(0), HOUR, DAY], ids=["at once", "hours", "days"])
def test_the_brake_holds_for_growth_in_many_steps(pg, apart):
    """1,000 networks did not become 80,000 in 11 exports, each half as large again as the one before."""
    fill(pg, 1, 1000)
    size = 1000
    for _ in range(11):
        new = exported(pg) // 2
        grow(pg, size + 1, new)
        size += new
        let_pass(pg, apart)
    assert brake(pg) is not None and exported(pg) == 1000
    pg.query("UPDATE hunnypot.brake SET since = since - interval '1 year'")
    pg.query("DELETE FROM hunnypot.brake_growth; SELECT hunnypot.tick()")
    assert brake(pg) is not None, "time alone releases nothing"


def test_the_brake_measures_by_a_week(pg):
    """As much as may come in a day, day after day, is not half as much again each time."""
    fill(pg, 1, 1000)
    for day in range(6):
        for part in range(4):
            grow(pg, 1001 + 500 * day + 125 * part, 125)
            let_pass(pg, HOUR)
        let_pass(pg, 21 * HOUR)
    assert (brake(pg), exported(pg)) == (None, 4000)
    grow(pg, 9001, 126)
    assert brake(pg) is not None


def test_only_an_operator_releases_the_brake(pg):
    grow(pg, 1, 30)
    for role in ("hunnypot_reader", "hunnypot_sensor"):
        with pytest.raises(psycopg2.Error, match="permission denied"):
            as_role(pg, role, "SELECT hunnypot.brake_release()")
    assert as_role(pg, "hunnypot_operator", "SELECT hunnypot.brake_release()") == [(30,)]
    assert exported(pg) == 30


def test_what_leaves_the_list_is_never_held_up(pg):
    fill(pg, 1, 40)
    grow(pg, 1001, 30)
    pg.query("SELECT hunnypot.allow_add('10.0.0.7', '', 'me')")
    pg.query("SELECT hunnypot.allow_add('10.0.3.240', '', 'me')")
    assert brake(pg) is not None and exported(pg) == 39
    assert pg.query("SELECT count(*) FROM hunnypot.held") == [(29,)]
    pg.query("SELECT hunnypot.allow_del('10.0.0.7')")
    assert exported(pg) == 40, "it is not new: it was just there"
    offend_all(pg, [("10.0.0.8", "backup", domain, NOW, False) for domain in ("a", "b")])
    assert exported(pg) == 41, "another class of who is on the list is not new"
    offend(pg, "10.0.0.99")
    assert exported(pg) == 41, "who comes while it holds, waits as well"
    pg.query("SELECT hunnypot.brake_release()")
    assert exported(pg) == 71


def test_the_brake_knows_how_large_the_list_is(pg):
    fill(pg, 1, 40)
    offend_all(pg, [("10.0.0.8", "backup", domain, NOW, False) for domain in ("a", "b")])
    for client in NEIGHBOURS:
        offend(pg, client)
    pg.query("SELECT hunnypot.allow_add('10.0.0.0/28', '', 'me')")
    pg.query("SELECT hunnypot.allow_del('10.0.0.0/28'); SELECT hunnypot.forget('10.0.0.9')")
    assert pg.query("SELECT networks FROM hunnypot.brake") == pg.query(
        "SELECT count(DISTINCT network) FROM hunnypot.listed_network WHERE removed IS NULL")


@pytest.mark.parametrize("network, wanted", [
    ("10.0.0.0/24", None), ("10.0.0.0/23", "10.0.0.0/23 is shorter than a /24"), ("2001:db8::/48", None),
    ("2001:db8::/47", "2001:db8::/47 is shorter than a /48"), ("0.0.0.0/0", "0.0.0.0/0 is shorter than a /24")])
def test_the_brake_holds_for_wide_networks(pg, network, wanted):
    list_networks(pg, f"VALUES (cidr '{network}')", right=False)
    assert pg.query("SELECT why FROM hunnypot.brake") == [(wanted,)]
    assert exported(pg) == (wanted is None)


def add_hit(pg, client, ago):
    pg.query("SELECT hunnypot.make_partitions(ARRAY[((now() - %s) AT TIME ZONE 'UTC')::date])", ago)
    pg.query("""INSERT INTO hunnypot.hit (hit_id, time, sensor_id, spool, seq, client, client_port, client_name, helo,
            sender, recipients, recipients_total, null_sender, tls, class, domain, queue_id, mta_name, owner, name_state,
            while_listed)
        VALUES (gen_random_uuid(), now() - %s, 1, gen_random_uuid(), 1, %s, 25, '', '', '', '{}', 1, false, false, 'trap',
            'a', '', '', 'a', 'none', false)""",
             ago, client)


def removed(pg, call):
    return dict(as_role(pg, "hunnypot_operator", f"SELECT * FROM hunnypot.{call}"))


@pytest.mark.parametrize("network, hits, offences", [
    ("203.0.113.7", 2, 1), ("203.0.113.0/24", 3, 2), ("2001:db8:c:1::7", 1, 1), ("2001:db8:c::/48", 1, 1),
    ("192.0.2.1", 0, 0)])
def test_forget_removes_what_is_known_below_a_network(pg, network, hits, offences):
    for client in (CLIENT, "203.0.113.8", "2001:db8:c:1::7", "198.51.100.7"):
        add_hit(pg, client, DAY)
        offend(pg, client)
    add_hit(pg, CLIENT, 3 * DAY)
    assert removed(pg, f"forget('{network}')") == {"hits": hits, "offences": offences, "requests": 0}
    for table, column in (("hit", "client"), ("offence", "network"), ("offence_day", "network"), ("listing", "network")):
        assert pg.query(f"SELECT count(*) FROM hunnypot.{table} WHERE {column} <<= %s", network) == [(0,)], table
    assert pg.query("SELECT count(*) FROM hunnypot.hit") == [(5 - hits,)]


def test_expire_drops_old_partitions_and_forgotten_offences(pg):
    for ago in (0, 29, 31, 40):
        add_hit(pg, CLIENT, ago * DAY)  # those without a partition are in the default one
    add_hit(pg, CLIENT, 20 * DAY)
    for ago in (150, 91):  # it came back: listed for 60 days, and the policy has just made them 120
        offend(pg, "203.0.113.1", ago=ago * DAY)
    pg.query("UPDATE hunnypot.policy SET growth = 4 WHERE class = 'trap'")
    offend(pg, "203.0.113.2", ago=89 * DAY)
    offend(pg, "203.0.113.3", ago=200 * DAY)
    pg.query("SELECT hunnypot.allow_add('10.0.0.1', '', 'me', now() - interval '1 s')")
    pg.query("SELECT hunnypot.allow_add('10.0.0.2', '', 'me', now() + interval '1 day')")
    assert removed(pg, "expire()") == {
        "hit partitions": 0, "hits": 2, "offences": 1, "envelopes": 0, "requests": 0, "allows": 1}
    pg.query("UPDATE hunnypot.setting SET value = '10 days' WHERE name = 'keep_hits'")
    assert removed(pg, "expire()") == {
        "hit partitions": 2, "hits": 0, "offences": 0, "envelopes": 0, "requests": 0, "allows": 0}
    assert pg.query("SELECT count(*) FROM hunnypot.hit") == [(1,)]
    assert pg.query("SELECT network FROM hunnypot.offence ORDER BY 1") == [("203.0.113.1/32",), ("203.0.113.2/32",)]


WAITING = """INSERT INTO hunnypot.waiting (hit_id, due, ripe, time, network, class, domain, owner, name_state, while_listed)
    VALUES (gen_random_uuid(), now(), now(), now(), '10.0.0.1', '{}', 'a', 'a', 'none', false)"""


@pytest.mark.parametrize("change, told", [
    ("SELECT hunnypot.allow_add('10.0.0.0/8')", True),
    ("INSERT INTO hunnypot.allow VALUES ('10.0.0.0/8'); DELETE FROM hunnypot.allow", True),
    ("UPDATE hunnypot.policy SET listed = false", True),
    ("UPDATE hunnypot.setting SET value = '' WHERE name = 'lookup_url'", True),
    ("SELECT * FROM hunnypot.forget('10.0.0.0/8')", True),
    (f"{WAITING.format('trap')}; SELECT hunnypot.tick()", True),
    (f"{WAITING.format('backup')}; SELECT hunnypot.tick()", False),
    ("SELECT * FROM hunnypot.listing; SELECT hunnypot.tick()", False)])
def test_readers_are_told_when_the_list_may_have_changed(pg, change, told):
    listener = pg.connect()
    listener.cursor().execute("LISTEN hunnypot_listing")
    pg.query(change)
    select.select([listener], [], [], 5 if told else 0.5)
    listener.poll()
    assert bool(listener.notifies) == told
    listener.close()


def test_the_serial_rises_with_each_change_of_the_list(pg):
    def serial():
        return pg.query("SELECT hunnypot.listing_serial()")[0][0]
    # All that happened so far was an hour ago.
    pg.query("UPDATE hunnypot.change SET serial = serial - 3600")
    start = serial()
    offend(pg, CLIENT, "backup")
    assert serial() == start, "nobody was listed"
    offend(pg, CLIENT)
    listed = serial()
    assert listed > start
    pg.query("UPDATE hunnypot.change SET serial = serial - 3600")
    pg.query("UPDATE hunnypot.listed_network SET until = now() - interval '10 min', due = now() - interval '10 min'")
    ended = serial()
    assert listed - 11 * 60 < ended < listed - 9 * 60, "when the listing ended"
    pg.query("SELECT hunnypot.allow_add('10.0.0.0/8')")
    assert serial() > ended


READING = [
    "SELECT * FROM hunnypot.listing", "SELECT * FROM hunnypot.allow", "SELECT hunnypot.publish_check()",
    "SELECT * FROM hunnypot.listed('10.0.0.1')", "SELECT hunnypot.postfix_action('10.0.0.1')",
    "SELECT * FROM hunnypot.worst_listing('')", "SELECT hunnypot.listing_serial()", "SELECT * FROM hunnypot.brake_state",
    "SELECT * FROM hunnypot.held"]
OPERATING = [
    "SELECT hunnypot.allow_add('10.0.0.1')", "SELECT hunnypot.allow_del('10.0.0.1')", "DELETE FROM hunnypot.allow",
    "SELECT * FROM hunnypot.forget('10.0.0.1')", "SELECT * FROM hunnypot.expire()", "SELECT hunnypot.brake_release()",
    "UPDATE hunnypot.policy SET listed = false", "UPDATE hunnypot.setting SET value = '1 day' WHERE name ~ 'keep'"]
NOBODY = [
    "SELECT hunnypot.refresh('{10.0.0.1}')", WAITING.format("trap"),
    "DELETE FROM hunnypot.offence_day", "DELETE FROM hunnypot.hit", "DROP TABLE hunnypot.hit",
    "DELETE FROM hunnypot.listed_network"]


@pytest.mark.parametrize("role, may, may_not", [
    ("hunnypot_sensor", [], READING + OPERATING + NOBODY), ("hunnypot_reader", READING, OPERATING + NOBODY),
    ("hunnypot_operator", READING + OPERATING, NOBODY)], ids=["sensor", "reader", "operator"])
def test_each_role_may_do_its_work_and_nothing_else(pg, role, may, may_not):
    for statement in may:
        as_role(pg, role, statement)
    for statement in may_not:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            as_role(pg, role, statement)
            pytest.fail(f"{role} may {statement}")
