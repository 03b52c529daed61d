"""The daemon's life: start, checks, reload, restart, crash, stop; and who it is while it lives."""
import fcntl
import os
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from milter_client import MilterClient
from testbed.base import BUILD, run
from testbed.milter import Milter, environment, settings_text

REPLY = "451 4.7.1 "


def daemon_output(*arguments, conf=None, check=False):
    """Run hunnypot-milter to its end."""
    words = ["-c", conf] if conf else []
    return run(BUILD / "hunnypot-milter", *words, *arguments, check=check, env=environment())


@pytest.fixture
def conf(tmp_path):
    def write(text):
        path = tmp_path / "hunnypot.conf"
        path.write_text(text)
        return path
    return write


def test_check_takes_good_settings(conf, tmp_path):
    settings = {"limits": {"connections": 5}, "user": "hunnypot", "spool": str(tmp_path / "spool.db")}
    done = daemon_output("--check", conf=conf(settings_text(settings)))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text, wanted", [
    ("nonsense = 1\n", "nonsense"),
    ("limits { connections = -1 }\n", "connections"),
    ("limits {\n  idle = \"soon\"\n}\n", "idle"),
    ("reply = \"550 5.7.1 no\"\n", "451"),
    ("reply = \"250 2.0.0 fine\"\n", "451"),
    ("liveness { require = most }\n", "require"),
    ("domain \"x.example\" { role = king }\n", "role"),
    ("ignore_clients = {\"192.0.2.1/24\"}\n", "ignore_clients"),
    ("socket = \"nowhere\"\n", "socket"),
    ("\n\nuser = \"x\n", "end of file"),
    ("\n\nlimits {\n", "limits"),
])
def test_check_names_what_is_wrong(conf, text, wanted):
    path = conf(text)
    done = daemon_output("--check", conf=path)
    assert done.returncode != 0
    assert wanted in done.stderr and str(path) in done.stderr


def test_dump_is_read_back_to_the_same(conf):
    path = conf(settings_text({"limits": {"connections": 5, "idle": "7s"}, "domain": {"*.example": {"role": "trap"}}}))
    first = daemon_output("--dump", conf=path, check=True).stdout
    second = daemon_output("--dump", conf=conf(first), check=True).stdout
    assert first == second and "7s" in first and "*.example" in first


def test_reload(mta, milter, deliver, wait_for):
    daemon = milter(reply="451 4.7.1 before")
    mta()
    assert deliver("203.0.113.7", "a@trap.example") == "451 4.7.1 before"
    daemon.configure(reply="451 4.7.1 after")
    daemon.reload()
    wait_for(lambda: "reloaded " in daemon.log(), what="reload")
    assert deliver("203.0.113.7", "a@trap.example") == "451 4.7.1 after"


def test_running_session_keeps_its_settings(postfix, milter, smtp, wait_for):
    daemon = milter(reply="451 4.7.1 before")
    postfix()
    session = smtp()
    session.command("EHLO client.example.com")
    daemon.configure(reply="451 4.7.1 after")
    daemon.reload()
    wait_for(lambda: "reloaded " in daemon.log(), what="reload")
    assert session.transaction("a@trap.example", helo=None) == "451 4.7.1 before"


def test_bad_file_at_reload_keeps_the_old_settings(postfix, milter, deliver, wait_for):
    daemon = milter(reply="451 4.7.1 before")
    postfix()
    daemon.configure(reply="550 5.7.1 never")
    daemon.reload()
    wait_for(lambda: "reload-failed" in daemon.log(), what="refusal")
    assert deliver("203.0.113.7", "a@trap.example") == "451 4.7.1 before"


def test_reload_changes_roles(postfix, milter, smtp, deliver, pg, hits, wait_for):
    daemon = milter(domain={"trap.example": {"role": "off"}})
    postfix()
    session = smtp("203.0.113.7")
    assert session.transaction("a@trap.example").startswith("354")
    session.close()
    daemon.configure(domain={"trap.example": {"role": "trap"}})
    daemon.reload()
    wait_for(lambda: "reloaded " in daemon.log(), what="reload")
    deliver("203.0.113.8", "a@trap.example")
    assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.8"]


def test_restart_loses_and_doubles_nothing(mta, milter, pg, hits, deliver):
    daemon = milter()
    mta()
    for number in range(1, 6):
        deliver(f"203.0.113.{number}", "a@trap.example")
        daemon.restart()
    assert [hit["client"] for hit in hits(wait=5)] == [f"203.0.113.{number}" for number in range(1, 6)]


def test_killed_after_the_451_loses_nothing(postfix, milter, pg, hits, deliver):
    """The hit is committed before the reply."""
    daemon = milter()
    postfix()
    for number in range(1, 6):
        assert deliver(f"203.0.113.{number}", "a@trap.example").startswith(REPLY)
        daemon.kill()
        daemon.start()
    assert [hit["client"] for hit in hits(wait=5)] == [f"203.0.113.{number}" for number in range(1, 6)]


