/* privileges.h - from root to an ordinary user, for good.
 *
 * Threads:  before any other exists.
 * Fails:    false with a text in WHY; the caller must not go on then.
 */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/* When root: become USER with its groups, without capabilities and without a way back; refuses a USER that is root.
 * Otherwise only forbids gaining privileges. */
bool privileges_drop(const char *user, char *why, size_t why_size);

/* Allow as many descriptors as WANTED, or as many as the system lets us; returns how many there are now. */
unsigned long privileges_raise_descriptors(unsigned long wanted);

#endif
