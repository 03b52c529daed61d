"""Witnesses: real mail servers on the primary's address write their logs, `hunnypot witness` reads them, and a letter that
arrived there redeems the hit that it left at the trap host."""
import shutil
import subprocess
import time

import pytest

from cli_data import Sensor
from testbed import base, mx
from testbed.base import STATE, run, wait_for
from testbed.journal import Journal
from testbed.milter import confined, environment
from testbed.smtp import Smtp, deliver

HOST = "mx1.backup.example"
KEY = STATE / "envelope.key"
PROGRAM = base.BUILD / "hunnypot"


@pytest.fixture
def key(net, hunnypot):
    """A key that the daemon may read."""
    KEY.unlink(missing_ok=True)
    hunnypot("witness", "key", "--new", "--key", str(KEY))
    run("chown", "root:hunnypot", KEY)
    return KEY


@pytest.fixture
def sensor(milter, pg, postfix, primaries, key):
    """The trap host, whose hits carry hashes; the primaries greet, and the witnessed one makes room for a real server."""
    daemon = milter(envelope_key=str(key))
    postfix()
    return daemon


@pytest.fixture(params=["postfix", "postscreen", "sendmail", "exim", "opensmtpd"])
def kind(request):
    return request.param


@pytest.fixture
def server(request, primaries):
    """server("exim") starts that on the primary's address."""
    started = []

    def start(kind):
        primaries.backup.stop()
        made = {"postfix": lambda: mx.PostfixMx(), "postscreen": lambda: mx.PostfixMx(postscreen=True), "exim": mx.Exim,
                "rewriting": lambda: mx.PostfixMx(main=REWRITING),
                "sendmail": lambda: mx.SendmailMx(request.getfixturevalue("syslog")),
                "opensmtpd": lambda: mx.OpenSmtpd(request.getfixturevalue("syslog"))}[kind]()
        made.start()
        started.append(made)
        return made
    yield start
    for made in started:
        made.stop()
        shutil.rmtree(made.folder)  # with its log, which is to be that of one test


def witness_words(key, log, log_format="postfix", host=HOST, machine="one", *more, state=STATE):
    return [PROGRAM, "--database", "user=witness dbname=hunnypot", "witness", "--format", log_format, "--host", host, "--name",
            machine, "--key", str(key), "--state", str(state), *more, str(log)]


@pytest.fixture
def witness(net, key):
    """witness(log, format, ...) reads LOG to its end."""
    for old in STATE.glob("*.ledger*"):
        old.unlink()

    def read(log, log_format="postfix", *more, machine="one", check=True):
        return run(*witness_words(key, log, log_format, HOST, machine, *more), env=environment(), check=check)
    return read


def letter(client, sender, *recipients, server=mx.PRIMARY, helo="client.example"):
    """One transaction; the replies to MAIL, each RCPT, and to the message."""
    with Smtp(client, server=server) as session:
        session.command(f"EHLO {helo}")
        replies = [session.command(f"MAIL FROM:<{sender}>")]
        replies += [session.command(f"RCPT TO:<{recipient}>") for recipient in recipients]
        if any(reply.startswith("250") for reply in replies[1:]) and session.command("DATA").startswith("354"):
            session.send("Subject: a letter\r\n\r\nhello\r\n.")
            replies.append(session.reply())
        session.command("QUIT")
    return replies


def redeemed(pg):
    return sorted(row[0] for row in pg.query(
        "SELECT host(h.client) FROM hunnypot.pardoned r JOIN hunnypot.hit h USING (hit_id) WHERE r.why = 'redeemed'"))


def found(pg):
    return {(client, what) for client, what in pg.query(
        "SELECT DISTINCT host(e.client), f.what FROM hunnypot.witness_found f JOIN hunnypot.envelope e USING (hit_id)")}


def written(made, text):
    """Its log, once it has TEXT."""
    def there():
        if hasattr(made, "file"):
            made.file.write()
        return made.log_path.exists() and text in made.log_path.read_text(errors="backslashreplace")
    wait_for(there, 15, f"{text} in the log")
    return made.log_path


