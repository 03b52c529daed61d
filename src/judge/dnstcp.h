/* dnstcp.h - one question to one name server over TCP, with a time limit: libresolv's own TCP has none.
 *
 * Threads:  any; a call blocks until its deadline at most.
 * Owns:     nothing.
 * Fails:    by returning 0: nobody there, no whole answer in time, or one that does not fit.
 * Limits:   the answer's size is the caller's.
 */
#ifndef JUDGE_DNSTCP_H
#define JUDGE_DNSTCP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Send QUERY to SERVER (of either family), and put the message that comes back, whatever it is, into ANSWER.  Returns
 * its length.  DEADLINE_MS is monotonic. */
size_t dnstcp_ask(const struct sockaddr *server, const unsigned char *query, uint16_t query_length,
                  unsigned char *answer, size_t answer_size, int64_t deadline_ms);

#endif
