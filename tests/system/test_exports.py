"""Every export format, read by the program it is for; and nothing that a client said is in any of them."""
import csv
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import uuid
from datetime import datetime, timedelta

import dns.message
import dns.query
import dns.rcode
import pytest

from cli_data import Sensor
from testbed.base import DEBS, STATE, TOP, TRAP_HOST, TRAP_HOST6, Server, run, wait_for
from testbed.mx import PRIMARY, OpenSmtpd
from testbed.offences import early_in_the_hour, list_networks, offend
from testbed.smtp import Smtp
from testbed.zone import Zone

FORMATS = sorted(path.stem for path in (TOP / "sql/export").glob("*.sql"))
TRAP, BACKUP, ADDRESS, FREE = "203.0.113.7", "203.0.113.8", "203.0.113.9", "203.0.113.10"
TRAP6, FREE6 = "2001:db8:c::7", "2001:db8:d::7"  # TRAP6 has neighbours that offend: all of its /64 is listed
ZERO6 = "2001:db8::7"  # alone, and with groups of zeros, which some consumers want to see
HOUR = timedelta(hours=1)

# Every character that the policy takes.
REASON = "Listed (really) <by> [us] {here}: #1, 100% & more; ~^`!?*=+|@/_-."
URL = "https://why.example/?a=%20&ip="


def text_about(network, reason=REASON):
    return f"{reason}, see {URL}{network}"


@pytest.fixture
def listed(pg):
    """A client of each class, and IPv6 ones; one client is in two classes, of which the trap is the worse."""
    pg.query("UPDATE hunnypot.setting SET value = %s WHERE name = 'lookup_url'", URL + "$")
    pg.query("UPDATE hunnypot.policy SET reason = %s WHERE class = 'trap'", REASON)
    for client in (TRAP, TRAP6, "2001:db8:c::8", "2001:db8:c::9", ZERO6):
        offend(pg, client)
    for kind, client in (("backup", BACKUP), ("address", ADDRESS), ("address", TRAP)):
        offend(pg, client, kind, "a.example", HOUR)
        offend(pg, client, kind, "b.example")
    return pg


@pytest.fixture
def export(hunnypot):
    """export("plain", name="value") returns the path of a file with the list in it, which is new, or in the place of the one before."""
    for path in STATE.glob("export.*"):
        path.unlink()

    def write(name, **parameters):
        path = STATE / f"export.{name}"
        hunnypot("export", name, "-o", path, *[f"--set={key}={value}" for key, value in parameters.items()])
        path.chmod(0o644)
        return path
    return write


def keeps_up(listed, renew, refuses, first=(TRAP, BACKUP)):
    """A consumer that has the list gets it again, with fewer, with none: RENEW writes it and says so."""
    for change, wanted in (("SELECT", {*first}), (f"SELECT hunnypot.allow_add('{TRAP}')", {*first} - {TRAP}),
                           ("SELECT hunnypot.allow_add(network) FROM hunnypot.listing", set())):
        listed.query(change)
        renew()
        wait_for(lambda: {client for client in (TRAP, BACKUP, FREE) if refuses(client)} == wanted, 30, f"{wanted or 'nobody'} refused", 0.2)


@pytest.fixture
def serve():
    """serve(server) stops it after the test; its zone's .reload() has it read its files again."""
    started = []

    def start(name, command, zone):
        started.append(Server(name, command, STATE / f"{name}.log", ports=zone.ports))
        started[-1].wait_ready(zone.answers)
        zone.reload = lambda server=started[-1]: server.send(signal.SIGHUP)
        return zone
    yield start
    for server in started:
        server.stop()


def refused(client, port=25):
    """Connect from CLIENT, and be refused or served: the reply to the greeting or to MAIL that says so."""
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as session:
        session.settimeout(15)
        session.bind((client, 0))
        session.connect((TRAP_HOST6 if ":" in client else TRAP_HOST, port))
        stream = session.makefile("rw", newline="\r\n", errors="backslashreplace")

        def reply():
            lines = [stream.readline()]
            while lines[-1][3:4] == "-":
                lines.append(stream.readline())
            return "".join(lines).strip()
        for command in (None, "EHLO client.example.com", "MAIL FROM:<someone@sender.example>"):
            if command:
                stream.write(command + "\r\n")
                stream.flush()
            answer = reply()
            if not answer.startswith("2"):
                break
    return answer


# DNS lists