# Postfix logs the recipient before its own rewriting too (orig_to), but not one that a filter changed.
REWRITING = {"virtual_mailbox_domains": "store.example", "virtual_mailbox_maps": "static:x", "virtual_alias_maps": "",
             "smtpd_command_filter": "regexp:{ {/^RCPT TO:<user@backup[.]example>/ RCPT TO:<inside@store.example>} }"}
DONE = {"postfix": "removed", "postscreen": "removed", "sendmail": "mailer=", "exim": "Completed", "opensmtpd": "smtp envelope"}


def test_a_letter_that_arrived_redeems(sensor, server, kind, witness, hits, pg):
    """Four clients came to the trap host; what three of them had to bring arrived at the primary, each in its way."""
    deliver("203.0.113.7", "user@backup.example", sender="a@sender.example")
    deliver("203.0.113.8", "other@backup.example", sender="prvs=2387b8a3f1=joe@sender.example")
    deliver("203.0.113.9", "alias@backup.example", sender="c@sender.example")
    deliver("203.0.113.10", "user@backup.example", sender="bot@spam.example")
    hits(wait=4)
    made = server(kind)
    assert letter("203.0.113.7", "a@sender.example", "user@backup.example")[-1].startswith("250")
    # From another address of its pool, with another day's tag, to another recipient of the domain.
    assert letter("203.0.113.18", "prvs=9999999999=joe@sender.example", "user@backup.example")[-1].startswith("250")
    assert letter("203.0.113.9", "c@sender.example", "alias@backup.example")[-1].startswith("250")
    assert not letter(mx.GREYLISTED, "bot@spam.example", "user@backup.example")[-1].startswith("250")
    log = written(made, DONE[kind])
    wait_for(lambda: (hasattr(made, "file") and made.file.write()) or
             made.log_path.read_text(errors="backslashreplace").count(DONE[kind]) >= 3, 15, "three letters in the log")
    witness(log, "postfix" if kind == "postscreen" else kind)
    assert redeemed(pg) == ["203.0.113.7", "203.0.113.8", "203.0.113.9"]
    assert ("203.0.113.10", "accepted") not in found(pg)
    # It does not count, whether it was counted already or waits.
    assert pg.query("SELECT host(network) FROM hunnypot.offence_day UNION SELECT host(network) FROM hunnypot.waiting") == [
        ("203.0.113.10",)]
    # Said again, it is the same.
    witness(log, "postfix" if kind == "postscreen" else kind)
    assert len(redeemed(pg)) == 3


@pytest.fixture
def arrives(sensor, primaries, witness, hits, pg):
    """arrives(server, format) is whether a letter redeems its hit by what SERVER, in the primary's place, logged: RECORDED of it."""
    def run_once(make, log_format, recorded, *words, recipient="user@backup.example", answer="250"):
        deliver("203.0.113.7", recipient, sender="a@sender.example")
        hits(wait=1)
        primaries.backup.stop()
        made = make()
        made.start()
        try:
            assert letter("203.0.113.7", "a@sender.example", recipient)[-1].startswith(answer)
            witness(written(made, recorded), log_format, *words)
        finally:
            made.stop()
            shutil.rmtree(made.folder)
        return redeemed(pg) == ["203.0.113.7"]
    return run_once


@pytest.mark.parametrize("selected", ["+sender_on_delivery", "+return_path_on_delivery", "+all"])
def test_exim_logs_what_it_is_told_to(arrives, selected):
    assert arrives(lambda: mx.Exim(settings=f"log_selector = {selected}"), "exim", "Completed")


def test_exim_has_a_queue_with_a_name(arrives):
    assert arrives(lambda: mx.Exim(settings="acl_smtp_mail = named", acls="named:\n  accept queue = slow"), "exim", "Completed")


