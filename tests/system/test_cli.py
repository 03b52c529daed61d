"""The command line: what each command prints in each format, and how it fails."""
import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess

import pytest

from cli_data import Sensor
from testbed.base import BUILD, DEBS, TOP, wait_for
from testbed.milter import environment
from testbed.offences import list_networks

# A terminal's escape, its 8-bit form as UTF-8, DEL, line ends, quotes, a backslash, COPY's and CSV's own characters, %.
HOSTILE = "\x1b]0;owned\x07\u009b31m\x7f\r\n\t'\"\\N,;$(id)`%s%n\ufeff\U0001f480"
PRINTABLE = {ord("\n"), *range(0x20, 0x7f)}


@pytest.fixture
def sensor(pg):
    return Sensor(pg)


@pytest.fixture
def caught(sensor):
    """Three networks in three classes."""
    sensor.record({"ago": "3 h"}, {"ago": "10 min", "queue_id": "Second", "tls": True},
                  {"class": "trap", "domain": "trap.example", "client": "203.0.113.9", "primary_host": None,
                   "primary_age_ms": None, "ago": "2 days"},
                  {"class": "address", "domain": "address.example", "client": "2001:db8:c:1::5", "null_sender": True,
                   "sender": "", "ago": "1 min"})
    sensor.heartbeat()
    return sensor


def rows_of(done):
    """A table as dictionaries."""
    head, *lines = done.stdout.splitlines()
    names = [name for name in head.split("  ") if name.strip()]
    starts = [head.index(name.strip()) for name in names] + [None]
    return [{name.strip(): line[starts[i]:starts[i + 1]].strip() for i, name in enumerate(names)} for line in lines]


# list

@pytest.mark.parametrize("filters, networks", [
    ([], ["2001:db8:c:1::5/128", "203.0.113.7/32", "203.0.113.9/32"]),
    (["--class", "trap"], ["203.0.113.9/32"]),
    (["--class", "null-sender"], ["2001:db8:c:1::5/128"]),
    (["--domain", "backup.example"], ["203.0.113.7/32"]),
    (["--domain", "Backup.Example."], ["203.0.113.7/32"]),
    (["--domain", "' OR true --"], []),
    (["--network", "203.0.113.0/24"], ["203.0.113.7/32", "203.0.113.9/32"]),
    (["--network", "2001:db8::/32"], ["2001:db8:c:1::5/128"]),
    (["--network", "203.0.113.9"], ["203.0.113.9/32"]),
    (["--since", "2h"], ["2001:db8:c:1::5/128", "203.0.113.7/32"]),
    (["--since", "2000-01-01 00:00"], ["2001:db8:c:1::5/128", "203.0.113.7/32", "203.0.113.9/32"]),
    (["--min-hits", "2"], ["203.0.113.7/32"]),
    (["--class", "backup", "--min-hits", "3"], []),
])
def test_list_filters(caught, hunnypot, hunnypot_json, filters, networks):
    assert [row["network"] for row in hunnypot_json("list", *filters)] == networks
    assert [row["network"] for row in rows_of(hunnypot("list", *filters))] == networks
    table = csv.DictReader(io.StringIO(hunnypot("list", "--format", "csv", *filters).stdout))
    assert [row["network"] for row in table] == networks


def test_list_columns(caught, hunnypot, hunnypot_json):
    row = hunnypot_json("list", "--class", "backup")[0]
    assert row.pop("first_seen") < row.pop("last_seen") < row.pop("listed_until")
    assert row == {"network": "203.0.113.7/32", "class": "backup", "domain": "backup.example", "hits": 2, "ripening": None,
                   "redeemed": None, "excused": None, "counted": 2}
    assert hunnypot_json("list", "--class", "null-sender")[0]["listed_until"] is None
    assert list(rows_of(hunnypot("list"))[0]) == ["network", "class", "domain", "hits", "ripening", "redeemed",
                                                  "excused", "counted", "first seen", "last seen", "listed until"]


def test_list_takes_a_domain_as_people_write_it(sensor, hunnypot_json):
    sensor.record({"domain": "xn--bcher-kva.example"})
    assert len(hunnypot_json("list", "--domain", "B\u00fccher.Example")) == 1


def test_list_streams_many_rows(pg, hunnypot, hunnypot_json):
    list_networks(pg, "SELECT network(set_masklen('198.18.0.0'::inet + i, 32)) FROM generate_series(1, 3000) i")
    assert len(hunnypot_json("list")) == 3000
    assert len(rows_of(hunnypot("list"))) == 3000


# show

