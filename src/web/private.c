/* private.c - the pages for whoever runs the trap: figures, and what may name networks. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/text.h"
#include "report/metrics.h"
#include "report/page.h"
#include "report/report.h"
#include "web/exchange.h"

enum {
    SCHEMA_VERSION = 11, /* the oldest schema that these pages work with: the number of a file in sql/ */
    READY_MS = 2000     /* of a database that stands still nobody waits for a page as long as for one that computes */
};

static enum db_status is_ready(struct db *db)
{
    return db_script(db, READY_MS, "SELECT");
}

static enum db_status begin(struct db *db, char **why)
{
    struct db_result *result = NULL;
    enum db_status status = db_script(db, READY_MS, "SET default_transaction_read_only = on");
    long version;

    if (status == DB_OK)
        status = db_query(db, READY_MS, "SELECT coalesce(max(version), 0) FROM hunnypot.schema_version", NULL, 0, &result);
    if (status != DB_OK)
        return status;
    version = strtol(db_value(result, 0, 0), NULL, 10);
    db_result_free(&result);
    if (version >= SCHEMA_VERSION)
        return DB_OK;
    *why = alloc_format("the schema is version %ld, and version %d is needed; run: hunnypot db upgrade", version, SCHEMA_VERSION);
    return DB_MISSING;
}

static void refuse(struct exchange *exchange, int status, const char *why, FILE *out)
{
    static const struct {
        int status;
        const char *words;
    } all[] = {{HTTP_BAD_REQUEST, "not understood"},     {HTTP_NOT_FOUND, "no such page"},
               {HTTP_METHOD_NOT_ALLOWED, "only GET"},    {HTTP_TARGET_TOO_LONG, "too long"},
               {HTTP_MISDIRECTED, "ask for this host by its address, or as localhost"},
               {HTTP_UNAVAILABLE, "not now"}};

    exchange->type = HTTP_TEXT;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].status == status)
            fputs(all[i].words, out);
    fprintf(out, "%s%s\n", why == NULL ? "" : ": ", why == NULL ? "" : why);
}

static enum db_status write_health(struct db *db, struct exchange *exchange, FILE *out)
{
    (void)db;
    exchange->type = HTTP_TEXT;
    fputs("ok\n", out);
    return DB_OK;
}

static enum db_status write_readiness(struct db *db, struct exchange *exchange, FILE *out)
{
    exchange->type = HTTP_TEXT;
    fputs("ready\n", out);
    return is_ready(db);
}

/* Not what was asked for: say what is wrong, in place of the page. */
static enum db_status say_bad(struct exchange *exchange, FILE *out, const char *words)
{
    exchange->status = HTTP_BAD_REQUEST;
    exchange->type = HTTP_TEXT;
    fprintf(out, "%s\n", words);
    return DB_OK;
}

static const char *parameter_or(const struct exchange *exchange, const char *name, const char *otherwise)
{
    const char *value = request_parameter(&exchange->request, name);

    return value == NULL || *value == '\0' ? otherwise : value;
}

static enum db_status write_report(struct db *db, struct exchange *exchange, FILE *out)
{
    long long since_ms = text_duration_ms(parameter_or(exchange, "since", "30d"));
    enum db_status status;

    if (since_ms <= 0 || since_ms > REPORT_MAX_MS)
        return say_bad(exchange, out, "since is a duration of at most 400d: 12h, 30d");
    exchange->type = HTTP_HTML;
    status = is_ready(db);
    return status == DB_OK ? report_write(db, out, since_ms, parameter_or(exchange, "tz", "UTC"), true) : status;
}

/* What an address names as "of". */
static enum db_status write_about(struct db *db, struct exchange *exchange, FILE *out,
                                  enum db_status (*write)(struct db *db, FILE *out, const char *name, const char *zone, bool *found))
{
    const char *name = parameter_or(exchange, "of", NULL);
    enum db_status status;
    bool found = false;

    if (name == NULL)
        return say_bad(exchange, out, "of is what the page is about: ?of=203.0.113.7");
    exchange->type = HTTP_HTML;
    status = is_ready(db);
    if (status == DB_OK)
        status = write(db, out, name, parameter_or(exchange, "tz", "UTC"), &found);
    if (status == DB_OK && !found)
        exchange->status = HTTP_NOT_FOUND;
    return status;
}

static enum db_status write_network(struct db *db, struct exchange *exchange, FILE *out)
{
    return write_about(db, exchange, out, page_network);
}

static enum db_status write_domain(struct db *db, struct exchange *exchange, FILE *out)
{
    return write_about(db, exchange, out, page_domain);
}

static enum db_status write_sensor(struct db *db, struct exchange *exchange, FILE *out)
{
    return write_about(db, exchange, out, page_sensor);
}

static enum db_status write_witness(struct db *db, struct exchange *exchange, FILE *out)
{
    return write_about(db, exchange, out, page_witness);
}

static enum db_status write_metrics(struct db *db, struct exchange *exchange, FILE *out)
{
    enum db_status status = is_ready(db);

    exchange->type = "text/plain; version=0.0.4; charset=utf-8";
    return status == DB_OK ? metrics_write(db, out) : status;
}

static const struct page pages[] = {
    {.path = "/metrics", .asks_database = true, .write = write_metrics},
    {.path = "/healthz", .write = write_health},
    {.path = "/readyz", .asks_database = true, .write = write_readiness},
    {.path = "/", .asks_database = true, .write = write_report},
    {.path = "/report", .asks_database = true, .write = write_report},
    {.path = "/network", .asks_database = true, .write = write_network},
    {.path = "/domain", .asks_database = true, .write = write_domain},
    {.path = "/sensor", .asks_database = true, .write = write_sensor},
    {.path = "/witness", .asks_database = true, .write = write_witness},
    {.path = NULL},
};

const struct site private_site = {
    .name = "private",
    .role = "hunnypot_reader",
    .pages = pages,
    .for_this_host = true,
    .workers = 3,
    .places = 100,
    .refuse = refuse,
    .begin = begin,
};
