"""The sensor: the daemon's own judge (judge_lines), told what the world is like and what comes."""
import collections
import subprocess
import uuid

from simulation.world import TRAP4, TRAP6, TRAP_NAME

SETTINGS = """log_level = error
envelope_key = "{key}"
liveness {{ probers = 1 fresh = 10m {liveness} }}
trap_host {{
  names = {{{name}}}
  addresses = {{{ip4}, "{ip6}"}}
}}
domain "*.trap.example" {{ role = trap }}
domain "mx9.trap.example" {{ role = off }}
"""


class Hit:
    """A transaction that reached DATA."""
    __slots__ = ("number", "hit_id", "time", "client", "address", "local", "sender", "recipients", "verdict", "kind", "domain", "primary",
                 "primary_age_ms", "judged", "why", "key_id", "whole", "hashes")


class Sensor:
    def __init__(self, world, program, folder, liveness=""):
        self.world = world
        path = folder / "judge.conf"
        self.key = folder / "envelope.key"
        self.key.write_text(f"key {7:064x}\n")
        self.key.chmod(0o600)
        path.write_text(SETTINGS.format(key=self.key, name=TRAP_NAME, ip4=TRAP4, ip6=TRAP6, liveness=liveness))
        self.process = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.waiting, self.recorded = {}, []  # questions by number; offences not sent to the database yet
        self.probes = collections.deque()     # (seconds, address, state), not told to the witnesses yet
        self.verdicts = collections.Counter()
        self.number = 0
        self.told = {}
        self.on_verdict = lambda hit: None

    def _say(self, line):
        self.process.stdin.write(line + "\n")
        while True:
            answer = self.process.stdout.readline().split()
            if not answer:
                raise RuntimeError(f"judge_lines ended at: {line}")
            if answer[0] == "ok":
                return
            if answer[0] == "probe":
                self.probes.append((int(answer[3]) / 1000, answer[1], answer[2]))
            else:
                self._judged(answer)

    def _judged(self, words):
        hit = self.waiting.pop(int(words[1]))
        hit.verdict, hit.kind, hit.domain = words[2:5]
        hit.primary, hit.primary_age_ms, hit.judged = words[5], int(words[6]), int(words[7]) / 1000
        hit.key_id, hit.whole = None if words[8] == "-" else words[8], words[9] == "1"
        hit.hashes = b"" if words[10] == "-" else bytes.fromhex(words[10])
        hit.why = " ".join(words[11:])
        self.verdicts[hit.verdict] += 1
        if hit.verdict == "offence":
            self.recorded.append(hit)
        self.on_verdict(hit)

    def _tell(self, line):
        """Say what is so now, if that is news."""
        subject = line.split(" ", 2)[:2]
        if self.told.get(tuple(subject)) != line:
            self.told[tuple(subject)] = line
            self._say(line)

    def look(self):
        """Tell how the world is now, and that time went on."""
        for host in self.world.hosts.values():
            for _, address in host.addresses():
                self._tell(f"host {address} {host.state(address)}")
        for domain in self.world.domains.values():
            self._tell(f"dns {domain.name} {self.world.dns_text(domain)}")

    def clock(self):
        self._say(f"clock {int(self.world.engine.now * 1000)}")

    def changed(self):
        """Something in the world is different from this moment on."""
        self.clock()
        self.look()

    def start(self):
        self.look()
        self.clock()
        self._say("start")

    def transaction(self, client, source, local, sender, recipients):
        hit = Hit()
        self.number += 1
        hit.number, hit.time, hit.client, hit.address, hit.local = self.number, self.world.engine.now, client, source, local
        hit.hit_id = str(uuid.UUID(int=self.world.rng.getrandbits(128), version=4))
        hit.sender, hit.recipients = sender, list(recipients)
        self.waiting[hit.number] = hit
        self.clock()
        for domain in dict.fromkeys(recipient.rsplit("@", 1)[1] for recipient in recipients):
            self._say(f"prefetch {domain} {local}")
        self._say(f"ask {hit.number} {source} {local} <{sender}> " + " ".join(f"<{recipient}>" for recipient in recipients))

    def close(self):
        self.process.stdin.close()
        if self.process.wait(60) != 0:
            raise RuntimeError(f"judge_lines ended with {self.process.returncode}")
