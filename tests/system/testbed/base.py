"""Paths, processes and waiting: what the other modules stand on."""
import contextlib
import ipaddress
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("HUNNYPOT_BUILD", TOP / "build" / "tests")).resolve()
DEBS = Path("/run/debs")
STATE = Path("/run/testbed")

FUTEX = "202" if os.uname().machine == "x86_64" else "98"  # its number among system calls; 98 is that of newer machines, arm64 for one
FUTEX_WAIT_BITSET = 9  # linux/futex.h

TRAP_HOST, TRAP_HOST6 = "192.0.2.1", "2001:db8::1"


class TestbedError(Exception):
    """A part of the testbed does not do its duty; the text says which and why."""
    __test__ = False  # pytest takes what is called Test... for tests


def check_inside():
    if not STATE.is_dir() or os.uname().nodename != "mx2.example.org":
        raise TestbedError("run this inside tests/namespace (./runtests and ./quickstart do)")


def wait_for(predicate, timeout=30, what="condition", interval=0.02):
    """Poll PREDICATE until it returns something true, and return that; fail after TIMEOUT seconds."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise TestbedError(f"no {what} within {timeout} s")
        time.sleep(interval)


def let_pass(seconds):
    """Only where the passing of time is itself what a test is about; all else has an event, for which there is wait_for()."""
    time.sleep(max(0, seconds))


def run(*command, timeout=60, check=True, **options):
    """Run COMMAND to its end with its output caught; a failure carries the output."""
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="backslashreplace", timeout=timeout, **options)
    if check and done.returncode != 0:
        raise TestbedError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-4000:]}")
    return done


def make(build, *targets):
    """Make TARGETS in the folder BUILD, one caller after the other: files of tests run side by side, and may want the same."""
    run("flock", Path(build) / ".make.lock", "make", "-s", "-C", build, *targets, timeout=200)


def _address(text):
    """An address of the kernel's tables: hexadecimal words in the order of this machine."""
    raw = bytes.fromhex(text)
    words = struct.unpack(f"={len(raw) // 4}I", raw)
    return str(ipaddress.ip_address(struct.pack(f"!{len(words)}I", *words)))


def bound_sockets():
    """{(protocol, address, port): inode} of the sockets that take what comes: TCP that listens (state 0A), bound UDP (07)."""
    found = {}
    for protocol, state in (("tcp", "0A"), ("udp", "07")):
        for family in ("", "6"):
            for line in Path(f"/proc/net/{protocol}{family}").read_text().splitlines()[1:]:
                fields = line.split()
                address, port = fields[1].split(":")
                if fields[3] == state:
                    found[protocol, _address(address), int(port, 16)] = fields[9]
    return found


def holders(inode):
    """{pid: name} of the processes that have the socket INODE open."""
    found = {}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if os.readlink(descriptor) == f"socket:[{inode}]":
                process = descriptor.parents[1]
                found[int(process.name)] = (process / "comm").read_text().strip()
    return found


def demand_free(ports):
    """Before a server starts: nobody has one of PORTS, by this name or any other."""
    for key, inode in bound_sockets().items():
        protocol, address, port = key
        if any(port == wanted and protocol == kind and (address == where or ipaddress.ip_address(address).is_unspecified)
               for kind, where, wanted in ports):
            raise TestbedError(f"{protocol} port {port} of {address} is held by {holders(inode) or 'nobody who can be seen'}")


def holds(group, ports):
    """Does a process of GROUP have each of PORTS?  To connect and see would be a session."""
    bound = bound_sockets()
    return all(key in bound and any(group_of(pid) == group for pid in holders(bound[key])) for key in ports)


def group_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def is_gone(group):
    """Is the last process of GROUP gone?"""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def family(pid):
    """PID and all that descend from it, the elder first."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def end_family(pid, group):
    """Kill PID, its descendants (which may have groups of their own) and its GROUP.  Returns a function that tells whether the last one is gone."""
    members = family(pid)
    for member in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return lambda: is_gone(group) and not any(os.path.exists(f"/proc/{member}") for member in members)


class Server:
    """One server with a log file: a process, and what it starts in its process group.

    PORTS are what it takes connections or questions at, as ("tcp" or "udp", address, port): nobody else may have them when
    it starts, it has them when wait_ready() returns, and they are free, as all of it is gone, when stop() or kill() does.
    STDERR is a descriptor for what would go to the log file otherwise.
    """

    def __init__(self, name, command, log, env=None, cwd=None, ports=(), stderr=None):
        demand_free(ports)
        self.name = name
        self.ports = ports
        self.log_path = Path(log)
        with open(self.log_path, "ab") as output:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output if stderr is None else stderr, env=env, cwd=cwd,
                                            start_new_session=True)
        self.pid = self.process.pid

    def log(self):
        return self.log_path.read_text(errors="backslashreplace")

    def running(self):
        return self.process.poll() is None

    def wait_ready(self, predicate=lambda: True, timeout=15):
        def ready():
            if not self.running():
                raise TestbedError(f"{self.name} ended with {self.process.returncode}: {self.log()[-3000:]}")
            return holds(self.pid, self.ports) and predicate()
        wait_for(ready, timeout, f"answer from {self.name}; its log says: {self.log()[-3000:]}")

    def send(self, number):
        self.process.send_signal(number)

    def freeze(self):
        self.send(signal.SIGSTOP)

    def thaw(self):
        self.send(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM, timeout=20):
        """Ask it to end, and return its exit status; what does not end in time is killed, which is an error."""
        if self.running():
            # In this order: a SIGCONT that comes late would undo the SIGSTOPs by which the leak check halts the threads.
            os.killpg(self.pid, signal.SIGCONT)
            self.send(number)
        try:
            status = self.process.wait(timeout)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)  # sendmail's sessions, for example, live on without it
            wait_for(lambda: is_gone(self.pid), timeout, "end of what it started")
            return status
        except (subprocess.TimeoutExpired, TestbedError):
            threads = self.threads()
            self.kill()
            raise TestbedError(f"{self.name} did not stop within {timeout} s: {threads} {self.log()[-3000:]}") from None

    def is_waiting(self, name):
        """Has its thread called NAME nothing to do, or is there none?  Then it waits at a condition variable, for which glibc has
        FUTEX_WAIT_BITSET; one that waits for a mutex, with FUTEX_WAIT, has."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                if (task / "comm").read_text().strip() == name:
                    call = (task / "syscall").read_text().split()
                    return call[0] == FUTEX and int(call[2], 16) & 0x7f == FUTEX_WAIT_BITSET
            except OSError:
                continue
        return True

    def threads(self):
        """What each thread of the process is at: name, the kernel's function it waits in, and the system call."""
        found = []
        for task in Path("/proc").glob(f"{self.pid}/task/*"):
            with contextlib.suppress(OSError):
                found.append(" ".join((task / part).read_text().strip() for part in ("comm", "wchan", "syscall")))
        return found

    def kill(self):
        """End it and what it started, as a crash does."""
        ended = end_family(self.pid, self.pid) if self.running() else lambda: is_gone(self.pid)
        status = self.process.wait(10)
        wait_for(ended, 10, f"end of what {self.name} started")
        return status
