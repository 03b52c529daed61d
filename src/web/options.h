/* options.h - the command line of hunnypot-web.
 *
 * Threads:  one.
 * Owns:     nothing: it points into the arguments and the environment.
 * Fails:    with a line on standard error.
 */
#ifndef WEB_OPTIONS_H
#define WEB_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "web/place.h"

enum { OPTIONS_GO_ON = -1, OPTIONS_PROXIES_MAX = 64 };

/* Of one site: where it is served, and its database. */
struct web_place {
    const char *text; /* NULL: it is not served */
    struct place place;
    const char *database; /* "": libpq's defaults */
};

struct web_options {
    struct web_place for_us, for_all; /* private, public */
    unsigned rate;                    /* requests a minute; 0: no limit */
    struct ipnet proxies[OPTIONS_PROXIES_MAX];
    size_t proxy_count;
    bool trust_unix;
};

/* OPTIONS_GO_ON, or the status to end with. */
int options_read(int argc, char **argv, struct web_options *options);

/* Is PEER (no address: of a unix socket) one that tells whom it asks for? */
bool options_trust(const struct web_options *options, const struct ipaddr *peer);

#endif
