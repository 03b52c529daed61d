/* How a hit lives here, and how a commit serves many.
 *
 * A session at DATA calls spool_put(), which draws the identity of the hit and waits.  The thread of the spool takes all calls
 * that wait by then, runs them in one transaction, and lets all of them go on after the one commit: while the disk is busy with
 * it, the next ones gather.  When one of them fails, each is tried again in a transaction of its own, so that one bad call
 * does not fail the others.
 *
 * Judging reads the inbox upwards and settles: the hit leaves the inbox and, for an offence, joins the outbox with the next
 * number there, in one transaction.  That is news for the shipper, which reads the outbox upwards, brings batches to the
 * database, and has them confirmed: then they are gone.  A hit that the database refuses, or a row that is no hit, moves to
 * `aside`, and joins the outbox again when the daemon starts the next time. */
#include "record/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"
#include "record/spool_file.h"
#include "record/spool_row.h"

enum {
    LOG_INTERVAL_MS = 60000,
    LOOK_AFTER_MS = 1000,
    MEMORY_SIZE = 40 /* two numbers in the lock file */
};

/* One call that waits for its turn.  RUN returns a result code of SQLite; it may be called again after a rollback. */
struct spool_call {
    int (*run)(struct spool *spool, struct spool_call *call);
    struct hit *hits;         /* put: the one; read: room for COUNT */
    const struct hit *judged; /* settle: COUNT of them */
    size_t count, got;
    const char *link;         /* agree */
    char *text;               /* ancestors: the answer */
    struct spool_mark *mark;  /* confirm, read: the one that goes with them; mark, agree: room for it */
    size_t damaged, lost;     /* read: rows that are no hits, and how many of them `aside` did not take */
    int64_t id;
    const char *reason;
    enum spool_statement read;
    enum spool_status status;
    bool done;
    struct spool_call *next;
};

/* When the mark got where.  Marks that come close together share one, and what is up to `number` is forgotten when the last of
 * them is `keep_ms` old. */
struct spool_keep {
    int64_t since_ms, number;
};
enum { KEEPS = 64 };

struct spool {
    int64_t limit, keep_ms;
    int lock_fd;
    pthread_t thread;

    /* The thread's own. */
    struct spool_file file; /* not open: could not be, is tried again with each round */
    struct spool_keep keeps[KEEPS]; /* oldest first */
    size_t keep_count;
    _Atomic int64_t logged_ms;

    pthread_mutex_t mutex; /* covers all below */
    pthread_cond_t work, finished, news;
    struct spool_call *first, **end;
    struct spool_depth depth;
    int64_t announced; /* outbox number */
    uint64_t events;
    bool stopping;
};

/* --- calls: run in the thread, within a transaction --- */

/* Run a statement about the hit ID; *CHANGED gets the number of rows. */
static int run_about(struct spool *spool, enum spool_statement which, int64_t id, int64_t *changed)
{
    int result;

    sqlite3_bind_int64(spool->file.prepared[which], 1, id);
    result = spool_file_run(&spool->file, which);
    *changed = result == SQLITE_OK ? sqlite3_changes(spool->file.db) : 0;
    return result;
}

