/* server.h - libmilter's listener: opened early (as root perhaps), run later, stopped quickly.
 *
 * Threads:  server_open() before any thread; server_run() in one thread, server_stop() from another.
 * Owns:     the listening socket, which libmilter keeps.
 * Fails:    false, and errno where libmilter leaves one.
 */
#ifndef MILTER_SERVER_H
#define MILTER_SERVER_H

#include <stdbool.h>

/* After session_register(): make and listen on SOCKET (libmilter's syntax).  A file in the way is an error. */
bool server_open(const char *socket) __attribute__((warn_unused_result));

/* Serve until server_stop(), or until libmilter gives up: false. */
bool server_run(void);

/* End server_run() at once: libmilter itself would look only every 5 s. */
void server_stop(const char *socket);

#endif
