/* conduct.h - what the sessions do about mail: defer it, accept it, or let it pass.
 *
 * A trap takes no mail: DATA and the end of a message are deferred, and so is whatever comes while the daemon stops.
 * Threads:  any.
 * Owns:     nothing.
 * Fails:    never; what is not known is deferred.
 */
#ifndef DAEMON_CONDUCT_H
#define DAEMON_CONDUCT_H

#include "milter/session.h"

/* For struct session_calls. */
enum session_conduct conduct_at_data(void *context, const struct settings *settings, const struct hit *hit);
enum session_conduct conduct_at_end(void *context, const struct settings *settings, const struct hit *hit,
                                    enum session_conduct decided);

#define CONDUCT_WHEN_STOPPING CONDUCT_DEFER

#endif
