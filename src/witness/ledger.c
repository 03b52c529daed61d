#include "witness/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"


enum {
    APPLICATION_NUMBER = 0x48757769, /* marks a file as a witness's */
    LEDGER_FORMAT = 1,
    HOUR_S = 3600,
    STALE_S = 86400 /* nobody answers DATA that late */
};

/* `visit` has a row for an hour of a client: the first and the last time it was seen in it, or turned away. */
static const char schema_sql[] =
    "CREATE TABLE place (log TEXT PRIMARY KEY, device INTEGER, inode INTEGER, position INTEGER, head BLOB, tail BLOB, "
    "stamp INTEGER, cursor TEXT) WITHOUT ROWID;"
    "CREATE TABLE letter (id TEXT, key INTEGER, began INTEGER NOT NULL, client BLOB, sender BLOB, accepted INTEGER, "
    "named INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (id, key)) WITHOUT ROWID;"
    "CREATE INDEX letter_began ON letter (began);"
    "CREATE TABLE recipient (id TEXT, key INTEGER, address BLOB, domain BLOB, PRIMARY KEY (id, key, address)) WITHOUT ROWID;"
    "CREATE TABLE arrived (number INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL, time INTEGER NOT NULL, "
    "what INTEGER NOT NULL, UNIQUE (hash, time, what));"
    "CREATE INDEX arrived_time ON arrived (time);"
    "CREATE TABLE visit (client BLOB, hour INTEGER, first INTEGER, last INTEGER, refused_first INTEGER, "
    "refused_last INTEGER, letters INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (client, hour)) WITHOUT ROWID;"
    "CREATE INDEX visit_hour ON visit (hour);"
    "CREATE TABLE hit (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, "
    "client BLOB NOT NULL, looked INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX hit_time ON hit (time);"
    "CREATE INDEX hit_to_look ON hit (time) WHERE looked = 0;"
    "CREATE TABLE hit_hash (hash BLOB, hit INTEGER, what INTEGER, PRIMARY KEY (hash, hit, what)) WITHOUT ROWID;"
    "CREATE INDEX hit_hash_hit ON hit_hash (hit);"
    "CREATE TABLE finding (hit TEXT, what INTEGER, time INTEGER, told INTEGER NOT NULL DEFAULT 0, "
    "PRIMARY KEY (hit, what)) WITHOUT ROWID;"
    "CREATE INDEX finding_untold ON finding (hit) WHERE told = 0;"
    "CREATE TABLE watched (since INTEGER PRIMARY KEY, until INTEGER NOT NULL, keys TEXT NOT NULL, told INTEGER);"
    "CREATE TABLE probe (address TEXT, time INTEGER, told INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (address, time)) "
    "WITHOUT ROWID;"
    "CREATE INDEX probe_untold ON probe (time) WHERE told = 0;"
    "CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
    "INSERT INTO note VALUES ('matched', '0'), ('met', '0');";

enum query {
    Q_BEGIN, Q_COMMIT, Q_ROLLBACK,
    Q_LETTER_CLIENT, Q_LETTER_SENDER, Q_LETTER_GET, Q_LETTER_ACCEPT, Q_LETTER_NAMED, Q_LETTER_CLOSE,
    Q_RECIPIENT_PUT, Q_RECIPIENT_GET, Q_RECIPIENT_CLOSE, Q_ARRIVED,
    Q_VISIT, Q_VISIT_REFUSED, Q_VISIT_LETTER, Q_LETTER_COUNT,
    Q_PLACE_GET, Q_PLACE_SET, Q_STRETCH_LAST, Q_STRETCH_SET, Q_STRETCH_UNTOLD, Q_STRETCH_TOLD,
    Q_HIT_PUT, Q_HIT_NUMBER, Q_HIT_HASH, Q_MATCH_ARRIVED, Q_MATCH_HITS, Q_LOOK_SEEN, Q_LOOK_REFUSED, Q_LOOKED,
    Q_FINDING_UNTOLD, Q_FINDING_TOLD, Q_PROBE_PUT, Q_PROBE_UNTOLD, Q_PROBE_TOLD, Q_NOTE_GET, Q_NOTE_SET, Q_COUNT
};

#define MATCH \
    "INSERT OR IGNORE INTO finding (hit, what, time) SELECT h.id, CASE a.what WHEN 0 THEN w.what ELSE 2 END, min(a.time) "
#define MATCH_WINDOW \
    "a.time BETWEEN h.time - 300000000 AND h.time + 432000000000 GROUP BY 1, 2"
/* Hours that may hold a time from ?-24 h to the hit's own. */
#define LOOK(what, first, last) \
    "INSERT OR IGNORE INTO finding (hit, what, time) SELECT h.id, " what ", max(min(v." last ", h.time)) FROM hit h " \
    "JOIN visit v ON v.client = h.client AND v.hour BETWEEN h.time / 3600000000 - 24 AND h.time / 3600000000 " \
    "WHERE h.looked = 0 AND h.time <= ?1 AND v." first " <= h.time AND v." last " >= h.time - 86400000000 GROUP BY h.id"

