#include "witness/tell.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

enum {
    PAGE = 1000,
    QUERY_MS = 30000,
    /* A batch that began so long before another may be committed after it: hits are asked for again that far back. */
    OVERLAP_S = 60,
    HASHES_MAX = 1 + 2 * 100
};


static enum tell_status ended(struct tell *tell, enum db_status status)
{
    tell->database = status;
    return status == DB_OK ? TELL_OK : TELL_DATABASE;
}

static enum tell_status query(struct tell *tell, const char *sql, const char *const *texts, size_t count,
                              struct db_result **result)
{
    return ended(tell, db_query_texts(tell->db, QUERY_MS, sql, texts, count, result));
}

static int64_t number_at(const struct db_result *result, size_t row, size_t column)
{
    const char *value = db_value(result, row, column);

    return value == NULL ? 0 : strtoll(value, NULL, 10);
}

/* The identifiers of the keys as an array of PostgreSQL's. */
static char *key_ids(const struct envelope_keys *keys)
{
    char *text = alloc_zeroed(keys->count + 1, ENVELOPE_KEY_ID_SIZE + 2);
    size_t used = 0;

    text[used++] = '{';
    for (size_t i = 0; i < keys->count; i++)
        used += (size_t)sprintf(text + used, "%s%s", i > 0 ? "," : "", keys->keys[i].id);
    text[used] = '}';
    return text;
}

static void take_sensors(const struct db_result *result, struct intake *intake)
{
    struct ipaddr sensors[INTAKE_SENSORS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < db_rows(result) && count < INTAKE_SENSORS_MAX; i++)
        if (db_value(result, i, 1) != NULL && ipaddr_parse(db_value(result, i, 1), &sensors[count]))
            count++;
    intake_set_sensors(intake, sensors, count);
}

enum tell_status tell_hello(struct tell *tell, struct intake *intake)
{
    char *ids = key_ids(tell->keys);
    const char *const texts[] = {tell->mx, tell->machine, PACKAGE_VERSION, ids, tell->by_sender ? "sender" : "envelope"};
    struct db_result *result = NULL;
    enum tell_status status =
        query(tell, "SELECT (extract(epoch FROM server_time) * 1000000)::bigint, host(sensor) "
                    "FROM hunnypot.witness_hello($1, $2, $3, $4::text[], $5)", texts, 5, &result);
    int64_t off;

    free(ids);
    if (status != TELL_OK)
        return status;
    off = number_at(result, 0, 0) - clock_realtime_us();
    take_sensors(result, intake);
    db_result_free(&result);
    return off > INTAKE_CLOCK_OFF_S * CLOCK_SECOND_US || off < -INTAKE_CLOCK_OFF_S * CLOCK_SECOND_US ? TELL_CLOCK : TELL_OK;
}

/* --- what waits --- */

static unsigned nibble(char digit)
{
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)(digit - 'a' + 10);
}

/* "\x0011..." as PostgreSQL writes bytes: how many hashes are in it. */
static size_t take_hashes(const char *text, struct envelope_hash hashes[HASHES_MAX])
{
    size_t count = 0, digits = ENVELOPE_HASH_BYTES * 2;

    if (text == NULL || strncmp(text, "\\x", 2) != 0)
        return 0;
    for (text += 2; count < HASHES_MAX && strspn(text, "0123456789abcdef") >= digits; text += digits, count++)
        for (size_t i = 0; i < ENVELOPE_HASH_BYTES; i++)
            hashes[count].bytes[i] = (uint8_t)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return count;
}

/* A row: hit_id, recorded, time, client, key_id, envelope (the sender alone, then what there is with recipients). */
static bool keep_hit(struct tell *tell, const struct db_result *result, size_t row)
{
    struct envelope_hash hashes[HASHES_MAX];
    size_t count = take_hashes(db_value(result, row, 5), hashes);
    struct ledger_hit hit = {.time_us = number_at(result, row, 2), .hashes = hashes + 1,
                             .hash_count = count > 0 ? count - 1 : 0, .sender = tell->by_sender && count > 0 ? hashes : NULL};

    if (db_value(result, row, 3) == NULL || !ipaddr_parse(db_value(result, row, 3), &hit.client))
        return true;
    snprintf(hit.id, sizeof hit.id, "%s", db_value(result, row, 0));
    snprintf(hit.key_id, sizeof hit.key_id, "%s", db_value(result, row, 4));
    return ledger_wait(tell->ledger, &hit);
}

