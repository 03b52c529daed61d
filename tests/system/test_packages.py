"""The packages of debian/, built from the source package in a root that has what they say a build needs, and what they do to a
host: install, upgrade, purge; and what they bring: completion, exporters.  And the other ways in which it is packed."""
import os
import pty
import re
import select
import signal
import termios

import pytest

from testbed.base import TOP, make, run, wait_for
from milter_client import MilterClient
from testbed.clean import PATH, CleanRoot, blocks_in, commands_in
from testbed.containers import Containers
from testbed.smtp import Smtp
from testbed.web import ask

BUILDS = ("clean-root", "quickstart")
pytestmark = pytest.mark.timeout(600)  # the first one builds the packages, beside others' tests
VERSION = re.search(r"AC_INIT\(\[hunnypot-milter\], \[(.*?)\]", (TOP / "configure.ac").read_text())[1]
README = commands_in((TOP / "README").read_text())
SOURCE = f"/usr/src/hunnypot-milter-{VERSION}"
NEXT = VERSION + "+next"


class Builder:
    """A root in which the packages were built."""

    def __init__(self):
        make(TOP / "build/quickstart", "dist")
        self.root = CleanRoot("package")
        self.tarball = TOP / f"build/quickstart/hunnypot-milter-{VERSION}.tar.xz"
        run("tar", "--no-same-owner", "-xf", self.tarball, "-C", self.root.path / "usr/src")
        (build,) = [command for command in README if command.startswith("dpkg-buildpackage")]
        self.root.run(f"cd {SOURCE} && {build}", timeout=400)

    def packages(self, version=VERSION):
        found = [path for path in (self.root.path / "usr/src").glob(f"*_{version}_*.deb") if "dbgsym" not in path.name]
        assert len(found) == 3
        return found

    def build_next(self):
        """The packages of the version that comes next, which wants a schema of one number more."""
        number = len(list((TOP / "sql").glob("0*.sql"))) + 1
        self.root.write(f"{SOURCE}/sql/{number:03}-next.sql", "COMMENT ON SCHEMA hunnypot IS 'next';\n")
        self.root.run(f"cd {SOURCE} && sed -i 's/\\(_SCHEMA_VERSION\\) = [0-9]*/\\1 = {number}/' src/cli/cli.h src/record/store.h"
                      " && touch src/record/store.c src/cli/*.c"
                      " && make -j2 hunnypot hunnypot-milter hunnypot-web && strip hunnypot hunnypot-milter hunnypot-web", timeout=400)
        for package, what in (("hunnypot", "usr/bin/hunnypot"), ("hunnypot-milter", "usr/sbin/hunnypot-milter"),
                              ("hunnypot-web", "usr/sbin/hunnypot-web")):
            self.root.run(f"cd /usr/src && dpkg-deb -R {package}_{VERSION}_*.deb next && cp {SOURCE}/{package} next/{what} &&"
                          f" sed -i 's/{VERSION}/{NEXT}/' next/DEBIAN/control")
            if package == "hunnypot":
                self.root.run(f"cp {SOURCE}/sql/{number:03}-next.sql /usr/src/next/usr/share/hunnypot-milter/sql")
            self.root.run(f"cd /usr/src && dpkg-deb -b next {package}_{NEXT}_all.deb && rm -r next")
        return self.packages(NEXT)


@pytest.fixture(scope="module")
def built(net):
    builder = Builder()
    yield builder
    builder.root.remove()


@pytest.fixture
def host(dns, syslog):
    """A host with Postfix and PostgreSQL, whose packages may start what they bring."""
    root = CleanRoot("postfix")
    root.run("pg_ctlcluster 15 main start && /etc/init.d/postfix start")
    root.run("mkdir -p /run/systemd/system && rm /usr/sbin/policy-rc.d")
    yield root
    root.remove()


def install(root, packages):
    for path in packages:
        (root.path / "root" / path.name).write_bytes(path.read_bytes())
    (command,) = [command for command in README if command.startswith("apt install ../")]
    command = command.replace("install", "-y -q --no-install-recommends install")
    root.run(f"mkdir /root/source && cd /root/source && {command}", timeout=400)
    root.run("rm -r /root/source /root/*.deb")


def of_others(root):
    """The settings of mail server and database, and which databases and roles there are."""
    found = {path: path.read_bytes() for folder in ("etc/postfix", "etc/postgresql") for path in (root.path / folder).rglob("*")
             if path.is_file()}
    return found, root.run("runuser -u postgres -- psql -Atc 'SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles'"
                           " | sort").stdout


