"""One run: a population plays for some days against the daemon's judge and the database, in steps of virtual time."""
import collections
import json
import time
import uuid
from dataclasses import dataclass, replace

from simulation import engine as engine_part
from simulation import judge as judge_part
from simulation import population as population_part
from simulation import results as results_part
from simulation import witness as witness_part
from simulation import world as world_part
from simulation.database import stamp
from simulation.world import DAY, HOUR, TRAP4, TRAP6

START = 1772409600  # Monday 2026-03-02 00:00 UTC
STEP = 600          # seconds between two looks of the sensors, witnesses and primaries at the database
COLUMNS = ("senders", "letters", "delivered", "refused", "expired", "lost_to_list", "hits", "recorded", "listed", "firm", "days")
SPOOL = "00000000-0000-4000-8000-000000000001"
WITNESS_STEP = 7200  # seconds from one time that a witness tells to the next
WARM_UP = 1.5 * DAY  # witnesses have to have watched for a day before a hit


@dataclass
class Scenario:
    """What is other than usual.  Each defence can be off: by the policy (SQL), by a setting of the daemon (LIVENESS), or in what is
    told to the database."""
    share: float = 1.0   # of the customers have witnesses at their primaries
    fault: str = None    # of all witnesses, from the middle on (witness.py)
    sql: tuple = ()      # after the classes are enabled
    liveness: str = ""   # of hunnypot.conf
    owners: bool = True  # the domains of one customer are one owner's
    names: bool = True   # clients have their names
    letters: bool = True  # witnesses see letters that were accepted, not only clients


