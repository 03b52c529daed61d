"""The page of hunnypot report: its figures are the database's, and it is safe to open whatever clients and sensors are called."""
import json
import re
import stat
from datetime import timedelta
from xml.etree import ElementTree

import html5lib
import pytest

from cli_data import Sensor
from test_ripening import CLIENT, DAY, HOUR, Ripening

CLASSES = ["trap", "backup", "address", "null-sender"]
HITS = "what NOT IN ('listed', 'left')"


class Page:
    """A page that a browser takes without a complaint, as its tables: caption -> rows, the heading first."""

    def __init__(self, text):
        self.text = text
        parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree", ElementTree), strict=True, namespaceHTMLElements=False)
        self.tree = parser.parse(text)
        self.tables = {section.find("h2").text: [["".join(cell.itertext()) for cell in row] for row in section.iter("tr")]
                       for section in self.tree.iter("section")}

    def numbers(self, title):
        """{row: numbers} of a table that has nothing but numbers."""
        return {row[0]: [int(cell) for cell in row[1:]] for row in self.tables[title][1:]}

    def drawn(self, title):
        """What the shapes of a drawing say of themselves when they are pointed at: {(row, column): number}."""
        [section] = [s for s in self.tree.iter("section") if s.find("h2").text == title]
        return {tuple(name.rsplit(", ", 1)): int(number) for name, number in
                (shape.text.rsplit(": ", 1) for shape in section.iter() if shape.tag.endswith("title"))}


@pytest.fixture
def report(hunnypot):
    return lambda *words, **options: Page(hunnypot("report", *words, **options).stdout)


@pytest.fixture
def ripening(pg_plain):
    made = Ripening(pg_plain)
    made.enable()
    made.watch_on()
    return made


def figures(pg, where=HITS):
    return dict(pg.query(f"SELECT what, sum(number)::int FROM hunnypot.hourly WHERE {where} GROUP BY 1"))


def truth(pg):
    """The same from the hits themselves."""
    return dict(pg.query("""
        SELECT CASE WHEN while_listed THEN 'while-listed' WHEN witnessed THEN 'proven' ELSE 'inferred' END, sum(hits)::int
        FROM hunnypot.offence_day GROUP BY 1 UNION ALL SELECT why, count(*)::int FROM hunnypot.pardoned GROUP BY 1"""))


def everything(ripening):
    """Hits that come to each thing that can become of one."""
    pg = ripening.pg
    early, late = ripening.hit(), ripening.hit()
    ripening.hit(key_id=None, client="203.0.113.8")
    seen = ripening.hit(name_state="confirmed", client="203.0.113.9")
    letter = ripening.hit(name_state="confirmed", client="203.0.113.10", **{"class": "trap"})
    ripening.hit(letter, name_state="confirmed", client="203.0.113.10", **{"class": "trap"})
    ripening.hit(client="203.0.113.11", **{"class": "trap"})
    ripening.found(early)
    ripening.found(seen, "seen")
    pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '60 days'")
    ripening.later(2 * DAY)
    assert figures(pg) == truth(pg) == {"proven": 3, "inferred": 1, "redeemed": 1, "excused": 1, "repeated": 1}
    ripening.found(late)
    assert figures(pg) == truth(pg) == {"proven": 2, "inferred": 1, "redeemed": 2, "excused": 1, "repeated": 1}
    ripening.hit(client="203.0.113.11", key_id=None)
    ripening.hit(client="203.0.113.11", null_sender=True)


def shown(page):
    return {row: numbers[0] for row, numbers in page.numbers("What they came to").items() if numbers[0]}


