#include "fake_store.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "fake_clock.h"
#include "record/store.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct fake_store fake;

/* A look takes half a millisecond, and longer on a busy machine; the fake clock goes faster for what takes long. */
enum { LOOK_MS = 10, LOOKS_BEFORE_LONG = 1000, LONG_LOOK_MS = 100, LOOKS = 40000 };

struct store {
    int stop_fd;
};

void fake_store_reset(const struct fake_store *to)
{
    pthread_mutex_lock(&mutex);
    fake = *to;
    if (fake.record_most == 0)
        fake.record_most = FAKE_STORE_MAX;
    if (fake.refusal == DB_OK)
        fake.refusal = DB_REFUSED;
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
        fake_clock_advance_ms(look < LOOKS_BEFORE_LONG ? LOOK_MS : LONG_LOOK_MS);
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

struct store *store_create(const char *conninfo, const char *sensor, int stop_fd)
{
    struct store *store = alloc_zeroed(1, sizeof *store);

    (void)conninfo;
    (void)sensor;
    store->stop_fd = stop_fd;
    return store;
}

void store_destroy(struct store **store)
{
    free(*store);
    *store = NULL;
}

enum db_status store_connect(struct store *store)
{
    pthread_mutex_lock(&mutex);
    fake.connects++;
    if (fake.frozen)
        return freeze(store);
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

static struct fake_life *find_life(const char *life)
{
    for (size_t i = 0; i < FAKE_LIVES_MAX; i++) {
        if (fake.lives[i].life[0] == '\0')
            snprintf(fake.lives[i].life, UUID_SIZE, "%s", life);
        if (strcmp(fake.lives[i].life, life) == 0)
            return &fake.lives[i];
    }
    abort();
}

enum db_status store_hello(struct store *store, const char *life, const char *ancestors, char mark[UUID_SIZE])
{
    (void)store;
    (void)ancestors;
    pthread_mutex_lock(&mutex);
    memcpy(mark, find_life(life)->mark, UUID_SIZE);
    return answer(DB_OK);
}

static bool refuses(const struct hit *hits, size_t count)
{
    for (size_t i = 0; i < count && fake.refuse_helo != NULL; i++)
        if (strcmp(hits[i].helo, fake.refuse_helo) == 0)
            return true;
    return false;
}

static bool is_recorded(const char *uuid)
{
    for (size_t i = 0; i < fake.recorded_count; i++)
        if (strcmp(fake.recorded_hits[i], uuid) == 0)
            return true;
    return false;
}

static void record(const struct hit *hit)
{
    if (fake.recorded_count == FAKE_STORE_MAX || (hit->doubt && is_recorded(hit->uuid)))
        return;
    memcpy(fake.recorded_hits[fake.recorded_count], hit->uuid, UUID_SIZE);
    memcpy(fake.recorded_links[fake.recorded_count], hit->link, UUID_SIZE);
    fake.last = fake.recorded[fake.recorded_count++] = hit->id;
}

/* As record_batch() does. */
static void move_mark(const struct spool_mark *from, const struct hit *hits, size_t count, char mark[UUID_SIZE])
{
    struct fake_life *life = find_life(from->life);

    if (strcmp(life->mark, from->link) == 0) {
        for (size_t i = 0; i < count; i++)
            record(&hits[i]);
        memcpy(life->mark, hits[count - 1].link, UUID_SIZE);
    }
    memcpy(mark, life->mark, UUID_SIZE);
}

enum db_status store_record(struct store *store, const struct spool_mark *from, const struct hit *hits, size_t count,
                            char mark[UUID_SIZE])
{
    bool fails;

    pthread_mutex_lock(&mutex);
    fake.batches++;
    fake_clock_advance_ms(fake.record_takes_ms);
    if (fake.frozen)
        return freeze(store);
    fails = fake.record_failures > 0 && fake.record_failures-- > 0;
    if ((fails && !fake.record_then_fail) || count > fake.record_most)
        return answer(DB_UNREACHABLE);
    if (refuses(hits, count))
        return answer(fake.refusal);
    if (fake.record != DB_OK)
        return answer(fake.record);
    move_mark(from, hits, count, mark);
    return answer(fails ? DB_UNREACHABLE : DB_OK);
}

enum db_status store_try(struct store *store, const struct spool_mark *from, const struct hit *hit)
{
    (void)store;
    (void)from;
    pthread_mutex_lock(&mutex);
    return answer(refuses(hit, 1) ? fake.refusal : fake.record);
}

enum db_status store_heartbeat(struct store *store, const char *version, int64_t inbox, int64_t outbox, int64_t aside,
                               const char *counters, bool *alone)
{
    (void)store;
    (void)version;
    (void)inbox;
    (void)outbox;
    (void)aside;
    (void)counters;
    *alone = true;
    pthread_mutex_lock(&mutex);
    fake.heartbeats++;
    return answer(fake.heartbeat);
}

enum db_status store_tick(struct store *store, bool *more, char **held)
{
    (void)store;
    *more = false;
    *held = NULL;
    pthread_mutex_lock(&mutex);
    fake.ticks++;
    return answer(fake.tick);
}

enum db_status store_probes(struct store *store, const struct store_probe *probes, size_t count)
{
    (void)store;
    pthread_mutex_lock(&mutex);
    fake.probe_reports++;
    if (fake.probes == DB_OK) {
        fake.probes_told += (int64_t)count;
        fake.last_probe_us = probes[count - 1].time_us;
    }
    return answer(fake.probes);
}

static int64_t client_number(const struct ipaddr *client)
{
    return client->bytes[2] * 256 + client->bytes[3];
}

/* As sensor_friends() does. */
enum db_status store_friends(struct store *store, struct store_friend *friends, size_t *count, const struct ipaddr *after)
{
    int64_t behind = after->family == 0 ? -1 : client_number(after);

    (void)store;
    pthread_mutex_lock(&mutex);
    if (fake.friends != DB_OK)
        return answer(fake.friends);
    fake.friend_reports++;
    for (size_t i = 0; i < *count; i++)
        for (size_t j = 0; j < fake.client_count; j++)
            if (fake.clients[j].number == client_number(&friends[i].client) && friends[i].state != FRIEND_UNASKED)
                fake.clients[j].state = friends[i].state;
    *count = 0;
    for (size_t i = 0; i < fake.client_count && *count < STORE_FRIENDS_MAX; i++)
        if (fake.clients[i].state == FRIEND_UNANSWERED && fake.clients[i].number > behind)
            friends[(*count)++] = (struct store_friend){
                .client = {.family = 4, .bytes = {192, 0, (uint8_t)(fake.clients[i].number / 256), (uint8_t)fake.clients[i].number}},
                .state = FRIEND_UNANSWERED};
    return answer(DB_OK);
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
