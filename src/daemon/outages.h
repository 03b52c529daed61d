/* outages.h - what the judge remembers of outages and moves, over a restart: a text file beside the spool (SPOOL.outages).
 *
 * Threads:  one at a time.
 * Fails:    never; what cannot be kept or read is said in the log (once an hour), and forgotten.
 */
#ifndef DAEMON_OUTAGES_H
#define DAEMON_OUTAGES_H

#include "judge/judge.h"

enum { OUTAGES_KEEP_MS = 60000 }; /* news is kept at once; this is for what goes on */

/* Give JUDGE, which was not asked yet, what an earlier process kept beside SPOOL; from then on keep there what JUDGE
 * remembers.  SPOOL must outlive JUDGE. */
void outages_recall(struct judge *judge, const char *spool);

#endif
