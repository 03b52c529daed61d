/* manage.c - the commands that change what is known: allow, forget, expire. */

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/ipaddr.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/file.h"
#include "cli/output.h"

static int read_format(const char *name, enum output_format *format, int first, int argc, char **argv)
{
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    return output_format_parse(name, format);
}

/* allow */

struct allow {
    const char *reason;
    char *author;
    char *expires; /* "" for never, else a number of milliseconds */
    bool force;    /* also what is wide */
    struct ipnet *nat64_prefixes;
    size_t nat64_prefix_count;
};

/* Is NET more than one organisation ever had?  No allocation is shorter; what is, was mistyped, or empties the list. */
static bool is_wide(const struct allow *allow, const struct ipnet *net)
{
    enum { WIDE_IPV4 = 8, WIDE_IPV6 = 16 };
    struct ipnet means = ipnet_client(net, allow->nat64_prefixes, allow->nat64_prefix_count);

    /* What is left there holds everybody's IPv4 address, or nobody's. */
    return ipnet_holds_ipv4(&means, allow->nat64_prefixes, allow->nat64_prefix_count) ||
           means.bits < (means.address.family == 4 ? WIDE_IPV4 : WIDE_IPV6);
}

/* What the database's setting names is in no file here. */
static int read_nat64_prefixes(struct cli *cli, struct allow *allow)
{
    static const char sql[] = "SELECT unnest(string_to_array(hunnypot.setting('nat64_prefixes'), ' '))";
    struct db_result *result = NULL;
    enum db_status status = db_query(cli->db, CLI_TIMEOUT_MS, sql, NULL, 0, &result);
    size_t rows = status == DB_OK ? db_rows(result) : 0;

    allow->nat64_prefixes = alloc_zeroed(rows + 1, sizeof *allow->nat64_prefixes);
    for (size_t i = 0; i < rows; i++)
        if (ipnet_parse(db_value(result, i, 0), &allow->nat64_prefixes[allow->nat64_prefix_count]))
            allow->nat64_prefix_count++;
    db_result_free(&result);
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

static int allow_one(struct cli *cli, const struct allow *allow, const struct ipnet *net, const char *reason)
{
    static const char sql[] =
        "SELECT hunnypot.allow_add($1::cidr, $2, $3, now() + nullif($4, '')::bigint * interval '1 millisecond')";
    char network[IPADDR_TEXT_SIZE];
    const char *texts[] = {ipnet_format(net, network), reason, allow->author, allow->expires};
    enum db_status status = db_query_texts(cli->db, CLI_TIMEOUT_MS, sql, texts, 4, NULL);

    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

static char *trimmed(char *text)
{
    char *end = text + strlen(text);

    while (end > text && strchr(" \t\r", end[-1]) != NULL)
        *--end = '\0';
    return text + strspn(text, " \t");
}

/* One line: "NETWORK # reason", each part may be missing. */
static int allow_line(struct cli *cli, const struct allow *allow, const char *path, int number, char *line)
{
    char *comment = strchr(line, '#'), *network;
    const char *reason = allow->reason;
    struct ipnet net;

    if (comment != NULL) {
        *comment++ = '\0';
        if (*(comment = trimmed(comment)) != '\0')
            reason = comment;
    }
    network = trimmed(line);
    if (*network == '\0')
        return CLI_OK;
    if (!ipnet_parse(network, &net))
        return cli_fail("%s:%d: %s is no network; nothing was added", path, number, network);
    if (!allow->force && is_wide(allow, &net))
        return cli_fail("%s:%d: %s is a large part of the Internet; nothing was added; --force if it is meant", path, number,
                        network);
    return allow_one(cli, allow, &net, reason);
}

static int allow_file(struct cli *cli, const struct allow *allow, const char *path)
{
    char *text, *rest, *line;
    int status = file_read(path, &text);

    rest = text;
    for (int number = 1; status == CLI_OK && (line = strsep(&rest, "\n")) != NULL; number++)
        status = allow_line(cli, allow, path, number, line);
    free(text);
    return status;
}

/* From the file PATH (may be NULL) and NETWORKS, which were parsed before. */
static int allow_all(struct cli *cli, struct allow *allow, const char *path, char **networks)
{
    enum db_status db_status;
    struct ipnet net;
    int status = cli_open(cli);

    if (status != CLI_OK || (status = read_nat64_prefixes(cli, allow)) != CLI_OK)
        return status;
    for (char **text = networks; !allow->force && *text != NULL; text++)
        if (ipnet_parse(*text, &net) && is_wide(allow, &net))
            return cli_usage("%s is a large part of the Internet; --force if it is meant", *text);
    if ((db_status = db_script(cli->db, CLI_TIMEOUT_MS, "BEGIN")) != DB_OK)
        return cli_db_fail(cli, db_status);
    if (path != NULL)
        status = allow_file(cli, allow, path);
    for (; status == CLI_OK && *networks != NULL && ipnet_parse(*networks, &net); networks++)
        status = allow_one(cli, allow, &net, allow->reason);
    if (status == CLI_OK && (db_status = db_script(cli->db, CLI_TIMEOUT_MS, "COMMIT")) != DB_OK)
        status = cli_db_fail(cli, db_status);
    return status;
}

char *cli_author(void)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *user = getpwuid(getuid());

    if (sudo != NULL && *sudo != '\0')
        return alloc_text(sudo);
    return user == NULL ? alloc_format("%ld", (long)getuid()) : alloc_text(user->pw_name);
}

static int run_allow_add(struct cli *cli, int argc, char **argv)
{
    const char *reason = "", *expires = NULL, *path = NULL;
    bool force = false;
    const struct cli_option options[] = {
        {.name = "reason", .argument = "TEXT", .help = "why", .text = &reason},
        {.name = "expires", .argument = "DURATION", .help = "only for so long: 12h, 30d; else for good",
         .text = &expires},
        {.name = "from", .argument = "FILE", .help = "networks from FILE, one a line, # starts a comment: the reason",
         .text = &path},
        {.name = "force", .help = "also networks shorter than /8 or, of IPv6, /16, and all behind a NAT64", .flag = &force},
        {.name = NULL},
    };
    struct allow allow;
    struct ipnet net;
    long long ms = 0;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first == argc && path == NULL)
        return cli_usage("takes a network, or --from FILE");
    for (int i = first; i < argc; i++)
        if (!ipnet_parse(argv[i], &net))
            return cli_usage("%s is no network (192.0.2.0/24)", argv[i]);
    if (expires != NULL && (ms = text_duration_ms(expires)) <= 0)
        return cli_usage("--expires: %s is no duration (12h, 30d)", expires);
    allow = (struct allow){.reason = reason,
                           .author = cli_author(),
                           .force = force,
                           .expires = expires == NULL ? alloc_text("") : alloc_format("%lld", ms)};
    status = allow_all(cli, &allow, path, argv + first);
    free(allow.author);
    free(allow.expires);
    free(allow.nat64_prefixes);
    return status;
}

