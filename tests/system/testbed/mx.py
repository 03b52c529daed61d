"""Real mail servers on a primary's address, of which witnesses read the log: they take mail for backup.example, and log it
as they are made to.  Whom to turn away is in the client's address:

    203.0.113.66   refused at RCPT with a 450, as by a greylist
"""
import os
import re
import time

from testbed.base import DEBS, STATE, Server, run
from testbed.postfix import Postfix
from testbed.sendmail import PREFIX, Sendmail

PRIMARY = "198.51.100.1"
GREYLISTED = "203.0.113.66"
PORTS = [("tcp", PRIMARY, 25)]
PLACES = (("smtpd", "pass - - n - - smtpd"), ("dnsblog", "unix - - n - 0 dnsblog"), ("tlsproxy", "unix - - n - 0 tlsproxy"))


def quiet_day(log):
    """Put into LOG, before the server writes it, a day in which it was watched and nothing came: a witness is believed after one."""
    with open(log, "a", encoding="ascii") as file:
        for age in range(25 * 3600, 0, -1500):
            stamp = time.strftime("%b %e %H:%M:%S", time.localtime(time.time() - age))
            file.write(f"{stamp} mx1 postfix/anvil[1]: statistics: max cache size 1\n")


class PostfixMx(Postfix):
    """With POSTSCREEN in front, who speaks before the greeting is turned away by that."""

    def __init__(self, postscreen=False, main=None, name="mx"):
        smtp = "postscreen" if postscreen else "smtpd"
        master = [f"{PRIMARY}:25 inet n - n - {1 if postscreen else '-'} {smtp}"]
        if postscreen:
            master += [f"{service} {rest}" for service, rest in PLACES]
        super().__init__(name, trap=False, master=master, main={
            "myhostname": "mx1.backup.example", "mydestination": "",
            "virtual_mailbox_domains": "backup.example", "virtual_mailbox_maps": "inline:{ {deferred@backup.example=x} "
            "{user@backup.example=x} {other@backup.example=x} {postmaster@backup.example=x} }",
            "virtual_alias_maps": "inline:{alias@backup.example=user@backup.example}",
            "virtual_transport": "discard:", "transport_maps": "inline:{ {deferred@backup.example=retry:4.3.0 later} }",
            "smtpd_recipient_restrictions": f"check_client_access inline:{{ {{{GREYLISTED}=450 4.2.0 Greylisted}} }}, "
            "reject_unauth_destination",
            "postscreen_greet_wait": "1s", "postscreen_greet_action": "enforce", "postscreen_cache_map": "",
            **(main or {})})
        self.log_path = self.maillog


class SyslogFile:
    """What comes to /dev/log as a syslog daemon of old writes it into a file."""

    def __init__(self, syslog, path, host="mx1"):
        self.syslog, self.path, self.host, self.done = syslog, path, host, len(syslog.lines)
        path.write_text("")

    def write(self):
        lines = self.syslog.lines[self.done:]
        self.done += len(lines)
        with self.path.open("a", encoding="utf-8") as file:
            for line in lines:
                # "<22>Nov 26 05:00:00 sm-mta[1]: ..."
                stamp, rest = re.fullmatch(r"<\d+>(\w{3} [ \d]\d [\d:]{8}) (.*)", line, re.S).groups()
                file.write(f"{stamp} {self.host} {rest}\n")


class SendmailMx(Sendmail):
    def __init__(self, syslog, name="mx", aliases=""):
        self.log_path = STATE / f"{name}.log"
        self.aliases = aliases
        super().__init__(syslog, name)
        self.file = SyslogFile(syslog, self.log_path)

    def configure(self, replace, extra, interfaces, changes):
        """A plain sendmail that takes mail for backup.example and throws it away."""
        (self.etc / "sendmail.mc").write_text(f"""include(`{self.cf}/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`MAIL_SETTINGS_DIR', `{self.etc}/')dnl
define(`confPID_FILE', `{self.folder}/pid')dnl
define(`QUEUE_DIR', `{self.queue}')dnl
define(`ALIAS_FILE', `{self.etc / "aliases" if self.aliases else ""}')dnl
define(`STATUS_FILE', `')dnl
define(`HELP_FILE', `{self.etc}/helpfile')dnl
define(`confSERVICE_SWITCH_FILE', `{self.etc}/service.switch')dnl
define(`confDONT_PROBE_INTERFACES', `true')dnl
define(`confDEF_USER_ID', `nobody')dnl
define(`confREFUSE_LA', `999')dnl
define(`confDOMAIN_NAME', `mx1.backup.example')dnl
define(`LOCAL_MAILER_PATH', `/bin/true')dnl
define(`LOCAL_MAILER_ARGS', `true $u')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`nocanonify')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr={PRIMARY}, Port=25')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
LOCAL_CONFIG
Cwbackup.example
LOCAL_RULESETS
SLocal_check_rcpt
R$*			$: $&{{client_addr}}
R{GREYLISTED}		$#error $@ 4.2.0 $: "450 Greylisted"
""")
        cf = run("m4", f"-D_CF_DIR_={self.cf}/", self.etc / "sendmail.mc").stdout
        (self.etc / "sendmail.cf").write_text(cf)

    def start(self):
        env = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": f"{PREFIX}/usr/lib/x86_64-linux-gnu"}
        if self.aliases:
            (self.etc / "aliases").write_text(self.aliases)
            run(self.binary, "-bi", "-C", self.etc / "sendmail.cf", env=env)
        self.server = Server("sendmail", [self.binary, "-bD", "-C", self.etc / "sendmail.cf"], self.folder / "out", env=env, ports=PORTS)
        self.server.wait_ready()


