#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "daemon/judging.h"
#include "fake_clock.h"
#include "fake_thread.h"

/* Fakes of the spool and the judge.  Judging's thread stands still in judge_wait() but for step(). */

enum { TIMEOUT_MS = 60000, INBOX_MAX = 3 * JUDGING_WINDOW };

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned waits;   /* times that judging came to judge_wait() */
    unsigned allowed; /* times that it may leave it */
} turn = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct entry {
    int64_t id, time_us;
    size_t domain_count;
    bool settled;
    enum hit_class class;
} inbox[INBOX_MAX];
static size_t inbox_count, settle_calls;
static bool spool_broken, settle_broken;
static void (*on_read)(void);

static size_t asked_late, asked_known_only;
static int64_t last_deadline_ms;

enum spool_status spool_read_inbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
{
    (void)spool;
    *count = 0;
    if (spool_broken)
        return SPOOL_FAILED;
    if (on_read != NULL)
        on_read();
    for (size_t i = 0; i < inbox_count && *count < max; i++)
        if (inbox[i].id > after && !inbox[i].settled)
            hits[(*count)++] = (struct hit){
                .id = inbox[i].id,
                .time_us = inbox[i].time_us,
                .mta_name = alloc_text(""),
                .queue_id = alloc_text(""),
                .domains = alloc_zeroed(inbox[i].domain_count, sizeof(char *)),
                .domain_count = inbox[i].domain_count,
            };
    return SPOOL_OK;
}

enum spool_status spool_settle(struct spool *spool, const struct hit *hits, size_t count)
{
    (void)spool;
    settle_calls++;
    if (spool_broken || settle_broken)
        return SPOOL_FAILED;
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = &inbox[hits[i].id - 1];

        assert_false(entry->settled);
        entry->settled = true;
        entry->class = hits[i].class;
        if (hits[i].class != CLASS_NONE)
            assert_string_equal(hits[i].domain, "trap.example");
    }
    return SPOOL_OK;
}

static bool names_wait; /* the judge knows all but what DNS says of the clients */
static size_t questions; /* the judge is asked in the order of the window */
static enum verdict answer_all;
static int64_t asked_taken_ms;

void judge_ask(struct judge *judge, const struct judge_question *question, struct judge_answer *answer)
{
    (void)judge;
    questions++;
    asked_late += question->late;
    asked_known_only += question->known_only;
    asked_taken_ms = question->taken_ms;
    *answer = (struct judge_answer){.verdict = answer_all, .why = "as the test says"};
    if (names_wait && !question->final && !question->hurry)
        answer->verdict = VERDICT_PENDING;
    if (question->final && answer_all == VERDICT_PENDING)
        answer->verdict = VERDICT_UNKNOWN;
    if (question->late)
        answer->verdict = VERDICT_UNKNOWN;
    if (answer->verdict == VERDICT_OFFENCE) {
        answer->class = CLASS_TRAP;
        strcpy(answer->domain, "trap.example");
        answer->friend_state = FRIEND_UNANSWERED;
    }
}

static enum verdict at_once; /* VERDICT_PENDING: it is not known */

bool judge_at_once(struct judge *judge, const struct judge_question *question, struct judge_answer *answer)
{
    (void)judge;
    (void)question;
    *answer = (struct judge_answer){.verdict = at_once, .why = "as the test says"};
    return at_once != VERDICT_PENDING;
}

void judge_wait(struct judge *judge, uint64_t *seen, int64_t deadline_ms)
{
    (void)judge;
    (void)seen;
    pthread_mutex_lock(&turn.mutex);
    last_deadline_ms = deadline_ms;
    turn.waits++;
    pthread_cond_broadcast(&turn.changed);
    while (turn.allowed == 0)
        pthread_cond_wait(&turn.changed, &turn.mutex);
    turn.allowed--;
    pthread_mutex_unlock(&turn.mutex);
}

