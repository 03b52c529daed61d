"""What ./quickstart shows: real mail servers, a trap host, who is caught and who is not.

Runs inside tests/namespace.  --keep FILE: stay when all is shown, and make FILE to say so.
"""
import ipaddress
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "system"))

from testbed.base import STATE, TestbedError, check_inside, let_pass, run, wait_for  # noqa: E402
from testbed.dns import RECORDS, Dns  # noqa: E402
from testbed.greylist import ASK, Greylist  # noqa: E402
from testbed.milter import Milter, hunnypot  # noqa: E402
from testbed.mx import quiet_day  # noqa: E402
from testbed.postfix import SUBMISSION, Postfix, sending  # noqa: E402
from testbed.postgres import Postgres  # noqa: E402
from testbed.smtp import Smtp  # noqa: E402

BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() or os.environ.get("HUNNYPOT_COLOUR") else ("", "")
MX1, LEGITIMATE, BOT = "198.51.100.1", "203.0.113.60", "203.0.113.66"
KEY = STATE / "envelope.key"
GREYLIST_S, RIPENS_S = 3, 5
# Short, so that nobody need wait for the 399 s and the hour of the defaults.
SETTINGS = {"envelope_key": str(KEY), "liveness": {"remember": "2s", "probe_timeout": "2s", "startup_grace": "0s", "outage_grace": "5s"},
            "log_level": "debug"}


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n{BOLD}{text}{PLAIN}")


def demand(condition, reason):
    if not condition:
        raise TestbedError(reason)


def listed_as(address):
    """The network that a client is listed under."""
    return str(ipaddress.ip_network(address))


