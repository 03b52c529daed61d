/* check_database.c - checks of the database, as the daemon reaches it, and of what is recorded there.
 *
 * The daemon's role may not read, so the caller's own connection (--database) is asked for that.
 */

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/check.h"

enum {
    SERVER_MIN = 140000, /* server_version_num */
    CLOCK_OFF_MS = 5000,
    SILENT_S = 30,       /* as `hunnypot status` */
    CLIENTS_MIN = 20
};

/* Gathering */

static int64_t number_or(const struct db_result *result, size_t column, int64_t otherwise)
{
    const char *value = db_rows(result) == 0 ? NULL : db_value(result, 0, column);

    return value == NULL ? otherwise : strtoll(value, NULL, 10);
}

static bool truth_at(const struct db_result *result, size_t column)
{
    return db_rows(result) > 0 && db_value(result, 0, column) != NULL && strcmp(db_value(result, 0, column), "t") == 0;
}

static const char sensor_sql[] =
    "SELECT current_setting('server_version_num'), (extract(epoch FROM clock_timestamp()) * 1000)::bigint,"
    " to_regnamespace('hunnypot') IS NOT NULL, current_user,"
    " coalesce((SELECT bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'))"
    "  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'hunnypot'"
    "  AND p.proname IN ('sensor_hello', 'record_batch', 'sensor_heartbeat', 'tick')), false),"
    " EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'hunnypot'"
    "  AND c.relname = 'hit_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'))";

static void gather_sensor(struct check_database *database, const char *conninfo)
{
    struct db_result *result = NULL;
    struct db *db = NULL;
    int64_t before_ms;

    database->sensor_status = db_connect(&db, conninfo, "hunnypot", CLI_TIMEOUT_MS, -1);
    before_ms = clock_now().real_ms;
    if (database->sensor_status == DB_OK)
        database->sensor_status = db_query(db, CLI_TIMEOUT_MS, sensor_sql, NULL, 0, &result);
    if (database->sensor_status == DB_OK) {
        database->server_version = (int)number_or(result, 0, 0);
        database->clock_off_ms = number_or(result, 1, 0) - (before_ms + clock_now().real_ms) / 2;
        database->has_schema = truth_at(result, 2);
        database->sensor_role = alloc_text(db_value(result, 0, 3));
        database->may_record = truth_at(result, 4);
        database->has_partition = truth_at(result, 5);
    }
    database->sensor_why = alloc_text(db_why(db));
    db_result_free(&result);
    db_close(&db);
}

/* The daemon's user is who the server sees at its UNIX socket, so root connects as that one. */
static void gather_as_daemon(struct check_facts *facts)
{
    const struct settings *settings = facts->host.settings;
    const struct passwd *user = geteuid() == 0 && facts->host.user_exists ? getpwuid(facts->host.user_uid) : NULL;
    char *home = alloc_text(getenv("HOME"));

    if (user != NULL && seteuid(user->pw_uid) == 0) {
        /* libpq looks for password and certificate there, and fails over root's, which that user may not see. */
        setenv("HOME", user->pw_dir, 1);
        gather_sensor(&facts->database, settings->database);
        if (seteuid(0) != 0)
            abort();
        if (home != NULL)
            setenv("HOME", home, 1);
        else
            unsetenv("HOME");
    } else {
        gather_sensor(&facts->database, settings->database);
    }
    free(home);
}

static const char seen_sql[] =
    "SELECT extract(epoch FROM now() - s.last_seen)::bigint, (s.counters->>'sessions')::bigint, s.aside, s.inbox + s.outbox"
    " FROM hunnypot.sensor s WHERE s.name = $1";
static const char clients_sql[] =
    "SELECT count(DISTINCT client), count(*), bool_and(client <<= ANY ('{10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.0/8,"
    "fc00::/7,::1/128}'::inet[])) FROM (SELECT client FROM hunnypot.hit"
    " WHERE sensor_id = (SELECT s.sensor_id FROM hunnypot.sensor s WHERE s.name = $1)"
    /* hit_recorded finds these, in whatever order, and the limit bounds it */
    " AND recorded > now() - interval '1 day' LIMIT 1000) part";
static const char witnesses_sql[] =
    "SELECT string_agg(kind || ' ' || trouble, E'\\n') FROM hunnypot.witness_troubles() WHERE $1::text IS NOT NULL";

