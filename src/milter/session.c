#include "milter/session.h"

#include <libmilter/mfapi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/domain.h"
#include "base/log.h"
#include "base/text.h"
#include "milter/client_time.h"
#include "milter/envelope.h"
#include "milter/limits.h"
#include "milter/pace.h"
#include "milter/prime.h"

enum {
    SUMMARY_INTERVAL_MS = 60000,
    BOND_DOMAINS_MAX = 100, /* RFC 5321 4.5.3.1.8: so many recipients must be taken */
    WAY_SIZE = IPADDR_TEXT_SIZE + sizeof " address=",
    CUT_RECIPIENTS = 2 /* whoever had so many accepted meant to send */
};

/* Why a session is answered 421, from then on: the one code that makes both MTAs close. */
struct refusal {
    enum counter counter;
    const char *limit; /* the setting, for the log */
    const char *enhanced, *text;
};

static const struct refusal over_connections = {
    .counter = COUNTER_OVER_CONNECTIONS,
    .limit = "connections",
    .enhanced = "4.7.0",
    .text = "Too many connections, closing",
};
static const struct refusal over_client_connections = {
    .counter = COUNTER_OVER_CLIENT_CONNECTIONS,
    .limit = "connections_per_client",
    .enhanced = "4.7.0",
    .text = "Too many connections from your network, closing",
};
static const struct refusal over_bytes = {
    .counter = COUNTER_OVER_BYTES,
    .limit = "client_bytes",
    .enhanced = "4.7.0",
    .text = "Too much was said, closing",
};
static const struct refusal over_idle = {
    .counter = COUNTER_OVER_IDLE,
    .limit = "idle",
    .enhanced = "4.4.2",
    .text = "Timeout exceeded, closing",
};

struct session {
    struct session *prev, *next; /* the registry's */
    const struct settings *settings;
    unsigned long no_reply; /* SMFIP_NR_*: the steps that are not answered */
    struct limits_place *place;
    const struct refusal *refusal; /* NULL: served */
    struct pace pace;
    size_t bytes;
    struct ipaddr peer;  /* the client as it came; hit.client is who that is */
    uint16_t local_port; /* that the client connected to; 0: not told */
    bool keeps_back;     /* the MTA is Postfix, see pace.h */
    bool may_take;   /* there is mail that this host may take: limits begin with the first recipient that is trapped */
    bool trapping;   /* one of this transaction was */
    bool bound;      /* this transaction has a recipient: `bond` holds */
    struct session_bond bond;
    bool decided;    /* DATA came: `conduct` holds for this transaction */
    enum session_conduct conduct;
    bool recorded;   /* this transaction's hit has been put */
    enum counter outcome; /* what the session counts as in the end: the first of COUNTER_SESSIONS_* that applies */
    struct hit hit;  /* of the transaction that runs, with what is known of its client */
};

static struct session_calls calls;
static struct limits *limits;

/* What a step is answered with by CONDUCT, where nothing else is said. */
static sfsistat answer_by(enum session_conduct conduct)
{
    return conduct == CONDUCT_DEFER ? SMFIS_TEMPFAIL : conduct == CONDUCT_PASS ? SMFIS_ACCEPT : SMFIS_CONTINUE;
}

/* The answer to any step that takes one, without a session: the daemon stops. */
static sfsistat answer_stopping(void)
{
    return answer_by(calls.when_stopping);
}

/* What is negotiated when the daemon stops.  No answer here puts mail off: for that the MTA has to do without us, by its
 * default action.  Where mail is not to be put off, nothing is asked of the MTA. */
static sfsistat negotiate_stopping(unsigned long steps, unsigned long *wanted_actions, unsigned long *wanted_steps)
{
    if (calls.when_stopping == CONDUCT_DEFER)
        return SMFIS_REJECT;
    *wanted_actions = 0;
    *wanted_steps = steps & (SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NODATA | SMFIP_NOHDRS |
                             SMFIP_NOEOH | SMFIP_NOBODY | SMFIP_NOUNKNOWN);
    return SMFIS_CONTINUE;
}

