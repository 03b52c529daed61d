#include "record/store.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/uuid.h"

enum {
    CONNECT_TIMEOUT_MS = 10000,
    QUERY_TIMEOUT_MS = 30000, /* a batch takes milliseconds; a server that needs longer is in trouble */
    /* Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01. */
    POSTGRES_EPOCH_S = 946684800
};

/* PostgreSQL's numbers for types (catalog/pg_type.dat). */
enum {
    OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT4 = 23, OID_TEXT = 25, OID_INET = 869, OID_TEXT_ARRAY = 1009,
    OID_TIMESTAMPTZ = 1184, OID_UUID = 2950
};

static const char hex_digits[] = "0123456789abcdef";

struct store {
    char *conninfo, *sensor;
    char instance[UUID_SIZE]; /* of this process */
    int stop_fd;
    struct db *db;
    uint32_t row_type; /* the database's number for hunnypot.new_hit */
    char why[512];
};

struct store *store_create(const char *conninfo, const char *sensor, int stop_fd)
{
    struct store *store = alloc_zeroed(1, sizeof *store);

    store->conninfo = alloc_text(conninfo);
    store->sensor = alloc_text(sensor);
    if (!uuid_draw(store->instance))
        store->instance[0] = '\0';
    store->stop_fd = stop_fd;
    return store;
}

static void connection_close(struct store *store)
{
    db_close(&store->db);
}

void store_destroy(struct store **store)
{
    if (*store == NULL)
        return;
    connection_close(*store);
    free((*store)->conninfo);
    free((*store)->sensor);
    free(*store);
    *store = NULL;
}

bool store_is_connected(const struct store *store)
{
    return store->db != NULL;
}

const char *store_why(const struct store *store)
{
    return store->why;
}

/* Keep the reason of a failure; a connection that broke, or leads to the wrong server, is closed, to be made anew. */
static enum db_status outcome(struct store *store, enum db_status status)
{
    snprintf(store->why, sizeof store->why, "%s", status == DB_OK || store->db == NULL ? "" : db_why(store->db));
    if (status == DB_UNREACHABLE || status == DB_STOPPED || status == DB_READ_ONLY)
        connection_close(store);
    return status;
}

/* The mark that the database gave, "" for none; and what comes with it. */
static void take_mark(const struct db_result *result, char mark[UUID_SIZE])
{
    const char *value = db_value(result, 0, 0);

    snprintf(mark, UUID_SIZE, "%s", value != NULL ? value : "");
}

enum db_status store_connect(struct store *store)
{
    enum db_status status;

    connection_close(store);
    status = outcome(store, db_connect(&store->db, store->conninfo, "hunnypot-milter", CONNECT_TIMEOUT_MS, store->stop_fd));
    if (status != DB_OK)
        connection_close(store);
    return status;
}

/* With the mark comes the number of the type that batches are made of, which is the database's own. */
enum db_status store_hello(struct store *store, const char *life, const char *ancestors, char mark[UUID_SIZE])
{
    char *array = alloc_format("{%s}", ancestors);
    char schema[16];
    const char *const texts[] = {store->sensor, life, array, schema};
    struct db_result *result = NULL;
    enum db_status status;

    snprintf(schema, sizeof schema, "%d", STORE_SCHEMA_VERSION);
    status = db_query_texts(store->db, QUERY_TIMEOUT_MS,
                            "SELECT hunnypot.sensor_hello($1, $2::uuid, $3::uuid[], $4::integer), "
                            "coalesce(to_regtype('hunnypot.new_hit')::oid, 0)",
                            texts, sizeof texts / sizeof *texts, &result);
    if (status == DB_OK) {
        take_mark(result, mark);
        store->row_type = (uint32_t)strtoul(db_value(result, 0, 1), NULL, 10);
    }
    db_result_free(&result);
    free(array);
    outcome(store, status);
    if (status != DB_OK)
        connection_close(store);
    return status;
}

/* A batch as PostgreSQL's binary protocol has it: an array (array_recv) of rows (record_recv) of hunnypot.new_hit.  A row
 * is the number of its columns, and for each its type, its length (-1 is NULL) and its bytes. */
struct wire {
    char *bytes;
    size_t used, size;
};

static void put_bytes(struct wire *wire, const void *bytes, size_t length)
{
    if (wire->used + length > wire->size) {
        wire->size = (wire->used + length) * 2;
        wire->bytes = alloc_resized(wire->bytes, wire->size, 1);
    }
    memcpy(wire->bytes + wire->used, bytes, length);
    wire->used += length;
}

static void put_int4(struct wire *wire, int32_t number)
{
    uint32_t bytes = htobe32((uint32_t)number);

    put_bytes(wire, &bytes, sizeof bytes);
}

