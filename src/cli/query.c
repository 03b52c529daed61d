/* query.c - the commands that only look: list, show, top, listed, tail. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/domain.h"
#include "base/ipaddr.h"
#include "base/text.h"
#include "base/words.h"
#include "cli/cli.h"
#include "cli/output.h"

/* Texts that grow: an SQL statement with its conditions. */
static void append(char **sql, char *more)
{
    char *joined = alloc_format("%s%s", *sql, more);

    free(*sql);
    free(more);
    *sql = joined;
}

/* TEXT, a duration back from now or a time as people here write it, as an SQL expression in new memory; NULL: *STATUS is to be
 * returned. */
static char *moment(struct cli *cli, const char *text, int *status)
{
    long long ms = text_duration_ms(text);
    struct db_result *result = NULL;
    char *expression = NULL;
    enum db_status asked;

    if (ms >= 0)
        return alloc_format("(now() - interval '%lld milliseconds')", ms);
    if (cli->db == NULL && (*status = cli_open(cli)) != CLI_OK)
        return NULL;
    if ((*status = cli_use_zone(cli, true)) != CLI_OK)
        return NULL;
    asked = db_query_texts(cli->db, CLI_TIMEOUT_MS, "SELECT $1::timestamptz", &text, 1, &result);
    if (asked == DB_OK)
        expression = alloc_format("timestamptz '%s'", db_value(result, 0, 0)); /* with its offset: a zone of output is no matter */
    else
        *status = cli_db_fail(cli, asked);
    db_result_free(&result);
    return expression;
}

static int append_since(struct cli *cli, char **sql, const char *column, const char *since)
{
    int status = CLI_OK;
    char *expression;

    if (since == NULL)
        return CLI_OK;
    expression = moment(cli, since, &status);
    if (expression != NULL)
        append(sql, alloc_format(" AND %s >= %s", column, expression));
    free(expression);
    return status;
}

/* Open the database, and ask it who the clients in NET are: what its setting nat64_prefixes names is in no file here. */
static int open_to_read(struct cli *cli, const struct ipnet *net, char out[IPADDR_TEXT_SIZE])
{
    const char *texts[] = {ipnet_format(net, out)};
    struct db_result *result = NULL;
    int status = cli_open(cli);
    enum db_status asked;

    if (status != CLI_OK)
        return status;
    asked = db_query_texts(cli->db, CLI_TIMEOUT_MS, "SELECT network(hunnypot.client_address($1::inet))", texts, 1, &result);
    if (asked != DB_OK)
        return cli_db_fail(cli, asked);
    snprintf(out, IPADDR_TEXT_SIZE, "%s", db_value(result, 0, 0));
    db_result_free(&result);
    return CLI_OK;
}

/* Run SQL, which is freed. */
static int open_and_print(struct cli *cli, enum output_format format, char *sql)
{
    int status = cli->db != NULL ? CLI_OK : cli_open(cli);

    if (status == CLI_OK)
        status = output_query(cli, format, sql);
    free(sql);
    return status;
}

static const char offences_sql[] =
    "SELECT o.network, o.class, o.domain, o.hits, o.ripening, o.redeemed, o.excused, o.counted, date_trunc('second', o.first_seen) AS first_seen,"
    " date_trunc('second', o.last_seen) AS last_seen,"
    " (SELECT date_trunc('second', max(l.until)) FROM hunnypot.listing l"
    "  WHERE l.network IN (o.network, hunnypot.neighbours(o.network)) AND l.class = o.class) AS listed_until"
    " FROM %s o WHERE true";

/* list */

/* CHECK constraint of hunnypot.offence */
static bool is_class(const char *text)
{
    enum hit_class class;

    return class_from_name(text, &class) && class != CLASS_NONE;
}

struct list_asked {
    const char *class, *domain, *network, *since, *min_hits, *limit;
};

enum { LIST_SCREEN = 1000 };

