"""hunnypot check: each thing is broken as it breaks in the world, and its line is expected."""
import json
import os
import re
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from cli_data import Sensor
from testbed.base import run, wait_for
from testbed.milter import SOCKET, environment, hunnypot
from testbed.offences import list_networks
from testbed.postfix import PREFIX, changed, shipped_services

NAMES = {"ok": 0, "warning": 1, "problem": 2, "unknown": 3}
RANKS = ["ok", "unknown", "warning", "problem"]


def check(milter, *words, postfix=None, sendmail=None, zone="UTC", **options):
    """The findings, as (level, check) to "finding; cure"; the exit status is that of the worst."""
    env = environment(PGTZ=zone)
    if postfix:
        env.update(postfix.environment, PATH=f"{PREFIX}/usr/sbin:{os.environ['PATH']}", PGUSER="postgres")
    words = ["check", "--config", milter.conf, *words, "--sendmail-cf", sendmail.etc / "sendmail.cf" if sendmail else "/none"]
    table = hunnypot(*words, check=False, env=env, **options)
    assert table.stderr == ""
    done = hunnypot(*words, "--format", "json", check=False, env=env, **options)
    found = json.loads(done.stdout)
    assert done.returncode == NAMES[max((one["level"] for one in found), key=RANKS.index)]
    lines = table.stdout.splitlines()
    assert [re.match(r"(\w+) +([\w' ]+): ", line).groups() for line in lines] == [(o["level"], o["check"]) for o in found]
    assert all(one["cure"] for one in found if one["level"] != "ok")
    return {(one["level"], one["check"]): f"{one['finding']}; {one['cure']}" for one in found}


def bad(found):
    return {key: text for key, text in found.items() if key[0] != "ok"}


def alive(pg, milter):
    """With its first heartbeat, which also makes today's partition."""
    wait_for(lambda: pg.query("SELECT 1 FROM hunnypot.sensor WHERE counters IS NOT NULL"), what="heartbeat")
    return milter


def test_all_is_well(pg, dns, milter, postfix, deliver, primaries):
    server = postfix()
    sensor = alive(pg, milter())
    deliver("203.0.113.7", "a@trap.example")
    pg.query("""UPDATE hunnypot.sensor SET counters = '{"sessions": 1}'""")  # as the next heartbeat will have it
    found = check(sensor, "trap.example", "backup.example", postfix=server)
    assert not bad(found), found
    assert {name for level, name in found if level == "ok"} >= {
        "settings", "socket", "spool", "mail server", "mail server's user", "role", "relay domains", "database", "schema"}


@pytest.mark.parametrize("text, line", [
    ("sokcet = 1\n", r"conf:1: sokcet: no such setting; the closest is socket; "),
    ('\nliveness { verdict_timeout = "1s" }\n', r"conf:2: .*contradicts.*; "),
    (None, r"conf: cannot be read: No such file or directory; "),
])
def test_settings(net, tmp_path, text, line):
    milter = type("Settings", (), {"conf": tmp_path / "conf"})
    if text:
        milter.conf.write_text(text)
    found = check(milter)
    assert re.search(line, found["problem", "settings"]), found


def test_settings_that_the_caller_may_not_read(net, tmp_path):
    milter = type("Settings", (), {"conf": tmp_path / "conf"})
    milter.conf.write_text("")
    milter.conf.chmod(0o600)
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o055)
    found = check(milter, preexec_fn=lambda: os.setuid(65534))
    assert list(found) == [("unknown", "settings")] and "run this as root" in found["unknown", "settings"]


