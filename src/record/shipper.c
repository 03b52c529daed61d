/* What a sensor has to say to the database are errands, which share one connection and one thread: hits, signs of life, and the
 * time that goes by.  Each has a rhythm of its own and, when it fails, a pause of its own, so that a batch that the database does
 * not take keeps no heartbeat back, and the other way round.  A lost connection holds up all of them; connecting has its own pause. */
#include "record/shipper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"
#include "record/store.h"

enum {
    HEARTBEAT_MS = 10000,
    TICK_MS = 10000,
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MAX_MS = 30000,
    GATHER_MS = 50, /* hits that come together go together */
    LOG_EVERY_MS = 60000
};
#define NEVER_MS INT64_MAX

enum errand_end {
    ERRAND_DONE,  /* come again after the rhythm */
    ERRAND_MORE,  /* there is more to do at once */
    ERRAND_FAILED /* the database or the spool failed: back off */
};

/* Connecting is the first of them, as nothing goes without it. */
enum errand_name { ERRAND_CONNECT, ERRAND_HITS, ERRAND_HEARTBEAT, ERRAND_TICK, ERRAND_COUNT };

/* How each errand stands. */
struct errand {
    int64_t due_ms;
    int64_t backoff_ms; /* the next pause after a failure */
    bool failing;       /* since its last success */
    _Atomic int64_t logged_ms;
};

struct shipper {
    pthread_t thread;
    struct spool *spool;
    struct store *store;
    char *version;
    int stop_fd;                    /* readable: break off whatever the database is doing */
    int ended_fd;                   /* readable: the thread is done */
    _Atomic int64_t stop_at_ms;     /* flush until then; 0: go on for ever */

    /* The thread's own. */
    struct errand errands[ERRAND_COUNT];
    bool announced;                 /* the log says that the database is there */
    int64_t shipped;                /* the database has the outbox up to this number */
    _Atomic int64_t spool_logged_ms;
    uint64_t seen;
};

static void spool_trouble(struct shipper *shipper, const char *step)
{
    if (log_is_due(&shipper->spool_logged_ms, LOG_EVERY_MS))
        log_event(LOG_LEVEL_ERROR, "spool-failed step=%s", step);
}

/* Should the spool not be able to forget now, it will with the next batch. */
static void confirm(struct shipper *shipper)
{
    if (spool_confirm(shipper->spool, shipper->shipped) != SPOOL_OK)
        spool_trouble(shipper, "confirm");
}

/* The database knows what it has: a hit whose COMMIT went unanswered is forgotten here, not sent again. */
static enum errand_end run_connect(struct shipper *shipper)
{
    if (store_connect(shipper->store, &shipper->shipped) != DB_OK)
        return ERRAND_FAILED;
    confirm(shipper);
    return ERRAND_DONE;
}

/* False when HIT still is in the outbox: nothing behind it may be recorded before it is kept apart, or else the next
 * confirmation would forget it. */
static bool keep_apart(struct shipper *shipper, const struct hit *hit)
{
    if (spool_set_aside(shipper->spool, hit->id, store_why(shipper->store)) != SPOOL_OK) {
        spool_trouble(shipper, "set-aside");
        return false;
    }
    counter_add(COUNTER_SET_ASIDE, 1);
    log_event(LOG_LEVEL_ERROR, "set-aside number=%lld reason=\"%s\"", (long long)hit->id, store_why(shipper->store));
    return true;
}

/* Record HITS; what the database refuses is narrowed down to the single hit, which is set aside.
 * NOLINTNEXTLINE(misc-no-recursion): each step halves a batch. */
static bool record(struct shipper *shipper, const struct hit *hits, size_t count)
{
    enum db_status status = store_record(shipper->store, hits, count);

    if (status == DB_OK) {
        counter_add(COUNTER_SHIPPED, count);
        return true;
    }
    if (status != DB_REFUSED)
        return false;
    if (count > 1)
        return record(shipper, hits, count / 2) && record(shipper, hits + count / 2, count - count / 2);
    return keep_apart(shipper, hits);
}

/* One batch. */
static enum errand_end run_hits(struct shipper *shipper)
{
    struct hit *hits = alloc_zeroed(STORE_BATCH_MAX, sizeof *hits);
    enum errand_end end = ERRAND_DONE;
    size_t count = 0;

