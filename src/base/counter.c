#include "base/counter.h"

#include <assert.h>
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

/* COUNTER_COUNT: none. */
static const enum counter verdict_counters[] = {
#define COUNTER_AT_FINAL(identifier) COUNTER_##identifier
#define COUNTER_AT_WAITING(identifier) COUNTER_COUNT
#define X(argument, identifier, name, rank, counts, meaning) [VERDICT_##identifier] = COUNTER_AT_##counts(identifier),
    VERDICT_TABLE(X, )
#undef X
};

_Static_assert(sizeof verdict_counters / sizeof *verdict_counters == VERDICT_COUNT, "each verdict counts or waits");

void counter_add_verdict(enum verdict verdict)
{
    assert(verdict_counters[verdict] != COUNTER_COUNT);
    counter_add(verdict_counters[verdict], 1);
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
