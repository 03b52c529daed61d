/* answers.h - what DNS says about clients, one question of many clients: asked when somebody wants to know, and used for a while.
 *
 * An answer is a number that is the caller's.
 * Threads:  the caller's mutex covers all calls; none waits.
 * Owns:     its entries.  The agenda is the caller's and outlives it.
 * Fails:    never.
 * Limits:   at most `max` entries, the least recently asked for leaves first.
 */
#ifndef JUDGE_ANSWERS_H
#define JUDGE_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"
#include "judge/agenda.h"

/* How long an answer is used, and that there was none. */
enum { ANSWERS_USED_MS = 3600 * 1000, ANSWERS_NONE_USED_MS = 60 * 1000 };

struct answers;

/* KIND: what the agenda's entries are marked with. */
struct answers *answers_create(size_t max, struct agenda *agenda, int kind);
void answers_destroy(struct answers **answers);

/* The `max` of its creation. */
size_t answers_max(const struct answers *answers);

/* What is known of ADDRESS; false when it is nothing, or too old: then a look-up is on the agenda, or under way, and *ANSWER, which
 * stays as it is when there never was any, may be the last one.  KNOWN_ONLY: nothing is added for it. */
bool answers_ask(struct answers *answers, const struct ipaddr *address, bool known_only, int64_t now_ms, int *answer);

/* The look-up that ENTRY of the agenda stands for begins; returns the address. */
struct ipaddr answers_begin(struct answers *answers, struct agenda_entry *entry);

/* The look-up of ADDRESS found ANSWER, which is used until UNTIL_MS. */
void answers_report(struct answers *answers, const struct ipaddr *address, int answer, int64_t until_ms);

#endif