@pytest.mark.parametrize("check, said", [
    ({"header_checks": "regexp:{ {/^Subject:/ DISCARD} }"}, ": discard: "),
    ({"header_checks": "regexp:{ {/^Subject:/ HOLD} }"}, ": hold: "),
    ({"smtpd_recipient_restrictions": "check_client_access inline:{203.0.113.7=DISCARD}, reject_unauth_destination"}, ": discard: "),
])
@pytest.mark.parametrize("port", ["no", "yes"])
def test_postfix_throws_away_what_it_accepted(arrives, check, said, port):
    assert arrives(lambda: mx.PostfixMx(main={**check, "smtpd_client_port_logging": port}), "postfix", said)


def test_postfix_refuses_by_a_header(arrives):
    assert not arrives(lambda: mx.PostfixMx(main={"header_checks": "regexp:{ {/^Subject:/ REJECT} }"}), "postfix", ": reject: ",
                       answer="550")


@pytest.mark.parametrize("port", ["no", "yes"])
def test_postfix_refuses_by_our_list(arrives, port):
    listed = "check_client_access inline:{ {203.0.113.7=550 5.7.1 see bl.example} }, reject_unauth_destination"
    assert arrives(lambda: mx.PostfixMx(main={"smtpd_recipient_restrictions": listed, "smtpd_client_port_logging": port}), "postfix",
                   "reject: RCPT", "--refusal", "bl.example", answer="550")


@pytest.mark.parametrize("local, words, wanted", [
    ("list", (), True), ("box", (), True), ("staff", (), False), ("staff", ("--match", "sender"), True)])
def test_sendmail_delivers_by_an_alias(arrives, syslog, local, words, wanted):
    """Of an alias that leads to another address the log names that one alone."""
    aliases = 'list: "|/bin/cat"\nbox: /dev/null\nstaff: nobody\n'
    assert arrives(lambda: mx.SendmailMx(syslog, aliases=aliases), "sendmail", "mailer=", *words,
                   recipient=f"{local}@backup.example") == wanted


def later(log, kind, seconds):
    """The log goes on: an entry of SECONDS from now."""
    when = time.localtime(time.time() + seconds)
    with open(log, "a", encoding="ascii") as file:
        file.write(time.strftime("%Y-%m-%d %H:%M:%S Start queue run: pid=1\n", when) if kind == "exim" else
                   time.strftime("%b %e %H:%M:%S mx1 anvil[1]: statistics\n", when))


def greets(primary):
    """A primary that only greets, in the place of the server that has just ended; what is left of its connections may hold the port."""
    try:
        return primary(mx.PRIMARY)
    except OSError:
        return None


@pytest.fixture
def journal(net):
    made = Journal()
    yield made
    made.stop()


BY_SYSLOG = {"postfix": lambda _: mx.PostfixMx(main={"maillog_file": ""}), "sendmail": mx.SendmailMx, "opensmtpd": mx.OpenSmtpd,
             "exim": lambda _: mx.Exim(logs="syslog")}


@pytest.mark.parametrize("mta", BY_SYSLOG)
def test_the_journal_is_read_on_from_where_it_was(sensor, primaries, journal, mta, key, hits, pg, hunnypot):
    """Real mail servers log to a real journald, which starts another file in between: each letter is told once."""
    for number in range(1, 4):
        deliver(f"203.0.113.{number}", "user@backup.example", sender=f"s{number}@sender.example")
    hits(wait=3)
    primaries.backup.stop()
    made = BY_SYSLOG[mta](journal)
    made.start()
    for old in STATE.glob("*.ledger*"):
        old.unlink()
    words = [*witness_words(key, "", mta)[:-1], "--journal"]
    try:
        for number in range(1, 4):
            assert letter(f"203.0.113.{number}", f"s{number}@sender.example", "user@backup.example")[-1].startswith("250")
            journal.wait_for(DONE[mta], number)
            run(*words, env=environment())
            assert redeemed(pg) == [f"203.0.113.{n + 1}" for n in range(number)]
            if number == 1:
                journal.rotate()
    finally:
        made.stop()
        shutil.rmtree(made.folder)
    assert pg.query("SELECT letters FROM hunnypot.witness_letters ORDER BY client") == [(1,)] * 3
    assert "not watched" not in run(*words, env=environment()).stderr