/* All sessions.  `busy` counts the callbacks that run: libmilter's threads cannot be stopped, so they are waited for. */
static struct {
    pthread_mutex_t mutex; /* covers everything below */
    pthread_cond_t idle;   /* busy became 0 */
    struct session *sessions;
    size_t count;
    unsigned busy;
    bool stopped;
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};

/* A callback begins; false when it must not touch anything any more. */
static bool callback_begin(void)
{
    bool stopped;

    pthread_mutex_lock(&registry.mutex);
    stopped = registry.stopped;
    if (!stopped)
        registry.busy++;
    pthread_mutex_unlock(&registry.mutex);
    return !stopped;
}

static void callback_end(void)
{
    pthread_mutex_lock(&registry.mutex);
    if (--registry.busy == 0)
        pthread_cond_broadcast(&registry.idle);
    pthread_mutex_unlock(&registry.mutex);
}

static void bond_clear(struct session *session)
{
    for (size_t i = 0; i < session->bond.domain_count; i++)
        free(session->bond.domains[i]);
    free(session->bond.domains);
    session->bond = (struct session_bond){.conduct = CONDUCT_DEFER};
    session->bound = false;
}

/* False when there is no room for DOMAIN. */
static bool bond_add(struct session_bond *bond, const char *domain)
{
    for (size_t i = 0; i < bond->domain_count; i++)
        if (strcmp(bond->domains[i], domain) == 0)
            return true;
    if (bond->domain_count == BOND_DOMAINS_MAX)
        return false;
    bond->domains = alloc_resized(bond->domains, bond->domain_count + 1, sizeof *bond->domains);
    bond->domains[bond->domain_count++] = alloc_text(domain);
    return true;
}

static struct session *session_create(void)
{
    struct session *session = alloc_zeroed(1, sizeof *session);

    session->settings = calls.hold_settings(calls.context);
    session->may_take = settings_may_take(session->settings);
    session->outcome = COUNTER_SESSIONS_EMPTY;
    session->hit.client_name = alloc_text("");
    session->hit.helo = alloc_text("");
    session->hit.mta_name = alloc_text("");
    envelope_clear(&session->hit);
    pace_begin(&session->pace, clock_monotonic_ms());
    pthread_mutex_lock(&registry.mutex);
    DL_APPEND(registry.sessions, session);
    registry.count++;
    pthread_mutex_unlock(&registry.mutex);
    return session;
}

/* SESSION has left the registry. */
static void session_destroy(struct session *session)
{
    limits_give_back(limits, &session->place);
    bond_clear(session);
    settings_release(session->settings);
    hit_clear(&session->hit);
    free(session);
}

static void text_replace(char **text, const char *from_outside)
{
    free(*text);
    *text = text_printable_new(from_outside, HIT_TEXT_MAX);
}

static const char *macro(SMFICTX *ctx, const char *name)
{
    const char *value = smfi_getsymval(ctx, (char *)name);

    return value == NULL ? "" : value;
}

/* Of what happens in a session, that counts which comes first in COUNTER_TABLE. */
static void outcome_note(struct session *session, enum counter outcome)
{
    if (outcome < session->outcome)
        session->outcome = outcome;
}

static void session_refuse(struct session *session, const struct refusal *refusal)
{
    static _Atomic int64_t summary_ms;
    char client[IPADDR_TEXT_SIZE];

    if (session->refusal != NULL)
        return;
    session->refusal = refusal;
    counter_add(refusal->counter, 1);
    outcome_note(session, COUNTER_SESSIONS_REFUSED);
    log_event(LOG_LEVEL_DEBUG, "refuse client=%s limit=%s", ipaddr_format(&session->hit.client, client),
              refusal->limit);
    if (log_is_due(&summary_ms, SUMMARY_INTERVAL_MS))
        log_event(LOG_LEVEL_INFO, "refusing client=%s limit=%s connections=%llu per_client=%llu bytes=%llu idle=%llu",
                  client, refusal->limit, (unsigned long long)counter_value(COUNTER_OVER_CONNECTIONS),
                  (unsigned long long)counter_value(COUNTER_OVER_CLIENT_CONNECTIONS),
                  (unsigned long long)counter_value(COUNTER_OVER_BYTES),
                  (unsigned long long)counter_value(COUNTER_OVER_IDLE));
}