static const char *const queries[Q_COUNT] = {
    [Q_BEGIN] = "BEGIN IMMEDIATE",
    [Q_COMMIT] = "COMMIT",
    [Q_ROLLBACK] = "ROLLBACK",
    [Q_LETTER_CLIENT] = "INSERT OR REPLACE INTO letter (id, key, began, client) VALUES (?1, ?2, ?3, ?4)",
    [Q_LETTER_SENDER] = "INSERT INTO letter (id, key, began, sender) VALUES (?1, ?2, ?3, ?4) "
                        "ON CONFLICT (id, key) DO UPDATE SET sender = excluded.sender",
    [Q_LETTER_GET] = "SELECT sender, client, accepted FROM letter WHERE id = ?1 AND key = ?2",
    [Q_LETTER_ACCEPT] = "UPDATE letter SET accepted = ?3 WHERE id = ?1 AND key = ?2",
    [Q_LETTER_NAMED] = "UPDATE letter SET named = 1 WHERE id = ?1 AND named = 0",
    [Q_LETTER_CLOSE] = "DELETE FROM letter WHERE id = ?1",
    [Q_RECIPIENT_PUT] = "INSERT OR IGNORE INTO recipient VALUES (?1, ?2, ?3, ?4)",
    [Q_RECIPIENT_GET] = "SELECT address, domain FROM recipient WHERE id = ?1 AND key = ?2",
    [Q_RECIPIENT_CLOSE] = "DELETE FROM recipient WHERE id = ?1",
    [Q_ARRIVED] = "INSERT OR IGNORE INTO arrived (hash, time, what) VALUES (?1, ?2, ?3)",
    [Q_VISIT] = "INSERT INTO visit (client, hour, first, last) VALUES (?1, ?2, ?3, ?3) ON CONFLICT (client, hour) DO UPDATE "
                "SET first = min(coalesce(first, ?3), ?3), last = max(coalesce(last, ?3), ?3)",
    [Q_VISIT_REFUSED] = "UPDATE visit SET refused_first = min(coalesce(refused_first, ?3), ?3), "
                        "refused_last = max(coalesce(refused_last, ?3), ?3) WHERE client = ?1 AND hour = ?2",
    [Q_VISIT_LETTER] = "UPDATE visit SET letters = letters + 1 WHERE client = ?1 AND hour = ?2",
    [Q_LETTER_COUNT] = "SELECT coalesce(sum(letters), 0) FROM visit WHERE client = ?1 AND hour >= ?2",
    [Q_PLACE_GET] = "SELECT device, inode, position, head, tail, stamp, cursor FROM place WHERE log = ?1",
    [Q_PLACE_SET] = "INSERT OR REPLACE INTO place VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [Q_STRETCH_LAST] = "SELECT since, until, keys FROM watched ORDER BY since DESC LIMIT 1",
    [Q_STRETCH_SET] = "INSERT INTO watched (since, until, keys) VALUES (?1, ?2, ?3) ON CONFLICT (since) DO UPDATE SET "
                      "until = ?2, keys = ?3",
    [Q_STRETCH_UNTOLD] = "SELECT since, until, keys FROM watched WHERE told IS NOT until ORDER BY since LIMIT ?1",
    [Q_STRETCH_TOLD] = "UPDATE watched SET told = ?2 WHERE since = ?1",
    [Q_HIT_PUT] = "INSERT OR IGNORE INTO hit (id, time, client) VALUES (?1, ?2, ?3)",
    [Q_HIT_NUMBER] = "SELECT number FROM hit WHERE id = ?1",
    [Q_HIT_HASH] = "INSERT OR IGNORE INTO hit_hash VALUES (?1, ?2, ?3)",
    [Q_MATCH_ARRIVED] = MATCH "FROM arrived a JOIN hit_hash w ON w.hash = a.hash JOIN hit h ON h.number = w.hit "
                              "WHERE a.number > (SELECT CAST(value AS INTEGER) FROM note WHERE name = 'matched') AND "
                        MATCH_WINDOW,
    [Q_MATCH_HITS] = MATCH "FROM hit h JOIN hit_hash w ON w.hit = h.number JOIN arrived a ON a.hash = w.hash "
                           "WHERE h.number > (SELECT CAST(value AS INTEGER) FROM note WHERE name = 'met') AND " MATCH_WINDOW,
    [Q_LOOK_SEEN] = LOOK("3", "first", "last"),
    [Q_LOOK_REFUSED] = LOOK("4", "refused_first", "refused_last"),
    [Q_LOOKED] = "UPDATE hit SET looked = 1 WHERE looked = 0 AND time <= ?1",
    [Q_FINDING_UNTOLD] = "SELECT hit, what, time FROM finding WHERE told = 0 LIMIT ?1",
    [Q_FINDING_TOLD] = "UPDATE finding SET told = 1 WHERE hit = ?1 AND what = ?2",
    [Q_PROBE_PUT] = "INSERT OR IGNORE INTO probe (address, time) VALUES (?1, ?2)",
    [Q_PROBE_UNTOLD] = "SELECT address, time FROM probe WHERE told = 0 ORDER BY time LIMIT ?1",
    [Q_PROBE_TOLD] = "UPDATE probe SET told = 1 WHERE address = ?1 AND time = ?2",
    [Q_NOTE_GET] = "SELECT value FROM note WHERE name = ?1",
    [Q_NOTE_SET] = "INSERT OR REPLACE INTO note VALUES (?1, ?2)",
};

