"""A second population, drawn up apart from the first: fewer and smaller customers, other troubles, other habits.  What it finds that the
first did not is for the program to mend; its numbers are not fitted to what comes out.
"""
from simulation import population, senders
from simulation.world import DAY, HOUR, MINUTE, TRAP4


class Dialup(senders.Sender):
    """A mail server on a line that gets another address every few hours: the same letter comes from all of them."""

    def client_for(self, tries):
        return self.clients[int(self.world.engine.now / (5 * HOUR)) % len(self.clients)]

    def pause(self, age, tries):
        return 20 * MINUTE


class Exchange(senders.Sender):
    """Exchange's defaults: six tries a minute apart, then every 15 minutes, for two days; after a failed host the next one."""
    lifetime = 2 * DAY

    def pause(self, age, tries):
        return MINUTE if tries <= 6 else 15 * MINUTE


class SlowQueue(senders.Sendmail):
    """sendmail -q2h on a small host that nobody looks after."""
    queue_run = 2 * HOUR


class Village(population.Population):
    def _customers(self):
        self.grey_owners = []
        for delay, by_address in ((60, False), (30 * MINUTE, False), (HOUR, True)):
            owner = self._owner("grey", domains=2 if delay == 60 else 1)
            for host in owner.hosts:
                host.greylist, host.grey_delay, host.grey_by_address = True, delay, by_address
            self.grey_owners.append(owner)
        for _ in range(3):
            self._owner("plain")
        self._owner("dual", families=(4, 6))
        self._trouble(self._owner("nightly", primaries=2), self._nightly)
        dead = self._owner("first-dead", primaries=2)
        dead.hosts[0].down = {4, 6}
        self._trouble(self._owner("crowded"), self._crowded)
        self._trouble(self._owner("picky"), self._picky)
        full = self._owner("full-boxes")
        for host in full.hosts:
            host.full_boxes = {f"user{n}@{name}" for n in range(40) for name in full.domains}
        for host in self._owner("nameless-refused").hosts:
            host.refuses_nameless = True
        # Errors of operators: the trap host as an equal, and as the most preferred of all.
        for kind, preference in (("equal-trap", 10), ("trap-first", 1)):
            owner = self._owner(kind)
            domain = self.world.domains[owner.domains[0]]
            domain.mx = [(10, owner.hosts[0]), (preference, self.world.trap)]
        owner = self._owner("address")
        for name in owner.domains:
            domain = self.world.domains[name]
            domain.mx, domain.address = domain.mx[:1], TRAP4
        for number in range(2):
            self.world.add_domain(f"v{number}.trap.example", [(10, self.world.trap)], "trap")
        everyday = ("grey", "plain", "dual", "nightly", "first-dead", "crowded", "picky", "equal-trap", "trap-first")
        self.backup_domains = self.domains_of(*everyday)
        self.address_domains = self.domains_of("address")
        self.trap_domains = [f"v{number}.trap.example" for number in range(2)]

    # --- troubles of mail hosts

    def _nightly(self, owner):
        """The first host is away for a backup from 2:00 to 2:40, both for the first ten minutes of it."""
        while self.world.engine.now < self.end:
            yield DAY - (self.world.engine.now - 2 * HOUR) % DAY
            for host in owner.hosts:
                host.down = {4, 6}
            self.world.sensor.changed()
            yield 10 * MINUTE
            owner.hosts[1].down = set()
            self.world.sensor.changed()
            yield 30 * MINUTE
            owner.hosts[0].down = set()
            self.world.sensor.changed()

    def _crowded(self, owner):
        """For two hours a day 9 of 10 connections meet a 421."""
        while self.world.engine.now < self.end:
            yield DAY - (self.world.engine.now - 10 * HOUR) % DAY
            for host in owner.hosts:
                host.crowded = 0.9
            yield 2 * HOUR
            for host in owner.hosts:
                host.crowded = 0.0

    def _picky(self, owner):
        """Its filter defers everything for up to two and a half hours, now and then."""
        while self.world.engine.now < self.end:
            yield self.rng.expovariate(1 / (2 * DAY))
            self._set(owner, data_code=451)
            yield self.rng.uniform(5 * MINUTE, 2.5 * HOUR)
            self._set(owner, data_code=250)

    # --- honest senders

    def honest(self):
        for make, word in ((senders.Postfix, "postfix"), (senders.Exim, "exim"), (senders.Qmail, "qmail"), (Exchange, "exchange")):
            for name, count in (("named", 3), ("", 3), ("generic", 2)):
                for sender in self._add(make, f"{word} {name or 'nameless'}", "honest", name, count):
                    self._ordinary(sender, per_day=self.rng.choice((1, 3, 10)), some=6)
        for name in ("named", ""):
            for sender in self._add(SlowQueue, f"queue run every two hours {name or 'nameless'}", "honest", name, 2):
                self._ordinary(sender, per_day=3)
            for sender in self._add(senders.Postfix, f"IPv6 and IPv4 {name or 'nameless'}", "honest", name, 2, ip6=True):
                self._ordinary(sender, per_day=3)
            for sender in self._add(senders.Postfix, f"reports every hour to one address {name or 'nameless'}", "honest", name, 2):
                self._reports(sender)
            for sender in self._add(senders.Postfix, f"letters to 30 recipients {name or 'nameless'}", "honest", name, 2):
                self._crowds(sender)
            for sender in self._add(senders.Exim, f"newsletter to all customers {name or 'nameless'}", "honest", name, 2):
                self._to_all(sender)
        for count in (2, 5):
            dialup = Dialup(self.world, f"dialup line with {count} addresses", "honest")
            for _ in range(count):
                client = dialup.add_client("", apart=True)
                client.name = self._generic(client.ip4)
            self.all.append(dialup)
            self._ordinary(dialup, per_day=4, some=6)
        for sender in self._add(senders.Postfix, "mailbox is full, named", "honest", "named", 2):
            self._ordinary(sender, domains=self.domains_of("full-boxes"), some=5)
        for sender in self._add(senders.Postfix, "sends a signed-up newsletter to a trap each week", "honest", "named", 3):
            self._ordinary(sender, per_day=20, some=20)
            self.world.engine.spawn(self._weekly(sender), self.start + self.rng.random() * 3 * DAY)
        for sender in self._add(senders.Postfix, "auto-reply to a forged trap address", "honest", "", 2):
            self.world.engine.at(self.start + self.rng.random() * 3 * DAY,
                                 lambda sender=sender: sender.write("", [f"forged@{self.rng.choice(self.trap_domains)}"]))
        # In trouble for longer than a hit ripens, and nobody can tell them from bots.
        for sender in self._add(senders.Postfix, "mailbox is full, nameless", "limit", "", 2):
            self._ordinary(sender, domains=self.domains_of("full-boxes"), some=5)
        for sender in self._add(senders.Postfix, "refused for its missing name", "limit", "", 2):
            self._ordinary(sender, domains=self.domains_of("nameless-refused"))

    def _reports(self, sender):
        recipient = f"user7@{self.rng.choice(self.backup_domains)}"

        def report():
            while self.world.engine.now < self.end - DAY:
                sender.write(f"cron@{sender.clients[0].helo}", [recipient])
                yield HOUR
        self.world.engine.spawn(report(), self.start + self.rng.random() * HOUR)

    def _crowds(self, sender):
        def post():
            domain = self.rng.choice(self.backup_domains)
            sender.write(f"club@{sender.clients[0].helo}", [f"user{n}@{domain}" for n in range(30)])
        self.world.engine.spawn(sender.letters_at_times(1, self.end - DAY, post), self.start)

    def _to_all(self, sender):
        def issue():
            for number in range(4):
                for domain in self.backup_domains:
                    sender.write(f"bounce-{number}-{domain}@{sender.clients[0].helo}", [f"user{self.rng.randrange(50)}@{domain}"])
                yield 3 * DAY
        self.world.engine.spawn(issue(), self.start + self.rng.random() * DAY)

    def _weekly(self, sender):
        recipient = f"me@{self.rng.choice(self.trap_domains)}"
        for number in range(2):
            sender.write(f"news{number}@{sender.clients[0].helo}", [recipient])
            yield 7 * DAY

    def excluded(self):
        for sender in self._add(senders.Once, "one try of each report, nameless", "excluded", "", 2):
            self._ordinary(sender, domains=self.domains_of("grey", "crowded"), some=8)

    # --- spammers

    def spammers(self):
        def some(count):
            return range(max(2, round(count * self.scale)))
        backup = self.domains_of("grey", "plain", "dual", "nightly", "first-dead", "crowded", "picky")
        for number in some(30):
            self._strikes(self._spammer("a hit every few hours", "repeating", ("", "generic")[number % 2], domains=self.rng.sample(backup, 3)),
                          self.rng.choice((1, 3, 9)) * HOUR)
        for _ in some(10):
            self._strikes(self._spammer("a hit every two days", "repeating", "", domains=backup), 2 * DAY)
        for _ in some(10):
            sender = self._spammer("two hundred hits in ten minutes, once", "burst", "", domains=backup)
            self.world.engine.spawn(self._burst(sender), self.start + self.rng.random() * (self.end - self.start - DAY))
        for _ in some(10):
            sender = self._spammer("one letter for one address, again and again", "repeating", "", domains=self.rng.sample(backup, 1))
            envelope = sender.domains[0], "info@shop.example", [f"user3@{sender.domains[0]}"]
            sender.compose = lambda envelope=envelope: envelope
            self._strikes(sender, 5 * HOUR)
        for _ in some(6):
            self._strikes(self._spammer("IPv6, to hosts that have it", "repeating", "", ip6=True, domains=self.domains_of("dual")), 4 * HOUR)
        for _ in some(8):
            self._strikes(self._spammer("trap, named, new letters", "repeating named", "named", domains=self.trap_domains), 6 * HOUR)
        for _ in some(8):
            self._strikes(self._spammer("backup, named, new letters", "repeating named", "named", domains=backup), 6 * HOUR)
        for kind, count, strikes, apart in (("single-hit botnet", 100, 1, True), ("nameless snowshoe", 60, 2, False)):
            for _ in some(count):
                sender = self._spammer(kind, kind, "generic", apart=apart, domains=backup)
                self.world.engine.spawn(sender.strike_each(self.end - DAY, strikes), self.start)

    @staticmethod
    def _burst(sender):
        for _ in range(200):
            yield from sender.strike(sender.clients[0])
            yield 2
