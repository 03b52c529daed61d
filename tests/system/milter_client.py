"""The MTA's side of the milter protocol, byte for byte, so that tests can say what no MTA ever says.

    with MilterClient("unix:/run/hunnypot/milter.sock") as mta:
        mta.session("192.0.2.7", helo="spam.example")
        mta.mail("<a@b.example>")
        mta.rcpt("<x@example.org>")
        assert mta.data().code == 451

Packets are a length, a command byte, and data; see libmilter/mfdef.h.
"""

import collections
import ipaddress
import socket
import struct

VERSION, ACTIONS, STEPS = 6, 0x1FF, 0x1FFFFF  # what Postfix 3 and sendmail 8.14 and later offer

NO_CONNECT, NO_HELO, NO_MAIL, NO_RCPT, NO_BODY, NO_HEADERS, NO_EOH = (1 << bit for bit in range(7))
NO_UNKNOWN, NO_DATA, SKIP, RCPT_REJECTED = 1 << 8, 1 << 9, 1 << 10, 1 << 11
NR_CONNECT, NR_HELO, NR_MAIL, NR_RCPT, NR_DATA, NR_UNKNOWN = (1 << bit for bit in range(12, 18))
SET_MACROS = 1 << 8  # an action

# Stages of smfi_setsymlist().
STAGES = ("connect", "helo", "mail", "rcpt", "data", "end", "headers")

NO_REPLY = {"C": NR_CONNECT, "H": NR_HELO, "M": NR_MAIL, "R": NR_RCPT, "T": NR_DATA, "U": NR_UNKNOWN}

Negotiated = collections.namedtuple("Negotiated", "version actions steps macros")


class Closed(Exception):
    """The milter hung up."""


class Reply(collections.namedtuple("Reply", "command text")):
    """One answer: `command` is the protocol's letter, `text` what came with it."""

    @property
    def code(self):
        return int(self.text[:3]) if self.command == "y" else None

    @property
    def goes_on(self):
        return self.command == "c"


class MilterClient:
    """One connection.  As Postfix (the default) it keeps back what wants no answer, as sendmail it writes at once."""

    def __init__(self, address, mta="postfix", timeout=60):
        self.mta = mta
        self.steps = 0
        self.kept_back = b""
        self.socket = connected(address, timeout)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.end()
        self.close()

    def end(self):
        """No more is said; when the milter has hung up too, the client's place is free."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.recv(4096):
                pass
        except OSError:
            pass

    def close(self):
        self.socket.close()

    def reset(self):
        """Go away as a killed MTA would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # Packets

    def raw(self, data):
        self.socket.sendall(self.kept_back + data)
        self.kept_back = b""

    def send(self, command, data=b""):
        self.raw(packet(command, data))

    def read_exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise Closed()
            data += piece
        return data

    def read(self):
        (length,) = struct.unpack("!I", self.read_exactly(4))
        data = self.read_exactly(length)
        return Reply(data[:1].decode(), data[1:].rstrip(b"\0").decode("latin-1"))

    def is_silent(self, seconds):
        """True when nothing comes, not even an end, for SECONDS."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
            return False
        except socket.timeout:
            return True
        finally:
            self.socket.settimeout(before)

    def is_closed(self, seconds=10):
        """True when the milter hangs up within SECONDS without another word."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def step(self, command, data=b"", macros=None):
        """Macros and command; the answer, or None where none was negotiated."""
        packets = self.kept_back
        if macros:
            packets += packet("D", command.encode() + texts(*(part for item in macros.items() for part in item)))
        packets += packet(command, data)
        self.kept_back = b""
        if not self.steps & NO_REPLY.get(command, 0):
            self.raw(packets)
            return self.read()
        if self.mta == "postfix":
            self.kept_back = packets
        else:
            self.raw(packets)
        return None

    # Steps

    def negotiate(self, version=VERSION, actions=ACTIONS, steps=STEPS):
        self.raw(packet("O", struct.pack("!III", version, actions, steps)))
        (length,) = struct.unpack("!I", self.read_exactly(4))
        data = self.read_exactly(length)
        assert data[:1] == b"O", data
        answer = struct.unpack("!III", data[1:13])
        self.steps = answer[2]
        return Negotiated(*answer, macro_lists(data[13:]))

    def connect(self, client="192.0.2.7", hostname=None, port=4711, macros=None):
        """CLIENT: an IP address, or None for one that the MTA does not know."""
        if client is None:
            data = texts(hostname or "localhost") + b"U"
        else:
            family = b"4" if ipaddress.ip_address(client).version == 4 else b"6"
            data = texts(hostname or "[%s]" % client) + family + struct.pack("!H", port) + texts(client)
        return self.step("C", data, {**self.connect_macros(), **(macros or {})})

    def connect_macros(self):
        if self.mta == "postfix":
            return {"j": "mx2.example.org", "v": "Postfix 3.7.11", "{daemon_addr}": "192.0.2.25"}
        return {"j": "mx2.example.org", "v": "8.17.1.9", "{if_addr}": "192.0.2.25"}

    def helo(self, name="client.example", macros=None):
        return self.step("H", texts(name), macros)

    def mail(self, sender="<sender@client.example>", *arguments, macros=None):
        return self.step("M", texts(sender, *arguments), macros)

    def rcpt(self, recipient="<someone@example.org>", *arguments, macros=None):
        return self.step("R", texts(recipient, *arguments), macros)

    def data(self, macros=None):
        return self.step("T", b"", {"i": "4QZ1xW0abc", **(macros or {})})

    def unknown(self, line):
        return self.step("U", texts(line))

    def abort(self):
        self.send("A")

    def quit(self):
        self.send("Q")

    def session(self, client="192.0.2.7", helo="client.example", **connect):
        """Negotiation, connection and greeting, answered or not; the answer to the connection."""
        self.negotiate()
        answer = self.connect(client, **connect)
        self.helo(helo)
        return answer

    def transaction(self, *recipients, sender="<sender@client.example>"):
        """MAIL, RCPT and DATA; the answer to DATA."""
        self.mail(sender)
        for recipient in recipients or ("<someone@example.org>",):
            self.rcpt(recipient)
        return self.data()


def speak_nonsense(mta, rng):
    """Garbage, before or after a reasonable beginning, up to the end of the session if need be."""
    try:
        for beginning in (mta.negotiate, mta.connect)[:rng.randrange(3)]:
            beginning()
        for _ in range(rng.randrange(1, 20)):
            body = bytes(rng.randrange(256) for _ in range(rng.randrange(40))) + b"\0"
            mta.raw(packet(rng.choice("ACDHMRTUQKEBLNOX"), body))
        mta.raw(rng.choice([b"", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x05T"]))
    except (Closed, OSError):
        pass


def packet(command, data=b""):
    return struct.pack("!I", len(data) + 1) + command.encode() + data


def texts(*parts):
    return b"".join((part if isinstance(part, bytes) else part.encode()) + b"\0" for part in parts)


def macro_lists(data):
    lists = {}
    while data:
        (stage,) = struct.unpack("!I", data[:4])
        names, data = data[4:].split(b"\0", 1)
        lists[STAGES[stage]] = names.decode().split()
    return lists


def connected(address, timeout):
    """A socket connected to ADDRESS in libmilter's syntax."""
    kind, _, rest = address.partition(":")
    if kind in ("inet", "inet6"):
        port, _, host = rest.partition("@")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(timeout)
    end.connect(rest if kind in ("unix", "local") else address)
    return end
