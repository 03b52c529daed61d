"""hunnypot list, where there is much of it: at a terminal, and the newest."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cli_data import Sensor
from testbed.base import BUILD, TOP
from testbed.milter import environment
from testbed.offences import list_networks
from testbed.terminal import Terminal


BUILDS = ("tests", "quickstart")
ROWS = int(os.environ.get("HUNNYPOT_ROWS", 60000))
MORE_KB = 1024  # what may differ by chance


def at_terminal(*words, **env):
    return Terminal([BUILD / "hunnypot", "list", *words], environment(PGUSER="postgres", **env)).end()


@pytest.fixture
def many(pg):
    list_networks(pg, "SELECT network(set_masklen('198.18.0.0'::inet + i, 32)) FROM generate_series(1, 1500) i")
    return pg


def test_a_terminal_gets_the_newest_in_a_pager(many):
    status, said = at_terminal(PAGER="sed 's/^/paged /'")
    *lines, empty, last = said.splitlines()
    assert status == 0 and len(lines) == 1001 and all(line.startswith("paged ") for line in [*lines, empty, last])
    assert last.startswith("paged These are the 1000 newest") and last.endswith("All: --limit 0.")
    many.query("ANALYZE hunnypot.offence_day")
    assert "in about 1500 records of days" in at_terminal(PAGER="tail -n 1")[1]
    # All, and a pager that is left early, or is not wanted.
    status, said = at_terminal("--limit", "0", PAGER="cat")
    assert status == 0 and len(said.splitlines()) == 1501
    assert at_terminal(PAGER="head -n 3") == (0, "".join(f"{line}\n" for line in said.splitlines()[:3]))
    status, said = at_terminal("--limit", "2", PAGER="")
    assert status == 0 and len(said.splitlines()) == 5 and "These are the 2 newest" in said
    assert "newest" not in at_terminal("--network", "198.18.0.1", PAGER="")[1]
    # A program wants all, and no words.
    status, said = at_terminal("--format", "json", PAGER="sed 's/^/paged /'")
    assert status == 0 and len(json.loads(said)) == 1500


def memory_of(*words):
    """Of the program as it is installed: how many lines it prints, and the most memory that it had before the last few, in kB."""
    most, lines = 0, 0
    with subprocess.Popen([TOP / "build/quickstart/hunnypot", *words], env=environment(PGUSER="postgres"),
                          stdout=subprocess.PIPE) as program:
        for _ in program.stdout:
            # What has ended has none: it is some lines ahead of us.
            if lines % 1000 == 0 and (found := re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{program.pid}/status").read_text(), re.M)):
                most = int(found[1])
            lines += 1
    assert program.returncode == 0
    return lines, most


def test_all_of_it_takes_no_more_memory_than_the_first(pg):
    """HUNNYPOT_ROWS=1000000 ./runtests test_list does more."""
    pg.query("""INSERT INTO hunnypot.offence_day (network, class, domain, day, named, witnessed, while_listed, owner, hits,
                                                  first_seen, last_seen, counted)
        SELECT network(set_masklen('10.0.0.0'::inet + i, 32)), 'trap', 'trap.example', (now() AT TIME ZONE 'UTC')::date, false, true,
               false, 'trap.example', 1, now(), now(), now() FROM generate_series(1, %s) i""", ROWS)
    for output in ("table", "json", "csv"):
        _, few = memory_of("list", "--limit", "5000", "--format", output)
        lines, all_of_it = memory_of("list", "--format", output)
        print(f"{output}: {few} kB, {lines} lines {all_of_it} kB")
        assert lines >= ROWS and all_of_it < few + MORE_KB, f"{output}: {few} kB for 5000, {all_of_it} kB for all"


@pytest.mark.parametrize("words", [[], ["--class", "trap"], ["--domain", "b.example"], ["--network", "203.0.113.0/24"],
                                   ["--since", "90m"], ["--class", "backup", "--since", "90m", "--network", "2001:db8::/32"],
                                   ["--min-hits", "2"]], ids=" ".join)
def test_the_newest_are_the_first_of_all(pg_plain, hunnypot_json, words):
    """Also where the newest hits are all of one client."""
    sensor = Sensor(pg_plain)
    sensor.record(*[{"client": f"203.0.113.{i % 7}", "domain": f"{'abc'[i % 3]}.example", "class": ("backup", "trap")[i % 2],
                     "ago": f"{i + 1} min"} for i in range(120)],
                  *[{"client": "2001:db8:c::1", "ago": "30 s"}] * 200)
    whole = hunnypot_json("list", *words)
    assert whole
    for limit in (1, 2, 9, 1000):
        assert hunnypot_json("list", "--limit", str(limit), *words) == whole[:limit]


def test_a_limit_is_a_number(net, hunnypot):
    assert hunnypot("list", "--limit", "many", check=False).returncode == 64


@pytest.mark.parametrize("recorded, asked", [
    ("old.example.com", ["Old.Example.com", "OLD.EXAMPLE.COM."]),
    ("xn--bcher-kva.example", ["b\u00fccher.example", "B\u00fccher.Example.", "bu\u0308cher.example", "XN--BCHER-KVA.example"]),
    ("xn--strae-oqa.example", ["stra\u00dfe.example", "xn--strae-oqa.example"]),
    # Names of the rules of 2003, which are in use.
    ("xn--n3h.example", ["xn--n3h.example", "Xn--N3H.Example"]),
    ("strasse.example", ["strasse.example"]),
])
def test_a_domain_in_any_spelling(pg, hunnypot_json, recorded, asked):
    Sensor(pg).record({"domain": recorded}, {"domain": "other.example"})
    for name in asked:
        assert [row["domain"] for row in hunnypot_json("list", "--domain", name)] == [recorded], name
