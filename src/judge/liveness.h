/* liveness.h - which mail hosts take mail now, and when they last did not.
 *
 * A table of what probes said: one answer per host, used for a fixed time and shared by all who ask.  It says when a
 * host is to be probed, and that only once until the answer is reported; the caller does the probing.
 * Threads:  the caller's mutex covers all calls; none waits.
 * Owns:     copies what it is given; returns values.
 * Fails:    never; doubt is `known` = false or LIVENESS_UNKNOWN, which callers must not record on.
 * Limits:   at most `max_hosts` entries, the least recently asked for leaves first.  What trouble it was in is not
 *           forgotten with it: hosts that come later start with the latest trouble of those that left.
 */
#ifndef JUDGE_LIVENESS_H
#define JUDGE_LIVENESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "judge/probe.h"

#define LIVENESS_NEVER INT64_MIN

const char *liveness_state_name(enum liveness_state state);

struct liveness;

struct liveness_view {
    bool known; /* there is an answer young enough to be used: state and age_ms hold */
    enum liveness_state state;
    int64_t age_ms; /* counted from the start of the probe */
    bool probe;     /* the caller is to probe the host now and report; nobody else is told so until then */
    /* The last time that it was seen so, or seen to be so no more; LIVENESS_NEVER. */
    int64_t last_deferring_ms;
    int64_t last_not_accepting_ms; /* deferring or down */
};

struct liveness *liveness_create(size_t max_hosts);
void liveness_destroy(struct liveness **liveness);

/* Ask about HOST.  An answer of up to REMEMBER_MS is used; older than three quarters of that, it is to be refreshed. */
struct liveness_view liveness_ask(struct liveness *liveness, const char *host, int64_t remember_ms, int64_t now_ms);

/* HOST has an entry, whatever is known of it: asking for it pushes out no other. */
bool liveness_has(const struct liveness *liveness, const char *host);

/* HOST is still wanted: false when its entry has left the table, and with it the need for a probe. */
bool liveness_is_probing(const struct liveness *liveness, const char *host);

/* The probe of HOST that began at STARTED_MS found STATE.  Returns whether that is news. */
bool liveness_report(struct liveness *liveness, const char *host, enum liveness_state state, int64_t started_ms,
                     int64_t now_ms);

/* The probe that was called for will not be made. */
void liveness_abandon(struct liveness *liveness, const char *host);

struct liveness_trouble {
    const char *host; /* NULL: all that have left the table */
    int64_t last_deferring_ms, last_not_accepting_ms;
};

/* TELL about all trouble that is remembered, in an order that liveness_recall() can take it back in.  What was not seen to
 * be over lasts until NOW_MS. */
void liveness_tell_trouble(const struct liveness *liveness, int64_t now_ms,
                           void (*tell)(void *context, const struct liveness_trouble *trouble), void *context);

/* Remember TROUBLE as if it had been seen here. */
void liveness_recall(struct liveness *liveness, const struct liveness_trouble *trouble);

#endif