def check_list_zone(zone):
    """What RFC 5782 wants, and who is listed."""
    assert zone.about("127.0.0.2") == ("NOERROR", ["127.0.0.2"])
    assert zone.about("127.0.0.1") == ("NXDOMAIN", [])
    assert zone.about("::ffff:127.0.0.2") == ("NOERROR", ["127.0.0.2"])
    assert zone.about("::ffff:127.0.0.1") == ("NXDOMAIN", [])
    for client, answer in ((TRAP, "127.0.0.2"), (BACKUP, "127.0.0.3"), (ADDRESS, "127.0.0.4"), (TRAP6, "127.0.0.2"),
                           ("2001:db8:c:0:ffff::1", "127.0.0.2"), (ZERO6, "127.0.0.2")):
        assert zone.about(client) == ("NOERROR", [answer]), client
    for client in (FREE, FREE6, "2001:db8:c:1::7", "2001:db8::8"):
        assert zone.about(client) == ("NXDOMAIN", []), client
    assert zone.about(TRAP, "TXT") == ("NOERROR", [f'"{text_about(TRAP)}"'])
    assert zone.ask(zone.name, "NS")[1] == ["ns.list.example."]
    assert zone.ask(zone.name, "SOA")[1][0].startswith("ns.list.example. admin.list.example. ")


def test_rbldnsd_answers(listed, export, serve):
    files = [export(f"rbldnsd-ip{version}", ns="ns.list.example", hostmaster="admin.list.example") for version in "46"]
    zone = Zone("bl.test", 5301)
    serve("rbldnsd", [DEBS / "rbldnsd/usr/sbin/rbldnsd", "-n", "-u", "nobody", "-b", "127.0.0.1/5301",
                      f"bl.test:ip4trie:{files[0]}", f"bl.test:ip6trie:{files[1]}"], zone)
    check_list_zone(zone)
    assert zone.about(TRAP6, "TXT") == ("NOERROR", [f'"{text_about(TRAP6)}"']), "rbldnsd puts the address asked for"
    log = (STATE / "rbldnsd.log").read_text()
    assert not re.search(r"(?i)warning|error|invalid|unrecognized", log), log

    def renew():
        for version in "46":
            export(f"rbldnsd-ip{version}", ns="ns.list.example", hostmaster="admin.list.example")
        zone.reload()
    keeps_up(listed, renew, lambda client: zone.about(client)[0] == "NOERROR")
    assert zone.about("127.0.0.2")[0] == "NOERROR" and zone.about(TRAP6)[0] == "NXDOMAIN"


def test_rbldnsd_zones_of_one_class(listed, export, serve):
    path = export("rbldnsd-ip4", **{"class": "backup"})
    zone = Zone("backup.test", 5301)
    serve("rbldnsd", [DEBS / "rbldnsd/usr/sbin/rbldnsd", "-n", "-u", "nobody", "-b", "127.0.0.1/5301",
                      f"backup.test:ip4trie:{path}"], zone)
    assert zone.about(BACKUP) == ("NOERROR", ["127.0.0.3"])
    assert zone.about(TRAP) == ("NXDOMAIN", [])
    assert zone.about("127.0.0.2") == ("NOERROR", ["127.0.0.3"])


@pytest.fixture
def named(serve):
    """named(zone name, file, more="...") starts BIND on port 5302."""
    def start(name, path, options=""):
        folder = STATE / "named"
        folder.mkdir(exist_ok=True)
        (folder / "named.conf").write_text(f"""
            options {{ directory "{folder}"; pid-file "{folder}/pid"; session-keyfile "{folder}/key";
                listen-on port 5302 {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; dnssec-validation no;
                notify no; check-names primary ignore; {options} }};
            controls {{ }};
            zone "{name}" {{ type primary; file "{path}"; }};
            """)
        return serve("named", [DEBS / "bind9/usr/sbin/named", "-g", "-c", folder / "named.conf"], Zone(name, 5302))
    return start


def test_bind_answers(listed, export, named):
    path = export("bind", ns="ns.list.example", hostmaster="admin.list.example")
    checked = run("named-checkzone", "bl.test", path)
    assert checked.stdout.endswith("\nOK\n") and "warning" not in checked.stdout, checked.stdout
    run("nsd-checkzone", "bl.test", path)
    zone = named("bl.test", path)
    check_list_zone(zone)
    assert zone.about(TRAP6, "TXT") == ("NOERROR", [f'"{text_about("2001:db8:c::")}"'])
    keeps_up(listed, lambda: (export("bind", ns="ns.list.example", hostmaster="admin.list.example"), zone.reload()),
             lambda client: zone.about(client)[0] == "NOERROR")


