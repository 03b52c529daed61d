/* counter.h - what the daemon counts, in one table: name and meaning; and what else it tells of itself.
 *
 * Threads:  any; each counter, each bucket of a histogram and each moment is one atomic, and a mutex covers the hosts.
 * Fails:    never.
 * Counters run from the start of the process and are sent with each heartbeat to the database.  With them go histograms, the moments
 * of enum moment and the mail hosts that take no mail now, for `hunnypot status`.
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
    X(SESSIONS_HIT, "sessions_hit", "of them, ended: with a hit") \
    X(SESSIONS_REFUSED, "sessions_refused", "ended without one, by a limit") \
    X(SESSIONS_PASSED, "sessions_passed", "ended with neither, and with mail that was let through") \
    X(SESSIONS_EMPTY, "sessions_empty", "ended with nothing of that, before DATA") \
    X(HITS, "hits", "transactions that reached DATA and were judged at once or put into the spool") \
    X(REPEATED_DATA, "repeated_data", "further DATA commands of a transaction already counted") \
    X(LOST, "lost", "hits that could not be put into the spool (full or failing), or were damaged in it") \
    X(OVER_CONNECTIONS, "over_connections", "connections refused: limits.connections") \
    X(OVER_CLIENT_CONNECTIONS, "over_client_connections", "connections refused: limits.connections_per_client") \
    X(OVER_BYTES, "over_bytes", "connections closed: limits.client_bytes") \
    X(OVER_IDLE, "over_idle", "connections closed: a command later than limits.idle") \
    VERDICT_TABLE(COUNTER_OF_VERDICT, X) \
    X(DNS_QUERIES, "dns_queries", "DNS questions asked") \
    X(PROBES_ACCEPTING, "probes_accepting", "MX hosts probed: they take mail") \
    X(PROBES_DEFERRING, "probes_deferring", "they put it off") \
    X(PROBES_DOWN, "probes_down", "no connection") \
    X(PROBES_UNKNOWN, "probes_unknown", "cannot be probed from here") \
    X(SHIPPED, "shipped", "hits recorded in the database") \
    X(BATCHES, "batches", "batches in which they were") \
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

/* How long something takes.  Under one name the bounds never change: who reads them has them from here.
 *
 * X(identifier, "name", "meaning", bounds...): each bound, in microseconds, is the most that its bucket takes; one more takes the rest. */
#define HISTOGRAM_TABLE(X) \
    X(DATA_REPLY, "data_reply", "from DATA to its answer: mostly the way to the disk", \
      1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000) \
    X(PROBE, "probe", "a probe of an MX host", \
      5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000, 30000000, 60000000) \
    X(RECORDED, "recorded", "from a hit to its row in the database", \
      100000, 500000, 1000000, 2000000, 5000000, 10000000, 30000000, 60000000, 300000000, 900000000, 3600000000, 21600000000, \
      86400000000)

enum { HISTOGRAM_BOUNDS = 13 };

enum histogram {
#define X(identifier, ...) HISTOGRAM_##identifier,
    HISTOGRAM_TABLE(X)
#undef X
    HISTOGRAM_COUNT
};

/* Something took US; less than nothing, by a clock that was set, is nothing. */
void counter_took(enum histogram histogram, int64_t us);

const char *counter_histogram_name(enum histogram histogram);
const int64_t *counter_bounds_us(enum histogram histogram); /* HISTOGRAM_BOUNDS of them, rising */

/* Moments, each the latest of its kind; of the real clock, as they are shown beside others. */
enum moment {
    MOMENT_SESSION, /* a connection came */
    MOMENT_HIT,     /* a hit was judged at once or put into the spool */
    MOMENT_JUDGING, /* judging begins, or began: the start-up grace ends */
    MOMENT_OLDEST,  /* the oldest hit that is still in the spool came; 0: none is */
    MOMENT_COUNT
};

/* MS: since 1970. */
void counter_note(enum moment moment, int64_t ms);

/* The mail hosts that take no mail now, a JSON array as `hunnypot status` reads it (src/cli/status.c); JSON is copied. */
void counter_tell_hosts(const char *json);

/* All counters as a JSON object, with "histograms" (an object of {"sum_us": NUMBER, "counts": [of each bucket]}), "moments" (an
 * object of ms since 1970, without those that never were, and with "sent", now) and "hosts", if they were told; the caller frees. */
char *counter_json(void);

#endif