def test_figures_are_those_of_the_hits(ripening, report):
    everything(ripening)
    page = report()
    assert shown(page) == {"counted, proven": 2, "counted, inferred": 1, "redeemed": 2, "excused": 1, "repeated": 1, "ripening still": 2}
    head = dict(zip(*page.tables["Overview"]))
    assert (head["hits"], head["of them ripening"], head["clock"]) == ("9", "2", "UTC")
    listed = {kind: [proven, inferred] for kind, proven, inferred in ripening.pg.query("""
        SELECT class, count(*) FILTER (WHERE proof = 'witnessed'), count(*) FILTER (WHERE proof = 'inferred')
        FROM hunnypot.listing GROUP BY 1""")}
    assert listed and page.numbers("Listed now") == {kind: listed.get(kind, [0, 0]) for kind in CLASSES}
    assert {row[0] for row in page.tables["Who came most"][1:]} == {
        network for network, in ripening.pg.query("SELECT network FROM hunnypot.listing")}


def test_a_hit_is_moved_and_not_counted_twice(ripening):
    """Whatever becomes of a hit: its class has as many as came."""
    everything(ripening)
    ripening.later(3 * DAY)
    assert figures(ripening.pg) == truth(ripening.pg)
    assert ripening.pg.query(f"""SELECT class, sum(number)::int FROM hunnypot.hourly WHERE {HITS} GROUP BY 1 ORDER BY 1""") == [
        ("backup", 5), ("null-sender", 1), ("trap", 3)]


def test_hits_of_a_client_on_the_list(ripening):
    ripening.hit(**{"class": "trap"})
    ripening.later(DAY)
    ripening.hit(key_id=None)
    ripening.later(3 * DAY)
    ripening.pg.query("INSERT INTO hunnypot.allow (network) VALUES (%s)", CLIENT)
    assert ripening.listing() == []
    assert figures(ripening.pg) == truth(ripening.pg)
    assert figures(ripening.pg, "NOT " + HITS) == {"listed": 1, "left": 1}


@pytest.mark.parametrize("zone, bar", [("UTC", "day"), ("Asia/Kathmandu", "day"), ("America/New_York", "hour")])
def test_bars_are_when_hits_came(pg, report, zone, bar):
    """Of 200 hits over 60 hours, the youngest of which wait."""
    pg.query("UPDATE hunnypot.policy SET ripens = '0'; UPDATE hunnypot.policy SET ripens = '1 day' WHERE class = 'address'")
    Sensor(pg).record(*({"ago": f"{18 * n} min", "class": CLASSES[n % 3], "client": f"203.0.113.{n}",
                         "domain": "d.example", "primary_host": None} for n in range(200)))
    page = report("--since", "60h" if bar == "hour" else "7d", "--tz", zone)
    pattern = "YYYY-MM-DD HH24:00" if bar == "hour" else "YYYY-MM-DD"
    # An hour of UTC is one of each clock, though it may begin there at half past.
    wanted = {}
    for name, kind, hits in pg.query("""SELECT to_char(date_trunc('hour', time, 'UTC') AT TIME ZONE %s, %s), class, count(*)
                                        FROM hunnypot.hit GROUP BY 1, 2""", zone, pattern):
        wanted[name, kind] = hits
    assert sum(wanted.values()) == 200 and page.drawn("Hits") == wanted
    assert {(row, kind): number for row, numbers in page.numbers("Hits").items()
            for kind, number in zip(CLASSES, numbers) if number} == wanted
    week = pg.query("""SELECT to_char(date_trunc('hour', time, 'UTC') AT TIME ZONE %s, 'Dy'),
        extract(hour FROM date_trunc('hour', time, 'UTC') AT TIME ZONE %s)::int, count(*) FROM hunnypot.hit GROUP BY 1, 2""", zone, zone)
    assert {(day, hour): number for day, numbers in page.numbers("Hour of the week").items()
            for hour, number in enumerate(numbers) if number} == {(day, hour): hits for day, hour, hits in week}