def test_the_socket(pg, dns, milter, postfix):
    server = postfix()
    sensor = alive(pg, milter())
    os.chown(SOCKET, 0, 0)
    found = check(sensor, postfix=server)
    assert "not open to the group postfix" in found["problem", "socket group"]
    assert "the user postfix does not reach" in found["problem", "mail server's user"]
    sensor.kill()
    assert "nobody listens" in check(sensor, postfix=server)["problem", "socket"]
    Path(SOCKET).unlink()
    found = check(sensor, postfix=server)
    assert "No such file" in found["problem", "socket"]
    assert "systemctl start hunnypot-milter" in found["problem", "socket"]
    Path(SOCKET).write_text("")
    assert "is no socket" in check(sensor, postfix=server)["problem", "socket"]
    sensor.configure(socket_group="no-such-group", user="no-such-user")
    found = check(sensor, postfix=server)
    assert "there is no group no-such-group" in found["problem", "socket group"]
    assert "there is no user no-such-user" in found["problem", "user"]


TRAP = shipped_services()[0]


SERVICES = [
    (changed(TRAP, chroot="y"), ("problem", "mail server's user"), "chroot"),
    (changed(TRAP, without=["smtpd_milters"]), ("problem", "mail server"), "no smtpd has unix:"),
    (changed(TRAP, without=["milter_default_action"], more=["milter_default_action=accept"]), ("problem", "default action"),
     '"accept"'),
    (changed(TRAP, without=["milter_command_timeout"], more=["milter_command_timeout=1s"]), ("warning", "timeouts"),
     "only 1000 ms"),
    (changed(TRAP, without=["milter_command_timeout"], more=["milter_command_timeout=300s"]), ("warning", "timeouts"),
     "waits 300 s"),
    (changed(TRAP, without=["smtpd_client_restrictions"], more=["smtpd_client_restrictions=reject_unknown_client_hostname"]),
     ("warning", "early refusals"), "smtpd_client_restrictions"),
    (changed(TRAP, without=["smtpd_forbid_unauth_pipelining"], more=["smtpd_forbid_unauth_pipelining=yes"]),
     ("warning", "early refusals"), "smtpd_forbid_unauth_pipelining"),
    (changed(TRAP, without=["smtpd_milters"], more=["smtpd_milters=inet:127.0.0.1:1,unix:/run/hunnypot/milter.sock"]),
     ("warning", "early refusals"), "asks other milters"),
    (changed(TRAP).replace(" 20 smtpd", " 5 smtpd"), ("warning", "limits"), "lets 5 clients in at once, and limits.connections is 20"),
    (changed(TRAP, without=["smtpd_client_connection_count_limit"], more=["smtpd_client_connection_count_limit=1"]),
     ("warning", "limits"), "lets a client have 1 connections"),
    (changed(TRAP, without=["smtpd_timeout"], more=["smtpd_timeout=300s"]), ("warning", "limits"),
     "holds a place 300 s for a client that says nothing, and limits.idle is 30 s"),
    (changed(TRAP).replace("smtp      inet", "smtpd pass").replace("smtp inet", "smtpd pass")
     + "\nsmtp inet n - n - 1 postscreen", ("warning", "early refusals"), "postscreen (smtp/inet) stands before"),
]


def test_postfix(pg, dns, milter, postfix):
    """postconf reads what is in the files; the server itself need not run with it."""
    server = postfix(trap=False)
    sensor = alive(pg, milter())
    for service, key, line in SERVICES:
        (server.etc / "master.cf").write_text("\n".join([service, *shipped_services()[1:]]) + "\n")
        found = check(sensor, postfix=server)
        assert line in found.get(key, ""), (service, found)


def test_domains_of_postfix(pg, dns, milter, postfix):
    server = postfix(main={"hunnypot_domains": "backup.example", "mydestination": "own.example"})
    sensor = alive(pg, milter())
    found = check(sensor, "trap.example", postfix=server)
    assert "trap.example is not among the relay domains" in found["problem", "relay domains"]
    found = check(sensor, "own.example", postfix=server)
    assert "own.example is delivered by this host" in found["problem", "relay domains"]
    assert ("ok", "relay domains") in check(sensor, "sub.backup.example", postfix=server)


