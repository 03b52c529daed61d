/* spool_format.h - the tables of a spool file, and the steps from each format to the next.  Only for spool*.c.
 *
 * PRAGMA user_version says which format a file has.  Steps go forward only, each in one transaction of its own: a daemon that
 * is killed between two finds a whole file of the format in between.
 * Threads:  the spool's own.
 */
#ifndef RECORD_SPOOL_FORMAT_H
#define RECORD_SPOOL_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

/* A link, in SQL: a UUID of version 4. */
#define SPOOL_FORMAT_LINK \
    "lower(printf('%s-%s-4%s-8%s-%s', hex(randomblob(4)), hex(randomblob(2)), substr(hex(randomblob(2)), 2), " \
    "substr(hex(randomblob(2)), 2), hex(randomblob(6))))"

/* What a file that is made now begins with. */
struct spool_birth {
    const char *life;
    int64_t last_inbox, last_outbox; /* numbers go on behind these */
};

/* Bring the file DB, which may be empty, to the format of this program.  Returns a result code of SQLite; SQLITE_MISUSE, with
 * the reason in WHY, when the file is no spool, or a newer program's, and was left as it is. */
int spool_format_upgrade(sqlite3 *db, const struct spool_birth *birth, char *why, size_t why_size);

/* One number, or one text, that SQL asks for; 0 or "" when there is no row.  Returns a result code of SQLite. */
int spool_format_number(sqlite3 *db, const char *sql, int64_t *number);
int spool_format_text(sqlite3 *db, const char *sql, char *text, size_t size);

#endif
