"""An SMTP client that hides nothing: exact bytes out, exact replies in, from any source address."""
import socket
import ssl

from testbed.base import TRAP_HOST, TRAP_HOST6


class Closed(Exception):
    """The server closed the connection."""


class Smtp:
    """SMTP(client="203.0.113.7") connects to the trap host from that address and reads the greeting."""

    def __init__(self, client="203.0.113.7", server=None, port=25, timeout=60, greeting=True, proxy=None, **_):
        family = socket.AF_INET6 if ":" in client else socket.AF_INET
        server = server or (TRAP_HOST6 if family == socket.AF_INET6 else TRAP_HOST)
        self.buffer = b""
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.bind((client, 0))
        self.socket.connect((server, port))
        self.port = self.socket.getsockname()[1]
        if proxy:
            self.send(proxy)
        self.greeting = self.reply() if greeting else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Send bytes as they are; a str gets CRLF."""
        self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\r\n")

    def _line(self):
        while b"\n" not in self.buffer:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed(self.buffer.decode(errors="backslashreplace"))
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode(errors="backslashreplace")

    def reply(self):
        """One whole reply; its lines are joined by newlines."""
        lines = []
        while True:
            lines.append(self._line())
            if lines[-1][3:4] != "-":
                return "\n".join(lines)

    def command(self, line):
        self.send(line)
        return self.reply()

    def pipeline(self, *lines):
        """All lines in one packet; their replies."""
        self.send(b"".join(line.encode() + b"\r\n" for line in lines))
        return [self.reply() for _ in lines]

    def starttls(self):
        reply = self.command("STARTTLS")
        if reply.startswith("220"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        return reply

    def closed(self):
        """True when nothing more comes but the end."""
        try:
            self._line()
        except Closed:
            return True
        return False

    def transaction(self, *recipients, sender="someone@sender.example", helo="client.example.com"):
        """EHLO (unless helo is None), MAIL, RCPT..., DATA; returns the reply to DATA, or the first refusal."""
        commands = [f"EHLO {helo}"] if helo is not None else []
        commands += [f"MAIL FROM:<{sender}>", *[f"RCPT TO:<{recipient}>" for recipient in recipients]]
        for line in commands:
            reply = self.command(line)
            if not reply.startswith("250"):
                return reply
        return self.command("DATA")

    def quit(self):
        try:
            return self.command("QUIT")
        finally:
            self.close()

    def close(self):
        self.socket.close()


def deliver(client, *recipients, **options):
    """One connection with one transaction; returns the reply to DATA, or the first refusal."""
    session = {key: options.pop(key) for key in ("server", "port", "timeout", "proxy") if key in options}
    with Smtp(client, **session) as smtp:
        reply = smtp.transaction(*recipients, **options)
        try:
            smtp.quit()
        except (Closed, OSError):
            pass
    return reply


def proxy_header(client, destination, port=4711):
    """A PROXY protocol line (version 1), as a load balancer sends it before the client's first byte."""
    family = "TCP6" if ":" in client else "TCP4"
    return f"PROXY {family} {client} {destination} {port} 25\r\n".encode()
