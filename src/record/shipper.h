/* shipper.h - the thread that takes the outbox to the database: batches, backoff, heartbeats, probes, friends.
 *
 * Threads:  one of its own.
 * Owns:     its connection; borrows the spool, which must outlive it.
 * Fails:    only to start; while the database is away, hits stay in the spool and one line a minute says so.
 */
#ifndef RECORD_SHIPPER_H
#define RECORD_SHIPPER_H

#include "record/spool.h"
#include "record/store.h"

struct shipper;

/* What the database is to be told beside hits: TAKE moves the probes that were made since the last call into PROBES, the oldest, MAX
 * at most, and returns how many; the shipper's thread calls it with CONTEXT, which must outlive it.  Some may get lost. */
struct shipper_probes {
    size_t (*take)(void *context, struct store_probe *probes, size_t max);
    void *context;
};

/* What the database waits for: STATE tells whether CLIENT is a friend, or FRIEND_UNANSWERED when that is not known, or not yet, and does
 * not wait for it; the shipper's thread calls it with CONTEXT, which must outlive it. */
struct shipper_friends {
    enum friend_state (*state)(void *context, const struct ipaddr *client);
    void *context;
};

/* DATABASE: a connection string; must not be empty.  NULL, with errno, when there is no thread or descriptor for it. */
struct shipper *shipper_start(struct spool *spool, const char *database, const char *sensor, const char *version,
                              const struct shipper_probes *probes, const struct shipper_friends *friends);

/* Ship what is in the outbox for at most FLUSH_MS, then end the thread, also when the server is frozen, and free. */
void shipper_stop(struct shipper **shipper, int64_t flush_ms);

#endif
