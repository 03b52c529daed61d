#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/counter.h"
#include "base/words.h"

static void every_class_has_a_name_that_leads_back_to_it(void **state)
{
    (void)state;
    for (int i = 0; i < CLASS_COUNT; i++) {
        enum hit_class back = CLASS_COUNT;

        assert_true(class_from_name(class_name((enum hit_class)i), &back));
        assert_int_equal(back, i);
    }
    assert_false(class_from_name("", &(enum hit_class){CLASS_NONE}));
}

static void every_verdict_has_a_name_and_a_rank_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < VERDICT_COUNT; i++) {
        assert_true(strlen(verdict_name((enum verdict)i)) > 0);
        assert_true(verdict_rank((enum verdict)i) > 0);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(verdict_name((enum verdict)i), verdict_name((enum verdict)j));
            assert_int_not_equal(verdict_rank((enum verdict)i), verdict_rank((enum verdict)j));
        }
    }
}

static void every_final_verdict_counts_under_its_name_and_under_no_other(void **state)
{
    (void)state;
    for (int i = 0; i < VERDICT_COUNT; i++) {
        char wanted[64], *json;

        if (i == VERDICT_PENDING)
            continue;
        for (int n = 0; n <= i; n++) /* no two end with the same count */
            counter_add_verdict((enum verdict)i);
        json = counter_json();
        snprintf(wanted, sizeof wanted, "\"%s\":%d", verdict_name((enum verdict)i), i + 1);
        if (strstr(json, wanted) == NULL)
            fail_msg("wanted %s, got %s", wanted, json);
        free(json);
    }
    for (int i = 0; i < COUNTER_OFFENCE; i++)
        assert_int_equal(counter_value((enum counter)i), 0);
}

static void what_else_is_told_goes_with_the_counters(void **state)
{
    char *json = counter_json();

    (void)state;
    assert_non_null(strstr(json, ",\"moments\":{\"sent\":1"));
    assert_null(strstr(json, "session\":")); /* none came */
    assert_null(strstr(json, "hosts"));
    free(json);
    counter_note(MOMENT_SESSION, 12);
    counter_note(MOMENT_JUDGING, 1);
    counter_note(MOMENT_JUDGING, 34);
    counter_tell_hosts("[1]");
    counter_tell_hosts("[]");
    json = counter_json();
    assert_non_null(strstr(json, ",\"session\":12,\"judging\":34},\"hosts\":[]}"));
    free(json);
}

static void what_takes_as_long_as_a_bound_is_within_it(void **state)
{
    const int64_t *bounds_us = counter_bounds_us(HISTOGRAM_PROBE);
    char *json;

    (void)state;
    counter_took(HISTOGRAM_PROBE, -5);
    counter_took(HISTOGRAM_PROBE, bounds_us[0]);
    counter_took(HISTOGRAM_PROBE, bounds_us[0] + 1);
    counter_took(HISTOGRAM_PROBE, bounds_us[HISTOGRAM_BOUNDS - 1]);
    counter_took(HISTOGRAM_PROBE, bounds_us[HISTOGRAM_BOUNDS - 1] + 1);
    json = counter_json();
    assert_non_null(strstr(json, "\"probe\":{\"sum_us\":120010002,\"counts\":[2,1,0,0,0,0,0,0,0,0,0,0,1,1]}"));
    free(json);
    for (int i = 0; i < HISTOGRAM_COUNT; i++)
        for (int bound = 1; bound < HISTOGRAM_BOUNDS; bound++)
            assert_true(counter_bounds_us((enum histogram)i)[bound] > counter_bounds_us((enum histogram)i)[bound - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_has_a_name_that_leads_back_to_it),
        cmocka_unit_test(every_verdict_has_a_name_and_a_rank_of_its_own),
        cmocka_unit_test(every_final_verdict_counts_under_its_name_and_under_no_other),
        cmocka_unit_test(what_else_is_told_goes_with_the_counters),
        cmocka_unit_test(what_takes_as_long_as_a_bound_is_within_it),
    };

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
