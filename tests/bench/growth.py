"""How what a part takes grows with its work: each at 1, 10 and 100 times as much, the exponent n^x by which it grows, and the curves
(build/bench.svg, both axes logarithmic; dashed is what is allowed).

An exponent of 1 is a part that takes ten times as long for ten times the work, and 0 one that takes no longer (a look-up in ten
times the list).  It is that of the line through all three sizes or of the step between the larger two, whichever is steeper: what a
start costs once would hide in the first.
"""
import math
import statistics
import time
from pathlib import Path

from bench import batches, keeping, memory, parts, plot, readers, recording, sessions, start
from bench.stats import Figure
from testbed import base
from testbed import postfix as postfix_part
from testbed import powerdns as powerdns_part

LINEAR, FLAT = 1.1, 0.1  # the exponents that are allowed
NOTHING = 0.001  # what has a logarithm, where too little was taken for a clock to tell
DRAWING = base.TOP / "build/bench.svg"


def exponent(sizes, values):
    """x of n^x by least squares, through all of them or through the last two, whichever is steeper."""
    def slope(points):
        xs, ys = ([math.log(number) for number in side] for side in zip(*points))
        x, y = statistics.mean(xs), statistics.mean(ys)
        return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
    points = list(zip(sizes, values))
    return max(slope(points), slope(points[-2:]))


class Curve(Figure):
    """What one part took: TOOK is {size: [a value of each round]}, of which a round is one curve."""

    def __init__(self, name, of, unit, limit, took):
        took = {size: [max(value, NOTHING) for value in values] for size, values in took.items()}
        super().__init__(f"{name}, {unit}, {plot.number(min(took))} to {plot.number(max(took))} {of}: grows as n^",
                         [exponent(took, values) for values in zip(*took.values())], at_most=limit, unit=unit)
        self.title, self.of, self.limit, self.took = name, of, limit, took
        self.points = [(size, statistics.median(values)) for size, values in took.items()]
        self.grows = f"grows as n^{self.median:.2f}, at most n^{limit}"

    def verdict(self):
        """None where rounds are on both sides of the target, or there is but one."""
        return super().verdict() if len(self.values) > 1 and not min(self.values) <= self.at_most < max(self.values) else "no verdict"

    def as_json(self):
        return {**super().as_json(), "of": self.of, "took": [[size, values] for size, values in self.took.items()]}

    def line(self):
        between = f"{min(self.values):.2f}..{max(self.values):.2f}"
        return f"{self.name:79} {self.median:12.2f} {'':7} {between:>16} {f'<= {self.at_most}':>8} {self.verdict()}"


class Work:
    """Of which size, and how often."""

    def __init__(self, options, needs):
        self.needs, self.quick = needs, options.quick
        self.rounds = min(options.rounds, 3)
        self.step = 2 if options.quick else 10

    def sizes(self, smallest, quick):
        return [(quick if self.quick else smallest) * self.step ** power for power in range(3)]

    def curve(self, name, of, unit, limit, sizes, take):
        """TAKE(size) is what it takes, in UNIT; the rounds go through all sizes one after the other."""
        took = {size: [] for size in sizes}
        for _ in range(self.rounds):
            for size in sizes:
                took[size].append(take(size))
        return told(Curve(name, of, unit, limit, took))


def told(curve):
    points = ", ".join(f"{plot.number(size)}: {plot.number(value)}" for size, value in curve.points)
    print(f"growth: {curve.title}, {curve.unit} at so many {curve.of}: {points}; {curve.grows}", flush=True)
    return curve


def into_postgresql(work):
    """Batches of a sensor, and what they are when they are ripe."""
    database = work.needs.database()
    database.set_ahead(0)
    database.restart_with_true_clock()
    sizes = work.sizes(1000, batches.BATCH)
    batches.fresh(database, max(sizes))
    life, took = batches.Life(database, "grows"), {name: {size: [] for size in sizes} for name in ("record", "count")}
    for _ in range(work.rounds):
        for size in sizes:
            took["record"][size].append(batches.record(database, life, size)[1])
            took["count"][size].append(batches.count_ripe(database, life)[1])
    life.connection.close()
    return [told(Curve("hits into PostgreSQL", "hits", "seconds", LINEAR, took["record"])),
            told(Curve("counting what is ripe", "hits", "seconds", LINEAR, took["count"]))]


