/* domains.h - what DNS said about recipient domains, whether it changed, and which addresses are their mail hosts'.
 *
 * Threads:  the caller's mutex covers all calls, and all entries; none waits.
 * Owns:     its entries and copies of the answers.  The agenda is the caller's and outlives it.
 * Fails:    never.
 * Limits:   at most `max` entries, the least recently used leaves first, but for those that are kept.
 */
#ifndef JUDGE_DOMAINS_H
#define JUDGE_DOMAINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "judge/agenda.h"
#include "judge/moved.h"
#include "judge/mx.h"
#include "judge/role.h"
#include "judge/self.h"

#define DOMAINS_NEVER INT64_MIN

struct domain {
    UT_hash_handle hh;          /* in the order of use: the head is the one to leave */
    struct agenda_entry entry;  /* when there is something to do for it */
    struct mx_answer *answer;   /* NULL: none yet.  Only as many hosts as it has are allocated */
    bool looking_up;            /* a worker asks DNS */
    bool configured;            /* the settings name it */
    bool accepts;               /* they say on_outage = accept */
    bool kept;                  /* it does not leave, and is kept fresh */
    int64_t taken_ms, usable_ms; /* when it was asked, and for how long the answer is used */
    int64_t seen_ms;            /* when a hit on it was last asked about; DOMAINS_NEVER */
    int64_t fresh_ms;           /* when its primaries were last looked after though nobody asked; DOMAINS_NEVER */
    int64_t no_role_logged_ms;  /* DOMAINS_NEVER */
    struct role_result role;    /* by `answer`, for who asked last */
    struct moved moved;
    struct ipaddr local;        /* who asked last: see struct self */
    char *mta_name;             /* "" : not told */
    char name[];
};

struct domains;

/* KIND: what the agenda's entries are marked with. */
struct domains *domains_create(size_t max, struct agenda *agenda, int kind);
void domains_destroy(struct domains **domains);

struct domain *domains_find(const struct domains *domains, const char *name);
struct domain *domains_find_or_add(struct domains *domains, const char *name);

/* The domain that ENTRY of the agenda stands for. */
struct domain *domains_of_entry(struct agenda_entry *entry);

/* The first of all, in the order of use; the next is hh.next. */
struct domain *domains_first(const struct domains *domains);

/* DOMAIN is to be kept, if there is room for one more; or not any more. */
void domains_keep(struct domains *domains, struct domain *domain, bool keep);

/* SELF asks for DOMAIN now. */
void domains_set_asker(struct domain *domain, const struct self *self);

/* DNS said ANSWER to a question of TAKEN_MS, which makes ROLE of us.  Returns whether mail moved. */
bool domains_store(struct domains *domains, struct domain *domain, const struct mx_answer *answer,
                   const struct role_result *role, int64_t taken_ms, int64_t remember_ms, int64_t now_ms);

/* Nobody knows any more how old the answers are: they are asked for again. */
void domains_age(struct domains *domains);

/* What is known is not believed any more: the settings changed.  What moved stays known. */
void domains_forget_answers(struct domains *domains);

/* Is the answer there, and young enough at NOW_MS? */
static inline bool domain_is_usable(const struct domain *domain, int64_t now_ms)
{
    return domain->answer != NULL && now_ms - domain->taken_ms <= domain->usable_ms;
}

/* Is this host something to DOMAIN? */
static inline bool domain_is_served(const struct domain *domain)
{
    return domain->answer != NULL && domain->role.known && domain->role.class != CLASS_NONE;
}

/* Is ADDRESS that of a mail host, or of a domain, that is served here? */
bool domains_have_friend(const struct domains *domains, const struct ipaddr *address);

#endif
