/* The shipper between a real spool and a database that fails on request: each hit gets there exactly once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "fake_clock.h"
#include "fake_store.h"
#include "fake_thread.h"
#include "record/shipper.h"
#include "record/store.h"

enum { KEEP_MS = 60000 };

static char folder[64];
static struct spool *spool;

static int open_spool(void **state)
{
    char path[96], why[256];

    (void)state;
    snprintf(folder, sizeof folder, "%s/test_shipper.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/spool.db", folder);
    return spool_open(&spool, path, FAKE_STORE_MAX, KEEP_MS, why, sizeof why);
}

static int close_spool(void **state)
{
    char path[96];

    (void)state;
    spool_close(&spool);
    snprintf(path, sizeof path, "%s/spool.db", folder);
    remove(path);
    snprintf(path, sizeof path, "%s/spool.db.lock", folder);
    remove(path);
    return remove(folder);
}

/* A new spool, for a new database. */
static void open_again(void)
{
    assert_int_equal(close_spool(NULL), 0);
    assert_int_equal(open_spool(NULL), 0);
}

/* Into the outbox, with the numbers from 1 on; HELOS has a letter a hit. */
static void send_hits(const char *helos)
{
    size_t count = strlen(helos);
    struct hit *hits = alloc_zeroed(count, sizeof *hits);

    for (size_t i = 0; i < count; i++) {
        hits[i] = (struct hit){.time_us = 1, .client = {.family = 4, .bytes = {203, 0, 113, 7}}, .helo = alloc_format("%c", helos[i])};
        assert_int_equal(spool_put(spool, &hits[i]), SPOOL_OK);
        hits[i].class = CLASS_TRAP;
        hits[i].domain = alloc_text("trap.example");
    }
    assert_int_equal(spool_settle(spool, hits, count), SPOOL_OK);
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
    free(hits);
}

static void send_many(size_t count)
{
    char *helos = alloc_zeroed(count + 1, 1);

    memset(helos, 'a', count);
    send_hits(helos);
    free(helos);
}

/* Probes that were made: their times are numbers from 1 on. */
static _Atomic int64_t probes_made;
static int64_t probes_taken;

static size_t take_probes(void *context, struct store_probe *probes, size_t max)
{
    size_t count = 0;

    (void)context;
    while (count < max && probes_taken < probes_made)
        probes[count++] = (struct store_probe){.mx = "mx1.example", .time_us = ++probes_taken};
    return count;
}

/* What is known of clients: of those whose number has no rest by 3. */
static _Atomic bool lists_answer;
static _Atomic unsigned friend_questions;

static enum friend_state friend_state(void *context, const struct ipaddr *client)
{
    int number = client->bytes[2] * 256 + client->bytes[3];

    (void)context;
    friend_questions = friend_questions + 1;
    return !lists_answer || number % 3 != 0 ? FRIEND_UNANSWERED : number % 2 == 0 ? FRIEND_YES : FRIEND_NO;
}

static struct shipper *start(void)
{
    return shipper_start(spool, "dbname=none", "sensor", "1.0", &(struct shipper_probes){.take = take_probes},
                         &(struct shipper_friends){.state = friend_state});
}

static bool has_last(const struct fake_store *fake, int64_t number)
{
    return fake->last >= number;
}

static bool has_batches(const struct fake_store *fake, int64_t number)
{
    return fake->batches >= number;
}

static bool has_recorded(const struct fake_store *fake, int64_t number)
{
    return fake->recorded_count >= (size_t)number;
}

static bool has_connects(const struct fake_store *fake, int64_t number)
{
    return fake->connects >= number;
}

static bool has_heartbeats(const struct fake_store *fake, int64_t number)
{
    return fake->heartbeats >= number;
}

static bool has_probe(const struct fake_store *fake, int64_t number)
{
    return fake->last_probe_us >= number;
}

static bool has_probe_reports(const struct fake_store *fake, int64_t number)
{
    return fake->probe_reports >= number;
}

static bool has_friend_reports(const struct fake_store *fake, int64_t number)
{
    return fake->friend_reports >= number;
}

static bool has_friends(const struct fake_store *fake, int64_t number)
{
    for (size_t i = 0; i < fake->client_count; i++)
        number -= fake->clients[i].state == FRIEND_YES || fake->clients[i].state == FRIEND_NO;
    return number <= 0;
}

static bool has_ticks(const struct fake_store *fake, int64_t number)
{
    return fake->ticks >= number;
}

