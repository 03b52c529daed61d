"""Who asks the database for one client: listed(), Postfix's map and PowerDNS, each beside the least that such a thing has to do: the
same look-up without our function, a map on a plain table, and PowerDNS on the tables that it comes with.

What is compared is CPU (of the backends, and PowerDNS's own), which others on the machine disturb less than they do time; the
time is there as well.
"""
import os
import random
import socket
import statistics
import struct
import time
from pathlib import Path

from bench import parts
from bench.stats import Ratio
from testbed import postfix as postfix_part
from testbed import powerdns as powerdns_part
from testbed.base import STATE

FIRST = 0x10000000  # 16.0.0.0; every third address is listed
FILL = """TRUNCATE hunnypot.listed_network;
    INSERT INTO hunnypot.listed_network (network, class, since, until, witnessed, soft_until, hits, domains, last_seen, due, serial,
        entered)
    SELECT ('16.0.0.0'::inet + 3 * i)::cidr, 'trap', now() - interval '1 day', now() + interval '20 days', true,
           now() - interval '1 day', 3, 2, now() - interval '1 day', now() + interval '20 days', 1, 1
    FROM generate_series(0, {networks} - 1) i"""
# PowerDNS's own schema with the same list: its records, and the names on the way to them.
RECORDS = r"""INSERT INTO domains (id, name, type) VALUES (1, 'bl.test', 'NATIVE');
    INSERT INTO records (domain_id, name, type, content, ttl, disabled, auth)
    VALUES (1, 'bl.test', 'SOA', 'ns.example.org hostmaster.example.org 1 600 300 604800 60', 60, false, true),
           (1, 'bl.test', 'NS', 'ns.example.org', 60, false, true);
    CREATE TEMP TABLE n AS SELECT split_part(host(a), '.', 4) || '.' || split_part(host(a), '.', 3) || '.' || split_part(host(a), '.', 2)
                                  || '.' || split_part(host(a), '.', 1) || '.bl.test' AS name
                           FROM generate_series(0, {networks} - 1) i, LATERAL (SELECT '16.0.0.0'::inet + 3 * i) x (a);
    INSERT INTO records (domain_id, name, type, content, ttl, disabled, auth)
    SELECT 1, name, kind, record, 60, false, true
    FROM n, (VALUES ('A', '127.0.0.2'), ('TXT', '"Listed for sending to a domain that gets no mail"')) r (kind, record);
    INSERT INTO records (domain_id, name, disabled, auth)
    SELECT DISTINCT 1, regexp_replace(name, '^([0-9]+[.]){{' || k || '}}', ''), false, true FROM n, generate_series(1, 3) k;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO pdns"""


def text(number):
    return socket.inet_ntoa(struct.pack(">I", number))


def fill(database, networks):
    database.query(FILL.format(networks=networks))
    database.query("VACUUM ANALYZE hunnypot.listed_network")


def fresh(needs):
    database = needs.database()
    database.set_ahead(0)
    database.restart()
    database.anew()
    return database


def clients(how_many, networks, listed=True):
    """Addresses of which each is on the list, or none is."""
    return [text(FIRST + 3 * i + (0 if listed else 1)) for i in random.sample(range(networks), how_many)]


def cpu_us(pid):
    """What a process has run, all of its threads, in microseconds; /proc/PID/stat counts in hundredths of a second."""
    return sum(int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0]) for task in os.listdir(f"/proc/{pid}/task")) / 1000


def backends(database, name):
    """PowerDNS's: another's may be about to end."""
    return [pid for (pid,) in database.query("SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename = 'pdns' "
                                             "AND backend_type = 'client backend'", name, database="postgres")]


def both(rounds, first, second):
    """[(first(), second())], taking turns at going first."""
    pairs = []
    for number in range(rounds):
        if number % 2 == 0:
            a = first()
            pairs.append((a, second()))
        else:
            b = second()
            pairs.append((first(), b))
    return pairs


