/* spool_file.h - the SQLite file behind a spool: opened, upgraded, counted, set aside when it is damaged.  Only for spool.c.
 *
 * Threads:  the spool's own.
 * Fails:    a result code of SQLite, and `why`: one printable line.
 */
#ifndef RECORD_SPOOL_FILE_H
#define RECORD_SPOOL_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "base/uuid.h"
#include "record/spool.h"

enum { SPOOL_WHY_SIZE = 256 };

enum spool_statement {
    SPOOL_BEGIN, SPOOL_COMMIT, SPOOL_ROLLBACK,
    SPOOL_PUT,          /* SPOOL_HIT_MARKS */
    SPOOL_READ_INBOX,   /* with a number above ?1, at most ?2 */
    SPOOL_LEAVE_INBOX,  /* number ?1 */
    SPOOL_COPY_INBOX,   /* number ?1 to `aside`, for reason ?2 */
    SPOOL_SEND,         /* SPOOL_HIT_MARKS, SPOOL_VERDICT_MARKS */
    SPOOL_READ_OUTBOX,  /* as SPOOL_READ_INBOX */
    SPOOL_SET_MARK,     /* number ?1, link ?2 */
    SPOOL_SKIP,         /* the next number of the outbox is behind ?1 */
    SPOOL_FIND_LINK,    /* ?1 in the outbox: its number */
    SPOOL_COUNT_KEPT,   /* of the outbox, up to number ?1 */
    SPOOL_COUNT_PASSED, /* of the outbox, between the mark and number ?1 */
    SPOOL_FORGET,       /* of the outbox, up to number ?1 */
    SPOOL_FORGET_SOME,  /* the first ?1 of the outbox */
    SPOOL_ANCESTORS,    /* the lives before, joined by commas */
    SPOOL_END_LIFE,
    SPOOL_BEGIN_LIFE,   /* life ?1, in place ?2 */
    SPOOL_DOUBT_OUTBOX, SPOOL_DOUBT_ASIDE,
    SPOOL_COPY_OUTBOX,  /* as SPOOL_COPY_INBOX */
    SPOOL_LEAVE_OUTBOX, /* number ?1 */
    SPOOL_OLDEST,       /* when the first of the inbox, and of the outbox behind number ?1, came; or NULL */
    SPOOL_STATEMENT_COUNT
};

/* What the file holds, and the highest numbers it ever gave out. */
struct spool_tally {
    struct spool_depth depth;
    int64_t last_inbox, last_outbox;
    struct spool_mark mark;
    int64_t passed;      /* by the mark, since all that is kept was counted */
    int64_t doubt_inbox; /* hits of the inbox up to this number are in doubt */
};

/* What a file was when it was closed in order, and what was in it.  As long as all of that is true, nobody wrote to it: the time of
 * the last change, of its inode too, cannot be set, stat(2). */
struct spool_seal {
    uint64_t inode;
    int64_t size, changed_ns;
    struct spool_depth depth;
};

struct spool_file {
    char *path;
    sqlite3 *db;        /* NULL: not open */
    sqlite3_stmt *prepared[SPOOL_STATEMENT_COUNT];
    struct spool_tally tally;
    uint64_t wal_inode; /* 0: not seen yet */
    int64_t lost_inbox; /* hits up to this number were in a file that was set aside */
    const struct spool_seal *seal; /* holds: neither look through the file nor count; the next spool_file_open() uses it up */
    char why[SPOOL_WHY_SIZE];
};

/* Open or create the file `path`.  A damaged one is set aside, and a new one started in its place: while we run, its numbers go
 * on, so that what others remember of them stays true.  When the file is not where it was, a new life begins. */
int spool_file_open(struct spool_file *file);

/* CHECKPOINT: let the file be one file again. */
void spool_file_close(struct spool_file *file, bool checkpoint);

/* What SEAL says of the file under the name, but for `depth`; false when that cannot be told: it has a -wal, or its last change is of this
 * very moment, so that another one would not show. */
bool spool_file_look(const struct spool_file *file, struct spool_seal *seal);

/* Close the file and rename it, with its -wal and -shm. */
bool spool_file_set_aside(struct spool_file *file);

/* Does the name still lead to the file that is open, and to its -wal? */
bool spool_file_is_there(struct spool_file *file);

/* It does not: write what is open to a new file under that name, and go on with it.  What is in its place is renamed. */
int spool_file_rescue(struct spool_file *file);

/* End the life: the mark goes back to the beginning, and all hits are in doubt.  Within a transaction; or, with the REASON for the
 * log (may be NULL), as one. */
int spool_file_begin_life(struct spool_file *file);
int spool_file_new_life(struct spool_file *file, const char *reason);

/* Does RESULT say that the file is damaged? */
bool spool_file_is_damage(int result);

/* Keep TEXT in `why`: what SQLite says may have several lines, and names from the file in it. */
void spool_file_note(struct spool_file *file, const char *text);

/* Run a prepared statement that gives no rows. */
int spool_file_run(struct spool_file *file, enum spool_statement which);

/* Bring tally.depth.oldest_us up to date. */
void spool_file_look_at_age(struct spool_file *file);

/* What was set aside goes to the end of the outbox again.  When it cannot be done now, it stays aside. */
void spool_file_retry_aside(struct spool_file *file);

#endif