/* " address=2002:c000:201::1" where the client came by another address than its own, for the log.  Returns OUT. */
static const char *by_way_of(const struct session *session, char out[WAY_SIZE])
{
    char peer[IPADDR_TEXT_SIZE];

    out[0] = '\0';
    if (!ipaddr_equal(&session->peer, &session->hit.client))
        snprintf(out, WAY_SIZE, " address=%s", ipaddr_format(&session->peer, peer));
    return out;
}

static void hit_log(const struct session *session)
{
    const struct hit *hit = &session->hit;
    char client[IPADDR_TEXT_SIZE], way[WAY_SIZE];

    /* What the client chose comes last, so that nothing in it can pass for another key. */
    log_event(LOG_LEVEL_INFO, "data client=%s%s queue=%s recipients=%zu domains=%zu domain=%s helo=%s",
              ipaddr_format(&hit->client, client), by_way_of(session, way), hit->queue_id[0] != '\0' ? hit->queue_id : "-",
              hit->recipients_total, hit->domain_count, hit->domain_count > 0 ? hit->domains[0] : "-", hit->helo);
}

static void session_record(SMFICTX *ctx, struct session *session)
{
    struct hit *hit = &session->hit;

    if (session->recorded) {
        counter_add(COUNTER_REPEATED_DATA, 1);
        return;
    }
    hit->time_us = clock_realtime_us();
    hit->tls = *macro(ctx, "{tls_version}") != '\0';
    text_replace(&hit->queue_id, macro(ctx, "i"));
    hit->queue_id[strcspn(hit->queue_id, " ")] = '\0'; /* no MTA's has a blank, and in the log more keys follow it */
    hit_log(session);
    calls.put(calls.context, hit);
    outcome_note(session, COUNTER_SESSIONS_HIT);
    session->recorded = true;
}

/* Without an address there is nobody to list: mail that was handed in on this host. */
static bool is_recordable(const struct hit *hit)
{
    return hit->recipients_total > 0 && hit->client.family != 0;
}

/* The first DATA of a transaction decides about it. */
static void session_decide(SMFICTX *ctx, struct session *session)
{
    if (!session->decided)
        session->conduct = calls.conduct_at_data(calls.context, session->settings, &session->hit, &session->bond);
    session->decided = true;
    if (session->conduct != CONDUCT_DEFER)
        outcome_note(session, COUNTER_SESSIONS_PASSED);
    else if (is_recordable(&session->hit))
        session_record(ctx, session);
}

static void take_place(struct session *session)
{
    const struct settings_session *settings = &session->settings->session;
    int64_t now_ms = clock_monotonic_ms();
    enum limits_outcome outcome =
        limits_take(limits, &session->hit.client, settings->connections, settings->connections_per_client, now_ms,
                    pace_silent_until(now_ms, settings->idle_ms, session->keeps_back), &session->place);

    if (outcome == LIMITS_CONNECTIONS)
        session_refuse(session, &over_connections);
    else if (outcome == LIMITS_CLIENT_CONNECTIONS)
        session_refuse(session, &over_client_connections);
}

static bool is_limited(const struct session *session)
{
    return session->trapping || !session->may_take;
}

/* The first recipient that is trapped: from here on the client is one of ours. */
static void begin_trapping(struct session *session)
{
    session->trapping = true;
    session->bytes = 0;
    pace_begin(&session->pace, clock_monotonic_ms());
    take_place(session);
}