/* The statement for what is asked; NULL: *STATUS is to be returned. */
static char *list_sql(struct cli *cli, const struct list_asked *asked, int *status)
{
    const char *limit = strcmp(asked->limit, "0") == 0 ? NULL : asked->limit;
    char *class = asked->class == NULL ? alloc_text("NULL") : cli_literal(asked->class);
    char *domain = asked->domain == NULL ? alloc_text("NULL") : cli_literal(asked->domain);
    char *network = alloc_format(asked->network == NULL ? "NULL" : "'%s'", asked->network);
    char *since = asked->since == NULL ? alloc_text("NULL") : moment(cli, asked->since, status);
    char *from = NULL, *sql = NULL;

    /* How many hits there are is known only when all are added up. */
    if (since != NULL && limit != NULL && asked->min_hits == NULL)
        from = alloc_format("hunnypot.newest_offences(%s, %s, %s, %s, %s)", limit, class, domain, network, since);
    if (since != NULL) {
        sql = alloc_format(offences_sql, from == NULL ? "hunnypot.offence" : from);
        if (asked->class != NULL)
            append(&sql, alloc_format(" AND o.class = %s", class));
        if (asked->domain != NULL)
            append(&sql, alloc_format(" AND o.domain = %s", domain));
        if (asked->network != NULL)
            append(&sql, alloc_format(" AND o.network <<= inet %s", network));
        if (asked->since != NULL)
            append(&sql, alloc_format(" AND o.last_seen >= %s", since));
        if (asked->min_hits != NULL)
            append(&sql, alloc_format(" AND o.hits >= %s", asked->min_hits));
        append(&sql, alloc_text(" ORDER BY o.last_seen DESC, o.network, o.class, o.domain"));
        if (limit != NULL)
            append(&sql, alloc_format(" LIMIT %s", limit));
    }
    free(class);
    free(domain);
    free(network);
    free(since);
    free(from);
    return sql;
}

/* Behind as many rows as were to be shown. */
static void say_there_are_more(struct cli *cli, const char *limit)
{
    struct db_result *result = NULL;

    if (db_query(cli->db, CLI_TIMEOUT_MS, "SELECT reltuples::bigint FROM pg_class WHERE oid = 'hunnypot.offence_day'::regclass"
                                          " AND reltuples > 0", NULL, 0, &result) == DB_OK && db_rows(result) > 0)
        printf("\nThese are the %s newest, in about %s records of days.", limit, db_value(result, 0, 0));
    else
        printf("\nThese are the %s newest; there may be more.", limit);
    puts("  Fewer: --since, --class, --domain, --network.  All: --limit 0.");
    db_result_free(&result);
}

static int print_list(struct cli *cli, enum output_format format, const struct list_asked *asked, bool to_person)
{
    int status = cli->db != NULL ? CLI_OK : cli_open(cli);
    char *sql = status == CLI_OK ? list_sql(cli, asked, &status) : NULL;
    size_t rows = 0;

    if (to_person)
        output_page_tables();
    if (sql != NULL)
        status = output_query_rows(cli, format, sql, &rows);
    if (status == CLI_OK && to_person && rows > 0 && rows == strtoul(asked->limit, NULL, 10))
        say_there_are_more(cli, asked->limit);
    free(sql);
    return status;
}

static int run_list(struct cli *cli, int argc, char **argv)
{
    struct list_asked asked = {.limit = NULL};
    const char *format_name = "table";
    const struct cli_option options[] = {
        {.name = "class", .argument = "CLASS", .help = "trap, backup, address or null-sender", .text = &asked.class},
        {.name = "domain", .argument = "DOMAIN", .help = "this recipient domain", .text = &asked.domain},
        {.name = "network", .argument = "NETWORK", .help = "within this network, for example 192.0.2.0/24",
         .text = &asked.network},
        {.name = "since", .argument = "TIME", .help = "last seen since then: 2h, 7d, 2026-11-23, ...", .text = &asked.since},
        {.name = "min-hits", .argument = "N", .help = "at least so many hits", .text = &asked.min_hits},
        {.name = "limit", .argument = "N", .help = "at most so many, the newest; 0: all (1000 at a terminal)",
         .text = &asked.limit},
        OUTPUT_FORMAT_OPTION(&format_name),
        {.name = NULL},
    };
    enum output_format format = OUTPUT_TABLE;
    struct ipnet net;
    char text[IPADDR_TEXT_SIZE], normalized[DOMAIN_MAX + 1], screen[16];
    bool to_person;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if (asked.domain != NULL && domain_normalize(asked.domain, normalized))
        asked.domain = normalized; /* as it is recorded; what is no domain was recorded as it came */
    if (asked.class != NULL && !is_class(asked.class))
        return cli_usage("--class is trap, backup, address or null-sender, not %s", asked.class);
    if (asked.network != NULL && !ipnet_parse(asked.network, &net))
        return cli_usage("--network: %s is no network (192.0.2.0/24)", asked.network);
    if (asked.min_hits != NULL && !cli_is_number(asked.min_hits, INT_DIGITS))
        return cli_usage("--min-hits: %s is no number", asked.min_hits);
    if (asked.limit != NULL && !cli_is_number(asked.limit, INT_DIGITS))
        return cli_usage("--limit: %s is no number", asked.limit);
    to_person = format == OUTPUT_TABLE && isatty(STDOUT_FILENO);
    snprintf(screen, sizeof screen, "%d", to_person ? LIST_SCREEN : 0);
    if (asked.limit == NULL)
        asked.limit = screen;
    if (asked.network != NULL && (status = open_to_read(cli, &net, text)) != CLI_OK)
        return status;
    asked.network = asked.network == NULL ? NULL : text;
    return print_list(cli, format, &asked, to_person);
}

