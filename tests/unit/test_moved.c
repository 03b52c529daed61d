#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "judge/moved.h"
#include "mx_text.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { SECOND_MS = 1000, HOUR_MS = 3600 * SECOND_MS, START_MS = 1000 * SECOND_MS };

static bool note(struct moved *moved, const char *text, int64_t now_ms)
{
    const struct mx_answer answer = mx_from_text(text);

    return moved_note(moved, &answer, now_ms);
}

/* What is in doubt, for how long, after DNS said one thing and then another. */
static void what_is_a_move_and_for_how_long(void **state)
{
    static const struct {
        const char *name, *before, *after;
        int64_t doubt_s; /* 0: no move */
    } cases[] = {
        {"nothing changed", "10 a 192.0.2.1;20 b 192.0.2.2", "10 a 192.0.2.1;20 b 192.0.2.2", 0},
        {"another order", "10 a 192.0.2.1 192.0.2.2;10 b 192.0.2.3", "10 b 192.0.2.3;10 a 192.0.2.2 192.0.2.1", 0},
        {"another TTL", "10 a 192.0.2.1;ttl 600", "10 a 192.0.2.1;ttl 60", 0},
        {"another host", "10 a 192.0.2.1;ttl 600", "10 b 192.0.2.1;ttl 60", 600},
        {"one more host", "10 a 192.0.2.1;ttl 600", "10 a 192.0.2.1;20 b 192.0.2.2;ttl 60", 600},
        {"one less", "10 a 192.0.2.1;20 b 192.0.2.2;ttl 600", "10 a 192.0.2.1;ttl 60", 600},
        {"another preference", "10 a 192.0.2.1;20 b 192.0.2.2;ttl 600", "20 a 192.0.2.1;10 b 192.0.2.2", 600},
        {"addresses that changed places", "10 a 192.0.2.1;10 b 192.0.2.2;ttl 600", "10 a 192.0.2.2;10 b 192.0.2.1", 600},
        {"another address", "10 a 192.0.2.1;ttl 600", "10 a 192.0.2.9", 600},
        {"an IPv6 address more", "10 a 192.0.2.1;ttl 600", "10 a 192.0.2.1 2001:db8::1", 600},
        {"the domain's own address", "10 a 192.0.2.1;@ 192.0.2.8", "10 a 192.0.2.1;@ 192.0.2.9", 0},
        {"the first MX", "@ 192.0.2.1;ttl 60", "10 a 192.0.2.1", 3 * 3600},
        {"the first MX, after a long TTL", "@ 192.0.2.1;ttl 86400", "10 a 192.0.2.1", 86400},
        {"the first MX of a new domain", "nxdomain", "10 a 192.0.2.1", 3 * 3600},
        {"a week's TTL", "10 a 192.0.2.1;ttl 604800", "10 b 192.0.2.1", 3 * 86400},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct moved moved = {0};
        bool first = note(&moved, cases[i].before, START_MS);
        bool got = note(&moved, cases[i].after, START_MS + 5);
        int64_t until_ms = cases[i].doubt_s != 0 ? START_MS + 5 + cases[i].doubt_s * SECOND_MS : 0;

        if (!first && got == (cases[i].doubt_s != 0) && moved.until_ms == until_ms)
            continue;
        failed++;
        print_error("%s: want until %lld, got %lld\n", cases[i].name, (long long)until_ms, (long long)moved.until_ms);
    }
    assert_int_equal(failed, 0);
}

/* A cache shows what is left of a TTL: the longest that was seen counts. */
static void the_longest_ttl_counts(void **state)
{
    struct moved moved = {0};

    (void)state;
    note(&moved, "10 a 192.0.2.1;ttl 60", START_MS);
    note(&moved, "10 a 192.0.2.1;ttl 3600", START_MS + 60 * SECOND_MS);
    note(&moved, "10 a 192.0.2.1;ttl 30", START_MS + 120 * SECOND_MS);
    note(&moved, "10 b 192.0.2.1;ttl 30", START_MS + 200 * SECOND_MS);
    assert_int_equal(moved.until_ms, START_MS + 200 * SECOND_MS + HOUR_MS);
    /* A second move does not shorten the doubt about the first. */
    note(&moved, "10 c 192.0.2.1;ttl 30", START_MS + 201 * SECOND_MS);
    assert_int_equal(moved.until_ms, START_MS + 200 * SECOND_MS + HOUR_MS);
}

static void answers_that_take_turns_are_no_move_in_the_end(void **state)
{
    static const char *const turns[] = {"10 a 192.0.2.1;ttl 60", "10 a 192.0.2.2;ttl 60", "10 a 192.0.2.3;ttl 60"};
    struct moved moved = {0};
    int64_t now_ms = START_MS;
    unsigned moves = 0;

    (void)state;
    for (unsigned i = 0; i < 30; i++, now_ms += 60 * SECOND_MS)
        moves += note(&moved, turns[i % COUNT(turns)], now_ms);
    assert_in_range(moves, 10, 15);
    assert_true(moved.until_ms < now_ms);
    assert_true(note(&moved, "10 a 192.0.2.9", now_ms)); /* one that never took its turn is */
}

/* To another host and back, every few hours: each time is a move. */
static void failing_over_and_back_is_a_move_each_time(void **state)
{
    struct moved moved = {0};
    int64_t now_ms = START_MS;

    (void)state;
    note(&moved, "10 a 192.0.2.1", now_ms);
    for (unsigned i = 0; i < 20; i++) {
        now_ms += 7 * HOUR_MS;
        assert_true(note(&moved, i % 2 == 0 ? "10 b 192.0.2.2" : "10 a 192.0.2.1", now_ms));
        assert_true(moved.until_ms > now_ms);
    }
}

static void a_move_while_nobody_looked_is_seen_afterwards(void **state)
{
    struct moved before = {0}, moved = {0};

    (void)state;
    note(&before, "10 a 192.0.2.1;ttl 3600", START_MS);
    moved_recall(&moved, moved_now(&before)->fingerprint, moved_now(&before)->ttl_ms, START_MS, 0);
    assert_false(note(&moved, "10 a 192.0.2.1;ttl 3600", START_MS + HOUR_MS));
    moved_recall(&moved, moved_now(&before)->fingerprint, moved_now(&before)->ttl_ms, START_MS, 0);
    assert_true(note(&moved, "10 b 192.0.2.1;ttl 3600", START_MS + 5 * HOUR_MS));
    assert_int_equal(moved.until_ms, START_MS + 6 * HOUR_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_a_move_and_for_how_long),
        cmocka_unit_test(the_longest_ttl_counts),
        cmocka_unit_test(answers_that_take_turns_are_no_move_in_the_end),
        cmocka_unit_test(failing_over_and_back_is_a_move_each_time),
        cmocka_unit_test(a_move_while_nobody_looked_is_seen_afterwards),
    };

    return cmocka_run_group_tests_name("moved", tests, NULL, NULL);
}