def test_what_was_not_recorded(pg, report):
    # Once each: what is left alone over time is told of two signs of life.
    for name, counters in (("a", '{"outage": 3, "moved": 1, "hits": 9}'), ("b", '{"outage": 4, "friend": "7", "none": {}}'), ("c", "[]")):
        Sensor(pg, name).heartbeat(counters)
    page = report()
    assert {row: numbers for row, numbers in page.numbers("Not recorded").items() if numbers != [0]} == {"outage": [7], "moved": [1]}
    assert [row[0] for row in page.tables["Sensors"][1:]] == ["a", "b", "c"]


def test_nothing_to_show(pg, report):
    page = report(user="reader")
    assert dict(zip(*page.tables["Overview"]))["hits"] == "0" and page.drawn("Hits") == {}


@pytest.mark.parametrize("helo, kind", [
    ("", "nothing"), ("MX2.example.org", "the name of the trap host"), ("Host7.example", "its own name"), ("backup.example", "the domain that it writes to"),
    ("[203.0.113.7]", "an address in brackets"), ("203.0.113.7", "an address"), ("2001:db8::7", "an address"), ("localhost.localdomain", "localhost"),
    ("WIN-3KF9A2", "win-*"), ("User", "user"), ("ylmf-pc", "ylmf-pc"), ("pc1234", "pc#"), ("mail77.isp.example", "*.isp.example"),
    ("isp.example", "isp.example"), (".", "."), ("a..b", "a..b"), ("x" * 300 + "1", "x" * 80)])
def test_kinds_of_helo(pg, helo, kind):
    assert pg.query("SELECT hunnypot.helo_pattern(%s, 'host7.example', 'backup.example', 'mx2.example.org')", helo) == [(kind,)]


def busiest(pg):
    return sorted(pg.query("SELECT what, name, sum(hits)::int FROM hunnypot.busiest GROUP BY 1, 2"))


def test_what_came_most_is_counted_once_for_each_hit_that_is_decided(ripening, report):
    waits, late = ripening.hit(helo="[203.0.113.7]"), ripening.hit(helo="user")
    ripening.hit(helo="host.isp.example", client_name="mail1.isp.example", name_state="confirmed")
    assert busiest(ripening.pg) == []
    ripening.found(waits)
    first = [("domain", "backup.example", 1), ("helo", "an address in brackets", 1)]
    assert busiest(ripening.pg) == first
    ripening.pg.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '60 days'")
    ripening.later(2 * DAY)
    all_three = [("domain", "backup.example", 3), ("helo", "*.isp.example", 1), ("helo", "an address in brackets", 1), ("helo", "user", 1),
                 ("name", "*.isp.example", 1)]
    assert busiest(ripening.pg) == all_three
    ripening.found(late)
    assert busiest(ripening.pg) == all_three, "it came, whatever it comes to"
    page = report("--since", "30d", user="reader")
    assert page.numbers("Domains") == {"backup.example": [3]} and page.numbers("Names") == {"*.isp.example": [1]}
    assert page.numbers("HELO") == {"*.isp.example": [1], "an address in brackets": [1], "user": [1]}


def test_a_day_has_room_for_so_many_names(pg):
    """Whatever clients call themselves: the table does not grow with that; the numbers stay whole."""
    pg.query("""SELECT hunnypot.busiest_add(array_agg(now()), array_agg('d.example'::text), array_agg(NULL::text), array_agg('bot' || n), array_agg(1::bigint)) FROM generate_series(1, 3000) n;
                SELECT hunnypot.busiest_add(array_agg(now()), array_agg('d.example'::text), array_agg(NULL::text), array_agg('new' || n % 2), array_agg(1::bigint)) FROM generate_series(1, 10) n;
                SELECT hunnypot.busiest_add(array_agg(now()), array_agg('d.example'::text), array_agg(NULL::text), array_agg('bot1'::text), array_agg(1::bigint)) FROM generate_series(1, 5) n""")
    [(rows, hits, others)] = pg.query("SELECT count(*), sum(hits), sum(hits) FILTER (WHERE name = '') FROM hunnypot.busiest WHERE what = 'helo'")
    assert (rows, hits, others) == (1001, 3015, 2010)
    pg.query("UPDATE hunnypot.busiest SET day = day - 10; SELECT hunnypot.expire()")
    assert pg.query("SELECT count(*), sum(hits), max(hits) FILTER (WHERE name = 'bot1') FROM hunnypot.busiest WHERE what = 'helo'") == [(101, 3015, 6)]
    pg.query("UPDATE hunnypot.busiest SET day = day - 400; SELECT hunnypot.expire()")
    assert busiest(pg) == []


