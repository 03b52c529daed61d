#include "daemon/judging.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"

enum { RETRY_MS = 1000 /* after the spool failed */, IDLE_MS = 60000, LOG_EVERY_MS = 60000 };

/* A hit that waits for its verdict. */
struct waiting {
    struct hit hit;
    int64_t deadline_ms;
    bool late;
};

struct judging {
    pthread_t thread;
    struct spool *spool;
    struct judge *judge;
    _Atomic int64_t verdict_timeout_ms;
    atomic_bool stopping;

    /* The thread's own. */
    struct waiting waiting[JUDGING_WINDOW];
    size_t count;
    int64_t last_id; /* the youngest hit that was read */
};

/* A hit that an earlier process left in the inbox, or that waited for room here, may be too old for what is known of the
 * primaries now; so is one whose time is doubtful. */
static bool is_late(const struct hit *hit, int64_t timeout_ms)
{
    int64_t age_us = clock_realtime_us() - hit->time_us;

    return age_us < 0 || age_us > timeout_ms * 1000;
}

/* Returns false when the spool failed. */
static bool read_inbox(struct judging *judging)
{
    int64_t timeout_ms = atomic_load(&judging->verdict_timeout_ms), now_ms = clock_monotonic_ms();
    size_t room = JUDGING_WINDOW - judging->count, count = 0;
    struct hit *hits;
    bool read;

    if (room == 0)
        return true;
    hits = alloc_zeroed(room, sizeof *hits);
    read = spool_read_inbox(judging->spool, judging->last_id, hits, room, &count) == SPOOL_OK;
    for (size_t i = 0; i < count; i++) {
        judging->last_id = hits[i].id;
        judging->waiting[judging->count++] = (struct waiting){
            .hit = hits[i],
            .deadline_ms = now_ms + timeout_ms,
            .late = is_late(&hits[i], timeout_ms),
        };
    }
    free(hits);
    return read;
}

static void answer_log(const struct hit *hit, const struct judge_answer *answer)
{
    char client[IPADDR_TEXT_SIZE];

    ipaddr_format(&hit->client, client);
    if (answer->verdict == VERDICT_OFFENCE)
        log_event(LOG_LEVEL_INFO, "offence client=%s class=%s domain=%s primary=%s primary_age_ms=%lld queue=%s", client,
                  class_name(answer->class), answer->domain, answer->primary[0] != '\0' ? answer->primary : "-",
                  (long long)answer->primary_age_ms, hit->queue_id[0] != '\0' ? hit->queue_id : "-");
    else
        log_event(LOG_LEVEL_DEBUG, "not-recorded client=%s verdict=%s why=\"%s\" queue=%s", client,
                  verdict_name(answer->verdict), answer->why, hit->queue_id[0] != '\0' ? hit->queue_id : "-");
}

static void answer_count(enum verdict verdict)
{
    static const enum counter counters[] = {
        [VERDICT_OFFENCE] = COUNTER_OFFENCE,       [VERDICT_OUTAGE] = COUNTER_OUTAGE,
        [VERDICT_RECOVERING] = COUNTER_RECOVERING, [VERDICT_FRIEND] = COUNTER_FRIEND,
        [VERDICT_IGNORED] = COUNTER_IGNORED,       [VERDICT_EXEMPT] = COUNTER_EXEMPT,
        [VERDICT_NONE] = COUNTER_NONE,             [VERDICT_UNKNOWN] = COUNTER_UNKNOWN,
    };

    counter_add(counters[verdict], 1);
}

static void ask(struct judging *judging, const struct waiting *waiting, struct judge_answer *answer)
{
    const struct hit *hit = &waiting->hit;
    const struct judge_question question = {
        .client = hit->client,
        .local = hit->local,
        .mta_name = hit->mta_name,
        .domains = (const char *const *)hit->domains,
        .domain_count = hit->domain_count,
        .exempt = hit->exempt,
        .late = waiting->late,
    };

    judge_ask(judging->judge, &question, answer);
    if (answer->verdict == VERDICT_PENDING && clock_monotonic_ms() >= waiting->deadline_ms)
        *answer = (struct judge_answer){.verdict = VERDICT_UNKNOWN, .why = "no answer in time"};
}

