"""What ./quickstart shows: real mail servers, a trap host, who is caught and who is not.

Runs inside tests/namespace.  --keep FILE: stay when all is shown, and make FILE to say so.
"""
import ipaddress
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "system"))

from testbed.base import TestbedError, check_inside, let_pass, wait_for  # noqa: E402
from testbed.dns import RECORDS, Dns  # noqa: E402
from testbed.milter import Milter, hunnypot  # noqa: E402
from testbed.postfix import Postfix  # noqa: E402
from testbed.postgres import Postgres  # noqa: E402
from testbed.smtp import Smtp  # noqa: E402

BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() or os.environ.get("HUNNYPOT_COLOUR") else ("", "")
MX1 = "198.51.100.1"
# Short, so that nobody need wait for the 399 s and the hour of the defaults.
SETTINGS = {"liveness": {"remember": "2s", "probe_timeout": "2s", "startup_grace": "0s", "outage_grace": "5s"},
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
    return str(ipaddress.ip_network((address, 64 if ":" in address else 32), strict=False))


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
              "relay_recipient_maps": "", "mydestination": ""})
    primary.start()
    say("  mx1.backup.example and mx1.address.example: a real Postfix that takes mail.")

    postgres = Postgres()
    postgres.start()
    postgres.make_database(lambda: hunnypot("db", "init"))
    say("  PostgreSQL: a private cluster, set up by `hunnypot db init`.")

    milter = Milter(SETTINGS)
    milter.start()
    trap = Postfix("postfix")
    trap.start()
    say("  mx2.example.org: a real Postfix with hunnypot-milter; its settings:\n")
    say("".join(f"    {line}\n" for line in milter.conf.read_text().splitlines()).rstrip("\n"))
    return dns, primary, postgres, milter, trap


def catch():
    step("2. A legitimate sender asks DNS, and goes to the primary")
    with Smtp("203.0.113.1", server=MX1) as smtp:
        demand(smtp.transaction("someone@backup.example").startswith("354"), "the primary does not take mail")
        smtp.send(b"Subject: hello\r\n\r\nhello\r\n.\r\n")
        reply = smtp.reply()
        smtp.quit()
    say(f"  203.0.113.1 at mx1.backup.example: its message -> {reply}")
    demand(reply.startswith("250"), f"the primary did not take the message: {reply!r}")

    step("3. Others come to the trap host")
    caught = {
        client("203.0.113.7", "info@trap.example", "sends to a domain that gets no legitimate mail"): "trap",
        client("203.0.113.8", "info@backup.example", "skips the preferred mail host, though it is up"): "backup",
        client("203.0.113.9", "info@address.example", "does not look at MX records at all"): "address",
        client("2001:db8:c::7", "info@backup.example", "the same over IPv6"): "backup",
    }
    say("\n  Nobody's mail was taken: each was told to try again, and a real mail server would then find the primary.")

    step("4. What was recorded")
    wait_for(lambda: len(listed()) >= len(caught), 10, "complete list of the clients in `hunnypot list`")
    show("list", wanted=[*map(listed_as, caught), *caught.values()])
    show("show", "203.0.113.8", wanted=["203.0.113.8", "backup.example", "mx1.backup.example", "client8.example.com"])
    show("status", wanted=["mx2.example.org"])

    step("5. Who is listed")
    say("\n  Nobody yet.  A hit counts when it had its time to turn out a mistake, hours by default; here it has none.  And a class\n"
        "  lists nobody before you enable it:")
    show("policy", "set", "trap", "ripens=0", "ripens_named=0", "named_hits=1", "named_days=1", "firm_after=0")
    client("203.0.113.10", "info@trap.example", "another one that sends where no mail belongs")
    wait_for(lambda: "203.0.113.10" in hunnypot("policy", "test", "trap").stdout
             and "listed, witnessed" in hunnypot("policy", "test", "trap").stdout, 20, "ripe hit")
    show("policy", "test", "trap", wanted=["listed, witnessed", "203.0.113.10"])
    show("policy", "enable", "trap")
    show("listed", "203.0.113.10", wanted=["550 5.7.1"])
    show("why", "203.0.113.10", wanted=["came to", "witnessed", "listed (witnessed) under trap"])
    caught["203.0.113.10"] = "trap"
    return caught


def outage(primary, milter, caught):
    step("6. The primary goes down")
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
    dns, primary, postgres, milter, trap = start_servers()
    caught = catch()
    outage(primary, milter, caught)
    demand(not trap.queued() and not trap.taken(), "the trap host took mail")
    if sys.argv[1:2] == ["--keep"]:
        primary.start()
        explain_keep()
        keep(sys.argv[2])
    for server in (trap, milter, dns):
        server.stop()
    postgres.stop("immediate")
    say(f"\nAll servers are stopped; that took {time.monotonic() - started:.0f} s.  `./quickstart --keep` leaves them running.")


try:
    main()
except (TestbedError, AssertionError, OSError) as error:
    sys.exit(f"\nquickstart failed: {error}")