struct ledger {
    char *path;
    int lock_fd;
    sqlite3 *db;
    sqlite3_stmt *prepared[Q_COUNT];
    struct envelope_keys keys;
    bool in_transaction;
    char why[LEDGER_WHY_SIZE];
};

/* --- asking SQLite --- */

static bool ledger_fail(struct ledger *ledger)
{
    char text[LEDGER_WHY_SIZE];

    snprintf(text, sizeof text, "%s: %s", ledger->path, ledger->db == NULL ? "no memory" : sqlite3_errmsg(ledger->db));
    text_printable(ledger->why, sizeof ledger->why, text, strlen(text));
    if (ledger->in_transaction) {
        ledger->in_transaction = false;
        sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return false;
}

/* Begin QUERY with values as SHAPE says: t text, i int64_t, b bytes (a pointer, NULL for none, and a size_t). */
static sqlite3_stmt *query_bind(struct ledger *ledger, enum query query, const char *shape, va_list values)
{
    sqlite3_stmt *statement = ledger->prepared[query];
    int mark = 1;

    if (statement == NULL) {
        if (sqlite3_prepare_v3(ledger->db, queries[query], -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
            return NULL;
        ledger->prepared[query] = statement;
    }
    for (; *shape != '\0'; shape++, mark++)
        if (*shape == 't') {
            sqlite3_bind_text(statement, mark, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
        } else if (*shape == 'i') {
            sqlite3_bind_int64(statement, mark, va_arg(values, int64_t));
        } else {
            const void *bytes = va_arg(values, const void *);
            size_t length = va_arg(values, size_t);

            sqlite3_bind_blob(statement, mark, bytes, (int)length, SQLITE_TRANSIENT);
        }
    return statement;
}

/* Run QUERY, which gives no rows. */
static bool query_run(struct ledger *ledger, enum query query, const char *shape, ...)
{
    sqlite3_stmt *statement;
    va_list values;
    int result;

    va_start(values, shape);
    statement = query_bind(ledger, query, shape, values);
    va_end(values);
    if (statement == NULL)
        return ledger_fail(ledger);
    result = sqlite3_step(statement);
    sqlite3_reset(statement);
    return result == SQLITE_DONE || ledger_fail(ledger);
}

/* Begin QUERY; read_row() gives its rows. */
static sqlite3_stmt *read_begin(struct ledger *ledger, enum query query, const char *shape, ...)
{
    sqlite3_stmt *statement;
    va_list values;

    va_start(values, shape);
    statement = query_bind(ledger, query, shape, values);
    va_end(values);
    if (statement == NULL)
        ledger_fail(ledger);
    return statement;
}

/* *ROW tells whether there is one more; after the last one, and after a failure, the query is done with. */
static bool read_row(struct ledger *ledger, sqlite3_stmt *statement, bool *row)
{
    int result = statement == NULL ? SQLITE_ERROR : sqlite3_step(statement);

    *row = result == SQLITE_ROW;
    if (*row)
        return true;
    sqlite3_reset(statement);
    return result == SQLITE_DONE || (statement == NULL ? false : ledger_fail(ledger));
}

/* LENGTH bytes of COLUMN; false when they are not there. */
static bool take_bytes(sqlite3_stmt *statement, int column, void *out, size_t length)
{
    const void *bytes = sqlite3_column_blob(statement, column);

    if (bytes == NULL || (size_t)sqlite3_column_bytes(statement, column) != length)
        return false;
    memcpy(out, bytes, length);
    return true;
}

static void take_text(sqlite3_stmt *statement, int column, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    snprintf(out, size, "%s", text == NULL ? "" : (const char *)text);
}

/* --- the file --- */

static bool pragma_number(sqlite3 *db, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW;

    *number = ok ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return ok;
}

static bool is_whole(sqlite3 *db)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
              sqlite3_step(statement) == SQLITE_ROW &&
              strcmp((const char *)sqlite3_column_text(statement, 0), "ok") == 0;

    sqlite3_finalize(statement);
    return ok;
}

enum state { STATE_FINE, STATE_DAMAGED, STATE_OTHER, STATE_FAILED };

/* Open the file; an empty one is made ours. */
static enum state file_open(struct ledger *ledger)
{
    char script[sizeof schema_sql + 128];
    int64_t application, format;
    int result = sqlite3_open_v2(ledger->path, &ledger->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

    if (result != SQLITE_OK)
        return STATE_FAILED;
    sqlite3_busy_timeout(ledger->db, 2000);
    /* What a power cut takes was not told either, or is found again: the place goes back with it. */
    result = sqlite3_exec(ledger->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
    if (result == SQLITE_CORRUPT || result == SQLITE_NOTADB)
        return STATE_DAMAGED;
    if (result != SQLITE_OK || !pragma_number(ledger->db, "PRAGMA application_id", &application) ||
        !pragma_number(ledger->db, "PRAGMA user_version", &format))
        return STATE_FAILED;
    if (application == APPLICATION_NUMBER)
        return format != LEDGER_FORMAT ? STATE_OTHER : is_whole(ledger->db) ? STATE_FINE : STATE_DAMAGED;
    if (application != 0 || format != 0)
        return STATE_OTHER;
    snprintf(script, sizeof script, "BEGIN; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", schema_sql,
             APPLICATION_NUMBER, LEDGER_FORMAT);
    return sqlite3_exec(ledger->db, script, NULL, NULL, NULL) == SQLITE_OK ? STATE_FINE : STATE_FAILED;
}

static bool put_aside(struct ledger *ledger)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    long long now = (long long)time(NULL);
    bool ok = true;

    sqlite3_close(ledger->db);
    ledger->db = NULL;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char *from = alloc_format("%s%s", ledger->path, suffixes[i]);
        char *to = alloc_format("%s.damaged-%lld%s", ledger->path, now, suffixes[i]);

        if (rename(from, to) != 0 && errno != ENOENT)
            ok = false;
        free(from);
        free(to);
    }
    return ok;
}

/* A second witness on one ledger would tell half of what it read as all. */
static bool lock_take_over(struct ledger *ledger)
{
    char *path = alloc_format("%s.lock", ledger->path);
    mode_t old = umask(077);

    ledger->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    umask(old);
    if (ledger->lock_fd < 0)
        snprintf(ledger->why, sizeof ledger->why, "%.150s: %s", path, strerror(errno));
    else if (flock(ledger->lock_fd, LOCK_EX | LOCK_NB) != 0)
        snprintf(ledger->why, sizeof ledger->why, "%.150s: another witness works with it", path);
    else
        errno = 0;
    free(path);
    return ledger->lock_fd >= 0 && errno == 0;
}

bool ledger_open(struct ledger **out, const char *path, const struct envelope_keys *keys, char why[LEDGER_WHY_SIZE])
{
    struct ledger *ledger = *out = alloc_zeroed(1, sizeof *ledger);
    enum state state = STATE_FAILED;
    mode_t old;

    ledger->path = alloc_text(path);
    ledger->keys = *keys;
    if (lock_take_over(ledger)) {
        old = umask(077);
        state = file_open(ledger);
        if (state == STATE_DAMAGED)
            state = put_aside(ledger) ? file_open(ledger) : STATE_FAILED;
        umask(old);
        if (state == STATE_OTHER)
            snprintf(ledger->why, sizeof ledger->why, "%.150s: not the ledger of a witness of this version", path);
        else if (state != STATE_FINE)
            ledger_fail(ledger);
    }
    if (state == STATE_FINE)
        return true;
    memcpy(why, ledger->why, LEDGER_WHY_SIZE);
    ledger_close(out);
    return false;
}

void ledger_close(struct ledger **ledger)
{
    if (*ledger == NULL)
        return;
    for (size_t i = 0; i < Q_COUNT; i++)
        sqlite3_finalize((*ledger)->prepared[i]);
    sqlite3_close((*ledger)->db);
    if ((*ledger)->lock_fd >= 0)
        close((*ledger)->lock_fd);
    free((*ledger)->path);
    free(*ledger);
    *ledger = NULL;
}

const char *ledger_why(const struct ledger *ledger)
{
    return ledger->why;
}

bool ledger_begin(struct ledger *ledger)
{
    return ledger->in_transaction = query_run(ledger, Q_BEGIN, "");
}

bool ledger_commit(struct ledger *ledger)
{
    if (!query_run(ledger, Q_COMMIT, ""))
        return false;
    ledger->in_transaction = false;
    return true;
}

/* --- letters --- */

/* The number that stands for a key in tables. */
static int64_t key_number(const struct envelope_key *key)
{
    return (int64_t)strtoull(key->id, NULL, 16);
}

static int64_t hour_of(int64_t time_us)
{
    return time_us / CLOCK_SECOND_US / HOUR_S;
}

/* What is known of a letter under one key. */
struct letter {
    bool has_sender, has_client, accepted;
    struct envelope_part sender;
    struct envelope_hash client;
    int64_t accepted_us;
};

static bool letter_get(struct ledger *ledger, const char *id, const struct envelope_key *key, struct letter *letter)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_LETTER_GET, "ti", id, key_number(key));
    bool row, unused;

    *letter = (struct letter){.accepted = false};
    if (!read_row(ledger, statement, &row))
        return false;
    if (!row)
        return true;
    letter->has_sender = take_bytes(statement, 0, letter->sender.bytes, sizeof letter->sender.bytes);
    letter->has_client = take_bytes(statement, 1, letter->client.bytes, sizeof letter->client.bytes);
    letter->accepted = sqlite3_column_type(statement, 2) == SQLITE_INTEGER;
    letter->accepted_us = sqlite3_column_int64(statement, 2);
    return read_row(ledger, statement, &unused);
}

bool ledger_letter_client(struct ledger *ledger, const char *id, const struct ipaddr *client, int64_t time_us)
{
    if (!ledger_letter_closed(ledger, id))
        return false;
    for (size_t i = 0; i < ledger->keys.count; i++) {
        const struct envelope_key *key = &ledger->keys.keys[i];
        struct envelope_hash hash = envelope_hash_client(key, client);

        if (!query_run(ledger, Q_LETTER_CLIENT, "tiib", id, key_number(key), time_us, client->family != 0 ? hash.bytes : NULL,
                 sizeof hash.bytes))
            return false;
    }
    return true;
}

bool ledger_letter_sender(struct ledger *ledger, const char *id, const char *from, int64_t time_us)
{
    for (size_t i = 0; i < ledger->keys.count; i++) {
        const struct envelope_key *key = &ledger->keys.keys[i];
        struct envelope_part part = envelope_sender_part(key, from != NULL ? from : "");

        if (!query_run(ledger, Q_LETTER_SENDER, "tiib", id, key_number(key), time_us, from != NULL ? part.bytes : NULL,
                 sizeof part.bytes))
            return false;
    }
    return true;
}

static bool arrived(struct ledger *ledger, const struct envelope_key *key, const struct envelope_part *sender,
                    const struct envelope_part *recipient, int64_t time_us, enum ledger_what what)
{
    struct envelope_hash hash = envelope_hash(key, sender, recipient);

    return query_run(ledger, Q_ARRIVED, "bii", hash.bytes, sizeof hash.bytes, time_us, (int64_t)what);
}

/* All recipients that were named before the letter was accepted. */
static bool waiting_arrived(struct ledger *ledger, const char *id, const struct envelope_key *key, const struct letter *letter,
                            int64_t time_us)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_RECIPIENT_GET, "ti", id, key_number(key));
    struct envelope_part part;
    bool row = true, ok = true;

    while (ok && row) {
        ok = read_row(ledger, statement, &row);
        for (int column = 0; column < 2 && ok && row; column++)
            if (take_bytes(statement, column, part.bytes, sizeof part.bytes))
                ok = arrived(ledger, key, &letter->sender, &part, time_us, LEDGER_ACCEPTED);
    }
    if (!ok)
        sqlite3_reset(statement);
    return ok;
}

