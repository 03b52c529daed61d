/* probe.h - does something that speaks SMTP answer, and does it take mail now?
 *
 * Connects, reads the greeting, says QUIT, closes: no EHLO, no mail, no recipient; or, when it is to look deeper, EHLO, MAIL from a
 * sender that was never there before, and RCPT, in between.
 * Threads:  any; a call blocks for at most `timeout_ms`.
 * Owns:     nothing.
 * Fails:    never; what cannot be probed from here is LIVENESS_UNKNOWN.
 * Limits:   a greeting of more than PROBE_GREETING_MAX bytes is no greeting.
 */
#ifndef JUDGE_PROBE_H
#define JUDGE_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"

enum { PROBE_GREETING_MAX = 4096, PROBE_SAID_SIZE = 128 };

/* In rising order: the state of a host with several addresses is the highest of theirs. */
enum liveness_state {
    LIVENESS_UNKNOWN,   /* not probable from here */
    LIVENESS_DOWN,      /* refused, unreachable, or no connection in time */
    LIVENESS_ACCEPTING, /* greeted with 220, and put nothing off */
    LIVENESS_DEFERRING  /* connected, but greeted with something else, answered a command with 4xx, or not in time */
};

struct probe_config {
    uint16_t port;
    int64_t timeout_ms;
    const struct ipnet *allowed; /* networks that are probed though they are loopback, private, ... */
    size_t allowed_count;
    const char *name; /* of this host, for EHLO and the sender of a probe that looks deeper than the greeting; NULL: it does not */
    const char *domain; /* whose postmaster is the recipient then */
    char *said;  /* NULL, or PROBE_SAID_SIZE bytes for the beginning of what the host said last, as it came; "" for nothing */
    int stop_fd; /* ends the probe with LIVENESS_UNKNOWN when it becomes readable; -1: none */
};

/* The state of the host at ADDRESS.  SOURCE gets the address that it was reached from, family 0 when no connection came about.  An address that is no place for a mail host on the Internet (ipaddr_is_unusable,
 * ipaddr_is_private) is never touched unless allowed. */
enum liveness_state probe_address(const struct probe_config *config, const struct ipaddr *address, struct ipaddr *source);

#endif
