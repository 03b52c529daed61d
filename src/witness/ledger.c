#include "witness/ledger_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { HOUR_S = 3600, STALE_S = 86400 /* nobody answers DATA that late */ };

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
    sqlite3_stmt *statement = ledger_read(ledger, Q_LETTER_GET, "ti", id, key_number(key));
    bool row, unused;

    *letter = (struct letter){.accepted = false};
    if (!ledger_row(ledger, statement, &row))
        return false;
    if (!row)
        return true;
    letter->has_sender = ledger_column_bytes(statement, 0, letter->sender.bytes, sizeof letter->sender.bytes);
    letter->has_client = ledger_column_bytes(statement, 1, letter->client.bytes, sizeof letter->client.bytes);
    letter->accepted = sqlite3_column_type(statement, 2) == SQLITE_INTEGER;
    letter->accepted_us = sqlite3_column_int64(statement, 2);
    return ledger_row(ledger, statement, &unused);
}

bool ledger_letter_client(struct ledger *ledger, const char *id, const struct ipaddr *client, int64_t time_us)
{
    if (!ledger_letter_closed(ledger, id))
        return false;
    for (size_t i = 0; i < ledger->keys.count; i++) {
        const struct envelope_key *key = &ledger->keys.keys[i];
        struct envelope_hash hash = envelope_hash_client(key, client);

        if (!ledger_run(ledger, Q_LETTER_CLIENT, "tiib", id, key_number(key), time_us, client->family != 0 ? hash.bytes : NULL,
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

        if (!ledger_run(ledger, Q_LETTER_SENDER, "tiib", id, key_number(key), time_us, from != NULL ? part.bytes : NULL,
                 sizeof part.bytes))
            return false;
    }
    return true;
}

static bool arrived(struct ledger *ledger, const struct envelope_key *key, const struct envelope_part *sender,
                    const struct envelope_part *recipient, int64_t time_us, enum ledger_what what)
{
    struct envelope_hash hash = envelope_hash(key, sender, recipient);

    return ledger_run(ledger, Q_ARRIVED, "bii", hash.bytes, sizeof hash.bytes, time_us, (int64_t)what);
}

/* All recipients that were named before the letter was accepted. */
static bool waiting_arrived(struct ledger *ledger, const char *id, const struct envelope_key *key, const struct letter *letter,
                            int64_t time_us)
{
    sqlite3_stmt *statement = ledger_read(ledger, Q_RECIPIENT_GET, "ti", id, key_number(key));
    struct envelope_part part;
    bool row = true, ok = true;

    while (ok && row) {
        ok = ledger_row(ledger, statement, &row);
        for (int column = 0; column < 2 && ok && row; column++)
            if (ledger_column_bytes(statement, column, part.bytes, sizeof part.bytes))
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
        if (!ledger_run(ledger, Q_LETTER_ACCEPT, "tii", id, key_number(key), time_us))
            return false;
        if (letter.has_sender && (!arrived(ledger, key, &letter.sender, NULL, time_us, LEDGER_ACCEPTED) ||
                                 !waiting_arrived(ledger, id, key, &letter, time_us)))
            return false;
        if (letter.has_client &&
            (!ledger_run(ledger, Q_VISIT, "bii", letter.client.bytes, sizeof letter.client.bytes, hour_of(time_us), time_us) ||
             !ledger_run(ledger, Q_VISIT_LETTER, "bi", letter.client.bytes, sizeof letter.client.bytes, hour_of(time_us))))
            return false;
    }
    return ledger_run(ledger, Q_RECIPIENT_CLOSE, "t", id);
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
            if (!ledger_run(ledger, Q_RECIPIENT_PUT, "tibb", id, key_number(key), address.bytes, sizeof address.bytes,
                     by_domain ? domain.bytes : NULL, sizeof domain.bytes))
                return false;
        } else if (letter.has_sender &&
                   (!arrived(ledger, key, &letter.sender, &address, letter.accepted_us, LEDGER_ACCEPTED) ||
                    (by_domain && !arrived(ledger, key, &letter.sender, &domain, letter.accepted_us, LEDGER_ACCEPTED)))) {
            return false;
        }
    }
    return ledger_run(ledger, Q_LETTER_NAMED, "t", id);
}