/* The one number that a statement about number ID, or LINK, gives, or 0. */
static int find_number(struct spool *spool, enum spool_statement which, int64_t id, const char *link, int64_t *number)
{
    sqlite3_stmt *statement = spool->file.prepared[which];
    int result;

    if (link != NULL)
        sqlite3_bind_text(statement, 1, link, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_int64(statement, 1, id);
    result = sqlite3_step(statement);
    *number = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result;
}

/* Insert the hit that is bound; *LAST gets its number. */
static int run_insert(struct spool *spool, enum spool_statement which, int64_t *last)
{
    int64_t before = *last;
    int result = spool_file_run(&spool->file, which);

    if (result == SQLITE_OK)
        *last = sqlite3_last_insert_rowid(spool->file.db);
    return *last - before > 2 * SPOOL_LEAP_MAX ? SQLITE_CORRUPT : result;
}

/* Forget what is kept up to outbox number LAST. */
static int forget_kept(struct spool *spool, int64_t last)
{
    int64_t changed;
    int result = run_about(spool, SPOOL_FORGET, last, &changed);

    spool->file.tally.depth.kept -= changed;
    return result;
}

/* The mark moved: what it passed is kept from now on; what it went back over is not over yet. */
static void keep_since_now(struct spool *spool)
{
    int64_t now_ms = clock_monotonic_ms(), number = spool->file.tally.mark.number;
    struct spool_keep *newest = spool->keep_count > 0 ? &spool->keeps[spool->keep_count - 1] : NULL;

    for (size_t i = 0; i < spool->keep_count; i++)
        if (spool->keeps[i].number > number)
            spool->keeps[i].number = number;
    if (newest != NULL && (now_ms - newest->since_ms <= spool->keep_ms / KEEPS || spool->keep_count == KEEPS))
        newest->number = number;
    else
        spool->keeps[spool->keep_count++] = (struct spool_keep){.since_ms = now_ms, .number = number};
}

/* The time of some may be over; and a tenth of the room is all they get. */
static int keep_less(struct spool *spool)
{
    struct spool_tally *tally = &spool->file.tally;
    int64_t now_ms = clock_monotonic_ms(), many = tally->depth.kept - spool->limit / 10, changed;
    size_t over = 0;
    int result = SQLITE_OK;

    if (spool->keep_count == 0 && tally->depth.kept > 0)
        keep_since_now(spool);
    while (over < spool->keep_count && spool->keeps[over].since_ms + spool->keep_ms + spool->keep_ms / KEEPS <= now_ms)
        over++;
    if (over > 0)
        result = forget_kept(spool, spool->keeps[over - 1].number);
    memmove(spool->keeps, spool->keeps + over, (spool->keep_count - over) * sizeof *spool->keeps);
    spool->keep_count -= over;
    if (result == SQLITE_OK && many > 0 && over == 0) {
        result = run_about(spool, SPOOL_FORGET_SOME, many, &changed);
        tally->depth.kept -= changed;
    }
    return result;
}

static int call_put(struct spool *spool, struct spool_call *call)
{
    struct spool_tally *tally = &spool->file.tally;
    int result;

    call->status = tally->depth.inbox + tally->depth.outbox + tally->depth.aside >= spool->limit ? SPOOL_FULL : SPOOL_OK;
    if (call->status == SPOOL_FULL)
        return SQLITE_OK;
    spool_row_bind(spool->file.prepared[SPOOL_PUT], call->hits, false);
    result = run_insert(spool, SPOOL_PUT, &tally->last_inbox);
    call->hits->id = tally->last_inbox;
    tally->depth.inbox += result == SQLITE_OK;
    return result;
}

static void forget_read(struct spool_call *call)
{
    while (call->got > 0)
        hit_clear(&call->hits[--call->got]);
}

/* *LOST: 1 when `aside` does not take the row. */
static int move_aside(struct spool *spool, enum spool_statement read, int64_t id, const char *reason, size_t *lost)
{
    bool in_inbox = read == SPOOL_READ_INBOX;
    enum spool_statement copy = in_inbox ? SPOOL_COPY_INBOX : SPOOL_COPY_OUTBOX;
    int64_t copied, left = 0;
    int result;

    sqlite3_bind_text(spool->file.prepared[copy], 2, reason, -1, SQLITE_STATIC);
    result = run_about(spool, copy, id, &copied);
    if (result == SQLITE_OK)
        result = run_about(spool, in_inbox ? SPOOL_LEAVE_INBOX : SPOOL_LEAVE_OUTBOX, id, &left);
    spool->file.tally.depth.aside += copied;
    *(in_inbox ? &spool->file.tally.depth.inbox : &spool->file.tally.depth.outbox) -= left;
    *lost = copied < left;
    return result;
}

/* Read on behind AFTER, which is moved, up to the first row that is damaged (*DAMAGED) or the last that is wanted. */
static int read_on(struct spool *spool, struct spool_call *call, int64_t *after, bool *damaged)
{
    sqlite3_stmt *statement = spool->file.prepared[call->read];
    int64_t last = call->read == SPOOL_READ_INBOX ? spool->file.tally.last_inbox : spool->file.tally.last_outbox;
    int result = SQLITE_DONE;

    *damaged = false;
    sqlite3_bind_int64(statement, 1, *after);
    sqlite3_bind_int64(statement, 2, (int64_t)(call->count - call->got));
    while (!*damaged && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        *after = sqlite3_column_int64(statement, 0);
        *damaged = !spool_row_read(statement, last, &call->hits[call->got]);
        call->got += !*damaged;
    }
    sqlite3_reset(statement);
    return *damaged || result == SQLITE_DONE ? SQLITE_OK : result;
}

/* Is the mark of CALL one of this life? */
static bool has_life(const struct spool *spool, struct spool_call *call)
{
    call->status = strcmp(call->mark->life, spool->file.tally.mark.life) == 0 ? SPOOL_OK : SPOOL_OTHER_LIFE;
    return call->status == SPOOL_OK;
}

static int call_read(struct spool *spool, struct spool_call *call)
{
    int64_t after = call->id;
    size_t lost;
    bool damaged;
    int result;

    forget_read(call);
    call->damaged = call->lost = 0;
    if (call->mark != NULL && !has_life(spool, call))
        return SQLITE_OK;
    while ((result = read_on(spool, call, &after, &damaged)) == SQLITE_OK && damaged) {
        result = move_aside(spool, call->read, after, "damaged in the spool", &lost);
        if (result != SQLITE_OK)
            break;
        call->damaged++;
        call->lost += lost;
    }
    return result;
}

static int settle_one(struct spool *spool, const struct hit *hit)
{
    struct hit sent = *hit;
    int64_t left;
    int result = run_about(spool, SPOOL_LEAVE_INBOX, hit->id, &left);

    spool->file.tally.depth.inbox -= left;
    /* Not in the inbox: settled before, unless it went with a damaged file and is known in memory only. */
    if (result != SQLITE_OK || hit->class == CLASS_NONE || (left == 0 && hit->id > spool->file.lost_inbox))
        return result;
    if (!uuid_draw(sent.link))
        return SQLITE_IOERR;
    sent.doubt = hit->id <= spool->file.tally.doubt_inbox;
    spool_row_bind(spool->file.prepared[SPOOL_SEND], &sent, true);
    result = run_insert(spool, SPOOL_SEND, &spool->file.tally.last_outbox);
    spool->file.tally.depth.outbox += result == SQLITE_OK;
    return result;
}

static int call_settle(struct spool *spool, struct spool_call *call)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < call->count && result == SQLITE_OK; i++)
        result = settle_one(spool, &call->judged[i]);
    return result;
}