/* By the real clock, which the fake one does not stop. */
static int64_t real_ms(void)
{
    struct timespec now;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void expect_depth(int64_t outbox, int64_t aside)
{
    struct spool_depth depth;

    spool_depth(spool, &depth);
    if (depth.outbox != outbox || depth.aside != aside)
        fail_msg("wanted %lld in the outbox and %lld aside, got %lld and %lld", (long long)outbox, (long long)aside,
                 (long long)depth.outbox, (long long)depth.aside);
}

/* What was recorded, in order, is WANTED, which ends with 0. */
static void expect_recorded(const int64_t *wanted)
{
    const struct fake_store *fake = fake_store_lock();
    size_t count = fake->recorded_count, i = 0;
    int64_t recorded[FAKE_STORE_MAX];

    memcpy(recorded, fake->recorded, sizeof recorded);
    fake_store_unlock();
    for (; i < count && wanted[i] != 0; i++)
        if (recorded[i] != wanted[i])
            fail_msg("recorded[%zu]: wanted %lld, got %lld", i, (long long)wanted[i], (long long)recorded[i]);
    assert_int_equal(i, count);
    assert_int_equal(wanted[i], 0);
}

#define EXPECT_RECORDED(...) expect_recorded((const int64_t[]){__VA_ARGS__, 0})

static void ships_as_hits_come(void **state)
{
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.why = ""});
    send_hits("a");
    shipper = start();
    assert_true(fake_store_wait(has_last, 1));
    assert_true(fake_store_wait(has_heartbeats, 1));
    assert_true(fake_store_wait(has_ticks, 3));
    send_hits("bc");
    assert_true(fake_store_wait(has_last, 3));
    shipper_stop(&shipper, 10000);
    assert_null(shipper);
    EXPECT_RECORDED(1, 2, 3);
    expect_depth(0, 0);
}

static void ships_a_backlog_before_it_stops(void **state)
{
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.why = ""});
    send_many(2 * STORE_BATCH_MAX + 1);
    shipper = start();
    shipper_stop(&shipper, 20000);
    assert_int_equal(fake_store_lock()->last, 2 * STORE_BATCH_MAX + 1);
    fake_store_unlock();
    expect_depth(0, 0);
}

/* The connection breaks before the COMMIT, and after it. */
static void records_once_whatever_breaks(void **state)
{
    struct shipper *shipper;

    for (int committed = 0; committed < 2; committed++) {
        fake_store_reset(&(struct fake_store){.record_failures = 2, .record_then_fail = committed == 1, .why = "broken"});
        send_hits("abc");
        shipper = start();
        assert_true(fake_store_wait(has_recorded, 3) && fake_store_wait(has_connects, 2));
        shipper_stop(&shipper, 10000);
        EXPECT_RECORDED(1, 2, 3);
        expect_depth(0, 0);
        open_again();
    }
    (void)state;
}

/* A crash after the COMMIT and before the spool forgot. */
static void believes_what_the_database_has(void **state)
{
    struct fake_store fake = {.why = ""};
    struct spool_mark start_mark;
    struct shipper *shipper;
    struct hit hits[3];
    size_t count = 0;

    (void)state;
    send_hits("abc");
    assert_int_equal(spool_mark(spool, &start_mark), SPOOL_OK);
    assert_int_equal(spool_read_outbox(spool, &start_mark, hits, 3, &count), SPOOL_OK);
    memcpy(fake.lives[0].life, start_mark.life, UUID_SIZE);
    memcpy(fake.lives[0].mark, hits[1].link, UUID_SIZE);
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
    fake_store_reset(&fake);
    shipper = start();
    assert_true(fake_store_wait(has_last, 3));
    shipper_stop(&shipper, 10000);
    EXPECT_RECORDED(3);
    expect_depth(0, 0);
}

/* The database comes back without its last commits: once earlier in our life, and once without any of it. */
static void sends_again_what_the_database_lost(void **state)
{
    struct fake_store *fake;
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.why = ""});
    shipper = start();
    for (int i = 0; i < 4; i++) {
        send_hits("a");
        assert_true(fake_store_wait(has_last, i + 1));
    }
    fake = fake_store_lock();
    memcpy(fake->lives[0].mark, fake->recorded_links[1], UUID_SIZE);
    fake->recorded_count = 2;
    fake_store_unlock();
    send_hits("b");
    assert_true(fake_store_wait(has_recorded, 5));
    EXPECT_RECORDED(1, 2, 3, 4, 5);
    fake = fake_store_lock();
    fake->recorded_count = 0;
    memset(fake->lives, 0, sizeof fake->lives);
    fake_store_unlock();
    send_hits("c");
    assert_true(fake_store_wait(has_recorded, 6));
    shipper_stop(&shipper, 10000);
    EXPECT_RECORDED(1, 2, 3, 4, 5, 6);
    expect_depth(0, 0);
}

