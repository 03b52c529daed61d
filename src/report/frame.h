/* frame.h - the time that a page is about, and what hits came to in it: read once, and given to each statement.
 *
 * Threads:  one, that of the connection.
 * Owns:     what it read; frame_free().
 * Fails:    as db.h says.
 * Limits:   a bar is a day, up to three days an hour; FRAME_LANES hosts, those with the longest outages.
 */
#ifndef REPORT_FRAME_H
#define REPORT_FRAME_H

#include <stdint.h>

#include "record/db.h"

enum { FRAME_TIMEOUT_MS = 60000, FRAME_COLUMNS = 15, FRAME_LANES = 12 };

struct frame {
    struct db_result *result;
};

/* Read what was since SINCE_MS before now, by the clock of ZONE. */
enum db_status frame_read(struct frame *frame, struct db *db, int64_t since_ms,
                          const char *zone) __attribute__((warn_unused_result));
void frame_free(struct frame *frame);

/* The beginning of all statements, "WITH ...", which have the columns of the frame as parameters.
 * "span": its first and last bar, as the clock shows it, how long a bar is, the clock, and when it begins; "bars": all of them;
 * "hits": what they came to, with the bar "at"; "moves" of the list; "listed": networks on it now;
 * "week": hits by day and hour, as the clock shows it. */
extern const char frame_sql[];

void frame_parameters(const struct frame *frame, const char *parameters[FRAME_COLUMNS]);

/* The statement that chart_lanes() wants, behind BEGIN with its "span": mail hosts, of hunnypot.outage o where OUTAGE is true,
 * and of hunnypot.reached r where REACHED is.  New memory. */
char *frame_lanes(const char *begin, const char *outage, const char *reached);

#endif