/* Put the mark at LINK, number NUMBER of the outbox. */
static int move_mark(struct spool *spool, const char *link, int64_t number)
{
    struct spool_tally *tally = &spool->file.tally;
    int64_t kept = 0, changed;
    int result = find_number(spool, SPOOL_COUNT_KEPT, number, NULL, &kept);

    sqlite3_bind_text(spool->file.prepared[SPOOL_SET_MARK], 2, link, -1, SQLITE_TRANSIENT);
    if (result == SQLITE_OK)
        result = run_about(spool, SPOOL_SET_MARK, number, &changed);
    tally->depth.outbox += tally->depth.kept - kept;
    tally->depth.kept = kept;
    /* A number that was never given, by damage: what comes next is not to be below the mark. */
    if (result == SQLITE_OK && number > tally->last_outbox) {
        result = run_about(spool, SPOOL_SKIP, number, &changed);
        tally->last_outbox = number;
    }
    tally->mark.number = number;
    snprintf(tally->mark.link, sizeof tally->mark.link, "%s", link);
    return result;
}

static int call_mark(struct spool *spool, struct spool_call *call)
{
    *call->mark = spool->file.tally.mark;
    return SQLITE_OK;
}

static int call_ancestors(struct spool *spool, struct spool_call *call)
{
    sqlite3_stmt *statement = spool->file.prepared[SPOOL_ANCESTORS];
    int result = sqlite3_step(statement);

    free(call->text);
    call->text = result == SQLITE_ROW ? alloc_text((const char *)sqlite3_column_text(statement, 0)) : NULL;
    sqlite3_reset(statement);
    return result == SQLITE_ROW ? SQLITE_OK : result;
}

