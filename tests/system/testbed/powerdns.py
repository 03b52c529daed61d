"""PowerDNS, unpacked by tests/setup, as a DNSBL on the database."""
from testbed.base import DEBS, STATE, TOP, Server
from testbed.zone import Zone

MODULES = DEBS / "pdns-backend/usr/lib/x86_64-linux-gnu/pdns"


def prepare(pg, zone="bl.test"):
    """The shipped functions, for ZONE, and the role that PowerDNS asks as."""
    text = (TOP / "sql/dnsbl/powerdns.sql").read_text()
    for _ in range(2):
        pg.query(text)
    pg.query("UPDATE hunnypot.setting SET value = %s WHERE name = 'dnsbl_zone'", zone)
    if not pg.query("SELECT 1 FROM pg_roles WHERE rolname = 'pdns'"):
        pg.query("CREATE ROLE pdns LOGIN")
    pg.query("GRANT hunnypot_reader TO pdns")


class PowerDns:
    """With the shipped configuration and these LINES on top of it, or in its place; for ZONE, at ADDRESS."""

    def __init__(self, *lines, address="127.0.0.3", name="pdns", shipped=True, zone="bl.test"):
        folder = STATE / name
        (folder / "pdns.d").mkdir(parents=True, exist_ok=True)
        (folder / "pdns.conf").write_text(
            f"launch=\ninclude-dir={folder}/pdns.d\nlocal-address={address}\nsocket-dir={folder}\nguardian=no\ndaemon=no\n"
            f"setuid=\nsetgid=\nsecurity-poll-suffix=\nmodule-dir={MODULES}\n")
        own = [line.split("=")[0] for line in lines]
        kept = [line for line in (TOP / "pdns/hunnypot.conf").read_text().splitlines() if line.split("=")[0] not in own]
        (folder / "pdns.d/own.conf").write_text("\n".join([*(kept if shipped else []), *lines]) + "\n")
        self.zone = Zone(zone, 53, address)
        self.zone.folder = folder
        self.server = Server("pdns_server", [DEBS / "pdns/usr/sbin/pdns_server", f"--config-dir={folder}"], folder / "log",
                             ports=self.zone.ports)
        self.server.wait_ready(self.zone.answers)
