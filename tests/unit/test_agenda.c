#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "judge/agenda.h"

enum { ENTRIES = 1000 };

/* Whatever was put, moved and dropped before, entries come out by time, and in the order in which they were put. */
static void entries_come_out_in_order(void **state)
{
    static struct agenda_entry entries[ENTRIES];
    struct agenda agenda = {0};
    int64_t last_ms = 0;
    uint64_t last_number = 0;
    size_t left = 0;

    (void)state;
    srandom(20261126);
    for (size_t i = 0; i < 10 * ENTRIES; i++) {
        struct agenda_entry *entry = &entries[random() % ENTRIES];

        if (random() % 3 == 0)
            agenda_drop(&agenda, entry);
        else
            agenda_put(&agenda, entry, random() % 100, false);
    }
    for (size_t i = 0; i < ENTRIES; i++)
        left += entries[i].place != 0;
    assert_int_equal(agenda.count, left);
    assert_true(left > ENTRIES / 2);
    for (struct agenda_entry *first; (first = agenda_first(&agenda)) != NULL; left--) {
        assert_true(first->due_ms > last_ms || (first->due_ms == last_ms && first->number > last_number));
        last_ms = first->due_ms;
        last_number = first->number;
        agenda_drop(&agenda, first);
    }
    assert_int_equal(left, 0);
    agenda_clear(&agenda);
}

static void what_is_asked_for_is_counted_until_it_leaves(void **state)
{
    struct agenda agenda = {0};
    struct agenda_entry a = {0}, b = {0};

    (void)state;
    agenda_put(&agenda, &a, 1, false);
    agenda_put(&agenda, &b, 2, true);
    assert_int_equal(agenda.asked, 1);
    agenda_put(&agenda, &a, 3, true);
    agenda_put(&agenda, &a, 4, false); /* it stays asked for */
    assert_int_equal(agenda.asked, 2);
    agenda_drop(&agenda, &a);
    agenda_drop(&agenda, &a);
    assert_int_equal(agenda.asked, 1);
    assert_ptr_equal(agenda_first(&agenda), &b);
    agenda_drop(&agenda, &b);
    assert_null(agenda_first(&agenda));
    assert_int_equal(agenda.asked, 0);
    agenda_clear(&agenda);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_out_in_order),
        cmocka_unit_test(what_is_asked_for_is_counted_until_it_leaves),
    };

    return cmocka_run_group_tests_name("agenda", tests, NULL, NULL);
}
