"""A clean root: a fresh Debian 12 with the real packages (tests/clean-root), in which what our documents say is done as they say it.

Each is a layer of its own over what was set up once, and is gone after the test.  The network is the testbed's.
"""
import contextlib
import os
import re
import shutil
import textwrap

from testbed.base import STATE, TOP, make, run, wait_for
from testbed.smtp import Smtp

ROOTS = TOP / "build/roots"
BUILD = TOP / "build/quickstart"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# There is no systemd in there.  What is left to it is done by this, by its name.
SYSTEMCTL = TOP / "tests/system/testbed/systemctl"
OWN_MAIL = "Subject: from cron\n\nhello\n"


class CleanRoot:
    """CleanRoot("postfix") is the root with that package; .run("command") runs it in there as root."""

    def __init__(self, package):
        self.folder = STATE / f"clean-{package}"
        self.path = self.folder / "root"
        for sub in ("root", "upper", "work"):
            (self.folder / sub).mkdir(parents=True)
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={ROOTS / package}:{ROOTS / 'base'}:{ROOTS / 'slim'},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}", self.path)
        run("mount", "--rbind", "/dev", self.path / "dev")
        run("mount", "--bind", "/proc", self.path / "proc")
        run("mount", "-t", "tmpfs", "tmpfs", self.path / "run")
        (self.path / "run/lock").mkdir(mode=0o1777)
        if os.environ.get("HUNNYPOT_COVERAGE"):
            (self.path / f".{BUILD}").mkdir(parents=True)
            run("mount", "--bind", BUILD, self.path / f".{BUILD}")
        for name in ("resolv.conf", "hosts", "nsswitch.conf"):
            shutil.copy(f"/etc/{name}", self.path / "etc" / name)
        self.write("/usr/bin/systemctl", SYSTEMCTL.read_text(), 0o755)

    def write(self, path, text, mode=0o644):
        file = self.path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path):
        return (self.path / path.lstrip("/")).read_text(errors="backslashreplace")

    def run(self, command, check=True, timeout=250, **options):
        """A shell's command, as a person types it."""
        return run("chroot", self.path, "/bin/sh", "-c", command, check=check, cwd="/", timeout=timeout,
                   env={"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}, **options)

    def install(self):
        """What README's `make install` does, with its folders."""
        make(BUILD, f"DESTDIR={self.path}", "install")

    def processes(self):
        """Those whose root this is."""
        found = []
        for process in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if process.isdigit() and os.readlink(f"/proc/{process}/root") == str(self.path):
                    found.append(int(process))
        return found

    def remove(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        wait_for(lambda: not self.processes(), 10, "end of all in the clean root")
        run("umount", "-R", "-l", self.path)
        shutil.rmtree(self.folder)


def blocks_in(text):
    """The commands of a page of doc/: what is indented by four or more, a script for each block of it."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)  # files of others
    found = re.findall(r"(?:^ {4,}.*\n(?:\n(?= {4}))?)+", text, re.M)
    return [textwrap.dedent(block) for block in found]


def commands_in(text, indent="    "):
    """The commands of a document: what is indented, a line that ends with a backslash going on in the next."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line[len(indent):].strip() for line in lines if line.startswith(indent) and line[len(indent):].strip()]


def own_mail_goes_out(root, hub):
    """Of a program that calls sendmail, as cron does, and of one that speaks SMTP."""
    root.run(f"printf '{OWN_MAIL}' | sendmail root".replace("\n", "\\n"))
    wait_for(lambda: hub.taken() == 1, 20, "the mail from cron at the hub")
    with Smtp("127.0.0.1", server="127.0.0.1") as session:
        assert session.transaction("admin@example.org", sender="root@mx2.example.org").startswith("354")
        session.send(OWN_MAIL.replace("\n", "\r\n").encode() + b".\r\n")
        assert session.reply().startswith("250")
    wait_for(lambda: hub.taken() == 2, 20, "the mail over SMTP at the hub")