/* Bind the transaction to what is done about its first recipient; false when something else is done about PATH. */
static bool session_bind(struct session *session, const char *path)
{
    struct recipient recipient;
    enum session_conduct conduct;

    if (!session->may_take)
        return true;
    recipient_parse(path, &recipient);
    conduct = calls.conduct_at_rcpt(calls.context, session->settings, &session->hit, recipient.domain);
    if (!session->bound && conduct == CONDUCT_DEFER)
        begin_trapping(session);
    if (!session->bound)
        session->bond.conduct = conduct;
    session->bound = true;
    return session->bond.conduct == conduct &&
           (conduct != CONDUCT_ACCEPT || bond_add(&session->bond, recipient.domain));
}

/* What is too late, or came from a session that had to give its place back, may have waited at the MTA: that is not the client's
 * time.  The place is taken again, if there is one. */
static bool session_waited_for_mta(struct session *session)
{
    const struct hit *hit = &session->hit;
    int64_t silent_ms = client_time_ms(&session->peer, hit->client_port, &hit->local, session->local_port);

    if (silent_ms == CLIENT_TIME_UNKNOWN || silent_ms > session->settings->session.idle_ms)
        return false;
    limits_give_back(limits, &session->place);
    take_place(session);
    return true;
}

/* The client spoke, in a step that is left unanswered when NO_REPLY_BIT was negotiated; false when it came too late. */
static bool session_spoke(struct session *session, unsigned long no_reply_bit)
{
    int64_t now_ms = clock_monotonic_ms(), idle_ms = session->settings->session.idle_ms;
    bool seen_at_once = !session->keeps_back || !(session->no_reply & no_reply_bit);
    bool late = pace_is_late(&session->pace, now_ms, idle_ms, seen_at_once);

    bool held = session->place == NULL || limits_touch(limits, session->place, now_ms,
                                                       pace_silent_until(now_ms, idle_ms, session->keeps_back));

    return (held && !late) || session_waited_for_mta(session);
}

/* The client is cut off in the middle of a transaction: with several recipients accepted, it is a hit as if DATA had come. */
static void session_cut(SMFICTX *ctx, struct session *session, const struct refusal *refusal)
{
    if (session->refusal == NULL && session->hit.recipients_total >= CUT_RECIPIENTS)
        session_decide(ctx, session);
    session_refuse(session, refusal);
}

/* The same for a command of BYTES bytes; what is too late or too much ends the session. */
static void session_step(SMFICTX *ctx, struct session *session, unsigned long no_reply_bit, size_t bytes)
{
    unsigned limit = session->settings->session.client_bytes;

    if (!is_limited(session))
        return;
    session->bytes += bytes;
    if (!session_spoke(session, no_reply_bit))
        session_cut(ctx, session, &over_idle);
    else if (limit > 0 && session->bytes > limit)
        session_cut(ctx, session, &over_bytes);
}

static sfsistat session_answer(SMFICTX *ctx, const struct session *session, unsigned long no_reply_bit)
{
    const struct refusal *refusal = session->refusal;

    if (session->no_reply & no_reply_bit)
        return SMFIS_NOREPLY;
    if (refusal == NULL)
        return SMFIS_CONTINUE;
    smfi_setmlreply(ctx, "421", refusal->enhanced, refusal->text, NULL);
    return SMFIS_TEMPFAIL;
}

static void transaction_reset(struct session *session)
{
    envelope_clear(&session->hit);
    bond_clear(session);
    if (session->trapping)
        limits_give_back(limits, &session->place);
    session->trapping = session->decided = session->recorded = false;
}

/* Steps that are never answered by SETTINGS: answering costs a wake-up each (libmilter), and both ends wait. */
static unsigned long no_reply_for(const struct settings *settings, bool may_take)
{
    const struct settings_session *limits_of = &settings->session;
    unsigned long flags = SMFIP_NR_HELO | SMFIP_NR_MAIL;

    if (may_take || (limits_of->connections == 0 && limits_of->connections_per_client == 0))
        flags |= SMFIP_NR_CONN;
    if (limits_of->client_bytes == 0 && limits_of->idle_ms == 0)
        flags |= may_take ? SMFIP_NR_UNKN : SMFIP_NR_RCPT | SMFIP_NR_UNKN;
    return flags;
}

