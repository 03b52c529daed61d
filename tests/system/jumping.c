/* In place of base/clock: the real time is as many seconds off as /run/testbed/clock says. */
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

int64_t clock_monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_realtime_us(void)
{
    FILE *file = fopen("/run/testbed/clock", "r");
    char offset_s[24] = "";
    struct timespec now;

    if (file != NULL) {
        if (fgets(offset_s, sizeof offset_s, file) == NULL)
            offset_s[0] = '\0';
        fclose(file);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    return ((int64_t)now.tv_sec + strtoll(offset_s, NULL, 10)) * 1000000 + now.tv_nsec / 1000;
}

struct timespec clock_timespec(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
}
