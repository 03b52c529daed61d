/* moved.h - has the mail of a domain moved so lately that the old answer of DNS may still be obeyed?
 *
 * Whoever keeps an old answer goes by it for its TTL: after a change of MX set, preference or a host's address, or when a
 * domain got its first MX, its clients are in doubt for that long, at most MOVED_MAX_MS.  Answers that take turns (DNS
 * that balances load) are no change, once each of them has come back MOVED_TURNS times.
 * Threads:  the caller's mutex covers all calls.
 * Owns:     nothing; plain values.  Time is passed in (monotonic milliseconds).
 * Fails:    never; an answer that is doubtful must not be noted.
 */
#ifndef JUDGE_MOVED_H
#define JUDGE_MOVED_H

#include <stdbool.h>
#include <stdint.h>

#include "judge/mx.h"

enum {
    MOVED_MAX_MS = 3 * 86400 * 1000,
    MOVED_ABSENT_MS = 3 * 3600 * 1000, /* how long "there is no MX" is kept: RFC 2308 5 has one to three hours */
    MOVED_TURNS = 5,                   /* a domain that fails over and back does so less often */
    MOVED_TURNS_MS = 4 * 3600 * 1000,  /* an answer that stayed away for longer does not take turns */
    MOVED_PAST = 8                     /* answers that are remembered */
};

struct moved_answer {
    uint64_t fingerprint; /* 0: none */
    int64_t ttl_ms;       /* the longest that was seen */
    int64_t seen_ms;
    unsigned turns;       /* how often it became the answer, never away for longer than MOVED_TURNS_MS */
};

struct moved { /* all zero: nothing is known */
    struct moved_answer past[MOVED_PAST];
    unsigned now;     /* which of them is in force */
    int64_t until_ms; /* in doubt until then */
};

/* DNS said ANSWER at NOW_MS.  Returns whether that is a move. */
bool moved_note(struct moved *moved, const struct mx_answer *answer, int64_t now_ms);

/* As if the answer with FINGERPRINT and TTL_MS had been seen at SEEN_MS, and a move before that were in doubt until UNTIL_MS. */
void moved_recall(struct moved *moved, uint64_t fingerprint, int64_t ttl_ms, int64_t seen_ms, int64_t until_ms);

static inline const struct moved_answer *moved_now(const struct moved *moved)
{
    return &moved->past[moved->now];
}

#endif
