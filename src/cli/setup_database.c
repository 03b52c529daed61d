/* setup_database.c - what `hunnypot setup` makes in the database, or says that somebody has to: database, schema, roles; and
 * the key of envelopes that goes with it. */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/conninfo.h"
#include "cli/file.h"
#include "cli/setup.h"
#include "cli/shell.h"
#include "record/db.h"

#define KEYS_FOLDER HP_SYSCONFDIR "/hunnypot"

static const struct {
    const char *role, *group;
    const char *passfile; /* of a database elsewhere, for the user of that name; NULL: no role there */
} roles[] = {
    {"hunnypot", "hunnypot_sensor", KEYS_FOLDER "/hunnypot.pgpass"},
    {"hunnypot-operator", "hunnypot_operator", KEYS_FOLDER "/operator.pgpass"},
    {"root", "hunnypot_operator", NULL},
};
enum { ROLES = sizeof roles / sizeof *roles, PASSWORD_BYTES = 16 };

/* On this host, by a server whose superuser is the user postgres */

/* What SQL gives in DATABASE, as the superuser; the caller frees; NULL after a line that says why. */
static char *superuser_sql(const struct setup *setup, const char *database, const char *sql)
{
    char *host = conninfo_value(setup->conninfo, "host"), *port = conninfo_value(setup->conninfo, "port");
    char *literal = cli_literal(database), *connect, *words[2], *command, *said;
    int status;

    connect = alloc_format("%s%s%s%s dbname=%s", host == NULL ? "" : "host=", host == NULL ? "" : host,
                           port == NULL ? "" : " port=", port == NULL ? "" : port, literal + 1);
    words[0] = shell_quote(connect);
    words[1] = shell_quote(sql);
    command = alloc_format("cd / && runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -d %s -c %s 2>&1", words[0], words[1]);
    said = shell_output(command, &status);
    if (status != 0) {
        cli_fail("PostgreSQL on this host, as its user postgres: %.*s", (int)strcspn(said, "\n"), said);
        free(said);
        said = NULL;
    }
    free(command);
    free(words[0]);
    free(words[1]);
    free(connect);
    free(literal);
    free(port);
    free(host);
    return said;
}

/* One step: where SQL in DATABASE gives nothing, WHAT is missing, and MAKE makes it (NULL: the schema). */
static int local_step(struct setup *setup, const char *database, const char *sql, const char *what, const char *make,
                      bool *changed)
{
    char *found = superuser_sql(setup, database, sql), *said;
    int status = found == NULL ? CLI_FAILED : CLI_OK;

    if (found != NULL && *found == '\0') {
        *changed = true;
        printf("database: %s%s\n", what, setup->apply ? "" : " would be made");
        if (setup->apply && make != NULL) {
            said = superuser_sql(setup, database, make);
            status = said == NULL ? CLI_FAILED : CLI_OK;
            free(said);
        } else if (setup->apply) {
            char *conninfo = shell_quote(setup->conninfo);
            char *command = alloc_format("cd / && runuser -u postgres -- %s --database %s db init", setup->program, conninfo);

            status = shell_run(command) == 0 ? CLI_OK : CLI_FAILED;
            free(command);
            free(conninfo);
        }
    }
    free(found);
    return status;
}

static int local_roles(struct setup *setup, const char *database, bool *changed)
{
    int status = CLI_OK;

    for (size_t i = 0; i < ROLES && status == CLI_OK; i++) {
        char *there = alloc_format("SELECT 1 FROM pg_roles WHERE rolname = '%s'", roles[i].role);
        char *member = alloc_format("SELECT 1 FROM pg_roles r, pg_roles g, pg_auth_members m WHERE r.rolname = '%s'"
                                    " AND g.rolname = '%s' AND m.roleid = g.oid AND m.member = r.oid",
                                    roles[i].role, roles[i].group);
        char *what = alloc_format("role %s", roles[i].role), *in = alloc_format("role %s in %s", roles[i].role, roles[i].group);
        char *make = alloc_format("CREATE ROLE \"%s\" LOGIN", roles[i].role);
        char *grant = alloc_format("GRANT \"%s\" TO \"%s\"", roles[i].group, roles[i].role);

        status = local_step(setup, database, there, what, make, changed);
        if (status == CLI_OK)
            status = local_step(setup, database, member, in, grant, changed);
        free(there);
        free(member);
        free(what);
        free(in);
        free(make);
        free(grant);
    }
    return status;
}

