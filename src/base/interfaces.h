/* interfaces.h - the addresses of this host's network interfaces.
 *
 * Threads:  any.  Owns: nothing.
 */
#ifndef BASE_INTERFACES_H
#define BASE_INTERFACES_H

#include <stdbool.h>

#include "base/ipaddr.h"

/* TAKE each address, IPv4 and IPv6, those of loopback too, as the kernel has them now.  False, with errno, when it does not tell. */
bool interfaces_read(void (*take)(void *context, const struct ipaddr *address), void *context);

#endif
