/* fake_probe.h - judge/probe.h for tests: states as they were set, accepting for all others.  Any thread may call. */
#ifndef UNIT_FAKE_PROBE_H
#define UNIT_FAKE_PROBE_H

#include <stdbool.h>

#include "judge/probe.h"

void fake_probe_reset(void);

void fake_probe_set(const char *address, enum liveness_state state);

/* How often ADDRESS (NULL: any) was probed, and how many probes were under way at once at most. */
unsigned fake_probe_made(const char *address);
unsigned fake_probe_most_at_once(void);

/* How often it was to look deeper than the greeting. */
unsigned fake_probe_deep(const char *address);

/* While frozen, probes begin and do not end. */
void fake_probe_freeze(bool frozen);

#endif
