#include "record/spool.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"

enum {
    WHY_SIZE = 256,
    BUSY_MS = 2000, /* while somebody writes to the file with sqlite3(1) */
    LOG_INTERVAL_MS = 60000,
    TEXT_MAX = HIT_TEXT_MAX + 3, /* with the mark of text_printable() where it was cut */
    APPLICATION_ID = 0x48756e79, /* marks a file as ours */
    FORMAT = 1
};

/* Nobody gets here by counting, only by damage; SQLite takes no more hits when it has no more numbers. */
#define NUMBER_MAX (INT64_MAX / 2)
#define NUMBER_MAX_SQL "4611686018427387903"

/* Nor is a row that far ahead of the last number given.  Numbers go on behind the last row: they may leap twice that. */
#define LEAP_MAX (INT64_C(1) << 40)

/* A hit, and what the verdict added: hit_bind(), verdict_bind() and hit_read() go by this order. */
#define HIT_COLUMNS \
    "time_us, client, client_port, client_name, helo, sender, recipients, recipients_total, domains, null_sender, " \
    "exempt, tls, queue_id, mta_name, local"
#define HIT_MARKS "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15"
#define HIT_TYPES \
    "time_us INTEGER NOT NULL, client TEXT NOT NULL, client_port INTEGER NOT NULL, client_name TEXT NOT NULL, " \
    "helo TEXT NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL, recipients_total INTEGER NOT NULL, " \
    "domains TEXT NOT NULL, null_sender INTEGER NOT NULL, exempt INTEGER NOT NULL, tls INTEGER NOT NULL, " \
    "queue_id TEXT NOT NULL, mta_name TEXT NOT NULL, local TEXT NOT NULL"
#define VERDICT_COLUMNS "class, domain, primary_mx, primary_age_ms"
#define VERDICT_MARKS "?16, ?17, ?18, ?19"
#define VERDICT_TYPES \
    "class TEXT NOT NULL, domain TEXT NOT NULL, primary_mx TEXT NOT NULL, primary_age_ms INTEGER NOT NULL"
enum { HIT_COLUMN_COUNT = 15 };

/* AUTOINCREMENT: a number is never given twice, also when the table was empty in between. */
static const char schema[] =
    "CREATE TABLE spool (id TEXT NOT NULL);"
    "CREATE TABLE inbox (id INTEGER PRIMARY KEY AUTOINCREMENT, " HIT_TYPES ");"
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, " HIT_TYPES ", " VERDICT_TYPES ");"
    "CREATE TABLE aside (id INTEGER NOT NULL, " HIT_TYPES ", " VERDICT_TYPES ", "
    "reason TEXT NOT NULL, time TEXT NOT NULL DEFAULT (datetime('now')));";

enum statement { BEGIN, COMMIT, ROLLBACK, PUT, READ_INBOX, LEAVE_INBOX, COPY_INBOX, SEND, READ_OUTBOX, CONFIRM, SKIP,
                 COPY_OUTBOX, LEAVE_OUTBOX, STATEMENT_COUNT };

/* IGNORE: what damage left without a value does not fit. */
#define COPY_ASIDE \
    "INSERT OR IGNORE INTO aside (id, " HIT_COLUMNS ", " VERDICT_COLUMNS ", reason) SELECT id, " HIT_COLUMNS ", "

static const char *const statements[STATEMENT_COUNT] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PUT] = "INSERT INTO inbox (" HIT_COLUMNS ") VALUES (" HIT_MARKS ")",
    [READ_INBOX] = "SELECT id, " HIT_COLUMNS " FROM inbox WHERE id > ?1 ORDER BY id LIMIT ?2",
    [LEAVE_INBOX] = "DELETE FROM inbox WHERE id = ?1",
    [COPY_INBOX] = COPY_ASIDE "'none', '', '', 0, ?2 FROM inbox WHERE id = ?1",
    [SEND] = "INSERT INTO outbox (" HIT_COLUMNS ", " VERDICT_COLUMNS ") VALUES (" HIT_MARKS ", " VERDICT_MARKS ")",
    [READ_OUTBOX] = "SELECT id, " HIT_COLUMNS ", " VERDICT_COLUMNS " FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2",
    [CONFIRM] = "DELETE FROM outbox WHERE id BETWEEN 1 AND ?1",
    [SKIP] = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'outbox'",
    [COPY_OUTBOX] = COPY_ASIDE VERDICT_COLUMNS ", ?2 FROM outbox WHERE id = ?1",
    [LEAVE_OUTBOX] = "DELETE FROM outbox WHERE id = ?1",
};

/* What the file holds, and the highest numbers it ever gave out. */
struct tally {
    struct spool_depth depth;
    int64_t last_inbox, last_outbox;
};