static int local_database(struct setup *setup, const char *name, bool *changed)
{
    char *literal = cli_literal(name), *there = alloc_format("SELECT 1 FROM pg_database WHERE datname = %s", literal);
    char *what = alloc_format("database %s", name), *quoted = alloc_zeroed(strlen(name) * 2 + 1, 1), *out = quoted, *make;
    bool made = false;
    int status;

    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '"')
            *out++ = '"';
        *out++ = *c;
    }
    make = alloc_format("CREATE DATABASE \"%s\"", quoted);
    status = local_step(setup, "postgres", there, what, make, &made);
    if (status == CLI_OK && made && !setup->apply)
        puts("database: schema and roles would be made");
    else if (status == CLI_OK)
        status = local_step(setup, name, "SELECT 1 WHERE to_regclass('hunnypot.schema_version') IS NOT NULL", "schema", NULL,
                            &made);
    if (status == CLI_OK && (setup->apply || !made))
        status = local_roles(setup, name, &made);
    *changed = *changed || made;
    free(make);
    free(quoted);
    free(what);
    free(there);
    free(literal);
    return status;
}

/* Elsewhere */

/* The password in PATH, or a new one that is not written yet; the caller frees. */
static char *password_of(const char *path, bool *fresh)
{
    unsigned char drawn[PASSWORD_BYTES];
    char *text = NULL, *password, *at;

    *fresh = access(path, F_OK) != 0;
    if (!*fresh && file_read(path, &text) == CLI_OK && (at = strrchr(text, ':')) != NULL) {
        password = alloc_format("%.*s", (int)strcspn(at + 1, "\n"), at + 1);
        free(text);
        return password;
    }
    free(text);
    if (getrandom(drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn)
        abort();
    password = alloc_zeroed(PASSWORD_BYTES * 2 + 1, 1);
    for (size_t i = 0; i < PASSWORD_BYTES; i++)
        snprintf(password + 2 * i, 3, "%02x", drawn[i]);
    return password;
}

/* libpq leaves a file alone that a group may read: each role's belongs to the user of its name, and root reads all. */
static int write_passfile(const char *role, const char *path, const char *password)
{
    const struct passwd *user = getpwnam(role);
    char *line;
    int status;

    if (user == NULL)
        return cli_fail("there is no user %s; run: systemd-sysusers", role);
    if (mkdir(KEYS_FOLDER, 0755) != 0 && errno != EEXIST)
        return cli_fail("%s: %s", KEYS_FOLDER, strerror(errno));
    line = alloc_format("*:*:*:%s:%s\n", role, password);
    status = setup_file_put(path, line, 0600, user->pw_uid, user->pw_gid);
    free(line);
    return status;
}

static int remote_roles(struct setup *setup, char **sql, bool *changed)
{
    size_t size;
    FILE *stream = alloc_text_begin(sql, &size);
    int status = CLI_OK;

    for (size_t i = 0; i < ROLES && status == CLI_OK; i++) {
        bool fresh;
        char *password;

        if (roles[i].passfile == NULL)
            continue;
        password = password_of(roles[i].passfile, &fresh);
        fprintf(stream, "CREATE ROLE \"%s\" LOGIN PASSWORD '%s' IN ROLE %s;\n", roles[i].role,
                fresh && !setup->apply ? "..." : password, roles[i].group);
        if (fresh && setup->apply)
            status = write_passfile(roles[i].role, roles[i].passfile, password);
        *changed = *changed || fresh;
        free(password);
    }
    alloc_text_end(stream);
    return status;
}

static bool daemon_may_record(const struct setup *setup)
{
    struct db *db = NULL;
    bool may = db_connect(&db, setup->daemon_conninfo, "hunnypot", CLI_TIMEOUT_MS, -1) == DB_OK &&
               db_script(db, CLI_TIMEOUT_MS, "SELECT FROM hunnypot.envelope_keys('{}')") == DB_OK;

    if (!may)
        cli_fail("the database does not take this host yet: %s", db_why(db));
    db_close(&db);
    return may;
}

static int remote_database(struct setup *setup, const char *name, bool *changed)
{
    char *sql = NULL;
    int status = remote_roles(setup, &sql, changed);

    if (status == CLI_OK && (!setup->apply || !daemon_may_record(setup))) {
        printf("The database is on another host.  There, as its superuser, with psql:\n\nCREATE DATABASE \"%s\";\n%s\n"
               "(the roles after the schema, which is made by: hunnypot --database '%s user=postgres' db init),\n"
               "let pg_hba.conf take these roles from here, and then run the same setup again.\n", name, sql, setup->conninfo);
        status = setup->apply ? CLI_FAILED : CLI_OK;
    }
    free(sql);
    return status;
}

/* The key */

static bool has_key(const struct envelope_keys *keys, const char *id)
{
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->keys[i].id, id) == 0)
            return true;
    return false;
}

