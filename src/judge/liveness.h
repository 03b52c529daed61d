/* liveness.h - which addresses of mail hosts take mail now, and when they last did not.
 *
 * A table of what probes said: one answer for each address, shared by all names and domains that lead to it.  An address
 * is probed once at a time, and its probes begin at least an interval apart; whoever wants one in between shares the next.
 * The caller does the probing, when the agenda says so.
 * Threads:  the caller's mutex covers all calls; none waits.
 * Owns:     copies what it is given; returns values.  The agenda is the caller's and outlives it.
 * Fails:    never; doubt is `known` = false or LIVENESS_UNKNOWN, which callers must not record on.
 * Limits:   at most `max` entries, the least recently asked for leaves first.  What trouble it was in is not
 *           forgotten with it: addresses that come later start with the latest trouble of those that left.
 */
#ifndef JUDGE_LIVENESS_H
#define JUDGE_LIVENESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"
#include "judge/agenda.h"
#include "judge/facts.h"
#include "judge/probe.h"

#define LIVENESS_NEVER INT64_MIN

const char *liveness_state_name(enum liveness_state state);

struct liveness;

/* KIND: what the agenda's entries are marked with. */
struct liveness *liveness_create(size_t max, struct agenda *agenda, int kind);
void liveness_destroy(struct liveness **liveness);

/* What is known of ADDRESS; an answer of up to REMEMBER_MS is used. */
struct facts_address liveness_ask(struct liveness *liveness, const struct ipaddr *address, int64_t remember_ms,
                                  int64_t now_ms);

/* A probe of ADDRESS is wanted that begins at AFTER_MS or later, INTERVAL_MS after the last one; ASKED: somebody waits for
 * it.  DOMAIN is one whose primary it is. */
void liveness_want(struct liveness *liveness, const struct ipaddr *address, const char *domain, int64_t after_ms,
                   int64_t interval_ms, int64_t now_ms, bool asked);

/* ADDRESS has an entry, whatever is known of it: asking for it pushes out no other. */
bool liveness_has(const struct liveness *liveness, const struct ipaddr *address);

/* The probe that ENTRY of the agenda stands for begins; ADDRESS and DOMAIN get what it is of. */
void liveness_begin(struct liveness *liveness, struct agenda_entry *entry, int64_t now_ms, struct ipaddr *address,
                    char domain[DOMAIN_MAX + 1]);

struct liveness_change {
    bool state;  /* it is another one than before */
    bool outage; /* trouble began or ended */
};

/* The probe of ADDRESS that began at STARTED_MS found STATE. */
struct liveness_change liveness_report(struct liveness *liveness, const struct ipaddr *address, enum liveness_state state,
                                       int64_t started_ms, int64_t interval_ms, int64_t now_ms);

/* Nobody knows any more how old the states are: they are not used.  Trouble stays. */
void liveness_forget_states(struct liveness *liveness);

/* From when until when it was so, LIVENESS_NEVER if it never was.  What comes back before it was away for as long as it had
 * lasted is the same trouble still. */
struct liveness_trouble {
    int64_t began_ms, ended_ms;
    bool lasts; /* it was not seen to be over; of what liveness_tell() tells only */
};

struct liveness_memory {
    const struct ipaddr *address; /* NULL: all that have left the table */
    const char *domain;           /* one whose primary it is, or NULL; not recalled */
    struct liveness_trouble deferring, not_accepting;
};

/* TELL about all trouble that is remembered, in an order that liveness_recall() can take it back in.  What was not seen to
 * be over is said to last, until NOW_MS. */
void liveness_tell(const struct liveness *liveness, int64_t now_ms,
                   void (*tell)(void *context, const struct liveness_memory *memory), void *context);

/* Remember MEMORY as if it had been seen here. */
void liveness_recall(struct liveness *liveness, const struct liveness_memory *memory);

#endif
