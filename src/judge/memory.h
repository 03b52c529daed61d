/* memory.h - what is remembered of outages and moves over a restart, as text: one line each.
 *
 *   address ADDRESS DEFERRING AWAY [MX DOMAIN]
 *                                    when it was last deferring, and last not accepting: BEGAN-ENDED each, or - for never;
 *                                    BEGAN-now when that was not seen to be over.  ADDRESS * stands for those that have left
 *                                    the table.  MX: how DOMAIN, whose primary it is, calls it; only told while it lasts,
 *                                    and not read again.
 *   domain NAME FINGERPRINT TTL SEEN UNTIL HIT
 *                                    the answer of DNS (see moved.h) and its TTL in ms, when it was seen, until when a
 *                                    move before it is in doubt (0: none was), when a hit was last asked about (0: never).
 *
 * Times are microseconds since 1970.
 * Threads:  the mutex of the tables is the caller's.
 * Fails:    never; a line that is not understood is passed over.
 */
#ifndef JUDGE_MEMORY_H
#define JUDGE_MEMORY_H

#include <stdint.h>
#include <stdio.h>

#include "judge/domains.h"
#include "judge/liveness.h"

struct memory {
    FILE *stream;           /* to write to */
    int64_t now_ms, now_us; /* one moment on both clocks */
};

/* Trouble that is no doubt any more, GRACE_MS after it at least, and domains that are nothing to us, are left out. */
void memory_write(const struct memory *memory, const struct domains *domains, const struct liveness *liveness,
                  int64_t grace_ms);

void memory_read(const struct memory *memory, const char *text, struct domains *domains, struct liveness *liveness);

#endif
