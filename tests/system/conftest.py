"""Fixtures of the system tests.  Run them with ./runtests, or by hand:

    HUNNYPOT_BUILD=build/tests tests/namespace /usr/bin/python3 -m pytest tests/system/test_mta.py

Every pytest process lives in a small internet of its own (tests/namespace says which addresses it has), so tests use the
real port 25 and the programs' default paths.  What a test may ask for:

    net          nothing but the network, names and paths; all others imply it
    dns          nsd on 127.0.0.1 with the records of testbed/dns.py: dns.add("x.example. MX 10 mx2.example.org."),
                 dns.remove("trap.example. MX"), dns.freeze(), dns.thaw(), dns.stop(); back to normal after the test
    lying_dns    lying_dns(answer) starts a DNS server whose answers are a function's (testbed.dns.LyingDns); point the
                 milter to it with dns={"nameservers": ["127.0.0.2:53"]}
    pg           PostgreSQL with a fresh database "hunnypot", as `hunnypot db init` makes it, but that hits list at once: pg.query("SELECT ..."),
                 pg.connect(), pg.stop("immediate"), pg.kill(), pg.start(), pg.freeze(), pg.thaw(), pg.restart()
    pg_plain     the same with the policy as it is shipped: hits ripen, and no class is enabled
    pg_server    the same without the database being made
    primary      primary("198.51.100.1", state="accept"|"defer"|"reject"|"refuse"|"hang"|"blackhole"|"drip"|"flood"|"reset")
                 is a mail host that greets; .set(state), .connections, .commands
    primaries    the two primaries of testbed/dns.py's domains, accepting: primaries.backup, primaries.address
    milter       milter(limits={"idle": "2s"}, ...) starts the daemon with DEFAULTS of testbed/milter.py and these
                 settings; program=PATH is another build, under=[...] what runs it; .stop() (also done after the test)
                 demands exit status 0 and no sanitizer's report; .kill(), .freeze(), .thaw(), .restart(),
                 .configure(...) and .reload(), .log(), .spool
    jumping      another clock for it: milter(program=jumping.program), jumping.set(7200)
    postfix      postfix(main={...}, master=[...], chroot=False) starts Postfix on the trap host's addresses, with the
                 shipped configuration and these settings on top
    sendmail     sendmail(replace={...}, extra="...") likewise
    mta          runs the test twice: mta() starts Postfix, then sendmail
    hub          the host that takes the mail of example.org, and so that of the trap host itself; .taken() is how many
    smtp         smtp("203.0.113.7") is a raw SMTP session from that address (testbed.smtp.Smtp)
    deliver      deliver("203.0.113.7", "a@trap.example") is one whole transaction; returns the reply to DATA
    hunnypot     hunnypot("list", "--class", "trap") runs the command line; hunnypot_json(...) parses its JSON
    web          web("--private", "unix:...") starts hunnypot-web under its unit's filters; ask() and say() of testbed/web.py are its clients
    hits         hits() are the recorded hits (hunnypot.hit), hits(wait=3) waits until there are three
    wait_for     wait_for(predicate, timeout=10, what="...")

Each test has 600 s, unless it is marked with @pytest.mark.timeout.
"""
import types

import pytest

from testbed import base
from testbed import dns as dns_part
from testbed import milter as milter_part
from testbed import postgres as postgres_part
from testbed import primary as primary_part
from testbed import smtp as smtp_part
from testbed.postfix import Postfix
from testbed.sendmail import Sendmail, Syslog
from testbed.web import Web

pytest.register_assert_rewrite("testbed.load")


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows the end of each server's log."""
    report = (yield).get_result()
    if report.failed:
        for log in sorted(base.STATE.glob("*/log")) + sorted(base.STATE.glob("*/maillog")):
            report.sections.append((str(log), log.read_text(errors="backslashreplace")[-8000:]))
        syslog = getattr(item.config, "testbed_syslog", None)
        if syslog:
            report.sections.append(("syslog", syslog.text()[-8000:]))


@pytest.fixture(scope="session")
def net():
    base.check_inside()


@pytest.fixture(scope="session")
def dns_server(net):
    server = dns_part.Dns()
    server.start()
    yield server
    server.restore()
    server.stop()


@pytest.fixture
def dns(dns_server):
    yield dns_server
    dns_server.restore()


@pytest.fixture
def lying_dns(net):
    started = []

    def start(answer, address="127.0.0.2"):
        started.append(dns_part.LyingDns(answer, address))
        return started[-1]
    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def postgres(net):
    server = postgres_part.Postgres()
    server.start()
    yield server
    server.restore()
    server.stop("immediate")


