#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "judge/liveness.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { REMEMBER_MS = 399000, INTERVAL_MS = 10000, SECOND_MS = 1000, KIND = 7 };

static struct agenda agenda;

static struct liveness *create(size_t max)
{
    return liveness_create(max, &agenda, KIND);
}

static void destroy(struct liveness *liveness)
{
    liveness_destroy(&liveness);
    assert_null(liveness);
    assert_null(agenda_first(&agenda));
    agenda_clear(&agenda);
}

static int setup(void **state)
{
    *state = create(3);
    return 0;
}

static int teardown(void **state)
{
    destroy(*state);
    return 0;
}

/* 192.0.2.NUMBER */
static struct ipaddr address_of(uint8_t number)
{
    return (struct ipaddr){.family = 4, .bytes = {192, 0, 2, number}};
}

static struct facts_address ask(struct liveness *liveness, uint8_t host, int64_t now_s)
{
    const struct ipaddr address = address_of(host);

    return liveness_ask(liveness, &address, REMEMBER_MS, now_s * SECOND_MS);
}

static void want(struct liveness *liveness, uint8_t host, int64_t after_s, int64_t now_s)
{
    const struct ipaddr address = address_of(host);

    liveness_want(liveness, &address, "d.test", after_s * SECOND_MS, INTERVAL_MS, now_s * SECOND_MS, true);
}

/* When the earliest probe is due, in seconds; -1: none is. */
static int64_t due_s(void)
{
    const struct agenda_entry *first = agenda_first(&agenda);

    return first != NULL ? first->due_ms / SECOND_MS : -1;
}

static void begin(struct liveness *liveness, uint8_t host, int64_t now_s)
{
    const struct ipaddr wanted = address_of(host);
    char domain[DOMAIN_MAX + 1];
    struct ipaddr address;

    assert_int_equal(agenda_first(&agenda)->kind, KIND);
    liveness_begin(liveness, agenda_first(&agenda), now_s * SECOND_MS, &address, domain);
    assert_true(ipaddr_equal(&address, &wanted));
    assert_string_equal(domain, "d.test");
}

static struct liveness_change report(struct liveness *liveness, uint8_t host, enum liveness_state found, int64_t began_s,
                                     int64_t now_s)
{
    const struct ipaddr address = address_of(host);

    return liveness_report(liveness, &address, found, began_s * SECOND_MS, INTERVAL_MS, now_s * SECOND_MS);
}

static void probe(struct liveness *liveness, uint8_t host, enum liveness_state found, int64_t now_s)
{
    ask(liveness, host, now_s);
    report(liveness, host, found, now_s, now_s);
}

static void test_age(void **state)
{
    static const struct {
        int64_t age_ms;
        bool known;
    } cases[] = {{0, true}, {299000, true}, {398000, true}, {399000, true}, {399001, false}, {400000, false}};
    const struct ipaddr address = address_of(1);
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct liveness *liveness = create(1);
        struct facts_address facts;

        probe(liveness, 1, LIVENESS_ACCEPTING, 1000);
        facts = liveness_ask(liveness, &address, REMEMBER_MS, 1000 * SECOND_MS + cases[i].age_ms);
        if (facts.known != cases[i].known || facts.age_ms != cases[i].age_ms || facts.state != LIVENESS_ACCEPTING) {
            failed++;
            print_error("age %lld ms: want known %d, got known %d age %lld\n", (long long)cases[i].age_ms,
                        cases[i].known, facts.known, (long long)facts.age_ms);
        }
        destroy(liveness);
    }
    assert_int_equal(failed, 0);
}

static void test_age_counts_from_start_of_probe(void **state)
{
    struct liveness *liveness = *state;

    ask(liveness, 1, 100);
    report(liveness, 1, LIVENESS_ACCEPTING, 100, 110);
    assert_int_equal(ask(liveness, 1, 110).age_ms, 10 * SECOND_MS);
    assert_true(ask(liveness, 1, 499).known);
    assert_false(ask(liveness, 1, 500).known);
}

