/* schema.c - hunnypot db init, upgrade, rebuild, status: the files in sql/ and what the database has of them.
 *
 * Numbered files hold tables and their alterations, and run once each.  Those in sql/functions/ hold functions, views and
 * rights, which are as this program has them after each upgrade. */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/file.h"
#include "cli/output.h"

/* "NNN-what.sql" and nothing else. */
static int is_numbered(const struct dirent *entry)
{
    const char *name = entry->d_name, *end = strrchr(name, '.');

    return isdigit((unsigned char)name[0]) && isdigit((unsigned char)name[1]) && isdigit((unsigned char)name[2]) &&
           name[3] == '-' && end != NULL && strcmp(end, ".sql") == 0;
}

static int is_sql_file(const struct dirent *entry)
{
    const char *end = strrchr(entry->d_name, '.');

    return entry->d_name[0] != '.' && end != NULL && strcmp(end, ".sql") == 0;
}

struct schema_files {
    char *folder;
    struct dirent **entries; /* in the order of their names */
    int count;
};

static int read_folder(struct schema_files *files, const char *name, int (*wanted)(const struct dirent *entry))
{
    files->folder = cli_data_path(name);
    files->count = scandir(files->folder, &files->entries, wanted, alphasort);
    if (files->count < 0) {
        files->count = 0;
        return cli_fail("%s: %s", files->folder, strerror(errno));
    }
    return files->count > 0 ? CLI_OK : cli_fail("%s has no schema files", files->folder);
}

/* Entry i must have the number i + 1. */
static int read_numbered(struct schema_files *files)
{
    int status = read_folder(files, "sql", is_numbered);

    for (int i = 0; i < files->count; i++)
        if (strtol(files->entries[i]->d_name, NULL, 10) != i + 1)
            return cli_fail("%s: where %03d should be, there is %s", files->folder, i + 1, files->entries[i]->d_name);
    return status;
}

static void free_files(struct schema_files *files)
{
    for (int i = 0; i < files->count; i++)
        free(files->entries[i]);
    free(files->entries);
    free(files->folder);
}

/* What the database has; 0 when there is no schema. */
static int read_version(struct cli *cli, int *version)
{
    struct db_result *result = NULL;
    enum db_status status = db_query(cli->db, CLI_TIMEOUT_MS, "SELECT to_regclass('hunnypot.schema_version') IS NOT NULL",
                                     NULL, 0, &result);
    bool there = status == DB_OK && strcmp(db_value(result, 0, 0), "t") == 0;

    *version = 0;
    db_result_free(&result);
    if (there) {
        status = db_query(cli->db, CLI_TIMEOUT_MS, "SELECT coalesce(max(version), 0) FROM hunnypot.schema_version", NULL,
                          0, &result);
        if (status == DB_OK)
            *version = (int)strtol(db_value(result, 0, 0), NULL, 10);
        db_result_free(&result);
    }
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

static int apply_file(struct cli *cli, const struct schema_files *files, int i)
{
    const char *name = files->entries[i]->d_name;
    char *path = alloc_format("%s/%s", files->folder, name), *text = NULL;
    int exit_status = file_read(path, &text);

    if (exit_status == CLI_OK && db_script(cli->db, CLI_WORK_MS, text) != DB_OK)
        exit_status = cli_fail("%s: %s", name, db_why(cli->db));
    free(text);
    free(path);
    return exit_status;
}

static int apply_numbered(struct cli *cli, const struct schema_files *files, int number)
{
    char *row = alloc_format("INSERT INTO hunnypot.schema_version (version) VALUES (%d) ON CONFLICT DO NOTHING", number);
    int exit_status = apply_file(cli, files, number - 1);

    if (exit_status == CLI_OK && db_script(cli->db, CLI_TIMEOUT_MS, row) != DB_OK)
        exit_status = cli_fail("%s: %s", files->entries[number - 1]->d_name, db_why(cli->db));
    if (exit_status == CLI_OK)
        printf("%s\n", files->entries[number - 1]->d_name);
    free(row);
    return exit_status;
}

/* As the owner of the schema, whom the first numbered file makes and goes on as. */
static int become_owner(struct cli *cli)
{
    enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, "SET LOCAL ROLE hunnypot_owner");

    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

/* Within a transaction that nobody else is in. */
static int apply_missing(struct cli *cli, const struct schema_files *numbered, const struct schema_files *functions,
                         bool initial)
{
    int version, exit_status = read_version(cli, &version);

    if (exit_status != CLI_OK)
        return exit_status;
    if (version > numbered->count)
        return cli_fail("the schema is version %d, newer than this program (%d); nothing was changed", version,
                        numbered->count);
    if (version == 0 && !initial)
        return cli_fail("this database has no Hunnypot schema; run: hunnypot db init");
    if (version == numbered->count || (initial && version > 0))
        printf("already at version %d%s\n", version, version < numbered->count ? "; run: hunnypot db upgrade" : "");
    if (initial && version > 0)
        return CLI_OK;
    if (version > 0)
        exit_status = become_owner(cli);
    while (exit_status == CLI_OK && version < numbered->count)
        exit_status = apply_numbered(cli, numbered, ++version);
    for (int i = 0; exit_status == CLI_OK && i < functions->count; i++)
        exit_status = apply_file(cli, functions, i);
    return exit_status;
}

static int migrate(struct cli *cli, bool initial)
{
    static const char begin[] = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('hunnypot.schema'))";
    struct schema_files numbered = {.count = 0}, functions = {.count = 0};
    enum db_status status;
    int exit_status = read_numbered(&numbered);

    if (exit_status == CLI_OK)
        exit_status = read_folder(&functions, "sql/functions", is_sql_file);
    if (exit_status == CLI_OK)
        exit_status = cli_connect(cli);
    if (exit_status == CLI_OK) {
        status = db_script(cli->db, CLI_WORK_MS, begin);
        exit_status = status == DB_OK ? apply_missing(cli, &numbered, &functions, initial) : cli_db_fail(cli, status);
    }
    if (exit_status == CLI_OK) {
        status = db_script(cli->db, CLI_WORK_MS, "COMMIT");
        exit_status = status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
    }
    free_files(&functions);
    free_files(&numbered);
    return exit_status;
}

