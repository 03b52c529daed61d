#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"

static void printable_escapes_everything_but_plain_ascii(void **state)
{
    static const struct {
        const char *name, *in;
        size_t length, size;
        const char *out;
        bool whole;
    } cases[] = {
        {"plain", "mail.example.com", 16, 64, "mail.example.com", true},
        {"empty", "", 0, 4, "", true},
        {"nul", "a\0b", 3, 64, "a\\x00b", true},
        {"line ends", "a\r\nb", 4, 64, "a\\x0D\\x0Ab", true},
        {"terminal escape", "\033[31m", 5, 64, "\\x1B[31m", true},
        {"eight bit", "\xc3\xa9\xff", 3, 64, "\\xC3\\xA9\\xFF", true},
        {"backslash is escaped, so that the text can be reversed", "\\x41", 4, 64, "\\x5Cx41", true},
        {"delete", "\x7f", 1, 64, "\\x7F", true},
        {"a blank, the first that stays, and the byte before it", "\x1f ", 2, 64, "\\x1F ", true},
        {"a tilde, the last that stays", "~", 1, 64, "~", true},
        {"percent stays", "100%s", 5, 64, "100%s", true},
        {"exact fit", "abc", 3, 4, "abc", true},
        {"cut", "abcd", 4, 4, "...", false},
        {"cut with room", "abcdefgh", 8, 8, "abcd...", false},
        {"never within an escape", "ab\n\n", 4, 9, "ab...", false},
        {"escape that fits exactly", "ab\n", 3, 7, "ab\\x0A", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = malloc(cases[i].size);
        bool whole = text_printable(out, cases[i].size, cases[i].in, cases[i].length);

        if (strcmp(out, cases[i].out) != 0 || whole != cases[i].whole)
            fail_msg("%s: wanted \"%s\" (%d), got \"%s\" (%d)", cases[i].name, cases[i].out, cases[i].whole, out, whole);
        free(out);
    }
}

static void printable_new_is_bounded(void **state)
{
    char bytes[5000], *out;

    (void)state;
    memset(bytes, 0x80, sizeof bytes - 1);
    bytes[sizeof bytes - 1] = '\0';
    out = text_printable_new(bytes, 1024);
    assert_true(strlen(out) <= 1024 + 3);
    assert_string_equal(out + strlen(out) - 3, "...");
    free(out);
    out = text_printable_new(NULL, 10);
    assert_string_equal(out, "");
    free(out);
}

static void duration_reads_every_unit_and_nothing_else(void **state)
{
    static const struct {
        const char *text;
        long long ms;
    } cases[] = {
        {"399s", 399000}, {"0", 0}, {"30", 30000}, {"500ms", 500}, {"10m", 600000}, {"1h", 3600000}, {"2d", 172800000},
        {"", -1}, {"s", -1}, {"-1s", -1}, {"+1s", -1}, {" 1s", -1}, {"1 s", -1}, {"1S", -1}, {"1.5s", -1}, {"1week", -1},
        {"99999999999999999999s", -1}, {"9223372036854775807d", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        long long ms = text_duration_ms(cases[i].text);

        if (ms != cases[i].ms)
            fail_msg("\"%s\": wanted %lld, got %lld", cases[i].text, cases[i].ms, ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable_escapes_everything_but_plain_ascii),
        cmocka_unit_test(printable_new_is_bounded),
        cmocka_unit_test(duration_reads_every_unit_and_nothing_else),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
