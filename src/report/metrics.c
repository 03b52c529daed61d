#include "report/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/words.h"

enum { METRICS_TIMEOUT_MS = 10000 };

/* One series for each row of a group: VALUE is SQL, LABEL what it has beside the labels of the row.  Without a name it is one more
 * of the family above it. */
struct series {
    const char *name, *kind, *help, *label, *value;
};

/* What one statement gives: the text LABELS (or NULL) for each row of FROM, and its series. */
struct group {
    const char *with, *labels, *from;
    const struct series *series;
    size_t count;
};

/* What would have to be escaped in a label is a "?" there; of names that become the same, the number tells. */
#define LABEL_SQL(text) "regexp_replace(" text ", '[^ !#-\\[\\]-~]', '?', 'g')"
#define AGE_SQL(moment) "round(extract(epoch FROM now() - " moment ")::numeric, 3)"

/* "numbers": of what a sensor counted that which can be a counter. */
#define SENSORS_SQL \
    METRICS_TOLD_SQL ", s AS (SELECT t.*, n.numbers FROM told t," \
    " LATERAL (SELECT coalesce(jsonb_object_agg(key, trunc(number)), '{}') AS numbers" \
    "  FROM (SELECT key, CASE jsonb_typeof(value) WHEN 'number' THEN value::text::numeric END AS number FROM" \
    "   jsonb_each(CASE jsonb_typeof(t.counters) WHEN 'object' THEN t.counters ELSE '{}' END)) v" \
    "  WHERE number BETWEEN 0 AND 18446744073709551615) n" \
    " ORDER BY t.last_seen DESC, t.sensor_id LIMIT " METRICS_SENSORS_MAX ")"
#define COUNTED(name) "s.numbers->>'" name "'"

#define VERDICT_OF_FINAL(name) {.label = "verdict=\"" name "\"", .value = COUNTED(name)},
#define VERDICT_OF_WAITING(name)
#define VERDICT_SERIES(argument, identifier, name, rank, counts, meaning) VERDICT_OF_##counts(name)

/* Ages and not times: the reader's clock need not be the database's. */
static const struct series sensor_series[] = {
    {"hunnypot_sensor_up", "gauge", "Whether the sensor gave a sign of life in the last 30 seconds.", NULL, "s.alive::int"},
    {"hunnypot_sensor_heartbeat_age_seconds", "gauge", "How long ago that was.", NULL, AGE_SQL("s.last_seen")},
    {"hunnypot_sensor_last_batch_age_seconds", "gauge", "How long ago hits of the sensor were recorded.", NULL,
     AGE_SQL("(SELECT max(p.last_batch) FROM hunnypot.spool p WHERE p.sensor_id = s.sensor_id)")},
    /* on the clock of the sensor */
    {"hunnypot_sensor_last_session_age_seconds", "gauge", "How long ago a connection came to the sensor.", NULL,
     "greatest(round(extract(epoch FROM now()) + s.skew - s.session, 1), 0)"},
    {"hunnypot_sensor_last_hit_age_seconds", "gauge", "How long ago a hit came to the sensor.", NULL,
     "greatest(round(extract(epoch FROM now()) + s.skew - s.hit, 1), 0)"},
    {"hunnypot_sensor_clock_ahead_seconds", "gauge", "How far the clock of the sensor is ahead of the one of the database.", NULL,
     "s.skew"},
    {"hunnypot_sensor_grace_seconds", "gauge", "How long judging still waits after the start.", NULL,
     "CASE WHEN s.alive THEN greatest(round(s.grace, 1), 0) END"},
    {"hunnypot_mail_hosts_not_taking_mail", "gauge", "Mail hosts that deferred or did not answer; 20 stands for more.", NULL,
     "jsonb_array_length(s.hosts)"},
    {"hunnypot_spool_hits", "gauge", "Hits in the spool: not judged yet, not in the database yet, refused by it.", "place=\"inbox\"",
     "s.inbox"},
    {.label = "place=\"outbox\"", .value = "s.outbox"},
    {.label = "place=\"aside\"", .value = "s.aside"},
    {"hunnypot_connections_total", "counter", "Connections that the mail server reported.", NULL, COUNTED("sessions")},
    {"hunnypot_limits_total", "counter", "Connections that a limit refused or closed.", "limit=\"connections\"",
     COUNTED("over_connections")},
    {.label = "limit=\"connections_per_client\"", .value = COUNTED("over_client_connections")},
    {.label = "limit=\"client_bytes\"", .value = COUNTED("over_bytes")},
    {.label = "limit=\"idle\"", .value = COUNTED("over_idle")},
    {"hunnypot_hits_total", "counter", "Transactions that reached DATA and were judged at once or put into the spool.", NULL, COUNTED("hits")},
    {"hunnypot_data_repeated_total", "counter", "Further DATA commands of a transaction already counted.", NULL,
     COUNTED("repeated_data")},
    {"hunnypot_hits_lost_total", "counter", "Hits that could not be put into the spool, or were damaged in it.", NULL,
     COUNTED("lost")},
    {"hunnypot_verdicts_total", "counter", "Hits by the verdict that they ended with.", NULL, NULL},
    VERDICT_TABLE(VERDICT_SERIES, )
    {"hunnypot_dns_queries_total", "counter", "DNS questions asked.", NULL, COUNTED("dns_queries")},
    {"hunnypot_probes_total", "counter", "Mail hosts probed.", NULL, COUNTED("probes")},
    {"hunnypot_hits_recorded_total", "counter", "Hits recorded in the database.", NULL, COUNTED("shipped")},
    {"hunnypot_hits_set_aside_total", "counter", "Hits that the database refused, or that were damaged in the spool.", NULL,
     COUNTED("set_aside")},
    {"hunnypot_database_errors_total", "counter", "What failed at the database and is tried again.", NULL,
     COUNTED("database_errors")},
    {"hunnypot_log_lines_dropped_total", "counter", "Lines of the log that standard error did not take.", NULL,
     COUNTED("log_dropped")},
};

