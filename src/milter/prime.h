/* prime.h - the cure for the stall after 451.
 *
 * After a 4xx at DATA both MTAs keep the transaction open, but libmilter has left it: a DATA or RCPT that comes without
 * RSET is dropped without an answer, and the client hangs until the MTA's milter timeout.  libmilter's table of allowed
 * steps is one per process, and a session that negotiates "no MAIL, no RCPT" widens it for good: RCPT and DATA are
 * then allowed from the state in which a 4xx at DATA leaves a session.  So the daemon is its own first client: it
 * connects to its socket and negotiates just that.
 *
 * Harmless if a later libmilter forgets it: the stall would be back, bounded by the MTA's milter timeout.
 */
#ifndef MILTER_PRIME_H
#define MILTER_PRIME_H

#include <stdbool.h>

/* An offer of actions that no MTA makes marks our own connection in xxfi_negotiate: SMFIF_SETSYMLIST alone. */
bool prime_is_offer(unsigned long actions);

struct primer;

/* Connect to where server_open() listens, by the listener's own address: as long as the one who made the socket still may, and
 * before anybody else.  What fails is said by prime(). */
struct primer *prime_connect(void);

/* Negotiate with server_run(), which serves or is about to, and hang up; returns when libmilter has answered, when STOP_FD (or
 * -1) is readable, or after 10 s.  The result is logged. */
void prime(struct primer **primer, int stop_fd);

/* Without that. */
void prime_hang_up(struct primer **primer);

/* Does the daemon that listens on SOCKET (libmilter's syntax) answer one who negotiates like that?  NULL, or a static text that
 * says why not; a name that is looked up, and each of its addresses, take the time they take, an answer at most 10 s. */
const char *prime_ping(const char *socket);

#endif
