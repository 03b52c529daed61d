/* identity.h - who this host is, where the settings leave it to be found out: its name, and its interfaces' addresses.
 *
 * Threads:  one at a time; getting the full name of a host that has a short one may ask DNS.
 * Owns:     nothing; the settings own what is added to them.
 * Fails:    never; what cannot be found out is left out and logged.
 */
#ifndef DAEMON_IDENTITY_H
#define DAEMON_IDENTITY_H

#include "settings/settings.h"

/* Add to SETTINGS, which nobody else has yet, what they do not say. */
void identity_complete(struct settings *settings);

#endif
