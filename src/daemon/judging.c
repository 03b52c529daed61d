#include "daemon/judging.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"

enum {
    IDLE_MS = 60000,      /* judge_wake() ends it */
    FIRST_PAUSE_MS = 100, /* after the spool failed; doubled each time */
    LONGEST_PAUSE_MS = 30000,
    SPOOL_COMPLAINT_MS = 60000,
    SUMMARY_MS = 60000,
    ROUND_REST = 4, /* times as long as a round took, until the next */
    TIDE_INTERVAL_MS = 100,
    TIDE_MARKS = 1024 /* so many of them go back further than the default verdict_timeout */
};

/* Which hits were in the inbox when: all up to `id` at `ms` (boot_ms of clock_now()).  The inbox does not say itself, on a
 * clock that never jumps, and under load it is read long after. */
struct tide {
    pthread_mutex_t mutex; /* covers the rest */
    struct tide_mark {
        int64_t id, ms;
    } marks[TIDE_MARKS];
    size_t next, count;
};

/* A hit read from the inbox.  Once judged, the hit holds what the verdict added. */
struct candidate {
    struct hit hit;
    int64_t read_ms;  /* from then on it waits */
    int64_t taken_ms; /* it was there by then (boot_ms of clock_now()) */
    bool late, asked;
    enum verdict verdict;
    const char *why;
};

struct judging {
    struct spool *spool;
    struct judge *judge;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool fresh; /* hits were put that are not read yet */
    _Atomic int64_t verdict_timeout_ms;
    struct tide tide;

    /* What became of the hits since the last summary. */
    struct account {
        pthread_mutex_t mutex; /* covers the rest */
        struct account_line {
            uint64_t hits;
            const char *why; /* of the last of them */
            bool told;       /* the first since the start was */
        } verdicts[VERDICT_COUNT];
        int64_t summary_ms; /* when they are told; 0: there are none */
    } account;

    /* The rest is the thread's own. */
    struct candidate *window; /* in the order of the inbox; 0..count-1 in use */
    size_t count;
    int64_t last_id;   /* read up to here */
    struct clock_moment empty; /* when the inbox was last seen with nothing unread in it */
    bool may_have_more;
    int64_t read_ms;   /* what comes until then is read together */
    int64_t round_ms;  /* those that wait are not asked about again before, */
    bool round_due;    /* ... but then, as something may have become known */
    int64_t retry_ms;  /* no call to the spool before */
    int64_t pause_ms;
};

static void spool_failed(struct judging *judging, const char *doing)
{
    static _Atomic int64_t complaint_ms;

    judging->pause_ms = judging->pause_ms == 0                    ? FIRST_PAUSE_MS
                        : judging->pause_ms < LONGEST_PAUSE_MS / 2 ? judging->pause_ms * 2
                                                                   : LONGEST_PAUSE_MS;
    judging->retry_ms = clock_monotonic_ms() + judging->pause_ms;
    if (log_is_due(&complaint_ms, SPOOL_COMPLAINT_MS))
        log_event(LOG_LEVEL_ERROR, "spool-failed doing=%s effect=\"hits wait in the inbox\"", doing);
}

static void spool_worked(struct judging *judging)
{
    judging->pause_ms = 0;
    judging->retry_ms = 0;
}

void judging_hit_put(struct judging *judging, int64_t id)
{
    struct tide *tide = &judging->tide;
    int64_t now_ms = clock_now().boot_ms;

    pthread_mutex_lock(&tide->mutex);
    if (tide->count == 0 || now_ms - tide->marks[(tide->next + TIDE_MARKS - 1) % TIDE_MARKS].ms >= TIDE_INTERVAL_MS) {
        tide->marks[tide->next] = (struct tide_mark){.id = id, .ms = now_ms};
        tide->next = (tide->next + 1) % TIDE_MARKS;
        tide->count += tide->count < TIDE_MARKS;
    }
    pthread_mutex_unlock(&tide->mutex);
    if (!atomic_exchange(&judging->fresh, true))
        judge_wake(judging->judge);
}

/* When the hit with ID, which was read by READ_MS, was in the inbox at the latest. */
static int64_t tide_taken_ms(struct tide *tide, int64_t id, int64_t read_ms)
{
    int64_t taken_ms = read_ms;

    pthread_mutex_lock(&tide->mutex);
    for (size_t back = 1; back <= tide->count; back++) {
        const struct tide_mark *mark = &tide->marks[(tide->next + TIDE_MARKS - back) % TIDE_MARKS];

        if (mark->id < id)
            break;
        if (mark->ms < taken_ms)
            taken_ms = mark->ms;
    }
    pthread_mutex_unlock(&tide->mutex);
    return taken_ms;
}

