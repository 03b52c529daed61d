/* fake_clock.h - base/clock.h for tests, in place of the system's clocks: they stand still until they are told to move. */
#ifndef UNIT_FAKE_CLOCK_H
#define UNIT_FAKE_CLOCK_H

#include <stdint.h>

/* All clocks agree, at NOW_MS. */
void fake_clock_set_ms(int64_t now_ms);

/* Time goes by, for all clocks. */
void fake_clock_advance_ms(int64_t ms);

/* The machine sleeps: the monotonic clock stands still. */
void fake_clock_suspend_ms(int64_t ms);

/* The real time is moved, to either side: by hand, or because a hypervisor had held the machine. */
void fake_clock_step_ms(int64_t ms);

/* From now on the real time runs faster by PPM millionths than the others. */
void fake_clock_drift_ppm(int64_t ppm);

#endif
