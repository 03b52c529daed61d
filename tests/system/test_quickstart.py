"""./quickstart as a newcomer uses it.  It makes its own namespaces, within ours."""
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from testbed.base import BUILD, TOP, run, wait_for

BUILDS = ("tests", "quickstart")
QUICKSTART = TOP / "quickstart"


@pytest.fixture
def state():
    """What --keep left running elsewhere on this machine is not looked at.  (/run/testbed would not be seen in there.)"""
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        yield Path(folder)


@pytest.fixture
def environment(state):
    return {**os.environ, "QUICKSTART_STATE": str(state)}


def said_by(*words, env, check=True):
    return run(QUICKSTART, *words, env=env, check=check, timeout=100)


def processes():
    return run("ps", "-eo", "args").stdout


def test_it_shows_all_and_leaves_nothing_running(net, environment):
    before = processes().count("postgres")
    said = said_by(env=environment).stdout
    for step in ("1. A small internet", "What was recorded", "The primary goes down", "All servers are stopped"):
        assert step in said
    assert re.search(r"203\.0\.113\.8/32 +backup", said) and "\033" not in said
    # The legitimate Postfix met a greylist, came to the backup, got through, and was redeemed; the bot is listed.
    for words in ("mx1.backup.example   said: 450", "mx2.example.org      deferred", "mx1.backup.example   sent",
                  "so this hit is redeemed", "so 203.0.113.66/32 is listed (witnessed) under backup until", "203.0.113.60 is not listed: its letter arrived"):
        assert words in said, words
    assert int(re.search(r"that took (\d+) s", said)[1]) < 60
    assert processes().count("postgres") == before


def test_kept_played_with_and_stopped(net, environment, state):
    """Through a pipe, which ends when the command does: what stays has let go of it, and of the terminal."""
    kept = subprocess.run(["sh", "-c", f"{QUICKSTART} --keep | tail -n 4"], env=environment, text=True, timeout=110,
                          stdin=subprocess.DEVNULL, capture_output=True, check=True)
    try:
        assert "./quickstart stop" in kept.stdout.splitlines()[-1]
        pid = int((state / "quickstart-running").read_text())
        for descriptor in range(3):
            assert "pipe" not in os.readlink(f"/proc/{pid}/fd/{descriptor}")
        assert os.getsid(pid) != os.getsid(0)
        assert said_by("--keep", env=environment, check=False).stderr == \
            "quickstart: it is running already: ./quickstart stop\n"
        assert "203.0.113.8/32" in said_by("run", "hunnypot", "list", env=environment).stdout
        swaks = ["swaks", "--server", "192.0.2.1", "--local-interface", "203.0.113.5", "--to", "you@trap.example"]
        assert "<** 451 4.7.1" in said_by("run", *swaks, env=environment, check=False).stdout
        wait_for(lambda: "203.0.113.5/32" in said_by("run", "hunnypot", "list", env=environment).stdout, what="the new hit")
    finally:
        assert said_by("stop", env=environment).stdout == "Stopped.\n"
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="end")
    for words in (["stop"], ["run", "true"]):
        done = said_by(*words, env=environment, check=False)
        assert done.returncode == 1 and done.stderr.startswith("quickstart: nothing is running")


def test_what_it_does_not_know_it_explains(environment):
    assert said_by("--help", env=environment).stdout.startswith("./quickstart  ")
    assert said_by("--no-such", env=environment, check=False).returncode == 64
