/* report.h - one page that shows what the trap caught: figures of the database, as pictures with the numbers underneath.
 *
 * Whole in itself: it loads nothing and has no script.  It is made of roll-ups (hunnypot.hourly and what sql/007-figures.sql
 * has), and of what waits and is listed now; all figures are of one moment.
 * Threads:  one, that of the connection.
 * Fails:    as db.h says; what was written to OUT until then is no page.  Whether OUT could be written, the caller asks it.
 * Limits:   REPORT_MAX_MS.
 */
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "record/db.h"

/* As far back as hunnypot.hourly goes (keep_figures), so far back it is one bar a day. */
#define REPORT_MAX_MS (400 * 24 * 3600000LL)

/* Write what was since SINCE_MS (milliseconds before now) with the times of ZONE (a name that PostgreSQL knows, else
 * DB_REFUSED) to OUT.  LINKED: with links to the pages of page.h, and to itself.  Within a transaction of its own, which is over
 * then. */
enum db_status report_write(struct db *db, FILE *out, int64_t since_ms, const char *zone,
                            bool linked) __attribute__((warn_unused_result));

#endif
