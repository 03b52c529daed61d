/* session.h - one SMTP connection as the MTA reports it; all libmilter callbacks.
 *
 * Callbacks unpack, ask and answer.  They come on any thread, in order within a session, and never wait for DNS, a
 * probe or PostgreSQL; only the spool's commit stands before the 451.
 * DATA with a recipient is always answered by the reply, whatever becomes of the hit; so is the end of a message, to which
 * no MTA should come.
 * Threads:  session_register() before smfi_main(); then libmilter's own; session_drop_all() once, from any other.
 * Owns:     all sessions; session_drop_all() frees those that are open at the end, for which libmilter calls nothing.
 */
#ifndef MILTER_SESSION_H
#define MILTER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"
#include "record/hit.h"
#include "settings/settings.h"

/* Where a session turns to; the daemon fills it in.  All are called from any thread. */
struct session_calls {
    void *context;
    /* The settings in force, held for this session, which goes by them from its first to its last callback. */
    const struct settings *(*hold_settings)(void *context);
    /* RCPT named DOMAIN (normalized): start looking it up.  Returns at once. */
    void (*prefetch)(void *context, const char *domain, const struct ipaddr *local, const char *mta_name);
    /* DATA: keep HIT (its texts stay the session's); returns when it is safe or lost (the callee counts and logs). */
    void (*put)(void *context, struct hit *hit);
};

/* Tell libmilter about the callbacks, under NAME.  CALLS is copied. */
bool session_register(const char *name, const struct session_calls *calls);

/* Wait for the callbacks that run, answer all later ones with a tempfail, and free all sessions. */
void session_drop_all(void);

/* Sessions open now. */
size_t session_count(void);

#endif
