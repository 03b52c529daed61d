#include "record/spool_row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { TEXT_MAX = HIT_TEXT_MAX + 3 /* with the mark of text_printable() where it was cut */ };

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

static void bind_hashes(sqlite3_stmt *statement, int *mark, const struct hit *hit)
{
    size_t bytes = hit->hash_count * sizeof *hit->hashes;

    sqlite3_bind_blob(statement, (*mark)++, bytes > 0 ? (const void *)hit->hashes : "", (int)bytes, SQLITE_TRANSIENT);
}

static void bind_verdict(sqlite3_stmt *statement, int mark, const struct hit *hit)
{
    bind_text(statement, &mark, class_name(hit->class));
    bind_text(statement, &mark, hit->domain);
    bind_text(statement, &mark, hit->primary);
    bind_number(statement, &mark, hit->primary_age_ms);
    bind_texts(statement, &mark, hit->primaries, hit->primaries_count);
    bind_text(statement, &mark, hit->owner);
    bind_text(statement, &mark, name_state_name(hit->name_state));
    bind_text(statement, &mark, friend_state_name(hit->friend_state));
    bind_text(statement, &mark, hit->link);
    bind_number(statement, &mark, hit->doubt);
}

void spool_row_bind(sqlite3_stmt *statement, const struct hit *hit, bool with_verdict)
{
    char address[IPADDR_TEXT_SIZE];
    int mark = 1;

    bind_text(statement, &mark, hit->uuid);
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
    bind_text(statement, &mark, hit->key_id);
    bind_hashes(statement, &mark, hit);
    bind_number(statement, &mark, hit->hashes_whole);
    if (with_verdict)
        bind_verdict(statement, mark, hit);
}

/* A row that is being read.  Bit rot that quick_check does not see must not reach judging, terminals and the database:
 * a value that spool_row_bind() would not have written makes the row `damaged`. */
struct spool_row {
    sqlite3_stmt *statement;
    int column; /* the next one */
    bool damaged;
};

/* MAX is the largest that there can be; none is negative. */
static int64_t row_number(struct spool_row *row, int64_t max)
{
    int column = row->column++;
    int64_t number = sqlite3_column_int64(row->statement, column);

    if (sqlite3_column_type(row->statement, column) == SQLITE_INTEGER && number >= 0 && number <= max)
        return number;
    row->damaged = true;
    return 0;
}

static bool row_bool(struct spool_row *row)
{
    return row_number(row, 1) == 1;
}

static char *row_joined(struct spool_row *row)
{
    int column = row->column++;
    bool is_text = sqlite3_column_type(row->statement, column) == SQLITE_TEXT;
    const char *text = is_text ? (const char *)sqlite3_column_text(row->statement, column) : NULL;

    if (text != NULL && strlen(text) == (size_t)sqlite3_column_bytes(row->statement, column))
        return alloc_text(text);
    row->damaged = true;
    return alloc_text("");
}

static void row_check_text(struct spool_row *row, const char *text)
{
    size_t length = strlen(text);

    row->damaged |= length > TEXT_MAX;
    for (size_t i = 0; i < length; i++)
        row->damaged |= text[i] < 0x20 || text[i] > 0x7e;
}

static char *row_text(struct spool_row *row)
{
    char *text = row_joined(row);

    row_check_text(row, text);
    return text;
}

static char **row_texts(struct spool_row *row, size_t limit, size_t *count)
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
static struct ipaddr row_address(struct spool_row *row, bool may_be_none)
{
    char *text = row_joined(row);
    struct ipaddr address = {0};

    if (!ipaddr_parse(text, &address) && !(may_be_none && strcmp(text, "-") == 0))
        row->damaged = true;
    free(text);
    return address;
}

static enum hit_class row_class(struct spool_row *row)
{
    char *name = row_joined(row);
    enum hit_class class = CLASS_NONE;

    if (!class_from_name(name, &class) || class == CLASS_NONE)
        row->damaged = true;
    free(name);
    return class;
}

static enum name_state row_name_state(struct spool_row *row)
{
    char *name = row_joined(row);
    enum name_state state = NAME_UNKNOWN;

    row->damaged |= !name_state_from_name(name, &state);
    free(name);
    return state;
}

static enum friend_state row_friend_state(struct spool_row *row)
{
    char *name = row_joined(row);
    enum friend_state state = FRIEND_UNASKED;

    row->damaged |= !friend_state_from_name(name, &state);
    free(name);
    return state;
}

static void row_uuid(struct spool_row *row, char uuid[UUID_SIZE])
{
    char *text = row_joined(row);

    if (uuid_is_valid(text))
        memcpy(uuid, text, UUID_SIZE);
    else
        row->damaged = true;
    free(text);
}

static void row_key_id(struct spool_row *row, char key_id[ENVELOPE_KEY_ID_SIZE])
{
    char *text = row_joined(row);
    size_t length = strlen(text);

    if ((length == 0 || length == ENVELOPE_KEY_ID_SIZE - 1) && strspn(text, "0123456789abcdef") == length)
        memcpy(key_id, text, length + 1);
    else
        row->damaged = true;
    free(text);
}

static struct envelope_hash *row_hashes(struct spool_row *row, size_t *count)
{
    int column = row->column++;
    const void *bytes = sqlite3_column_blob(row->statement, column);
    size_t length = (size_t)sqlite3_column_bytes(row->statement, column);
    struct envelope_hash *hashes;

    *count = 0;
    if (sqlite3_column_type(row->statement, column) != SQLITE_BLOB || length % sizeof *hashes != 0 ||
        length > HIT_HASH_MAX * sizeof *hashes)
        row->damaged = true;
    if (row->damaged || length == 0)
        return NULL;
    hashes = alloc_zeroed(length, 1);
    memcpy(hashes, bytes, length);
    *count = length / sizeof *hashes;
    return hashes;
}

static void row_verdict(struct spool_row *row, struct hit *hit)
{
    hit->class = row_class(row);
    hit->domain = row_text(row);
    hit->primary = row_text(row);
    hit->primary_age_ms = row_number(row, SPOOL_NUMBER_MAX);
    hit->primaries = row_texts(row, HIT_PRIMARY_LIMIT, &hit->primaries_count);
    hit->owner = row_text(row);
    hit->name_state = row_name_state(row);
    hit->friend_state = row_friend_state(row);
    row_uuid(row, hit->link);
    hit->doubt = row_bool(row);
}

bool spool_row_read(sqlite3_stmt *statement, int64_t last, struct hit *hit)
{
    struct spool_row row = {.statement = statement};

    *hit = (struct hit){.id = row_number(&row, last + SPOOL_LEAP_MAX)};
    row_uuid(&row, hit->uuid);
    hit->time_us = row_number(&row, SPOOL_NUMBER_MAX);
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
    row_key_id(&row, hit->key_id);
    hit->hashes = row_hashes(&row, &hit->hash_count);
    hit->hashes_whole = row_bool(&row);
    if (sqlite3_column_count(statement) > row.column)
        row_verdict(&row, hit);
    if (row.damaged)
        hit_clear(hit);
    return !row.damaged;
}