def test_hits_wait_in_the_spool_for_the_database(postfix, milter, pg, hits, deliver):
    pg.stop()
    milter()
    postfix()
    for number in range(1, 4):
        assert deliver(f"203.0.113.{number}", "a@trap.example").startswith(REPLY)
    pg.start()
    assert len(hits(wait=3, timeout=60)) == 3


def test_database_stops_and_comes_back(postfix, milter, pg, hits, deliver):
    milter()
    postfix()
    for number, mode in enumerate(("fast", "immediate"), 1):
        assert deliver(f"203.0.113.{number}", "a@trap.example").startswith(REPLY)
        pg.stop(mode)
        assert deliver(f"203.0.113.{number + 10}", "a@trap.example").startswith(REPLY)
        pg.start()
    assert len(hits(wait=4, timeout=60)) == 4


def test_spool_only(postfix, milter, deliver):
    """Without a database there is the spool, and the 451."""
    milter(database="")
    postfix()
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY)


def test_stops_within_a_second_when_idle(milter):
    """The best of three: the machine is busy with other tests, and the sanitizers count up at the end."""
    daemon = milter()
    taken = []
    for _ in range(3):
        started = time.monotonic()
        daemon.stop()
        taken.append(time.monotonic() - started)
        daemon.start()
    assert min(taken) < 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_with_sessions_open(postfix, milter, smtp, number):
    """libmilter calls neither abort nor close then; the leak check at the end counts what is left."""
    daemon = milter()
    postfix()
    sessions = [smtp(f"203.0.113.{n}") for n in range(1, 6)]
    for session in sessions:
        session.command("EHLO client.example.com")
        session.command("MAIL FROM:<a@sender.example>")
        session.command("RCPT TO:<a@trap.example>")
    assert daemon.server.stop(number) == 0
    assert sessions[0].command("DATA").startswith("451")
    daemon.check_log()
    daemon.server = None


@pytest.mark.parametrize("lock", ["there", "removed"])
def test_a_second_daemon_on_one_spool_is_refused(milter, lock):
    first = milter(database="")
    if lock == "removed":
        first.spool.with_name(f"{first.spool.name}.lock").unlink()
    second = Milter({"database": "", "spool": str(first.spool), "socket": "unix:/run/hunnypot/second.sock"}, "second")
    second.start(wait=False)
    assert second.server.process.wait(10) != 0
    assert str(first.spool) in second.log()
    assert not Path("/run/hunnypot/second.sock").exists()
    assert first.listens()
    second.remove()


def test_a_socket_that_cannot_be_given_to_its_group_is_not_left(milter):
    daemon = Milter({"database": "", "socket_group": "daemon"}, "misfit")
    daemon.start(wait=False)
    assert daemon.server.process.wait(10) != 0
    assert "cannot be given to its group" in daemon.log()
    assert not Path("/run/hunnypot/milter.sock").exists()
    daemon.remove()


def test_the_socket_of_a_running_daemon_is_not_taken(milter, postfix, deliver):
    first = milter(database="")
    second = Milter({"database": ""}, "second")
    second.start(wait=False)
    assert second.server.process.wait(10) != 0
    assert "in use" in second.log()
    postfix()
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY)
    assert first.running()


def test_a_stale_socket_is_removed(milter):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind("/run/hunnypot/milter.sock")
    run("chown", "hunnypot:hunnypot", "/run/hunnypot/milter.sock")
    assert milter(database="").listens()


def test_primed_in_a_folder_that_only_the_mail_server_may_enter(milter, wait_for):
    """As Postfix's own folders are: once it is no longer root, the daemon does not get to its socket by name."""
    folder = Path("/run/private")
    folder.mkdir(mode=0o700)
    run("chown", "postfix:postfix", folder)
    daemon = milter(as_root=True, database="", socket=f"unix:{folder}/milter.sock")
    wait_for(lambda: re.search(" (primed|prime-failed)", daemon.log()), what="cure for the stall")
    assert " prime-failed " not in daemon.log()
    daemon.stop()
    shutil.rmtree(folder)  # the socket is left for the next start


@pytest.mark.parametrize("addresses", [("192.0.2.1", "192.0.2.33"), ("192.0.2.33", "192.0.2.1")])
def test_primed_on_a_host_name_with_two_addresses(milter, wait_for, addresses):
    """libmilter listens on one of them."""
    hosts = Path("/etc/hosts")
    before = hosts.read_text()
    hosts.write_text(before + "".join(f"{address} twofold.example\n" for address in addresses))
    try:
        daemon = milter(wait=False, database="", socket="inet:8899@twofold.example")
        wait_for(lambda: re.search(" (primed|prime-failed)", daemon.log()), what="cure for the stall")
        assert " prime-failed " not in daemon.log()
    finally:
        hosts.write_text(before)


