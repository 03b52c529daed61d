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
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MAX_MS = 30000,
    SPOOL_RETRY_MS = 1000,
    GATHER_MS = 50, /* hits that come together go together */
    LOG_EVERY_MS = 60000
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
    bool connected;
    bool troubled;                  /* nothing got through since the last failure */
    bool announced;                 /* the log says that the database is there */
    int64_t shipped;                /* the database has the outbox up to this number */
    int64_t backoff_ms, heartbeat_ms;
    _Atomic int64_t logged_ms, spool_logged_ms;
    uint64_t seen;
};

static bool is_stopping(struct shipper *shipper)
{
    return atomic_load(&shipper->stop_at_ms) != 0;
}

/* Wait for MS, or less when the end comes. */
static void pause_for(struct shipper *shipper, int64_t ms)
{
    int64_t until_ms = clock_monotonic_ms() + ms;

    while (!is_stopping(shipper) && clock_monotonic_ms() < until_ms)
        spool_wait_outbox(shipper->spool, &shipper->seen, until_ms);
}

/* The database failed: say so now and then, and wait longer each time, with a third of chance so that many sensors do
 * not come back as one. */
static void trouble(struct shipper *shipper)
{
    counter_add(COUNTER_DATABASE_ERRORS, 1);
    shipper->connected = false;
    shipper->troubled = true;
    shipper->announced = false;
    if (log_is_due(&shipper->logged_ms, LOG_EVERY_MS))
        log_event(LOG_LEVEL_WARNING, "database-error reason=\"%s\" effect=\"hits wait in the spool\"",
                  store_why(shipper->store));
    pause_for(shipper, shipper->backoff_ms * 2 / 3 + clock_realtime_us() % (shipper->backoff_ms / 3 + 1));
    shipper->backoff_ms = shipper->backoff_ms * 2 < BACKOFF_MAX_MS ? shipper->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* The database took something.  A connection alone says little: it may be read-only, or its disk full. */
static void success(struct shipper *shipper)
{
    shipper->troubled = false;
    shipper->backoff_ms = BACKOFF_FIRST_MS;
    if (shipper->announced)
        return;
    shipper->announced = true;
    atomic_store(&shipper->logged_ms, 0);
    log_event(LOG_LEVEL_INFO, "database-connected recorded=%lld", (long long)shipper->shipped);
}

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
static bool connect_store(struct shipper *shipper)
{
    if (store_connect(shipper->store, &shipper->shipped) != DB_OK)
        return false;
    confirm(shipper);
    shipper->connected = true;
    shipper->heartbeat_ms = 0;
    return true;
}

/* False when HIT still is in the outbox: nothing behind it may be recorded before it is kept apart, or else the next
 * confirmation would forget it. */
static bool set_aside(struct shipper *shipper, const struct hit *hit)
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
    return set_aside(shipper, hits);
}

/* Ship one batch.  False when the database failed; *MORE: there may be more. */
static bool ship(struct shipper *shipper, bool *more)
{
    struct hit *hits = alloc_zeroed(STORE_BATCH_MAX, sizeof *hits);
    size_t count = 0;
    bool shipped = true;

    if (spool_read_outbox(shipper->spool, shipper->shipped, hits, STORE_BATCH_MAX, &count) != SPOOL_OK) {
        spool_trouble(shipper, "read");
        pause_for(shipper, SPOOL_RETRY_MS);
        *more = !is_stopping(shipper);
    }
    if (count > 0)
        shipped = record(shipper, hits, count);
    if (count > 0 && shipped) {
        shipper->shipped = hits[count - 1].id;
        confirm(shipper);
        success(shipper);
    }
    *more |= count == STORE_BATCH_MAX;
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
    free(hits);
    return shipped;
}

static bool heartbeat(struct shipper *shipper)
{
    struct spool_depth depth;
    char *counters;
    enum db_status status;

    if (clock_monotonic_ms() < shipper->heartbeat_ms)
        return true;
    spool_depth(shipper->spool, &depth);
    counters = counter_json();
    status = store_heartbeat(shipper->store, shipper->version, depth.inbox, depth.outbox, depth.aside, counters);
    free(counters);
    if (status != DB_OK)
        return false;
    shipper->heartbeat_ms = clock_monotonic_ms() + HEARTBEAT_MS;
    success(shipper);
    return true;
}

/* At the end: one more round, unless the database is known to be away; then for as long as there is more and time. */
static void *shipper_thread(void *argument)
{
    struct shipper *shipper = argument;

    while (!is_stopping(shipper) || !shipper->troubled) {
        bool more = false;
        /* Read first: a round that the end comes into may have looked at the outbox before the last hit was there. */
        int64_t stop_at_ms = atomic_load(&shipper->stop_at_ms);
        bool well = (shipper->connected || connect_store(shipper)) && ship(shipper, &more) && heartbeat(shipper);

        if (stop_at_ms != 0 && (!well || !more || clock_monotonic_ms() >= stop_at_ms))
            break;
        if (!well) {
            trouble(shipper);
        } else if (!more) {
            spool_wait_outbox(shipper->spool, &shipper->seen, shipper->heartbeat_ms);
            pause_for(shipper, GATHER_MS);
        }
    }
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
    shipper->backoff_ms = BACKOFF_FIRST_MS;
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