def test_rpz_hides_names_of_listed_addresses(listed, export, named, dns):
    path = export("rpz")
    checked = run("named-checkzone", "rpz.test", path)
    assert checked.stdout.endswith("\nOK\n"), checked.stdout
    resolver = named("rpz.test", path, 'response-policy { zone "rpz.test"; }; forward only; forwarders { 127.0.0.1; };')
    dns.add(f"zero.example.com. AAAA {ZERO6}")
    assert resolver.ask("client7.example.com", "A")[0] == "NXDOMAIN"
    assert resolver.ask("client7.example.com", "AAAA")[0] == "NXDOMAIN"
    assert resolver.ask("zero.example.com", "AAAA")[0] == "NXDOMAIN"
    assert resolver.ask("client10.example.com", "A") == ("NOERROR", [FREE])
    keeps_up(listed, lambda: (export("rpz"), resolver.reload()),
             lambda client: resolver.ask(f"client{client.split('.')[3]}.example.com", "A")[0] == "NXDOMAIN")
    assert not re.search("(?i)rpz.*(invalid|error|canonical)", (STATE / "named.log").read_text())


def test_the_zone_files_serial_rises_with_the_list_only(listed, export):
    def serial():
        return int(re.search(r"SOA \S+ \S+ (\d+)", export("bind").read_text())[1])
    first = serial()
    assert serial() == first
    listed.query("SELECT hunnypot.allow_add(%s)", BACKUP)
    assert serial() > first


def test_rbldns_has_one_class_a_file(listed, export):
    for kind, answer, clients in (("trap", "127.0.0.2", [TRAP]), ("backup", "127.0.0.3", [BACKUP]),
                                  ("address", "127.0.0.4", sorted([TRAP, ADDRESS]))):
        head, *rest = export("rbldns", **{"class": kind}).read_text().splitlines()
        assert re.fullmatch(rf":{answer}:[^$]+\$?", head)
        assert rest == ["127.0.0.2", *clients]


def test_rbldns_answers(listed, export, serve):
    folder = STATE / "rbldns"
    folder.mkdir()

    def make():
        shutil.copy(export("rbldns", **{"class": "trap"}), folder / "data")
        run(DEBS / "rbldns/usr/sbin/rbldns-data", cwd=folder)
    make()
    zone = Zone("bl.test", 53, "127.0.0.5")
    zone.answers = lambda: zone.about("127.0.0.2")[0] == "NOERROR"
    serve("rbldns", ["env", "IP=127.0.0.5", f"ROOT={folder}", "UID=65534", "GID=65534", "BASE=bl.test", DEBS / "rbldns/usr/sbin/rbldns"],
          zone)
    assert zone.about(TRAP) == ("NOERROR", ["127.0.0.2"]) and zone.about(FREE) == ("NXDOMAIN", [])
    # It has no room for this reason; for a short one it has.
    assert zone.about(TRAP, "TXT") == ("NOERROR", [f'"see {URL}{TRAP}"'])
    listed.query("UPDATE hunnypot.policy SET reason = 'Listed' WHERE class = 'trap'")
    make()
    assert zone.about(TRAP, "TXT") == ("NOERROR", [f'"Listed, see {URL}{TRAP}"'])
    keeps_up(listed, make, lambda client: zone.about(client)[0] == "NOERROR", [TRAP])


# Mail servers and what stands before them

def test_tcprules_denies(listed, export):
    def make():
        with open(export("tcprules"), encoding="ascii") as rules:
            subprocess.run(["tcprules", STATE / "rules.cdb", STATE / "rules.tmp"], stdin=rules, check=True)

    def denied(client):
        answer = run("tcprulescheck", STATE / "rules.cdb", env={"TCPREMOTEIP": client, "PATH": "/usr/bin"}).stdout
        assert ("deny connection" in answer) != ("allow connection" in answer)
        return "deny connection" in answer
    make()
    assert denied(TRAP) and denied(BACKUP) and not denied(FREE)
    keeps_up(listed, make, denied)


def test_tcprules_lets_rblsmtpd_explain(listed, export):
    with open(export("tcprules", rule='allow,RBLSMTPD="-Listed"'), encoding="ascii") as rules:
        subprocess.run(["tcprules", STATE / "rules.cdb", STATE / "rules.tmp"], stdin=rules, check=True)
    answer = run("tcprulescheck", STATE / "rules.cdb", env={"TCPREMOTEIP": TRAP, "PATH": "/usr/bin"}).stdout
    assert "set environment variable RBLSMTPD=-Listed" in answer


def test_sendmail_refuses(listed, export, sendmail):
    database = STATE / "access.db"
    database.unlink(missing_ok=True)

    def make():
        with open(export("sendmail-access"), encoding="ascii") as entries:
            subprocess.run([DEBS / "sendmail/usr/libexec/sendmail/makemap", "-C", "/dev/null", "hash", database],
                           stdin=entries, check=True,
                           env={"LD_LIBRARY_PATH": str(DEBS / "sendmail/usr/lib/x86_64-linux-gnu")})
    make()
    sendmail(extra=f"FEATURE(`access_db', `hash -o {database}')dnl")
    for client, network in ((TRAP, TRAP), (TRAP6, "2001:db8:c::"), (ZERO6, ZERO6)):
        assert refused(client).startswith("550 5.7.1 ") and text_about(network) in refused(client), refused(client)
    for client in (FREE, FREE6):
        assert not refused(client).startswith("5"), client
    # What is to come again later gets its text, too; all others meet the trap.
    keeps_up(listed, make, lambda client: URL in refused(client))


