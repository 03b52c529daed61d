"""What the process is told: a stop wins within a second, whatever else was asked for or does not answer."""
import signal
import time
from pathlib import Path

import pytest

from milter_client import MilterClient
from testbed.base import run
from testbed.load import Load

# The sanitizers count up after main() has returned, on a busy machine.
STOP_S = 1
LEAK_CHECK_S = 2


def stopped_in(daemon):
    """Seconds from SIGTERM to the end; the daemon says when it has begun to stop."""
    began = time.monotonic()
    daemon.stop()
    return time.monotonic() - began


@pytest.fixture
def mute_resolver():
    """The name of this host is short and its resolver does not answer: who asks for the full name waits for long."""
    resolv, before = Path("/etc/resolv.conf"), Path("/etc/resolv.conf").read_text()
    resolv.write_text("nameserver 127.0.0.9\noptions timeout:3 attempts:5\n")
    run("hostname", "mx2")
    yield
    run("hostname", "mx2.example.org")
    resolv.write_text(before)


def in_lookup(daemon):
    return any(line.startswith("loader") and ("poll" in line or "recv" in line) for line in daemon.server.threads())


def test_a_reload_that_waits_for_dns_holds_up_no_stop(milter, lying_dns, wait_for, mute_resolver):
    """And neither do those that queue behind it."""
    lying_dns(lambda query, transport: None, "127.0.0.9")
    run("hostname", "mx2.example.org")
    daemon = milter(database="")
    run("hostname", "mx2")
    for _ in range(5):
        daemon.reload()
        daemon.server.send(signal.SIGHUP)
    wait_for(lambda: in_lookup(daemon), what="reload that waits for DNS")
    daemon.reload()
    assert stopped_in(daemon) < STOP_S + LEAK_CHECK_S


def answer_of(daemon):
    with MilterClient(daemon.settings["socket"]) as mta:
        mta.session("203.0.113.7", helo="client.example.com")
        return mta.transaction("<someone@trap.example>").text


def test_a_reload_waits_for_dns_and_nothing_else_does(milter, lying_dns, wait_for, mute_resolver):
    resolver = lying_dns(lambda query, transport: None, "127.0.0.9")
    run("hostname", "mx2.example.org")
    daemon = milter(database="", reply="451 4.7.1 before")
    run("hostname", "mx2")
    daemon.configure(reply="451 4.7.1 after")
    daemon.reload()
    wait_for(lambda: in_lookup(daemon), what="reload that waits for DNS")
    assert answer_of(daemon) == "451 4.7.1 before"
    resolver.stop()  # the kernel says that nobody is there, and the look-up fails soon
    wait_for(lambda: "reloaded " in daemon.log(), timeout=30, what="reload")
    assert answer_of(daemon) == "451 4.7.1 after"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_a_flood_of_signals_freezes_nothing(milter, wait_for, number):
    """More than a pipe holds; they are one reload, or a few."""
    daemon = milter(database="")
    daemon.freeze()
    for _ in range(70000):
        daemon.server.send(number)
    daemon.thaw()
    wait_for(lambda: "reloaded " in daemon.log(), what="reload")
    assert stopped_in(daemon) < STOP_S + LEAK_CHECK_S


def test_a_stop_under_a_flood_of_reloads(milter):
    daemon = milter(database="")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        daemon.reload()
    daemon.server.send(signal.SIGTERM)
    began = time.monotonic()
    while daemon.running() and time.monotonic() - began < 20:
        daemon.server.send(signal.SIGUSR1)
    assert time.monotonic() - began < STOP_S + LEAK_CHECK_S
    assert daemon.server.stop() == 0
    daemon.check_log()
    daemon.server = None


def test_reloads_that_come_together_are_all_obeyed(milter, wait_for):
    """The last one counts: what is in the file when the last signal comes is in force in the end."""
    daemon = milter(database="")
    for number in range(30):
        daemon.configure(sensor=f"trap{number}.example.org")
        daemon.reload()
    daemon.configure(sensor="mx2.example.org", reply="550 5.7.1 never")
    daemon.reload()
    wait_for(lambda: "reload-failed" in daemon.log(), what="last file being read")


def test_two_stops_are_one(milter):
    daemon = milter(database="")
    daemon.server.send(signal.SIGINT)
    assert daemon.server.stop(signal.SIGTERM) == 0
    daemon.server = None


@pytest.mark.parametrize("frozen", ["dns", "primary"])
def test_a_stop_waits_for_nobody_who_is_asked(milter, dns, lying_dns, primary, wait_for, frozen):
    asked = {}
    if frozen == "dns":
        lying_dns(lambda query, transport: None, "127.0.0.2")
        asked = {"nameservers": ["127.0.0.2:53"], "timeout": "30s"}
    else:
        primary("198.51.100.1", "hang")
    daemon = milter(database="", dns=asked, liveness={"probe_timeout": "60s", "verdict_timeout": "120s"})
    load = Load(daemon, "<someone@backup.example>")
    load.send(3)
    wait_for(lambda: any(line.startswith("prober") and "poll" in line for line in daemon.server.threads()), what="question")
    assert stopped_in(daemon) < STOP_S + LEAK_CHECK_S
