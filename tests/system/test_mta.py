"""Behind real Postfix and real sendmail: the session as a client sees it, and what happens when the milter is not there."""
import socket
import struct
import time

import pytest

from testbed.base import BUILD, STATE, make, run
from testbed.postfix import trap_service
from testbed.smtp import Closed, proxy_header

REPLY = "451 4.7.1 "
# The MTA as it is shipped, without the milter and the second net: it takes mail.
OPEN = {
    "postfix": {"main": {"smtpd_milters": "", "smtpd_end_of_data_restrictions": ""}},
    "sendmail": {"replace": {", InputMailFilters=hunnypot": "", "Scheck_eom": "Sno_check_eom"}},
}


@pytest.fixture(params=["postfix", "sendmail"])
def mta_name(request):
    return request.param


def talk(session, *lines):
    return [session.command(line) for line in lines]


def test_data_is_answered_451_and_the_session_goes_on(mta, milter, smtp):
    milter()
    server = mta()
    session = smtp()
    assert session.transaction("a@trap.example").startswith(REPLY)
    assert session.command("NOOP").startswith("250")
    assert session.command("RSET").startswith("250")
    assert session.transaction("b@trap.example", helo=None).startswith(REPLY)
    assert session.quit().startswith("221")
    assert not server.queued()


def test_several_transactions_are_several_hits(mta, milter, smtp, pg, hits):
    milter(record_envelope="full")
    mta()
    session = smtp()
    session.command("EHLO client.example.com")
    for number in range(3):
        assert session.transaction(f"r{number}@trap.example", helo=None).startswith(REPLY)
        assert session.command("RSET").startswith("250")
    session.quit()
    assert [hit["recipients"] for hit in hits(wait=3)] == [[f"r{number}@trap.example"] for number in range(3)]


def test_an_aborted_transaction_is_no_hit(mta, milter, smtp, pg, hits, wait_for):
    daemon = milter()
    mta()
    session = smtp()
    talk(session, "EHLO x.example.com", "MAIL FROM:<a@sender.example>", "RCPT TO:<a@trap.example>", "RSET")
    talk(session, "MAIL FROM:<a@sender.example>", "RCPT TO:<a@trap.example>")
    session.close()
    wait_for(lambda: "close client=203.0.113.7" in daemon.log(), what="end of the session")
    with_data = smtp("203.0.113.8")
    assert with_data.transaction("b@trap.example").startswith(REPLY)
    assert [hit["client"] for hit in hits(wait=1)] == ["203.0.113.8"]


def test_data_again_without_rset_is_answered_at_once(mta, milter, smtp, pg, hits):
    """libmilter would leave the client hanging for the milter timeout."""
    milter()
    mta()
    session = smtp(timeout=5)
    assert session.transaction("a@trap.example").startswith(REPLY)
    for _ in range(3):
        started = time.monotonic()
        assert session.command("DATA").startswith(REPLY)
        assert time.monotonic() - started < 1
    assert session.command("RCPT TO:<b@trap.example>").startswith("250")
    assert session.command("DATA").startswith(REPLY)
    session.quit()
    # What comes later is recorded later: when it is there, nothing more comes of what was before.
    assert smtp("203.0.113.8").transaction("b@trap.example").startswith(REPLY)
    assert sorted(hit["client"] for hit in hits(wait=2)) == ["203.0.113.7", "203.0.113.8"]


def test_the_hang_that_the_cure_cures(mta, milter, smtp):
    """The same with a daemon that is built without prime.c."""
    program = "tests/system/hunnypot-milter-unprimed"
    make(BUILD, program)
    milter(program=BUILD / program, database="")
    mta()
    session = smtp(timeout=3)
    assert session.transaction("a@trap.example").startswith(REPLY)
    with pytest.raises(TimeoutError):
        session.command("DATA")


