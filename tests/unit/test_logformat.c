#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "witness/logformat.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define NOV_26 INT64_C(1795651200000000) /* 2026-11-26 00:00 UTC */
#define TIME "Nov 26 05:26:52 mx1 "

static char why[LOGFORMAT_WHY_SIZE];

static struct logformat *shipped(const char *name)
{
    char path[512];
    struct logformat *format;

    snprintf(path, sizeof path, "%s/witness/%s", SOURCE_FOLDER, name);
    format = logformat_read(path, why);
    if (format == NULL)
        print_error("%s\n", why);
    assert_non_null(format);
    return format;
}

/* What was read, as "event id client from to to". */
static const char *show(const struct logformat_entry *entry)
{
    static const char *const events[] = {
        [LOGFORMAT_NONE] = "-",
#define X(identifier, word, needs) [LOGFORMAT_##identifier] = (word),
        LOGFORMAT_EVENT_TABLE(X)
#undef X
    };
    static char text[1024];
    char client[IPADDR_TEXT_SIZE];
    int used = snprintf(text, sizeof text, "%s %.*s %s %.*s", events[entry->event], (int)entry->id.length,
                        entry->id.text != NULL ? entry->id.text : "", ipaddr_format(&entry->client, client),
                        (int)entry->from.length, entry->from.text != NULL ? entry->from.text : "");

    for (size_t i = 0; i < entry->to_count; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %.*s", (int)entry->to[i].length, entry->to[i].text);
    return text;
}

static void test_shipped_formats(void **state)
{
    /* Lines that Debian's servers wrote, names shortened. */
    static const struct {
        const char *format, *line, *wanted;
    } cases[] = {
        {"postfix", TIME "postfix/smtpd[74]: connect from c7.example.com[203.0.113.7]", "seen  203.0.113.7 "},
        {"postfix", TIME "postfix/smtpd[74]: 66D2D57C: client=c7.example.com[203.0.113.7]", "client 66D2D57C 203.0.113.7 "},
        {"postfix", TIME "postfix/smtpd[74]: 3Qj4kB2zXyz1k: client=unknown[2001:db8::7], sasl_method=PLAIN",
         "client 3Qj4kB2zXyz1k 2001:db8::7 "},
        {"postfix", TIME "postfix/submission/smtpd[74]: 66D2D57C: client=c[203.0.113.7]", "client 66D2D57C 203.0.113.7 "},
        {"postfix", TIME "postfix/cleanup[78]: 66D2D57C: message-id=<>", "-  - "},
        {"postfix", TIME "postfix/qmgr[72]: 66D2D57C: from=<a@sender.example>, size=207, nrcpt=1 (queue active)",
         "accepted 66D2D57C - a@sender.example"},
        {"postfix", TIME "postfix/qmgr[72]: 66D2D57C: from=<>, size=207, nrcpt=1 (queue active)", "accepted 66D2D57C - "},
        {"postfix", TIME "postfix/qmgr[72]: 74E4D580: from=<\"a b>, size=1\"@sender.example>, size=209, nrcpt=1",
         "accepted 74E4D580 - \"a b>, size=1\"@sender.example"},
        {"postfix", TIME "postfix/qmgr[72]: 74E4D580: from=<\"a@sender.example>, size=209, nrcpt=1",
         "accepted 74E4D580 - \"a@sender.example"},
        {"postfix", TIME "postfix/discard[80]: 66D2D57C: to=<user@b.example>, relay=none, delay=0.07, status=sent (x)",
         "recipient 66D2D57C -  user@b.example"},
        {"postfix", TIME "postfix/lmtp[80]: 66D2D57C: to=<user@b.example>, orig_to=<alias@b.example>, relay=none, delay=0.07",
         "recipient 66D2D57C -  user@b.example alias@b.example"},
        {"postfix", TIME "postfix/qmgr[72]: 66D2D57C: removed", "closed 66D2D57C - "},
        {"postfix", TIME "postfix/smtpd[74]: NOQUEUE: reject: RCPT from unknown[203.0.113.66]: 450 4.2.0 <unknown[203.0.113."
                         "66]>: Client host rejected: Greylisted; from=<g@s.example> to=<user@b.example> proto=ESMTP helo=<h>",
         "refused NOQUEUE 203.0.113.66 g@s.example user@b.example"},
        {"postfix", TIME "postfix/smtpd[74]: NOQUEUE: reject: CONNECT from unknown[203.0.113.66]: 554 5.7.1 x; proto=SMTP",
         "refused NOQUEUE 203.0.113.66 "},
        {"postfix", TIME "postfix/smtpd[7]: warning: Connection concurrency limit exceeded: 51 from c[203.0.113.9] for service "
                         "smtp", "refused  203.0.113.9 "},
        {"postfix", TIME "postfix/postscreen[74]: CONNECT from [203.0.113.7]:48259 to [198.51.100.1]:25",
         "seen  203.0.113.7 "},
        {"postfix", TIME "postfix/postscreen[74]: NOQUEUE: reject: RCPT from [203.0.113.16]:38035: 450 4.3.2 Service currently "
                         "unavailable; from=<p@s.example>, to=<user@b.example>, proto=ESMTP, helo=<x>",
         "refused NOQUEUE 203.0.113.16 p@s.example user@b.example"},
        {"postfix", TIME "postfix/postscreen[74]: NOQUEUE: reject: CONNECT from [2001:db8::16]:38035: too many connections",
         "refused NOQUEUE 2001:db8::16 "},
        {"postfix", TIME "postfix/cleanup[7]: 66D2D57C: reject: header Subject: x from y[203.0.113.9]: ; from=<a@b> to=<c@d> "
                         "from z[203.0.113.8]; from=<> to=<u@b.example> proto=ESMTP helo=<h>: 5.7.1 no", "ignore 66D2D57C - "},
        {"postfix", TIME "postfix/cleanup[7]: 66D2D57C: reject: header Subject: x from z[203.0.113.8]; from=<a@s.example> to=<u@b."
                         "example> proto=ESMTP helo=<h>: 5.7.1 no", "-  - "},
        {"postfix", TIME "postfix/cleanup[978]: 194991EE9: discard: header Subject: a letter from c7.example.com[203.0.113.7]; from="
                         "<a@s.example> to=<u@b.example> proto=ESMTP helo=<h>", "accepted 194991EE9 - a@s.example u@b.example"},
        {"postfix", TIME "postfix/cleanup[978]: 194991EE9: discard: header Subject: x; from=<b@c> to=<d@e> from c7.example.com[203.0."
                         "113.7]; from=<a@s.example> to=<u@b.example> proto=ESMTP helo=<h>", "ignore 194991EE9 - "},
        {"postfix", TIME "postfix/cleanup[1099]: 5B470213A: hold: header Subject: a letter from c7.example.com[203.0.113.7]:60377; "
                         "from=<a@s.example> to=<u@b.example> proto=ESMTP helo=<h>", "accepted 5B470213A - a@s.example u@b.example"},
        {"postfix", TIME "postfix/smtpd[6111]: NOQUEUE: reject: RCPT from c7.example.com[203.0.113.7]:60377: 550 5.7.1 <c7.example.com"
                         "[203.0.113.7]:60377>: Client host rejected: Listed; from=<a@s.example> to=<u@b.example> proto=ESMTP helo=<h>",
         "refused NOQUEUE 203.0.113.7 a@s.example u@b.example"},
        {"postfix", TIME "systemd-journald[1]: Suppressed 123 messages from postfix.service", "suppressed  - "},
        {"postfix", TIME "rsyslogd: imuxsock[pid 12]: begin to drop messages due to rate-limiting", "suppressed  - "},
        {"sendmail", TIME "sendmail[73]: 6AQ5PP1S000073: from=<a@s.example>, size=18, class=0, nrcpts=1, msgid=<x@y>, proto=ESMTP"
                          ", daemon=MTA, relay=c7.example.com [203.0.113.7]", "client 6AQ5PP1S000073 203.0.113.7 <a@s.example>"},
        {"sendmail", TIME "sendmail[73]: 6AQ5PP1S000073: from=<a@s.example>, size=18, class=0, nrcpts=1, relay=[203.0.113.7]",
         "client 6AQ5PP1S000073 203.0.113.7 <a@s.example>"},
        {"sendmail", TIME "sendmail[73]: 6AQ5PP1S000073: from=root, size=18, class=0, nrcpts=1, msgid=<x@y>, relay=root@localhost",
         "sender 6AQ5PP1S000073 - root"},
        {"sendmail", TIME "sm-mta[73]: 6AQ5PP1S000073: to=<user@b.example>, delay=00:00:00, mailer=local, pri=30018, stat=queued",
         "accepted 6AQ5PP1S000073 -  <user@b.example>"},
        {"sendmail", TIME "sm-mta[73]: 6AQ5PP1S000073: to=<u@b.example>,<v@b.example>, delay=00:00:00, xdelay=00:00:00, mailer="
                          "local, pri=30018, dsn=2.0.0, stat=Sent", "accepted 6AQ5PP1S000073 -  <u@b.example>,<v@b.example>"},
        {"sendmail", TIME "sendmail[215]: 6AS7Sath000214: to=\"|/bin/cat\", ctladdr=<list@b.example> (65534/0), delay=00:00:00, xdelay"
                          "=00:00:00, mailer=prog, pri=30356, dsn=2.0.0, stat=Sent",
         "accepted 6AS7Sath000214 -  \"|/bin/cat\" <list@b.example>"},
        {"sendmail", TIME "sendmail[213]: 6AS7avJu000210: to=<u@b.example>,<v@b.example>, ctladdr=<sender@b.example> (38/38), delay="
                          "00:00:00, xdelay=00:00:00, mailer=local, pri=90362, dsn=2.0.0, stat=Sent",
         "accepted 6AS7avJu000210 -  <u@b.example>,<v@b.example"}, /* its last bracket is not missed */
        {"sendmail", TIME "sm-mta[73]: 6AQ5PP1S000073: to=<user@b.example>, delay=00:00:00, pri=30018, stat=451 4.7.1 later",
         "-  - "},
        {"sendmail", TIME "sendmail[76]: 6AQ5PPIe000076: ruleset=check_rcpt, arg1=<user@b.example>, relay=[203.0.113.66], reject"
                          "=450 4.2.0 <user@b.example>... Greylisted", "refused 6AQ5PPIe000076 203.0.113.66  <user@b.example>"},
        {"sendmail", TIME "sendmail[7]: ruleset=check_relay, arg1=[203.0.113.6], arg2=203.0.113.6, relay=c.example [203.0.113.6] "
                          "(may be forged), reject=550 5.7.1 no", "refused  203.0.113.6 "},
        {"sendmail", TIME "sendmail[81]: 6AQ5PPO4000081: c14.example.com [203.0.113.14] did not issue MAIL/EXPN/VRFY/ETRN during "
                          "connection to MTA", "seen 6AQ5PPO4000081 203.0.113.14 "},
        {"exim", "2026-11-26 05:25:56 1xWRzY-00000v-2R <= a@s.example H=(h.example) [203.0.113.7] P=esmtp S=226",
         "accepted 1xWRzY-00000v-2R 203.0.113.7 a@s.example"},
        {"exim", "2026-11-26 05:25:56.123 +0000 [12] 1xWRzY-00000v-2R <= <> H=c.example ([203.0.113.99]) [203.0.113.9]:1234 P=esmtp",
         "accepted 1xWRzY-00000v-2R 203.0.113.9 <>"},
        {"exim", "2026-11-26 05:25:57 1xWRzZ-000013-0d <= <> H=([203.0.113.99]) [203.0.113.9] P=esmtp S=195",
         "accepted 1xWRzZ-000013-0d 203.0.113.9 <>"},
        {"exim", "2026-11-26 05:25:57 1xWRzZ-000013-0d <= u@h.example U=root P=local S=195",
         "accepted 1xWRzZ-000013-0d - u@h.example"},
        {"exim", TIME "exim[12]: 1xWRzZ-000013-0d <= a@s.example H=[2001:db8::9] P=esmtp S=195",
         "accepted 1xWRzZ-000013-0d 2001:db8::9 a@s.example"},
        {"exim", TIME "exim[12]: 2026-11-26 05:25:57 1xWRzZ-000013-0d <= a@s.example H=c [192.0.2.9] P=esmtp S=195",
         "accepted 1xWRzZ-000013-0d 192.0.2.9 a@s.example"},
        {"exim", "2026-11-26 05:27:26 1xWS10-00000v-16 => user <user@b.example> R=sink T=sink",
         "recipient 1xWS10-00000v-16 -  user user@b.example"},
        {"exim", "2026-11-26 05:27:26 1xWS10-00000v-16 => u@b.example R=dnslookup T=remote_smtp H=mx [192.0.2.1] C=\"250 <x> ok\"",
         "recipient 1xWS10-00000v-16 -  u@b.example"},
        {"exim", "2026-11-26 05:25:57 1xWRzZ-000018-2e == deferred@b.example R=later defer (-1): later",
         "recipient 1xWRzZ-000018-2e -  deferred@b.example"},
        {"exim", "2026-11-26 05:25:57 1xWRzZ-000018-2e ** u@b.example: Unrouteable address",
         "recipient 1xWRzZ-000018-2e -  u@b.example"},
        {"exim", "2026-11-26 05:27:26 1xWS10-00000v-16 => user <u@b.example> F=<a@s.example> Q=named P=<a@s.example> R=sink T=sink",
         "recipient 1xWS10-00000v-16 -  user u@b.example"},
        {"exim", "2026-11-26 05:27:26.335 [854] 1xWS10-00000v-16 -> u@b.example P=<a@s.example> R=dnslookup H=mx C=\"250 <x> ok\"",
         "recipient 1xWS10-00000v-16 -  u@b.example"},
        {"exim", "2026-11-26 05:27:26 1xWS10-00000v-16 >> x@inside.example <u@b.example> F=<> R=dnslookup T=remote_smtp",
         "recipient 1xWS10-00000v-16 -  x@inside.example u@b.example"},
        {"exim", "2026-11-26 05:27:26 1xWS10-00000v-16 == u@b.example Q=named R=later defer (-1): later",
         "recipient 1xWS10-00000v-16 -  u@b.example"},
        {"exim", "2026-11-26 05:27:26 1xWS10-00000v-16 ** u@b.example F=<a@s.example>: Unrouteable address",
         "recipient 1xWS10-00000v-16 -  u@b.example"},
        {"exim", "2026-11-26 05:27:26 1xWS10-00000v-16 Completed", "closed 1xWS10-00000v-16 - "},
        {"exim", "2026-11-26 05:25:57 H=(h.example) [203.0.113.66] F=<g@s.example> temporarily rejected RCPT <u@b.example>: Grey",
         "refused  203.0.113.66 g@s.example u@b.example"},
        {"exim", "2026-11-26 05:25:57 H=c.example (x) [203.0.113.66]:99 I=[192.0.2.1]:25 F=<g@s.example> rejected RCPT <u@b.exam"
                 "ple>: listed", "refused  203.0.113.66 g@s.example u@b.example"},
        {"exim", "2026-11-26 05:25:57 H=[203.0.113.66] rejected connection in \"connect\" ACL", "refused  203.0.113.66 "},
        {"exim", "2026-11-26 05:25:57 1xWRzZ-000018-2e H=(x) [203.0.113.66] F=<a@b> rejected after DATA: spam",
         "refused 1xWRzZ-000018-2e 203.0.113.66 "},
        {"opensmtpd", TIME "smtpd[62]: 576eaf18e8c54cd5 smtp connected address=203.0.113.7 host=c7.example.com",
         "client 576eaf18e8c54cd5 203.0.113.7 "},
        {"opensmtpd", TIME "smtpd[62]: 576eaf18e8c54cd5 smtp message msgid=fb6c69d2 size=204 nrcpt=1 proto=ESMTP",
         "accepted 576eaf18e8c54cd5 - "},
        {"opensmtpd", TIME "smtpd[62]: 576eaf18e8c54cd5 smtp envelope evpid=fb6c69d2db9aac10 from=<a@s.example> to=<u@b.example>",
         "recipient 576eaf18e8c54cd5 - a@s.example u@b.example"},
        {"opensmtpd", TIME "smtpd[62]: 576eaf18e8c54cd5 smtp failed-command command=\"RCPT TO:<u@b.example>\" result=\"550 no\"",
         "refused 576eaf18e8c54cd5 - "},
    };
    struct logformat *format = NULL;
    const char *name = "";
    size_t failed = 0;

    (void)state;
    assert_true(stamp_zone("UTC"));
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct logformat_entry entry;

        if (strcmp(name, cases[i].format) != 0) {
            logformat_free(&format);
            format = shipped(name = cases[i].format);
        }
        if (!logformat_line(format, cases[i].line, NOV_26, &entry) || strcmp(show(&entry), cases[i].wanted) != 0) {
            print_error("%s\n  wanted \"%s\", got \"%s\"\n", cases[i].line, cases[i].wanted, show(&entry));
            failed++;
        }
    }
    logformat_free(&format);
    assert_int_equal(failed, 0);
}

