"""The Internet that the senders live in: domains, their primaries, the trap host that is their backup, and the list.

A mail host's answer to one transaction is an Outcome.  Where it happened tells a client's MTA whether to go on to the
next host; the witness reads the same from the primary's log.
"""
import ipaddress
import math
import random
from dataclasses import dataclass, field

DAY, HOUR, MINUTE = 86400, 3600, 60
TRAP4, TRAP6 = "192.0.2.1", "2001:db8::1"
TRAP_NAME = "mx9.trap.example"


@dataclass
class Outcome:
    stage: str          # "connect", "greeting", "mail", "rcpt", "data": where it ended; "sent": taken
    code: int = 250
    seconds: float = 1  # how long it took
    listed: bool = False  # refused because of our list

    @property
    def sent(self):
        return self.stage == "sent"

    @property
    def permanent(self):
        return self.code >= 500 and self.stage in ("mail", "rcpt", "data")


@dataclass
class Client:
    """One machine that sends mail: its addresses, and what reverse DNS says of it."""
    sender: object
    ip4: str = None
    ip6: str = None
    name: str = ""          # forward-confirmed reverse DNS; "" none
    helo: str = "localhost"

    def address(self, family):
        return self.ip6 if family == 6 else self.ip4


@dataclass
class Entry:
    """A line of a primary's log that matters to a witness."""
    time: float
    host: str
    client: str
    name: str
    sender: str
    recipient: str
    result: str  # accepted, turned (away), listed (turned away because of our list)
    stage: str   # the outcome's


def network(address):
    """The /24 or /64 of an address, as the database writes it."""
    return str(ipaddress.ip_network((address, 64 if ":" in address else 24), strict=False))


class MailHost:
    """A primary.  Faults are attributes that population.py changes as time goes."""

    def __init__(self, world, name, ip4=None, ip6=None):
        self.world, self.name, self.ip4, self.ip6 = world, name, ip4, ip6
        self.down = set()        # families
        self.greeting = 220      # a code for everybody, or 220
        self.greylist = False    # Postgrey: 300 s per /24 (/64), sender and recipient; five passes make a network known
        self.grey_delay, self.grey_by_address = 300, False
        self.crowded = 0.0       # this share of connections get 421
        self.full_boxes = set()  # recipients that get 452
        self.refuses_nameless = False  # reject_unknown_reverse_client_hostname: 450 for ever
        self.postscreen = False  # 450 to an address that it has not seen for 30 days (postscreen_*_ttl)
        self.busy = 0.0          # at most this share of connections get 421, in the busiest hour
        self.hostile = set()     # addresses that get a 554 greeting
        self.mail_code = 250     # 452: a full disk (smtpd's check at MAIL, reported at RCPT or MAIL)
        self.data_code = 250     # 451: a dead content filter
        self.spam_share = 0.0    # of the spam is refused at DATA
        self.uses_list = True
        self.accepted = 0
        self._grey, self._passes, self._seen = {}, {}, {}
        self._connected = {}     # connections of an address lately, for 421 limits (anvil)
        self.rate_limit = 0      # connections a minute from one address; 0: no limit

    def addresses(self):
        return [(family, address) for family, address in ((6, self.ip6), (4, self.ip4)) if address]

    def state(self, address):
        """What a probe sees."""
        if (6 if ":" in address else 4) in self.down:
            return "down"
        return "accepting" if self.greeting == 220 else "deferring"

    def transaction(self, client, address, sender, recipients, spam=False, only_knock=False):
        """One transaction over the family of ADDRESS."""
        family = 6 if ":" in address else 4
        if family in self.down:
            return Outcome("connect", 421, 30)
        source = client.address(family)
        outcome = self._judge(client, source, sender, recipients, spam, only_knock)
        self._log(client, source, sender, recipients, outcome, only_knock)
        return outcome

    def _judge(self, client, source, sender, recipients, spam, only_knock):
        now, rng = self.world.engine.now, self.world.rng
        if self.greeting != 220:
            return Outcome("greeting", self.greeting)
        if source in self.hostile:
            return Outcome("greeting", 554)
        if self._over_rate(source, now) or (self.busy and rng.random() < self.busy * busy_hour(now)):
            return Outcome("greeting", 421)
        if self.crowded and rng.random() < self.crowded:
            return Outcome("greeting", 421)
        if only_knock:
            return Outcome("mail", 250)
        if self.uses_list and (code := self.world.list_code(source)):
            return Outcome("rcpt", code, listed=True)
        if self.postscreen:
            known = self._seen.get(source, -math.inf) > now - 30 * DAY
            self._seen[source] = now
            if not known:
                return Outcome("rcpt", 450, 7)  # postscreen_greet_wait is 6 s
        if self.mail_code != 250:
            return Outcome("rcpt", self.mail_code)
        if self.refuses_nameless and not client.name:
            return Outcome("rcpt", 450)
        if self.full_boxes.intersection(recipients):
            return Outcome("rcpt", 452)
        if self.greylist and self._is_grey(source, sender, recipients, now):
            return Outcome("rcpt", 451)
        if self.data_code != 250:
            return Outcome("data", self.data_code)
        if spam and rng.random() < self.spam_share:
            return Outcome("data", 550)
        return Outcome("sent", 250, 2)

    def _over_rate(self, source, now):
        if not self.rate_limit:
            return False
        recent = [moment for moment in self._connected.get(source, ()) if moment > now - MINUTE] + [now]
        self._connected[source] = recent
        return len(recent) > self.rate_limit

    def _is_grey(self, source, sender, recipients, now):
        net = source if self.grey_by_address else network(source)
        if self._passes.get(net, 0) >= 5:
            return False
        waits = False
        for recipient in recipients:
            first = self._grey.setdefault((net, sender, recipient), now)
            if now - first < self.grey_delay:
                waits = True
        if not waits:
            self._passes[net] = self._passes.get(net, 0) + 1
        return waits

    def _log(self, client, source, sender, recipients, outcome, only_knock):
        if outcome.sent:
            self.accepted += 1
        result = "accepted" if outcome.sent else "listed" if outcome.listed else "turned"
        for recipient in (recipients if not only_knock else [""]):
            self.world.log(Entry(self.world.engine.now, self.name, source, client.name, sender, recipient, result, outcome.stage))


