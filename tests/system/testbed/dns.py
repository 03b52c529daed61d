"""A private DNS root: nsd on port 53 of 127.0.0.1, or of an address that is given, which is what /etc/resolv.conf names."""
import contextlib
import os
import signal
import socket
import threading

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.reversename

from testbed.base import STATE, Server, TestbedError

# trap.example: all its mail comes to the trap host.  backup.example: the trap host is the less preferred MX.
# address.example: the trap host is only its address.
RECORDS = """
mx2.example.org.        A     192.0.2.1
mx2.example.org.        AAAA  2001:db8::1
trap.example.           MX    10 mx2.example.org.
backup.example.         MX    10 mx1.backup.example.
backup.example.         MX    20 mx2.example.org.
mx1.backup.example.     A     198.51.100.1
mx1.backup.example.     AAAA  2001:db8:100::1
address.example.        MX    10 mx1.address.example.
address.example.        A     192.0.2.1
address.example.        AAAA  2001:db8::1
mx1.address.example.    A     198.51.100.2
mx1.address.example.    AAAA  2001:db8:100::2
"""


def client_records():
    """Names for some clients, both ways: client7.example.com is 203.0.113.7 and 2001:db8:c::7."""
    for number in range(1, 21):
        for address in (f"203.0.113.{number}", f"2001:db8:c::{number}"):
            kind = "AAAA" if ":" in address else "A"
            yield f"client{number}.example.com. {kind} {address}"
            yield f"{dns.reversename.from_address(address)} PTR client{number}.example.com."


def ask(name, kind, server="127.0.0.1", timeout=1):
    """The answer's records as texts; None when there is no answer."""
    try:
        answer = dns.query.udp(dns.message.make_query(name, kind), server, timeout=timeout)
    except (OSError, dns.exception.DNSException):
        return None
    return [str(item) for rrset in answer.answer for item in rrset]


class Dns:
    def __init__(self, address="127.0.0.1"):
        self.address = address
        self.folder = STATE / "dns"
        self.folder.mkdir()
        self.serial = 0
        self.server = None
        self.changed = False
        (self.folder / "nsd.conf").write_text(f"""
server:
  ip-address: {address}
  port: 53
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{self.folder}"
  database: ""
  pidfile: "{self.folder}/nsd.pid"
  xfrdfile: "{self.folder}/xfrd.state"
  zonelistfile: "{self.folder}/zone.list"
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: root.zone
""")
        self.reset_records()
        self._write()

    def reset_records(self):
        self.records = [line for line in RECORDS.splitlines() if line] + list(client_records())

    def _write(self):
        self.serial += 1
        head = f"$ORIGIN .\n$TTL 60\n@ SOA ns. root. {self.serial} 3600 600 86400 60\n@ NS ns.\nns. {'AAAA' if ':' in self.address else 'A'} {self.address}\n"
        (self.folder / "root.zone").write_text(head + "\n".join(self.records) + "\n")

    def start(self):
        self.server = Server("nsd", ["nsd", "-d", "-c", self.folder / "nsd.conf"], self.folder / "nsd.log",
                             ports=[("udp", self.address, 53), ("tcp", self.address, 53)])
        self.server.wait_ready(lambda: ask(".", "SOA", self.address, timeout=0.2))

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None

    def _republish(self):
        """Serve the changed zone; a new process is sure not to hold the old one."""
        self._write()
        self.changed = True
        if self.server:
            self.stop()
            self.start()

    def add(self, *records):
        """Add records: dns.add("x.example. MX 10 mx.x.example.", ...)."""
        self.records.extend(records)
        self._republish()

    def remove(self, *starts):
        """Remove the records that begin with one of STARTS: dns.remove("trap.example. ")."""
        kept = [record for record in self.records if not record.startswith(starts)]
        if len(kept) == len(self.records):
            raise TestbedError(f"no record begins with {starts}")
        self.records = kept
        self._republish()

    def freeze(self):
        """No answer from now on (the whole process group: nsd's children answer)."""
        self._to_group(signal.SIGSTOP)

    def thaw(self):
        self._to_group(signal.SIGCONT)

    def _to_group(self, number):
        os.killpg(self.server.pid, number)

    def restore(self):
        """Back to what a test finds at its start."""
        if self.server:
            self.thaw()
        if self.changed or not self.server:
            self.reset_records()
            self._write()
            self.stop()
            self.start()
            self.changed = False


class LyingDns:
    """A DNS server on ADDRESS whose answers a test makes up.

    ANSWER(query, transport) gets a dns.message.Message and "udp" or "tcp", and returns a Message, bytes that are
    sent as they are, or None for silence (over TCP: the connection is closed).  It may take its time: each question
    has a thread of its own.
    """

    def __init__(self, answer, address="127.0.0.2", port=53):
        self.answer = answer
        self.address, self.port = address, port
        self.queries = []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, port))
        self.tcp = socket.create_server((address, port))
        self.threads = [threading.Thread(target=self._serve_udp, daemon=True),
                        threading.Thread(target=self._serve_tcp, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _reply(self, wire, transport):
        query = dns.message.from_wire(wire)
        question = query.question[0]
        self.queries.append((str(question.name).lower(), dns.rdatatype.to_text(question.rdtype), transport))
        answer = self.answer(query, transport)
        if answer is None or isinstance(answer, bytes):
            return answer
        return answer.to_wire(max_size=65535)

    def _serve_udp(self):
        while True:
            try:
                wire, peer = self.udp.recvfrom(65535)
            except OSError:
                return
            if not wire:
                return
            threading.Thread(target=self._answer_udp, args=(wire, peer), daemon=True).start()

    def _answer_udp(self, wire, peer):
        reply = self._reply(wire, "udp")
        if reply is not None:
            with contextlib.suppress(OSError):  # too late: the test is over
                self.udp.sendto(reply, peer)

    def _serve_tcp(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._answer_tcp, args=(connection,), daemon=True).start()

    def _answer_tcp(self, connection):
        with connection:
            connection.settimeout(2)
            try:
                length = int.from_bytes(connection.recv(2), "big")
                reply = self._reply(connection.recv(length), "tcp") if length else None
                if reply is not None:
                    connection.sendall(len(reply).to_bytes(2, "big") + reply)
            except OSError:
                pass

    def refuse_tcp(self):
        with contextlib.suppress(OSError):
            self.tcp.shutdown(socket.SHUT_RDWR)

    def stop(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", (self.address, self.port))
        self.refuse_tcp()
        for thread in self.threads:
            thread.join(3)
        self.udp.close()
        self.tcp.close()