/* One page of hits behind *RECORDED_US and *ID, which are moved on; *MORE tells whether it was a whole one. */
static enum tell_status fetch_page(struct tell *tell, int64_t *recorded_us, char id[LEDGER_HIT_ID_SIZE], bool *more)
{
    char after[32], limit[16];
    const char *const texts[] = {tell->mx, tell->machine, after, id, limit};
    struct db_result *result = NULL;
    enum tell_status status;
    bool ok;

    snprintf(after, sizeof after, "%" PRId64, *recorded_us);
    snprintf(limit, sizeof limit, "%d", PAGE);
    status = query(tell, "SELECT hit_id, (extract(epoch FROM recorded) * 1000000)::bigint, "
                         "(extract(epoch FROM \"time\") * 1000000)::bigint, host(client), key_id, envelope "
                         "FROM hunnypot.witness_waiting($1, $2, 'epoch'::timestamptz + $3::bigint * interval '1 microsecond', "
                         "$4::uuid, $5::int)", texts, 5, &result);
    if (status != TELL_OK)
        return status;
    ok = ledger_begin(tell->ledger);
    for (size_t row = 0; row < db_rows(result) && ok; row++) {
        ok = keep_hit(tell, result, row);
        *recorded_us = number_at(result, row, 1);
        snprintf(id, LEDGER_HIT_ID_SIZE, "%s", db_value(result, row, 0));
    }
    *more = db_rows(result) == PAGE;
    db_result_free(&result);
    snprintf(after, sizeof after, "%" PRId64, *recorded_us);
    return ok && ledger_set_note(tell->ledger, "fetched", after) && ledger_commit(tell->ledger) ? TELL_OK : TELL_LEDGER;
}

static enum tell_status fetch(struct tell *tell)
{
    char note[32], id[LEDGER_HIT_ID_SIZE] = "00000000-0000-0000-0000-000000000000";
    enum tell_status status = TELL_OK;
    int64_t recorded_us;
    bool more = true;

    if (!ledger_note(tell->ledger, "fetched", note, sizeof note))
        return TELL_LEDGER;
    recorded_us = strtoll(note, NULL, 10) - OVERLAP_S * CLOCK_SECOND_US;
    while (status == TELL_OK && more)
        status = fetch_page(tell, &recorded_us, id, &more);
    return status;
}

/* --- what is told: pages of JSON --- */

struct text {
    char *bytes;
    size_t used, size;
};

static void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    int length;

    if (text->size - text->used < 256) {
        text->size = text->size * 2 + 4096;
        text->bytes = alloc_resized(text->bytes, text->size, 1);
    }
    va_start(arguments, format);
    length = vsnprintf(text->bytes + text->used, text->size - text->used, format, arguments);
    va_end(arguments);
    text->used += (size_t)length;
}

static enum tell_status tell_json(struct tell *tell, const char *function, struct text *text)
{
    char *sql = alloc_format("SELECT hunnypot.%s($1, $2, $3::jsonb)", function);
    const char *const texts[] = {tell->mx, tell->machine, text->bytes};
    enum tell_status status = query(tell, sql, texts, 3, NULL);

    free(sql);
    free(text->bytes);
    return status;
}

static enum tell_status tell_findings(struct tell *tell, bool *more)
{
    static const char *const words[] = {[LEDGER_ACCEPTED] = "accepted", [LEDGER_SENDER] = "sender", [LEDGER_LISTED] = "listed",
                                        [LEDGER_SEEN] = "seen", [LEDGER_REFUSED] = "refused"};
    struct ledger_finding *findings = alloc_zeroed(PAGE, sizeof *findings);
    struct text text = {.bytes = NULL};
    enum tell_status status = TELL_OK;
    size_t count;
    bool ok = ledger_untold_findings(tell->ledger, findings, PAGE, &count);

    *more = count == PAGE;
    if (ok && count > 0) {
        for (size_t i = 0; i < count; i++)
            text_add(&text, "%s{\"hit\":\"%s\",\"what\":\"%s\",\"time\":%" PRId64 "}", i > 0 ? "," : "[", findings[i].hit_id,
                     words[findings[i].what], findings[i].time_us);
        text_add(&text, "]");
        status = tell_json(tell, "witness_found", &text);
        ok = status != TELL_OK || ledger_begin(tell->ledger);
        for (size_t i = 0; i < count && ok && status == TELL_OK; i++)
            ok = ledger_told_finding(tell->ledger, &findings[i]);
        ok = ok && (status != TELL_OK || ledger_commit(tell->ledger));
    }
    free(findings);
    return ok ? status : TELL_LEDGER;
}