def test_sendmail(pg, dns, milter, sendmail):
    server = sendmail()
    sensor = alive(pg, milter())
    shipped = (server.etc / "sendmail.cf").read_text()

    def broken(was, instead):
        assert was in shipped
        (server.etc / "sendmail.cf").write_text(shipped.replace(was, instead))
        return check(sensor, sendmail=server)
    found = broken("", "")
    assert ("ok", "mail server") in found and not {name for _, name in bad(found)} & {"timeouts", "limits", "early refusals"}
    assert "InputMailFilters" in broken("InputMailFilters=hunnypot", "Input=x")["problem", "mail server"]
    assert '"accept"' in broken("F=T,", "")["problem", "default action"]
    assert "only 1000 ms" in broken("R:10s", "R:1s")["warning", "timeouts"]
    assert "lets 7 clients in" in broken("MaxDaemonChildren=20", "MaxDaemonChildren=7")["warning", "limits"]
    assert "have 1 connections" in broken("hunnypot_count l $@ 3", "hunnypot_count l $@ 1")["warning", "limits"]
    assert "a place 3600 s" in broken("Timeout.command=30s", "Timeout.command=1h")["warning", "limits"]
    found = broken("Scheck_eom\n", "Sgreet_pause\nR$*\t\t$# 5000\n\nScheck_eom\n")
    assert "greet_pause" in found["warning", "early refusals"]


def test_domains_in_dns(pg, dns, milter):
    sensor = alive(pg, milter())
    found = check(sensor, "other.example", "none.invalid")
    assert "none.invalid does not exist" in found["warning", "dns"]
    dns.add("other.example. MX 10 mx9.other.example.", "mx9.other.example. A 198.51.100.9")
    assert "this host is nothing to other.example" in check(sensor, "other.example")["problem", "role"]
    sensor.configure(trap_host={"addresses": ["198.51.100.77"]})
    assert "none of our addresses" in check(sensor, "trap.example")["warning", "role"]
    sensor.configure(trap_host=None)
    dns.stop()
    assert "no name server answers" in check(sensor, "trap.example")["problem", "dns"]


@pytest.mark.parametrize("records, level, line", [
    (["2.0.0.127.white.example. A 127.0.0.10"], "ok", "white.example, a list of friends, answers; None"),
    (["*.white.example. A 127.0.0.10"], "problem", "white.example has 127.0.0.1, and so everybody; take it out of friends.zones"),
    (["*.white.example. A 198.51.100.80"], "problem", "white.example gives no answer of a list; "),
    (["*.white.example. A 127.0.0.255"], "problem", "white.example gives no answer of a list; "),
    (["7.113.0.203.white.example. A 127.0.0.10"], "warning", "white.example has not even 127.0.0.2, which each list must have; "),
], ids=["well", "everybody", "another owner", "asked too much", "nobody"])
def test_lists_of_friends(net, dns, milter, pg, records, level, line):
    dns.add(*records)
    found = check(alive(pg, milter(friends={"zones": ["white.example"]})), "trap.example")
    assert [text for key, text in found.items() if key[1] == "friends"][0].startswith(line), found
    assert (level, "friends") in found


def test_a_list_of_friends_that_does_not_answer(dns, milter, pg, lying_dns):
    lying_dns(lambda query, transport: None)
    sensor = milter(friends={"zones": ["white.example"]}, dns={"nameservers": ["127.0.0.2"], "timeout": "1s", "attempts": 1})
    assert check(alive(pg, sensor))["problem", "friends"].startswith("white.example gives no answer of a list; ")


