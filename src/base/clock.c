#include "base/clock.h"

static int64_t read_ms(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t read_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_realtime_us(void)
{
    return read_us(CLOCK_REALTIME);
}

struct timespec clock_timespec(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
}

/* Should the machine stand still between the two, they disagree later: doubt, as it should be. */
struct clock_moment clock_now(void)
{
    return (struct clock_moment){.boot_ms = read_ms(CLOCK_BOOTTIME), .real_ms = read_ms(CLOCK_REALTIME)};
}

int64_t clock_age_most_ms(const struct clock_moment *then, const struct clock_moment *now)
{
    int64_t boot_ms = clock_age_least_ms(then, now), real_ms = now->real_ms - then->real_ms;

    if (boot_ms == CLOCK_AGE_ENDLESS || real_ms - boot_ms > CLOCK_DISAGREE_MS || boot_ms - real_ms > CLOCK_DISAGREE_MS)
        return CLOCK_AGE_ENDLESS;
    return real_ms > boot_ms ? real_ms : boot_ms;
}

int64_t clock_age_least_ms(const struct clock_moment *then, const struct clock_moment *now)
{
    if (then->boot_ms == 0)
        return CLOCK_AGE_ENDLESS;
    return now->boot_ms > then->boot_ms ? now->boot_ms - then->boot_ms : 0;
}