def client(address, recipient, why):
    """One client's visit, as a person would read it in a log."""
    say(f"\n  {address} ({why})")
    with Smtp(address) as smtp:
        for line in ("EHLO sender.example", "MAIL FROM:<offers@sender.example>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = smtp.command(line)
            say(f"    {line:42} -> {reply.splitlines()[-1]}")
        smtp.quit()
    demand(reply.startswith("451 "), f"DATA was answered {reply!r} and not 451")
    return address


def show(*words, wanted=()):
    """A hunnypot command and what it prints, which must hold the texts WANTED."""
    say(f"\n  $ hunnypot {' '.join(words)}")
    output = hunnypot(*words).stdout
    say("".join(f"  {line}\n" for line in output.splitlines()).rstrip("\n"))
    for text in wanted:
        demand(text in output, f"hunnypot {' '.join(words)} says nothing of {text}")


def listed():
    return json.loads(hunnypot("list", "--format", "json").stdout)


def start_servers():
    step("1. A small internet")
    dns = Dns()
    dns.start()
    say("  DNS:")
    for record in RECORDS.split("\n"):
        if record and "AAAA" not in record:
            say(f"    {record}")
    say("  mx2.example.org is the trap host: for trap.example it is the only mail host, for backup.example the less\n"
        "  preferred one, and for address.example it is just the address of the domain itself.")

    primary = Postfix("primary", trap=False, master=[
        f"{address}:25 inet n - n - 20 smtpd" for address in (MX1, "[2001:db8:100::1]", "198.51.100.2")],
        main={"myhostname": "mx1.backup.example", "relay_domains": "backup.example, address.example",
              "relay_recipient_maps": "", "mydestination": "", "smtpd_recipient_restrictions": f"{ASK}, reject_unauth_destination"})
    greylist = Greylist(GREYLIST_S)
    quiet_day(primary.maillog)
    primary.start()
    say("  mx1.backup.example and mx1.address.example: a real Postfix that takes mail, behind a greylist.")
    sender = sending(LEGITIMATE, "sender")
    sender.start()

    postgres = Postgres()
    postgres.start()
    postgres.make_database(lambda: hunnypot("db", "init"))
    say("  PostgreSQL: a private cluster, set up by `hunnypot db init`.")

    (STATE / "witness").mkdir()
    hunnypot("witness", "key", "--new", "--key", str(KEY))
    run("chown", "root:hunnypot", KEY)
    hunnypot("policy", "set", "backup", f"ripens={RIPENS_S}s", "waits=15s", "firm_after=0")
    milter = Milter(SETTINGS)
    milter.start()
    trap = Postfix("postfix")
    trap.start()
    say("  mx2.example.org: a real Postfix with hunnypot-milter; its settings:\n")
    say("".join(f"    {line}\n" for line in milter.conf.read_text().splitlines()).rstrip("\n"))
    return dns, primary, greylist, sender, postgres, milter, trap


def greylisted(sender, greylist, primary):
    """A real mail server with a letter, from its queue to the primary, by way of the backup."""
    step("2. A legitimate mail server sends a letter")
    say(f"  {LEGITIMATE} is a real Postfix.  It has a letter for user@backup.example, and goes to mx1.backup.example, which greylists:\n"
        f"  who is new there is put off for {GREYLIST_S} s.  So it tries the backup, as mail servers do, and later the primary again.\n")
    with Smtp("127.0.0.1", server=SUBMISSION[0], port=SUBMISSION[1]) as smtp:
        demand(smtp.transaction("user@backup.example", sender="person@sender.example").startswith("354"), "the sending Postfix takes no mail")
        smtp.send(b"Subject: hello\r\n\r\nhello\r\n.\r\n")
        demand(smtp.reply().startswith("250"), "the sending Postfix did not take the message")
        smtp.quit()
    wait_for(lambda: primary.taken() == 1, 30, "letter at the primary")
    demand(LEGITIMATE in greylist.put_off, "the letter met no greylist")
    say("  Its log:")
    # That of each try's first host and, where there was a second one, its answer.
    for stamp, host, answer in re.findall(r"^\w+ +\d+ (\S+) .*?(?:: host |relay=)([\w.]+)\[[\d.]+\](?::25, .*status=| )(.*)$", sender.log(), re.M):
        say(f"    {stamp} {host:20} {answer[:104]}")


def catch():
    step("3. Others come to the trap host")
    caught = {
        client("203.0.113.7", "info@trap.example", "sends to a domain that gets no legitimate mail"): "trap",
        client("203.0.113.8", "info@backup.example", "skips the preferred mail host, though it is up"): "backup",
        client("203.0.113.9", "info@address.example", "does not look at MX records at all"): "address",
        client("2001:db8:c::7", "info@backup.example", "the same over IPv6"): "backup",
        client(BOT, "info@backup.example", "a bot: it has not even a name in DNS"): "backup",
    }
    say("\n  Nobody's mail was taken: each was told to try again, and a real mail server would then find the primary.")

    step("4. What was recorded")
    caught[LEGITIMATE] = "backup"
    wait_for(lambda: len(listed()) >= len(caught), 20, "complete list of the clients in `hunnypot list`")
    show("list", wanted=[*map(listed_as, caught), *caught.values(), "ripening"])
    say(f"\n  {LEGITIMATE}, the legitimate one, is there too.  What it did looks the same; what it does next does not.")
    show("status", wanted=["mx2.example.org"])
    return caught


def witness(primary, postgres):
    step("5. A witness reads the primary's log")
    # It has to know the addresses that the sensor probes from, which are told within seconds.
    wait_for(lambda: postgres.query("SELECT count(DISTINCT family(source)) FROM hunnypot.probe WHERE mx = 'mx1.backup.example'") == [(2,)],
             20, "the sensor's probes in the database")
    say("\n  On mx1.backup.example, `hunnypot witness` would follow the log all the time.  It is believed when it has watched for a day:\n"
        "  here that day, in which nothing came, is made up.")
    show("witness", "--host", "mx1.backup.example", "--name", "mx1", "--key", str(KEY), "--state", str(STATE / "witness"), str(primary.maillog))
    show("list", "--network", LEGITIMATE, wanted=["redeemed"])
    show("why", LEGITIMATE, wanted=["accepted this letter", "so this hit is redeemed", "not listed under backup"])


def judged(primary, caught):
    step("6. Who is listed")
    say(f"\n  A hit counts when it had its time to turn out a mistake: 4 hours by default, here {RIPENS_S} s.  A class lists nobody before you\n"
        "  enable it; whom it would list is seen before.")

    def proven():
        # The log goes on, and the witness with it: who is said to have been seen nowhere was looked for until its hit was ripe.
        with Smtp("203.0.113.1", server=MX1) as visitor:
            visitor.quit()
        hunnypot("witness", "--host", "mx1.backup.example", "--name", "mx1", "--key", str(KEY), "--state", str(STATE / "witness"),
                 str(primary.maillog))
        return "listed, witnessed" in hunnypot("policy", "test", "backup").stdout
    wait_for(proven, 45, "bot that would be listed", interval=1)
    show("policy", "test", "backup", wanted=["listed, witnessed", BOT])
    show("policy", "enable", "backup")
    show("listed", BOT, wanted=["550 5.7.1", "witnessed"])
    show("why", BOT, wanted=["came to the backup mx2.example.org of backup.example", "primary mx1.backup.example took mail",
                             "this hit counts, witnessed: the letter was seen nowhere until", "listed (witnessed) under backup"])
    show("show", BOT, "--limit", "1", wanted=["in words:", "so 203.0.113.66/32 is listed (witnessed) under backup until"])
    demand("redeemed" in hunnypot("policy", "test", "backup").stdout, "policy test says nothing of who was redeemed")
    demand(hunnypot("listed", LEGITIMATE, check=False).returncode == 1, f"{LEGITIMATE} is listed")
    say(f"\n  {LEGITIMATE} is not listed: its letter arrived.")
    caught[BOT] = "backup"


def outage(primary, milter, caught):
    step("7. The primary goes down")
    primary.stop()
    say("  Postfix on mx1.backup.example is stopped.  Now legitimate mail comes to the backup, as it should.")
    let_pass(2.1)  # `remember`
    stray = client("203.0.113.20", "info@backup.example", "a legitimate sender in the outage")
    wait_for(lambda: f"not-recorded client={stray} verdict=outage" in milter.log(), 15, "verdict about the stray client")
    say("\n  The milter probed the primary, and its log says:")
    line = next(line for line in milter.log().splitlines() if f"not-recorded client={stray}" in line)
    say(f"    {line}")
    show("list", wanted=map(listed_as, caught))
    demand(stray not in hunnypot("list").stdout, f"{stray} was recorded in an outage")
    say(f"\n  {stray} is not there.")


def explain_keep():
    step("It goes on running.")
    say("""  The primary is up again; backup.example is recorded again when 5 s (`outage_grace`) have passed.

  Send mail:   ./quickstart run swaks --server 192.0.2.1 --local-interface 203.0.113.5 --to you@trap.example
  Look:        ./quickstart run hunnypot list
               ./quickstart run hunnypot show 203.0.113.5
               ./quickstart run tail -f /run/testbed/milter/log
  Have a look around in there:   ./quickstart run bash
  Stop:        ./quickstart stop""")


def keep(ready):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.flush()
    Path(ready).write_text("")
    while True:
        signal.pause()


def main():
    check_inside()
    started = time.monotonic()
    dns, primary, greylist, sender, postgres, milter, trap = start_servers()
    greylisted(sender, greylist, primary)
    caught = catch()
    witness(primary, postgres)
    judged(primary, caught)
    sender.stop()
    outage(primary, milter, caught)
    demand(not trap.queued() and not trap.taken(), "the trap host took mail")
    if sys.argv[1:2] == ["--keep"]:
        primary.start()
        explain_keep()
        keep(sys.argv[2])
    greylist.stop()
    for server in (trap, milter, dns):
        server.stop()
    postgres.stop("immediate")
    say(f"\nAll servers are stopped; that took {time.monotonic() - started:.0f} s.  `./quickstart --keep` leaves them running.")


try:
    main()
except (TestbedError, AssertionError, OSError) as error:
    sys.exit(f"\nquickstart failed: {error}")
