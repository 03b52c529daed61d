#include "report/report.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/words.h"
#include "report/chart.h"
#include "report/html.h"

enum { REPORT_TIMEOUT_MS = 60000 };

/* All statements have the parameters $1, how far it goes back, and $2, the time zone; they begin with this.
 * "bar": how much time a bar is; "first", "last": the first and the last of them, as the clock shows it; "hits": what they came
 * to, with the hour "told" in which they came and the bar "at", and "moves" of the list.  Materialized, as without statistics the
 * planner would count what waits for each bar anew. */
static const char window_sql[] =
    "WITH given AS (SELECT $1::interval AS since, $2::text AS zone), clock AS ("
    " SELECT CASE WHEN since <= interval '3 days' THEN 'hour' ELSE 'day' END AS bar, now() - since AS since, zone FROM given), span AS ("
    " SELECT bar, zone, date_trunc(bar, since AT TIME ZONE zone) AS first, date_trunc(bar, now() AT TIME ZONE zone) AS last FROM clock),"
    " decided AS (SELECT hour, class, what, number FROM hunnypot.hourly"
    "  WHERE hour >= (SELECT first AT TIME ZONE zone FROM span)),"
    " waits AS (SELECT date_bin('1 hour', time, 'epoch') AS hour, class, 'ripening' AS what, count(*) AS number FROM hunnypot.waiting"
    "  WHERE date_bin('1 hour', time, 'epoch') >= (SELECT first AT TIME ZONE zone FROM span) GROUP BY 1, 2),"
    " moves AS MATERIALIZED (SELECT date_trunc(bar, hour AT TIME ZONE zone) AS at, class, what, number"
    "  FROM decided, span WHERE what IN ('listed', 'left')),"
    " hits AS MATERIALIZED (SELECT hour AT TIME ZONE zone AS told, date_trunc(bar, hour AT TIME ZONE zone) AS at, class, what, number"
    "  FROM (SELECT * FROM decided WHERE what NOT IN ('listed', 'left') UNION ALL SELECT * FROM waits) f, span),"
    " bars AS (SELECT at, to_char(at, CASE bar WHEN 'hour' THEN 'YYYY-MM-DD HH24:MI' ELSE 'YYYY-MM-DD' END) AS name"
    "  FROM span, generate_series(first, last, ('1 ' || bar)::interval) at)";

/* How an outcome is called, in the order in which it is told. */
static const char outcomes_sql[] =
    ", outcome (rank, what, name) AS (VALUES (1, 'proven', 'counted, proven'), (2, 'inferred', 'counted, inferred'),"
    " (3, 'ripening', 'ripening still'), (4, 'redeemed', 'redeemed'), (5, 'excused', 'excused'), (6, 'repeated', 'repeated'),"
    " (7, 'while-listed', 'while listed'))";

/* A column for each class, of the numbers of TABLE. */
static char *by_class(const char *table)
{
    char *sql;
    size_t length;
    FILE *text = alloc_text_begin(&sql, &length);

    fprintf(text, "%s SELECT b.name AS time", window_sql);
    for (int class = CLASS_NONE + 1; class < CLASS_COUNT; class++)
        fprintf(text, ", coalesce(sum(f.number) FILTER (WHERE f.class = '%s'), 0) AS \"%s\"", class_name((enum hit_class)class),
                class_name((enum hit_class)class));
    fprintf(text, " FROM bars b LEFT JOIN %s f ON f.at = b.at GROUP BY b.at, b.name ORDER BY b.at",
            table);
    alloc_text_end(text);
    return sql;
}

/* A column for each hour of the day, a row for each day of the week. */
static char *by_hour_of_week(void)
{
    char *sql;
    size_t length;
    FILE *text = alloc_text_begin(&sql, &length);

    fprintf(text,
            "%s, week AS (SELECT extract(isodow FROM told)::int AS day, extract(hour FROM told)::int AS hour, sum(number) AS number"
            " FROM hits GROUP BY 1, 2) SELECT d.name AS day",
            window_sql);
    for (int hour = 0; hour < 24; hour++)
        fprintf(text, ", coalesce(sum(h.number) FILTER (WHERE h.hour = %d), 0) AS \"%02d\"", hour, hour);
    fputs(" FROM (VALUES (1, 'Mon'), (2, 'Tue'), (3, 'Wed'), (4, 'Thu'), (5, 'Fri'), (6, 'Sat'), (7, 'Sun')) d (number, name)"
          " LEFT JOIN week h ON h.day = d.number GROUP BY d.number, d.name ORDER BY d.number",
          text);
    alloc_text_end(text);
    return sql;
}

/* What sensors decided not to record, of the counters of their last sign of life. */
static char *not_recorded(void)
{
    char *sql;
    size_t length;
    FILE *text = alloc_text_begin(&sql, &length);

    fprintf(text, "%s SELECT v.name AS verdict, coalesce(sum((s.counters ->> v.name)::numeric)"
                  " FILTER (WHERE jsonb_typeof(s.counters -> v.name) = 'number'), 0) AS hits"
                  " FROM (VALUES (0, NULL)", window_sql);
    for (int verdict = VERDICT_OFFENCE + 1; verdict < VERDICT_COUNT; verdict++)
        fprintf(text, ", (%d, '%s')", verdict, verdict_name((enum verdict)verdict));
    fputs(") v (rank, name) LEFT JOIN hunnypot.sensor s ON true WHERE v.rank > 0 GROUP BY v.rank, v.name ORDER BY v.rank", text);
    alloc_text_end(text);
    return sql;
}

