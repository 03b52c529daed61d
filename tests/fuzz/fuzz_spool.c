/* Rows of a damaged spool: whatever bit rot leaves in them, in a file that is in order as far as SQLite can tell.
 *
 * One spool stays open.  A second connection, for which the columns have neither types nor constraints, writes the rows
 * of the input, and then they go the way of all hits.  A row of the input is its box, the distance from the number
 * before, and patches: each a column, the kind of its new value, and the value.
 *
 * fuzz-sources: src/record/spool*.c src/record/hit.c
 * fuzz-libraries: -lsqlite3
 * fuzz-options: -detect_leaks=0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/log.h"
#include "fuzz.h"
#include "record/spool.h"

enum {
    ROWS_MAX = 6,
    READ_MAX = 2,
    COLUMNS = 22,
    TEXT_MAX = HIT_TEXT_MAX + 3,
    LONG_TEXT = 64,
    PASSAGE_EVERY = 8, /* inputs, for speed */
    ASIDE_MAX = 100
};
enum box { INBOX, OUTBOX, BOXES };

#define NEAR (INT64_C(1) << 32)  /* a number up to there may be true */
#define WORN (INT64_C(1) << 60)  /* leaps used up the numbers: begin anew */

static const char *const tables[BOXES] = {"inbox", "outbox"};
static const char *const columns[COLUMNS] = {
    "hit_id", "time_us", "client", "client_port", "client_name", "helo", "sender", "recipients", "recipients_total", "domains",
    "null_sender", "exempt", "tls", "queue_id", "mta_name", "local", "class", "domain", "primary_mx", "primary_age_ms",
    "link", "doubt"};
static const int column_counts[BOXES] = {16, COLUMNS};
static const char *const sound[COLUMNS] = {
    "018bcfe5-6800-7abc-8def-0123456789ab", "#1700000000000000", "203.0.113.7", "#65535", "[203.0.113.7]", "helo.example", "a@b.example",
    "c@one.example\nd@two.example", "#2", "one.example\ntwo.example", "#0", "#1", "#1", "4Zz1", "mx2.example.org", "-",
    "backup", "one.example", "mx1.example.org", "#398999", "0d1e2f30-4151-4263-8748-596a7b8c9dae",
    "#1"};

static char folder[64], path[80];
static struct spool *spool;
static sqlite3 *raw;
static sqlite3_stmt *insert[BOXES], *number_again[BOXES], *begin_again, *commit;
static bool has_left; /* the file has rows of the input before */
static int64_t last[BOXES]; /* the last number that the spool gave */

/* What the input wrote. */
static struct row {
    enum box box;
    int64_t id;
    bool is_sound, lacks_values;
} rows[ROWS_MAX];
static size_t row_count;

static const uint8_t *rest;
static size_t rest_size;

/* --- the input --- */

static unsigned take_byte(void)
{
    if (rest_size == 0)
        return 0;
    rest_size--;
    return *rest++;
}

static uint64_t take_number(void)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | take_byte();
    return number;
}

static const uint8_t *take_bytes(size_t *length)
{
    const uint8_t *bytes;

    *length = take_byte();
    bytes = rest;
    if (*length > rest_size)
        *length = rest_size;
    rest += *length;
    rest_size -= *length;
    return bytes;
}

/* --- the second connection --- */

static void run_raw(const char *sql)
{
    FUZZ_REQUIRE(sqlite3_exec(raw, sql, NULL, NULL, NULL) == SQLITE_OK);
}

static void step_raw(sqlite3_stmt *statement)
{
    FUZZ_REQUIRE(sqlite3_step(statement) == SQLITE_DONE);
    sqlite3_reset(statement);
}

static void bind_sound(sqlite3_stmt *statement, int column)
{
    const char *value = sound[column];

    if (value[0] == '#')
        sqlite3_bind_int64(statement, column + 2, strtoll(value + 1, NULL, 10));
    else
        sqlite3_bind_text(statement, column + 2, value, -1, SQLITE_STATIC);
}

static void bind_rotten(sqlite3_stmt *statement, int column)
{
    char *copy = sqlite3_mprintf("%s", sound[column]);
    size_t length = strlen(copy), at = take_byte() % length;

    copy[at] = (char)take_byte();
    sqlite3_bind_text(statement, column + 2, copy, (int)length, sqlite3_free);
}