static const char requests_sql[] =
    "SELECT count(*) FILTER (WHERE state = 'waiting'),"
    " coalesce(bool_or(state = 'unproven' AND proof = 'name' AND coalesce(checked, asked) < now() - interval '1 hour'), false)"
    " FROM hunnypot.request WHERE state IN ('waiting', 'unproven') AND $1::text IS NOT NULL";

static const char brake_sql[] = "SELECT hunnypot.publish_check() WHERE $1::text IS NOT NULL";

/* One row of SQL, which takes the sensor's name; what keeps it from being read is kept.  The caller frees *RESULT. */
static bool one_row(struct check_database *database, struct db *db, const char *sql, const char *sensor,
                     struct db_result **result)
{
    enum db_status status = db_query_texts(db, CLI_TIMEOUT_MS, sql, &sensor, 1, result);

    if (status != DB_OK && database->unread_why == NULL)
        database->unread_why = alloc_text(db_why(db));
    return status == DB_OK;
}

static void gather_seen(struct check_database *database, struct db *db, const char *sensor)
{
    struct db_result *result = NULL;

    if (one_row(database, db, seen_sql, sensor, &result)) {
        database->seen = db_rows(result) > 0;
        database->silent_s = number_or(result, 0, 0);
        database->sessions = number_or(result, 1, -1);
        database->aside = number_or(result, 2, -1);
        database->spooled = number_or(result, 3, -1);
    }
    db_result_free(&result);
    if (one_row(database, db, clients_sql, sensor, &result)) {
        database->hits = number_or(result, 1, 0);
        database->clients = number_or(result, 0, 0);
        database->clients_private = truth_at(result, 2);
    }
    db_result_free(&result);
    if (one_row(database, db, witnesses_sql, sensor, &result) && db_rows(result) > 0)
        database->witness_troubles = alloc_text(db_value(result, 0, 0));
    db_result_free(&result);
    if (one_row(database, db, brake_sql, sensor, &result) && db_rows(result) > 0)
        database->held_why = alloc_text(db_value(result, 0, 0));
    db_result_free(&result);
    if (one_row(database, db, requests_sql, sensor, &result)) {
        database->requests_waiting = number_or(result, 0, 0);
        database->requests_unchecked = truth_at(result, 1);
    }
    db_result_free(&result);
}

static void gather_reader(struct check_facts *facts, struct cli *cli)
{
    static const char version[] = "SELECT coalesce(max(version), 0) FROM hunnypot.schema_version";
    struct check_database *database = &facts->database;
    struct db_result *result = NULL;

    database->reader_status = db_connect(&cli->db, cli->database, "hunnypot", CLI_TIMEOUT_MS, -1);
    if (database->reader_status == DB_OK)
        database->reader_status = db_query(cli->db, CLI_TIMEOUT_MS, version, NULL, 0, &result);
    if (database->reader_status == DB_OK) {
        database->schema_version = (int)number_or(result, 0, 0);
        gather_seen(database, cli->db, facts->host.settings->sensor);
    }
    database->reader_why = alloc_text(db_why(cli->db));
    db_result_free(&result);
}

void check_gather_database(struct check_facts *facts, struct cli *cli)
{
    facts->database.sessions = -1;
    if (facts->host.settings == NULL || *facts->host.settings->database == '\0')
        return;
    gather_as_daemon(facts);
    if (facts->database.sensor_status == DB_OK)
        gather_reader(facts, cli);
}

void check_free_database(struct check_database *database)
{
    free(database->sensor_why);
    free(database->sensor_role);
    free(database->reader_why);
    free(database->unread_why);
    free(database->witness_troubles);
    free(database->held_why);
}

/* The checks */

static bool is_used(const struct check_facts *facts)
{
    return facts->host.settings != NULL && *facts->host.settings->database != '\0';
}

/* Did the daemon's, or the caller's, connection tell anything? */
static bool daemon_got_through(const struct check_facts *facts)
{
    return is_used(facts) && facts->database.sensor_status == DB_OK;
}

static bool reader_got_through(const struct check_facts *facts)
{
    return daemon_got_through(facts) && facts->database.reader_status == DB_OK;
}