class Play:
    def __init__(self, database, programs, folder, scenario=Scenario(), seed=1, days=14, scale=1.0, step=STEP,
                 population=population_part.Population):
        self.database, self.step, self.scenario = database, step, scenario
        self.engine = engine_part.Engine(START)
        self.world = world_part.World(self.engine, seed)
        self.sensor = judge_part.Sensor(self.world, programs / "judge_lines", folder, scenario.liveness)
        self.world.sensor = self.sensor
        self.witnesses, self.entries_read = None, 0
        if scenario.share > 0:
            self.witnesses = witness_part.Witnesses(self.world, programs / "witness_lines", self.sensor.key, folder, scenario.share,
                                                    scenario.fault, START + WARM_UP + days * DAY / 2)
        self.end = START + WARM_UP + days * DAY
        self.population = population(self.world, START + WARM_UP, self.end, scale)
        self.population.honest()
        self.population.excluded()
        self.population.spammers()
        self.by_address = collections.defaultdict(list)
        for sender in self.population.all:
            for client in sender.clients:
                for address in filter(None, (client.ip4, client.ip6)):
                    self.by_address[address].append(sender)
                    if ":" in address:
                        self.by_address[world_part.network(address)].append(sender)
        self.sequence, self.mark = 0, None
        self.spent = collections.Counter()
        self.explained = []  # (kind, address, sentences)
        self.sensor.on_verdict = self._judged

    def _judged(self, hit):
        sender = hit.client.sender
        sender.hits += 1
        sender.first_hit = sender.first_hit or hit.time
        if hit.verdict == "offence":
            sender.recorded += 1
            sender.first_recorded = sender.first_recorded or hit.time

    def run(self):
        connection = self.database.connect(user="sensor")
        operator = self.database.connect(user="operator")
        try:
            self.cursor, self.operator = connection.cursor(), operator.cursor()
            self.database.set_clock(self.engine.now)
            self.cursor.execute(f"SELECT hunnypot.sensor_hello('mx9', '{SPOOL}', '{{}}', 1)")
            self.operator.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'hunnypot.new_hit'::regclass AND attnum > 0 "
                                  "AND NOT attisdropped ORDER BY attnum")
            self.columns = [name for name, in self.operator.fetchall()]
            self.operator.execute("SELECT hunnypot.policy_enable(class) FROM hunnypot.policy WHERE class <> 'null-sender'")
            for statement in self.scenario.sql:
                self.operator.execute(statement)
            self.sensor.start()
            while self.engine.now < self.end:
                self._timed("world", lambda: self.engine.run(self.engine.now + self.step))
                self._timed("judge", self.sensor.clock)
                self.database.set_clock(self.engine.now)
                self._timed("record", self._record)
                self._timed("witness", self._witness)
                self._timed("tick", self._tick)
                self._timed("list", self._read_list)
            self._explain_free()
        finally:
            connection.close()
            operator.close()
        self.sensor.close()
        if self.witnesses:
            self.witnesses.close()

    def _timed(self, what, call):
        began = time.monotonic()
        call()
        self.spent[what] += time.monotonic() - began

    def _record(self):
        if self.engine.now % HOUR < self.step:
            self.cursor.execute("SELECT hunnypot.sensor_heartbeat('mx9', 'simulation', 0, 0, 0, '{}')")
        hits, self.sensor.recorded = self.sensor.recorded, []
        if hits:
            link = str(uuid.uuid4())
            self.cursor.execute(f"SELECT hunnypot.record_batch('mx9', '{SPOOL}', %s, %s, false, %s::hunnypot.new_hit[])",
                                [self.mark, link, [self._row(hit) for hit in hits]])
            self.mark = link

    def _row(self, hit):
        """In the order of the type's columns."""
        self.sequence += 1
        known = {
            "seq": self.sequence, "hit_id": hit.hit_id, "time": stamp(hit.time), "client": hit.address, "client_port": 4711,
            "client_name": hit.client.name or f"[{hit.address}]", "helo": hit.client.helo, "sender": hit.sender,
            "recipients": hit.recipients, "recipients_total": len(hit.recipients), "null_sender": hit.sender == "", "tls": False,
            "class": hit.kind, "domain": hit.domain, "primary_host": None if hit.primary == "-" else hit.primary,
            "primary_age_ms": hit.primary_age_ms, "queue_id": f"Q{hit.number}", "mta_name": "mx9.trap.example", "local": hit.local,
            "owner": self.world.domains[hit.domain].owner if self.scenario.owners else hit.domain,
        }
        confirmed = self.scenario.names and hit.client.name and not population_part.is_generic(hit.client.name)
        known |= {"name_state": "confirmed" if confirmed else "none", "key_id": hit.key_id, "envelope": hit.hashes, "envelope_whole": hit.whole,
                  "primaries": [host.name for _, host in self.world.domains[hit.domain].mx if host is not self.world.trap]}
        return tuple(known[column] for column in self.columns)

    def _witness(self):
        """The sensors tell of their probes, which are in the logs of the hosts that were up, and the witnesses read those."""
        names = {address: host.name for host in self.world.hosts.values() for _, address in host.addresses()}
        probes = [(moment, names.get(address, address), address) for moment, address, state in self.sensor.probes if state != "down"]
        self.sensor.probes.clear()
        report = [{"mx": host, "source": TRAP6 if ":" in address else TRAP4, "time": int(moment * 1e6)} for moment, host, address in probes]
        self.cursor.execute("SELECT hunnypot.sensor_probes(%s)", [json.dumps(report)])
        entries, self.entries_read = self.world.entries[self.entries_read:], len(self.world.entries)
        if self.witnesses:
            self.witnesses.take(entries if self.scenario.letters else [replace(entry, result="turned") for entry in entries], probes)
            if self.engine.now % WITNESS_STEP < self.step:
                self.witnesses.read()

    def _tick(self):
        more = True
        while more:
            self.cursor.execute("SELECT hunnypot.tick()")
            more = self.cursor.fetchone()[0]

    def _read_list(self):
        self.operator.execute("SELECT network::text, class, left(code, 3)::int FROM hunnypot.listing WHERE network <> '127.0.0.2/32'")
        now, listed = self.engine.now, {}
        for text, kind, code in self.operator.fetchall():
            key = text.removesuffix("/32").removesuffix("/128")
            listed[key] = max(code, listed.get(key, 0))
            for sender in self.by_address.get(key, ()):
                if not sender.listed_at:
                    sender.listed_at = now
                    if sender.group in results_part.PEOPLE:
                        self._explain(sender, key)
                sender.classes.add(kind)
                sender.is_firm = sender.is_firm or code >= 500
        for sender in {id(sender): sender for key in listed for sender in self.by_address.get(key, ())}.values():
            sender.listed_seconds += self.step
        self.world.listed = listed

    def _explain(self, sender, address):
        """Keep what the project itself says of why an honest sender is listed."""
        self.operator.execute("SELECT what FROM hunnypot.why(%s)", [address.partition("/")[0]])
        self.explained.append((f"{sender.group} / {sender.kind}", address, [what for what, in self.operator.fetchall()]))

    def _explain_free(self):
        """And of why a spammer that was recorded is not."""
        for sender in self.population.all:
            if sender.group not in results_part.PEOPLE and not sender.listed_at and sender.hits:
                for address in filter(None, (sender.clients[0].ip4, sender.clients[0].ip6)):
                    self.operator.execute("SELECT what FROM hunnypot.why(%s)", [address])
                    self.explained.append((f"{sender.group} / {sender.kind}", address, [f"{sender.hits} hits, {sender.recorded} recorded"]
                                           + [what for what, in self.operator.fetchall()]))

    def results(self):
        """{"group / kind": numbers}; "delays": hours from a sender's first hit to its first listing, for each that was listed."""
        rows = {}
        for sender in self.population.all:
            row = rows.setdefault(f"{sender.group} / {sender.kind}", dict.fromkeys(COLUMNS, 0) | {"delays": []})
            row["senders"] += 1
            row["listed"] += sender.listed_at is not None
            row["firm"] += sender.is_firm
            row["days"] += sender.listed_seconds / DAY
            for name in ("letters", "delivered", "refused", "expired", "lost_to_list", "hits", "recorded"):
                row[name] += getattr(sender, name)
            if sender.listed_at:
                row["delays"].append((sender.listed_at - sender.first_hit) / HOUR)
        return rows
