"""Paths, processes and waiting: what the other modules stand on."""
import os
import signal
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("HUNNYPOT_BUILD", TOP / "build" / "tests")).resolve()
DEBS = Path("/run/debs")
STATE = Path("/run/testbed")

TRAP_HOST, TRAP_HOST6 = "192.0.2.1", "2001:db8::1"


class TestbedError(Exception):
    """A part of the testbed does not do its duty; the text says which and why."""


def check_inside():
    if not STATE.is_dir() or os.uname().nodename != "mx2.example.org":
        raise TestbedError("run this inside tests/namespace (./runtests and ./quickstart do)")


def wait_for(predicate, timeout=10, what="condition", interval=0.02):
    """Poll PREDICATE until it returns something true, and return that; fail after TIMEOUT seconds."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise TestbedError(f"no {what} within {timeout} s")
        time.sleep(interval)


def run(*command, timeout=60, check=True, **options):
    """Run COMMAND to its end with its output caught; a failure carries the output."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="backslashreplace", timeout=timeout, stdin=subprocess.DEVNULL, **options)
    if check and done.returncode != 0:
        raise TestbedError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-4000:]}")
    return done


class Server:
    """One server process with a log file."""

    def __init__(self, name, command, log, env=None, cwd=None):
        self.name = name
        self.log_path = Path(log)
        with open(self.log_path, "ab") as output:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, env=env, cwd=cwd, start_new_session=True)
        self.pid = self.process.pid

    def log(self):
        return self.log_path.read_text(errors="backslashreplace")

    def running(self):
        return self.process.poll() is None

    def wait_ready(self, predicate, timeout=15):
        def ready():
            if not self.running():
                raise TestbedError(f"{self.name} ended with {self.process.returncode}: {self.log()[-3000:]}")
            return predicate()
        wait_for(ready, timeout, f"answer from {self.name}; its log says: {self.log()[-3000:]}")

    def send(self, number):
        self.process.send_signal(number)

    def freeze(self):
        self.send(signal.SIGSTOP)

    def thaw(self):
        self.send(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM, timeout=20):
        """Ask it to end, and return its exit status; one that does not end in time is killed, which is an error."""
        if self.running():
            # In this order: a SIGCONT that comes late would undo the SIGSTOPs by which the leak check halts the threads.
            self.thaw()
            self.send(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            threads = self.threads()
            self.kill()
            raise TestbedError(f"{self.name} did not stop within {timeout} s: {threads} {self.log()[-3000:]}") from None

    def threads(self):
        """What each thread of the process is at: name, the kernel's function it waits in, and the system call."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                found.append(" ".join((task / part).read_text().strip() for part in ("comm", "wchan", "syscall")))
            except OSError:
                continue
        return found

    def kill(self):
        """End it and what it started, as a crash does."""
        if self.running():
            os.killpg(self.pid, signal.SIGKILL)
        return self.process.wait(10)