/* All of them or, when one was not allowed, none. */
static int allow_remove(struct cli *cli, char **networks)
{
    struct ipnet net;
    char network[IPADDR_TEXT_SIZE];
    enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, "BEGIN");

    for (; status == DB_OK && *networks != NULL && ipnet_parse(*networks, &net); networks++) {
        const char *texts[] = {ipnet_format(&net, network)};
        struct db_result *result = NULL;
        bool gone;

        status = db_query_texts(cli->db, CLI_TIMEOUT_MS, "SELECT hunnypot.allow_del($1::cidr)", texts, 1, &result);
        gone = status == DB_OK && strcmp(db_value(result, 0, 0), "t") == 0;
        db_result_free(&result);
        if (status == DB_OK && !gone)
            return cli_fail("%s is not on the allowlist; nothing was removed", *networks);
    }
    if (status == DB_OK)
        status = db_script(cli->db, CLI_TIMEOUT_MS, "COMMIT");
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

static int run_allow_del(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option options[] = {{.name = NULL}};
    struct ipnet net;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first == argc)
        return cli_usage("takes a network");
    for (int i = first; i < argc; i++)
        if (!ipnet_parse(argv[i], &net))
            return cli_usage("%s is no network (192.0.2.0/24)", argv[i]);
    status = cli_open(cli);
    return status == CLI_OK ? allow_remove(cli, argv + first) : status;
}

static int run_allow_list(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = read_format(format_name, &format, first, argc, argv)) != CLI_OK ||
        (status = cli_open(cli)) != CLI_OK)
        return status;
    return output_query(cli, format,
                        "SELECT network, date_trunc('second', created) AS created,"
                        " date_trunc('second', expires) AS expires, author, reason FROM hunnypot.allow"
                        " WHERE expires IS NULL OR expires > now() ORDER BY network");
}

/* forget, expire */

/* SQL gives the rows (what, removed). */
static int print_removed(struct cli *cli, enum output_format format, const char *what, const char *sql)
{
    struct output_progress *progress = output_progress_start(what);
    int status = output_query(cli, format, sql);

    output_progress_stop(&progress);
    return status;
}

