"""The testbed keeps its word: a server that is started has its port, and one that is stopped is gone with all it started."""
import ast
import collections
import ctypes
import os
import socket
import sys
import threading
from pathlib import Path

import psycopg2
import pytest

from testbed.base import TOP, Server, TestbedError, bound_sockets, family, is_gone

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17  # <linux/ptrace.h>
PORT = ("tcp", "192.0.2.1", 2525)
# Listens, and leaves the port to a child that lets go of it when FILE is there.
HEIR = f"""
import os, signal, socket, sys, time
held = socket.create_server({PORT[1:]!r})
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    os._exit(0)
signal.pause()
"""


def server(tmp_path, *words, **options):
    return Server("heir", [sys.executable, "-c", HEIR, tmp_path / "go", *words], tmp_path / "log", ports=[PORT], **options)


def ends_after(stop, release):
    """STOP() returns, and only after RELEASE()."""
    done = []
    thread = threading.Thread(target=lambda: done.append(stop()))
    thread.start()
    thread.join(0.5)  # time for a stop that does not wait to return
    early = list(done)
    release()
    thread.join(20)
    assert (early, len(done)) == ([], 1)


def test_stop_waits_for_the_last_process(net, tmp_path):
    one = server(tmp_path)
    one.wait_ready()
    ends_after(one.stop, (tmp_path / "go").touch)
    assert PORT not in bound_sockets()
    other = server(tmp_path)
    other.wait_ready()
    other.stop()


def test_kill_takes_all(net, tmp_path):
    one = server(tmp_path)
    one.wait_ready()
    one.kill()
    assert PORT not in bound_sockets() and is_gone(one.pid)


@pytest.mark.parametrize("address", [PORT[1], "0.0.0.0"])
def test_a_port_that_is_held_is_said_before_the_start(net, tmp_path, address):
    with socket.create_server((address, PORT[2])), pytest.raises(TestbedError, match=f"held by .{os.getpid()}:"):
        server(tmp_path)


def test_somebody_else_on_the_port_is_not_the_server(net, tmp_path):
    """It comes to the port too late, and stays all the same."""
    one = Server("late", ["sleep", "60"], tmp_path / "log", ports=[PORT])
    with socket.create_server(PORT[1:]), pytest.raises(TestbedError, match="no answer from late"):
        one.wait_ready(timeout=0.5)
    one.stop()


def hold(pid):
    """PID acts on no signal, not even on SIGCONT, until the same thread calls what this returns."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(request):
        if libc.ptrace(request, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace({request:#x})")
    ptrace(PTRACE_SEIZE)
    ptrace(PTRACE_INTERRUPT)
    os.waitpid(pid, 0)
    return lambda: ptrace(PTRACE_DETACH)


def test_postfix_is_gone_with_its_last_smtpd(postfix, smtp):
    mta = postfix()
    smtp().command("EHLO x.example.com")
    (smtpd,) = [pid for pid in family(mta.pid) if Path(f"/proc/{pid}/comm").read_text() == "smtpd\n"]
    ends_after(mta.stop, hold(smtpd))
    socket.create_server(("192.0.2.1", 25)).close()


def test_one_mta_after_the_other(postfix, sendmail, smtp):
    """As fast as it goes, with a session open each time."""
    for start in (postfix, sendmail) * 3:
        mta = start()
        assert smtp().command("EHLO x.example.com").startswith("250")
        mta.stop()


def test_postgres_is_gone_with_its_last_child(pg):
    idle = pg.connect()
    children = family(pg.server.pid)
    pg.kill()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)
    pg.start()
    with pytest.raises(psycopg2.Error):
        idle.cursor().execute("SELECT 1")


def test_no_test_hides_another():
    """As the second of one name in a file does."""
    twice = []
    for file in sorted((TOP / "tests/system").glob("test_*.py")):
        names = collections.Counter(part.name for part in ast.parse(file.read_text()).body if isinstance(part, ast.FunctionDef))
        twice += [f"{file.name}: {name}" for name, times in names.items() if times > 1]
    assert twice == []