static const struct series fleet_series[] = {
    {"hunnypot_sensors", "gauge", "Sensors that the database knows; of more than " METRICS_SENSORS_MAX " those seen last have figures.",
     NULL, "(SELECT count(*) FROM hunnypot.sensor)"},
    {"hunnypot_witnesses", "gauge", "Witnesses that the database knows; the same holds for them.", NULL,
     "(SELECT count(*) FROM hunnypot.witness)"},
    {"hunnypot_ripe_overdue_seconds", "gauge", "For how long hits that are ripe wait to be counted.", NULL,
     "greatest(coalesce(" AGE_SQL("(SELECT min(due) FROM hunnypot.waiting)") ", 0), 0)"},
    {"hunnypot_list_networks", "gauge", "Networks on the list, also those that the brake holds back.", NULL, "b.networks"},
    {"hunnypot_brake_holds", "gauge", "Whether the brake holds networks back from exports.", NULL, "(b.state = 'holds')::int"},
    {"hunnypot_brake_held_networks", "gauge", "How many it holds back.", NULL, "b.held"},
    {"hunnypot_brake_came_networks", "gauge", "New networks, in the last hour and in the setting brake_time.", "within=\"hour\"",
     "b.hour_came"},
    {.label = "within=\"brake_time\"", .value = "b.came"},
    {"hunnypot_brake_most_networks", "gauge", "How many may come in that time before the brake holds.", "within=\"hour\"", "b.hour_most"},
    {.label = "within=\"brake_time\"", .value = "b.most"},
};

#define OUTCOME(name) {.label = "outcome=\"" name "\"", .value = "coalesce(h.hits->>'" name "', '0')"}
#define MOVE(name) "coalesce(h.hits->>'" name "', '0')"

static const struct series class_series[] = {
    {"hunnypot_hits", "gauge", "Hits that are still in the figures (setting keep_figures), by what they came to.",
     "outcome=\"ripening\"", "coalesce(w.hits, 0)"},
    OUTCOME("proven"),
    OUTCOME("inferred"),
    OUTCOME("while-listed"),
    OUTCOME("repeated"),
    OUTCOME("excused"),
    OUTCOME("redeemed"),
    {"hunnypot_list_moves", "gauge", "Networks that came on the list and left it, as far as the figures go back.", "move=\"listed\"",
     MOVE("listed")},
    {.label = "move=\"left\"", .value = MOVE("left")},
};

static const struct series witness_series[] = {
    {"hunnypot_witness_heartbeat_age_seconds", "gauge", "How long ago the witness told something.", NULL, AGE_SQL("w.last_seen")},
    {"hunnypot_witness_behind_seconds", "gauge", "How far behind it is: until when it watched the log without a gap.", NULL,
     "greatest(" AGE_SQL("coalesce((SELECT max(s.until) FROM hunnypot.witness_stretch s WHERE s.witness_id = w.witness_id),"
                         " w.first_seen)") ", 0)"},
};