POSTFIX = {"smtpd_milters": "", "soft_bounce": "no", "smtpd_delay_reject": "no", "smtpd_client_connection_count_limit": "0"}


def test_postfix_refuses(listed, export, postfix):
    path = export("postfix-cidr")
    server = postfix(main={**POSTFIX, "smtpd_client_restrictions": f"check_client_access cidr:{path}"})
    asked = server.command("postmap", "-q", TRAP, f"cidr:{path}")
    assert (asked.stdout.strip(), asked.stderr) == (f"550 5.7.1 {text_about(TRAP)}", "")
    for client, network in ((TRAP, TRAP), (TRAP6, "2001:db8:c::"), (ZERO6, ZERO6)):
        answer = refused(client)
        assert answer.startswith("550 5.7.1 ") and answer.endswith(text_about(network)), answer
    for client in (FREE, FREE6):
        assert refused(client).startswith("250"), client
    keeps_up(listed, lambda: export("postfix-cidr"), lambda client: refused(client)[0] in "45")
    assert "warning" not in server.log()[server.before:]


def test_postscreen_refuses(listed, export, postfix):
    path = export("postscreen-cidr")
    server = postfix(
        main={**POSTFIX, "postscreen_access_list": f"cidr:{path}", "postscreen_blacklist_action": "drop",
              "postscreen_greet_action": "ignore", "postscreen_greet_wait": "1s", "postscreen_cache_map": ""},
        master=[f"[{TRAP_HOST}]:2525 inet n - n - 1 postscreen", f"[{TRAP_HOST6}]:2525 inet n - n - 1 postscreen",
                "smtpd pass - - n - - smtpd", "dnsblog unix - - n - 0 dnsblog", "tlsproxy unix - - n - 0 tlsproxy"])
    for client in (TRAP, TRAP6, ZERO6):
        assert refused(client, 2525).startswith("521 5.3.2 Service currently unavailable"), client
    for client in (FREE, FREE6):
        assert refused(client, 2525).startswith("250"), client
    # A postscreen that runs keeps what it read.
    keeps_up(listed, lambda: (export("postscreen-cidr"), server.command("postfix", "reload")), lambda client: refused(client, 2525).startswith("5"))
    assert "warning" not in server.log()[server.before:]


# Firewalls

@pytest.fixture
def listener(net):
    """A server on port 2525 of the trap host, in both families."""
    sockets = [socket.create_server((TRAP_HOST, 2525)),
               socket.create_server((TRAP_HOST6, 2525), family=socket.AF_INET6)]
    yield
    for one in sockets:
        one.close()


def reaches(client):
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as session:
        session.settimeout(5)
        session.bind((client, 0))
        return session.connect_ex((TRAP_HOST6 if ":" in client else TRAP_HOST, 2525)) == 0


def test_nftables_refuses(listed, export, listener):
    path = export("nftables", table="mail")
    run("nft", "-c", "-f", path)
    run("nft", "-f", path)
    try:
        run("nft", "add chain inet mail input { type filter hook input priority 0; }")
        for field, name in (("ip saddr", "v4"), ("ip6 saddr", "v6"), ("ip6 saddr & ffff:ffff:ffff:ffff::", "v6net")):
            run("nft", f"add rule inet mail input tcp dport 2525 {field} @{name} reject with tcp reset")
        for client in (TRAP, BACKUP, ADDRESS, TRAP6, ZERO6):
            assert not reaches(client), client
        for client in (FREE, FREE6):
            assert reaches(client), client
        days = int(re.search(rf"{TRAP} timeout (\d+)d", run("nft", "list", "set", "inet", "mail", "v4").stdout)[1])
        assert days == 30
        keeps_up(listed, lambda: run("nft", "-f", export("nftables", table="mail")), lambda client: not reaches(client))
    finally:
        run("nft", "delete", "table", "inet", "mail")


def test_nftables_takes_a_network_within_a_network(listed, export):
    list_networks(listed, "VALUES (cidr '203.0.113.0/24')")
    run("nft", "-c", "-f", export("nftables"))


CREATE = "ipset create mail4 hash:net family inet{0}; ipset create mail6 hash:net family inet6{0}"


