/* judging.h - the loop between inbox and outbox: it takes hits from the spool, asks the judge, and settles them.
 *
 * Threads:  one of its own.
 * Owns:     the hits it has read; borrows the spool and the judge, which must outlive it.
 * Fails:    only to start.  A hit without an answer after the verdict timeout is unknown and not recorded; so is one found in the
 *           inbox after a restart that is older than that, unless it hit a trap.
 * Limits:   JUDGING_WINDOW hits in memory; the rest waits in the inbox.  No more than about JUDGING_DOMAINS domains are
 *           being found out about for them at a time, first come, first served; hits on known ones pass those that wait.
 *           An offence waits for what DNS says of its client no longer than JUDGING_NAME_MS when hits wait in the inbox behind a full
 *           window, and not at all when the daemon stops.
 *           Hits that come within JUDGING_ROUND_MS after others are read with each other.
 *           A hit that waits is asked about again at most every JUDGING_ROUND_MS, however much becomes known meanwhile, and no more
 *           than a fifth of the time goes into that.
 */
#ifndef DAEMON_JUDGING_H
#define DAEMON_JUDGING_H

#include <stdbool.h>
#include <stdint.h>

#include "judge/judge.h"
#include "record/spool.h"

/* With 100 addresses of mail hosts each, JUDGING_DOMAINS fill the judge's table of them (KNOWN_ADDRESSES_MAX). */
enum { JUDGING_WINDOW = 1000, JUDGING_DOMAINS = 400, JUDGING_ROUND_MS = 50, JUDGING_NAME_MS = 1000 };

struct judging;

/* NULL, with errno, when there is no thread for it. */
struct judging *judging_start(struct spool *spool, struct judge *judge, int64_t verdict_timeout_ms);

/* Is there nothing to record of HIT, whatever may be found out?  Then it is counted and told as any other, and needs no place in
 * the spool.  Any thread may call. */
bool judging_at_once(struct judging *judging, const struct hit *hit);

/* The hit with ID is in the inbox now.  Any thread may call. */
void judging_hit_put(struct judging *judging, int64_t id);

/* For hits taken from now on. */
void judging_configure(struct judging *judging, int64_t verdict_timeout_ms);

/* Settle what can be settled at once, leave the rest in the inbox, end the thread and free. */
void judging_stop(struct judging **judging);

#endif
