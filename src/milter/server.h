/* server.h - libmilter's listener: opened early (as root perhaps), run later.
 *
 * It is not stopped: session_drop_all() makes it harmless, and it ends with the process.
 * A packet that would have libmilter read behind its end closes its connection.
 * Threads:  server_open() before any thread; server_run() in one thread of its own.
 * Owns:     the listening socket, which libmilter keeps.
 * Fails:    false, and errno where libmilter leaves one.
 */
#ifndef MILTER_SERVER_H
#define MILTER_SERVER_H

#include <stdbool.h>
#include <sys/socket.h>

/* After session_register(): make and listen on SOCKET (libmilter's syntax).  A file in the way is an error. */
bool server_open(const char *socket) __attribute__((warn_unused_result));

/* Where server_open() listens; *LENGTH is the size of *ADDRESS, and then how much of it is filled.  False with errno. */
bool server_address(struct sockaddr_storage *address, socklen_t *length) __attribute__((warn_unused_result));

/* Serve until libmilter got a signal to stop, or until it gives up: false. */
bool server_run(void);

#endif