/* The fingerprints that the database knows, after it was told those of KEYS. */
static int database_keys(const struct setup *setup, const struct envelope_keys *keys, struct db_result **known)
{
    char *claimed;
    size_t size;
    FILE *stream = alloc_text_begin(&claimed, &size);
    struct db *db = NULL;
    enum db_status status;
    int exit_status = CLI_OK;

    for (size_t i = 0; i < keys->count; i++)
        fprintf(stream, "%s%s", i == 0 ? "{" : ",", keys->keys[i].id);
    fputs(keys->count == 0 ? "{}" : "}", stream);
    alloc_text_end(stream);
    status = db_connect(&db, setup->remote ? setup->daemon_conninfo : setup->reader_conninfo, "hunnypot", CLI_TIMEOUT_MS, -1);
    if (status == DB_OK)
        status = db_query_texts(db, CLI_TIMEOUT_MS, "SELECT hunnypot.envelope_keys($1::text[])",
                                (const char *const *)&claimed, 1, known);
    if (status != DB_OK)
        exit_status = cli_fail("%s%s", db_why(db), status == DB_MISSING ? "; run: hunnypot db upgrade" : "");
    db_close(&db);
    free(claimed);
    return exit_status;
}

/* KEYS are those of --key-file, or else of this host; none is fine. */
static int keys_ask(const struct setup *setup, struct envelope_keys *keys, bool *there)
{
    char why[ENVELOPE_WHY_SIZE];
    struct envelope_keys ours;
    bool missing;

    *there = envelope_keys_read(ENVELOPE_KEY_FILE, &ours, &missing, why);
    if (!*there && !missing)
        return cli_fail("%s", why);
    *keys = ours;
    if (setup->key_file == NULL)
        return CLI_OK;
    if (!envelope_keys_read(setup->key_file, keys, &missing, why))
        return cli_fail("%s", why);
    if (*there && strcmp(ours.keys[0].id, keys->keys[0].id) != 0)
        return cli_fail("%s is there already, with another key than %s; nothing was done", ENVELOPE_KEY_FILE, setup->key_file);
    return CLI_OK;
}

static int copy_key(const struct setup *setup)
{
    const struct group *members = getgrnam("hunnypot");
    char *text;
    int status = file_read(setup->key_file, &text);

    if (status == CLI_OK && mkdir(KEYS_FOLDER, 0755) != 0 && errno != EEXIST)
        status = cli_fail("%s: %s", KEYS_FOLDER, strerror(errno));
    if (status == CLI_OK)
        status = setup_file_put(ENVELOPE_KEY_FILE, text, 0640, 0, members == NULL ? 0 : members->gr_gid);
    free(text);
    return status;
}

static int refuse_other_key(const struct envelope_keys *keys, const struct db_result *known)
{
    for (size_t i = 0; i < db_rows(known); i++)
        if (has_key(keys, db_value(known, i, 0)))
            return CLI_OK;
    if (db_rows(known) == 0)
        return CLI_OK;
    return cli_fail("the database has the key %s already, and what comes under another proves nothing; give a copy of a"
                    " sensor's %s as --key-file", db_value(known, 0, 0), ENVELOPE_KEY_FILE);
}