def test_pipelining(mta, milter, smtp, pg, hits):
    milter(record_envelope="full")
    mta()
    session = smtp()
    session.command("EHLO client.example.com")
    # RFC 2920 3.1: DATA is the last of a group; sendmail refuses a client that sends more at once.
    replies = session.pipeline("MAIL FROM:<a@sender.example>", "RCPT TO:<a@trap.example>", "RCPT TO:<b@trap.example>",
                               "DATA")
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "451"]
    replies = session.pipeline("RSET", "MAIL FROM:<c@sender.example>", "RCPT TO:<c@trap.example>", "DATA")
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "451"]
    first, second = hits(wait=2)
    assert first["recipients"] == ["a@trap.example", "b@trap.example"] and first["recipients_total"] == 2
    assert second["recipients"] == ["c@trap.example"] and second["sender"] == "c@sender.example"


@pytest.fixture(scope="session")
def certificate(net):
    folder = STATE / "tls"
    folder.mkdir()
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mx2.example.org",
        "-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    run("chmod", "600", folder / "key.pem")
    return folder


def with_tls(request, name, certificate):
    """The MTA with STARTTLS offered."""
    if name == "postfix":
        return request.getfixturevalue(name)(main={
            "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": str(certificate / "cert.pem"),
            "smtpd_tls_key_file": str(certificate / "key.pem")})
    return request.getfixturevalue(name)(extra=f"""define(`confSERVER_CERT', `{certificate}/cert.pem')dnl
define(`confSERVER_KEY', `{certificate}/key.pem')dnl
define(`confCACERT_PATH', `/etc/ssl/certs')dnl
define(`confCACERT', `{certificate}/cert.pem')dnl""")


@pytest.mark.parametrize("name", ["postfix", "sendmail"])
def test_starttls_and_a_second_helo(request, name, certificate, milter, smtp, pg, hits):
    milter()
    with_tls(request, name, certificate)
    session = smtp()
    assert "STARTTLS" in session.command("EHLO before.example.com")
    assert session.starttls().startswith("220")
    assert session.transaction("a@trap.example", helo="after.example.com").startswith(REPLY)
    session.quit()
    hit = hits(wait=1)[0]
    assert hit["tls"] is True and hit["helo"] == "after.example.com"


def test_bdat_on_postfix(postfix, milter, smtp, pg, hits):
    """CHUNKING is not offered; where a postmaster offers it, BDAT is answered like DATA."""
    milter()
    postfix(main={"smtpd_discard_ehlo_keywords": ""})
    session = smtp()
    assert "CHUNKING" in session.command("EHLO client.example.com")
    talk(session, "MAIL FROM:<a@sender.example>", "RCPT TO:<a@trap.example>")
    session.send(b"BDAT 14 LAST\r\nSubject: x\r\n\r\n")
    assert session.reply().startswith(REPLY)
    assert session.command("NOOP").startswith("250")
    assert len(hits(wait=1)) == 1


def test_chunking_is_not_offered(mta, milter, smtp):
    milter()
    mta()
    assert "CHUNKING" not in smtp().command("EHLO client.example.com")


def test_many_recipients(mta, milter, smtp, pg, hits):
    milter(record_envelope="full", limits={"client_bytes": 0})
    mta()
    session = smtp()
    assert session.transaction(*[f"r{n}@trap.example" for n in range(100)]).startswith(REPLY)
    hit = hits(wait=1)[0]
    assert hit["recipients_total"] == 100 and hit["recipients"][99] == "r99@trap.example"


@pytest.mark.parametrize("mail, rcpt, sender, recipient", [
    ("MAIL FROM:<>", "RCPT TO:<a@trap.example>", "", "a@trap.example"),
    ("MAIL FROM:<a@sender.example>", "RCPT TO:<a@TRAP.Example>", "a@sender.example", "a@trap.example"),
    ("MAIL FROM:<a@sender.example>", 'RCPT TO:<"a b"@trap.example>', "a@sender.example", "a b@trap.example"),
    ("MAIL FROM:<a@sender.example> SIZE=1000", "RCPT TO:<A@trap.example>", "a@sender.example", "a@trap.example"),
    ("MAIL FROM:<a@sender.example>", "RCPT TO:<@x.example,@y.example:a@trap.example>", "a@sender.example", None),
    ("MAIL FROM:<a@sender.example>", "RCPT TO:<a@trap.example.>", "a@sender.example", None),
    ("MAIL FROM:<a@sender.example>", "RCPT TO:a@trap.example", "a@sender.example", "a@trap.example"),
], ids=["null sender", "upper case", "quoted", "parameters", "source route", "final dot", "no brackets"])
def test_addresses(mta, milter, smtp, pg, hits, mail, rcpt, sender, recipient):
    milter(record_envelope="full")
    mta()
    session = smtp()
    replies = talk(session, "EHLO client.example.com", mail, rcpt, "DATA")
    assert replies[-1].startswith(REPLY), replies
    hit = hits(wait=1)[0]
    assert hit["sender"] == sender and hit["null_sender"] is (sender == "")
    assert hit["domain"] == "trap.example"
    if recipient:
        assert [item.lower().replace('"', "") for item in hit["recipients"]] == [recipient]