/* Somebody with our life moved the mark: what it recorded is not recorded again, and ours is not taken for recorded. */
static void parts_from_its_copy(void **state)
{
    struct fake_store *fake;
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.why = ""});
    send_hits("ab");
    shipper = start();
    assert_true(fake_store_wait(has_last, 2));
    fake = fake_store_lock();
    memcpy(fake->lives[0].mark, "018bcfe5-6800-7a1b-82c3-000000000029", UUID_SIZE);
    fake_store_unlock();
    send_hits("c");
    assert_true(fake_store_wait(has_recorded, 3));
    fake = fake_store_lock();
    assert_string_equal(fake->lives[0].mark, "018bcfe5-6800-7a1b-82c3-000000000029");
    assert_string_not_equal(fake->lives[1].life, "");
    fake_store_unlock();
    shipper_stop(&shipper, 10000);
    EXPECT_RECORDED(1, 2, 3);
    expect_depth(0, 0);
}

/* Whatever the database says to a hit, again and again: the ones behind it do not wait for it. */
static void isolates_what_fails_again_and_again(void **state)
{
    static const enum db_status refusals[] = {DB_REFUSED, DB_ERROR, DB_DENIED, DB_MISSING};

    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct shipper *shipper;

        fake_store_reset(&(struct fake_store){.refuse_helo = "x", .refusal = refusals[i], .why = "no"});
        send_hits("xabxxcdefghxi");
        shipper = start();
        if (!fake_store_wait(has_recorded, 9))
            fail_msg("status %d: not all others are recorded", refusals[i]);
        assert_true(fake_store_wait(has_heartbeats, 1));
        shipper_stop(&shipper, 10000);
        EXPECT_RECORDED(2, 3, 6, 7, 8, 9, 10, 11, 13);
        expect_depth(0, 4);
        open_again();
    }
}

/* A right that is missing, or a rule that nothing fits, is no hit's fault. */
static void sets_nothing_aside_when_nothing_gets_through(void **state)
{
    static const enum db_status refusals[] = {DB_REFUSED, DB_ERROR, DB_DENIED, DB_MISSING};

    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct shipper *shipper;

        fake_store_reset(&(struct fake_store){.record = refusals[i], .why = "no"});
        send_hits("abcde");
        shipper = start();
        assert_true(fake_store_wait(has_batches, 12));
        expect_depth(5, 0);
        fake_store_lock()->record = DB_OK;
        fake_store_unlock();
        assert_true(fake_store_wait(has_recorded, 5));
        shipper_stop(&shipper, 10000);
        expect_depth(0, 0);
        open_again();
    }
}

/* What does not get through in time gets smaller until it does, and larger again. */
static void fits_a_slow_link(void **state)
{
    struct fake_store *fake;
    struct shipper *shipper;
    int batches;

    (void)state;
    fake_store_reset(&(struct fake_store){.record_most = 10, .why = "no answer in time"});
    send_many(1000);
    shipper = start();
    assert_true(fake_store_wait(has_recorded, 200));
    fake = fake_store_lock();
    fake->record_most = FAKE_STORE_MAX;
    batches = fake->batches;
    fake_store_unlock();
    assert_true(fake_store_wait(has_recorded, 1000));
    batches = fake_store_lock()->batches - batches;
    fake_store_unlock();
    assert_true(batches < 20);
    shipper_stop(&shipper, 10000);
    expect_depth(0, 0);
}

static void sets_aside_what_is_refused(void **state)
{
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.refuse_helo = "x", .why = "value too long"});
    send_hits("xabxxcdefghx");
    shipper = start();
    assert_true(fake_store_wait(has_last, 11));
    shipper_stop(&shipper, 10000);
    EXPECT_RECORDED(2, 3, 6, 7, 8, 9, 10, 11);
    expect_depth(0, 4);
}

