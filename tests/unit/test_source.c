#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "witness/source.h"

static char folder[64], path[80], why[SOURCE_WHY_SIZE];
static struct source *source;
static int64_t now_ms;
static const struct envelope_key key = {.secret = {1}};

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test-source-XXXXXX");
    snprintf(path, sizeof path, "%s/log", mkdtemp(folder));
    source = NULL;
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    source_close(&source);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c): what is run is written above */
}

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    int used = snprintf(command, sizeof command, "cd %s && ", folder);

    va_start(arguments, format);
    vsnprintf(command + used, sizeof command - (size_t)used, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): what is run is written above */
}

static void append(const char *text)
{
    FILE *file = fopen(path, "a");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* All that comes now, words with blanks between: lines, "!" for a gap, "." when it ended, and time that goes by for FOLLOW. */
static const char *read_all(void)
{
    static char text[8192];
    size_t used = 0;
    enum source_got got;
    int idle = 0;

    text[0] = '\0';
    do {
        struct source_entry entry;

        got = source_next(source, &entry, now_ms, why);
        if (got == SOURCE_NOTHING) {
            idle++;
            now_ms += 1000;
        } else {
            idle = 0;
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? " " : "",
                                     got == SOURCE_ENTRY ? entry.text : got == SOURCE_GAP ? "!" : got == SOURCE_END ? "." : why);
        }
    } while (idle < 10 && got != SOURCE_END && got != SOURCE_FAILED);
    return text;
}

static void restart(bool follow)
{
    struct ledger_place place;

    source_place(source, &place);
    source_close(&source);
    source = source_open_file(path, &place, &key, follow, why);
    if (source == NULL)
        fail_msg("%s", why);
}

static void begin(bool follow)
{
    source = source_open_file(path, NULL, &key, follow, why);
    if (source == NULL)
        fail_msg("%s", why);
}

#define LONG_LINE "a-line-that-is-long-enough-to-know-a-file-again-by-the-bytes-before-the-place-in-it"

static void test_to_the_end(void **state)
{
    (void)state;
    append("a\nb\r\nnot-yet");
    begin(false);
    assert_string_equal(read_all(), "a b .");
    restart(false);
    assert_string_equal(read_all(), ".");
    append("-whole\nc\n");
    restart(false);
    assert_string_equal(read_all(), "not-yet-whole c .");
}

static void test_follow(void **state)
{
    (void)state;
    append("");
    begin(true);
    assert_string_equal(read_all(), "");
    append("a\nb");
    assert_string_equal(read_all(), "a");
    append("c\n");
    assert_string_equal(read_all(), "bc");
}

static void test_rotation_by_rename(void **state)
{
    (void)state;
    append("a\n");
    begin(true);
    assert_string_equal(read_all(), "a");
    append("b\n");
    shell("mv log log.1"); /* the new one is not there yet */
    assert_string_equal(read_all(), "b");
    shell("echo c >log; echo late >>log.1"); /* whoever writes still has the old one open */
    assert_string_equal(read_all(), "late c");
    append("d\n");
    assert_string_equal(read_all(), "d");
}

static void test_rotations_while_away(void **state)
{
    (void)state;
    append("a\nb\n");
    begin(true);
    assert_string_equal(read_all(), "a b");
    append("c\n");
    shell("mv log log.1; touch -d '-3 min' log.1; echo d >log; mv log.1 log.2; mv log log.1; touch -d '-2 min' log.1; echo e >log");
    restart(true);
    assert_string_equal(read_all(), "c d e");
    restart(true);
    assert_string_equal(read_all(), "");
}

static void test_rotation_while_away_among_many_files(void **state)
{
    (void)state;
    append("a\n");
    begin(false);
    assert_string_equal(read_all(), "a .");
    append("b\n");
    shell("for i in $(seq 200); do touch -d \"-$((i + 9)) min\" log-$i.gz; done; mv log log-now; echo c >log");
    restart(false);
    assert_string_equal(read_all(), "b c .");
}

static void test_rotation_while_away_behind_a_link(void **state)
{
    static const char *const names[] = {"log", "other"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        shell("rm -rf log far; mkdir far; echo a >far/%s; ln -s far/%s log", names[i], names[i]);
        begin(false);
        assert_string_equal(read_all(), "a .");
        shell("cd far; echo b >>%s; mv %s %s.1; echo c >%s", names[i], names[i], names[i], names[i]);
        restart(false);
        assert_string_equal(read_all(), "b c .");
        source_close(&source);
    }
    shell("rm log; mv far/other log.day1; ln -s log.day1 log"); /* one file a day, and a link to the last */
    begin(false);
    assert_string_equal(read_all(), "c .");
    shell("echo d >>log.day1; touch -d '-1 min' log.day1; echo e >log.day2; ln -sf log.day2 log");
    restart(false);
    assert_string_equal(read_all(), "d e .");
}

