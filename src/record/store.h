/* store.h - what a sensor says to the database: batches of hits, exactly once, heartbeats, and the time that
 * goes by.
 *
 * Talks only to the SQL functions that the role hunnypot_sensor may call; it can read nothing.
 * Threads:  one (the shipper).
 * Fails:    enum db_status; store_why() says what and why.
 */
#ifndef RECORD_STORE_H
#define RECORD_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "record/db.h"
#include "record/hit.h"

enum { STORE_SCHEMA_VERSION = 1, STORE_BATCH_MAX = 500 };

struct store;

struct store *store_create(const char *conninfo, const char *sensor, const char *spool_id, int stop_fd);
void store_destroy(struct store **store);

/* Connect if needed and say hello; *RECORDED is the highest outbox number that the database has of this spool. */
enum db_status store_connect(struct store *store, int64_t *recorded) __attribute__((warn_unused_result));

/* Record HITS (outbox order); in one transaction with the high-water mark, so sending them again changes nothing. */
enum db_status store_record(struct store *store, const struct hit *hits, size_t count)
    __attribute__((warn_unused_result));

/* Tell that this sensor is alive; COUNTERS is a JSON object. */
enum db_status store_heartbeat(struct store *store, const char *version, int64_t inbox, int64_t outbox, int64_t aside,
                               const char *counters) __attribute__((warn_unused_result));

/* What time alone changes in the database: one bounded step.  *MORE: there is more to do, do it again soon. */
enum db_status store_tick(struct store *store, bool *more) __attribute__((warn_unused_result));

bool store_is_connected(const struct store *store);
void store_disconnect(struct store *store);
const char *store_why(const struct store *store);

#endif