def test_prdr_each_recipient_has_an_answer_of_its_own(dns, milter, postfix, primaries, key, witness, hits, pg):
    """RFC-draft PRDR, as Exim has it: after the message one recipient is put off, the other taken.  Only the latter's hit is redeemed."""
    dns.add("second.example. MX 10 mx1.backup.example.", "second.example. MX 20 mx2.example.org.")
    milter(envelope_key=str(key))
    postfix(main={"hunnypot_domains": "backup.example, second.example"})
    deliver("203.0.113.7", "user@backup.example", sender="a@sender.example")
    deliver("203.0.113.8", "user@second.example", sender="a@sender.example")
    hits(wait=2)
    primaries.backup.stop()
    made = mx.Exim(settings="prdr_enable = true\nacl_smtp_data_prdr = ${if eq{$domain}{second.example}{defer message = later}{accept}}",
                   domains="backup.example : second.example")
    made.start()
    try:
        with Smtp("203.0.113.7", server=mx.PRIMARY) as session:
            assert "PRDR" in session.command("EHLO client.example")
            assert session.command("MAIL FROM:<a@sender.example> PRDR").startswith("250")
            for recipient in ("user@backup.example", "user@second.example"):
                assert session.command(f"RCPT TO:<{recipient}>").startswith("250")
            assert session.command("DATA").startswith("354")
            session.send("Subject: a letter\r\n\r\nhello\r\n.")
            answers = [session.reply()[:3] for _ in range(4)]
            session.command("QUIT")
        assert answers == ["353", "250", "450", "250"]
        log = written(made, "Completed")
        witness(log, "exim")
        assert redeemed(pg) == ["203.0.113.7"]
        assert letter("203.0.113.8", "b@sender.example", "user@second.example")[-1].startswith("250"), "without PRDR both are taken"
    finally:
        made.stop()
        shutil.rmtree(made.folder)


def test_match_sender_where_recipients_are_rewritten(sensor, server, witness, hits, pg, hunnypot):
    """A primary that maps recipients before it logs them: letters are told by their sender, and it is believed when it told some."""
    clients = [f"203.0.113.{number}" for number in range(1, 13)]
    for number, client in enumerate(clients):
        deliver(client, "user@backup.example", sender=f"s{number}@sender.example")
    hits(wait=len(clients))
    made = server("rewriting")
    for number, client in enumerate(clients[:9]):
        assert letter(client, f"s{number}@sender.example", "user@backup.example")[-1].startswith("250")
    written(made, "removed")
    wait_for(lambda: made.log().count("removed") == 9, 20, "nine letters")
    assert "to=<inside@store.example>, relay=" in made.log() and "to=<user@" not in made.log()
    witness(made.log_path)
    assert redeemed(pg) == [], "what is logged are other recipients"
    hunnypot("witness", "remove", HOST, "one")
    witness(made.log_path, "postfix", "--match", "sender", machine="two")
    assert redeemed(pg) == sorted(clients[:9])
    since = "(SELECT min(since) FROM hunnypot.witness_stretch)"
    believed = (f"SELECT hunnypot.machine_watched(w.witness_id, w.keys[1], {since}, {since}) FROM hunnypot.witness w")
    assert pg.query(believed) == [(False,)]
    assert letter(clients[9], "s9@sender.example", "user@backup.example")[-1].startswith("250")
    wait_for(lambda: made.log().count("removed") == 10, 20, "the tenth letter")
    witness(made.log_path, "postfix", "--match", "sender", machine="two")
    assert redeemed(pg) == sorted(clients[:10])
    assert pg.query(believed) == [(True,)]