class Exim:
    binary = DEBS / "exim4-daemon/usr/sbin/exim4"

    def __init__(self, name="mx", settings="", domains="backup.example", logs=None, acls=""):
        self.folder = STATE / name
        self.spool, self.logs = self.folder / "spool", self.folder / "logs"
        for folder in (self.folder, self.spool, self.logs):
            folder.mkdir(exist_ok=True)
        run("chown", "-R", "Debian-exim:Debian-exim", self.spool, self.logs)
        self.log_path = self.logs / "mainlog"
        self.configuration = self.folder / "exim.conf"
        self.configuration.write_text(f"""
primary_hostname = mx1.backup.example
spool_directory = {self.spool}
log_file_path = {logs or f"{self.logs}/%slog"}
local_interfaces = {PRIMARY}
daemon_smtp_ports = 25
tls_advertise_hosts =
exim_path = {self.binary}
exim_user = Debian-exim
never_users =
acl_smtp_rcpt = check_rcpt
acl_smtp_predata = accept
acl_smtp_data = accept
{settings}
begin acl
{acls}
check_rcpt:
  defer hosts = {GREYLISTED}
        message = Greylisted
  accept domains = {domains}
  deny message = relay not permitted
begin routers
later:
  driver = redirect
  local_parts = deferred
  allow_defer
  data = :defer: later
alias:
  driver = redirect
  local_parts = alias
  data = user@backup.example
sink:
  driver = accept
  domains = {domains}
  transport = sink
begin transports
sink:
  driver = appendfile
  file = /dev/null
  user = Debian-exim
begin retry
* * F,2h,15m
""")
        self.server = None

    def start(self):
        self.server = Server("exim", [self.binary, "-bdf", "-q30m", "-C", self.configuration], self.folder / "out",
                             ports=PORTS)
        self.server.wait_ready()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None


class OpenSmtpd:
    binary = DEBS / "opensmtpd/usr/sbin/smtpd"

    def __init__(self, syslog, name="mx"):
        self.folder = STATE / name
        self.folder.mkdir(exist_ok=True)
        self.log_path = STATE / f"{name}.log"
        self.file = SyslogFile(syslog, self.log_path)
        self.configuration = self.folder / "smtpd.conf"
        self.configuration.write_text(f"""
table users {{ "user@backup.example" = "nobody", "other@backup.example" = "nobody", "postmaster@backup.example" = "nobody", \\
  "alias@backup.example" = "user@backup.example", "deferred@backup.example" = "nobody" }}
listen on {PRIMARY} port 25 hostname mx1.backup.example
action "in" mda "/bin/true" virtual <users>
match !from src {GREYLISTED} for domain "backup.example" action "in"
""")
        # Its paths are built in: a /var and a /usr/libexec of its own.
        self.start_script = self.folder / "start"
        self.start_script.write_text(f"""#!/bin/sh
set -e
mkdir -p {self.folder}/upper {self.folder}/work
mount -t overlay -o lowerdir=/var,upperdir={self.folder}/upper,workdir={self.folder}/work overlay /var
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
chmod 711 /var/spool/smtpd
exec {self.binary} -F -f {self.configuration}
""")
        self.start_script.chmod(0o755)
        self.server = None

    def start(self):
        self.server = Server("opensmtpd", ["unshare", "--mount", "--propagation", "private", self.start_script],
                             self.folder / "out", ports=PORTS)
        self.server.wait_ready()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None