/* A hit at 105 s is told nothing by a probe of 100 s.  It waits for 110 s, and so do those at 106 s and 107 s. */
static void test_hits_share_the_next_probe(void **state)
{
    struct liveness *liveness = *state;

    want(liveness, 1, 100, 100);
    assert_int_equal(due_s(), 100); /* the first at once */
    begin(liveness, 1, 100);
    report(liveness, 1, LIVENESS_ACCEPTING, 100, 101);
    assert_int_equal(due_s(), -1);
    for (int64_t hit_s = 105; hit_s <= 107; hit_s++) {
        want(liveness, 1, hit_s, hit_s);
        assert_int_equal(due_s(), 110);
    }
    begin(liveness, 1, 110);
    report(liveness, 1, LIVENESS_ACCEPTING, 110, 111);
    assert_int_equal(due_s(), -1);
    want(liveness, 1, 107, 111); /* it has its answer */
    assert_int_equal(due_s(), -1);
    want(liveness, 1, 130, 130); /* the last one is long ago */
    assert_int_equal(due_s(), 130);
}

/* One at a time: a hit while a probe is under way waits for the one after it. */
static void test_one_probe_at_a_time(void **state)
{
    struct liveness *liveness = *state;

    want(liveness, 1, 100, 100);
    begin(liveness, 1, 100);
    want(liveness, 1, 100, 100); /* that one will do */
    want(liveness, 1, 99, 103);
    report(liveness, 1, LIVENESS_DOWN, 100, 104);
    assert_int_equal(due_s(), -1);

    want(liveness, 1, 120, 120);
    begin(liveness, 1, 120);
    want(liveness, 1, 125, 125);
    assert_int_equal(due_s(), -1);
    report(liveness, 1, LIVENESS_DOWN, 120, 126);
    assert_int_equal(due_s(), 130);
    assert_int_equal(agenda.asked, 1);
    begin(liveness, 1, 130);
    report(liveness, 1, LIVENESS_DOWN, 130, 145); /* longer than the interval */
    want(liveness, 1, 131, 145);
    assert_int_equal(due_s(), 145);
}

static void test_history(void **state)
{
    static const struct {
        const char *name;
        enum liveness_state states[4]; /* found at 1000 s, 1100 s, ... */
        int64_t deferring_s, away_s;   /* when it ended; 0: never */
        int64_t away_length_s;
    } cases[] = {
        {"accepting", {LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING}, 0, 0, 0},
        {"unknown", {LIVENESS_UNKNOWN, LIVENESS_ACCEPTING, LIVENESS_UNKNOWN, LIVENESS_ACCEPTING}, 0, 0, 0},
        {"deferring now",
         {LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_DEFERRING}, 1300, 1300, 100},
        {"down now", {LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_DOWN}, 0, 1300, 100},
        {"was down until", {LIVENESS_DOWN, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING}, 0, 1100, 100},
        {"was deferring until",
         {LIVENESS_DEFERRING, LIVENESS_DEFERRING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING}, 1200, 1200, 200},
        {"deferring, down", {LIVENESS_DEFERRING, LIVENESS_DOWN, LIVENESS_DOWN, LIVENESS_ACCEPTING}, 1100, 1300, 300},
        {"deferring, unknown",
         {LIVENESS_DEFERRING, LIVENESS_UNKNOWN, LIVENESS_UNKNOWN, LIVENESS_UNKNOWN}, 1100, 1100, 100},
        {"down, up, down: it comes back", {LIVENESS_DOWN, LIVENESS_ACCEPTING, LIVENESS_DOWN, LIVENESS_DOWN}, 0, 1300, 300},
        {"a short one long ago", {LIVENESS_DOWN, LIVENESS_DOWN, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING}, 0, 1200, 200},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct liveness *liveness = create(1);
        int64_t deferring = cases[i].deferring_s != 0 ? (1300 - cases[i].deferring_s) * SECOND_MS : FACTS_NEVER;
        int64_t away = cases[i].away_s != 0 ? (1300 - cases[i].away_s) * SECOND_MS : FACTS_NEVER;
        struct facts_address facts;

        for (size_t j = 0; j < COUNT(cases[i].states); j++)
            probe(liveness, 1, cases[i].states[j], 1000 + 100 * (int64_t)j);
        facts = ask(liveness, 1, 1300);
        if (facts.deferring.age_ms != deferring || facts.not_accepting.age_ms != away ||
            facts.not_accepting.length_ms != cases[i].away_length_s * SECOND_MS) {
            failed++;
            print_error("%s: want %lld %lld %lld, got %lld %lld %lld\n", cases[i].name, (long long)deferring,
                        (long long)away, (long long)cases[i].away_length_s * SECOND_MS,
                        (long long)facts.deferring.age_ms, (long long)facts.not_accepting.age_ms,
                        (long long)facts.not_accepting.length_ms);
        }
        destroy(liveness);
    }
    assert_int_equal(failed, 0);
}