@pytest.mark.parametrize("where", ["unix:/run/hunnypot/milter.sock", "inet:8899@127.0.0.1", "inet6:8899@[::1]", "inet:8899@localhost"])
def test_ping(milter, where):
    daemon = milter(database="", socket=where)
    assert daemon_output("--ping", conf=daemon.conf).returncode == 0
    daemon.stop()
    done = daemon_output("--ping", conf=daemon.conf)
    assert done.returncode == 1 and done.stderr.startswith(f"{where}: ") and done.stderr.count("\n") == 1


def test_ping_of_one_who_is_no_milter(conf):
    with socket.create_server(("127.0.0.1", 8899)) as listener:
        asking = threading.Thread(target=lambda: listener.accept()[0].close())
        asking.start()
        done = daemon_output("--ping", conf=conf(settings_text({"socket": "inet:8899@127.0.0.1"})))
        asking.join()
    assert done.returncode == 1 and done.stderr == "inet:8899@127.0.0.1: Connection reset by peer\n"
    done = daemon_output("--ping", conf=conf(settings_text({"socket": "inet:8899@nowhere.invalid"})))
    assert done.returncode == 1 and "nowhere.invalid: " in done.stderr


def test_an_address_that_became_ours(dns, milter, hits, wait_for):
    """By DHCP, or as a failover address: who comes from it is one of us from then on."""
    daemon = milter(log_level="debug")

    def is_friend():
        with MilterClient(daemon.settings["socket"]) as mta:
            mta.session("198.18.0.7")
            assert mta.transaction("<a@trap.example>").code == 451
        return " client=198.18.0.7 verdict=friend " in daemon.log()
    assert not is_friend()
    hits(wait=1)
    run("ip", "address", "add", "198.18.0.7/32", "dev", "lo")
    try:
        wait_for(is_friend, what="friend")
        offences = daemon.log().count(" offence client=")
        friends = daemon.log().count(" verdict=friend ")
        is_friend()
        wait_for(lambda: daemon.log().count(" verdict=friend ") > friends, what="verdict")
        assert daemon.log().count(" offence client=") == offences
    finally:
        run("ip", "address", "del", "198.18.0.7/32", "dev", "lo")


def test_the_log_says_what_became_of_hits(dns, milter, wait_for):
    """The first of each verdict at once, and how many there were once a minute, or at the end."""
    daemon = milter(log_level="info")
    with MilterClient(daemon.settings["socket"]) as mta:
        mta.session("198.18.0.7")
        for recipient in ("postmaster@trap.example", "abuse@trap.example", "a@trap.example", "postmaster@trap.example"):
            assert mta.transaction(f"<{recipient}>").code == 451
            mta.abort()
    wait_for(lambda: " offence client=" in daemon.log() and " verdict=exempt " in daemon.log(), what="verdicts")
    daemon.stop()
    log = daemon.folder.joinpath("log").read_text()
    assert len(re.findall(" info not-recorded client=198.18.0.7 verdict=exempt why=\"[^\"]+\" ", log)) == 1
    assert re.search(" info judged verdict=exempt hits=3 why=\"[^\"]+\"\n", log)
    assert re.search(" info judged verdict=offence hits=1 why=\"[^\"]+\"\n", log)


def test_a_locked_folder_is_no_silent_wait(milter, wait_for):
    """Whoever can read the socket's folder can lock it."""
    folder = os.open("/run/hunnypot", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    daemon = Milter({"database": ""}, "waiting")
    daemon.start(wait=False)
    assert daemon.server.process.wait(20) == 1
    assert "folder /run/hunnypot is locked by another program" in daemon.log()
    os.close(folder)
    daemon.remove()


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_privileges_are_dropped_before_the_first_session(milter, postfix, deliver, pg, hits):
    """Started as root, it is nobody special when it serves."""
    daemon = milter(as_root=True)
    status = status_of(daemon.pid)
    assert set(status["Uid"].split()) == {"64701"} and set(status["Gid"].split()) == {"64701"}
    assert "0" not in status["Groups"].split()
    assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert status["NoNewPrivs"] == "1"
    postfix()
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY)
    assert len(hits(wait=1)) == 1


def test_root_is_refused_as_user(milter):
    daemon = Milter({"database": "", "user": "root"}, "rootly", as_root=True)
    daemon.start(wait=False)
    assert daemon.server.process.wait(10) != 0
    daemon.remove()


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_words_about_itself(word):
    done = daemon_output(word)
    assert done.returncode == 0 and done.stdout
