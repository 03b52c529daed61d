"""A real Postfix with one letter to two domains behind one greylisting primary: it comes to the trap host for both, gets through to the
primary, and is never listed.  A bot that comes to the same host at the same time is."""
from datetime import timedelta

import pytest

from test_ripening import DAY, HOUR, Ripening
from test_witness import KEY, witness_words
from testbed import mx
from testbed.base import STATE, run, wait_for
from testbed.greylist import ASK, Greylist
from testbed.milter import environment
from testbed.postfix import SUBMISSION, sending
from testbed.smtp import Smtp, deliver

CLIENT, BOT = "203.0.113.130", "203.0.113.140"
DOMAINS = "backup.example", "second.example"


@pytest.fixture
def greylist(net):
    made = Greylist(delay_s=3)
    yield made
    made.stop()


@pytest.fixture
def primary_postfix(greylist):
    made = mx.PostfixMx(main={"virtual_mailbox_domains": ", ".join(DOMAINS), "virtual_mailbox_maps": "static:x", "virtual_alias_maps": "",
                              "smtpd_recipient_restrictions": f"{ASK}, reject_unauth_destination"})
    made.log_path.unlink(missing_ok=True)
    mx.quiet_day(made.log_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def sender(net):
    made = sending(CLIENT)
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("witnessed", [True, False], ids=["witness", "no witness"])
def test_one_letter_to_two_domains_is_not_listed(dns, pg_plain, milter, postfix, greylist, primary_postfix, sender, hunnypot, witnessed):
    dns.add("second.example. MX 10 mx1.backup.example.", "second.example. MX 20 mx2.example.org.")
    KEY.unlink(missing_ok=True)
    hunnypot("witness", "key", "--new", "--key", str(KEY))
    run("chown", "root:hunnypot", KEY)
    time = Ripening(pg_plain)
    time.enable()
    milter(envelope_key=str(KEY))
    postfix(main={"hunnypot_domains": "trap.example, " + ", ".join(DOMAINS)})
    deliver(BOT, "user@backup.example", sender="bot@spam.example")
    with Smtp("127.0.0.1", server=SUBMISSION[0], port=SUBMISSION[1]) as session:
        session.command("EHLO desk.sender.example")
        session.command("MAIL FROM:<person@sender.example>")
        for domain in DOMAINS:
            session.command(f"RCPT TO:<user@{domain}>")
        session.command("DATA")
        session.send("Subject: one letter to two\r\n\r\nhello\r\n.")
        assert session.reply().startswith("250")
    wait_for(lambda: primary_postfix.taken() == 2, 30, "the letter at the primary")
    assert CLIENT in greylist.put_off

    def recorded():
        return set(pg_plain.query("SELECT host(client), domain FROM hunnypot.hit"))
    wait_for(lambda: recorded() == {*((CLIENT, domain) for domain in DOMAINS), (BOT, "backup.example")}, 20, "all hits")
    if witnessed:
        for old in STATE.glob("*.ledger*"):
            old.unlink()
        run(*witness_words(KEY, primary_postfix.log_path), env=environment())
        assert pg_plain.query("SELECT DISTINCT state FROM hunnypot.hit h, hunnypot.hit_outcome(h) WHERE host(client) = %s", CLIENT) == [
            ("redeemed",)]
        pg_plain.query("UPDATE hunnypot.witness_stretch SET until = now() + interval '60 days'")  # and nothing more comes
    for pause in (4.1 * HOUR, 20 * HOUR, 25 * HOUR, 3 * DAY, timedelta(days=30)):
        time.later(pause)
        assert time.listing(CLIENT) == [], pause
        assert witnessed != (time.listing(BOT) == []) or pause >= 30 * DAY
