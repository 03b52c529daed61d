#include "report/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/counter.h"
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
    {"hunnypot_spool_hits", "gauge", "Hits in the spool: not judged yet, not in the database yet, refused by it.",
     "place=\"inbox\"",
     "s.inbox"},
    {.label = "place=\"outbox\"", .value = "s.outbox"},
    {.label = "place=\"aside\"", .value = "s.aside"},
    {"hunnypot_spool_oldest_age_seconds", "gauge", "How old the oldest hit is that is not judged yet, or not in the database yet.",
     NULL,
     "CASE WHEN s.inbox = 0 AND s.outbox = 0 THEN 0 ELSE greatest(round(extract(epoch FROM now()) + s.skew - s.oldest, 1), 0) END"},
    {"hunnypot_connections_total", "counter", "Connections that the mail server reported.", NULL, COUNTED("sessions")},
    {"hunnypot_sessions_total", "counter", "Connections that ended, by what came of them.",
     "outcome=\"hit\"", COUNTED("sessions_hit")},
    {.label = "outcome=\"refused\"", .value = COUNTED("sessions_refused")},
    {.label = "outcome=\"passed\"", .value = COUNTED("sessions_passed")},
    {.label = "outcome=\"empty\"", .value = COUNTED("sessions_empty")},
    {"hunnypot_limits_total", "counter", "Connections that a limit refused or closed.", "limit=\"connections\"",
     COUNTED("over_connections")},
    {.label = "limit=\"connections_per_client\"", .value = COUNTED("over_client_connections")},
    {.label = "limit=\"client_bytes\"", .value = COUNTED("over_bytes")},
    {.label = "limit=\"idle\"", .value = COUNTED("over_idle")},
    {"hunnypot_hits_total", "counter", "Transactions that reached DATA and were judged at once or put into the spool.",
     NULL, COUNTED("hits")},
    {"hunnypot_data_repeated_total", "counter", "Further DATA commands of a transaction already counted.", NULL,
     COUNTED("repeated_data")},
    {"hunnypot_hits_lost_total", "counter", "Hits that could not be put into the spool, or were damaged in it.", NULL,
     COUNTED("lost")},
    {"hunnypot_verdicts_total", "counter", "Hits by the verdict that they ended with.", NULL, NULL},
    VERDICT_TABLE(VERDICT_SERIES, )
    {"hunnypot_dns_queries_total", "counter", "DNS questions asked.", NULL, COUNTED("dns_queries")},
    {"hunnypot_probes_total", "counter", "Mail hosts probed, by how they were found.",
     "state=\"accepting\"", COUNTED("probes_accepting")},
    {.label = "state=\"deferring\"", .value = COUNTED("probes_deferring")},
    {.label = "state=\"down\"", .value = COUNTED("probes_down")},
    {.label = "state=\"unknown\"", .value = COUNTED("probes_unknown")},
    {"hunnypot_hits_recorded_total", "counter", "Hits recorded in the database.", NULL, COUNTED("shipped")},
    {"hunnypot_batches_total", "counter", "Batches in which they were.", NULL, COUNTED("batches")},
    {"hunnypot_hits_set_aside_total", "counter", "Hits that the database refused, or that were damaged in the spool.", NULL,
     COUNTED("set_aside")},
    {"hunnypot_database_errors_total", "counter", "What failed at the database and is tried again.", NULL,
     COUNTED("database_errors")},
    {"hunnypot_log_lines_dropped_total", "counter", "Lines of the log that standard error did not take.", NULL,
     COUNTED("log_dropped")},
};