def test_show_prints_the_evidence(caught, hunnypot, hunnypot_json):
    found = hunnypot_json("show", "203.0.113.7")
    assert found["network"] == "203.0.113.7/32"
    assert [offence["hits"] for offence in found["offences"]] == [2]
    newest, oldest = found["hits"]
    times = [newest.pop("time"), oldest.pop("time")]
    assert times[0] > times[1]
    days = "1 day" if times[0][:10] == times[1][:10] else "2 days"
    assert newest == {"sensor": "trap1", "client": "203.0.113.7", "client_name": "host7.example", "helo": "helo.example",
                      "sender": "a@sender.example", "recipients": ["b@backup.example"], "recipients_total": 1,
                      "class": "backup", "domain": "backup.example", "primary_host": "mx1.backup.example",
                      "primary_age_ms": 1500, "queue_id": "Second", "tls": True, "null_sender": False, "state": "inferred",
                      "in_words": newest["in_words"]}
    assert re.fullmatch(r"at [-\d]+ [:\d]+\+00 203\.0\.113\.7 came to the backup mx2\.example\.org of backup\.example; at T\+0\.0 s primary "
                        r"mx1\.backup\.example took mail; at T\+00:10:\d\d this hit counts, inferred: nobody can say whether its letter "
                        r"arrived; so 203\.0\.113\.7/32 is listed \(inferred\) under backup until .+", newest["in_words"])
    [verdict] = found["verdicts"]
    assert verdict.startswith("listed (inferred) under backup from ") and verdict.endswith(
        "answered 550 5.7.1 (DNSBL 127.0.0.3); witnessed: no hit without a name, of 1 that it takes; "
        f"inferred: 2 hits of 2, on {days} of 1, and 02:50:00 apart of 01:00:00, or to 1 owner of 2"), verdict
    text = hunnypot("show", "203.0.113.7").stdout
    for line in ("client name:      host7.example", "primary host:     mx1.backup.example", "primary age ms:   1500",
                 "queue id:         4XyZ", "queue id:         Second", "tls:              yes", "tls:              no",
                 "recipients:       b@backup.example"):
        assert line in text.splitlines(), text
    assert text.index("Second") < text.index("4XyZ")
    table = list(csv.DictReader(io.StringIO(hunnypot("show", "203.0.113.7", "--format", "csv").stdout)))
    assert [row["queue_id"] for row in table] == ["Second", "4XyZ"]


@pytest.mark.parametrize("what, hits", [("2001:db8:c:1::5", 1), ("2001:db8:c:1::99", 0), ("2001:db8:c:1::/64", 1), ("203.0.113.0/24", 3),
                                        ("203.0.113.8", 0)])
def test_show_an_address_or_a_network(caught, hunnypot, hunnypot_json, what, hits):
    assert len(hunnypot_json("show", what)["hits"]) == hits
    assert hunnypot("show", what).stdout.count("client:") == hits


@pytest.mark.parametrize("what", ["64:ff9b::cb00:7107", "2002:cb00:7107::1", "::ffff:203.0.113.7", "64:ff9b::203.0.113.7/128"])
def test_ipv4_inside_ipv6_means_the_ipv4_client(caught, hunnypot, hunnypot_json, what):
    assert hunnypot_json("show", what)["network"] == "203.0.113.7/32"
    assert len(hunnypot_json("show", what)["hits"]) == 2
    assert {row["network"] for row in hunnypot_json("list", "--network", what)} == {"203.0.113.7/32"}
    # What is told of the list begins with the time at which it is told.
    told, of_ipv4 = (re.sub(r"(?m)^[-0-9]+ [:0-9]+\+00  list", "NOW  list", hunnypot("why", address).stdout)
                     for address in (what.split("/")[0], "203.0.113.7"))
    assert told == of_ipv4 and told.count("NOW") == 1
    hunnypot("allow", "add", what)
    assert [row["network"] for row in hunnypot_json("allow", "list")] == ["203.0.113.7/32"]
    hunnypot("allow", "del", what)
    hunnypot("forget", what)
    assert hunnypot_json("show", "203.0.113.7")["hits"] == []


def test_show_limit(caught, hunnypot_json):
    assert [hit["queue_id"] for hit in hunnypot_json("show", "203.0.113.7", "--limit", "1")["hits"]] == ["Second"]


# status

def test_status(caught, pg, hunnypot, hunnypot_json):
    Sensor(pg, "trap2").heartbeat()
    hunnypot("status", check=True)
    pg.query("UPDATE hunnypot.sensor SET last_seen = now() - interval '31 s' WHERE name = 'trap2'")
    done = hunnypot("status", "--format", "json", check=False)
    assert done.returncode == 2
    first, second = json.loads(done.stdout)
    assert (first["sensor"], first["state"], first["inbox"], first["outbox"], first["aside"]) == ("trap1", "alive", 1, 2, 0)
    assert first["counters"] == {"hits": 3, "lost": 0} and first["last_batch"] is not None
    assert (second["sensor"], second["state"], second["last_batch"]) == ("trap2", "SILENT", None)
    text = hunnypot("status", check=False).stdout
    assert re.search("^state: +SILENT$", text, re.M) and re.search("^counters: +hits=3$", text, re.M)
    assert hunnypot("status", "--format", "csv", check=False).stdout.count("alive") == 1


def test_a_sensor_that_is_given_up(caught, pg, hunnypot, hunnypot_json):
    sensor = Sensor(pg, "trap2")
    sensor.heartbeat()
    assert "is alive" in hunnypot("sensor", "retire", "trap2", check=False, user="operator").stderr
    pg.query("UPDATE hunnypot.sensor SET last_seen = now() - interval '31 s' WHERE name = 'trap2'")
    assert hunnypot("status", check=False).returncode == 2 and "trap2" in hunnypot("report").stdout
    assert hunnypot("sensor", "retire", "trap2", check=False, user="reader").returncode == 1
    for _ in range(2):
        hunnypot("sensor", "retire", "trap2", check=True, user="operator")
    assert [row["sensor"] for row in hunnypot_json("status")] == ["trap1"] and hunnypot("status", check=False).returncode == 0
    assert "trap2" not in hunnypot("report").stdout
    metrics = hunnypot("status", "--format", "prometheus").stdout
    assert "trap2" not in metrics and "\nhunnypot_sensors 1\n" in metrics
    sensor.heartbeat()
    assert [row["state"] for row in hunnypot_json("status")] == ["alive", "alive"]
    assert "no sensor" in hunnypot("sensor", "retire", "trap3", check=False, user="operator").stderr


