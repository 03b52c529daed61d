#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/uuid.h"

static void draws_version_4(void **state)
{
    char one[UUID_SIZE], other[UUID_SIZE];

    (void)state;
    assert_true(uuid_draw(one));
    assert_true(uuid_draw(other));
    assert_true(uuid_is_valid(one));
    assert_int_equal(one[14], '4');
    assert_non_null(strchr("89ab", one[19]));
    assert_string_not_equal(one, other);
}

static void begins_with_the_time(void **state)
{
    static const struct {
        int64_t time_us;
        const char *start;
    } cases[] = {
        {1645557742000000, "017f22e2-79b0-7"}, /* the example of RFC 9562 A.6 */
        {1645557742000999, "017f22e2-79b0-7"},
        {1645557742001000, "017f22e2-79b1-7"},
        {0, "00000000-0000-7"},
        {-1000000, "00000000-0000-7"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char one[UUID_SIZE], other[UUID_SIZE];

        assert_true(uuid_draw_ordered(cases[i].time_us, one));
        assert_true(uuid_draw_ordered(cases[i].time_us, other));
        assert_true(uuid_is_valid(one));
        assert_memory_equal(one, cases[i].start, strlen(cases[i].start));
        assert_non_null(strchr("89ab", one[19]));
        assert_string_not_equal(one, other);
    }
}

static void knows_the_form(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"017f22e2-79b0-7cc3-98c4-dc0c0c07398f", true}, {"017F22E2-79B0-7CC3-98C4-DC0C0C07398F", true},
        {"", false}, {"017f22e2-79b0-7cc3-98c4-dc0c0c07398", false}, {"017f22e2-79b0-7cc3-98c4-dc0c0c07398ff", false},
        {"017f22e2+79b0-7cc3-98c4-dc0c0c07398f", false}, {"017f22e2-79b0-7cc3-98c4-dc0c0c07398g", false},
        {"017f22e279b0-7cc3-98c4-dc0c0c07398f-", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (uuid_is_valid(cases[i].text) != cases[i].valid)
            fail_msg("\"%s\": wanted %d", cases[i].text, cases[i].valid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_version_4),
        cmocka_unit_test(begins_with_the_time),
        cmocka_unit_test(knows_the_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