static void test_what_comes_back_soon_is_the_same_trouble(void **state)
{
    static const struct {
        int64_t well_s, length_s;
    } cases[] = {{50, 210}, {99, 259}, {100, 260}, {101, 60}, {3600, 60}}; /* after 100 s of trouble, 60 s of it again */

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct liveness *liveness = create(1);

        probe(liveness, 1, LIVENESS_DOWN, 1000);
        probe(liveness, 1, LIVENESS_ACCEPTING, 1100);
        probe(liveness, 1, LIVENESS_ACCEPTING, 1100 + cases[i].well_s);
        probe(liveness, 1, LIVENESS_DOWN, 1110 + cases[i].well_s);
        probe(liveness, 1, LIVENESS_ACCEPTING, 1160 + cases[i].well_s);
        assert_int_equal(ask(liveness, 1, 5000).not_accepting.length_ms, cases[i].length_s * SECOND_MS);
        destroy(liveness);
    }
}

static void test_news(void **state)
{
    struct liveness *liveness = *state;

    ask(liveness, 1, 1);
    assert_true(report(liveness, 1, LIVENESS_ACCEPTING, 1, 1).state);
    assert_false(report(liveness, 1, LIVENESS_ACCEPTING, 2, 2).state);
    assert_true(report(liveness, 1, LIVENESS_DOWN, 3, 3).outage);
    assert_false(report(liveness, 1, LIVENESS_DOWN, 4, 4).outage);
    assert_true(report(liveness, 1, LIVENESS_DEFERRING, 5, 5).outage);
    assert_true(report(liveness, 1, LIVENESS_ACCEPTING, 6, 6).outage);
    assert_false(report(liveness, 1, LIVENESS_ACCEPTING, 7, 7).outage);
}

static void test_eviction(void **state)
{
    struct liveness *liveness = *state;
    const struct ipaddr gone = address_of(20);

    probe(liveness, 1, LIVENESS_ACCEPTING, 1);
    probe(liveness, 2, LIVENESS_ACCEPTING, 2);
    probe(liveness, 3, LIVENESS_ACCEPTING, 3);
    assert_true(ask(liveness, 1, 4).known); /* now 2 is the one that was not asked for the longest */
    probe(liveness, 4, LIVENESS_ACCEPTING, 5);
    assert_true(ask(liveness, 1, 6).known);
    assert_true(ask(liveness, 3, 6).known);
    assert_true(ask(liveness, 4, 6).known);
    assert_false(ask(liveness, 2, 6).known);

    /* The answer for an address that has left is dropped, and so is the probe that it waits for. */
    want(liveness, 20, 7, 7);
    begin(liveness, 20, 7);
    for (uint8_t host = 21; host < 24; host++)
        want(liveness, host, 7, 7);
    assert_false(liveness_has(liveness, &gone));
    assert_false(report(liveness, 20, LIVENESS_ACCEPTING, 7, 7).state);
    assert_false(ask(liveness, 20, 8).known);
    assert_int_equal(agenda.count, 2);
}

