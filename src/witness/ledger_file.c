#include "witness/ledger_inside.h"

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

#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"

enum {
    APPLICATION_NUMBER = 0x48757769, /* marks a file as a witness's */
    LEDGER_FORMAT = 1
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

/* --- asking SQLite --- */

bool ledger_fail(struct ledger *ledger)
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

bool ledger_run(struct ledger *ledger, enum query query, const char *shape, ...)
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

sqlite3_stmt *ledger_read(struct ledger *ledger, enum query query, const char *shape, ...)
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

bool ledger_row(struct ledger *ledger, sqlite3_stmt *statement, bool *row)
{
    int result = statement == NULL ? SQLITE_ERROR : sqlite3_step(statement);

    *row = result == SQLITE_ROW;
    if (*row)
        return true;
    sqlite3_reset(statement);
    return result == SQLITE_DONE || (statement == NULL ? false : ledger_fail(ledger));
}

bool ledger_column_bytes(sqlite3_stmt *statement, int column, void *out, size_t length)
{
    const void *bytes = sqlite3_column_blob(statement, column);

    if (bytes == NULL || (size_t)sqlite3_column_bytes(statement, column) != length)
        return false;
    memcpy(out, bytes, length);
    return true;
}

void ledger_column_text(sqlite3_stmt *statement, int column, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    snprintf(out, size, "%s", text == NULL ? "" : (const char *)text);
}

/* --- the file --- */

bool ledger_number(sqlite3 *db, const char *sql, int64_t *number)
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
    /* What a power cut takes was not told either, or is found again: the place goes back with it.  32 MB of pages may be kept in memory, as
     * each letter's hashes lie anywhere among those of 7 days. */
    result = sqlite3_exec(ledger->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32000", NULL, NULL,
                          NULL);
    if (result == SQLITE_CORRUPT || result == SQLITE_NOTADB)
        return STATE_DAMAGED;
    if (result != SQLITE_OK || !ledger_number(ledger->db, "PRAGMA application_id", &application) ||
        !ledger_number(ledger->db, "PRAGMA user_version", &format))
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
    return ledger->in_transaction = ledger_run(ledger, Q_BEGIN, "");
}

bool ledger_commit(struct ledger *ledger)
{
    if (!ledger_run(ledger, Q_COMMIT, ""))
        return false;
    ledger->in_transaction = false;
    return true;
}