static void check_reached(const struct check_facts *facts, struct check_report *report)
{
    const struct check_database *database = &facts->database;

    if (facts->host.settings == NULL)
        return;
    if (!is_used(facts))
        check_say(report, CHECK_WARNING, "set database, so that hits leave the spool", "the settings name no database");
    else if (database->sensor_status == DB_OK)
        check_say(report, CHECK_OK, NULL, "the daemon's role %s reaches it", database->sensor_role);
    else if (database->sensor_status == DB_DENIED && geteuid() != 0)
        check_say(report, CHECK_UNKNOWN, "run this as root", "you may not connect as the daemon does: %s", database->sensor_why);
    else if (database->sensor_status == DB_DENIED)
        check_say(report, CHECK_PROBLEM, "make the database and role (README), or mend pg_hba.conf or the password file", "%s",
                  database->sensor_why);
    else
        check_say(report, CHECK_PROBLEM, "start the server or mend `database`; hits wait in the spool until then", "%s",
                  database->sensor_why);
}

static void check_server(const struct check_facts *facts, struct check_report *report)
{
    const struct check_database *database = &facts->database;

    if (daemon_got_through(facts) && database->server_version < SERVER_MIN)
        check_say(report, CHECK_PROBLEM, "upgrade the server: pg_upgradecluster", "PostgreSQL %d is too old, 14 is needed",
                  database->server_version / 10000);
}

static void check_clock(const struct check_facts *facts, struct check_report *report)
{
    int64_t off_ms = facts->database.clock_off_ms;

    if (daemon_got_through(facts) && (off_ms > CLOCK_OFF_MS || off_ms < -CLOCK_OFF_MS))
        check_say(report, CHECK_PROBLEM, "have both keep time: timedatectl set-ntp true",
                  "the clock of the database is %lld s %s ours", (long long)(off_ms < 0 ? -off_ms : off_ms) / 1000,
                  off_ms > 0 ? "ahead of" : "behind");
}

static void check_schema(const struct check_facts *facts, struct check_report *report)
{
    const struct check_database *database = &facts->database;

    if (!daemon_got_through(facts))
        return;
    if (!database->has_schema)
        check_say(report, CHECK_PROBLEM, "run: hunnypot db init", "the database has no Hunnypot schema");
    else if (database->reader_status != DB_OK)
        check_say(report, CHECK_UNKNOWN, "give --database with a role that is in hunnypot_reader",
                  "what is recorded cannot be read: %s", database->reader_why);
    else if (database->schema_version < CLI_SCHEMA_VERSION)
        check_say(report, CHECK_PROBLEM, "run: hunnypot db upgrade", "the schema is version %d, and %d is needed",
                  database->schema_version, CLI_SCHEMA_VERSION);
    else if (database->schema_version > CLI_SCHEMA_VERSION)
        check_say(report, CHECK_WARNING, "upgrade this host's hunnypot-milter too",
                  "the schema is version %d, newer than %d here",
                  database->schema_version, CLI_SCHEMA_VERSION);
    else
        check_say(report, CHECK_OK, NULL, "the schema is version %d", database->schema_version);
}

static void check_reading(const struct check_facts *facts, struct check_report *report)
{
    if (reader_got_through(facts) && facts->database.unread_why != NULL)
        check_say(report, CHECK_UNKNOWN, "give --database with a role that is in hunnypot_reader",
                  "not all that is recorded could be read: %s", facts->database.unread_why);
}

static void check_rights(const struct check_facts *facts, struct check_report *report)
{
    const struct check_database *database = &facts->database;

    if (daemon_got_through(facts) && database->has_schema && !database->may_record)
        check_say(report, CHECK_PROBLEM, "GRANT hunnypot_sensor TO it", "the daemon's role %s may not record hits",
                  database->sensor_role);
}

static void check_partition(const struct check_facts *facts, struct check_report *report)
{
    const struct check_database *database = &facts->database;

    if (reader_got_through(facts) && database->has_schema && !database->has_partition)
        check_say(report, CHECK_WARNING, "start the daemon, whose heartbeat makes it; see its log for what the database says",
                  "table hit has no partition for today");
}