@pytest.mark.parametrize("rcpt", ["RCPT TO:<a@[192.0.2.1]>", "RCPT TO:<a@trap.example", 'RCPT TO:<"a@b"@trap.example>'],
                         ids=["address literal", "unbalanced", "quoted @"])
def test_addresses_that_the_mta_itself_refuses(mta, milter, smtp, rcpt):
    """What a milter never hears of is no hit, and the session goes on."""
    daemon = milter()
    mta()
    session = smtp()
    replies = talk(session, "EHLO client.example.com", "MAIL FROM:<a@sender.example>", rcpt, "DATA")
    assert replies[2].startswith(("4", "5")) and replies[3].startswith(("4", "5")), replies
    assert talk(session, "RCPT TO:<a@trap.example>", "DATA")[1].startswith(REPLY)
    assert daemon.log().count(" data client=") == 1


def test_raw_bytes_harm_nothing(mta, milter, smtp, pg, hits):
    """Whatever a client sends, the row is printable."""
    milter(record_envelope="full")
    mta()
    session = smtp()
    session.send(b"EHLO client.example.com\r\n")
    session.reply()
    session.send(b"XYZZY \xff\xfe\x1b[31m%s%n\r\n")
    session.reply()
    session.send("MAIL FROM:<a@sender.example>")
    session.reply()
    for line in (b"RCPT TO:<\xe4\xff\x1b[31m@trap.example>\r\n", b"RCPT TO:<ok@trap.example>\r\n"):
        session.send(line)
        session.reply()
    assert session.command("DATA").startswith(REPLY)
    hit = hits(wait=1)[0]
    assert all(32 <= ord(char) < 127 for char in str(hit))


def test_milter_missing(mta, dns, smtp):
    """Both shipped configurations answer 451 at MAIL when there is no milter."""
    mta()
    session = smtp()
    assert session.command("EHLO client.example.com").startswith("250")
    assert session.command("MAIL FROM:<a@sender.example>").startswith("451 4.")


def test_milter_killed_in_a_session(mta, milter, smtp):
    daemon = milter()
    server = mta()
    session = smtp()
    assert talk(session, "EHLO client.example.com", "MAIL FROM:<a@sender.example>")[-1].startswith("250")
    daemon.kill()
    replies = talk(session, "RCPT TO:<a@trap.example>", "DATA")
    assert all(reply.startswith(("4", "503")) for reply in replies), replies
    assert "451" in {reply[:3] for reply in replies}
    session.close()
    assert smtp("203.0.113.8").transaction("a@trap.example").startswith("451 4.")
    daemon.start()
    assert smtp("203.0.113.9").transaction("a@trap.example").startswith(REPLY)
    assert not server.queued() and not server.taken()


def test_milter_frozen(mta, milter, smtp):
    """A hung milter costs the client the MTA's milter timeout, and then it is a 451."""
    daemon = milter()
    server = mta()
    daemon.freeze()
    session = smtp(timeout=60)
    assert session.transaction("a@trap.example").startswith("451 4.")
    daemon.thaw()
    assert not server.queued()


@pytest.mark.parametrize("name", ["postfix", "sendmail"])
def test_the_second_net(request, name, smtp, dns):
    """A message that gets past DATA, as without any milter, is deferred at its end."""
    without = {"postfix": {"main": {"smtpd_milters": ""}},
               "sendmail": {"replace": {", InputMailFilters=hunnypot": ""}}}[name]
    server = request.getfixturevalue(name)(**without)
    session = smtp()
    assert session.transaction("a@trap.example").startswith("354")
    session.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
    reply = session.reply()
    assert reply.startswith(("450", "451")), reply
    session.quit()
    assert not server.queued() and not server.taken()