def test_lintian_finds_nothing(built):
    done = built.root.run(f"cd /usr/src && lintian --allow-root --fail-on error,warning,info,pedantic --display-info --pedantic"
                          " --suppress-tags package-supports-alternative-init-but-no-init.d-script,repeated-path-segment"
                          f" hunnypot-milter_{VERSION}_*.changes", check=False, timeout=400)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def test_rpmbuild_takes_the_spec(built):
    """As far as Debian can tell: it builds, and all that is installed is in one of the two packages."""
    root = built.root
    (root.path / "root" / built.tarball.name).write_bytes(built.tarball.read_bytes())
    (command,) = [line for line in commands_in((TOP / "rpm/hunnypot-milter.spec").read_text(), "#     ") if "rpmbuild" in line]
    root.run(f"cp {SOURCE}/rpm/hunnypot-milter.spec /root && cd /root && {command.replace('-ba', '-ba --nodeps')}", timeout=400)
    files = [root.run(f"rpm -qlp /root/rpmbuild/RPMS/*/{name}-{VERSION}-1.*.rpm").stdout
             for name in ("hunnypot", "hunnypot-milter", "hunnypot-web")]
    assert "/usr/bin/hunnypot\n" in files[0] and "/usr/sbin/hunnypot-milter\n" in files[1] and "/usr/sbin/hunnypot-web\n" in files[2]


def test_install_upgrade_purge(built, host, deliver):
    before = of_others(host)
    install(host, built.packages())
    assert not (host.path / "etc/hunnypot.conf").exists() and of_others(host) == before
    assert host.run("systemctl is-active hunnypot-milter", check=False).returncode != 0
    assert len(host.run("getent passwd hunnypot hunnypot-operator hunnypot-witness hunnypot-web").stdout.splitlines()) == 4
    host.run("hunnypot setup --mta postfix --domain trap.example=trap --apply", timeout=400)
    assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
    wait_for(lambda: "203.0.113.7/32" in host.run("hunnypot list").stdout, what="the first hit")
    settings = host.read("/etc/hunnypot.conf")
    with_setup = of_others(host)
    # `apt upgrade` before `hunnypot db upgrade`.
    install(host, built.build_next())
    assert of_others(host) == with_setup and host.read("/etc/hunnypot.conf") == settings
    assert deliver("203.0.113.8", "a@trap.example").startswith("451 4.7.1")
    wait_for(lambda: 'run "hunnypot db upgrade"' in host.read("/var/log/hunnypot-milter.log").replace("\\x22", '"'), what="log line")
    status = host.run("hunnypot status", check=False)
    assert status.returncode == 3 and "run: hunnypot db upgrade" in status.stderr
    assert re.search("^problem .*the schema is version .* is needed; run: hunnypot db upgrade",
                     host.run("hunnypot check", check=False).stdout, re.M)
    host.run("runuser -u postgres -- hunnypot db upgrade")
    wait_for(lambda: "203.0.113.8/32" in host.run("hunnypot list").stdout, 20, "the hit of meanwhile")
    # Purged without `hunnypot setup --undo`, it can still be undone.
    assert "install this again: hunnypot setup --undo" in host.run("apt-get -y -q purge hunnypot hunnypot-milter hunnypot-web 2>&1").stdout
    assert of_others(host) == with_setup and host.read("/etc/hunnypot.conf") == settings
    assert host.run("systemctl is-active hunnypot-milter", check=False).returncode != 0
    install(host, built.packages(NEXT))
    host.run("hunnypot setup --mta postfix --undo")
    host.run("apt-get -y -q purge hunnypot hunnypot-milter hunnypot-web")
    assert of_others(host)[0] == before[0] and "hunnypot\n" in of_others(host)[1]
    left = host.run("find / -xdev -name '*hunnypot*' -not -path '/var/log/*' -not -path '/var/spool/postfix/*'").stdout.split()
    assert {path for path in left if not path.startswith("/etc/hunnypot")} == set(), left


