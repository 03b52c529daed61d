/* fake_clock.h - base/clock.h for tests: the monotonic clock stands still until it is told to move. */
#ifndef UNIT_FAKE_CLOCK_H
#define UNIT_FAKE_CLOCK_H

#include <stdint.h>

void fake_clock_set_ms(int64_t now_ms);
void fake_clock_advance_ms(int64_t ms);

#endif
