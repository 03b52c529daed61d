/* The power goes at any write, truncation or sync of the spool's: each hit that was put is there afterwards, once. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "power_vfs.h"
#include "record/spool.h"

enum { HITS = 600, ROUND = 20, LIMIT = 10000, KEEP_MS = 600000, WHY_SIZE = 256, DONE = 0, FIRST = 40, SAMPLE = 60 };

/* What the process whose power goes tells the one that looks afterwards. */
static struct told {
    _Atomic int put; /* so many hits, in their order */
    int64_t events;
} *told;
static char folder[64], path[80];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/test_power.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/spool.db", folder);
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, 0, 0);
    return told == MAP_FAILED;
}

static void remove_files(void)
{
    DIR *all = opendir(folder);
    struct dirent *entry;

    assert_non_null(all);
    while ((entry = readdir(all)) != NULL) {
        char *file = alloc_format("%s/%s", folder, entry->d_name);

        unlink(file);
        free(file);
    }
    closedir(all);
}

static int remove_folder(void **state)
{
    (void)state;
    remove_files();
    munmap(told, sizeof *told);
    return rmdir(folder);
}

static struct hit make_hit(int number)
{
    struct hit hit = {
        .time_us = 1700000000000000 + number,
        .client_name = alloc_text("[203.0.113.7]"),
        .helo = alloc_format("%d", number),
        .sender = alloc_text("a@sender.example"),
        .recipients = alloc_zeroed(1, sizeof(char *)),
        .recipient_count = 1,
        .recipients_total = 1,
        .domains = alloc_zeroed(1, sizeof(char *)),
        .domain_count = 1,
        .queue_id = alloc_text("4Zz1"),
        .mta_name = alloc_text("mx2.example.org"),
    };

    ipaddr_parse("203.0.113.7", &hit.client);
    ipaddr_parse("192.0.2.1", &hit.local);
    hit.recipients[0] = alloc_text("b@one.example");
    hit.domains[0] = alloc_text("one.example");
    return hit;
}

static void clear_hits(struct hit *hits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
}

/* Half of what is in the inbox is an offence. */
static bool settle_inbox(struct spool *spool)
{
    struct hit hits[ROUND];
    size_t count = 0;
    bool done = spool_read_inbox(spool, 0, hits, ROUND, &count) == SPOOL_OK;

    for (size_t i = 0; i < count; i++) {
        hits[i].class = CLASS_TRAP;
        hits[i].domain = alloc_text("one.example");
        hits[i].owner = alloc_text("one.example");
    }
    done = done && spool_settle(spool, hits, count / 2) == SPOOL_OK;
    clear_hits(hits, count);
    return done;
}

/* In a process of its own: what a daemon does, until the power goes. */
static _Noreturn void live(int64_t cut_at, uint64_t seed, bool lies)
{
    struct spool *spool;
    char why[WHY_SIZE] = "";

    power_vfs_begin(cut_at, seed, lies);
    if (spool_open(&spool, path, LIMIT, KEEP_MS, why, sizeof why) != SPOOL_OK) {
        fprintf(stderr, "spool_open: %s\n", why);
        _exit(1);
    }
    for (int i = 0; i < HITS; i++) {
        struct hit hit = make_hit(i);

        if (spool_put(spool, &hit) != SPOOL_OK)
            _exit(2);
        hit_clear(&hit);
        told->put = i + 1;
        if (i % ROUND == ROUND - 1 && !settle_inbox(spool))
            _exit(3);
    }
    told->events = power_vfs_count();
    _exit(DONE);
}

static int run(int64_t cut_at, uint64_t seed, bool lies)
{
    int status;
    pid_t pid;

    remove_files();
    told->put = 0;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        live(cut_at, seed, lies);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void note_hits(const struct hit *hits, size_t count, int seen[])
{
    for (size_t i = 0; i < count; i++) {
        long number = strtol(hits[i].helo, NULL, 10);

        assert_in_range(number, 0, HITS - 1);
        seen[number]++;
    }
}

/* How many of the hits that were put are not there.  None is there twice. */
static int count_lost(void)
{
    struct hit hits[ROUND];
    struct spool_mark mark;
    struct spool *spool;
    int seen[HITS] = {0}, lost = 0;
    size_t count = 0;
    int64_t after = 0;
    char why[WHY_SIZE] = "";

    if (spool_open(&spool, path, LIMIT, KEEP_MS, why, sizeof why) != SPOOL_OK)
        fail_msg("spool_open: %s", why);
    do {
        assert_int_equal(spool_read_inbox(spool, after, hits, ROUND, &count), SPOOL_OK);
        note_hits(hits, count, seen);
        after = count > 0 ? hits[count - 1].id : after;
        clear_hits(hits, count);
    } while (count > 0);
    assert_int_equal(spool_mark(spool, &mark), SPOOL_OK);
    do {
        assert_int_equal(spool_read_outbox(spool, &mark, hits, ROUND, &count), SPOOL_OK);
        note_hits(hits, count, seen);
        mark.number = count > 0 ? hits[count - 1].id : mark.number;
        clear_hits(hits, count);
    } while (count > 0);
    spool_close(&spool);
    for (int i = 0; i < HITS; i++) {
        assert_in_range(seen[i], 0, 1);
        lost += i < told->put && seen[i] == 0;
    }
    return lost;
}

static void test_power_goes_at_any_write(void **state)
{
    int64_t events;

    (void)state;
    assert_int_equal(run(-1, 0, false), DONE);
    assert_int_equal(told->put, HITS);
    events = told->events;
    assert_true(events > FIRST + SAMPLE);
    for (int i = 0; i < FIRST + SAMPLE; i++) {
        int64_t cut_at = i < FIRST ? i : FIRST + (events - FIRST) * (i - FIRST) / SAMPLE;
        int lost;

        assert_int_equal(run(cut_at, (uint64_t)i, false), POWER_CUT);
        lost = count_lost();
        if (lost != 0)
            fail_msg("power cut before write %lld: %d of %d hits lost", (long long)cut_at, lost, told->put);
    }
}

/* So the test above would see a sync that is missing. */
static void test_disk_that_lies(void **state)
{
    int lost = 0;

    (void)state;
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(run(200 * i, (uint64_t)i, true), POWER_CUT);
        lost += count_lost();
    }
    assert_true(lost > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power_goes_at_any_write, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_disk_that_lies, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