@pytest.fixture
def ipset(net):
    """ipset("words") runs it, ipset.load(file) restores it."""
    def command(*words, **options):
        return run("ipset", *words, **options)

    def load(file):
        with open(file, encoding="ascii") as commands:
            subprocess.run(["ipset", "restore"], stdin=commands, check=True)
    command.load = load
    yield command
    run("ipset", "destroy")


@pytest.mark.parametrize("options", ["", " maxelem 7 counters", " timeout 5 maxelem 1048576"],
                         ids=["as the format says", "an operator's own", "other limits"])
def test_ipset_loads(listed, export, ipset, options):
    """First and again, with another maxelem, fewer networks, none; whatever the set was like before."""
    run("sh", "-c", CREATE.format(options))
    ipset.load(export("ipset", set="mail"))
    for name, client in (("mail4", TRAP), ("mail4", BACKUP), ("mail6", TRAP6), ("mail6", ZERO6)):
        ipset("test", name, client)
    for name, client in (("mail4", FREE), ("mail6", FREE6)):
        assert ipset("test", name, client, check=False).returncode == 1
    ipset("create", "mail4-new", "hash:net", "maxelem", "5")  # left by a run that was cut off
    listed.query("SELECT hunnypot.allow_add(%s)", TRAP)
    ipset.load(export("ipset", set="mail", maxelem=4711))
    assert ipset("test", "mail4", TRAP, check=False).returncode == 1
    shown = ipset("list", "mail4").stdout
    assert re.search(rf"^{BACKUP} timeout 6[01]\d{{4}}$", shown, re.M) and "maxelem 4711" in shown
    listed.query("SELECT hunnypot.allow_add(network) FROM hunnypot.listing")
    ipset.load(export("ipset", set="mail"))
    assert "Number of entries: 0" in ipset("list", "mail4").stdout
    assert ipset("list", "-n").stdout.split() == ["mail4", "mail6"], "nothing is left over"


# Files for other programs and for people

def test_spamd_and_plain_have_one_network_a_line(listed, export):
    assert export("spamd").read_text().split("\n") == [f"{TRAP}/32", f"{BACKUP}/32", f"{ADDRESS}/32", ""]
    assert export("plain").read_text().split("\n") == [f"{TRAP}/32", f"{BACKUP}/32", f"{ADDRESS}/32", "2001:db8::7/128",
                                                       "2001:db8:c::/64", ""]
    assert export("plain", **{"class": "address"}).read_text().split() == [f"{TRAP}/32", f"{ADDRESS}/32"]


def test_exim_refuses(listed, export, net):
    """A session as from each address (exim -bh), with the condition and the message that the format's head has."""
    path = export("exim")
    head = (TOP / "sql/export/exim.sql").read_text()
    deny, message = re.search(r"deny (hosts = \S+)  (message = .*)", head).groups()
    configuration = STATE / "exim.conf"
    configuration.write_text(f"""exim_user = root
log_file_path = {STATE}/exim.%s.log
spool_directory = {STATE}/exim
acl_smtp_connect = check
never_users =
begin acl
check:
  deny {deny}
       {message}
  accept
""".replace("FILE", str(path)))
    for client, network in ((TRAP, TRAP), (BACKUP, BACKUP), (TRAP6, "2001:db8:c::"), (ZERO6, ZERO6), (FREE, None), (FREE6, None)):
        said = run(DEBS / "exim4-daemon/usr/sbin/exim4", "-C", configuration, "-bh", client, check=False).stdout
        assert ("\n550 " in "\n" + said.replace("\r", "")) == (network is not None), (client, said)
        assert network in (None, BACKUP) or text_about(network) in re.sub(r"\s+550[- ]", " ", said), (client, said)
    keeps_up(listed, lambda: export("exim"), lambda client: "\n550 " in "\n" + run(
        DEBS / "exim4-daemon/usr/sbin/exim4", "-C", configuration, "-bh", client, check=False).stdout.replace("\r", ""))


def test_opensmtpd_refuses(listed, export, syslog):
    path = export("opensmtpd")
    server = OpenSmtpd(syslog, "opensmtpd")
    (rule,) = re.findall(r"match from src .*", (TOP / "sql/export/opensmtpd.sql").read_text())
    server.configuration.write_text(f"""table hunnypot file:{path}
listen on {PRIMARY} port 25
listen on {TRAP_HOST} port 25
listen on {TRAP_HOST6} port 25
action "in" relay host smtp://127.0.0.9
{rule}
match from any for any action "in"
""")
    server.start()
    try:
        for client, taken in ((TRAP, False), (BACKUP, False), (TRAP6, False), (ZERO6, False), (FREE, True), (FREE6, True)):
            with Smtp(client) as session:
                session.command("EHLO client.example.com")
                session.command("MAIL FROM:<a@sender.example>")
                assert session.command("RCPT TO:<a@b.example>").startswith("250" if taken else "550"), client

        def refuses(client):
            with Smtp(client) as session:
                session.command("EHLO client.example.com")
                session.command("MAIL FROM:<a@sender.example>")
                return session.command("RCPT TO:<a@b.example>").startswith("550")
        keeps_up(listed, lambda: (export("opensmtpd"), run("setpriv", "--regid=opensmtpq", "--clear-groups", DEBS / "opensmtpd/usr/sbin/smtpctl", "update", "table", "hunnypot")), refuses)
    finally:
        server.stop()


