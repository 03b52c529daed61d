"""The shipped units: what they allow is all that the programs need, and what they forbid cannot be done.

Every other test runs the daemon under its unit's filters as well (testbed/confine.py)."""
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from seccomp import Arch, resolve_syscall

from testbed.base import BUILD, TOP, make, run, wait_for
from testbed.milter import confined, environment
from testbed.offences import offend

UNITS = ["hunnypot-milter", "hunnypot-expire", "hunnypot-witness", "hunnypot-export@", "hunnypot-web", "hunnypot-requests"]
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def units():
    """The units as they are installed: {name: file}."""
    make(BUILD, *(f"systemd/{name}.service" for name in UNITS))
    return {name: BUILD / f"systemd/{name}.service" for name in UNITS}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_reads_the_unit_without_complaint(units, tmp_path, name):
    text = units[name].read_text()
    assert not re.search(r"@\w+@", text)
    unit = tmp_path / units[name].name
    unit.write_text(re.sub(r"/usr/local/s?bin/", f"{BUILD}/", text))
    done = run("systemd-analyze", "verify", "--man=no", unit, check=False)
    ours = [line for line in done.stderr.splitlines() if "hunnypot" in line]
    assert done.returncode == 0 and not ours, done.stderr


@pytest.mark.parametrize("name, most", [("hunnypot-milter", 15), ("hunnypot-expire", 13), ("hunnypot-witness", 14),
                                        ("hunnypot-export@", 13), ("hunnypot-web", 14), ("hunnypot-requests", 13)])
def test_exposure_does_not_grow_and_the_unit_says_why_it_is_left(units, name, most):
    """In tenths of the points that systemd gives, 0 to 10; newer versions of it weigh a little differently."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = run(*command, f"--threshold={most}", units[name], check=False)
    assert done.returncode == 0, done.stdout
    for check in json.loads(run(*command, "--json=short", units[name]).stdout):
        if check["set"] is False:
            setting = check["name"].split("=")[0]
            assert re.search(f"^#   .*{setting}=", units[name].read_text(), re.M), f"{check['name']}: no reason"


# Calls with arguments: a family, a protection, a mode or a flag decides.
FORBIDDEN = {
    "a packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "a socket to a virtual machine": "socket.socket(socket.AF_VSOCK)",
    "code that is written": "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "a set-user-id file": "os.chmod(folder, 0o4700)",
    "a set-group-id folder": "os.mkdir(folder + '/x', 0o2700)",
    "a new set-user-id file": "os.open(folder + '/y', os.O_CREAT, 0o4700)",
    "a namespace": "syscall(%d, 0x10000000)" % resolve_syscall(Arch(), "unshare"),
    "a personality": "syscall(%d, 8)" % resolve_syscall(Arch(), "personality"),
    "real time": "os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))",
    **{name: "syscall(%d, 0, 0, 0, 0, 0, 0)" % resolve_syscall(Arch(), name) for name in (
        "mount", "umount2", "pivot_root", "chroot", "setns", "ptrace", "process_vm_readv", "bpf", "perf_event_open", "keyctl",
        "init_module", "setgid", "setresuid", "setgroups", "capset", "fchown", "setpriority", "shmget", "mq_open", "mlock",
        "io_uring_setup", "swapon", "sethostname", "clock_settime", "quotactl")},
}
# Prints how a child ended that tried each of FORBIDDEN, and one that tried nothing.
TRY_EACH = """
import ctypes, json, mmap, os, socket, sys
folder, syscall, ends = sys.argv[1], ctypes.CDLL(None).syscall, {}
for name, doing in [("nothing", "pass"), *json.loads(sys.argv[2]).items()]:
    child = os.fork()
    if child == 0:
        try:
            exec(doing)
        finally:
            os._exit(0)
    ends[name] = os.waitpid(child, 0)[1]
print(json.dumps(ends))
"""


@pytest.mark.parametrize("unit", UNITS)
def test_forbidden_calls_end_a_process(net, tmp_path, unit):
    tmp_path.chmod(0o777)
    done = run(*confined(PYTHON, unit), "-c", TRY_EACH, tmp_path, json.dumps(FORBIDDEN))
    assert json.loads(done.stdout) == {"nothing": 0, **{name: signal.SIGSYS for name in FORBIDDEN}}


@pytest.mark.parametrize("line, complaint", [
    ("IPAddressDeny=any", "IPAddressDeny= is not known here"),
    ("ProtectSytem=strict", "ProtectSytem= is not known here"),
    ("systemCallFilter=@system-service", "systemCallFilter= is not known here"),
    ("begin=", "begin= is not known here"),
    ("RestrictRealtime=no", "only yes is done here, not no"),
    ("SystemCallErrorNumber=EACCES", "only EPERM is done here, not EACCES"),
])
def test_a_line_that_the_tests_do_not_run_under_is_an_error(net, tmp_path, line, complaint):
    unit = tmp_path / "odd.service"
    unit.write_text(f"[Unit]\nDescription=odd\n\n[Service]\nUser=x\nSystemCallFilter=@system-service\n{line}\n")
    done = run(PYTHON, "-B", TOP / "tests/system/testbed/confine.py", unit, "/bin/true", check=False)
    assert done.returncode == 1 and done.stderr.strip().endswith(complaint)


def test_daemon_is_confined(milter):
    daemon = milter(database="")
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (status["Seccomp"], status["NoNewPrivs"], status["Umask"]) == ("2", "1", "0077")
    assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.M) and re.search(r"^Max open files +4096 +4096 ", limits, re.M)


def test_expire_runs_under_its_unit(pg):
    done = run(*confined(BUILD / "hunnypot", "hunnypot-expire"), "expire", env=environment(PGUSER="operator"))
    assert "hits" in done.stdout


def test_exporter_and_nft_run_under_their_unit(pg, tmp_path):
    """The calls that they need; that nft(8) has the right to is shown in a clean root (test_packages.py)."""
    unit = tmp_path / "export.service"
    rights = (TOP / "systemd/nftables.conf").read_text()
    (families,) = re.findall("^RestrictAddressFamilies=(.*)", rights, re.M)  # systemd adds them to the unit's
    unit.write_text(re.sub("^(RestrictAddressFamilies=.*)", rf"\1 {families}",
                           (TOP / "systemd/hunnypot-export@.service.in").read_text(), flags=re.M))
    running = subprocess.Popen([PYTHON, "-B", TOP / "tests/system/testbed/confine.py", unit, "--sanitizers", BUILD / "hunnypot", "export",
                                "nftables", "-o", tmp_path / "list", "--watch", "--command", f"nft -f {tmp_path}/list && touch {tmp_path}/loaded",
                                "--changes", "nft -f -"], env=environment(PGUSER="operator"))
    wait_for((tmp_path / "loaded").exists, 60, "the whole list")
    offend(pg, "203.0.113.7")
    wait_for(lambda: "203.0.113.7" in run("nft", "list", "set", "inet", "hunnypot", "v4").stdout, 60, "the change")
    running.terminate()
    assert running.wait(30) == 0
    run("nft", "delete", "table", "inet", "hunnypot")