def test_probes_are_made_only_when_asked_for(pg, dns, milter, primaries):
    sensor = alive(pg, milter())
    before = primaries.backup.connections
    assert not [name for _, name in check(sensor, "backup.example") if name == "primaries"]
    assert primaries.backup.connections == before
    assert "takes mail: 220 " in check(sensor, "backup.example", "--probe")["ok", "primaries"]
    primaries.backup.set("defer")
    primaries.backup6.set("defer")
    assert "is deferring: 4" in check(sensor, "backup.example", "--probe")["warning", "primaries"]
    # One that is silent, in one family, and then all.
    primaries.backup.set("accept")
    primaries.backup6.set("refuse")
    found = check(sensor, "backup.example", "--probe")
    assert "mx1.backup.example [2001:db8:100::1], a primary of backup.example, is down" in found["warning", "primaries"]
    assert "mx1.backup.example [198.51.100.1]" in found["ok", "primaries"] and ("problem", "primaries") not in found
    primaries.backup.set("refuse")
    found = check(sensor, "backup.example", "--probe")
    assert "outgoing port 25 may be blocked" in found["problem", "primaries"]
    dns.add("bare.example. MX 5 bare.example.", "bare.example. MX 20 mx2.example.org.")
    assert "bare.example, an MX of bare.example, has no address" in check(sensor, "bare.example")["warning", "primaries"]


