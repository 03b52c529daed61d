"""`make bench` runs: every measure, so short that its figures mean nothing."""
import os

import pytest

from testbed.base import TOP, run

BUILDS = ("bench-release",)


@pytest.mark.timeout(600)
def test_quick_form_of_every_measure(net):
    done = run(TOP / "tests/bench/run", "--quick", timeout=580, env={**os.environ, "BENCH_START": ""})
    for measure in ("binary COPY of the evidence", "a backlog of 50000", "/lookup of 8000 networks, not listed", "DATA p99, DNS silent / all well",
                    "a change reaches nftables with 2000 networks", "a change reaches a file of 2000", "export plain -o / COPY", "expire() of a day's worth", "memory, 50 idle sessions", "expire() of a month", "through sendmail / with the plain null",
                    "limits off / null",
                    "backend CPU for 100,000 hits", "durable hit, 1 connections / durable null", "role off",
                    "start to first answer with 2000 hits in the spool, after a crash",
                    "listed() of 20000 networks", "Postfix map, listed", "DNSBL, not listed, as shipped"):
        assert measure in done.stdout
