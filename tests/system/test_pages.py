"""The pages about one network, domain, sensor or witness, that the report links to: by hunnypot-web, as the reader."""
import json
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from cli_data import Sensor
from test_report import NAME, Page, milliseconds
from test_ripening import MX, Ripening
from testbed.web import PRIVATE, ask

AT = f"unix:{PRIVATE}"


@pytest.fixture
def site(pg_plain, web):
    """A trap with one of each thing."""
    made = Ripening(pg_plain)
    made.enable()
    made.watch_on()
    letter = made.hit(client="203.0.113.9")
    made.hit(client="203.0.113.7", helo="user", **{"class": "trap"})
    made.hit(client="2001:db8::7", key_id=None)
    made.later(timedelta(hours=5))
    made.found(letter)
    made.hit(client="203.0.113.7", key_id=None)
    made.sensor.heartbeat(json.dumps({"hits": 7, "sessions": 9, "odd": "x", "hosts": [
        {"address": "192.0.2.1", "state": "down", "since": milliseconds(pg_plain, "1 h"), "mx": MX, "domain": "backup.example"}]}))
    Sensor(pg_plain, NAME).heartbeat()
    web("--private", AT)
    return pg_plain


def about(kind, name, tz="UTC", status=200):
    done = ask(AT, f"/{kind}?of={quote(name, '')}&tz={quote(tz, '')}")
    assert done.status == status, done.text
    return done.text if status == 400 else Page(done.text)


def test_all_links_of_the_report_lead_somewhere(site):
    seen, todo = set(), ["report?since=30d&tz=Asia/Kathmandu"]
    while todo:
        path = todo.pop()
        done = ask(AT, "/" + path)
        if "script" in path:
            assert done.status in (200, 400)
            continue
        assert done.status == 200, path
        seen.add(path)
        for link in Page(done.text).tree.iter("a"):
            target = link.attrib["href"]
            assert not urlsplit(target).scheme and parse_qs(urlsplit(target).query)["tz"] == ["Asia/Kathmandu"], target
            if target not in seen and target not in todo:
                todo.append(target)
    assert {urlsplit(path).path for path in seen} == {"report", "network", "domain", "sensor", "witness"}


def test_a_network(site):
    page = about("network", "203.0.113.7")
    assert [row[:2] for row in page.tables["Listed"][1:]] == [["trap", "witnessed"]]
    assert page.tables["Why"][1][:2] == ["trap", "t"] and len(page.tables["Last hits"]) == 3
    assert sum(sum(numbers) for numbers in page.numbers("Hits").values()) == 1
    assert about("network", "2001:db8::7").tables["Listed"][1:] == []
    assert about("network", "203.0.113.0/24").tables["Last hits"][1][1] == "203.0.113.7"
    assert "knows nothing" in about("network", "198.51.100.1", status=404).text
    for name in ("203.0.113.0/23", "2001:db8::/47", "x", "", "1.2.3.4/33", "'; --"):
        done = ask(AT, f"/network?of={quote(name, '')}")
        assert done.status == 400 and "\n" in done.text and len(done.text) < 300


def test_a_domain(site):
    page = about("domain", "backup.example")
    assert page.tables["Its primaries"][1][:2] == [MX, "down"] and sum(sum(n) for n in page.numbers("Hits").values()) == 3
    assert page.numbers("Ripening") == {"backup": [1]}
    assert {row[0] for row in page.tables["Who came"][1:]} == {"203.0.113.7/32", "2001:db8::7/128"}
    about("domain", "nothing.example", status=404)


def test_a_sensor(site):
    page = about("sensor", "trap1")
    assert dict(zip(*page.tables["Now"]))["state"] == "alive" and page.numbers("Counted") == {"sessions": [9], "hits": [7]}
    assert page.tables["Mail hosts"][1][:2] == [MX, "down"]
    about("sensor", "trap2", status=404)


def test_a_witness(site):
    page = about("witness", MX, "Europe/Berlin")
    assert page.tables["Machines"][1][0] == "one" and page.numbers("What it told") == {"accepted": [1]}
    about("witness", "mx9.example", status=404)
    assert "Mars" in about("witness", MX, "Mars/Olympus", 400)


def test_hostile_names_in_pages(site):
    name = "</title><script>alert(1)</script><img src=x onerror='a'>\"&amp;"
    for kind in ("domain", "sensor", "witness"):
        assert about(kind, name, status=404).text.isascii()
    site.query("UPDATE hunnypot.hit SET helo = %s, client_name = %s, domain = %s", name, name, name)
    page = about("network", "203.0.113.7")
    assert page.tables["Last hits"][1][5] == name and not [e for e in page.tree.iter() if e.tag in ("script", "img")]
