#include "fake_store.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "record/store.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct fake_store fake;

struct store {
    int stop_fd;
};

void fake_store_reset(const struct fake_store *to)
{
    pthread_mutex_lock(&mutex);
    fake = *to;
    pthread_mutex_unlock(&mutex);
}

struct fake_store *fake_store_lock(void)
{
    pthread_mutex_lock(&mutex);
    return &fake;
}

void fake_store_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

bool fake_store_wait(bool (*true_now)(const struct fake_store *fake, int64_t number), int64_t number)
{
    struct timespec deadline = clock_timespec(clock_monotonic_ms() + 20000);
    bool came;

    pthread_mutex_lock(&mutex);
    while (!(came = true_now(&fake, number)) &&
           pthread_cond_clockwait(&changed, &mutex, CLOCK_MONOTONIC, &deadline) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&mutex);
    return came;
}

static enum db_status answer(enum db_status status)
{
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return status;
}

static enum db_status freeze(struct store *store)
{
    struct pollfd stop = {.fd = store->stop_fd, .events = POLLIN};

    answer(DB_OK);
    poll(&stop, 1, -1);
    return DB_STOPPED;
}

struct store *store_create(const char *conninfo, const char *sensor, const char *spool_id, int stop_fd)
{
    struct store *store = alloc_zeroed(1, sizeof *store);

    (void)conninfo;
    (void)sensor;
    (void)spool_id;
    store->stop_fd = stop_fd;
    return store;
}

void store_destroy(struct store **store)
{
    free(*store);
    *store = NULL;
}

enum db_status store_connect(struct store *store, int64_t *recorded)
{
    pthread_mutex_lock(&mutex);
    fake.connects++;
    if (fake.frozen)
        return freeze(store);
    *recorded = fake.last;
    return answer(fake.connect);
}

static bool refuses(const struct hit *hits, size_t count)
{
    for (size_t i = 0; i < count && fake.refuse_helo != NULL; i++)
        if (strcmp(hits[i].helo, fake.refuse_helo) == 0)
            return true;
    return false;
}

enum db_status store_record(struct store *store, const struct hit *hits, size_t count)
{
    bool fails;

    pthread_mutex_lock(&mutex);
    fake.batches++;
    if (fake.frozen)
        return freeze(store);
    fails = fake.record_failures > 0 && fake.record_failures-- > 0;
    if (fails && !fake.record_then_fail)
        return answer(DB_UNREACHABLE);
    if (refuses(hits, count))
        return answer(DB_REFUSED);
    for (size_t i = 0; i < count; i++)
        if (hits[i].id > fake.last && fake.recorded_count < FAKE_STORE_MAX)
            fake.last = fake.recorded[fake.recorded_count++] = hits[i].id;
    return answer(fails ? DB_UNREACHABLE : DB_OK);
}

enum db_status store_heartbeat(struct store *store, const char *version, int64_t inbox, int64_t outbox, int64_t aside,
                               const char *counters)
{
    (void)store;
    (void)version;
    (void)inbox;
    (void)outbox;
    (void)aside;
    (void)counters;
    pthread_mutex_lock(&mutex);
    fake.heartbeats++;
    return answer(DB_OK);
}

void store_disconnect(struct store *store)
{
    (void)store;
}

const char *store_why(const struct store *store)
{
    const char *why;

    (void)store;
    pthread_mutex_lock(&mutex);
    why = fake.why;
    pthread_mutex_unlock(&mutex);
    return why;
}