/* show */

static const char hits_sql[] =
    "SELECT date_trunc('milliseconds', h.time) AS time, s.name AS sensor, h.client, h.client_name, h.helo, h.sender,"
    " h.recipients, h.recipients_total, h.class, h.domain, h.primary_host, h.primary_age_ms, h.queue_id, h.tls,"
    " h.null_sender, (hunnypot.hit_outcome(h.hit)).state, hunnypot.hit_words(h.hit) AS in_words"
    " FROM (SELECT hit, hit.* FROM hunnypot.hit WHERE hit.client <<= inet '%s' ORDER BY hit.time DESC, hit.spool, hit.seq DESC"
    "  LIMIT %s) h JOIN hunnypot.sensor s USING (sensor_id) ORDER BY h.time DESC, h.spool, h.seq DESC";

/* Why a client or an IPv6 /64 is listed or not; of another network, which is not judged as one, nothing. */
static const char verdicts_sql[] =
    "SELECT v.what FROM (SELECT cidr '%s' AS unit) n, hunnypot.verdicts(n.unit) v"
    " WHERE n.unit = hunnypot.client_network(n.unit) OR (family(n.unit) = 6 AND masklen(n.unit) = 64)";

static char *offences_within(const char *network)
{
    char *sql = alloc_format(offences_sql, "hunnypot.offence");

    append(&sql, alloc_format(" AND o.network <<= inet '%s' ORDER BY o.last_seen DESC, o.class, o.domain", network));
    return sql;
}

static int print_evidence(struct cli *cli, enum output_format format, const char *network, const char *limit)
{
    char *verdicts = alloc_format(verdicts_sql, network), *offences = offences_within(network);
    char *hits = alloc_format(hits_sql, network, limit);
    char *both = alloc_format("SELECT json_build_object('network', '%s',"
                              " 'offences', (SELECT coalesce(json_agg(o), '[]') FROM (%s) o),"
                              " 'verdicts', (SELECT coalesce(json_agg(v.what), '[]') FROM (%s) v),"
                              " 'hits', (SELECT coalesce(json_agg(h), '[]') FROM (%s) h))",
                              network, offences, verdicts, hits);
    int status = CLI_OK;

    if (format == OUTPUT_JSON) {
        status = output_query(cli, OUTPUT_ONE_JSON, both);
    } else if (format == OUTPUT_CSV) {
        status = output_query(cli, OUTPUT_CSV, hits);
    } else {
        status = output_query(cli, OUTPUT_TABLE, offences);
        putchar('\n');
        if (status == CLI_OK)
            status = output_query(cli, OUTPUT_LINES, verdicts);
        putchar('\n');
        if (status == CLI_OK)
            status = output_query(cli, OUTPUT_RECORDS, hits);
    }
    free(verdicts);
    free(both);
    free(hits);
    free(offences);
    return status;
}

static int run_show(struct cli *cli, int argc, char **argv)
{
    const char *limit = "50", *format_name = "table";
    const struct cli_option options[] = {
        {.name = "limit", .argument = "N", .help = "at most so many hits, the newest (50)", .text = &limit},
        OUTPUT_FORMAT_OPTION(&format_name),
        {.name = NULL},
    };
    enum output_format format = OUTPUT_TABLE;
    char text[IPADDR_TEXT_SIZE];
    struct ipaddr address;
    struct ipnet net;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    if (argc - first != 1)
        return cli_usage("takes one address or network");
    if (!cli_is_number(limit, INT_DIGITS))
        return cli_usage("--limit: %s is no number", limit);
    if (ipaddr_parse(argv[first], &address)) {
        net = ipnet_alone(&address);
    } else if (!ipnet_parse(argv[first], &net)) {
        return cli_usage("%s is neither an address nor a network", argv[first]);
    }
    status = open_to_read(cli, &net, text);
    return status == CLI_OK ? print_evidence(cli, format, text, limit) : status;
}

/* why */

static int run_why(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    char text[IPADDR_TEXT_SIZE];
    struct ipaddr address;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    if (argc - first != 1 || !ipaddr_parse(argv[first], &address))
        return cli_usage("takes one address");
    return open_and_print(cli, format,
                          alloc_format("SELECT date_trunc('second', w.\"time\") AS time, w.what"
                                       " FROM hunnypot.why('%s') w", ipaddr_format(&address, text)));
}