def test_the_database(pg, dns, milter):
    sensor = alive(pg, milter())

    def found():
        return check(sensor)
    sensor.stop()
    pg.query("""UPDATE hunnypot.sensor SET counters = '{"sessions": 0}'""")
    assert "no session came from the mail server" in found()["warning", "sensor"]
    pg.query("UPDATE hunnypot.sensor SET aside = 3, outbox = 1000000")
    assert "3 hits are set aside" in found()["warning", "sensor"]
    assert "the spool is full, and hits are lost: 1000000 of 1000000" in found()["problem", "sensor"]
    pg.query("UPDATE hunnypot.sensor SET aside = 0, outbox = 0")
    pg.query("UPDATE hunnypot.sensor SET last_seen = now() - interval '1 hour'")
    assert "is silent for 36" in found()["problem", "sensor"]
    pg.query("INSERT INTO hunnypot.schema_version VALUES (99)")
    assert "version 99, newer" in found()["warning", "schema"]
    pg.query("DELETE FROM hunnypot.schema_version WHERE version > 2")
    assert "hunnypot db upgrade" in found()["problem", "schema"]
    pg.query("INSERT INTO hunnypot.schema_version VALUES (3), (4), (5)")
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):  # in one of them it is another day; partitions are of UTC's
        assert ("warning", "partition") not in check(sensor, zone=zone)
    [[today]] = pg.query("SELECT 'hit_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
    pg.query(f"DROP TABLE hunnypot.{today}")
    assert "no partition for today" in found()["warning", "partition"]
    pg.query("DELETE FROM hunnypot.spool")
    pg.query("DELETE FROM hunnypot.sensor")
    assert "never heard of the sensor" in found()["problem", "sensor"]
    pg.query("INSERT INTO hunnypot.witness (mx, machine, version, keys, match, last_seen)"
             " VALUES ('mx1.backup.example', 'm', '1', '{}', 'envelope', now() - interval '1 day')")
    assert "mx1.backup.example (m)" in found()["warning", "witnesses"]
    list_networks(pg, "SELECT ('203.0.113.0'::inet + i)::cidr FROM generate_series(1, 40) i", right=False)
    assert "the brake holds 40 networks back from exports" in found()["warning", "brake"]
    pg.query("SELECT hunnypot.brake_release()")
    assert ("warning", "brake") not in found()
    pg.query("""INSERT INTO hunnypot.request (network, address, asker, listed, entered, proof, code, state, asked)
        SELECT a, a, a, '', 0, 'name', '', s, now() - interval '2 hours'
        FROM (VALUES (cidr '203.0.113.1', 'waiting'), ('203.0.113.2', 'unproven')) v (a, s)""")
    assert "TXT records" in found()["warning", "requests"]
    pg.query("UPDATE hunnypot.request SET state = 'waiting'")
    assert found()["warning", "requests"].startswith("2 requests to be taken off the list wait for a person")
    sensor.configure(database="user=witness")
    assert "may not record" in found()["problem", "rights"]
    sensor.configure(database="user=nobody-of-this-name")
    assert "does not exist" in found()["problem", "database"]
    sensor.configure(database="")
    assert "name no database" in found()["warning", "database"]
    sensor.configure(database="user=sensor")
    pg.query("DROP SCHEMA hunnypot CASCADE")
    assert "hunnypot db init" in found()["problem", "schema"]
    pg.stop("immediate")
    assert "start the server" in found()["problem", "database"]
    pg.start()
    sensor.start()  # the fixture stops it again


WITNESSES = [
    ("UPDATE hunnypot.witness SET last_seen = now() - interval '11 minutes' WHERE mx = 'mx1.backup.example'",
     r"the witness mx1\.backup\.example \(m\) is silent since 20.*; start it"),
    ("UPDATE hunnypot.witness_stretch SET until = now() - interval '3 hours'", r"mx1\.backup\.example \(m\) is behind: .*20"),
    ("DELETE FROM hunnypot.witness_stretch; UPDATE hunnypot.witness SET first_seen = now() - interval '3 hours'",
     r"\(m\) has watched nothing yet"),
    ("UPDATE hunnypot.witness_probe SET time = time - interval '2 minutes'", "are blind: 1 of 1 probes .*gaps"),
    ("UPDATE hunnypot.witness SET keys = '{other}'", r"\(m\) has another key than this database: other; copy"),
    ("UPDATE hunnypot.witness SET mx = 'mx3.backup.example'", r"mx1\.backup\.example has no witness, and others have"),
]


def test_witnesses(pg, dns, milter):
    """What one does is written as it would be told; the real one is in test_witness."""
    sensor = alive(pg, milter())
    Sensor(pg, name="mx2.example.org").record({"primaries": ["mx1.backup.example"], "key_id": "ours", "envelope": "\\x" + "00" * 48,
                                               "envelope_whole": True})
    for breaking, line in [("SELECT", None), *WITNESSES]:
        pg.query("DELETE FROM hunnypot.witness; DELETE FROM hunnypot.probe; DELETE FROM hunnypot.envelope_key")
        pg.query("""INSERT INTO hunnypot.envelope_key VALUES ('ours');
            INSERT INTO hunnypot.witness (mx, machine, version, keys, match, logs_probes)
                VALUES ('mx1.backup.example', 'm', '1', '{ours}', 'envelope', true);
            INSERT INTO hunnypot.witness_stretch SELECT witness_id, now() - interval '1 day', now(), keys FROM hunnypot.witness;
            INSERT INTO hunnypot.probe VALUES ('mx1.backup.example', now() - interval '10 minutes', '192.0.2.1');
            INSERT INTO hunnypot.witness_probe SELECT witness_id, now() - interval '10 minutes', '192.0.2.1' FROM hunnypot.witness""")
        pg.query(breaking)
        found = check(sensor).get(("warning", "witnesses"))
        assert found is None if line is None else re.search(line, found), (breaking, found)


def test_a_server_that_is_too_old(pg, dns, milter):
    """None is in Debian 12: this one says, to who asks as the daemon, that it is."""
    sensor = alive(pg, milter())
    pg.query("""CREATE SCHEMA old; GRANT USAGE ON SCHEMA old TO PUBLIC; CREATE FUNCTION old.current_setting(text) RETURNS text
        LANGUAGE sql AS $$ SELECT CASE $1 WHEN 'server_version_num' THEN '130014' ELSE pg_catalog.current_setting($1) END $$""")
    pg.query("ALTER ROLE sensor SET search_path = old, pg_catalog")
    pg.query("ALTER ROLE postgres IN DATABASE hunnypot SET search_path = old, pg_catalog")
    try:
        assert "PostgreSQL 13 is too old, 14 is needed; upgrade" in check(sensor)["problem", "server version"]
        done = hunnypot("db", "init", check=False)
        assert done.returncode == 1 and done.stderr == "hunnypot: this server is PostgreSQL 13; 14 or later is needed\n"
    finally:
        pg.query("ALTER ROLE sensor RESET search_path; ALTER ROLE postgres IN DATABASE hunnypot RESET search_path")
        pg.query("DROP SCHEMA old CASCADE")


def check_at(sensor, time_off):
    """What is said by `hunnypot check` in the real time that is off by so much, for this command alone."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return run("env", f"LD_PRELOAD={library}", f"FAKETIME={time_off}", "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0",
               "NO_FAKE_STAT=1", *[f"{name}={value}" for name, value in environment().items() if name != "ASAN_OPTIONS"],
               os.path.join(os.environ["HUNNYPOT_BUILD"], "hunnypot"), "check", "--config", sensor.conf, check=False).stdout


def test_the_clock(pg, dns, milter):
    sensor = alive(pg, milter())
    before = time.clock_gettime(time.CLOCK_REALTIME)
    said = check_at(sensor, "+2d")
    assert re.search(r"^problem  clock: the clock of the database is 172\d{3} s behind ours; ", said, re.M), said
    assert abs(time.clock_gettime(time.CLOCK_REALTIME) - before) < 120


def test_a_stuck_exporter(pg, dns, milter):
    """A note of its file is renewed every hour."""
    sensor, folder = alive(pg, milter()), Path("/var/lib/hunnypot-export")
    folder.mkdir()
    try:
        for name in ("csv", "mine"):
            (folder / name).mkdir()
        hunnypot("export", "csv", "-o", folder / "csv/list")
        (folder / "mine/list").write_text("no note: of this one nothing is known\n")
        assert "  exports: " not in check_at(sensor, "+110m")
        said = check_at(sensor, "+3h")
        assert re.findall(r"^problem  exports: (.*) up to date for 3 h; see: journalctl", said, re.M) == [
            f"hunnypot-export@csv did not bring {folder}/csv/list"], said
    finally:
        shutil.rmtree(folder)


def test_one_private_client(pg, dns, milter):
    sensor = alive(pg, milter())
    clients = Sensor(pg, name="mx2.example.org")
    clients.record(*[{"client": "172.17.0.1"}] * 20)
    assert "from one private address" in check(sensor)["problem", "clients"]
    clients.record({"client": "203.0.113.9"})
    assert ("problem", "clients") not in check(sensor)


def test_the_spool(pg, dns, milter):
    sensor = alive(pg, milter())
    os.chown(sensor.spool, 0, 0)
    assert "cannot be written by hunnypot" in check(sensor)["problem", "spool"]
    run("chown", "hunnypot:hunnypot", sensor.spool)
    sensor.configure(spool="/etc/passwd")
    assert "is no spool" in check(sensor)["problem", "spool"]
    for statements, line in (("PRAGMA application_id = 7", "is no spool"), ("PRAGMA application_id = 0x48756e79; PRAGMA user_version = 99",
                                                                          "was written by a newer hunnypot-milter")):
        sqlite3.connect("/run/other.db").executescript(f"CREATE TABLE IF NOT EXISTS t (a); {statements}").close()
        sensor.configure(spool="/run/other.db")
        assert line in check(sensor)["problem", "spool"]
    Path("/run/small").mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/run/small")
    sensor.configure(spool="/run/small/spool.db")
    Path("/run/small/spool.db").touch()
    run("chown", "-R", "hunnypot:hunnypot", "/run/small")
    assert re.search(r"has only \d+ bytes of room left", check(sensor)["warning", "spool"])
    sensor.configure(spool="/run/nowhere/spool.db")
    assert "No such file" in check(sensor)["problem", "spool"]


def test_the_caller_may_be_a_reader_or_nobody(pg, dns, milter):
    sensor = alive(pg, milter())
    assert not {"reading", "schema"} & {name for _, name in bad(check(sensor, "--database", "user=reader"))}
    found = check(sensor, "--database", "user=sensor")
    assert "hunnypot_reader" in found["unknown", "schema"] and ("problem", "sensor") not in found


def test_usage(net, tmp_path):
    assert hunnypot("check", "--format", "csv", check=False).returncode == 64
    assert hunnypot("check", "not a domain", check=False).returncode == 64