def test_forms_of_consumers_that_are_not_in_debian(listed, export):
    networks = [f"{TRAP}/32", f"{BACKUP}/32", f"{ADDRESS}/32", "2001:db8::7/128", "2001:db8:c::/64"]
    assert export("pf").read_text().split() == networks
    assert export("suricata", score=50).read_text().split() == [f"{network},1,50" for network in networks]


def test_unbound_refuses(listed, export, net):
    """A resolver that is open to all: included, the file closes it to who is listed."""
    folder = STATE / "unbound"
    folder.mkdir()
    (folder / "unbound.conf").write_text(f"""server:
  interface: {TRAP_HOST}
  interface: {TRAP_HOST6}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  local-data: "x.test. A 192.0.2.9"
  include: "{export("unbound")}"
remote-control:
  control-enable: no
""")
    server = Server("unbound", [DEBS / "unbound/usr/sbin/unbound", "-d", "-c", folder / "unbound.conf"], folder / "log",
                    ports=[("udp", TRAP_HOST, 53), ("udp", TRAP_HOST6, 53)])
    server.wait_ready()
    try:
        def refuses(client):
            reply = dns.query.udp(dns.message.make_query("x.test", "A"), TRAP_HOST6 if ":" in client else TRAP_HOST, timeout=5,
                                  source=client)
            return {"REFUSED": True, "NOERROR": False}[dns.rcode.to_text(reply.rcode())]
        for client in (TRAP, BACKUP, TRAP6, ZERO6, FREE, FREE6):
            assert refuses(client) == (client not in (FREE, FREE6)), client
        keeps_up(listed, lambda: (export("unbound"), server.send(signal.SIGHUP)), refuses)
    finally:
        server.stop()


def test_rspamd_scores(listed, export, net):
    """By the map of the format's head; it sees for itself that the file is another."""
    assert export("rspamd").read_text().splitlines()[:2] == [f"{TRAP}/32 # trap", f"{BACKUP}/32 # backup"]
    folder, share = STATE / "rspamd", DEBS / "rspamd/usr/share/rspamd"
    folder.mkdir()
    (rule,) = re.findall(r"multimap.conf: (.*)", (TOP / "sql/export/rspamd.sql").read_text())
    (folder / "domains").write_text("com\n")
    (folder / "rspamd.conf").write_text(f"""
options {{ filters = ""; url_tld = "{folder}/domains"; hs_cache_dir = "{folder}"; tempdir = "{folder}"; map_watch_interval = 1s;
  dns {{ nameserver = ["127.0.0.1:53:1"]; }} }}
lua = "{share}/rules/rspamd.lua";
logging {{ type = "console"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:11333"; count = 1; }}
modules {{ path = "{share}/plugins/multimap.lua"; }}
actions {{ reject = 15; }}
multimap {{ {rule.replace("FILE", str(export("rspamd")))} }}
""")
    names = {"CONFDIR": folder, "SHAREDIR": share, "RULESDIR": share / "rules", "LUALIBDIR": share / "lualib",
             "PLUGINSDIR": share / "plugins", "DBDIR": folder, "RUNDIR": folder, "LOGDIR": folder}
    server = Server("rspamd", [DEBS / "rspamd/usr/bin/rspamd", "--no-fork", "--insecure", "-c", folder / "rspamd.conf",
                               *[f"--var={name}={value}" for name, value in names.items()]], folder / "log", cwd=folder,
                    ports=[("tcp", "127.0.0.1", 11333)],
                    env={**os.environ, "LD_LIBRARY_PATH": str(DEBS / "rspamd/usr/lib/rspamd"), "LUALIBDIR": str(share / "lualib")})
    server.wait_ready(timeout=60)
    try:
        def scored(client):
            connection = http.client.HTTPConnection("127.0.0.1", 11333, timeout=20)
            connection.request("POST", "/checkv2", "Subject: x\r\n\r\nhello\r\n", {"IP": client})
            symbols = json.loads(connection.getresponse().read())["symbols"]
            connection.close()
            return "HUNNYPOT" in symbols and symbols["HUNNYPOT"]["score"] == 6
        for client in (TRAP, BACKUP, TRAP6, ZERO6, FREE, FREE6):
            assert scored(client) == (client not in (FREE, FREE6)), client
        keeps_up(listed, lambda: export("rspamd"), scored)
    finally:
        server.stop()


