"""Milters of Debian under the load of `sessions`, each beside the null milter, as are we: sessions/s and CPU, for which there is no target.

The load is what a trap sees: an envelope that is given up after DATA.  opendkim, opendmarc and rspamd do their work on headers and body, which
never come here, and do not ask for DATA: what is measured of them is the price of a session, and not of a letter.
"""
import os
import sys
from pathlib import Path

from bench import sessions
from bench.stats import Ratio
from testbed.base import BUILD, DEBS, STATE, TOP, Server

PEERS = TOP / "build/peers"  # by tests/bench/get-peers
SOCKET = "/run/hunnypot/peer.sock"
LIBRARIES = {"LD_LIBRARY_PATH": ":".join(str(PEERS / "usr/lib" / name) for name in (f"{os.uname().machine}-linux-gnu", "."))}


class Peer:
    """A program that takes milter sessions at SOCKET."""

    def __init__(self, name, words, **environment):
        Path(SOCKET).unlink(missing_ok=True)
        self.server = Server(name, words, STATE / f"{name}.out", env={**os.environ, **environment}, cwd="/")
        self.server.wait_ready(Path(SOCKET).exists)
        self.socket, self.pid = SOCKET, self.server.pid

    def close(self):
        self.server.kill()


def settings(name, text):
    path = STATE / f"{name}.conf"
    path.write_text(text)
    return path


def opendkim():
    return Peer("opendkim", [PEERS / "usr/sbin/opendkim", "-f", "-x", settings("opendkim", f"Mode v\nSyslog no\nSocket local:{SOCKET}\n")],
                **LIBRARIES)


def opendmarc():
    return Peer("opendmarc", [PEERS / "usr/sbin/opendmarc", "-f", "-c", settings("opendmarc", f"Syslog false\nSocket local:{SOCKET}\n")],
                **LIBRARIES)


def pymilter():
    return Peer("pymilter", [sys.executable, "-B", TOP / "tests/bench/py_milter.py", SOCKET], PYTHONPATH=str(PEERS / "usr/lib/python3/dist-packages"))


def rspamd():
    folder, share = STATE / "rspamd-proxy", DEBS / "rspamd/usr/share/rspamd"
    folder.mkdir(exist_ok=True)
    (folder / "domains").write_text("com\n")
    config = settings("rspamd-proxy", f"""
options {{ filters = ""; url_tld = "{folder}/domains"; hs_cache_dir = "{folder}"; tempdir = "{folder}"; dns {{ nameserver = ["127.0.0.1:53:1"]; }} }}
lua = "{share}/rules/rspamd.lua";
logging {{ type = "console"; level = "error"; }}
worker "rspamd_proxy" {{ bind_socket = "{SOCKET} mode=0666"; milter = yes; count = 1; upstream "local" {{ default = yes; self_scan = yes; }} }}
""")
    names = {"CONFDIR": folder, "SHAREDIR": share, "RULESDIR": share / "rules", "LUALIBDIR": share / "lualib",
             "PLUGINSDIR": share / "plugins", "DBDIR": folder, "RUNDIR": folder, "LOGDIR": folder}
    return Peer("rspamd", [DEBS / "rspamd/usr/bin/rspamd", "--no-fork", "--insecure", "-c", config, *[f"--var={name}={value}" for name, value in names.items()]],
                LD_LIBRARY_PATH=str(DEBS / "rspamd/usr/lib/rspamd"), LUALIBDIR=str(share / "lualib"))


def ours():
    return sessions.Real()


def ours_off():
    return sessions.Real(domain={"backup.example": {"role": "off"}})


NO_LETTER = "no letter for it to work on"
SIDES = [
    ("hunnypot-milter (a durable hit each)", ours, BUILD / "hunnypot-milter"),
    ("hunnypot-milter (role off)", ours_off, BUILD / "hunnypot-milter"),
    ("pymilter (answers DATA with 451)", pymilter, PEERS / "usr/lib/python3/dist-packages/Milter"),
    (f"opendkim ({NO_LETTER})", opendkim, PEERS / "usr/sbin/opendkim"),
    (f"opendmarc ({NO_LETTER})", opendmarc, PEERS / "usr/sbin/opendmarc"),
    (f"rspamd proxy ({NO_LETTER})", rspamd, DEBS / "rspamd/usr/bin/rspamd"),
]


def measure(options, needs):
    needs.dns()
    for address in ("198.51.100.1", "2001:db8:100::1"):
        needs.primary(address)
    found = []
    for name, make, program in SIDES:
        if not program.exists():
            print(f"peers: not measured, as it is not here (tests/bench/get-peers gets it): {name}", flush=True)
            continue
        for connections in (16,) if options.quick else (1, 16):
            count = 100 if options.quick else 4000 if connections == 1 else 10000
            pairs = []
            for number in range(options.rounds):
                took = {side: sessions.one(side, connections, count, ["backup.example"])
                        for side in (plain_null, make)[::1 if number % 2 == 0 else -1]}
                pairs.append((took[plain_null], took[make]))
            words = f"{name}, {connections} connections / plain null"
            found += [Ratio(f"{words}: {what}", [(a[index], b[index]) for a, b in pairs], unit=unit)
                      for index, what, unit in ((0, "sessions/s", "1/s"), (1, "CPU", "us"))]
            for ratio in found[-2:]:
                print(ratio.line(), flush=True)
    return found


def plain_null():
    return sessions.Null(False)