static void check_sensor(const struct check_facts *facts, struct check_report *report)
{
    const struct check_database *database = &facts->database;
    const char *name = is_used(facts) ? facts->host.settings->sensor : "";

    if (!reader_got_through(facts) || (!database->seen && database->unread_why != NULL))
        return;
    if (!database->seen)
        check_say(report, CHECK_PROBLEM, "start the daemon, or see its log", "the database never heard of the sensor %s", name);
    else if (database->silent_s > SILENT_S)
        check_say(report, CHECK_PROBLEM, "start the daemon, or see its log", "the sensor %s is silent for %lld s", name,
                  (long long)database->silent_s);
    else if (database->sessions == 0)
        check_say(report, CHECK_WARNING, "send it one: swaks --to a@DOMAIN --server THIS-HOST; is port 25 open from outside?",
                  "no session came from the mail server since the daemon %s started", name);
    else
        check_say(report, CHECK_OK, NULL, "the sensor %s is alive", name);
    if (is_used(facts) && database->spooled >= facts->host.settings->spool_limit)
        check_say(report, CHECK_PROBLEM, "see in the log why its hits do not get into the database, or raise spool_limit",
                  "the spool is full, and hits are lost: %lld of %lld", (long long)database->spooled,
                  (long long)facts->host.settings->spool_limit);
    if (database->aside > 0)
        check_say(report, CHECK_WARNING, "see the reasons in the daemon's log (set-aside), and restart it when they are gone",
                  "%lld hits are set aside in the spool", (long long)database->aside);
}

static void check_clients(const struct check_facts *facts, struct check_report *report)
{
    const struct check_database *database = &facts->database;

    if (reader_got_through(facts) && database->hits >= CLIENTS_MIN && database->clients == 1 && database->clients_private)
        check_say(report, CHECK_PROBLEM,
                  "let the clients' addresses through: host network, or no userland proxy, or the PROXY protocol (haproxy)",
                  "all %lld hits of the last day that were looked at came from one private address", (long long)database->hits);
}

static void check_witnesses(const struct check_facts *facts, struct check_report *report)
{
    static const struct {
        const char *kind, *cure;
    } cures[] = {
        {"silent", "start it: systemctl start hunnypot-witness there; if it is none any more: hunnypot witness remove"},
        {"behind", "see its log, and whether it reads what that mail server writes now"},
        {"blind", "see WHAT IS WATCHED in hunnypot-witness(8): the log has gaps, or is another's, or our address is changed on the way"},
        {"key", "copy the file of `hunnypot witness key` from a sensor to it, and restart it"},
        {"missing", "run hunnypot-witness there too"},
    };
    const char *line = facts->database.witness_troubles;

    for (; reader_got_through(facts) && line != NULL && *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t length = strcspn(line, " ");
        const char *cure = NULL;

        for (size_t i = 0; i < sizeof cures / sizeof *cures; i++)
            if (strncmp(line, cures[i].kind, length) == 0)
                cure = cures[i].cure;
        check_say(report, CHECK_WARNING, cure, "%.*s", (int)(strcspn(line, "\n") - length - 1), line + length + 1);
    }
}

static void check_brake(const struct check_facts *facts, struct check_report *report)
{
    if (reader_got_through(facts) && facts->database.held_why != NULL)
        check_say(report, CHECK_WARNING, "look at them: hunnypot brake list; if they are right: hunnypot brake release", "%s",
                  facts->database.held_why);
}

static void check_requests(const struct check_facts *facts, struct check_report *report)
{
    if (reader_got_through(facts) && facts->database.requests_waiting > 0)
        check_say(report, CHECK_WARNING, "decide: hunnypot requests", "%lld requests to be taken off the list wait for a person",
                  (long long)facts->database.requests_waiting);
    if (reader_got_through(facts) && facts->database.requests_unchecked)
        check_say(report, CHECK_WARNING, "run: systemctl enable --now hunnypot-requests.timer, where hunnypot-operator may connect",
                  "nobody looked for an hour for TXT records that requests wait for");
}

const struct check check_database_table[] = {
    {"database", check_reached}, {"server version", check_server}, {"clock", check_clock},
    {"schema", check_schema},    {"reading", check_reading},       {"rights", check_rights},
    {"partition", check_partition}, {"sensor", check_sensor},      {"clients", check_clients},
    {"witnesses", check_witnesses}, {"brake", check_brake},        {"requests", check_requests},
    {NULL, NULL},
};