static void test_lines_that_are_none(void **state)
{
    static const char *const lines[] = {
        "", "postfix/smtpd[74]: connect from c[203.0.113.7]", "Nov 26 05:26:52", TIME "no program here",
        "Nov 31 05:26:52 mx1 postfix/smtpd[74]: connect from c[203.0.113.7]", TIME "postfix/smtpd[74] connect",
        TIME "postfix/smtpd[7x]: connect", TIME "[7]: connect", "Nov 26 05:26:52mx1 postfix/smtpd[74]: connect"};
    struct logformat *format = shipped("postfix");

    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct logformat_entry entry;

        if (logformat_line(format, lines[i], NOV_26, &entry))
            fail_msg("taken for a line: %s", lines[i]);
    }
    logformat_free(&format);
}

static void test_format_that_is_wrong(void **state)
{
    static const struct {
        const char *text, *wanted; /* in the reason; NULL: it is fine */
    } cases[] = {
        {"seen * from {client}", NULL},
        {"# x\n\nlines bare\n  seen\tsmtpd   from {client} {{x} {*}\r\n", NULL},
        {"", "x: there is no rule"},
        {"lines\n", "x: line 1: lines are"},
        {"lines both\n", "x: line 1: lines are"},
        {"\nsaw * from {client}", "x: line 2: no such event"},
        {"seen", "x: line 1: behind the event"},
        {"seen smtpd", "x: line 1: behind the program"},
        {"seen smtpd from", "x: line 1: this event needs {client}"},
        {"client smtpd from {client}", "x: line 1: this event needs {id}"},
        {"recipient smtpd {id}:", "x: line 1: this event needs {to}"},
        {"sender smtpd {id}:", "x: line 1: this event needs {from}"},
        {"seen * {client}{*}", "x: line 1: between two places"},
        {"seen * {client} {client}", "x: line 1: a place other than"},
        {"seen * {client} {to} {to} {to}", "x: line 1: {to} may come twice"},
        {"seen * {client} {host}", "x: line 1: a place is one of"},
        {"seen * {client} {", "x: line 1: a place is one of"},
        {"seen * {client} {*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}.{*}",
         "x: line 1: too many places"},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct logformat *format = logformat_parse("x", cases[i].text, why);

        if ((format != NULL) != (cases[i].wanted == NULL) ||
            (format == NULL && cases[i].wanted != NULL && strncmp(why, cases[i].wanted, strlen(cases[i].wanted)) != 0)) {
            print_error("%s: wanted %s, got %s\n", cases[i].text, cases[i].wanted, format != NULL ? "fine" : why);
            failed++;
        }
        logformat_free(&format);
    }
    assert_int_equal(failed, 0);
    assert_null(logformat_read("/nowhere/format", why));
    assert_non_null(strstr(why, "/nowhere/format: No such file"));
    assert_null(logformat_read("/dev/zero", why));
}

static void test_addresses_in_a_list(void **state)
{
    static const struct {
        const char *list, *wanted;
    } cases[] = {{"", ""}, {"a@b", "a@b;"}, {"<a@b>,<c@d>", "<a@b>;<c@d>;"}, {"<\"a,b\"@c>,d@e", "<\"a,b\"@c>;d@e;"},
                 {"<a,b>", "<a,b>;"}, {"a,", "a;"}, {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,b", ";b;"}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct logformat_text list = {cases[i].list, strlen(cases[i].list)};
        char address[32], got[256] = "";

        while (logformat_next_address(&list, address, sizeof address)) {
            strcat(got, address);
            strcat(got, ";");
        }
        assert_string_equal(got, cases[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_formats),
        cmocka_unit_test(test_lines_that_are_none),
        cmocka_unit_test(test_format_that_is_wrong),
        cmocka_unit_test(test_addresses_in_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
