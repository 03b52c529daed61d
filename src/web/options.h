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

struct web_options {
    const char *private_text; /* NULL: no such listener */
    struct place private_place;
    const char *database; /* "": libpq's defaults */
};

enum { OPTIONS_GO_ON = -1 };

/* OPTIONS_GO_ON, or the status to end with. */
int options_read(int argc, char **argv, struct web_options *options);

#endif
