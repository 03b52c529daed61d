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
#include "milter/reply.h"
#include "record/hit.h"

enum session_envelope { ENVELOPE_FULL, ENVELOPE_DOMAIN, ENVELOPE_NONE };

/* What the settings say, as plain values: an immutable snapshot that each session holds from its first to its last
 * callback. */
struct session_policy {
    unsigned connections, connections_per_client; /* 0: no limit */
    int64_t idle_ms;                              /* 0: no limit */
    unsigned client_bytes;                        /* 0: no limit */
    char **exempt_localparts;                     /* lower case */
    size_t exempt_localpart_count;
    enum session_envelope envelope;
    struct reply reply;
};

/* Where a session turns to; the daemon fills it in.  All are called from any thread. */
struct session_calls {
    void *context;
    /* A policy held for this session, and its return. */
    const struct session_policy *(*hold_policy)(void *context);
    void (*release_policy)(void *context, const struct session_policy *policy);
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
