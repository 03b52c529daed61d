"""Figures for monitoring: they are the database's, Prometheus takes them, and no sensor can spoil them."""
import json
import re
import subprocess

import pytest

from cli_data import Sensor
from test_report import everything, ripening  # noqa: F401, a fixture
from test_ripening import HOUR
from testbed.base import DEBS, TOP
from testbed.offences import list_networks

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
EVIL = [7, "x", None, [], {}, [[]], -1, 1e300, 0.5, 2 ** 64, HOSTILE, {"sum_us": "x", "counts": [1]}, {HOSTILE: {HOSTILE: HOSTILE}}]


def test_whatever_sensors_tell(pg, metrics):
    """No line is broken, nothing is a series that a sensor made up, and the others' figures are there."""
    Sensor(pg, "honest").heartbeat()
    names = ["hits", "sessions", "offence", "probes", "moments", "hosts", "histograms"]
    before = {name for name, _ in metrics().values}
    for number, evil in enumerate(EVIL):
        Sensor(pg, f"{HOSTILE}{number}").heartbeat(json.dumps({HOSTILE: evil, **dict.fromkeys(names, evil)}))
    for whole in ("[]", "7", "null", '"x"', json.dumps({f"k{n}": n for n in range(1000)})):
        Sensor(pg, whole[:20]).heartbeat(whole)
    found = metrics()
    assert {name for name, _ in found.values} <= before | {f"hunnypot_{name}" for name in (
        "connections_total", "verdicts_total", "probes_total")}
    assert found.text.isascii() and "owned" not in re.sub(r'sensor="[^"]*"', "", found.text)
    assert found.get("hits_total", sensor="honest") == {"1": 3}
    assert all(0 <= value < 2 ** 64 for value in found.get("hits_total").values())


def test_every_counter_has_its_metric(pg, metrics):
    """Also one that is new; each by itself."""
    names = re.findall(r'^    X\([A-Z_]+, "(\w+)"', (TOP / "src/base/counter.h").read_text(), re.M)
    names += [name for name, counts in re.findall(r'X\(ARGUMENT, \w+, "(\w+)", \d+, (\w+)', (TOP / "src/base/words.h").read_text())
              if counts == "FINAL"]
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


def test_all_or_nothing(pg, hunnypot):
    pg.query("DROP FUNCTION hunnypot.witness_troubles")
    done = hunnypot("status", "--format", "prometheus", check=False)
    assert (done.returncode, done.stdout) == (3, "") and "witness_troubles" in done.stderr
