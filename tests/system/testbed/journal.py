"""A real systemd-journald, which takes what comes to /dev/log into a journal of its own, for as long as a test needs it."""
import contextlib
import os
import shutil
import signal
from pathlib import Path

from testbed.base import STATE, Server, run, wait_for

DEV_LOG, SOCKET, JOURNAL = Path("/dev/log"), Path("/run/systemd/journal/dev-log"), Path("/run/log/journal")
BEFORE = DEV_LOG.with_name("log.before")


class Journal:
    """It stands in the place of the testbed's Syslog, and of its file: what is said is in the journal."""

    lines = ()

    def __init__(self):
        JOURNAL.mkdir(parents=True, exist_ok=True)
        self.server = Server("journald", ["/lib/systemd/systemd-journald"], STATE / "journald.out")
        self.server.wait_ready(SOCKET.exists)
        with contextlib.suppress(FileNotFoundError):
            os.rename(DEV_LOG, BEFORE)
        DEV_LOG.symlink_to(SOCKET)

    def text(self):
        """What journalctl(1) has of the facility mail."""
        return run("journalctl", "--quiet", "--no-pager", "--facility=mail", "--output=cat").stdout

    def wait_for(self, text, count=1):
        wait_for(lambda: self.text().count(text) >= count, 20, f"{count} times {text} in the journal")

    def rotate(self):
        """As journalctl --rotate, which would ask the service manager."""
        files = set(JOURNAL.rglob("*.journal"))
        self.server.send(signal.SIGUSR2)
        wait_for(lambda: set(JOURNAL.rglob("*.journal")) - files, 10, "another file of the journal")

    def stop(self):
        DEV_LOG.unlink()
        with contextlib.suppress(FileNotFoundError):
            os.rename(BEFORE, DEV_LOG)
        self.server.stop()
        SOCKET.unlink(missing_ok=True)
        shutil.rmtree(JOURNAL)
