/* client_time.h - how long a client kept silent before it spoke last, as the kernel of the mail server's host knows it.
 *
 * A milter sees a command when the mail server passes it on: after its own restrictions, DNS lists, other milters, a pause
 * before the greeting.  The kernel knows when the client's bytes came, and when the mail server's last answer went out: what
 * lies between is the client's time.
 * Threads:  any; a call waits for nothing but the kernel.
 * Owns:     nothing.
 * Fails:    CLIENT_TIME_UNKNOWN: no Linux, no such connection on this host (the mail server runs elsewhere, or behind a proxy).
 */
#ifndef MILTER_CLIENT_TIME_H
#define MILTER_CLIENT_TIME_H

#include <stdint.h>

#include "base/ipaddr.h"

#define CLIENT_TIME_UNKNOWN INT64_C(-1)

/* Milliseconds from the last byte that was sent to CLIENT:CLIENT_PORT on the connection that it made to LOCAL:LOCAL_PORT, to the last
 * that came from it; 0 when it did not wait for what was sent. */
int64_t client_time_ms(const struct ipaddr *client, uint16_t client_port, const struct ipaddr *local, uint16_t local_port);

#endif
