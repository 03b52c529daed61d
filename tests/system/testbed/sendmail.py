"""Real sendmail, unpacked by tests/setup, run with the configuration that sendmail-cf/ ships."""
import os
import shutil
import socket
import threading

from testbed.base import DEBS, STATE, TOP, TRAP_HOST, TRAP_HOST6, Server, run

PREFIX = DEBS / "sendmail"


class Syslog:
    """What sendmail sends to /dev/log, as one text.  It has no other log."""

    def __init__(self):
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/dev/log")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            self.lines.append(self.socket.recv(65536).decode(errors="backslashreplace").rstrip("\0\n"))

    def text(self):
        return "\n".join(self.lines)


class Sendmail:
    """Sendmail(replace={"O Timeout.command=30s": "O Timeout.command=2s"}): in sendmail.cf; MC: in sendmail.mc."""

    name = "sendmail"

    def __init__(self, syslog, name="sendmail", replace=None, extra="", interfaces=(TRAP_HOST, TRAP_HOST6),
                 mc=None):
        self.folder = STATE / name
        self.syslog = syslog
        self.etc, self.queue, self.cf = (self.folder / sub for sub in ("etc", "queue", "cf"))
        for sub in (self.folder, self.etc):
            sub.mkdir(mode=0o755, exist_ok=True)
        self.queue.mkdir(mode=0o700, exist_ok=True)
        if not self.cf.exists():
            shutil.copytree("/usr/share/sendmail/cf", self.cf, symlinks=True)
        shutil.copy(TOP / "sendmail-cf/feature/hunnypot.m4", self.cf / "feature")
        self.binary = self.folder / "sendmail.bin"
        if not self.binary.exists():
            # A copy without set-group-id: the loader would ignore LD_LIBRARY_PATH.
            run("install", "-m", "755", f"{PREFIX}/usr/libexec/sendmail/sendmail", self.binary)
        (self.etc / "service.switch").write_text("hosts dns files\n")
        self.interfaces = interfaces
        self.environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": f"{PREFIX}/usr/lib/x86_64-linux-gnu"}
        self.configure(replace or {}, extra, interfaces, mc or {})
        self.server = None

    def configure(self, replace, extra, interfaces, changes):
        """The shipped example, with the paths and interfaces of this instance."""
        mc = (TOP / "sendmail-cf/hunnypot.mc").read_text()
        ours = f"""define(`MAIL_SETTINGS_DIR', `{self.etc}/')dnl
define(`confPID_FILE', `{self.folder}/pid')dnl
define(`QUEUE_DIR', `{self.queue}')dnl
define(`ALIAS_FILE', `')dnl
define(`STATUS_FILE', `')dnl
define(`HELP_FILE', `{self.etc}/helpfile')dnl
define(`confSERVICE_SWITCH_FILE', `{self.etc}/service.switch')dnl
define(`confDONT_PROBE_INTERFACES', `true')dnl
define(`confDEF_USER_ID', `nobody')dnl
define(`confTRUSTED_USER', `root')dnl
define(`confCONTROL_SOCKET_NAME', `')dnl
define(`confLOG_LEVEL', `14')dnl
define(`confREFUSE_LA', `999')dnl
define(`confQUEUE_LA', `999')dnl
{extra}
"""
        include, last = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n", "DOMAIN(`debian-mta')dnl\n"
        assert include in mc and last in mc
        mc = mc.replace(include, f"include(`{self.cf}/m4/cf.m4')dnl\n").replace(last, last + ours)
        for shipped, address in zip((TRAP_HOST, TRAP_HOST6), interfaces):
            assert f"Addr={shipped}," in mc
            mc = mc.replace(f"Addr={shipped},", f"Addr={address},")
        for wanted, instead in changes.items():
            assert wanted in mc, f"sendmail.mc has no {wanted}"
            mc = mc.replace(wanted, instead)
        (self.etc / "sendmail.mc").write_text(mc)
        cf = run("m4", f"-D_CF_DIR_={self.cf}/", self.etc / "sendmail.mc").stdout
        for wanted, instead in replace.items():
            assert wanted in cf, f"sendmail.cf has no {wanted}"
            cf = cf.replace(wanted, instead)
        (self.etc / "sendmail.cf").write_text(cf)

    def start(self):
        self.server = Server("sendmail", [self.binary, "-bD", "-C", self.etc / "sendmail.cf"], self.folder / "out",
                             env=self.environment, ports=[("tcp", address, 25) for address in (*self.interfaces, "127.0.0.1")])
        self.server.wait_ready()

    @property
    def pid(self):
        return self.server.pid

    def running(self):
        return self.server is not None and self.server.running()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None

    def kill(self):
        self.server.kill()
        self.server = None

    def log(self):
        return self.server.log() + self.syslog.text() if self.server else self.syslog.text()

    def queued(self):
        return [path for path in self.queue.rglob("*") if path.is_file() and path.name.startswith(("df", "qf"))]

    def taken(self):
        return self.syslog.text().count("stat=Sent")