bool ledger_letter_closed(struct ledger *ledger, const char *id)
{
    return ledger_run(ledger, Q_LETTER_CLOSE, "t", id) && ledger_run(ledger, Q_RECIPIENT_CLOSE, "t", id);
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
    return ledger_run(ledger, Q_VISIT, "bii", client->bytes, sizeof client->bytes, hour_of(time_us), time_us) &&
           (!refused ||
            ledger_run(ledger, Q_VISIT_REFUSED, "bii", client->bytes, sizeof client->bytes, hour_of(time_us), time_us));
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
            ledger_read(ledger, Q_LETTER_COUNT, "bi", hash.bytes, sizeof hash.bytes, hour_of(since_us));
        bool row;
        int64_t count;

        if (!ledger_row(ledger, statement, &row))
            return false;
        count = sqlite3_column_int64(statement, 0);
        *letters = count > *letters ? count : *letters; /* a key may be younger than a letter */
        if (!ledger_row(ledger, statement, &row))
            return false;
    }
    return true;
}

/* --- place, stretches, notes --- */

bool ledger_place(struct ledger *ledger, const char *log, struct ledger_place *place, bool *found)
{
    sqlite3_stmt *statement = ledger_read(ledger, Q_PLACE_GET, "t", log);

    *place = (struct ledger_place){.offset = 0};
    if (!ledger_row(ledger, statement, found))
        return false;
    if (!*found)
        return true;
    place->device = (uint64_t)sqlite3_column_int64(statement, 0);
    place->inode = (uint64_t)sqlite3_column_int64(statement, 1);
    place->offset = sqlite3_column_int64(statement, 2);
    ledger_column_bytes(statement, 3, place->head.bytes, sizeof place->head.bytes);
    ledger_column_bytes(statement, 4, place->tail.bytes, sizeof place->tail.bytes);
    place->stamp_us = sqlite3_column_int64(statement, 5);
    ledger_column_text(statement, 6, place->cursor, sizeof place->cursor);
    sqlite3_reset(statement);
    return true;
}

