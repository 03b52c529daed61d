/* reached.h - which probes reached which MX host, until somebody takes that along: a log of that host which lacks them is not
 * all there (hunnypot-witness(8), "What is watched").
 *
 * Threads:  the caller's mutex covers all calls.
 * Owns:     copies what it is given.
 * Fails:    never.
 * Limits:   REACHED_MAX probes, the oldest leaves first.
 */
#ifndef JUDGE_REACHED_H
#define JUDGE_REACHED_H

#include <stddef.h>
#include <stdint.h>

#include "base/domain.h"
#include "base/ipaddr.h"

enum { REACHED_MAX = 2000 };

struct reached_probe {
    char mx[DOMAIN_MAX + 1]; /* the host's name in the MX record */
    struct ipaddr source;    /* the address of ours that it saw, when nothing in between changes addresses */
    int64_t time_us;         /* when it began: since the Unix epoch */
};

struct reached {
    struct reached_probe probes[REACHED_MAX]; /* a ring */
    size_t first, count;
};

void reached_put(struct reached *reached, const char *mx, const struct ipaddr *source, int64_t time_us);

/* Move the oldest, MAX at most, into PROBES; returns how many. */
size_t reached_take(struct reached *reached, struct reached_probe *probes, size_t max);

#endif