/* As long as the refused hit cannot be set aside, nothing behind it is recorded: the high-water mark would swallow it. */
static void waits_until_the_refused_is_set_aside(void **state)
{
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.refuse_helo = "x", .why = NULL /* the spool takes no hit aside without a reason */});
    send_hits("axb");
    shipper = start();
    assert_true(fake_store_wait(has_batches, 8)); /* 3 for each round: axb, a, x; and the next began */
    EXPECT_RECORDED(1);
    fake_store_lock()->why = "value too long";
    fake_store_unlock();
    assert_true(fake_store_wait(has_last, 3));
    shipper_stop(&shipper, 10000);
    EXPECT_RECORDED(1, 3);
    expect_depth(0, 1);
}

static void waits_longer_each_time(void **state)
{
    int64_t begun_ms = clock_monotonic_ms(), took_ms;
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.connect = DB_DENIED, .why = "no"});
    send_hits("a");
    shipper = start();
    assert_true(fake_store_wait(has_connects, 3)); /* 0.5 s and 1 s, less a third */
    took_ms = clock_monotonic_ms() - begun_ms;
    if (took_ms < 999)
        fail_msg("wanted at least 999 ms, got %lld", (long long)took_ms);
    fake_store_lock()->connect = DB_OK;
    fake_store_unlock();
    assert_true(fake_store_wait(has_last, 1));
    shipper_stop(&shipper, 10000);
    expect_depth(0, 0);
}

/* A batch that the database does not take keeps no sign of life back, and no sign of life a batch. */
static void one_errand_starves_no_other(void **state)
{
    struct fake_store *fake;
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.record = DB_ERROR, .why = "no"});
    send_hits("a");
    shipper = start();
    assert_true(fake_store_wait(has_heartbeats, 3));
    fake = fake_store_lock();
    fake->record = DB_OK;
    fake->heartbeat = DB_ERROR;
    fake_store_unlock();
    assert_true(fake_store_wait(has_last, 1));
    send_hits("b");
    assert_true(fake_store_wait(has_last, 2));
    shipper_stop(&shipper, 10000);
    expect_depth(0, 0);
}

/* Within seconds, each once; what the database does not want is dropped, and what it cannot take now is told later. */
static void tells_of_probes(void **state)
{
    int64_t begun_ms;
    int reports;
    struct fake_store *fake;
    struct shipper *shipper;

    (void)state;
    probes_made = probes_taken = 0;
    fake_store_reset(&(struct fake_store){.why = "no"});
    shipper = start();
    assert_true(fake_store_wait(has_heartbeats, 1));
    begun_ms = clock_monotonic_ms();
    probes_made = 2 * STORE_PROBES_MAX + 1;
    assert_true(fake_store_wait(has_probe, 2 * STORE_PROBES_MAX + 1));
    assert_in_range(clock_monotonic_ms() - begun_ms, 0, 10000);
    fake = fake_store_lock();
    assert_int_equal(fake->probes_told, 2 * STORE_PROBES_MAX + 1);
    assert_int_equal(fake->probe_reports, 3);
    fake->probes = DB_UNREACHABLE;
    fake_store_unlock();
    probes_made = probes_made + 1;
    assert_true(fake_store_wait(has_probe_reports, 5));
    fake_store_lock()->probes = DB_OK;
    fake_store_unlock();
    assert_true(fake_store_wait(has_probe, 2 * STORE_PROBES_MAX + 2));
    fake = fake_store_lock();
    fake->probes = DB_REFUSED;
    reports = fake->probe_reports;
    fake_store_unlock();
    probes_made = probes_made + 1;
    send_hits("a");
    assert_true(fake_store_wait(has_last, 1)); /* no hit waits for it */
    assert_true(fake_store_wait(has_probe_reports, reports + 1));
    fake = fake_store_lock();
    fake->probes = DB_OK;
    fake_store_unlock();
    probes_made = probes_made + 1;
    assert_true(fake_store_wait(has_probe, 2 * STORE_PROBES_MAX + 4));
    shipper_stop(&shipper, 10000);
    assert_int_equal(fake_store_lock()->probes_told, 2 * STORE_PROBES_MAX + 3);
    fake_store_unlock();
}