def test_a_domain_that_was_left_out_is_put_off(mta, milter, smtp):
    """A trapped domain may be missing in the MTA's settings: a refusal for good would lose a letter that strayed here.  Nobody may
    relay all the same, not even from this host."""
    milter(database="")
    server = mta()
    for client in ("203.0.113.7", "192.0.2.1", "2001:db8::1"):
        replies = talk(smtp(client), "EHLO client.example.com", "MAIL FROM:<a@sender.example>", "RCPT TO:<a@forgotten.example>",
                       "RCPT TO:<a%forgotten.example@trap.example>", "DATA")
        assert replies[2].startswith(("454 4.7.1", "450 4.7.1")), replies
        assert replies[-1].startswith("4") or replies[3].startswith("4"), replies
    assert not server.queued() and not server.taken()


@pytest.fixture(scope="module")
def odd_letters():
    """What a letter may say in HELO, MAIL and RCPT, and an MTA may refuse for good."""
    usual = ["EHLO client.example.com", "MAIL FROM:<a@sender.example>", "RCPT TO:<a@trap.example>"]
    odd = [(0, "EHLO under_score.example.com"), (0, "EHLO [203.0.113.7]"), (0, "HELO x"),
           (1, "MAIL FROM:<a@sender.example> SIZE=4000000000"), (1, "MAIL FROM:<a@nowhere.invalid>"), (1, "MAIL FROM:<a>"),
           (1, f"MAIL FROM:<{'x' * 64}@sender.example>"), (2, f"RCPT TO:<{'x' * 64}@trap.example>"),
           (2, "RCPT TO:<nobody@mx2.example.org>"), (2, "RCPT TO:<nobody@localhost>"), (2, "RCPT TO:<a@[192.0.2.1]>"),
           (2, "RCPT TO:<a!b@trap.example>"), (2, "RCPT TO:<a%b.example@trap.example>")]
    return [[line if place == at else word for place, word in enumerate(usual)] for at, line in odd]


def test_what_a_letter_may_say_is_never_refused_for_good(mta, milter, smtp, odd_letters):
    milter(database="")
    mta()
    for number, lines in enumerate(odd_letters, 1):
        with smtp(f"203.0.113.{number}") as session:
            for line in [*lines, "DATA"]:
                reply = session.command(line)
                if not reply.startswith("250"):
                    break
        assert reply.startswith("4"), (line, reply)


@pytest.mark.parametrize("body", [b"", b"Subject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n"], ids=["to DATA", "with the letter"])
def test_one_that_sends_everything_in_one_packet_is_caught(mta, milter, smtp, pg, hits, body):
    """It does not wait for a reply, which no mail server does."""
    milter()
    server = mta()
    session = smtp(greeting=False)
    session.send(b"EHLO early.example.com\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<a@trap.example>\r\nDATA\r\n" + body)
    replies = [session.reply() for _ in range(5)]
    assert replies[-1].startswith(REPLY), replies
    assert [(hit["helo"], hit["domain"]) for hit in hits(wait=1)] == [("early.example.com", "trap.example")]
    assert not server.queued() and not server.taken()


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n"],
                         ids=["LF.LF", "LF.CRLF", "CRLF.LF", "CR.CR", "CR.CRLF"])
def test_no_second_letter_is_smuggled_in_one_that_is_taken(request, mta_name, milter, smtp, wait_for, end):
    """The milter and the second net are out of the way here, so that a letter is taken as in an outage that is let through."""
    server = request.getfixturevalue(mta_name)(**OPEN[mta_name])
    session = smtp()
    assert session.transaction("a@trap.example").startswith("354")
    session.send(b"Subject: one\r\n\r\nbody" + end + b"MAIL FROM:<b@sender.example>\r\nRCPT TO:<b@trap.example>\r\nDATA\r\n"
                 b"Subject: two\r\n\r\nsmuggled\r\n.\r\n")
    replies = [session.reply()]
    session.send("QUIT")
    try:
        while not replies[-1].startswith("221"):
            replies.append(session.reply())
    except Closed:
        pass
    assert len([reply for reply in replies if reply.startswith("250")]) <= 1, replies
    assert not [reply for reply in replies if reply.startswith("354")], replies


