/* counter.h - what the daemon counts, in one table: name and meaning; and what else it tells of itself.
 *
 * Threads:  any; each counter and each moment is one atomic, and a mutex covers the hosts.
 * Fails:    never.
 * Counters run from the start of the process and are sent with each heartbeat to the database.  With them go the moments of
 * enum moment and the mail hosts that take no mail now, for `hunnypot status`.
 */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stddef.h>
#include <stdint.h>

#include "base/words.h"

/* The rows of the verdicts that hits end with. */
#define COUNTER_OF_VERDICT(X, identifier, name, rank, counts, meaning) COUNTER_OF_##counts(X, identifier, name, meaning)
#define COUNTER_OF_FINAL(X, identifier, name, meaning) X(identifier, name, "verdicts: " meaning)
#define COUNTER_OF_WAITING(X, identifier, name, meaning)

/* X(identifier, "name", "meaning") */
#define COUNTER_TABLE(X) \
    X(SESSIONS, "sessions", "connections that the MTA reported") \
    X(HITS, "hits", "transactions that reached DATA and were judged at once or put into the spool") \
    X(REPEATED_DATA, "repeated_data", "further DATA commands of a transaction already counted") \
    X(LOST, "lost", "hits that could not be put into the spool (full or failing), or were damaged in it") \
    X(OVER_CONNECTIONS, "over_connections", "connections refused: limits.connections") \
    X(OVER_CLIENT_CONNECTIONS, "over_client_connections", "connections refused: limits.connections_per_client") \
    X(OVER_BYTES, "over_bytes", "connections closed: limits.client_bytes") \
    X(OVER_IDLE, "over_idle", "connections closed: a command later than limits.idle") \
    VERDICT_TABLE(COUNTER_OF_VERDICT, X) \
    X(DNS_QUERIES, "dns_queries", "DNS questions asked") \
    X(PROBES, "probes", "MX hosts probed") \
    X(SHIPPED, "shipped", "hits recorded in the database") \
    X(SET_ASIDE, "set_aside", "hits that the database refused, or damaged in the spool: kept there with the reason") \
    X(DATABASE_ERRORS, "database_errors", "batches that failed and are sent again") \
    X(LOG_DROPPED, "log_dropped", "lines that standard error did not take")

enum counter {
#define X(identifier, name, meaning) COUNTER_##identifier,
    COUNTER_TABLE(X)
#undef X
    COUNTER_COUNT
};

void counter_add(enum counter counter, uint64_t n);
uint64_t counter_value(enum counter counter);

/* One more hit ended with VERDICT, which is none that waits. */
void counter_add_verdict(enum verdict verdict);

/* Moments, each the latest of its kind; of the real clock, as they are shown beside others. */
enum moment {
    MOMENT_SESSION, /* a connection came */
    MOMENT_HIT,     /* a hit was judged at once or put into the spool */
    MOMENT_JUDGING, /* judging begins, or began: the start-up grace ends */
    MOMENT_COUNT
};

/* MS: since 1970. */
void counter_note(enum moment moment, int64_t ms);

/* The mail hosts that take no mail now, a JSON array as `hunnypot status` reads it (src/cli/status.c); JSON is copied. */
void counter_tell_hosts(const char *json);

/* All counters as a JSON object, with "moments" (an object of ms since 1970, without those that never were, and with "sent",
 * now) and "hosts", if they were told; the caller frees. */
char *counter_json(void);

#endif