void judge_wake(struct judge *judge)
{
    (void)judge;
    pthread_mutex_lock(&turn.mutex);
    turn.allowed++;
    pthread_cond_broadcast(&turn.changed);
    pthread_mutex_unlock(&turn.mutex);
}

static void await_wait(unsigned number)
{
    pthread_mutex_lock(&turn.mutex);
    while (turn.waits < number)
        pthread_cond_wait(&turn.changed, &turn.mutex);
    pthread_mutex_unlock(&turn.mutex);
}

/* Let judging go round once. */
static void step(void)
{
    unsigned before = turn.waits;

    judge_wake(NULL);
    await_wait(before + 1);
}

/* Likewise, when those that wait may be asked about again. */
static void round_step(void)
{
    fake_clock_advance_ms(JUDGING_ROUND_MS);
    step();
}

static struct judging *start(void)
{
    struct judging *judging = judging_start(NULL, NULL, TIMEOUT_MS);

    await_wait(1);
    return judging;
}

static void put(int64_t time_us)
{
    inbox[inbox_count] = (struct entry){.id = (int64_t)inbox_count + 1, .time_us = time_us};
    inbox_count++;
}

static size_t settled_as(enum hit_class class)
{
    size_t count = 0;

    for (size_t i = 0; i < inbox_count; i++)
        count += inbox[i].settled && inbox[i].class == class;
    return count;
}

static int set_up(void **state)
{
    (void)state;
    fake_clock_set_ms(100000000);
    turn.waits = turn.allowed = 0;
    memset(inbox, 0, sizeof inbox);
    inbox_count = settle_calls = questions = asked_late = asked_known_only = 0;
    spool_broken = settle_broken = false;
    on_read = NULL;
    names_wait = false;
    answer_all = at_once = VERDICT_PENDING;
    log_set_level(LOG_LEVEL_ERROR);
    return 0;
}

static void an_offence_goes_on_and_anything_else_just_leaves(void **state)
{
    struct judging *judging = start();
    uint64_t offences = counter_value(COUNTER_OFFENCE), outages = counter_value(COUNTER_OUTAGE);

    (void)state;
    put(clock_realtime_us());
    step();
    assert_int_equal(settled_as(CLASS_NONE) + settled_as(CLASS_TRAP), 0);
    answer_all = VERDICT_OFFENCE;
    step();
    assert_int_equal(settled_as(CLASS_TRAP), 1);
    assert_int_equal(counter_value(COUNTER_OFFENCE) - offences, 1);
    put(clock_realtime_us());
    answer_all = VERDICT_OUTAGE;
    round_step();
    assert_int_equal(settled_as(CLASS_NONE), 1);
    assert_int_equal(counter_value(COUNTER_OUTAGE) - outages, 1);
    judging_stop(&judging);
    assert_null(judging);
}

static void without_an_answer_in_time_a_hit_is_unknown(void **state)
{
    struct judging *judging = start();
    uint64_t unknown = counter_value(COUNTER_UNKNOWN);

    (void)state;
    put(clock_realtime_us());
    step();
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + TIMEOUT_MS);
    fake_clock_advance_ms(TIMEOUT_MS - 1);
    step();
    assert_int_equal(settled_as(CLASS_NONE), 0);
    fake_clock_advance_ms(1);
    step();
    assert_int_equal(settled_as(CLASS_NONE), 1);
    assert_int_equal(counter_value(COUNTER_UNKNOWN) - unknown, 1);
    judging_stop(&judging);
}

