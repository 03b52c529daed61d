"""hunnypot export --watch --changes: sets of nftables and ipset are told what changed, and hold what the list holds."""
import ipaddress
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from testbed.base import BUILD, run, wait_for
from testbed.milter import environment
from testbed.offences import list_networks, offend, tick_on
from testbed.postgres import Postgres

DISCARD = ipaddress.ip_network("100::/64"), ipaddress.ip_network("240.0.0.0/4")
NEVER = "50m"  # until then the whole list is not exported a second time, however much happens


def discarded(text):
    network = ipaddress.ip_network(text)
    return any(network.version == part.version and network.subnet_of(part) for part in DISCARD)


class Nftables:
    name = "nftables"
    command, changes = "nft -f {}", "nft -f -"

    def prepare(self):
        pass

    def sets(self):
        """{set: [element]}, and {network: seconds that it has left}."""
        found, left = {}, {}
        for name in ("v4", "v6", "v6net"):
            shown = run("nft", "-j", "list", "set", "inet", "hunnypot", name, check=False).stdout
            shown = json.loads(shown or '{"nftables": [{"set": {}}]}')  # no table
            (elements,) = [item["set"].get("elem", []) for item in shown["nftables"] if "set" in item]
            found[name] = [element["elem"]["val"] if isinstance(element, dict) else element for element in elements]
            for element in elements:
                if isinstance(element, dict):
                    left[element["elem"]["val"]] = element["elem"]["timeout"]
        return found, left

    def networks(self):
        sets = self.sets()[0]
        return {f"{address}/64" if name == "v6net" else str(ipaddress.ip_network(address)) for name in sets for address in sets[name]
                if not discarded(address)}

    def mark(self):
        return [address for address in self.sets()[0]["v6"] if discarded(address)]

    def lose(self):
        run("nft", "delete", "table", "inet", "hunnypot")

    def lose_one(self):
        run("nft", "flush", "set", "inet", "hunnypot", "v4")

    def destroy(self):
        run("nft", "flush", "ruleset")


class Ipset:
    name = "ipset"
    command, changes = "ipset restore < {}", "ipset restore"

    def prepare(self):
        self.lose()
        run("ipset", "create", "hunnypot4", "hash:net", "family", "inet")
        run("ipset", "create", "hunnypot6", "hash:net", "family", "inet6")

    def elements(self):
        saved = run("ipset", "save", "hunnypot4").stdout + run("ipset", "save", "hunnypot6").stdout
        return re.findall(r"^add \S+ (\S+)", saved, re.M)

    def networks(self):
        return {str(ipaddress.ip_network(element)) for element in self.elements() if not discarded(element)}

    def mark(self):
        return [element for element in self.elements() if discarded(element) and ":" in element]

    def lose(self):
        run("ipset", "flush")

    def lose_one(self):
        run("ipset", "flush", "hunnypot4")

    def destroy(self):
        run("ipset", "destroy")


@pytest.fixture(params=[Nftables, Ipset], ids=lambda kind: kind.name)
def consumer(request, net):
    made = request.param()
    made.prepare()
    yield made
    made.destroy()


class Watch:
    def __init__(self, consumer, folder, interval, *words, changes=None):
        self.errors = tempfile.NamedTemporaryFile()
        self.whole, self.told = folder / "whole", folder / "told"
        for path in (self.whole, self.told):
            path.write_text("")
        target = folder / "list"
        # Each run of the commands that goes well leaves a line.
        self.process = subprocess.Popen(
            [BUILD / "hunnypot", "export", consumer.name, "-o", target, "--watch", "--interval", interval,
             "--command", f"{consumer.command.format(target)} && echo >>{self.whole}",
             "--changes", changes or f"{consumer.changes} && echo >>{self.told}", *words],
            stderr=self.errors, env=environment(PGUSER="postgres"))

    def counted(self):
        """How often all was loaded, and how often it was told something."""
        return self.whole.read_text().count("\n"), self.told.read_text().count("\n")

    def said(self):
        return Path(self.errors.name).read_text()

    def end(self):
        self.process.terminate()
        self.process.wait(30)
        assert "Sanitizer" not in self.said(), self.said()


@pytest.fixture
def watch(consumer, pg, tmp_path):
    started = []

    def start(interval=NEVER, *words, **options):
        started.append(Watch(consumer, tmp_path, interval, *words, **options))
        wait_for(lambda: started[-1].whole.read_text() and consumer.mark(), 60, "the first export")
        return started[-1]
    yield start
    for one in started:
        one.end()
        print(one.said())


