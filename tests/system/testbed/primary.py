"""A primary mail host that is as well or ill as a test wants: greeters on addresses of 198.51.100.0/24."""
import socket
import threading

from testbed.base import let_pass

# The greeting of each state; None says nothing.
GREETINGS = {
    "accept": b"220 mx1 ESMTP\r\n",
    "defer": b"421 mx1 too busy\r\n",
    "reject": b"554 mx1 no service\r\n",
    "hang": None,
    "drip": b"220-mx1 one byte at a time\r\n220 mx1 ESMTP\r\n",
    "flood": b"220-" + b"x" * 500 + b"\r\n",
    "reset": None,
}


class Primary:
    """Listens on port 25 of ADDRESS.  States: those above, "refuse" (nothing listens), "blackhole" (packets are lost: no
    answer to a connection at all), and a function, which gets each connection."""

    def __init__(self, address="198.51.100.1", port=25, state="accept"):
        self.address, self.port = address, port
        self.lock = threading.Lock()
        self.listener = None
        self.fillers = []
        self.open = []
        self.connections = 0  # how often somebody came
        self.commands = []    # what they said
        self.state = "refuse"
        self.set(state)

    def set(self, state):
        if state not in ("refuse", "blackhole") and state not in GREETINGS and not callable(state):
            raise ValueError(state)
        self.state = state
        self._unlisten()
        if state == "refuse":
            return
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(0 if state == "blackhole" else 128)
        self.listener = listener
        if state == "blackhole":
            self._fill_backlog(family)
        else:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _fill_backlog(self, family):
        """Linux drops the SYNs for a listener whose queue is full."""
        for _ in range(4):
            filler = socket.socket(family, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex((self.address, self.port))
            self.fillers.append(filler)

    def _unlisten(self):
        listener, self.listener = self.listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        with self.lock:
            gone, self.open = self.open + self.fillers, []
            self.fillers = []
        for connection in gone:
            connection.close()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            with self.lock:
                self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.state), daemon=True).start()

    def _serve(self, connection, state):
        try:
            connection.settimeout(30)
            if callable(state):
                state(connection)
                return
            if state == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
                return
            greeting = GREETINGS[state]
            while state == "flood":
                connection.sendall(greeting)
            for byte in greeting or b"" if state == "drip" else b"":
                connection.sendall(bytes([byte]))
                let_pass(0.5)
            if greeting and state != "drip":
                connection.sendall(greeting)
            while data := connection.recv(4096):
                self.commands.append(data)
                if data.upper().startswith(b"QUIT"):
                    connection.sendall(b"221 bye\r\n")
                    break
        except OSError:
            pass
        finally:
            connection.close()

    def stop(self):
        self.set("refuse")
