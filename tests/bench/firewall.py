"""How soon a change of the list is where it counts: in sets of nftables and ipset that are told the changes, and in a file that is
replaced as a whole; with one client listed among very many.
"""
import subprocess
import time

from bench import keeping, parts, readers
from bench.stats import Figure
from testbed.base import BUILD, STATE, run, wait_for
from testbed.milter import environment
from testbed.offences import AT_ONCE, NO_BRAKE, offend

# name, command, changes, and whether a client is there.  To ask nft(8) for an element of a large set takes it most of a minute, and it
# makes all of a change at once: the set of IPv6 addresses is small.
NFT = ("nftables", "nft -f {}", "nft -f -", lambda client: client in run("nft", "list", "set", "inet", "hunnypot", "v6").stdout)
IPSET = ("ipset", "ipset restore < {}", "ipset restore",
         lambda client: run("ipset", "-q", "test", "hunnypot6", client, check=False).returncode == 0)


class Watch:
    def __init__(self, name, command, changes):
        self.target, self.loaded = STATE / "firewall", STATE / "loaded"
        for path in (self.target, self.loaded):
            path.unlink(missing_ok=True)
        words = ["--changes", changes] if changes else ["--interval", "1s"]
        self.process = subprocess.Popen([BUILD / "hunnypot", "export", name, "-o", self.target, "--watch",
                                         "--command", f"{command.format(self.target)} && touch {self.loaded}", *words],
                                        env=environment(PGUSER="postgres"))
        wait_for(self.loaded.exists, 600, "the first export")

    def end(self):
        self.process.terminate()
        self.process.wait(60)


def reaches(database, number, is_there):
    """Seconds from the commit with which a client is listed until IS_THERE(client)."""
    client = f"2001:db8:{number:x}::1"
    offend(database, client)
    began = time.monotonic()
    while not is_there(client):
        assert time.monotonic() - began < 300
        time.sleep(0.01)  # it is looked for: nobody tells
    return time.monotonic() - began


def measure(options, needs):
    database = readers.fresh(needs)
    database.query(AT_ONCE)
    database.query(NO_BRAKE)
    networks = 2000 if options.quick else min(options.facts, 1000000)
    readers.fill(database, networks)
    found, number = [], 0
    run("ipset", "create", "hunnypot4", "hash:net", "family", "inet")
    run("ipset", "create", "hunnypot6", "hash:net", "family", "inet6")
    for name, command, changes, look in (NFT, IPSET):
        watch = Watch(name, command, changes)
        took = []
        for _ in range(max(options.rounds, 1)):
            number += 1
            took.append(reaches(database, number, look))
        watch.end()
        found.append(Figure(f"a change reaches {name} with {networks} networks", took, at_most=1, unit="s"))
    run("nft", "flush", "ruleset")
    run("ipset", "destroy")
    took = []
    for _ in range(1 if options.quick else 3):
        whole = keeping.timed(lambda: parts.HERE.hunnypot("export", "plain", "-o", STATE / "once"))
        watch = Watch("plain", "true", None)
        number += 1
        took.append(reaches(database, number, lambda client: client in watch.target.read_text()))
        watch.end()
        print(f"firewall: one export {whole:.2f} s, the change in the file after {took[-1]:.2f} s", flush=True)
        (STATE / "once").unlink()
    return found + [Figure(f"a change reaches a file of {networks} networks", took, at_most=round(1 + 1.1 * whole, 2), unit="s")]