def wanted(pg):
    return {str(ipaddress.ip_network(network)) for network, in
            pg.query("SELECT network::text FROM set_config('hunnypot.export', 'on', false), hunnypot.firm_listing('', '')")}


def has_all(pg, consumer):
    wait_for(lambda: consumer.networks() == wanted(pg), 60, "the list in the sets")


def test_what_changes_is_told(pg, consumer, watch):
    """Addresses that come and go, and one that goes by the clock alone."""
    offend(pg, "203.0.113.1")
    running = watch()
    assert consumer.networks() == {"203.0.113.1/32"} == wanted(pg)
    (first,) = consumer.mark()
    offend(pg, "203.0.113.2")
    offend(pg, "2001:db8::2")
    wait_for(lambda: consumer.networks() == {"203.0.113.1/32", "203.0.113.2/32", "2001:db8::2/128"}, 60, "both")
    pg.query("SELECT hunnypot.allow_add('203.0.113.1')")
    pg.query("SELECT hunnypot.tick()")
    wait_for(lambda: consumer.networks() == {"203.0.113.2/32", "2001:db8::2/128"}, 60, "the one that is allowed gone")
    assert consumer.mark() != [first]
    pg.query("UPDATE hunnypot.policy SET lasts = '4 seconds', lasts_max = '4 seconds' WHERE class = 'trap'")
    pg.query("SELECT hunnypot.tick()")
    wait_for(lambda: consumer.networks() == set(), 60, "all that ended gone")
    whole, told = running.counted()
    assert whole == 1 and told >= 4 and running.said() == ""


def test_whatever_happens_the_sets_are_the_list(pg, consumer, watch):
    """A /64 that hides its addresses, and shows them again; the brake; classes that are not listed any more."""
    rng = random.Random(12)
    pg.query("UPDATE hunnypot.setting SET value = '3' WHERE name = 'brake_floor'")
    prefixes = [f"2001:db8:0:{number}::" for number in range(3)]
    running = watch()
    for _ in range(60):
        prefix = rng.choice(prefixes)
        client = rng.choice([f"203.0.113.{rng.randrange(40)}", prefix + str(rng.randrange(1, 9))])
        what = rng.randrange(8)
        if what < 5:
            offend(pg, client, rng.choice(["trap", "trap", "backup"]))
        elif what == 5:
            pg.query("SELECT hunnypot.allow_add(%s)", rng.choice([client, prefix + "/64"]))
        elif what == 6:
            pg.query("DELETE FROM hunnypot.allow WHERE network = (SELECT network FROM hunnypot.allow ORDER BY network LIMIT 1)")
        else:
            pg.query(rng.choice(["SELECT hunnypot.brake_release()",
                                 "UPDATE hunnypot.policy SET listed = NOT listed WHERE class = 'backup'"]))
        tick_on(pg)
        if rng.randrange(3) == 0:  # else several together
            has_all(pg, consumer)
    pg.query("SELECT hunnypot.brake_release()")
    has_all(pg, consumer)
    assert len(consumer.mark()) == 1 and running.counted()[0] == 1
    assert "(see: hunnypot brake show)" in running.said()


def test_the_file_follows(pg, consumer, watch, tmp_path):
    offend(pg, "203.0.113.1")
    running = watch("100ms")
    for number in range(2, 5):
        offend(pg, f"203.0.113.{number}")
        has_all(pg, consumer)
        wait_for(lambda: f"203.0.113.{number}" in (tmp_path / "list").read_text(), 60, "the file")
    assert running.counted()[0] == 1 and running.said() == ""


@pytest.mark.parametrize("database", ["there", "gone"])
def test_the_file_that_is_left_says_what_was_told(pg, consumer, watch, tmp_path, database):
    """At boot it is what the sets are filled with."""
    offend(pg, "203.0.113.1")
    running = watch()
    offend(pg, "203.0.113.2")
    has_all(pg, consumer)
    before = (tmp_path / "list").read_text()
    assert "203.0.113.1" in before and "203.0.113.2" not in before
    if database == "gone":
        pg.stop()
    running.end()
    assert running.process.returncode == 0
    if database == "gone":
        assert (tmp_path / "list").read_text() == before and "list.new" not in os.listdir(tmp_path)
        pg.start()
    else:
        assert "203.0.113.2" in (tmp_path / "list").read_text() and running.said() == ""


def test_the_file_follows_after_it_could_not_be_written(pg, consumer, watch, tmp_path):
    running = watch("100ms")
    (tmp_path / "list.new").mkdir()
    offend(pg, "203.0.113.1")
    has_all(pg, consumer)
    wait_for(lambda: "list.new" in running.said(), 60, "what failed")
    (tmp_path / "list.new").rmdir()
    wait_for(lambda: "203.0.113.1" in (tmp_path / "list").read_text(), 60, "the file")
    assert running.counted()[0] == 1


