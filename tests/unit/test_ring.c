#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/ring.h"

static struct ring *ring;

static int make_ring(void **state)
{
    (void)state;
    ring = calloc(1, sizeof *ring);
    return ring == NULL;
}

static int free_ring(void **state)
{
    (void)state;
    free(ring);
    return 0;
}

static bool put(const char *line, size_t leave)
{
    return ring_put(ring, line, strlen(line), leave);
}

static void lines_come_out_whole_and_in_order(void **state)
{
    char chunk[16];

    (void)state;
    assert_int_equal(ring_take(ring, chunk, sizeof chunk), 0);
    assert_true(put("one\n", 0) && put("two\n", 0) && put("three three\n", 0));
    assert_int_equal(ring_take(ring, chunk, sizeof chunk), 8);
    assert_memory_equal(chunk, "one\ntwo\n", 8);
    assert_int_equal(ring_take(ring, chunk, sizeof chunk), 12);
    assert_memory_equal(chunk, "three three\n", 12);
    assert_int_equal(ring_take(ring, chunk, sizeof chunk), 0);
}

static void a_line_of_exactly_the_chunk_comes_out(void **state)
{
    char chunk[4];

    (void)state;
    assert_true(put("one\n", 0) && put("two\n", 0));
    assert_int_equal(ring_take(ring, chunk, sizeof chunk), 4);
    assert_int_equal(ring_take(ring, chunk, sizeof chunk), 4);
    assert_memory_equal(chunk, "two\n", 4);
}

/* Lines of all lengths cross the end of the ring at every offset. */
static void lines_go_round_and_round(void **state)
{
    char line[256], chunk[256], wanted[256];
    unsigned put_count = 0, taken = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        int length = snprintf(line, sizeof line, "%u %*s\n", put_count, (int)(put_count % 200), "");

        assert_true(ring_put(ring, line, (size_t)length, 0));
        put_count++;
        if (put_count - taken < 1000)
            continue;
        length = snprintf(wanted, sizeof wanted, "%u %*s\n", taken, (int)(taken % 200), "");
        assert_int_equal(ring_take(ring, chunk, (size_t)length), length);
        assert_memory_equal(chunk, wanted, (size_t)length);
        taken++;
    }
}

static void what_has_no_room_is_refused_and_nothing_else_is_lost(void **state)
{
    char line[1000], chunk[1000];
    size_t count = 0;

    (void)state;
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    while (ring_put(ring, line, sizeof line, RING_BYTES / 4))
        count++;
    assert_int_equal(count, RING_BYTES / 4 * 3 / sizeof line);
    while (ring_put(ring, line, sizeof line, 0))
        count++;
    assert_int_equal(count, RING_BYTES / sizeof line);
    assert_true(ring_put(ring, line + sizeof line - RING_BYTES % sizeof line, RING_BYTES % sizeof line, 0));
    assert_false(put("\n", 0));
    for (; count > 0; count--) {
        assert_int_equal(ring_take(ring, chunk, sizeof chunk), sizeof chunk);
        assert_memory_equal(chunk, line, sizeof line);
    }
    assert_int_equal(ring_take(ring, chunk, sizeof chunk), RING_BYTES % sizeof line);
    assert_true(put("\n", 0));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_come_out_whole_and_in_order, make_ring, free_ring),
        cmocka_unit_test_setup_teardown(a_line_of_exactly_the_chunk_comes_out, make_ring, free_ring),
        cmocka_unit_test_setup_teardown(lines_go_round_and_round, make_ring, free_ring),
        cmocka_unit_test_setup_teardown(what_has_no_room_is_refused_and_nothing_else_is_lost, make_ring, free_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
