/* What a sensor has to say to the database are errands, which share one connection and one thread: hits, signs of life, the
 * probes it made, who is a friend, and the time that goes by.  Each has a rhythm of its own and, when it fails, a pause of its own, so
 * that a batch that the database does not take keeps no heartbeat back, and the other way round.  A lost connection holds up all of them; connecting has its own pause. */
#include "record/shipper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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
    PROBES_MS = 3000,
    FRIENDS_MS = 5000,
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MAX_MS = 30000,
    GATHER_MS = 50,   /* hits that come together go together, */
    PACE_MS = 250,    /* and when they go on coming, so many more: each batch costs the server as much as some dozen hits */
    LOG_EVERY_MS = 60000,
    AGREE_ROUNDS = 3, /* each ends a life; more of them are somebody else's doing */
    REPEATS = 2,      /* a failure that may go away by itself did not */
    OTHERS_MAX = 20,
    SLOWER = 4,       /* after a batch that took too long, the next one is a quarter of it */
    EASY_MS = 5000    /* a batch that took no longer may grow */
};
#define NEVER_MS INT64_MAX

enum errand_end {
    ERRAND_DONE,  /* come again after the rhythm */
    ERRAND_MORE,  /* there is more to do at once */
    ERRAND_FAILED /* the database or the spool failed: back off */
};

/* Connecting is the first of them, as nothing goes without it. */
enum errand_name { ERRAND_CONNECT, ERRAND_HITS, ERRAND_HEARTBEAT, ERRAND_TICK, ERRAND_PROBES, ERRAND_FRIENDS, ERRAND_COUNT };

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
    struct shipper_probes probes;
    struct shipper_friends friends;
    int stop_fd;                    /* readable: break off whatever the database is doing */
    int ended_fd;                   /* readable: the thread is done */
    _Atomic int64_t stop_at_ms;     /* flush until then; 0: go on for ever */

    /* The thread's own. */
    struct errand errands[ERRAND_COUNT];
    bool announced;                 /* the log says that the database is there */
    struct spool_mark mark;         /* as agreed upon with the database */
    size_t batch_max;
    int64_t failed_first;           /* the last batch that was refused began with this hit, */
    int failures;                   /* ... so often in a row */
    int64_t suspect_last;           /* hits up to this number were in a batch that was refused in this session, */
    uint64_t suspect_passed;        /* ... when so many had gone through */
    uint64_t passed;                /* batches of this session */
    int64_t passed_ms;              /* when the last of them had gone through */
    struct store_probe telling[STORE_PROBES_MAX]; /* taken, and not told yet */
    size_t telling_count;
    struct store_friend asking[STORE_FRIENDS_MAX]; /* who waits to be told whether they are friends: a part of them */
    size_t asking_count;
    int not_alone;                  /* heartbeats in a row before which another daemon reported by our name */
    bool is_held;                   /* the list, by the brake, and the log says so */
    _Atomic int64_t spool_logged_ms, twice_logged_ms;
    uint64_t seen;
};

static void spool_trouble(struct shipper *shipper, const char *step)
{
    if (log_is_due(&shipper->spool_logged_ms, LOG_EVERY_MS))
        log_event(LOG_LEVEL_ERROR, "spool-failed step=%s", step);
}

static enum db_status ask_for_mark(struct shipper *shipper, char mark_told[UUID_SIZE])
{
    char *ancestors = spool_ancestors(shipper->spool);
    enum db_status status = DB_ERROR;

    if (ancestors != NULL)
        status = store_hello(shipper->store, shipper->mark.life, ancestors, mark_told);
    free(ancestors);
    return status;
}

/* What the database has was agreed on: the life may be another one from here on. */
static enum errand_end agree(struct shipper *shipper, const char *link)
{
    char life[UUID_SIZE], mark_told[UUID_SIZE];

