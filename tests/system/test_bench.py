"""`make bench` runs: every measure, so short that its figures mean nothing."""
import os
import re
import xml.etree.ElementTree

import pytest

from testbed.base import DEBS, TOP, run

BUILDS = ("bench-release",)
SVG = "{http://www.w3.org/2000/svg}"
PARTS = ("hits into PostgreSQL", "counting what is ripe", "a backlog shipped, with the start", "a witness reads a log",
         "start to the first answer, after a stop", "start to the first answer, after a crash", "sessions, 16 at once",
         "a session, among others", "memory of sessions that wait", "a look-up: plain = ANY", "a look-up: listed()", "a look-up: Postfix map", "a look-up: DNSBL",
         "the list made", "the list exported", "a day's worth of it expired")


@pytest.mark.timeout(1500)
def test_quick_form_of_every_measure(net):
    drawing = TOP / "build/bench.svg"
    drawing.unlink(missing_ok=True)
    done = run(TOP / "tests/bench/run", "--quick", timeout=1450, env={**os.environ, "BENCH_START": ""})
    for measure in ("binary COPY of the evidence", "a backlog of 50000", "/lookup of 8000 networks, not listed", "DATA p99, DNS silent / all well",
                    "a change reaches nftables with 2000 networks", "a change reaches a file of 2000", "export plain -o / psql COPY",
                    "expire() of a day's worth", "memory, 50 idle sessions", "expire() of a month", "through sendmail / with the plain null",
                    "limits off / null",
                    "backend CPU for 100,000 hits", "durable hit, 1 connections / durable null", "(role off), 16 connections / plain null",
                    "start to first answer with 2000 hits in the spool, after a crash",
                    "listed() of 20000 networks", "Postfix map, listed", "DNSBL, not listed, as shipped",
                    "hunnypot-milter (a durable hit each), 16 connections / plain null: CPU"):
        assert measure in done.stdout
    # Each peer is measured, or it is said that it is not.
    for peer, program in (("pymilter", TOP / "build/peers/complete"), ("opendkim", TOP / "build/peers/complete"),
                          ("opendmarc", TOP / "build/peers/complete"), ("rspamd proxy", DEBS / "rspamd/usr/bin/rspamd")):
        wanted = f"^{peer} .* / plain null: sessions/s" if program.exists() else f"^peers: not measured, .*: {peer}"
        assert re.search(wanted, done.stdout, re.M), peer
    for part in PARTS:
        assert re.search(f"^{re.escape(part)}, .*: grows as n\\^ +-?[0-9]+[.][0-9]+ ", done.stdout, re.M), part
    panels = xml.etree.ElementTree.parse(drawing).getroot().findall(f"{SVG}g[@class='part']")
    assert [panel.find(f"{SVG}text[@class='name']").text for panel in panels] == list(PARTS)
    for panel in panels:
        [curve] = panel.findall(f"{SVG}polyline[@class='curve']")
        heights = [float(point.split(",")[1]) for point in curve.get("points").split()]
        assert len(heights) == 3 and all(0 <= height <= 30 + 250 * (len(PARTS) + 2) // 3 for height in heights), panel
