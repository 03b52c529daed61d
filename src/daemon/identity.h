/* identity.h - who this host is, where the settings leave it to be found out: its name, and its interfaces' addresses.
 *
 * Threads:  one at a time; getting the full name of a host that has a short one may ask DNS.
 * Owns:     the arrays; identity_clear() frees them.
 * Fails:    never; what cannot be found out is left out and logged.
 */
#ifndef DAEMON_IDENTITY_H
#define DAEMON_IDENTITY_H

#include "judge/judge.h"

struct identity {
    char **names;
    size_t name_count;
    struct ipaddr *addresses;
    size_t address_count;
};

/* Fill into CONFIG what it does not say; it borrows from IDENTITY then. */
void identity_complete(struct identity *identity, struct judge_config *config);
void identity_clear(struct identity *identity);

#endif
