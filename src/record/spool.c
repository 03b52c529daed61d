/* How a hit lives here, and how a commit serves many.
 *
 * A session at DATA calls spool_put(), which draws the identity of the hit and waits.  The thread of the spool takes all calls
 * that wait by then, runs them in one transaction, and lets all of them go on after the one commit: while the disk is busy with
 * it, the next ones gather.  When one of them fails, each is tried again in a transaction of its own, so that one bad call
 * does not fail the others.  What a call does to the file is in spool_call.c.
 *
 * Judging reads the inbox upwards and settles: the hit leaves the inbox and, for an offence, joins the outbox with the next
 * number there, in one transaction.  That is news for the shipper, which reads the outbox upwards, brings batches to the
 * database, and has them confirmed: then they are kept for spool_keep, in case the database comes back older, and go.  A hit that
 * the database refuses, or a row that is no hit, moves to `aside`, and joins the outbox again when the daemon starts the next
 * time. */
#include "record/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"
#include "record/spool_call.h"
#include "record/spool_file.h"

enum {
    LOG_INTERVAL_MS = 60000,
    LOOK_AFTER_MS = 1000,
    MEMORY_SIZE = 40, /* two numbers in the lock file */
    SEAL_SIZE = 160,  /* and seven behind them */
    SEAL_TRIES = 30
};

struct spool {
    int lock_fd, file_fd;
    pthread_t thread;

    struct spool_own own; /* the thread's */
    _Atomic int64_t logged_ms;

    pthread_mutex_t mutex; /* covers all below */
    pthread_cond_t work, news;
    struct spool_call *first, **end;
    struct spool_depth depth;
    int64_t announced; /* outbox number */
    uint64_t events;
    bool stopping;
};

/* --- the thread --- */

/* The calls from FIRST up to END in one transaction: all or none. */
static int group_run(struct spool *spool, struct spool_call *first, const struct spool_call *end)
{
    struct spool_file *file = &spool->own.file;
    struct spool_tally before = file->tally;
    int result = spool_file_run(file, SPOOL_BEGIN);

    for (struct spool_call *call = first; call != end && result == SQLITE_OK; call = call->next)
        result = call->run(&spool->own, call);
    if (result == SQLITE_OK)
        result = spool_file_run(file, SPOOL_COMMIT);
    if (result == SQLITE_OK)
        return SQLITE_OK;
    spool_file_note(file, sqlite3_errcode(file->db) == SQLITE_OK ? sqlite3_errstr(result) : sqlite3_errmsg(file->db));
    if (!sqlite3_get_autocommit(file->db))
        (void)spool_file_run(file, SPOOL_ROLLBACK);
    file->tally = before;
    return result;
}

/* The same; opens the file when it is not. */
static int group_run_opened(struct spool *spool, struct spool_call *first, const struct spool_call *end)
{
    struct spool_file *file = &spool->own.file;
    int result = file->db != NULL ? SQLITE_OK : spool_file_open(file);

    return result == SQLITE_OK ? group_run(spool, first, end) : result;
}

/* The same.  A file that seems to be damaged is opened again, which looks through it and takes a new one when it is; when it is not, and
 * seems so again, the new one is taken here. */