static const struct series fleet_series[] = {
    {"hunnypot_sensors", "gauge", "Sensors that the database knows and that are not retired; of more than " METRICS_SENSORS_MAX " those seen last have figures.",
     NULL, "(SELECT count(*) FROM hunnypot.sensor WHERE retired IS NULL)"},
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
    {"hunnypot_brake_most_networks", "gauge", "How many may come in that time before the brake holds.",
     "within=\"hour\"", "b.hour_most"},
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
    OUTCOME("friend"),
    OUTCOME("unanswered"),
    {"hunnypot_listings", "gauge", "Listings, also those that pause and those that the brake holds back, by what proves them.",
     "proof=\"witnessed\"", "coalesce(c.witnessed, 0)"},
    {.label = "proof=\"inferred\"", .value = "coalesce(c.inferred, 0)"},
    {"hunnypot_list_moves", "gauge", "Networks that came on the list and left it, as far as the figures go back.",
     "move=\"listed\"",
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

/* Of hits that wait, millions in a flood, so much is counted: 64 MB of them, half a million; beyond that it is an estimate. */
#define SHARE_SQL \
    "WITH share AS (SELECT least(1, 8000.0 * current_setting('block_size')::int / greatest(pg_relation_size('hunnypot.waiting'), 1)) AS share)"
#define RIPENING_SQL \
    "(SELECT class, round(count(*) / (SELECT share FROM share)) AS hits FROM hunnypot.waiting" \
    " TABLESAMPLE SYSTEM ((SELECT 100 * share FROM share)) GROUP BY 1)"

static const struct group groups[] = {
    {"WITH " SENSORS_SQL, "format('sensor=\"%s\",id=\"%s\"', " LABEL_SQL("s.name") ", s.sensor_id)", "s ORDER BY s.sensor_id",
     SERIES(sensor_series)},
    {"", "NULL", "hunnypot.brake_state b", SERIES(fleet_series)},
    {SHARE_SQL, "format('class=\"%s\"', " LABEL_SQL("p.class") ")",
     "hunnypot.policy p LEFT JOIN (SELECT class, jsonb_object_agg(what, number) AS hits FROM"
     " (SELECT class, what, sum(number) AS number FROM hunnypot.hourly GROUP BY 1, 2) f GROUP BY 1) h USING (class)"
     " LEFT JOIN " RIPENING_SQL " w USING (class)"
     " LEFT JOIN (SELECT class, sum(number) FILTER (WHERE witnessed) AS witnessed, sum(number) FILTER (WHERE NOT witnessed) AS inferred"
     "  FROM hunnypot.listing_count GROUP BY 1) c USING (class) ORDER BY p.rank",
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

/* Of each sensor that told it soundly: all buckets, none of which can be negative or too much.  %s: its name, how many buckets it has, and
 * their numbers with the most that they take. */
static const char told_histogram_sql[] =
    "WITH s AS (SELECT sensor_id, name, counters->'histograms'->'%s' AS h FROM hunnypot.sensor"
    "  WHERE retired IS NULL ORDER BY last_seen DESC, sensor_id"
    "  LIMIT " METRICS_SENSORS_MAX "), told AS ("
    " SELECT s.sensor_id, s.name, CASE jsonb_typeof(h->'sum_us') WHEN 'number' THEN (h->'sum_us')::text::numeric END AS sum_us, c.counts FROM s,"
    "  LATERAL (SELECT array_agg(trunc(number) ORDER BY place) AS counts FROM (SELECT place, CASE jsonb_typeof(value) WHEN 'number'"
    "   THEN value::text::numeric END AS number FROM jsonb_array_elements(CASE jsonb_typeof(h->'counts') WHEN 'array' THEN h->'counts'"
    "   ELSE '[]' END) WITH ORDINALITY e(value, place)) n"
    "   HAVING count(*) = %zu AND count(*) FILTER (WHERE number BETWEEN 0 AND 1e18) = count(*)) c)"
    " SELECT format('sensor=\"%%s\",id=\"%%s\"', " LABEL_SQL("name") ", sensor_id), le,"
    "  sum(counts[place]) OVER (PARTITION BY sensor_id ORDER BY place), round(sum_us / 1000000, 6)"
    " FROM told, (VALUES %s) b (place, le) WHERE sum_us BETWEEN 0 AND 1e21 ORDER BY sensor_id, place";

static const char listing_histogram_sql[] =
    "SELECT format('class=\"%s\"', " LABEL_SQL("p.class") "), coalesce(b.bound::text, '+Inf'),"
    " sum(coalesce(d.number, 0)) OVER (PARTITION BY p.class ORDER BY b.place), round(sum(coalesce(d.seconds, 0)) OVER (PARTITION BY p.class), 3)"
    " FROM hunnypot.policy p CROSS JOIN unnest(hunnypot.hit_to_listing_bounds() || NULL::int) WITH ORDINALITY b (bound, place)"
    " LEFT JOIN hunnypot.hit_to_listing d ON d.class = p.class AND d.place = b.place - 1 ORDER BY p.rank, b.place";

static char *told_histogram(enum histogram histogram)
{
    const int64_t *bounds_us = counter_bounds_us(histogram);
    char *places, *sql;
    size_t length;
    FILE *text = alloc_text_begin(&places, &length);

    for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
        fprintf(text, "(%d, '%g'), ", i + 1, (double)bounds_us[i] / 1e6);
    fprintf(text, "(%d, '+Inf')", HISTOGRAM_BOUNDS + 1);
    alloc_text_end(text);
    sql = alloc_format(told_histogram_sql, counter_histogram_name(histogram), (size_t)HISTOGRAM_BOUNDS + 1, places);
    free(places);
    return sql;
}

/* The rows of SQL, which is freed: labels, the most that a bucket takes, how many took no more, and in all rows the sum. */
static enum db_status write_histogram(struct db *db, FILE *out, const char *name, const char *help, char *sql)
{
    struct db_result *result = NULL;
    enum db_status status = db_query(db, METRICS_TIMEOUT_MS, sql, NULL, 0, &result);

    if (status == DB_OK) {
        fprintf(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
        for (size_t row = 0; row < db_rows(result); row++) {
            const char *labels = db_value(result, row, 0), *le = db_value(result, row, 1), *number = db_value(result, row, 2);

            fprintf(out, "%s_bucket{%s,le=\"%s\"} %s\n", name, labels, le, number);
            if (strcmp(le, "+Inf") == 0)
                fprintf(out, "%s_sum{%s} %s\n%s_count{%s} %s\n", name, labels, db_value(result, row, 3), name, labels, number);
        }
    }
    db_result_free(&result);
    free(sql);
    return status;
}

static enum db_status write_histograms(struct db *db, FILE *out)
{
    static const struct {
        const char *name, *help;
    } told[HISTOGRAM_COUNT] = {
        [HISTOGRAM_DATA_REPLY] = {"hunnypot_data_reply_seconds", "From DATA to its answer, of hits, also of those that were lost."},
        [HISTOGRAM_PROBE] = {"hunnypot_probe_seconds", "How long probes of mail hosts took."},
        [HISTOGRAM_RECORDED] = {"hunnypot_hit_to_row_seconds", "From a hit to its row in the database, by the clock of the sensor."},
    };
    enum db_status status = DB_OK;

    for (int i = 0; i < HISTOGRAM_COUNT && status == DB_OK; i++)
        status = write_histogram(db, out, told[i].name, told[i].help, told_histogram((enum histogram)i));
    if (status == DB_OK)
        status = write_histogram(db, out, "hunnypot_hit_to_listing_seconds", "From a hit to the listing that it brought about.",
                                 alloc_text(listing_histogram_sql));
    return status;
}

enum db_status metrics_write(struct db *db, FILE *out)
{
    enum db_status status = db_script(db, METRICS_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off");

    for (size_t i = 0; i < sizeof groups / sizeof *groups && status == DB_OK; i++)
        status = write_group(db, out, &groups[i]);
    if (status == DB_OK)
        status = write_histograms(db, out);
    if (status == DB_OK)
        status = db_script(db, METRICS_TIMEOUT_MS, "COMMIT");
    return status;
}