    for (int round = 0; round < AGREE_ROUNDS; round++) {
        memcpy(life, shipper->mark.life, sizeof life);
        if (spool_agree(shipper->spool, link, &shipper->mark) == SPOOL_FAILED) {
            spool_trouble(shipper, "agree");
            return ERRAND_FAILED;
        }
        if (strcmp(life, shipper->mark.life) == 0)
            return ERRAND_MORE;
        if (ask_for_mark(shipper, mark_told) != DB_OK)
            return ERRAND_FAILED;
        link = mark_told;
    }
    return ERRAND_FAILED;
}

/* Each says how far it thinks that the database has the outbox. */
static enum errand_end run_connect(struct shipper *shipper)
{
    char mark_told[UUID_SIZE];

    if (spool_mark(shipper->spool, &shipper->mark) != SPOOL_OK) {
        spool_trouble(shipper, "mark");
        return ERRAND_FAILED;
    }
    shipper->passed = shipper->suspect_passed = 0;
    shipper->suspect_last = 0;
    if (store_connect(shipper->store) != DB_OK || ask_for_mark(shipper, mark_told) != DB_OK)
        return ERRAND_FAILED;
    return agree(shipper, mark_told) == ERRAND_FAILED ? ERRAND_FAILED : ERRAND_DONE;
}

/* False when HIT still is in the outbox: nothing behind it may be recorded before it is kept apart, or else the mark would pass
 * over it. */
static bool keep_apart(struct shipper *shipper, const struct hit *hit, const char *why)
{
    if (spool_set_aside(shipper->spool, hit->id, why) != SPOOL_OK) {
        spool_trouble(shipper, "set-aside");
        return false;
    }
    counter_add(COUNTER_SET_ASIDE, 1);
    log_event(LOG_LEVEL_ERROR, "set-aside number=%lld reason=\"%s\"", (long long)hit->id, why);
    return true;
}

/* Would the database take any other hit now?  What is behind number AFTER is tried, and not recorded. */
static bool takes_others(struct shipper *shipper, int64_t after)
{
    struct hit others[OTHERS_MAX] = {{0}};
    struct spool_mark mark = shipper->mark;
    bool taken = false;
    size_t count = 0;

    mark.number = after;
    if (spool_read_outbox(shipper->spool, &mark, others, OTHERS_MAX, &count) != SPOOL_OK)
        count = 0;
    for (size_t i = 0; i < count; i++) {
        taken = taken || store_try(shipper->store, &shipper->mark, &others[i]) == DB_OK;
        hit_clear(&others[i]);
    }
    return taken;
}

/* The database does not take HIT by itself.  It is to blame only when another one gets through after that: a right that is missing
 * must not set the whole outbox aside.  That may have happened since; or one behind it is tried, or the last one recorded. */
static enum errand_end blame(struct shipper *shipper, const struct hit *hit)
{
    char *why = alloc_text(store_why(shipper->store));
    bool gets_through = shipper->passed > shipper->suspect_passed && hit->id <= shipper->suspect_last;
    enum errand_end end = ERRAND_FAILED;

    if (!gets_through && (takes_others(shipper, shipper->mark.number - 1) || takes_others(shipper, hit->id))) {
        if (store_try(shipper->store, &shipper->mark, hit) == DB_OK)
            end = ERRAND_MORE; /* what stood against all of them has just gone */
        else
            gets_through = store_is_connected(shipper->store);
    }
    if (gets_through)
        end = keep_apart(shipper, hit, why) ? ERRAND_MORE : ERRAND_FAILED;
    free(why);
    return end;
}

/* The database said no to HITS.  What may go away by itself is tried again as it was; what repeats is narrowed down to the hit. */
static enum errand_end narrow_down(struct shipper *shipper, enum db_status status, const struct hit *hits, size_t count)
{
    shipper->failures = shipper->failed_first == hits[0].id ? shipper->failures + 1 : 1;
    shipper->failed_first = hits[0].id;
    if (hits[count - 1].id > shipper->suspect_last) {
        shipper->suspect_last = hits[count - 1].id;
        shipper->suspect_passed = shipper->passed;
    }
    if (status != DB_REFUSED && shipper->failures < REPEATS)
        return ERRAND_FAILED;
    if (count == 1)
        return blame(shipper, hits);
    shipper->batch_max = (count + 1) / 2;
    return ERRAND_MORE;
}

