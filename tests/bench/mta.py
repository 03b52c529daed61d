"""Sessions through real Postfix and sendmail, each with a durable hit that is recorded, to the same mail server with a null milter."""
import threading
import time
from pathlib import Path

from bench import parts, sessions
from bench.stats import Ratio
from testbed import milter as milter_part
from testbed import postfix, sendmail
from testbed.smtp import Smtp

CLIENTS = 16


def talk(client, count):
    for _ in range(count):
        session = Smtp(client)
        session.command("EHLO client.example.com")
        answers = session.pipeline("MAIL FROM:<a@sender.example>", "RCPT TO:<b@backup.example>", "DATA")
        assert answers[-1].startswith("451"), answers
        session.command("QUIT")
        session.close()


def crowd(count):
    """COUNT sessions of CLIENTS clients at once; seconds."""
    threads = [threading.Thread(target=talk, args=(f"203.0.113.{number + 1}", count // CLIENTS)) for number in range(CLIENTS)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begun


def one(make_mta, make_milter, database, count, rest_s):
    """(sessions a second, CPU microseconds a session of all that serve)"""
    milter, mta = make_milter(), make_mta()
    Path(milter.socket).chmod(0o666)
    try:
        mta.start()
        crowd(count // 10)

        def cpu():
            return database.cpu() + parts.cpu_seconds(milter.pid) + parts.cpu_seconds(mta.pid, with_children=True)
        before = cpu()
        took = crowd(count)
        time.sleep(rest_s)  # until what came last is recorded
        return count / took, (cpu() - before) / count * 1e6
    finally:
        mta.stop()
        milter.close()


def measure(options, needs):
    needs.dns()
    for address in ("198.51.100.1", "2001:db8:100::1"):
        needs.primary(address)
    database, syslog = parts.fresh_database(needs), sendmail.Syslog()
    found = []
    for name, make, each in (("Postfix", lambda: postfix.Postfix("bench-trap"), 300),
                             ("sendmail", lambda: sendmail.Sendmail(syslog, "bench-sendmail"), 60)):
        count = CLIENTS * (2 if options.quick else each)
        pairs = []
        for number in range(options.rounds):
            sides = [("a", lambda: sessions.Null(False, socket=milter_part.SOCKET)),
                     ("b", lambda: sessions.Real(database="user=sensor"))]
            took = {side: one(make, milter, database, count, 0 if options.quick else 2)
                    for side, milter in sides[::1 if number % 2 == 0 else -1]}
            pairs.append((took["a"], took["b"]))
        words, (rates, costs) = f"through {name} / with the plain null", [[(a[i], b[i]) for a, b in pairs] for i in (0, 1)]
        found.append(Ratio(f"{words}: sessions/s", rates, at_least=0.92, unit="1/s"))
        found.append(Ratio(f"{words}: CPU of all", costs, at_most=1.10, unit="us"))
        for ratio in found[-2:]:
            print(ratio.line(), flush=True)
    return found