static enum tell_status tell_probes(struct tell *tell, bool *more)
{
    struct ledger_probe *probes = alloc_zeroed(PAGE, sizeof *probes);
    struct text text = {.bytes = NULL};
    enum tell_status status = TELL_OK;
    size_t count;
    bool ok = ledger_untold_probes(tell->ledger, probes, PAGE, &count);

    *more = count == PAGE;
    if (ok && count > 0) {
        for (size_t i = 0; i < count; i++)
            text_add(&text, "%s{\"sensor\":\"%s\",\"time\":%" PRId64 "}", i > 0 ? "," : "[", probes[i].address,
                     probes[i].time_us);
        text_add(&text, "]");
        status = tell_json(tell, "witness_probes", &text);
        ok = status != TELL_OK || ledger_begin(tell->ledger);
        for (size_t i = 0; i < count && ok && status == TELL_OK; i++)
            ok = ledger_told_probe(tell->ledger, &probes[i]);
        ok = ok && (status != TELL_OK || ledger_commit(tell->ledger));
    }
    free(probes);
    return ok ? status : TELL_LEDGER;
}

/* Last of all: what was watched counts from then on, and by then all that was found in it is told. */
static enum tell_status tell_stretches(struct tell *tell, bool *more)
{
    struct ledger_stretch *stretches = alloc_zeroed(PAGE, sizeof *stretches);
    struct text text = {.bytes = NULL};
    enum tell_status status = TELL_OK;
    size_t count;
    bool ok = ledger_untold_stretches(tell->ledger, stretches, PAGE, &count);

    *more = count == PAGE;
    if (ok && count > 0) {
        for (size_t i = 0; i < count; i++)
            text_add(&text, "%s{\"since\":%" PRId64 ",\"until\":%" PRId64 ",\"keys\":\"%s\"}", i > 0 ? "," : "[",
                     stretches[i].since_us, stretches[i].until_us, stretches[i].keys);
        text_add(&text, "]");
        status = tell_json(tell, "witness_watched", &text);
        ok = status != TELL_OK || ledger_begin(tell->ledger);
        for (size_t i = 0; i < count && ok && status == TELL_OK; i++)
            ok = ledger_told_stretch(tell->ledger, &stretches[i]);
        ok = ok && (status != TELL_OK || ledger_commit(tell->ledger));
    }
    free(stretches);
    return ok ? status : TELL_LEDGER;
}

/* How many letters each client with a name that has hits had accepted here lately. */
static enum tell_status tell_letters_page(struct tell *tell, char after[IPADDR_TEXT_SIZE], bool *more)
{
    char limit[16];
    const char *const texts[] = {tell->mx, tell->machine, after, limit};
    struct db_result *result = NULL;
    struct text text = {.bytes = NULL};
    enum tell_status status;
    int64_t since_us = clock_realtime_us() - LEDGER_KEEP_S * CLOCK_SECOND_US;
    bool ok = true;

    snprintf(limit, sizeof limit, "%d", PAGE);
    status = query(tell, "SELECT host(client) FROM hunnypot.witness_clients($1, $2, nullif($3, '')::inet, $4::int) client",
                   texts, 4, &result);
    if (status != TELL_OK)
        return status;
    for (size_t i = 0; i < db_rows(result) && ok; i++) {
        struct ipaddr client;
        int64_t letters;

        snprintf(after, IPADDR_TEXT_SIZE, "%s", db_value(result, i, 0));
        if (!ipaddr_parse(after, &client) || !(ok = ledger_letter_count(tell->ledger, &client, since_us, &letters)))
            continue;
        text_add(&text, "%s{\"client\":\"%s\",\"letters\":%" PRId64 "}", text.used > 0 ? "," : "[", after, letters);
    }
    *more = db_rows(result) == PAGE;
    db_result_free(&result);
    if (!ok || text.used == 0) {
        free(text.bytes);
        return ok ? TELL_OK : TELL_LEDGER;
    }
    text_add(&text, "]");
    return tell_json(tell, "witness_letters", &text);
}

enum tell_status tell_all(struct tell *tell, int64_t until_us)
{
    static enum tell_status (*const parts[])(struct tell *tell, bool *more) = {tell_findings, tell_probes, tell_stretches};
    enum tell_status status = fetch(tell);
    char client[IPADDR_TEXT_SIZE] = "";
    bool more = true;

    if (status == TELL_OK && (!ledger_begin(tell->ledger) || !ledger_match(tell->ledger, until_us) ||
                              !ledger_commit(tell->ledger)))
        status = TELL_LEDGER;
    while (status == TELL_OK && more)
        status = tell_letters_page(tell, client, &more);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && status == TELL_OK; i++)
        for (more = true; status == TELL_OK && more;)
            status = parts[i](tell, &more);
    return status;
}