/* Those that an earlier process left: only the real time tells how old they are. */
static void a_hit_found_at_start_is_late_by_its_age(void **state)
{
    static const struct {
        const char *name;
        int64_t age_ms;
        bool late;
    } cases[] = {
        {"just now", 0, false},
        {"at the limit", TIMEOUT_MS, false},
        {"over the limit", TIMEOUT_MS + 1, true},
        {"yesterday", 86400000, true},
        {"from the future", -1, true},
    };

    (void)state;
    answer_all = VERDICT_OFFENCE;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct judging *judging;

        set_up(state);
        answer_all = VERDICT_OFFENCE;
        put(clock_realtime_us() - cases[i].age_ms * 1000);
        judging = start();
        if ((settled_as(CLASS_TRAP) == 0) != cases[i].late || (asked_late == 1) != cases[i].late)
            fail_msg("%s: wanted late %d", cases[i].name, cases[i].late);
        judging_stop(&judging);
    }
}

/* Nor does a system time that is put right lose a hit that just came; unless it is by so much that the machine may have
 * stood still instead. */
static void a_hit_that_came_since_the_inbox_was_empty_is_not_late_when_the_clocks_agree(void **state)
{
    static const struct {
        int64_t jump_s;
        bool late;
    } cases[] = {{-86400, true}, {-5, false}, {-1, false}, {0, false}, {5, false}, {3600, true}, {86400, true}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct judging *judging;

        set_up(state);
        judging = start();
        answer_all = VERDICT_OFFENCE;
        put(clock_realtime_us());
        fake_clock_step_ms(cases[i].jump_s * 1000);
        step();
        if (asked_late != cases[i].late)
            fail_msg("jump of %lld s: wanted late %d", (long long)cases[i].jump_s, cases[i].late);
        judging_stop(&judging);
    }
}

static void put_a_moment_later(void)
{
    fake_clock_advance_ms(1);
    put(clock_realtime_us());
    on_read = NULL;
}

/* News may have judging read the inbox at the very moment that a hit comes into it, the first one for long. */
static void a_hit_that_comes_while_the_inbox_is_read_is_not_late(void **state)
{
    struct judging *judging = start();

    (void)state;
    answer_all = VERDICT_OFFENCE;
    fake_clock_advance_ms(TIMEOUT_MS + 1);
    on_read = put_a_moment_later;
    step();
    assert_int_equal(asked_late, 0);
    assert_int_equal(settled_as(CLASS_TRAP), 1);
    judging_stop(&judging);
}

static void a_hit_from_before_a_sleep_is_late(void **state)
{
    struct judging *judging = start();

    (void)state;
    answer_all = VERDICT_OFFENCE;
    put(clock_realtime_us());
    fake_clock_suspend_ms(2 * 3600 * 1000);
    step();
    assert_int_equal(asked_late, 1);
    judging_stop(&judging);
}

/* Each reading is a round of the spool, and so is what it lets settle: the ones behind a first share one. */
static void hits_that_come_close_together_are_settled_together(void **state)
{
    struct judging *judging = start();
    int64_t read_ms = clock_monotonic_ms();

    (void)state;
    answer_all = VERDICT_OFFENCE;
    put(clock_realtime_us());
    judging_hit_put(judging, 1);
    await_wait(2);
    assert_int_equal(settled_as(CLASS_TRAP), 1);
    fake_clock_advance_ms(1);
    put(clock_realtime_us());
    judging_hit_put(judging, 2);
    await_wait(3);
    assert_int_equal(settled_as(CLASS_TRAP), 1);
    assert_int_equal(last_deadline_ms, read_ms + JUDGING_ROUND_MS);
    put(clock_realtime_us());
    judging_hit_put(judging, 3); /* nobody is woken for it */
    assert_int_equal(turn.allowed, 0);
    round_step();
    assert_int_equal(settled_as(CLASS_TRAP), 3);
    assert_int_equal(settle_calls, 2);
    judging_stop(&judging);
}