@pytest.fixture
def cscli(net):
    """cscli("decisions list") asks a CrowdSec of its own, which talks to nobody."""
    folder = STATE / "crowdsec"
    shutil.copytree(DEBS / "crowdsec/etc/crowdsec", folder / "etc")
    for sub in ("data", "hub", "plugins", "etc/notifications"):
        (folder / sub).mkdir()
    (folder / "hub/.index.json").write_text("{}")
    (folder / "etc/profiles.yaml").write_text("name: none\nfilters: ['false']\ndecisions: []\n")
    configuration = folder / "etc/config.yaml"
    configuration.write_text(f"""
common: {{daemonize: false, log_media: stdout, working_dir: {folder}}}
config_paths: {{config_dir: {folder}/etc/, data_dir: {folder}/data/, simulation_path: {folder}/etc/simulation.yaml,
  hub_dir: {folder}/hub/, index_path: {folder}/hub/.index.json, notification_dir: {folder}/etc/notifications/,
  plugin_dir: {folder}/plugins/}}
db_config: {{type: sqlite, db_path: {folder}/data/crowdsec.db, use_wal: true}}
api:
  client: {{credentials_path: {folder}/etc/local_api_credentials.yaml}}
  server: {{listen_uri: "127.0.0.1:8080", profiles_path: {folder}/etc/profiles.yaml}}
prometheus: {{enabled: false}}
""")

    def command(words, **options):
        return run(DEBS / "crowdsec/usr/bin/cscli", "-c", configuration, *words.split(), **options)
    command("machines add here --password secret -u http://127.0.0.1:8080 -f " + str(folder / "etc/local_api_credentials.yaml"))
    server = Server("crowdsec", [DEBS / "crowdsec/usr/bin/crowdsec", "-c", configuration, "-no-cs"], folder / "log",
                    ports=[("tcp", "127.0.0.1", 8080)])
    server.wait_ready(timeout=30)
    yield command
    server.stop()
    shutil.rmtree(folder)


def test_crowdsec_bans_who_is_listed_and_nobody_else(listed, export, cscli):
    """By the commands of the format's head: first, again, with fewer, with none; what is not ours stays."""
    (line,) = re.findall(r"^-- consumer: CrowdSec: (.*)$", (TOP / "sql/export/crowdsec.sql").read_text(), re.M)

    def banned():
        path = export("crowdsec")
        file = path.rename(path.with_suffix(".csv"))
        for command in line.replace("FILE.csv", str(file)).split("; "):
            cscli(command.removeprefix("cscli "))
        rows = csv.DictReader(cscli("decisions list -a -o raw").stdout.splitlines())
        return sorted((row["ip"], row["reason"], row["action"]) for row in rows)
    cscli("decisions add -i 198.51.100.99 -R own")
    own = ("Ip:198.51.100.99", "own", "ban")
    wanted = [(f"Ip:{network}", "hunnypot", "ban") for network in (TRAP, BACKUP, ADDRESS, ZERO6, "2001:db8:c::/64")]
    assert banned() == sorted([own, *wanted])
    assert banned() == sorted([own, *wanted]), "a second run adds nothing"
    listed.query("SELECT hunnypot.allow_add(%s)", TRAP)
    assert banned() == sorted([own, *wanted[1:]]), "who is allowed is not banned any more"
    listed.query("SELECT hunnypot.allow_add(network) FROM hunnypot.listing")
    assert banned() == [own], "an empty list leaves nothing"


def test_crowdsec_decisions(listed, export):
    rows = list(csv.DictReader(export("crowdsec").read_text().splitlines()))
    assert {(row["reason"], row["type"]) for row in rows} == {("hunnypot", "ban")}
    assert [row["duration"] in ("720h", "721h") for row in rows] == [True, False, False, True, True]
    assert rows[1]["duration"] in ("168h", "169h")


def test_stix_bundle(listed, export):
    bundle = json.loads(export("stix").read_text())
    assert (bundle["type"], len(bundle["objects"])) == ("bundle", 5)
    for item in [bundle, *bundle["objects"]]:
        kind, _, number = item["id"].partition("--")
        assert (kind, uuid.UUID(number).variant) == (item["type"], uuid.RFC_4122)
    for item in bundle["objects"]:
        assert (item["type"], item["spec_version"], item["pattern_type"]) == ("indicator", "2.1", "stix")
        created, modified, start, end = (datetime.strptime(item[key], "%Y-%m-%dT%H:%M:%S.%fZ") for key in
                                         ("created", "modified", "valid_from", "valid_until"))
        assert created <= modified and start < end
    assert bundle["objects"][0]["pattern"] == f"[ipv4-addr:value = '{TRAP}/32']"
    assert bundle["objects"][0]["description"] == text_about(TRAP)
    assert bundle["objects"][4]["pattern"] == "[ipv6-addr:value = '2001:db8:c::/64']"
    assert json.loads(export("stix").read_text()) == bundle, "an indicator keeps its id"