#define TROUBLE(name) {.label = "kind=\"" name "\"", .value = "count(*) FILTER (WHERE t.kind = '" name "')"}

static const struct series trouble_series[] = {
    {"hunnypot_witness_troubles", "gauge", "What keeps witnesses from proving anything, as hunnypot check says.", NULL, NULL},
    TROUBLE("silent"),
    TROUBLE("behind"),
    TROUBLE("blind"),
    TROUBLE("key"),
    TROUBLE("missing"),
};

#define SERIES(array) .series = (array), .count = sizeof(array) / sizeof *(array)

static const struct group groups[] = {
    {"WITH " SENSORS_SQL, "format('sensor=\"%s\",id=\"%s\"', " LABEL_SQL("s.name") ", s.sensor_id)", "s ORDER BY s.sensor_id",
     SERIES(sensor_series)},
    {"", "NULL", "hunnypot.brake_state b", SERIES(fleet_series)},
    {"", "format('class=\"%s\"', " LABEL_SQL("p.class") ")",
     "hunnypot.policy p LEFT JOIN (SELECT class, jsonb_object_agg(what, number) AS hits FROM"
     " (SELECT class, what, sum(number) AS number FROM hunnypot.hourly GROUP BY 1, 2) f GROUP BY 1) h USING (class)"
     " LEFT JOIN (SELECT class, count(*) AS hits FROM hunnypot.waiting GROUP BY 1) w USING (class) ORDER BY p.rank",
     SERIES(class_series)},
    {"", "format('witness=\"%s\",id=\"%s\"', " LABEL_SQL("w.machine") ", w.witness_id)",
     "(SELECT * FROM hunnypot.witness ORDER BY last_seen DESC, witness_id LIMIT " METRICS_SENSORS_MAX ") w ORDER BY w.witness_id",
     SERIES(witness_series)},
    {"", "NULL", "hunnypot.witness_troubles() t", SERIES(trouble_series)},
};

static char *group_sql(const struct group *group)
{
    char *sql;
    size_t length;
    FILE *text = alloc_text_begin(&sql, &length);

    fprintf(text, "%s SELECT %s", group->with, group->labels);
    for (size_t i = 0; i < group->count; i++)
        fprintf(text, ", %s", group->series[i].value != NULL ? group->series[i].value : "NULL");
    fprintf(text, " FROM %s", group->from);
    alloc_text_end(text);
    return sql;
}

static void write_labels(FILE *out, const char *of_row, const char *label)
{
    if (of_row != NULL && label != NULL)
        fprintf(out, "{%s,%s}", of_row, label);
    else if (of_row != NULL || label != NULL)
        fprintf(out, "{%s}", of_row != NULL ? of_row : label);
}

static const struct series *family_end(const struct series *family, const struct series *end)
{
    do
        family++;
    while (family < end && family->name == NULL);
    return family;
}

/* The lines of a family belong together: row after row the series from FAMILY up to END, whose first column is FIRST. */
static void write_family(FILE *out, const struct series *family, const struct series *end, size_t first, const struct db_result *result)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name, family->kind);
    for (size_t row = 0; row < db_rows(result); row++)
        for (const struct series *series = family; series < end; series++) {
            const char *value = db_value(result, row, first + (size_t)(series - family));

            if (value == NULL)
                continue;
            fputs(family->name, out);
            write_labels(out, db_value(result, row, 0), series->label);
            fprintf(out, " %s\n", value);
        }
}

static enum db_status write_group(struct db *db, FILE *out, const struct group *group)
{
    const struct series *end = group->series + group->count;
    char *sql = group_sql(group);
    struct db_result *result = NULL;
    enum db_status status = db_query(db, METRICS_TIMEOUT_MS, sql, NULL, 0, &result);

    if (status == DB_OK)
        for (const struct series *family = group->series, *next; family < end; family = next) {
            next = family_end(family, end);
            write_family(out, family, next, 1 + (size_t)(family - group->series), result);
        }
    db_result_free(&result);
    free(sql);
    return status;
}

enum db_status metrics_write(struct db *db, FILE *out)
{
    enum db_status status = db_script(db, METRICS_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off");

    for (size_t i = 0; i < sizeof groups / sizeof *groups && status == DB_OK; i++)
        status = write_group(db, out, &groups[i]);
    if (status == DB_OK)
        status = db_script(db, METRICS_TIMEOUT_MS, "COMMIT");
    return status;
}
