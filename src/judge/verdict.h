/* verdict.h - what follows from the facts about a hit.
 *
 * Pure: facts in, verdict out; no lock, no clock, no I/O, no memory of its own.
 * Doubt beats offence, with one exception: a trap is shielded by nothing but a friend.  What is remembered of a primary
 * may acquit; only a probe that began after the hit may convict, at an address of the client's own family.
 * Threads:  any.
 * Fails:    never.
 */
#ifndef JUDGE_VERDICT_H
#define JUDGE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "judge/facts.h"

enum { VERDICT_OUTAGE_LENGTH_MAX_MS = 6 * 3600 * 1000 }; /* Exim passes a host over for up to 6 h after a long outage */

/* The settings that count here. */
struct verdict_rules {
    bool require_all; /* every primary must accept, not just one */
    /* Trouble is doubt for this long after its end, and as long again as it lasted, up to VERDICT_OUTAGE_LENGTH_MAX_MS. */
    int64_t outage_grace_ms;
};

/* The state of a domain's primaries, put together over their addresses of one family. */
enum primaries_state {
    PRIMARIES_PENDING,  /* not known yet */
    PRIMARIES_ELSEWHERE, /* none has an address of that family */
    PRIMARIES_UNKNOWN,  /* cannot be probed from here */
    PRIMARIES_DOWN,     /* as many as are required (all of them; with require_all any) are down */
    PRIMARIES_DEFERRING, /* one of them greets with something else than 220 */
    PRIMARIES_ACCEPTING
};

struct verdict_result {
    enum verdict verdict;
    const char *why;      /* static text for the log; NULL while pending */
    bool friends_pending; /* of the domains, one is not known far enough to tell whether the client is a friend */
    bool trap;            /* one of the domains is a trap, for all that is known */
    /* For an offence: */
    enum hit_class class;
    const char *domain;   /* the facts' */
    const char *primary;  /* the facts': the most preferred that was accepting; NULL for a trap */
    int64_t primary_age_ms;
};

/* The state of PRIMARIES for clients of FAMILY, from probes that are no older than AGE_MS. */
enum primaries_state verdict_primaries(const struct verdict_rules *rules, const struct facts_domain *domain,
                                       uint8_t family, int64_t age_ms);

/* What the hit is whatever its domains are: an ignored client, say.  False: the domains decide; RESULT is where their
 * verdicts are joined, with verdict_join(). */
bool verdict_begin(const struct facts_hit *hit, struct verdict_result *result);

/* What follows from one domain. */
void verdict_of_domain(const struct verdict_rules *rules, const struct facts_hit *hit,
                       const struct facts_domain *domain, struct verdict_result *result);

/* Take ONE more domain into RESULT.  The texts that ONE points to are kept for as long as the caller keeps them. */
void verdict_join(struct verdict_result *result, const struct verdict_result *one);

/* All domains have been joined. */
void verdict_end(const struct facts_hit *hit, struct verdict_result *result);

#endif
