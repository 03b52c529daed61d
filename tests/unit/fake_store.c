#include "fake_store.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "fake_clock.h"
#include "record/store.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct fake_store fake;

enum { LOOK_MS = 10, LOOKS = 40000 /* half a millisecond each, and longer on a busy machine */ };

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
    bool came = false;

    for (int look = 0; !came && look < LOOKS; look++) {
        pthread_mutex_lock(&mutex);
        came = true_now(&fake, number);
        pthread_mutex_unlock(&mutex);
        if (came)
            break;
        fake_clock_advance_ms(LOOK_MS);
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return came;
}

static enum db_status answer(enum db_status status)
{
    fake.connected = fake.connected && status != DB_UNREACHABLE && status != DB_STOPPED;
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
    fake.connected = fake.connect == DB_OK;
    return answer(fake.connect);
}

bool store_is_connected(const struct store *store)
{
    bool connected;

    (void)store;
    pthread_mutex_lock(&mutex);
    connected = fake.connected;
    pthread_mutex_unlock(&mutex);
    return connected;
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
    fake_clock_advance_ms(fake.record_takes_ms);
    if (fake.frozen)
        return freeze(store);
    fails = fake.record_failures > 0 && fake.record_failures-- > 0;
    if (fails && !fake.record_then_fail)
        return answer(DB_UNREACHABLE);
    if (refuses(hits, count))
        return answer(DB_REFUSED);
    if (fake.record != DB_OK)
        return answer(fake.record);
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
    return answer(fake.heartbeat);
}

enum db_status store_tick(struct store *store, bool *more)
{
    (void)store;
    *more = false;
    pthread_mutex_lock(&mutex);
    fake.ticks++;
    return answer(fake.tick);
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