bool ledger_letter_accepted(struct ledger *ledger, const char *id, int64_t time_us)
{
    for (size_t i = 0; i < ledger->keys.count; i++) {
        const struct envelope_key *key = &ledger->keys.keys[i];
        struct letter letter;

        if (!letter_get(ledger, id, key, &letter))
            return false;
        if (letter.accepted)
            continue; /* Postfix says so each time it tries to deliver */
        if (!query_run(ledger, Q_LETTER_ACCEPT, "tii", id, key_number(key), time_us))
            return false;
        if (letter.has_sender && (!arrived(ledger, key, &letter.sender, NULL, time_us, LEDGER_ACCEPTED) ||
                                 !waiting_arrived(ledger, id, key, &letter, time_us)))
            return false;
        if (letter.has_client &&
            (!query_run(ledger, Q_VISIT, "bii", letter.client.bytes, sizeof letter.client.bytes, hour_of(time_us), time_us) ||
             !query_run(ledger, Q_VISIT_LETTER, "bi", letter.client.bytes, sizeof letter.client.bytes, hour_of(time_us))))
            return false;
    }
    return query_run(ledger, Q_RECIPIENT_CLOSE, "t", id);
}

bool ledger_letter_recipient(struct ledger *ledger, const char *id, const char *to)
{
    for (size_t i = 0; i < ledger->keys.count; i++) {
        const struct envelope_key *key = &ledger->keys.keys[i];
        struct envelope_part address = envelope_recipient_part(key, to), domain;
        bool by_domain = envelope_domain_part(key, to, &domain);
        struct letter letter;

        if (!letter_get(ledger, id, key, &letter))
            return false;
        if (!letter.accepted) {
            if (!query_run(ledger, Q_RECIPIENT_PUT, "tibb", id, key_number(key), address.bytes, sizeof address.bytes,
                     by_domain ? domain.bytes : NULL, sizeof domain.bytes))
                return false;
        } else if (letter.has_sender &&
                   (!arrived(ledger, key, &letter.sender, &address, letter.accepted_us, LEDGER_ACCEPTED) ||
                    (by_domain && !arrived(ledger, key, &letter.sender, &domain, letter.accepted_us, LEDGER_ACCEPTED)))) {
            return false;
        }
    }
    return query_run(ledger, Q_LETTER_NAMED, "t", id);
}

