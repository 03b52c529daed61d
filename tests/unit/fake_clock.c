#include "fake_clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t monotonic_ms = 1000000, asleep_ms, real_ahead_us, drift_ppm;

void fake_clock_set_ms(int64_t ms)
{
    monotonic_ms = ms;
    asleep_ms = real_ahead_us = drift_ppm = 0;
}

void fake_clock_advance_ms(int64_t ms)
{
    monotonic_ms += ms;
    real_ahead_us += ms * drift_ppm / 1000;
}

void fake_clock_suspend_ms(int64_t ms)
{
    asleep_ms += ms;
}

void fake_clock_step_ms(int64_t ms)
{
    real_ahead_us += ms * 1000;
}

void fake_clock_drift_ppm(int64_t ppm)
{
    drift_ppm = ppm;
}

/* In place of libc's, for base/clock and whoever else asks. */
int clock_gettime(clockid_t id, struct timespec *now)
{
    int64_t us = monotonic_ms * 1000;

    if (id != CLOCK_MONOTONIC)
        us += asleep_ms * 1000;
    if (id == CLOCK_REALTIME)
        us += real_ahead_us;
    *now = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    return 0;
}