/* Read late, a hit is still known to have been there early: only a probe from before that proves nothing about it. */
static void what_is_read_late_was_taken_when_it_was_put(void **state)
{
    struct judging *judging = start();
    int64_t put_ms = clock_now().boot_ms;

    (void)state;
    put(clock_realtime_us());
    judging_hit_put(judging, 1);
    await_wait(2);
    assert_int_equal(asked_taken_ms, put_ms);
    spool_broken = true;
    put(clock_realtime_us());
    judging_hit_put(judging, 2); /* too soon for a mark of its own */
    await_wait(3);
    fake_clock_advance_ms(1000);
    put(clock_realtime_us());
    judging_hit_put(judging, 3);
    step();
    fake_clock_advance_ms(3000);
    spool_broken = false;
    step();
    assert_int_equal(asked_taken_ms, put_ms + 1000);
    put(clock_realtime_us());
    fake_clock_advance_ms(500);
    step();
    assert_int_equal(asked_taken_ms, put_ms + 4500); /* nobody told: when it was read */
    judging_stop(&judging);
}

static void after_a_long_silence_the_age_counts_again(void **state)
{
    struct judging *judging = start();

    (void)state;
    answer_all = VERDICT_OFFENCE;
    fake_clock_advance_ms(TIMEOUT_MS + 1);
    put(clock_realtime_us() - (TIMEOUT_MS + 1) * INT64_C(1000));
    step();
    assert_int_equal(asked_late, 1);
    judging_stop(&judging);
}

static void no_more_than_the_window_is_in_memory_and_the_rest_follows(void **state)
{
    struct judging *judging;

    (void)state;
    for (size_t i = 0; i < 2 * JUDGING_WINDOW + 1; i++)
        put(clock_realtime_us());
    judging = start();
    assert_int_equal(questions, JUDGING_WINDOW);
    answer_all = VERDICT_OFFENCE;
    step();
    assert_true(last_deadline_ms <= clock_monotonic_ms()); /* goes on at once */
    for (int i = 0; i < 3; i++)
        step();
    assert_true(last_deadline_ms > clock_monotonic_ms());
    assert_int_equal(settled_as(CLASS_TRAP), 2 * JUDGING_WINDOW + 1);
    judging_stop(&judging);
}

/* Whoever has a reverse zone that never answers would keep everybody else waiting, until it is too late for a verdict. */
static void names_hold_nobody_up_who_waits_behind_a_full_window(void **state)
{
    struct judging *judging;
    int64_t began_ms = clock_monotonic_ms();

    (void)state;
    for (size_t i = 0; i < 2 * JUDGING_WINDOW + 1; i++)
        put(clock_realtime_us());
    names_wait = true;
    answer_all = VERDICT_OFFENCE;
    judging = start();
    while (settled_as(CLASS_TRAP) < 2 * JUDGING_WINDOW) {
        int64_t left_ms = last_deadline_ms - clock_monotonic_ms();

        fake_clock_advance_ms(left_ms > 0 ? left_ms : 0);
        step();
        assert_true(clock_monotonic_ms() - began_ms <= 3 * (JUDGING_NAME_MS + JUDGING_ROUND_MS));
    }
    fake_clock_advance_ms(2 * JUDGING_NAME_MS);
    step();
    assert_int_equal(settled_as(CLASS_TRAP), 2 * JUDGING_WINDOW); /* nobody waits for the last one, which waits for its name */
    names_wait = false;
    step();
    assert_int_equal(settled_as(CLASS_TRAP), 2 * JUDGING_WINDOW + 1);
    judging_stop(&judging);
}

/* Else more domains might wait than the judge's tables hold, each pushing out what another waits for. */
static void no_more_than_some_domains_are_found_out_about_at_a_time(void **state)
{
    struct judging *judging;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        put(clock_realtime_us());
        inbox[i].domain_count = JUDGING_DOMAINS / 4;
    }
    judging = start();
    assert_int_equal(questions, 6);
    assert_int_equal(asked_known_only, 2);
    answer_all = VERDICT_OFFENCE;
    step();
    assert_int_equal(asked_known_only, 2); /* those before them are done with */
    assert_int_equal(settled_as(CLASS_TRAP), 6);
    judging_stop(&judging);
}