bool ledger_letter_closed(struct ledger *ledger, const char *id)
{
    return query_run(ledger, Q_LETTER_CLOSE, "t", id) && query_run(ledger, Q_RECIPIENT_CLOSE, "t", id);
}

bool ledger_letter_listed(struct ledger *ledger, const char *from, const char *to, int64_t time_us)
{
    for (size_t i = 0; i < ledger->keys.count; i++) {
        const struct envelope_key *key = &ledger->keys.keys[i];
        struct envelope_part sender = envelope_sender_part(key, from), address = envelope_recipient_part(key, to), domain;

        if (!arrived(ledger, key, &sender, &address, time_us, LEDGER_LISTED) ||
            (envelope_domain_part(key, to, &domain) &&
             !arrived(ledger, key, &sender, &domain, time_us, LEDGER_LISTED)))
            return false;
    }
    return true;
}

static bool visit_put(struct ledger *ledger, const struct envelope_hash *client, bool refused, int64_t time_us)
{
    return query_run(ledger, Q_VISIT, "bii", client->bytes, sizeof client->bytes, hour_of(time_us), time_us) &&
           (!refused ||
            query_run(ledger, Q_VISIT_REFUSED, "bii", client->bytes, sizeof client->bytes, hour_of(time_us), time_us));
}