def told(*hosts):
    return json.dumps({"hosts": hosts})


def milliseconds(pg, ago):
    return int(pg.query("SELECT extract(epoch FROM now() - %s::interval) * 1000", ago)[0][0])


def outages(pg):
    return pg.query("""SELECT host(address), mx, state, extract(epoch FROM now() - since)::int / 60, extract(epoch FROM now() - until)::int / 60
        FROM hunnypot.outage ORDER BY address, since""")


def test_outages_that_a_sensor_tells_of(pg, report):
    sensor = Sensor(pg)
    down = {"address": "192.0.2.1", "state": "down", "since": milliseconds(pg, "2 h"), "mx": "mx1.a.example", "domain": "a.example"}
    sensor.heartbeat(told(down, {"address": "2001:db8::1", "state": "deferring", "since": milliseconds(pg, "3 min")}))
    sensor.heartbeat(told(down))
    assert outages(pg) == [("192.0.2.1", "mx1.a.example", "down", 120, 0), ("2001:db8::1", "2001:db8::1", "deferring", 3, 0)]
    pg.query("UPDATE hunnypot.outage SET since = since - interval '1 h', until = until - interval '30 min'")
    # Of the same trouble; of another state, which begins where the one before was seen last; and over.
    sensor.heartbeat(told({**down, "since": milliseconds(pg, "3 h")}))
    assert outages(pg)[0] == ("192.0.2.1", "mx1.a.example", "down", 180, 0)
    sensor.heartbeat(told({**down, "state": "deferring", "since": milliseconds(pg, "3 h")}))
    sensor.heartbeat(told())
    assert outages(pg) == [("192.0.2.1", "mx1.a.example", "down", 180, 0), ("192.0.2.1", "mx1.a.example", "deferring", 0, 0),
                           ("2001:db8::1", "2001:db8::1", "deferring", 63, 30)]
    pg.query("SELECT hunnypot.sensor_probes(jsonb_agg(jsonb_build_object('mx', 'mx1.a.example', 'source', '192.0.2.9', 'time',"
             " (extract(epoch FROM now() - n * interval '30 min') * 1000000)::bigint))) FROM unnest(ARRAY[0, 1, 2, 3, 12, 13]) n", user="sensor")
    page = report("--since", "24h", user="reader")
    assert [row[:2] for row in page.tables["Primaries"][1:]] == [["mx1.a.example", "answered"], ["mx1.a.example", "deferring"],
                                                                ["mx1.a.example", "down"], ["2001:db8::1", "deferring"]]
    assert dict(zip(*page.tables["Overview"]))["primaries not taking mail"] == "1"


def test_probes_that_reach_a_host_are_stretches(pg):
    for minutes in (600, 590, 500, 300, 299, 301, 0):
        pg.query("SELECT hunnypot.sensor_probes(jsonb_build_array(jsonb_build_object('mx', 'mx1', 'source', '192.0.2.9', 'time',"
                 " (extract(epoch FROM now() - %s * interval '1 min') * 1000000)::bigint)))", minutes, user="sensor")
    assert pg.query("SELECT extract(epoch FROM now() - since)::int / 60, extract(epoch FROM now() - until)::int / 60 FROM hunnypot.reached ORDER BY 1 DESC") == [
        (600, 500), (300, 299), (0, 0)]