def test_a_client_that_was_turned_away_was_seen(sensor, server, kind, witness, hits, pg, primary):
    made = server(kind)
    assert letter(mx.GREYLISTED, "g@sender.example", "user@backup.example")[-1][0] in "45"
    letter("203.0.113.20", "x@sender.example", "user@backup.example")
    log = written(made, DONE[kind])
    made.stop()
    wait_for(lambda: greets(primary), 20, "the address to be free again")
    deliver(mx.GREYLISTED, "user@backup.example", sender="g@sender.example")
    hits(wait=1)
    later(log, kind, 2)
    witness(log, "postfix" if kind == "postscreen" else kind)
    assert found(pg) == {(mx.GREYLISTED, "refused"), (mx.GREYLISTED, "seen")}
    assert redeemed(pg) == []


def test_a_letter_that_our_list_turned_away_redeems(sensor, server, witness, hits, pg):
    deliver(mx.GREYLISTED, "user@backup.example", sender="g@sender.example")
    deliver("203.0.113.10", "user@backup.example", sender="bot@spam.example")
    hits(wait=2)
    made = server("postfix")
    letter(mx.GREYLISTED, "g@sender.example", "user@backup.example")
    log = written(made, "Greylisted")
    witness(log, "postfix")
    assert redeemed(pg) == []
    log.write_text(log.read_text() + log.read_text().replace("Greylisted", "blocked using bl.example"))
    witness(log, "postfix", "--refusal", "using bl.example", machine="two")
    assert redeemed(pg) == [mx.GREYLISTED]


class Following:
    """`hunnypot witness --follow`, in the background and confined as its unit has it."""

    def __init__(self, key, state, log):
        words = witness_words(key, log, "postfix", HOST, "one", "--follow", state=state)
        self.server = base.Server("witness", [*confined(PROGRAM, "hunnypot-witness"), *words[1:]], STATE / "witness.out",
                                  env=environment(), cwd="/")

    def stop(self):
        assert self.server.stop() == 0, self.server.log()


@pytest.fixture
def followed():
    """A log in a folder that the user of the unit may read, and one where it may write."""
    folders = STATE / "followed", STATE / "witness"
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    run("chown", "hunnypot:hunnypot", folders[1])
    (folders[0] / "mail.log").touch()
    return folders[0] / "mail.log"


@pytest.fixture
def following(key, followed):
    made = []

    def start(log):
        made.append(Following(key, STATE / "witness", log))
        return made[-1]
    yield start
    for process in made:
        if process.server.running():
            process.server.kill()


def postfix_letter(log, number, sender, recipient, ended=True):
    """The lines that Postfix would write of a letter accepted now."""
    stamp = time.strftime("%b %e %H:%M:%S")
    lines = [f"smtpd[7]: Q{number}: client=c[203.0.113.99]", f"qmgr[7]: Q{number}: from=<{sender}>, size=1, nrcpt=1 (queue active)",
             f"lmtp[7]: Q{number}: to=<{recipient}>, relay=x, delay=1, status=sent (ok)", f"qmgr[7]: Q{number}: removed"]
    with open(log, "a", encoding="ascii") as file:
        file.writelines(f"{stamp} mx1 postfix/{line}\n" for line in (lines if ended else lines[:2]))


def test_follows_through_rotations_and_kills(sensor, following, hits, pg, followed):
    """Ten letters, a hit for each; between them the log is rotated in each way, and the witness killed in between."""
    log = followed
    for number in range(10):
        deliver(f"203.0.113.{number + 1}", "user@backup.example", sender=f"s{number}@sender.example")
    hits(wait=10)
    process = following(log)
    rotations = (lambda: None, lambda: log.rename(f"{log}.1"), lambda: None,
                 lambda: (shutil.copy(log, f"{log}.1"), log.write_text("")))
    for number in range(10):
        postfix_letter(log, number, f"s{number}@sender.example", "user@backup.example")
        if number % 3 == 1:
            process.server.kill()
        rotations[number % 4]()
        log.touch()
        if number % 3 == 1:
            process = following(log)
        wait_for(lambda: len(redeemed(pg)) == number + 1, 40, f"letter {number} to be told")
    process.stop()
    assert pg.query("SELECT letters FROM hunnypot.witness_letters WHERE letters > 0") == []


