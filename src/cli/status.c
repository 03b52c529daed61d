/* status.c - hunnypot status: the sensors, for people and for monitoring. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "report/metrics.h"

enum { STATUS_HELD = 1, STATUS_SILENT = 2, STATUS_FAILED = 3 }; /* as monitoring plugins have it */

static const char sensors_sql[] =
    "WITH " METRICS_TOLD_SQL
    " SELECT s.name AS sensor, CASE WHEN alive THEN 'alive' ELSE 'SILENT' END AS state,"
    " date_trunc('second', s.last_seen) AS heartbeat, s.skew AS clock_ahead_s,"
    " date_trunc('second', to_timestamp(s.session)) AS last_session, date_trunc('second', to_timestamp(s.hit)) AS last_hit,"
    " (SELECT date_trunc('second', max(p.last_batch)) FROM hunnypot.spool p WHERE p.sensor_id = s.sensor_id) AS last_batch,"
    " CASE WHEN alive AND grace > 0 THEN format('waits: start-up grace, %%s s left', ceil(grace))"
    "  WHEN alive AND grace IS NOT NULL THEN 'at work' END AS judging, %s AS not_taking_mail, s.inbox, s.outbox, s.aside, s.version, %s AS counters FROM told s ORDER BY s.name";

/* The status to end with. */
static int judge_status(struct cli *cli)
{
    static const char worst[] =
        "SELECT count(*), hunnypot.publish_check() FROM hunnypot.sensor"
        " WHERE retired IS NULL AND last_seen <= now() - interval '30 seconds'";
    struct db_result *result = NULL;
    enum db_status db_status = db_query(cli->db, CLI_TIMEOUT_MS, worst, NULL, 0, &result);
    int status = STATUS_FAILED;

    if (db_status != DB_OK) {
        cli_db_fail(cli, db_status);
    } else {
        const char *held = db_value(result, 0, 1);

        if (held != NULL)
            cli_fail("%s (see: hunnypot brake show)", held);
        status = strcmp(db_value(result, 0, 0), "0") != 0 ? STATUS_SILENT : held != NULL ? STATUS_HELD : CLI_OK;
    }
    db_result_free(&result);
    return status;
}

/* Print what SQL, which is freed, gives; the exit status is of the same moment. */
static int print_status(struct cli *cli, enum output_format format, char *sql)
{
    enum db_status db_status = db_script(cli->db, CLI_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    int status = STATUS_FAILED;

    if (db_status != DB_OK)
        cli_db_fail(cli, db_status);
    else if (output_query(cli, format == OUTPUT_TABLE ? OUTPUT_RECORDS : format, sql) == CLI_OK)
        status = judge_status(cli);
    free(sql);
    return status;
}

/* All of it or nothing. */
static int print_metrics(struct cli *cli)
{
    char *metrics;
    size_t length;
    FILE *text = alloc_text_begin(&metrics, &length);
    enum db_status db_status = metrics_write(cli->db, text);
    int status = STATUS_FAILED;

    alloc_text_end(text);
    if (db_status == DB_OK) {
        fwrite(metrics, 1, length, stdout); /* cli_close_output() tells whether it could be */
        status = judge_status(cli);
    } else {
        cli_db_fail(cli, db_status);
    }
    free(metrics);
    return status;
}

static int run_status(struct cli *cli, int argc, char **argv)
{
    static const char counters_text[] =
        "(SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM"
        /* what a sensor sends may be anything */
        " jsonb_each_text(CASE jsonb_typeof(s.counters) WHEN 'object' THEN s.counters - '{moments,hosts,histograms}'::text[] END)"
        " WHERE value <> '0')";
    static const char counters_json[] =
        "CASE jsonb_typeof(s.counters) WHEN 'object' THEN s.counters - '{moments,hosts,histograms}'::text[] ELSE s.counters END";
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
        return print_metrics(cli);
    return print_status(cli, format, alloc_format(sensors_sql, hosts_text, format == OUTPUT_JSON ? counters_json : counters_text));
}

static int run_sensor_retire(struct cli *cli, int argc, char **argv)
{
    const struct cli_option options[] = {{.name = NULL}};
    struct db_result *result = NULL;
    enum db_status asked;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (argc - first != 1)
        return cli_usage("takes the name of a sensor");
    if ((status = cli_open(cli)) != CLI_OK)
        return status;
    asked = db_query_texts(cli->db, CLI_TIMEOUT_MS, "SELECT hunnypot.sensor_retire($1)", (const char *const[]){argv[first]}, 1,
                           &result);
    if (asked != DB_OK)
        return cli_db_fail(cli, asked);
    if (strcmp(db_value(result, 0, 0), "unknown") == 0)
        status = cli_fail("there is no sensor %s", argv[first]);
    else if (strcmp(db_value(result, 0, 0), "alive") == 0)
        status = cli_fail("the sensor %s is alive: stop it first", argv[first]);
    db_result_free(&result);
    return status;
}

const struct cli_command status_commands[] = {
    {.name = "status", .arguments = "", .help = "Show the sensors: alive, last session and hit, spool, counters", .run = run_status},
    {.name = "sensor retire", .arguments = "NAME", .help = "A sensor is none any more: its silence is no news",
     .run = run_sensor_retire},
    {.name = NULL},
};
