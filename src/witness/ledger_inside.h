/* ledger_inside.h - what ledger_file.c (the file and its queries) gives ledger.c.  For these two only.
 *
 * Threads:  one at a time, as for the ledger itself.
 */
#ifndef WITNESS_LEDGER_INSIDE_H
#define WITNESS_LEDGER_INSIDE_H

#include <sqlite3.h>

#include "witness/ledger.h"

enum query {
    Q_BEGIN, Q_COMMIT, Q_ROLLBACK,
    Q_LETTER_CLIENT, Q_LETTER_SENDER, Q_LETTER_GET, Q_LETTER_ACCEPT, Q_LETTER_NAMED, Q_LETTER_CLOSE,
    Q_RECIPIENT_PUT, Q_RECIPIENT_GET, Q_RECIPIENT_CLOSE, Q_ARRIVED,
    Q_VISIT, Q_VISIT_REFUSED, Q_VISIT_LETTER, Q_LETTER_COUNT,
    Q_PLACE_GET, Q_PLACE_SET, Q_STRETCH_LAST, Q_STRETCH_SET, Q_STRETCH_UNTOLD, Q_STRETCH_TOLD,
    Q_HIT_PUT, Q_HIT_NUMBER, Q_HIT_HASH, Q_MATCH_ARRIVED, Q_MATCH_HITS, Q_LOOK_SEEN, Q_LOOK_REFUSED, Q_LOOKED,
    Q_FINDING_UNTOLD, Q_FINDING_TOLD, Q_PROBE_PUT, Q_PROBE_UNTOLD, Q_PROBE_TOLD, Q_NOTE_GET, Q_NOTE_SET, Q_COUNT
};

struct ledger {
    char *path;
    int lock_fd;
    sqlite3 *db;
    sqlite3_stmt *prepared[Q_COUNT];
    struct envelope_keys keys;
    bool in_transaction;
    char why[LEDGER_WHY_SIZE];
};

/* Run QUERY, which gives no rows, with values as SHAPE says: t text, i int64_t, b bytes (a pointer, NULL for none, and a
 * size_t).  False: ledger_why() tells; an open transaction is rolled back. */
bool ledger_run(struct ledger *ledger, enum query query, const char *shape, ...);

/* Begin QUERY, with values likewise; ledger_row() gives its rows.  NULL when it failed, which ledger_row() takes. */
sqlite3_stmt *ledger_read(struct ledger *ledger, enum query query, const char *shape, ...);

/* *ROW tells whether there is one more; after the last one, and after a failure (false), the query is done with. */
bool ledger_row(struct ledger *ledger, sqlite3_stmt *statement, bool *row);

/* LENGTH bytes of COLUMN of the row; false when they are not there. */
bool ledger_column_bytes(sqlite3_stmt *statement, int column, void *out, size_t length);

/* The text of COLUMN, cut to SIZE with its NUL; "" for none. */
void ledger_column_text(sqlite3_stmt *statement, int column, char *out, size_t size);

/* Note what SQLite says for ledger_why(), and roll back; returns false. */
bool ledger_fail(struct ledger *ledger);

/* The one number that SQL, a PRAGMA or a SELECT, gives. */
bool ledger_number(sqlite3 *db, const char *sql, int64_t *number);

#endif
