#include "fake_clock.h"

#include "base/clock.h"

static _Atomic int64_t now_ms = 1000000;

void fake_clock_set_ms(int64_t ms)
{
    now_ms = ms;
}

void fake_clock_advance_ms(int64_t ms)
{
    now_ms += ms;
}

int64_t clock_monotonic_ms(void)
{
    return now_ms;
}

int64_t clock_realtime_us(void)
{
    return now_ms * 1000;
}

struct timespec clock_timespec(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
}
