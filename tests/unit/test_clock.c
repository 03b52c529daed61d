#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "fake_clock.h"

enum { HOUR_MS = 3600000 };

static void awake_all_clocks_tell_the_age(void **state)
{
    struct clock_moment then, now;

    (void)state;
    fake_clock_set_ms(1000000);
    then = clock_now();
    fake_clock_advance_ms(399000);
    now = clock_now();
    assert_int_equal(clock_age_most_ms(&then, &now), 399000);
    assert_int_equal(clock_age_least_ms(&then, &now), 399000);
    assert_int_equal(clock_age_most_ms(&then, &then), 0);
}

static void asleep_age_grows_and_waits_do_not(void **state)
{
    int64_t began_ms = clock_monotonic_ms();
    struct clock_moment then = clock_now(), now;

    (void)state;
    fake_clock_suspend_ms(2 * HOUR_MS);
    now = clock_now();
    assert_int_equal(clock_age_most_ms(&then, &now), 2 * HOUR_MS);
    assert_int_equal(clock_age_least_ms(&then, &now), 2 * HOUR_MS);
    assert_int_equal(clock_monotonic_ms(), began_ms);
}

/* The real time moves by itself while all else goes on for PASSED_MS. */
static void steps_are_doubt_beyond_what_is_slewed(void **state)
{
    static const struct {
        const char *name;
        int64_t passed_ms, step_ms, most_ms, least_ms;
    } cases[] = {
        {"a leap second", 1000, -1000, 1000, 1000},
        {"5 s ahead", 1000, CLOCK_DISAGREE_MS, 6000, 1000},
        {"5 s back", 1000, -CLOCK_DISAGREE_MS, 1000, 1000},
        {"a little more ahead", 1000, CLOCK_DISAGREE_MS + 1, CLOCK_AGE_ENDLESS, 1000},
        {"a little more back", 1000, -CLOCK_DISAGREE_MS - 1, CLOCK_AGE_ENDLESS, 1000},
        {"held by a hypervisor for two hours, then put right", 1200, 2LL * HOUR_MS, CLOCK_AGE_ENDLESS, 1200},
        {"put back to 1970", 1000, -1700000000000, CLOCK_AGE_ENDLESS, 1000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clock_moment then, now;
        int64_t most_ms, least_ms;

        fake_clock_set_ms(1700000000000);
        then = clock_now();
        fake_clock_advance_ms(cases[i].passed_ms);
        fake_clock_step_ms(cases[i].step_ms);
        now = clock_now();
        most_ms = clock_age_most_ms(&then, &now);
        least_ms = clock_age_least_ms(&then, &now);
        if (most_ms != cases[i].most_ms || least_ms != cases[i].least_ms)
            fail_msg("%s: wanted %lld and %lld, got %lld and %lld", cases[i].name, (long long)cases[i].most_ms,
                     (long long)cases[i].least_ms, (long long)most_ms, (long long)least_ms);
    }
}

static void a_step_there_and_back_is_forgiven(void **state)
{
    struct clock_moment then, now;

    (void)state;
    fake_clock_set_ms(1700000000000);
    then = clock_now();
    fake_clock_step_ms(HOUR_MS);
    fake_clock_step_ms(-HOUR_MS);
    now = clock_now();
    assert_int_equal(clock_age_most_ms(&then, &now), 0);
}

/* 500 ppm is what the kernel slews at most. */
static void slow_drift_is_no_doubt_for_what_is_remembered(void **state)
{
    static const int64_t drifts_ppm[] = {500, -500};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct clock_moment then, now;

        fake_clock_set_ms(1700000000000);
        fake_clock_drift_ppm(drifts_ppm[i]);
        then = clock_now();
        fake_clock_advance_ms(2 * HOUR_MS);
        now = clock_now();
        assert_int_equal(clock_age_most_ms(&then, &now), 2 * HOUR_MS + (drifts_ppm[i] > 0 ? 3600 : 0));
        fake_clock_advance_ms(HOUR_MS);
        now = clock_now();
        assert_true(clock_age_most_ms(&then, &now) == CLOCK_AGE_ENDLESS);
        assert_int_equal(clock_age_least_ms(&then, &now), 3 * HOUR_MS);
    }
}

/* Also on a machine that believes that it is 1970, a moment after it started. */
static void what_was_never_seen_is_neither_fresh_nor_just_over(void **state)
{
    static const int64_t nows_ms[] = {1700000000000, 1000};
    const struct clock_moment never = {0};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct clock_moment now;

        fake_clock_set_ms(nows_ms[i]);
        now = clock_now();
        assert_true(clock_age_most_ms(&never, &now) == CLOCK_AGE_ENDLESS);
        assert_true(clock_age_least_ms(&never, &now) == CLOCK_AGE_ENDLESS);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(awake_all_clocks_tell_the_age),
        cmocka_unit_test(asleep_age_grows_and_waits_do_not),
        cmocka_unit_test(steps_are_doubt_beyond_what_is_slewed),
        cmocka_unit_test(a_step_there_and_back_is_forgiven),
        cmocka_unit_test(slow_drift_is_no_doubt_for_what_is_remembered),
        cmocka_unit_test(what_was_never_seen_is_neither_fresh_nor_just_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