/* Was HIT, read between BEFORE and AFTER, too old by then to be judged by today's state of the primaries?  The real time may
 * have jumped, and what is from the future shows that; what came into the inbox after we had seen it empty is no older than
 * that moment, by clocks that agree. */
static bool is_late(const struct judging *judging, const struct hit *hit, const struct clock_moment *before,
                    const struct clock_moment *after)
{
    int64_t timeout_ms = judging->verdict_timeout_ms, taken_ms = hit->time_us / 1000;

    if (clock_age_most_ms(&judging->empty, before) <= timeout_ms)
        return false;
    return taken_ms > after->real_ms || before->real_ms - taken_ms > timeout_ms;
}

/* Each reading, and what it lets settle, is a round of the spool of its own, for which DATA waits: hits that come one after the
 * other share it.  The first after a rest is read at once. */
static bool gathers(const struct judging *judging, int64_t now_ms)
{
    return now_ms < judging->read_ms && !judging->may_have_more && !judging->stop;
}

/* Fill the window up. */
static void read_inbox(struct judging *judging)
{
    size_t space = JUDGING_WINDOW - judging->count, count = 0;
    int64_t before_ms = clock_monotonic_ms();
    const struct clock_moment before = clock_now();
    struct clock_moment after;
    struct hit *hits;

    if (space == 0 || before_ms < judging->retry_ms || gathers(judging, before_ms))
        return;
    judging->fresh = false;
    hits = alloc_zeroed(space, sizeof *hits);
    if (spool_read_inbox(judging->spool, judging->last_id, hits, space, &count) != SPOOL_OK) {
        spool_failed(judging, "read");
        count = 0;
    }
    after = clock_now();
    for (size_t i = 0; i < count; i++) {
        judging->window[judging->count++] = (struct candidate){
            .hit = hits[i],
            .read_ms = before_ms,
            .taken_ms = tide_taken_ms(&judging->tide, hits[i].id, after.boot_ms),
            .late = is_late(judging, &hits[i], &before, &after),
        };
        judging->last_id = hits[i].id;
    }
    if (count > 0)
        judging->read_ms = before_ms + JUDGING_ROUND_MS;
    judging->may_have_more = count == space || before_ms < judging->retry_ms;
    if (!judging->may_have_more)
        judging->empty = before;
    free(hits);
}

_Static_assert((int)HIT_PRIMARY_LIMIT == (int)MX_MAX, "all primaries go along");
_Static_assert((int)HIT_DOMAIN_LIMIT > (int)JUDGE_DOMAIN_LIMIT, "a hit on more domains than are judged can be told");

/* Do hits wait in the inbox until one of the window is settled?  Long enough, and they could not be judged any more. */
static bool is_pressed(const struct judging *judging)
{
    return judging->count == JUDGING_WINDOW && judging->may_have_more;
}

static void judge_candidate(struct judging *judging, struct candidate *candidate, bool known_only)
{
    int64_t waited_ms = clock_monotonic_ms() - candidate->read_ms;
    bool final = waited_ms >= judging->verdict_timeout_ms;
    struct hit *hit = &candidate->hit;
    struct judge_question question = {
        .client = hit->client,
        .local = hit->local,
        .client_name = hit->client_name,
        .mta_name = hit->mta_name,
        .domains = (const char *const *)hit->domains,
        .domain_count = hit->domain_count,
        .taken_ms = candidate->taken_ms,
        .exempt = hit->exempt,
        .known_only = known_only && !final,
        .late = candidate->late,
        .final = final,
        .hurry = judging->stop || (is_pressed(judging) && waited_ms >= JUDGING_NAME_MS),
    };
    struct judge_answer answer = {0};

    judge_ask(judging->judge, &question, &answer);
    candidate->asked = true;
    candidate->verdict = answer.verdict;
    candidate->why = answer.why;
    if (answer.verdict == VERDICT_OFFENCE) {
        hit->class = answer.class;
        free(hit->domain);
        hit->domain = alloc_text(answer.domain);
        free(hit->primary);
        hit->primary = alloc_text(answer.primary);
        hit->primary_age_ms = answer.primary_age_ms;
        hit->primaries = alloc_zeroed(answer.primary_count, sizeof *hit->primaries);
        hit->primaries_count = answer.primary_count;
        for (size_t i = 0; i < answer.primary_count; i++)
            hit->primaries[i] = alloc_text(answer.primaries[i]);
        free(hit->owner);
        hit->owner = alloc_text(answer.owner);
        hit->name_state = answer.name_state;
        hit->friend_state = answer.friend_state;
    }
}

