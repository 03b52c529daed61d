/* fake_mx.h - judge/mx.h for tests: answers as they were set, NXDOMAIN for all other domains.  Any thread may call. */
#ifndef UNIT_FAKE_MX_H
#define UNIT_FAKE_MX_H

#include <stdbool.h>

void fake_mx_reset(void);

/* TEXT as in mx_text.h.  Of an address: its name, or "unknown"; others have none, and are not counted. */
void fake_mx_set(const char *domain, const char *text);

/* Of "ZONE ADDRESS" TEXT is "yes" or "unanswered"; what is not set is in no list. */

/* How often DOMAIN (NULL: anything) was asked for; of lists "ZONE ADDRESS", when it is set. */
unsigned fake_mx_asked(const char *domain);

/* While frozen, questions are answered only when they are told to stop: as unknown. */
void fake_mx_freeze(bool frozen);

/* The same for the names of addresses. */
void fake_mx_freeze_names(bool frozen);

/* How many names are being asked for just now. */
unsigned fake_mx_naming(const char *unused);

#endif