static int begin_life(struct spool *spool, const char *reason)
{
    log_event(LOG_LEVEL_WARNING, "spool-new-life file=%s reason=\"%s\"", spool->file.path, reason);
    spool->keep_count = 0;
    return spool_file_begin_life(&spool->file);
}

static int call_agree(struct spool *spool, struct spool_call *call)
{
    const struct spool_mark *mark = &spool->file.tally.mark;
    int64_t number = 0;
    int result = SQLITE_OK;

    if (!has_life(spool, call))
        return SQLITE_OK;
    if (strcmp(call->link, mark->link) != 0) {
        if (call->link[0] != '\0')
            result = find_number(spool, SPOOL_FIND_LINK, 0, call->link, &number);
        if (result == SQLITE_OK && number > 0)
            result = move_mark(spool, call->link, number);
        else if (result == SQLITE_OK)
            result = begin_life(spool, "the database has a mark that is not ours: one of the two is a copy, or older");
        keep_since_now(spool);
    }
    *call->mark = *mark;
    return result;
}

static int call_confirm(struct spool *spool, struct spool_call *call)
{
    int result;

    if (!has_life(spool, call))
        return SQLITE_OK;
    result = move_mark(spool, call->mark->link, call->mark->number);
    keep_since_now(spool);
    return result == SQLITE_OK ? keep_less(spool) : result;
}

static int call_set_aside(struct spool *spool, struct spool_call *call)
{
    size_t lost;
    int result = move_aside(spool, SPOOL_READ_OUTBOX, call->id, call->reason, &lost);

    return result == SQLITE_OK && lost > 0 ? SQLITE_CONSTRAINT : result;
}

/* --- the thread --- */