static void test_rotation_while_away_at_the_very_end(void **state)
{
    (void)state;
    append("a\n");
    begin(false);
    assert_string_equal(read_all(), "a .");
    shell("mv log log-20261126; echo b >log");
    restart(false);
    assert_string_equal(read_all(), "b .");
}

static void test_restart_before_the_new_file_is_there(void **state)
{
    (void)state;
    append(LONG_LINE "\n");
    begin(true);
    assert_string_equal(read_all(), LONG_LINE);
    append("b\n");
    shell("mv log log.1");
    restart(true);
    assert_string_equal(read_all(), "b");
    append("c\n");
    assert_string_equal(read_all(), "c");
}

static void test_old_file_is_gone(void **state)
{
    (void)state;
    append("a\n");
    begin(true);
    assert_string_equal(read_all(), "a");
    append("b\n");
    shell("rm log; echo c >log");
    assert_string_equal(read_all(), "b c"); /* it is still open here */
    shell("rm log; echo d >log.new; mv log.new log");
    restart(true);
    assert_string_equal(read_all(), "! d");
}

static void test_compressed_file_cannot_be_read(void **state)
{
    (void)state;
    append("a\n");
    begin(true);
    assert_string_equal(read_all(), "a");
    append("b\n");
    shell("mv log log.1; echo c >log; gzip -f log.1");
    restart(true);
    assert_string_equal(read_all(), "! c");
    append("d\n");
    shell("mv log log.2; touch -d '-3 min' log.2; echo e >log.1; gzip -f log.1; echo f >log");
    restart(true);
    assert_string_equal(read_all(), "! d ! f");
}

static void test_cut_short(void **state)
{
    (void)state;
    append("a\nb\n");
    begin(true);
    assert_string_equal(read_all(), "a b");
    shell(": >log");
    assert_string_equal(read_all(), "!");
    append("c\n");
    assert_string_equal(read_all(), "c");
    shell("printf 'd\\n' >log"); /* as long as it was */
    assert_string_equal(read_all(), "! d");
    shell("printf 'e\\nf\\ng\\n' >log"); /* longer than it was */
    assert_string_equal(read_all(), "! e f g");
    shell("printf 'h\\n' >log");
    restart(true);
    assert_string_equal(read_all(), "! h");
}

static void test_copied_and_cut(void **state)
{
    (void)state;
    append(LONG_LINE "\n");
    begin(true);
    assert_string_equal(read_all(), LONG_LINE);
    append("b\n");
    shell("cp log log.1; : >log; echo c >>log");
    assert_string_equal(read_all(), "! b c");
    append(LONG_LINE "\n");
    assert_string_equal(read_all(), LONG_LINE);
    append("d\n");
    shell("cp log log.1; : >log; echo e >>log");
    restart(true);
    assert_string_equal(read_all(), "! d e");
}

static void test_lines_that_are_none(void **state)
{
    static char longest[SOURCE_LINE_MAX + 1], longer[4 * SOURCE_LINE_MAX];
    struct source_entry entry;

    (void)state;
    memset(longest, 'x', SOURCE_LINE_MAX);
    memset(longer, 'y', sizeof longer - 1);
    append("a\n");
    shell("printf 'b\\000c\\n' >>log");
    append("d\n");
    append(longer);
    append("\n");
    append(longer);
    append(longer);
    append("\ne\n");
    begin(true);
    assert_string_equal(read_all(), "a ! d ! ! e");
    append(longest);
    append("\n");
    assert_int_equal(source_next(source, &entry, now_ms, why), SOURCE_ENTRY);
    assert_int_equal(strlen(entry.text), SOURCE_LINE_MAX);
    append("f\n");
    restart(true);
    assert_string_equal(read_all(), "f");
}

/* Whatever happens to the file between two lines, and wherever the witness is started again: each line once, in order. */
static void test_restart_at_each_step(void **state)
{
    static const char *const rotations[] = {"true", "mv log log.1; : >log", "mv log.1 log.2 2>/dev/null; mv log log.1; : >log"};

    (void)state;
    for (unsigned restarts = 0; restarts < 64; restarts++) {
        char wanted[256] = "", got[8192] = "", line[32];

        shell("rm -f log*; : >log");
        begin(true);
        for (unsigned step = 0; step < 6; step++) {
            snprintf(line, sizeof line, "%u-%u\n", restarts, step);
            append(line);
            shell("touch -d '%u min' log; %s", step, rotations[(restarts + step) % 3]);
            line[strlen(line) - 1] = ' ';
            strcat(wanted, line);
            if (restarts >> step & 1)
                restart(true);
            if (step % 2 == 1)
                strcat(strcat(got, read_all()), " ");
        }
        assert_string_equal(got, wanted);
        source_close(&source);
    }
}

static void test_what_cannot_be_opened(void **state)
{
    (void)state;
    assert_null(source_open_file(path, NULL, &key, true, why));
    assert_non_null(strstr(why, "No such file"));
    assert_null(source_open_file(folder, NULL, &key, true, why));
    assert_non_null(strstr(why, "no file"));
}