@pytest.fixture(scope="session")
def postgres_template(postgres):
    postgres.make_template(lambda: milter_part.hunnypot("db", "init"))
    return postgres


@pytest.fixture
def pg_server(postgres):
    yield postgres
    postgres.restore()


@pytest.fixture
def pg(postgres_template):
    postgres_template.restore()
    postgres_template.fresh()
    yield postgres_template
    postgres_template.restore()


@pytest.fixture
def pg_plain(postgres_template):
    postgres_template.restore()
    postgres_template.fresh("hunnypot_plain")
    yield postgres_template
    postgres_template.restore()


@pytest.fixture
def primary(net):
    started = []

    def start(address="198.51.100.1", state="accept", port=25):
        started.append(primary_part.Primary(address, port, state))
        return started[-1]
    yield start
    for host in started:
        host.stop()


@pytest.fixture
def primaries(primary):
    return types.SimpleNamespace(backup=primary("198.51.100.1"), backup6=primary("2001:db8:100::1"),
                                 address=primary("198.51.100.2"), address6=primary("2001:db8:100::2"))


@pytest.fixture
def jumping(net):
    """A .program of the daemon's whose clocks are as .set(...) says; jumping.c has what the numbers mean."""
    program = "tests/system/hunnypot-milter-jumping"
    clock = base.STATE / "clock"
    base.make(base.BUILD, program)

    def put(*numbers):
        clock.write_text(" ".join(map(str, numbers)))
    put(0)
    yield types.SimpleNamespace(program=base.BUILD / program, set=put)
    clock.unlink()


@pytest.fixture
def milter(net):
    made = []

    def start(name="milter", as_root=False, wait=True, program=None, under=(), stderr=None, **settings):
        daemon = milter_part.Milter(settings, name, as_root, program, under, stderr)
        made.append(daemon)
        daemon.start(wait)
        return daemon
    yield start
    try:
        for daemon in made:
            daemon.stop()
    finally:
        for daemon in made:
            if daemon.running():
                daemon.server.kill()
            daemon.remove()


@pytest.fixture
def web(net):
    made = []

    def start(*words, **options):
        made.append(Web(*words, **options))
        return made[-1]
    yield start
    try:
        for one in made:
            if one.server.running():
                one.stop()
    finally:
        for one in made:
            one.remove()


@pytest.fixture(scope="session")
def syslog(net, request):
    request.config.testbed_syslog = Syslog()
    return request.config.testbed_syslog


def starter(make, started):
    def start(**options):
        server = make(**options)
        server.start()
        started.append(server)
        return server
    return start


def stop_all(started):
    """In the end no MTA has taken any mail."""
    for server in started:
        server.stop()


@pytest.fixture
def postfix(dns):
    started = []
    yield starter(Postfix, started)
    stop_all(started)


@pytest.fixture
def hub(dns):
    started = []
    dns.add("mail.example.org. A 198.51.100.9", "example.org. MX 10 mail.example.org.")
    yield starter(Postfix, started)(name="hub", trap=False, master=["198.51.100.9:25 inet n - n - - smtpd"],
                                    main={"myhostname": "mail.example.org", "mydestination": "", "relay_domains": "example.org",
                                          "relay_recipient_maps": ""})
    stop_all(started)


@pytest.fixture
def sendmail(dns, syslog):
    started = []
    syslog.lines.clear()
    yield starter(lambda **options: Sendmail(syslog, **options), started)
    stop_all(started)


@pytest.fixture(params=["postfix", "sendmail"])
def mta(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def smtp(net):
    made = []

    def connect(client="203.0.113.7", **options):
        made.append(smtp_part.Smtp(client, **options))
        return made[-1]
    yield connect
    for session in made:
        session.close()


@pytest.fixture(scope="session")
def deliver():
    return smtp_part.deliver


@pytest.fixture(scope="session")
def hunnypot():
    return milter_part.hunnypot


@pytest.fixture(scope="session")
def hunnypot_json():
    return milter_part.hunnypot_json


@pytest.fixture(scope="session")
def wait_for():
    return base.wait_for


@pytest.fixture
def hits(pg):
    """All recorded hits as dictionaries by column name, in the order of their time."""
    def read(wait=None, timeout=10):
        def rows():
            found = pg.query("SELECT to_jsonb(hit) FROM hunnypot.hit ORDER BY time")
            return [row[0] for row in found]
        if wait is not None:
            base.wait_for(lambda: len(rows()) >= wait, timeout, f"{wait} hits in the database")
        return rows()
    return read