def test_exporter_blocks_at_the_firewall(built, host, deliver):
    """hunnypot-export@nftables as it is shipped, with Debian's /etc/nftables.conf: who is listed gets no connection any more."""
    install(host, built.packages())
    host.run("hunnypot setup --mta postfix --domain trap.example=trap --apply", timeout=400)
    host.run("hunnypot policy set trap ripens=0 ripens_named=0 named_hits=1 named_days=1 named_share=0 firm_after=0")
    host.run("hunnypot policy enable trap")
    host.write("/etc/hunnypot/export-nftables", "# mine\nOPTIONS=--interval 1s\n")
    include, load, enable = (command for command in README if "nft" in command and not command.startswith("hunnypot"))
    try:
        host.run(include)
        # Before there is a list, and twice: the rules are there once.
        for command in (load, load, enable):
            host.run(command)
        assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
        wait_for(lambda: "203.0.113.7/32" in host.run("hunnypot list").stdout, what="the hit")
        host.run("hunnypot expire")
        wait_for(lambda: "203.0.113.7" in host.run("nft list set inet hunnypot v4").stdout, 30, "the client in the set")
        with pytest.raises(OSError):
            Smtp("203.0.113.7", server="192.0.2.1", timeout=2)
        assert deliver("203.0.113.8", "a@trap.example").startswith("451 4.7.1")
        assert host.run("stat -c '%U %a' /var/lib/hunnypot-export/nftables/list").stdout.split() == ["hunnypot-operator", "644"]
        # At boot the sets have what was written last.
        host.run("systemctl stop hunnypot-export@nftables && nft -f /etc/nftables.conf")
        rules = host.run("nft list table inet hunnypot").stdout
        assert "203.0.113.7" in rules and rules.count(" drop") == 3
    finally:
        run("nft", "flush", "ruleset")


@pytest.fixture
def containers(built):
    made = Containers(built.packages())
    yield made
    made.remove()


def test_containers(containers, dns):
    """As doc/container.md says, but that the root is there: the image, the three services, their confinement and their health."""
    build, first, look, again = blocks_in((TOP / "doc/container.md").read_text())
    kept = [command for command in build.splitlines() if not command.startswith(("apt install", "systemctl", "export", "debootstrap", "rm -r root"))]
    containers.run("\n".join(["set -e", *kept]), timeout=400)
    settings = containers.path / "container/hunnypot.conf"
    settings.write_text(settings.read_text().replace("old.example.com", "trap.example"))
    containers.run("set -e\n" + first)
    for service, user in (("database", "postgres"), ("trap", "hunnypot"), ("web", "hunnypot-web")):
        assert containers.in_service(service, "id -un").stdout.strip() == user
        assert "Read-only" in containers.in_service(service, "touch /etc/x", check=False).stderr
        status = containers.in_service(service, "cat /proc/1/status").stdout
        assert re.search("^CapBnd:\t0+$", status, re.M) and re.search("^NoNewPrivs:\t1$", status, re.M)
    assert not containers.in_service("trap", "find / -xdev -perm /6000 -type f", check=False).stdout
    # A hit gets recorded, seen by the operator and on the pages.
    wait_for(lambda: containers.run("podman healthcheck run container_trap_1", check=False).returncode == 0, what="health")
    with MilterClient("inet:8891@127.0.0.1") as mta:
        mta.session("203.0.113.7")
        mta.transaction("<a@trap.example>")
    wait_for(lambda: "203.0.113.7/32" in containers.in_service("database", "hunnypot list").stdout, 20, "the hit")
    assert "What the trap caught" in ask("127.0.0.1:9180", "/").text
    said = containers.run("set -e\n" + look).stdout
    assert "alive" in said and "removed" in said
    # Without its database the trap is well, and keeps the hit.
    containers.run("podman stop container_database_1")
    with MilterClient("inet:8891@127.0.0.1") as mta:
        mta.session("203.0.113.8")
        mta.transaction("<a@trap.example>")
    assert containers.run("podman healthcheck run container_trap_1", check=False).returncode == 0
    # It is ill when it does not answer; stopped, it ends in time, by itself, and what it said is kept.
    pid = int(containers.state("trap", ".State.Pid"))
    os.kill(pid, signal.SIGSTOP)
    assert containers.run("podman healthcheck run container_trap_1", check=False).returncode == 1
    os.kill(pid, signal.SIGCONT)
    containers.run("podman stop container_trap_1")
    assert containers.state("trap", ".State.ExitCode") == "0"
    log = containers.run("podman logs container_trap_1 2>&1 >/dev/null").stdout
    assert " ready version=" in log and " stopped hits=2 lost=0" in log
    # Another image: volumes stay, and what was in the spool arrives.
    containers.run("set -e\n" + again)
    wait_for(lambda: "203.0.113.8/32" in containers.in_service("database", "hunnypot list").stdout, 30, "the hit of meanwhile")


@pytest.fixture(scope="module")
def installed(built):
    """The root in which they were built, with our packages."""
    install(built.root, built.packages())
    return built.root