def shipped(work, hits):
    """Seconds from the start of a daemon until the database has HITS that were in its spool."""
    database, real = parts.fresh_database(work.needs), start.started()
    real.daemon.stop()
    start.fill(Path(real.daemon.spool), hits, clients=hits // 2)
    real.daemon.configure(database="user=sensor")
    connection = database.connect()
    try:
        with connection.cursor() as watch:
            def arrived():
                watch.execute("SELECT coalesce(max(last_seq), 0) FROM hunnypot.spool")
                return watch.fetchone()[0] > hits  # and the one that was there
            began = time.monotonic()
            real.daemon.start()
            base.wait_for(arrived, 300, "end of the backlog", interval=0.01)
            return time.monotonic() - began
    finally:
        connection.close()
        real.close()


def backlog(work):
    return [work.curve("a backlog shipped, with the start", "hits", "seconds", LINEAR, work.sizes(3000, 1000), lambda hits: shipped(work, hits))]


def letters(lines):
    """What Postfix logs of so many lines' worth of letters, four of each."""
    stamp, text = time.strftime("%b %e %H:%M:%S mx1 postfix/"), []
    for number in range(lines // 4):
        text += [f"smtpd[7]: Q{number}: client=c[203.0.113.{number % 250}]",
                 f"qmgr[7]: Q{number}: from=<a{number}@sender.example>, size=1, nrcpt=1 (queue active)",
                 f"lmtp[7]: Q{number}: to=<user{number}@backup.example>, relay=x, delay=1, status=sent (ok)",
                 f"qmgr[7]: Q{number}: removed"]
    return "".join(f"{stamp}{line}\n" for line in text)


def witness(work):
    recording.make_key(parts.HERE, parts.fresh_database(work.needs))
    texts = {lines: letters(lines) for lines in work.sizes(4000, 400)}
    return [work.curve("a witness reads a log", "lines", "seconds", LINEAR, texts, lambda lines: recording.read_log(parts.HERE, texts[lines]))]


def spool(work):
    """The start does not look at what was closed in order; after a crash it looks through all of it."""
    took = {end: {} for end in ("a stop", "a crash")}
    for hits in work.sizes(10000, 1000):
        real = start.started()
        real.daemon.stop()
        start.fill(Path(real.daemon.spool), hits)
        real.daemon.start()
        for _ in range(work.rounds):
            for end, end_it in (("a stop", real.daemon.stop), ("a crash", real.daemon.kill)):
                end_it()
                took[end].setdefault(hits, []).append(start.first_answer(real.daemon))
        real.close()
    return [told(Curve(f"start to the first answer, after {end}", "hits in the spool", "seconds", limit, took[end]))
            for end, limit in (("a stop", FLAT), ("a crash", LINEAR))]


def at_the_door(work):
    """Sessions one after the other, at once, and what they take of the memory when they do nothing."""
    count = 200 if work.quick else 10000

    def take(connections, how_many):
        return sessions.one(sessions.Real, connections, how_many, ["backup.example"])

    def idle(how_many):
        real = sessions.Real()
        try:
            parts.load(real.socket, 1, 1, ["backup.example"])
            before = memory.pss_mb(real.pid)
            return memory.idle(real, how_many, 200 if work.quick else 4000) - before
        finally:
            real.close()
    return [work.curve("sessions, 16 at once", "sessions", "seconds", LINEAR, work.sizes(500, 50), lambda size: size / take(16, size)[0]),
            work.curve("a session, among others", "sessions at once", "µs of CPU", FLAT, work.sizes(1, 1), lambda size: take(size, count)[1]),
            work.curve("memory of sessions that wait", "sessions at once", "MB", LINEAR, work.sizes(50, 10), idle)]


def look_ups(work):
    """In lists of each size; beside ours the same look-up without our function, which tells what a larger table costs in any case."""
    database = readers.fresh(work.needs)
    powerdns_part.prepare(database)
    postfix = postfix_part.Postfix("bench-postfix", trap=False)
    table, how_many = readers.map_of("ours", readers.OUR_MAP), 200 if work.quick else 5000
    plain = "plain = ANY"
    took = {name: {} for name in (plain, "listed()", "Postfix map", "DNSBL")}
    for networks in work.sizes(10000, 1000):
        readers.fill(database, networks)
        powerdns = powerdns_part.PowerDns("cache-ttl=0", "query-cache-ttl=0", "negquery-cache-ttl=0")
        connection = database.connect()
        with connection.cursor() as cursor:
            asks = {plain: lambda words: readers.ask_each(cursor, readers.PLAIN.format("'{}'::cidr[]"), [readers.prefixes(word) for word in words])[0],
                    "listed()": lambda words: readers.ask_each(cursor, "SELECT * FROM hunnypot.listed('{}')", words)[0],
                    "Postfix map": lambda words: readers.ask_map(database, postfix, table, words)[1],
                    "DNSBL": lambda words: readers.ask_dnsbl(database, powerdns, "hunnypot", words)[1]}
            for number in range(work.rounds + 1):
                words = readers.clients(how_many, networks)
                for name, ask in asks.items():
                    value = ask(words)
                    if number > 0:  # at first plans are made, and pages read
                        took[name].setdefault(networks, []).append(value)
        connection.close()
        powerdns.server.stop()
    return [told(Curve(f"a look-up: {name}", "networks listed", "µs of CPU", FLAT, values)) for name, values in took.items()]


def the_list(work):
    """Made of the facts, exported, and a day later a day's worth of it expired."""
    took = {name: {} for name in ("made", "export", "expire")}
    database = work.needs.database()
    for facts in work.sizes(10000, 2500) * work.rounds:
        database.set_ahead(0)
        database.restart()
        networks, seconds = keeping.fill(database, facts)
        took["made"].setdefault(networks, []).append(seconds)
        took["export"].setdefault(networks // 2, []).append(keeping.export_anew())
        took["expire"].setdefault(facts, []).append(sum(keeping.expired(database, 1, statistics=True)[0]))
    return [told(Curve("the list made", "networks", "seconds", LINEAR, took["made"])),
            told(Curve("the list exported", "networks listed", "seconds", LINEAR, took["export"])),
            told(Curve("a day's worth of it expired", "facts", "seconds", LINEAR, took["expire"]))]


def measure(options, needs):
    needs.dns()
    for address in ("198.51.100.1", "2001:db8:100::1"):
        needs.primary(address)
    parts.many_descriptors()
    work, curves = Work(options, needs), []
    for stage in (into_postgresql, backlog, witness, spool, at_the_door, look_ups, the_list):
        curves += stage(work)
    DRAWING.write_text(plot.svg("What a part takes at 1, 10 and 100 times its work", curves), encoding="utf-8")
    print(f"growth: drawn in {DRAWING.relative_to(base.TOP)}", flush=True)
    return curves