def test_the_brake(caught, pg, hunnypot, hunnypot_json):
    """status says that it holds, and with which word; brake says what and whom, and releases it."""
    assert hunnypot("brake", "show", check=True).stdout.startswith("state:     open\nheld:      0\n")
    list_networks(pg, "SELECT ('198.51.100.0'::inet + i)::cidr FROM generate_series(1, 40) i", right=False)
    done = hunnypot("status", check=False)
    assert done.returncode == 1 and re.search("^state: +alive$", done.stdout, re.M)
    assert "the brake holds 40 networks back from exports" in done.stderr and "(see: hunnypot brake show)" in done.stderr
    done = hunnypot("status", "--format", "prometheus", check=False)
    assert done.returncode == 1 and "\nhunnypot_brake_holds 1\n" in done.stdout
    [shown] = hunnypot_json("brake", "show")
    assert (shown["state"], shown["held"], shown["hour_most"], shown["most"]) == ("holds", 40, 25, 100)
    assert [row["network"] for row in hunnypot_json("brake", "list")][-1] == "198.51.100.40/32"
    assert hunnypot("brake", "release", check=True).stdout == "released: 40\n"
    assert hunnypot_json("brake", "list") == [] and hunnypot("status", check=True).stderr == ""


def test_status_says_what_the_sensor_told(pg, dns, milter, primaries, deliver, postfix, hunnypot, hunnypot_json):
    """By the real daemon: its last session and hit, the grace that judging waits for, a primary that takes no mail."""
    def status(column):
        return wait_for(lambda: [row[column] for row in hunnypot_json("status") if row[column] is not None], timeout=30,
                        what=column)[0]
    postfix()
    sensor = milter(liveness={"startup_grace": "1h", "fresh": "1s"},
                    domain={"trap.example": {"role": "trap"}, "backup.example": {"role": "auto"}})
    assert re.fullmatch(r"waits: start-up grace, 3[56]\d\d s left", status("judging"))
    primaries.backup.set("defer")
    deliver("203.0.113.7", "a@trap.example")
    assert status("last_session") and status("last_hit") and abs(status("clock_ahead_s")) < 5
    assert status("not_taking_mail").startswith("198.51.100.1 deferring since ")
    assert pg.query("SELECT host(address), state, mx, domain FROM hunnypot.outage") == [("198.51.100.1", "deferring", "mx1.backup.example", "backup.example")]
    table = hunnypot("status").stdout
    assert re.search(r"^clock ahead s: +-?0\.\d\n", table, re.M) and re.search("^last hit: +20", table, re.M)
    sensor.configure(liveness={"startup_grace": "0s"})
    sensor.reload()
    wait_for(lambda: hunnypot_json("status")[0]["judging"] == "at work", timeout=30, what="the end of the grace")


MOMENTS = {"sent": 0, "session": 0, "hit": 0}


@pytest.mark.parametrize("told", [{"moments": 7}, {"moments": {"sent": "x", "hit": 1e300, "session": -1e300}}, {"hosts": {}},
                                  {"hosts": [7, [], None, {"since": 1e300}, {"address": HOSTILE}]}, {"moments": MOMENTS}])
def test_status_whatever_a_sensor_tells(sensor, hunnypot, hunnypot_json, told):
    sensor.heartbeat(json.dumps({"hits": 1, **told}))
    for form in ("table", "csv", "prometheus"):
        assert "hits" in hunnypot("status", "--format", form).stdout
    assert hunnypot_json("status")[0]["counters"] == {"hits": 1}


# Times

ZONES = [({"TZ": "Asia/Kolkata"}, "+05:30"), ({"TZ": ":Asia/Kolkata"}, "+05:30"), ({"TZ": "XXX-5:30"}, "+05:30"),
         ({"TZ": "/usr/share/zoneinfo/Asia/Kolkata"}, "+05:30"), ({"TZ": "Asia/Kolkata", "PGTZ": "Asia/Kathmandu"}, "+05:45"),
         ({"TZ": "No/Such"}, "+00"), ({"TZ": "'; DROP"}, "+00"), ({"TZ": ""}, "+00")]


@pytest.mark.parametrize("zone, offset", ZONES)
def test_times_are_ones_own_in_tables_and_utc_for_programs(caught, hunnypot, hunnypot_json, zone, offset):
    env = environment(**zone)
    stamp = re.compile(r"\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(\+[\d:]+|Z)")
    for words in (("list",), ("status",), ("show", "203.0.113.7"), ("why", "203.0.113.7")):
        assert set(stamp.findall(hunnypot(*words, env=env).stdout)) == {offset}, words
        for form in ("csv", "json"):
            found = set(stamp.findall(hunnypot(*words, "--format", form, env=env).stdout))
            assert found and found <= {"+00", "+00:00"}, (words, form)