static int run_migrate(struct cli *cli, int argc, char **argv, bool initial)
{
    static const struct cli_option options[] = {{.name = NULL}};
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    return first < argc ? cli_usage("takes no argument: %s", argv[first]) : migrate(cli, initial);
}

static int run_init(struct cli *cli, int argc, char **argv)
{
    return run_migrate(cli, argc, argv, true);
}

static int run_upgrade(struct cli *cli, int argc, char **argv)
{
    return run_migrate(cli, argc, argv, false);
}

/* The list, made anew by tick(), whoever calls it; one step at a time, so that recording goes on. */
static int rebuild(struct cli *cli)
{
    static const char left[] = "SELECT count(*) FROM hunnypot.rework";
    enum { PAUSE_MS = 50 };
    struct db_result *result = NULL;
    enum db_status status = db_query(cli->db, CLI_WORK_MS, "SELECT hunnypot.rebuild()", NULL, 0, NULL);
    bool done = false;

    while (status == DB_OK && !done) {
        status = db_query(cli->db, CLI_WORK_MS, "SELECT hunnypot.tick() IS NULL", NULL, 0, &result);
        if (status == DB_OK && strcmp(db_value(result, 0, 0), "t") == 0)
            cli_stopped_within(cli, PAUSE_MS);
        db_result_free(&result);
        if (status == DB_OK)
            status = db_query(cli->db, CLI_TIMEOUT_MS, left, NULL, 0, &result);
        done = status == DB_OK && strcmp(db_value(result, 0, 0), "0") == 0;
        db_result_free(&result);
    }
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

static int run_rebuild(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option options[] = {{.name = NULL}};
    struct output_progress *progress;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if ((status = cli_open(cli)) != CLI_OK)
        return status;
    progress = output_progress_start("db rebuild");
    status = rebuild(cli);
    output_progress_stop(&progress);
    return status;
}

static const char status_sql[] =
    "SELECT current_database() AS database, split_part(version(), ' ', 2) AS postgresql, current_user AS role,"
    " %d AS schema_version, %d AS newest_version, pg_size_pretty(pg_database_size(current_database())) AS size,"
    " (SELECT string_agg(r.rolname || coalesce(' (' || (SELECT string_agg(u.rolname, ', ' ORDER BY u.rolname)"
    "   FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member WHERE m.roleid = r.oid) || ')', ''), ', '"
    "   ORDER BY r.rolname) FROM pg_roles r"
    "  WHERE r.rolname IN ('hunnypot_owner', 'hunnypot_sensor', 'hunnypot_reader', 'hunnypot_operator')) AS roles,"
    " (SELECT string_agg(format('%%s %%s, about %%s rows', t.name, pg_size_pretty(t.bytes), t.rows), '; ' ORDER BY t.name)"
    "  FROM (SELECT root.relname AS name, sum(pg_total_relation_size(leaf.oid))::bigint AS bytes,"
    "    sum(greatest(leaf.reltuples, 0))::bigint AS rows FROM pg_class root JOIN pg_class leaf ON leaf.oid = root.oid"
    "    OR leaf.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = root.oid)"
    "   WHERE root.oid IN (to_regclass('hunnypot.hit'), to_regclass('hunnypot.waiting'),"
    " to_regclass('hunnypot.offence_day'), to_regclass('hunnypot.listed_network')) GROUP BY 1) t) AS tables";

static int run_db_status(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    struct schema_files files = {.count = 0};
    int status, version;

    if (cli_options(cli, argc, argv, options, &status) < 0 || (status = output_format_parse(format_name, &format)) != 0)
        return status;
    if ((status = read_numbered(&files)) == CLI_OK && (status = cli_connect(cli)) == CLI_OK &&
        (status = read_version(cli, &version)) == CLI_OK) {
        char *sql = alloc_format(status_sql, version, files.count);

        status = output_query(cli, format == OUTPUT_TABLE ? OUTPUT_RECORDS : format, sql);
        free(sql);
        if (status == CLI_OK && version < files.count)
            status = cli_fail("the schema is version %d of %d; run: hunnypot db %s", version, files.count,
                              version == 0 ? "init" : "upgrade");
    }
    free_files(&files);
    return status;
}

const struct cli_command schema_commands[] = {
    {.name = "db init", .arguments = "", .help = "Make the schema in an empty database", .run = run_init},
    {.name = "db upgrade", .arguments = "", .help = "Bring the schema up to this program's version", .run = run_upgrade},
    {.name = "db rebuild", .arguments = "", .help = "Make the list anew from what was counted", .run = run_rebuild},
    {.name = "db status", .arguments = "", .help = "Show versions, roles and sizes", .run = run_db_status},
    {.name = NULL},
};