/* The database has more clients whose hits wait for that than go at once, and hears of those that are known, in turns. */
static void tells_who_is_a_friend(void **state)
{
    static struct fake_store with_clients;
    enum { CLIENTS = 2 * STORE_FRIENDS_MAX + 50 };
    struct shipper *shipper;
    struct fake_store *fake;

    (void)state;
    with_clients = (struct fake_store){.client_count = CLIENTS, .why = ""};
    for (int i = 0; i < CLIENTS; i++)
        with_clients.clients[i] = (struct fake_client){.number = i, .state = FRIEND_UNANSWERED};
    fake_store_reset(&with_clients);
    lists_answer = false;
    shipper = start();
    assert_true(fake_store_wait(has_friend_reports, 5));
    assert_false(has_friends(fake_store_lock(), 1));
    fake_store_unlock();
    lists_answer = true;
    assert_true(fake_store_wait(has_friends, CLIENTS / 3));
    fake = fake_store_lock();
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(fake->clients[i].state, i % 3 != 0 ? FRIEND_UNANSWERED : i % 2 == 0 ? FRIEND_YES : FRIEND_NO);
    fake->friends = DB_REFUSED;
    fake_store_unlock();
    send_hits("a");
    assert_true(fake_store_wait(has_last, 1)); /* no hit waits for it */
    shipper_stop(&shipper, 10000);
    lists_answer = false;
}

/* Nor does a backlog: eight batches of five seconds each, and a heartbeat each ten. */
static void beats_while_there_is_much_to_ship(void **state)
{
    struct shipper *shipper;
    int heartbeats;

    (void)state;
    fake_store_reset(&(struct fake_store){.record_takes_ms = 5000, .why = ""});
    send_many(8 * STORE_BATCH_MAX);
    shipper = start();
    assert_true(fake_store_wait(has_last, 8 * STORE_BATCH_MAX));
    heartbeats = fake_store_lock()->heartbeats;
    fake_store_unlock();
    if (heartbeats < 4)
        fail_msg("%d heartbeats", heartbeats);
    shipper_stop(&shipper, 10000);
}

/* However the database fails, stopping takes no longer than it may. */
static void stops_in_time(void **state)
{
    static const struct {
        const char *name;
        struct fake_store fake;
        bool (*until)(const struct fake_store *fake, int64_t number);
        int64_t flush_ms, most_ms;
    } cases[] = {
        {"away", {.connect = DB_UNREACHABLE, .why = "away"}, has_connects, 60000, 5000},
        {"frozen", {.frozen = true, .why = "frozen"}, has_connects, 50, 5000},
    };

    (void)state;
    send_hits("a");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t begun_ms, took_ms;
        struct shipper *shipper;

        fake_store_reset(&cases[i].fake);
        shipper = start();
        assert_true(fake_store_wait(cases[i].until, 1));
        begun_ms = real_ms();
        shipper_stop(&shipper, cases[i].flush_ms);
        took_ms = real_ms() - begun_ms;
        if (took_ms > cases[i].most_ms)
            fail_msg("%s: wanted at most %lld ms, got %lld", cases[i].name, (long long)cases[i].most_ms, (long long)took_ms);
        expect_depth(1, 0);
    }
}

/* The server stands still in the middle of a batch. */
static void stops_within_a_batch(void **state)
{
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.why = ""});
    shipper = start();
    assert_true(fake_store_wait(has_heartbeats, 1));
    fake_store_lock()->frozen = true;
    fake_store_unlock();
    send_hits("a");
    assert_true(fake_store_wait(has_batches, 1));
    shipper_stop(&shipper, 50);
    expect_depth(1, 0);
}

static void does_not_start_without_a_thread(void **state)
{
    struct shipper *shipper;

    (void)state;
    fake_store_reset(&(struct fake_store){.why = ""});
    fake_thread_fail_after(0);
    shipper = start();
    fake_thread_fail_after(-1);
    assert_null(shipper);
    assert_int_equal(errno, EAGAIN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_spool, close_spool)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ships_as_hits_come),
        TEST(ships_a_backlog_before_it_stops),
        TEST(records_once_whatever_breaks),
        TEST(believes_what_the_database_has),
        TEST(sends_again_what_the_database_lost),
        TEST(parts_from_its_copy),
        TEST(isolates_what_fails_again_and_again),
        TEST(sets_nothing_aside_when_nothing_gets_through),
        TEST(fits_a_slow_link),
        TEST(sets_aside_what_is_refused),
        TEST(waits_until_the_refused_is_set_aside),
        TEST(waits_longer_each_time),
        TEST(one_errand_starves_no_other),
        TEST(tells_of_probes),
        TEST(tells_who_is_a_friend),
        TEST(beats_while_there_is_much_to_ship),
        TEST(stops_in_time),
        TEST(stops_within_a_batch),
        TEST(does_not_start_without_a_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
