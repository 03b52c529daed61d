/* spool_row.h - how a hit lies in a row of the spool, and what a sound row is.  Only for spool*.c.
 *
 * A new column of a hit: here, in both functions of spool_row.c, and a step of spool_format.c that adds it to the files that are.
 * Threads:  the spool's own.
 * Owns:     what is read belongs to the caller: hit_clear().
 */
#ifndef RECORD_SPOOL_ROW_H
#define RECORD_SPOOL_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "record/hit.h"

/* A hit, and what the verdict added: the functions below go by this order. */
#define SPOOL_HIT_COLUMNS \
    "hit_id, time_us, client, client_port, client_name, helo, sender, recipients, recipients_total, domains, null_sender, " \
    "exempt, tls, queue_id, mta_name, local, key_id, hashes, hashes_whole"
#define SPOOL_HIT_MARKS "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
#define SPOOL_VERDICT_COLUMNS "class, domain, primary_mx, primary_age_ms, primaries, owner, name_state, friend, link, doubt"
#define SPOOL_VERDICT_MARKS "?, ?, ?, ?, ?, ?, ?, ?, ?, ?"

/* Nobody gets here by counting, only by damage; SQLite takes no more hits when it has no more numbers. */
#define SPOOL_NUMBER_MAX (INT64_MAX / 2)
#define SPOOL_NUMBER_MAX_SQL "4611686018427387903"

/* Nor is a row that far ahead of the last number given.  Numbers go on behind the last row: they may leap twice that. */
#define SPOOL_LEAP_MAX (INT64_C(1) << 40)

/* Bind HIT to the marks of STATEMENT: SPOOL_HIT_MARKS, and behind them SPOOL_VERDICT_MARKS when WITH_VERDICT. */
void spool_row_bind(sqlite3_stmt *statement, const struct hit *hit, bool with_verdict);

/* Read HIT from the row that STATEMENT is at: its number, SPOOL_HIT_COLUMNS and, when there are more, SPOOL_VERDICT_COLUMNS.
 * LAST: the last number given.  False: the row is no hit that was ever bound, and HIT is empty. */
bool spool_row_read(sqlite3_stmt *statement, int64_t last, struct hit *hit);

#endif
