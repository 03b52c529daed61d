/* listener.h - one place where requests come in, and the site that answers them.  Only this module knows libmicrohttpd.
 *
 * One thread reads and writes, and never waits; pages that ask the database are made by the site's crew.
 * Threads:  those of main.c.
 * Owns:     its threads, its connections and its socket.
 * Limits:   SITE->places connections and what is in connections.h; a request's header of LISTENER_MEMORY bytes, and what is in
 *           request.h.
 */
#ifndef WEB_LISTENER_H
#define WEB_LISTENER_H

#include "web/exchange.h"
#include "web/options.h"

enum { LISTENER_MEMORY = 16384 };

struct listener;

/* Listen on FD, which is taken over.  NULL with the reason in *WHY, in new memory. */
struct listener *listener_start(const struct site *site, const struct web_options *options, const char *conninfo, int fd,
                                char **why);

/* Once a second. */
void listener_tick(struct listener *listener);

/* Answer what was asked, and end; *LISTENER (may be NULL) becomes NULL. */
void listener_stop(struct listener **listener);

#endif
