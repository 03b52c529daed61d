#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "milter/pace.h"

enum { IDLE_MS = 30000, STEPS_MAX = 6 };

static void commands_have_the_idle_time_each(void **state)
{
    static const struct {
        const char *name;
        int64_t idle_ms;
        struct {
            int64_t now_ms;
            bool seen_at_once, late;
        } steps[STEPS_MAX]; /* up to the first at 0 */
    } cases[] = {
        {"at once: exactly the idle time", IDLE_MS, {{30000, true, false}, {60000, true, false}, {90000, true, false}}},
        {"at once: a millisecond more", IDLE_MS, {{30001, true, true}}},
        {"at once: time is not saved up", IDLE_MS, {{1, true, false}, {2, true, false}, {30003, true, true}}},
        {"kept back: HELO, MAIL, RCPT come together", IDLE_MS,
         {{90000, false, false}, {90000, false, false}, {90000, true, false}}},
        {"kept back: they come a millisecond too late", IDLE_MS,
         {{90001, false, false}, {90001, false, false}, {90001, true, true}}},
        {"kept back: MAIL, RCPT within twice the time", IDLE_MS, {{60000, false, false}, {60000, true, false}}},
        {"kept back: MAIL, RCPT a millisecond too late", IDLE_MS, {{60001, false, false}, {60001, true, true}}},
        {"kept back: an answer starts the time anew", IDLE_MS,
         {{1000, false, false}, {2000, true, false}, {32000, true, false}, {62001, true, true}}},
        {"no limit", 0, {{1, true, false}, {INT64_MAX, true, false}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pace pace;

        pace_begin(&pace, 0);
        for (size_t n = 0; n < STEPS_MAX && cases[i].steps[n].now_ms > 0; n++) {
            bool late = pace_is_late(&pace, cases[i].steps[n].now_ms, cases[i].idle_ms, cases[i].steps[n].seen_at_once);

            if (late != cases[i].steps[n].late)
                fail_msg("%s, command %zu: wanted %d, got %d", cases[i].name, n + 1, cases[i].steps[n].late, late);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(commands_have_the_idle_time_each)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
