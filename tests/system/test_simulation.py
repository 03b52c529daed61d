"""A population of senders and spammers plays against the judge and the database, days in seconds (tests/simulation): nothing
may get worse than it was when tests/simulation/baseline.json was written.  What is better is to be written down there:
tests/simulation/run --short --accept.
"""
import pytest

from testbed.base import TOP, run


@pytest.mark.timeout(600)
def test_nothing_got_worse(net):
    done = run(TOP / "tests/simulation/run", "--short", timeout=580, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-2000:]}"
