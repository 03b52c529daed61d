#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/counter.h"
#include "fake_libmilter.h"
#include "milter/session.h"
#include "settings/table.h"

enum { ACTIONS = SMFI_CURR_ACTS, STEPS = SMFI_CURR_PROT };

static _Atomic int64_t now_ms = 1000000;

int64_t clock_monotonic_ms(void)
{
    return now_ms;
}

int64_t clock_realtime_us(void)
{
    return 1700000000000000;
}

struct timespec clock_timespec(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

static struct settings_snapshot snapshot; /* the test is one of its holders */
static struct settings_session *const settings = &snapshot.settings.session;
static unsigned hits;
static char put_text[1024], prefetched[256];
static void (*on_put)(void);

static const struct settings *hold_settings(void *context)
{
    (void)context;
    return settings_hold(&snapshot.settings);
}

static unsigned held(void)
{
    return atomic_load(&snapshot.holders) - 1;
}

static void prefetch(void *context, const char *domain, const struct ipaddr *local, const char *mta_name)
{
    char text[IPADDR_TEXT_SIZE];

    (void)context;
    snprintf(prefetched, sizeof prefetched, "%s %s %s", domain, ipaddr_format(local, text), mta_name);
}

static void put(void *context, struct hit *hit)
{
    char client[IPADDR_TEXT_SIZE], local[IPADDR_TEXT_SIZE];

    (void)context;
    hits++;
    if (on_put != NULL)
        on_put();
    snprintf(put_text, sizeof put_text, "%s:%u %s helo=%s from=%s to=%s/%zu domain=%s%s%s%s queue=%s mta=%s local=%s",
             ipaddr_format(&hit->client, client), hit->client_port, hit->client_name, hit->helo, hit->sender,
             hit->recipient_count > 0 ? hit->recipients[0] : "-", hit->recipients_total,
             hit->domain_count > 0 ? hit->domains[0] : "-", hit->null_sender ? " null" : "",
             hit->exempt ? " exempt" : "", hit->tls ? " tls" : "", hit->queue_id, hit->mta_name,
             ipaddr_format(&hit->local, local));
}

static enum session_conduct data_conduct, end_conduct, accept_conduct;
static struct session_bond bond_seen;
static char bond_domains[256];

/* By the domain: off.test is off, accept.test as `accept_conduct` says. */
static enum session_conduct conduct_at_rcpt(void *context, const struct settings *with, const struct hit *hit,
                                            const char *domain)
{
    (void)context;
    (void)with;
    (void)hit;
    return strstr(domain, "off.test") != NULL ? CONDUCT_PASS : strstr(domain, "accept.test") != NULL ? accept_conduct : CONDUCT_DEFER;
}

static enum session_conduct conduct_at_data(void *context, const struct settings *with, const struct hit *hit,
                                            const struct session_bond *bond)
{
    (void)context;
    (void)with;
    (void)hit;
    bond_seen = *bond;
    bond_domains[0] = '\0';
    for (size_t i = 0; i < bond->domain_count; i++)
        snprintf(bond_domains + strlen(bond_domains), sizeof bond_domains - strlen(bond_domains), "%s ", bond->domains[i]);
    return data_conduct;
}

static enum session_conduct conduct_at_end(void *context, const struct settings *with, const struct hit *hit,
                                           enum session_conduct decided)
{
    (void)context;
    (void)with;
    (void)hit;
    assert_int_equal(decided, data_conduct);
    return end_conduct;
}

/* The MTA's part */

struct mta {
    struct smfi_str ctx;
    unsigned long actions, steps;
};

static struct mta postfix(void)
{
    return (struct mta){
        .ctx.macros = {{"j", "mx2.example.org"}, {"v", "Postfix 3.7.11"}, {"{daemon_addr}", "192.0.2.25"}}};
}

static struct mta sendmail(void)
{
    return (struct mta){
        .ctx.macros = {{"j", "mx2.example.org"}, {"v", "8.17.1.9"}, {"{if_addr}", "IPv6:2001:db8:0:0:0:0:0:25"}}};
}

static sfsistat negotiate(struct mta *mta, unsigned long actions, unsigned long steps)
{
    unsigned long reserved2 = 1, reserved3 = 1;
    sfsistat status = fake_libmilter.xxfi_negotiate(&mta->ctx, actions, steps, 0, 0, &mta->actions, &mta->steps,
                                                    &reserved2, &reserved3);

    assert_int_equal(reserved2 | reserved3, 0);
    return status;
}

static sfsistat connect_from(struct mta *mta, const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4711)};

    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(4711)};

    if (address == NULL)
        return fake_libmilter.xxfi_connect(&mta->ctx, (char *)"localhost", NULL);
    if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1)
        return fake_libmilter.xxfi_connect(&mta->ctx, (char *)"[client]", (struct sockaddr *)&in6);
    assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
    return fake_libmilter.xxfi_connect(&mta->ctx, (char *)"[client]", (struct sockaddr *)&in);
}