def test_a_restart_finds_the_sender_of_a_letter_that_is_still_queued(sensor, witness, hits, pg, tmp_path):
    log = tmp_path / "mail.log"
    deliver("203.0.113.7", "user@backup.example", sender="a@sender.example")
    hits(wait=1)
    postfix_letter(log, 1, "a@sender.example", "user@backup.example", ended=False)
    witness(log)
    assert redeemed(pg) == []
    with open(log, "a", encoding="ascii") as file:
        file.write(time.strftime("%b %e %H:%M:%S mx1 postfix/lmtp[7]: Q1: to=<user@backup.example>, relay=x, status=deferred\n"))
    witness(log)
    assert redeemed(pg) == ["203.0.113.7"]


def test_the_database_is_away_for_a_while(sensor, following, hits, pg, followed):
    log = followed
    deliver("203.0.113.7", "user@backup.example", sender="a@sender.example")
    hits(wait=1)
    process = following(log)
    wait_for(lambda: pg.query("SELECT 1 FROM hunnypot.witness"), 20, "hello")
    pg.stop("immediate")
    postfix_letter(log, 1, "a@sender.example", "user@backup.example")
    pg.start()
    wait_for(lambda: redeemed(pg) == ["203.0.113.7"], 60, "the letter to be told")
    process.stop()