/* Ask for the macros we read, and with that for no others. */
static void ask_for_macros(SMFICTX *ctx)
{
    static const struct {
        int where;
        const char *names;
    } wanted[] = {
        {.where = SMFIM_CONNECT, .names = "j v {daemon_addr} {daemon_port} {if_addr}"},
        {.where = SMFIM_HELO, .names = "{tls_version}"},
        {.where = SMFIM_ENVFROM, .names = "i"},
        {.where = SMFIM_ENVRCPT, .names = "i"},
        {.where = SMFIM_DATA, .names = "i {tls_version}"},
    };

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        smfi_setsymlist(ctx, wanted[i].where, (char *)wanted[i].names);
}

static void too_old_log(unsigned long steps)
{
    static _Atomic int64_t logged_ms;

    if (log_is_due(&logged_ms, SUMMARY_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR,
                  "mta-too-old steps=0x%lx needs=\"an MTA that calls milters at DATA: sendmail 8.14, or Postfix 2.5 "
                  "with milter_protocol = 6, or later\" effect=\"the MTA's default action\"",
                  steps);
}

/* The libmilter of today offers us all SMFIP_NR_*; where the MTA does not know one, libmilter answers in our place. */
static sfsistat negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long *wanted_actions,
                          unsigned long *wanted_steps)
{
    struct session *session;

    if (prime_is_offer(actions)) {
        *wanted_actions = 0;
        *wanted_steps = SMFIP_NOMAIL | SMFIP_NORCPT;
        return SMFIS_CONTINUE;
    }
    if (!(steps & SMFIP_NODATA)) {
        too_old_log(steps);
        return SMFIS_REJECT;
    }
    session = session_create();
    smfi_setpriv(ctx, session);
    session->no_reply = no_reply_for(session->settings, session->may_take) & steps;
    *wanted_steps = (SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY) | session->no_reply;
    *wanted_actions = actions & SMFIF_SETSYMLIST;
    if (*wanted_actions != 0)
        ask_for_macros(ctx);
    return SMFIS_CONTINUE;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long reserved2,
                             unsigned long reserved3, unsigned long *wanted_actions, unsigned long *wanted_steps,
                             unsigned long *wanted2, unsigned long *wanted3)
{
    sfsistat status;

    (void)reserved2;
    (void)reserved3;
    *wanted2 = *wanted3 = 0;
    if (!callback_begin())
        return negotiate_stopping(steps, wanted_actions, wanted_steps);
    status = negotiate(ctx, actions, steps, wanted_actions, wanted_steps);
    callback_end();
    return status;
}

/* The session whose callback begins; NULL when there is none, or no longer: see answer_stopping(). */
static struct session *session_enter(SMFICTX *ctx)
{
    struct session *session;

    if (!callback_begin())
        return NULL;
    session = smfi_getpriv(ctx);
    if (session == NULL)
        callback_end();
    return session;
}

static sfsistat session_leave(SMFICTX *ctx, const struct session *session, unsigned long no_reply_bit)
{
    sfsistat status = session_answer(ctx, session, no_reply_bit);

    callback_end();
    return status;
}

/* Who came: everything from here on sees the IPv4 client in an IPv6 address. */
static void client_take(struct session *session, const _SOCK_ADDR *address)
{
    const struct settings_judge *settings = &session->settings->judge;

    ipaddr_from_sockaddr(address, &session->peer, &session->hit.client_port);
    session->hit.client = ipaddr_client(&session->peer, settings->nat64_prefixes, settings->nat64_prefix_count);
}

