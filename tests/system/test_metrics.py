"""Figures for monitoring: they are the database's, Prometheus takes them, and no sensor can spoil them."""
import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from cli_data import Sensor
from test_report import everything, ripening  # noqa: F401, a fixture
from test_ripening import HOUR
from testbed.base import DEBS, TOP, wait_for
from testbed.offences import list_networks, tick_on

PROMTOOL = DEBS / "prometheus/usr/bin/promtool"
LINE = re.compile(r'(\w+)(?:\{((?:\w+="[ -~]*?",?)+)\})? (-?[0-9.]+(?:e[+-]?\d+)?)')


class Metrics:
    """What was read, as Prometheus sees it: values by name and labels."""

    def __init__(self, text):
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), (done, text)
        self.text, self.values = text, {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, labels, value = LINE.fullmatch(line).groups()
                key = name, frozenset(re.findall(r'(\w+)="(.*?)"', labels or ""))
                assert key not in self.values, line
                self.values[key] = float(value)

    def get(self, name, **labels):
        """{other labels' values: value} of the series with LABELS; or the value, if there is no other label."""
        found = {tuple(value for _, value in sorted(has - set(labels.items()))): number for (called, has), number in self.values.items()
                 if called == "hunnypot_" + name and has >= set(labels.items())}
        if set(found) == {()}:
            return found[()]
        return {key[0] if len(key) == 1 else key: number for key, number in found.items()}


@pytest.fixture
def metrics(hunnypot):
    def read(status=0, user="reader"):
        done = hunnypot("status", "--format", "prometheus", check=False, user=user)
        assert done.returncode == status, done
        return Metrics(done.stdout)
    return read


def test_what_sensors_told(pg, metrics):
    Sensor(pg, "trap1").heartbeat(json.dumps({"hits": 3, "lost": 2, "offence": 7, "outage": 1, "over_idle": 4}))
    now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    [[told]] = pg.query(f"""SELECT json_build_object('hosts', '[1, 2]'::json, 'moments', json_build_object('sent', {now} + 9000,
                            'session', {now} - 51000, 'hit', {now} - 111000, 'judging', {now} + 52000))""")
    Sensor(pg, "told").heartbeat(json.dumps(told))
    Sensor(pg, "never\\\"heard")
    found = metrics()
    assert found.get("sensors") == 3 and set(found.get("sensor_up").values()) == {1}
    assert found.get("spool_hits", sensor="trap1", id="1") == {"inbox": 1, "outbox": 2, "aside": 0}
    assert [found.get(name, sensor="trap1", id="1") for name in ("hits_total", "hits_lost_total")] == [3, 2]
    assert found.get("verdicts_total", sensor="trap1", id="1") == {"offence": 7, "outage": 1}
    assert found.get("limits_total", sensor="trap1", id="1") == {"idle": 4}
    for name, value in {"sensor_last_session_age_seconds": 60, "sensor_last_hit_age_seconds": 120, "sensor_grace_seconds": 43,
                        "sensor_clock_ahead_seconds": 9, "mail_hosts_not_taking_mail": 2, "sensor_heartbeat_age_seconds": 0}.items():
        assert abs(found.get(name, sensor="told", id="2") - value) < 5, (name, found.text)
    assert found.get("sensor_up", sensor="never??heard") == {"3": 1}
    pg.query("UPDATE hunnypot.sensor SET last_seen = now() - interval '31 s' WHERE name = 'trap1'")
    assert metrics(status=2).get("sensor_up") == {("1", "trap1"): 0, ("2", "told"): 1, ("3", "never??heard"): 1}


HOSTILE = "\x1b]0;owned\x07\u009b31m\x7f\r\n\t'\"\\N,;{}$(id)`%s%n\ufeff\U0001f480"
BUCKETS = list(range(14))
EVIL = [7, "x", None, [], {}, [[]], -1, 1e300, 0.5, 2 ** 64, HOSTILE, {"sum_us": "x", "counts": [1]}, {HOSTILE: {HOSTILE: HOSTILE}}]


def test_whatever_sensors_tell(pg, metrics):
    """No line is broken, nothing is a series that a sensor made up, and the others' figures are there."""
    Sensor(pg, "honest").heartbeat()
    names = ["hits", "sessions", "offence", "probes_down", "moments", "hosts", "histograms"]
    before = {name for name, _ in metrics().values}
    told = {}
    for number, evil in enumerate(EVIL):
        told[f"{HOSTILE}{number}"] = {HOSTILE: evil, **dict.fromkeys(names, evil)}
        for part, histogram in enumerate((evil, {"sum_us": evil, "counts": evil}, {"sum_us": evil, "counts": BUCKETS},
                                          {"sum_us": 1, "counts": BUCKETS[:-1] + [evil]}, {"sum_us": 1, "counts": [evil] * 13})):
            if not (evil in (7, 0.5, 2 ** 64)[:2 + (part == 2)] and part in (2, 3)):  # which are sound
                told[f"histogram{number}-{part}"] = {"histograms": {"probe": histogram}}
    told.update({"[]": [], "7": 7, "null": None, "x": "x", "many": {f"k{n}": n for n in range(1000)}})
    pg.query("""INSERT INTO hunnypot.sensor (name, counters, inbox, outbox)
        SELECT key, value, -9223372036854775808, 9223372036854775807 FROM jsonb_each(%s)""", json.dumps(told))
    Sensor(pg, "much").heartbeat(json.dumps({"hits": 7, "k": "k" * 70000}))
    found = metrics()
    new = {name for name, _ in found.values} - before
    assert new <= {f"hunnypot_{name}" for name in ("connections_total", "verdicts_total", "probes_total")}
    assert found.text.isascii() and "owned" not in re.sub(r'sensor="[^"]*"', "", found.text)
    assert found.get("hits_total", sensor="honest") == {"1": 3} and found.get("hits_total", sensor="much") == {}
    assert found.get("sensors") == len(told) + 2 < 100
    assert all(0 <= value < 2 ** 64 for value in found.get("hits_total").values())


def counters_told():
    """The names of all counters that a sensor tells."""
    table = (TOP / "src/base/counter.h").read_text().split("#define COUNTER_TABLE", 1)[1].split("\n\n")[0]
    return re.findall(r'^    X\([A-Z_]+, "(\w+)"', table, re.M) + [
        name for name, counts in re.findall(r'X\(ARGUMENT, \w+, "(\w+)", \d+, (\w+)', (TOP / "src/base/words.h").read_text())
        if counts == "FINAL"]


def test_histograms_that_sensors_told(pg, metrics):
    Sensor(pg).heartbeat(json.dumps({"histograms": {"probe": {"sum_us": 1234567, "counts": BUCKETS}, "data_reply": {}}}))
    found = metrics()
    told = found.get("probe_seconds_bucket", sensor="trap1", id="1")
    assert list(told)[:3] + list(told)[-2:] == ["0.005", "0.01", "0.02", "60", "+Inf"]
    assert list(told.values()) == [sum(range(n + 1)) for n in range(14)]
    assert found.get("probe_seconds_sum", sensor="trap1") == {"1": 1.234567} and found.get("probe_seconds_count", id="1") == {"trap1": 91}
    assert found.get("data_reply_seconds_bucket") == {}


def test_every_counter_has_its_metric(pg, metrics):
    """Also one that is new; each by itself."""
    names = counters_told()
    assert len(names) > 20
    Sensor(pg).heartbeat(json.dumps({name: 1000 + number for number, name in enumerate(names)}))
    values = list(metrics().values.values())
    assert {name: values.count(1000 + number) for number, name in enumerate(names)} == dict.fromkeys(names, 1)


def test_very_many_sensors(pg, metrics):
    pg.query("INSERT INTO hunnypot.sensor (name, last_seen) SELECT 's' || n, now() - n * interval '1 s' FROM generate_series(1, 300) n")
    found = metrics(status=2)
    assert found.get("sensors") == 300 and {sensor for _, sensor in found.get("sensor_up")} == {f"s{n}" for n in range(1, 101)}


def test_what_hits_came_to(ripening, metrics):
    """The figures are those of the hits themselves."""
    everything(ripening)
    pg, found = ripening.pg, metrics()
    told = {kind: {key: number for key, number in found.get("hits", **{"class": kind}).items() if number}
            for kind in ("trap", "backup", "address", "null-sender")}
    wanted = {kind: {} for kind in told}
    for kind, outcome, number in pg.query("""
            SELECT class, CASE WHEN while_listed THEN 'while-listed' WHEN witnessed THEN 'proven' ELSE 'inferred' END, sum(hits)
            FROM hunnypot.offence_day GROUP BY 1, 2 UNION ALL SELECT class, why, count(*) FROM hunnypot.pardoned GROUP BY 1, 2
            UNION ALL SELECT class, 'ripening', count(*) FROM hunnypot.waiting GROUP BY 1"""):
        wanted[kind][outcome] = number
    assert told == wanted
    listings = {key: number for key, number in found.get("listings").items() if number}
    assert listings == {tuple(key): number for *key, number in pg.query("SELECT class, proof, count(*) FROM hunnypot.listing GROUP BY 1, 2")}
    # Each listing here came with a hit, and moves back in time with it.
    brought = found.get("hit_to_listing_seconds_count")
    assert sum(brought.values()) == sum(found.get("list_moves", move="listed").values()) > 0
    for kind, number in brought.items():
        upto = found.get("hit_to_listing_seconds_bucket", **{"class": kind})
        assert [upto[le] for le in ("172800", "176400", "+Inf")] == [0, number, number]
        assert number * 172800 <= found.get("hit_to_listing_seconds_sum", **{"class": kind}) <= number * 176400
    pg.query("UPDATE hunnypot.policy SET listed = false")
    pg.query("UPDATE hunnypot.policy SET listed = true")
    tick_on(pg)
    assert metrics().get("hit_to_listing_seconds_count") == brought, "no hit listed these again"
    assert found.get("list_networks") == pg.query("SELECT count(DISTINCT network) FROM hunnypot.listing")[0][0] > 0
    assert found.get("ripe_overdue_seconds") == 0
    pg.query("UPDATE hunnypot.waiting SET due = now() - interval '1 hour'")
    assert 3600 <= metrics().get("ripe_overdue_seconds") < 3660


def test_witnesses(ripening, metrics):
    ripening.witness(mx="mx2.backup.example", machine="late\"", until=-3 * HOUR)
    found = metrics()
    assert found.get("witnesses") == 2
    assert found.get("witness_behind_seconds", witness="one")["1"] < 60
    assert abs(found.get("witness_behind_seconds", witness="late?", id="2") - 10800) < 60
    assert found.get("witness_heartbeat_age_seconds", witness="one")["1"] < 60
    assert found.get("witness_troubles") == {"silent": 0, "behind": 1, "blind": 0, "key": 0, "missing": 0}
    ripening.pg.query("UPDATE hunnypot.witness SET last_seen = now() - interval '11 min'")
    assert metrics().get("witness_troubles")["silent"] == 2
    assert "mx2" not in found.text and "backup.example" not in found.text


def test_the_brake(pg, metrics):
    assert metrics().get("brake_holds") == 0
    list_networks(pg, "SELECT ('198.51.100.0'::inet + i)::cidr FROM generate_series(1, 40) i", right=False)
    found = metrics(status=1)
    assert (found.get("brake_holds"), found.get("brake_held_networks"), found.get("list_networks")) == (1, 40, 40)
    assert found.get("brake_most_networks") == {"hour": 25, "brake_time": 100}
    assert found.get("brake_came_networks") == {"hour": 0, "brake_time": 0}


def test_a_real_sensor(pg, dns, milter, primaries, postfix, smtp, deliver, metrics):
    """Its histograms have what its counters count, and these what happened."""
    postfix()
    milter(limits={"connections_per_client": 1}, liveness={"startup_grace": "0s"},
           domain={"trap.example": {"role": "trap"}, "backup.example": {"role": "auto"}})
    for number in range(3):
        deliver(f"203.0.113.{number + 1}", "a@trap.example")
    deliver("203.0.113.9", "a@backup.example")
    smtp("203.0.113.20").command("QUIT")
    with smtp("203.0.113.21"):
        assert smtp("203.0.113.21").greeting.startswith("421")

    def told():
        """A heartbeat of when all of it was over: hits are recorded before sessions end, and after."""
        found = metrics()
        return [sum(found.get(name).values()) for name in ("hits_recorded_total", "sessions_total")] == [4, 7] and found
    found = wait_for(told, 40, "hits and sessions in a heartbeat")
    [(identity, name)] = found.get("sensor_up")
    who = {"id": identity, "sensor": name}
    assert found.get("hits_total", **who) == found.get("data_reply_seconds_count", **who) == 4
    assert found.get("hit_to_row_seconds_count", **who) == 4 and 1 <= found.get("batches_total", **who) <= 4
    assert found.get("probe_seconds_count", **who) == sum(found.get("probes_total", **who).values()) > 0
    assert found.get("probes_total", **who)["accepting"] > 0
    assert found.get("sessions_total", **who) == {"hit": 4, "refused": 1, "passed": 0, "empty": 2}
    assert found.get("connections_total", **who) == 7 and found.get("limits_total", **who)["connections_per_client"] == 1
    assert found.get("verdicts_total", **who)["offence"] == 4
    assert 0 < found.get("data_reply_seconds_sum", **who) < 40 and found.get("hit_to_row_seconds_bucket", le="86400", **who) == 4
    assert found.get("spool_oldest_age_seconds", **who) == 0


def test_all_or_nothing(pg, hunnypot):
    pg.query("DROP FUNCTION hunnypot.witness_troubles")
    done = hunnypot("status", "--format", "prometheus", check=False)
    assert (done.returncode, done.stdout) == (3, "") and "witness_troubles" in done.stderr


# What Prometheus and Grafana make of it: monitoring/

RULES, RULES_TEST = TOP / "monitoring/hunnypot.rules.yml", TOP / "monitoring/hunnypot.test.yml"


def test_alerts():
    for words in (("check", "rules", RULES), ("test", "rules", RULES_TEST)):
        done = subprocess.run([PROMTOOL, *words], text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    page, alerts = (TOP / "doc/troubleshooting.md").read_text(), re.findall(r"alert: (\w+)", RULES.read_text())
    symptoms = re.findall(r"^\| (.*?) \|", page, re.M)
    runbooks = re.findall(r"""runbook: ["'](.*)["']$""", RULES.read_text(), re.M)
    assert len(runbooks) == len(alerts) and {book.split(": ", 1)[1] for book in runbooks} <= set(symptoms)
    assert set(alerts) == set(re.findall(r"alertname: (\w+)\n *exp_alerts:\n", RULES_TEST.read_text())), "each is seen to fire"


def queries():
    """All of the alerts and of the dashboard, without Grafana's variables."""
    found = []

    def collect(part):
        if isinstance(part, dict):
            found.extend([part["expr"]] if "expr" in part else [])
            part = list(part.values())
        for inner in part if isinstance(part, list) else ():
            collect(inner)
    dashboard = json.loads((TOP / "monitoring/grafana-dashboard.json").read_text())
    collect(dashboard)
    assert len(found) > 40 and len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    found = [query.replace("$__rate_interval", "1m").replace("$sensor", ".*") for query in found]
    return found + [rule.split("annotations:")[0] for rule in re.findall(r"expr: \|?([^#]*?)\n +(?:for|labels):", RULES.read_text())]


@pytest.fixture
def prometheus(net, tmp_path):
    """Prometheus, which takes figures from a folder that a web server shows."""
    (tmp_path / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}
rule_files: [{RULES}]
scrape_configs:
  - job_name: hunnypot
    metrics_path: /metrics
    static_configs: [targets: ["127.0.0.1:8099"]]
""")
    web = subprocess.Popen(["/usr/bin/python3", "-m", "http.server", "8099", "--bind", "127.0.0.1", "--directory", tmp_path],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = subprocess.Popen([DEBS / "prometheus/usr/bin/prometheus", f"--config.file={tmp_path}/prometheus.yml",
                               f"--storage.tsdb.path={tmp_path}/data", "--web.listen-address=127.0.0.1:9090"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path, **words):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(words)}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it listens, and is not ready
                return None
            pytest.fail(f"{words}: {error.read().decode()}")
        except OSError:
            return None
    yield tmp_path, ask
    for process in (server, web):
        process.terminate()
        process.wait()


def test_dashboard_and_alerts_in_prometheus(ripening, metrics, prometheus):
    """Each query is one, and about what is really told."""
    folder, ask = prometheus
    everything(ripening)
    now = 1e3 * time.time()
    Sensor(ripening.pg, "told").heartbeat(json.dumps({
        **dict.fromkeys(counters_told(), 5), "moments": dict.fromkeys(("sent", "session", "hit", "judging", "oldest"), now),
        "histograms": {name: {"sum_us": 1, "counts": BUCKETS} for name in ("data_reply", "probe", "recorded")}}))
    (folder / "metrics").write_text(metrics().text)
    wait_for(lambda: (ask("query", query="count_over_time(hunnypot_sensors[1m]) > 2") or {}).get("result"), 60, "the third scrape")
    for query in queries():
        names = set(re.findall(r"\bhunnypot_\w+", query))
        assert names
        for name in names:
            # Where a scrape did not come in time, there is none until the next one.
            wait_for(lambda name=name: (ask("query", query=name) or {}).get("result"), 30, f"series {name}")
        ask("query", query=query)
    assert {rule["health"] for group in ask("rules")["groups"] for rule in group["rules"]} == {"ok"}
