/* spool.h - the hits on this host: inbox (not judged yet) -> outbox (offences, numbered) -> kept -> gone, in one SQLite file.
 * With spool_file, spool_format and spool_row behind it the only module that knows sqlite3.
 *
 * Every call returns after its change is committed (WAL, synchronous=FULL), so neither a killed daemon nor a power
 * cut loses a hit whose 451 went out.
 *
 * What the database has of a spool is said by a mark: the last hit of the outbox that it took, named by a link, which is drawn
 * when the hit joins this outbox.  A file can be copied, put back, torn, or lose its name, and a database can come back older,
 * so neither believes the other.  The mark goes with a life, an identity that is drawn anew whenever the file may not be the one
 * that we knew (another host or inode, lower numbers, a mark that names no hit of ours).  A batch moves the mark only from where
 * we believe it; a mark on another hit of ours, earlier or later, is believed.  When a life begins, the database ends the ones
 * before it, wherever they are being lived, and all hits that they may have recorded are in doubt: the database looks for
 * each.  tests/model/spool.pml is this as a model, with the same names.
 *
 * Threads:  any may call.  One thread of the spool's own holds the connection; calls queue up for it and wait, and it
 *           commits all that are waiting at once.
 * Owns:     the file, its -wal and -shm, and a lock beside it (FILE.lock): a second daemon on one spool is refused.
 *           A damaged file is set aside (FILE.damaged-TIME), and a new one started; a row that holds no hit goes to
 *           the table `aside` when it is read, and the ones behind it are handed out.
 * Fails:    enum spool_status; SPOOL_FULL and SPOOL_FAILED lose the hit that was to be put, and nothing else.
 * Limits:   `limit` hits in inbox, outbox and aside together; a tenth of that kept after the database has them.
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
    SPOOL_OTHER_LIFE, /* the mark that was given is of a life that has ended: ask for the new one with spool_mark() */
    SPOOL_FAILED  /* disk full, I/O error, no permission; the log says which, once a minute */
};

struct spool;

struct spool_depth {
    int64_t inbox, outbox, aside;
    int64_t kept; /* in the database, for all we know */
    int64_t oldest_us; /* when the oldest of inbox and outbox came, as of a second ago; 0: there is none */
};

/* How far the database has the outbox. */
struct spool_mark {
    char life[UUID_SIZE];
    char link[UUID_SIZE]; /* ""; nothing yet in this life */
    int64_t number;       /* of the hit with that link, or 0 */
};

/* Open or create the spool PATH.  What was set aside goes to the end of the outbox again, once.  A hit is kept for KEEP_MS after
 * the database has it.  WHY (at least 256 bytes) gets a text when it fails. */
enum spool_status spool_open(struct spool **spool, const char *path, int64_t limit, int64_t keep_ms, char *why,
                             size_t why_size) __attribute__((warn_unused_result));
void spool_close(struct spool **spool);

/* Put HIT into the inbox; its id and its uuid are set. */
enum spool_status spool_put(struct spool *spool, struct hit *hit) __attribute__((warn_unused_result));

/* Read up to MAX hits of the inbox with an id above AFTER, oldest first, into HITS (cleared by the caller later). */
enum spool_status spool_read_inbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
    __attribute__((warn_unused_result));

/* In one transaction: HITS[i] leaves the inbox; the ones with a class go to the end of the outbox, in this order. */
enum spool_status spool_settle(struct spool *spool, const struct hit *hits, size_t count)
    __attribute__((warn_unused_result));

/* The lives that this spool had before, joined by commas; the caller frees.  NULL: it failed. */
char *spool_ancestors(struct spool *spool);

/* The mark as we believe it. */
enum spool_status spool_mark(struct spool *spool, struct spool_mark *mark) __attribute__((warn_unused_result));

/* The database has the mark of MARK's life at LINK ("": nothing recorded).  When that is a hit of ours, *MARK gets it, and what is
 * behind it in the outbox is to be sent, also what we thought the database had.  Else the life ends, a new one begins with
 * all hits in doubt, and *MARK gets its beginning. */
enum spool_status spool_agree(struct spool *spool, const char *link, struct spool_mark *mark)
    __attribute__((warn_unused_result));

/* Read up to MAX hits of the outbox with a number above AFTER's, in order. */
enum spool_status spool_read_outbox(struct spool *spool, const struct spool_mark *after, struct hit *hits, size_t max,
                                    size_t *count) __attribute__((warn_unused_result));

/* The database moved the mark to MARK: what is up to it is only kept from now on. */
enum spool_status spool_confirm(struct spool *spool, const struct spool_mark *mark) __attribute__((warn_unused_result));

/* The database refuses outbox number ID for REASON (printable): keep it apart until the next spool_open(). */
enum spool_status spool_set_aside(struct spool *spool, int64_t id, const char *reason)
    __attribute__((warn_unused_result));

void spool_depth(struct spool *spool, struct spool_depth *depth);

/* Wait until the outbox got something since *SEEN (start with 0), or DEADLINE_MS (monotonic), or spool_wake(). */
void spool_wait_outbox(struct spool *spool, uint64_t *seen, int64_t deadline_ms);
void spool_wake(struct spool *spool);

#endif
