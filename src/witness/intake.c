#include "witness/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { ADDRESS_SIZE = 1024, ID_SIZE = 400 };

#define SECOND INT64_C(1000000)

struct intake {
    struct intake_config config;
    struct ipaddr sensors[INTAKE_SENSORS_MAX];
    size_t sensor_count;
    bool has_new_sensors; /* which may be among those who came lately */
    struct {
        struct ipaddr client;
        int64_t time_us;
    } lately[INTAKE_LATELY]; /* a ring, in memory alone: who came, and was not known for a sensor */
    size_t lately_next;
    struct ledger_stretch stretch;
    bool running;       /* the stretch goes on with the next entry */
    int64_t until_us;   /* the latest time of any entry */
    struct intake_counts counts;
};

struct intake *intake_create(const struct intake_config *config, char why[LEDGER_WHY_SIZE])
{
    struct intake *intake = alloc_zeroed(1, sizeof *intake);

    intake->config = *config;
    if (!ledger_last_stretch(config->ledger, &intake->stretch, &intake->running)) {
        snprintf(why, LEDGER_WHY_SIZE, "%s", ledger_why(config->ledger));
        intake_destroy(&intake);
        return NULL;
    }
    if (intake->running) {
        struct ledger_stretch with_these_keys;

        intake->until_us = intake->stretch.until_us;
        ledger_begin_stretch(config->ledger, &with_these_keys, intake->until_us);
        if (strcmp(intake->stretch.keys, with_these_keys.keys) != 0)
            intake->stretch = with_these_keys; /* where the other ends: for the keys of both nothing is missing */
    }
    return intake;
}

void intake_destroy(struct intake **intake)
{
    free(*intake);
    *intake = NULL;
}

void intake_gap(struct intake *intake, const char *why)
{
    if (intake->running)
        intake->counts.gaps++;
    intake->running = false;
    intake->counts.last_gap = why;
}

int64_t intake_until_us(const struct intake *intake)
{
    return intake->until_us;
}

const struct intake_counts *intake_counts(const struct intake *intake)
{
    return &intake->counts;
}

void intake_set_sensors(struct intake *intake, const struct ipaddr *addresses, size_t count)
{
    intake->sensor_count = count < INTAKE_SENSORS_MAX ? count : INTAKE_SENSORS_MAX;
    memcpy(intake->sensors, addresses, intake->sensor_count * sizeof *addresses);
    intake->has_new_sensors = true;
}

/* --- the stretch --- */

/* Why the time from the last entry to one at TIME_US was not watched; NULL when it was. */
static const char *why_not_watched(const struct intake *intake, const struct stamp *stamp, int64_t now_us, bool fresh)
{
    int64_t off = INTAKE_CLOCK_OFF_S * SECOND;

    if (stamp->twice)
        return "the hour comes twice";
    if (stamp->time_us > now_us + off)
        return "the time is in the future";
    if (fresh && stamp->time_us < now_us - off)
        return "the clock is behind";
    if (intake->running && stamp->time_us < intake->stretch.until_us - off)
        return "the clock jumped back";
    if (intake->running && stamp->time_us > intake->stretch.until_us + intake->config.quiet_us)
        return "the log was silent";
    return NULL;
}

static bool watch_until(struct intake *intake, const struct stamp *stamp, int64_t now_us, bool fresh)
{
    const char *why = why_not_watched(intake, stamp, now_us, fresh);

    if (why != NULL)
        intake_gap(intake, why);
    if (!stamp->twice && stamp->time_us <= now_us + INTAKE_CLOCK_OFF_S * SECOND && stamp->time_us > intake->until_us)
        intake->until_us = stamp->time_us;
    if (why != NULL && strcmp(why, "the log was silent") != 0)
        return true; /* the entry itself is in doubt */
    if (!intake->running) {
        /* Behind a jump back the log passes a time again: what begins there begins where it had come to. */
        if (stamp->time_us < intake->until_us)
            return true;
        ledger_begin_stretch(intake->config.ledger, &intake->stretch, stamp->time_us);
        intake->running = true;
    } else if (stamp->time_us <= intake->stretch.until_us) {
        return true;
    }
    intake->stretch.until_us = stamp->time_us;
    return ledger_watched(intake->config.ledger, &intake->stretch);
}

/* --- events --- */

/* TEXT, reduced, into OUT; NULL when no letter can be told again by it. */
static const char *reduced(const struct logformat_text *text, char out[ENVELOPE_ADDRESS_MAX + 1])
{
    char address[ADDRESS_SIZE];

    if (text->text == NULL || text->length >= sizeof address)
        return NULL;
    memcpy(address, text->text, text->length);
    address[text->length] = '\0';
    return envelope_reduce(address, out) ? out : NULL;
}

static bool is_sensor(const struct intake *intake, const struct ipaddr *client)
{
    for (size_t i = 0; i < intake->sensor_count; i++)
        if (ipaddr_equal(&intake->sensors[i], client))
            return true;
    return false;
}

/* Keep the probes of sensors that were not known when their entries were taken. */
static bool catch_up(struct intake *intake)
{
    if (!intake->has_new_sensors)
        return true;
    intake->has_new_sensors = false;
    for (size_t i = 0; i < INTAKE_LATELY; i++)
        if (is_sensor(intake, &intake->lately[i].client) &&
            !ledger_probe(intake->config.ledger, &intake->lately[i].client, intake->lately[i].time_us))
            return false;
    return true;
}