static void bind_long(sqlite3_stmt *statement, int column)
{
    size_t length = take_byte() * LONG_TEXT;
    char byte = (char)take_byte(), *text = sqlite3_malloc64(length + 1);

    memset(text, byte, length + 1);
    sqlite3_bind_text(statement, column + 2, text, (int)length, sqlite3_free);
}

/* False: it is NULL. */
static bool bind_patch(sqlite3_stmt *statement, int column)
{
    uint64_t number;
    double real;
    const uint8_t *bytes;
    size_t length;

    switch (take_byte() % 8) {
    case 0:
        sqlite3_bind_null(statement, column + 2);
        return false;
    case 1:
        sqlite3_bind_int64(statement, column + 2, (int64_t)take_number());
        break;
    case 2:
        sqlite3_bind_int64(statement, column + 2, (int8_t)take_byte());
        break;
    case 3:
        number = take_number();
        memcpy(&real, &number, sizeof real);
        sqlite3_bind_double(statement, column + 2, real);
        return real == real; /* NaN is NULL */
    case 4:
        bytes = take_bytes(&length);
        sqlite3_bind_blob(statement, column + 2, bytes, (int)length, SQLITE_STATIC);
        break;
    case 5:
        bind_rotten(statement, column);
        break;
    case 6:
        bind_long(statement, column);
        break;
    default:
        bytes = take_bytes(&length);
        sqlite3_bind_text(statement, column + 2, (const char *)bytes, (int)length, SQLITE_STATIC);
    }
    return true;
}

static void write_row(int64_t before[BOXES])
{
    struct row *row = &rows[row_count];
    unsigned head = take_byte(), distance = take_byte();
    int patches = (int)(head >> 1) % 8;
    sqlite3_stmt *statement;

    row->box = head & 1 ? OUTBOX : INBOX;
    row->id = distance == 255 ? (int64_t)take_number() : before[row->box] + 1 + distance % 16;
    row->is_sound = patches == 0 && row->id > 0 && row->id < last[row->box] + NEAR;
    row->lacks_values = false;
    statement = insert[row->box];
    sqlite3_bind_int64(statement, 1, row->id);
    for (int i = 0; i < column_counts[row->box]; i++)
        bind_sound(statement, i);
    while (patches-- > 0)
        row->lacks_values |= !bind_patch(statement, (int)take_byte() % column_counts[row->box]);
    if (sqlite3_step(statement) == SQLITE_DONE && sqlite3_changes(raw) == 1) {
        row_count++;
        has_left |= row->id <= 0;
        if (distance != 255)
            before[row->box] = row->id;
    }
    sqlite3_reset(statement);
}

/* In place of what was there; bit rot in a row does not change what the spool knows of its numbers. */
static void write_rows(void)
{
    int64_t before[BOXES] = {last[INBOX], last[OUTBOX]};

    step_raw(begin_again);
    if (has_left)
        run_raw("DELETE FROM inbox; DELETE FROM outbox; DELETE FROM aside");
    has_left = false;
    for (row_count = 0; row_count < ROWS_MAX && rest_size > 0;)
        write_row(before);
    for (int box = 0; box < BOXES; box++) {
        sqlite3_bind_int64(number_again[box], 1, last[box]);
        step_raw(number_again[box]);
    }
    step_raw(commit);
}

static void prepare(sqlite3_stmt **statement, char *sql)
{
    FUZZ_REQUIRE(sqlite3_prepare_v2(raw, sql, -1, statement, NULL) == SQLITE_OK);
    sqlite3_free(sql);
}

static char *insert_sql(enum box box)
{
    char *names = sqlite3_mprintf("id"), *marks = sqlite3_mprintf("?");

    for (int i = 0; i < column_counts[box]; i++) {
        names = sqlite3_mprintf("%z, %s", names, columns[i]);
        marks = sqlite3_mprintf("%z, ?", marks);
    }
    return sqlite3_mprintf("INSERT OR IGNORE INTO %s (%z) VALUES (%z)", tables[box], names, marks);
}

/* The spool has read its schema and does not look again. */
static void raw_open(void)
{
    FUZZ_REQUIRE(sqlite3_open(path, &raw) == SQLITE_OK);
    run_raw("PRAGMA writable_schema = on;"
            "UPDATE sqlite_schema SET sql = replace(replace(sql, ' TEXT NOT NULL', ''), ' INTEGER NOT NULL', '') "
            "WHERE name IN ('inbox', 'outbox')");
    sqlite3_close(raw);
    FUZZ_REQUIRE(sqlite3_open(path, &raw) == SQLITE_OK);
    run_raw("PRAGMA synchronous = off");
    prepare(&begin_again, sqlite3_mprintf("BEGIN IMMEDIATE"));
    prepare(&commit, sqlite3_mprintf("COMMIT"));
    for (int box = 0; box < BOXES; box++) {
        prepare(&insert[box], insert_sql(box));
        prepare(&number_again[box], sqlite3_mprintf("UPDATE sqlite_sequence SET seq = ? WHERE name = %Q", tables[box]));
    }
}

