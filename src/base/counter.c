#include "base/counter.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"

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

static struct {
    atomic_uint_fast64_t sum_us, counts[HISTOGRAM_BOUNDS + 1];
} histograms[HISTOGRAM_COUNT];

static const char *const histogram_names[HISTOGRAM_COUNT] = {
#define X(identifier, name, ...) [HISTOGRAM_##identifier] = (name),
    HISTOGRAM_TABLE(X)
#undef X
};

static const int64_t bounds_us[HISTOGRAM_COUNT][HISTOGRAM_BOUNDS] = {
#define X(identifier, name, meaning, ...) [HISTOGRAM_##identifier] = {__VA_ARGS__},
    HISTOGRAM_TABLE(X)
#undef X
};

const char *counter_histogram_name(enum histogram histogram)
{
    return histogram_names[histogram];
}

const int64_t *counter_bounds_us(enum histogram histogram)
{
    return bounds_us[histogram];
}

void counter_took(enum histogram histogram, int64_t us)
{
    size_t bucket = 0;

    if (us < 0)
        us = 0;
    while (bucket < HISTOGRAM_BOUNDS && us > bounds_us[histogram][bucket])
        bucket++;
    atomic_fetch_add_explicit(&histograms[histogram].sum_us, (uint64_t)us, memory_order_relaxed);
    atomic_fetch_add_explicit(&histograms[histogram].counts[bucket], 1, memory_order_relaxed);
}

static atomic_int_fast64_t moments[MOMENT_COUNT]; /* ms since 1970; 0: never */

static const char *const moment_names[MOMENT_COUNT] = {
    [MOMENT_SESSION] = "session", [MOMENT_HIT] = "hit", [MOMENT_JUDGING] = "judging", [MOMENT_OLDEST] = "oldest",
};

static pthread_mutex_t hosts_mutex = PTHREAD_MUTEX_INITIALIZER; /* covers `hosts` */
static char *hosts;

void counter_note(enum moment moment, int64_t ms)
{
    atomic_store_explicit(&moments[moment], ms, memory_order_relaxed);
}

void counter_tell_hosts(const char *json)
{
    char *copy = alloc_text(json), *before;

    pthread_mutex_lock(&hosts_mutex);
    before = hosts;
    hosts = copy;
    pthread_mutex_unlock(&hosts_mutex);
    free(before);
}

static void print_histograms(FILE *stream)
{
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        fprintf(stream, "%s\"%s\":{\"sum_us\":%" PRIuFAST64 ",\"counts\":", i > 0 ? "," : ",\"histograms\":{", histogram_names[i],
                atomic_load_explicit(&histograms[i].sum_us, memory_order_relaxed));
        for (int bucket = 0; bucket <= HISTOGRAM_BOUNDS; bucket++)
            fprintf(stream, "%c%" PRIuFAST64, bucket > 0 ? ',' : '[',
                    atomic_load_explicit(&histograms[i].counts[bucket], memory_order_relaxed));
        fputs("]}", stream);
    }
    fputc('}', stream);
}

static void print_moments(FILE *stream)
{
    fprintf(stream, ",\"moments\":{\"sent\":%" PRId64, clock_realtime_us() / 1000);
    for (int i = 0; i < MOMENT_COUNT; i++) {
        int64_t ms = atomic_load_explicit(&moments[i], memory_order_relaxed);

        if (ms != 0)
            fprintf(stream, ",\"%s\":%" PRId64, moment_names[i], ms);
    }
    fputc('}', stream);
}

char *counter_json(void)
{
    char *json;
    size_t size;
    FILE *stream = alloc_text_begin(&json, &size);

    for (int i = 0; i < COUNTER_COUNT; i++)
        fprintf(stream, "%c\"%s\":%" PRIu64, i > 0 ? ',' : '{', names[i], counter_value((enum counter)i));
    print_histograms(stream);
    print_moments(stream);
    pthread_mutex_lock(&hosts_mutex);
    if (hosts != NULL)
        fprintf(stream, ",\"hosts\":%s", hosts);
    pthread_mutex_unlock(&hosts_mutex);
    fputc('}', stream);
    alloc_text_end(stream);
    return json;
}