/* top */

static int run_top(struct cli *cli, int argc, char **argv)
{
    static const struct {
        const char *by, *expression;
    } columns[] = {{"client", "h.client"},
                   {"network", "set_masklen(h.client, CASE family(h.client) WHEN 4 THEN 24 ELSE 48 END)::cidr"},
                   {"domain", "h.domain"},
                   {"helo", "h.helo"},
                   {"class", "h.class"},
                   {"sensor", "s.name"}};
    const char *by = "client", *since = NULL, *limit = "20", *format_name = "table", *expression = NULL;
    const struct cli_option options[] = {
        {.name = "by", .argument = "WHAT", .help = "client (default), network, domain, helo, class or sensor",
         .text = &by},
        {.name = "since", .argument = "TIME", .help = "only hits since then: 2h, 7d, 2026-11-23, ...", .text = &since},
        {.name = "limit", .argument = "N", .help = "so many lines (20)", .text = &limit},
        OUTPUT_FORMAT_OPTION(&format_name),
        {.name = NULL},
    };
    enum output_format format = OUTPUT_TABLE;
    char *sql;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    for (unsigned i = 0; i < sizeof columns / sizeof *columns; i++)
        if (strcmp(by, columns[i].by) == 0)
            expression = columns[i].expression;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if (expression == NULL)
        return cli_usage("--by is client, network, domain, helo, class or sensor, not %s", by);
    if (!cli_is_number(limit, INT_DIGITS))
        return cli_usage("--limit: %s is no number", limit);
    sql = alloc_format("SELECT %s AS %s, count(*) AS hits, count(DISTINCT h.client) AS clients,"
                       " count(DISTINCT h.domain) AS domains, date_trunc('second', min(h.time)) AS first_seen,"
                       " date_trunc('second', max(h.time)) AS last_seen"
                       " FROM hunnypot.hit h JOIN hunnypot.sensor s USING (sensor_id) WHERE true",
                       expression, by);
    if ((status = append_since(cli, &sql, "h.time", since)) != CLI_OK) {
        free(sql);
        return status;
    }
    append(&sql, alloc_format(" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %s", limit));
    return open_and_print(cli, format, sql);
}

/* listed */

enum { LISTED_NO = 1, LISTED_FAILED = 2 };

/* Whether all of ADDRESSES (an SQL array) are listed, and print what each is. */
static int print_listed(struct cli *cli, enum output_format format, const char *addresses)
{
    char *count = alloc_format("SELECT count(*) FROM unnest(%s) a WHERE NOT EXISTS (SELECT FROM hunnypot.listed(a))",
                               addresses);
    char *rows = alloc_format("SELECT host(a) AS address, l.network IS NOT NULL AS listed, l.class, l.proof, l.code, l.reason,"
                              " date_trunc('second', l.since) AS since, date_trunc('second', l.until) AS until,"
                              " l.hits, l.domains, l.network, l.return_address"
                              " FROM unnest(%s) WITH ORDINALITY AS n(a, i) LEFT JOIN LATERAL hunnypot.listed(a) l ON true"
                              " ORDER BY i, l.rank",
                              addresses);
    struct db_result *result = NULL;
    /* One transaction: the exit status and what is printed are of the same moment. */
    enum db_status db_status = db_script(cli->db, CLI_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    int status;

    if (db_status == DB_OK)
        db_status = db_query(cli->db, CLI_TIMEOUT_MS, count, NULL, 0, &result);
    if (db_status == DB_OK)
        status = output_query(cli, format == OUTPUT_TABLE ? OUTPUT_RECORDS : format, rows);
    else
        status = cli_db_fail(cli, db_status);
    if (status == CLI_OK)
        status = strcmp(db_value(result, 0, 0), "0") == 0 ? CLI_OK : LISTED_NO;
    else
        status = LISTED_FAILED;
    db_result_free(&result);
    free(rows);
    free(count);
    return status;
}

static int run_listed(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {OUTPUT_FORMAT_OPTION(&format_name), {.name = NULL}};
    enum output_format format = OUTPUT_TABLE;
    char text[IPADDR_TEXT_SIZE], *array;
    struct ipaddr address;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0 || (status = output_format_parse(format_name, &format)) != CLI_OK)
        return status;
    if (first == argc)
        return cli_usage("takes one address or more");
    array = alloc_text("ARRAY[");
    for (int i = first; i < argc; i++) {
        if (!ipaddr_parse(argv[i], &address)) {
            free(array);
            return cli_usage("%s is no address", argv[i]);
        }
        append(&array, alloc_format("%sinet '%s'", i > first ? "," : "", ipaddr_format(&address, text)));
    }
    append(&array, alloc_text("]"));
    status = cli_open(cli) == CLI_OK ? print_listed(cli, format, array) : LISTED_FAILED;
    free(array);
    return status;
}

