/* outages.h - what the judge remembers of outages, over a restart: a text file beside the spool (SPOOL.outages).
 *
 * Threads:  one at a time.
 * Fails:    never; what cannot be kept or read is said in the log (once an hour), and forgotten.
 */
#ifndef DAEMON_OUTAGES_H
#define DAEMON_OUTAGES_H

#include "judge/judge.h"

enum { OUTAGES_KEEP_MS = 60000 }; /* a crash costs what was seen within that time */

/* Give JUDGE, which was not asked yet, what an earlier process kept beside SPOOL. */
void outages_recall(struct judge *judge, const char *spool);

/* Keep what JUDGE remembers now; the file is replaced durably, or removed when there is nothing to remember. */
void outages_keep(struct judge *judge, const char *spool);

#endif
