divert(-1)
dnl #
dnl # FEATURE(`hunnypot', `/run/hunnypot/milter.sock')
dnl #
dnl # Makes those daemons of sendmail a trap that are called Trap and have the milter among their filters:
dnl #
dnl #	DAEMON_OPTIONS(`Name=Trap, Family=inet, Addr=192.0.2.1, Port=smtp, InputMailFilters=hunnypot')
dnl #
dnl # There the Hunnypot milter answers every DATA; other daemons (127.0.0.1, for the host's own mail) do what they did.  The
dnl # argument is the path of the milter's unix socket (this one is the default).  Over a TCP socket each step of a session would
dnl # cost sendmail 44 ms.
dnl #
dnl # A second argument, `backup', is for a host whose hunnypot.conf has a `domain' section that says on_outage = accept or role = off:
dnl # the second net below would put off what is to be taken there, and is left out.  `hunnypot-milter --check' says when the two
dnl # do not fit.
dnl #
dnl #	FEATURE(`hunnypot', `/run/hunnypot/milter.sock', `backup')
dnl #
dnl # Copy this file to the feature folder of sendmail's configuration (Debian: /usr/share/sendmail/cf/feature), put the line
dnl # into sendmail.mc before the MAILER lines, and make sendmail.cf anew.
dnl #
dnl # What it sets, and why.  For the trap:
dnl #
dnl # MAIL_FILTER, F=T: a milter that is missing, dead or hung means 451 at MAIL; the sender tries again and gets to a
dnl #	primary.  No F would take the mail.  T=: how long sendmail waits for the milter, which answers in milliseconds; the
dnl #	time bounds what a hung one costs a client (C connect, S send, R read, E end of message).
dnl # SLocal_check_relay: the fourth connection of one client at once is answered 421 and closed (no access map needed).
dnl # SLocal_check_rcpt: a recipient elsewhere, such as in a domain that was left out of RELAY_DOMAIN by mistake, is told to try
dnl #	again (450), and gets to a primary; sendmail would refuse it for good (550).  Nobody may relay, not even this host.
dnl # SLocal_srv_features, F: a client that sends everything in one packet, without waiting to be asked, is the kind that a trap is
dnl #	for.  What ends a message stays CRLF.CRLF and nothing else: no second message can be smuggled in one that is taken.
dnl # Scheck_eom: the second net, without `backup'.  Should a message get past DATA all the same, it is answered 451 at its end.
dnl #	With `backup' the milter's own answer at the end of the message is that net, and F=T while it is away.
dnl #
dnl # For all of sendmail:
dnl #
dnl # confMAX_DAEMON_CHILDREN 20: so many connections at once, as hunnypot.conf's limits.connections.
dnl # confTO_COMMAND, confTO_DATABLOCK 30s: a silent client is cut off after 30 s (a milter cannot: it speaks only when
dnl #	spoken to).  One that says a byte now and then is not: sendmail has no time for a whole command.  Its place with the
dnl #	milter is given to another; here it holds one of the 20 connections.
dnl # confTO_IDENT 0: no question to the client's ident port while it waits for the greeting.
dnl # confPRIVACY_FLAGS: no ETRN, VRFY, EXPN on a host that holds no mail.
dnl #	goaway would also do that; it is not used, since it switches off delivery reports for the host's own mail.
dnl # confALLOW_BOGUS_HELO: an odd name in HELO is no reason for a refusal for good.
dnl #
divert(0)dnl
VERSIONID(`hunnypot.m4: the Hunnypot milter')
define(`confMAX_DAEMON_CHILDREN', `20')dnl
define(`confTO_COMMAND', `30s')dnl
define(`confTO_DATABLOCK', `30s')dnl
define(`confTO_IDENT', `0')dnl
define(`confALLOW_BOGUS_HELO', `true')dnl
define(`confPRIVACY_FLAGS', `authwarnings,noetrn,novrfy,noexpn')dnl
MAIL_FILTER(`hunnypot', `S=unix:'ifelse(len(X`'_ARG_), `1', `/run/hunnypot/milter.sock', _ARG_)`, F=T, T=C:5s;S:10s;R:10s;E:10s')dnl
LOCAL_CONFIG
# counts open connections (hunnypot.m4)
Khunnypot_count arith
define(`_LOCAL_SRV_FEATURES_')dnl
LOCAL_RULESETS
SLocal_check_relay
R$*			$: $&{daemon_name}
RTrap			$: $(hunnypot_count l $@ 3 $@ $&{client_connections} $)
RTRUE			$#error $@ 4.3.2 $: "421 4.3.2 Too many open connections."
R$*			$@ OK

SLocal_check_rcpt
R$*			$: $&{daemon_name} $| $1
RTrap $| $*		$: <trap> $| $>"Rcpt_ok" $1
R<trap> $| RELAY	$@ OK
R<trap> $| $*		$#error $@ 4.7.1 $: "450 4.7.1 No mail for this domain here. Please try another mail server of this domain, and try again"

SLocal_srv_features
R$*			$: $&{daemon_name}
RTrap			$# F
ifelse(_ARG2_, `backup', `', `
Scheck_eom
R$*			$: $&{daemon_name}
RTrap			$#error $@ 4.7.1 $: "451 4.7.1 Please try another mail server of this domain, and try again"
')