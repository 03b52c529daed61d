/* policy.c - hunnypot policy: show, set, test, enable, disable; hunnypot brake: show, list, release. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/output.h"

/* One class, as the first argument.  CLI_OK, or a status to return. */
static int take_class(int first, int argc, char **argv, const char **class)
{
    if (argc - first != 1)
        return cli_usage("takes a class (trap, backup, address, null-sender)");
    *class = argv[first];
    return CLI_OK;
}

/* A command that takes nothing: what SQL gives, for people in the form that TABLE says. */
static int show_all(struct cli *cli, int argc, char **argv, enum output_format table, const char *sql)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if ((status = cli_open(cli)) != CLI_OK)
        return status;
    return output_query(cli, format == OUTPUT_TABLE ? table : format, sql);
}

static int run_policy_show(struct cli *cli, int argc, char **argv)
{
    return show_all(cli, argc, argv, OUTPUT_RECORDS, "SELECT * FROM hunnypot.policy ORDER BY rank");
}

/* " name = 'value'," of each NAME=VALUE; the caller frees.  Names are the table's columns: letters and underscores.
 * No column may be empty; one may be unset. */
static char *assignments(char **settings, int *status)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    char *sql = alloc_text("");

    for (*status = CLI_OK; *settings != NULL && *status == CLI_OK; settings++) {
        size_t name = strspn(*settings, letters);
        char *value, *longer;

        if (name == 0 || (*settings)[name] != '=') {
            *status = cli_usage("%s is not NAME=VALUE", *settings);
            break;
        }
        if (strncmp(*settings, "class=", name + 1) == 0) {
            *status = cli_fail("the name of a class does not change");
            break;
        }
        value = (*settings)[name + 1] == '\0' ? alloc_text("NULL") : cli_literal(*settings + name + 1);
        longer = alloc_format("%s%s%.*s = %s", sql, *sql == '\0' ? "" : ", ", (int)name, *settings, value);
        free(value);
        free(sql);
        sql = longer;
    }
    return sql;
}

static int change_policy(struct cli *cli, const char *class, const char *changes)
{
    char *literal = cli_literal(class);
    char *sql = alloc_format("UPDATE hunnypot.policy SET %s WHERE class = hunnypot.known_class(%s)", changes, literal);
    enum db_status status = db_script(cli->db, CLI_WORK_MS, sql);

    free(sql);
    free(literal);
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

static int run_policy_set(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option options[] = {{.name = NULL}};
    const char *class = NULL;
    char *changes;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (argc - first < 2)
        return cli_usage("takes a class and NAME=VALUE (names: hunnypot policy show)");
    class = argv[first];
    changes = assignments(argv + first + 1, &status);
    if (status == CLI_OK && (status = cli_open(cli)) == CLI_OK)
        status = change_policy(cli, class, changes);
    free(changes);
    return status;
}

/* What SQL, with the class in place of %s, gives. */
static int print_for_class(struct cli *cli, enum output_format format, const char *sql, const char *class)
{
    char *literal = cli_literal(class);
    const char *place = strstr(sql, "%s");
    char *whole = alloc_format("%.*s%s%s", (int)(place - sql), sql, literal, place + 2);
    int status = output_query(cli, format, whole);

    free(whole);
    free(literal);
    return status;
}

static const char test_sql[] =
    "SELECT t.result, t.network, t.hits, date_trunc('second', t.first_seen) AS first_seen,"
    " date_trunc('second', t.last_seen) AS last_seen, date_trunc('second', t.until) AS until"
    " FROM hunnypot.policy_test(%s) t ORDER BY 1, 2";

static int run_policy_test(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table", *class = NULL;
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK ||
        (status = take_class(first, argc, argv, &class)) != CLI_OK || (status = cli_open(cli)) != CLI_OK)
        return status;
    return print_for_class(cli, format, test_sql, class);
}

static const char count_sql[] = "SELECT result, count(*) AS networks, sum(hits)::bigint AS hits FROM hunnypot.policy_test(%s)"
                                " GROUP BY 1 ORDER BY 1";

/* Shows what it does first. */
static int switch_class(struct cli *cli, int argc, char **argv, const char *enabled)
{
    static const struct cli_option options[] = {{.name = NULL}};
    const char *class = NULL;
    int status, first = cli_options(cli, argc, argv, options, &status);
    enum db_status db_status;

    if (first < 0 || (status = take_class(first, argc, argv, &class)) != CLI_OK || (status = cli_open(cli)) != CLI_OK)
        return status;
    if ((status = print_for_class(cli, OUTPUT_TABLE, count_sql, class)) != CLI_OK)
        return status;
    db_status = db_query_texts(cli->db, CLI_WORK_MS, "SELECT hunnypot.policy_enable($1, $2::boolean)",
                               (const char *const[]){class, enabled}, 2, NULL);
    return db_status == DB_OK ? CLI_OK : cli_db_fail(cli, db_status);
}

static int run_policy_enable(struct cli *cli, int argc, char **argv)
{
    return switch_class(cli, argc, argv, "true");
}

static int run_policy_disable(struct cli *cli, int argc, char **argv)
{
    return switch_class(cli, argc, argv, "false");
}

/* The brake */

static int run_brake_show(struct cli *cli, int argc, char **argv)
{
    return show_all(cli, argc, argv, OUTPUT_RECORDS,
                    "SELECT state, date_trunc('second', since) AS since, why, held, networks, hour_came, hour_most, came, most"
                    " FROM hunnypot.brake_state");
}

static int run_brake_list(struct cli *cli, int argc, char **argv)
{
    return show_all(cli, argc, argv, OUTPUT_TABLE,
                    "SELECT network, class, hits, domains, date_trunc('second', since) AS since,"
                    " date_trunc('second', last_seen) AS last_seen FROM hunnypot.held ORDER BY network, class");
}

static int run_brake_release(struct cli *cli, int argc, char **argv)
{
    return show_all(cli, argc, argv, OUTPUT_RECORDS, "SELECT hunnypot.brake_release() AS released");
}

const struct cli_command policy_commands[] = {
    {.name = "policy show", .arguments = "", .help = "Show each class: whether it is listed, when, for how long",
     .run = run_policy_show},
    {.name = "policy test", .arguments = "CLASS", .help = "Show whom a class would list, and whom not, and why",
     .run = run_policy_test},
    {.name = "policy enable", .arguments = "CLASS", .help = "List a class from now on", .run = run_policy_enable},
    {.name = "policy disable", .arguments = "CLASS", .help = "Only watch a class from now on", .run = run_policy_disable},
    {.name = "policy set", .arguments = "CLASS NAME=VALUE...", .help = "Change what it takes to be listed",
     .run = run_policy_set},
    {.name = "brake show", .arguments = "", .help = "Show whether the brake holds networks back from exports, and why",
     .run = run_brake_show},
    {.name = "brake list", .arguments = "", .help = "Show whom it holds back", .run = run_brake_list},
    {.name = "brake release", .arguments = "", .help = "Hold nobody back any more: the list is right", .run = run_brake_release},
    {.name = NULL},
};
