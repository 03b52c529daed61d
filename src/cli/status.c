/* status.c - hunnypot status: the sensors, for people and for monitoring. */

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/output.h"

enum { STATUS_HELD = 1, STATUS_SILENT = 2, STATUS_FAILED = 3 }; /* as monitoring plugins have it */

/* The sensors with what they told of themselves (base/counter.h), in seconds since 1970.  What a sensor sends may be anything:
 * what is no number that can be a time is left out. */
#define TOLD_SQL \
    "told AS MATERIALIZED (SELECT s.*, s.last_seen > now() - interval '30 seconds' AS alive," \
    " m.session, m.hit, m.judging, round(m.sent - extract(epoch FROM s.last_seen), 1) AS skew," \
    " m.judging - m.sent - extract(epoch FROM now() - s.last_seen) AS grace, h.hosts FROM hunnypot.sensor s," \
    " LATERAL (SELECT max(at) FILTER (WHERE key = 'sent') AS sent, max(at) FILTER (WHERE key = 'session') AS session," \
    "   max(at) FILTER (WHERE key = 'hit') AS hit, max(at) FILTER (WHERE key = 'judging') AS judging" \
    "  FROM (SELECT key, CASE jsonb_typeof(value) WHEN 'number' THEN value::text::numeric / 1000 END AS at FROM" \
    "   jsonb_each(CASE jsonb_typeof(s.counters->'moments') WHEN 'object' THEN s.counters->'moments' ELSE '{}' END)) v" \
    "  WHERE at BETWEEN 0 AND 2e11) m," \
    " LATERAL (SELECT CASE jsonb_typeof(s.counters->'hosts') WHEN 'array' THEN s.counters->'hosts' ELSE '[]' END AS hosts) h)"

static const char sensors_sql[] =
    "WITH " TOLD_SQL
    " SELECT s.name AS sensor, CASE WHEN alive THEN 'alive' ELSE 'SILENT' END AS state,"
    " date_trunc('second', s.last_seen) AS heartbeat, s.skew AS clock_ahead_s,"
    " date_trunc('second', to_timestamp(s.session)) AS last_session, date_trunc('second', to_timestamp(s.hit)) AS last_hit,"
    " (SELECT date_trunc('second', max(p.last_batch)) FROM hunnypot.spool p WHERE p.sensor_id = s.sensor_id) AS last_batch,"
    " CASE WHEN alive AND grace > 0 THEN format('waits: start-up grace, %%s s left', ceil(grace))"
    "  WHEN alive AND grace IS NOT NULL THEN 'at work' END AS judging, %s AS not_taking_mail, s.inbox, s.outbox, s.aside, s.version, %s AS counters FROM told s ORDER BY s.name";

/* The text format of Prometheus, 0.0.4.  What would have to be escaped in a label is a "?" there; of names that become the same,
 * the number tells.  Ages and not times: the reader's clock need not be the database's. */
static const char prometheus_sql[] =
    "WITH " TOLD_SQL ", s AS (SELECT *, format('sensor=\"%s\",id=\"%s\"',"
    "   regexp_replace(name, '[^ !#-\\[\\]-~]', '?', 'g'), sensor_id) AS labels"
    "  FROM told),"
    " family (name, kind, help) AS (VALUES"
    "  ('hunnypot_sensor_up', 'gauge', 'Whether the sensor gave a sign of life in the last 30 seconds.'),"
    "  ('hunnypot_sensor_heartbeat_age_seconds', 'gauge', 'How long ago that was.'),"
    "  ('hunnypot_sensor_last_batch_age_seconds', 'gauge', 'How long ago hits of the sensor were recorded.'),"
    "  ('hunnypot_sensor_last_session_age_seconds', 'gauge', 'How long ago a connection came to the sensor.'),"
    "  ('hunnypot_sensor_last_hit_age_seconds', 'gauge', 'How long ago a hit came to the sensor.'),"
    "  ('hunnypot_sensor_clock_ahead_seconds', 'gauge', 'How far the clock of the sensor is ahead of the one of the database.'),"
    "  ('hunnypot_sensor_grace_seconds', 'gauge', 'How long judging still waits after the start.'),"
    "  ('hunnypot_mail_hosts_not_taking_mail', 'gauge', 'Mail hosts that deferred or did not answer; 20 stands for more.'),"
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
    /* on the clock of the sensor */
    "  UNION ALL SELECT 'hunnypot_sensor_last_session_age_seconds', labels,"
    "   greatest(round(extract(epoch FROM now()) + skew - session, 1), 0) FROM s"
    "  UNION ALL SELECT 'hunnypot_sensor_last_hit_age_seconds', labels,"
    "   greatest(round(extract(epoch FROM now()) + skew - hit, 1), 0) FROM s"
    "  UNION ALL SELECT 'hunnypot_sensor_clock_ahead_seconds', labels, skew FROM s"
    "  UNION ALL SELECT 'hunnypot_sensor_grace_seconds', labels, greatest(round(grace, 1), 0) FROM s WHERE alive"
    "  UNION ALL SELECT 'hunnypot_mail_hosts_not_taking_mail', labels, jsonb_array_length(hosts) FROM s"
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
        " jsonb_each_text(CASE jsonb_typeof(s.counters) WHEN 'object' THEN s.counters - '{moments,hosts}'::text[] END)"
        " WHERE value <> '0')";
    static const char counters_json[] =
        "CASE jsonb_typeof(s.counters) WHEN 'object' THEN s.counters - '{moments,hosts}'::text[] ELSE s.counters END";
    static const char hosts_text[] =
        "(SELECT string_agg(format('%s %s since %s', h->>'address', h->>'state',"
        "  CASE jsonb_typeof(h->'since') WHEN 'number' THEN date_trunc('second',"
        "   to_timestamp(least(abs((h->>'since')::numeric) / 1000, 2e11))) END), ', ') FROM jsonb_array_elements(s.hosts) h)";
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
    return print_status(cli, format, alloc_format(sensors_sql, hosts_text, format == OUTPUT_JSON ? counters_json : counters_text));
}

const struct cli_command status_commands[] = {
    {.name = "status", .arguments = "", .help = "Show the sensors: alive, last session and hit, spool, counters", .run = run_status},
    {.name = NULL},
};