    if (spool_read_outbox(shipper->spool, shipper->shipped, hits, STORE_BATCH_MAX, &count) != SPOOL_OK) {
        spool_trouble(shipper, "read");
        end = ERRAND_FAILED;
    } else if (count > 0 && !record(shipper, hits, count)) {
        end = ERRAND_FAILED;
    } else if (count > 0) {
        shipper->shipped = hits[count - 1].id;
        confirm(shipper);
        end = count == STORE_BATCH_MAX ? ERRAND_MORE : ERRAND_DONE;
    }
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
    free(hits);
    return end;
}

static enum errand_end run_heartbeat(struct shipper *shipper)
{
    struct spool_depth depth;
    char *counters;
    enum db_status status;

    spool_depth(shipper->spool, &depth);
    counters = counter_json();
    status = store_heartbeat(shipper->store, shipper->version, depth.inbox, depth.outbox, depth.aside, counters);
    free(counters);
    return status == DB_OK ? ERRAND_DONE : ERRAND_FAILED;
}

/* The database has no clock that works while nobody is there: each sensor tells it that time went by. */
static enum errand_end run_tick(struct shipper *shipper)
{
    bool more;

    if (store_tick(shipper->store, &more) != DB_OK)
        return ERRAND_FAILED;
    return more ? ERRAND_MORE : ERRAND_DONE;
}

static const struct {
    const char *name; /* in the log */
    enum errand_end (*run)(struct shipper *shipper);
    int64_t rhythm_ms; /* from one success to the next run; NEVER_MS: when something calls for it */
} table[ERRAND_COUNT] = {
    [ERRAND_CONNECT] = {"connect", run_connect, 0 /* at once, should the connection break */},
    [ERRAND_HITS] = {"hits", run_hits, NEVER_MS},
    [ERRAND_HEARTBEAT] = {"heartbeat", run_heartbeat, HEARTBEAT_MS},
    [ERRAND_TICK] = {"tick", run_tick, TICK_MS},
};