COMPLETIONS = [("", "listed"), ("poli", "policy"), ("policy ", "enable"), ("policy en", "enable"),
               ("policy enable ", "null-sender"), ("allow add --exp", "--expires"), ("list --cl", "--class"),
               ("list --class ", "backup"), ("export nft", "nftables"), ("setup --mta ", "sendmail"), ("db in", "init"),
               ("--data", "--database"), ("witness --jou", "--journal")]


@pytest.mark.parametrize("typed, offered", COMPLETIONS)
def test_bash_completes(installed, typed, offered):
    words = typed.split(" ")
    done = installed.run("bash -c '. /usr/share/bash-completion/completions/hunnypot;"
                         "COMP_WORDS=(hunnypot \"$@\"); COMP_CWORD=$#; _hunnypot; printf \"%s\\n\" \"${COMPREPLY[@]}\"' - "
                         + " ".join(f"'{word}'" for word in words))
    assert offered in done.stdout.split() and not done.stderr
    assert all(word.startswith(words[-1]) for word in done.stdout.split())


def test_zsh_completes(installed):
    """As typed at a terminal: ^D lists what is offered, ^U takes the line back."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chroot(installed.path)
        os.chdir("/")
        os.execve("/bin/zsh", ["zsh", "-f", "-i"], {"PATH": PATH, "TERM": "dumb", "HOME": "/root"})

    got = ""

    def until(text, send=""):
        nonlocal got
        os.write(terminal, send.encode())
        while text not in got:
            assert select.select([terminal], [], [], 20)[0], f"no {text!r} in {got!r}"
            got += os.read(terminal, 65536).decode(errors="replace")
        got = got.split(text, 1)[1]
    try:
        termios.tcsetwinsize(terminal, (500, 200))  # or it would ask whether to list all
        until("<prompt>", "autoload -U compinit; compinit -u -D; PS1='<'${:-prompt}'>'\n")
        for number, (typed, offered) in enumerate(COMPLETIONS):
            until(offered, f"hunnypot {typed}\x04")
            until(f"done {number + 1}", f"\x15echo done $(({number} + 1))\n")
            until("<prompt>")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


# The pages of doc/, in the order in which one host goes through them; and what their names are here.
PAGES = ["trap-domain", "backup-mx", "nolisting", "a-record", "beside-real-mail", "cloud-nat", "witnesses", "grades",
         "greylisting", "web", "monitoring", "publish", "dnsbl", "privacy", "sizing", "upgrade", "backup-restore", "several-sensors", "troubleshooting",
         "uninstall"]
IN_ITS_OWN_TEST = ["container"]
NAMES = {"old.example.com": "trap.example", "example.com": "backup.example", "apt purge": "apt-get -y -q purge"}
# `hunnypot check` says how things are by its status.
TOLERANT = """set -e
hunnypot() { command hunnypot "$@" || case $1:$? in check:[123] | listed:1) ;; *) false ;; esac; }
"""
CHANGE_SETTINGS = ("cloud-nat", "privacy", "troubleshooting")
SAID = {"trap-domain": "the trap of trap.example", "backup-mx": "takes mail", "a-record": "the address of address.example",
        "witnesses": "seen client=203.0.113.9", "grades": "127.0.1.2", "upgrade": "schema version: ",
        "several-sensors": "CREATE ROLE", "backup-restore": "schema version: "}


def prepare(root, page):
    """What a page says is there before, and what an earlier one has left when all are gone through."""
    if page != PAGES[0] and not (root.path / "etc/hunnypot.conf").exists():
        root.run("hunnypot setup --mta postfix --domain trap.example=trap --apply", timeout=400)
    if page == "witnesses":
        root.write("/var/log/mail.log", "2026-11-27T01:02:03+00:00 mx1 postfix/smtpd[1]: connect from unknown[203.0.113.9]\n")
    if page == "grades":
        root.run("postconf -e 'smtpd_client_restrictions = reject_unlisted_sender'")
    if page == "several-sensors":
        root.run("cp /etc/hunnypot/envelope.key /root/")
    if page == "beside-real-mail":
        run("ip", "addr", "add", "192.0.2.2/32", "dev", "lo")


@pytest.fixture(scope="module")
def desk(built, dns_server):
    """The host on which the pages are gone through."""
    root = CleanRoot("postfix")
    root.run("postconf -e 'inet_interfaces = 192.0.2.1, 2001:db8::1, 127.0.0.1'")
    root.run("pg_ctlcluster 15 main start && /etc/init.d/postfix start")
    install(root, built.packages())
    yield root
    root.remove()


def go_through(root, page, names):
    """All commands of PAGE, and what they say."""
    text = (TOP / f"doc/{page}.md").read_text()
    for name, here in names.items():
        text = text.replace(name, here)
    said = ""
    for block in blocks_in(text):
        if "createdb" in block:  # it is lost, and there is a dump
            root.run("runuser -u postgres -- dropdb --force hunnypot")
        said += root.run(TOLERANT + block, timeout=400).stdout
    return said


def shown_in_readme(root):
    """The first screen's output is real: the same but for times and names."""
    def alike(text):
        text = text.replace("trap.example", "old.example.com").replace("to vm,", "to mx2,")
        return re.sub(r"  +", "  ", re.sub(r"\d\d+", "0", text))
    shown = re.findall(r"^    # (hunnypot .*)\n((?:    [^#].*\n)+)", (TOP / "README").read_text(), re.M)
    assert len(shown) == 2
    for command, output in shown:
        real = alike(root.run(command).stdout).split("\n")
        assert all(alike(line.strip()) in real for line in output.splitlines()), real