def test_csv_and_jsonl_have_every_listing(listed, export):
    rows = list(csv.DictReader(export("csv").read_text().splitlines()))
    objects = [json.loads(line) for line in export("jsonl").read_text().splitlines()]
    assert [(row["network"], row["class"]) for row in rows] == [
        (f"{TRAP}/32", "trap"), (f"{TRAP}/32", "address"), (f"{BACKUP}/32", "backup"), (f"{ADDRESS}/32", "address"),
        ("2001:db8::7/128", "trap"), ("2001:db8:c::/64", "trap"), *[(f"2001:db8:c::{last}/128", "trap") for last in (7, 8, 9)]]
    assert [{key: str(value) for key, value in item.items()} for item in objects] == rows
    assert rows[0]["reason"] == text_about(TRAP)
    assert (rows[0]["return_address"], rows[0]["code"]) == ("127.0.0.2", "550 5.7.1")
    assert (objects[1]["hits"], objects[1]["domains"]) == (2, 2)


# All of them

@pytest.mark.parametrize("name", FORMATS)
def test_the_same_list_is_the_same_file(listed, export, name):
    early_in_the_hour(listed)
    assert export(name).read_bytes() == export(name).read_bytes()


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"rbldns"}))
def test_a_class_that_does_not_exist_is_an_error(listed, hunnypot, name):
    """Also when nobody is listed."""
    path = STATE / "export.wrong"
    path.unlink(missing_ok=True)
    for _ in range(2):
        done = hunnypot("export", name, "-o", path, "--set=class=traps", check=False)
        assert done.returncode != 0 and 'no class "traps"' in done.stderr
        assert not path.exists()
        listed.query("DELETE FROM hunnypot.listed_network; DELETE FROM hunnypot.offence_day")


# Formats that carry a reply code, a return address or what proves it, from which a reader can tell that it is not for good.
SAYS_LATER = {"bind", "csv", "jsonl", "postfix-cidr", "rbldnsd-ip4", "rbldnsd-ip6", "sendmail-access", "stix"}


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"rbldns", "rbldnsd-ip6"}))
def test_who_is_to_come_again_later_is_in_no_list_that_refuses_for_good(listed, export, name):
    listed.query("UPDATE hunnypot.policy SET inferred_code = '450 4.7.1' WHERE class = 'backup'")
    backup, address = (re.compile(f"{client}|" + re.escape(".".join(reversed(client.split("."))))) for client in (BACKUP, ADDRESS))
    shown = export(name).read_text()
    assert address.search(shown) and bool(backup.search(shown)) == (name in SAYS_LATER)
    if name not in SAYS_LATER:
        assert backup.search(export(name, inferred="yes").read_text())


def test_an_empty_list_is_well_formed(pg, export):
    run("nft", "-c", "-f", export("nftables"))
    run("named-checkzone", "bl.test", export("bind"))
    run("named-checkzone", "rpz.test", export("rpz"))
    bundle = json.loads(export("stix").read_text())
    assert set(bundle) == {"type", "id"}, "the schema wants an object at least in a list of objects"
    for name in ("exim", "opensmtpd", "pf", "rspamd", "suricata", "unbound"):
        assert export(name).read_text() == ""
    assert export("tcprules").read_text() == ":allow\n"
    assert export("plain").read_text() == ""
    assert ":127.0.0.2:Test entry\n" in export("rbldnsd-ip4").read_text()


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_that_a_client_said_is_in_it(listed, export, name):
    hostile = "EVIL\"';\\\n\r\t$%s:0\x7f<>&|`{}#!/\u00fc.example"
    # Every text that there is (the classes apart) is hostile.
    Sensor(listed, hostile).record({"class": "trap", "client": "198.51.100.66", **{key: hostile for key in (
        "client_name", "helo", "sender", "recipients", "domain", "primary_host", "queue_id", "mta_name", "owner")}})
    listed.query("SELECT hunnypot.allow_add('198.51.100.67', %s, %s)", hostile, hostile)
    text = export(name).read_text(encoding="ascii")
    assert "EVIL" not in text
    assert name == "rbldnsd-ip6" or re.search("198.51.100.66|66.100.51.198", text), "the client itself is listed"