@pytest.mark.parametrize("form", ["table", "csv"])
def test_since_is_in_ones_own_time(sensor, pg, hunnypot, form):
    sensor.record({"ago": "3 h"})
    [[then]] = pg.query("SELECT to_char(now() AT TIME ZONE 'Asia/Kolkata' - interval '%s', 'YYYY-MM-DD HH24:MI')" % "4 h")
    [[later]] = pg.query("SELECT to_char(now() AT TIME ZONE 'Asia/Kolkata' - interval '%s', 'YYYY-MM-DD HH24:MI')" % "2 h")
    for command in ("list", "top"):
        for since, count in ((then, 1), (later, 0)):
            done = hunnypot(command, "--since", since, "--format", form, env=environment(TZ="Asia/Kolkata"))
            assert done.stdout.count("203.0.113.7") == count, (command, since)


# top

@pytest.mark.parametrize("by, first", [("client", "203.0.113.7"), ("network", "203.0.113.0/24"),
                                       ("domain", "backup.example"), ("helo", "helo.example"), ("class", "backup"),
                                       ("sensor", "trap1")])
def test_top(caught, hunnypot, hunnypot_json, by, first):
    rows = hunnypot_json("top", "--by", by)
    assert rows[0][by] == first
    assert sum(row["hits"] for row in rows) == 4
    assert rows_of(hunnypot("top", "--by", by))[0][by] == first
    assert hunnypot("top", "--by", by, "--format", "csv").stdout.startswith(f"{by},hits,clients,domains,")


def test_top_since_and_limit(caught, hunnypot_json):
    assert sum(row["hits"] for row in hunnypot_json("top", "--since", "1h")) == 2
    assert len(hunnypot_json("top", "--limit", "1")) == 1


# listed

@pytest.mark.parametrize("addresses, status", [(["203.0.113.9"], 0), (["203.0.113.8"], 1),
                                               (["203.0.113.9", "203.0.113.8"], 1), (["2001:db8:c:1::5"], 1)])
def test_listed_exit_status(caught, hunnypot, addresses, status):
    for form in ("table", "json", "csv"):
        assert hunnypot("listed", *addresses, "--format", form, check=False).returncode == status


def test_listed_says_why(caught, hunnypot, hunnypot_json):
    row = hunnypot_json("listed", "203.0.113.9")[0]
    assert row["listed"] and row["class"] == "trap" and row["code"] == "550 5.7.1" and row["since"] < row["until"]
    text = hunnypot("listed", "203.0.113.8", "203.0.113.9", check=False).stdout
    assert text.splitlines()[:2] == ["address:        203.0.113.8", "listed:         no"]
    assert "reason:         Listed for sending to a domain that gets no mail" in text


def test_listed_error_is_not_an_answer(pg_server, hunnypot):
    """A check in a script must not take a database that is down for "not listed"."""
    pg_server.stop()
    assert hunnypot("listed", "203.0.113.9", check=False).returncode == 2


# allow

def test_allow(caught, hunnypot, hunnypot_json, pg):
    hunnypot("allow", "add", "203.0.113.0/28", "2001:db8::/32", "--reason", "it's ours", "--expires", "2d",
             env=environment(PGUSER="postgres", SUDO_USER="alice"))
    assert hunnypot("listed", "203.0.113.9", check=False).returncode == 1
    row = hunnypot_json("allow", "list")[0]
    assert (row["network"], row["reason"], row["author"]) == ("203.0.113.0/28", "it's ours", "alice")
    assert pg.query("SELECT DISTINCT expires - created FROM hunnypot.allow")[0][0].total_seconds() == 2 * 86400
    assert [row["network"] for row in rows_of(hunnypot("allow", "list"))] == ["203.0.113.0/28", "2001:db8::/32"]
    hunnypot("allow", "del", "203.0.113.0/28")
    assert hunnypot("listed", "203.0.113.9").returncode == 0


@pytest.mark.parametrize("wide", ["0.0.0.0/0", "::/0", "128.0.0.0/7", "2000::/15", "::ffff:0:0/96", "64:ff9b::/96",
                                  "2001:db8:64::/96", "2001:db8:64::/100", "2001:db8:65::/48", "2001:db8:65::/52"])
def test_allow_of_everybody_takes_force(pg, hunnypot, hunnypot_json, tmp_path, wide):
    pg.query("UPDATE hunnypot.setting SET value = '2001:db8:64::/96 2001:db8:65::/48' WHERE name = 'nat64_prefixes'")
    networks = tmp_path / "networks"
    networks.write_text(f"192.0.2.0/24\n{wide}\n")
    done = hunnypot("allow", "add", "192.0.2.0/24", wide, check=False)
    assert done.returncode == 64 and "--force" in done.stderr
    done = hunnypot("allow", "add", "--from", networks, check=False)
    assert done.returncode == 1 and f"{networks}:2: " in done.stderr and "--force" in done.stderr
    assert hunnypot_json("allow", "list") == []
    hunnypot("allow", "add", "--from", networks, "--force")
    assert len(hunnypot_json("allow", "list")) == 2


def test_allow_from_file(pg, hunnypot, hunnypot_json, tmp_path):
    networks = tmp_path / "networks"
    networks.write_text("# our own\n\n192.0.2.0/24\n  198.51.100.7\t# the monitor \r\n2001:db8::/32#x")
    hunnypot("allow", "add", "--from", networks, "--reason", "known")
    assert [(row["network"], row["reason"]) for row in hunnypot_json("allow", "list")] == [
        ("192.0.2.0/24", "known"), ("198.51.100.7/32", "the monitor"), ("2001:db8::/32", "x")]