/* When the summary is due; 0: there is nothing to tell. */
static int64_t account_due_ms(struct account *account)
{
    int64_t due_ms;

    pthread_mutex_lock(&account->mutex);
    due_ms = account->summary_ms;
    pthread_mutex_unlock(&account->mutex);
    return due_ms;
}

/* One more hit is VERDICT.  Tells whether it is the *FIRST since the start; true when it is the first since the last summary, whose
 * time begins to run. */
static bool account_add(struct account *account, enum verdict verdict, const char *why, bool *first)
{
    bool begins;

    pthread_mutex_lock(&account->mutex);
    begins = account->summary_ms == 0;
    if (begins)
        account->summary_ms = clock_monotonic_ms() + SUMMARY_MS;
    account->verdicts[verdict].hits++;
    account->verdicts[verdict].why = why;
    *first = !account->verdicts[verdict].told;
    account->verdicts[verdict].told = true;
    pthread_mutex_unlock(&account->mutex);
    return begins;
}

/* What became of the hits since the last time, a line for each verdict. */
static void log_summary(struct account *account)
{
    struct account_line lines[VERDICT_COUNT];

    pthread_mutex_lock(&account->mutex);
    memcpy(lines, account->verdicts, sizeof lines);
    for (size_t i = 0; i < VERDICT_COUNT; i++)
        account->verdicts[i].hits = 0;
    account->summary_ms = 0;
    pthread_mutex_unlock(&account->mutex);
    for (size_t i = 0; i < VERDICT_COUNT; i++)
        if (lines[i].hits > 0)
            log_event(LOG_LEVEL_INFO, "judged verdict=%s hits=%llu why=\"%s\"", verdict_name((enum verdict)i),
                      (unsigned long long)lines[i].hits, lines[i].why);
}

/* HIT ended with VERDICT.  The first of each verdict since the start is told at once: a new installation that records nothing says
 * why.  True when the time to the next summary begins to run. */
static bool log_verdict(struct judging *judging, const struct hit *hit, enum verdict verdict, const char *why)
{
    const char *queue = hit->queue_id[0] != '\0' ? hit->queue_id : "-";
    bool first, begins = account_add(&judging->account, verdict, why, &first);
    char client[IPADDR_TEXT_SIZE];

    ipaddr_format(&hit->client, client);
    counter_add_verdict(verdict);
    if (verdict == VERDICT_OFFENCE)
        log_event(LOG_LEVEL_INFO, "offence client=%s class=%s domain=%s primary=%s primary_age_ms=%lld queue=%s", client,
                  class_name(hit->class), hit->domain, hit->primary[0] != '\0' ? hit->primary : "-",
                  (long long)hit->primary_age_ms, queue);
    else
        log_event(first ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "not-recorded client=%s verdict=%s why=\"%s\" queue=%s", client,
                  verdict_name(verdict), why, queue);
    return begins;
}

bool judging_at_once(struct judging *judging, const struct hit *hit)
{
    const struct judge_question question = {
        .client = hit->client,
        .local = hit->local,
        .mta_name = hit->mta_name,
        .exempt = hit->exempt,
    };
    struct judge_answer answer;

    if (!judge_at_once(judging->judge, &question, &answer))
        return false;
    if (log_verdict(judging, hit, answer.verdict, answer.why))
        judge_wake(judging->judge);
    return true;
}

/* Judge what is not judged yet.  Each probe and each look-up is news, and any number of hits may wait for others: those that were
 * asked about have rounds, while a new one, or one whose time is over, has its turn at once. */
static void judge_window(struct judging *judging)
{
    int64_t begun_ms = clock_monotonic_ms(), ended_ms;
    bool is_round = begun_ms >= judging->round_ms, again = false;
    size_t waiting_domains = 0;

    judging->round_due = false;
    for (size_t i = 0; i < judging->count; i++) {
        struct candidate *candidate = &judging->window[i];

        if (candidate->verdict != VERDICT_PENDING)
            continue;
        again = again || candidate->asked;
        if (is_round || !candidate->asked || begun_ms - candidate->read_ms >= judging->verdict_timeout_ms)
            judge_candidate(judging, candidate, waiting_domains >= JUDGING_DOMAINS);
        else
            judging->round_due = true;
        if (candidate->verdict == VERDICT_PENDING)
            waiting_domains += candidate->hit.domain_count;
    }
    if (!is_round || !again)
        return;
    ended_ms = clock_monotonic_ms();
    judging->round_ms = ended_ms + ((ended_ms - begun_ms) * ROUND_REST > JUDGING_ROUND_MS ? (ended_ms - begun_ms) * ROUND_REST
                                                                                          : JUDGING_ROUND_MS);
}

