"""The daemon and the command line as they were built, with settings files made from keyword arguments."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
from pathlib import Path

from testbed.base import BUILD, STATE, TOP, Server, TestbedError, run, wait_for

SOCKET = "/run/hunnypot/milter.sock"
AS_HUNNYPOT = ["setpriv", "--reuid=hunnypot", "--regid=hunnypot", "--groups=hunnypot,postfix", "--no-new-privs",
               "--inh-caps=-all", "--bounding-set=-all"]
REPORTS = re.compile(r"^.*(ERROR: \w+Sanitizer|runtime error:|(WARNING|FATAL): ThreadSanitizer|Assertion .* failed).*$", re.M)

DEFAULTS = {
    "socket": f"unix:{SOCKET}",
    "socket_group": "postfix",
    "sensor": "mx2.example.org",
    "database": "user=sensor",
    "log_level": "debug",
    "liveness": {"startup_grace": "0s", "probe_timeout": "2s", "verdict_timeout": "10s",
                 "probe_interval": "100ms", "fresh": "0s"},
    "dns": {"timeout": "1s", "attempts": 2},
    "domain": {"trap.example": {"role": "trap"}},
}


def quoted(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(quoted(item) for item in value) + "}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def merge(base, changes):
    """BASE with CHANGES; sections are merged, a value of None removes a setting."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return {key: value for key, value in merged.items() if value is not None}


def settings_text(settings):
    """hunnypot.conf for SETTINGS: {"limits": {"idle": "2s"}, "domain": {"trap.example": {"role": "trap"}}}."""
    lines = []
    for key, value in settings.items():
        if key == "domain":
            for name, rule in value.items():
                inner = " ".join(f"{word} = {quoted(item)}" for word, item in rule.items())
                lines.append(f'domain "{name}" {{ {inner} }}')
        elif isinstance(value, dict):
            lines.append(f"{key} {{")
            lines.extend(f"    {word} = {quoted(item)}" for word, item in value.items())
            lines.append("}")
        else:
            lines.append(f"{key} = {quoted(value)}")
    return "\n".join(lines) + "\n"


def confined(program, unit="hunnypot-milter"):
    """The words that run PROGRAM as the shipped UNIT does: as a user of its own and under its filters."""
    sanitized = any(name in Path(program).read_bytes() for name in (b"__asan_init", b"__tsan_init"))
    return [*AS_HUNNYPOT, "/usr/bin/python3", "-B", TOP / "tests/system/testbed/confine.py",
            TOP / f"systemd/{unit}.service.in", *(["--sanitizers"] if sanitized else []), program]


def environment(**more):
    """For our programs when they are not installed."""
    return {"PATH": os.environ["PATH"], "HUNNYPOT_DATADIR": str(TOP), "LANG": "C.UTF-8", "PGUSER": "postgres",
            "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": f"second_deadlock_stack=1:suppressions={TOP}/tests/tsan.supp:print_suppressions=0",
            "LSAN_OPTIONS": f"suppressions={TOP}/tests/lsan.supp:print_suppressions=0",
            **more}


class Milter:
    """hunnypot-milter, running.  It is started as the shipped unit does (see confine.py); AS_ROOT lets it drop from root by
    itself, which that unit's filters do not allow.

    UNDER is a tool's words in the place of the unit's filters, which tools such as valgrind do not live with.  STDERR is a
    descriptor in the place of the log file.
    stop() demands exit status 0 and a log without a sanitizer's report; kill() is a crash.
    """

    def __init__(self, settings, name="milter", as_root=False, program=None, under=(), stderr=None):
        self.name = name
        self.folder = STATE / name
        self.folder.mkdir(mode=0o755, exist_ok=True)
        self.state = self.folder / "state"
        self.state.mkdir(exist_ok=True)
        run("chown", "hunnypot:hunnypot", self.state, "/run/hunnypot")
        self.conf = self.folder / "hunnypot.conf"
        self.as_root = as_root
        self.program = program or BUILD / "hunnypot-milter"
        self.under = under
        self.stderr = stderr
        self.settings = merge(merge(DEFAULTS, {"spool": str(self.state / "spool.db"), "user": "hunnypot"}), settings)
        self.conf.write_text(settings_text(self.settings))
        self.server = None

    @property
    def spool(self):
        return Path(self.settings["spool"])

    @property
    def pid(self):
        return self.server.pid

    def start(self, wait=True):
        if self.as_root:
            program = [self.program]
        elif self.under:
            program = [*AS_HUNNYPOT, *self.under, self.program]
        else:
            program = confined(self.program)
        self.server = Server("hunnypot-milter", [*program, "-c", self.conf], self.folder / "log", env=environment(), cwd="/",
                             stderr=self.stderr)
        if wait:
            self.server.wait_ready(self.listens, 20)

    def listens(self):
        """Does something take connections on its socket?"""
        kind, _, where = self.settings["socket"].partition(":")
        if kind == "unix":
            address, family = where, socket.AF_UNIX
        else:
            port, _, host = where.partition("@")
            address, family = (host.strip("[]"), int(port)), socket.AF_INET6 if kind == "inet6" else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as knock:
            return knock.connect_ex(address) == 0

    def configure(self, **changes):
        """Change settings in the file; reload() or a restart makes them count."""
        self.settings = merge(self.settings, changes)
        self.conf.write_text(settings_text(self.settings))

    def reload(self):
        self.server.send(signal.SIGUSR1)

    def log(self):
        """All that it has logged up to now: lines are on their way until the thread that writes them has nothing to do."""
        if not self.server:
            return ""
        with contextlib.suppress(TestbedError):  # when it is frozen, for one
            wait_for(lambda: not self.running() or self.server.is_waiting("log"), 1, interval=0.001)
        return self.server.log()

    def running(self):
        return self.server is not None and self.server.running()

    def check_log(self):
        found = REPORTS.search(self.log())
        if found:
            raise TestbedError(f"the daemon's log has: {self.log()[found.start():][:6000]}")

    def stop(self):
        if not self.server:
            return
        server = self.server
        was_running = server.running()
        status = server.stop(timeout=30)
        self.check_log()
        self.server = None
        if not was_running or status != 0:
            raise TestbedError(f"the daemon ended with {status}: {server.log()[-4000:]}")

    def kill(self):
        self.check_log()
        if not self.running():
            raise TestbedError(f"the daemon had ended with {self.server.process.returncode} by itself: {self.log()[-4000:]}")
        self.server.kill()
        self.server = None

    def freeze(self):
        self.server.freeze()

    def thaw(self):
        self.server.thaw()

    def restart(self):
        self.stop()
        self.start()

    def remove(self):
        """Forget its files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        Path(SOCKET).unlink(missing_ok=True)


def hunnypot(*words, check=True, user="postgres", **options):
    """Run the command line; returns the ended process (stdout, stderr, returncode)."""
    options.setdefault("env", environment(PGUSER=user))
    done = run(BUILD / "hunnypot", *words, check=False, **options)
    found = REPORTS.search(done.stderr)
    if found:
        raise TestbedError(f"hunnypot {' '.join(map(str, words))}: {done.stderr[found.start():][:6000]}")
    if check and done.returncode != 0:
        raise TestbedError(f"hunnypot {' '.join(map(str, words))} ended with {done.returncode}: {done.stderr.strip()}")
    return done


def hunnypot_json(*words, **options):
    """The parsed output of hunnypot ... --format json."""
    return json.loads(hunnypot(*words, "--format", "json", **options).stdout)
