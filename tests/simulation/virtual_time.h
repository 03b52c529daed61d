/* virtual_time.h - threads on a clock that moves only when it is told to, and only after they all came to rest.
 *
 * The program is linked with --wrap for pthread_create() and the functions of condition variables (tests/simulation/
 * Makefile.inc), so that every thread of the code under test waits in here.  With tests/unit/fake_clock.c as base/clock,
 * a wait with a time limit ends when the clock passes it, whatever the real time is: days pass in seconds, and twice the
 * same input gives twice the same output as far as threads that run at once do not race.
 * Threads:  the first one drives; it must never wait on a condition variable itself.
 * Limits:   code that waits in any other way (poll, sleep) is taken for running, and the clock waits for it.
 */
#ifndef SIMULATION_VIRTUAL_TIME_H
#define SIMULATION_VIRTUAL_TIME_H

#include <stdint.h>

/* Wait until every other thread waits. */
void virtual_time_settle(void);

/* Move the clock to TO_MS, with a stop at each moment that a thread waits for. */
void virtual_time_advance(int64_t to_ms);

/* The next moment that a thread waits for; INT64_MAX: none. */
int64_t virtual_time_next(void);

#endif
