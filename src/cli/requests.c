/* requests.c - hunnypot requests: those who asked at the door to be taken off the list. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "judge/mx.h"

enum { VERIFY_MS = 300000 }; /* what is left then is the next run's, which begins with it */

/* For a look */

static const char list_sql[] =
    "SELECT request_id AS id, host(address) AS address, network, listed, state, date_trunc('second', asked) AS asked, asker,"
    " CASE WHEN state = 'unproven' THEN code END AS wanted, name, date_trunc('second', checked) AS checked,"
    " date_trunc('second', decided) AS decided, author, reason, voided FROM hunnypot.request %s ORDER BY request_id";

static int list_requests(struct cli *cli, enum output_format format, bool all)
{
    char *sql = alloc_format(list_sql, all ? "" : "WHERE state IN ('unproven', 'waiting')");
    int status = output_query(cli, format, sql);

    free(sql);
    return status;
}

/* For the timer: are their TXT records there? */

/* The name of ADDRESS, confirmed, at which CODE stands: into NAME.  False: at none that could be looked at. */
static bool find_code(const struct settings_dns *dns, const char *address, const char *code, char name[DOMAIN_MAX + 1])
{
    static const atomic_bool stop = false;
    struct ipaddr parsed;
    struct mx_names names;

    if (!ipaddr_parse(address, &parsed))
        return false;
    mx_names_resolve(dns, &parsed, &stop, &names);
    for (size_t i = 0; i < names.count; i++) {
        char *at = alloc_format("_hunnypot.%s", names.list[i]);
        enum mx_status status = mx_text_find(dns, at, code, &stop);

        free(at);
        if (status == MX_OK) {
            strcpy(name, names.list[i]);
            return true;
        }
    }
    return false;
}

/* One row of request_to_check(). */
static enum db_status verify_one(struct cli *cli, const struct settings_dns *dns, const struct db_result *requests, size_t row)
{
    const char *id = db_value(requests, row, 0), *address = db_value(requests, row, 1);
    char name[DOMAIN_MAX + 1] = "";
    bool found = find_code(dns, address, db_value(requests, row, 2), name);
    const char *texts[] = {id, name};
    struct db_result *result = NULL;
    enum db_status status = db_query_texts(cli->db, CLI_WORK_MS, "SELECT hunnypot.request_checked($1::bigint, nullif($2, ''))",
                                           texts, 2, &result);

    if (status == DB_OK && found)
        printf("%s %s %s: %s\n", id, address, name, db_value(result, 0, 0));
    db_result_free(&result);
    return status;
}

static int verify_requests(struct cli *cli)
{
    /* The system's servers, and the times that hunnypot.conf(5) has for a start. */
    static const struct settings_dns dns = {.timeout_s = 5, .attempts = 2};
    int64_t end_ms = clock_monotonic_ms() + VERIFY_MS;
    struct db_result *requests = NULL;
    enum db_status status = db_query(cli->db, CLI_WORK_MS, "SELECT * FROM hunnypot.request_to_check()", NULL, 0, &requests);

    for (size_t row = 0; status == DB_OK && row < db_rows(requests) && clock_monotonic_ms() < end_ms; row++)
        status = verify_one(cli, &dns, requests, row);
    db_result_free(&requests);
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

/* For a decision */

static int decide(struct cli *cli, const char *id, const char *granted, const char *reason)
{
    char *author = cli_author();
    const char *texts[] = {id, granted, author, reason};
    struct db_result *result = NULL;
    enum db_status status = db_query_texts(cli->db, CLI_WORK_MS, "SELECT hunnypot.request_decide($1::bigint, $2::boolean, $3, $4)",
                                           texts, 4, &result);
    bool was_open = status == DB_OK && strcmp(db_value(result, 0, 0), "t") == 0;

    free(author);
    db_result_free(&result);
    if (status != DB_OK)
        return cli_db_fail(cli, status);
    return was_open ? CLI_OK : cli_fail("there is no open request %s; nothing was changed", id);
}

static int run_requests(struct cli *cli, int argc, char **argv)
{
    const char *grant = NULL, *refuse = NULL, *reason = "", *format_name = "table", *id;
    bool all = false, verify = false;
    const struct cli_option options[] = {
        {.name = "all", .help = "also those that are decided, or over", .flag = &all},
        {.name = "grant", .argument = "ID", .help = "take it off the list", .text = &grant},
        {.name = "refuse", .argument = "ID", .help = "leave it on the list", .text = &refuse},
        {.name = "reason", .argument = "TEXT", .help = "why; it stays with the request", .text = &reason},
        {.name = "verify", .help = "look for the TXT records that are waited for; for a timer", .flag = &verify},
        OUTPUT_FORMAT_OPTION(&format_name),
        {.name = NULL},
    };
    enum output_format format = OUTPUT_TABLE;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if ((grant != NULL) + (refuse != NULL) + verify + all > 1)
        return cli_usage("--all, --grant, --refuse and --verify are for one at a time");
    id = grant != NULL ? grant : refuse;
    if (id != NULL && !cli_is_number(id, BIGINT_DIGITS))
        return cli_usage("%s is no number of a request", id);
    if ((status = cli_open(cli)) != CLI_OK)
        return status;
    if (id != NULL)
        return decide(cli, id, grant != NULL ? "true" : "false", reason);
    return verify ? verify_requests(cli) : list_requests(cli, format, all);
}

const struct cli_command request_commands[] = {
    {.name = "requests", .arguments = "", .help = "Show who asks to be taken off the list, and decide", .run = run_requests},
    {.name = NULL},
};