/* One call that waits for its turn.  RUN returns a result code of SQLite; it may be called again after a rollback. */
struct job {
    int (*run)(struct spool *spool, struct job *job);
    struct hit *hits;         /* put: the one; read: room for COUNT */
    const struct hit *judged; /* settle: COUNT of them */
    size_t count, got;
    size_t damaged, lost;     /* read: rows that are no hits, and how many of them `aside` did not take */
    int64_t id;
    const char *reason;
    enum statement read;
    enum spool_status status;
    bool done;
    struct job *next;
};

struct spool {
    char *path;
    int64_t limit;
    int lock_fd;
    char id[SPOOL_ID_SIZE]; /* does not change once spool_open() is through */
    pthread_t thread;

    /* The thread's own. */
    sqlite3 *db; /* NULL: could not be opened, is tried again with each batch */
    sqlite3_stmt *prepared[STATEMENT_COUNT];
    struct tally tally;
    int64_t lost_inbox; /* hits up to this number were in a file that was set aside */
    char why[WHY_SIZE];
    _Atomic int64_t logged_ms;

    pthread_mutex_t mutex; /* covers all below */
    pthread_cond_t work, finished, news;
    struct job *first, **end;
    struct spool_depth depth;
    int64_t announced; /* outbox number */
    uint64_t events;
    bool stopping;
};

/* --- rows --- */

static char *texts_join(char *const *texts, size_t count)
{
    size_t size = 1, used = 0;
    char *joined;

    for (size_t i = 0; i < count; i++)
        size += strlen(texts[i]) + 1;
    joined = alloc_zeroed(size, 1);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(joined + used, size - used, "%s%s", i > 0 ? "\n" : "", texts[i]);
    return joined;
}

static void bind_text(sqlite3_stmt *statement, int *mark, const char *text)
{
    sqlite3_bind_text(statement, (*mark)++, text != NULL ? text : "", -1, SQLITE_TRANSIENT);
}

static void bind_number(sqlite3_stmt *statement, int *mark, int64_t number)
{
    sqlite3_bind_int64(statement, (*mark)++, number);
}

static void bind_texts(sqlite3_stmt *statement, int *mark, char *const *texts, size_t count)
{
    sqlite3_bind_text(statement, (*mark)++, texts_join(texts, count), -1, free);
}

static void hit_bind(sqlite3_stmt *statement, const struct hit *hit)
{
    char address[IPADDR_TEXT_SIZE];
    int mark = 1;

    bind_number(statement, &mark, hit->time_us);
    bind_text(statement, &mark, ipaddr_format(&hit->client, address));
    bind_number(statement, &mark, hit->client_port);
    bind_text(statement, &mark, hit->client_name);
    bind_text(statement, &mark, hit->helo);
    bind_text(statement, &mark, hit->sender);
    bind_texts(statement, &mark, hit->recipients, hit->recipient_count);
    bind_number(statement, &mark, (int64_t)hit->recipients_total);
    bind_texts(statement, &mark, hit->domains, hit->domain_count);
    bind_number(statement, &mark, hit->null_sender);
    bind_number(statement, &mark, hit->exempt);
    bind_number(statement, &mark, hit->tls);
    bind_text(statement, &mark, hit->queue_id);
    bind_text(statement, &mark, hit->mta_name);
    bind_text(statement, &mark, ipaddr_format(&hit->local, address));
}

static void verdict_bind(sqlite3_stmt *statement, const struct hit *hit)
{
    int mark = HIT_COLUMN_COUNT + 1;

    bind_text(statement, &mark, class_name(hit->class));
    bind_text(statement, &mark, hit->domain);
    bind_text(statement, &mark, hit->primary);
    bind_number(statement, &mark, hit->primary_age_ms);
}

/* A row that is being read.  Bit rot that quick_check does not see must not reach judging, terminals and the database:
 * a value that hit_bind() and verdict_bind() would not have written makes the row `damaged`. */
struct row {
    sqlite3_stmt *statement;
    int column; /* the next one */
    bool damaged;
};

/* MAX is the largest that there can be; none is negative. */
static int64_t row_number(struct row *row, int64_t max)
{
    int column = row->column++;
    int64_t number = sqlite3_column_int64(row->statement, column);

    if (sqlite3_column_type(row->statement, column) == SQLITE_INTEGER && number >= 0 && number <= max)
        return number;
    row->damaged = true;
    return 0;
}

static bool row_bool(struct row *row)
{
    return row_number(row, 1) == 1;
}

static char *row_joined(struct row *row)
{
    int column = row->column++;
    bool is_text = sqlite3_column_type(row->statement, column) == SQLITE_TEXT;
    const char *text = is_text ? (const char *)sqlite3_column_text(row->statement, column) : NULL;

    if (text != NULL && strlen(text) == (size_t)sqlite3_column_bytes(row->statement, column))
        return alloc_text(text);
    row->damaged = true;
    return alloc_text("");
}