static void verdict_put(struct hit *hit, const struct judge_answer *answer)
{
    hit->class = answer->verdict == VERDICT_OFFENCE ? answer->class : CLASS_NONE;
    free(hit->domain);
    free(hit->primary);
    hit->domain = alloc_text(answer->domain);
    hit->primary = alloc_text(answer->primary);
    hit->primary_age_ms = answer->primary_age_ms;
}

/* Ask about all that wait, and settle what is decided.  False when the spool failed: nothing was settled then, and all
 * is asked again. */
static bool settle(struct judging *judging)
{
    struct judge_answer *answers = alloc_zeroed(judging->count, sizeof *answers);
    struct hit *decided = alloc_zeroed(judging->count, sizeof *decided);
    size_t decided_count = 0, kept = 0;
    bool settled;

    for (size_t i = 0; i < judging->count; i++) {
        ask(judging, &judging->waiting[i], &answers[i]);
        if (answers[i].verdict == VERDICT_PENDING)
            continue;
        verdict_put(&judging->waiting[i].hit, &answers[i]);
        decided[decided_count++] = judging->waiting[i].hit;
    }
    settled = decided_count == 0 || spool_settle(judging->spool, decided, decided_count) == SPOOL_OK;
    for (size_t i = 0; settled && i < judging->count; i++) {
        if (answers[i].verdict == VERDICT_PENDING) {
            judging->waiting[kept++] = judging->waiting[i];
            continue;
        }
        answer_log(&judging->waiting[i].hit, &answers[i]);
        answer_count(answers[i].verdict);
        hit_clear(&judging->waiting[i].hit);
    }
    if (settled)
        judging->count = kept;
    free(decided);
    free(answers);
    return settled;
}

/* When the next of those that wait runs out of time. */
static int64_t next_deadline(const struct judging *judging)
{
    int64_t deadline_ms = clock_monotonic_ms() + IDLE_MS;

    for (size_t i = 0; i < judging->count; i++)
        if (judging->waiting[i].deadline_ms < deadline_ms)
            deadline_ms = judging->waiting[i].deadline_ms;
    return deadline_ms;
}

static void *judging_thread(void *argument)
{
    struct judging *judging = argument;
    _Atomic int64_t logged_ms = 0;
    uint64_t seen = 0;

    for (;;) {
        bool stopping = atomic_load(&judging->stopping);
        bool well = read_inbox(judging) && settle(judging);

        if (!well && log_is_due(&logged_ms, LOG_EVERY_MS))
            log_event(LOG_LEVEL_ERROR, "spool-failed step=judging");
        if (stopping)
            return NULL;
        judge_wait(judging->judge, &seen, well ? next_deadline(judging) : clock_monotonic_ms() + RETRY_MS);
    }
}

struct judging *judging_start(struct spool *spool, struct judge *judge, int64_t verdict_timeout_ms)
{
    struct judging *judging = alloc_zeroed(1, sizeof *judging);

    judging->spool = spool;
    judging->judge = judge;
    judging->verdict_timeout_ms = verdict_timeout_ms;
    if (pthread_create(&judging->thread, NULL, judging_thread, judging) != 0) {
        log_event(LOG_LEVEL_ERROR, "fatal reason=\"cannot start a thread\"");
        exit(EXIT_FAILURE);
    }
    return judging;
}

void judging_configure(struct judging *judging, int64_t verdict_timeout_ms)
{
    atomic_store(&judging->verdict_timeout_ms, verdict_timeout_ms);
}

void judging_stop(struct judging **judging)
{
    if (*judging == NULL)
        return;
    atomic_store(&(*judging)->stopping, true);
    judge_wake((*judging)->judge);
    pthread_join((*judging)->thread, NULL);
    for (size_t i = 0; i < (*judging)->count; i++)
        hit_clear(&(*judging)->waiting[i].hit);
    free(*judging);
    *judging = NULL;
}