def ratios(name, pairs, **target):
    """PAIRS of (CPU, microseconds) each."""
    return [Ratio(f"{name}: CPU", [(a[0], b[0]) for a, b in pairs], unit="us", **target),
            Ratio(f"{name}: p50", [(a[1], b[1]) for a, b in pairs], unit="us", **target)]


def prefixes(client):
    number = struct.unpack(">I", socket.inet_aton(client))[0]
    return "{" + ",".join(f"{text(number >> (32 - bits) << (32 - bits))}/{bits}" for bits in range(24, 33)) + "}"


PLAIN = "SELECT * FROM hunnypot.listed_network WHERE network = ANY ({})"


def ask_each(cursor, statement, words):
    """(CPU of the backend, median time) of a look-up, in microseconds."""
    pid = cursor.connection.info.backend_pid
    times, before = [], cpu_us(pid)
    for word in words:
        began = time.perf_counter()
        cursor.execute(statement.format(word))
        cursor.fetchall()
        times.append((time.perf_counter() - began) * 1e6)
    return (cpu_us(pid) - before) / len(words), statistics.median(times)


def look_ups(database, options, networks):
    found = []
    ours = "SELECT * FROM hunnypot.listed({})"
    connection = database.connect()
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE plain (cidr[]) AS {PLAIN.format('$1')}; PREPARE ours (inet) AS {ours.format('$1')}")
        for name, statements in (("prepared", ("EXECUTE plain ('{}')", "EXECUTE ours ('{}')")),
                                 ("simple", (PLAIN.format("'{}'::cidr[]"), ours.format("'{}'")))):
            asked = clients(100 if options.quick else 500, networks)
            sides = [(statement, words) for statement, words in zip(statements, ([prefixes(client) for client in asked], asked))]
            for statement, words in sides:
                ask_each(cursor, statement, words)  # plans are made, pages are read
            pairs = both(options.rounds, lambda: ask_each(cursor, *sides[0]), lambda: ask_each(cursor, *sides[1]))
            found += ratios(f"listed() of {networks} networks, {name} / = ANY", pairs, at_most=1.2)
    connection.close()
    return found


OUR_MAP = "SELECT hunnypot.postfix_actions('%s')"


def map_of(name, query):
    table = STATE / f"{name}.cf"
    table.write_text(f"hosts = unix:/run/postgresql\ndbname = hunnypot\nuser = postgres\nquery = {query}\n")
    return f"pgsql:{table}"


def ask_map(database, server, table, asked):
    """(look-ups a second, CPU microseconds of PostgreSQL a look-up)"""
    before, began = parts.cpu_seconds(database.server.pid, with_children=True), time.perf_counter()
    server.command("postmap", "-q", "-", table, input="".join(key + "\n" for key in asked), check=False, timeout=300)
    took = time.perf_counter() - began
    return len(asked) / took, (parts.cpu_seconds(database.server.pid, with_children=True) - before) / len(asked) * 1e6


def maps(database, options, networks):
    """Postfix's postmap, which asks as a proxymap does: simple queries over one connection."""
    database.query("DROP TABLE IF EXISTS plain_map; CREATE TABLE plain_map AS SELECT host(network) AS client, "
                   "'550 5.7.1 Listed for sending to a domain that gets no mail'::text AS action FROM hunnypot.listed_network; "
                   "ALTER TABLE plain_map ADD PRIMARY KEY (client); ANALYZE plain_map")
    server = postfix_part.Postfix("bench-postfix", trap=False)
    tables = [map_of("plain", "SELECT action FROM plain_map WHERE client = '%s'"), map_of("ours", OUR_MAP)]
    how_many = 500 if options.quick else 5000
    found = []
    for what, asked in (("listed", clients(how_many, networks)), ("not listed", clients(how_many, networks, listed=False)),
                        ("names", [f"mail{i}.example.com" for i in range(how_many)])):
        pairs = both(options.rounds, lambda: ask_map(database, server, tables[0], asked), lambda: ask_map(database, server, tables[1], asked))
        found += [Ratio(f"Postfix map, {what} / plain table: look-ups/s", [(a[0], b[0]) for a, b in pairs], at_least=0.9, unit="1/s"),
                  Ratio(f"Postfix map, {what} / plain table: CPU", [(a[1], b[1]) for a, b in pairs], unit="us")]
    return found


