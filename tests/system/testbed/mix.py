"""Sessions of every kind, each in one piece, so that one thread can drive as many as the daemon takes."""
import random
import socket
import struct
import threading

from milter_client import ACTIONS, STEPS, VERSION, connected, packet, texts
from testbed.load import Load

OFFER = packet("O", struct.pack("!III", VERSION, ACTIONS, STEPS))
QUIT = packet("Q")
ABORT = packet("A")


CLIENTS = 500  # what the daemon remembers of each of them is there after that many sessions


def greeting(number, helo=None, client=None):
    """Connection and HELO, of one of the clients: every other one has an IPv4 address, the rest IPv6 networks of their own."""
    if client is None:
        place = number % CLIENTS
        client = f"203.0.113.{place // 2 + 1}" if place % 2 else f"2001:db8:c:{place:x}::1"
    family = b"6" if ":" in client else b"4"
    return (packet("D", b"C" + texts("j", "mx2.example.org", "v", "Postfix 3.7.11", "{daemon_addr}", "192.0.2.1")) +
            packet("C", texts(f"client{number}.example") + family + struct.pack("!H", 4711) + texts(client)) +
            packet("H", texts(helo or name_of(number))))


def name_of(number):
    return f"n{number}.mix.example"


def transaction(number, *recipients, sender="<sender@client.example>"):
    queue = texts("i", f"Q{number}")
    return (packet("M", texts(sender)) +
            b"".join(packet("D", b"R" + queue) + packet("R", texts(recipient)) for recipient in recipients) +
            packet("D", b"T" + queue) + packet("T"))


def trap(number):
    return greeting(number) + transaction(number, "<a@trap.example>") + QUIT


def null_sender(number):
    return greeting(number) + transaction(number, "<a@trap.example>", "<b@trap.example>", sender="<>") + QUIT


def after_reset(number):
    return (greeting(number) + packet("M", texts("<x@y.example>")) + packet("R", texts("<c@trap.example>")) + ABORT +
            ABORT + transaction(number, "<a@trap.example>") + QUIT)


def data_twice(number):
    return greeting(number) + transaction(number, "<a@trap.example>") + packet("T") + QUIT


def connection_used_again(number):
    return greeting(number, "first.example") + packet("K") + greeting(number) + transaction(number, "<a@trap.example>") + QUIT


def backup(number):
    return greeting(number) + transaction(number, "<a@backup.example>", "<a@address.example>") + QUIT


def elsewhere(number):
    return greeting(number) + transaction(number, f"<a@d{number % 97}.elsewhere.example>") + QUIT


def exempt(number):
    return greeting(number) + transaction(number, "<postmaster@trap.example>") + QUIT


def unreadable(number):
    return greeting(number, b"\xff\x01%n'") + transaction(number, b"<\xff\xfe@\x80>", "", "<@@>", "x" * 300) + QUIT


def too_much(number):
    """More than client_bytes, of which several recipients are accepted: a hit without DATA."""
    return greeting(number) + transaction(number, *(f"<{'x' * 60}{i}@trap.example>" for i in range(20))) + QUIT


def crowd(number):
    """One client has less places than these sessions want."""
    return greeting(number, client="203.0.113.251") + transaction(number, "<postmaster@trap.example>") + QUIT


def no_address(number):
    return (packet("C", texts("localhost") + b"U") + packet("H", texts(name_of(number))) +
            transaction(number, "<a@trap.example>") + QUIT)


def unknown_command(number):
    return greeting(number) + packet("U", texts("STARTTLS now")) + packet("z", b"?") + QUIT


def garbage(number):
    return greeting(number) + random.Random(number).randbytes(200)


def huge(number):
    return greeting(number) + struct.pack("!I", 0xFFFFFFF0) + b"M"


def out_of_order(number):
    return packet("T") + packet("R", b"") + greeting(number) + packet("T") + QUIT


def cut_off(number):
    whole = greeting(number) + transaction(number, "<postmaster@trap.example>")
    return whole[:number % len(whole)]


def says_nothing(_):
    return b""


# By what becomes of their hit: recorded, recorded when it is this that they are cut off for, recorded or not as the
# primaries are, and none.
RECORDED = (trap, null_sender, after_reset, data_twice, connection_used_again)
CUT = (too_much,)
JUDGED = (backup,)
NOT_RECORDED = (elsewhere, exempt, unreadable, crowd, no_address, unknown_command, garbage, huge, out_of_order,
                cut_off, says_nothing)
MAY_GET_NO_REPLY = (unknown_command, garbage, huge, out_of_order, cut_off, says_nothing)
KINDS = RECORDED + CUT + JUDGED + NOT_RECORDED
SEVERAL_RECIPIENTS = (null_sender, too_much)  # two are enough to be recorded when the client is cut off for being idle

OVER_BYTES, OVER_IDLE = b"421 4.7.0 Too much was said", b"421 4.4.2 Timeout exceeded"


def replies(data):
    """The answers in DATA, as (letter, text)."""
    while len(data) >= 5:
        length = struct.unpack("!I", data[:4])[0]
        yield chr(data[4]), data[5:4 + length]
        data = data[4 + length:]


def exchange(address, stream, timeout=30):
    """Say STREAM; all that is said until the milter hangs up."""
    answer = b""
    with connected(address, timeout) as end:
        try:
            end.sendall(OFFER + stream)
            end.shutdown(socket.SHUT_WR)
            while data := end.recv(65536):
                answer += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up before it had read all
    return answer


class Mix(Load):
    """The load, of sessions of all KINDS in turn."""

    def session(self):
        number = next(self.numbers)
        kind, name = KINDS[number % len(KINDS)], name_of(number)
        try:
            got = list(replies(exchange(self.daemon.settings["socket"], kind(number))))
        except OSError as error:
            with self.lock:
                if not self.crashing:
                    self.faults.append(f"{kind.__name__} {name}: {error!r}")
            return False
        refusals = [text for letter, text in got if letter == "y"]
        codes = [text[:3].decode() for text in refusals]

        def was_told(text):
            return any(said.startswith(text) for said in refusals)
        with self.lock:
            if ("451" in codes and kind in RECORDED) or (was_told(OVER_BYTES) and kind in CUT):
                self.answered.add(name)
            elif (kind in JUDGED or (self.crashing and kind in RECORDED + CUT) or
                  (was_told(OVER_IDLE) and kind in SEVERAL_RECIPIENTS)):
                self.unanswered.add(name)
            if not set(codes) <= {"451", "421"} or not (codes or self.crashing or kind in MAY_GET_NO_REPLY):
                self.faults.append(f"{kind.__name__} {name}: {got}")
        return "451" in codes

    def send(self, count, threads=4):
        """COUNT sessions, THREADS of them at once."""
        left = iter(range(count))

        def work():
            for _ in left:
                self.session()
        self.threads = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()