/* The calls from FIRST up to END in one transaction: all or none. */
static int group_run(struct spool *spool, struct spool_call *first, const struct spool_call *end)
{
    struct spool_file *file = &spool->file;
    struct spool_tally before = file->tally;
    int result = spool_file_run(file, SPOOL_BEGIN);

    for (struct spool_call *call = first; call != end && result == SQLITE_OK; call = call->next)
        result = call->run(spool, call);
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

/* The same; opens the file when it is not, and goes on with a new one when it is damaged. */
static int group_run_safely(struct spool *spool, struct spool_call *first, const struct spool_call *end)
{
    struct spool_file *file = &spool->file;
    int result = file->db != NULL ? SQLITE_OK : spool_file_open(file);

    if (result == SQLITE_OK)
        result = group_run(spool, first, end);
    if (spool_file_is_damage(result) && file->db != NULL && spool_file_set_aside(file) &&
        (result = spool_file_open(file)) == SQLITE_OK)
        result = group_run(spool, first, end);
    return result;
}

static void group_fail(struct spool *spool, struct spool_call *first, const struct spool_call *end)
{
    for (struct spool_call *call = first; call != end; call = call->next)
        call->status = SPOOL_FAILED;
    if (log_is_due(&spool->logged_ms, LOG_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR, "spool-error file=%s reason=\"%s\"", spool->file.path, spool->file.why);
}

static void round_run(struct spool *spool, struct spool_call *first)
{
    int result = group_run_safely(spool, first, NULL);

    if (result == SQLITE_OK)
        return;
    /* Whoever holds the file holds it against each of them: do not wait for each. */
    if (result == SQLITE_BUSY || spool->file.db == NULL) {
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
    struct spool_file *file = &spool->file;

    if (file->db == NULL || spool_file_is_there(file) || spool_file_rescue(file) == SQLITE_OK)
        return;
    if (log_is_due(&spool->logged_ms, LOG_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR, "spool-error file=%s reason=\"it lost its name, and cannot be written anew: %s\"", file->path,
                  file->why);
}

static int call_keep_less(struct spool *spool, struct spool_call *call)
{
    (void)call;
    return keep_less(spool);
}

/* For the next start, which then knows whether the file is an older one.  Not synced: a power cut makes it forget, no more. */
static void remember(struct spool *spool)
{
    const struct spool_tally *tally = &spool->file.tally;
    char text[MEMORY_SIZE + 1];

    snprintf(text, sizeof text, "%19lld %19lld\n", (long long)tally->last_inbox,
             (long long)(tally->depth.inbox + tally->depth.outbox));
    if (pwrite(spool->lock_fd, text, MEMORY_SIZE, 0) != MEMORY_SIZE) {
        /* Less is known then, of an event that should not come. */
    }
}

static void round_finish(struct spool *spool, struct spool_call *first)
{
    pthread_mutex_lock(&spool->mutex);
    spool->depth = spool->file.tally.depth;
    if (spool->announced != spool->file.tally.last_outbox) {
        spool->announced = spool->file.tally.last_outbox;
        spool->events++;
        pthread_cond_broadcast(&spool->news);
    }
    for (struct spool_call *call = first; call != NULL; call = call->next)
        call->done = true;
    pthread_cond_broadcast(&spool->finished);
    pthread_mutex_unlock(&spool->mutex);
}

static void *spool_thread(void *argument)
{
    struct spool *spool = argument;
    struct spool_call *round;

    while (round_take(spool, &round)) {
        look_after_file(spool);
        if (round != NULL)
            round_run(spool, round);
        else if (spool->file.tally.depth.kept > 0)
            round_run(spool, &(struct spool_call){.run = call_keep_less});
        remember(spool);
        round_finish(spool, round);
    }
    return NULL;
}

static enum spool_status call_submit(struct spool *spool, struct spool_call *call)
{
    pthread_mutex_lock(&spool->mutex);
    *spool->end = call;
    spool->end = &call->next;
    pthread_cond_signal(&spool->work);
    while (!call->done)
        pthread_cond_wait(&spool->finished, &spool->mutex);
    pthread_mutex_unlock(&spool->mutex);
    return call->status;
}

/* --- open and close --- */

static enum spool_status lock_take(struct spool *spool)
{
    char *path = alloc_format("%s.lock", spool->file.path);
    enum spool_status status = SPOOL_OK;

    spool->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (spool->lock_fd < 0 || flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        status = spool->lock_fd >= 0 && errno == EWOULDBLOCK ? SPOOL_LOCKED : SPOOL_FAILED;
        snprintf(spool->file.why, SPOOL_WHY_SIZE, "lock: %s",
                 status == SPOOL_LOCKED ? "held by another process" : strerror(errno));
    }
    free(path);
    return status;
}

/* Is the file an older one than the one that we had?  Then hits that were answered are in it no more: at most those that were
 * waiting then. */
static enum spool_status recall(struct spool *spool)
{
    long long last_inbox = 0, waiting = 0, missing;
    char text[MEMORY_SIZE + 1] = "";

    if (pread(spool->lock_fd, text, MEMORY_SIZE, 0) <= 0 || sscanf(text, "%lld %lld", &last_inbox, &waiting) != 2)
        return SPOOL_OK;
    missing = last_inbox - spool->file.tally.last_inbox;
    if (missing <= 0)
        return SPOOL_OK;
    if (missing > waiting)
        missing = waiting;
    counter_add(COUNTER_LOST, (uint64_t)missing);
    log_event(LOG_LEVEL_ERROR, "spool-older file=%s lost=%lld reason=\"it ends before the last hit that was answered: an old copy, or it "
              "was damaged\"", spool->file.path, missing);
    return spool_file_new_life(&spool->file, "it is older than the one that we had") == SQLITE_OK ? SPOOL_OK : SPOOL_FAILED;
}

static void spool_free(struct spool *spool)
{
    spool_file_close(&spool->file, true);
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    pthread_cond_destroy(&spool->news);
    pthread_cond_destroy(&spool->finished);
    pthread_cond_destroy(&spool->work);
    pthread_mutex_destroy(&spool->mutex);
    free(spool->file.path);
    free(spool);
}

static bool start_spool_thread(struct spool *spool)
{
    int failed = thread_start(&spool->thread, "spool", spool_thread, spool);

    if (failed != 0)
        snprintf(spool->file.why, SPOOL_WHY_SIZE, "thread: %s", strerror(failed));
    return failed == 0;
}

enum spool_status spool_open(struct spool **opened, const char *path, int64_t limit, int64_t keep_ms, char *why,
                             size_t why_size)
{
    struct spool *spool = alloc_zeroed(1, sizeof *spool);
    enum spool_status status;

    *opened = NULL;
    spool->file.path = alloc_text(path);
    spool->limit = limit;
    spool->keep_ms = keep_ms;
    spool->end = &spool->first;
    pthread_mutex_init(&spool->mutex, NULL);
    pthread_cond_init(&spool->work, NULL);
    pthread_cond_init(&spool->finished, NULL);
    pthread_cond_init(&spool->news, NULL);
    status = lock_take(spool);
    if (status == SPOOL_OK && spool_file_open(&spool->file) != SQLITE_OK)
        status = SPOOL_FAILED;
    if (status == SPOOL_OK)
        status = recall(spool);
    if (status == SPOOL_OK)
        spool_file_retry_aside(&spool->file);
    spool->depth = spool->file.tally.depth;
    spool->announced = spool->file.tally.last_outbox;
    spool->events = spool->depth.outbox > 0;
    if (status == SPOOL_OK && !start_spool_thread(spool))
        status = SPOOL_FAILED;
    if (status == SPOOL_OK) {
        *opened = spool;
    } else {
        snprintf(why, why_size, "%s", spool->file.why);
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
    return call_submit(spool, &(struct spool_call){.run = call_put, .hits = hit});
}

static enum spool_status read_box(struct spool *spool, struct spool_call *call, size_t *count)
{
    enum spool_status status = call_submit(spool, call);

    if (status != SPOOL_OK)
        forget_read(call);
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
    return read_box(spool, &(struct spool_call){.run = call_read, .read = SPOOL_READ_INBOX, .id = after, .hits = hits,
                                                .count = max}, count);
}

enum spool_status spool_read_outbox(struct spool *spool, const struct spool_mark *after, struct hit *hits, size_t max,
                                    size_t *count)
{
    struct spool_mark mark = *after;

    return read_box(spool, &(struct spool_call){.run = call_read, .read = SPOOL_READ_OUTBOX, .id = after->number, .mark = &mark,
                                                .hits = hits, .count = max}, count);
}

enum spool_status spool_settle(struct spool *spool, const struct hit *hits, size_t count)
{
    return call_submit(spool, &(struct spool_call){.run = call_settle, .judged = hits, .count = count});
}

enum spool_status spool_mark(struct spool *spool, struct spool_mark *mark)
{
    return call_submit(spool, &(struct spool_call){.run = call_mark, .mark = mark});
}

char *spool_ancestors(struct spool *spool)
{
    struct spool_call call = {.run = call_ancestors};

    if (call_submit(spool, &call) == SPOOL_OK)
        return call.text;
    free(call.text);
    return NULL;
}

enum spool_status spool_agree(struct spool *spool, const char *link, struct spool_mark *mark)
{
    return call_submit(spool, &(struct spool_call){.run = call_agree, .link = link, .mark = mark});
}

enum spool_status spool_confirm(struct spool *spool, const struct spool_mark *mark)
{
    struct spool_mark confirmed = *mark;

    return call_submit(spool, &(struct spool_call){.run = call_confirm, .mark = &confirmed});
}

enum spool_status spool_set_aside(struct spool *spool, int64_t id, const char *reason)
{
    return call_submit(spool, &(struct spool_call){.run = call_set_aside, .id = id, .reason = reason});
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
