/* spool.h - the hits on this host: inbox (not judged yet) -> outbox (offences, numbered) -> gone, in one SQLite file.
 * With spool_file, spool_format and spool_row behind it the only module that knows sqlite3.
 *
 * Every call returns after its change is committed (WAL, synchronous=FULL), so neither a killed daemon nor a power
 * cut loses a hit whose 451 went out.
 *
 * Threads:  any may call.  One thread of the spool's own holds the connection; calls queue up for it and wait, and it
 *           commits all that are waiting at once.
 * Owns:     the file, its -wal and -shm, and a lock beside it (FILE.lock): a second daemon on one spool is refused.
 *           A damaged file is set aside (FILE.damaged-TIME), and a new one started; a row that holds no hit goes to
 *           the table `aside` when it is read, and the ones behind it are handed out.
 * Fails:    enum spool_status; SPOOL_FULL and SPOOL_FAILED lose the hit that was to be put, and nothing else.
 * Limits:   `limit` hits in inbox, outbox and aside together.
 */
#ifndef RECORD_SPOOL_H
#define RECORD_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "record/hit.h"

enum spool_status {
    SPOOL_OK,
    SPOOL_FULL,   /* `limit` is reached */
    SPOOL_LOCKED, /* another daemon has this spool (spool_open only) */
    SPOOL_FAILED  /* disk full, I/O error, no permission; the log says which, once a minute */
};

struct spool;

struct spool_depth {
    int64_t inbox, outbox, aside;
};

/* Open or create the spool PATH.  What was set aside goes to the end of the outbox again, once.  WHY (at least 256 bytes)
 * gets a text when it fails. */
enum spool_status spool_open(struct spool **spool, const char *path, int64_t limit, char *why, size_t why_size)
    __attribute__((warn_unused_result));
void spool_close(struct spool **spool);

/* The UUID that was drawn when this file was created: with the outbox number it names a hit for ever. */
const char *spool_id(const struct spool *spool);

/* Put HIT into the inbox; its id and its uuid are set. */
enum spool_status spool_put(struct spool *spool, struct hit *hit) __attribute__((warn_unused_result));

/* Read up to MAX hits of the inbox with an id above AFTER, oldest first, into HITS (cleared by the caller later). */
enum spool_status spool_read_inbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
    __attribute__((warn_unused_result));

/* In one transaction: HITS[i] leaves the inbox; the ones with a class go to the end of the outbox, in this order. */
enum spool_status spool_settle(struct spool *spool, const struct hit *hits, size_t count)
    __attribute__((warn_unused_result));

/* Read up to MAX hits of the outbox with a number above AFTER, in order. */
enum spool_status spool_read_outbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
    __attribute__((warn_unused_result));

/* All of the outbox up to and with number LAST is in the database: forget it. */
enum spool_status spool_confirm(struct spool *spool, int64_t last) __attribute__((warn_unused_result));

/* The database refuses outbox number ID for REASON (printable): keep it apart until the next spool_open(). */
enum spool_status spool_set_aside(struct spool *spool, int64_t id, const char *reason)
    __attribute__((warn_unused_result));

void spool_depth(struct spool *spool, struct spool_depth *depth);

/* Wait until the outbox got something since *SEEN (start with 0), or DEADLINE_MS (monotonic), or spool_wake(). */
void spool_wait_outbox(struct spool *spool, uint64_t *seen, int64_t deadline_ms);
void spool_wake(struct spool *spool);

#endif
