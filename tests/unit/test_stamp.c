#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "witness/stamp.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define S INT64_C(1000000)
#define NOV_26 INT64_C(1795651200) /* 2026-11-26 00:00 UTC */
#define HOUR 3600

static void test_stamps(void **state)
{
    static const struct {
        const char *zone, *text;
        int64_t reference_s, wanted_us; /* -1: no stamp */
        bool twice;
        const char *rest;
    } cases[] = {
        /* RFC 3339 */
        {"UTC", "2026-11-26T05:00:00.123456+01:00 mx1 x", 0, (NOV_26 + 4 * HOUR) * S + 123456, false, "mx1 x"},
        {"UTC", "2026-11-26T05:00:00Z mx1", 0, (NOV_26 + 5 * HOUR) * S, false, "mx1"},
        {"UTC", "2026-11-26T05:00:00-0330", 0, (NOV_26 + 8 * HOUR + 1800) * S, false, ""},
        {"UTC", "2026-11-26T05:00:00.5 x", 0, (NOV_26 + 5 * HOUR) * S + 500000, false, "x"},
        {"UTC", "2026-11-26T05:00:00.1234567891+00:00 x", 0, (NOV_26 + 5 * HOUR) * S + 123456, false, "x"},
        {"UTC", "2026-12-31T23:59:60Z x", 0, (NOV_26 + 36 * 24 * HOUR) * S, false, "x"},
        {"Europe/Berlin", "2026-10-25T02:30:00+01:00 x", 0, INT64_C(1792891800) * S, false, "x"},
        {"UTC", "2026-02-29T05:00:00Z x", 0, -1, false, NULL},
        {"UTC", "2026-13-01T05:00:00Z x", 0, -1, false, NULL},
        {"UTC", "2026-11-26T24:00:00Z x", 0, -1, false, NULL},
        {"UTC", "2026-11-26T05:00:00+99:00 x", 0, -1, false, NULL},
        {"UTC", "2026-11-26T05:00:00+1 x", 0, -1, false, NULL},
        {"UTC", "2026-11-26T05:00 x", 0, -1, false, NULL},
        {"UTC", "2026-11-26T05:00:00Zx", 0, -1, false, NULL},
        {"UTC", "2026-11-26", 0, -1, false, NULL},
        {"UTC", "99999999999999999999", 0, -1, false, NULL},
        {"UTC", "", 0, -1, false, NULL},
        /* Exim */
        {"UTC", "2026-11-26 05:00:00 1xWR", 0, (NOV_26 + 5 * HOUR) * S, false, "1xWR"},
        {"UTC", "2026-11-26 05:00:00.123 +0100 [1] x", 0, (NOV_26 + 4 * HOUR) * S + 123000, false, "[1] x"},
        {"Europe/Berlin", "2026-07-01 05:00:00 x", 0, INT64_C(1782874800) * S, false, "x"},
        {"UTC", "2026-11-26 05:00:00 -> x", 0, (NOV_26 + 5 * HOUR) * S, false, "-> x"},
        /* syslog of old */
        {"UTC", "Nov 26 05:00:00 mx1 x", NOV_26, (NOV_26 + 5 * HOUR) * S, false, "mx1 x"},
        {"UTC", "Nov  6 05:00:00 mx1 x", NOV_26, (NOV_26 - 20 * 24 * HOUR + 5 * HOUR) * S, false, "mx1 x"},
        {"UTC", "Nov 27 00:00:00 x", NOV_26, (NOV_26 + 24 * HOUR) * S, false, "x"},
        {"UTC", "Nov 28 00:00:01 x", NOV_26, (NOV_26 - 363 * 24 * HOUR + 1) * S, false, "x"}, /* last year's */
        {"UTC", "Dec 31 23:59:59 x", INT64_C(1798761600), INT64_C(1798761599) * S, false, "x"}, /* read at new year */
        {"UTC", "Jan  1 00:00:01 x", INT64_C(1798761599), INT64_C(1798761601) * S, false, "x"},
        {"UTC", "Feb 29 05:00:00 x", NOV_26, INT64_C(1709182800) * S, false, "x"}, /* 2024 was the last one */
        {"Europe/Berlin", "Nov 26 05:00:00 x", NOV_26, (NOV_26 + 4 * HOUR) * S, false, "x"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "Jul  1 05:00:00 x", NOV_26, INT64_C(1782874800) * S, false, "x"},
        {"UTC", "Nov 31 05:00:00 x", NOV_26, -1, false, NULL},
        {"UTC", "Nop 26 05:00:00 x", NOV_26, -1, false, NULL},
        {"UTC", "ovD 26 05:00:00 x", NOV_26, -1, false, NULL},
        {"UTC", "Nov 26 5:00:00 x", NOV_26, -1, false, NULL},
        {"UTC", "Nov", NOV_26, -1, false, NULL},
        /* The hour that is not, and the one that comes twice. */
        {"Europe/Berlin", "Mar 29 01:59:59 x", NOV_26, INT64_C(1774745999) * S, false, "x"},
        {"Europe/Berlin", "Mar 29 02:30:00 x", INT64_C(1774800000), -1, false, NULL},
        {"Europe/Berlin", "Oct 25 01:59:59 x", NOV_26, INT64_C(1792886399) * S, false, "x"},
        {"Europe/Berlin", "Oct 25 02:00:00 x", NOV_26, INT64_C(1792890000) * S, true, "x"},
        {"Europe/Berlin", "Oct 25 02:59:59 x", NOV_26, INT64_C(1792893599) * S, true, "x"},
        {"Europe/Berlin", "Oct 25 03:00:00 x", NOV_26, INT64_C(1792893600) * S, false, "x"},
        {"Europe/Berlin", "2026-10-25 02:30:00 x", 0, INT64_C(1792891800) * S, true, "x"},
        {"Australia/Lord_Howe", "2026-04-05 01:45:00 x", 0, INT64_C(1775315700) * S, true, "x"}, /* half an hour */
        {"Australia/Lord_Howe", "2026-04-05 01:15:00 x", 0, INT64_C(1775312100) * S, false, "x"},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct stamp got = {.time_us = -1};
        const char *rest;

        assert_true(stamp_zone(cases[i].zone));
        rest = stamp_parse(cases[i].text, cases[i].reference_s * S, &got);
        if (rest == NULL)
            got.time_us = -1;
        if (got.time_us != cases[i].wanted_us || got.twice != cases[i].twice ||
            (rest == NULL) != (cases[i].rest == NULL) || (rest != NULL && strcmp(rest, cases[i].rest) != 0)) {
            print_error("%s %s: wanted %lld%s, got %lld%s, rest %s\n", cases[i].zone, cases[i].text,
                        (long long)cases[i].wanted_us, cases[i].twice ? " twice" : "", (long long)got.time_us,
                        got.twice ? " twice" : "", rest != NULL ? rest : "none");
            failed++;
        }
    }
    assert_int_equal(failed, 0);
}

