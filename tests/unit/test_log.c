/* Each test is a process of its own that logs to a pipe, and tells over another one how far it is. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/ring.h"

enum { MANY = 20000, LINE_SIZE = 128, SOON_MS = 3000 };

struct child {
    pid_t pid;
    FILE *log, *told; /* what it logs, and tells */
    int go;           /* a byte lets it go on */
};

static FILE *tell;
static int go;

static struct child start(void (*act)(void))
{
    int log[2], told[2], let[2];
    struct child child;

    assert_int_equal(pipe(log) | pipe(told) | pipe(let), 0);
    child.pid = fork();
    if (child.pid == 0) {
        dup2(log[1], STDERR_FILENO);
        tell = fdopen(told[1], "w");
        go = let[0];
        close(log[0]);
        close(log[1]);
        signal(SIGPIPE, SIG_IGN);
        act();
        exit(0);
    }
    close(log[1]);
    close(told[1]);
    close(let[0]);
    child.log = fdopen(log[0], "r");
    child.told = fdopen(told[0], "r");
    child.go = let[1];
    return child;
}

static void end(struct child *child)
{
    int status;

    fclose(child->log);
    fclose(child->told);
    close(child->go);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    assert_int_equal(status, 0);
}

/* In the child: say NUMBER and wait until the test lets us go on. */
static void say(long long number)
{
    char byte;

    fprintf(tell, "%lld\n", number);
    fflush(tell);
    if (read(go, &byte, 1) != 1)
        exit(3);
}

static long long hear(struct child *child)
{
    char line[LINE_SIZE];

    assert_non_null(fgets(line, sizeof line, child->told));
    return strtoll(line, NULL, 10);
}

static void let_go_on(struct child *child)
{
    assert_int_equal(write(child->go, "", 1), 1);
}

/* The next line, without what stands before the event. */
static const char *next(struct child *child)
{
    static char line[LOG_LINE_MAX + 1];
    char *event;

    if (fgets(line, sizeof line, child->log) == NULL)
        return "";
    line[strcspn(line, "\n")] = '\0';
    event = strchr(line, ' ');
    event = event != NULL ? strchr(event + 1, ' ') : NULL;
    return event != NULL ? event + 1 : line;
}

static void start_writer(void)
{
    if (log_writer_start() != 0)
        exit(4);
}

static void log_many(void)
{
    for (int i = 0; i < MANY; i++)
        log_event(LOG_LEVEL_INFO, "event number=%d", i);
}

/* The number behind START, or -1 when EVENT does not start so. */
static long long number_behind(const char *event, const char *start)
{
    return strncmp(event, start, strlen(start)) == 0 ? strtoll(event + strlen(start), NULL, 10) : -1;
}

/* Read from CHILD up to the end: numbers rise, and it is said how many of TOTAL lines are missing: that many are returned. */
static long long read_many(struct child *child, long long total)
{
    long long lines = 0, dropped = 0, number, last = -1;
    const char *event;

    while (*(event = next(child)) != '\0') {
        number = number_behind(event, "event number=");
        assert_true(number < 0 || number > last);
        if (number >= 0)
            last = number;
        if (number_behind(event, "log-dropped lines=") > 0)
            dropped += number_behind(event, "log-dropped lines=");
        else
            lines++;
    }
    assert_int_equal(lines + dropped, total);
    return dropped;
}

static void act_slow_reader(void)
{
    start_writer();
    for (int i = 0; i < 100; i++)
        log_event(LOG_LEVEL_INFO, "event number=%d", i);
}

static void lines_are_written_in_order_up_to_the_last(void **state)
{
    struct child child = start(act_slow_reader);
    char wanted[32];

    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(wanted, sizeof wanted, "event number=%d", i);
        assert_string_equal(next(&child), wanted);
    }
    assert_string_equal(next(&child), "");
    end(&child);
}

static void act_stuck_reader(void)
{
    int64_t began_ms;

    start_writer();
    began_ms = clock_monotonic_ms();
    log_many();
    log_event(LOG_LEVEL_ERROR, "grave");
    say(clock_monotonic_ms() - began_ms);
    began_ms = clock_monotonic_ms();
    log_finish();
    say(clock_monotonic_ms() - began_ms);
    log_event(LOG_LEVEL_ERROR, "late");
    say((long long)counter_value(COUNTER_LOG_DROPPED));
}

static void a_reader_that_stands_still_holds_up_nobody(void **state)
{
    struct child child = start(act_stuck_reader);
    long long dropped;

    (void)state;
    assert_true(hear(&child) < SOON_MS);
    let_go_on(&child);
    assert_true(hear(&child) < LOG_FINISH_MS + SOON_MS);
    let_go_on(&child);
    dropped = hear(&child);
    assert_true(dropped > 0 && dropped < MANY);
    let_go_on(&child);
    assert_int_equal(read_many(&child, MANY + 2), dropped);
    end(&child);
}

static void graver_lines_have_room_left(void **state)
{
    struct child child = start(act_stuck_reader);
    const char *event;

    (void)state;
    for (int i = 0; i < 3; i++) {
        hear(&child);
        let_go_on(&child);
    }
    do
        event = next(&child);
    while (*event != '\0' && strcmp(event, "grave") != 0);
    assert_string_equal(event, "grave");
    /* The writer may find room to say what was dropped before it is told to end, or not. */
    do
        event = next(&child);
    while (number_behind(event, "log-dropped lines=") > 0);
    assert_string_equal(event, "late");
    end(&child);
}

static void act_without_writer(void)
{
    log_event(LOG_LEVEL_INFO, "early");
    say(0);
    log_many();
    say((long long)counter_value(COUNTER_LOG_DROPPED));
    log_finish();
}

