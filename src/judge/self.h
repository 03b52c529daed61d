/* self.h - who this host is: its names and addresses by the settings, or those of its interfaces, and what the mail server said to
 * one question.
 *
 * Threads:  any; a struct self is read-only once made.
 * Owns:     nothing; the settings' arrays are borrowed.
 * Fails:    never; a name of the mail server's that is none is left out.
 */
#ifndef JUDGE_SELF_H
#define JUDGE_SELF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/domain.h"
#include "base/ipaddr.h"
#include "settings/settings.h"

enum { SELF_NEW_MAX = 32 };

struct self {
    char *const *names; /* normalized */
    size_t name_count;
    const struct ipaddr *addresses;
    size_t address_count;
    struct ipaddr new_addresses[SELF_NEW_MAX]; /* that the interfaces got since the settings were read */
    size_t new_count;
    const struct ipnet *nat64_prefixes;
    size_t nat64_prefix_count;
    char mta_name[DOMAIN_MAX + 1]; /* the mail server's name for itself; empty: none */
    struct ipaddr local;           /* the address that the client connected to; family 0: not known */
};

/* Who we are by SETTINGS to a client that came to LOCAL at a mail server that calls itself MTA_NAME (may be NULL).  Converts
 * that name: not to be called with a lock held. */
void self_make(struct self *self, const struct settings_judge *settings, const struct ipaddr *local, const char *mta_name);

/* The name under which primaries are probed deeper than their greeting; NULL when SETTINGS do not want that, or know no name. */
const char *self_probe_name(const struct settings_judge *settings);

bool self_has_name(const struct self *self, const char *name);
bool self_has_address(const struct self *self, const struct ipaddr *address);

/* The role that SETTINGS set for DOMAIN: the longest matching pattern wins.  Goes through all sections: not to be called
 * with a lock held. */
enum role_setting self_role(const struct settings_judge *settings, const char *domain);

/* The whole of that section; NULL when none matches.  DOMAIN is "" for a recipient without one. */
const struct settings_rule *self_rule(const struct settings_judge *settings, const char *domain);

#endif