static sfsistat helo(struct mta *mta, const char *name)
{
    return fake_libmilter.xxfi_helo(&mta->ctx, (char *)name);
}

static sfsistat mail(struct mta *mta, const char *path)
{
    char *arguments[] = {(char *)path, NULL};

    return fake_libmilter.xxfi_envfrom(&mta->ctx, arguments);
}

static sfsistat rcpt(struct mta *mta, const char *path)
{
    char *arguments[] = {(char *)path, NULL};

    return fake_libmilter.xxfi_envrcpt(&mta->ctx, arguments);
}

static sfsistat data(struct mta *mta)
{
    mta->ctx.reply[0] = '\0';
    return fake_libmilter.xxfi_data(&mta->ctx);
}

static void rset(struct mta *mta)
{
    assert_int_equal(fake_libmilter.xxfi_abort(&mta->ctx), SMFIS_CONTINUE);
}

static void quit(struct mta *mta)
{
    assert_int_equal(fake_libmilter.xxfi_close(&mta->ctx), SMFIS_CONTINUE);
    assert_null(mta->ctx.priv);
}

/* From the connection to RCPT. */
static void begin(struct mta *mta)
{
    assert_int_equal(negotiate(mta, ACTIONS, STEPS), SMFIS_CONTINUE);
    assert_int_equal(connect_from(mta, "192.0.2.7"), SMFIS_CONTINUE);
    assert_int_equal(helo(mta, "client.example"), SMFIS_NOREPLY);
    assert_int_equal(mail(mta, "<a@b.example>"), SMFIS_NOREPLY);
    assert_int_equal(rcpt(mta, "<x@example.org>"), SMFIS_CONTINUE);
}

static void wants_reply(struct mta *mta, const char *reply)
{
    assert_int_equal(data(mta), SMFIS_TEMPFAIL);
    assert_string_equal(mta->ctx.reply, reply);
}

static const char reply_451[] = "451 4.7.1 later, 100%%|really";

/* The tests */

static int setup(void **state)
{
    static char postmaster[] = "postmaster", *exempt_localparts[] = {postmaster};

    (void)state;
    snapshot.settings.judge.rule_count = 0;
    snapshot.settings.snapshot = &snapshot;
    atomic_init(&snapshot.holders, 1);
    *settings = (struct settings_session){.connections = 20, .connections_per_client = 3, .idle_ms = 30000,
                                          .client_bytes = 1024, .exempt_localparts = exempt_localparts,
                                          .exempt_localpart_count = 1};
    data_conduct = end_conduct = CONDUCT_DEFER;
    hits = 0;
    data_conduct = end_conduct = CONDUCT_DEFER;
    return reply_parse("451 4.7.1 later, 100%\nreally", &settings->reply, NULL) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return held() == 0 && session_count() == 0 ? 0 : -1;
}