def busy_hour(now):
    """1 in the busiest hour of a working day, near 0 at night."""
    return max(0.0, math.sin((now % DAY) / DAY * 2 * math.pi - math.pi / 2)) * (0.4 if now // DAY % 7 in (2, 3) else 1)


class Trap:
    """The trap host, as all domains see it: it defers at DATA, and has the judge look."""
    name, ip4, ip6 = TRAP_NAME, TRAP4, TRAP6

    def __init__(self, world):
        self.world = world

    def addresses(self):
        return [(6, self.ip6), (4, self.ip4)]

    def transaction(self, client, address, sender, recipients, spam=False, only_knock=False):
        if not only_knock:
            self.world.sensor.transaction(client, client.address(6 if ":" in address else 4), address, sender, recipients)
        return Outcome("data", 451)


@dataclass
class Domain:
    name: str
    mx: list            # of (preference, host)
    address: str = None  # its own A record
    ttl: int = 3600
    owner: str = ""


@dataclass
class Owner:
    """A customer: his primaries, and domains that all have the same."""
    name: str
    hosts: list
    domains: list = field(default_factory=list)
    kind: str = "plain"


class World:
    def __init__(self, engine, seed):
        self.engine = engine
        self.rng = random.Random(seed)
        self.domains, self.owners, self.hosts = {}, [], {}
        self.trap = Trap(self)
        self.sensor = None
        self.entries = []      # all primaries' logs, in the order of time
        self.listed = {}       # network text -> SMTP code, as the database said last
        self._next4, self._next6 = 0, 0

    # Addresses nobody uses: RFC 2544's for IPv4, RFC 3849's for IPv6.
    def new_ip4(self, apart=True):
        """An address of a /24 of its own, or the next one of the /24 that was used last."""
        self._next4 += 256 - self._next4 % 256 + 9 if apart else 1
        n = self._next4
        return f"198.{18 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"

    def new_ip6(self):
        self._next6 += 1
        return f"2001:db8:{self._next6:x}::25"

    def add_host(self, name, families=(4,)):
        number = len(self.hosts) + 1
        host = MailHost(self, name, f"203.0.113.{number}" if 4 in families else None,
                        f"2001:db8:ffff::{number:x}" if 6 in families else None)
        self.hosts[name] = host
        return host

    def add_domain(self, name, mx, owner="", address=None, ttl=3600):
        domain = self.domains[name] = Domain(name, mx, address, ttl, owner)
        return domain

    def log(self, entry):
        self.entries.append(entry)

    def list_code(self, address):
        """The reply code that our list has for a client, or None."""
        if not self.listed:
            return None
        return self.listed.get(address) or (":" in address and self.listed.get(network(address))) or None

    def dns_text(self, domain):
        """As tests/unit/mx_text.h has it."""
        items = [f"{preference} {host.name} " + " ".join(address for _, address in host.addresses())
                 for preference, host in domain.mx]
        if domain.address:
            items.append(f"@ {domain.address}")
        return ";".join([*items, f"ttl {domain.ttl}"])