def test_sets_that_are_not_as_they_were_are_loaded_anew(pg, consumer, watch, tmp_path):
    """Emptied, all or one of them; and as an older file has them."""
    offend(pg, "203.0.113.1")
    running = watch("100ms")
    older = (tmp_path / "list").read_text()

    def load_older():
        (tmp_path / "older").write_text(older)
        run("sh", "-c", consumer.command.format(tmp_path / "older"))
    for number, spoil in enumerate((consumer.lose, load_older, consumer.lose_one), 2):
        spoil()
        offend(pg, f"203.0.113.{number}")
        has_all(pg, consumer)
        wait_for(lambda: len(consumer.mark()) == 1, 60, "a mark")
        assert running.counted()[0] == number
        assert "exit status 1" in running.said()


@pytest.mark.parametrize("consumer", [Nftables], ids=["nftables"], indirect=True)  # one of them, as it takes half a minute
def test_sets_that_are_lost_are_loaded_though_nothing_changes(pg, consumer, watch):
    offend(pg, "203.0.113.1")
    running = watch("100ms")
    consumer.lose_one()
    wait_for(lambda: running.counted()[0] == 2, 90, "the whole list")
    has_all(pg, consumer)


def test_with_a_network_that_is_no_client_s_it_is_the_whole_list(pg, consumer, watch):
    """By hand only: what is in it may be listed by itself, and go."""
    offend(pg, "203.0.113.1")
    running = watch("100ms")
    list_networks(pg, "VALUES (cidr '203.0.113.64/28'), ('203.0.113.66/32')")
    wait_for(lambda: running.counted()[0] == 2, 60, "the whole list")
    pg.query("DELETE FROM hunnypot.offence_day WHERE network = '203.0.113.66'; SELECT hunnypot.rebuild()")
    tick_on(pg)
    wait_for(lambda: running.counted()[0] >= 3, 60, "the whole list")
    assert any(network.startswith("203.0.113.66/") or network == "203.0.113.64/28" for network in consumer.networks())


def test_a_command_that_takes_no_changes_has_the_whole_list(pg, consumer, watch):
    offend(pg, "203.0.113.1")
    running = watch("100ms", changes=f"{consumer.changes} || exit 3")
    consumer.lose()
    for number in range(2, 4):
        offend(pg, f"203.0.113.{number}")
        has_all(pg, consumer)
    running.process.terminate()
    running.process.wait(30)
    broken = Watch(consumer, running.whole.parent, "100ms", changes="cat >/dev/null; exit 3")
    wait_for(lambda: broken.counted()[0] >= 1, 60, "the first export")
    for number in range(4, 7):
        offend(pg, f"203.0.113.{number}")
        has_all(pg, consumer)
    broken.end()
    assert "exit status 3" in broken.said()


def test_after_another_database_it_is_the_whole_list(pg, consumer, watch):
    offend(pg, "203.0.113.1")
    running = watch("100ms")
    pg.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hunnypot%' AND pid <> pg_backend_pid()")
    offend(pg, "203.0.113.2")
    has_all(pg, consumer)
    wait_for(lambda: running.counted()[0] == 2, 60, "the whole list")


@pytest.mark.parametrize("how", ["connection", "query"])
def test_what_was_told_is_taken_back_when_the_mark_is_lost(pg, consumer, watch, how):
    """The list is again as the file has it, but not the sets: they were told."""
    running = watch({"connection": NEVER, "query": "5s"}[how])  # in which the file is not brought up to date
    offend(pg, "203.0.113.1")
    has_all(pg, consumer)
    os.kill(running.process.pid, signal.SIGSTOP)
    if how == "connection":
        pg.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hunnypot%' AND pid <> pg_backend_pid()")
    else:
        pg.query("ALTER FUNCTION hunnypot.changed_networks RENAME TO elsewhere")
    pg.query("SELECT hunnypot.allow_add('203.0.113.1')")
    os.kill(running.process.pid, signal.SIGCONT)
    wait_for(running.said, 60, "what failed")
    if how == "query":
        pg.query("ALTER FUNCTION hunnypot.elsewhere RENAME TO changed_networks")
        pg.query("NOTIFY hunnypot_listing")
    wait_for(lambda: consumer.networks() == set() and len(consumer.mark()) == 1, 60, "nobody in the sets")
    assert running.counted()[0] == 2


