"""Each hostile string in each place where a client or a mail server can put one, and every way out of the house."""
import csv
import json
import re

import pytest

from milter_client import NO_REPLY, STEPS, Closed, MilterClient
from testbed.base import TOP
from testbed.offences import NO_BRAKE, offend

REPLY = "451 4.7.1 100% later"
REPLIED = REPLY.replace("%", "%%")  # for the MTA, which halves them
NO_LIMITS = {"connections": 0, "connections_per_client": 0, "idle": "0s", "client_bytes": 0}
TEXT_MAX = 1024  # HIT_TEXT_MAX

# Without NUL, which ends a string: see the last test.
STRINGS = {
    "controls": bytes(range(1, 0x20)) + b"\x7f",
    "8-bit": bytes(range(0x80, 0x100)),
    "broken UTF-8": b"\xc3( \xed\xa0\x80 \xf5\x80\x80\x80 \xc0\xae \xe2\x80",
    "64 KiB": b"x" * 65000,
    "64 KiB of escapes": b"\xff" * 65000,
    "percent": b"%s%n%99999d%%%",
    "forged line": b"x\r\n2026-01-01T00:00:00Z info data client=192.0.2.66 queue=Q recipients=1 domains=1 domain=d helo=x",
    "forged keys": b"x client=192.0.2.66 class=trap recipients=1 domain=victim.example helo=x",
    "CR": b"\r", "LF": b"\n", "tabs": b"\ta\t\tb\t", "blanks": b"  ", "nothing": b"",
    "terminal": b"\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\x1bP\x1b\\",
    "quotes": b"\"'`\"\"'' " + "\u2019\u201d".encode(),
    "backslashes": b"\\\\ \\x41 \\n \\N \\. \\",
    "shell": b"$(id)`id`${IFS}$1|&;><",
    "SQL": b"'); DROP TABLE hunnypot.hit; -- $$ E'\\047'",
    "braces": b"{a,\"b\",NULL,\\,{}}",
    "separators": "\u2028\u2029\u0085\ufeff".encode(),
    "bidi": "\u202etxt.exe\u202c\u2066\u200f\u061c".encode(),
    "beyond the BMP": "\U0001f480\U000e0041".encode(),
    "markup": b"<script>alert(1)</script>&amp;]]>",
    "spreadsheet": b"=HYPERLINK(\"http://192.0.2.66/\")",
    "JSON": b"\",\"class\":\"trap\",\"x\":\"\\u0000\\",
}


def printable(text):
    """What hunnypot-milter(8) says of text from outside."""
    out = "".join(chr(byte) if 0x20 <= byte < 0x7f and byte != ord("\\") else f"\\x{byte:02X}" for byte in text)
    return out if len(out) <= TEXT_MAX else re.sub(r"\\x?.?$", "", out[:TEXT_MAX]) + "..."


