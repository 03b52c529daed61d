"""Stands between the daemon and PostgreSQL, and breaks the connection at the worst moment."""
import contextlib
import queue
import socket
import threading
import time
from pathlib import Path

from testbed.base import STATE, let_pass

SERVER = "/run/postgresql/.s.PGSQL.5432"
READY = b"Z\0\0\0\5I"  # ReadyForQuery, idle: what came before it is committed


class Proxy:
    """Connect through it with host=FOLDER.  What to do with the next batches:

    proxy.cut("request") forwards half of it and hangs up; proxy.cut("answer") lets it be done, then keeps the answer to
    itself and hangs up.  proxy.cuts counts.  proxy.hold("request") and proxy.hold("answer") keep the next one until
    proxy.release(); proxy.held is set when there is one.
    """

    def __init__(self, statement=b"record_batch"):
        self.statement = statement
        self.folder = STATE / "proxy"
        self.folder.mkdir(mode=0o755, exist_ok=True)
        self.path = self.folder / Path(SERVER).name
        self.path.unlink(missing_ok=True)
        self.how, self.left, self.cuts = None, 0, 0
        self.holding = False
        self.held, self.released = threading.Event(), threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.path.chmod(0o777)
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def cut(self, how, times=1):
        self.how, self.left = how, times

    def hold(self, how):
        self.held.clear()
        self.released.clear()
        self.holding = True
        self.how, self.left = how, 1

    def release(self):
        self.holding = False
        self.released.set()

    def _hold(self):
        self.held.set()
        self.released.wait()

    def _due(self, how, data):
        if self.how != how or self.left == 0 or self.statement not in data:
            return False
        self.left -= 1
        return True

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        swallow = threading.Event()
        server = socket.socket(socket.AF_UNIX)

        def hang_up():
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def answers():
            held = b""
            with contextlib.suppress(OSError):
                while data := server.recv(65536):
                    if not swallow.is_set():
                        client.sendall(data)
                        continue
                    held += data
                    if READY in held and self.holding:
                        self._hold()
                        client.sendall(held)
                        swallow.clear()
                        held = b""
                    elif READY in held:
                        self.cuts += 1
                        break
            hang_up()

        with client, server, contextlib.suppress(OSError):
            server.connect(SERVER)
            reader = threading.Thread(target=answers, daemon=True)
            reader.start()
            with contextlib.suppress(OSError):
                while data := client.recv(1 << 20):
                    if self._due("request", data):
                        if not self.holding:
                            self.cuts += 1
                            server.sendall(data[:len(data) // 2])
                            break
                        self._hold()
                    elif self._due("answer", data):
                        swallow.set()
                    server.sendall(data)
            hang_up()
            reader.join(5)

    def stop(self):
        self.release()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(3)
        self.listener.close()


class Line:
    """A TCP connection to PostgreSQL over a bad line, for host=127.0.0.1 port=PORT: RATE bytes a second, and DELAY_S each way."""
    PORT = 6543

    def __init__(self, rate=None, delay_s=0):
        self.rate, self.delay_s = rate, delay_s
        self.listener = socket.create_server(("127.0.0.1", self.PORT))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(SERVER)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source, target):
        """What comes is under way for DELAY_S, and no more of it than RATE says."""
        under_way = queue.Queue()

        def arrive():
            while (item := under_way.get()) is not None:
                let_pass(item[0] - time.monotonic())
                with contextlib.suppress(OSError):
                    target.sendall(item[1])
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        arrivals = threading.Thread(target=arrive, daemon=True)
        arrivals.start()
        with contextlib.suppress(OSError):
            while data := source.recv(1024):
                if self.rate:
                    let_pass(len(data) / self.rate)
                under_way.put((time.monotonic() + self.delay_s, data))
        under_way.put(None)
        arrivals.join()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(3)
        self.listener.close()
