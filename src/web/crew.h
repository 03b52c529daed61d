/* crew.h - the workers of a site, each with a connection to the database, which write the pages that ask it.
 *
 * Whatever the database does, each exchange is answered: when it is away, stands still, or all workers are at work for too long,
 * by a 503.  Only one worker at a time connects, and after it failed none does for CREW_PAUSE_MS.
 * Threads:  crew_give() and crew_tick() any.
 * Owns:     its threads and connections; an exchange that it was given, until it is handed to DONE.
 * Limits:   SITE->workers connections; CREW_WAITING_MAX exchanges wait, for CREW_WAIT_MS.
 */
#ifndef WEB_CREW_H
#define WEB_CREW_H

#include <stdbool.h>

#include "web/exchange.h"

enum { CREW_WAITING_MAX = 200, CREW_WAIT_MS = 5000, CREW_PAUSE_MS = 1000, CREW_CONNECT_MS = 3000 };

struct crew;

/* CONNINFO as in db.h.  DONE gets each exchange when it is answered, in a thread of the crew's or the one of crew_tick() or
 * crew_stop().  NULL when there is no thread or no descriptor. */
struct crew *crew_start(const struct site *site, const char *conninfo, void (*done)(struct exchange *exchange));

/* Have EXCHANGE answered.  False when there is no room: it is the caller's to answer. */
bool crew_give(struct crew *crew, struct exchange *exchange) __attribute__((warn_unused_result));

/* Once a second: answer what waits for too long. */
void crew_tick(struct crew *crew);

/* Answer all that was given, and end the threads; what they ask the database is broken off.  From here on nothing is taken. */
void crew_stop(struct crew *crew);

/* Once nobody can call crew_give() any more; *CREW (may be NULL) becomes NULL. */
void crew_destroy(struct crew **crew);

#endif
