/* session.h - one SMTP connection as the MTA reports it; all libmilter callbacks.
 *
 * Callbacks unpack, ask and answer.  They come on any thread, in order within a session, and never wait for DNS, a
 * probe or PostgreSQL; only the spool's commit stands before the 451.
 * What DATA and the end of a message are answered with is the conduct that the daemon names; by itself a session takes no
 * mail.
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

/* What is done about a transaction. */
enum session_conduct {
    CONDUCT_DEFER,  /* it is answered with the reply, and recorded */
    CONDUCT_ACCEPT, /* the MTA may take the mail, as whoever brings it did right; nothing is recorded */
    CONDUCT_PASS    /* it is none of our business: nothing is said, nothing recorded, and no limit applies */
};

/* What the first recipient of a transaction bound it to; recipients for whom something else is done are told to come by
 * themselves (452 4.5.3). */
struct session_bond {
    enum session_conduct conduct;
    char **domains; /* of CONDUCT_ACCEPT: of the recipients, without duplicates */
    size_t domain_count;
};

/* Where a session turns to; the daemon fills it in.  All are called from any thread. */
struct session_calls {
    void *context;
    /* The settings in force, held for this session, which goes by them from its first to its last callback. */
    const struct settings *(*hold_settings)(void *context);
    /* RCPT named DOMAIN (normalized): start looking it up.  Returns at once. */
    void (*prefetch)(void *context, const char *domain, const struct ipaddr *local, const char *mta_name);
    /* DATA: keep HIT (its texts stay the session's); returns when it is safe or lost (the callee counts and logs). */
    void (*put)(void *context, struct hit *hit);
    /* What is done about mail for DOMAIN (normalized; "": none) from HIT's client.  Asked only where settings_may_take();
     * elsewhere all is deferred.  Returns at once, as the next two do. */
    enum session_conduct (*conduct_at_rcpt)(void *context, const struct settings *settings, const struct hit *hit,
                                            const char *domain);
    /* What is done about HIT at DATA, before it is put; its texts are the session's. */
    enum session_conduct (*conduct_at_data)(void *context, const struct settings *settings, const struct hit *hit,
                                            const struct session_bond *bond);
    /* The same at the end of the message, of which was DECIDED so at DATA. */
    enum session_conduct (*conduct_at_end)(void *context, const struct settings *settings, const struct hit *hit,
                                           enum session_conduct decided);
    /* What is done about whatever comes while the daemon stops, and about what nothing is known of.  CONDUCT_DEFER leaves
     * a connection that begins then to the MTA's default action. */
    enum session_conduct when_stopping;
};

/* Tell libmilter about the callbacks, under NAME.  CALLS is copied. */
bool session_register(const char *name, const struct session_calls *calls);

/* Wait for the callbacks that run, answer all later ones as `when_stopping` says, and free all sessions. */
void session_drop_all(void);

/* Sessions open now. */
size_t session_count(void);

#endif
