#include "judge/reached.h"

#include <stdio.h>

void reached_put(struct reached *reached, const char *mx, const struct ipaddr *source, int64_t time_us)
{
    struct reached_probe *place = &reached->probes[(reached->first + reached->count) % REACHED_MAX];

    if (reached->count == REACHED_MAX)
        reached->first = (reached->first + 1) % REACHED_MAX;
    else
        reached->count++;
    snprintf(place->mx, sizeof place->mx, "%s", mx);
    place->source = *source;
    place->time_us = time_us;
}

size_t reached_take(struct reached *reached, struct reached_probe *probes, size_t max)
{
    size_t taken = 0;

    for (; taken < max && reached->count > 0; reached->count--) {
        probes[taken++] = reached->probes[reached->first];
        reached->first = (reached->first + 1) % REACHED_MAX;
    }
    return taken;
}