/* The mark is where this batch ends, or the database has it elsewhere: somebody moved it, or the database is older. */
static enum errand_end recorded(struct shipper *shipper, const struct hit *hits, size_t count, const char *mark, int64_t took_ms)
{
    const struct hit *last = &hits[count - 1];
    const int64_t now_us = clock_realtime_us();

    if (strcmp(mark, last->link) != 0)
        return agree(shipper, mark);
    counter_add(COUNTER_SHIPPED, count);
    counter_add(COUNTER_BATCHES, 1);
    for (size_t i = 0; i < count; i++)
        counter_took(HISTOGRAM_RECORDED, now_us - hits[i].time_us);
    shipper->passed++;
    shipper->passed_ms = clock_monotonic_ms();
    shipper->failures = 0;
    if (took_ms < EASY_MS)
        shipper->batch_max = shipper->batch_max * 2 < STORE_BATCH_MAX ? shipper->batch_max * 2 : STORE_BATCH_MAX;
    shipper->mark.number = last->id;
    memcpy(shipper->mark.link, last->link, sizeof shipper->mark.link);
    switch (spool_confirm(shipper->spool, &shipper->mark)) {
    case SPOOL_OK:
        break;
    case SPOOL_OTHER_LIFE:
        return ERRAND_MORE;
    default: /* the mark in the spool moves with the next batch */
        spool_trouble(shipper, "confirm");
    }
    return ERRAND_DONE;
}

static enum errand_end send_hits(struct shipper *shipper, const struct hit *hits, size_t count)
{
    int64_t begun_ms = clock_monotonic_ms();
    char mark[UUID_SIZE];
    enum db_status status = store_record(shipper->store, &shipper->mark, hits, count, mark);

    switch (status) {
    case DB_OK:
        return recorded(shipper, hits, count, mark, clock_monotonic_ms() - begun_ms);
    case DB_UNREACHABLE: /* it may have been too much for a slow link */
        shipper->batch_max = count > SLOWER ? count / SLOWER : 1;
        return ERRAND_FAILED;
    case DB_STOPPED:
    case DB_READ_ONLY:
        return ERRAND_FAILED;
    default:
        return narrow_down(shipper, status, hits, count);
    }
}

/* One batch. */
static enum errand_end run_hits(struct shipper *shipper)
{
    size_t max = shipper->batch_max, count = 0;
    struct hit *hits = alloc_zeroed(max, sizeof *hits);
    enum spool_status status = spool_read_outbox(shipper->spool, &shipper->mark, hits, max, &count);
    enum errand_end end = ERRAND_DONE;

    if (status == SPOOL_OTHER_LIFE) {
        end = run_connect(shipper) == ERRAND_FAILED ? ERRAND_FAILED : ERRAND_MORE;
    } else if (status != SPOOL_OK) {
        spool_trouble(shipper, "read");
        end = ERRAND_FAILED;
    } else if (count > 0) {
        end = send_hits(shipper, hits, count);
        if (end == ERRAND_DONE && count == max)
            end = ERRAND_MORE;
    }
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
    free(hits);
    return end;
}

static enum errand_end run_heartbeat(struct shipper *shipper)
{
    struct spool_depth depth;
    enum db_status status;
    char *counters;
    bool alone;

    spool_depth(shipper->spool, &depth);
    counter_note(MOMENT_OLDEST, depth.oldest_us / 1000);
    counters = counter_json();
    status = store_heartbeat(shipper->store, shipper->version, depth.inbox, depth.outbox, depth.aside, counters, &alone);
    free(counters);
    if (status != DB_OK)
        return ERRAND_FAILED;
    shipper->not_alone = alone ? 0 : shipper->not_alone + 1;
    if (shipper->not_alone >= REPEATS && log_is_due(&shipper->twice_logged_ms, LOG_EVERY_MS))
        log_event(LOG_LEVEL_WARNING, "sensor-twice reason=\"another daemon reports by the same name\"");
    return ERRAND_DONE;
}

