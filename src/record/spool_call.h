/* spool_call.h - what the calls of record/spool do to the file.
 *
 * Each runs within a transaction that its caller began and ends, with others before and behind it; after a rollback the
 * caller puts the tally of the file back, and may run it again.  What each is for says the function of the same name in
 * record/spool.h; keep_less is for when nobody calls: it forgets what is kept for longer than it is to be.
 * Threads:  the thread of the spool only.
 * Owns:     nothing; what a call points to is its caller's, but for `text`, which that caller frees.
 * Fails:    with a result code of SQLite; `status` is what a call that did not fail found.
 */
#ifndef RECORD_SPOOL_CALL_H
#define RECORD_SPOOL_CALL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record/hit.h"
#include "record/spool.h"
#include "record/spool_file.h"

enum { SPOOL_KEEPS = 64 };

/* When the mark got where.  Marks that come close together share one, and what is up to `number` is forgotten when the last of
 * them is `keep_ms` old. */
struct spool_keep {
    int64_t since_ms, number;
};

/* What is the thread's own. */
struct spool_own {
    struct spool_file file; /* not open: could not be, is tried again with each round */
    int64_t limit, keep_ms;
    struct spool_keep keeps[SPOOL_KEEPS]; /* oldest first */
    size_t keep_count;
};

/* One call that waits for its turn.  RUN returns a result code of SQLite; it may be called again after a rollback. */
struct spool_call {
    int (*run)(struct spool_own *own, struct spool_call *call);
    struct hit *hits;         /* put: the one; read: room for COUNT */
    const struct hit *judged; /* settle: COUNT of them */
    size_t count, got;
    const char *link;         /* agree */
    char *text;               /* ancestors: the answer */
    struct spool_mark *mark;  /* confirm, read: the one that goes with them; mark, agree: room for it */
    size_t damaged, lost;     /* read: rows that are no hits, and how many of them `aside` did not take */
    int64_t id;
    const char *reason;
    enum spool_statement read;
    enum spool_status status;
    pthread_cond_t finished; /* `done` is */
    bool done;
    struct spool_call *next;
};

int spool_call_put(struct spool_own *own, struct spool_call *call);
int spool_call_read(struct spool_own *own, struct spool_call *call);
int spool_call_settle(struct spool_own *own, struct spool_call *call);
int spool_call_mark(struct spool_own *own, struct spool_call *call);
int spool_call_ancestors(struct spool_own *own, struct spool_call *call);
int spool_call_agree(struct spool_own *own, struct spool_call *call);
int spool_call_confirm(struct spool_own *own, struct spool_call *call);
int spool_call_set_aside(struct spool_own *own, struct spool_call *call);
int spool_call_keep_less(struct spool_own *own, struct spool_call *call);

/* Clear the hits that CALL has read. */
void spool_call_forget_read(struct spool_call *call);

#endif
