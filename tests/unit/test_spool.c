/* The spool on the real SQLite, in a folder of its own per test. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "fake_clock.h"
#include "fake_thread.h"
#include "record/spool.h"
#include "record/spool_wal.h"

enum { LIMIT = 100000, WHY_SIZE = 256, PAGE = 4096 };

static char folder[64];
static int64_t keep_ms; /* of the spools that are opened next */

static char *path_of(const char *name)
{
    return alloc_format("%s/%s", folder, name);
}

static int make_folder(void **state)
{
    (void)state;
    keep_ms = 0;
    /* In memory where there is one: what is tried here is no power cut. */
    snprintf(folder, sizeof folder, "%s/test_spool.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    DIR *files = opendir(folder);
    struct dirent *entry;

    (void)state;
    assert_non_null(files);
    while ((entry = readdir(files)) != NULL) {
        char *path = path_of(entry->d_name);

        unlink(path);
        free(path);
    }
    closedir(files);
    return rmdir(folder);
}

/* The file in the folder whose name is `spool.db` and starts to differ with PART; the caller frees.  NULL: none. */
static char *find_file(const char *part)
{
    char *prefix = alloc_format("spool.db%s", part), *found = NULL;
    DIR *files = opendir(folder);
    struct dirent *entry;

    assert_non_null(files);
    while ((entry = readdir(files)) != NULL && found == NULL)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            found = path_of(entry->d_name);
    closedir(files);
    free(prefix);
    return found;
}

static bool file_exists(const char *part)
{
    char *path = find_file(part);
    bool exists = path != NULL;

    free(path);
    return exists;
}

static enum spool_status try_open(struct spool **spool, int64_t limit, char why[WHY_SIZE])
{
    char *path = path_of("spool.db");
    enum spool_status status;

    why[0] = '\0';
    status = spool_open(spool, path, limit, keep_ms, why, WHY_SIZE);
    free(path);
    return status;
}

static struct spool *open_spool(int64_t limit)
{
    struct spool *spool;
    char why[WHY_SIZE];

    if (try_open(&spool, limit, why) != SPOOL_OK)
        fail_msg("spool_open: %s", why);
    return spool;
}

static sqlite3 *open_raw(void)
{
    char *path = path_of("spool.db");
    sqlite3 *raw;

    assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
    free(path);
    return raw;
}

static void run_raw(const char *sql)
{
    sqlite3 *raw = open_raw();
    char *error = NULL;

    if (sqlite3_exec(raw, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
    sqlite3_close(raw);
}

static struct hit make_hit(int number)
{
    struct hit hit = {
        .time_us = 1700000000000000 + number,
        .client_port = 65535,
        .client_name = alloc_text("[203.0.113.7]"),
        .helo = alloc_format("helo-%d", number),
        .sender = alloc_text("\\xFF@example.net"),
        .recipients = alloc_zeroed(2, sizeof(char *)),
        .recipient_count = 2,
        .recipients_total = 3000,
        .domains = alloc_zeroed(2, sizeof(char *)),
        .domain_count = 2,
        .null_sender = true,
        .exempt = number % 2 == 1,
        .tls = true,
        .queue_id = alloc_text("4Zz1"),
        .mta_name = alloc_text("mx2.example.org"),
        .key_id = "00112233445566ff",
        .hashes = alloc_zeroed(2, sizeof(struct envelope_hash)),
        .hash_count = 2,
        .hashes_whole = true,
    };

    assert_true(ipaddr_parse("2001:db8:c::7", &hit.client));
    assert_true(ipaddr_parse("192.0.2.1", &hit.local));
    hit.recipients[0] = alloc_text("\"a b\"@one.example");
    hit.recipients[1] = alloc_text("b@two.example");
    hit.hashes[1].bytes[ENVELOPE_HASH_BYTES - 1] = 0xff;
    hit.domains[0] = alloc_text("one.example");
    hit.domains[1] = alloc_text("two.example");
    return hit;
}

static void judge(struct hit *hit, enum hit_class class)
{
    hit->class = class;
    hit->domain = alloc_text("one.example");
    hit->primary = alloc_text("mx1.example.org");
    hit->primary_age_ms = 398999;
    hit->primaries = alloc_zeroed(2, sizeof(char *));
    hit->primaries_count = 2;
    hit->primaries[0] = alloc_text("mx1.example.org");
    hit->primaries[1] = alloc_text("mx2.example.org");
    hit->owner = alloc_text("example.org");
    hit->name_state = NAME_CONFIRMED;
    hit->friend_state = FRIEND_UNANSWERED;
}

static void put_hits(struct spool *spool, int count)
{
    for (int i = 0; i < count; i++) {
        struct hit hit = make_hit(i);

        assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
        hit_clear(&hit);
    }
}

static void clear_hits(struct hit *hits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
}

/* Put COUNT hits and move them to the outbox. */
static void send_hits(struct spool *spool, size_t count)
{
    struct hit *hits = alloc_zeroed(count, sizeof *hits);
    size_t read = 0;

    put_hits(spool, (int)count);
    assert_int_equal(spool_read_inbox(spool, 0, hits, count, &read), SPOOL_OK);
    assert_int_equal(read, count);
    for (size_t i = 0; i < count; i++)
        judge(&hits[i], CLASS_BACKUP);
    assert_int_equal(spool_settle(spool, hits, count), SPOOL_OK);
    clear_hits(hits, count);
    free(hits);
}

static void expect_depth(struct spool *spool, int64_t inbox, int64_t outbox, int64_t aside)
{
    struct spool_depth depth;

    spool_depth(spool, &depth);
    if (depth.inbox != inbox || depth.outbox != outbox || depth.aside != aside)
        fail_msg("depth: wanted %lld/%lld/%lld, got %lld/%lld/%lld", (long long)inbox, (long long)outbox, (long long)aside,
                 (long long)depth.inbox, (long long)depth.outbox, (long long)depth.aside);
}

static struct spool_mark mark_of(struct spool *spool)
{
    struct spool_mark mark;

    assert_int_equal(spool_mark(spool, &mark), SPOOL_OK);
    return mark;
}

static enum spool_status read_outbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
{
    struct spool_mark mark = mark_of(spool);

    mark.number = after;
    return spool_read_outbox(spool, &mark, hits, max, count);
}

/* The mark at outbox number LAST, which is there. */
static struct spool_mark mark_at(struct spool *spool, int64_t last)
{
    struct spool_mark mark = mark_of(spool);
    struct hit hit;
    size_t count = 0;

    assert_int_equal(read_outbox(spool, last - 1, &hit, 1, &count), SPOOL_OK);
    assert_int_equal(count, 1);
    assert_int_equal(hit.id, last);
    mark.number = last;
    memcpy(mark.link, hit.link, sizeof mark.link);
    hit_clear(&hit);
    return mark;
}

static enum spool_status confirm(struct spool *spool, int64_t last)
{
    struct spool_mark mark = mark_at(spool, last);

    return spool_confirm(spool, &mark);
}

/* The numbers in the outbox above AFTER are WANTED, which ends with 0. */
static void expect_outbox(struct spool *spool, int64_t after, const int64_t *wanted)
{
    struct hit hits[16];
    size_t count = 0, i = 0;

    assert_int_equal(read_outbox(spool, after, hits, 16, &count), SPOOL_OK);
    for (; i < count && wanted[i] != 0; i++)
        if (hits[i].id != wanted[i])
            fail_msg("outbox[%zu]: wanted %lld, got %lld", i, (long long)wanted[i], (long long)hits[i].id);
    assert_int_equal(i, count);
    assert_int_equal(wanted[i], 0);
    clear_hits(hits, count);
}

#define EXPECT_OUTBOX(spool, after, ...) expect_outbox(spool, after, (const int64_t[]){__VA_ARGS__, 0})

static void expect_same(const struct hit *got, const struct hit *wanted)
{
    assert_int_equal(got->time_us, wanted->time_us);
    assert_true(ipaddr_equal(&got->client, &wanted->client));
    assert_true(ipaddr_equal(&got->local, &wanted->local));
    assert_int_equal(got->client_port, wanted->client_port);
    assert_string_equal(got->client_name, wanted->client_name);
    assert_string_equal(got->helo, wanted->helo);
    assert_string_equal(got->sender, wanted->sender);
    assert_int_equal(got->recipient_count, wanted->recipient_count);
    for (size_t i = 0; i < wanted->recipient_count; i++)
        assert_string_equal(got->recipients[i], wanted->recipients[i]);
    assert_int_equal(got->recipients_total, wanted->recipients_total);
    assert_string_equal(got->key_id, wanted->key_id);
    assert_int_equal(got->hash_count, wanted->hash_count);
    if (wanted->hash_count > 0)
        assert_memory_equal(got->hashes, wanted->hashes, wanted->hash_count * sizeof *wanted->hashes);
    assert_int_equal(got->hashes_whole, wanted->hashes_whole);
    assert_int_equal(got->domain_count, wanted->domain_count);
    for (size_t i = 0; i < wanted->domain_count; i++)
        assert_string_equal(got->domains[i], wanted->domains[i]);
    assert_int_equal(got->null_sender, wanted->null_sender);
    assert_int_equal(got->exempt, wanted->exempt);
    assert_int_equal(got->tls, wanted->tls);
    assert_string_equal(got->queue_id, wanted->queue_id);
    assert_string_equal(got->mta_name, wanted->mta_name);
    assert_int_equal(got->class, wanted->class);
    if (wanted->class != CLASS_NONE) {
        assert_string_equal(got->domain, wanted->domain);
        assert_string_equal(got->primary, wanted->primary);
        assert_int_equal(got->primary_age_ms, wanted->primary_age_ms);
        assert_int_equal(got->primaries_count, 2);
        assert_string_equal(got->primaries[1], wanted->primaries[1]);
        assert_string_equal(got->owner, wanted->owner);
        assert_int_equal(got->name_state, wanted->name_state);
        assert_int_equal(got->friend_state, wanted->friend_state);
    }
}

/* Everything known of a hit is there after each step, and after a restart. */
static void keeps_the_evidence(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit hit = make_hit(1), got;
    size_t count = 0;

    (void)state;
    assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
    assert_int_equal(spool_read_inbox(spool, 0, &got, 1, &count), SPOOL_OK);
    assert_int_equal(count, 1);
    assert_int_equal(got.id, hit.id);
    expect_same(&got, &hit);
    hit_clear(&got);

    judge(&hit, CLASS_ADDRESS);
    assert_int_equal(spool_settle(spool, &hit, 1), SPOOL_OK);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    assert_int_equal(read_outbox(spool, 0, &got, 1, &count), SPOOL_OK);
    assert_int_equal(count, 1);
    expect_same(&got, &hit);
    hit_clear(&got);
    hit_clear(&hit);
    spool_close(&spool);
}

/* A hit with as little evidence as there can be. */
static void takes_an_empty_hit(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit hit = {.time_us = 1}, got;
    size_t count = 0;

    (void)state;
    assert_true(ipaddr_parse("203.0.113.7", &hit.client));
    assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
    assert_int_equal(spool_read_inbox(spool, 0, &got, 1, &count), SPOOL_OK);
    assert_int_equal(count, 1);
    assert_string_equal(got.helo, "");
    assert_int_equal(got.recipient_count, 0);
    assert_int_equal(got.local.family, 0);
    hit_clear(&got);
    spool_close(&spool);
}

static void moves_from_box_to_box(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit hits[8];
    size_t count = 0;

    (void)state;
    put_hits(spool, 5);
    expect_depth(spool, 5, 0, 0);
    assert_int_equal(spool_read_inbox(spool, 0, hits, 3, &count), SPOOL_OK);
    assert_int_equal(count, 3);
    judge(&hits[0], CLASS_TRAP);
    judge(&hits[2], CLASS_BACKUP);
    assert_int_equal(spool_settle(spool, hits, 3), SPOOL_OK);
    expect_depth(spool, 2, 2, 0);
    EXPECT_OUTBOX(spool, 0, 1, 2);
    EXPECT_OUTBOX(spool, 1, 2);

    /* Settled again, as after an answer that was lost: nothing happens. */
    assert_int_equal(spool_settle(spool, hits, 3), SPOOL_OK);
    expect_depth(spool, 2, 2, 0);
    clear_hits(hits, count);

    assert_int_equal(spool_read_inbox(spool, 3, hits, 8, &count), SPOOL_OK);
    assert_int_equal(count, 2);
    assert_int_equal(hits[0].id, 4);
    clear_hits(hits, count);
    assert_int_equal(confirm(spool, 1), SPOOL_OK);
    EXPECT_OUTBOX(spool, 0, 2);
    expect_depth(spool, 2, 1, 0);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    expect_depth(spool, 2, 1, 0);
    spool_close(&spool);
}

static void never_gives_a_number_twice(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct spool_mark mark = mark_of(spool);

    (void)state;
    assert_true(uuid_is_valid(mark.life));
    assert_int_equal(mark.number, 0);
    send_hits(spool, 3);
    assert_int_equal(confirm(spool, 3), SPOOL_OK);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    assert_string_equal(mark_of(spool).life, mark.life);
    assert_int_equal(mark_of(spool).number, 3);
    send_hits(spool, 1);
    EXPECT_OUTBOX(spool, 3, 4);
    spool_close(&spool);
}

/* Lives, and what the database says of them. */

static void expect_doubt(struct spool *spool, const char *wanted)
{
    struct hit hits[16];
    char got[17] = "";
    size_t count = 0;

    assert_int_equal(read_outbox(spool, 0, hits, 16, &count), SPOOL_OK);
    for (size_t i = 0; i < count; i++)
        got[i] = hits[i].doubt ? '?' : '.';
    clear_hits(hits, count);
    assert_string_equal(got, wanted);
}

static void agrees_on_a_hit_of_ours(void **state)
{
    struct spool *spool = (keep_ms = 60000, open_spool(LIMIT));
    struct spool_mark mark, marks[5];

    (void)state;
    send_hits(spool, 4);
    for (int i = 1; i <= 4; i++)
        marks[i] = mark_at(spool, i);
    mark = marks[1];
    assert_int_equal(spool_agree(spool, "", &mark), SPOOL_OK);
    assert_int_equal(mark.number, 0);
    /* Ahead: a COMMIT that we did not hear of. */
    assert_int_equal(spool_agree(spool, marks[3].link, &mark), SPOOL_OK);
    assert_int_equal(mark.number, 3);
    expect_depth(spool, 0, 1, 0);
    /* Behind: it lost some. */
    assert_int_equal(spool_agree(spool, marks[1].link, &mark), SPOOL_OK);
    assert_int_equal(mark.number, 1);
    assert_string_equal(mark.life, marks[1].life);
    expect_depth(spool, 0, 3, 0);
    EXPECT_OUTBOX(spool, mark.number, 2, 3, 4);
    assert_int_equal(confirm(spool, 4), SPOOL_OK);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    mark = mark_of(spool);
    assert_string_equal(mark.link, marks[4].link);
    assert_int_equal(spool_agree(spool, marks[2].link, &mark), SPOOL_OK);
    EXPECT_OUTBOX(spool, mark.number, 3, 4);
    expect_doubt(spool, "....");
    spool_close(&spool);
}

static void ends_a_life_over_a_mark_that_is_not_ours(void **state)
{
    static const char *const foreign[] = {"", "018bcfe5-6800-7a1b-82c3-000000000029"};

    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        struct spool *spool = (keep_ms = 60000, open_spool(LIMIT));
        struct spool_mark mark, before;
        struct hit hit = make_hit(1), inbox;
        size_t count = 0;

        send_hits(spool, 3);
        assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
        assert_int_equal(confirm(spool, 2), SPOOL_OK);
        mark = before = mark_of(spool);
        assert_int_equal(spool_agree(spool, foreign[i], &mark), SPOOL_OK);
        assert_string_not_equal(mark.life, before.life);
        assert_string_equal(mark.link, "");
        expect_depth(spool, 1, 3, 0);
        expect_doubt(spool, "???");
        /* What is of the life before goes nowhere. */
        assert_int_equal(spool_confirm(spool, &before), SPOOL_OTHER_LIFE);
        assert_int_equal(spool_read_outbox(spool, &before, &inbox, 1, &count), SPOOL_OTHER_LIFE);
        assert_int_equal(count, 0);
        assert_int_equal(spool_agree(spool, "", &before), SPOOL_OTHER_LIFE);
        /* It may have been recorded from another copy of the inbox as well; what comes from now on was not. */
        judge(&hit, CLASS_TRAP);
        assert_int_equal(spool_settle(spool, &hit, 1), SPOOL_OK);
        expect_doubt(spool, "????");
        spool_close(&spool);
        spool = open_spool(LIMIT);
        send_hits(spool, 1);
        expect_doubt(spool, "????.");
        hit_clear(&hit);
        spool_close(&spool);
        assert_int_equal(remove_folder(NULL), 0);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    (void)state;
}

/* PARTS of the file, as they are now, become those of another that is in its place. */
static void copy_spool(const char *to_suffix, const char *from_suffix)
{
    char *command = alloc_format("cd %s && cp spool.db%s new && mv new spool.db%s", folder, from_suffix, to_suffix);

    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): what is run is written above */
    free(command);
}

/* A copy is another file; an older one also lacks what was answered, which is counted. */
static void begins_a_life_in_a_copy(void **state)
{
    struct spool *spool = (keep_ms = 60000, open_spool(LIMIT));
    uint64_t lost = counter_value(COUNTER_LOST);
    struct spool_mark before;

    (void)state;
    send_hits(spool, 2);
    assert_int_equal(confirm(spool, 2), SPOOL_OK);
    spool_close(&spool);
    copy_spool(".old", "");
    spool = open_spool(LIMIT);
    before = mark_of(spool);
    put_hits(spool, 5);
    send_hits(spool, 0);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    assert_string_equal(mark_of(spool).life, before.life);
    spool_close(&spool);

    copy_spool("", ".old");
    spool = open_spool(LIMIT);
    assert_string_not_equal(mark_of(spool).life, before.life);
    expect_depth(spool, 0, 2, 0);
    expect_doubt(spool, "??");
    assert_int_equal(counter_value(COUNTER_LOST) - lost, 5);
    spool_close(&spool);
}

static void forgets_what_was_kept_long_enough(void **state)
{
    struct spool *spool = (keep_ms = 0, open_spool(LIMIT));
    struct spool_depth depth;
    struct spool_mark mark;

    (void)state;
    send_hits(spool, 3);
    mark = mark_at(spool, 1);
    assert_int_equal(confirm(spool, 2), SPOOL_OK);
    spool_depth(spool, &depth);
    assert_int_equal(depth.kept, 0);
    /* Then it cannot be sent again. */
    assert_int_equal(spool_agree(spool, mark.link, &mark), SPOOL_OK);
    assert_string_not_equal(mark.life, mark_at(spool, 3).link);
    EXPECT_OUTBOX(spool, 0, 3);
    spool_close(&spool);

    /* A tenth of the limit, whatever the time. */
    assert_int_equal(remove_folder(NULL), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    keep_ms = 60000;
    spool = open_spool(40);
    send_hits(spool, 20);
    assert_int_equal(confirm(spool, 18), SPOOL_OK);
    spool_depth(spool, &depth);
    assert_int_equal(depth.kept, 4);
    EXPECT_OUTBOX(spool, 0, 15, 16, 17, 18, 19, 20);
    spool_close(&spool);
}

/* So many that not all are counted at each mark; also on the way back, and after it. */
static void counts_what_the_mark_passes(void **state)
{
    static const int64_t marks[] = {100, 300, 400, 650, 500, 310, 320, 700, 20, 600, 610, 700};
    enum { HITS = 700 };
    struct spool *spool = (keep_ms = 60000, open_spool(10 * HITS));
    struct spool_depth depth;

    (void)state;
    send_hits(spool, HITS);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        struct spool_mark mark = mark_at(spool, marks[i]);

        /* Forwards as a batch has it, backwards as the database says. */
        assert_int_equal(i % 2 == 0 ? spool_confirm(spool, &mark) : spool_agree(spool, mark.link, &mark), SPOOL_OK);
        spool_depth(spool, &depth);
        assert_int_equal(depth.kept, marks[i]);
        assert_int_equal(depth.outbox, HITS - marks[i]);
    }
    spool_close(&spool);
}

static void awaits_oldest(struct spool *spool, int number)
{
    const int64_t wanted_us = number < 0 ? 0 : 1700000000000000 + number;
    struct spool_depth depth;

    for (int i = 0; i < 1000; i++) {
        spool_depth(spool, &depth);
        if (depth.oldest_us == wanted_us)
            return;
        fake_clock_advance_ms(1000);
        usleep(10000);
    }
    fail_msg("the oldest hit: wanted %lld, got %lld", (long long)wanted_us, (long long)depth.oldest_us);
}

/* Of inbox and outbox, and not of what is only kept. */
static void tells_how_old_the_oldest_hit_is(void **state)
{
    struct spool *spool = (keep_ms = 60000, open_spool(LIMIT));

    (void)state;
    awaits_oldest(spool, -1);
    send_hits(spool, 3);
    awaits_oldest(spool, 0);
    assert_int_equal(confirm(spool, 2), SPOOL_OK);
    awaits_oldest(spool, 2);
    assert_int_equal(confirm(spool, 3), SPOOL_OK);
    awaits_oldest(spool, -1);
    put_hits(spool, 1);
    awaits_oldest(spool, 0);
    spool_close(&spool);
}

/* Removed, or another one put in its place, while it is open: what was promised is there at the next start. */
static void keeps_what_lost_its_name(void **state)
{
    static const struct {
        const char *name, *command;
    } cases[] = {
        {"removed", "rm spool.db spool.db-wal spool.db-shm"},
        {"the -wal removed", "rm spool.db-wal"},
        {"only the file removed", "rm spool.db"},
        {"an old copy put in its place", "cp old.db new && mv new spool.db"},
        {"the folder cleared", "rm spool.db*"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *command = alloc_format("cd %s && %s", folder, cases[i].command), *old = alloc_format("cp %s/spool.db %s/old.db", folder, folder);
        struct spool *spool = (keep_ms = 60000, open_spool(LIMIT));

        send_hits(spool, 1);
        spool_close(&spool);
        assert_int_equal(system(old), 0); /* NOLINT(cert-env33-c): what is run is written above */
        spool = open_spool(LIMIT);
        send_hits(spool, 2);
        put_hits(spool, 3);
        assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): what is run is written above */
        put_hits(spool, 4);
        expect_depth(spool, 7, 3, 0);
        put_hits(spool, 1);
        spool_close(&spool);
        spool = open_spool(LIMIT);
        expect_depth(spool, 8, 3, 0);
        EXPECT_OUTBOX(spool, 0, 1, 2, 3);
        spool_close(&spool);
        free(command);
        free(old);
        assert_int_equal(remove_folder(NULL), 0);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
}

static void sets_one_aside(void **state)
{
    struct spool *spool = open_spool(LIMIT);

    (void)state;
    send_hits(spool, 3);
    assert_int_equal(spool_set_aside(spool, 2, "value too long"), SPOOL_OK);
    EXPECT_OUTBOX(spool, 0, 1, 3);
    expect_depth(spool, 0, 2, 1);
    assert_int_equal(spool_set_aside(spool, 2, "once more"), SPOOL_OK);
    assert_int_equal(confirm(spool, 3), SPOOL_OK);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    expect_depth(spool, 0, 1, 0);
    EXPECT_OUTBOX(spool, 0, 4);
    spool_close(&spool);
}

static void stops_at_the_limit(void **state)
{
    struct spool *spool = open_spool(3);
    struct hit hit = make_hit(9);

    (void)state;
    send_hits(spool, 2);
    put_hits(spool, 1);
    assert_int_equal(spool_put(spool, &hit), SPOOL_FULL);
    expect_depth(spool, 1, 2, 0);
    assert_int_equal(confirm(spool, 1), SPOOL_OK);
    assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
    assert_int_equal(spool_put(spool, &hit), SPOOL_FULL);
    spool_close(&spool);

    /* The limit counts what an earlier process left. */
    spool = open_spool(3);
    assert_int_equal(spool_put(spool, &hit), SPOOL_FULL);

    /* What the database refuses takes room too. */
    assert_int_equal(spool_set_aside(spool, 2, "value too long"), SPOOL_OK);
    assert_int_equal(spool_put(spool, &hit), SPOOL_FULL);
    hit_clear(&hit);
    spool_close(&spool);
}

static void refuses_a_second_daemon(void **state)
{
    struct spool *spool = open_spool(LIMIT), *second;
    char why[WHY_SIZE];

    (void)state;
    put_hits(spool, 1);
    assert_int_equal(try_open(&second, LIMIT, why), SPOOL_LOCKED);
    assert_null(second);
    put_hits(spool, 1);
    expect_depth(spool, 2, 0, 0);
    spool_close(&spool);
    assert_int_equal(try_open(&spool, LIMIT, why), SPOOL_OK);
    expect_depth(spool, 2, 0, 0);
    spool_close(&spool);
}

static void is_private(void **state)
{
    static const char *const parts[] = {"", "-wal", "-shm", ".lock"};
    mode_t mask = umask(0);
    struct spool *spool = open_spool(LIMIT);

    (void)state;
    umask(mask);
    put_hits(spool, 1);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *name = alloc_format("spool.db%s", parts[i]), *path = path_of(name);
        struct stat status;

        assert_int_equal(stat(path, &status), 0);
        if ((status.st_mode & 07777) != 0600)
            fail_msg("%s: wanted 0600, got %o", name, status.st_mode & 07777);
        free(path);
        free(name);
    }
    spool_close(&spool);
}

/* What the lock file says of the closed spool: that so many hits are in its inbox, which is not so. */
static void seal_falsely(int inbox)
{
    char *path = path_of("spool.db.lock"), text[256] = "";
    FILE *file = fopen(path, "r+");
    unsigned long long inode;
    long long size, changed_ns;

    assert_non_null(file);
    assert_int_equal(fseek(file, 40, SEEK_SET), 0);
    assert_non_null(fgets(text, sizeof text, file));
    /* NOLINTNEXTLINE(cert-err34-c): what the spool wrote itself */
    assert_int_equal(sscanf(text, "%llu %lld %lld", &inode, &size, &changed_ns), 3);
    assert_int_equal(fseek(file, 40, SEEK_SET), 0);
    fprintf(file, "%llu %lld %lld %d 0 0 0\n", inode, size, changed_ns, inbox);
    fclose(file);
    free(path);
}

static void change_its_mode(const char *path)
{
    assert_int_equal(chmod(path, 0640), 0);
}

static void write_to_it(const char *path)
{
    (void)path;
    run_raw("PRAGMA journal_mode = DELETE; UPDATE inbox SET helo = helo");
}

static void put_back_a_copy(const char *path)
{
    char *command = alloc_format("cp -p '%s' '%s.copy' && cat '%s.copy' >'%s' && touch -r '%s.copy' '%s' && rm '%s.copy'", path, path, path, path,
                                 path, path, path);

    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    free(command);
}

static void have_an_empty_wal(const char *path)
{
    char *wal = alloc_format("%s-wal", path);
    FILE *file = fopen(wal, "w");

    assert_non_null(file);
    fclose(file);
    free(wal);
}

static void crash_in_between(const char *path)
{
    int status;
    pid_t child = fork();

    (void)path;
    assert_true(child >= 0);
    if (child == 0) {
        (void)open_spool(LIMIT);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
}

/* Only a file that was closed in order, and to which nothing happened since, need not be looked through. */
static void looks_through_what_may_have_changed(void **state)
{
    static void (*const changes[])(const char *path) = {NULL, change_its_mode, write_to_it, put_back_a_copy, have_an_empty_wal, crash_in_between};
    char *path = path_of("spool.db");
    struct spool *spool = open_spool(LIMIT);

    (void)state;
    put_hits(spool, 3);
    spool_close(&spool);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        /* Looked through, so that what it is sealed with next is right. */
        assert_int_equal(chmod(path, i % 2 == 0 ? 0600 : 0640), 0);
        spool = open_spool(LIMIT);
        expect_depth(spool, 3, 0, 0);
        spool_close(&spool);
        seal_falsely(7);
        if (changes[i] != NULL)
            changes[i](path);
        spool = open_spool(LIMIT);
        expect_depth(spool, changes[i] == NULL ? 7 : 3, 0, 0);
        spool_close(&spool);
    }
    free(path);
}

static void says_why_it_cannot_open(void **state)
{
    struct spool *spool;
    char why[WHY_SIZE] = "", *path = path_of("none/spool.db");

    (void)state;
    assert_int_equal(spool_open(&spool, path, LIMIT, 0, why, sizeof why), SPOOL_FAILED);
    assert_null(spool);
    assert_non_null(strstr(why, "No such file"));
    free(path);
}

static void says_that_there_is_no_thread_for_it(void **state)
{
    struct spool *spool;
    char why[WHY_SIZE];
    enum spool_status status;

    (void)state;
    fake_thread_fail_after(0);
    status = try_open(&spool, LIMIT, why);
    fake_thread_fail_after(-1);
    assert_int_equal(status, SPOOL_FAILED);
    assert_non_null(strstr(why, "thread"));
    spool = open_spool(LIMIT); /* the lock is free again */
    spool_close(&spool);
}

/* Somebody else's database, by a slip in the settings, is not touched. */
static void leaves_a_foreign_database_alone(void **state)
{
    struct spool *spool;
    char why[WHY_SIZE];

    (void)state;
    run_raw("CREATE TABLE accounts (a); INSERT INTO accounts VALUES (1)");
    assert_int_equal(try_open(&spool, LIMIT, why), SPOOL_FAILED);
    assert_string_not_equal(why, "");
    assert_false(file_exists(".damaged"));
    run_raw("SELECT a FROM accounts");
}

/* Files of other formats. */

#define HIT_1 "203.0.113.7', 25, 'c.example', 'helo-1', 'a@example.net', 'b@one.example', 1, 'one.example', 0, 0, 1, 'Q1', 'mx', '-'"
#define VERDICT_1 "'backup', 'one.example', 'mx1.example.org', 5"

/* A file as the first daemon left it: four hits, one in each table and one more in the outbox. */
static const char format_1[] =
    "CREATE TABLE spool (id TEXT NOT NULL);"
    "CREATE TABLE inbox (id INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL, client TEXT NOT NULL, "
    "client_port INTEGER NOT NULL, client_name TEXT NOT NULL, helo TEXT NOT NULL, sender TEXT NOT NULL, "
    "recipients TEXT NOT NULL, recipients_total INTEGER NOT NULL, domains TEXT NOT NULL, null_sender INTEGER NOT NULL, "
    "exempt INTEGER NOT NULL, tls INTEGER NOT NULL, queue_id TEXT NOT NULL, mta_name TEXT NOT NULL, local TEXT NOT NULL);"
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL, client TEXT NOT NULL, "
    "client_port INTEGER NOT NULL, client_name TEXT NOT NULL, helo TEXT NOT NULL, sender TEXT NOT NULL, "
    "recipients TEXT NOT NULL, recipients_total INTEGER NOT NULL, domains TEXT NOT NULL, null_sender INTEGER NOT NULL, "
    "exempt INTEGER NOT NULL, tls INTEGER NOT NULL, queue_id TEXT NOT NULL, mta_name TEXT NOT NULL, local TEXT NOT NULL, "
    "class TEXT NOT NULL, domain TEXT NOT NULL, primary_mx TEXT NOT NULL, primary_age_ms INTEGER NOT NULL);"
    "CREATE TABLE aside (id INTEGER NOT NULL, time_us INTEGER NOT NULL, client TEXT NOT NULL, "
    "client_port INTEGER NOT NULL, client_name TEXT NOT NULL, helo TEXT NOT NULL, sender TEXT NOT NULL, "
    "recipients TEXT NOT NULL, recipients_total INTEGER NOT NULL, domains TEXT NOT NULL, null_sender INTEGER NOT NULL, "
    "exempt INTEGER NOT NULL, tls INTEGER NOT NULL, queue_id TEXT NOT NULL, mta_name TEXT NOT NULL, local TEXT NOT NULL, "
    "class TEXT NOT NULL, domain TEXT NOT NULL, primary_mx TEXT NOT NULL, primary_age_ms INTEGER NOT NULL, "
    "reason TEXT NOT NULL, time TEXT NOT NULL DEFAULT (datetime('now')));"
    "INSERT INTO spool VALUES ('a1b2c3d4-e5f6-4789-8abc-def012345678');"
    "INSERT INTO inbox VALUES (41, 1700000000000001, '" HIT_1 ");"
    "INSERT INTO outbox VALUES (7, 1700000000000002, '" HIT_1 ", " VERDICT_1 "), (9, 1700000000000003, '" HIT_1 ", " VERDICT_1 ");"
    "INSERT INTO aside VALUES (8, 1700000000000004, '" HIT_1 ", " VERDICT_1 ", 'refused', '2026-01-01');"
    "UPDATE sqlite_sequence SET seq = 50 WHERE name = 'inbox';"
    "PRAGMA application_id = 0x48756e79; PRAGMA user_version = 1";

static void carries_format_1_forward(void **state)
{
    struct hit hit, hits[4];
    struct spool *spool;
    size_t count = 0;

    (void)state;
    run_raw(format_1);
    spool = open_spool(LIMIT);
    assert_string_not_equal(mark_of(spool).life, "a1b2c3d4-e5f6-4789-8abc-def012345678"); /* nobody knows where it was */
    assert_string_equal(mark_of(spool).link, "");
    expect_depth(spool, 1, 3, 0); /* what was set aside is tried again */
    assert_int_equal(spool_read_inbox(spool, 0, &hit, 1, &count), SPOOL_OK);
    assert_int_equal(hit.id, 41);
    assert_string_equal(hit.uuid, "018bcfe5-6800-7a1b-82c3-000000000029");
    assert_string_equal(hit.helo, "helo-1");
    assert_string_equal(hit.key_id, ""); /* format 3's */
    assert_int_equal(hit.hash_count, 0);
    assert_false(hit.hashes_whole);
    hit_clear(&hit);
    assert_int_equal(read_outbox(spool, 0, hits, 4, &count), SPOOL_OK);
    assert_int_equal(count, 3);
    assert_string_equal(hits[0].uuid, "018bcfe5-6800-7a1b-92c3-000000000007");
    assert_string_equal(hits[1].uuid, "018bcfe5-6800-7a1b-92c3-000000000009");
    assert_string_equal(hits[2].uuid, "018bcfe5-6800-7a1b-a2c3-000000000008");
    assert_string_equal(hits[2].primary, "mx1.example.org");
    assert_string_equal(hits[2].owner, ""); /* format 5's */
    assert_int_equal(hits[2].name_state, NAME_UNKNOWN);
    assert_int_equal(hits[2].friend_state, FRIEND_UNASKED); /* format 6's */
    clear_hits(hits, count);
    put_hits(spool, 1);
    assert_int_equal(spool_read_inbox(spool, 41, &hit, 1, &count), SPOOL_OK);
    assert_int_equal(hit.id, 51);
    hit_clear(&hit);
    spool_close(&spool);
}

static void refuses_a_newer_file(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    char why[WHY_SIZE];

    (void)state;
    put_hits(spool, 1);
    spool_close(&spool);
    run_raw("PRAGMA user_version = 1000");
    assert_int_equal(try_open(&spool, LIMIT, why), SPOOL_FAILED);
    if (strstr(why, "newer hunnypot-milter (format 1000") == NULL || strstr(why, "run that one again, or move the file away") == NULL)
        fail_msg("it says: %s", why);
    assert_false(file_exists(".damaged"));
    run_raw("SELECT hit_id FROM inbox");
}

/* Every hit has an identity of its own, which goes with it from table to table. */
static void keeps_the_identity_of_a_hit(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit hit = make_hit(1), other = make_hit(1), got;
    size_t count = 0;

    (void)state;
    assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
    assert_int_equal(spool_put(spool, &other), SPOOL_OK);
    assert_true(uuid_is_valid(hit.uuid));
    assert_string_not_equal(hit.uuid, other.uuid);
    assert_memory_equal(hit.uuid, "018bcfe5-6800-7", 15); /* 1700000000000 ms, version 7 */
    judge(&hit, CLASS_TRAP);
    assert_int_equal(spool_settle(spool, &hit, 1), SPOOL_OK);
    assert_int_equal(spool_set_aside(spool, 1, "refused"), SPOOL_OK);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    assert_int_equal(read_outbox(spool, 0, &got, 1, &count), SPOOL_OK);
    assert_string_equal(got.uuid, hit.uuid);
    hit_clear(&got);
    hit_clear(&hit);
    hit_clear(&other);
    spool_close(&spool);
}

/* Damage found at the start. */

enum where { NOWHERE, WHOLE, START, MIDDLE, HALF, WAL, LATER, SCHEMA };

static void overwrite(enum where where)
{
    char *path = path_of(where == WAL ? "spool.db-wal" : "spool.db"), junk[PAGE];
    int fd = open(path, O_WRONLY | (where == WAL ? O_CREAT : 0), 0600);
    struct stat status;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &status), 0);
    memset(junk, 0xa5, sizeof junk);
    switch (where) {
    case WHOLE:
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, "root:x:0:0:\n", 12, 0), 12);
        break;
    case START:
    case WAL:
        assert_int_equal(pwrite(fd, junk, sizeof junk, 0), (ssize_t)sizeof junk);
        break;
    case MIDDLE:
        for (off_t at = 3 * PAGE; at < status.st_size; at += PAGE)
            assert_int_equal(pwrite(fd, junk, 100, at), 100);
        break;
    case HALF:
        assert_int_equal(ftruncate(fd, status.st_size / 2 + 100), 0);
        break;
    case LATER: /* for a later SQLite only to write */
        assert_int_equal(pwrite(fd, "\3", 1, 18), 1);
        break;
    case SCHEMA:
        assert_int_equal(pwrite(fd, junk, 4, 44), 4);
        break;
    case NOWHERE:
        break;
    }
    close(fd);
    free(path);
}