@pytest.mark.parametrize("line", ["192.0.2.1/24", "nonsense", "192.0.2.0/24 192.0.3.0/24", "\x1b[31m", "x" * 100000])
def test_allow_from_a_bad_file_adds_nothing(pg, hunnypot, hunnypot_json, tmp_path, line):
    networks = tmp_path / "networks"
    networks.write_text(f"192.0.2.0/24\n{line}\n")
    done = hunnypot("allow", "add", "--from", networks, check=False)
    assert done.returncode == 1 and f"{networks}:2: " in done.stderr and one_line(done.stderr)
    assert hunnypot_json("allow", "list") == []


def test_allow_del_of_what_is_not_there(pg, hunnypot, hunnypot_json):
    hunnypot("allow", "add", "192.0.2.0/24")
    done = hunnypot("allow", "del", "192.0.2.0/24", "192.0.3.0/24", check=False)
    assert (done.returncode, done.stderr) == (1, "hunnypot: 192.0.3.0/24 is not on the allowlist; nothing was removed\n")
    assert len(hunnypot_json("allow", "list")) == 1


# policy, why

def test_policy_of_a_new_installation(pg_plain, hunnypot, hunnypot_json):
    """Nobody is listed before a class is enabled, and what that lists is seen before."""
    classes = hunnypot_json("policy", "show")
    assert [(row["class"], row["listed"]) for row in classes] == [(name, False) for name in ("trap", "backup", "address",
                                                                                             "null-sender")]
    hunnypot("policy", "set", "trap", "ripens=0", "firm_after=0", user="operator")
    Sensor(pg_plain).record({"class": "trap", "client": "203.0.113.9"}, {"class": "trap", "client": "203.0.113.8"})
    hunnypot("allow", "add", "203.0.113.8")
    results = {row["network"]: row["result"] for row in hunnypot_json("policy", "test", "trap", user="reader")}
    assert results == {"203.0.113.9/32": "listed, witnessed", "203.0.113.8/32": "allowed"}
    assert hunnypot("listed", "203.0.113.9", check=False).returncode == 1
    assert "listed, witnessed  1" in hunnypot("policy", "enable", "trap", user="operator").stdout
    assert hunnypot_json("listed", "203.0.113.9")[0]["proof"] == "witnessed"
    hunnypot("policy", "disable", "trap", user="operator")
    assert hunnypot("listed", "203.0.113.9", check=False).returncode == 1


@pytest.mark.parametrize("words, why", [
    (["set", "trap", "nonsense=1"], 'column "nonsense"'), (["set", "trap", "min_hits=0"], "policy_min_hits_check"),
    (["set", "trap", "ripens=soon"], "soon"), (["set", "tarp", "min_hits=1"], 'no class "tarp"'),
    (["set", "trap", "class=tarp"], "the name of a class does not change"), (["set", "trap", "reason="], "reason"),
    (["set", "trap", "suspect_address=127.0.0.3"], "127.0.0.3 is what a DNSBL answers for who is listed"),
    (["set", "trap", "suspect_address=127.0.0.5"], "127.0.0.5 is what a DNSBL answers for who is listed"),
    (["enable", "tarp"], 'no class "tarp"'), (["test", "tarp"], 'no class "tarp"')], ids=" ".join)
def test_policy_errors(pg, hunnypot, words, why):
    before = pg.query("SELECT * FROM hunnypot.policy ORDER BY rank")
    assert why in fails(hunnypot, "policy", *words)
    assert pg.query("SELECT * FROM hunnypot.policy ORDER BY rank") == before


def test_what_a_policy_may_lack_is_unset(pg, hunnypot, hunnypot_json):
    for value in ("127.0.3.2", ""):
        hunnypot("policy", "set", "trap", f"suspect_address={value}", user="operator")
        assert [row["suspect_address"] or "" for row in hunnypot_json("policy", "show") if row["class"] == "trap"] == [value]


def test_why_tells_it_in_order(caught, hunnypot, hunnypot_json):
    hunnypot("allow", "add", "203.0.113.7", "--reason", "a friend")
    told = [row["what"] for row in hunnypot_json("why", "203.0.113.7", user="reader")]
    assert told[:3] == ["203.0.113.7 came to the backup mx2.example.org of backup.example", "primary mx1.backup.example took mail",
                        "this hit counts, inferred: nobody can say whether its letter arrived"]
    assert told[-1].startswith("not listed under backup: it is allowed with 203.0.113.7/32 (a friend), by ")
    told = [row["what"] for row in hunnypot_json("why", "203.0.113.9")]
    assert told[:2] == ["203.0.113.9 came to mx2.example.org, where trap.example gets no mail",
                        "this hit counts, witnessed: a trap gets no mail"] and told[2].startswith("listed (witnessed) under trap from ")
    assert hunnypot_json("why", "203.0.113.200")[0]["what"].startswith("nothing is recorded of 203.0.113.200/32: it came to no trap")


# forget, expire

def test_forget(caught, hunnypot, hunnypot_json):
    removed = hunnypot_json("forget", "203.0.113.0/24")
    assert {row["what"]: row["removed"] for row in removed} == {"hits": 3, "offences": 2, "requests": 0}
    assert [row["network"] for row in hunnypot_json("list")] == ["2001:db8:c:1::5/128"]
    assert hunnypot_json("show", "203.0.113.0/24")["hits"] == []


