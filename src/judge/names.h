/* names.h - which clients have a confirmed name: what reverse DNS said, for a while.
 *
 * Threads:  the caller's mutex covers all calls; none waits.
 * Owns:     its entries.  The agenda is the caller's and outlives it.
 * Fails:    never.
 * Limits:   at most `max` entries, the least recently asked for leaves first.
 */
#ifndef JUDGE_NAMES_H
#define JUDGE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"
#include "base/words.h"
#include "judge/agenda.h"

enum { NAMES_USED_MS = 3600 * 1000, NAMES_UNKNOWN_USED_MS = 60 * 1000 };

struct names;

/* KIND: what the agenda's entries are marked with. */
struct names *names_create(size_t max, struct agenda *agenda, int kind);
void names_destroy(struct names **names);

/* What is known of ADDRESS; false when it is nothing yet: then a look-up is on the agenda, or under way.  KNOWN_ONLY: nothing
 * is added for it. */
bool names_ask(struct names *names, const struct ipaddr *address, bool known_only, int64_t now_ms,
               enum name_state *state);

/* The look-up that ENTRY of the agenda stands for begins; returns the address. */
struct ipaddr names_begin(struct names *names, struct agenda_entry *entry);

/* The look-up of ADDRESS found STATE. */
void names_report(struct names *names, const struct ipaddr *address, enum name_state state, int64_t now_ms);

#endif