/* --- what must hold --- */

static void require_text(const char *text)
{
    FUZZ_REQUIRE(text != NULL && strlen(text) <= TEXT_MAX);
    for (; *text != '\0'; text++)
        FUZZ_REQUIRE(*text >= ' ' && *text <= '~');
}

static void require_texts(char *const *texts, size_t count, size_t limit)
{
    FUZZ_REQUIRE(count <= limit);
    for (size_t i = 0; i < count; i++) {
        FUZZ_REQUIRE(texts[i][0] != '\0');
        require_text(texts[i]);
    }
}

static void require_hit(const struct hit *hit, enum box box)
{
    FUZZ_REQUIRE(uuid_is_valid(hit->uuid));
    FUZZ_REQUIRE(hit->time_us >= 0 && hit->time_us < INT64_MAX / 2 + 1);
    FUZZ_REQUIRE(hit->client.family == 4 || hit->client.family == 6);
    FUZZ_REQUIRE(hit->local.family == 0 || hit->local.family == 4 || hit->local.family == 6);
    FUZZ_REQUIRE(hit->recipients_total <= INT32_MAX);
    require_texts(hit->recipients, hit->recipient_count, HIT_RECIPIENT_LIMIT);
    require_texts(hit->domains, hit->domain_count, HIT_DOMAIN_LIMIT);
    require_text(hit->client_name);
    require_text(hit->helo);
    require_text(hit->sender);
    require_text(hit->queue_id);
    require_text(hit->mta_name);
    if (box == INBOX)
        return;
    FUZZ_REQUIRE(hit->class >= CLASS_TRAP && hit->class <= CLASS_ADDRESS);
    require_text(hit->domain);
    require_text(hit->primary);
    FUZZ_REQUIRE(hit->primary_age_ms >= 0);
}

/* No sound row is between AFTER and ID. */
static void require_none_between(enum box box, int64_t after, int64_t id)
{
    for (size_t i = 0; i < row_count; i++)
        FUZZ_REQUIRE(rows[i].box != box || !rows[i].is_sound || rows[i].id <= after || rows[i].id >= id);
}

static void require_written(enum box box, int64_t id)
{
    size_t i = 0;

    while (i < row_count && (rows[i].box != box || rows[i].id != id))
        i++;
    FUZZ_REQUIRE(i < row_count);
}

/* Of the life that there is, at NUMBER; which hit that is does not matter here. */
static const struct spool_mark *mark_at(int64_t number)
{
    static struct spool_mark mark;

    FUZZ_REQUIRE(spool_mark(spool, &mark) == SPOOL_OK);
    mark.number = number;
    return &mark;
}

static size_t read_on(enum box box, int64_t *after, struct hit *hits)
{
    size_t count;

    if (box == INBOX)
        FUZZ_REQUIRE(spool_read_inbox(spool, *after, hits, READ_MAX, &count) == SPOOL_OK);
    else
        FUZZ_REQUIRE(spool_read_outbox(spool, mark_at(*after), hits, READ_MAX, &count) == SPOOL_OK);
    for (size_t i = 0; i < count; i++) {
        FUZZ_REQUIRE(hits[i].id > *after);
        require_none_between(box, *after, hits[i].id);
        require_hit(&hits[i], box);
        *after = hits[i].id;
    }
    if (count < READ_MAX)
        require_none_between(box, *after, INT64_MAX);
    return count;
}

static void clear_hits(struct hit *hits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hit_clear(&hits[i]);
}

/* As the shipper does; returns how many hits there were. */
static size_t empty_outbox(void)
{
    struct hit hits[READ_MAX];
    size_t count, all = 0;
    int64_t after = 0;

    do {
        count = read_on(OUTBOX, &after, hits);
        for (size_t i = 0; i < count; i++)
            require_written(OUTBOX, hits[i].id);
        if (count > 0 && hits[0].tls)
            FUZZ_REQUIRE(spool_set_aside(spool, hits[0].id, "refused") == SPOOL_OK);
        else
            all += count > 0;
        all += count > 1;
        if (count > 0)
            FUZZ_REQUIRE(spool_confirm(spool, mark_at(after)) == SPOOL_OK);
        clear_hits(hits, count);
    } while (count == READ_MAX);
    if (after > last[OUTBOX])
        last[OUTBOX] = after;
    return all;
}