def test_expire(caught, pg, hunnypot, hunnypot_json):
    pg.query("UPDATE hunnypot.setting SET value = '1 day' WHERE name = 'keep_hits'")
    caught.record({"ago": "40 days"})  # too old for a partition of its own
    assert sum(row["removed"] for row in hunnypot_json("expire")) >= 1
    assert hunnypot("expire", "--format", "csv").stdout.startswith("what,removed\n")


def test_long_work_shows_progress_on_a_terminal_only(caught, pg, hunnypot):
    holder = pg.connect()
    with holder.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE hunnypot.hit")
        main, terminal = pty.openpty()
        work = subprocess.Popen([BUILD / "hunnypot", "forget", "203.0.113.7"], stdout=subprocess.DEVNULL,
                                stderr=terminal, env=environment(PGUSER="postgres"))
        quiet = subprocess.Popen([BUILD / "hunnypot", "forget", "203.0.113.9"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, env=environment(PGUSER="postgres"))
        os.close(terminal)
        seen = b""
        while b"2 s\r" not in seen:
            seen += os.read(main, 1000)
        cursor.execute("ROLLBACK")
    holder.close()
    assert seen.startswith(b"hunnypot: forget: 1 s\rhunnypot: forget: 2 s\r")
    assert work.wait(20) == 0
    assert quiet.communicate(timeout=20)[1] == b"" and quiet.returncode == 0
    os.close(main)


# tail

class Tail:
    def __init__(self, pg, *words):
        self.process = subprocess.Popen([BUILD / "hunnypot", "tail", *words], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment(PGUSER="postgres"), text=True)
        self.wait_listening(pg)

    @staticmethod
    def wait_listening(pg):
        """It waits when its last statement was the one that found nothing new."""
        wait_for(lambda: pg.query("""SELECT 1 FROM pg_stat_activity WHERE application_name = 'hunnypot'
            AND state = 'idle' AND query LIKE '%%json_object_agg(spool%%'"""), what="tail that waits")

    def line(self):
        return self.process.stdout.readline()

    def end(self):
        self.process.terminate()
        return self.process.communicate(timeout=10)[1]


def test_tail(caught, pg):
    tail = Tail(pg)
    caught.record({"client": "203.0.113.20"}, {"client": "203.0.113.21", "helo": HOSTILE})
    Sensor(pg, "trap2").record({"client": "203.0.113.22"})
    assert " backup 203.0.113.20 backup.example name=host7.example helo=helo.example sensor=trap1\n" in tail.line()
    hostile = tail.line()
    assert " 203.0.113.21 " in hostile and set(hostile.encode()) <= PRINTABLE
    assert "203.0.113.22" in tail.line()
    tail.end()


def test_tail_json_survives_a_restart(caught, pg):
    tail = Tail(pg, "--format", "json")
    caught.record({"queue_id": "before"})
    assert json.loads(tail.line())["queue_id"] == "before"
    pg.restart()
    caught.record({"queue_id": "while away"})
    assert json.loads(tail.line())["queue_id"] == "while away"
    caught.record({"queue_id": "after", "helo": HOSTILE})
    line = tail.line()
    assert set(line.encode()) <= PRINTABLE and json.loads(line)["queue_id"] == "after"
    assert json.loads(line)["helo"] == HOSTILE
    assert "connecting again" in tail.end()


# Hostile bytes

@pytest.mark.parametrize("helo, cell", [
    ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"), ("+1", "'+1"), ("@SUM(1,2)", "'@SUM(1,2)"), ("-1+1", "'-1+1"),
    ('=HYPERLINK("http://x","y")', "'=HYPERLINK(\"http://x\",\"y\")"), ("\t=1", "'\\x09=1"),
    ("-1", "-1"), ("a=1", "a=1"), ("a,=1", "a,=1"), ('"=1', '"=1'), ("-", "'-"),
])
def test_csv_has_no_formulas(sensor, hunnypot, helo, cell):
    """A spreadsheet runs what begins as one, and clients choose their HELO."""
    sensor.record({"helo": helo})
    row, = csv.DictReader(io.StringIO(hunnypot("show", "203.0.113.7", "--format", "csv").stdout))
    assert row["helo"] == cell


@pytest.mark.parametrize("counters", ["[]", "null", "7", '"x"', "{}"])
def test_status_whatever_a_sensor_counts(sensor, hunnypot, hunnypot_json, counters):
    sensor.heartbeat(counters)
    assert re.search("^state: +alive$", hunnypot("status").stdout, re.M)
    assert hunnypot_json("status")[0]["state"] == "alive"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("words", [("list",), ("show", "203.0.113.7"), ("top", "--by", "helo"), ("top", "--by", "domain"),
                                   ("status",), ("allow", "list"), ("listed", "203.0.113.7"), ("db", "status")],
                         ids=" ".join)
def test_hostile_bytes_are_printed_escaped(pg, hunnypot, words, form):
    sensor = Sensor(pg, HOSTILE)
    sensor.heartbeat(json.dumps({HOSTILE: 1}))
    sensor.record({key: HOSTILE for key in ("client_name", "helo", "sender", "recipients", "domain", "primary_host",
                                            "queue_id", "mta_name")})
    pg.query("SELECT hunnypot.allow_add('192.0.2.0/24', %s, %s)", HOSTILE, HOSTILE)
    done = hunnypot(*words, "--format", form, check=False)
    assert done.stderr == "" and done.stdout
    assert {byte for byte in done.stdout.encode() if byte not in PRINTABLE} == set()
    if form == "json":
        json.loads(done.stdout)
    if words == ("list",):
        if form == "json":
            assert json.loads(done.stdout)[0]["domain"] == HOSTILE
        else:
            assert "\\x1B]0;owned\\x07\\xC2\\x9B31m\\x7F\\x0D\\x0A\\x09'" in done.stdout
        assert len(done.stdout.splitlines()) == (1 if form == "json" else 2)


# Errors

def one_line(text):
    return text.startswith("hunnypot: ") and text.count("\n") == 1 and set(text.encode()) <= PRINTABLE


@pytest.mark.parametrize("words", [
    [], ["nonsense"], ["db"], ["db", "nonsense"], ["list", "extra"], ["list", "--nonsense"], ["list", "--class"],
    ["list", "--class", "none"], ["list", "--network", "192.0.2.1/24"], ["list", "--min-hits", "-1"],
    ["list", "--min-hits", "1; DROP TABLE x"], ["list", "--format", "xml"], ["show"], ["show", "1.2.3"],
    ["show", "192.0.2.1", "--limit", "all"], ["show", "192.0.2.1", "192.0.2.2"], ["top", "--by", "time"], ["listed"],
    ["listed", "example.com"], ["allow", "add"], ["allow", "add", "192.0.2.1/24"],
    ["allow", "add", "192.0.2.1", "--expires", "soon"], ["allow", "del"], ["forget"], ["forget", "0.0.0.0/0", "::/0"],
    ["expire", "everything"], ["policy", "set"], ["policy", "set", "trap"], ["policy", "set", "trap", "min_hits"],
    ["policy", "set", "trap", "a; DROP TABLE x=1"], ["policy", "enable"], ["policy", "test", "trap", "backup"], ["why"], ["why", "192.0.2.0/24"], ["tail", "--format", "csv"], ["export"], ["export", "../plain"], ["export", "plain", "--watch"],
    ["export", "plain", "--set", "class"], ["export", "plain", "--set", "nonsense=1"], ["export", "--list", "plain"],
    ["export", "plain", "-o", "/tmp/x", "--interval", "-1s"], ["export", "plain", "-o", "/tmp/x", "--interval", "100d"],
    ["brake", "show", "x"], ["--nonsense"], ["-d"], ["status", "\x1b[31m\n"],
    ["list", "--class", "x" * 65536],
], ids=lambda words: " ".join(words)[:40].replace("\x1b", "ESC").replace("\n", "LF") or "nothing")
def test_usage_errors(net, hunnypot, words):
    done = hunnypot(*words, check=False)
    assert done.returncode == 64 and one_line(done.stderr) and done.stdout == ""


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"], ["export", "-h"], ["--version"]], ids=" ".join)
def test_help(net, hunnypot, words):
    done = hunnypot(*words)
    assert "hunnypot" in done.stdout and done.stderr == ""


def test_the_manual_page_has_every_command_and_option(net, hunnypot):
    page = "".join((TOP / f"man/{name}").read_text() for name in ("hunnypot.1", "hunnypot-witness.8")).replace("\\-", "-")
    commands = re.findall(r"^  (\w+(?: \w+)?)  ", hunnypot("--help").stdout, re.M)
    assert len(commands) > 12
    for command in commands:
        assert f"\\fBhunnypot {command}" in page, command
        for option in re.findall(r"(--[a-z-]+)", hunnypot(*command.split(), "--help").stdout):
            assert option in page, (command, option)


@pytest.mark.parametrize("words, fault", [(["-d", "dbname=hunnypot password=sesame", "list"], "holds a password"),
                                          (["list", "--database=postgresql://u:sesame@/hunnypot"], "holds a password"),
                                          (["list", "-d", "password=open sesame"], "cannot be read")],
                         ids=["keyword", "URI", "neither"])
def test_a_password_in_an_argument_is_refused_and_not_repeated(net, hunnypot, words, fault):
    done = hunnypot(*words, check=False)
    assert done.returncode == 64 and f"--database {fault}" in done.stderr and "sesame" not in done.stderr


def fails(hunnypot, *words, **options):
    done = hunnypot(*words, check=False, **options)
    assert done.returncode == 1 and one_line(done.stderr), done
    return done.stderr


def test_error_server_is_down(pg_server, hunnypot):
    pg_server.stop()
    assert "connection to server" in fails(hunnypot, "list")


def test_error_no_database(pg, hunnypot):
    assert "createdb" in fails(hunnypot, "-d", "dbname=nowhere", "list")
    assert "createdb" not in fails(hunnypot, "list", user="no_such_role")


def test_error_wrong_password(pg, hunnypot):
    pg.query("DROP ROLE IF EXISTS secretive; CREATE ROLE secretive LOGIN PASSWORD 'right' IN ROLE needs_password")
    wrong = environment(PGUSER="secretive", PGPASSWORD="wrong")
    assert "password authentication failed" in fails(hunnypot, "list", env=wrong)


def test_error_no_permission(pg, hunnypot):
    pg.query("DROP ROLE IF EXISTS nobody_here; CREATE ROLE nobody_here LOGIN")
    assert "permission denied" in fails(hunnypot, "list", user="nobody_here")


def test_error_since_is_no_time(pg, hunnypot):
    assert "yesterdayish" in fails(hunnypot, "list", "--since", "yesterdayish")


def test_error_no_schema(pg_server, hunnypot):
    pg_server.query("DROP DATABASE IF EXISTS bare", database="postgres")
    pg_server.query("CREATE DATABASE bare", database="postgres")
    done = hunnypot("-d", "dbname=bare", "status", check=False)
    assert done.returncode == 3 and "hunnypot db init" in done.stderr and one_line(done.stderr)
    for words in (["list"], ["allow", "list"], ["export", "plain"], ["tail"], ["db", "upgrade"]):
        assert "hunnypot db init" in fails(hunnypot, "-d", "dbname=bare", *words)


def test_error_schema_too_old(pg, hunnypot):
    pg.query("DELETE FROM hunnypot.schema_version WHERE version > 1")
    assert "run: hunnypot db upgrade" in fails(hunnypot, "list")
    assert "hunnypot db upgrade" in fails(hunnypot, "db", "status")


def test_output_that_cannot_be_written(caught, hunnypot):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([BUILD / "hunnypot", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                              env=environment(PGUSER="postgres"))
    assert (done.returncode, done.stderr) == (1, "hunnypot: standard output: No space left on device\n")


@pytest.mark.parametrize("ignored", [False, True], ids=["SIGPIPE kills", "SIGPIPE ignored"])
def test_a_reader_that_goes_away_is_no_error(pg, ignored):
    list_networks(pg, "SELECT network(set_masklen('198.18.0.0'::inet + i, 32)) FROM generate_series(1, 30000) i")
    process = subprocess.Popen([BUILD / "hunnypot", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment(PGUSER="postgres"), restore_signals=not ignored)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == (0 if ignored else -signal.SIGPIPE)


# db

@pytest.fixture
def bare(pg_server):
    """An empty database, and the environment to use it."""
    pg_server.query("DROP DATABASE IF EXISTS bare WITH (FORCE)", database="postgres")
    pg_server.query("CREATE DATABASE bare", database="postgres")
    return environment(PGUSER="postgres", HUNNYPOT_DATABASE="dbname=bare")


@pytest.fixture
def files(tmp_path, bare):
    """A copy of the schema files to add to."""
    shutil.copytree(TOP / "sql", tmp_path / "sql")
    bare["HUNNYPOT_DATADIR"] = str(tmp_path)
    return tmp_path / "sql"


def newest():
    return len(list((TOP / "sql").glob("[0-9][0-9][0-9]-*.sql")))


def test_db_init_again_changes_nothing(bare, hunnypot):
    assert hunnypot("db", "init", env=bare).stdout.splitlines()[0] == "001-schema.sql"
    for word in ("init", "upgrade"):
        assert hunnypot("db", word, env=bare).stdout == f"already at version {newest()}\n"
    status = json.loads(hunnypot("db", "status", "--format", "json", env=bare).stdout)[0]
    assert status["schema_version"] == status["newest_version"] == newest()
    assert "hunnypot_sensor" in status["roles"] and "offence" in status["tables"]


def test_db_init_at_the_same_time(bare):
    started = [subprocess.Popen([BUILD / "hunnypot", "db", "init"], env=bare, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 4, outputs
    assert sorted(output[0].splitlines()[0] for output in outputs)[1:] == [f"already at version {newest()}"] * 3


def test_db_upgrade_applies_what_is_missing(bare, files, hunnypot, pg_server):
    hunnypot("db", "init", env=bare)
    number = newest() + 1
    (files / f"{number:03}-more.sql").write_text("CREATE TABLE hunnypot.more (n int); -- a comment at the end")
    assert fails(hunnypot, "db", "status", env=bare).endswith("run: hunnypot db upgrade\n")
    assert hunnypot("db", "init", env=bare).stdout == f"already at version {newest()}; run: hunnypot db upgrade\n"
    assert hunnypot("db", "upgrade", env=bare).stdout == f"{number:03}-more.sql\n"
    assert pg_server.query("SELECT count(*) FROM hunnypot.more", database="bare") == [(0,)]


def test_db_a_file_that_fails_changes_nothing(bare, files, hunnypot, pg_server):
    number = newest() + 1
    (files / f"{number:03}-wrong.sql").write_text("SELECT 1/0")
    assert fails(hunnypot, "db", "init", env=bare) == f"hunnypot: {number:03}-wrong.sql: division by zero\n"
    assert pg_server.query("SELECT to_regnamespace('hunnypot')", database="bare") == [(None,)]


def test_db_refuses_a_newer_schema(bare, hunnypot, pg_server):
    hunnypot("db", "init", env=bare)
    pg_server.query("INSERT INTO hunnypot.schema_version VALUES (999)", database="bare")
    for word in ("init", "upgrade"):
        assert "999, newer than this program" in fails(hunnypot, "db", word, env=bare)


def test_db_a_number_that_is_missing(bare, files, hunnypot):
    (files / "099-gap.sql").write_text("SELECT 1")
    assert "099-gap.sql" in fails(hunnypot, "db", "init", env=bare)


def test_schema_version_that_the_command_needs_exists(net):
    needed = int((TOP / "src/cli/cli.h").read_text().split("CLI_SCHEMA_VERSION = ")[1].split(",")[0])
    assert needed <= newest()
