"""Mail servers by their own rules: which host is next after which answer, what is remembered of a host, when the queue
is run again, and when a letter goes back.
"""
import math

from simulation.world import DAY, HOUR, MINUTE, TRAP4, Client, Outcome

NEXT_ANYTHING = ("connect", "greeting", "mail", "rcpt", "data")
NEXT_HOST_ERRORS = ("connect", "greeting")


class Sender:
    """Who sends: one sort of MTA on one machine or several.  GROUP is how it counts in the table of results."""

    lifetime = 5 * DAY      # RFC 5321 4.5.4.1: 4 to 5 days
    next_after = NEXT_ANYTHING
    equal_preferences = False  # takes all MX hosts for equal

    def __init__(self, world, kind, group):
        self.world, self.kind, self.group = world, kind, group
        self.clients = []
        self.cache = {}             # domain: (until, mx)
        self.cache_ttl = None       # longer than what DNS said, for those that do not obey it
        self.servfail = 0.0         # how often its resolver fails for an MX question
        self.blocked = {}           # mail host's name: until when it cannot be reached from here
        self.letters = self.delivered = self.refused = self.expired = self.lost_to_list = 0
        self.hits = self.recorded = 0
        self.first_hit = self.first_recorded = self.listed_at = None
        self.is_firm = False
        self.listed_seconds = 0
        self.classes = set()

    def add_client(self, name, ip6=False, ip4=True, apart=True):
        client = Client(self, self.world.new_ip4(apart) if ip4 else None, self.world.new_ip6() if ip6 else None, name,
                        name or "localhost.localdomain")
        self.clients.append(client)
        return client

    # What the kinds of MTA differ in.

    def client_for(self, tries):
        return self.clients[0]

    def pause(self, age, tries):
        """Seconds until the next run; None: it gives up."""
        raise NotImplementedError

    def passes_over(self, address):
        return False

    def note(self, address, outcome):
        """What became of a try of ADDRESS is remembered."""

    # What they have in common.

    def route(self, domain):
        """[(preference, host)], by the resolver that it has."""
        now, rng = self.world.engine.now, self.world.rng
        if self.servfail and rng.random() < self.servfail:
            # RFC 5321 5.1 forbids it: the A record in place of an MX that could not be looked up.
            return [(0, self.world.trap)] if self.world.domains[domain].address == TRAP4 else []
        until, mx = self.cache.get(domain, (0, None))
        if now >= until:
            known = self.world.domains[domain]
            mx = list(known.mx)
            self.cache[domain] = now + (self.cache_ttl or known.ttl), mx
        if self.equal_preferences:
            return rng.sample(mx, len(mx))
        return sorted(mx, key=lambda entry: (entry[0], rng.random()))

    def addresses(self, host, client):
        return [(family, address) for family, address in host.addresses() if client.address(family)]

    def run(self, client, domain, sender, recipients):
        """One run over the MX hosts; the last answer is left in self.last."""
        sessions = tries = 0
        self.last = Outcome("connect", 421)
        for _, host in self.route(domain):
            for _, address in self.addresses(host, client):
                if self.passes_over(address):
                    continue
                if tries >= 5 or sessions >= 2:  # smtp_mx_address_limit, smtp_mx_session_limit
                    return self.last
                if self.blocked.get(host.name, 0) > self.world.engine.now:
                    outcome = Outcome("connect", 421, 30)
                else:
                    outcome = host.transaction(client, address, sender, recipients)
                tries += 1
                sessions += outcome.stage not in NEXT_HOST_ERRORS
                yield outcome.seconds
                self.note(address, outcome)
                self.last = outcome
                if outcome.sent or outcome.permanent or outcome.stage not in self.next_after:
                    return outcome
        return self.last

    def letter(self, sender, recipients):
        """The life of one letter, all of whose recipients are of one domain."""
        engine, domain = self.world.engine, recipients[0].rsplit("@", 1)[1]
        born, tries, met_list = engine.now, 0, False
        self.letters += 1
        while True:
            outcome = yield from self.run(self.client_for(tries), domain, sender, recipients)
            met_list |= outcome.listed
            if outcome.sent:
                self.delivered += 1
                return
            if outcome.permanent:
                self.refused += 1
                self.lost_to_list += outcome.listed
                return
            tries += 1
            pause = self.pause(engine.now - born, tries)
            if pause is None or engine.now - born + pause > self.lifetime:
                self.expired += 1
                self.lost_to_list += met_list
                return
            yield pause

    def write(self, sender, recipients):
        self.world.engine.spawn(self.letter(sender, recipients))

    def letters_at_times(self, per_day, until, compose, busy_hours=True):
        """Letters at random, PER_DAY on average."""
        rng = self.world.rng
        while self.world.engine.now < until:
            yield rng.expovariate(per_day / DAY)
            if busy_hours and not 6 <= self.world.engine.now % DAY / HOUR < 20 and rng.random() < 0.7:
                continue
            compose()