def test_mta_killed_in_a_session(mta, milter, smtp, wait_for):
    """The milter takes back what the session held, and serves the next MTA."""
    daemon = milter(limits={"connections": 1})
    server = mta()
    session = smtp()
    assert session.transaction("a@trap.example").startswith(REPLY)
    server.kill()
    wait_for(lambda: "close client=203.0.113.7" in daemon.log(), what="end of the session")
    server.start()
    assert smtp("203.0.113.8").transaction("a@trap.example").startswith(REPLY)


def test_client_that_resets(mta, milter, smtp, wait_for):
    daemon = milter()
    mta()
    session = smtp()
    talk(session, "EHLO client.example.com", "MAIL FROM:<a@sender.example>", "RCPT TO:<a@trap.example>")
    session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    session.close()
    wait_for(lambda: "close client=203.0.113.7" in daemon.log(), what="end of the session")


@pytest.mark.parametrize("where", ["inet:8899@127.0.0.1", "inet6:8899@[::1]"])
def test_inet_socket_with_postfix(postfix, milter, deliver, where):
    milter(socket=where)
    postfix(main={"smtpd_milters": "inet:127.0.0.1:8899" if "127" in where else "inet:[::1]:8899"})
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY)


@pytest.mark.parametrize("where", ["inet:8899@127.0.0.1", "inet6:8899@[::1]"])
def test_inet_socket_with_sendmail(sendmail, milter, deliver, where):
    milter(socket=where)
    sendmail(replace={"S=unix:/run/hunnypot/milter.sock": f"S={where.replace('[::1]', '::1')}"})
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY)


def test_chrooted_postfix(postfix, milter, deliver):
    """Debian's way: the socket lives in the queue folder, and only a chrooted smtpd sees it there by its short name."""
    folder = STATE / "postfix/spool/hunnypot"
    run("install", "-d", "-o", "hunnypot", "-g", "postfix", "-m", "2750", folder)
    run("mkdir", "-p", STATE / "postfix/spool/etc")
    for name in ("resolv.conf", "hosts", "nsswitch.conf", "services"):
        run("cp", f"/etc/{name}", STATE / "postfix/spool/etc")
    milter(socket=f"unix:{folder}/milter.sock")
    server = postfix(main={"smtpd_milters": "unix:hunnypot/milter.sock"}, chroot=True)
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY), server.log()


def test_socket_is_for_the_mta_only(milter):
    milter()
    mode = run("stat", "-c", "%a %U %G", "/run/hunnypot/milter.sock").stdout.strip()
    assert mode == "660 hunnypot postfix"
    stranger = run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "/usr/bin/python3", "-c",
                   "import socket; socket.socket(socket.AF_UNIX).connect('/run/hunnypot/milter.sock')", check=False)
    assert "PermissionError" in stranger.stderr


@pytest.mark.parametrize("client", ["203.0.113.99", "2001:db8:c::99"])
def test_proxy_protocol(postfix, milter, smtp, pg, hits, client):
    """Behind a load balancer the milter judges the client that the balancer names."""
    milter()
    postfix(master=[trap_service("192.0.2.1:2525", "smtpd_upstream_proxy_protocol=haproxy")])
    destination = "2001:db8::1" if ":" in client else "192.0.2.1"
    session = smtp("203.0.113.1", port=2525, proxy=proxy_header(client, destination))
    assert session.transaction("a@trap.example").startswith(REPLY)
    session.quit()
    hit = hits(wait=1)[0]
    assert hit["client"] == client and hit["client_port"] == 4711 and hit["local"] == destination


def test_every_parameter_is_known_to_postfix(postfix):
    """postconf names parameters that Postfix does not use."""
    assert "unused parameter" not in postfix().command("postconf", "-n").stderr


def test_a_session_takes_milliseconds(mta, milter, deliver):
    milter()
    mta()
    started = time.monotonic()
    assert deliver("203.0.113.7", "a@trap.example").startswith(REPLY)
    assert time.monotonic() - started < 1