static int setup_key(struct setup *setup, bool *changed)
{
    const struct envelope_keys none = {.count = 0};
    struct db_result *known = NULL;
    struct envelope_keys keys;
    char why[ENVELOPE_WHY_SIZE];
    bool there, new_key;
    int status = keys_ask(setup, &keys, &there);

    if (status == CLI_OK)
        status = database_keys(setup, &none, &known);
    if (status == CLI_OK)
        status = refuse_other_key(&keys, known);
    new_key = status == CLI_OK && !there;
    *changed = *changed || new_key;
    if (new_key)
        printf("%s%s\n", ENVELOPE_KEY_FILE, setup->apply ? "" : " would be made");
    if (new_key && setup->apply && setup->key_file != NULL)
        status = copy_key(setup);
    else if (new_key && setup->apply && mkdir(KEYS_FOLDER, 0755) != 0 && errno != EEXIST)
        status = cli_fail("%s: %s", KEYS_FOLDER, strerror(errno));
    else if (new_key && setup->apply && !envelope_keys_renew(ENVELOPE_KEY_FILE, "hunnypot", &keys, why))
        status = cli_fail("%s", why);
    /* Another sensor may have been set up meanwhile. */
    if (status == CLI_OK && setup->apply && db_rows(known) == 0) {
        db_result_free(&known);
        status = database_keys(setup, &keys, &known);
        if (status == CLI_OK)
            status = refuse_other_key(&keys, known);
    }
    db_result_free(&known);
    return status;
}

/* The connection string, with ROLE and its passwords where that is WANTED. */
static char *as_role(const struct setup *setup, bool wanted, size_t role)
{
    return wanted ? alloc_format("%s user=%s passfile=%s", setup->conninfo, roles[role].role, roles[role].passfile)
                  : alloc_text(setup->conninfo);
}

char *setup_database_given(const char *database)
{
    char *added = alloc_format(" user=%s passfile=%s", roles[0].role, roles[0].passfile);
    size_t length = strlen(database), more = strlen(added);
    bool is_ours = length > more && strcmp(database + length - more, added) == 0;

    free(added);
    return alloc_format("%.*s", (int)(length - (is_ours ? more : 0)), database);
}

int setup_take_database(struct setup *setup, const char *text)
{
    char *host, *address, *service, *user, *name;
    int status = CLI_OK;

    setup->conninfo = strchr(text, '=') == NULL && strstr(text, "://") == NULL
        ? *text == '\0' ? alloc_text(SETUP_DATABASE) : alloc_format("dbname=%s", text) : alloc_text(text);
    host = conninfo_value(setup->conninfo, "host");
    address = conninfo_value(setup->conninfo, "hostaddr");
    service = conninfo_value(setup->conninfo, "service");
    user = conninfo_value(setup->conninfo, "user");
    name = conninfo_value(setup->conninfo, "dbname");
    setup->remote = address != NULL || service != NULL || (host != NULL && *host != '\0' && *host != '/');
    /* Whoever names a role cares for the passwords too. */
    if (setup->remote && user == NULL && strstr(setup->conninfo, "://") != NULL)
        status = cli_usage("--database: a server elsewhere as \"host=... dbname=...\", please");
    else if (name == NULL)
        status = cli_usage("--database: which one? (dbname=hunnypot)");
    setup->role_named = user != NULL;
    setup->daemon_conninfo = as_role(setup, setup->remote && user == NULL, 0);
    setup->reader_conninfo = as_role(setup, setup->remote && user == NULL, 1);
    free(name);
    free(host);
    free(address);
    free(service);
    free(user);
    return status;
}

int setup_database(struct setup *setup, bool *changed)
{
    char *name = conninfo_value(setup->conninfo, "dbname");
    bool made = false;
    int status = setup->remote ? remote_database(setup, name, &made) : local_database(setup, name, &made);

    /* Before there is a database it has no key. */
    if (status == CLI_OK && (setup->apply || !made))
        status = setup_key(setup, &made);
    else if (status == CLI_OK)
        printf("%s would be %s, if there is none\n", ENVELOPE_KEY_FILE, setup->key_file == NULL ? "made" : "copied");
    *changed = *changed || made;
    free(name);
    return status;
}
