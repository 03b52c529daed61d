"""The confinement of a shipped unit without systemd: confine.py UNIT [--sanitizers] PROGRAM ARGUMENT...

Taken line by line from the unit: what systemd does by seccomp, by limits and by the mask of files' modes, in the same way.
What takes namespaces (Protect..., Private...) is left to systemd.  Where systemd answers EPERM a forbidden call ends the
process with SIGSYS here, so that none is quietly lived with; `strace -f` shows which one it was.  A line that is neither done
here nor known to be somebody else's work is an error: the tests would run with less than the unit says.
"""
import errno
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

import seccomp
from seccomp import ALLOW, EQ, ERRNO, GT, KILL_PROCESS, MASKED_EQ, NE, Arg

# Asked for in order to be refused: answered as systemd does.
REFUSED = {
    "setuid": "the daemon looks whether it could be root again",
}
# What the sanitizers do themselves.
SANITIZERS = {
    "ptrace": "LeakSanitizer halts the threads at the end, from a process of its own",
}

# Who does the rest, or why nobody need.
LEFT = {
    "setpriv (testbed/milter.py)": "User Group SupplementaryGroups NoNewPrivileges CapabilityBoundingSet AmbientCapabilities",
    "the testbed, which starts, signals and stops": "Type ExecStart ExecStartPre ExecReload Restart RestartSec TimeoutStopSec",
    "the testbed, which makes the folders": "RuntimeDirectory RuntimeDirectoryMode StateDirectory StateDirectoryMode",
    "systemd, by namespaces": "ProtectSystem ReadWritePaths ProtectHome PrivateTmp PrivateMounts PrivateDevices DevicePolicy "
                              "ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups "
                              "ProtectClock ProtectHostname ProtectProc ProcSubset",
    "systemd, when the service has ended": "RemoveIPC",
    "what the tests give as arguments": "Environment EnvironmentFile",
}
LEFT_NAMES = {name for names in LEFT.values() for name in names.split()}

CLONE_NEW = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
SCHED_OTHERS = (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE)
LAST_FAMILY, LAST_POLICY = 64, 16
# Calls that set a mode: the arguments with the mode and, where it only counts with O_CREAT, with the flags.
MODE_SETTERS = {"chmod": (1, None), "fchmod": (1, None), "fchmodat": (2, None), "mkdir": (1, None), "mkdirat": (2, None),
                "mknod": (1, None), "mknodat": (2, None), "creat": (1, None), "open": (2, 1), "openat": (3, 2)}


def service_lines(unit):
    """(name, value) of each line of [Service]."""
    section = Path(unit).read_text().split("\n[Service]\n")[1].split("\n[")[0]
    return [line.split("=", 1) for line in section.splitlines() if line and not line.startswith(("#", ";"))]


def groups():
    """The members of each of systemd's groups of calls; a group may have groups among them."""
    found, name = {}, None
    for line in subprocess.run(["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True).stdout.splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            found[name] = []
        elif word and not word.startswith("#"):
            found[name].append(word)
    return found


def expand(words, known):
    for word in words:
        if word.startswith("@"):
            yield from expand(known[word], known)
        else:
            yield word


def must_be(value, *known):
    if value not in known:
        sys.exit(f"confine: only {' or '.join(known)} is done here, not {value}")


class Confinement:
    def __init__(self, sanitizers):
        self.known = groups()
        self.calls = set()
        self.sanitizers = SANITIZERS if sanitizers else {}
        self.arguments = seccomp.SyscallFilter(ALLOW)

    def forbid(self, call, *arguments, action=KILL_PROCESS):
        self.arguments.add_rule(action, call, *arguments)

    def SystemCallFilter(self, value):  # as the next ones, called by its name in the unit
        if value.startswith("~"):
            self.calls -= set(expand(value[1:].split(), self.known))
        else:
            self.calls |= set(expand(["@default", *value.split()], self.known))

    def RestrictAddressFamilies(self, value):
        allowed = {int(getattr(socket, name)) for name in value.split()}
        for family in set(range(LAST_FAMILY + 1)) - allowed:
            self.forbid("socket", Arg(0, EQ, family))
        self.forbid("socket", Arg(0, GT, LAST_FAMILY))

    def RestrictNamespaces(self, value):
        must_be(value, "yes")
        for flag in CLONE_NEW:
            self.forbid("clone", Arg(0, MASKED_EQ, flag, flag))
            self.forbid("unshare", Arg(0, MASKED_EQ, flag, flag))
        self.forbid("setns")
        # Its flags are out of a filter's sight; the C library uses clone() then.
        self.forbid("clone3", action=ERRNO(errno.ENOSYS))

    def LockPersonality(self, value):
        must_be(value, "yes")
        self.forbid("personality", Arg(0, NE, 0))

    def RestrictRealtime(self, value):
        must_be(value, "yes")
        for policy in set(range(LAST_POLICY + 1)) - set(SCHED_OTHERS):
            self.forbid("sched_setscheduler", Arg(1, EQ, policy))
        self.forbid("sched_setscheduler", Arg(1, GT, LAST_POLICY))

    def MemoryDenyWriteExecute(self, value):
        must_be(value, "yes")
        self.forbid("mmap", Arg(2, MASKED_EQ, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC))
        self.forbid("mprotect", Arg(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
        self.forbid("pkey_mprotect", Arg(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
        self.forbid("shmat", Arg(2, MASKED_EQ, SHM_EXEC, SHM_EXEC))

    def RestrictSUIDSGID(self, value):
        must_be(value, "yes")
        for bit in (stat.S_ISUID, stat.S_ISGID):
            for call, (mode, flags) in MODE_SETTERS.items():
                made = [Arg(flags, MASKED_EQ, os.O_CREAT, os.O_CREAT)] if flags else []
                self.forbid(call, Arg(mode, MASKED_EQ, bit, bit), *made)
        self.forbid("openat2", action=ERRNO(errno.ENOSYS))

    def LimitNOFILE(self, value):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))

    def LimitCORE(self, value):
        resource.setrlimit(resource.RLIMIT_CORE, (int(value), int(value)))

    def UMask(self, value):
        os.umask(int(value, 8))

    def SystemCallArchitectures(self, value):
        must_be(value, "native")  # libseccomp's filters are for that one, and end a process of another

    def SystemCallErrorNumber(self, value):
        must_be(value, "EPERM")  # what REFUSED gets; anything else ends the process

    def begin(self):
        listed = seccomp.SyscallFilter(KILL_PROCESS)
        for call in self.calls | set(self.sanitizers):
            if seccomp.resolve_syscall(seccomp.Arch(), call) != -1:
                listed.add_rule(ALLOW, call)
        for call in set(REFUSED) - self.calls:
            listed.add_rule(ERRNO(errno.EPERM), call)
        self.arguments.load()
        listed.load()


def main(unit, *command):
    sanitizers = command[0] == "--sanitizers"
    confinement = Confinement(sanitizers)
    for name, value in service_lines(unit):
        if name[:1].isupper() and hasattr(confinement, name):
            getattr(confinement, name)(value)
        elif name not in LEFT_NAMES:
            sys.exit(f"confine: {unit}: {name}= is not known here")
    confinement.begin()
    os.execv(command[sanitizers], command[sanitizers:])


if __name__ == "__main__":
    main(*sys.argv[1:])