static void test_eviction_keeps_trouble(void **state)
{
    struct liveness *liveness = *state;
    struct facts_address facts;

    probe(liveness, 1, LIVENESS_DEFERRING, 10);
    probe(liveness, 2, LIVENESS_DOWN, 20);
    probe(liveness, 3, LIVENESS_ACCEPTING, 30);
    for (uint8_t host = 100; host < 200; host++)
        probe(liveness, host, LIVENESS_ACCEPTING, host - 60);
    facts = ask(liveness, 1, 200);
    assert_false(facts.known);
    assert_int_equal(facts.deferring.age_ms, 190 * SECOND_MS);
    assert_int_equal(facts.not_accepting.age_ms, 180 * SECOND_MS);
}

static void recall(void *context, const struct liveness_memory *memory)
{
    liveness_recall(context, memory);
}

static void test_trouble_is_told_and_recalled(void **state)
{
    enum { GONE = 1, WAS_DOWN, IS_DEFERRING, IS_DOWN, NEW };
    struct liveness *before = *state, *liveness = create(3);

    probe(before, GONE, LIVENESS_DEFERRING, 10);
    probe(before, WAS_DOWN, LIVENESS_DOWN, 20);
    probe(before, WAS_DOWN, LIVENESS_ACCEPTING, 30);
    probe(before, IS_DEFERRING, LIVENESS_DEFERRING, 40);
    probe(before, IS_DOWN, LIVENESS_DOWN, 50);
    liveness_tell(before, 100 * SECOND_MS, recall, liveness);
    assert_false(ask(liveness, WAS_DOWN, 200).known);
    assert_int_equal(ask(liveness, WAS_DOWN, 200).not_accepting.age_ms, 170 * SECOND_MS);
    assert_int_equal(ask(liveness, WAS_DOWN, 200).deferring.age_ms, FACTS_NEVER);
    assert_int_equal(ask(liveness, IS_DEFERRING, 200).deferring.age_ms, 100 * SECOND_MS);
    assert_int_equal(ask(liveness, IS_DEFERRING, 200).not_accepting.age_ms, 100 * SECOND_MS);
    assert_int_equal(ask(liveness, IS_DOWN, 200).not_accepting.age_ms, 100 * SECOND_MS);
    assert_int_equal(ask(liveness, IS_DOWN, 200).deferring.age_ms, 190 * SECOND_MS);
    assert_int_equal(ask(liveness, NEW, 200).deferring.age_ms, 190 * SECOND_MS);
    liveness_destroy(&liveness);
}

static void test_forgotten_states(void **state)
{
    struct liveness *liveness = *state;

    probe(liveness, 1, LIVENESS_DOWN, 10);
    liveness_forget_states(liveness);
    assert_false(ask(liveness, 1, 11).known);
    assert_int_equal(ask(liveness, 1, 11).not_accepting.age_ms, SECOND_MS);
    want(liveness, 1, 5, 11); /* what was probed before that proves nothing */
    assert_int_equal(due_s(), 20);
    begin(liveness, 1, 20);
    report(liveness, 1, LIVENESS_ACCEPTING, 20, 20);
    assert_true(ask(liveness, 1, 21).known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_age),
        cmocka_unit_test_setup_teardown(test_age_counts_from_start_of_probe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hits_share_the_next_probe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_probe_at_a_time, setup, teardown),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_what_comes_back_soon_is_the_same_trouble),
        cmocka_unit_test_setup_teardown(test_news, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction_keeps_trouble, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trouble_is_told_and_recalled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgotten_states, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