def question(number, client):
    labels = ".".join(reversed(client.split("."))) + ".bl.test"
    return struct.pack(">HHHHHH", number & 0xffff, 0x0100, 1, 0, 0, 0) + b"".join(
        bytes([len(label)]) + label.encode() for label in labels.split(".")) + b"\0\0\1\0\1"


def ask_all(address, asked, window=8):
    """Answers a second, so many questions on their way at once; each answer says what it should."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 53))
        sock.settimeout(10)
        began, sent = time.perf_counter(), 0
        for received in range(len(asked)):
            while sent < len(asked) and sent - received < window:
                sock.send(question(sent, asked[sent]))
                sent += 1
            sock.recv(1500)
        return len(asked) / (time.perf_counter() - began)


def ask_dnsbl(database, powerdns, base, asked):
    """(answers a second, CPU microseconds an answer of PowerDNS and its backends)"""
    def cpu():
        return cpu_us(powerdns.server.pid) + sum(cpu_us(pid) for pid in backends(database, base))
    before = cpu()
    rate = ask_all(powerdns.zone.server, asked)
    return rate, (cpu() - before) / len(asked)


def dnsbl(database, options, networks):
    powerdns_part.prepare(database)
    database.query("DROP DATABASE IF EXISTS pdns_own WITH (FORCE)", database="postgres")
    database.query("CREATE DATABASE pdns_own", database="postgres")
    schema = powerdns_part.MODULES.parents[2] / "share/pdns-backend-pgsql/schema/schema.pgsql.sql"
    database.query(schema.read_text() + RECORDS.format(networks=networks), database="pdns_own")
    database.query("VACUUM ANALYZE", database="pdns_own")
    found = []
    for name, caches, settings in (("caches off", ["cache-ttl=0", "query-cache-ttl=0", "negquery-cache-ttl=0"], ["consistent-backends=no"]),
                                   ("as shipped", ["cache-ttl=0", "query-cache-ttl=1", "negquery-cache-ttl=1"], [])):
        own = powerdns_part.PowerDns("launch+=gpgsql", "gpgsql-dbname=pdns_own", "gpgsql-user=pdns", "gpgsql-dnssec=no",
                                     "zone-cache-refresh-interval=60", *caches, address="127.0.0.4", name="pdns-own", shipped=False)
        ours = powerdns_part.PowerDns(*caches, *settings)
        for what in ("listed", "not listed"):
            def ask(powerdns, base):
                # Others each time, which are not in the cache.
                return ask_dnsbl(database, powerdns, base, clients(200 if options.quick else 2000, networks, what == "listed"))
            pairs = both(options.rounds, lambda: ask(own, "pdns_own"), lambda: ask(ours, "hunnypot"))
            words = f"DNSBL, {what}, {name} / PowerDNS's own schema"
            found += [Ratio(f"{words}: answers/s", [(a[0], b[0]) for a, b in pairs], at_least=0.9, unit="1/s"),
                      Ratio(f"{words}: CPU", [(a[1], b[1]) for a, b in pairs], unit="us")]
        own.server.stop()
        ours.server.stop()
    return found


def measure(options, needs):
    database = fresh(needs)
    networks = 20000 if options.quick else options.facts
    fewer = min(networks, 100000)
    fill(database, networks)
    found = look_ups(database, options, networks)
    fill(database, fewer)
    return found + maps(database, options, fewer) + dnsbl(database, options, fewer)
