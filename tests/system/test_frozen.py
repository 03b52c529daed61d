"""Nothing slow stands between DATA and the 451: whatever is frozen, the answer comes as fast as before."""
import time

from testbed.smtp import Smtp

REPLY = "451 4.7.1 "
# Far under every time limit of what is frozen (1 s and more), and with room for a busy machine.
FAST_S = 0.5


def slowest_answer(recipient, first, rounds=6):
    """Seconds for RCPT or DATA, the slowest of some sessions of clients from number FIRST on."""
    slowest = 0
    for number in range(first, first + rounds):
        with Smtp(f"203.0.113.{number}") as session:
            session.command("EHLO client.example.com")
            session.command("MAIL FROM:<a@sender.example>")
            for line, wanted in ((f"RCPT TO:<{recipient}>", "250"), ("DATA", REPLY)):
                started = time.monotonic()
                assert session.command(line).startswith(wanted)
                slowest = max(slowest, time.monotonic() - started)
            session.quit()
    return slowest


def test_dns_that_does_not_answer(mta, milter, lying_dns):
    lying_dns(lambda query, transport: None)
    milter(dns={"nameservers": ["127.0.0.2:53"], "timeout": "3s"})
    mta()
    assert slowest_answer("a@backup.example", 1) < FAST_S


def test_primary_that_does_not_answer(mta, milter, primary):
    for address, state in (("198.51.100.1", "hang"), ("2001:db8:100::1", "blackhole"), ("198.51.100.2", "drip")):
        primary(address, state)
    milter()
    mta()
    assert slowest_answer("a@backup.example", 1) < FAST_S
    assert slowest_answer("a@address.example", 11) < FAST_S


def test_postgresql_frozen(mta, milter, pg, hits, primaries):
    """And what came in meanwhile is recorded afterwards."""
    milter()
    mta()
    assert slowest_answer("a@trap.example", 1) < FAST_S
    assert len(hits(wait=6)) == 6
    pg.freeze()
    assert slowest_answer("a@trap.example", 11) < FAST_S
    assert slowest_answer("a@backup.example", 21) < FAST_S
    pg.thaw()
    assert len({hit["client"] for hit in hits(wait=18, timeout=60)}) == 18


def test_all_of_them_at_once(mta, milter, pg, primary, lying_dns):
    lying_dns(lambda query, transport: None)
    primary("198.51.100.1", "hang")
    milter(dns={"nameservers": ["127.0.0.2:53"], "timeout": "3s"})
    mta()
    pg.freeze()
    assert slowest_answer("a@backup.example", 1, rounds=20) < FAST_S
    pg.thaw()


def test_milter_stops_in_time_while_all_is_frozen(milter, pg, postfix, deliver, lying_dns):
    lying_dns(lambda query, transport: None)
    daemon = milter(dns={"nameservers": ["127.0.0.2:53"], "timeout": "1s"})
    postfix()
    deliver("203.0.113.7", "a@backup.example")
    deliver("203.0.113.8", "a@trap.example")
    pg.freeze()
    started = time.monotonic()
    daemon.stop()
    assert time.monotonic() - started < 15
    pg.thaw()