@pytest.mark.parametrize("hosts", [7, "x", {}, [7, None, [], "x", {}], [{"address": 1, "state": "down"}], [{"address": "x' OR 1", "state": "down"}],
                                   [{"address": "192.0.2.1", "state": "odd"}], [{"address": "192.0.2.1/8", "state": "down"}]])
def test_no_outage_in_what_is_none(pg, hosts):
    Sensor(pg).heartbeat(json.dumps({"hosts": hosts}))
    assert outages(pg) == []


def test_an_outage_by_a_clock_far_off(pg):
    sensor = Sensor(pg)
    for number, since in enumerate((1e300, -1e300, 0, 9e12, "x", None)):
        host = {"address": f"192.0.2.{number}", "state": "down", "since": since, "mx": "m" * 1000}
        sensor.heartbeat(told(host))
        sensor.heartbeat(told({**host, "state": "deferring"}))
    assert pg.query("SELECT count(*), bool_and(since <= until AND until <= now() AND since > now() - interval '401 days'), max(length(mx))"
                    " FROM hunnypot.outage") in ([(7, True, 255)], [(12, True, 255)])
    assert pg.query("SELECT count(DISTINCT address) FROM hunnypot.outage") == [(6,)]


def alone(pg):
    return dict(pg.query("SELECT what, sum(number)::int FROM hunnypot.left_alone GROUP BY 1"))


def test_what_sensors_left_alone_is_counted_from_one_sign_of_life_to_the_next(pg, report):
    def beat(instance, **counters):
        pg.query("SELECT hunnypot.sensor_heartbeat('trap1', '', 0, 0, 0, %s, %s)", json.dumps(counters), instance)
    Sensor(pg)
    one, two = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
    beat(one, outage=100, hits=500)
    assert alone(pg) == {}, "what was before is not known"
    beat(one, outage=103, hits=510, unknown=2, moved=1, probes=70, friend="x", lost={})
    assert alone(pg) == {"outage": 3, "hits": 10, "unknown": 2, "moved": 1}
    beat(two, outage=1)
    beat(two, outage=5, exempt=4)
    beat(one, outage=103)
    assert alone(pg) == {"outage": 7, "hits": 10, "unknown": 2, "moved": 1, "exempt": 4}, "two daemons by one name are not added up"
    page = report()
    assert page.tables["Where hits went"][1:] == [["came", "outage", "7"], ["came", "doubt", "3"], ["came", "no business of ours", "4"]]


def test_the_flow_is_the_hits(ripening, report):
    everything(ripening)
    flows = {(row[0], row[1]): int(row[2]) for row in report().tables["Where hits went"][1:]}
    [(came,)] = ripening.pg.query("SELECT sum(number)::int FROM hunnypot.hourly WHERE what = 'listed'")
    assert flows == {("came", "recorded"): 9, ("recorded", "counted, proven"): 2, ("recorded", "counted, inferred"): 1,
                     ("recorded", "ripening still"): 2, ("recorded", "redeemed"): 2, ("recorded", "excused"): 1, ("recorded", "repeated"): 1,
                     ("counted, proven", f"the list: {came} came"): 2, ("counted, inferred", f"the list: {came} came"): 1}


def test_time_until_listed(ripening, report):
    ripening.hit(**{"class": "trap"})
    ripening.later(5 * HOUR)
    for _ in range(2):
        ripening.hit(client="203.0.113.8", key_id=None)
        ripening.later(25 * HOUR)
    assert [row[:2] for row in ripening.listing("203.0.113.8")] == [("backup", "inferred")]
    ripening.later(DAY)
    ripening.later(DAY)
    assert ripening.listing("203.0.113.8") != [], "it came back, which is no second time"
    waits = {row: numbers for row, numbers in report().numbers("Time until listed").items() if any(numbers)}
    assert waits == {"8 h": [1, 0, 0, 0], "3 d": [0, 1, 0, 0]}


