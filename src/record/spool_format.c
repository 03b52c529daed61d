#include "record/spool_format.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "record/spool_head.h"


/* Format 1.  AUTOINCREMENT: a number is never given twice, also when the table was empty in between. */
#define HIT_1 \
    "time_us INTEGER NOT NULL, client TEXT NOT NULL, client_port INTEGER NOT NULL, client_name TEXT NOT NULL, " \
    "helo TEXT NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL, recipients_total INTEGER NOT NULL, " \
    "domains TEXT NOT NULL, null_sender INTEGER NOT NULL, exempt INTEGER NOT NULL, tls INTEGER NOT NULL, " \
    "queue_id TEXT NOT NULL, mta_name TEXT NOT NULL, local TEXT NOT NULL"
#define VERDICT_1 "class TEXT NOT NULL, domain TEXT NOT NULL, primary_mx TEXT NOT NULL, primary_age_ms INTEGER NOT NULL"

/* Format 2: hits have identities.  Those of rows that are there already follow from the identity of the file, the table and the
 * number, so that two copies of one file agree about them; in form they are UUIDs of version 7. */
#define HIT_ID_2(table, letter) \
    "ALTER TABLE " table " ADD COLUMN hit_id TEXT NOT NULL DEFAULT '';" \
    "UPDATE " table " SET hit_id = (SELECT printf('%s-%s-7%s-" letter "%s-%012x', " \
    "substr(printf('%012x', max(time_us, 0) / 1000), 1, 8), substr(printf('%012x', max(time_us, 0) / 1000), 9, 4), " \
    "substr(spool.id, 1, 3), substr(spool.id, 4, 3), " table ".id & 281474976710655) FROM spool);"

/* Format 3: hits have hashes of their envelopes; those that are there already have none. */
#define ENVELOPE_3(table) \
    "ALTER TABLE " table " ADD COLUMN key_id TEXT NOT NULL DEFAULT '';" \
    "ALTER TABLE " table " ADD COLUMN hashes BLOB NOT NULL DEFAULT x'';" \
    "ALTER TABLE " table " ADD COLUMN hashes_whole INTEGER NOT NULL DEFAULT 0;"

#define LINK_4(table) \
    "ALTER TABLE " table " ADD COLUMN link TEXT NOT NULL DEFAULT '';" \
    "ALTER TABLE " table " ADD COLUMN doubt INTEGER NOT NULL DEFAULT 0;" \
    "UPDATE " table " SET link = " SPOOL_FORMAT_LINK ";"

/* Format 5: a verdict says whose the domain is, all of its primaries, and whether the client has a confirmed name. */
#define NAMES_5(table) \
    "ALTER TABLE " table " ADD COLUMN primaries TEXT NOT NULL DEFAULT '';" \
    "ALTER TABLE " table " ADD COLUMN owner TEXT NOT NULL DEFAULT '';" \
    "ALTER TABLE " table " ADD COLUMN name_state TEXT NOT NULL DEFAULT 'unknown';"

/* Format 6: a verdict says whether lists of friends have the client. */
#define FRIEND_6(table) "ALTER TABLE " table " ADD COLUMN friend TEXT NOT NULL DEFAULT 'unasked';"

/* birth_step makes format 1, with the members of struct spool_birth in it; steps[N] makes format N + 1 out of format N.  A released
 * step never changes. */
static const char birth_step[] =
    "CREATE TABLE spool (id TEXT NOT NULL);"
    "CREATE TABLE inbox (id INTEGER PRIMARY KEY AUTOINCREMENT, " HIT_1 ");"
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, " HIT_1 ", " VERDICT_1 ");"
    "CREATE TABLE aside (id INTEGER NOT NULL, " HIT_1 ", " VERDICT_1 ", "
    "reason TEXT NOT NULL, time TEXT NOT NULL DEFAULT (datetime('now')));"
    "INSERT INTO spool VALUES ('%s');"
    "INSERT INTO sqlite_sequence (name, seq) VALUES ('inbox', %lld), ('outbox', %lld);";

static const char *const steps[] = {
    NULL,
    HIT_ID_2("inbox", "8") HIT_ID_2("outbox", "9") HIT_ID_2("aside", "a"),
    ENVELOPE_3("inbox") ENVELOPE_3("outbox") ENVELOPE_3("aside"),

    /* Format 4: lives.  The mark names the link of a row of the outbox; a row up to it is only kept. */
    "ALTER TABLE spool RENAME COLUMN id TO life;"
    "ALTER TABLE spool ADD COLUMN place TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE spool ADD COLUMN mark INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE spool ADD COLUMN mark_link TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE ended (life TEXT NOT NULL);"
    "ALTER TABLE spool ADD COLUMN doubt_inbox INTEGER NOT NULL DEFAULT 0;"
    LINK_4("outbox") LINK_4("aside"),
    NAMES_5("outbox") NAMES_5("aside"),
    FRIEND_6("outbox") FRIEND_6("aside"),
};
_Static_assert(SPOOL_FORMAT == sizeof steps / sizeof *steps, "spool_head.h");

int spool_format_number(sqlite3 *db, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    *number = 0;
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result;
}

int spool_format_text(sqlite3 *db, const char *sql, char *text, size_t size)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    text[0] = '\0';
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        snprintf(text, size, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result;
}

static char *birth_script(const struct spool_birth *birth)
{
    return alloc_format(birth_step, birth->life, (long long)birth->last_inbox, (long long)birth->last_outbox);
}

static int step_forward(sqlite3 *db, int64_t version, const struct spool_birth *birth)
{
    char *step = version == 0 ? birth_script(birth) : alloc_text(steps[version]);
    char *script = alloc_format("BEGIN IMMEDIATE; %s PRAGMA application_id = %d; PRAGMA user_version = %lld; COMMIT", step,
                                SPOOL_APPLICATION_ID, (long long)version + 1);
    int result = sqlite3_exec(db, script, NULL, NULL, NULL);

    free(step);
    if (result != SQLITE_OK && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    free(script);
    return result;
}

int spool_format_upgrade(sqlite3 *db, const struct spool_birth *birth, char *why, size_t why_size)
{
    int64_t application, found, tables;
    int result;

    if ((result = spool_format_number(db, "PRAGMA application_id", &application)) != SQLITE_OK ||
        (result = spool_format_number(db, "PRAGMA user_version", &found)) != SQLITE_OK ||
        (result = spool_format_number(db, "SELECT count(*) FROM sqlite_schema", &tables)) != SQLITE_OK)
        return result;
    if (application != SPOOL_APPLICATION_ID && (application != 0 || tables != 0)) {
        snprintf(why, why_size, "this is a database of another program (application_id %lld)", (long long)application);
        return SQLITE_MISUSE;
    }
    if (found < 0 || found > SPOOL_FORMAT) {
        snprintf(why, why_size,
                 "written by a newer hunnypot-milter (format %lld, this one knows %d): run that one again, or move the file "
                 "away, and its -wal with it, to start a new one", (long long)found, SPOOL_FORMAT);
        return SQLITE_MISUSE;
    }
    if (tables == 0)
        found = 0;
    for (int64_t version = found; version < SPOOL_FORMAT && result == SQLITE_OK; version++)
        result = step_forward(db, version, birth);
    if (result == SQLITE_OK && found > 0 && found < SPOOL_FORMAT)
        log_event(LOG_LEVEL_INFO, "spool-upgraded from=%lld to=%d", (long long)found, SPOOL_FORMAT);
    return result;
}