/* Settle in one batch all that is judged. */
static void settle_window(struct judging *judging)
{
    struct hit *decided;
    size_t count = 0, left = 0;

    judge_window(judging);
    if (clock_monotonic_ms() < judging->retry_ms)
        return;
    decided = alloc_zeroed(judging->count + 1, sizeof *decided);
    for (size_t i = 0; i < judging->count; i++)
        if (judging->window[i].verdict != VERDICT_PENDING)
            decided[count++] = judging->window[i].hit;
    if (count > 0 && spool_settle(judging->spool, decided, count) != SPOOL_OK) {
        spool_failed(judging, "settle");
        free(decided);
        return;
    }
    spool_worked(judging);
    for (size_t i = 0; i < judging->count; i++) {
        if (judging->window[i].verdict == VERDICT_PENDING) {
            judging->window[left++] = judging->window[i];
            continue;
        }
        log_verdict(judging, &judging->window[i].hit, judging->window[i].verdict, judging->window[i].why);
        hit_clear(&judging->window[i].hit);
    }
    judging->count = left;
    free(decided);
}

/* When something is to be done though nothing became known. */
static int64_t next_deadline(struct judging *judging)
{
    int64_t deadline_ms = clock_monotonic_ms() + IDLE_MS, summary_ms = account_due_ms(&judging->account), own_ms;

    if (judging->retry_ms > 0)
        return judging->retry_ms;
    if (judging->may_have_more && judging->count < JUDGING_WINDOW)
        return 0;
    if (judging->round_due)
        deadline_ms = judging->round_ms;
    else if (is_pressed(judging))
        deadline_ms = clock_monotonic_ms() + JUDGING_NAME_MS;
    if (judging->fresh && judging->count < JUDGING_WINDOW && judging->read_ms < deadline_ms)
        deadline_ms = judging->read_ms;
    if (summary_ms > 0 && summary_ms < deadline_ms)
        deadline_ms = summary_ms;
    for (size_t i = 0; i < judging->count; i++) {
        own_ms = judging->window[i].read_ms + judging->verdict_timeout_ms;
        if (own_ms < deadline_ms)
            deadline_ms = own_ms;
    }
    return deadline_ms;
}

static void *judging_thread(void *argument)
{
    struct judging *judging = argument;
    uint64_t seen = 0;
    int64_t summary_ms;

    while (!judging->stop) {
        read_inbox(judging);
        settle_window(judging);
        summary_ms = account_due_ms(&judging->account);
        if (summary_ms > 0 && clock_monotonic_ms() >= summary_ms)
            log_summary(&judging->account);
        if (!judging->stop)
            judge_wait(judging->judge, &seen, next_deadline(judging));
    }
    /* What came in at the last moment may be decided as well; after a restart it could be too late. */
    judging->retry_ms = judging->round_ms = 0; /* and `stop`: no reading is put off */
    read_inbox(judging);
    settle_window(judging);
    log_summary(&judging->account);
    return NULL;
}

static void judging_free(struct judging *judging)
{
    pthread_mutex_destroy(&judging->tide.mutex);
    pthread_mutex_destroy(&judging->account.mutex);
    for (size_t i = 0; i < judging->count; i++)
        hit_clear(&judging->window[i].hit);
    free(judging->window);
    free(judging);
}

struct judging *judging_start(struct spool *spool, struct judge *judge, int64_t verdict_timeout_ms)
{
    struct judging *judging = alloc_zeroed(1, sizeof *judging);
    int error;

    pthread_mutex_init(&judging->tide.mutex, NULL);
    pthread_mutex_init(&judging->account.mutex, NULL);
    judging->spool = spool;
    judging->judge = judge;
    judging->window = alloc_zeroed(JUDGING_WINDOW, sizeof *judging->window);
    atomic_init(&judging->stop, false);
    atomic_init(&judging->fresh, false);
    atomic_init(&judging->verdict_timeout_ms, verdict_timeout_ms);
    error = thread_start(&judging->thread, "judging", judging_thread, judging);
    if (error == 0)
        return judging;
    judging_free(judging);
    errno = error;
    return NULL;
}

void judging_configure(struct judging *judging, int64_t verdict_timeout_ms)
{
    judging->verdict_timeout_ms = verdict_timeout_ms;
}

void judging_stop(struct judging **stopping)
{
    struct judging *judging = *stopping;

    *stopping = NULL;
    if (judging == NULL)
        return;
    judging->stop = true;
    judge_wake(judging->judge);
    pthread_join(judging->thread, NULL);
    judging_free(judging);
}