static char *with_window(const char *select)
{
    return alloc_format("%s%s %s", window_sql, outcomes_sql, select);
}

static const char head_sql[] =
    "SELECT to_char(s.first, 'YYYY-MM-DD HH24:MI') AS from, to_char(now() AT TIME ZONE s.zone, 'YYYY-MM-DD HH24:MI') AS until,"
    " s.zone AS clock, (SELECT coalesce(sum(number), 0) FROM hits) AS hits,"
    " (SELECT coalesce(sum(number), 0) FROM hits WHERE what = 'ripening') AS of_them_ripening,"
    " (SELECT count(*) FROM hunnypot.listing WHERE worst) AS networks_listed_now FROM span s";
static const char outcome_sql[] =
    "SELECT o.name AS outcome, coalesce(sum(h.number), 0) AS hits FROM outcome o LEFT JOIN hits h USING (what)"
    " GROUP BY o.rank, o.name ORDER BY o.rank";
static const char listed_sql[] =
    "SELECT p.class, coalesce(l.proven, 0) AS proven, coalesce(l.inferred, 0) AS inferred FROM hunnypot.policy p LEFT JOIN ("
    " SELECT class, count(*) FILTER (WHERE proof = 'witnessed') AS proven, count(*) FILTER (WHERE proof = 'inferred') AS inferred"
    " FROM hunnypot.listing GROUP BY class) l USING (class) ORDER BY p.rank";
static const char networks_sql[] =
    "SELECT l.network, sum(l.hits) AS hits, string_agg(l.class, ', ' ORDER BY l.rank) AS classes, max(l.domains) AS domains,"
    " to_char(min(l.since) AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI') AS since, to_char(max(l.last_seen) AT TIME ZONE $2,"
    " 'YYYY-MM-DD HH24:MI') AS last_seen FROM (SELECT network, class, rank, hits, domains, since, last_seen"
    " FROM hunnypot.listing ORDER BY hits DESC, network LIMIT 15) l"
    " GROUP BY l.network ORDER BY 2 DESC, 1";
static const char sensors_sql[] =
    "SELECT s.name AS sensor, CASE WHEN s.last_seen > now() - interval '30 seconds' THEN 'alive' ELSE 'SILENT' END AS state,"
    " to_char(s.last_seen AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI:SS') AS heartbeat, s.inbox, s.outbox, s.aside, s.version"
    " FROM hunnypot.sensor s ORDER BY s.name";

struct section {
    const char *title, *words, *table;
    void (*draw)(FILE *out, const char *title, const struct db_result *result); /* or NULL */
    char *sql;                                                                 /* new memory */
};

static enum db_status write_section(struct db *db, FILE *out, const struct section *section, const char *const *given)
{
    struct db_result *result = NULL;
    enum db_status status = db_query_texts(db, REPORT_TIMEOUT_MS, section->sql, given, 2, &result);

    if (status == DB_OK) {
        html_section_begin(out, section->title, section->words);
        if (section->draw != NULL)
            section->draw(out, section->title, result);
        html_table(out, section->table, result);
        html_section_end(out);
    }
    db_result_free(&result);
    return status;
}

static enum db_status write_sections(struct db *db, FILE *out, const char *const *given)
{
    struct section sections[] = {
        {"Overview", "All figures are of one moment.", "Overview", NULL, with_window(head_sql)},
        {"Hits", "When they came, by class; of hits that ripen too. <code>hunnypot-milter(8)</code> says what the classes are.",
         "Hits by time and class", chart_bars, by_class("hits")},
        {"What they came to", "Counted hits are what the list is made of. Ripening: nothing is decided yet. Redeemed: the letter arrived at"
         " a primary. Excused: a primary saw that client. Repeated: a further try of a letter to a trap. While listed: the client may have"
         " come only because it was on the list.", "Hits by outcome", chart_lines, with_window(outcome_sql)},
        {"Not recorded", "What sensors saw and left alone, since each of them was started.", "Not recorded, by verdict", chart_lines,
         not_recorded()},
        {"Hour of the week", "When hits come.", "Hits by day and hour", chart_fields, by_hour_of_week()},
        {"New on the list", "Networks that came on the list, by class.", "Networks by time and class", chart_bars,
         by_class("(SELECT * FROM moves WHERE what = 'listed')")},
        {"Off the list", "Networks that left it: their time was over, or somebody allowed or forgot them.", "Networks by time and class",
         chart_bars, by_class("(SELECT * FROM moves WHERE what = 'left')")},
        {"Listed now", "By what proves it: witnesses, or that it is inferred.", "Listings by class", chart_bars, with_window(listed_sql)},
        {"Who came most", "Of the networks that are listed now, those with the most hits.", "Networks", chart_lines,
         with_window(networks_sql)},
        {"Sensors", "", "Sensors", NULL, with_window(sensors_sql)},
    };
    enum db_status status = DB_OK;

    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (status == DB_OK)
            status = write_section(db, out, &sections[i], given);
        free(sections[i].sql);
    }
    return status;
}

enum db_status report_write(struct db *db, FILE *out, int64_t since_ms, const char *zone)
{
    char *since = alloc_format("%" PRId64 " milliseconds", since_ms);
    const char *given[] = {since, zone};
    enum db_status status = db_script(db, REPORT_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off");

    if (status == DB_OK) {
        html_begin(out, "What the trap caught");
        status = write_sections(db, out, given);
    }
    if (status == DB_OK) {
        html_end(out);
        status = db_script(db, REPORT_TIMEOUT_MS, "COMMIT");
    }
    free(since);
    return status;
}