static void steps_that_are_never_answered_are_negotiated_so(void **state)
{
    enum { ALWAYS = SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY | SMFIP_NR_HELO | SMFIP_NR_MAIL };
    static const struct {
        const char *name;
        unsigned connections, per_client, idle_ms, bytes;
        unsigned long steps;
    } cases[] = {
        {"all limits", 20, 3, 30000, 1024, ALWAYS},
        {"no connection limits", 0, 0, 30000, 1024, ALWAYS | SMFIP_NR_CONN},
        {"connections only", 20, 0, 0, 0, ALWAYS | SMFIP_NR_RCPT | SMFIP_NR_UNKN},
        {"per client only", 0, 3, 0, 0, ALWAYS | SMFIP_NR_RCPT | SMFIP_NR_UNKN},
        {"idle only", 0, 0, 30000, 0, ALWAYS | SMFIP_NR_CONN},
        {"bytes only", 0, 0, 0, 1024, ALWAYS | SMFIP_NR_CONN},
        {"no limits", 0, 0, 0, 0, ALWAYS | SMFIP_NR_CONN | SMFIP_NR_RCPT | SMFIP_NR_UNKN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mta mta = postfix();
        char command[] = "FOO";

        settings->connections = cases[i].connections;
        settings->connections_per_client = cases[i].per_client;
        settings->idle_ms = cases[i].idle_ms;
        settings->client_bytes = cases[i].bytes;
        assert_int_equal(negotiate(&mta, ACTIONS, STEPS), SMFIS_CONTINUE);
        if (mta.steps != cases[i].steps || mta.actions != SMFIF_SETSYMLIST)
            fail_msg("%s: wanted 0x%lx, got 0x%lx", cases[i].name, cases[i].steps, mta.steps);
        assert_int_equal(connect_from(&mta, "192.0.2.7"), (mta.steps & SMFIP_NR_CONN) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE);
        assert_int_equal(helo(&mta, "x"), SMFIS_NOREPLY);
        assert_int_equal(mail(&mta, "<>"), SMFIS_NOREPLY);
        assert_int_equal(rcpt(&mta, "<a@b.example>"), (mta.steps & SMFIP_NR_RCPT) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE);
        assert_int_equal(fake_libmilter.xxfi_unknown(&mta.ctx, command),
                         (mta.steps & SMFIP_NR_UNKN) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE);
        wants_reply(&mta, reply_451);
        quit(&mta);
    }
}

static void an_mta_without_no_reply_is_answered(void **state)
{
    struct mta mta = sendmail();

    (void)state;
    /* protocol 4: DATA, but neither SMFIP_NR_* nor macro lists */
    assert_int_equal(negotiate(&mta, 0x3f, 0x3ff), SMFIS_CONTINUE);
    assert_int_equal(mta.steps, SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY);
    assert_int_equal(mta.actions, 0);
    assert_null(mta.ctx.asked[SMFIM_CONNECT]);
    assert_int_equal(connect_from(&mta, "192.0.2.7"), SMFIS_CONTINUE);
    assert_int_equal(helo(&mta, "x"), SMFIS_CONTINUE);
    assert_int_equal(mail(&mta, "<>"), SMFIS_CONTINUE);
    assert_int_equal(rcpt(&mta, "<a@b.example>"), SMFIS_CONTINUE);
    wants_reply(&mta, reply_451);
    quit(&mta);
}

static void an_mta_that_cannot_call_at_data_is_refused(void **state)
{
    struct mta mta = sendmail();

    (void)state;
    assert_int_equal(negotiate(&mta, 0x3f, 0x1ff), SMFIS_REJECT);
    assert_int_equal(session_count(), 0);
    assert_int_equal(fake_libmilter.xxfi_close(&mta.ctx), SMFIS_CONTINUE);
}

static void our_own_first_connection_is_no_session(void **state)
{
    struct mta mta = {0};
    uint64_t sessions = counter_value(COUNTER_SESSIONS);

    (void)state;
    assert_int_equal(negotiate(&mta, SMFIF_SETSYMLIST, STEPS), SMFIS_CONTINUE);
    assert_int_equal(mta.steps, SMFIP_NOMAIL | SMFIP_NORCPT);
    assert_int_equal(session_count(), 0);
    assert_int_equal(counter_value(COUNTER_SESSIONS), sessions);
    assert_int_equal(fake_libmilter.xxfi_close(&mta.ctx), SMFIS_CONTINUE);
}

static void the_hit_has_its_evidence(void **state)
{
    struct mta mta = postfix();

    (void)state;
    begin(&mta);
    assert_string_equal(prefetched, "example.org 192.0.2.25 mx2.example.org");
    mta.ctx.macros[3] = (struct fake_macro){"i", "4QZ1"};
    mta.ctx.macros[4] = (struct fake_macro){"{tls_version}", "TLSv1.3"};
    wants_reply(&mta, reply_451);
    assert_string_equal(put_text, "192.0.2.7:4711 [client] helo=client.example from=a@b.example to=x@example.org/1 "
                                  "domain=example.org tls queue=4QZ1 mta=mx2.example.org local=192.0.2.25");
    quit(&mta);
    mta = sendmail();
    begin(&mta);
    helo(&mta, "second\r\n");
    mail(&mta, "<>");
    rcpt(&mta, "<postmaster@c.example>");
    wants_reply(&mta, reply_451);
    assert_string_equal(put_text, "192.0.2.7:4711 [client] helo=second\\x0D\\x0A from= to=postmaster@c.example/1 "
                                  "domain=- null exempt queue= mta=mx2.example.org local=2001:db8::25");
    quit(&mta);
}

static void each_session_counts_once_as_what_came_of_it(void **state)
{
    static const enum counter outcomes[] = {COUNTER_SESSIONS_HIT, COUNTER_SESSIONS_REFUSED, COUNTER_SESSIONS_EMPTY};
    uint64_t before[3];
    char filler[1024];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        before[i] = counter_value(outcomes[i]);
    snprintf(filler, sizeof filler, "%*s", settings->client_bytes, "");
    for (int last = 1; last <= 3; last++) {
        struct mta mta = postfix();

        begin(&mta);
        if (last > 2) /* two hits, and then too much, are one session with a hit */
            for (int i = 0; i < 2; i++) {
                wants_reply(&mta, reply_451);
                rset(&mta);
                mail(&mta, "<a@b.example>");
                rcpt(&mta, "<x@example.org>");
            }
        if (last > 1)
            assert_int_equal(fake_libmilter.xxfi_unknown(&mta.ctx, filler), SMFIS_TEMPFAIL);
        quit(&mta);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(counter_value(outcomes[i]) - before[i], 1);
}

static void one_transaction_is_one_hit(void **state)
{
    struct mta mta = postfix();
    uint64_t repeated = counter_value(COUNTER_REPEATED_DATA);

    (void)state;
    begin(&mta);
    wants_reply(&mta, reply_451);
    wants_reply(&mta, reply_451);
    prefetched[0] = '\0';
    assert_int_equal(rcpt(&mta, "<y@other.example>"), SMFIS_CONTINUE);
    assert_string_equal(prefetched, ""); /* the hit is out of our hands */
    wants_reply(&mta, reply_451);
    assert_int_equal(hits, 1);
    assert_int_equal(counter_value(COUNTER_REPEATED_DATA) - repeated, 2);
    rset(&mta);
    rset(&mta);
    wants_reply(&mta, reply_451);
    assert_int_equal(hits, 1);
    mail(&mta, "<>");
    rcpt(&mta, "<y@other.example>");
    wants_reply(&mta, reply_451);
    assert_int_equal(hits, 2);
    mail(&mta, "<>"); /* no abort came before: libmilter has left the transaction at the 451 */
    rcpt(&mta, "<y@other.example>");
    wants_reply(&mta, reply_451);
    assert_int_equal(hits, 3);
    helo(&mta, "again");
    wants_reply(&mta, reply_451);
    assert_int_equal(hits, 3);
    quit(&mta);
}

static void a_transaction_given_up_is_no_hit(void **state)
{
    struct mta mta = postfix();

    (void)state;
    begin(&mta);
    rset(&mta);
    wants_reply(&mta, reply_451);
    mail(&mta, "<>");
    rcpt(&mta, "<x@example.org>");
    helo(&mta, "again"); /* without an abort */
    wants_reply(&mta, reply_451);
    assert_int_equal(hits, 0);
    quit(&mta);
}

static void without_recipient_or_address_there_is_no_hit(void **state)
{
    struct mta mta = postfix();

    (void)state;
    assert_int_equal(negotiate(&mta, ACTIONS, STEPS), SMFIS_CONTINUE);
    connect_from(&mta, "192.0.2.7");
    wants_reply(&mta, reply_451);
    mail(&mta, "<>");
    wants_reply(&mta, reply_451);
    quit(&mta);
    mta = postfix();
    assert_int_equal(negotiate(&mta, ACTIONS, STEPS), SMFIS_CONTINUE);
    connect_from(&mta, NULL);
    mail(&mta, "<>");
    rcpt(&mta, "<x@example.org>");
    wants_reply(&mta, reply_451);
    quit(&mta);
    assert_int_equal(hits, 0);
}

static void a_byte_over_the_limit_closes(void **state)
{
    /* "EHLO client.example", "MAIL FROM:<a@b.example>", "RCPT TO:<x@example.org>", each with its line end */
    enum { SAID = 21 + 25 + 25 };
    uint64_t over = counter_value(COUNTER_OVER_BYTES);
    char filler[1024];

    (void)state;
    for (int extra = 0; extra <= 1; extra++) {
        struct mta mta = postfix();

        begin(&mta);
        snprintf(filler, sizeof filler, "%*s", settings->client_bytes - SAID - 2 + extra, "");
        assert_int_equal(fake_libmilter.xxfi_unknown(&mta.ctx, filler), extra ? SMFIS_TEMPFAIL : SMFIS_CONTINUE);
        wants_reply(&mta, extra ? "421 4.7.0 Too much was said, closing" : reply_451);
        quit(&mta);
    }
    assert_int_equal(counter_value(COUNTER_OVER_BYTES) - over, 1);
    assert_int_equal(hits, 1);
}

static void esmtp_parameters_are_counted(void **state)
{
    /* "EHLO client.example", "MAIL FROM:<a@b.example> SIZE=1 BODY=8BITMIME", "RCPT TO:<x@example.org> NOTIFY=NEVER" */
    enum { SAID = 21 + 46 + 38 };
    char sender[] = "<a@b.example>", size[] = "SIZE=1", body[] = "BODY=8BITMIME";
    char recipient[] = "<x@example.org>", notify[] = "NOTIFY=NEVER";
    char *mail_arguments[] = {sender, size, body, NULL}, *rcpt_arguments[] = {recipient, notify, NULL};

    (void)state;
    for (int over = 0; over <= 1; over++) {
        struct mta mta = postfix();

        settings->client_bytes = SAID - (unsigned)over;
        assert_int_equal(negotiate(&mta, ACTIONS, STEPS), SMFIS_CONTINUE);
        assert_int_equal(connect_from(&mta, "192.0.2.7"), SMFIS_CONTINUE);
        assert_int_equal(helo(&mta, "client.example"), SMFIS_NOREPLY);
        assert_int_equal(fake_libmilter.xxfi_envfrom(&mta.ctx, mail_arguments), SMFIS_NOREPLY);
        assert_int_equal(fake_libmilter.xxfi_envrcpt(&mta.ctx, rcpt_arguments), over ? SMFIS_TEMPFAIL : SMFIS_CONTINUE);
        quit(&mta);
    }
}

static void too_many_connections_are_refused_at_connect(void **state)
{
    static const char *const clients[] = {"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"};
    struct mta mtas[4];

    (void)state;
    settings->connections = 3;
    settings->connections_per_client = 2;
    for (size_t i = 0; i < 4; i++) {
        mtas[i] = postfix();
        negotiate(&mtas[i], ACTIONS, STEPS);
        assert_int_equal(connect_from(&mtas[i], clients[i]), i == 2 ? SMFIS_TEMPFAIL : SMFIS_CONTINUE);
    }
    assert_string_equal(mtas[2].ctx.reply, "421 4.7.0 Too many connections from your network, closing");
    quit(&mtas[2]);
    mtas[2] = postfix();
    negotiate(&mtas[2], ACTIONS, STEPS);
    assert_int_equal(connect_from(&mtas[2], "192.0.2.3"), SMFIS_TEMPFAIL);
    assert_string_equal(mtas[2].ctx.reply, "421 4.7.0 Too many connections, closing");
    mail(&mtas[2], "<>");
    assert_int_equal(rcpt(&mtas[2], "<x@example.org>"), SMFIS_TEMPFAIL);
    wants_reply(&mtas[2], "421 4.7.0 Too many connections, closing");
    assert_int_equal(hits, 0);
    now_ms += 90001; /* the silent ones give their places back */
    quit(&mtas[2]);
    mtas[2] = postfix();
    negotiate(&mtas[2], ACTIONS, STEPS);
    assert_int_equal(connect_from(&mtas[2], "192.0.2.1"), SMFIS_CONTINUE);
    mail(&mtas[0], "<>");
    assert_int_equal(rcpt(&mtas[0], "<x@example.org>"), SMFIS_TEMPFAIL);
    assert_string_equal(mtas[0].ctx.reply, "421 4.4.2 Timeout exceeded, closing");
    for (size_t i = 0; i < 4; i++)
        quit(&mtas[i]);
}

/* One visitor by many addresses has the places of one, and is recorded as that one; its neighbours have their own. */
static void ipv4_inside_ipv6_is_one_client(void **state)
{
    static const struct {
        const char *address;
        bool is_served;
    } visits[] = {
        {"64:ff9b::c000:221", true}, {"2002:c000:221::1", true}, {"192.0.2.33", false}, {"::ffff:192.0.2.33", false},
        {"2001:0:4136:e378:8000:63bf:3fff:fdde", false}, {"2001:db8:64::c000:221", false}, {"64:ff9b::c000:222", true},
        {"2001:db8:64::c000:223", true},
    };
    static struct ipnet prefix;
    struct mta mtas[sizeof visits / sizeof *visits];

    (void)state;
    assert_true(ipnet_parse("2001:db8:64::/96", &prefix));
    snapshot.settings.judge.nat64_prefixes = &prefix;
    snapshot.settings.judge.nat64_prefix_count = 1;
    settings->connections = 20;
    settings->connections_per_client = 2;
    for (size_t i = 0; i < sizeof visits / sizeof *visits; i++) {
        mtas[i] = postfix();
        negotiate(&mtas[i], ACTIONS, STEPS);
        if ((connect_from(&mtas[i], visits[i].address) == SMFIS_CONTINUE) != visits[i].is_served)
            fail_msg("%s", visits[i].address);
    }
    mail(&mtas[1], "<>");
    rcpt(&mtas[1], "<x@example.org>");
    data(&mtas[1]);
    assert_int_equal(hits, 1);
    assert_memory_equal(put_text, "192.0.2.33:4711 ", 16);
    for (size_t i = 0; i < sizeof visits / sizeof *visits; i++)
        quit(&mtas[i]);
    snapshot.settings.judge.nat64_prefixes = NULL;
    snapshot.settings.judge.nat64_prefix_count = 0;
}

/* What the daemon says is done, at DATA and at the end of the message; the hit is put unless it is none of our business. */
static void conduct_comes_from_above(void **state)
{
    static const struct {
        enum session_conduct at_data, at_end;
        sfsistat data, end;
        unsigned hits;
    } cases[] = {
        {CONDUCT_DEFER, CONDUCT_DEFER, SMFIS_TEMPFAIL, SMFIS_TEMPFAIL, 1},
        {CONDUCT_ACCEPT, CONDUCT_ACCEPT, SMFIS_CONTINUE, SMFIS_CONTINUE, 0},
        {CONDUCT_ACCEPT, CONDUCT_DEFER, SMFIS_CONTINUE, SMFIS_TEMPFAIL, 0},
        {CONDUCT_PASS, CONDUCT_PASS, SMFIS_ACCEPT, SMFIS_ACCEPT, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int without_data = 0; without_data < 2; without_data++) {
            struct mta mta = postfix();
            unsigned before = hits;
            sfsistat data_got = cases[i].data, end_got;

            data_conduct = cases[i].at_data;
            end_conduct = cases[i].at_end;
            begin(&mta);
            mail(&mta, "<>");
            rcpt(&mta, "<x@example.org>");
            if (!without_data)
                data_got = data(&mta);
            end_got = fake_libmilter.xxfi_eom(&mta.ctx);
            if (data_got != cases[i].data || end_got != cases[i].end || hits - before != cases[i].hits)
                fail_msg("case %zu: DATA %d, end %d, hits %u", i, data_got, end_got, hits - before);
            quit(&mta);
        }
    }
}

static struct settings_rule accept_rules[] = {{.pattern = "accept.test", .on_outage = ON_OUTAGE_ACCEPT}},
                            off_rules[] = {{.pattern = "*", .role = ROLE_OFF}};

static void may_take(struct settings_rule *rules)
{
    snapshot.settings.judge.rules = rules;
    snapshot.settings.judge.rule_count = 1;
}

/* From the connection to HELO, where nothing is answered before RCPT. */
static void arrive(struct mta *mta)
{
    assert_int_equal(negotiate(mta, ACTIONS, STEPS), SMFIS_CONTINUE);
    assert_int_equal(connect_from(mta, "192.0.2.7"), SMFIS_NOREPLY);
    assert_int_equal(helo(mta, "client.example"), SMFIS_NOREPLY);
}

/* The first recipient binds the transaction; others that need another answer come back by themselves. */
static void the_first_recipient_binds_the_transaction(void **state)
{
    static const struct {
        const char *recipients[4];
        int refused; /* which of them; -1: none */
        enum session_conduct bound;
        const char *domains;
    } cases[] = {
        {{"<a@trap.test>", "<b@other.test>"}, -1, CONDUCT_DEFER, ""},
        {{"<a@off.test>", "<b@off.test>", "<c@x.off.test>"}, -1, CONDUCT_PASS, ""},
        {{"<a@accept.test>", "<postmaster@ACCEPT.test>", "<c@x.accept.test>"}, -1, CONDUCT_ACCEPT, "accept.test x.accept.test "},
        {{"<a@trap.test>", "<b@off.test>"}, 1, CONDUCT_DEFER, ""},
        {{"<a@trap.test>", "<b@accept.test>"}, 1, CONDUCT_DEFER, ""},
        {{"<a@off.test>", "<b@off.test>", "<b@trap.test>"}, 2, CONDUCT_PASS, ""},
        {{"<a@off.test>", "<b@accept.test>"}, 1, CONDUCT_PASS, ""},
        {{"<a@accept.test>", "<b@trap.test>"}, 1, CONDUCT_ACCEPT, "accept.test "},
        {{"<a@accept.test>", "<b@[192.0.2.1]>"}, 1, CONDUCT_ACCEPT, "accept.test "},
    };

    (void)state;
    may_take(accept_rules);
    accept_conduct = CONDUCT_ACCEPT;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mta mta = postfix();

        data_conduct = end_conduct = cases[i].bound;
        arrive(&mta);
        for (int twice = 0; twice < 2; twice++) { /* what bound the first transaction does not bind the second */
            mail(&mta, "<>");
            for (int n = 0; n < 4 && cases[i].recipients[n] != NULL; n++) {
                sfsistat got = rcpt(&mta, cases[i].recipients[n]);

                if (got != (n == cases[i].refused ? SMFIS_TEMPFAIL : SMFIS_CONTINUE))
                    fail_msg("case %zu, recipient %d: got %d", i, n, got);
                if (n == cases[i].refused)
                    assert_memory_equal(mta.ctx.reply, "452 4.5.3 ", 10);
            }
            data(&mta);
            assert_int_equal(bond_seen.conduct, cases[i].bound);
            assert_string_equal(bond_domains, cases[i].domains);
        }
        quit(&mta);
    }
}

/* On a host with ordinary mail no limit is felt before the first recipient that is trapped, and none after that transaction. */
static void limits_begin_with_the_first_recipient_that_is_trapped(void **state)
{
    char filler[400];
    struct mta mta = sendmail(), others[3] = {sendmail(), sendmail(), sendmail()};

    (void)state;
    may_take(off_rules);
    settings->client_bytes = 200;
    settings->connections = 1;
    memset(filler, 'x', sizeof filler);
    memcpy(filler + sizeof filler - 16, "@x.off.test", 12);
    data_conduct = end_conduct = CONDUCT_PASS;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        arrive(&others[i]);
    arrive(&mta);
    mail(&mta, "<>");
    now_ms += 3600000;
    for (int n = 0; n < 3; n++)
        assert_int_equal(rcpt(&mta, filler), SMFIS_CONTINUE);
    now_ms += 3600000;
    assert_int_equal(data(&mta), SMFIS_ACCEPT);

    data_conduct = end_conduct = CONDUCT_DEFER;
    mail(&mta, "<>");
    assert_int_equal(rcpt(&mta, "<a@trap.test>"), SMFIS_CONTINUE);
    mail(&others[0], "<>");
    assert_int_equal(rcpt(&others[0], "<a@trap.test>"), SMFIS_TEMPFAIL);
    assert_memory_equal(others[0].ctx.reply, "421 4.7.0 ", 10);
    assert_int_equal(data(&mta), SMFIS_TEMPFAIL);
    assert_int_equal(hits, 1);

    data_conduct = end_conduct = CONDUCT_PASS; /* and ordinary mail again, in the same session and from others */
    mail(&mta, "<>");
    now_ms += 3600000;
    assert_int_equal(rcpt(&mta, filler), SMFIS_CONTINUE);
    assert_int_equal(data(&mta), SMFIS_ACCEPT);
    data_conduct = end_conduct = CONDUCT_DEFER;
    mail(&others[1], "<>");
    assert_int_equal(rcpt(&others[1], "<a@trap.test>"), SMFIS_CONTINUE);
    mail(&mta, "<>");
    now_ms += 1000;
    rcpt(&mta, "<a@trap.test>");
    assert_memory_equal(mta.ctx.reply, "421 4.7.0 ", 10);
    quit(&mta);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        quit(&others[i]);
}

/* Cut off by a limit, a client with two accepted recipients is a hit all the same; once. */
static void a_client_that_is_cut_off_is_a_hit_with_two_recipients(void **state)
{
    static const char long_name[] = "<xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx@example.org>";
    static const struct {
        unsigned recipients;
        bool bytes; /* or idle */
        unsigned hits;
    } cases[] = {{1, true, 0}, {2, true, 1}, {3, true, 1}, {1, false, 0}, {2, false, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mta mta = sendmail();
        unsigned before = hits;

        settings->client_bytes = 200;
        begin(&mta);
        mail(&mta, "<>");
        for (unsigned n = 0; n < cases[i].recipients; n++)
            assert_int_equal(rcpt(&mta, "<x@example.org>"), SMFIS_CONTINUE);
        if (!cases[i].bytes)
            now_ms += 30001;
        for (int n = 0; n < 3; n++)
            rcpt(&mta, cases[i].bytes ? long_name : "<y@example.org>");
        assert_int_equal(data(&mta), SMFIS_TEMPFAIL);
        assert_memory_equal(mta.ctx.reply, "421", 3);
        if (hits - before != cases[i].hits)
            fail_msg("case %zu: wanted %u hits, got %u", i, cases[i].hits, hits - before);
        quit(&mta);
    }
}

/* One session in which each command comes some time after the one before. */
static void late_commands_are_told_by_the_ways_of_each_mta(void **state)
{
    static const struct {
        const char *name;
        bool postfix;
        int64_t helo, mail, rcpt, data; /* milliseconds after the step before */
        bool rcpt_ok, data_ok;
    } cases[] = {
        {"sendmail, in time", false, 30000, 30000, 30000, 30000, true, true},
        {"sendmail, HELO late", false, 30001, 0, 0, 0, false, false},
        {"sendmail, MAIL late", false, 0, 30001, 0, 0, false, false},
        {"sendmail, RCPT late", false, 0, 0, 30001, 0, false, false},
        {"sendmail, DATA late", false, 0, 0, 0, 30001, true, false},
        {"Postfix, three together in time", true, 90000, 0, 0, 30000, true, true},
        {"Postfix, three together late", true, 90001, 0, 0, 0, false, false},
        {"Postfix, DATA late", true, 0, 0, 0, 30001, true, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mta mta = cases[i].postfix ? postfix() : sendmail();
        unsigned before = hits;
        sfsistat rcpt_got;

        negotiate(&mta, ACTIONS, STEPS);
        connect_from(&mta, "192.0.2.7");
        now_ms += cases[i].helo;
        helo(&mta, "client.example");
        now_ms += cases[i].mail;
        mail(&mta, "<>");
        now_ms += cases[i].rcpt;
        rcpt_got = rcpt(&mta, "<x@example.org>");
        now_ms += cases[i].data;
        data(&mta);
        if ((rcpt_got == SMFIS_CONTINUE) != cases[i].rcpt_ok || (hits > before) != cases[i].data_ok ||
            strcmp(mta.ctx.reply, cases[i].data_ok ? reply_451 : "421 4.4.2 Timeout exceeded, closing") != 0)
            fail_msg("%s: RCPT %d, hits %u, DATA \"%s\"", cases[i].name, rcpt_got, hits - before, mta.ctx.reply);
        quit(&mta);
    }
}

static void hanging_up_late_is_no_late_command(void **state)
{
    struct mta mta = sendmail();
    uint64_t over = counter_value(COUNTER_OVER_IDLE);

    (void)state;
    begin(&mta);
    now_ms += 30001;
    rset(&mta);
    quit(&mta);
    assert_int_equal(counter_value(COUNTER_OVER_IDLE), over);
}

static void reset_is_a_command_too(void **state)
{
    struct mta mtas[] = {sendmail(), postfix()};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin(&mtas[i]);
        for (int n = 0; n < 5; n++) {
            now_ms += 20000;
            rset(&mtas[i]);
            now_ms += 20000;
            mail(&mtas[i], "<>");
            now_ms += 20000;
            assert_int_equal(rcpt(&mtas[i], "<x@example.org>"), SMFIS_CONTINUE);
        }
        quit(&mtas[i]);
    }
}

/* The end */

static sem_t in_put, let_go;
static atomic_bool dropped;

static void wait_in_put(void)
{
    sem_post(&in_put);
    sem_wait(&let_go);
}

static void *data_thread(void *mta)
{
    assert_int_equal(data(mta), SMFIS_TEMPFAIL);
    return NULL;
}

static void *drop_thread(void *unused)
{
    session_drop_all();
    dropped = true;
    return unused;
}

/* libmilter's threads go on until the process ends.  From here on nothing is served. */
static void dropping_waits_for_running_callbacks_and_stops_new_ones(void **state)
{
    struct mta busy = postfix(), other = sendmail();
    pthread_t data_id, drop_id;

    (void)state;
    begin(&busy);
    begin(&other);
    settings->client_bytes = 0; /* whoever is cut off for them is put, too */
    sem_init(&in_put, 0, 0);
    sem_init(&let_go, 0, 0);
    on_put = wait_in_put;
    pthread_create(&data_id, NULL, data_thread, &busy);
    sem_wait(&in_put);
    pthread_create(&drop_id, NULL, drop_thread, NULL);
    while (rcpt(&other, "<x@example.org>") != SMFIS_TEMPFAIL)
        sched_yield();
    assert_false(dropped);
    assert_int_equal(held(), 2);
    sem_post(&let_go);
    pthread_join(data_id, NULL);
    pthread_join(drop_id, NULL);
    assert_int_equal(held(), 0);
    assert_int_equal(session_count(), 0);
    assert_int_equal(data(&other), SMFIS_TEMPFAIL);
    assert_int_equal(fake_libmilter.xxfi_close(&other.ctx), SMFIS_CONTINUE);
    assert_int_equal(negotiate(&other, ACTIONS, STEPS), SMFIS_REJECT);
    assert_int_equal(hits, 1);
}

/* Who may pass is not put off by an MTA that has to do without us.  After the test above. */
static void conduct_when_stopping_comes_from_above_in_negotiation_too(void **state)
{
    const struct session_calls passing = {.when_stopping = CONDUCT_PASS};
    const unsigned long nothing = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NODATA;
    struct mta mta = postfix();

    (void)state;
    assert_true(session_register("test", &passing));
    assert_int_equal(negotiate(&mta, ACTIONS, STEPS), SMFIS_CONTINUE);
    assert_int_equal(mta.steps & nothing, nothing & STEPS);
    assert_int_equal(mta.steps & ~STEPS, 0);
    assert_int_equal(mta.actions, 0);
    assert_int_equal(fake_libmilter.xxfi_eom(&mta.ctx), SMFIS_ACCEPT);
    session_drop_all();
}

int main(void)
{
    const struct session_calls calls = {
        .hold_settings = hold_settings, .prefetch = prefetch, .put = put,
        .conduct_at_rcpt = conduct_at_rcpt, .conduct_at_data = conduct_at_data, .conduct_at_end = conduct_at_end, .when_stopping = CONDUCT_DEFER};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(steps_that_are_never_answered_are_negotiated_so, setup, teardown),
        cmocka_unit_test_setup_teardown(an_mta_without_no_reply_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(an_mta_that_cannot_call_at_data_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(our_own_first_connection_is_no_session, setup, teardown),
        cmocka_unit_test_setup_teardown(the_hit_has_its_evidence, setup, teardown),
        cmocka_unit_test_setup_teardown(one_transaction_is_one_hit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_transaction_given_up_is_no_hit, setup, teardown),
        cmocka_unit_test_setup_teardown(without_recipient_or_address_there_is_no_hit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_byte_over_the_limit_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(each_session_counts_once_as_what_came_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(esmtp_parameters_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_connections_are_refused_at_connect, setup, teardown),
        cmocka_unit_test_setup_teardown(ipv4_inside_ipv6_is_one_client, setup, teardown),
        cmocka_unit_test_setup_teardown(conduct_comes_from_above, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_recipient_binds_the_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_begin_with_the_first_recipient_that_is_trapped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_is_cut_off_is_a_hit_with_two_recipients, setup, teardown),
        cmocka_unit_test_setup_teardown(late_commands_are_told_by_the_ways_of_each_mta, setup, teardown),
        cmocka_unit_test_setup_teardown(hanging_up_late_is_no_late_command, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_is_a_command_too, setup, teardown),
        cmocka_unit_test_setup_teardown(dropping_waits_for_running_callbacks_and_stops_new_ones, setup, teardown),
        cmocka_unit_test(conduct_when_stopping_comes_from_above_in_negotiation_too),
    };

    if (!session_register("test", &calls))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