static void starts_anew_when_damaged(void **state)
{
    static const struct {
        const char *name;
        enum where where;
        const char *sql;
        bool sound;
    } cases[] = {
        {.name = "not a database at all", .where = WHOLE},
        {.name = "first page gone", .where = START},
        {.name = "a file of another version", .where = LATER},
        {.name = "a schema of another format", .where = SCHEMA},
        {.name = "rows gone", .where = MIDDLE},
        {.name = "cut in half", .where = HALF},
        {.name = "a log of rubbish", .where = WAL, .sound = true},
        {.name = "a table missing", .sql = "DROP TABLE outbox"},
        {.name = "no table with the identity", .sql = "DROP TABLE spool"},
        {.name = "no identity", .sql = "UPDATE spool SET life = 'x'"},
        {.name = "an identity that the database would refuse", .sql = "UPDATE spool SET life = replace(life, '-', '+')"},
        {.name = "no numbers left", .sql = "UPDATE sqlite_sequence SET seq = 9223372036854775807"},
        {.name = "numbers forgotten", .sql = "DELETE FROM sqlite_sequence WHERE name = 'outbox'"},
        {.name = "numbers below those given", .sql = "UPDATE sqlite_sequence SET seq = 299 WHERE name = 'inbox'"},
        {.name = "a number that is none", .sql = "UPDATE sqlite_sequence SET seq = 'x' WHERE name = 'outbox'"},
        {.name = "a hit before the first", .sql = "UPDATE inbox SET id = 0 WHERE id = 1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct spool *spool = open_spool(LIMIT);
        char id[UUID_SIZE], why[WHY_SIZE];

        put_hits(spool, 300);
        snprintf(id, sizeof id, "%s", mark_of(spool).life);
        spool_close(&spool);
        if (cases[i].sql != NULL)
            run_raw(cases[i].sql);
        overwrite(cases[i].where);
        if (try_open(&spool, LIMIT, why) != SPOOL_OK)
            fail_msg("%s: %s", cases[i].name, why);
        if ((strcmp(mark_of(spool).life, id) != 0) == cases[i].sound || file_exists(".damaged") == cases[i].sound)
            fail_msg("%s: new life %d, old file kept %d", cases[i].name, strcmp(mark_of(spool).life, id) != 0,
                     file_exists(".damaged"));
        expect_depth(spool, cases[i].sound ? 300 : 0, 0, 0);
        put_hits(spool, 1);
        spool_close(&spool);
        assert_int_equal(remove_folder(NULL), 0);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
}

/* Reads of SQLite's that go well before others fail, and how many fail; 0 and 0: all go well. */
static atomic_int reads_before, reads_that_fail;

static ssize_t failing_pread64(int fd, void *bytes, size_t size, off64_t at)
{
    if (reads_that_fail > 0 && --reads_before < 0) {
        reads_that_fail--;
        errno = EIO;
        return -1;
    }
    return pread64(fd, bytes, size, at);
}

static bool put_one(struct spool *spool)
{
    struct hit hit = make_hit(1);
    bool done = spool_put(spool, &hit) == SPOOL_OK;

    hit_clear(&hit);
    return done;
}

/* SQLite calls a page that could not be read damaged.  One that can be read the next time is not, nor is one of a disk that is broken
 * as a whole: no hit may go with the file. */
static void a_disk_that_does_not_read_damages_nothing(void **state)
{
    enum { READS = 30, HITS = 300 };
    static const int failing[] = {1, 2, 3, 10};
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    int failed = 0;

    (void)state;
    assert_int_equal(vfs->xSetSystemCall(vfs, "pread64", (sqlite3_syscall_ptr)failing_pread64), SQLITE_OK);
    for (int i = 0; i < READS * (int)(sizeof failing / sizeof *failing); i++) {
        struct spool *spool = open_spool(LIMIT);
        struct hit hits[2] = {0};
        size_t count = 0;
        int answered = HITS;
        char why[WHY_SIZE];

        put_hits(spool, HITS);
        spool_close(&spool);
        /* Closed in order, it is not looked through: what the next one reads, it reads when it is asked. */
        reads_before = i / (int)(sizeof failing / sizeof *failing);
        reads_that_fail = failing[i % (sizeof failing / sizeof *failing)];
        if (try_open(&spool, LIMIT, why) == SPOOL_OK) {
            answered += put_one(spool);
            if (spool_read_inbox(spool, 0, hits, 2, &count) == SPOOL_OK)
                clear_hits(hits, count);
            answered += put_one(spool);
            spool_close(&spool);
        }
        failed += reads_that_fail == 0;
        reads_that_fail = 0;
        spool = open_spool(LIMIT);
        if (file_exists(".damaged"))
            fail_msg("the file was set aside when read %d failed, %d times", i / 4, failing[i % 4]);
        expect_depth(spool, answered, 0, 0);
        spool_close(&spool);
        assert_int_equal(remove_folder(NULL), 0);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    assert_int_equal(vfs->xSetSystemCall(vfs, "pread64", NULL), SQLITE_OK);
    assert_true(failed > 0);
}

/* Damage found while running: nothing that others remember becomes wrong, and what they hold in memory is not lost. */
static void goes_on_when_damaged(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit hits[2], hit = make_hit(1);
    char id[UUID_SIZE];
    size_t count = 0;
    sqlite3 *raw;

    (void)state;
    snprintf(id, sizeof id, "%s", mark_of(spool).life);
    send_hits(spool, 2);
    put_hits(spool, 300);
    assert_int_equal(spool_read_inbox(spool, 0, hits, 2, &count), SPOOL_OK);
    /* Somebody writes, so that what the spool has cached does not count, and then the disk forgets. */
    raw = open_raw();
    assert_int_equal(sqlite3_exec(raw, "DELETE FROM aside; CREATE TABLE x (x); PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL,
                                  NULL), SQLITE_OK);
    overwrite(MIDDLE);
    sqlite3_close(raw);

    assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
    assert_true(file_exists(".damaged"));
    assert_string_not_equal(mark_of(spool).life, id);
    assert_true(hit.id > 302);
    expect_depth(spool, 1, 0, 0);
    judge(&hits[0], CLASS_TRAP);
    judge(&hits[1], CLASS_TRAP);
    assert_int_equal(spool_settle(spool, hits, 2), SPOOL_OK);
    expect_depth(spool, 1, 2, 0);
    EXPECT_OUTBOX(spool, 0, 3, 4);
    clear_hits(hits, count);
    hit_clear(&hit);
    spool_close(&spool);
    spool = open_spool(LIMIT);
    expect_depth(spool, 1, 2, 0);
    spool_close(&spool);
}

/* A byte of the -wal that is wrong, wherever: SQLite would leave out all that is behind it. */

enum { WAL_HITS = 12 };

static unsigned char *read_whole(const char *part, size_t *size)
{
    char *path = path_of(part);
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = alloc_zeroed(1 << 20, 1);

    assert_non_null(file);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    free(path);
    return bytes;
}

static void write_whole(const char *part, const unsigned char *bytes, size_t size)
{
    char *path = path_of(part);
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    free(path);
}

static void leave_a_wal(void)
{
    pid_t child = fork();

    if (child == 0) {
        put_hits(open_spool(LIMIT), WAL_HITS);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void mends_a_byte_of_the_wal(void **state)
{
    char *path = path_of("spool.db-wal");
    unsigned char *wal, *got;
    size_t size, got_size, tried = 0, mended = 0;
    struct spool *spool;

    (void)state;
    leave_a_wal();
    wal = read_whole("spool.db-wal", &size);
    assert_true(size > 100000);
    assert_int_equal(spool_wal_mend(path), 0);
    /* Each byte of some frames' headers, and some of the pages. */
    for (size_t at = 32; at < size; at += at < 8400 && at % 4120 >= 30 && at % 4120 < 58 ? 1 : 1021) {
        static const unsigned char flips[] = {0x01, 0x80, 0xff};

        for (size_t i = 0; i < sizeof flips; i++) {
            size_t count;

            wal[at] ^= flips[i];
            write_whole("spool.db-wal", wal, size);
            wal[at] ^= flips[i];
            count = spool_wal_mend(path);
            got = read_whole("spool.db-wal", &got_size);
            if (count > 1 || got_size != size || memcmp(got, wal, size) != 0) {
                got[at] ^= flips[i];
                if (count > 0 || memcmp(got, wal, size) != 0)
                    fail_msg("byte %zu, flip %02x: mended %zu, and it is wrong", at, flips[i], count);
            }
            free(got);
            tried++;
            mended += count;
        }
    }
    if (mended * 3 < tried * 2)
        fail_msg("%zu of %zu mended", mended, tried);
    wal[size / 2 / 4 * 4 + 1] ^= 0x40;
    write_whole("spool.db-wal", wal, size);
    spool = open_spool(LIMIT);
    expect_depth(spool, WAL_HITS, 0, 0);
    spool_close(&spool);
    free(wal);
    free(path);
}

/* Bits that flip inside a value are seen by no check of SQLite's. */

static void expect_other_hits(struct spool *spool, bool inbox, const char *sql)
{
    struct hit hits[4];
    size_t count = 0;

    run_raw(sql);
    /* One by one: a reader that got nothing would think that there is nothing. */
    for (int64_t i = 1, after = 0; i <= 3; i += 2) {
        assert_int_equal((inbox ? spool_read_inbox : read_outbox)(spool, after, hits, 1, &count), SPOOL_OK);
        if (count != 1 || hits[0].id != i)
            fail_msg("%s: hit %lld is not handed out", sql, (long long)i);
        after = hits[0].id;
        clear_hits(hits, count);
    }
    assert_int_equal((inbox ? spool_read_inbox : read_outbox)(spool, 3, hits, 1, &count), SPOOL_OK);
    assert_int_equal(count, 0);
}

static void expect_aside(const char *change, bool inbox)
{
    struct spool *spool = open_spool(LIMIT);
    char *sql = alloc_format("UPDATE %s SET %s WHERE id = 2", inbox ? "inbox" : "outbox", change);

    if (inbox)
        put_hits(spool, 3);
    else
        send_hits(spool, 3);
    expect_other_hits(spool, inbox, sql);
    expect_depth(spool, inbox ? 2 : 0, inbox ? 0 : 2, 1);
    free(sql);
    spool_close(&spool);
    assert_int_equal(remove_folder(NULL), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void sets_a_damaged_row_aside(void **state)
{
    static const char *const changes[] = {
        "hit_id = ''", "hit_id = replace(hit_id, '-', '+')", "hit_id = hit_id || '0'", "helo = CAST(X'611b5b330aff62' AS TEXT)", "helo = CAST(X'610062' AS TEXT)", "helo = X'61'",
        "helo = printf('%1028c', 'a')", "recipients = 'a' || char(10) || char(127)",
        "recipients = replace(printf('%101c', 'a'), ' ', 'a' || char(10))", "domains = X''", "client = '203.0.113.777'",
        "client = '-'", "local = ''", "time_us = -1", "time_us = 9223372036854775807", "time_us = 'now'",
        "client_port = 65536", "recipients_total = 2147483648", "tls = 2", "id = 4611686018427387904",
        "key_id = '0011'", "key_id = '00112233445566FF'", "hashes = X'00'", "hashes = ''", "hashes = zeroblob(16 * 42)",
        "hashes_whole = 2",
    };
    static const char *const outbox_changes[] = {
        "class = 'none'", "class = 'Trap'", "domain = char(10)", "primary_age_ms = -1", "owner = char(10)", "primaries = x'00'",
        "name_state = 'named'", "friend = 'perhaps'",
    };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof changes / sizeof *changes; i++)
        expect_aside(changes[i / 2], i % 2 == 0);
    for (size_t i = 0; i < sizeof outbox_changes / sizeof *outbox_changes; i++)
        expect_aside(outbox_changes[i], false);
}

/* The next number is behind the highest that is there. */
static void takes_no_number_from_a_damaged_row(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit hit = make_hit(1);

    (void)state;
    put_hits(spool, 3);
    run_raw("UPDATE inbox SET id = 4611686018427387904 WHERE id = 3");
    assert_int_equal(spool_put(spool, &hit), SPOOL_OK);
    assert_int_equal(hit.id, 4);
    assert_true(file_exists(".damaged"));
    hit_clear(&hit);
    spool_close(&spool);
}

/* Several threads at once. */

enum { THREADS = 8, EACH = 25 };

/* cmocka's assertions are for the main thread: these count what went otherwise than it should. */
static void *put_thread(void *spool)
{
    intptr_t failed = 0;

    for (int i = 0; i < EACH; i++) {
        struct hit hit = {.time_us = i, .client = {.family = 4, .bytes = {203, 0, 113, 7}}};

        failed += spool_put(spool, &hit) != SPOOL_OK;
    }
    return (void *)failed;
}

static void *spoil_thread(void *spool)
{
    intptr_t passed = 0;

    for (int i = 0; i < EACH; i++)
        passed += spool_set_aside(spool, 1, NULL) != SPOOL_FAILED; /* the column takes no NULL */
    return (void *)passed;
}

static void commits_for_many(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit hits[THREADS * EACH + 1];
    pthread_t threads[THREADS + 1];
    size_t count = 0;

    (void)state;
    send_hits(spool, 1);
    for (int i = 0; i <= THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS ? put_thread : spoil_thread, spool), 0);
    for (int i = 0; i <= THREADS; i++) {
        void *wrong;

        pthread_join(threads[i], &wrong);
        assert_int_equal((intptr_t)wrong, 0);
    }
    expect_depth(spool, THREADS * EACH, 1, 0);
    assert_int_equal(spool_read_inbox(spool, 0, hits, THREADS * EACH + 1, &count), SPOOL_OK);
    assert_int_equal(count, THREADS * EACH);
    for (size_t i = 1; i < count; i++)
        assert_true(hits[i].id > hits[i - 1].id);
    clear_hits(hits, count);
    spool_close(&spool);
}

static struct hit settled;

static void *settle_thread(void *spool)
{
    return (void *)(intptr_t)spool_settle(spool, &settled, 1);
}

static void *pass_20_ms(void *unused)
{
    (void)unused;
    fake_clock_advance_ms(20);
    return NULL;
}

static void wakes_who_waits(void **state)
{
    struct spool *spool = open_spool(LIMIT);
    int64_t later = clock_monotonic_ms() + 60000, before;
    uint64_t seen = 0;
    pthread_t thread;

    (void)state;
    settled = make_hit(1);
    assert_int_equal(spool_put(spool, &settled), SPOOL_OK);
    judge(&settled, CLASS_TRAP);
    assert_int_equal(pthread_create(&thread, NULL, settle_thread, spool), 0);
    spool_wait_outbox(spool, &seen, later);
    EXPECT_OUTBOX(spool, 0, 1);
    pthread_join(thread, NULL);
    hit_clear(&settled);
    spool_wake(spool);
    spool_wait_outbox(spool, &seen, later);
    before = clock_monotonic_ms();
    assert_int_equal(pthread_create(&thread, NULL, pass_20_ms, NULL), 0);
    spool_wait_outbox(spool, &seen, before + 20);
    pthread_join(thread, NULL);
    assert_int_equal(clock_monotonic_ms(), before + 20);
    assert_true(clock_monotonic_ms() < later);
    spool_close(&spool);

    spool = open_spool(LIMIT); /* what was there before counts as news */
    seen = 0;
    spool_wait_outbox(spool, &seen, clock_monotonic_ms() + 60000);
    assert_true(clock_monotonic_ms() < later);
    spool_close(&spool);
}

/* A killed daemon: what was promised is there. */

static void *promise_thread(void *context)
{
    struct spool *spool = context;

    for (int i = 0;; i++) {
        struct hit hit = make_hit(i);

        if (spool_put(spool, &hit) == SPOOL_OK && write(STDOUT_FILENO, &hit.id, sizeof hit.id) != sizeof hit.id)
            _exit(1);
        hit_clear(&hit);
    }
}

static void promise_until_killed(int fd)
{
    struct spool *spool = open_spool(LIMIT);
    pthread_t threads[3];

    dup2(fd, STDOUT_FILENO);
    for (size_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, promise_thread, spool);
    pthread_join(threads[0], NULL);
}

static void expect_promises(const int64_t *promised, size_t count)
{
    struct spool *spool = open_spool(LIMIT);
    struct hit *hits = alloc_zeroed(LIMIT, sizeof *hits);
    size_t kept = 0;

    assert_int_equal(spool_read_inbox(spool, 0, hits, LIMIT, &kept), SPOOL_OK);
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;

        while (at < kept && hits[at].id != promised[i])
            at++;
        if (at == kept)
            fail_msg("hit %lld was promised, and is not there", (long long)promised[i]);
    }
    clear_hits(hits, kept);
    free(hits);
    spool_close(&spool);
}

static void keeps_promises_when_killed(void **state)
{
    int64_t *promised = alloc_zeroed(LIMIT, sizeof *promised);
    size_t count = 0;

    (void)state;
    for (int round = 0; round < 15; round++) {
        size_t until = count + 1 + (size_t)(round * 37 % 60);
        int fds[2];
        pid_t child;

        assert_int_equal(pipe(fds), 0);
        if ((child = fork()) == 0) {
            promise_until_killed(fds[1]);
            _exit(1);
        }
        close(fds[1]);
        while (count < until && read(fds[0], &promised[count], sizeof *promised) == sizeof *promised)
            count++;
        kill(child, SIGKILL);
        while (read(fds[0], &promised[count], sizeof *promised) == sizeof *promised)
            count++;
        close(fds[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_true(count >= until);
        expect_promises(promised, count);
    }
    free(promised);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_the_evidence),
        TEST(takes_an_empty_hit),
        TEST(moves_from_box_to_box),
        TEST(never_gives_a_number_twice),
        TEST(agrees_on_a_hit_of_ours),
        TEST(ends_a_life_over_a_mark_that_is_not_ours),
        TEST(begins_a_life_in_a_copy),
        TEST(forgets_what_was_kept_long_enough),
        TEST(counts_what_the_mark_passes),
        TEST(tells_how_old_the_oldest_hit_is),
        TEST(keeps_what_lost_its_name),
        TEST(sets_one_aside),
        TEST(stops_at_the_limit),
        TEST(refuses_a_second_daemon),
        TEST(is_private),
        TEST(looks_through_what_may_have_changed),
        TEST(says_why_it_cannot_open),
        TEST(says_that_there_is_no_thread_for_it),
        TEST(leaves_a_foreign_database_alone),
        TEST(carries_format_1_forward),
        TEST(refuses_a_newer_file),
        TEST(keeps_the_identity_of_a_hit),
        TEST(starts_anew_when_damaged),
        TEST(a_disk_that_does_not_read_damages_nothing),
        TEST(goes_on_when_damaged),
        TEST(mends_a_byte_of_the_wal),
        TEST(sets_a_damaged_row_aside),
        TEST(takes_no_number_from_a_damaged_row),
        TEST(commits_for_many),
        TEST(wakes_who_waits),
        TEST(keeps_promises_when_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