static int group_run_safely(struct spool *spool, struct spool_call *first, const struct spool_call *end)
{
    struct spool_file *file = &spool->own.file;
    int result = group_run_opened(spool, first, end);

    if (!spool_file_is_damage(result) || file->db == NULL)
        return result;
    if (log_is_due(&spool->logged_ms, LOG_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR, "spool-error file=%s reason=\"%s: it is looked through\"", file->path, file->why);
    spool_file_close(file, false);
    result = group_run_opened(spool, first, end);
    if (spool_file_is_damage(result) && file->db != NULL && spool_file_set_aside(file))
        result = group_run_opened(spool, first, end);
    return result;
}

static void group_fail(struct spool *spool, struct spool_call *first, const struct spool_call *end)
{
    for (struct spool_call *call = first; call != end; call = call->next)
        call->status = SPOOL_FAILED;
    if (log_is_due(&spool->logged_ms, LOG_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR, "spool-error file=%s reason=\"%s\"", spool->own.file.path, spool->own.file.why);
}

static void round_run(struct spool *spool, struct spool_call *first)
{
    int result = group_run_safely(spool, first, NULL);

    if (result == SQLITE_OK)
        return;
    /* Whoever holds the file holds it against each of them: do not wait for each. */
    if (result == SQLITE_BUSY || spool->own.file.db == NULL) {
        group_fail(spool, first, NULL);
        return;
    }
    for (struct spool_call *call = first; call != NULL; call = call->next)
        if (group_run_safely(spool, call, call->next) != SQLITE_OK)
            group_fail(spool, call, call->next);
}

/* All calls that wait, or none when it is time to look after the file.  False: it is time to end. */
static bool round_take(struct spool *spool, struct spool_call **first)
{
    struct timespec deadline = clock_timespec(clock_monotonic_ms() + LOOK_AFTER_MS);
    bool goes_on;

    pthread_mutex_lock(&spool->mutex);
    while (spool->first == NULL && !spool->stopping &&
           pthread_cond_clockwait(&spool->work, &spool->mutex, CLOCK_MONOTONIC, &deadline) != ETIMEDOUT)
        ;
    *first = spool->first;
    goes_on = spool->first != NULL || !spool->stopping;
    spool->first = NULL;
    spool->end = &spool->first;
    pthread_mutex_unlock(&spool->mutex);
    return goes_on;
}

/* Somebody may have removed the file, or put another one in its place: then what we answer for would go with this process. */
static void look_after_file(struct spool *spool)
{
    struct spool_file *file = &spool->own.file;

    if (file->db == NULL || spool_file_is_there(file) || spool_file_rescue(file) == SQLITE_OK)
        return;
    if (log_is_due(&spool->logged_ms, LOG_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR, "spool-error file=%s reason=\"it lost its name, and cannot be written anew: %s\"", file->path,
                  file->why);
}

/* For the next start, which then knows whether the file is an older one.  Not synced: a power cut makes it forget, no more. */
static void remember(struct spool *spool)
{
    const struct spool_tally *tally = &spool->own.file.tally;
    char text[MEMORY_SIZE + 1];

    snprintf(text, sizeof text, "%19lld %19lld\n", (long long)tally->last_inbox,
             (long long)tally->depth.inbox + (long long)tally->depth.outbox);
    if (pwrite(spool->lock_fd, text, MEMORY_SIZE, 0) != MEMORY_SIZE) {
        /* Less is known then, of an event that should not come. */
    }
}

/* At most once a second, however many calls there are. */
static void look_at_age(struct spool *spool, int64_t *looked_ms)
{
    struct spool_depth *depth = &spool->own.file.tally.depth;
    int64_t now_ms = clock_monotonic_ms();

    if (depth->inbox + depth->outbox == 0) {
        depth->oldest_us = 0;
    } else if (now_ms - *looked_ms >= LOOK_AFTER_MS) {
        *looked_ms = now_ms;
        spool_file_look_at_age(&spool->own.file);
    }
}

static void round_finish(struct spool *spool, struct spool_call *first)
{
    pthread_mutex_lock(&spool->mutex);
    spool->depth = spool->own.file.tally.depth;
    if (spool->announced != spool->own.file.tally.last_outbox) {
        spool->announced = spool->own.file.tally.last_outbox;
        spool->events++;
        pthread_cond_broadcast(&spool->news);
    }
    for (struct spool_call *call = first; call != NULL; call = call->next) {
        call->done = true;
        pthread_cond_signal(&call->finished);
    }
    pthread_mutex_unlock(&spool->mutex);
}

static void *spool_thread(void *argument)
{
    struct spool *spool = argument;
    struct spool_call *round;
    int64_t age_looked_ms = 0;

    while (round_take(spool, &round)) {
        look_after_file(spool);
        if (round != NULL)
            round_run(spool, round);
        else if (spool->own.file.tally.depth.kept > 0)
            round_run(spool, &(struct spool_call){.run = spool_call_keep_less});
        look_at_age(spool, &age_looked_ms);
        remember(spool);
        round_finish(spool, round);
    }
    return NULL;
}

static enum spool_status call_submit(struct spool *spool, struct spool_call *call)
{
    pthread_cond_init(&call->finished, NULL);
    pthread_mutex_lock(&spool->mutex);
    if (spool->first == NULL)
        pthread_cond_signal(&spool->work);
    *spool->end = call;
    spool->end = &call->next;
    while (!call->done)
        pthread_cond_wait(&call->finished, &spool->mutex);
    pthread_mutex_unlock(&spool->mutex);
    pthread_cond_destroy(&call->finished);
    return call->status;
}

/* --- open and close --- */

static enum spool_status lock_failed(struct spool *spool)
{
    enum spool_status status = errno == EWOULDBLOCK ? SPOOL_LOCKED : SPOOL_FAILED;

    snprintf(spool->own.file.why, SPOOL_WHY_SIZE, "lock: %s",
             status == SPOOL_LOCKED ? "held by another process" : strerror(errno));
    return status;
}

/* A lock on the spool itself, once it is there, for the case that somebody removes the file beside it.  SQLite's locks are of
 * another kind, and given up when any descriptor of the spool is closed: this one is, after SQLite's. */
static enum spool_status lock_file(struct spool *spool)
{
    if (spool->file_fd < 0)
        spool->file_fd = open(spool->own.file.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return spool->file_fd < 0 || flock(spool->file_fd, LOCK_EX | LOCK_NB) == 0 ? SPOOL_OK : lock_failed(spool);
}

/* The file beside the spool also holds what recall() reads. */
static enum spool_status lock_take(struct spool *spool)
{
    char *path = alloc_format("%s.lock", spool->own.file.path);

    spool->file_fd = -1;
    spool->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(path);
    if (spool->lock_fd < 0 || flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return lock_failed(spool);
    return lock_file(spool);
}

/* Is the file an older one than the one that we had?  Then hits that were answered are in it no more: at most those that were
 * waiting then. */
static enum spool_status recall(struct spool *spool)
{
    long long last_inbox = 0, waiting = 0, missing;
    char text[MEMORY_SIZE + 1] = "";

    /* NOLINTNEXTLINE(cert-err34-c): our own file; numbers beyond bounds are no numbers that it gave */
    if (pread(spool->lock_fd, text, MEMORY_SIZE, 0) <= 0 || sscanf(text, "%lld %lld", &last_inbox, &waiting) != 2)
        return SPOOL_OK;
    missing = last_inbox - spool->own.file.tally.last_inbox;
    if (missing <= 0)
        return SPOOL_OK;
    if (missing > waiting)
        missing = waiting;
    counter_add(COUNTER_LOST, (uint64_t)missing);
    log_event(LOG_LEVEL_ERROR, "spool-older file=%s lost=%lld reason=\"it ends before the last hit that was answered: an old copy, or it "
              "was damaged\"", spool->own.file.path, missing);
    return spool_file_new_life(&spool->own.file, "it is older than the one that we had") == SQLITE_OK ? SPOOL_OK : SPOOL_FAILED;
}

/* The file is closed: say what it is, for a start that need not look through it.  Not synced, either. */
static void seal_file(struct spool *spool, const struct spool_depth *depth)
{
    const struct timespec ms = {.tv_nsec = 1000000}; /* until the clock ticks that inodes are stamped by, some milliseconds */
    struct spool_seal seal;
    char text[SEAL_SIZE];
    int length;

    for (int tries = 0; !spool_file_look(&spool->own.file, &seal); tries++) {
        if (tries == SEAL_TRIES)
            return;
        nanosleep(&ms, NULL);
    }
    length = snprintf(text, sizeof text, "%llu %lld %lld %lld %lld %lld %lld\n", (unsigned long long)seal.inode, (long long)seal.size,
                      (long long)seal.changed_ns, (long long)depth->inbox, (long long)depth->outbox, (long long)depth->kept,
                      (long long)depth->aside);
    if (pwrite(spool->lock_fd, text, (size_t)length, MEMORY_SIZE) != length) {
        /* Then what is there is no seal, and the next start looks through the file. */
    }
}

/* What was said when the file was closed, if it is still true; from here on it is not said any more. */
static bool unseal_file(struct spool *spool, struct spool_seal *seal)
{
    struct spool_seal found = {0};
    long long size, changed_ns, inbox, outbox, kept, aside;
    unsigned long long inode;
    char text[SEAL_SIZE + 1] = "";
    ssize_t length = pread(spool->lock_fd, text, SEAL_SIZE, MEMORY_SIZE);

    if (length <= 0 || ftruncate(spool->lock_fd, MEMORY_SIZE) != 0)
        return false;
    /* NOLINTNEXTLINE(cert-err34-c): our own file; numbers beyond bounds are not those of the file */
    if (sscanf(text, "%llu %lld %lld %lld %lld %lld %lld", &inode, &size, &changed_ns, &inbox, &outbox, &kept, &aside) != 7)
        return false;
    *seal = (struct spool_seal){inode, size, changed_ns, {.inbox = inbox, .outbox = outbox, .kept = kept, .aside = aside}};
    return spool_file_look(&spool->own.file, &found) && found.inode == seal->inode && found.size == seal->size &&
           found.changed_ns == seal->changed_ns && inbox >= 0 && outbox >= 0 && kept >= 0 && aside >= 0;
}

static void spool_free(struct spool *spool)
{
    bool is_open = spool->own.file.db != NULL;

    spool_file_close(&spool->own.file, true);
    if (is_open)
        seal_file(spool, &spool->own.file.tally.depth);
    if (spool->file_fd >= 0)
        close(spool->file_fd);
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    pthread_cond_destroy(&spool->news);
    pthread_cond_destroy(&spool->work);
    pthread_mutex_destroy(&spool->mutex);
    free(spool->own.file.path);
    free(spool);
}

static bool start_spool_thread(struct spool *spool)
{
    int failed = thread_start(&spool->thread, "spool", spool_thread, spool);

    if (failed != 0)
        snprintf(spool->own.file.why, SPOOL_WHY_SIZE, "thread: %s", strerror(failed));
    return failed == 0;
}

enum spool_status spool_open(struct spool **opened, const char *path, int64_t limit, int64_t keep_ms, char *why,
                             size_t why_size)
{
    struct spool *spool = alloc_zeroed(1, sizeof *spool);
    struct spool_seal seal;
    enum spool_status status;

    *opened = NULL;
    spool->own.file.path = alloc_text(path);
    spool->own.limit = limit;
    spool->own.keep_ms = keep_ms;
    spool->end = &spool->first;
    pthread_mutex_init(&spool->mutex, NULL);
    pthread_cond_init(&spool->work, NULL);
    pthread_cond_init(&spool->news, NULL);
    status = lock_take(spool);
    if (status == SPOOL_OK && unseal_file(spool, &seal))
        spool->own.file.seal = &seal;
    if (status == SPOOL_OK && spool_file_open(&spool->own.file) != SQLITE_OK)
        status = SPOOL_FAILED;
    if (status == SPOOL_OK)
        status = lock_file(spool);
    if (status == SPOOL_OK)
        status = recall(spool);
    if (status == SPOOL_OK)
        spool_file_retry_aside(&spool->own.file);
    spool->depth = spool->own.file.tally.depth;
    spool->announced = spool->own.file.tally.last_outbox;
    spool->events = spool->depth.outbox > 0;
    if (status == SPOOL_OK && !start_spool_thread(spool))
        status = SPOOL_FAILED;
    if (status == SPOOL_OK) {
        *opened = spool;
    } else {
        snprintf(why, why_size, "%s", spool->own.file.why);
        spool_free(spool);
    }
    return status;
}

void spool_close(struct spool **spool)
{
    if (*spool == NULL)
        return;
    pthread_mutex_lock(&(*spool)->mutex);
    (*spool)->stopping = true;
    pthread_cond_signal(&(*spool)->work);
    pthread_mutex_unlock(&(*spool)->mutex);
    pthread_join((*spool)->thread, NULL);
    spool_free(*spool);
    *spool = NULL;
}

/* --- calls --- */

enum spool_status spool_put(struct spool *spool, struct hit *hit)
{
    if (!uuid_draw_ordered(hit->time_us, hit->uuid))
        return SPOOL_FAILED;
    return call_submit(spool, &(struct spool_call){.run = spool_call_put, .hits = hit});
}

static enum spool_status read_box(struct spool *spool, struct spool_call *call, size_t *count)
{
    enum spool_status status = call_submit(spool, call);

    if (status != SPOOL_OK)
        spool_call_forget_read(call);
    if (status == SPOOL_OK && call->damaged > 0) {
        counter_add(COUNTER_SET_ASIDE, call->damaged - call->lost);
        counter_add(COUNTER_LOST, call->lost);
        log_event(LOG_LEVEL_ERROR, "set-aside hits=%zu lost=%zu reason=\"damaged in the spool\"", call->damaged, call->lost);
    }
    *count = call->got;
    return status;
}

enum spool_status spool_read_inbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
{
    return read_box(spool, &(struct spool_call){.run = spool_call_read, .read = SPOOL_READ_INBOX, .id = after, .hits = hits,
                                                .count = max}, count);
}

enum spool_status spool_read_outbox(struct spool *spool, const struct spool_mark *after, struct hit *hits, size_t max,
                                    size_t *count)
{
    struct spool_mark mark = *after;

    return read_box(spool, &(struct spool_call){.run = spool_call_read, .read = SPOOL_READ_OUTBOX, .id = after->number, .mark = &mark,
                                                .hits = hits, .count = max}, count);
}

enum spool_status spool_settle(struct spool *spool, const struct hit *hits, size_t count)
{
    return call_submit(spool, &(struct spool_call){.run = spool_call_settle, .judged = hits, .count = count});
}

enum spool_status spool_mark(struct spool *spool, struct spool_mark *mark)
{
    return call_submit(spool, &(struct spool_call){.run = spool_call_mark, .mark = mark});
}

char *spool_ancestors(struct spool *spool)
{
    struct spool_call call = {.run = spool_call_ancestors};

    if (call_submit(spool, &call) == SPOOL_OK)
        return call.text;
    free(call.text);
    return NULL;
}

enum spool_status spool_agree(struct spool *spool, const char *link, struct spool_mark *mark)
{
    return call_submit(spool, &(struct spool_call){.run = spool_call_agree, .link = link, .mark = mark});
}

enum spool_status spool_confirm(struct spool *spool, const struct spool_mark *mark)
{
    struct spool_mark confirmed = *mark;

    return call_submit(spool, &(struct spool_call){.run = spool_call_confirm, .mark = &confirmed});
}

enum spool_status spool_set_aside(struct spool *spool, int64_t id, const char *reason)
{
    return call_submit(spool, &(struct spool_call){.run = spool_call_set_aside, .id = id, .reason = reason});
}

void spool_depth(struct spool *spool, struct spool_depth *depth)
{
    pthread_mutex_lock(&spool->mutex);
    *depth = spool->depth;
    pthread_mutex_unlock(&spool->mutex);
}

void spool_wait_outbox(struct spool *spool, uint64_t *seen, int64_t deadline_ms)
{
    struct timespec deadline = clock_timespec(deadline_ms);

    pthread_mutex_lock(&spool->mutex);
    while (spool->events == *seen &&
           pthread_cond_clockwait(&spool->news, &spool->mutex, CLOCK_MONOTONIC, &deadline) != ETIMEDOUT)
        ;
    *seen = spool->events;
    pthread_mutex_unlock(&spool->mutex);
}

void spool_wake(struct spool *spool)
{
    pthread_mutex_lock(&spool->mutex);
    spool->events++;
    pthread_cond_broadcast(&spool->news);
    pthread_mutex_unlock(&spool->mutex);
}