static void row_check_text(struct row *row, const char *text)
{
    size_t length = strlen(text);

    row->damaged |= length > TEXT_MAX;
    for (size_t i = 0; i < length; i++)
        row->damaged |= text[i] < 0x20 || text[i] > 0x7e;
}

static char *row_text(struct row *row)
{
    char *text = row_joined(row);

    row_check_text(row, text);
    return text;
}

static char **row_texts(struct row *row, size_t limit, size_t *count)
{
    char *joined = row_joined(row), *rest = NULL;
    char **texts = alloc_zeroed(limit, sizeof *texts);

    *count = 0;
    for (char *text = strtok_r(joined, "\n", &rest); text != NULL; text = strtok_r(NULL, "\n", &rest)) {
        if (*count == limit) {
            row->damaged = true;
            break;
        }
        row_check_text(row, text);
        texts[(*count)++] = alloc_text(text);
    }
    free(joined);
    return texts;
}

/* "-" is how ipaddr_format() writes that there is none. */
static struct ipaddr row_address(struct row *row, bool may_be_none)
{
    char *text = row_joined(row);
    struct ipaddr address = {0};

    if (!ipaddr_parse(text, &address) && !(may_be_none && strcmp(text, "-") == 0))
        row->damaged = true;
    free(text);
    return address;
}

static enum hit_class row_class(struct row *row)
{
    char *name = row_joined(row);
    enum hit_class class = CLASS_NONE;

    if (!class_from_name(name, &class) || class == CLASS_NONE)
        row->damaged = true;
    free(name);
    return class;
}

/* LAST: the last number given.  False: the row is damaged, HIT is empty. */
static bool hit_read(sqlite3_stmt *statement, int64_t last, struct hit *hit)
{
    struct row row = {.statement = statement};

    *hit = (struct hit){.id = row_number(&row, last + LEAP_MAX)};
    hit->time_us = row_number(&row, NUMBER_MAX);
    hit->client = row_address(&row, false);
    hit->client_port = (uint16_t)row_number(&row, UINT16_MAX);
    hit->client_name = row_text(&row);
    hit->helo = row_text(&row);
    hit->sender = row_text(&row);
    hit->recipients = row_texts(&row, HIT_RECIPIENT_LIMIT, &hit->recipient_count);
    hit->recipients_total = (size_t)row_number(&row, INT32_MAX);
    hit->domains = row_texts(&row, HIT_DOMAIN_LIMIT, &hit->domain_count);
    hit->null_sender = row_bool(&row);
    hit->exempt = row_bool(&row);
    hit->tls = row_bool(&row);
    hit->queue_id = row_text(&row);
    hit->mta_name = row_text(&row);
    hit->local = row_address(&row, true);
    if (sqlite3_column_count(statement) > row.column) {
        hit->class = row_class(&row);
        hit->domain = row_text(&row);
        hit->primary = row_text(&row);
        hit->primary_age_ms = row_number(&row, NUMBER_MAX);
    }
    if (row.damaged)
        hit_clear(hit);
    return !row.damaged;
}

/* --- the file --- */

/* What SQLite says may have several lines, and names from the file in it. */
static void set_why(struct spool *spool, const char *text)
{
    char line[WHY_SIZE];

    snprintf(line, sizeof line, "%s", text);
    for (char *end = strchr(line, '\n'); end != NULL; end = strchr(end, '\n'))
        *end = ' ';
    text_printable(spool->why, WHY_SIZE, line, strlen(line));
}

static bool is_damage(int result)
{
    return result == SQLITE_CORRUPT || result == SQLITE_NOTADB;
}

/* One number that SQL asks for; 0 when there is no row. */
static int file_number(struct spool *spool, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(spool->db, sql, -1, &statement, NULL);

    *number = 0;
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result;
}

/* One text that SQL asks for, into TEXT. */
static int file_text(struct spool *spool, const char *sql, char *text, size_t size)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(spool->db, sql, -1, &statement, NULL);

    text[0] = '\0';
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        snprintf(text, size, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result;
}

