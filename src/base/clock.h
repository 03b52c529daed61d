/* clock.h - three clocks, and how old something is.  Threads: any.  Fails: never.
 *
 * Waits and deadlines are measured on the monotonic clock: a jump of the system's time harms none of them.  But that clock
 * stands still while the machine sleeps, so how old something is that is remembered is told by a struct clock_moment:
 * CLOCK_BOOTTIME goes on in a suspend, though not while a hypervisor holds the machine; the real time may have been put
 * right after that, or wrong at any time.  So something is as old as the larger of the two says, and when they disagree
 * nobody knows.  The real time by itself is only ever evidence.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds since some fixed point; never goes back.  For waits only. */
int64_t clock_monotonic_ms(void);

/* The same in microseconds, for what takes less. */
int64_t clock_monotonic_us(void);

/* Microseconds since 1970-01-01 UTC. */
int64_t clock_realtime_us(void);

/* The moment MS (monotonic) for pthread_cond_clockwait() and friends with CLOCK_MONOTONIC. */
struct timespec clock_timespec(int64_t ms);

/* When something was seen; all zero: never. */
struct clock_moment {
    int64_t boot_ms, real_ms; /* CLOCK_BOOTTIME; since 1970 */
};

enum { CLOCK_DISAGREE_MS = 5000 }; /* more than slewing (500 ppm at most) makes of two hours; less than what does harm */
#define CLOCK_AGE_ENDLESS INT64_MAX
#define CLOCK_SECOND_US INT64_C(1000000)

struct clock_moment clock_now(void);

/* How old at NOW what was seen at THEN may be at most, 0 or more; CLOCK_AGE_ENDLESS when the clocks disagree by more than
 * CLOCK_DISAGREE_MS, and for never.  What has to be fresh goes by this. */
int64_t clock_age_most_ms(const struct clock_moment *then, const struct clock_moment *now);

/* How old it is at least, 0 or more (no clock but the real one ever runs ahead); CLOCK_AGE_ENDLESS for never.  What has to
 * be long over, as an outage has, goes by this. */
int64_t clock_age_least_ms(const struct clock_moment *then, const struct clock_moment *now);

#endif