/* tail */

/* How far hits were printed: the last number of each spool, as a JSON object, and when that was.  Numbers within a spool
 * are committed in order; times of recording are not. */
struct tail {
    enum output_format format;
    char *numbers, *when;
};

static const char tail_sql[] =
    "SELECT %s FROM hunnypot.hit h JOIN hunnypot.sensor s USING (sensor_id)"
    " JOIN json_each_text('%s') new ON new.key = h.spool::text LEFT JOIN json_each_text('%s') old ON old.key = new.key"
    " WHERE h.seq <= new.value::bigint AND h.seq > coalesce(old.value::bigint, 0)"
    /* only for speed: no batch takes that long */
    " AND h.recorded > timestamptz '%s' - interval '1 hour' ORDER BY h.recorded, h.spool, h.seq";

static const char tail_text[] =
    "date_trunc('second', h.time), h.class, h.client, h.domain, 'name=' || h.client_name, 'helo=' || h.helo,"
    " 'sensor=' || s.name";

static const char tail_json[] =
    "h.time, s.name AS sensor, h.client, h.client_name, h.helo, h.sender, h.recipients, h.class, h.domain, h.primary_host,"
    " h.primary_age_ms, h.queue_id, h.tls, h.null_sender";

/* Print what is new since TAIL, and move it; the first time only move it. */
static enum db_status print_new(struct cli *cli, struct tail *tail)
{
    struct db_result *result = NULL;
    enum db_status status =
        db_query(cli->db, CLI_TIMEOUT_MS, "SELECT coalesce(json_object_agg(spool, last_seq ORDER BY spool), '{}'), now()"
                                          " FROM hunnypot.spool", NULL, 0, &result);

    if (status == DB_OK && tail->numbers != NULL && strcmp(db_value(result, 0, 0), tail->numbers) != 0) {
        char *sql = alloc_format(tail_sql, tail->format == OUTPUT_JSON_LINES ? tail_json : tail_text,
                                 db_value(result, 0, 0), tail->numbers, tail->when);

        status = output_query(cli, tail->format, sql) == CLI_OK ? DB_OK : DB_ERROR;
        free(sql);
        fflush(stdout);
        if (cli_output_failed())
            status = DB_STOPPED;
    }
    if (status == DB_OK) {
        free(tail->numbers);
        free(tail->when);
        tail->numbers = alloc_text(db_value(result, 0, 0));
        tail->when = alloc_text(db_value(result, 0, 1));
    }
    db_result_free(&result);
    return status;
}

static enum db_status tail_on(struct cli *cli, void *context)
{
    enum db_status status = cli_listen(cli, "hunnypot_hit");

    while (status == DB_OK && (status = print_new(cli, context)) == DB_OK) {
        char *channel, *payload;

        status = db_wait_notify(cli->db, CLI_NEWS_MS, &channel, &payload);
        if (status == DB_OK) {
            free(channel);
            free(payload);
        }
    }
    return status;
}

static int run_tail(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table";
    const struct cli_option options[] = {
        {.name = "format", .argument = "FORMAT", .help = "table (default) or json, one object a line",
         .text = &format_name},
        {.name = NULL},
    };
    struct tail tail = {.format = OUTPUT_LINES};
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    if (strcmp(format_name, "json") == 0)
        tail.format = OUTPUT_JSON_LINES;
    else if (strcmp(format_name, "table") != 0)
        return cli_usage("--format is table or json, not %s", format_name);
    status = cli_keep_open(cli, tail_on, &tail);
    free(tail.numbers);
    free(tail.when);
    return status;
}

const struct cli_command query_commands[] = {
    {.name = "list", .arguments = "", .help = "Show who was caught: networks, classes, domains, hits", .run = run_list},
    {.name = "show", .arguments = "ADDRESS", .help = "Show the evidence against an address or network", .run = run_show},
    {.name = "why", .arguments = "ADDRESS", .help = "Tell what happened with an address, and why it is listed or not",
     .run = run_why},
    {.name = "top", .arguments = "", .help = "Count hits by client, network, domain, helo, class or sensor",
     .run = run_top},
    {.name = "tail", .arguments = "", .help = "Show hits as they arrive", .run = run_tail},
    {.name = "listed", .arguments = "ADDRESS...", .help = "Say whether addresses are listed, and why",
     .run = run_listed},
    {.name = NULL},
};
