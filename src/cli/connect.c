#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"

#define ZONE_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/,.:<>"
enum { RECONNECT_MIN_MS = 1000, RECONNECT_MAX_MS = 60000 };

static const char *db_advice(const struct cli *cli, enum db_status status)
{
    if (status == DB_UNREACHABLE)
        return " (another database: --database or HUNNYPOT_DATABASE)";
    if (status == DB_DENIED && strstr(db_why(cli->db), "database \"") != NULL &&
        strstr(db_why(cli->db), "\" does not exist") != NULL)
        return "; make one: createdb hunnypot && hunnypot db init";
    if (status == DB_MISSING)
        return "; run: hunnypot db upgrade";
    return "";
}

int cli_db_fail(const struct cli *cli, enum db_status status)
{
    if (status == DB_STOPPED)
        return CLI_FAILED; /* whoever stopped it knows */
    return cli_fail("%s%s", db_why(cli->db), db_advice(cli, status));
}

int cli_connect(struct cli *cli)
{
    enum db_status status = db_connect(&cli->db, cli->database, "hunnypot", CLI_TIMEOUT_MS, cli->stop_fd);

    /* What is printed must not depend on how the server is set up. */
    if (status == DB_OK)
        status = db_script(cli->db, CLI_TIMEOUT_MS,
                           "SET client_min_messages = warning; SET datestyle = iso; SET intervalstyle = postgres; SET timezone = 'UTC';"
                           " SET standard_conforming_strings = on");
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

/* The name of the time zone that is PGTZ's, TZ's or this host's, into new memory; what cannot be one is UTC. */
static char *own_zone(void)
{
    static const char folder[] = "zoneinfo/";
    const char *name = getenv("PGTZ"), *within;
    char link[PATH_MAX];
    ssize_t length;

    if (name == NULL || *name == '\0')
        name = getenv("TZ");
    if (name == NULL) {
        length = readlink("/etc/localtime", link, sizeof link - 1);
        link[length > 0 ? length : 0] = '\0';
        name = link;
    }
    name += *name == ':';
    within = strstr(name, folder);
    if (within != NULL)
        name = within + sizeof folder - 1;
    if (*name == '\0' || *name == '/' || strspn(name, ZONE_LETTERS) != strlen(name))
        name = "UTC";
    return alloc_text(name);
}

int cli_use_zone(struct cli *cli, bool own)
{
    char *zone = own ? own_zone() : alloc_text("UTC");
    /* A zone that the server does not know must not break off the transaction that this may be in. */
    char *sql = alloc_format("DO 'BEGIN SET timezone = ''%s''; EXCEPTION WHEN invalid_parameter_value THEN"
                             " SET timezone = ''UTC''; END'", zone);
    enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, sql);

    free(sql);
    free(zone);
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

enum db_status cli_listen(struct cli *cli, const char *channel)
{
    char *sql = alloc_format("DO 'BEGIN IF NOT pg_is_in_recovery() THEN LISTEN %s; END IF; END'", channel);
    enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, sql);

    free(sql);
    return status;
}

int cli_open(struct cli *cli)
{
    struct db_result *result = NULL;
    enum db_status status;
    int version;
    int exit_status = cli_connect(cli);

    if (exit_status != CLI_OK)
        return exit_status;
    status = db_query(cli->db, CLI_TIMEOUT_MS, "SELECT coalesce(max(version), 0) FROM hunnypot.schema_version", NULL, 0,
                      &result);
    if (status == DB_MISSING)
        return cli_fail("this database has no Hunnypot schema; run: hunnypot db init");
    if (status != DB_OK)
        return cli_db_fail(cli, status);
    version = (int)strtol(db_value(result, 0, 0), NULL, 10);
    db_result_free(&result);
    if (version < CLI_SCHEMA_VERSION)
        return cli_fail("the schema is too old: it is version %d, and this program needs %d; run: hunnypot db upgrade",
                        version, CLI_SCHEMA_VERSION);
    return CLI_OK;
}

char *cli_literal(const char *text)
{
    /* E'' reads the same whatever standard_conforming_strings says; in UTF-8 no quote hides within a character. */
    char *literal = alloc_zeroed(strlen(text) * 2 + 4, 1), *out = literal;

    *out++ = 'E';
    *out++ = '\'';
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            *out++ = *text;
        *out++ = *text;
    }
    *out = '\'';
    return literal;
}

char *cli_data_path(const char *name)
{
    const char *folder = getenv("HUNNYPOT_DATADIR");

    return alloc_format("%s/%s", folder == NULL || *folder == '\0' ? HP_DATADIR : folder, name);
}

int cli_stop_on_signals(struct cli *cli)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    cli->stop_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return cli->stop_fd >= 0 ? CLI_OK : cli_fail("signalfd: %s", strerror(errno));
}

bool cli_stopped_within(const struct cli *cli, int64_t ms)
{
    struct pollfd fd = {.fd = cli->stop_fd, .events = POLLIN};

    return poll(&fd, 1, (int)ms) > 0;
}

void cli_stop_later(struct cli *cli)
{
    struct signalfd_siginfo taken;
    ssize_t got;

    do
        got = read(cli->stop_fd, &taken, sizeof taken);
    while (got > 0);
}

int cli_keep_open(struct cli *cli, enum db_status (*body)(struct cli *cli, void *context), void *context)
{
    int64_t backoff_ms = RECONNECT_MIN_MS;
    int status = cli_open(cli);

    if (status != CLI_OK)
        return status;
    do {
        if (status == CLI_OK) {
            backoff_ms = RECONNECT_MIN_MS;
            if (body(cli, context) == DB_STOPPED || cli_stopped_within(cli, 0))
                break;
            cli_fail("%s; connecting again", db_why(cli->db));
        }
        db_close(&cli->db);
        if (cli_stopped_within(cli, backoff_ms))
            break;
        backoff_ms = backoff_ms * 2 < RECONNECT_MAX_MS ? backoff_ms * 2 : RECONNECT_MAX_MS;
        status = cli_open(cli);
    } while (true);
    return CLI_OK;
}