bool ledger_visit(struct ledger *ledger, const struct ipaddr *client, bool refused, int64_t time_us)
{
    for (size_t i = 0; i < ledger->keys.count; i++) {
        struct envelope_hash hash = envelope_hash_client(&ledger->keys.keys[i], client);

        if (!visit_put(ledger, &hash, refused, time_us))
            return false;
    }
    return true;
}

bool ledger_letter_refused(struct ledger *ledger, const char *id, int64_t time_us)
{
    for (size_t i = 0; i < ledger->keys.count; i++) {
        struct letter letter;

        if (!letter_get(ledger, id, &ledger->keys.keys[i], &letter) ||
            (letter.has_client && !visit_put(ledger, &letter.client, true, time_us)))
            return false;
    }
    return true;
}

bool ledger_letter_count(struct ledger *ledger, const struct ipaddr *client, int64_t since_us, int64_t *letters)
{
    *letters = 0;
    for (size_t i = 0; i < ledger->keys.count; i++) {
        struct envelope_hash hash = envelope_hash_client(&ledger->keys.keys[i], client);
        sqlite3_stmt *statement =
            read_begin(ledger, Q_LETTER_COUNT, "bi", hash.bytes, sizeof hash.bytes, hour_of(since_us));
        bool row;
        int64_t count;

        if (!read_row(ledger, statement, &row))
            return false;
        count = sqlite3_column_int64(statement, 0);
        *letters = count > *letters ? count : *letters; /* a key may be younger than a letter */
        if (!read_row(ledger, statement, &row))
            return false;
    }
    return true;
}

/* --- place, stretches, notes --- */

bool ledger_place(struct ledger *ledger, const char *log, struct ledger_place *place, bool *found)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_PLACE_GET, "t", log);

    *place = (struct ledger_place){.offset = 0};
    if (!read_row(ledger, statement, found))
        return false;
    if (!*found)
        return true;
    place->device = (uint64_t)sqlite3_column_int64(statement, 0);
    place->inode = (uint64_t)sqlite3_column_int64(statement, 1);
    place->offset = sqlite3_column_int64(statement, 2);
    take_bytes(statement, 3, place->head.bytes, sizeof place->head.bytes);
    take_bytes(statement, 4, place->tail.bytes, sizeof place->tail.bytes);
    place->stamp_us = sqlite3_column_int64(statement, 5);
    take_text(statement, 6, place->cursor, sizeof place->cursor);
    sqlite3_reset(statement);
    return true;
}

bool ledger_set_place(struct ledger *ledger, const char *log, const struct ledger_place *place)
{
    return query_run(ledger, Q_PLACE_SET, "tiiibbit", log, (int64_t)place->device, (int64_t)place->inode, place->offset,
               place->head.bytes, sizeof place->head.bytes, place->tail.bytes, sizeof place->tail.bytes, place->stamp_us,
               place->cursor);
}

