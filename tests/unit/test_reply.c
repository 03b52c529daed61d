#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/reply.h"

#define X10 "xxxxxxxxxx"
#define X70 X10 X10 X10 X10 X10 X10 X10
#define X490 X70 X70 X70 X70 X70 X70 X70

static void good_replies_come_out_as_libmilter_wants_them(void **state)
{
    static const struct {
        const char *text, *enhanced, *lines[REPLY_LINES_MAX + 1];
    } cases[] = {
        {"451 4.7.1 please use the preferred mail server", "4.7.1", {"please use the preferred mail server"}},
        {"451 4.999.999 x", "4.999.999", {"x"}},
        {"451 4.7.1 100% sure, %s %%", "4.7.1", {"100%% sure, %%s %%%%"}},
        {"451 4.7.1 one\ntwo\n three", "4.7.1", {"one", "two", " three"}},
        {"451 4.7.1 1\n2\n3\n4\n5\n6\n7\n8", "4.7.1", {"1", "2", "3", "4", "5", "6", "7", "8"}},
        {"451 4.7.1 " X490, "4.7.1", {X490}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reply reply;
        const char *why;

        if (!reply_parse(cases[i].text, &reply, &why))
            fail_msg("\"%s\": refused: %s", cases[i].text, why);
        assert_string_equal(reply.code, "451");
        assert_string_equal(reply.enhanced, cases[i].enhanced);
        for (size_t line = 0; line < reply.line_count; line++)
            if (cases[i].lines[line] == NULL || strcmp(cases[i].lines[line], reply.lines[line]) != 0)
                fail_msg("\"%s\", line %zu: wanted \"%s\", got \"%s\"", cases[i].text, line,
                         cases[i].lines[line] ? cases[i].lines[line] : "nothing", reply.lines[line]);
        assert_null(cases[i].lines[reply.line_count]);
    }
}

static void a_line_of_percent_signs_still_fits(void **state)
{
    char text[] = "451 4.7.1 " X490;
    struct reply reply;

    (void)state;
    memset(text + strlen("451 4.7.1 "), '%', strlen(X490));
    assert_true(reply_parse(text, &reply, NULL));
    assert_int_equal(strlen(reply.lines[0]), REPLY_LINE_MAX);
}

static void bad_replies_are_refused_with_the_reason(void **state)
{
    static const struct {
        const char *text, *why; /* a part of it */
    } cases[] = {
        {"", "code 451"},
        {"250 2.0.0 ok", "code 451"},
        {"550 5.7.1 never", "code 451"},
        {"450 4.7.1 text", "code 451"},
        {"421 4.7.1 text", "code 451"},
        {"451-4.7.1 text", "code 451"},
        {"4511 4.7.1 text", "code 451"},
        {" 451 4.7.1 text", "code 451"},
        {"451 ", "class 4"},
        {"451 text", "class 4"},
        {"451 5.7.1 text", "class 4"},
        {"451 2.7.1 text", "class 4"},
        {"451 4.7 text", "class 4"},
        {"451 4.7.1", "class 4"},
        {"451 4.7.1.2 text", "class 4"},
        {"451 4.7777.1 text", "class 4"},
        {"451 4..1 text", "class 4"},
        {"451  4.7.1 text", "class 4"},
        {"451 4.7.1 ", "needs a text"},
        {"451 4.7.1 one\n", "needs a text"},
        {"451 4.7.1 one\n\ntwo", "needs a text"},
        {"451 4.7.1 one\r\ntwo", "printable ASCII"},
        {"451 4.7.1 one\ttwo", "printable ASCII"},
        {"451 4.7.1 gr\xc3\xbc\xc3\x9f", "printable ASCII"},
        {"451 4.7.1 \x7f", "printable ASCII"},
        {"451 4.7.1 x" X490, "490 characters"},
        {"451 4.7.1 1\n2\n3\n4\n5\n6\n7\n8\n9", "8 lines"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reply reply;
        const char *why = NULL;

        if (reply_parse(cases[i].text, &reply, &why))
            fail_msg("\"%s\": wanted refusal, was taken", cases[i].text);
        if (why == NULL || strstr(why, cases[i].why) == NULL)
            fail_msg("\"%s\": wanted \"%s\", got \"%s\"", cases[i].text, cases[i].why, why ? why : "nothing");
        assert_false(reply_parse(cases[i].text, &reply, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_replies_come_out_as_libmilter_wants_them),
        cmocka_unit_test(a_line_of_percent_signs_still_fits),
        cmocka_unit_test(bad_replies_are_refused_with_the_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