class Postfix(Sender):
    """smtp_trouble.c: any temporary answer of a server that is not the last moves it to the next.  Back in the queue for the age
    of the letter, at least minimal_backoff_time 300 s, at most maximal_backoff_time 4000 s; queue_run_delay 300 s."""

    def pause(self, age, tries):
        return math.ceil(min(max(age, 300), 4000) / 300) * 300


class Exim(Sender):
    """Exim's specification, chapter 32 and 45.2, and Debian's retry rule "F,2h,15m; G,16h,1h,1.5; F,4d,6h": what fails to connect or
    to greet is remembered by address, and passed over until its time; a deferral behind that is the letter's own.  The queue
    is run every 30 minutes."""
    lifetime = 4 * DAY

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.memory = {}  # address: (first failure, tries, not before)

    def passes_over(self, address):
        return self.world.engine.now < self.memory.get(address, (0, 0, 0))[2]

    def note(self, address, outcome):
        now = self.world.engine.now
        if outcome.stage not in NEXT_HOST_ERRORS:
            self.memory.pop(address, None)
            return
        first, tries, _ = self.memory.get(address, (now, 0, 0))
        age = now - first
        wait = 15 * MINUTE if age < 2 * HOUR else min(HOUR * 1.5 ** max(tries - 8, 0), 6 * HOUR) if age < 16 * HOUR else 6 * HOUR
        self.memory[address] = first, tries + 1, now + wait

    def pause(self, age, tries):
        return 30 * MINUTE


class Qmail(Sender):
    """qmail-remote.c and tcpto.c: only who does not connect or greet moves it to the next host; an address that timed out twice is passed
    over for 64 to 97 minutes.  The n-th try comes (20 n)^2 seconds after the letter (qmail-send.c: nextretry)."""
    lifetime = 7 * DAY
    next_after = NEXT_HOST_ERRORS

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.memory = {}  # address: (time-outs, when)

    def passes_over(self, address):
        count, when = self.memory.get(address, (0, 0))
        return count >= 2 and self.world.engine.now - when < 64 * MINUTE + self.world.rng.random() * 33 * MINUTE

    def note(self, address, outcome):
        now = self.world.engine.now
        if outcome.stage == "connect":
            count, when = self.memory.get(address, (0, 0))
            if now - when >= 2 * MINUTE:
                self.memory[address] = count + 1, now
        else:
            self.memory.pop(address, None)

    def pause(self, age, tries):
        return (math.sqrt(age) + 20) ** 2 - age


class Sendmail(Sender):
    """HostStatusDirectory with Timeout.hoststatus 30m: a host that failed is passed over for that time; only who does not connect or greet
    moves it to the next.  Debian runs the queue every 10 minutes, older systems every hour."""
    next_after = NEXT_HOST_ERRORS
    queue_run = 10 * MINUTE

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.memory = {}

    def passes_over(self, address):
        return self.world.engine.now - self.memory.get(address, -HOUR) < 30 * MINUTE

    def note(self, address, outcome):
        if outcome.stage in NEXT_HOST_ERRORS:
            self.memory[address] = self.world.engine.now
        else:
            self.memory.pop(address, None)

    def pause(self, age, tries):
        return self.queue_run