def test_what_other_policies_would_list(ripening, report):
    """One hit in a trap is enough in all; two inferred ones on two days are in none but those that want no more; of one a primary knows better."""
    pg = ripening.pg
    ripening.hit(client="203.0.113.1", **{"class": "trap"})
    ripening.hit(client="203.0.113.2", key_id=None)
    for client in ("203.0.113.3", "203.0.113.4"):
        for _ in range(2):
            ripening.hit(client=client, key_id=None)
            ripening.later(25 * HOUR)
    pg.query("""INSERT INTO hunnypot.pardoned (hit_id, why, network, class, domain, hit_time)
                VALUES (gen_random_uuid(), 'redeemed', '203.0.113.4', 'backup', 'd', now())""")
    assert report(user="reader").numbers("A stricter or a looser policy") == {
        "whoever had a hit that counts": [1, 3], "half of what it takes now": [1, 3], "as it is now": [1, 2], "twice what it takes now": [0, 0],
        "only what is proven": [0, 1]}


NAME = "</title><script>alert(1)</script><img src=x onerror='a'>\"&amp;\x1b\x07\u202e\U0001f480"


def test_hostile_names_are_text(pg, report):
    Sensor(pg, NAME).heartbeat()
    pg.query("UPDATE hunnypot.sensor SET version = %s", NAME)
    page = report()
    assert page.tables["Sensors"][1][0] == page.tables["Sensors"][1][6]
    assert page.tables["Sensors"][1][0].startswith("</title><script>alert(1)</script><img src=x onerror='a'>\"&amp;\\x1B\\x07\\xE2")
    assert page.text.isascii() and set(page.text) - {chr(byte) for byte in range(0x20, 0x7f)} == {"\n"}


def test_it_loads_nothing_and_runs_nothing(ripening, report):
    everything(ripening)
    page = report()
    for element in page.tree.iter():
        assert element.tag not in ("script", "link", "img", "iframe", "object", "embed", "form", "a", "base"), element.tag
        assert not [name for name in element.attrib if name.startswith("on") or name in ("src", "href", "style")], element.attrib
    assert not re.search(r"url\(|@import|https?:", page.text)
    policy = [e.attrib["content"] for e in page.tree.iter("meta") if e.attrib.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_file_is_for_its_owner_and_kept_when_it_fails(pg, hunnypot, tmp_path):
    page = tmp_path / "page.html"
    assert hunnypot("report", "-o", page).stdout == ""
    assert stat.S_IMODE(page.stat().st_mode) == 0o600 and page.read_text().endswith("</html>\n")
    page.write_text("old")
    pg.query("DROP TABLE hunnypot.hourly")
    done = hunnypot("report", "-o", page, check=False)
    assert done.returncode == 1 and "hourly" in done.stderr and page.read_text() == "old"
    assert hunnypot("report", check=False).stdout == "", "half a page is none"


@pytest.mark.parametrize("words, said", [
    (["--since", "soon"], "--since is a duration of at most 400d, not soon"), (["--since", "401d"], "400d"), (["--since", "0d"], "400d"),
    (["--tz", "Mars/Olympus"], "Mars/Olympus"), (["--tz", "'"], "--tz"), (["today"], "takes no argument: today"),
    (["-o", "/nonexistent/page"], "/nonexistent/page")])
def test_errors(pg, hunnypot, words, said):
    done = hunnypot("report", *words, check=False)
    assert done.returncode == (1 if words[0] == "-o" else 64) and said in done.stderr and done.stderr.count("\n") == 1


def test_figures_expire(pg):
    pg.query("INSERT INTO hunnypot.hourly SELECT date_trunc('hour', now() - d * interval '1 day'), 'trap', 'proven', 1 "
             "FROM unnest(ARRAY[1, 399, 401]) d")
    pg.query("SELECT hunnypot.expire()")
    assert figures(pg) == {"proven": 2}