def changed(pg, mark, *at_most):
    ((networks,),) = pg.query("SELECT hunnypot.changed_networks(" + ", ".join(["%s"] * (1 + len(at_most))) + ")::text[]", mark, *at_most)
    return None if networks is None else set(networks)


def test_when_it_is_not_known_what_changed(pg):
    """Another database, an older one, one that has forgotten; a clock that went back; and more than is told."""
    offend(pg, "203.0.113.1")
    ((mark,),) = pg.query("SELECT hunnypot.list_mark()")
    offend(pg, "203.0.113.2")
    assert changed(pg, mark) == {"203.0.113.2/32"}
    assert changed(pg, mark, 1) == {"203.0.113.2/32"} and changed(pg, mark, 0) is None
    place, serial, moment, held = mark.split(" ")
    for other in (f"x{mark}", f"{place} {int(serial) + 1000} {moment} {held}", f"{place} {serial} {int(moment) + 10 ** 12} {held}",
                  mark + " 1", "", "nonsense"):
        assert changed(pg, other) is None, other
    list_networks(pg, "SELECT ('198.51.100.0'::inet + i)::cidr FROM generate_series(0, 99) i")
    assert len(changed(pg, mark)) == 101 and changed(pg, mark, 100) is None
    pg.query("UPDATE hunnypot.change SET forgotten = %s", int(serial) + 1)
    assert changed(pg, mark) is None
    pg.query("ALTER FUNCTION hunnypot.list_mark(text) COST 101")
    ((again,),) = pg.query("SELECT hunnypot.list_mark()")
    assert changed(pg, again) == set()


def test_a_format_that_has_no_changes(pg, hunnypot, tmp_path):
    for words, why in ((["plain", "--watch", "--command", "true"], r'plain\.sql says nothing of changes: there is no line "-- changes:"'),
                       (["nftables", "--command", "true"], "--changes needs --watch and --command"),
                       (["nftables", "--watch"], "--changes needs --watch and --command")):
        done = hunnypot("export", *words, "-o", tmp_path / "list", "--changes", "true", check=False)
        assert done.returncode == 64 and re.search(why, done.stderr), done


def test_what_goes_on_by_the_clock_while_no_tick_comes_by(pg, consumer, watch):
    """It is told to come again, then refused for good, then not listed: what is due stays due from the first on."""
    pg.query("UPDATE hunnypot.policy SET firm_after = '5 seconds', inferred_code = '450 4.7.1', lasts = '20 seconds', lasts_max = '20 seconds'"
             " WHERE class = 'trap'")
    pg.query("SELECT hunnypot.tick()")
    list_networks(pg, "SELECT '203.0.113.1'::cidr")
    assert pg.query("SELECT due = soft_until FROM hunnypot.listed_network") == [(True,)]
    running = watch()
    wait_for(lambda: consumer.networks() == {"203.0.113.1/32"}, 60, "the one that is refused for good")
    wait_for(lambda: consumer.networks() == set(), 60, "the one that ended gone")
    assert running.counted()[0] == 1


def test_what_the_writer_s_clock_says_has_begun(pg, consumer, watch):
    """Its transaction began after the reader's, or on another host, as a standby's primary does."""
    running = watch()
    offend(pg, "203.0.113.1")
    has_all(pg, consumer)
    ((serial,),) = pg.query("SELECT nextval('hunnypot.listed_serial')")
    pg.query("""INSERT INTO hunnypot.listed_network (network, class, since, until, witnessed, soft_until, hits, domains, last_seen, due, serial,
                    entered)
                SELECT '203.0.113.2', class, now() + interval '6 seconds', until, witnessed, soft_until, hits, domains, last_seen, until, %s, %s
                FROM hunnypot.listed_network""", serial, serial)
    pg.query("NOTIFY hunnypot_listing")
    wait_for(lambda: consumer.networks() == {"203.0.113.1/32", "203.0.113.2/32"}, 60, "both")
    assert running.counted()[0] == 1


def test_the_mark_of_another_timeline(pg):
    """A standby that was promoted without the last changes of the first server makes others of the same numbers."""
    standby = Postgres("standby", 5433, like=pg)
    try:
        standby.start()
        ((before,),) = standby.query("SELECT hunnypot.list_mark()")
        assert standby.query("SELECT pg_promote()") == [(True,)]
        ((after,),) = standby.query("SELECT hunnypot.list_mark()")
        assert before.split(" ")[0] != after.split(" ")[0]
        assert changed(standby, before) is None and changed(standby, after) == set()
        standby.query("CHECKPOINT")
        assert changed(standby, after) == set()
    finally:
        standby.stop()
        shutil.rmtree(standby.folder)