static sfsistat on_connect(SMFICTX *ctx, char *hostname, _SOCK_ADDR *address)
{
    struct session *session = session_enter(ctx);
    char text[IPADDR_TEXT_SIZE], way[WAY_SIZE];
    struct hit *hit;

    if (session == NULL)
        return answer_stopping();
    hit = &session->hit;
    counter_add(COUNTER_SESSIONS, 1);
    counter_note(MOMENT_SESSION, clock_realtime_us() / 1000);
    client_take(session, address);
    text_replace(&hit->client_name, hostname);
    text_replace(&hit->mta_name, macro(ctx, "j"));
    if (!ipaddr_parse(macro(ctx, "{daemon_addr}"), &hit->local)) /* Postfix; sendmail has the other */
        ipaddr_parse(macro(ctx, "{if_addr}"), &hit->local);
    session->local_port = (uint16_t)strtoul(macro(ctx, "{daemon_port}"), NULL, 10);
    session->keeps_back = strncmp(macro(ctx, "v"), "Postfix", 7) == 0;
    session_step(ctx, session, SMFIP_NR_CONN, 0);
    if (is_limited(session))
        take_place(session);
    log_event(LOG_LEVEL_DEBUG, "connect client=%s%s mta=%s", ipaddr_format(&hit->client, text), by_way_of(session, way),
              hit->mta_name);
    return session_leave(ctx, session, SMFIP_NR_CONN);
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
    struct session *session = session_enter(ctx);

    if (session == NULL)
        return answer_stopping();
    transaction_reset(session);
    text_replace(&session->hit.helo, name);
    session_step(ctx, session, SMFIP_NR_HELO, strlen("EHLO \r\n") + strlen(name));
    return session_leave(ctx, session, SMFIP_NR_HELO);
}

/* The bytes of ARGUMENTS, divided by blanks. */
static size_t arguments_length(char **arguments)
{
    size_t length = strlen(*arguments);

    while (*++arguments != NULL)
        length += strlen(*arguments) + 1;
    return length;
}

static sfsistat on_mail(SMFICTX *ctx, char **arguments)
{
    struct session *session = session_enter(ctx);

    if (session == NULL)
        return answer_stopping();
    transaction_reset(session);
    envelope_set_sender(&session->hit, arguments[0], session->settings);
    session_step(ctx, session, SMFIP_NR_MAIL, strlen("MAIL FROM:\r\n") + arguments_length(arguments));
    return session_leave(ctx, session, SMFIP_NR_MAIL);
}

static sfsistat on_rcpt(SMFICTX *ctx, char **arguments)
{
    struct session *session = session_enter(ctx);
    const char *domain;

    if (session == NULL)
        return answer_stopping();
    session_step(ctx, session, SMFIP_NR_RCPT, strlen("RCPT TO:\r\n") + arguments_length(arguments));
    if (session->refusal == NULL && !session->decided && !session_bind(session, arguments[0])) {
        smfi_setmlreply(ctx, "452", "4.5.3", "This recipient needs a message of its own", NULL);
        callback_end();
        return SMFIS_TEMPFAIL;
    }
    /* What comes after the 451 of a transaction is still that transaction, whose hit is out of our hands. */
    if (session->refusal == NULL && !session->decided && session->bond.conduct != CONDUCT_PASS) {
        domain = envelope_add_recipient(&session->hit, arguments[0], session->settings);
        if (domain != NULL)
            calls.prefetch(calls.context, domain, &session->hit.local, session->hit.mta_name);
    }
    return session_leave(ctx, session, SMFIP_NR_RCPT);
}

static const char *reply_line(const struct reply *reply, size_t index)
{
    return index < reply->line_count ? reply->lines[index] : NULL;
}

static void set_reply(SMFICTX *ctx, const struct reply *reply)
{
    _Static_assert(REPLY_LINES_MAX == 8, "one argument for each line below");
    smfi_setmlreply(ctx, reply->code, reply->enhanced, reply_line(reply, 0), reply_line(reply, 1), reply_line(reply, 2),
                    reply_line(reply, 3), reply_line(reply, 4), reply_line(reply, 5), reply_line(reply, 6),
                    reply_line(reply, 7), NULL);
}