def test_standard_input_and_the_end_of_it(sensor, witness, hits, pg, tmp_path, key):
    log = tmp_path / "mail.log"
    deliver("203.0.113.7", "user@backup.example", sender="a@sender.example")
    hits(wait=1)
    postfix_letter(log, 1, "a@sender.example", "user@backup.example")
    done = subprocess.run([str(word) for word in witness_words(key, "-")], input=log.read_text(), text=True, env=environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert redeemed(pg) == ["203.0.113.7"]
    pg.stop()
    done = witness(log, check=False)
    assert done.returncode == 1 and "hunnypot:" in done.stderr


def watched(pg, since, until):
    """Was the primary watched from SINCE to UNTIL, in seconds from now?"""
    return pg.query("SELECT hunnypot.mx_watched(%s, (SELECT keys[1] FROM hunnypot.witness LIMIT 1), now() + %s * interval '1 s', "
                    "now() + %s * interval '1 s')", HOST, since, until)[0][0]


def entries(log, *ages, text="postfix/anvil[1]: statistics"):
    with open(log, "a", encoding="ascii") as file:
        for age in ages:
            file.write(time.strftime(f"%b %e %H:%M:%S mx1 {text}\n", time.localtime(time.time() - age)))


def test_what_was_watched(pg, witness, tmp_path):
    log = tmp_path / "mail.log"
    entries(log, 7200, 6000, 5000, 1000, 100)  # silent for more than an hour in between
    witness(log)
    assert watched(pg, -7000, -5100) and watched(pg, -900, -200)
    assert not watched(pg, -7000, -900) and not watched(pg, -7300, -5100) and not watched(pg, -900, -10)
    # A second machine behind the name: both must have watched.
    witness(log, machine="two")
    assert watched(pg, -900, -200)
    other = tmp_path / "other.log"
    entries(other, 500, 100)
    witness(other, machine="three")
    assert not watched(pg, -900, -200) and watched(pg, -400, -200)
    assert base.run(PROGRAM, "witness", "remove", HOST, "three", env=environment()).returncode == 0
    assert watched(pg, -900, -200)
    listed = base.run(PROGRAM, "witness", "list", "--format", "csv", env=environment()).stdout.splitlines()
    assert [line.split(",")[:2] for line in listed[1:]] == [[HOST, "one"], [HOST, "two"]]


def test_probes_that_are_missing_in_the_log_are_gaps(pg, witness, tmp_path):
    log = tmp_path / "mail.log"
    for age in (1000, 600, 200):
        pg.query("SELECT hunnypot.sensor_probes(jsonb_build_array(jsonb_build_object('mx', %s::text, 'source', '192.0.2.1', 'time', "
                 "(extract(epoch FROM now()) * 1000000)::bigint - %s * 1000000::bigint)))", HOST, age)
    probe = "postfix/smtpd[1]: connect from mx2.example.org[192.0.2.1]"
    entries(log, 1100)
    entries(log, 1000, text=probe)
    entries(log, 700)
    entries(log, 690, text=probe)  # a minute and a half early: that clock is off
    entries(log, 400)
    entries(log, 180, text=probe)
    entries(log, 100)
    witness(log)
    assert pg.query("SELECT count(*) FROM hunnypot.witness_probe") == [(3,)]
    assert watched(pg, -1050, -750) and watched(pg, -400, -150)
    assert not watched(pg, -700, -400)


def test_the_sensors_own_probes_tell_whose_log_it_is(sensor, server, witness, hits, pg, tmp_path):
    """The daemon probes a real primary and tells the database; a log that lacks just that probe shows nothing."""
    made = server("postfix")
    deliver("203.0.113.7", "user@backup.example", sender="a@sender.example")
    told = wait_for(lambda: pg.query("SELECT mx, host(source), abs(extract(epoch FROM now() - time)) < 30 FROM hunnypot.probe "
                                     "WHERE family(source) = 4"), 10, "the probe to be told")
    hits(wait=1)
    sensor.stop()
    source = told[0][1]
    assert set(told) == {(HOST, source, True)}
    pg.query("DELETE FROM hunnypot.probe WHERE family(source) = 6")  # what listens there only greets, and logs nothing
    around = pg.query("SELECT min(time) - interval '2 s', max(time) + interval '2 s' FROM hunnypot.probe")[0]
    seen = written(made, f"[{source}]").read_text()
    log = tmp_path / "mail.log"

    def is_watched(text):
        """By a witness that begins anew.  An earlier probe shows that this log has them."""
        log.write_text("")
        entries(log, 1000, 300)
        entries(log, 200, text=f"postfix/smtpd[1]: connect from mx2.example.org[{source}]")
        entries(log, 100)
        log.write_text(log.read_text() + text)
        entries(log, -10)
        for old in STATE.glob("*.ledger*"):
            old.unlink()
        witness(log)
        return pg.query("SELECT hunnypot.mx_watched(%s, (SELECT keys[1] FROM hunnypot.witness LIMIT 1), %s, %s)", HOST, *around)[0][0]

    assert not is_watched("")
    assert is_watched(seen)


def test_not_to_know_all_primaries_proves_nothing(pg, witness, tmp_path):
    """Where only one of them is known, another may have taken the letter."""
    log = tmp_path / "mail.log"
    entries(log, 26 * 3600, *range(25 * 3600, 0, -1500), 10)
    witness(log)
    key, = pg.query("SELECT keys[1] FROM hunnypot.witness")[0]
    known, unknown = Sensor(pg, "known"), Sensor(pg, "unknown")
    about = {"ago": "30 min", "key_id": key, "envelope": "\\x", "envelope_whole": True}
    known.record({**about, "primaries": [HOST]})
    unknown.record(about)
    assert pg.query("SELECT s.name, hunnypot.was_watched(e.hit_id, now() - interval '1 min') FROM hunnypot.envelope e "
                    "JOIN hunnypot.hit h USING (hit_id) JOIN hunnypot.sensor s USING (sensor_id) ORDER BY 1") == [
                        ("known", True), ("unknown", False)]


def test_an_older_key_still_redeems_and_another_does_not(sensor, witness, hits, pg, tmp_path, key, hunnypot):
    log = tmp_path / "mail.log"
    deliver("203.0.113.7", "user@backup.example", sender="a@sender.example")
    deliver("203.0.113.8", "user@backup.example", sender="b@sender.example")
    hits(wait=2)
    postfix_letter(log, 1, "a@sender.example", "user@backup.example")
    assert len(hunnypot("witness", "key", "--new", "--key", str(key)).stdout.splitlines()) == 2
    witness(log)
    assert redeemed(pg) == ["203.0.113.7"]
    key.unlink()
    hunnypot("witness", "key", "--new", "--key", str(key))
    postfix_letter(log, 2, "b@sender.example", "user@backup.example")
    witness(log, machine="two")
    assert redeemed(pg) == ["203.0.113.7"]
    assert not pg.query("SELECT hunnypot.was_watched(hit_id, now()) FROM hunnypot.envelope WHERE "
                        "hunnypot.was_watched(hit_id, now())")


def test_the_role_reads_nothing_else(pg, witness, tmp_path):
    log = tmp_path / "mail.log"
    entries(log, 10)
    witness(log)
    for relation, in pg.query("SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'hunnypot'::regnamespace AND "
                              "relkind IN ('r', 'v', 'p')"):
        allowed = pg.query("SELECT has_table_privilege('witness', %s, 'SELECT'), has_table_privilege('witness', %s, "
                           "'INSERT, UPDATE, DELETE')", relation, relation)[0]
        assert allowed == (relation == "hunnypot.schema_version", False), relation
    functions = {name for name, in pg.query("SELECT proname FROM pg_proc WHERE pronamespace = 'hunnypot'::regnamespace AND "
                                            "has_function_privilege('witness', oid, 'EXECUTE')")}
    assert functions == {"witness_hello", "witness_waiting", "witness_clients", "witness_found", "witness_watched",
                         "witness_probes", "witness_letters"}


def test_nothing_on_the_disk_of_a_witness_tells_an_address(sensor, witness, hits, pg, tmp_path):
    log = tmp_path / "mail.log"
    deliver("203.0.113.7", "user@backup.example", sender="secret-sender@sender.example")
    hits(wait=1)
    postfix_letter(log, 1, "secret-sender@sender.example", "user@backup.example")
    postfix_letter(log, 2, "secret-sender@sender.example", "user@backup.example", ended=False)
    witness(log)
    held = b"".join(path.read_bytes() for path in STATE.glob("*.ledger*"))
    assert held and not any(word in held for word in (b"secret-sender", b"sender.example", b"user@", b"203.0.113."))
    assert all(path.stat().st_mode & 0o077 == 0 for path in STATE.glob("*.ledger*"))


@pytest.mark.parametrize("words, wanted", [
    (["--host", HOST], "which log?"),
    (["--host", HOST, "a", "b"], "one log is read, not: b"),
    (["a"], "--host is missing"),
    (["--host", "a..b", "a"], "--host: a..b is no host name"),
    (["--host", HOST, "--name", "a/b", "a"], "--name takes a name"),
    (["--host", HOST, "--match", "all", "a"], "--match is"),
    (["--host", HOST, "--timezone", "Mars/Olympus", "a"], "there is no zone Mars/Olympus"),
    (["--host", HOST, "--quiet", "soon", "a"], "--quiet takes a duration"),
    (["--host", HOST, "--nat64-prefix", "2001:db8::/33", "a"], "--nat64-prefix: 2001:db8::/33 is no prefix"),
    (["--host", HOST, "--follow", "-"], "--follow is for files"),
    (["--host", HOST, "--format", "nosuch", "a"], "no format nosuch"),
    (["--host", HOST, "--key", "/nowhere", "a"], "/nowhere: No such file or directory; copy it"),
    (["--try", "/nowhere"], "/nowhere: No such file"),
])
def test_what_is_wrong_is_said(net, hunnypot, words, wanted):
    done = hunnypot("witness", *words, check=False)
    assert done.returncode in (1, 64) and wanted in done.stderr


def test_a_format_file_is_refused_with_its_line(net, hunnypot, tmp_path):
    (tmp_path / "mine").write_text("lines syslog\nseen smtpd from {clent}\n")
    done = hunnypot("witness", "--try", "--format", str(tmp_path / "mine"), "/dev/null", check=False)
    assert done.returncode == 1 and f"{tmp_path}/mine: line 2: a place is one of" in done.stderr
