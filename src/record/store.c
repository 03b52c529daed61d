#include "record/store.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum {
    CONNECT_TIMEOUT_MS = 10000,
    QUERY_TIMEOUT_MS = 30000, /* a batch takes milliseconds; a server that needs longer is in trouble */
    /* Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01. */
    POSTGRES_EPOCH_S = 946684800
};

/* PostgreSQL's numbers for types (catalog/pg_type.dat). */
enum {
    OID_BOOL = 16, OID_INT8 = 20, OID_INT4 = 23, OID_TEXT = 25, OID_INET = 869, OID_TIMESTAMPTZ = 1184,
    OID_BOOL_ARRAY = 1000, OID_INT4_ARRAY = 1007, OID_TEXT_ARRAY = 1009, OID_INT8_ARRAY = 1016, OID_INET_ARRAY = 1041,
    OID_TIMESTAMPTZ_ARRAY = 1185
};

struct store {
    char *conninfo, *sensor, *spool_id;
    int stop_fd;
    struct db *db;
    char why[512];
};

struct store *store_create(const char *conninfo, const char *sensor, const char *spool_id, int stop_fd)
{
    struct store *store = alloc_zeroed(1, sizeof *store);

    store->conninfo = alloc_text(conninfo);
    store->sensor = alloc_text(sensor);
    store->spool_id = alloc_text(spool_id);
    store->stop_fd = stop_fd;
    return store;
}

void store_destroy(struct store **store)
{
    if (*store == NULL)
        return;
    store_disconnect(*store);
    free((*store)->conninfo);
    free((*store)->sensor);
    free((*store)->spool_id);
    free(*store);
    *store = NULL;
}

void store_disconnect(struct store *store)
{
    db_close(&store->db);
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
        store_disconnect(store);
    return status;
}

enum db_status store_connect(struct store *store, int64_t *recorded)
{
    char schema[16];
    const char *const texts[] = {store->sensor, store->spool_id, schema};
    struct db_result *result = NULL;
    enum db_status status;

    snprintf(schema, sizeof schema, "%d", STORE_SCHEMA_VERSION);
    store_disconnect(store);
    status = db_connect(&store->db, store->conninfo, "hunnypot-milter", CONNECT_TIMEOUT_MS, store->stop_fd);
    if (status == DB_OK)
        status = db_query_texts(store->db, QUERY_TIMEOUT_MS, "SELECT hunnypot.sensor_hello($1, $2::uuid, $3::integer)",
                                texts, sizeof texts / sizeof *texts, &result);
    if (status == DB_OK)
        *recorded = strtoll(db_value(result, 0, 0), NULL, 10);
    db_result_free(&result);
    outcome(store, status);
    if (status != DB_OK)
        store_disconnect(store);
    return status;
}

/* An array as PostgreSQL's binary protocol has it (array_recv): dimensions, whether there are NULLs, the type of the
 * elements, their number, the first index; then each element with its length in front. */
struct array {
    char *bytes;
    size_t used, size;
    unsigned type;
};

static void put_bytes(struct array *array, const void *bytes, size_t length)
{
    if (array->used + length > array->size) {
        array->size = (array->used + length) * 2;
        array->bytes = alloc_resized(array->bytes, array->size, 1);
    }
    memcpy(array->bytes + array->used, bytes, length);
    array->used += length;
}

static void put_int4(struct array *array, int32_t number)
{
    uint32_t wire = htobe32((uint32_t)number);

    put_bytes(array, &wire, sizeof wire);
}

static void array_begin(struct array *array, unsigned array_type, unsigned element_type, size_t count)
{
    *array = (struct array){.type = array_type};
    put_int4(array, 1);
    put_int4(array, 1);
    put_int4(array, (int32_t)element_type);
    put_int4(array, (int32_t)count);
    put_int4(array, 1);
}

static void add_null(struct array *array)
{
    put_int4(array, -1);
}

static void add_text(struct array *array, const char *text)
{
    size_t length = text != NULL ? strlen(text) : 0;

    put_int4(array, (int32_t)length);
    put_bytes(array, text != NULL ? text : "", length);
}

static void add_int4(struct array *array, int64_t number)
{
    put_int4(array, 4);
    put_int4(array, (int32_t)(number < INT32_MAX ? number : INT32_MAX));
}

static void add_int8(struct array *array, int64_t number)
{
    uint64_t wire = htobe64((uint64_t)number);

    put_int4(array, 8);
    put_bytes(array, &wire, sizeof wire);
}

static void add_bool(struct array *array, bool value)
{
    char wire = value ? 1 : 0;

    put_int4(array, 1);
    put_bytes(array, &wire, 1);
}

/* inet_recv: family (PostgreSQL's own numbers: 2 and 3), bits, "is a cidr", length, bytes. */
static void add_inet(struct array *array, const struct ipaddr *address)
{
    unsigned char length = address->family == 4 ? 4 : 16;
    unsigned char head[] = {address->family == 4 ? 2 : 3, (unsigned char)(length * 8), 0, length};

    if (address->family == 0) {
        add_null(array);
        return;
    }
    put_int4(array, (int32_t)(sizeof head + length));
    put_bytes(array, head, sizeof head);
    put_bytes(array, address->bytes, length);
}

static void add_lines(struct array *array, char *const *texts, size_t count)
{
    size_t length_at = array->used, start;
    uint32_t length;

    put_int4(array, 0);
    start = array->used;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put_bytes(array, "\n", 1);
        put_bytes(array, texts[i], strlen(texts[i]));
    }
    length = htobe32((uint32_t)(array->used - start));
    memcpy(array->bytes + length_at, &length, sizeof length);
}

