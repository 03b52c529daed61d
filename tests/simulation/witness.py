"""Witnesses: the project's own (witness_lines), one for each primary's log, which is written here as Postfix would.

FAULTS, each of all witnesses from FAULT_AFTER seconds on: "dead" (tells nothing any more), "blind" (its log has neither the clients nor the
sensors' probes, only the queue's), "wrong key", "late" (reads its log twelve hours later), "clock" (stamps five minutes off),
"gaps" (an hour of each six is missing).
"""
import shutil
import subprocess
from datetime import datetime, timezone

from simulation.world import HOUR, TRAP4, TRAP6, TRAP_NAME
from testbed.base import TOP

FAULTS = ("dead", "blind", "wrong key", "late", "clock", "gaps")
LATE_S, CLOCK_S = 12 * HOUR, 300
REFUSAL = "Listed for"  # what the reasons of the policy begin with


class Witnesses:
    def __init__(self, world, program, key, folder, share, fault=None, fault_at=0):
        self.world, self.share, self.fault, self.fault_at = world, share, fault, fault_at
        other_key = folder / "other.key"
        other_key.write_text(f"key {8:064x}\n")
        other_key.chmod(0o600)
        ledgers = folder / "ledgers"
        shutil.rmtree(ledgers, ignore_errors=True)
        ledgers.mkdir()
        self.process = subprocess.Popen(
            [program, TOP / "witness/postfix", other_key if fault == "wrong key" else key, ledgers, "user=witness", REFUSAL],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.logs = {}    # host: [(seconds, line)] not read yet
        self.opened = set()
        self.number = self.seen = 0

    def watches(self, host):
        """Every second customer's, when half of them have witnesses."""
        customer = host.split(".")[-2]
        return self.share >= 1 or (self.share > 0 and sum(map(ord, customer)) % 2 == 0)

    def take(self, entries, probes):
        """Write the logs: what senders met, the sensors' probes (seconds, host, address), and that the host lives."""
        now = self.world.engine.now
        for host in filter(self.watches, self.world.hosts):
            self.logs.setdefault(host, []).append((now, "postfix/anvil[3]: statistics: max cache size 1"))
        for entry in entries:
            if self.watches(entry.host):
                self.logs.setdefault(entry.host, []).extend((entry.time, text) for text in self._lines(entry))
        for moment, host, address in probes:
            if self.watches(host):
                source = TRAP6 if ":" in address else TRAP4
                self.logs.setdefault(host, []).extend(
                    (moment, f"postfix/smtpd[7]: {verb} from {TRAP_NAME}[{source}]{rest}")
                    for verb, rest in (("connect", ""), ("disconnect", " quit=1 commands=1")))

    def _lines(self, entry):
        client = f"{entry.name or 'unknown'}[{entry.client}]"
        yield f"postfix/smtpd[7]: connect from {client}"
        self.number += 1
        queue_id = f"{self.number:010X}"
        envelope = f"from=<{entry.sender}> to=<{entry.recipient}> proto=ESMTP helo=<x>"
        if entry.result == "accepted":
            yield f"postfix/smtpd[7]: {queue_id}: client={client}"
            yield f"postfix/cleanup[8]: {queue_id}: message-id=<{self.number}@x.example>"
            yield f"postfix/qmgr[9]: {queue_id}: from=<{entry.sender}>, size=1000, nrcpt=1 (queue active)"
            yield f"postfix/local[10]: {queue_id}: to=<{entry.recipient}>, relay=local, delay=0.1, dsn=2.0.0, status=sent (delivered to mailbox)"
            yield f"postfix/qmgr[9]: {queue_id}: removed"
        elif entry.result == "listed":
            yield f"postfix/smtpd[7]: NOQUEUE: reject: RCPT from {client}: 450 4.7.1 Client host rejected: {REFUSAL} sending; {envelope}"
        elif entry.recipient and entry.stage == "rcpt":
            yield f"postfix/smtpd[7]: NOQUEUE: reject: RCPT from {client}: 450 4.2.0 <{entry.recipient}>: Recipient address rejected; {envelope}"
        elif entry.recipient and entry.stage == "data":
            yield f"postfix/smtpd[7]: {queue_id}: client={client}"
            yield f"postfix/cleanup[8]: {queue_id}: milter-reject: END-OF-MESSAGE from {client}: 4.7.1 Try again later; {envelope}"
        elif entry.stage == "greeting":
            yield f"postfix/smtpd[7]: NOQUEUE: reject: CONNECT from {client}: 421 4.7.0 too busy; proto=SMTP"
        yield f"postfix/smtpd[7]: disconnect from {client} ehlo=1 mail=1 commands=2"

    def _is_lost(self, moment, line):
        if moment < self.fault_at:
            return False
        return (self.fault == "blind" and "qmgr" not in line) or (self.fault == "gaps" and moment % (6 * HOUR) < HOUR)

    def read(self):
        """Let all witnesses read what their logs have by now, and tell."""
        now = self.world.engine.now
        faulty = now >= self.fault_at
        if self.fault == "dead" and faulty:
            return
        until = now - LATE_S if self.fault == "late" and faulty else now
        for host, log in self.logs.items():
            if host not in self.opened:
                self.opened.add(host)
                self._say(f"open {host} machine1")
            log.sort(key=lambda item: item[0])
            count = next((number for number, (moment, _) in enumerate(log) if moment > until), len(log))
            for moment, line in log[:count]:
                if not self._is_lost(moment, line):
                    shift = CLOCK_S if self.fault == "clock" and moment >= self.fault_at else 0
                    if until == now:  # it is read when it is written
                        self._say(f"clock {int(moment * 1000)}")
                    self._say(f"line {host} {int(until == now)} {self._stamp(moment - shift)} mx {line}")
            del log[:count]
            self._say(f"clock {int(now * 1000)}")
            self._say(f"tell {host}")
            self.process.stdin.flush()
            if not self.process.stdout.readline().startswith("told"):
                raise RuntimeError("witness_lines ended")

    def _say(self, line):
        self.process.stdin.write(line + "\n")

    @staticmethod
    def _stamp(moment):
        return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds")

    def close(self):
        self.process.stdin.close()
        if self.process.wait(60) != 0:
            raise RuntimeError(f"witness_lines ended with {self.process.returncode}")
