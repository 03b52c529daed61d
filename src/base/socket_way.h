/* socket_way.h - what is where a program is about to make its Unix socket.
 *
 * Threads:  any.  Nothing keeps two programs that start at once from removing each other's: whoever needs that locks.
 * Fails:    as enum socket_way.
 */
#ifndef BASE_SOCKET_WAY_H
#define BASE_SOCKET_WAY_H

enum socket_way {
    SOCKET_WAY_FREE,      /* nothing, any more: a socket at which nobody listens was removed */
    SOCKET_WAY_NO_SOCKET, /* a file of another kind, which stays */
    SOCKET_WAY_IN_USE,    /* somebody listens there */
    SOCKET_WAY_STAYS,     /* errno: nobody listens there, and it cannot be removed */
    SOCKET_WAY_FAILED     /* errno: it cannot be seen or asked */
};

enum socket_way socket_make_way(const char *path);

#endif
