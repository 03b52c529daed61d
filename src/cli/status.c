/* status.c - hunnypot status: the sensors, for people and for monitoring. */

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/output.h"

enum { STATUS_HELD = 1, STATUS_SILENT = 2, STATUS_FAILED = 3 }; /* as monitoring plugins have it */

static const char sensors_sql[] =
    "SELECT s.name AS sensor, CASE WHEN s.last_seen > now() - interval '30 seconds' THEN 'alive' ELSE 'SILENT' END AS state,"
    " date_trunc('second', s.last_seen) AS heartbeat, (SELECT date_trunc('second', max(p.last_batch))"
    "  FROM hunnypot.spool p WHERE p.sensor_id = s.sensor_id) AS last_batch,"
    " s.inbox, s.outbox, s.aside, s.version, %s AS counters FROM hunnypot.sensor s ORDER BY s.name";

/* The text format of Prometheus, 0.0.4.  What would have to be escaped in a label is a "?" there; of names that become the same,
 * the number tells.  Ages and not times: the reader's clock need not be the database's. */
static const char prometheus_sql[] =
    "WITH s AS (SELECT *, format('sensor=\"%s\",id=\"%s\"',"
    "   regexp_replace(name, '[^ !#-\\[\\]-~]', '?', 'g'), sensor_id) AS labels"
    "  FROM hunnypot.sensor),"
    " family (name, kind, help) AS (VALUES"
    "  ('hunnypot_sensor_up', 'gauge', 'Whether the sensor gave a sign of life in the last 30 seconds.'),"
    "  ('hunnypot_sensor_heartbeat_age_seconds', 'gauge', 'How long ago that was.'),"
    "  ('hunnypot_sensor_last_batch_age_seconds', 'gauge', 'How long ago hits of the sensor were recorded.'),"
    "  ('hunnypot_spool_hits', 'gauge', 'Hits in the spool: not judged yet, not in the database yet, refused by it.'),"
    "  ('hunnypot_sensor_events_total', 'counter', 'What the sensor counted since its start; see hunnypot-milter(8).'),"
    "  ('hunnypot_list_networks', 'gauge', 'Networks on the list.'),"
    "  ('hunnypot_brake_holds', 'gauge', 'Whether the brake holds networks back from exports.')),"
    " sample (name, labels, value) AS ("
    "  SELECT 'hunnypot_sensor_up', labels, (last_seen > now() - interval '30 seconds')::int::numeric FROM s"
    "  UNION ALL SELECT 'hunnypot_sensor_heartbeat_age_seconds', labels,"
    "   round(extract(epoch FROM now() - last_seen)::numeric, 3) FROM s"
    "  UNION ALL SELECT 'hunnypot_sensor_last_batch_age_seconds', labels, round(extract(epoch FROM now()"
    "   - (SELECT max(last_batch) FROM hunnypot.spool p WHERE p.sensor_id = s.sensor_id))::numeric, 3) FROM s"
    "  UNION ALL SELECT 'hunnypot_spool_hits', labels || format(',place=\"%s\"', place), hits"
    "   FROM s, LATERAL (VALUES ('inbox', inbox), ('outbox', outbox), ('aside', aside)) q (place, hits)"
    "  UNION ALL SELECT 'hunnypot_sensor_events_total', labels || format(',event=\"%s\"', key), value::text::numeric"
    /* what a sensor sends may be anything */
    "   FROM s, LATERAL jsonb_each(CASE jsonb_typeof(counters) WHEN 'object' THEN counters ELSE '{}' END)"
    "   WHERE jsonb_typeof(value) = 'number' AND key ~ '^[a-z_]+$'"
    "  UNION ALL SELECT 'hunnypot_list_networks', NULL, networks FROM hunnypot.brake_state"
    "  UNION ALL SELECT 'hunnypot_brake_holds', NULL, (state = 'holds')::int FROM hunnypot.brake_state)"
    " SELECT line FROM (SELECT name, 0 AS part, '' AS labels, format('# HELP %s %s', name, help) AS line FROM family"
    "  UNION ALL SELECT name, 1, '', format('# TYPE %s %s', name, kind) FROM family"
    "  UNION ALL SELECT name, 2, labels, name || coalesce('{' || labels || '}', '') || ' ' || value FROM sample"
    "   WHERE value IS NOT NULL) l"
    " ORDER BY name, part, labels";

/* Print what SQL, which is freed, gives; the exit status is of the same moment. */
static int print_status(struct cli *cli, enum output_format format, char *sql)
{
    static const char worst[] =
        "SELECT count(*), hunnypot.publish_check() FROM hunnypot.sensor WHERE last_seen <= now() - interval '30 seconds'";
    struct db_result *result = NULL;
    enum db_status db_status = db_script(cli->db, CLI_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    int status = STATUS_FAILED;

    if (db_status == DB_OK)
        db_status = db_query(cli->db, CLI_TIMEOUT_MS, worst, NULL, 0, &result);
    if (db_status != DB_OK) {
        cli_db_fail(cli, db_status);
    } else if (output_query(cli, format == OUTPUT_TABLE ? OUTPUT_RECORDS : format, sql) == CLI_OK) {
        const char *held = db_value(result, 0, 1);

        if (held != NULL)
            cli_fail("%s (see: hunnypot brake show)", held);
        status = strcmp(db_value(result, 0, 0), "0") != 0 ? STATUS_SILENT : held != NULL ? STATUS_HELD : CLI_OK;
    }
    db_result_free(&result);
    free(sql);
    return status;
}

static int run_status(struct cli *cli, int argc, char **argv)
{
    static const char counters_text[] =
        "(SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM"
        /* what a sensor sends may be anything */
        " jsonb_each_text(CASE jsonb_typeof(s.counters) WHEN 'object' THEN s.counters END) WHERE value <> '0')";
    const char *format_name = "table";
    const struct cli_option options[] = {
        {.name = "format", .argument = "FORMAT", .help = "table (default), json, csv or prometheus", .text = &format_name},
        {.name = NULL},
    };
    bool prometheus;
    enum output_format format = OUTPUT_TABLE;
    int status, first = cli_options(cli, argc, argv, options, &status);

    prometheus = strcmp(format_name, "prometheus") == 0;
    if (first < 0 || (!prometheus && (status = output_format_parse(format_name, &format)) != CLI_OK))
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if (cli_open(cli) != CLI_OK)
        return STATUS_FAILED;
    if (prometheus)
        return print_status(cli, OUTPUT_LINES, alloc_text(prometheus_sql));
    return print_status(cli, format, alloc_format(sensors_sql, format == OUTPUT_JSON ? "s.counters" : counters_text));
}

const struct cli_command status_commands[] = {
    {.name = "status", .arguments = "", .help = "Show the sensors: alive, last batch, spool, counters", .run = run_status},
    {.name = NULL},
};