void ledger_begin_stretch(const struct ledger *ledger, struct ledger_stretch *stretch, int64_t since_us)
{
    size_t used = 0;

    *stretch = (struct ledger_stretch){.since_us = since_us, .until_us = since_us};
    for (size_t i = 0; i < ledger->keys.count; i++)
        used += (size_t)snprintf(stretch->keys + used, sizeof stretch->keys - used, "%s%s", i > 0 ? "," : "",
                                 ledger->keys.keys[i].id);
}

static void take_stretch(sqlite3_stmt *statement, struct ledger_stretch *stretch)
{
    *stretch = (struct ledger_stretch){.since_us = sqlite3_column_int64(statement, 0),
                                       .until_us = sqlite3_column_int64(statement, 1)};
    take_text(statement, 2, stretch->keys, sizeof stretch->keys);
}

bool ledger_last_stretch(struct ledger *ledger, struct ledger_stretch *stretch, bool *found)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_STRETCH_LAST, "");

    if (!read_row(ledger, statement, found))
        return false;
    if (*found) {
        take_stretch(statement, stretch);
        sqlite3_reset(statement);
    }
    return true;
}

bool ledger_watched(struct ledger *ledger, const struct ledger_stretch *stretch)
{
    return query_run(ledger, Q_STRETCH_SET, "iit", stretch->since_us, stretch->until_us, stretch->keys);
}

bool ledger_untold_stretches(struct ledger *ledger, struct ledger_stretch *stretches, size_t max, size_t *count)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_STRETCH_UNTOLD, "i", (int64_t)max);
    bool row;

    *count = 0;
    while (read_row(ledger, statement, &row)) {
        if (!row)
            return true;
        take_stretch(statement, &stretches[(*count)++]);
    }
    return false;
}

bool ledger_told_stretch(struct ledger *ledger, const struct ledger_stretch *stretch)
{
    return query_run(ledger, Q_STRETCH_TOLD, "ii", stretch->since_us, stretch->until_us);
}

bool ledger_note(struct ledger *ledger, const char *name, char *value, size_t size)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_NOTE_GET, "t", name);
    bool row;

    value[0] = '\0';
    if (!read_row(ledger, statement, &row))
        return false;
    if (row) {
        take_text(statement, 0, value, size);
        sqlite3_reset(statement);
    }
    return true;
}

bool ledger_set_note(struct ledger *ledger, const char *name, const char *value)
{
    return query_run(ledger, Q_NOTE_SET, "tt", name, value);
}

/* --- hits --- */

static const struct envelope_key *find_key(const struct ledger *ledger, const char *id)
{
    for (size_t i = 0; i < ledger->keys.count; i++)
        if (strcmp(ledger->keys.keys[i].id, id) == 0)
            return &ledger->keys.keys[i];
    return NULL;
}

/* The number of the hit ID; 0 when it is not there. */
static bool hit_number(struct ledger *ledger, const char *id, int64_t *number)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_HIT_NUMBER, "t", id);
    bool row;

    *number = 0;
    if (!read_row(ledger, statement, &row))
        return false;
    if (row) {
        *number = sqlite3_column_int64(statement, 0);
        sqlite3_reset(statement);
    }
    return true;
}

bool ledger_wait(struct ledger *ledger, const struct ledger_hit *hit)
{
    const struct envelope_key *key = find_key(ledger, hit->key_id);
    struct envelope_hash client;
    int64_t number;

    if (key == NULL)
        return true;
    if (!hit_number(ledger, hit->id, &number) || number != 0)
        return number != 0;
    client = envelope_hash_client(key, &hit->client);
    if (!query_run(ledger, Q_HIT_PUT, "tib", hit->id, hit->time_us, client.bytes, sizeof client.bytes) ||
        !hit_number(ledger, hit->id, &number))
        return false;
    for (size_t i = 0; i < hit->hash_count; i++)
        if (!query_run(ledger, Q_HIT_HASH, "bii", hit->hashes[i].bytes, sizeof hit->hashes[i].bytes, number,
                 (int64_t)LEDGER_ACCEPTED))
            return false;
    return hit->sender == NULL || query_run(ledger, Q_HIT_HASH, "bii", hit->sender->bytes, sizeof hit->sender->bytes, number,
                                      (int64_t)LEDGER_SENDER);
}

bool ledger_match(struct ledger *ledger, int64_t until_us)
{
    static const char done[] = "UPDATE note SET value = coalesce((SELECT max(number) FROM arrived), value) "
                               "WHERE name = 'matched';"
                               "UPDATE note SET value = coalesce((SELECT max(number) FROM hit), value) WHERE name = 'met'";

    return query_run(ledger, Q_MATCH_ARRIVED, "") && query_run(ledger, Q_MATCH_HITS, "") &&
           (sqlite3_exec(ledger->db, done, NULL, NULL, NULL) == SQLITE_OK || ledger_fail(ledger)) &&
           query_run(ledger, Q_LOOK_SEEN, "i", until_us) && query_run(ledger, Q_LOOK_REFUSED, "i", until_us) &&
           query_run(ledger, Q_LOOKED, "i", until_us);
}

