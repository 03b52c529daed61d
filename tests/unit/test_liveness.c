#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "judge/liveness.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { REMEMBER_MS = 399000, SECOND_MS = 1000 };

static int setup(void **state)
{
    *state = liveness_create(3);
    return 0;
}

static int teardown(void **state)
{
    liveness_destroy((struct liveness **)state);
    assert_null(*state);
    return 0;
}

static struct liveness_view ask(struct liveness *liveness, const char *host, int64_t now_s)
{
    return liveness_ask(liveness, host, REMEMBER_MS, now_s * SECOND_MS);
}

static void probe(struct liveness *liveness, const char *host, enum liveness_state found, int64_t now_s)
{
    liveness_ask(liveness, host, REMEMBER_MS, now_s * SECOND_MS);
    liveness_report(liveness, host, found, now_s * SECOND_MS, now_s * SECOND_MS);
}

static void test_age(void **state)
{
    static const struct {
        int64_t age_ms;
        bool known, probe;
    } cases[] = {
        {0, true, false},        {299000, true, false},  {299251, true, true},    {300000, true, true},
        {398000, true, true},    {399000, true, true},   {399001, false, true},   {400000, false, true},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct liveness *liveness = liveness_create(1);
        struct liveness_view view;

        probe(liveness, "a", LIVENESS_ACCEPTING, 1000);
        view = liveness_ask(liveness, "a", REMEMBER_MS, 1000 * SECOND_MS + cases[i].age_ms);
        if (view.known != cases[i].known || view.probe != cases[i].probe || view.age_ms != cases[i].age_ms ||
            view.state != LIVENESS_ACCEPTING) {
            failed++;
            print_error("age %lld ms: want known %d probe %d, got known %d probe %d age %lld\n",
                        (long long)cases[i].age_ms, cases[i].known, cases[i].probe, view.known, view.probe,
                        (long long)view.age_ms);
        }
        liveness_destroy(&liveness);
    }
    assert_int_equal(failed, 0);
}

static void test_age_counts_from_start_of_probe(void **state)
{
    struct liveness *liveness = *state;

    ask(liveness, "a", 100);
    liveness_report(liveness, "a", LIVENESS_ACCEPTING, 100 * SECOND_MS, 110 * SECOND_MS);
    assert_int_equal(ask(liveness, "a", 110).age_ms, 10 * SECOND_MS);
    assert_true(ask(liveness, "a", 499).known);
    assert_false(ask(liveness, "a", 500).known);
}

static void test_single_flight(void **state)
{
    struct liveness *liveness = *state;

    assert_true(ask(liveness, "a", 1).probe);
    assert_false(ask(liveness, "a", 1).probe);
    assert_false(ask(liveness, "a", 999).probe);
    assert_true(ask(liveness, "b", 1).probe);
    assert_true(liveness_is_probing(liveness, "a"));
    assert_true(liveness_report(liveness, "a", LIVENESS_DOWN, 1000 * SECOND_MS, 1000 * SECOND_MS));
    assert_false(liveness_is_probing(liveness, "a"));
    assert_false(ask(liveness, "a", 1000).probe);

    /* The refresh is one, too, and until it is there the old answer serves. */
    assert_true(ask(liveness, "a", 1300).probe);
    assert_false(ask(liveness, "a", 1301).probe);
    assert_true(ask(liveness, "a", 1301).known);
    assert_false(liveness_report(liveness, "a", LIVENESS_DOWN, 1300 * SECOND_MS, 1302 * SECOND_MS));
    assert_int_equal(ask(liveness, "a", 1302).age_ms, 2 * SECOND_MS);

    assert_true(ask(liveness, "a", 1602).probe);
    liveness_abandon(liveness, "a");
    assert_true(ask(liveness, "a", 1602).probe);
}

