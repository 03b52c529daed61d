/* pace.h - how slowly one client speaks, as far as a milter can tell.
 *
 * An MTA that writes every command to us at once lets us measure each gap.  Postfix keeps commands that want no answer
 * (HELO and MAIL) until one that does, so that several come at the same moment: then the client had the idle time for
 * each of them.
 * Threads:  one at a time.  Fails: never.  Time is passed in (monotonic milliseconds).
 */
#ifndef MILTER_PACE_H
#define MILTER_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    int64_t since_ms;  /* from here on the client's time runs */
    unsigned commands; /* that came since then */
};

void pace_begin(struct pace *pace, int64_t now_ms);

/* A command came at NOW_MS; SEEN_AT_ONCE: the MTA kept neither it nor anything before it back.
 * True when it came later than IDLE_MS (0: no limit) allows; of one that was kept back, the next that was not tells. */
bool pace_is_late(struct pace *pace, int64_t now_ms, int64_t idle_ms, bool seen_at_once);

/* How long a place is kept for a silent client: KEPT_BACK when the MTA may hold HELO, MAIL and RCPT back. */
int64_t pace_silent_until(int64_t now_ms, int64_t idle_ms, bool kept_back);

#endif