static bool uuid_draw(char id[SPOOL_ID_SIZE])
{
    uint8_t b[16];

    if (getrandom(b, sizeof b, 0) != sizeof b)
        return false;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, RFC 9562 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(id, SPOOL_ID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
             b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return true;
}

static bool is_uuid(const char *text)
{
    for (size_t i = 0; i < SPOOL_ID_SIZE - 1; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    return text[SPOOL_ID_SIZE - 1] == '\0';
}

/* Make the tables.  In place of a file that was set aside while we run, the id and the numbers go on, so that what
 * others remember (numbers of hits, the id) stays true. */
static int file_create(struct spool *spool)
{
    char id[SPOOL_ID_SIZE], *script;
    int result;

    if (spool->id[0] != '\0')
        memcpy(id, spool->id, sizeof id);
    else if (!uuid_draw(id))
        return SQLITE_IOERR;
    script = alloc_format("BEGIN; %s PRAGMA application_id = %d; PRAGMA user_version = %d;"
                          "INSERT INTO spool VALUES ('%s');"
                          "INSERT INTO sqlite_sequence (name, seq) VALUES ('inbox', %lld), ('outbox', %lld); COMMIT",
                          schema, APPLICATION_ID, FORMAT, id, (long long)spool->tally.last_inbox,
                          (long long)spool->tally.last_outbox);
    result = sqlite3_exec(spool->db, script, NULL, NULL, NULL);
    free(script);
    return result;
}

/* Is the file ours and whole?  An empty one is made ours. */
static int file_check(struct spool *spool)
{
    int64_t application, version, tables;
    char answer[WHY_SIZE];
    int result;

    if ((result = file_number(spool, "PRAGMA application_id", &application)) != SQLITE_OK ||
        (result = file_number(spool, "PRAGMA user_version", &version)) != SQLITE_OK ||
        (result = file_number(spool, "SELECT count(*) FROM sqlite_schema", &tables)) != SQLITE_OK)
        return result;
    if (application == 0 && tables == 0)
        return file_create(spool);
    if (application != APPLICATION_ID || version != FORMAT) {
        snprintf(spool->why, WHY_SIZE, "this is no spool of this version (application_id %lld, user_version %lld)",
                 (long long)application, (long long)version);
        return SQLITE_MISUSE;
    }
    result = file_text(spool, "PRAGMA quick_check(1)", answer, sizeof answer);
    if (result != SQLITE_OK || strcmp(answer, "ok") == 0)
        return result;
    set_why(spool, answer);
    return SQLITE_CORRUPT;
}

static int file_prepare(struct spool *spool)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        int result = sqlite3_prepare_v3(spool->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &spool->prepared[i],
                                        NULL);

        if (result != SQLITE_OK)
            return result;
    }
    return SQLITE_OK;
}

/* How many of the two sequences fit the numbers that are there. */
#define COUNT_SEQUENCES \
    "SELECT count(*) FROM sqlite_sequence JOIN " \
    "(SELECT 'inbox' AS name, min(id) AS first, max(id) AS last FROM inbox " \
    "UNION ALL SELECT 'outbox', min(id), max(id) FROM outbox) USING (name) " \
    "WHERE typeof(seq) = 'integer' AND seq BETWEEN ifnull(last, 0) AND " NUMBER_MAX_SQL " AND ifnull(first, 1) > 0"

static int file_count(struct spool *spool)
{
    struct tally tally;
    int64_t sequences;
    char id[SPOOL_ID_SIZE];
    const struct {
        const char *sql;
        int64_t *number;
    } questions[] = {
        {"SELECT count(*) FROM inbox", &tally.depth.inbox},
        {"SELECT count(*) FROM outbox", &tally.depth.outbox},
        {"SELECT count(*) FROM aside", &tally.depth.aside},
        {"SELECT seq FROM sqlite_sequence WHERE name = 'inbox'", &tally.last_inbox},
        {"SELECT seq FROM sqlite_sequence WHERE name = 'outbox'", &tally.last_outbox},
        {COUNT_SEQUENCES, &sequences},
    };
    int result = SQLITE_OK;

    for (size_t i = 0; i < sizeof questions / sizeof *questions && result == SQLITE_OK; i++)
        result = file_number(spool, questions[i].sql, questions[i].number);
    if (result == SQLITE_OK)
        result = file_text(spool, "SELECT id FROM spool", id, sizeof id);
    if (result == SQLITE_OK && (!is_uuid(id) || sequences != 2)) {
        set_why(spool, "the spool has no identity, or numbers that it never gave");
        result = SQLITE_CORRUPT;
    }
    if (result != SQLITE_OK)
        return result;
    spool->tally = tally;
    if (spool->id[0] == '\0')
        memcpy(spool->id, id, sizeof id);
    return SQLITE_OK;
}

