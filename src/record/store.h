/* store.h - what a sensor says to the database: batches of hits, exactly once, heartbeats, which probes it made,
 * and the time that goes by.
 *
 * Talks only to the SQL functions that the role hunnypot_sensor may call; it can read nothing.
 * Threads:  one (the shipper).
 * Fails:    enum db_status; store_why() says what and why.
 */
#ifndef RECORD_STORE_H
#define RECORD_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/domain.h"
#include "base/ipaddr.h"
#include "record/db.h"
#include "record/hit.h"
#include "record/spool.h"

enum { STORE_SCHEMA_VERSION = 8, STORE_BATCH_MAX = 500, STORE_PROBES_MAX = 500, STORE_FRIENDS_MAX = 200 };

/* A probe of ours that reached the host MX. */
struct store_probe {
    char mx[DOMAIN_MAX + 1];
    struct ipaddr source; /* the address that it saw */
    int64_t time_us;      /* since the Unix epoch */
};

/* A client some of whose hits wait to be told whether it is a friend. */
struct store_friend {
    struct ipaddr client;
    enum friend_state state;
};

struct store;

struct store *store_create(const char *conninfo, const char *sensor, int stop_fd);
void store_destroy(struct store **store);

/* Connect anew. */
enum db_status store_connect(struct store *store) __attribute__((warn_unused_result));

/* Ask for the mark of LIFE: the link of the last hit that it took, "" for none, or what is no link when the life has ended.  When the
 * database does not know it, the life begins, and ANCESTORS (joined by commas) end. */
enum db_status store_hello(struct store *store, const char *life, const char *ancestors, char mark[UUID_SIZE])
    __attribute__((warn_unused_result));

/* Record HITS (outbox order), and move the mark from FROM to the last of them, in one durable transaction.  With the mark elsewhere
 * nothing happens, so that sending them again changes nothing.  Hits in doubt that are recorded already are skipped.  MARK gets
 * where the mark is then. */
enum db_status store_record(struct store *store, const struct spool_mark *from, const struct hit *hits, size_t count,
                            char mark[UUID_SIZE]) __attribute__((warn_unused_result));

/* Would HIT be recorded?  Nothing is. */
enum db_status store_try(struct store *store, const struct spool_mark *from, const struct hit *hit)
    __attribute__((warn_unused_result));

/* Tell that this sensor is alive; COUNTERS is a JSON object.  *ALONE: no other process said so by the same name since. */
enum db_status store_heartbeat(struct store *store, const char *version, int64_t inbox, int64_t outbox, int64_t aside,
                               const char *counters, bool *alone) __attribute__((warn_unused_result));

/* Tell of PROBES, STORE_PROBES_MAX at most.  Telling again changes nothing. */
enum db_status store_probes(struct store *store, const struct store_probe *probes, size_t count)
    __attribute__((warn_unused_result));

/* Tell of those of the COUNT FRIENDS whose state is not unanswered (unasked: not a friend), and ask who waits for it of what this
 * sensor recorded: the ones behind AFTER (family 0: the first), into FRIENDS, STORE_FRIENDS_MAX at most and *COUNT of them.  Telling
 * again changes nothing. */
enum db_status store_friends(struct store *store, struct store_friend *friends, size_t *count, const struct ipaddr *after)
    __attribute__((warn_unused_result));

/* What time alone changes in the database: one bounded step.  *MORE: there is more to do, do it again soon.  *HELD: why the brake
 * holds the list back, which the caller frees; NULL: it does not, or the step failed. */
enum db_status store_tick(struct store *store, bool *more, char **held) __attribute__((warn_unused_result));

bool store_is_connected(const struct store *store);
const char *store_why(const struct store *store);

#endif