static void export(const char *bytes, size_t length)
{
    int fd = memfd_create("export", 0);

    assert_true(write(fd, bytes, length) == (ssize_t)length && lseek(fd, 0, SEEK_SET) == 0);
    source = source_open_export(fd, false);
}

static void test_journal(void **state)
{
    static const char bytes[] =
        "__CURSOR=s=1;i=1\n__REALTIME_TIMESTAMP=1795651200000001\nSYSLOG_IDENTIFIER=postfix/qmgr\n_HOSTNAME=mx1\nMESSAGE=a\n\n"
        "__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795651200000009\n_SOURCE_REALTIME_TIMESTAMP=1795651200000002\n"
        "SYSLOG_IDENTIFIER=exim\nMESSAGE\n\3\0\0\0\0\0\0\0b\xff\x63\n\n"
        "__CURSOR=s=1;i=3\n__REALTIME_TIMESTAMP=1795651200000003\nMESSAGE\n\3\0\0\0\0\0\0\0b\0\x63\n\n"
        "__CURSOR=s=1;i=4\n__REALTIME_TIMESTAMP=1795651200000004\nMESSAGE=d\n\n";
    struct ledger_place place;
    struct source_entry entry;

    (void)state;
    export(bytes, sizeof bytes - 1);
    assert_int_equal(source_next(source, &entry, 0, why), SOURCE_ENTRY);
    assert_string_equal(entry.text, "a");
    assert_string_equal(entry.program, "postfix/qmgr");
    assert_string_equal(entry.host, "mx1");
    assert_int_equal(entry.time_us, INT64_C(1795651200000001));
    assert_int_equal(source_next(source, &entry, 0, why), SOURCE_ENTRY);
    assert_string_equal(entry.text, "b\xff\x63");
    assert_string_equal(entry.host, "");
    assert_int_equal(entry.time_us, INT64_C(1795651200000002));
    source_place(source, &place);
    assert_string_equal(place.cursor, "s=1;i=2");
    assert_int_equal(source_next(source, &entry, 0, why), SOURCE_GAP);
    assert_int_equal(source_next(source, &entry, 0, why), SOURCE_ENTRY);
    assert_string_equal(entry.text, "d");
    assert_int_equal(source_next(source, &entry, 0, why), SOURCE_END);
    source_close(&source);

    export(bytes, sizeof bytes - 3); /* ended in the middle of an entry */
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(source_next(source, &entry, 0, why), SOURCE_FAILED);
    assert_int_equal(source_next(source, &entry, 0, why), SOURCE_FAILED);
}

static enum source_got await(struct source_entry *entry)
{
    struct pollfd readable = {.fd = source_fd(source), .events = POLLIN};
    enum source_got got;

    while ((got = source_next(source, entry, 0, why)) == SOURCE_NOTHING)
        assert_int_equal(poll(&readable, 1, 10000), 1);
    return got;
}

static void test_journalctl(void **state)
{
    struct ledger_place place = {.cursor = "s=7"};
    struct source_entry entry;
    char variable[4096];

    (void)state;
    shell("printf '#!/bin/sh\\nprintf \"__CURSOR=s=8\\\\n__REALTIME_TIMESTAMP=1\\\\nMESSAGE=$*\\\\n\\\\n\"\\nexit $((0$FAIL))\\n' "
          ">journalctl; chmod +x journalctl");
    snprintf(variable, sizeof variable, "%s:%s", folder, getenv("PATH"));
    setenv("PATH", variable, 1);
    source = source_open_journal(&place, false, why);
    assert_non_null(source);
    assert_int_equal(await(&entry), SOURCE_ENTRY);
    assert_non_null(strstr(entry.text, "--after-cursor=s=7"));
    assert_null(strstr(entry.text, "--follow"));
    assert_int_equal(await(&entry), SOURCE_END);
    source_close(&source);

    setenv("FAIL", "1", 1); /* not allowed to read it, say */
    source = source_open_journal(NULL, false, why);
    assert_int_equal(await(&entry), SOURCE_ENTRY);
    assert_non_null(strstr(entry.text, "--since=-7d"));
    assert_int_equal(await(&entry), SOURCE_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_to_the_end),
        TEST(test_follow),
        TEST(test_rotation_by_rename),
        TEST(test_rotations_while_away),
        TEST(test_rotation_while_away_among_many_files),
        TEST(test_rotation_while_away_behind_a_link),
        TEST(test_rotation_while_away_at_the_very_end),
        TEST(test_restart_before_the_new_file_is_there),
        TEST(test_old_file_is_gone),
        TEST(test_compressed_file_cannot_be_read),
        TEST(test_cut_short),
        TEST(test_copied_and_cut),
        TEST(test_lines_that_are_none),
        TEST(test_restart_at_each_step),
        TEST(test_what_cannot_be_opened),
        TEST(test_journal),
        TEST(test_journalctl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