class Pool(Sender):
    """A big provider: each try from another address, of this /24 or not, the envelope always the same (postfix-users: a letter of Gmail came eight
    times in 2 h 45 min, each time from a different host)."""

    def client_for(self, tries):
        return self.world.rng.choice(self.clients)

    def pause(self, age, tries):
        return (1, 5, 15, 30, 45, 60)[min(tries - 1, 5)] * MINUTE * (0.7 + 0.6 * self.world.rng.random())


class Once(Sender):
    """Never tries again (postgrey's whitelist names such senders): all MX hosts in one run, and that was it."""

    def pause(self, age, tries):
        return None


class Device(Sender):
    """Mails the A record of the domain, whatever its MX records say."""

    def route(self, domain):
        return [(0, self.world.trap)] if self.world.domains[domain].address == TRAP4 else super().route(domain)

    def pause(self, age, tries):
        return HOUR


class Monitor(Sender):
    """Mails every MX host by itself, and looks at each answer."""

    def watch(self, domain, every, until):
        client = self.clients[0]
        while self.world.engine.now < until:
            yield every
            for _, host in sorted(self.world.domains[domain].mx, key=lambda entry: entry[0]):
                for _, address in self.addresses(host, client)[-1:]:
                    self.letters += 1
                    outcome = host.transaction(client, address, f"monitor@{client.helo}", [f"check@{domain}"])
                    self.delivered += outcome.sent
                    self.refused += outcome.permanent
                    self.lost_to_list += outcome.listed
                    yield 5


class Callout(Sender):
    """Asks every MX host whether a recipient exists, with the null sender, to RCPT; a few go on to DATA."""

    def watch(self, domains, until, with_data):
        rng, client = self.world.rng, self.clients[0]
        while self.world.engine.now < until:
            yield rng.expovariate(6 / DAY)
            domain = rng.choice(domains)
            for _, host in sorted(self.world.domains[domain].mx, key=lambda entry: entry[0]):
                for _, address in self.addresses(host, client)[-1:]:
                    host.transaction(client, address, "", [f"user{rng.randrange(50)}@{domain}"], only_knock=not with_data)
                    yield 2


class Bouncer(Sender):
    """A legitimate host that returns what was forged in a trap's name: null sender, one recipient."""

    def pause(self, age, tries):
        return math.ceil(min(max(age, 300), 4000) / 300) * 300


class Spammer(Sender):
    """One or more addresses that mail by a plan of their own; nothing is tried again."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.domains = []
        self.knocks = False     # connects to the primaries first, and leaves
        self.sprays = False     # delivers to every MX host
        self.recipients_max = 3

    def compose(self):
        rng = self.world.rng
        domain = rng.choice(self.domains)
        sender = f"x{rng.randrange(10 ** 9)}@forged{rng.randrange(400)}.example"
        return domain, sender, [f"user{rng.randrange(50)}@{domain}" for _ in range(rng.randint(1, self.recipients_max))]

    def strike(self, client):
        """One transaction at the backup, or at all MX hosts."""
        domain, sender, recipients = self.compose()
        self.letters += 1
        mx = sorted(self.world.domains[domain].mx, key=lambda entry: entry[0])
        hosts = [host for _, host in mx if host is not self.world.trap] if self.knocks or self.sprays else []
        for host in hosts:
            for _, address in self.addresses(host, client)[-1:]:
                outcome = host.transaction(client, address, sender, recipients, spam=True, only_knock=self.knocks)
                self.delivered += outcome.sent
                yield outcome.seconds
        for _, address in self.addresses(self.world.trap, client)[-1:]:
            yield self.world.trap.transaction(client, address, sender, recipients).seconds

    def strike_at_times(self, every, until):
        """From any of its addresses, EVERY so many seconds on average."""
        rng = self.world.rng
        while self.world.engine.now < until:
            yield from self.strike(rng.choice(self.clients))
            yield every * (0.5 + rng.random())

    def strike_each(self, until, times):
        """TIMES from each address, at random moments."""
        rng, now = self.world.rng, self.world.engine.now
        moments = sorted((now + rng.random() * (until - now), number) for number in range(len(self.clients)) for _ in range(times))
        for moment, number in moments:
            yield max(0, moment - self.world.engine.now)
            yield from self.strike(self.clients[number])