/* SQLite would make the file readable for all that the umask lets; -wal and -shm take its mode. */
static bool file_touch(struct spool *spool)
{
    int fd = open(spool->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);

    if (fd < 0) {
        snprintf(spool->why, WHY_SIZE, "open: %s", strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

static void file_close(struct spool *spool)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(spool->prepared[i]);
        spool->prepared[i] = NULL;
    }
    sqlite3_close(spool->db);
    spool->db = NULL;
}

static int file_open_once(struct spool *spool)
{
    int result;

    spool->why[0] = '\0';
    if (!file_touch(spool))
        return SQLITE_CANTOPEN;
    result = sqlite3_open_v2(spool->path, &spool->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    /* As found, with its -wal: closing must not write into a file that turns out to be damaged. */
    sqlite3_db_config(spool->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(spool->db, BUSY_MS);
    if (result == SQLITE_OK)
        result = sqlite3_exec(spool->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL, NULL);
    /* file_touch() could write: it is the header that forbids it. */
    if (sqlite3_db_readonly(spool->db, "main") == 1) {
        set_why(spool, "the header forbids to write");
        result = SQLITE_CORRUPT;
    }
    if (result == SQLITE_OK)
        result = file_check(spool);
    if (result == SQLITE_OK)
        result = file_prepare(spool);
    if (result == SQLITE_OK)
        result = file_count(spool);
    if (result != SQLITE_OK) {
        if (spool->why[0] == '\0')
            set_why(spool, sqlite3_errmsg(spool->db));
        file_close(spool);
    }
    return result == SQLITE_ERROR ? SQLITE_CORRUPT : result; /* our SQL is right: a table is missing, or the like */
}

/* The file first: without its -wal it is an old copy of itself, and nobody could tell. */
static bool file_set_aside(struct spool *spool)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    int64_t now_us = clock_realtime_us();
    time_t now = (time_t)(now_us / 1000000);
    struct tm broken;
    char stamp[32];
    bool moved = true;

    file_close(spool);
    gmtime_r(&now, &broken);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%S", &broken);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes && moved; i++) {
        char *from = alloc_format("%s%s", spool->path, suffixes[i]);
        char *to = alloc_format("%s.damaged-%s.%06dZ%s", spool->path, stamp, (int)(now_us % 1000000), suffixes[i]);

        errno = 0;
        moved = rename(from, to) == 0 || errno == ENOENT;
        if (!moved)
            snprintf(spool->why, WHY_SIZE, "damaged, and cannot be renamed: %s", strerror(errno));
        else if (suffixes[i][0] == '\0' && errno == 0)
            log_event(LOG_LEVEL_ERROR, "spool-damaged file=%s moved_to=%s reason=\"%s\"", from, to, spool->why);
        free(from);
        free(to);
    }
    if (moved)
        spool->lost_inbox = spool->tally.last_inbox;
    return moved;
}

static int file_open(struct spool *spool)
{
    int result;

    /* A crash came before the -wal could follow a damaged file: beside a new one, SQLite would delete it. */
    if (access(spool->path, F_OK) != 0 && errno == ENOENT && !file_set_aside(spool))
        return SQLITE_CANTOPEN;
    result = file_open_once(spool);
    if (is_damage(result) && file_set_aside(spool))
        result = file_open_once(spool);
    return result;
}

/* What the database refused may have been mended there since.  When it cannot be done now, it stays aside. */
static void file_retry_aside(struct spool *spool)
{
    static const char script[] =
        "BEGIN IMMEDIATE;"
        "INSERT INTO outbox (" HIT_COLUMNS ", " VERDICT_COLUMNS ") "
        "SELECT " HIT_COLUMNS ", " VERDICT_COLUMNS " FROM aside ORDER BY rowid;"
        "DELETE FROM aside;"
        "COMMIT";
    int64_t aside = spool->tally.depth.aside;

    if (aside == 0)
        return;
    if (sqlite3_exec(spool->db, script, NULL, NULL, NULL) == SQLITE_OK && file_count(spool) == SQLITE_OK)
        log_event(LOG_LEVEL_INFO, "aside-again hits=%lld", (long long)aside);
    else
        sqlite3_exec(spool->db, "ROLLBACK", NULL, NULL, NULL);
}

/* --- jobs: run in the thread, within a transaction --- */

static int run_statement(struct spool *spool, enum statement which)
{
    sqlite3_stmt *statement = spool->prepared[which];
    int result = sqlite3_step(statement);

    sqlite3_reset(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

/* The same for a statement about the hit ID; *CHANGED gets the number of rows. */
static int run_about(struct spool *spool, enum statement which, int64_t id, int64_t *changed)
{
    int result;

    sqlite3_bind_int64(spool->prepared[which], 1, id);
    result = run_statement(spool, which);
    *changed = result == SQLITE_OK ? sqlite3_changes(spool->db) : 0;
    return result;
}

/* Insert the hit that is bound; *LAST gets its number. */
static int run_insert(struct spool *spool, enum statement which, int64_t *last)
{
    int64_t before = *last;
    int result = run_statement(spool, which);

    if (result == SQLITE_OK)
        *last = sqlite3_last_insert_rowid(spool->db);
    return *last - before > 2 * LEAP_MAX ? SQLITE_CORRUPT : result;
}

static int job_put(struct spool *spool, struct job *job)
{
    struct tally *tally = &spool->tally;
    int result;

    job->status = tally->depth.inbox + tally->depth.outbox + tally->depth.aside >= spool->limit ? SPOOL_FULL : SPOOL_OK;
    if (job->status == SPOOL_FULL)
        return SQLITE_OK;
    hit_bind(spool->prepared[PUT], job->hits);
    result = run_insert(spool, PUT, &tally->last_inbox);
    job->hits->id = tally->last_inbox;
    tally->depth.inbox += result == SQLITE_OK;
    return result;
}

static void job_forget_read(struct job *job)
{
    while (job->got > 0)
        hit_clear(&job->hits[--job->got]);
}

/* *LOST: 1 when `aside` does not take the row. */
static int set_aside(struct spool *spool, enum statement read, int64_t id, const char *reason, size_t *lost)
{
    bool in_inbox = read == READ_INBOX;
    enum statement copy = in_inbox ? COPY_INBOX : COPY_OUTBOX;
    int64_t copied, left = 0;
    int result;

    sqlite3_bind_text(spool->prepared[copy], 2, reason, -1, SQLITE_STATIC);
    result = run_about(spool, copy, id, &copied);
    if (result == SQLITE_OK)
        result = run_about(spool, in_inbox ? LEAVE_INBOX : LEAVE_OUTBOX, id, &left);
    spool->tally.depth.aside += copied;
    *(in_inbox ? &spool->tally.depth.inbox : &spool->tally.depth.outbox) -= left;
    *lost = copied < left;
    return result;
}

/* Read on behind AFTER, which is moved, up to the first row that is damaged (*DAMAGED) or the last that is wanted. */
static int read_on(struct spool *spool, struct job *job, int64_t *after, bool *damaged)
{
    sqlite3_stmt *statement = spool->prepared[job->read];
    int64_t last = job->read == READ_INBOX ? spool->tally.last_inbox : spool->tally.last_outbox;
    int result = SQLITE_DONE;

    *damaged = false;
    sqlite3_bind_int64(statement, 1, *after);
    sqlite3_bind_int64(statement, 2, (int64_t)(job->count - job->got));
    while (!*damaged && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        *after = sqlite3_column_int64(statement, 0);
        *damaged = !hit_read(statement, last, &job->hits[job->got]);
        job->got += !*damaged;
    }
    sqlite3_reset(statement);
    return *damaged || result == SQLITE_DONE ? SQLITE_OK : result;
}

static int job_read(struct spool *spool, struct job *job)
{
    int64_t after = job->id;
    size_t lost;
    bool damaged;
    int result;

    job_forget_read(job);
    job->damaged = job->lost = 0;
    while ((result = read_on(spool, job, &after, &damaged)) == SQLITE_OK && damaged) {
        result = set_aside(spool, job->read, after, "damaged in the spool", &lost);
        if (result != SQLITE_OK)
            break;
        job->damaged++;
        job->lost += lost;
    }
    return result;
}

static int settle_one(struct spool *spool, const struct hit *hit)
{
    int64_t left;
    int result = run_about(spool, LEAVE_INBOX, hit->id, &left);

    spool->tally.depth.inbox -= left;
    /* Not in the inbox: settled before, unless it went with a damaged file and is known in memory only. */
    if (result != SQLITE_OK || hit->class == CLASS_NONE || (left == 0 && hit->id > spool->lost_inbox))
        return result;
    hit_bind(spool->prepared[SEND], hit);
    verdict_bind(spool->prepared[SEND], hit);
    result = run_insert(spool, SEND, &spool->tally.last_outbox);
    spool->tally.depth.outbox += result == SQLITE_OK;
    return result;
}

static int job_settle(struct spool *spool, struct job *job)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < job->count && result == SQLITE_OK; i++)
        result = settle_one(spool, &job->judged[i]);
    return result;
}

static int job_confirm(struct spool *spool, struct job *job)
{
    int64_t changed;
    int result = run_about(spool, CONFIRM, job->id, &changed);

    spool->tally.depth.outbox -= changed;
    /* This file is an old copy: the database knows numbers that it never gave out, and would take them for repeated. */
    if (result == SQLITE_OK && job->id > spool->tally.last_outbox) {
        result = run_about(spool, SKIP, job->id, &changed);
        spool->tally.last_outbox = job->id;
    }
    return result;
}

static int job_set_aside(struct spool *spool, struct job *job)
{
    size_t lost;
    int result = set_aside(spool, READ_OUTBOX, job->id, job->reason, &lost);

    return result == SQLITE_OK && lost > 0 ? SQLITE_CONSTRAINT : result;
}

/* --- the thread --- */

/* The jobs from FIRST up to END in one transaction: all or none. */
static int group_run(struct spool *spool, struct job *first, const struct job *end)
{
    struct tally before = spool->tally;
    int result = run_statement(spool, BEGIN);

    for (struct job *job = first; job != end && result == SQLITE_OK; job = job->next)
        result = job->run(spool, job);
    if (result == SQLITE_OK)
        result = run_statement(spool, COMMIT);
    if (result == SQLITE_OK)
        return SQLITE_OK;
    set_why(spool, sqlite3_errcode(spool->db) == SQLITE_OK ? sqlite3_errstr(result) : sqlite3_errmsg(spool->db));
    if (!sqlite3_get_autocommit(spool->db))
        (void)run_statement(spool, ROLLBACK);
    spool->tally = before;
    return result;
}

/* The same; opens the file when it is not, and goes on with a new one when it is damaged. */
static int group_run_safely(struct spool *spool, struct job *first, const struct job *end)
{
    int result = spool->db != NULL ? SQLITE_OK : file_open(spool);

    if (result == SQLITE_OK)
        result = group_run(spool, first, end);
    if (is_damage(result) && spool->db != NULL && file_set_aside(spool) && (result = file_open(spool)) == SQLITE_OK)
        result = group_run(spool, first, end);
    return result;
}

static void group_fail(struct spool *spool, struct job *first, const struct job *end)
{
    for (struct job *job = first; job != end; job = job->next)
        job->status = SPOOL_FAILED;
    if (log_is_due(&spool->logged_ms, LOG_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR, "spool-error file=%s reason=\"%s\"", spool->path, spool->why);
}

static void batch_run(struct spool *spool, struct job *first)
{
    int result = group_run_safely(spool, first, NULL);

    if (result == SQLITE_OK)
        return;
    /* Whoever holds the file holds it against each of them: do not wait for each. */
    if (result == SQLITE_BUSY || spool->db == NULL) {
        group_fail(spool, first, NULL);
        return;
    }
    for (struct job *job = first; job != NULL; job = job->next)
        if (group_run_safely(spool, job, job->next) != SQLITE_OK)
            group_fail(spool, job, job->next);
}

/* All jobs that wait; NULL when it is time to end. */
static struct job *batch_take(struct spool *spool)
{
    struct job *first;

    pthread_mutex_lock(&spool->mutex);
    while (spool->first == NULL && !spool->stopping)
        pthread_cond_wait(&spool->work, &spool->mutex);
    first = spool->first;
    spool->first = NULL;
    spool->end = &spool->first;
    pthread_mutex_unlock(&spool->mutex);
    return first;
}

static void batch_finish(struct spool *spool, struct job *first)
{
    pthread_mutex_lock(&spool->mutex);
    spool->depth = spool->tally.depth;
    if (spool->announced != spool->tally.last_outbox) {
        spool->announced = spool->tally.last_outbox;
        spool->events++;
        pthread_cond_broadcast(&spool->news);
    }
    for (struct job *job = first; job != NULL; job = job->next)
        job->done = true;
    pthread_cond_broadcast(&spool->finished);
    pthread_mutex_unlock(&spool->mutex);
}

static void *spool_thread(void *argument)
{
    struct spool *spool = argument;
    struct job *batch;

    while ((batch = batch_take(spool)) != NULL) {
        batch_run(spool, batch);
        batch_finish(spool, batch);
    }
    return NULL;
}

static enum spool_status job_submit(struct spool *spool, struct job *job)
{
    pthread_mutex_lock(&spool->mutex);
    *spool->end = job;
    spool->end = &job->next;
    pthread_cond_signal(&spool->work);
    while (!job->done)
        pthread_cond_wait(&spool->finished, &spool->mutex);
    pthread_mutex_unlock(&spool->mutex);
    return job->status;
}

/* --- open and close --- */

static enum spool_status lock_take(struct spool *spool)
{
    char *path = alloc_format("%s.lock", spool->path);
    enum spool_status status = SPOOL_OK;

    spool->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (spool->lock_fd < 0 || flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        status = spool->lock_fd >= 0 && errno == EWOULDBLOCK ? SPOOL_LOCKED : SPOOL_FAILED;
        snprintf(spool->why, WHY_SIZE, "lock: %s", status == SPOOL_LOCKED ? "held by another process" : strerror(errno));
    }
    free(path);
    return status;
}

static void spool_free(struct spool *spool)
{
    /* In good order: let the file be one file again. */
    if (spool->db != NULL)
        sqlite3_db_config(spool->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    file_close(spool);
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    pthread_cond_destroy(&spool->news);
    pthread_cond_destroy(&spool->finished);
    pthread_cond_destroy(&spool->work);
    pthread_mutex_destroy(&spool->mutex);
    free(spool->path);
    free(spool);
}

static bool start_spool_thread(struct spool *spool)
{
    int failed = thread_start(&spool->thread, "spool", spool_thread, spool);

    if (failed != 0)
        snprintf(spool->why, WHY_SIZE, "thread: %s", strerror(failed));
    return failed == 0;
}

enum spool_status spool_open(struct spool **opened, const char *path, int64_t limit, char *why, size_t why_size)
{
    struct spool *spool = alloc_zeroed(1, sizeof *spool);
    enum spool_status status;

    *opened = NULL;
    spool->path = alloc_text(path);
    spool->limit = limit;
    spool->end = &spool->first;
    pthread_mutex_init(&spool->mutex, NULL);
    pthread_cond_init(&spool->work, NULL);
    pthread_cond_init(&spool->finished, NULL);
    pthread_cond_init(&spool->news, NULL);
    status = lock_take(spool);
    if (status == SPOOL_OK && file_open(spool) != SQLITE_OK)
        status = SPOOL_FAILED;
    if (status == SPOOL_OK)
        file_retry_aside(spool);
    spool->depth = spool->tally.depth;
    spool->announced = spool->tally.last_outbox;
    spool->events = spool->depth.outbox > 0;
    if (status == SPOOL_OK && !start_spool_thread(spool))
        status = SPOOL_FAILED;
    if (status == SPOOL_OK) {
        *opened = spool;
    } else {
        snprintf(why, why_size, "%s", spool->why);
        spool_free(spool);
    }
    return status;
}

void spool_close(struct spool **spool)
{
    if (*spool == NULL)
        return;
    pthread_mutex_lock(&(*spool)->mutex);
    (*spool)->stopping = true;
    pthread_cond_signal(&(*spool)->work);
    pthread_mutex_unlock(&(*spool)->mutex);
    pthread_join((*spool)->thread, NULL);
    spool_free(*spool);
    *spool = NULL;
}

/* --- calls --- */

const char *spool_id(const struct spool *spool)
{
    return spool->id;
}

enum spool_status spool_put(struct spool *spool, struct hit *hit)
{
    return job_submit(spool, &(struct job){.run = job_put, .hits = hit});
}

static enum spool_status spool_read(struct spool *spool, enum statement read, int64_t after, struct hit *hits,
                                    size_t max, size_t *count)
{
    struct job job = {.run = job_read, .read = read, .id = after, .hits = hits, .count = max};
    enum spool_status status = job_submit(spool, &job);

    if (status != SPOOL_OK)
        job_forget_read(&job);
    if (status == SPOOL_OK && job.damaged > 0) {
        counter_add(COUNTER_SET_ASIDE, job.damaged - job.lost);
        counter_add(COUNTER_LOST, job.lost);
        log_event(LOG_LEVEL_ERROR, "set-aside hits=%zu lost=%zu reason=\"damaged in the spool\"", job.damaged, job.lost);
    }
    *count = job.got;
    return status;
}

enum spool_status spool_read_inbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
{
    return spool_read(spool, READ_INBOX, after, hits, max, count);
}

enum spool_status spool_read_outbox(struct spool *spool, int64_t after, struct hit *hits, size_t max, size_t *count)
{
    return spool_read(spool, READ_OUTBOX, after, hits, max, count);
}

enum spool_status spool_settle(struct spool *spool, const struct hit *hits, size_t count)
{
    return job_submit(spool, &(struct job){.run = job_settle, .judged = hits, .count = count});
}

enum spool_status spool_confirm(struct spool *spool, int64_t last)
{
    return job_submit(spool, &(struct job){.run = job_confirm, .id = last});
}

enum spool_status spool_set_aside(struct spool *spool, int64_t id, const char *reason)
{
    return job_submit(spool, &(struct job){.run = job_set_aside, .id = id, .reason = reason});
}

void spool_depth(struct spool *spool, struct spool_depth *depth)
{
    pthread_mutex_lock(&spool->mutex);
    *depth = spool->depth;
    pthread_mutex_unlock(&spool->mutex);
}

void spool_wait_outbox(struct spool *spool, uint64_t *seen, int64_t deadline_ms)
{
    struct timespec deadline = clock_timespec(deadline_ms);

    pthread_mutex_lock(&spool->mutex);
    while (spool->events == *seen &&
           pthread_cond_clockwait(&spool->news, &spool->mutex, CLOCK_MONOTONIC, &deadline) != ETIMEDOUT)
        ;
    *seen = spool->events;
    pthread_mutex_unlock(&spool->mutex);
}

void spool_wake(struct spool *spool)
{
    pthread_mutex_lock(&spool->mutex);
    spool->events++;
    pthread_cond_broadcast(&spool->news);
    pthread_mutex_unlock(&spool->mutex);
}