/* The arguments of record_batch() behind the first two, in its order. */
enum column {
    SEQ, TIME, CLIENT, CLIENT_PORT, CLIENT_NAME, HELO, SENDER, RECIPIENTS, RECIPIENTS_TOTAL, NULL_SENDER, TLS, CLASS,
    DOMAIN, PRIMARY, PRIMARY_AGE, QUEUE_ID, MTA_NAME, LOCAL, COLUMN_COUNT
};

static const struct {
    unsigned array, element;
} column_types[COLUMN_COUNT] = {
    [SEQ] = {OID_INT8_ARRAY, OID_INT8},
    [TIME] = {OID_TIMESTAMPTZ_ARRAY, OID_TIMESTAMPTZ},
    [CLIENT] = {OID_INET_ARRAY, OID_INET},
    [CLIENT_PORT] = {OID_INT4_ARRAY, OID_INT4},
    [CLIENT_NAME] = {OID_TEXT_ARRAY, OID_TEXT},
    [HELO] = {OID_TEXT_ARRAY, OID_TEXT},
    [SENDER] = {OID_TEXT_ARRAY, OID_TEXT},
    [RECIPIENTS] = {OID_TEXT_ARRAY, OID_TEXT},
    [RECIPIENTS_TOTAL] = {OID_INT4_ARRAY, OID_INT4},
    [NULL_SENDER] = {OID_BOOL_ARRAY, OID_BOOL},
    [TLS] = {OID_BOOL_ARRAY, OID_BOOL},
    [CLASS] = {OID_TEXT_ARRAY, OID_TEXT},
    [DOMAIN] = {OID_TEXT_ARRAY, OID_TEXT},
    [PRIMARY] = {OID_TEXT_ARRAY, OID_TEXT},
    [PRIMARY_AGE] = {OID_INT4_ARRAY, OID_INT4},
    [QUEUE_ID] = {OID_TEXT_ARRAY, OID_TEXT},
    [MTA_NAME] = {OID_TEXT_ARRAY, OID_TEXT},
    [LOCAL] = {OID_INET_ARRAY, OID_INET},
};

static void add_verdict(struct array columns[COLUMN_COUNT], const struct hit *hit)
{
    add_text(&columns[CLASS], class_name(hit->class));
    add_text(&columns[DOMAIN], hit->domain);
    if (hit->primary == NULL || hit->primary[0] == '\0') {
        add_null(&columns[PRIMARY]);
        add_null(&columns[PRIMARY_AGE]);
    } else {
        add_text(&columns[PRIMARY], hit->primary);
        add_int4(&columns[PRIMARY_AGE], hit->primary_age_ms);
    }
}

static void add_hit(struct array columns[COLUMN_COUNT], const struct hit *hit)
{
    add_int8(&columns[SEQ], hit->id);
    add_int8(&columns[TIME], hit->time_us - (int64_t)POSTGRES_EPOCH_S * 1000000);
    add_inet(&columns[CLIENT], &hit->client);
    add_int4(&columns[CLIENT_PORT], hit->client_port);
    add_text(&columns[CLIENT_NAME], hit->client_name);
    add_text(&columns[HELO], hit->helo);
    add_text(&columns[SENDER], hit->sender);
    add_lines(&columns[RECIPIENTS], hit->recipients, hit->recipient_count);
    add_int4(&columns[RECIPIENTS_TOTAL], (int64_t)hit->recipients_total);
    add_bool(&columns[NULL_SENDER], hit->null_sender);
    add_bool(&columns[TLS], hit->tls);
    add_verdict(columns, hit);
    add_text(&columns[QUEUE_ID], hit->queue_id);
    add_text(&columns[MTA_NAME], hit->mta_name);
    add_inet(&columns[LOCAL], &hit->local);
}

enum db_status store_record(struct store *store, const struct hit *hits, size_t count)
{
    static const char sql[] = "SELECT hunnypot.record_batch($1, $2::uuid, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
                              "$14, $15, $16, $17, $18, $19, $20)";
    struct array columns[COLUMN_COUNT];
    struct db_param params[2 + COLUMN_COUNT] = {{.value = store->sensor, .type = OID_TEXT}, {.value = store->spool_id}};
    enum db_status status;

    for (int i = 0; i < COLUMN_COUNT; i++)
        array_begin(&columns[i], column_types[i].array, column_types[i].element, count);
    for (size_t i = 0; i < count; i++)
        add_hit(columns, &hits[i]);
    for (int i = 0; i < COLUMN_COUNT; i++)
        params[2 + i] = (struct db_param){
            .type = columns[i].type, .value = columns[i].bytes, .length = (int)columns[i].used, .binary = true};
    status = db_query(store->db, QUERY_TIMEOUT_MS, sql, params, sizeof params / sizeof *params, NULL);
    for (int i = 0; i < COLUMN_COUNT; i++)
        free(columns[i].bytes);
    return outcome(store, status);
}

enum db_status store_heartbeat(struct store *store, const char *version, int64_t inbox, int64_t outbox, int64_t aside,
                               const char *counters)
{
    char depths[3][24];
    const char *const texts[] = {store->sensor, version, depths[0], depths[1], depths[2], counters};

    snprintf(depths[0], sizeof depths[0], "%lld", (long long)inbox);
    snprintf(depths[1], sizeof depths[1], "%lld", (long long)outbox);
    snprintf(depths[2], sizeof depths[2], "%lld", (long long)aside);
    return outcome(store, db_query_texts(store->db, QUERY_TIMEOUT_MS,
                                         "SELECT hunnypot.sensor_heartbeat($1, $2, $3::bigint, $4::bigint, $5::bigint, "
                                         "$6::jsonb)",
                                         texts, sizeof texts / sizeof *texts, NULL));
}