/* The database has no clock that works while nobody is there: each sensor tells it that time went by. */
static enum errand_end run_tick(struct shipper *shipper)
{
    char *held;
    bool more;

    if (store_tick(shipper->store, &more, &held) != DB_OK)
        return ERRAND_FAILED;
    if (held != NULL && !shipper->is_held)
        log_event(LOG_LEVEL_WARNING, "brake reason=\"%s\"", held);
    else if (held == NULL && shipper->is_held)
        log_event(LOG_LEVEL_INFO, "brake-released");
    shipper->is_held = held != NULL;
    free(held);
    return more ? ERRAND_MORE : ERRAND_DONE;
}

/* What the database does not want is dropped, so that it keeps back nothing that comes later. */
static enum errand_end run_probes(struct shipper *shipper)
{
    enum db_status status;
    bool full;

    if (shipper->telling_count == 0)
        shipper->telling_count = shipper->probes.take(shipper->probes.context, shipper->telling, STORE_PROBES_MAX);
    if (shipper->telling_count == 0)
        return ERRAND_DONE;
    full = shipper->telling_count == STORE_PROBES_MAX;
    status = store_probes(shipper->store, shipper->telling, shipper->telling_count);
    if (status != DB_UNREACHABLE && status != DB_STOPPED && status != DB_READ_ONLY)
        shipper->telling_count = 0;
    if (status != DB_OK)
        return ERRAND_FAILED;
    return full ? ERRAND_MORE : ERRAND_DONE;
}

/* The database has the hits that wait for an answer, over restarts too, and gives their clients a part at a time; what is found out about
 * one part is told when the next is asked for, and who has no answer then comes again in the next turn. */
static enum errand_end run_friends(struct shipper *shipper)
{
    struct ipaddr after = {.family = 0};

    if (shipper->asking_count == STORE_FRIENDS_MAX)
        after = shipper->asking[STORE_FRIENDS_MAX - 1].client;
    for (size_t i = 0; i < shipper->asking_count; i++)
        shipper->asking[i].state = shipper->friends.state(shipper->friends.context, &shipper->asking[i].client);
    if (store_friends(shipper->store, shipper->asking, &shipper->asking_count, &after) != DB_OK)
        return ERRAND_FAILED;
    for (size_t i = 0; i < shipper->asking_count; i++)
        (void)shipper->friends.state(shipper->friends.context, &shipper->asking[i].client); /* the look-up begins */
    return ERRAND_DONE;
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
    [ERRAND_PROBES] = {"probes", run_probes, PROBES_MS},
    [ERRAND_FRIENDS] = {"friends", run_friends, FRIENDS_MS},
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
    log_event(LOG_LEVEL_INFO, "database-connected recorded=%lld", (long long)shipper->mark.number);
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
    int64_t pace_ms;

    spool_wait_outbox(shipper->spool, &shipper->seen, due_ms);
    if (shipper->seen == before)
        return;
    pace_ms = shipper->passed_ms + PACE_MS - clock_monotonic_ms();
    call_for_hits(shipper, pace_ms > GATHER_MS ? pace_ms : GATHER_MS);
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

struct shipper *shipper_start(struct spool *spool, const char *database, const char *sensor, const char *version,
                              const struct shipper_probes *probes, const struct shipper_friends *friends)
{
    struct shipper *shipper = alloc_zeroed(1, sizeof *shipper);
    int error;

    shipper->spool = spool;
    shipper->version = alloc_text(version);
    shipper->probes = *probes;
    shipper->friends = *friends;
    for (int i = 0; i < ERRAND_COUNT; i++)
        shipper->errands[i].backoff_ms = BACKOFF_FIRST_MS;
    shipper->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    shipper->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    shipper->batch_max = STORE_BATCH_MAX;
    shipper->store = store_create(database, sensor, shipper->stop_fd);
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
