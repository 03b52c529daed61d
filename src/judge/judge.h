/* judge.h - was this transaction an offence?
 *
 * Ties domain -> DNS -> role -> liveness of the primaries -> verdict.  Questions never wait: what is not known
 * yet is VERDICT_PENDING, the look-ups are under way in `probers` worker threads, and judge_wait() tells when
 * something new is known.  Questions about one domain share one look-up, about one MX host one probe.
 *
 * Doubt beats offence: when any of the domains of a transaction is in outage, recovering, unknown, or has the
 * client among its MX hosts, the transaction is no offence.
 *
 * Threads:  any may call; the mutex is never held while looking up or probing.
 * Owns:     copies what it is given, and holds the settings; answers are plain structs.
 * Fails:    only to be created; doubt is a verdict that callers must not record on.
 * Limits:   struct judge_limits; the least recently used leaves first; a queue of waiting look-ups
 *           of the same size, past which a question stays pending and is put again when it is asked again.
 */
#ifndef JUDGE_JUDGE_H
#define JUDGE_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/domain.h"
#include "base/ipaddr.h"
#include "base/words.h"
#include "judge/mx.h"
#include "judge/role.h"
#include "settings/settings.h"

struct judge_limits {
    size_t domains, hosts; /* how many are remembered, the least recently used leaves first */
};

struct judge_question {
    struct ipaddr client;
    struct ipaddr local;        /* the address that the client connected to; family 0 when the MTA did not say */
    const char *mta_name;       /* the MTA's name for itself, NULL when it did not say */
    const char *const *domains; /* normalized, without duplicates */
    size_t domain_count;
    bool exempt; /* only exempt local parts were addressed */
    bool known_only; /* nothing is added to the tables, which would push out what other questions wait for */
    bool late;   /* the hit is too old for today's state of the primaries: only a trap, which needs none, is judged */
};

struct judge_answer {
    enum verdict verdict;
    enum hit_class class;            /* the rest is set for VERDICT_OFFENCE */
    char domain[DOMAIN_MAX + 1];     /* the domain offended against: trap before backup before address, then as addressed */
    char primary[DOMAIN_MAX + 1];    /* the primary that was accepting; empty for CLASS_TRAP */
    int64_t primary_age_ms;          /* how old that answer was when the verdict fell */
    const char *why;                 /* static text for the log, for every verdict but pending */
};

struct judge;

/* Works by SETTINGS, which it holds, within LIMITS (NULL: 10,000 each).  NULL, with errno, when there are not enough threads or descriptors. */
struct judge *judge_create(const struct settings *settings, const struct judge_limits *limits);

/* Ends the workers and frees; those that are within a DNS question then, which cannot be broken off, are left to themselves
 * after a moment, with what they use. */
void judge_destroy(struct judge **judge);

/* Hold SETTINGS, and go by them for all later questions; `probers` stays.  What is remembered of hosts stays too; what is
 * remembered of domains is forgotten. */
void judge_configure(struct judge *judge, const struct settings *settings);

/* What is remembered of outages within outage_grace, as text for a later process; the caller frees. */
char *judge_outages(struct judge *judge);

/* Remember OUTAGES as if they had been seen here; before the first question.  Their age goes by the real clock, and what
 * comes from its future counts as just seen.  A line that is not understood is passed over. */
void judge_recall(struct judge *judge, const char *outages);

/* Start looking DOMAIN up, if it is not known and not much else waits; returns at once. */
void judge_prefetch(struct judge *judge, const char *domain, const struct ipaddr *local, const char *mta_name);

/* Answer QUESTION from what is known now, and start whatever is missing; returns at once. */
void judge_ask(struct judge *judge, const struct judge_question *question, struct judge_answer *answer);

/* Wait until something became known since the generation *SEEN (start with 0), or until DEADLINE_MS (monotonic), or
 * until judge_wake(); *SEEN is moved on. */
void judge_wait(struct judge *judge, uint64_t *seen, int64_t deadline_ms);
void judge_wake(struct judge *judge);

#endif