static void test_history(void **state)
{
    static const struct {
        const char *name;
        enum liveness_state states[4]; /* found at 1000 s, 1100 s, ... */
        int64_t deferring_s, not_accepting_s; /* 0: never */
    } cases[] = {
        {"accepting", {LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING}, 0, 0},
        {"unknown", {LIVENESS_UNKNOWN, LIVENESS_ACCEPTING, LIVENESS_UNKNOWN, LIVENESS_ACCEPTING}, 0, 0},
        {"deferring now", {LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_DEFERRING}, 1300, 1300},
        {"down now", {LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_DOWN}, 0, 1300},
        {"was down until", {LIVENESS_DOWN, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING}, 0, 1100},
        {"was deferring until",
         {LIVENESS_DEFERRING, LIVENESS_DEFERRING, LIVENESS_ACCEPTING, LIVENESS_ACCEPTING}, 1200, 1200},
        {"deferring, down", {LIVENESS_DEFERRING, LIVENESS_DOWN, LIVENESS_DOWN, LIVENESS_ACCEPTING}, 1100, 1300},
        {"deferring, unknown", {LIVENESS_DEFERRING, LIVENESS_UNKNOWN, LIVENESS_UNKNOWN, LIVENESS_UNKNOWN}, 1100, 1100},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct liveness *liveness = liveness_create(1);
        int64_t deferring = cases[i].deferring_s != 0 ? cases[i].deferring_s * SECOND_MS : LIVENESS_NEVER;
        int64_t not_accepting = cases[i].not_accepting_s != 0 ? cases[i].not_accepting_s * SECOND_MS : LIVENESS_NEVER;
        struct liveness_view view;

        for (size_t j = 0; j < COUNT(cases[i].states); j++)
            probe(liveness, "a", cases[i].states[j], 1000 + 100 * (int64_t)j);
        view = ask(liveness, "a", 1300);
        if (view.last_deferring_ms != deferring || view.last_not_accepting_ms != not_accepting) {
            failed++;
            print_error("%s: want %lld %lld, got %lld %lld\n", cases[i].name, (long long)deferring,
                        (long long)not_accepting, (long long)view.last_deferring_ms,
                        (long long)view.last_not_accepting_ms);
        }
        liveness_destroy(&liveness);
    }
    assert_int_equal(failed, 0);
}

static void test_eviction(void **state)
{
    struct liveness *liveness = *state;

    probe(liveness, "a", LIVENESS_ACCEPTING, 1);
    probe(liveness, "b", LIVENESS_ACCEPTING, 2);
    probe(liveness, "c", LIVENESS_ACCEPTING, 3);
    assert_true(ask(liveness, "a", 4).known); /* now b is the one that was not asked for the longest */
    probe(liveness, "d", LIVENESS_ACCEPTING, 5);
    assert_true(ask(liveness, "a", 6).known);
    assert_true(ask(liveness, "c", 6).known);
    assert_true(ask(liveness, "d", 6).known);
    assert_false(ask(liveness, "b", 6).known);

    /* The answer for a host that has left is dropped. */
    assert_true(ask(liveness, "x", 7).probe);
    ask(liveness, "y", 7);
    ask(liveness, "z", 7);
    ask(liveness, "w", 7);
    assert_false(liveness_is_probing(liveness, "x"));
    assert_false(liveness_report(liveness, "x", LIVENESS_ACCEPTING, 7, 7));
    assert_false(ask(liveness, "x", 8).known);
}

static void test_eviction_keeps_trouble(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_view view;

    probe(liveness, "a", LIVENESS_DEFERRING, 10);
    probe(liveness, "b", LIVENESS_DOWN, 20);
    probe(liveness, "c", LIVENESS_ACCEPTING, 30);
    for (int i = 0; i < 100; i++) {
        char name[16];

        snprintf(name, sizeof name, "h%d", i);
        probe(liveness, name, LIVENESS_ACCEPTING, 40 + i);
    }
    view = ask(liveness, "a", 200);
    assert_false(view.known);
    assert_int_equal(view.last_deferring_ms, 10 * SECOND_MS);
    assert_int_equal(view.last_not_accepting_ms, 20 * SECOND_MS);
}

static void recall(void *context, const struct liveness_trouble *trouble)
{
    liveness_recall(context, trouble);
}

static void test_trouble_is_told_and_recalled(void **state)
{
    struct liveness *before = *state, *liveness = liveness_create(3);
    struct liveness_view view;

    probe(before, "gone", LIVENESS_DEFERRING, 10);
    probe(before, "was down", LIVENESS_DOWN, 20);
    probe(before, "was down", LIVENESS_ACCEPTING, 30);
    probe(before, "is deferring", LIVENESS_DEFERRING, 40);
    probe(before, "is down", LIVENESS_DOWN, 50);
    liveness_tell_trouble(before, 100 * SECOND_MS, recall, liveness);
    view = ask(liveness, "was down", 200);
    assert_true(!view.known && view.probe);
    assert_int_equal(view.last_not_accepting_ms, 30 * SECOND_MS);
    assert_int_equal(view.last_deferring_ms, LIVENESS_NEVER);
    assert_int_equal(ask(liveness, "is deferring", 200).last_deferring_ms, 100 * SECOND_MS);
    assert_int_equal(ask(liveness, "is deferring", 200).last_not_accepting_ms, 100 * SECOND_MS);
    assert_int_equal(ask(liveness, "is down", 200).last_not_accepting_ms, 100 * SECOND_MS);
    assert_int_equal(ask(liveness, "is down", 200).last_deferring_ms, 10 * SECOND_MS);
    assert_int_equal(ask(liveness, "new", 200).last_deferring_ms, 10 * SECOND_MS);
    liveness_destroy(&liveness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_age),
        cmocka_unit_test_setup_teardown(test_age_counts_from_start_of_probe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_single_flight, setup, teardown),
        cmocka_unit_test(test_history),
        cmocka_unit_test_setup_teardown(test_eviction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction_keeps_trouble, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trouble_is_told_and_recalled, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
