/* place.h - where to listen: "unix:PATH", "192.0.2.1:8080", "[2001:db8::1]:8080".
 *
 * Threads:  the main thread, before there are others (umask).
 * Owns:     nothing; the caller closes.
 * Fails:    place_read() with false, place_open() with -1 and the reason in *WHY, in new memory.
 */
#ifndef WEB_PLACE_H
#define WEB_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ipaddr.h"

enum { PLACE_PATH_SIZE = 108 }; /* that of struct sockaddr_un */

struct place {
    char path[PLACE_PATH_SIZE]; /* "": ADDRESS and PORT */
    struct ipaddr address;
    uint16_t port;
};

bool place_read(const char *text, struct place *place);

/* Can nobody reach it but from this host? */
bool place_is_local(const struct place *place);

/* A descriptor that listens.  A socket that is there and that nobody listens at gives way; a new one is for its owner and group.
 * [::] takes IPv4 clients, too. */
int place_open(const struct place *place, char **why);

#endif