static bool visit(struct intake *intake, const struct logformat_entry *entry, bool refused)
{
    if (entry->client.family == 0)
        return true;
    if (is_sensor(intake, &entry->client))
        return ledger_probe(intake->config.ledger, &entry->client, entry->stamp.time_us);
    intake->lately[intake->lately_next].client = entry->client;
    intake->lately[intake->lately_next].time_us = entry->stamp.time_us;
    intake->lately_next = (intake->lately_next + 1) % INTAKE_LATELY;
    return ledger_visit(intake->config.ledger, &entry->client, refused, entry->stamp.time_us);
}

static bool sender(struct intake *intake, const char *id, const struct logformat_entry *entry)
{
    char out[ENVELOPE_ADDRESS_MAX + 1];

    return entry->from.text == NULL ||
           ledger_letter_sender(intake->config.ledger, id, reduced(&entry->from, out), entry->stamp.time_us);
}

static bool recipients(struct intake *intake, const char *id, const struct logformat_entry *entry)
{
    char address[ADDRESS_SIZE], out[ENVELOPE_ADDRESS_MAX + 1];

    for (size_t i = 0; i < entry->to_count; i++) {
        struct logformat_text list = entry->to[i];

        while (logformat_next_address(&list, address, sizeof address))
            if (envelope_reduce(address, out) && out[0] != '\0' &&
                !ledger_letter_recipient(intake->config.ledger, id, out))
                return false;
    }
    return true;
}

static bool accepted(struct intake *intake, const char *id, const struct logformat_entry *entry)
{
    struct ledger *ledger = intake->config.ledger;

    intake->counts.letters++;
    if (entry->client.family != 0 && !ledger_letter_client(ledger, id, &entry->client, entry->stamp.time_us))
        return false;
    return sender(intake, id, entry) && ledger_letter_accepted(ledger, id, entry->stamp.time_us) &&
           recipients(intake, id, entry);
}

static bool is_by_list(const struct intake *intake, const struct logformat_text *message)
{
    for (size_t i = 0; i < intake->config.refusal_count; i++)
        if (memmem(message->text, message->length, intake->config.refusals[i], strlen(intake->config.refusals[i])) != NULL)
            return true;
    return false;
}

static bool refusal_take(struct intake *intake, const char *id, const struct logformat_entry *entry)
{
    char from[ENVELOPE_ADDRESS_MAX + 1], to[ENVELOPE_ADDRESS_MAX + 1];

    if (!visit(intake, entry, true) || (entry->client.family == 0 && entry->id.text != NULL &&
                                        !ledger_letter_refused(intake->config.ledger, id, entry->stamp.time_us)))
        return false;
    if (entry->to_count == 0 || reduced(&entry->from, from) == NULL || reduced(&entry->to[0], to) == NULL ||
        to[0] == '\0' || !is_by_list(intake, &entry->message))
        return true;
    return ledger_letter_listed(intake->config.ledger, from, to, entry->stamp.time_us);
}

static bool event_take(struct intake *intake, const struct logformat_entry *entry)
{
    struct ledger *ledger = intake->config.ledger;
    char id[ID_SIZE];

    /* Several hosts may be in one log. */
    snprintf(id, sizeof id, "%.*s %.*s", (int)(entry->host.length < 255 ? entry->host.length : 255),
             entry->host.text != NULL ? entry->host.text : "", (int)entry->id.length,
             entry->id.text != NULL ? entry->id.text : "");
    switch (entry->event) {
    case LOGFORMAT_CLIENT:
        return visit(intake, entry, false) &&
               ledger_letter_client(ledger, id, &entry->client, entry->stamp.time_us) && sender(intake, id, entry);
    case LOGFORMAT_SENDER:
        return sender(intake, id, entry) && recipients(intake, id, entry);
    case LOGFORMAT_ACCEPTED:
        return visit(intake, entry, false) && accepted(intake, id, entry);
    case LOGFORMAT_RECIPIENT:
        return sender(intake, id, entry) && recipients(intake, id, entry);
    case LOGFORMAT_TAKEN_BACK:
        return visit(intake, entry, true) && ledger_letter_closed(ledger, id);
    case LOGFORMAT_CLOSED:
        return ledger_letter_closed(ledger, id);
    case LOGFORMAT_REFUSED:
        return refusal_take(intake, id, entry);
    case LOGFORMAT_SEEN:
        return visit(intake, entry, false);
    default:
        return true;
    }
}

bool intake_entry(struct intake *intake, const struct source_entry *from, int64_t now_us, int64_t reference_us, bool fresh)
{
    struct logformat_entry entry = {.event = LOGFORMAT_NONE};

    intake->counts.entries++;
    if (from->program != NULL) {
        entry.stamp.time_us = from->time_us;
        entry.host = (struct logformat_text){.text = from->host, .length = strlen(from->host)};
        logformat_message(intake->config.format, from->program, from->text, &entry);
    } else if (from->text[0] == ' ' || from->text[0] == '\t') {
        return true; /* the rest of the entry before: Exim warns in several lines */
    } else if (!logformat_line(intake->config.format, from->text, reference_us, &entry)) {
        intake->counts.unreadable++;
        intake_gap(intake, "a line could not be read");
        return true;
    }
    entry.client = ipaddr_client(&entry.client, intake->config.nat64_prefixes, intake->config.nat64_prefix_count);
    if (entry.event == LOGFORMAT_SUPPRESSED)
        intake_gap(intake, "lines were suppressed"); /* between the entry before and this one */
    return catch_up(intake) && watch_until(intake, &entry.stamp, now_us, fresh) && event_take(intake, &entry);
}