static void test_zones(void **state)
{
    static const char *const wrong[] = {"", "Mars/Olympus", "/etc/localtime", "../zoneinfo/UTC", "Europ"};

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++)
        if (stamp_zone(wrong[i]))
            fail_msg("a zone: %s", wrong[i]);
    assert_true(stamp_zone("America/New_York"));
    assert_true(stamp_zone("EST5EDT"));
    assert_true(stamp_zone(NULL));
}

/* Every quarter of an hour of two years, written in local time, is read back as it was; twice only where it is. */
static void test_all_of_two_years(void **state)
{
    static const char *const zones[] = {"Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    unsigned twice = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(zones); i++) {
        assert_true(stamp_zone(zones[i]));
        for (time_t t = INT64_C(1767225600), end = t + 2 * 365 * 86400; t < end; t += 900) {
            struct stamp stamp;
            struct tm local;
            char text[64];

            localtime_r(&t, &local);
            snprintf(text, sizeof text, "%s %2d %02d:%02d:%02d x", months[local.tm_mon], local.tm_mday, local.tm_hour,
                     local.tm_min, local.tm_sec);
            assert_non_null(stamp_parse(text, t * S, &stamp));
            if (!stamp.twice && stamp.time_us != t * S)
                fail_msg("%s %s: wanted %lld, got %lld", zones[i], text, (long long)t, (long long)(stamp.time_us / S));
            twice += stamp.twice;
        }
    }
    /* In three of them the clocks were put back twice: by an hour or half of one, which are seen twice. */
    assert_int_equal(twice, 2 * (2 * 4 + 2 * 4 + 2 * 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stamps),
        cmocka_unit_test(test_zones),
        cmocka_unit_test(test_all_of_two_years),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
