/* judge.h - was this transaction an offence?
 *
 * Puts together what is known (judge/known) and what follows from it (judge/verdict).  Questions never wait: what is not
 * known yet is VERDICT_PENDING, it is being found out, and judge_wait() tells when something new is known.
 *
 * Threads:  any may call.
 * Owns:     copies what it is given, and holds the settings; answers are plain structs.
 * Fails:    only to be created; doubt is a verdict that callers must not record on.
 * Limits:   those of judge/known.
 */
#ifndef JUDGE_JUDGE_H
#define JUDGE_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/domain.h"
#include "base/ipaddr.h"
#include "base/words.h"
#include "judge/known.h"
#include "settings/settings.h"

enum { JUDGE_DOMAIN_LIMIT = 100 }; /* of one question; that there are more is doubt */

struct judge_question {
    struct ipaddr client;
    struct ipaddr local;        /* the address that the client connected to; family 0 when the MTA did not say */
    const char *client_name;    /* as the MTA verified it; NULL or "[address]" when it did not */
    const char *mta_name;       /* the MTA's name for itself, NULL when it did not say */
    const char *const *domains; /* normalized, without duplicates */
    size_t domain_count;
    int64_t taken_ms; /* the hit was taken then, or before (boot_ms of clock_now()): only a probe that began later may convict */
    bool exempt;     /* only exempt local parts were addressed */
    bool known_only; /* nothing is added to the tables, which would push out what other questions wait for */
    bool late;       /* the hit is too old for today's state of the primaries: only a trap, which needs none, is judged */
    bool final;      /* no more time: what is not known now is doubt */
    bool hurry;      /* others wait behind it, or the daemon stops: an offence does not wait for what DNS says of the client */
};

struct judge_answer {
    enum verdict verdict;
    enum hit_class class;            /* the rest is set for VERDICT_OFFENCE */
    char domain[DOMAIN_MAX + 1];     /* the domain offended against: trap before backup before address, then as addressed */
    char primary[DOMAIN_MAX + 1];    /* the primary that was accepting; empty for CLASS_TRAP */
    int64_t primary_age_ms;          /* how old that answer was when the verdict fell */
    char primaries[MX_MAX][DOMAIN_MAX + 1]; /* all of the domain's, by preference */
    size_t primary_count;
    char owner[DOMAIN_MAX + 1];      /* see judge/owner.h */
    enum name_state name_state;      /* of the client */
    enum friend_state friend_state;  /* likewise; FRIEND_YES is VERDICT_FRIEND */
    const char *why;                 /* static text for the log, for every verdict but pending */
};

struct judge;

/* As known_create(). */
struct judge *judge_create(const struct settings *settings, const struct known_limits *limits);

/* Ends the workers and frees; those that are within a DNS question then, which cannot be broken off, are left to themselves
 * after a moment, with what they use. */
void judge_destroy(struct judge **judge);

/* As known_configure(). */
void judge_configure(struct judge *judge, const struct settings *settings);

/* As known_keep_with(), known_keep() and known_recall(). */
void judge_keep_with(struct judge *judge, void (*keep)(void *context, const char *text), void *context);
void judge_keep(struct judge *judge);
void judge_recall(struct judge *judge, const char *text);

/* Start looking DOMAIN up, if it is not known and not much else waits; returns at once. */
void judge_prefetch(struct judge *judge, const char *domain, const struct ipaddr *local, const char *mta_name);

/* Is it known what QUESTION is, whatever its domains are and whatever may be found out yet: of an ignored client, say?  Then it is
 * no offence, and ANSWER tells. */
bool judge_at_once(struct judge *judge, const struct judge_question *question, struct judge_answer *answer);

/* Answer QUESTION from what is known now, and start whatever is missing; returns at once. */
void judge_ask(struct judge *judge, const struct judge_question *question, struct judge_answer *answer);

/* By what is known now, are all primaries of DOMAIN, whose backup this host is, surely down for CLIENT?  What is missing is asked
 * for; returns at once. */
bool judge_outage_is_sure(struct judge *judge, const struct ipaddr *client, const struct ipaddr *local, const char *mta_name,
                          const char *domain);

/* Do the lists of friends have CLIENT?  FRIEND_UNANSWERED: not known, or not yet, and it is being found out; FRIEND_UNASKED: there is
 * no list. */
enum friend_state judge_friend(struct judge *judge, const struct ipaddr *client);

/* As known_reached(). */
size_t judge_reached(struct judge *judge, struct reached_probe *probes, size_t max);

/* As known_wait() and known_wake(). */
void judge_wait(struct judge *judge, uint64_t *seen, int64_t deadline_ms);
void judge_wake(struct judge *judge);

#endif