/* A thousand hits wait for probes, and a thousand probes of others come in meanwhile. */
static void those_that_wait_are_asked_about_in_rounds(void **state)
{
    struct judging *judging;
    size_t before;

    (void)state;
    for (size_t i = 0; i < JUDGING_WINDOW - 2; i++)
        put(clock_realtime_us());
    judging = start();
    step(); /* the first news has its round at once */
    assert_int_equal(questions, 2 * (JUDGING_WINDOW - 2));
    for (int i = 0; i < 1000; i++) {
        fake_clock_advance_ms(1);
        step();
    }
    assert_in_range(questions, 20 * (JUDGING_WINDOW - 2), 22 * (JUDGING_WINDOW - 2));
    round_step();
    step();
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + JUDGING_ROUND_MS); /* that news is not forgotten */
    before = questions;
    answer_all = VERDICT_OFFENCE;
    put(clock_realtime_us());
    step();
    assert_int_equal(questions, before + 1); /* a new one does not wait for the others */
    assert_int_equal(settled_as(CLASS_TRAP), 1);
    fake_clock_advance_ms(last_deadline_ms - clock_monotonic_ms());
    step();
    assert_int_equal(settled_as(CLASS_TRAP), JUDGING_WINDOW - 1);
    judging_stop(&judging);
}

static void what_became_of_hits_is_told_once_a_minute(void **state)
{
    struct judging *judging = start();

    (void)state;
    answer_all = VERDICT_OUTAGE;
    put(clock_realtime_us());
    step();
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + 60000);
    fake_clock_advance_ms(59000);
    put(clock_realtime_us());
    step();
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + 1000);
    fake_clock_advance_ms(1000);
    step();
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + 60000); /* IDLE_MS: nothing is to be told */
    fake_clock_advance_ms(30000);
    step();
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + 60000);
    judging_stop(&judging);
}

static void what_is_decided_at_once_is_counted_and_told_without_the_spool(void **state)
{
    struct judging *judging = start();
    const struct hit hit = {.mta_name = (char *)"", .queue_id = (char *)""};
    uint64_t ignored = counter_value(COUNTER_IGNORED);
    unsigned waits = turn.waits;

    (void)state;
    assert_false(judging_at_once(judging, &hit));
    assert_int_equal(counter_value(COUNTER_IGNORED), ignored);
    at_once = VERDICT_IGNORED;
    assert_true(judging_at_once(judging, &hit));
    await_wait(waits + 1); /* woken, as the time to the summary runs */
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + 60000);
    fake_clock_advance_ms(1000);
    assert_true(judging_at_once(judging, &hit));
    step();
    assert_int_equal(last_deadline_ms, clock_monotonic_ms() + 59000);
    assert_int_equal(counter_value(COUNTER_IGNORED), ignored + 2);
    assert_int_equal(questions + settle_calls, 0);
    judging_stop(&judging);
}

static void a_failing_spool_is_asked_again_with_longer_and_longer_pauses(void **state)
{
    struct judging *judging = start();
    int64_t pause_ms, longest_ms = 0;

    (void)state;
    put(clock_realtime_us());
    step();
    answer_all = VERDICT_OFFENCE;
    spool_broken = true;
    step();
    for (int i = 0; i < 20; i++) {
        size_t calls = settle_calls;

        pause_ms = last_deadline_ms - clock_monotonic_ms();
        assert_true(pause_ms > 0 && pause_ms >= longest_ms);
        longest_ms = pause_ms;
        step(); /* a new hit wakes it: too early for the spool */
        assert_int_equal(settle_calls, calls);
        fake_clock_advance_ms(pause_ms);
        step();
    }
    assert_in_range(longest_ms, 10000, 60000);
    spool_broken = false;
    fake_clock_advance_ms(longest_ms);
    step();
    assert_int_equal(settled_as(CLASS_TRAP), 1);
    assert_true(last_deadline_ms > clock_monotonic_ms()); /* at rest again */
    judging_stop(&judging);
}

