"""The door: who is listed looks itself up, and gets off the list; and nobody else is told anything, or gets anything."""
import collections
import itertools
import json
import re
import subprocess
import threading
from datetime import timedelta
from xml.etree import ElementTree

import html5lib
import psycopg2
import pytest

from cli_data import Sensor
from test_ripening import CLIENT, DAY, HOUR, Ripening
from testbed.base import BUILD, make, run
from testbed.milter import confined, environment
from testbed.offences import tick_on

CLIENT6, NEIGHBOURS, ELSEWHERE = "2001:db8:c::7", ["2001:db8:c::8", "2001:db8:c::9"], "198.51.100.99"
SECRETS = ["backup.example", "mx2.example.org", "mx1.backup", "sender.example", "host7.example", "trap1"]


@pytest.fixture
def door(pg_plain):
    make(BUILD, "tests/system/door_page")
    made = Door(pg_plain)
    made.enable()
    yield made
    made.visitor.close()


class Visitor:
    """What hunnypot-web calls for its public pages, with one connection to the database."""

    def __init__(self):
        self.process = subprocess.Popen([BUILD / "tests/system/door_page", "dbname=hunnypot user=door"], env=environment(PGUSER="door"),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def page(self, *fields):
        self.process.stdin.write(b"".join(field.encode() + b"\0" for field in fields))
        self.process.stdin.flush()
        status, length = self.process.stdout.readline().split()
        return int(status), self.process.stdout.read(int(length)).decode()

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()


class Door(Ripening):
    """The database, and a visitor."""

    def __init__(self, pg):
        super().__init__(pg)
        self.visitor = Visitor()

    def page(self, address, asker=ELSEWHERE, *, method="get", form="html", languages="", token=""):
        """(status, body)"""
        return self.visitor.page(method, form, languages, address, asker, token)

    def json(self, address, asker=ELSEWHERE, **more):
        status, body = self.page(address, asker, form="json", **more)
        return status, json.loads(body)

    def ask(self, address=CLIENT, asker=None, token=None):
        """The outcome of the POST that ASKER, else ADDRESS itself, makes with the token of its form."""
        asker = asker or address
        if token is None:
            token = self.json(address, asker)[1]["token"] or ""
        return self.json(address, asker, method="post", token=token)[1]["outcome"]

    def later(self, by):
        """What was counted is as old as its hits."""
        for shift in (by - 40000 * DAY, 40000 * DAY):
            self.pg.query("UPDATE hunnypot.hourly SET hour = hour - %s", shift)
        super().later(by)

    def infer(self, *clients):
        """List CLIENTS by inference: two hits on two days."""
        self.pg.query("UPDATE hunnypot.policy SET inferred_pause = '0' WHERE inferred_pause > '0'")
        for _ in range(2):
            for client in clients or [CLIENT]:
                self.hit(client=client, key_id=None, envelope=None)
            self.later(25 * HOUR)
        assert all(self.listing(client) for client in clients or [CLIENT])

    def prove(self, *clients):
        for client in clients or [CLIENT]:
            self.hit(client=client, **{"class": "trap"})
        self.later(5 * HOUR)
        assert all(self.listing(client) for client in clients or [CLIENT])

    def states(self):
        return [state for state, in self.pg.query("SELECT state FROM hunnypot.request ORDER BY request_id")]


def parsed(body):
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree", ElementTree), strict=True, namespaceHTMLElements=False)
    return parser.parse(body)


def buttons(body, method):
    return ["".join(button.itertext()) for form in parsed(body).iter("form") if form.attrib["method"] == method
            for button in form.iter("button")]


def test_what_is_told(door):
    assert door.json(CLIENT)[1]["listed"] is False
    door.infer()
    door.pg.query("UPDATE hunnypot.setting SET value = 'list@example.org' WHERE name = 'contact'")
    door.pg.query("UPDATE hunnypot.setting SET value = 'https://example.org/privacy?a&b' WHERE name = 'privacy_url'")
    status, told = door.json(CLIENT)
    [listing] = told["listings"]
    [(since, until, last_seen)] = door.pg.query("""SELECT to_char(since, 'YYYY-MM-DD"T"HH24":00Z"'), to_char(until + interval '1 hour',
        'YYYY-MM-DD"T"HH24":00Z"'), to_char(last_seen, 'YYYY-MM-DD') FROM hunnypot.listing""")
    assert status == 200 and listing == {"class": "backup", "proof": "inferred", "since": since, "until": until, "last_seen": last_seen,
                                         "listed": True, "firm": False, "alone": True}
    assert (told["address"], told["removal"], told["token"], told["contact"]) == (CLIENT, "itself", None, "list@example.org")
    status, page = door.page(CLIENT)
    assert status == 200 and f"<h2>{CLIENT} is listed</h2>" in page and "It is inferred" in page
    assert {a.attrib["href"] for a in parsed(page).iter("a")} == {"mailto:list@example.org", "https://example.org/privacy?a&b"}
    assert door.page("203.0.113.99")[1].count("is not listed") == 1
    assert door.page("::ffff:203.0.113.7")[1] == door.page("64:ff9b::203.0.113.7")[1] == page, "who that is"


def test_languages(door):
    door.prove()
    for languages, language, words, asker in [("", "en", "is listed", CLIENT), ("de", "de", "steht auf der Liste", CLIENT),
                                              ("fr, de-AT;q=0.5, en;q=0.4", "de", "steht auf der Liste", ELSEWHERE)]:
        page = door.page(CLIENT, asker, languages=languages)[1]
        tree = parsed(page)
        assert tree.attrib["lang"] == language and f"{CLIENT} {words}" in page
        labelled = {label.attrib["for"] for label in tree.iter("label")}
        assert {field.attrib["id"] for field in tree.iter("input") if field.attrib.get("type") != "hidden"} == labelled
        assert not [e.tag for e in tree.iter() if e.tag in ("script", "img", "link", "iframe", "object")]


def test_nothing_is_told_of_us_and_of_others(door):
    """Also not after a request, and in no form."""
    door.infer(CLIENT, CLIENT6, *NEIGHBOURS)
    assert door.pg.query("SELECT count(*) FROM hunnypot.listing WHERE masklen(network) = 64") == [(1,)]
    seen = ""
    for address in (CLIENT, CLIENT6, "2001:db8:c::1", "203.0.113.8", ""):
        for form in ("html", "json"):
            seen += door.page(address, form=form)[1] + door.page(address, CLIENT6, form=form)[1]
            seen += door.page(address, CLIENT6, method="post", form=form)[1]
    for secret in [*SECRETS, *NEIGHBOURS, "/64", "/24", "2001:db8:c::/"]:
        assert secret not in seen, secret
    assert "Several addresses of this network" in door.page("2001:db8:c::1")[1] and "is listed" in door.page("2001:db8:c::1")[1]


HOSTILE = ["203.0.113.0/24", "203.0.113", "<script>alert(1)</script>", "\"'><b>", "\u202e\u2028é", "a" * 9000, "203.0.113.8 OR true",
           "' OR '1'='1", "%00", "::1%eth0", "\\", "$", "1e9"]


def test_hostile_addresses(door):
    door.prove()
    for address, method in itertools.product(HOSTILE, ("get", "post")):
        status, page = door.page(address, CLIENT, method=method, token=address)
        assert status == 400 and "This is no IP address" in page and CLIENT not in page
        tree = parsed(page)
        assert not list(tree.iter("script")) and not list(tree.iter("b")) and len(page) < 12000
        assert door.json(address, CLIENT, method=method, token=address)[1]["address"] is None


def test_the_address_itself_gets_off_once(door):
    """What was counted is void, what ripens too; the next hit lists again, and from then on it takes a person."""
    door.infer()
    door.hit(key_id=None)  # ripens
    page = door.page(CLIENT, CLIENT)[1]
    assert buttons(page, "post") == [f"Take {CLIENT} off the list"]
    token = door.json(CLIENT, CLIENT)[1]["token"]
    assert door.pg.query("SELECT hash = sha256(%s) FROM hunnypot.request_token", token.encode()) == [(True,)], "only a hash is kept"
    status, told = door.json(CLIENT, CLIENT, method="post", token=token)
    assert (status, told["outcome"], told["listed"]) == (200, "removed", False) and door.listing() == []
    assert door.pg.query("SELECT state, proof, author, voided FROM hunnypot.request") == [("removed", "address", None, 2)]
    assert door.pg.query("SELECT count(*) FROM hunnypot.allow") == [(0,)]
    assert door.ask(token=token) == "stale", "a replay"
    door.later(2 * DAY)
    assert door.listing() == [] and door.pg.query("SELECT why, count(*) FROM hunnypot.pardoned GROUP BY 1") == [("voided", 3)]
    door.hit(key_id=None)
    door.later(5 * HOUR)
    assert [row[:2] for row in door.listing()] == [("backup", "inferred")], "one hit is enough"
    assert door.json(CLIENT, CLIENT)[1]["removal"] == "person" and door.ask() == "person"
    assert door.states() == ["removed", "waiting"] and door.listing()
    assert door.ask(token="x") == "stale" and buttons(door.page(CLIENT, CLIENT)[1], "post") == []
    door.pg.query("SELECT hunnypot.rebuild()")
    tick_on(door.pg)
    assert len(door.listing()) == 1, "made anew it is the same"


def test_figures_and_words_of_what_is_void(door, hunnypot):
    door.infer()
    door.hit(key_id=None)
    assert door.ask() == "removed"
    door.later(2 * DAY)
    assert door.pg.query("SELECT what, sum(number)::int FROM hunnypot.hourly WHERE number > 0 AND what NOT IN ('listed', 'left') "
                         "GROUP BY 1") == [("voided", 3)]
    told = hunnypot("why", CLIENT).stdout
    assert told.count("this hit does not count any more: its client was taken off the list on request") == 3
    assert "3 hits voided; it was taken off on request at " in told
    door.hit(key_id=None)
    door.later(5 * HOUR)
    assert "inferred: 1 hit of 1, on 1 day of 1" in hunnypot("why", CLIENT).stdout


def test_a_late_letter_takes_nothing_of_what_came_since(door):
    """A witness redeems a hit that was voided: the hit after the removal stays counted."""
    late = door.hit()
    door.later(25 * HOUR)
    door.infer()
    assert door.ask() == "removed"
    door.hit(key_id=None)
    door.later(5 * HOUR)
    door.watch_on()
    door.found(late, after=26 * HOUR)
    assert door.listing() and door.pg.query("SELECT hits FROM hunnypot.offence_day") == [(1,)]


def test_a_hit_that_was_on_its_way_is_void_too(door):
    """It came before the removal, and lay in a spool."""
    door.infer()
    assert door.ask() == "removed"
    door.hit(key_id=None, ago="1 hour")
    door.later(2 * DAY)
    assert door.listing() == []


def test_witnessed_or_with_neighbours_takes_a_person(door):
    door.prove()
    assert "On request a person looks at it" in door.page(CLIENT, CLIENT)[1] and door.ask() == "person" and door.listing()
    door.infer(CLIENT6, *NEIGHBOURS)
    assert door.ask(CLIENT6) == "person" and door.ask(NEIGHBOURS[0], ELSEWHERE) == "open", "one request for the /64"
    assert door.pg.query("SELECT network, address FROM hunnypot.request WHERE family(network) = 6") == [("2001:db8:c::/64", CLIENT6)]


def test_an_ipv6_address_gets_off_alone(door):
    door.infer(CLIENT6, NEIGHBOURS[0])
    assert door.ask(CLIENT6) == "removed" and not door.listing(CLIENT6) and door.listing(NEIGHBOURS[0])


def test_nobody_else_has_its_token(door):
    door.infer(CLIENT, "203.0.113.8")
    token, other = (door.json(client, client)[1]["token"] for client in (CLIENT, "203.0.113.8"))
    assert door.ask(token=other) == "stale" and door.ask(CLIENT, "203.0.113.8", token=token) == "name", "from elsewhere: by DNS"
    assert door.json(CLIENT, "", method="post", token=token)[0] == 403, "not sure who it is"
    assert door.json(CLIENT, "")[1]["removal"] is None and buttons(door.page(CLIENT, "")[1], "post") == []
    assert door.listing() and door.listing("203.0.113.8") and door.states() == ["unproven"]
    assert door.ask(token=token) == "stale" and door.ask() == "removed", "after a wrong one it is another"


def test_tokens_end(door):
    door.infer()
    token = door.json(CLIENT, CLIENT)[1]["token"]
    door.pg.query("UPDATE hunnypot.request_token SET expires = now()")
    assert door.ask(token=token) == "stale"
    token = door.json(CLIENT, CLIENT)[1]["token"]
    door.pg.query("UPDATE hunnypot.listed_network SET entered = entered + 1")
    assert door.ask(token=token) == "stale", "of another listing"
    token = door.json(CLIENT, CLIENT)[1]["token"]
    again = door.json(CLIENT, CLIENT)[1]["token"]
    assert token != again and door.ask(token=again) == "removed", "the last one counts"


def test_redeemed_meanwhile(door):
    door.watch_on()
    first, second = door.hit(), door.hit()
    door.pg.query("UPDATE hunnypot.witness_stretch SET until = now() - interval '1 day'; UPDATE hunnypot.policy SET min_days = 1, waits = '0'")
    door.later(5 * HOUR)
    assert [row[1] for row in door.listing()] == ["inferred"]
    token = door.json(CLIENT, CLIENT)[1]["token"]
    door.found(first)
    door.found(second)
    assert door.listing() == [] and door.json(CLIENT, CLIENT, method="post", token=token)[1]["outcome"] == "gone"
    assert door.states() == []


def test_two_posts_with_one_token(door):
    """Of eight at once one gets through, whoever holds the list in between."""
    door.infer()
    token = door.json(CLIENT, CLIENT)[1]["token"]
    outcomes, holder, visitors = [], door.pg.connect(), [Visitor() for _ in range(8)]
    with holder.cursor() as cursor:
        cursor.execute("BEGIN; SELECT hunnypot.list_lock()")
        threads = [threading.Thread(target=lambda one=one: outcomes.append(json.loads(
            one.page("post", "json", "", CLIENT, CLIENT, token)[1])["outcome"])) for one in visitors]
        for thread in threads:
            thread.start()
        cursor.execute("COMMIT")
    for thread in threads:
        thread.join()
    for visitor in visitors:
        visitor.close()
    holder.close()
    assert sorted(outcomes) == ["removed"] + ["stale"] * 7 and door.states() == ["removed"]


def test_a_txt_record_of_its_name(door, dns, hunnypot):
    """203.0.113.7 is client7.example.com, both ways."""
    door.infer()
    told = door.json(CLIENT)[1]
    page = door.page(CLIENT)[1]
    assert buttons(page, "post") == ["The record is there: have it checked"] and told["txt"] in page
    assert door.ask(CLIENT, ELSEWHERE) == "name" and door.ask(CLIENT, "198.51.100.98") == "name", "the request is one"
    assert "The record is looked for" in door.page(CLIENT)[1]
    dns.add('_hunnypot.client7.example.com. TXT "hunnypot-0"', f'_hunnypot.example.com. TXT "{told["txt"]}"',
            '7.113.0.203.in-addr.arpa. PTR lies.example.com.', f'_hunnypot.lies.example.com. TXT "{told["txt"]}"')
    assert hunnypot("requests", "--verify", user="operator").stdout == "" and door.states() == ["unproven"], "a name that does not lead back"
    dns.add(f'_hunnypot.client7.example.com. TXT "{told["txt"][:9]}" "{told["txt"][9:]}"')
    done = run(*confined(BUILD / "hunnypot", "hunnypot-requests"), "requests", "--verify", env=environment(PGUSER="operator"))
    assert done.stdout == f"1 {CLIENT} client7.example.com: removed\n", "under its unit"
    assert door.listing() == [] and door.pg.query("SELECT state, proof, name FROM hunnypot.request") == [
        ("removed", "name", "client7.example.com")]
    assert hunnypot("requests", "--verify", user="operator").stdout == ""
    door.prove()
    assert door.json(CLIENT)[1]["txt"] != told["txt"] or door.json(CLIENT)[1]["removal"] == "person", "the record does not work again"


def test_dns_is_away(door, dns, hunnypot):
    door.infer()
    assert door.ask(CLIENT, ELSEWHERE) == "name"
    dns.stop()
    assert hunnypot("requests", "--verify", user="operator").stdout == "" and door.states() == ["unproven"]


def test_a_person_decides(door, hunnypot, hunnypot_json):
    clients = ("203.0.113.1", "203.0.113.2", "203.0.113.3")
    door.prove(*clients)
    assert [door.ask(client) for client in clients] == ["person"] * 3
    rows = hunnypot_json("requests", user="reader")
    assert [(row["address"], row["listed"], row["state"]) for row in rows] == [
        (f"203.0.113.{n}", "trap witnessed", "waiting") for n in (1, 2, 3)]
    assert hunnypot("requests").stdout.count("203.0.113.") == 9 and hunnypot("requests", "--format", "csv").stdout.startswith("id,address,")
    one, two, three = (str(row["id"]) for row in rows)
    hunnypot("requests", "--grant", one, "--reason", "a hospital", env=environment(PGUSER="operator", SUDO_USER="alice"))
    hunnypot("requests", "--refuse", two, "--reason", "not yet", user="operator")
    assert not door.listing("203.0.113.1") and door.listing("203.0.113.2") and door.listing("203.0.113.3")
    assert [(row["state"], row["author"], row["reason"]) for row in hunnypot_json("requests", "--all")] == [
        ("removed", "alice", "a hospital"), ("refused", "root", "not yet"), ("waiting", None, None)]
    assert "A person has looked at it, and refused" in door.page("203.0.113.2", "203.0.113.2")[1]
    assert door.json("203.0.113.2", "203.0.113.2")[1]["token"] is None and door.ask("203.0.113.2", ELSEWHERE) == "refused"
    for words, status in ((["--grant", one], 1), (["--refuse", "99"], 1), (["--grant", "x"], 64), (["--grant", three, "--refuse", three], 64),
                          (["--verify", "--all"], 64), (["now"], 64)):
        done = hunnypot("requests", *words, user="operator", check=False)
        assert done.returncode == status and done.stderr.count("\n") == 1, words
    assert hunnypot("requests", "--grant", three, user="reader", check=False).returncode == 1
    assert door.states() == ["removed", "refused", "waiting"]


def test_a_person_grants_a_whole_64(door, hunnypot):
    door.infer(CLIENT6, *NEIGHBOURS)
    assert door.ask(CLIENT6) == "person"
    hunnypot("requests", "--grant", "1", user="operator")
    assert [door.listing(client) for client in (CLIENT6, *NEIGHBOURS)] == [[], [], []]
    assert door.json(CLIENT6)[1]["listed"] is False


def test_bots_at_the_door(door):
    """Each address a few, each asker a few, so many in all; and so many a day get off without a person."""
    clients = [f"203.0.113.{n}" for n in range(1, 13)]
    door.infer(*clients)
    door.pg.query("UPDATE hunnypot.setting SET value = '2' WHERE name IN ('removals_per_day', 'requests_most')")
    assert [door.ask(client) for client in clients[:5]] == ["removed", "removed", "person", "person", "busy"]
    assert [door.ask(client, f"198.51.100.{n}") for n, client in enumerate(clients[5:8])] == ["name", "name", "busy"]
    door.pg.query("UPDATE hunnypot.request SET checked = now() WHERE address = %s", clients[6])
    assert door.ask(clients[7], "198.51.100.9") == "name", "one that was looked for makes room"
    assert door.states() == ["removed"] * 2 + ["waiting"] * 2 + ["unproven", "over", "unproven"]
    door.pg.query("UPDATE hunnypot.setting SET value = '1000' WHERE name IN ('removals_per_day', 'requests_most')")
    assert [door.ask(client, "2001:db8:f::" + str(n)) for n, client in enumerate(clients[6:7] + clients[8:])] == ["name"] * 5
    assert door.ask(clients[4], "2001:db8:f::99") == "busy", "five a day from a /64"
    for n in range(6):
        door.pg.query("UPDATE hunnypot.request SET state = 'over' WHERE state = 'unproven'")
        assert door.ask(clients[4], f"198.51.100.{20 + n}") == ("name" if n < 5 else "busy"), "five a day for an address"
    door.pg.query("INSERT INTO hunnypot.request_token SELECT '10.0.0.0'::inet + n, '', 0, now() + interval '1 hour' FROM generate_series(1, 10000) n")
    assert door.json(clients[4], clients[4])[1]["token"] is None and "no request can be taken" in door.page(clients[4], clients[4])[1]
    door.pg.query("UPDATE hunnypot.request_token SET expires = now()")
    assert door.json(clients[4], clients[4])[1]["token"], "those that ended make room"


def test_requests_end_expire_and_are_forgotten(door, hunnypot, hunnypot_json):
    door.infer(CLIENT, "203.0.113.8")
    assert door.ask() == "removed" and door.ask("203.0.113.8", CLIENT) == "name"
    door.hit(key_id=None)
    door.later(25 * HOUR)
    hunnypot("requests", "--verify", user="operator")
    assert door.states() == ["removed", "over"] and door.listing(), "no record for a day"
    [row] = [row for row in hunnypot_json("expire") if row["what"] == "requests"]
    assert row["removed"] == 0
    door.pg.query("UPDATE hunnypot.request SET asked = now() - interval '181 days'")
    [row] = [row for row in hunnypot_json("expire") if row["what"] == "requests"]
    assert row["removed"] == 2 and door.listing() == [], "one hit is not enough any more"
    door.prove("203.0.113.9")
    assert door.ask("203.0.113.9") == "person" and door.json("203.0.113.9", "203.0.113.9")[1]["token"] is None
    assert {row["what"]: row["removed"] for row in hunnypot_json("forget", "203.0.113.9")}["requests"] == 1
    assert door.pg.query("SELECT * FROM hunnypot.request") == [] and door.pg.query("SELECT * FROM hunnypot.request_token") == []


def test_the_role_can_do_nothing_else(door):
    door.prove()
    for statement in ("SELECT * FROM hunnypot.request", "SELECT * FROM hunnypot.listing", "SELECT hunnypot.void('0.0.0.0/0')",
                      "SELECT hunnypot.setting('contact')", "SELECT hunnypot.request_decide(1, true, '', '')", "SELECT * FROM hunnypot.policy",
                      "SELECT hunnypot.door_may_remove('203.0.113.7', true)", "SELECT * FROM hunnypot.schema_version",
                      "BEGIN; LOCK TABLE hunnypot.turn_request IN EXCLUSIVE MODE", "CREATE TEMP TABLE listed_network (network cidr)"):
        try:
            door.pg.query(statement, user="door")
        except psycopg2.errors.InsufficientPrivilege:
            continue
        assert statement.startswith("CREATE TEMP"), statement
    connection = door.pg.connect(user="door")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE listed_network AS SELECT '0.0.0.0/0'::cidr AS network")
        cursor.execute("SET search_path = pg_temp, hunnypot; SELECT class FROM hunnypot.door_look_up('203.0.113.7', NULL)")
        assert cursor.fetchall() == [("trap",)]
    connection.close()


def test_no_table_is_read_as_a_whole_and_no_plan_compiled(door):
    """Statistics that are stale make a plan look dear, and to compile it takes a hundred times as long as a look-up does."""
    door.infer()
    connection = door.pg.connect()
    connection.notices = collections.deque()
    with connection.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; "
                       "SET auto_explain.log_analyze = on; SET client_min_messages = log; SET jit_above_cost = 0")
        cursor.execute("SELECT way FROM hunnypot.door_look_up(%s, %s)", (CLIENT, ELSEWHERE))
        assert cursor.fetchall() == [("itself",)]
        cursor.execute("SELECT hunnypot.door_ask(%s, %s, NULL)", (CLIENT, ELSEWHERE))
        assert cursor.fetchall() == [("name",)]
        cursor.execute("SELECT request_id FROM hunnypot.request_to_check()")
        [(request,)] = cursor.fetchall()
        cursor.execute("SELECT hunnypot.door_token(%s)", (CLIENT,))
        cursor.execute("SELECT hunnypot.request_checked(%s, 'mail.example')", (request,))
        assert cursor.fetchall() == [("removed",)]
        cursor.execute("SELECT hunnypot.list_lock(); SELECT hunnypot.request_expire(1000)")
    connection.close()
    plans = [plan for plan in connection.notices if "Query Text: SELECT hunnypot." not in plan and "FROM hunnypot.door_look_up(" not in plan
             and "FROM hunnypot.request_to_check(" not in plan]
    assert any("listed_network" in plan for plan in plans) and any("offence_day" in plan for plan in plans)
    for plan in plans:
        assert "JIT:" not in plan and not re.search("Seq Scan on (hit|waiting|pardoned|offence_day|listed_network|request)", plan), plan


def test_settings_that_make_no_sense(pg_plain):
    for name, value in [("contact", "javascript:alert(1)"), ("contact", "a@b.example <x>"), ("contact", "https://x/<"), ("privacy_url", "ftp://x"),
                        ("removals_per_day", "-1"), ("requests_most", "many"), ("keep_requests", "0")]:
        with pytest.raises(psycopg2.errors.CheckViolation):
            pg_plain.query("UPDATE hunnypot.setting SET value = %s WHERE name = %s", value, name)


def test_without_a_database(door):
    door.prove()
    door.pg.query("ALTER FUNCTION hunnypot.door_ask RENAME TO door_ask_gone")
    token = door.json(CLIENT, CLIENT)[1]["token"]
    status, page = door.page(CLIENT, CLIENT, method="post", token=token)
    assert status == 503 and "cannot be answered at this moment" in page and parsed(page) is not None
    door.pg.stop("immediate")
    for form in ("html", "json"):
        assert door.page(CLIENT, CLIENT, form=form)[0] == 503
    never = Visitor()  # had a connection
    assert never.page("get", "html", "", CLIENT, CLIENT, "")[0] == 503
    never.close()
