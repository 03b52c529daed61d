/* Connecting where no PostgreSQL answers: in time, to be broken off, and with no word of a password.  What goes on with a
 * real server is for tests/system. */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/conninfo.h"
#include "record/db.h"

static char folder[64];
static int listener;

/* A server that takes connections and never says a word. */
static int make_mute_server(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_db.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", folder);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0;
}

static int remove_mute_server(void **state)
{
    char path[96];

    (void)state;
    close(listener);
    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", folder);
    unlink(path);
    return rmdir(folder);
}

static void says_what_is_wrong_and_no_password(void **state)
{
    static const struct {
        const char *name, *conninfo;
        enum db_status status;
        const char *why; /* a part of it */
    } cases[] = {
        {"no server", "host=/nonexistent user=a password=s3cret", DB_UNREACHABLE, "No such file"},
        {"no server, as a URI", "postgresql://a:s3cret@/?host=/nonexistent", DB_UNREACHABLE, "No such file"},
        {"no such option", "hots=x", DB_ERROR, "invalid connection option \"hots\""},
        {"password with a space", "host=/nonexistent password=my s3cret", DB_ERROR, "the connection string cannot be read"},
        {"URI that is none", "postgresql://a:s3cret%zz@h/", DB_ERROR, "the connection string cannot be read"},
        {"two lines, a terminal's control", "host=/none\nuser=\x1b[2J", DB_UNREACHABLE, "No such file"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct db *db;
        enum db_status status = db_connect(&db, cases[i].conninfo, "test", 5000, -1);

        if (status != cases[i].status || strstr(db_why(db), cases[i].why) == NULL)
            fail_msg("%s: wanted %d \"%s\", got %d \"%s\"", cases[i].name, cases[i].status, cases[i].why, status, db_why(db));
        for (const char *c = db_why(db); *c != '\0'; c++)
            if (*c < 0x20 || *c > 0x7e)
                fail_msg("%s: %02x in \"%s\"", cases[i].name, *c, db_why(db));
        if (strstr(db_why(db), "cret") != NULL)
            fail_msg("%s: \"%s\"", cases[i].name, db_why(db));
        assert_int_equal(db_query_texts(db, 1000, "SELECT 1", NULL, 0, NULL), DB_UNREACHABLE);
        db_close(&db);
        assert_null(db);
    }
}

static void notices_a_password_and_what_cannot_be_read(void **state)
{
    static const struct {
        const char *conninfo, *fault;
    } cases[] = {
        {"", NULL},
        {"hunnypot", NULL},
        {"user=a", NULL},
        {"postgresql://a@h/d", NULL},
        {"passfile=/x user=a", NULL},
        {"user=a password=b", "holds a password"},
        {"postgresql://a:b@h/d", "holds a password"},
        {"sslpassword=x", "holds a password"},
        {"hots=x", "cannot be read"},
        {"host=h sslmode", "cannot be read"},
        {"password='b", "cannot be read"},
        {"postgresql://a:b%zz@h/", "cannot be read"},
        {"https://h/d", "cannot be read"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *fault = conninfo_fault(cases[i].conninfo), *wanted = cases[i].fault;

        if (wanted == NULL ? fault != NULL : fault == NULL || strcmp(fault, wanted) != 0)
            fail_msg("%s: wanted %s, got %s", cases[i].conninfo, wanted, fault);
    }
}

static void does_not_wait_for_a_mute_server(void **state)
{
    char *conninfo = alloc_format("host=%s", folder);
    int64_t begun_ms = clock_monotonic_ms(), took_ms;
    struct db *db;

    (void)state;
    assert_int_equal(db_connect(&db, conninfo, "test", 50, -1), DB_UNREACHABLE);
    took_ms = clock_monotonic_ms() - begun_ms;
    if (took_ms < 50 || took_ms > 1500) /* libpq alone would take 2 s at the least */
        fail_msg("wanted about 50 ms, got %lld", (long long)took_ms);
    assert_string_not_equal(db_why(db), "");
    db_close(&db);
    free(conninfo);
}

/* The threads of this process that are called NAME: a sanitizer has some of its own. */
static int count_threads(const char *name)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    assert_non_null(tasks);
    while ((entry = readdir(tasks)) != NULL) {
        char *path = alloc_format("/proc/self/task/%s/comm", entry->d_name), called[32] = "";
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "re") : NULL; /* NULL also when it has ended */

        free(path);
        if (file == NULL)
            continue;
        if (fscanf(file, "%31s", called) == 1)
            count += strcmp(called, name) == 0;
        fclose(file);
    }
    closedir(tasks);
    return count;
}

/* Whatever the connection string says: no attempt lasts for ever, and there are never many. */
static void leaves_no_pile_of_attempts(void **state)
{
    char *conninfo = alloc_format("host=%s connect_timeout=0", folder);
    int64_t until_ms = clock_monotonic_ms() + 10000;

    (void)state;
    for (int i = 0; i < 40; i++) {
        struct db *db;

        assert_int_equal(db_connect(&db, conninfo, "test", 20, -1), DB_UNREACHABLE);
        db_close(&db);
        if (count_threads("connect") > 18)
            fail_msg("%d threads", count_threads("connect"));
    }
    while (count_threads("connect") > 0 && clock_monotonic_ms() < until_ms)
        poll(NULL, 0, 20);
    assert_int_equal(count_threads("connect"), 0);
    free(conninfo);
}

static void stops_when_told(void **state)
{
    char *conninfo = alloc_format("host=%s", folder);
    int stop_fd = eventfd(1, EFD_CLOEXEC);
    struct db *db;

    (void)state;
    assert_int_equal(db_connect(&db, conninfo, "test", 60000, stop_fd), DB_STOPPED);
    db_close(&db);
    close(stop_fd);
    free(conninfo);
}

/* The first host is frozen: the second one gets its turn, within the time that there is. */
static void goes_on_to_the_next_host(void **state)
{
    char *conninfo = alloc_format("host=%s,/nonexistent", folder);
    struct db *db;

    (void)state;
    assert_int_equal(db_connect(&db, conninfo, "test", 5000, -1), DB_UNREACHABLE);
    if (strstr(db_why(db), "/nonexistent") == NULL)
        fail_msg("wanted both hosts, got \"%s\"", db_why(db));
    db_close(&db);
    free(conninfo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_is_wrong_and_no_password),
        cmocka_unit_test(notices_a_password_and_what_cannot_be_read),
        cmocka_unit_test(does_not_wait_for_a_mute_server),
        cmocka_unit_test(leaves_no_pile_of_attempts),
        cmocka_unit_test(stops_when_told),
        cmocka_unit_test(goes_on_to_the_next_host),
    };

    return cmocka_run_group_tests(tests, make_mute_server, remove_mute_server);
}