static int run_forget(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    char text[IPADDR_TEXT_SIZE], *sql;
    struct ipnet net;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    if (argc - first != 1 || !ipnet_parse(argv[first], &net))
        return cli_usage("takes one network or address");
    if ((status = cli_open(cli)) != CLI_OK)
        return status;
    sql = alloc_format("SELECT * FROM hunnypot.forget('%s')", ipnet_format(&net, text));
    status = print_removed(cli, format, "forget", sql);
    free(sql);
    return status;
}

enum { EXPIRE_ROWS_MAX = 8 };

/* What expire() removed so far, over all its steps. */
struct expired {
    const char *what[EXPIRE_ROWS_MAX];
    int64_t removed[EXPIRE_ROWS_MAX];
    size_t count;
    bool more;   /* the last step removed something */
    size_t held; /* it left so many partitions, its last rows, because somebody reads them */
};

static enum db_status expire_step(struct cli *cli, struct expired *expired, struct db_result **result)
{
    enum db_status status = db_query(cli->db, CLI_WORK_MS, "SELECT * FROM hunnypot.expire()", NULL, 0, result);
    size_t rows = status == DB_OK ? db_rows(*result) : 0;

    expired->more = false;
    for (expired->count = 0; expired->count < rows && expired->count < EXPIRE_ROWS_MAX; expired->count++) {
        const char *removed = db_value(*result, expired->count, 1);

        if (removed == NULL)
            break;
        expired->what[expired->count] = db_value(*result, expired->count, 0);
        expired->more |= strcmp(removed, "0") != 0;
        expired->removed[expired->count] += strtoll(removed, NULL, 10);
    }
    expired->held = rows - expired->count;
    return status;
}

static int print_expired(struct cli *cli, enum output_format format, const struct expired *expired)
{
    char *sql = alloc_text("SELECT * FROM (VALUES ");
    int status;

    for (size_t row = 0; row < expired->count; row++) {
        char *literal = cli_literal(expired->what[row]);
        char *longer = alloc_format("%s%s(%s, %lld::bigint)", sql, row > 0 ? ", " : "", literal,
                                    (long long)expired->removed[row]);

        free(literal);
        free(sql);
        sql = longer;
    }
    {
        char *whole = alloc_format("%s) r (what, removed)", sql);

        status = output_query(cli, format, whole);
        free(whole);
    }
    free(sql);
    return status;
}

/* Step by step, each a transaction of its own; then what time alone changes. */
static int expire(struct cli *cli, enum output_format format)
{
    enum { HELD_TRIES = 20, HELD_PAUSE_MS = 500 };
    struct output_progress *progress = output_progress_start("expire");
    struct expired expired = {.more = true};
    struct db_result *result = NULL;
    enum db_status status = DB_OK;
    int tries = 0, exit_status;

    while (status == DB_OK && (expired.more || (expired.held > 0 && ++tries < HELD_TRIES))) {
        if (expired.held > 0)
            cli_stopped_within(cli, HELD_PAUSE_MS);
        db_result_free(&result);
        status = expire_step(cli, &expired, &result);
    }
    if (status == DB_OK)
        status = db_query(cli->db, CLI_WORK_MS, "SELECT hunnypot.tick()", NULL, 0, NULL);
    exit_status = status == DB_OK ? print_expired(cli, format, &expired) : cli_db_fail(cli, status);
    for (size_t i = 0; exit_status == CLI_OK && i < expired.held; i++)
        (void)cli_fail("%s stays until the next run: somebody reads it", db_value(result, expired.count + i, 0));
    db_result_free(&result);
    output_progress_stop(&progress);
    return exit_status;
}

static int run_expire(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = read_format(format_name, &format, first, argc, argv)) != CLI_OK ||
        (status = cli_open(cli)) != CLI_OK)
        return status;
    return expire(cli, format);
}

const struct cli_command manage_commands[] = {
    {.name = "allow add", .arguments = "NETWORK...", .help = "Never list these networks", .run = run_allow_add},
    {.name = "allow del", .arguments = "NETWORK...", .help = "Take them off the allowlist", .run = run_allow_del},
    {.name = "allow list", .arguments = "", .help = "Show the allowlist", .run = run_allow_list},
    {.name = "forget", .arguments = "NETWORK", .help = "Remove everything known about a network", .run = run_forget},
    {.name = "expire", .arguments = "", .help = "Remove what is older than the database is to keep", .run = run_expire},
    {.name = NULL},
};