/* Say so now and then, and wait longer each time, with a third of chance so that many sensors do not come back as one. */
static void errand_failed(struct shipper *shipper, enum errand_name name)
{
    struct errand *errand = &shipper->errands[name];

    counter_add(COUNTER_DATABASE_ERRORS, 1);
    shipper->announced = false;
    errand->failing = true;
    if (log_is_due(&errand->logged_ms, LOG_EVERY_MS))
        log_event(LOG_LEVEL_WARNING, "database-error errand=%s reason=\"%s\" effect=\"hits wait in the spool\"",
                  table[name].name, store_why(shipper->store));
    errand->due_ms = clock_monotonic_ms() + errand->backoff_ms * 2 / 3 + clock_realtime_us() % (errand->backoff_ms / 3 + 1);
    errand->backoff_ms = errand->backoff_ms * 2 < BACKOFF_MAX_MS ? errand->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* The database took something.  A connection alone says little: it may be read-only, or its disk full. */
static void announce(struct shipper *shipper)
{
    for (int i = 0; i < ERRAND_COUNT; i++)
        if (shipper->announced || shipper->errands[i].failing)
            return;
    shipper->announced = true;
    for (int i = 0; i < ERRAND_COUNT; i++)
        atomic_store(&shipper->errands[i].logged_ms, 0);
    log_event(LOG_LEVEL_INFO, "database-connected recorded=%lld", (long long)shipper->shipped);
}

static void errand_ended(struct shipper *shipper, enum errand_name name, enum errand_end end)
{
    struct errand *errand = &shipper->errands[name];
    int64_t now_ms = clock_monotonic_ms();

    if (end == ERRAND_FAILED) {
        errand_failed(shipper, name);
        return;
    }
    errand->failing = false;
    errand->backoff_ms = BACKOFF_FIRST_MS;
    if (end == ERRAND_MORE)
        errand->due_ms = now_ms;
    else
        errand->due_ms = table[name].rhythm_ms == NEVER_MS ? NEVER_MS : now_ms + table[name].rhythm_ms;
    if (name != ERRAND_CONNECT)
        announce(shipper);
}

/* Somebody put something into the outbox, or what is there may not have been seen. */
static void call_for_hits(struct shipper *shipper, int64_t in_ms)
{
    struct errand *hits = &shipper->errands[ERRAND_HITS];
    int64_t due_ms = clock_monotonic_ms() + in_ms;

    if (!hits->failing && due_ms < hits->due_ms)
        hits->due_ms = due_ms;
}

/* The one that is due, or will be, first: what had to wait is before what just came, so that none starves another.  Without a
 * connection, connecting is. */
static enum errand_name first_errand(const struct shipper *shipper)
{
    enum errand_name first = ERRAND_HITS;

    if (!store_is_connected(shipper->store))
        return ERRAND_CONNECT;
    for (enum errand_name name = ERRAND_HITS; name < ERRAND_COUNT; name++)
        if (shipper->errands[name].due_ms < shipper->errands[first].due_ms)
            first = name;
    return first;
}

static void run_errand(struct shipper *shipper, enum errand_name name)
{
    errand_ended(shipper, name, table[name].run(shipper));
    if (name != ERRAND_CONNECT || shipper->errands[ERRAND_CONNECT].failing)
        return;
    /* A new connection: what is in the outbox goes, and the server gets to know that we are there. */
    call_for_hits(shipper, 0);
    if (!shipper->errands[ERRAND_HEARTBEAT].failing)
        shipper->errands[ERRAND_HEARTBEAT].due_ms = clock_monotonic_ms();
}

static void wait_for_errand(struct shipper *shipper, int64_t due_ms)
{
    uint64_t before = shipper->seen;

    spool_wait_outbox(shipper->spool, &shipper->seen, due_ms);
    if (shipper->seen != before)
        call_for_hits(shipper, GATHER_MS);
}

/* At the end: one more round, unless the database is known to be away; then for as long as there is more and time. */
static void ship_the_rest(struct shipper *shipper, int64_t until_ms)
{
    enum errand_end end = ERRAND_MORE;

    if (shipper->errands[ERRAND_CONNECT].failing || shipper->errands[ERRAND_HITS].failing)
        return;
    if (!store_is_connected(shipper->store) && run_connect(shipper) == ERRAND_FAILED)
        return;
    do
        end = run_hits(shipper);
    while (end == ERRAND_MORE && clock_monotonic_ms() < until_ms);
}

static void *shipper_thread(void *argument)
{
    struct shipper *shipper = argument;
    int64_t stop_at_ms;

    while ((stop_at_ms = atomic_load(&shipper->stop_at_ms)) == 0) {
        enum errand_name name = first_errand(shipper);

        if (shipper->errands[name].due_ms <= clock_monotonic_ms())
            run_errand(shipper, name);
        else
            wait_for_errand(shipper, shipper->errands[name].due_ms);
    }
    ship_the_rest(shipper, stop_at_ms);
    eventfd_write(shipper->ended_fd, 1);
    return NULL;
}

static void shipper_free(struct shipper *shipper)
{
    store_destroy(&shipper->store);
    if (shipper->stop_fd >= 0)
        close(shipper->stop_fd);
    if (shipper->ended_fd >= 0)
        close(shipper->ended_fd);
    free(shipper->version);
    free(shipper);
}

struct shipper *shipper_start(struct spool *spool, const char *database, const char *sensor, const char *version)
{
    struct shipper *shipper = alloc_zeroed(1, sizeof *shipper);
    int error;

    shipper->spool = spool;
    shipper->version = alloc_text(version);
    for (int i = 0; i < ERRAND_COUNT; i++)
        shipper->errands[i].backoff_ms = BACKOFF_FIRST_MS;
    shipper->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    shipper->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    shipper->store = store_create(database, sensor, spool_id(spool), shipper->stop_fd);
    if (shipper->stop_fd < 0 || shipper->ended_fd < 0)
        error = errno;
    else
        error = thread_start(&shipper->thread, "shipper", shipper_thread, shipper);
    if (error == 0)
        return shipper;
    shipper_free(shipper);
    errno = error;
    return NULL;
}

void shipper_stop(struct shipper **shipper, int64_t flush_ms)
{
    struct pollfd ended = {.events = POLLIN};

    if (*shipper == NULL)
        return;
    ended.fd = (*shipper)->ended_fd;
    atomic_store(&(*shipper)->stop_at_ms, clock_monotonic_ms() + flush_ms);
    spool_wake((*shipper)->spool);
    if (poll(&ended, 1, (int)flush_ms) != 1)
        eventfd_write((*shipper)->stop_fd, 1);
    pthread_join((*shipper)->thread, NULL);
    shipper_free(*shipper);
    *shipper = NULL;
}