/* Answer by CONDUCT, and end the callback. */
static sfsistat session_conclude(SMFICTX *ctx, const struct session *session, enum session_conduct conduct)
{
    if (conduct == CONDUCT_DEFER)
        set_reply(ctx, &session->settings->session.reply);
    callback_end();
    return answer_by(conduct);
}

static sfsistat on_data(SMFICTX *ctx)
{
    struct session *session = session_enter(ctx);

    if (session == NULL)
        return answer_stopping();
    session_step(ctx, session, 0, 0);
    if (session->refusal != NULL)
        return session_leave(ctx, session, 0);
    session_decide(ctx, session);
    return session_conclude(ctx, session, session->conduct);
}

/* The end of a message.  Should an MTA come here without DATA: libmilter would let the message pass. */
static sfsistat on_end(SMFICTX *ctx)
{
    struct session *session = session_enter(ctx);

    if (session == NULL)
        return answer_stopping();
    if (!session->decided)
        session_decide(ctx, session);
    return session_conclude(ctx, session, calls.conduct_at_end(calls.context, session->settings, &session->hit,
                                                               session->conduct));
}

static sfsistat on_unknown(SMFICTX *ctx, const char *command)
{
    struct session *session = session_enter(ctx);

    if (session == NULL)
        return answer_stopping();
    session_step(ctx, session, SMFIP_NR_UNKN, strlen(command) + strlen("\r\n"));
    return session_leave(ctx, session, SMFIP_NR_UNKN);
}

/* RSET, HELO or the end of the connection; also without a transaction, and more than once. */
static sfsistat on_abort(SMFICTX *ctx)
{
    struct session *session = session_enter(ctx);

    if (session == NULL)
        return SMFIS_CONTINUE;
    transaction_reset(session);
    /* As HELO, it is never answered.  Never too late either: it may be the MTA that hung up. */
    if (is_limited(session))
        session_spoke(session, SMFIP_NR_HELO);
    callback_end();
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
    struct session *session = session_enter(ctx);
    char client[IPADDR_TEXT_SIZE];

    if (session == NULL)
        return SMFIS_CONTINUE;
    smfi_setpriv(ctx, NULL);
    pthread_mutex_lock(&registry.mutex);
    DL_DELETE(registry.sessions, session);
    registry.count--;
    pthread_mutex_unlock(&registry.mutex);
    counter_add(session->outcome, 1);
    log_event(LOG_LEVEL_DEBUG, "close client=%s", ipaddr_format(&session->hit.client, client));
    session_destroy(session);
    callback_end();
    return SMFIS_CONTINUE;
}

bool session_register(const char *name, const struct session_calls *wanted)
{
    const struct smfiDesc description = {
        .xxfi_name = (char *)name,
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_SETSYMLIST,
        .xxfi_negotiate = on_negotiate,
        .xxfi_connect = on_connect,
        .xxfi_helo = on_helo,
        .xxfi_envfrom = on_mail,
        .xxfi_envrcpt = on_rcpt,
        .xxfi_data = on_data,
        .xxfi_eom = on_end,
        .xxfi_unknown = on_unknown,
        .xxfi_abort = on_abort,
        .xxfi_close = on_close,
    };

    calls = *wanted;
    limits = limits_create();
    return smfi_register(description) == MI_SUCCESS;
}

void session_drop_all(void)
{
    struct session *session, *next;

    pthread_mutex_lock(&registry.mutex);
    registry.stopped = true;
    while (registry.busy > 0)
        pthread_cond_wait(&registry.idle, &registry.mutex);
    pthread_mutex_unlock(&registry.mutex);
    /* From here on no callback comes near a session. */
    DL_FOREACH_SAFE(registry.sessions, session, next)
        session_destroy(session);
    registry.sessions = NULL;
    registry.count = 0;
    limits_destroy(&limits);
}

size_t session_count(void)
{
    size_t count;

    pthread_mutex_lock(&registry.mutex);
    count = registry.count;
    pthread_mutex_unlock(&registry.mutex);
    return count;
}
