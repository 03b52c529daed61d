/* clock.h - the two clocks.  Threads: any.  Fails: never.
 *
 * Durations are measured on the monotonic clock, so that a jump of the system's time harms nothing;
 * the real time is only ever evidence.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds since some fixed point; never goes back. */
int64_t clock_monotonic_ms(void);

/* Microseconds since 1970-01-01 UTC. */
int64_t clock_realtime_us(void);

/* The moment MS (monotonic) for pthread_cond_clockwait() and friends with CLOCK_MONOTONIC. */
struct timespec clock_timespec(int64_t ms);

#endif
