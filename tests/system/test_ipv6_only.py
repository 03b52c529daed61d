"""A host that has no IPv4 address but 127.0.0.1, which every Linux has: set up, checked, trapping, recording and looked at."""
import re
from pathlib import Path

import pytest

from testbed.base import run, wait_for
from testbed.clean import CleanRoot
from testbed.dns import Dns
from testbed.web import ask

BUILDS = ("clean-root", "quickstart")
DOMAINS = "--domain trap.example=trap --domain backup.example --domain address.example"


@pytest.fixture(scope="module")
def six(net):
    """The name server is on ::1, and knows no IPv4 address of this host; primaries have both kinds, as anybody's may."""
    run("ip", "-4", "address", "flush", "dev", "lo")
    run("ip", "-4", "route", "flush", "table", "local")
    run("ip", "address", "add", "127.0.0.1/8", "dev", "lo")
    resolv = Path("/etc/resolv.conf")
    before = resolv.read_text()
    resolv.write_text(before.replace("127.0.0.1", "::1"))
    server = Dns("::1")
    server.records = [record for record in server.records if not re.search(r" A +192\.0\.2\.1$", record)]
    server.add()
    server.start()
    assert run("ip", "-4", "-o", "address").stdout.count("inet") == 1
    yield server
    server.stop()


@pytest.fixture(params=["postfix", "sendmail"])
def host(request, six, syslog):
    root = CleanRoot(request.param)
    root.install()
    root.run("pg_ctlcluster 15 main start")
    yield request.param, root
    root.remove()


def test_a_host_without_ipv4(host, primary, deliver):
    mta, root = host
    primaries = [primary("2001:db8:100::1"), primary("2001:db8:100::2")]
    done = root.run(f"hunnypot setup --mta {mta} {DOMAINS} --apply", check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    root.run(f"/etc/init.d/{mta} restart")
    # It waits a minute after its start before it judges.
    root.write("/etc/hunnypot.conf", root.read("/etc/hunnypot.conf") + 'liveness { startup_grace = "0s" probe_interval = "1s" }\n')
    log = "/var/log/hunnypot-milter.log"
    before = root.read(log).count(" ready ")
    root.run("systemctl restart hunnypot-milter")
    wait_for(lambda: root.read(log).count(" ready ") > before, what="milter")
    for number, domain in enumerate(["trap", "backup", "address"], 7):
        assert deliver(f"2001:db8:c::{number}", f"a@{domain}.example").startswith("451 4.7.1")
    wait_for(lambda: root.run("hunnypot list --format csv").stdout.count("2001:db8:c::") == 3, 60, "the hits")
    assert all(host.connections for host in primaries)
    done = root.run("hunnypot check --probe", check=False)
    assert done.returncode <= 1 and not re.search("^(problem|unknown)", done.stdout, re.M), done.stdout + done.stderr
    # The pages, and the database over IPv6.
    root.run("""runuser -u postgres -- psql hunnypot -c "CREATE ROLE looker LOGIN PASSWORD 'x' IN ROLE hunnypot_reader" """)
    root.write("/etc/hunnypot/looker.pgpass", "*:*:*:looker:x\n", 0o600)
    root.run("chown hunnypot-web /etc/hunnypot/looker.pgpass")
    there = "host=::1 dbname=hunnypot user=looker passfile=/etc/hunnypot/looker.pgpass"
    assert "mx2.example.org" in root.run(f"hunnypot --database '{there}' status").stdout
    root.write("/etc/hunnypot/web", f"WEB=--private [::1]:9180\nHUNNYPOT_DATABASE={there}\n")
    root.run("systemctl enable --now hunnypot-web")
    wait_for(lambda: "listening" in root.read("/var/log/hunnypot-web.log"), what="hunnypot-web")
    assert ask("[::1]:9180", "/readyz").text == "ready\n" and "What the trap caught" in ask("[::1]:9180", "/").text
    assert root.run("hunnypot listed 2001:db8:c::7", check=False).returncode == 1  # nobody is before `policy enable`
