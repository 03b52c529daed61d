"""Who lives in the simulated world: customers with their mail hosts and those hosts' troubles, honest senders, spammers.

The rules of the senders are in senders.py, those of mail hosts in world.py; here are the numbers.  GROUPS: "honest" must never be listed;
"excluded" are the three that no rule can tell from a bot; "limit" are honest ones in trouble for longer than a hit ripens, told apart
in the table; the rest are spammers of a sort each.
"""
from simulation import senders
from simulation.world import DAY, HOUR, MINUTE, TRAP4

OFFICE = 2  # letters a day of a small sender


def is_generic(name):
    """Made from the address."""
    return name.startswith("host-")


class Population:
    def __init__(self, world, start, end, scale=1.0):
        self.world, self.start, self.end, self.scale = world, start, end, scale
        self.rng = world.rng
        self.all = []
        self.serial = 0
        self._customers()

    # --- customers

    def _owner(self, kind, families=(4,), domains=1, primaries=1, ttl=3600, equal=False):
        number = len(self.world.owners) + 1
        hosts = [self.world.add_host(f"mx{i + 1}.c{number}.example", families) for i in range(primaries)]
        for host in hosts:
            host.spam_share = 0.9
        owner = type("Owner", (), {"kind": kind, "hosts": hosts, "domains": []})
        for i in range(domains):
            mx = [(10 if equal else 10 * (j + 1), host) for j, host in enumerate(hosts)] + [(90, self.world.trap)]
            owner.domains.append(self.world.add_domain(f"c{number}{'abc'[i]}.example", mx, f"c{number}", "203.0.113.250", ttl).name)
        self.world.owners.append(owner)
        return owner

    def _customers(self):
        for _ in range(5):
            self._owner("plain", domains=2)
        for number in range(6):
            owner = self._owner("grey", domains=2, families=(4, 6) if number == 5 else (4,))
            for host in owner.hosts:
                host.greylist = True
        for _ in range(2):
            for host in self._owner("busy").hosts:
                host.busy = 0.3
        for host in self._owner("rate").hosts:
            host.rate_limit = 2
        for _ in range(2):
            for host in self._owner("postscreen").hosts:
                host.postscreen = True
        self._owner("two", primaries=2)
        self._owner("two", primaries=2, equal=True, families=(4, 6))
        self._owner("dual", families=(4, 6))
        self._trouble(self._owner("broken-v6", families=(4, 6)), self._break_family)
        self._owner("v6-only", families=(6,))
        for _ in range(2):
            self._trouble(self._owner("outages"), self._outages)
        self._trouble(self._owner("flapping"), self._flap)
        self._trouble(self._owner("full-disk"), self._full_disk)
        self._trouble(self._owner("dead-filter"), self._dead_filter)
        self._owner("hostile")
        self._trouble(self._owner("moved", ttl=DAY), self._move)
        self._trouble(self._owner("readdressed", ttl=DAY // 2), self._readdress)
        for _ in range(2):  # class address: the A record is the trap host, the MX records point elsewhere
            owner = self._owner("address")
            for name in owner.domains:
                domain = self.world.domains[name]
                domain.mx, domain.address = domain.mx[:1], TRAP4
        for number in range(3):
            self.world.add_domain(f"d{number}.trap.example", [(10, self.world.trap)], "trap")
        self.backup_domains = [name for owner in self.world.owners if owner.kind != "address" for name in owner.domains]
        self.address_domains = [name for owner in self.world.owners if owner.kind == "address" for name in owner.domains]
        self.trap_domains = [f"d{number}.trap.example" for number in range(3)]

    def domains_of(self, *kinds):
        return [name for owner in self.world.owners if owner.kind in kinds for name in owner.domains]

    # --- troubles of mail hosts

    def _trouble(self, owner, trouble):
        self.world.engine.spawn(trouble(owner))

    def _set(self, owner, **attributes):
        for host in owner.hosts:
            for name, value in attributes.items():
                setattr(host, name, value)
        self.world.sensor.changed()

    def _outages(self, owner):
        """A reboot of three minutes and an outage of hours, now and then."""
        while self.world.engine.now < self.end:
            yield self.rng.expovariate(1 / (2.5 * DAY))
            length = self.rng.choice((3 * MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, 12 * HOUR))
            self._set(owner, down={4, 6})
            yield length
            self._set(owner, down=set())

    def _flap(self, owner):
        """Down for half a minute to four minutes, several times in an hour, twice a week."""
        while self.world.engine.now < self.end:
            yield self.rng.expovariate(1 / (3.5 * DAY))
            for _ in range(12):
                self._set(owner, down={4, 6})
                yield self.rng.uniform(30, 240)
                self._set(owner, down=set())
                yield self.rng.uniform(60, 400)

    def _break_family(self, owner):
        while self.world.engine.now < self.end:
            yield self.rng.expovariate(1 / (2 * DAY))
            self._set(owner, down={self.rng.choice((4, 6))})
            yield self.rng.uniform(HOUR, DAY)
            self._set(owner, down=set())

    def _full_disk(self, owner):
        while self.world.engine.now < self.end:
            yield self.rng.expovariate(1 / (3 * DAY))
            self._set(owner, mail_code=452)
            yield self.rng.uniform(10 * MINUTE, 3 * HOUR)
            self._set(owner, mail_code=250)

    def _dead_filter(self, owner):
        while self.world.engine.now < self.end:
            yield self.rng.expovariate(1 / (3 * DAY))
            self._set(owner, data_code=451)
            yield self.rng.uniform(10 * MINUTE, 3 * HOUR)
            self._set(owner, data_code=250)

    def _move(self, owner):
        """Another mail host in the MX record; the old one is switched off a day later."""
        yield self.start + (self.end - self.start) * 0.4 - self.world.engine.now
        old = owner.hosts[0]
        new = self.world.add_host("mxnew." + owner.domains[0])
        new.spam_share = 0.9
        for name in owner.domains:
            domain = self.world.domains[name]
            domain.mx = [(10, new), *domain.mx[1:]]
        owner.hosts = [new]
        self.world.sensor.changed()
        yield DAY
        old.down = {4, 6}
        self.world.sensor.changed()

    def _readdress(self, owner):
        """The same mail host at another address, from one moment to the next."""
        yield self.start + (self.end - self.start) * 0.6 - self.world.engine.now
        owner.hosts[0].ip4 = "203.0.113.240"
        self.world.sensor.changed()

    # --- names

    def _named(self):
        self.serial += 1
        return f"mail.s{self.serial}.example"

    @staticmethod
    def _generic(ip4):
        return "host-" + ip4.replace(".", "-") + ".pool.isp.example"

    def _add(self, make, kind, group, name="", count=1, **client):
        """COUNT senders of a class of senders.py with one machine each; NAME: "named", "generic" (made from the address), "" none."""
        made = []
        for _ in range(max(1, round(count * self.scale)) if group in ("honest", "excluded", "limit") else count):
            sender = make(self.world, kind, group)
            one = sender.add_client(self._named() if name == "named" else "", **client)
            if name == "generic" and one.ip4:
                one.name = self._generic(one.ip4)
            one.helo = one.name or "localhost.localdomain"
            self.all.append(sender)
            made.append(sender)
        return made

    # --- honest senders

    def _ordinary(self, sender, per_day=OFFICE, domains=None, some=4):
        """Letters to a few correspondents, most of them written to again."""
        domains = domains or self.backup_domains
        known = [f"user{self.rng.randrange(50)}@{domain}" for domain in self.rng.sample(domains, min(some, len(domains)))]

        def compose():
            recipient = self.rng.choice(known)
            sender.write(f"person{self.rng.randrange(9)}@{sender.clients[0].helo}", [recipient])
        self.world.engine.spawn(sender.letters_at_times(per_day, self.end - DAY, compose), self.start + self.rng.random() * DAY)

    def _rare(self, sender):
        """One letter in all this time."""
        recipient = f"user{self.rng.randrange(50)}@{self.rng.choice(self.backup_domains)}"
        self.world.engine.at(self.start + self.rng.random() * (self.end - self.start - 2 * DAY),
                             lambda: sender.write(f"once@{sender.clients[0].helo}", [recipient]))

    def honest(self):
        grey = self.domains_of("grey", "postscreen")
        mtas = ((senders.Postfix, "postfix", 6, 3), (senders.Exim, "exim", 5, 3), (senders.Qmail, "qmail", 3, 2),
                (senders.Sendmail, "sendmail", 3, 2))
        for make, word, named, nameless in mtas:
            for name, count in (("named", named), ("", nameless), ("generic", 1)):
                for sender in self._add(make, f"{word} {name or 'nameless'}", "honest", name, count):
                    self._ordinary(sender)
        for sender in self._add(senders.Sendmail, "sendmail hourly queue", "honest", "named", 2):
            sender.queue_run = HOUR
            self._ordinary(sender)
        for name in ("named", ""):
            for sender in self._add(senders.Postfix, f"postfix dual stack {name or 'nameless'}", "honest", name, 2, ip6=True):
                self._ordinary(sender, domains=self.domains_of("broken-v6", "v6-only", "dual", "two", "grey"))
            for sender in self._add(senders.Postfix, f"rare letter {name or 'nameless'}", "honest", name, 6):
                self._rare(sender)
            for sender in self._add(senders.Postfix, f"ipv4 to ipv6-only primary {name or 'nameless'}", "honest", name, 1):
                self._ordinary(sender, domains=self.domains_of("v6-only", "broken-v6"))
            for sender in self._add(senders.Postfix, f"takes all MXs for equal {name or 'nameless'}", "honest", name, 2):
                sender.equal_preferences = True
                self._ordinary(sender)
            for sender in self._add(senders.Postfix, f"one letter to two domains, greylisted {name or 'nameless'}", "honest", name, 3):
                self._newsletter(sender, 1)
            for sender in self._add(senders.Postfix, f"newsletter to two domains of a customer {name or 'nameless'}", "honest", name, 2):
                self._newsletter(sender, 12)
        self._pools()
        for sender in self._add(senders.Once, "never tries again, named", "honest", "named", 2):
            self._ordinary(sender, domains=grey, some=8)
        for sender in self._add(senders.Monitor, "monitor of every MX", "honest", "named", 2):
            self.world.engine.spawn(sender.watch(self.rng.choice(self.domains_of("plain")), HOUR, self.end), self.start)
        for with_data in (False, True):
            for sender in self._add(senders.Callout, "callout to " + ("DATA" if with_data else "RCPT"), "honest", "named", 2):
                self.world.engine.spawn(sender.watch(self.backup_domains, self.end, with_data), self.start)
        for sender in self._add(senders.Postfix, "resolver with SERVFAIL", "honest", "named", 3):
            sender.servfail = 0.15
            self._ordinary(sender, domains=self.address_domains + self.domains_of("plain"))
        for name in ("named", ""):
            # Doubt lasts for the TTL; who keeps an answer for days longer does not reach the new host in the time that a hit has.
            for sender in self._add(senders.Postfix, f"cache past its TTL {name or 'nameless'}", "honest" if name else "limit", name, 2):
                sender.cache_ttl = 3 * DAY
                self._ordinary(sender, domains=self.domains_of("moved", "readdressed"))
        for sender in self._add(senders.Postfix, "correspondent of a host that moves", "honest", "", 3):
            self._ordinary(sender, domains=self.domains_of("moved", "readdressed"), per_day=4)
        self._addressed_wrongly()
        self._forwarders()
        self._troubled()

    def _newsletter(self, sender, times):
        """The same to both domains of one customer, in the same minute."""
        owners = [owner for owner in self.world.owners if len(owner.domains) > 1 and (times > 1 or owner.kind == "grey")]
        owner = self.rng.choice(owners)

        def issue():
            for number in range(times):
                for domain in owner.domains:
                    sender.write(f"news{number}@{sender.clients[0].helo}", [f"user{self.rng.randrange(50)}@{domain}"])
                yield DAY
        self.world.engine.spawn(issue(), self.start + self.rng.random() * DAY * (1 if times > 1 else 8))

    def _pools(self):
        for name in ("named", ""):
            for count, apart in ((8, False), (30, True)):
                # Without names, in as many /24s, it may take a greylist longer to know them than a hit ripens.
                group = "limit" if count == 30 and not name else "honest"
                sender = senders.Pool(self.world, f"pool of {count} addresses {name or 'nameless'}", group)
                for number in range(count):
                    client = sender.add_client(self._named() if name else "", apart=apart or number == 0)
                    client.helo = "out.pool.example"
                self.all.append(sender)
                self._ordinary(sender, per_day=12, some=12)

    def _addressed_wrongly(self):
        """What reaches a trap though its sender is honest: sign-up forms, and bounces of what was forged."""
        for big in (True, False):
            for sender in self._add(senders.Postfix, f"sign-up form, {'big' if big else 'small'} sender", "honest", "named", 3):
                self._ordinary(sender, per_day=30 if big else 1, some=15)

                def typed(sender=sender, big=big):
                    for _ in range(4 if big else 1):
                        sender.write(f"welcome@{sender.clients[0].helo}", [f"me@{self.rng.choice(self.trap_domains)}"])
                        yield 3 * DAY
                self.world.engine.spawn(typed(), self.start + self.rng.random() * 2 * DAY)
        for name in ("named", ""):
            for sender in self._add(senders.Bouncer, f"returns forged mail to a trap {name or 'nameless'}", "honest", name, 2):
                def bounce(sender=sender):
                    for _ in range(5):
                        sender.write("", [f"forged@{self.rng.choice(self.trap_domains)}"])
                        yield DAY * self.rng.random()
                self.world.engine.spawn(bounce(), self.start + self.rng.random() * 5 * DAY)

    def _forwarders(self):
        for sender in self._add(senders.Postfix, "forwarder with SRS", "honest", "named", 2):
            def forward(sender=sender):
                origin = self.rng.randrange(99)
                sender.write(f"SRS0=HH{self.rng.randrange(99)}=TT=origin{origin}.example=person@{sender.clients[0].helo}",
                             [f"user{self.rng.randrange(50)}@{self.rng.choice(self.backup_domains)}"])
            self.world.engine.spawn(sender.letters_at_times(5, self.end - DAY, forward), self.start)
        for sender in self._add(senders.Postfix, "mailing list with VERP", "honest", "named", 2):
            members = [f"user{self.rng.randrange(50)}@{domain}" for domain in self.rng.sample(self.backup_domains, 10)]

            def post(sender=sender, members=members):
                number = self.rng.randrange(10 ** 6)
                for member in members:
                    sender.write(f"list-{number}-{member.replace('@', '=')}@{sender.clients[0].helo}", [member])
            self.world.engine.spawn(sender.letters_at_times(1.5, self.end - DAY, post), self.start)

    def _blocked(self, sender, length, times):
        """The way from SENDER to the primaries of its correspondents is broken, and only that way."""
        while times and self.world.engine.now < self.end:
            yield self.rng.uniform(0.5, 3) * DAY
            until = self.world.engine.now + length
            for name in self.world.hosts:
                sender.blocked[name] = until
            times -= 1

    def _troubled(self):
        for name, group, hours in (("named", "honest", 6), ("", "honest", 1.5), ("", "limit", 12), ("named", "limit", 60)):
            for sender in self._add(senders.Postfix, f"way to the primary broken for {hours} h, {name or 'nameless'}", group, name, 2):
                self._ordinary(sender, per_day=5)
                self.world.engine.spawn(self._blocked(sender, hours * HOUR, 2), self.start)
        for name in ("named", ""):
            for sender in self._add(senders.Exim, f"greeted with 554 by one primary {name or 'nameless'}", "limit", name, 1):
                for owner in self.world.owners:
                    if owner.kind == "hostile":
                        for host in owner.hosts:
                            host.hostile.add(sender.clients[0].ip4)
                self._ordinary(sender, domains=self.domains_of("hostile"), per_day=0.7)

    def excluded(self):
        for sender in self._add(senders.Device, "device that mails the A record", "excluded", "", 2):
            self._ordinary(sender, per_day=1, domains=self.address_domains)
        for sender in self._add(senders.Once, "never tries again, nameless", "excluded", "", 3):
            self._ordinary(sender, domains=self.domains_of("grey", "postscreen"), some=8)
        for sender in self._add(senders.Postfix, "neighbour of a bot behind one address", "excluded", "", 2):
            self._ordinary(sender)
            bot = senders.Spammer(self.world, "bot behind a shared address", "shared")
            bot.clients, bot.domains = sender.clients, self.backup_domains
            self.world.engine.spawn(bot.strike_at_times(6 * HOUR, self.end), self.start + DAY)

    # --- spammers

    def _spammer(self, kind, group, name, addresses=1, apart=True, ip6=False, domains=None, **attributes):
        sender = senders.Spammer(self.world, kind, group)
        for number in range(addresses):
            client = sender.add_client(self._named() if name == "named" else "", apart=apart, ip6=ip6, ip4=not ip6)
            if name == "generic":
                client.name = self._generic(client.ip4)
        sender.domains = domains or self.backup_domains
        for attribute, value in attributes.items():
            setattr(sender, attribute, value)
        self.all.append(sender)
        return sender

    def _strikes(self, sender, every):
        self.world.engine.spawn(sender.strike_at_times(every, self.end), self.start + self.rng.random() * 2 * DAY)

    def spammers(self):
        scale, rng = self.scale, self.rng

        def some(count):
            return range(max(2, round(count * scale)))
        for number in some(40):
            name, few = rng.choice(("", "", "generic")), rng.random() < 0.4
            domains = rng.sample(self.backup_domains, 2) if few else None
            self._strikes(self._spammer("repeating, backup only, nameless", "repeating", name, domains=domains, ip6=number % 10 == 9 and not name),
                          rng.choice((0.5, 2, 6, 12, 20)) * HOUR)
        for _ in some(8):
            self._strikes(self._spammer("repeating, A record, nameless", "repeating", "", domains=self.address_domains), rng.choice((2, 8)) * HOUR)
        for _ in some(10):
            self._strikes(self._spammer("repeating, trap, nameless", "repeating", "generic", domains=self.trap_domains), rng.choice((2, 8, 20)) * HOUR)
        for _ in some(12):
            self._strikes(self._spammer("repeating, backup only, named", "repeating named", "named"), rng.choice((1, 4, 12)) * HOUR)
        for kind, count, strikes, name, apart in (("single-hit botnet", 100, (1,), "", True), ("nameless snowshoe", 100, (1, 2), "generic", False),
                                                  ("named snowshoe", 40, (1, 2), "named", False)):
            for _ in some(count):
                sender = self._spammer(kind, kind, name, apart=apart)
                self.world.engine.spawn(sender.strike_each(self.end - DAY, rng.choice(strikes)), self.start)
        for _ in some(15):
            self._strikes(self._spammer("knocks at the primary first", "knock-first", "", knocks=True), rng.choice((2, 8)) * HOUR)
        for _ in some(10):
            self._strikes(self._spammer("sprays all MXs, primary refuses", "sprayer", "", sprays=True, domains=self.domains_of("plain")),
                          rng.choice((2, 8)) * HOUR)
        for _ in some(8):
            sender = self._spammer("sprays all MXs, primary accepts", "sprayer accepted", "", sprays=True)
            sender.domains = self.domains_of("two", "dual")
            self._strikes(sender, 4 * HOUR)
        for name in self.domains_of("two", "dual"):
            for _, host in self.world.domains[name].mx[:-1]:
                host.spam_share = 0.0