def plain(text):
    """The bytes that became TEXT."""
    return re.sub(rb"\\x([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode("ascii"))


# Where a string is put, and the columns of the hit that show it.
PLACES = {
    "client_name": ("{}", lambda text: {"client_name": printable(text)}),
    "mta_name": ("{}", lambda text: {"mta_name": printable(text)}),
    "version": ("{}", lambda text: {}),
    "local": ("{}", lambda text: {"local": None}),
    "helo": ("{}", lambda text: {"helo": printable(text)}),
    "sender": ("<{}>", lambda text: {"sender": printable(text)}),
    "mail_argument": ("{}", lambda text: {}),
    "localpart": ("<{}@trap.example>", lambda text: {"recipients": [printable(text + b"@trap.example"), "b@trap.example"]}),
    "domain": ("<a@{}>", lambda text: {"recipients": [printable(b"a@" + text), "b@trap.example"]}),
    "rcpt_argument": ("{}", lambda text: {}),
    "unknown": ("{}", lambda text: {}),
    "queue_id": ("{}", lambda text: {"queue_id": printable(text).split(" ")[0]}),
    "tls_version": ("{}", lambda text: {"tls": text != b""}),
}
HARMLESS = {"client_name": b"client.example", "mta_name": b"mx2.example.org", "version": b"Postfix 3.7.11",
            "local": b"192.0.2.25", "helo": b"helo.example", "sender": b"<s@client.example>", "mail_argument": b"SIZE=1",
            "localpart": b"<a@trap.example>", "rcpt_argument": b"NOTIFY=NEVER", "unknown": b"XYZZY", "queue_id": b"4QZ1xW",
            "tls_version": b"TLSv1.3"}
COLUMNS = {"client_name": "client.example", "mta_name": "mx2.example.org", "local": "192.0.2.25", "helo": "helo.example",
           "sender": "s@client.example", "recipients": ["a@trap.example", "b@trap.example"], "queue_id": "4QZ1xW",
           "tls": True, "domain": "trap.example", "class": "trap"}


def speak(daemon, client, place, text):
    """One session with TEXT in its PLACE; the answers to all that it words."""
    before, after = PLACES[place][0].split("{}")
    words = {**HARMLESS, "localpart" if place == "domain" else place: before.encode() + text + after.encode()}
    with MilterClient(daemon.settings["socket"]) as mta:
        mta.negotiate(steps=STEPS & ~sum(NO_REPLY.values()))
        answers = [
            mta.connect(client, hostname=words["client_name"] or None, macros={
                "j": words["mta_name"], "v": words["version"], "{daemon_addr}": words["local"]}),
            mta.helo(words["helo"]), mta.mail(words["sender"], words["mail_argument"]), mta.unknown(words["unknown"]),
            mta.rcpt(words["localpart"], words["rcpt_argument"]), mta.rcpt("<b@trap.example>"),
            mta.data({"i": words["queue_id"], "{tls_version}": words["tls_version"]})]
        mta.quit()
        assert mta.is_closed()
    return answers


@pytest.fixture
def trap(pg, dns, milter):
    return milter(record_envelope="full", reply=REPLY, limits=NO_LIMITS)


@pytest.fixture
def said(pg, trap, hits):
    """{client: (place, text)} of all sessions, which are recorded, and more at once than the brake would let go."""
    pg.query(NO_BRAKE)
    sessions = {f"198.51.{100 + i}.{k}": (place, text) for i, place in enumerate(PLACES)
                for k, text in enumerate(STRINGS.values()) if text or place != "client_name"}
    for client, (place, text) in sessions.items():
        *others, last = speak(trap, client, place, text)
        assert [(answer.command, answer.text) for answer in others] == [("c", "")] * 6, (place, text[:50])
        assert last.text == REPLIED, (place, text[:50])
    hits(wait=len(sessions))
    return sessions


def expected(place, text):
    return {**COLUMNS, **PLACES[place][1](text)}


# What others chose stands last, and may hold anything that can be printed.
EVENT = re.compile(rb'[\dT:-]+Z (?:info|debug) (?P<verb>[a-z-]+)(?: \w+=(?:"[^"]*"|\S*))*')
LAST = re.compile(rb" (?:helo|mta)=")


def test_log_has_a_line_for_each_event_and_nothing_else(trap, said, wait_for):
    path = trap.folder / "log"
    wait_for(lambda: path.read_bytes().count(b" close client=") == len(said), what="end of the sessions")
    wait_for(lambda: path.read_bytes().count(b" offence client=") == len(said), what="verdicts")
    log = path.read_bytes()
    assert {byte for byte in log if not 0x20 <= byte < 0x7f} == {ord("\n")}
    events = {}
    for line in log.splitlines():
        event = EVENT.fullmatch(LAST.split(line, 1)[0])
        assert event, line
        client = re.search(rb" client=(\S+)", line)
        if client:
            events.setdefault(event["verb"].decode(), []).append((client[1].decode(), line))
    assert set(events) == {"connect", "data", "offence", "close"}
    for verb, lines in events.items():
        assert sorted(client for client, _ in lines) == sorted(said), verb
    for client, line in events["data"]:
        row = expected(*said[client])
        assert line.decode().endswith(f" client={client} queue={row['queue_id'] or '-'} recipients=2 domains=1 "
                                      f"domain=trap.example helo={row['helo']}"), said[client]
    for client, line in events["connect"]:
        assert line.decode().endswith(f" client={client} mta={expected(*said[client])['mta_name']}")


def test_row_has_the_documented_escapes(said, hits):
    for row in hits():
        place, text = said.pop(row["client"])
        wanted = expected(place, text)
        assert {key: row[key] for key in wanted} == wanted, (place, text[:50])
        if place in ("client_name", "mta_name", "helo", "sender") and not row[place].endswith("..."):
            assert plain(row[place]) == text
    assert said == {}


@pytest.mark.parametrize("words", [("show", "0.0.0.0/0", "--limit", "1000"), ("list",), ("top", "--by", "helo", "--limit", "99"),
                                   ("top", "--by", "domain"), ("status",)], ids=" ".join)
def test_commands_print_it_escaped(said, hunnypot, words):
    """In JSON it is, unpacked, the same as in the row; in CSV too, but for what a spreadsheet would run."""
    printed = {form: hunnypot(*words, "--format", form).stdout for form in ("table", "json", "csv")}
    for text in printed.values():
        assert re.fullmatch(r"[\n -~]*", text)
    rows = json.loads(printed["json"])
    from_csv = list(csv.DictReader(plain(line).decode() for line in printed["csv"].splitlines()))
    if words[0] == "show":
        rows = rows["hits"]
        for row in rows:
            wanted = {key: value for key, value in expected(*said[row["client"]]).items() if key in row}
            assert {key: row[key] for key in wanted} == wanted
    if "helo" in words:
        assert {row["helo"] for row in rows} == {expected(*about)["helo"] for about in said.values()}
    for row, other in zip(rows, from_csv, strict=True):
        for key in COLUMNS.keys() & row.keys() - {"recipients", "tls"}:
            # A spreadsheet would run what begins like a formula: in CSV there is an apostrophe before it.
            formula = isinstance(row[key], str) and row[key][:1] in tuple("=+-@")
            assert other[key] == ("'" if formula else "") + row[key]


EXPORTS = sorted(path.stem for path in (TOP / "sql/export").glob("*.sql"))


def shapes(text):
    """The lines of an export without addresses, numbers and names made of them."""
    return {re.sub(r"[0-9a-f-]*\d[0-9a-f-]*", "#", line) for line in text.splitlines()}


def test_exports_of_hostile_clients_are_as_of_harmless_ones(said, pg, hunnypot):
    def exported():
        return {name: shapes(hunnypot("export", name).stdout) for name in EXPORTS}
    hostile = exported()
    pg.query("TRUNCATE hunnypot.offence_day, hunnypot.hit; SELECT hunnypot.rebuild()")
    for client in said:
        offend(pg, client)
    harmless = exported()
    for name in EXPORTS:
        assert hostile[name] == harmless[name] != set()


@pytest.mark.parametrize("place", PLACES)
def test_nul_ends_a_string(trap, hits, place):
    """Or the session: where one string ends, another begins, and what it says may be no protocol."""
    try:
        answers = speak(trap, "203.0.113.7", place, b"before\0after\0\0")
        assert answers[-1].text == REPLIED
    except (Closed, ConnectionResetError):
        answers = None
    assert speak(trap, "203.0.113.8", "helo", b"x")[-1].text == REPLIED
    rows = {row["client"]: row for row in hits(wait=2 if answers else 1)}
    assert len(rows) == (2 if answers else 1)
    assert "after" not in str(rows) and rows["203.0.113.8"]["helo"] == "x"
