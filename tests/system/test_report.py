"""The page of hunnypot report: its figures are the database's, and it is safe to open whatever clients and sensors are called."""
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
        self.tables = {section.find("h2").text: [[cell.text or "" for cell in row] for row in section.iter("tr")]
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
    for name, counters in (("a", '{"outage": 3, "moved": 1, "hits": 9}'), ("b", '{"outage": 4, "friend": "7", "none": {}}'), ("c", "[]")):
        Sensor(pg, name).heartbeat(counters)
    page = report()
    assert {row: numbers for row, numbers in page.numbers("Not recorded").items() if numbers != [0]} == {"outage": [7], "moved": [1]}
    assert [row[0] for row in page.tables["Sensors"][1:]] == ["a", "b", "c"]


def test_nothing_to_show(pg, report):
    page = report(user="reader")
    assert dict(zip(*page.tables["Overview"]))["hits"] == "0" and page.drawn("Hits") == {}


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
