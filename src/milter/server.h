/* server.h - libmilter's listener: open, run, stop.
 *
 * Threads:  server_open() and server_run() main's; server_stop() any.
 * Fails:    false; the reason is in errno (open) or was logged by libmilter to syslog (run).
 */
#ifndef MILTER_SERVER_H
#define MILTER_SERVER_H

#include <stdbool.h>

/* Listen on SOCKET (libmilter's syntax).  A unix socket's file must not be there. */
bool server_open(const char *socket);

/* Serve until server_stop(). */
bool server_run(void);

/* Make server_run() return.  libmilter looks for a stop only every 5 s, or when somebody connects: so this connects. */
void server_stop(const char *socket);

/* The path of a unix socket SPEC, or NULL for inet and inet6. */
const char *server_unix_path(const char *spec);

#endif
