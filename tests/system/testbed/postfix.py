"""Real Postfix, unpacked by tests/setup, run with the configuration that postfix/ ships."""
import os
import re
import signal
import time

from testbed.base import (DEBS, STATE, TOP, TRAP_HOST, TRAP_HOST6, TestbedError, demand_free, end_family, holds, is_gone, run,
                          wait_for)

PREFIX = DEBS / "postfix"
LIBRARIES = f"{PREFIX}/usr/lib/postfix"
SUBMISSION = "127.0.0.1", 2525
NOT_INSTALLED = ("maildrop", "uucp", "ifmail", "bsmtp", "scalemail-backend", "mailman")  # what these services of Debian's call


def logical_lines(text):
    """The services of a master.cf, each in one line."""
    lines = []
    for line in text.splitlines():
        if line[:1].isspace() and line.strip():
            lines[-1] += line
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    return lines


def shipped_services():
    return logical_lines((TOP / "postfix/master.cf").read_text())


def changed(line, name=None, chroot="n", processes=None, without=(), more=()):
    """A service of master.cf under another NAME or with other limits, WITHOUT the options for these parameters, and with MORE."""
    words, *options = re.split(r"\s+-o\s+", line)
    fields = words.split()
    options = [option for option in options if option.split("=")[0] not in without]
    return " -o ".join([" ".join([name or fields[0], *fields[1:4], chroot, fields[5], processes or fields[6], *fields[7:]]), *options, *more])


def trap_service(name, *more):
    """The shipped trap once more, under another NAME and with MORE options."""
    return changed(shipped_services()[0], name, more=more)


def master_lines(trap, own, extra, chroot, processes):
    """Debian's master.cf with the shipped services in place of the one for port 25, less what is the test's OWN.  Only the trap
    may be chrooted: the others would need the files that Debian's start script copies into the queue folder."""
    for line in logical_lines((PREFIX / "usr/share/postfix/master.cf.dist").read_text()):
        if line.split()[0] not in NOT_INSTALLED and line.split()[:2] != ["smtp", "inet"]:
            yield changed(line)
    if trap:
        yield changed(shipped_services()[0], chroot="y" if chroot else "n", processes=processes, without=own)
        for line in shipped_services()[1:]:
            yield changed(line, without=own)
    yield from extra


def ports_of(master, interfaces):
    """What the lines of a master.cf listen on; those that name no address do so on INTERFACES."""
    found = set()
    for line in master:
        service, kind = line.split()[:2]
        if kind == "inet":
            host, _, port = service.rpartition(":")
            for address in ["127.0.0.1", "::1"] if host == "localhost" else [host.strip("[]")] if host else interfaces:
                found.add(("tcp", address, 25 if port == "smtp" else int(port)))
    return found


def sending(client, name="client", main=None):
    """A Postfix on the host of CLIENT that sends what it is given at SUBMISSION by MX records, as it comes from Debian but for
    what would make a test wait.  A letter that its queue manager finds within a second of the last try may be "still being
    delivered", and is then left alone for five minutes."""
    return Postfix(name, trap=False, master=[f"{SUBMISSION[0]}:{SUBMISSION[1]} inet n - n - - smtpd"], main={
        "myhostname": "mail.sender.example", "mydestination": "", "inet_protocols": "ipv4", "smtp_bind_address": client,
        "default_transport": "smtp:", "smtp_host_lookup": "dns", "mynetworks": "127.0.0.0/8", "smtpd_recipient_restrictions":
        "permit_mynetworks, reject", "queue_run_delay": "1s", "minimal_backoff_time": "3s", "maximal_backoff_time": "3s", **(main or {})})


