"""What others on the host cannot get at: files, sockets, passwords; and how the programs were built."""
import os
import re
import stat
from pathlib import Path

import pytest

from testbed.base import BUILD, STATE, TOP, run, wait_for
from testbed.load import Load
from testbed.milter import SOCKET, environment

BUILDS = ("tests", "quickstart")

SECRETS = ("s3same", "s3same%21")


def as_nobody(*command):
    return run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command, check=False)


@pytest.fixture
def careless(tmp_path):
    """The daemon started with a mask that lets everything through."""
    tmp_path.chmod(0o755)
    program = tmp_path / "careless"
    program.write_text(f'#!/bin/sh\numask 000\nexec {BUILD}/hunnypot-milter "$@"\n')
    program.chmod(0o755)
    return program


def test_no_file_and_no_socket_is_for_others(milter, careless):
    """Whatever the mask of files' modes is, and whether a file is the spool, beside it, or a damaged one set aside."""
    daemon = milter(program=careless, as_root=True, database="")
    Load(daemon).send(3)
    files = set(os.listdir(daemon.state))
    daemon.stop()
    daemon.spool.write_bytes(b"damaged" * 1000)
    daemon.start()
    wait_for(lambda: daemon.log().count(" ready ") == 2, what="second start")
    files |= set(os.listdir(daemon.state))
    assert {re.sub(r"\.damaged-.*Z", ".damaged", name) for name in files} >= {
        "spool.db", "spool.db-wal", "spool.db-shm", "spool.db.lock", "spool.db.damaged"}
    for name in os.listdir(daemon.state):
        assert os.stat(daemon.state / name).st_mode & 0o177 == 0, name
    made = os.stat(SOCKET)
    assert stat.S_IMODE(made.st_mode) == 0o660 and (made.st_uid, made.st_gid) == (64701, 64702)


def test_other_users_cannot_speak_to_the_milter(milter):
    milter(database="")
    knock = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r}); print('in')"
    assert "PermissionError" in as_nobody("/usr/bin/python3", "-c", knock).stderr
    smtpd = run("setpriv", "--reuid=postfix", "--regid=postfix", "--clear-groups", "/usr/bin/python3", "-c", knock)
    assert smtpd.stdout == "in\n"


def test_a_folder_made_by_the_daemon_is_closed_to_others(milter):
    daemon = milter(as_root=True, database="", spool=f"{STATE}/milter/made/spool.db")
    assert stat.S_IMODE(os.stat(daemon.spool.parent).st_mode) == 0o750
    assert as_nobody("/bin/ls", daemon.spool.parent).returncode != 0


def told(text):
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("conninfo", [
    "host=/run/postgresql password=s3same", "password='s3same%21' user=guarded", "postgresql://guarded:s3same@/hunnypot",
    "postgresql://guarded@/hunnypot?password=s3same", "user=guarded sslpassword=s3same", "password=s3same nonsense",
    "postgresql://guarded:s3same@[::1/", "user=guarded password='s3same"])
def test_a_password_in_a_connection_string_is_told_nowhere(net, hunnypot, tmp_path, conninfo):
    conf = tmp_path / "hunnypot.conf"
    conf.write_text(f'database = "{conninfo}"\n')
    bare = environment(HUNNYPOT_DATABASE=conninfo)
    assert hunnypot("list", check=False, env=bare).returncode == hunnypot("-d", conninfo, "list", check=False).returncode == 64
    for done in (run(BUILD / "hunnypot-milter", "-c", conf, "--check", check=False, env=environment()),
                 run(BUILD / "hunnypot-milter", "-c", conf, "--dump", check=False, env=environment()),
                 run(BUILD / "hunnypot-milter", "-c", conf, check=False, env=environment()),
                 hunnypot("-d", conninfo, "list", check=False), hunnypot("list", check=False, env=bare)):
        assert done.returncode != 0 and not told(done.stdout + done.stderr), done


@pytest.fixture
def guarded(pg):
    """A login with a password."""
    pg.query("DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD 's3same' "
             "IN ROLE hunnypot_sensor, hunnypot_reader, needs_password")
    yield
    pg.query("DROP ROLE guarded", database="postgres")


def processes():
    """What anybody sees of all processes."""
    return "".join(path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline"))


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_a_password_from_a_file_is_told_nowhere(pg, guarded, milter, hunnypot, tmp_path, right):
    passfile = STATE / "passfile"
    passfile.write_text(f"*:*:*:guarded:s3same{'' if right else '%21'}\n")
    run("chown", "hunnypot:hunnypot", passfile)
    passfile.chmod(0o600)
    daemon = milter(database=f"user=guarded passfile={passfile}")
    wait_for(lambda: ("database-connected" if right else "authentication failed") in daemon.log(), what="answer")
    shown = daemon.log() + processes() + Path(f"/proc/{daemon.pid}/environ").read_text()
    done = hunnypot("list", check=False, env=environment(PGUSER="guarded", PGPASSFILE=str(passfile)))
    passfile.unlink()
    assert (done.returncode == 0) == right
    assert not told(shown + done.stdout + done.stderr)


def test_a_password_in_the_environment_does_not_reach_the_command_of_an_export(pg, guarded, hunnypot, tmp_path):
    seen = tmp_path / "seen"
    done = hunnypot("export", "plain", "-o", tmp_path / "list", "--command", f"env >{seen}",
                    env=environment(PGUSER="guarded", PGPASSWORD="s3same"))
    assert "PGUSER=guarded" in seen.read_text() and not told(seen.read_text() + done.stdout + done.stderr)


@pytest.mark.parametrize("program", ["hunnypot", "hunnypot-milter"])
def test_programs_are_hardened_without_asking(program):
    """As configure builds them by default (with a sanitizer there is no FORTIFY)."""
    told = run("readelf", "-Whlds", TOP / "build/quickstart" / program).stdout
    for word in (r"Type: +DYN .*Position-Independent", r"GNU_RELRO", r"FLAGS_1.* NOW .*PIE", r"GNU_STACK .* RW +0x",
                 r"__stack_chk_fail@", r"__\w+printf_chk@"):
        assert re.search(word, told), f"no {word}"
    assert not re.search(r"RPATH|RUNPATH|TEXTREL", told)
