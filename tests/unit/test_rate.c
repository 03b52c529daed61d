#include "web/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int take(struct rate *rate, const char *client, int64_t now_ms)
{
    struct ipaddr address;

    assert_true(ipaddr_parse(client, &address));
    return rate_take(rate, &address, now_ms);
}

static void so_many_in_a_minute(void **state)
{
    struct rate *rate = rate_create(3);

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(take(rate, "192.0.2.1", 1000), 0);
    assert_int_equal(take(rate, "192.0.2.1", 1000), 21);
    assert_int_equal(take(rate, "192.0.2.2", 1000), 0);
    assert_int_equal(take(rate, "192.0.2.1", 20999), 1);
    assert_int_equal(take(rate, "192.0.2.1", 21000), 0);
    assert_int_not_equal(take(rate, "192.0.2.1", 21000), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(take(rate, "192.0.2.1", 1000000), 0);
    assert_int_not_equal(take(rate, "192.0.2.1", 1000000), 0);
    rate_destroy(&rate);
    rate_destroy(&rate);
}

static void a_whole_64_is_one_client(void **state)
{
    struct rate *rate = rate_create(1);

    (void)state;
    assert_int_equal(take(rate, "2001:db8:0:1::1", 0), 0);
    assert_int_not_equal(take(rate, "2001:db8:0:1:ffff::2", 0), 0);
    assert_int_equal(take(rate, "2001:db8:0:2::1", 0), 0);
    rate_destroy(&rate);
}

static void as_often_as_anybody_wants(void **state)
{
    struct rate *rate = rate_create(RATE_MAX);

    (void)state;
    for (int i = 0; i < RATE_MAX; i++)
        assert_int_equal(take(rate, "192.0.2.1", 0), 0);
    assert_int_not_equal(take(rate, "192.0.2.1", 0), 0);
    rate_destroy(&rate);
}

/* Who asks again and again is not forgotten for those that are new. */
static void the_table_is_bounded(void **state)
{
    struct rate *rate = rate_create(1);
    char client[IPADDR_TEXT_SIZE];

    (void)state;
    assert_int_equal(take(rate, "192.0.2.1", 0), 0);
    assert_int_equal(take(rate, "192.0.2.2", 0), 0);
    for (int i = 0; i < RATE_CLIENTS_MAX; i++) {
        assert_int_not_equal(take(rate, "192.0.2.1", 1), 0);
        snprintf(client, sizeof client, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        assert_int_equal(take(rate, client, 1), 0);
    }
    assert_int_not_equal(take(rate, "192.0.2.1", 1), 0);
    assert_int_equal(take(rate, "192.0.2.2", 1), 0);
    rate_destroy(&rate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_in_a_minute),
        cmocka_unit_test(a_whole_64_is_one_client),
        cmocka_unit_test(as_often_as_anybody_wants),
        cmocka_unit_test(the_table_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