bool ledger_set_place(struct ledger *ledger, const char *log, const struct ledger_place *place)
{
    return ledger_run(ledger, Q_PLACE_SET, "tiiibbit", log, (int64_t)place->device, (int64_t)place->inode, place->offset,
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
    ledger_column_text(statement, 2, stretch->keys, sizeof stretch->keys);
}

bool ledger_last_stretch(struct ledger *ledger, struct ledger_stretch *stretch, bool *found)
{
    sqlite3_stmt *statement = ledger_read(ledger, Q_STRETCH_LAST, "");

    if (!ledger_row(ledger, statement, found))
        return false;
    if (*found) {
        take_stretch(statement, stretch);
        sqlite3_reset(statement);
    }
    return true;
}

bool ledger_watched(struct ledger *ledger, const struct ledger_stretch *stretch)
{
    return ledger_run(ledger, Q_STRETCH_SET, "iit", stretch->since_us, stretch->until_us, stretch->keys);
}

bool ledger_untold_stretches(struct ledger *ledger, struct ledger_stretch *stretches, size_t max, size_t *count)
{
    sqlite3_stmt *statement = ledger_read(ledger, Q_STRETCH_UNTOLD, "i", (int64_t)max);
    bool row;

    *count = 0;
    while (ledger_row(ledger, statement, &row)) {
        if (!row)
            return true;
        take_stretch(statement, &stretches[(*count)++]);
    }
    return false;
}

bool ledger_told_stretch(struct ledger *ledger, const struct ledger_stretch *stretch)
{
    return ledger_run(ledger, Q_STRETCH_TOLD, "ii", stretch->since_us, stretch->until_us);
}

bool ledger_note(struct ledger *ledger, const char *name, char *value, size_t size)
{
    sqlite3_stmt *statement = ledger_read(ledger, Q_NOTE_GET, "t", name);
    bool row;

    value[0] = '\0';
    if (!ledger_row(ledger, statement, &row))
        return false;
    if (row) {
        ledger_column_text(statement, 0, value, size);
        sqlite3_reset(statement);
    }
    return true;
}

bool ledger_set_note(struct ledger *ledger, const char *name, const char *value)
{
    return ledger_run(ledger, Q_NOTE_SET, "tt", name, value);
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
    sqlite3_stmt *statement = ledger_read(ledger, Q_HIT_NUMBER, "t", id);
    bool row;

    *number = 0;
    if (!ledger_row(ledger, statement, &row))
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
    if (!ledger_run(ledger, Q_HIT_PUT, "tib", hit->id, hit->time_us, client.bytes, sizeof client.bytes) ||
        !hit_number(ledger, hit->id, &number))
        return false;
    for (size_t i = 0; i < hit->hash_count; i++)
        if (!ledger_run(ledger, Q_HIT_HASH, "bii", hit->hashes[i].bytes, sizeof hit->hashes[i].bytes, number,
                 (int64_t)LEDGER_ACCEPTED))
            return false;
    return hit->sender == NULL || ledger_run(ledger, Q_HIT_HASH, "bii", hit->sender->bytes, sizeof hit->sender->bytes, number,
                                      (int64_t)LEDGER_SENDER);
}

bool ledger_match(struct ledger *ledger, int64_t until_us)
{
    static const char done[] = "UPDATE note SET value = coalesce((SELECT max(number) FROM arrived), value) "
                               "WHERE name = 'matched';"
                               "UPDATE note SET value = coalesce((SELECT max(number) FROM hit), value) WHERE name = 'met'";

    return ledger_run(ledger, Q_MATCH_ARRIVED, "") && ledger_run(ledger, Q_MATCH_HITS, "") &&
           (sqlite3_exec(ledger->db, done, NULL, NULL, NULL) == SQLITE_OK || ledger_fail(ledger)) &&
           ledger_run(ledger, Q_LOOK_SEEN, "i", until_us) && ledger_run(ledger, Q_LOOK_REFUSED, "i", until_us) &&
           ledger_run(ledger, Q_LOOKED, "i", until_us);
}

bool ledger_untold_findings(struct ledger *ledger, struct ledger_finding *findings, size_t max, size_t *count)
{
    sqlite3_stmt *statement = ledger_read(ledger, Q_FINDING_UNTOLD, "i", (int64_t)max);
    bool row;

    *count = 0;
    while (ledger_row(ledger, statement, &row)) {
        struct ledger_finding *finding = &findings[*count];

        if (!row)
            return true;
        ledger_column_text(statement, 0, finding->hit_id, sizeof finding->hit_id);
        finding->what = (enum ledger_what)sqlite3_column_int64(statement, 1);
        finding->time_us = sqlite3_column_int64(statement, 2);
        (*count)++;
    }
    return false;
}

bool ledger_told_finding(struct ledger *ledger, const struct ledger_finding *finding)
{
    return ledger_run(ledger, Q_FINDING_TOLD, "ti", finding->hit_id, (int64_t)finding->what);
}

/* --- probes --- */

bool ledger_probe(struct ledger *ledger, const struct ipaddr *sensor, int64_t time_us)
{
    char address[IPADDR_TEXT_SIZE];

    return ledger_run(ledger, Q_PROBE_PUT, "ti", ipaddr_format(sensor, address), time_us / CLOCK_SECOND_US * CLOCK_SECOND_US);
}

bool ledger_untold_probes(struct ledger *ledger, struct ledger_probe *probes, size_t max, size_t *count)
{
    sqlite3_stmt *statement = ledger_read(ledger, Q_PROBE_UNTOLD, "i", (int64_t)max);
    bool row;

    *count = 0;
    while (ledger_row(ledger, statement, &row)) {
        if (!row)
            return true;
        ledger_column_text(statement, 0, probes[*count].address, sizeof probes->address);
        probes[(*count)++].time_us = sqlite3_column_int64(statement, 1);
    }
    return false;
}

bool ledger_told_probe(struct ledger *ledger, const struct ledger_probe *probe)
{
    return ledger_run(ledger, Q_PROBE_TOLD, "ti", probe->address, probe->time_us);
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

    ok = ok && ledger_number(ledger->db, "SELECT count(*) FROM letter", &count);
    over = count - LEDGER_LETTERS_MAX;
    *lost = false;
    if (ok && over > 0) {
        free(old);
        old = alloc_format("SELECT count(*) FROM (SELECT accepted, named FROM letter ORDER BY began LIMIT %lld) "
                           "WHERE accepted IS NOT NULL AND named = 0", (long long)over);
        many = alloc_format("DELETE FROM letter WHERE began <= (SELECT began FROM letter ORDER BY began LIMIT 1 OFFSET %lld)",
                            (long long)(over - 1));
        ok = ledger_number(ledger->db, old, &nameless) && sqlite3_exec(ledger->db, many, NULL, NULL, NULL) == SQLITE_OK;
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