/* It is read once only: forgotten here, it would lie in the inbox until a restart, and be too old then. */
static void what_could_not_be_settled_is_settled_later(void **state)
{
    struct judging *judging = start();

    (void)state;
    put(clock_realtime_us());
    answer_all = VERDICT_OFFENCE;
    settle_broken = true;
    step();
    assert_int_equal(settle_calls, 1);
    settle_broken = false;
    fake_clock_advance_ms(last_deadline_ms - clock_monotonic_ms());
    step();
    assert_int_equal(settled_as(CLASS_TRAP), 1);
    judging_stop(&judging);
}

static void what_is_known_at_the_end_is_settled_and_the_rest_stays(void **state)
{
    struct judging *judging = start();

    (void)state;
    put(clock_realtime_us());
    step();
    judging_stop(&judging);
    assert_int_equal(settled_as(CLASS_NONE) + settled_as(CLASS_TRAP), 0);

    set_up(state);
    put(clock_realtime_us());
    judging = start();
    answer_all = VERDICT_OFFENCE;
    judging_stop(&judging);
    assert_int_equal(settled_as(CLASS_TRAP), 1);

    set_up(state); /* a name is not waited for: after the restart the hit may be late */
    names_wait = true;
    put(clock_realtime_us());
    judging = start();
    answer_all = VERDICT_OFFENCE;
    step();
    assert_int_equal(settled_as(CLASS_TRAP), 0);
    judging_stop(&judging);
    assert_int_equal(settled_as(CLASS_TRAP), 1);
}

static void without_a_thread_there_is_no_judging(void **state)
{
    struct judging *judging;

    (void)state;
    fake_thread_fail_after(0);
    judging = judging_start(NULL, NULL, TIMEOUT_MS);
    fake_thread_fail_after(-1);
    assert_null(judging);
    assert_int_equal(errno, EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_offence_goes_on_and_anything_else_just_leaves, set_up),
        cmocka_unit_test_setup(without_an_answer_in_time_a_hit_is_unknown, set_up),
        cmocka_unit_test_setup(hits_that_come_close_together_are_settled_together, set_up),
        cmocka_unit_test_setup(a_hit_found_at_start_is_late_by_its_age, set_up),
        cmocka_unit_test_setup(a_hit_that_came_since_the_inbox_was_empty_is_not_late_when_the_clocks_agree, set_up),
        cmocka_unit_test_setup(what_is_read_late_was_taken_when_it_was_put, set_up),
        cmocka_unit_test_setup(a_hit_that_comes_while_the_inbox_is_read_is_not_late, set_up),
        cmocka_unit_test_setup(a_hit_from_before_a_sleep_is_late, set_up),
        cmocka_unit_test_setup(after_a_long_silence_the_age_counts_again, set_up),
        cmocka_unit_test_setup(no_more_than_the_window_is_in_memory_and_the_rest_follows, set_up),
        cmocka_unit_test_setup(names_hold_nobody_up_who_waits_behind_a_full_window, set_up),
        cmocka_unit_test_setup(no_more_than_some_domains_are_found_out_about_at_a_time, set_up),
        cmocka_unit_test_setup(those_that_wait_are_asked_about_in_rounds, set_up),
        cmocka_unit_test_setup(what_became_of_hits_is_told_once_a_minute, set_up),
        cmocka_unit_test_setup(what_is_decided_at_once_is_counted_and_told_without_the_spool, set_up),
        cmocka_unit_test_setup(a_failing_spool_is_asked_again_with_longer_and_longer_pauses, set_up),
        cmocka_unit_test_setup(what_could_not_be_settled_is_settled_later, set_up),
        cmocka_unit_test_setup(what_is_known_at_the_end_is_settled_and_the_rest_stays, set_up),
        cmocka_unit_test(without_a_thread_there_is_no_judging),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