class Postfix:
    """Postfix(name, main={"smtpd_timeout": "2s"}, master=["[::1]:2525 inet n - n - 20 smtpd -o ..."])

    TRAP: with the shipped configuration; without, it is a plain Postfix that listens only where MASTER says.  What MAIN sets
    the trap's service does not.  PROCESSES: so many sessions at once, instead of the shipped 20.
    """

    name = "postfix"

    def __init__(self, name="postfix", main=None, master=(), chroot=False, trap=True, processes=None):
        self.folder = STATE / name
        self.etc, self.queue, self.data = (self.folder / sub for sub in ("etc", "spool", "data"))
        self.maillog = self.folder / "maillog"
        settings = {
            "command_directory": f"{PREFIX}/usr/sbin",
            "daemon_directory": f"{PREFIX}/usr/lib/postfix/sbin",
            "shlib_directory": LIBRARIES,
            "meta_directory": str(self.etc),
            "sendmail_path": f"{PREFIX}/usr/sbin/sendmail",
            "mailq_path": f"{PREFIX}/usr/bin/mailq",
            "newaliases_path": f"{PREFIX}/usr/bin/newaliases",
            "import_environment": f"MAIL_CONFIG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME "
                                  f"LD_LIBRARY_PATH={LIBRARIES}",
            "queue_directory": str(self.queue),
            "data_directory": str(self.data),
            "maillog_file": str(self.maillog),
            "maillog_file_prefixes": str(STATE),
            "inet_interfaces": f"{TRAP_HOST}, {TRAP_HOST6}" if trap else "loopback-only",
            "inet_protocols": "all",
            # Nothing is to leave: what got past every net would be thrown away, and seen in the log.
            "default_transport": "discard:", "relay_transport": "discard:", "relayhost": "",
            **(main or {}),
        }
        self._make_folders()
        shipped = (TOP / "postfix/example-main.cf").read_text() if trap else "compatibility_level = 3.6\n"
        shipped = "".join(line + "\n" for line in shipped.splitlines()
                          if line.split("=")[0].strip() not in settings)
        own = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.etc / "main.cf").write_text(shipped + own)
        lines = list(master_lines(trap, main or {}, master, chroot, processes))
        (self.etc / "master.cf").write_text("\n".join(lines) + "\n")
        self.ports = ports_of(lines, settings["inet_interfaces"].split(", ") if trap else ["127.0.0.1", "::1"])
        (self.etc / "dynamicmaps.cf").write_text("pgsql postfix-pgsql.so dict_pgsql_open\n")
        # Postfix waits until a main.cf younger than two seconds has settled.
        old = time.time() - 60
        os.utime(self.etc / "main.cf", (old, old))
        self.environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": LIBRARIES, "MAIL_CONFIG": str(self.etc)}
        self.pid = self.group = None
        self.before = 0

    def _make_folders(self):
        for sub in (self.folder, self.etc, self.data, self.queue, self.queue / "pid"):
            sub.mkdir(mode=0o755, exist_ok=True)
        run("chown", "postfix:postfix", self.data)
        for sub in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved",
                    "trace"):
            (self.queue / sub).mkdir(mode=0o700, exist_ok=True)
            run("chown", "postfix:root", self.queue / sub)
        for sub, mode in (("maildrop", "0730"), ("public", "0710")):
            (self.queue / sub).mkdir(exist_ok=True)
            run("chown", "postfix:postdrop", self.queue / sub)
            run("chmod", mode, self.queue / sub)

    def start(self):
        self.before = len(self.log())  # of earlier instances of this name
        demand_free(self.ports)
        done = run(f"{PREFIX}/usr/lib/postfix/sbin/master", "-c", self.etc, "-w", env=self.environment, check=False)
        if done.returncode != 0:
            raise TestbedError(f"Postfix does not start: {self.log()[self.before:][-1000:]}")
        self.pid = int((self.queue / "pid/master.pid").read_text())
        self.group = os.getpgid(self.pid)
        wait_for(lambda: holds(self.group, self.ports), 20, f"Postfix at {self.ports}")

    def running(self):
        return self.pid is not None and os.path.exists(f"/proc/{self.pid}")

    def stop(self):
        if self.running():
            os.kill(self.pid, signal.SIGTERM)
        self._wait_gone()

    def kill(self):
        """The whole server crashes, in the middle of whatever it does."""
        end_family(self.pid, self.group)
        self._wait_gone()

    def _wait_gone(self):
        """An smtpd may hold the port for longer than its master lives."""
        if self.group is not None:
            wait_for(lambda: is_gone(self.group), 20, "end of Postfix")
        self.pid = self.group = None

    def log(self):
        return self.maillog.read_text(errors="backslashreplace") if self.maillog.exists() else ""

    def command(self, name, *words, **options):
        """One of Postfix's commands (postmap, postconf, ...) in this instance."""
        return run(f"{PREFIX}/usr/sbin/{name}", "-c", self.etc, *words, env=self.environment, **options)

    def queued(self):
        """Messages that were taken: none, on a trap.  (A file that cannot be executed is one that is being received.)"""
        return [path for sub in ("incoming", "active", "deferred", "maildrop", "hold")
                for path in (self.queue / sub).rglob("*") if path.is_file() and path.stat().st_mode & 0o100]

    def taken(self):
        """How many messages were taken and delivered (to nowhere) since its start."""
        return len(re.findall(r"status=sent", self.log()[self.before:]))
