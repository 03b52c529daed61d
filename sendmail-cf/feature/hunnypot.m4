divert(-1)
dnl #
dnl # FEATURE(`hunnypot', `/run/hunnypot/milter.sock')
dnl #
dnl # Makes this host a trap: the Hunnypot milter answers every DATA.  The argument is the path of the milter's unix socket
dnl # (this one is the default).  Over a TCP socket each step of a session would cost sendmail 44 ms.
dnl #
dnl # Copy this file to the feature folder of sendmail's configuration (Debian: /usr/share/sendmail/cf/feature), put the line
dnl # into sendmail.mc before the MAILER lines, and make sendmail.cf anew.
dnl #
dnl # What it sets, and why:
dnl #
dnl # INPUT_MAIL_FILTER, F=T: a milter that is missing, dead or hung means 451 at MAIL; the sender tries again and gets to a
dnl #	primary.  No F would take the mail.  T=: how long sendmail waits for the milter, which answers in milliseconds; the
dnl #	time bounds what a hung one costs a client (C connect, S send, R read, E end of message).
dnl # confMAX_DAEMON_CHILDREN 20: so many connections at once, as hunnypot.conf's limits.connections.
dnl # confTO_COMMAND, confTO_DATABLOCK 30s: a silent client is cut off after 30 s (a milter cannot: it speaks only when
dnl #	spoken to).  One that says a byte now and then is not: sendmail has no time for a whole command.  Its place with the
dnl #	milter is given to another; here it holds one of the 20 connections.
dnl # confTO_IDENT 0: no question to the client's ident port while it waits for the greeting.
dnl # confPRIVACY_FLAGS: no ETRN, VRFY, EXPN on a host that holds no mail.
dnl #	goaway would also do that; it is not used, since it switches off delivery reports for the host's own mail.
dnl # SLocal_check_relay: the fourth connection of one client at once is answered 421 and closed (no access map needed).
dnl # Scheck_eom: the second net.  Should a message get past DATA all the same, it is answered 451 at its end.
dnl #
divert(0)dnl
VERSIONID(`hunnypot.m4: the Hunnypot milter')
define(`confMAX_DAEMON_CHILDREN', `20')dnl
define(`confTO_COMMAND', `30s')dnl
define(`confTO_DATABLOCK', `30s')dnl
define(`confTO_IDENT', `0')dnl
define(`confPRIVACY_FLAGS', `authwarnings,noetrn,novrfy,noexpn')dnl
INPUT_MAIL_FILTER(`hunnypot', `S=unix:'ifelse(len(X`'_ARG_), `1', `/run/hunnypot/milter.sock', _ARG_)`, F=T, T=C:5s;S:10s;R:10s;E:10s')dnl
ifdef(`_ARITH_MAP_', `', `
LOCAL_CONFIG
# counts open connections (hunnypot.m4)
Khunnypot_count arith
')dnl
LOCAL_RULESETS
SLocal_check_relay
R$*		$: $(hunnypot_count l $@ 3 $@ $&{client_connections} $)
RTRUE		$#error $@ 4.3.2 $: "421 4.3.2 Too many open connections."
R$*		$@ OK

Scheck_eom
R$*		$#error $@ 4.7.1 $: "451 4.7.1 Please try another mail server of this domain, and try again"
