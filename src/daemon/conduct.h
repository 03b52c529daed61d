/* conduct.h - what the sessions do about mail: defer it, accept it, or let it pass.
 *
 * How a letter is taken.  A recipient's domain has a section in the settings.  With `role = off` its mail is none of our
 * business, and passes.  With `on_outage = accept` it is accepted while the primaries are surely down (judge/outage), by what is
 * known when the recipient comes; at DATA that is looked at once more, and what is not as sure any more is deferred, as
 * all else is.  The end of the message repeats what DATA said.  While the daemon stops, everything is deferred, and the MTA's
 * default action has to be tempfail: it is the net under what was accepted.
 *
 * Threads:  any; nothing waits.
 * Owns:     nothing.
 * Fails:    never; what is not known is deferred.
 */
#ifndef DAEMON_CONDUCT_H
#define DAEMON_CONDUCT_H

#include "milter/session.h"

/* For struct session_calls; CONTEXT is a struct judge **. */
enum session_conduct conduct_at_rcpt(void *context, const struct settings *settings, const struct hit *hit,
                                     const char *domain);
enum session_conduct conduct_at_data(void *context, const struct settings *settings, const struct hit *hit,
                                     const struct session_bond *bond);
enum session_conduct conduct_at_end(void *context, const struct settings *settings, const struct hit *hit,
                                    enum session_conduct decided);

#define CONDUCT_WHEN_STOPPING CONDUCT_DEFER

#endif