/* As judging does, to whom all is a friend. */
static size_t empty_inbox(void)
{
    struct hit hits[READ_MAX];
    size_t count, all = 0;
    int64_t after = 0;

    do {
        count = read_on(INBOX, &after, hits);
        for (size_t i = 0; i < count; i++)
            require_written(INBOX, hits[i].id);
        if (count > 0)
            FUZZ_REQUIRE(spool_settle(spool, hits, count) == SPOOL_OK);
        all += count;
        clear_hits(hits, count);
    } while (count == READ_MAX);
    return all;
}

/* The next hit goes its way as if nothing had been. */
static void require_passage(void)
{
    struct hit hit = {.time_us = 1, .client.family = 4}, got[READ_MAX];
    int64_t after = last[INBOX];

    FUZZ_REQUIRE(spool_put(spool, &hit) == SPOOL_OK && hit.id > last[INBOX]);
    last[INBOX] = hit.id;
    FUZZ_REQUIRE(read_on(INBOX, &after, got) == 1 && after == hit.id);
    hit_clear(got);
    hit.class = CLASS_TRAP;
    FUZZ_REQUIRE(spool_settle(spool, &hit, 1) == SPOOL_OK);
    after = last[OUTBOX];
    FUZZ_REQUIRE(read_on(OUTBOX, &after, got) == 1 && got->class == CLASS_TRAP);
    hit_clear(got);
    FUZZ_REQUIRE(spool_confirm(spool, mark_at(after)) == SPOOL_OK);
    last[OUTBOX] = after;
}

/* --- begin and end --- */

static void remove_files(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    char name[96];

    for (int box = 0; box < BOXES; box++) {
        sqlite3_finalize(insert[box]);
        sqlite3_finalize(number_again[box]);
    }
    sqlite3_finalize(begin_again);
    sqlite3_finalize(commit);
    FUZZ_REQUIRE(sqlite3_close(raw) == SQLITE_OK);
    spool_close(&spool);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static void finish(void)
{
    remove_files();
    rmdir(folder);
}

static void begin(void)
{
    char why[256];

    if (folder[0] == '\0') {
        snprintf(folder, sizeof folder, "%s/fuzz-spool.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        FUZZ_REQUIRE(mkdtemp(folder) != NULL && atexit(finish) == 0);
        snprintf(path, sizeof path, "%s/db", folder);
        log_set_level(-1);
    }
    FUZZ_REQUIRE(spool_open(&spool, path, INT32_MAX, 0, why, sizeof why) == SPOOL_OK);
    raw_open();
    last[INBOX] = last[OUTBOX] = 0;
}

/* How many rows of BOX there are that somebody who reads upwards from 0 comes upon. */
static size_t count_rows(enum box box, bool with_nothing)
{
    size_t count = 0;

    for (size_t i = 0; i < row_count; i++)
        count += rows[i].box == box && rows[i].id > 0 && (with_nothing || !rows[i].lacks_values);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int64_t aside;
    struct spool_depth before, after;
    size_t handed, kept;

    if (spool == NULL)
        begin();
    rest = data;
    rest_size = size;
    write_rows();
    spool_depth(spool, &before);
    handed = count_rows(OUTBOX, true) > 0 ? empty_outbox() : 0;
    handed += count_rows(INBOX, true) > 0 ? empty_inbox() : 0;
    spool_depth(spool, &after);
    FUZZ_REQUIRE(before.inbox - after.inbox == (int64_t)count_rows(INBOX, true));
    FUZZ_REQUIRE(before.outbox - after.outbox == (int64_t)count_rows(OUTBOX, true));
    aside += after.aside - before.aside;
    if (aside > ASIDE_MAX) {
        has_left = true;
        aside = 0;
    }
    kept = handed + (size_t)(after.aside - before.aside);
    FUZZ_REQUIRE(kept <= count_rows(INBOX, true) + count_rows(OUTBOX, true));
    FUZZ_REQUIRE(kept >= count_rows(INBOX, false) + count_rows(OUTBOX, false));
    row_count = 0;
    if (size % PASSAGE_EVERY == 0)
        require_passage();
    if (last[INBOX] > WORN || last[OUTBOX] > WORN) {
        remove_files();
        begin();
    }
    return 0;
}