/* Before there is a thread, and when none could be had. */
static void without_a_thread_a_line_is_written_at_once_and_nobody_waits(void **state)
{
    struct child child = start(act_without_writer);
    long long dropped;

    (void)state;
    assert_string_equal(next(&child), "early");
    hear(&child);
    let_go_on(&child);
    dropped = hear(&child);
    assert_true(dropped > 0 && dropped < MANY);
    let_go_on(&child);
    assert_int_equal(read_many(&child, MANY), dropped);
    end(&child);
}

static void act_after_the_end(void)
{
    start_writer();
    log_event(LOG_LEVEL_INFO, "during");
    log_finish();
    log_event(LOG_LEVEL_INFO, "after");
    say(0);
}

static void after_the_end_a_line_is_written_at_once(void **state)
{
    struct child child = start(act_after_the_end);

    (void)state;
    assert_string_equal(next(&child), "during");
    assert_string_equal(next(&child), "after");
    hear(&child);
    let_go_on(&child);
    end(&child);
}

static void act_reader_gone(void)
{
    start_writer();
    say(0);
    log_many();
    log_finish();
    say((long long)counter_value(COUNTER_LOG_DROPPED));
}

static void lines_that_cannot_be_written_are_counted(void **state)
{
    struct child child = start(act_reader_gone);

    (void)state;
    hear(&child);
    fclose(child.log);
    let_go_on(&child);
    assert_true(hear(&child) >= MANY);
    child.log = fopen("/dev/null", "r");
    let_go_on(&child);
    end(&child);
}

/* A shared standard error may have been made so by another program. */
static void act_non_blocking(void)
{
    fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
    start_writer();
    log_many();
    say((long long)counter_value(COUNTER_LOG_DROPPED));
}

static void a_descriptor_that_does_not_block_loses_nothing_more(void **state)
{
    struct child child = start(act_non_blocking);
    long long dropped = hear(&child);

    (void)state;
    let_go_on(&child);
    assert_int_equal(read_many(&child, MANY), dropped);
    end(&child);
}

static void act_long_line(void)
{
    static char text[2 * LOG_LINE_MAX];

    memset(text, 'x', sizeof text - 1);
    errno = EDOM;
    log_event(LOG_LEVEL_INFO, "%s", text);
    if (errno != EDOM)
        exit(5);
    log_event(LOG_LEVEL_DEBUG, "below the threshold");
    log_event(LOG_LEVEL_INFO, "behind");
}

static void a_long_line_is_cut_and_errno_is_kept(void **state)
{
    struct child child = start(act_long_line);
    char line[2 * LOG_LINE_MAX];

    (void)state;
    assert_non_null(fgets(line, sizeof line, child.log));
    assert_int_equal(strlen(line), LOG_LINE_MAX - 1);
    assert_string_equal(next(&child), "behind");
    end(&child);
}

static void act_quotes(void)
{
    log_event(LOG_LEVEL_WARNING, "database-error errand=%s reason=\"%s\" effect=\"%s\"", "hits", "role \"a\" why=\"b\"", "");
    log_event(LOG_LEVEL_ERROR, "settings-fault %s", "conf:1: \"x\" is no number");
    log_event(LOG_LEVEL_INFO, "tell why=\"%.*s", LOG_LINE_MAX, "\"\"");
}

static void quotes_within_a_quoted_value_are_escaped(void **state)
{
    struct child child = start(act_quotes);

    (void)state;
    assert_string_equal(next(&child), "database-error errand=hits reason=\"role \\x22a\\x22 why=\\x22b\\x22\" effect=\"\"");
    assert_string_equal(next(&child), "settings-fault conf:1: \"x\" is no number");
    assert_string_equal(next(&child), "tell why=\"\\x22\\x22");
    end(&child);
}

/* How far the numbers of standard error's file are off in JOURNAL_STREAM. */
static unsigned device_off, inode_off;

static void act_journal(void)
{
    struct stat status;
    char stream[64];

    fstat(STDERR_FILENO, &status);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)status.st_dev + device_off,
             (unsigned long long)status.st_ino + inode_off);
    setenv("JOURNAL_STREAM", stream, 1);
    log_event(LOG_LEVEL_WARNING, "event");
}

static void a_priority_is_only_for_the_journals_own_stream(void **state)
{
    static const struct {
        unsigned device_off, inode_off;
        bool is_priority;
    } cases[] = {{0, 0, true}, {1, 0, false}, {0, 1, false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[LINE_SIZE];
        struct child child;

        device_off = cases[i].device_off;
        inode_off = cases[i].inode_off;
        child = start(act_journal);
        assert_non_null(fgets(line, sizeof line, child.log));
        if (cases[i].is_priority)
            assert_string_equal(line, "<4>event\n");
        else
            assert_string_equal(line + strlen("2026-11-26T05:00:00Z"), " warning event\n");
        end(&child);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_written_in_order_up_to_the_last),
        cmocka_unit_test(a_reader_that_stands_still_holds_up_nobody),
        cmocka_unit_test(graver_lines_have_room_left),
        cmocka_unit_test(without_a_thread_a_line_is_written_at_once_and_nobody_waits),
        cmocka_unit_test(after_the_end_a_line_is_written_at_once),
        cmocka_unit_test(lines_that_cannot_be_written_are_counted),
        cmocka_unit_test(a_descriptor_that_does_not_block_loses_nothing_more),
        cmocka_unit_test(a_long_line_is_cut_and_errno_is_kept),
        cmocka_unit_test(quotes_within_a_quoted_value_are_escaped),
        cmocka_unit_test(a_priority_is_only_for_the_journals_own_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
