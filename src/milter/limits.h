/* limits.h - how many connections there are, in all and for each client network (IPv4 /32, IPv6 /64).
 *
 * A session that has been silent for longer than it may gives its place back, though the MTA has not closed it yet;
 * it never takes it again (its next command is answered 421).
 * Threads:  any; one mutex inside.
 * Owns:     its table.
 * Fails:    never.  Time is passed in (monotonic milliseconds).
 */
#ifndef MILTER_LIMITS_H
#define MILTER_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"

enum limits_outcome { LIMITS_OK, LIMITS_CONNECTIONS, LIMITS_CLIENT_CONNECTIONS };

struct limits;
struct limits_place; /* one session's place */

struct limits *limits_create(void);
void limits_destroy(struct limits **limits);

/* Take a place for CLIENT at NOW_MS; it is held until SILENT_UNTIL_MS unless limits_touch() moves that (0: for ever).
 * CONNECTIONS and PER_CLIENT may be 0: no limit.  *PLACE is NULL when refused. */
enum limits_outcome limits_take(struct limits *limits, const struct ipaddr *client, unsigned connections,
                                unsigned per_client, int64_t now_ms, int64_t silent_until_ms,
                                struct limits_place **place) __attribute__((warn_unused_result));

/* The session spoke; false when its place had been given back already. */
bool limits_touch(struct limits *limits, struct limits_place *place, int64_t now_ms, int64_t silent_until_ms);

/* Give *PLACE back; *PLACE (may be NULL) becomes NULL. */
void limits_give_back(struct limits *limits, struct limits_place **place);

#endif
