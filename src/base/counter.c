#include "base/counter.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"

static atomic_uint_fast64_t values[COUNTER_COUNT];

static const char *const names[COUNTER_COUNT] = {
#define X(identifier, name, meaning) [COUNTER_##identifier] = (name),
    COUNTER_TABLE(X)
#undef X
};

void counter_add(enum counter counter, uint64_t n)
{
    atomic_fetch_add_explicit(&values[counter], n, memory_order_relaxed);
}

uint64_t counter_value(enum counter counter)
{
    return atomic_load_explicit(&values[counter], memory_order_relaxed);
}

char *counter_json(void)
{
    /* A name, 20 digits, quotes, colon and comma each; names are under 40 bytes. */
    size_t size = COUNTER_COUNT * 64 + 3, used = 1;
    char *json = alloc_zeroed(size, 1);

    json[0] = '{';
    for (int i = 0; i < COUNTER_COUNT; i++)
        used += (size_t)snprintf(json + used, size - used, "%s\"%s\":%" PRIu64, i > 0 ? "," : "", names[i],
                                 counter_value((enum counter)i));
    snprintf(json + used, size - used, "}");
    return json;
}