bool ledger_untold_findings(struct ledger *ledger, struct ledger_finding *findings, size_t max, size_t *count)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_FINDING_UNTOLD, "i", (int64_t)max);
    bool row;

    *count = 0;
    while (read_row(ledger, statement, &row)) {
        struct ledger_finding *finding = &findings[*count];

        if (!row)
            return true;
        take_text(statement, 0, finding->hit_id, sizeof finding->hit_id);
        finding->what = (enum ledger_what)sqlite3_column_int64(statement, 1);
        finding->time_us = sqlite3_column_int64(statement, 2);
        (*count)++;
    }
    return false;
}

bool ledger_told_finding(struct ledger *ledger, const struct ledger_finding *finding)
{
    return query_run(ledger, Q_FINDING_TOLD, "ti", finding->hit_id, (int64_t)finding->what);
}

/* --- probes --- */

bool ledger_probe(struct ledger *ledger, const struct ipaddr *sensor, int64_t time_us)
{
    char address[IPADDR_TEXT_SIZE];

    return query_run(ledger, Q_PROBE_PUT, "ti", ipaddr_format(sensor, address), time_us / CLOCK_SECOND_US * CLOCK_SECOND_US);
}

bool ledger_untold_probes(struct ledger *ledger, struct ledger_probe *probes, size_t max, size_t *count)
{
    sqlite3_stmt *statement = read_begin(ledger, Q_PROBE_UNTOLD, "i", (int64_t)max);
    bool row;

    *count = 0;
    while (read_row(ledger, statement, &row)) {
        if (!row)
            return true;
        take_text(statement, 0, probes[*count].address, sizeof probes->address);
        probes[(*count)++].time_us = sqlite3_column_int64(statement, 1);
    }
    return false;
}

bool ledger_told_probe(struct ledger *ledger, const struct ledger_probe *probe)
{
    return query_run(ledger, Q_PROBE_TOLD, "ti", probe->address, probe->time_us);
}

/* --- forgetting --- */

/* The oldest letters beyond the limit; *LOST: of one of them nobody had named a recipient yet. */
static bool forget_letters(struct ledger *ledger, int64_t now_us, bool *lost)
{
    char *old = alloc_format("DELETE FROM letter WHERE began < %lld OR (accepted IS NULL AND began < %lld)",
                             (long long)(now_us - LEDGER_KEEP_S * CLOCK_SECOND_US), (long long)(now_us - STALE_S * CLOCK_SECOND_US));
    static const char rest[] = "DELETE FROM recipient WHERE id NOT IN (SELECT id FROM letter)";
    bool ok = sqlite3_exec(ledger->db, old, NULL, NULL, NULL) == SQLITE_OK;
    int64_t count = 0, over = 0, nameless = 0;
    char *many = NULL;

    ok = ok && pragma_number(ledger->db, "SELECT count(*) FROM letter", &count);
    over = count - LEDGER_LETTERS_MAX;
    *lost = false;
    if (ok && over > 0) {
        free(old);
        old = alloc_format("SELECT count(*) FROM (SELECT accepted, named FROM letter ORDER BY began LIMIT %lld) "
                           "WHERE accepted IS NOT NULL AND named = 0", (long long)over);
        many = alloc_format("DELETE FROM letter WHERE began <= (SELECT began FROM letter ORDER BY began LIMIT 1 OFFSET %lld)",
                            (long long)(over - 1));
        ok = pragma_number(ledger->db, old, &nameless) && sqlite3_exec(ledger->db, many, NULL, NULL, NULL) == SQLITE_OK;
        *lost = nameless > 0;
    }
    ok = ok && sqlite3_exec(ledger->db, rest, NULL, NULL, NULL) == SQLITE_OK;
    free(old);
    free(many);
    return ok;
}

bool ledger_forget(struct ledger *ledger, int64_t now_us, bool *lost)
{
    int64_t before = now_us - LEDGER_KEEP_S * CLOCK_SECOND_US;
    char *script = alloc_format(
        "DELETE FROM arrived WHERE time < %lld; DELETE FROM probe WHERE time < %lld; DELETE FROM visit WHERE hour < %lld;"
        "DELETE FROM hit_hash WHERE hit IN (SELECT number FROM hit WHERE time < %lld);"
        "DELETE FROM finding WHERE hit IN (SELECT id FROM hit WHERE time < %lld);"
        "DELETE FROM hit WHERE time < %lld;"
        "DELETE FROM watched WHERE until < %lld AND told = until AND since < (SELECT max(since) FROM watched)",
        (long long)before, (long long)before, (long long)hour_of(before), (long long)before, (long long)before, (long long)before,
        (long long)before);
    bool ok = sqlite3_exec(ledger->db, script, NULL, NULL, NULL) == SQLITE_OK && forget_letters(ledger, now_us, lost);

    free(script);
    return ok || ledger_fail(ledger);
}