def test_each_page_is_gone_through():
    assert sorted([*PAGES, *IN_ITS_OWN_TEST]) == sorted(path.stem for path in (TOP / "doc").glob("[a-z]*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_pages(desk, syslog, dns, primaries, deliver, page):
    prepare(desk, page)
    settings = (desk.path / "etc/hunnypot.conf").read_text() if page in CHANGE_SETTINGS else None
    said = go_through(desk, page, {**NAMES, **({"example.com": "address.example"} if page == "a-record" else {})})
    assert SAID.get(page, "") in said
    if settings:
        desk.write("/etc/hunnypot.conf", settings)
        desk.run("systemctl reload hunnypot-milter")
    if page == "trap-domain":
        assert deliver("203.0.113.7", "a@trap.example").startswith("451 4.7.1")
        wait_for(lambda: "203.0.113.7/32" in desk.run("hunnypot list").stdout, what="the hit")
        shown_in_readme(desk)
    if page == "witnesses":
        wait_for(lambda: "mx1.backup.example" in desk.run("hunnypot witness list").stdout, 20, "the witness")
    if page == "grades":
        assert desk.run("postconf -h smtpd_client_restrictions").stdout.startswith("reject_unlisted_sender permit_mynetworks check_")
        go_through(desk, page, NAMES)
        assert desk.run("postconf -h smtpd_client_restrictions").stdout.count("postfix-cidr/list") == 1
    if page == "web":
        wait_for(lambda: "listening" in desk.read("/var/log/hunnypot-web.log"), what="hunnypot-web")
        assert "What the trap caught" in ask("127.0.0.1:9180", "/").text and ask("127.0.0.1:9180", "/readyz").text == "ready\n"
    if page == "monitoring":
        line, folder = desk.read("/etc/cron.d/hunnypot-metrics"), "/var/lib/prometheus/node-exporter"
        desk.run(re.search("^[* ]+root (.*)$", line, re.M)[1])
        assert "\nhunnypot_sensor_up{" in desk.read(f"{folder}/hunnypot.prom") and desk.run(f"ls {folder}").stdout == "hunnypot.prom\n"
    if page == "publish":
        public = f"unix:{desk.path}/run/hunnypot-web/public"
        wait_for(lambda: (desk.path / "run/hunnypot-web/public").exists(), what="the socket")
        assert "203.0.113.7" in ask(public, "/lookup?203.0.113.7").text and ask(public, "/").status == 404
    if page == "dnsbl":
        run("named-checkzone", "bl.example.org", desk.path / "var/lib/hunnypot-export/bind/list")
    if page == "uninstall":
        left = desk.run("find / -xdev -name '*hunnypot*' -not -path '/var/log/*' -not -path '/var/spool/postfix/*'"
                        " -not -path '*/postgresql/*'").stdout
        assert not left and "hunnypot" not in desk.run("runuser -u postgres -- psql -Atc '\\du' -c '\\l'").stdout


def test_links_of_pages_lead_somewhere():
    for page in (TOP / "doc").glob("*.md"):
        targets = re.findall(r"\]\(([^)]+)\)", page.read_text())
        assert all((TOP / "doc" / target).exists() for target in targets), page
    named = re.findall(r"\]\(([a-z-]+)\.md\)", (TOP / "doc/README.md").read_text())
    assert sorted(named) == sorted([*PAGES, *IN_ITS_OWN_TEST])
