/* schema.c - hunnypot db init, upgrade, status: the numbered files in sql/ and what the database has of them. */

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

struct schema_files {
    char *folder;
    struct dirent **entries; /* in order; entry i must have the number i + 1 */
    int count;
};

static int read_files(struct schema_files *files)
{
    files->folder = cli_data_path("sql");
    files->count = scandir(files->folder, &files->entries, is_numbered, alphasort);
    if (files->count < 0) {
        files->count = 0;
        return cli_fail("%s: %s", files->folder, strerror(errno));
    }
    for (int i = 0; i < files->count; i++)
        if (strtol(files->entries[i]->d_name, NULL, 10) != i + 1)
            return cli_fail("%s: where %03d should be, there is %s", files->folder, i + 1, files->entries[i]->d_name);
    return files->count > 0 ? CLI_OK : cli_fail("%s has no schema files", files->folder);
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

static int apply_file(struct cli *cli, const struct schema_files *files, int number)
{
    const char *name = files->entries[number - 1]->d_name;
    char *path = alloc_format("%s/%s", files->folder, name), *text = NULL, *row = NULL;
    enum db_status status;
    int exit_status = file_read(path, &text);

    if (exit_status == CLI_OK) {
        row = alloc_format("INSERT INTO hunnypot.schema_version (version) VALUES (%d) ON CONFLICT DO NOTHING", number);
        status = db_script(cli->db, CLI_WORK_MS, text);
        if (status == DB_OK)
            status = db_script(cli->db, CLI_TIMEOUT_MS, row);
        if (status == DB_OK)
            printf("%s\n", name);
        else
            exit_status = cli_fail("%s: %s", name, db_why(cli->db));
    }
    free(row);
    free(text);
    free(path);
    return exit_status;
}

/* Within a transaction that nobody else is in. */
static int apply_missing(struct cli *cli, const struct schema_files *files, bool initial)
{
    int version, exit_status = read_version(cli, &version);

    if (exit_status != CLI_OK)
        return exit_status;
    if (version > files->count)
        return cli_fail("the schema is version %d, newer than this program (%d); nothing was changed", version,
                        files->count);
    if (version == 0 && !initial)
        return cli_fail("this database has no Hunnypot schema; run: hunnypot db init");
    if (version == files->count || (initial && version > 0)) {
        printf("already at version %d%s\n", version, version < files->count ? "; run: hunnypot db upgrade" : "");
        return CLI_OK;
    }
    /* The first file makes this role, and goes on as it. */
    if (version > 0) {
        enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, "SET LOCAL ROLE hunnypot_owner");

        if (status != DB_OK)
            return cli_db_fail(cli, status);
    }
    while (exit_status == CLI_OK && version < files->count)
        exit_status = apply_file(cli, files, ++version);
    return exit_status;
}

static int migrate(struct cli *cli, bool initial)
{
    static const char begin[] = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('hunnypot.schema'))";
    struct schema_files files = {.count = 0};
    enum db_status status;
    int exit_status = read_files(&files);

    if (exit_status == CLI_OK)
        exit_status = cli_connect(cli);
    if (exit_status == CLI_OK) {
        status = db_script(cli->db, CLI_WORK_MS, begin);
        exit_status = status == DB_OK ? apply_missing(cli, &files, initial) : cli_db_fail(cli, status);
    }
    if (exit_status == CLI_OK) {
        status = db_script(cli->db, CLI_WORK_MS, "COMMIT");
        exit_status = status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
    }
    free_files(&files);
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
    "   WHERE root.oid IN (to_regclass('hunnypot.hit'), to_regclass('hunnypot.offence')) GROUP BY 1) t) AS tables";

static int run_db_status(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    struct schema_files files = {.count = 0};
    int status, version;

    if (cli_options(cli, argc, argv, options, &status) < 0 || (status = output_format_parse(format_name, &format)) != 0)
        return status;
    if ((status = read_files(&files)) == CLI_OK && (status = cli_connect(cli)) == CLI_OK &&
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
    {.name = "db status", .arguments = "", .help = "Show versions, roles and sizes", .run = run_db_status},
    {.name = NULL},
};