/* A length that is not known yet; length_end() with what this returns fills it in. */
static size_t length_begin(struct wire *wire)
{
    put_int4(wire, 0);
    return wire->used;
}

static void length_end(struct wire *wire, size_t begin)
{
    uint32_t length = htobe32((uint32_t)(wire->used - begin));

    memcpy(wire->bytes + begin - sizeof length, &length, sizeof length);
}

/* Dimensions, whether there are NULLs, the type of the elements, their number, the first index. */
static void put_array_head(struct wire *wire, uint32_t element_type, size_t count)
{
    put_int4(wire, count > 0 ? 1 : 0);
    put_int4(wire, 0);
    put_int4(wire, (int32_t)element_type);
    if (count == 0)
        return;
    put_int4(wire, (int32_t)count);
    put_int4(wire, 1);
}

static void column_null(struct wire *wire, uint32_t type)
{
    put_int4(wire, (int32_t)type);
    put_int4(wire, -1);
}

static void column_bytes(struct wire *wire, uint32_t type, const void *bytes, size_t length)
{
    put_int4(wire, (int32_t)type);
    put_int4(wire, (int32_t)length);
    put_bytes(wire, bytes, length);
}

static void column_text(struct wire *wire, const char *text)
{
    column_bytes(wire, OID_TEXT, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

static void column_int4(struct wire *wire, int64_t number)
{
    uint32_t bytes = htobe32((uint32_t)(number < INT32_MAX ? number : INT32_MAX));

    column_bytes(wire, OID_INT4, &bytes, sizeof bytes);
}

static void column_int8(struct wire *wire, uint32_t type, int64_t number)
{
    uint64_t bytes = htobe64((uint64_t)number);

    column_bytes(wire, type, &bytes, sizeof bytes);
}

static void column_bool(struct wire *wire, bool value)
{
    char byte = value ? 1 : 0;

    column_bytes(wire, OID_BOOL, &byte, 1);
}

/* inet_recv: family (PostgreSQL's own numbers: 2 and 3), bits, "is a cidr", length, bytes. */
static void column_inet(struct wire *wire, const struct ipaddr *address)
{
    unsigned char length = address->family == 4 ? 4 : 16;
    unsigned char bytes[4 + 16] = {address->family == 4 ? 2 : 3, (unsigned char)(length * 8), 0, length};

    if (address->family == 0) {
        column_null(wire, OID_INET);
        return;
    }
    memcpy(bytes + 4, address->bytes, length);
    column_bytes(wire, OID_INET, bytes, 4u + length);
}

/* The database draws one for a hit that came without. */
static void column_uuid(struct wire *wire, const char *text)
{
    unsigned char bytes[16];
    size_t digits = 0;

    if (!uuid_is_valid(text)) {
        column_null(wire, OID_UUID);
        return;
    }
    for (; *text != '\0'; text++)
        if (*text != '-') {
            unsigned digit = (unsigned)(strchr(hex_digits, *text | 0x20) - hex_digits);

            bytes[digits / 2] = (unsigned char)(digits % 2 == 0 ? digit << 4 : bytes[digits / 2] | digit);
            digits++;
        }
    column_bytes(wire, OID_UUID, bytes, sizeof bytes);
}

static void put_text(struct wire *wire, const char *text)
{
    put_int4(wire, (int32_t)strlen(text));
    put_bytes(wire, text, strlen(text));
}

static void column_texts(struct wire *wire, char *const *texts, size_t count)
{
    size_t begin;

    put_int4(wire, OID_TEXT_ARRAY);
    begin = length_begin(wire);
    put_array_head(wire, OID_TEXT, count);
    for (size_t i = 0; i < count; i++)
        put_text(wire, texts[i]);
    length_end(wire, begin);
}

static void put_verdict(struct wire *wire, const struct hit *hit)
{
    column_text(wire, class_name(hit->class));
    column_text(wire, hit->domain);
    if (hit->primary == NULL || hit->primary[0] == '\0') {
        column_null(wire, OID_TEXT);
        column_null(wire, OID_INT4);
    } else {
        column_text(wire, hit->primary);
        column_int4(wire, hit->primary_age_ms);
    }
}

static void put_envelope(struct wire *wire, const struct hit *hit)
{
    if (hit->key_id[0] == '\0') {
        column_null(wire, OID_TEXT);
        column_null(wire, OID_BYTEA);
        column_null(wire, OID_BOOL);
        return;
    }
    column_text(wire, hit->key_id);
    column_bytes(wire, OID_BYTEA, hit->hashes != NULL ? (const void *)hit->hashes : "", hit->hash_count * sizeof *hit->hashes);
    column_bool(wire, hit->hashes_whole);
}

/* The columns of hunnypot.new_hit (sql/001-schema.sql and after), all of them and in its order. */
static void put_columns(struct wire *wire, const struct hit *hit)
{
    column_int8(wire, OID_INT8, hit->id);
    column_uuid(wire, hit->uuid);
    column_int8(wire, OID_TIMESTAMPTZ, hit->time_us - (int64_t)POSTGRES_EPOCH_S * 1000000);
    column_inet(wire, &hit->client);
    column_int4(wire, hit->client_port);
    column_text(wire, hit->client_name);
    column_text(wire, hit->helo);
    column_text(wire, hit->sender);
    column_texts(wire, hit->recipients, hit->recipient_count);
    column_int4(wire, (int64_t)hit->recipients_total);
    column_bool(wire, hit->null_sender);
    column_bool(wire, hit->tls);
    put_verdict(wire, hit);
    column_text(wire, hit->queue_id);
    column_text(wire, hit->mta_name);
    column_inet(wire, &hit->local);
    if (hit->owner == NULL || hit->owner[0] == '\0')
        column_null(wire, OID_TEXT);
    else
        column_text(wire, hit->owner);
    column_text(wire, name_state_name(hit->name_state));
    put_envelope(wire, hit);
    if (hit->primaries_count == 0)
        column_null(wire, OID_TEXT_ARRAY);
    else
        column_texts(wire, hit->primaries, hit->primaries_count);
}

enum { NEW_HIT_COLUMNS = 25 };

static void put_batch(struct wire *wire, uint32_t row_type, const struct hit *hits, size_t count)
{
    put_array_head(wire, row_type, count);
    for (size_t i = 0; i < count; i++) {
        size_t begin = length_begin(wire);

        put_int4(wire, NEW_HIT_COLUMNS);
        put_columns(wire, &hits[i]);
        length_end(wire, begin);
    }
}

/* What lists of friends said, a text for each hit; NULL where all hits have nothing to say. */
static bool put_friends(struct wire *wire, const struct hit *hits, size_t count)
{
    bool any = false;

    put_array_head(wire, OID_TEXT, count);
    for (size_t i = 0; i < count; i++) {
        put_text(wire, friend_state_name(hits[i].friend_state));
        any = any || hits[i].friend_state != FRIEND_UNASKED;
    }
    return any;
}

static bool any_in_doubt(const struct hit *hits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (hits[i].doubt)
            return true;
    return false;
}

enum db_status store_record(struct store *store, const struct spool_mark *from, const struct hit *hits, size_t count,
                            char mark[UUID_SIZE])
{
    struct wire batch = {.used = 0}, friends = {.used = 0};
    struct db_result *result = NULL;
    enum db_status status;
    bool any_asked = put_friends(&friends, hits, count);

    put_batch(&batch, store->row_type, hits, count);
    status = db_query(store->db, QUERY_TIMEOUT_MS, "SELECT hunnypot.record_batch($1, $2::uuid, $3::uuid, $4::uuid, $5::boolean, $6, "
                      "$7::text[])",
                      (const struct db_param[]){{.value = store->sensor, .type = OID_TEXT},
                                                {.value = from->life},
                                                {.value = from->link[0] != '\0' ? from->link : NULL},
                                                {.value = hits[count - 1].link},
                                                {.value = any_in_doubt(hits, count) ? "t" : "f"},
                                                {.value = batch.bytes, .length = (int)batch.used, .binary = true},
                                                {.value = any_asked ? friends.bytes : NULL, .length = (int)friends.used,
                                                 .binary = true}},
                      7, &result);
    if (status == DB_OK)
        take_mark(result, mark);
    db_result_free(&result);
    free(batch.bytes);
    free(friends.bytes);
    return outcome(store, status);
}

/* What HIT is refused for shows in the statement; ROLLBACK takes the rest back. */
enum db_status store_try(struct store *store, const struct spool_mark *from, const struct hit *hit)
{
    char mark[UUID_SIZE];
    enum db_status status = outcome(store, db_script(store->db, QUERY_TIMEOUT_MS, "BEGIN"));

    if (status == DB_OK)
        status = store_record(store, from, hit, 1, mark);
    if (store->db != NULL && db_script(store->db, QUERY_TIMEOUT_MS, "ROLLBACK") != DB_OK)
        connection_close(store);
    return status == DB_OK && strcmp(mark, hit->link) != 0 ? DB_ERROR : status;
}

enum db_status store_probes(struct store *store, const struct store_probe *probes, size_t count)
{
    struct wire columns[3] = {{.used = 0}}; /* arrays of text: names come from DNS, and may hold any printable character */
    struct db_param params[3] = {{.value = NULL}};
    char source[IPADDR_TEXT_SIZE], time[24];
    struct db_result *result = NULL;
    enum db_status status;

    for (size_t i = 0; i < 3; i++)
        put_array_head(&columns[i], OID_TEXT, count);
    for (size_t i = 0; i < count; i++) {
        snprintf(time, sizeof time, "%lld", (long long)probes[i].time_us);
        put_text(&columns[0], probes[i].mx);
        put_text(&columns[1], ipaddr_format(&probes[i].source, source));
        put_text(&columns[2], time);
    }
    for (size_t i = 0; i < 3; i++)
        params[i] = (struct db_param){.value = columns[i].bytes, .length = (int)columns[i].used, .binary = true};
    status = db_query(store->db, QUERY_TIMEOUT_MS,
                      "SELECT hunnypot.sensor_probes(jsonb_agg(jsonb_build_object('mx', p.mx, 'source', p.source, "
                      "'time', p.time::bigint))) FROM unnest($1::text[], $2::text[], $3::text[]) p(mx, source, time)",
                      params, 3, &result);
    db_result_free(&result);
    for (size_t i = 0; i < 3; i++)
        free(columns[i].bytes);
    return outcome(store, status);
}

/* TEXT, addresses with blanks between, as FRIENDS; what is no address is passed over. */
static size_t take_clients(const char *text, struct store_friend *friends)
{
    char *copy = alloc_text(text != NULL ? text : ""), *rest = NULL;
    size_t count = 0;

    for (char *word = strtok_r(copy, " ", &rest); word != NULL && count < STORE_FRIENDS_MAX; word = strtok_r(NULL, " ", &rest)) {
        friends[count].state = FRIEND_UNANSWERED;
        count += ipaddr_parse(word, &friends[count].client);
    }
    free(copy);
    return count;
}

enum db_status store_friends(struct store *store, struct store_friend *friends, size_t *count, const struct ipaddr *after)
{
    char text[IPADDR_TEXT_SIZE], after_text[IPADDR_TEXT_SIZE], most[24];
    char *told[2] = {NULL, NULL}; /* of friends, of others */
    size_t sizes[2];
    FILE *streams[2] = {alloc_text_begin(&told[0], &sizes[0]), alloc_text_begin(&told[1], &sizes[1])};
    struct db_result *result = NULL;
    enum db_status status;

    for (size_t i = 0; i < *count; i++)
        if (friends[i].state != FRIEND_UNANSWERED)
            fprintf(streams[friends[i].state != FRIEND_YES], " %s", ipaddr_format(&friends[i].client, text));
    alloc_text_end(streams[0]);
    alloc_text_end(streams[1]);
    snprintf(most, sizeof most, "%d", STORE_FRIENDS_MAX);
    status = db_query_texts(store->db, QUERY_TIMEOUT_MS,
                            "SELECT hunnypot.sensor_friends($1, string_to_array(ltrim($2), ' ')::inet[], "
                            "string_to_array(ltrim($3), ' ')::inet[], $4::inet, $5::integer)",
                            (const char *const[]){store->sensor, told[0], told[1],
                                                  after->family != 0 ? ipaddr_format(after, after_text) : NULL, most},
                            5, &result);
    if (status == DB_OK)
        *count = take_clients(db_value(result, 0, 0), friends);
    db_result_free(&result);
    free(told[0]);
    free(told[1]);
    return outcome(store, status);
}

enum db_status store_tick(struct store *store, bool *more, char **held)
{
    static const char sql[] = "SELECT coalesce(hunnypot.tick(), false), hunnypot.sensor_brake()";
    struct db_result *result = NULL;
    enum db_status status = db_query(store->db, QUERY_TIMEOUT_MS, sql, NULL, 0, &result);

    *more = status == DB_OK && strcmp(db_value(result, 0, 0), "t") == 0;
    *held = status == DB_OK ? alloc_text(db_value(result, 0, 1)) : NULL;
    db_result_free(&result);
    return outcome(store, status);
}

enum db_status store_heartbeat(struct store *store, const char *version, int64_t inbox, int64_t outbox, int64_t aside,
                               const char *counters, bool *alone)
{
    char depths[3][24];
    const char *const texts[] = {store->sensor, version, depths[0], depths[1], depths[2], counters, store->instance};
    struct db_result *result = NULL;
    enum db_status status;

    snprintf(depths[0], sizeof depths[0], "%lld", (long long)inbox);
    snprintf(depths[1], sizeof depths[1], "%lld", (long long)outbox);
    snprintf(depths[2], sizeof depths[2], "%lld", (long long)aside);
    status = db_query_texts(store->db, QUERY_TIMEOUT_MS,
                            "SELECT hunnypot.sensor_heartbeat($1, $2, $3::bigint, $4::bigint, $5::bigint, $6::jsonb, "
                            "nullif($7, '')::uuid)",
                            texts, sizeof texts / sizeof *texts, &result);
    *alone = status != DB_OK || strcmp(db_value(result, 0, 0), "t") == 0;
    db_result_free(&result);
    return outcome(store, status);
}
