/* connections.h - the clients that are connected, so that the slow do not keep out the others.
 *
 * A client has CONNECTIONS_TIME_MS for a request, and as long again to take the answer; the time in between, when we work on it,
 * does not count.  When all places are taken, the one that has used up the most of its time makes room for the next.
 * Threads:  any; one mutex inside.
 * Owns:     its table; not the sockets, which are only shut down: whoever reads from them sees the end and closes them.
 * Fails:    never.  Time is passed in (monotonic milliseconds).
 */
#ifndef WEB_CONNECTIONS_H
#define WEB_CONNECTIONS_H

#include <stddef.h>
#include <stdint.h>

enum { CONNECTIONS_TIME_MS = 20000 };

struct connections;
struct connection_place;

struct connections *connections_create(size_t places);
void connections_destroy(struct connections **connections);

/* The socket FD has been connected, and until connections_remove() it is open. */
struct connection_place *connections_add(struct connections *connections, int fd, int64_t now_ms);
void connections_remove(struct connections *connections, struct connection_place *place);

/* We work on its request; and from here on it is the client's turn again. */
void connections_hold(struct connections *connections, struct connection_place *place);
void connections_release(struct connections *connections, struct connection_place *place, int64_t now_ms);

/* Shut those whose time is over. */
void connections_cut_slow(struct connections *connections, int64_t now_ms);

#endif
