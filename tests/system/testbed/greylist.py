"""A greylist as mail hosts have it, for a real Postfix to ask (SMTPD_POLICY_README): who is new is put off."""
import contextlib
import socket
import threading
import time

PORT = 10023
ASK = f"check_policy_service inet:127.0.0.1:{PORT}"


class Greylist:
    """A client's network, sender and recipient are put off with a 450 for DELAY_S seconds from when they came first, as Postgrey does."""

    def __init__(self, delay_s):
        self.delay_s = delay_s
        self.first = {}
        self.put_off = []  # clients, in order
        self.listener = socket.create_server(("127.0.0.1", PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rw", encoding="utf-8") as stream, contextlib.suppress(OSError):
            asked = {}
            for line in stream:
                name, _, value = line.rstrip("\n").partition("=")
                if name:
                    asked[name] = value
                    continue
                stream.write(f"action={self._action(asked)}\n\n")
                stream.flush()
                asked = {}

    def _action(self, asked):
        client = asked["client_address"]
        first = self.first.setdefault((client.rsplit(".", 1)[0], asked["sender"], asked["recipient"]), time.monotonic())
        if time.monotonic() - first >= self.delay_s:
            return "DUNNO"
        self.put_off.append(client)
        return "450 4.2.0 Greylisted, please come again"

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
