/* name.h - has a client a confirmed name?
 *
 * Reverse DNS that leads back to the address is a name somebody chose for a machine that stays, unless it is made from the
 * address: that is what providers give to whoever has no name.
 * Pure: no I/O, no state.  Threads: any.  Fails: never.
 */
#ifndef JUDGE_NAME_H
#define JUDGE_NAME_H

#include <stdbool.h>

#include "base/ipaddr.h"
#include "base/words.h"
#include "judge/mx.h"

/* NAME holds at least three octets of ADDRESS side by side, decimal or hexadecimal, in either order; of an IPv6 address its last
 * 32 bits. */
bool name_is_made_from(const char *name, const struct ipaddr *address);

/* The state of ADDRESS that has these NAMES. */
enum name_state name_judge(const struct mx_names *names, const struct ipaddr *address);

#endif
