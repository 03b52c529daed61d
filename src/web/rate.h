/* rate.h - how often each client may ask: so many requests in a minute, which it may also make all at once.
 *
 * A client is an ipaddr_limit_network(): who has an IPv6 /64 is one.
 * Threads:  one.
 * Owns:     its table.
 * Fails:    never.  Time is passed in (monotonic milliseconds).
 * Limits:   RATE_CLIENTS_MAX clients; of more, the one that asked longest ago is forgotten.
 */
#ifndef WEB_RATE_H
#define WEB_RATE_H

#include <stdint.h>

#include "base/ipaddr.h"

enum { RATE_CLIENTS_MAX = 20000, RATE_MAX = 1000000 };

struct rate;

/* PER_MINUTE: 1 to RATE_MAX. */
struct rate *rate_create(unsigned per_minute);
void rate_destroy(struct rate **rate);

/* CLIENT asks.  0: it may; else it may not, and in so many seconds it may again. */
int rate_take(struct rate *rate, const struct ipaddr *client, int64_t now_ms);

#endif
