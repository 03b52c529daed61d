"""Measure: batches (hits into PostgreSQL), door (/lookup), faults (DATA while others do not answer), firewall (until a change is in
its sets), growth (of what each part takes, at 1, 10 and 100 times its work), keeping (the list of a large database), memory (what the
daemon takes of it), month (of hits, and its expiry), mta (behind Postfix and sendmail), paced (CPU of slow sessions), peers (other
milters under the same load), readers (who asks the list for one client), recording (PostgreSQL's CPU for 100,000 hits), sessions
(milter sessions against null milters), start (to the first answer, with a full spool).

Everything runs in interleaved pairs; what is printed is the median of the pairs' ratios with its 95% interval, and where that
interval covers the target there is no verdict.  The same as JSON goes to build/bench.json, and what growth draws to build/bench.svg.
"""
import argparse
import json
import sys

from bench import (batches, door, faults, firewall, growth, keeping, memory, month, mta, paced, parts, peers, readers, recording,
                   sessions, start)
from bench.stats import HEAD
from testbed import base
from testbed import dns as dns_part
from testbed import primary as primary_part

MEASURES = {"batches": batches, "door": door, "faults": faults, "firewall": firewall, "growth": growth, "keeping": keeping,
            "memory": memory, "month": month, "mta": mta, "paced": paced, "peers": peers, "readers": readers, "recording": recording,
            "sessions": sessions, "start": start}


class Needs:
    """The servers that a measure asks for, each once."""

    def __init__(self):
        self.made = {}

    def _once(self, key, make):
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def dns(self):
        def make():
            server = dns_part.Dns()
            server.start()
            return server
        return self._once("dns", make)

    def primary(self, address):
        return self._once(address, lambda: primary_part.Primary(address, 25, "accept"))

    def database(self):
        def make():
            database = parts.Database()
            database.start()
            return database
        return self._once("database", make)

    def stop(self):
        for key, server in self.made.items():
            server.stop(*(["immediate"] if key == "database" else []))


def main():
    parser = argparse.ArgumentParser(prog="run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="pairs of each measure (7)")
    parser.add_argument("--hits", type=int, default=10000, help="hits of one run of recording (10000)")
    parser.add_argument("--facts", type=int, default=1000000, help="what door and keeping fill the database with, and month for each day (1000000)")
    parser.add_argument("--quick", action="store_true", help="so little that it only shows that it runs")
    parser.add_argument("measure", nargs="*", metavar="MEASURE", help=", ".join(MEASURES) + " (all)")
    options = parser.parse_args()
    base.check_inside()
    if options.quick:
        options.rounds = 1
    needs, found = Needs(), []
    try:
        for name in options.measure or MEASURES:
            found += MEASURES[name].measure(options, needs)
    finally:
        needs.stop()
    print(HEAD)
    for measured in found:
        print(measured.line())
    text = json.dumps([measured.as_json() for measured in found], indent=1)
    (base.TOP / "build/bench.json").write_text(text + "\n", encoding="ascii")
    return 1 if not options.quick and any(measured.verdict() == "FAIL" for measured in found) else 0


if __name__ == "__main__":
    sys.exit(main())
