/* schema.c - hunnypot db init, upgrade, rebuild, status: the files in sql/ and what the database has of them.
 *
 * Numbered files hold tables and their alterations, and run once each.  Those in sql/functions/ hold functions, views and
 * rights, which are as this program has them after each upgrade.  roles.sql comes before all of them, each time. */

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

static int apply(struct cli *cli, const char *folder, const char *name)
{
    char *path = alloc_format("%s/%s", folder, name), *text = NULL;
    int exit_status = file_read(path, &text);

    if (exit_status == CLI_OK && db_script(cli->db, CLI_WORK_MS, text) != DB_OK)
        exit_status = cli_fail("%s: %s", name, db_why(cli->db));
    free(text);
    free(path);
    return exit_status;
}

static int apply_file(struct cli *cli, const struct schema_files *files, int i)
{
    return apply(cli, files->folder, files->entries[i]->d_name);
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

/* What is wrong with roles, owners and rights: a row each.  pg_restore leaves such a database where the roles are not. */
static const char wrong_sql[] =
    "WITH role (name) AS (VALUES ('hunnypot_owner'), ('hunnypot_sensor'), ('hunnypot_reader'), ('hunnypot_operator'),"
    "  ('hunnypot_witness'), ('hunnypot_door')),"
    " ours (what, name, owner) AS ("
    "  SELECT 'schema', nspname::text, nspowner FROM pg_namespace WHERE nspname = 'hunnypot'"
    "  UNION ALL SELECT 'table, view or sequence', relname, relowner FROM pg_class"
    "   WHERE relnamespace = to_regnamespace('hunnypot') AND relkind IN ('r', 'p', 'v', 'S')"
    "  UNION ALL SELECT 'function', proname, proowner FROM pg_proc WHERE pronamespace = to_regnamespace('hunnypot')"
    "  UNION ALL SELECT 'type', t.typname, t.typowner FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid"
    "   WHERE t.typnamespace = to_regnamespace('hunnypot')"
    "    AND (t.typtype IN ('d', 'e', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))),"
    " called (name, by) AS (VALUES ('record_batch', 'hunnypot_sensor'), ('tick', 'hunnypot_sensor'),"
    "  ('listed', 'hunnypot_reader'), ('publish_check', 'hunnypot_reader'), ('forget', 'hunnypot_operator'),"
    "  ('expire', 'hunnypot_operator'), ('witness_hello', 'hunnypot_witness'), ('door_look_up', 'hunnypot_door')),"
    " read (name, by) AS (VALUES ('listing', 'hunnypot_reader'), ('hit', 'hunnypot_reader'),"
    "  ('schema_version', 'hunnypot_witness'))"
    " SELECT format('there is no role %s', name) FROM role WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)"
    " UNION ALL SELECT 'hunnypot_operator is not a member of hunnypot_reader'"
    "  FROM pg_roles o, pg_roles r WHERE o.rolname = 'hunnypot_operator' AND r.rolname = 'hunnypot_reader'"
    "   AND NOT pg_has_role(o.oid, r.oid, 'MEMBER')"
    " UNION ALL SELECT format('%s by %s, not by hunnypot_owner', CASE WHEN count(*) = 1 THEN min(what || ' ' || name) || ' is owned'"
    "   ELSE count(*) || ' things of the schema are owned' END, min(pg_get_userbyid(owner)))"
    "  FROM ours WHERE pg_get_userbyid(owner) <> 'hunnypot_owner' HAVING count(*) > 0"
    " UNION ALL SELECT format('everybody may call %s', string_agg(proname, ', ' ORDER BY proname))"
    "  FROM (SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace('hunnypot')"
    "   AND has_function_privilege('public', oid, 'EXECUTE') ORDER BY prosecdef DESC, proname LIMIT 5) p HAVING count(*) > 0"
    " UNION ALL SELECT format('%s may not call %s()', c.by, c.name) FROM called c"
    "  JOIN pg_proc p ON p.proname = c.name AND p.pronamespace = to_regnamespace('hunnypot')"
    "  JOIN pg_roles r ON r.rolname = c.by WHERE NOT has_function_privilege(r.oid, p.oid, 'EXECUTE')"
    " UNION ALL SELECT format('%s may not read %s', c.by, c.name) FROM read c"
    "  JOIN pg_class p ON p.relname = c.name AND p.relnamespace = to_regnamespace('hunnypot')"
    "  JOIN pg_roles r ON r.rolname = c.by WHERE NOT has_table_privilege(r.oid, p.oid, 'SELECT')";

static int read_wrong(struct cli *cli, struct db_result **result)
{
    enum db_status status;

    *result = NULL;
    status = db_query(cli->db, CLI_TIMEOUT_MS, wrong_sql, NULL, 0, result);
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

/* As the owner of the schema, whom roles.sql makes. */
static int become_owner(struct cli *cli)
{
    enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, "SET LOCAL ROLE hunnypot_owner");

    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

/* Functions, views and rights, as this program has them. */
static int apply_functions(struct cli *cli, const struct schema_files *functions)
{
    int exit_status = CLI_OK;

    for (int i = 0; exit_status == CLI_OK && i < functions->count; i++)
        exit_status = apply_file(cli, functions, i);
    return exit_status;
}

/* db init where there is a schema of VERSION: its tables stay as they are. */
static int mend(struct cli *cli, const struct schema_files *numbered, const struct schema_files *functions, int version)
{
    struct db_result *wrong;
    int exit_status = read_wrong(cli, &wrong);

    if (exit_status == CLI_OK && db_rows(wrong) > 0) {
        exit_status = apply(cli, numbered->folder, "roles.sql");
        if (exit_status == CLI_OK && version == numbered->count && (exit_status = become_owner(cli)) == CLI_OK)
            exit_status = apply_functions(cli, functions);
        for (size_t i = 0; exit_status == CLI_OK && i < db_rows(wrong); i++)
            printf("mended: %s\n", db_value(wrong, i, 0));
    }
    db_result_free(&wrong);
    if (exit_status == CLI_OK)
        printf("already at version %d%s\n", version, version < numbered->count ? "; run: hunnypot db upgrade" : "");
    return exit_status;
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
    if (initial && version > 0)
        return mend(cli, numbered, functions, version);
    if (version == numbered->count)
        printf("already at version %d\n", version);
    exit_status = apply(cli, numbered->folder, "roles.sql");
    if (exit_status == CLI_OK && version > 0)
        exit_status = become_owner(cli);
    while (exit_status == CLI_OK && version < numbered->count)
        exit_status = apply_numbered(cli, numbered, ++version);
    return exit_status == CLI_OK ? apply_functions(cli, functions) : exit_status;
}

/* Older ones would complain of the syntax of some line. */
static int server_check(struct cli *cli)
{
    enum { SERVER_MIN = 140000 };
    struct db_result *result = NULL;
    enum db_status status = db_query(cli->db, CLI_TIMEOUT_MS, "SELECT current_setting('server_version_num')", NULL, 0, &result);
    long version = status == DB_OK ? strtol(db_value(result, 0, 0), NULL, 10) : 0;

    db_result_free(&result);
    if (status != DB_OK)
        return cli_db_fail(cli, status);
    return version >= SERVER_MIN ? CLI_OK : cli_fail("this server is PostgreSQL %ld; 14 or later is needed", version / 10000);
}

static int migrate(struct cli *cli, bool initial)
{
    /* Once there is a schema, not by a lock that everybody who may connect could hold. */
    static const char begin[] =
        "BEGIN; DO 'BEGIN IF to_regclass(''hunnypot.schema_version'') IS NULL THEN"
        " PERFORM pg_advisory_xact_lock(hashtext(''hunnypot.schema''));"
        " ELSIF has_table_privilege(''hunnypot.schema_version'', ''UPDATE'') THEN"
        " LOCK TABLE hunnypot.schema_version IN SHARE ROW EXCLUSIVE MODE; END IF; END'";
    struct schema_files numbered = {.count = 0}, functions = {.count = 0};
    enum db_status status;
    int exit_status = read_numbered(&numbered);

    if (exit_status == CLI_OK)
        exit_status = read_folder(&functions, "sql/functions", is_sql_file);
    if (exit_status == CLI_OK)
        exit_status = cli_connect(cli);
    if (exit_status == CLI_OK)
        exit_status = server_check(cli);
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
    "  WHERE r.rolname IN ('hunnypot_owner', 'hunnypot_sensor', 'hunnypot_reader', 'hunnypot_operator',"
    "   'hunnypot_witness', 'hunnypot_door')) AS roles,"
    " (SELECT string_agg(format('%%s %%s, about %%s rows', t.name, pg_size_pretty(t.bytes), t.rows), '; ' ORDER BY t.name)"
    "  FROM (SELECT root.relname AS name, sum(pg_total_relation_size(leaf.oid))::bigint AS bytes,"
    "    sum(greatest(leaf.reltuples, 0))::bigint AS rows FROM pg_class root JOIN pg_class leaf ON leaf.oid = root.oid"
    "    OR leaf.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = root.oid)"
    "   WHERE root.oid IN (to_regclass('hunnypot.hit'), to_regclass('hunnypot.waiting'),"
    " to_regclass('hunnypot.offence_day'), to_regclass('hunnypot.listed_network')) GROUP BY 1) t) AS tables";

/* Fails when something is wrong, a line each. */
static int tell_wrong(struct cli *cli)
{
    struct db_result *wrong;
    int status = read_wrong(cli, &wrong);

    for (size_t i = 0; wrong != NULL && i < db_rows(wrong); i++)
        status = cli_fail("%s; run: hunnypot db init", db_value(wrong, i, 0));
    db_result_free(&wrong);
    return status;
}

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
        if (version > 0 && tell_wrong(cli) != CLI_OK)
            status = CLI_FAILED;
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
