#include "report/page.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/words.h"
#include "report/chart.h"
#include "report/frame.h"
#include "report/html.h"
#include "report/section.h"

/* $1: what the page is about; $2: the zone.  "span" and "bars" as frame_sql has them. */
#define ASKED_SQL(TYPE) \
    "WITH asked AS (SELECT $1::" TYPE " AS name), span AS (SELECT 'day' AS bar, $2::text AS zone," \
    " date_trunc('day', (now() - interval '30 days') AT TIME ZONE $2) AS first," \
    " date_trunc('day', now() AT TIME ZONE $2) AS last," \
    " date_trunc('day', (now() - interval '30 days') AT TIME ZONE $2) AT TIME ZONE $2 AS begins)," \
    " bars AS (SELECT at, to_char(at, 'YYYY-MM-DD') AS name FROM span, generate_series(first, last, interval '1 day') at)"
static const char about_name[] = ASKED_SQL("text"), about_network[] = ASKED_SQL("cidr");

static char *asked(const char *begin, const char *select)
{
    return alloc_format("%s %s", begin, select);
}

static enum db_status write_body(struct db *db, FILE *out, const char *kind, const char *name, const char *zone,
                                 const char *found_sql, struct section *sections, size_t count, bool *found)
{
    const char *const parameters[] = {name, zone};
    struct db_result *result = NULL;
    enum db_status status = db_query_texts(db, FRAME_TIMEOUT_MS, found_sql, parameters, 2, &result);

    *found = status == DB_OK && strcmp(db_value(result, 0, 0), "t") == 0;
    db_result_free(&result);
    if (status == DB_OK) {
        char *title = alloc_format("%s %s", kind, name);

        html_begin(out, title);
        free(title);
        fputs("<nav aria-label=\"Report\"><p><a href=\"report", out);
        html_parameter(out, "?tz", zone);
        fputs("\">What the trap caught</a></p></nav>\n", out);
        if (!*found)
            fputs("<p>The database knows nothing of it.</p>\n", out);
    }
    if (status == DB_OK && *found)
        return section_write(db, out, sections, count, parameters, 2, zone);
    for (size_t i = 0; i < count; i++)
        free(sections[i].sql);
    return status;
}

/* A page of SECTIONS, whose statements are freed; FOUND_SQL gives one boolean. */
static enum db_status write_page(struct db *db, FILE *out, const char *kind, const char *name, const char *zone,
                                 const char *found_sql, struct section *sections, size_t count, bool *found)
{
    enum db_status status =
        db_script(db, FRAME_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off");

    *found = false;
    if (status != DB_OK) {
        for (size_t i = 0; i < count; i++)
            free(sections[i].sql);
        return status;
    }
    status = write_body(db, out, kind, name, zone, found_sql, sections, count, found);
    if (status != DB_OK)
        return status;
    html_end(out);
    return db_script(db, FRAME_TIMEOUT_MS, "COMMIT");
}

/* Hits of a network by day and class, decided or not; of a great many the newest. */
static char *network_days(void)
{
    char *sql;
    size_t length;
    FILE *text = alloc_text_begin(&sql, &length);

    fprintf(text, "%s, hits AS ("
                  "(SELECT day::timestamp AS at, class, hits AS number FROM hunnypot.offence_day WHERE network <<="
                  " $1::cidr::inet LIMIT 20000)"
                  " UNION ALL (SELECT date_trunc('day', p.hit_time AT TIME ZONE 'UTC'), p.class, 1 FROM hunnypot.pardoned p"
                  "  WHERE p.network <<= $1::cidr::inet LIMIT 20000)) SELECT b.name AS day", about_network);
    for (int class = CLASS_NONE + 1; class < CLASS_COUNT; class++)
        fprintf(text, ", coalesce(sum(h.number) FILTER (WHERE h.class = '%s'), 0) AS \"%s\"", class_name((enum hit_class)class),
                class_name((enum hit_class)class));
    fputs(" FROM bars b LEFT JOIN hits h ON h.at = b.at GROUP BY b.at, b.name ORDER BY b.at", text);
    alloc_text_end(text);
    return sql;
}

/* DB_REFUSED when it is too wide to look at, too. */
static enum db_status network_of(struct db *db, const char *name, char **network)
{
    static const char sql[] =
        "SELECT CASE WHEN masklen(n) < CASE family(n) WHEN 4 THEN $2::int ELSE $3::int END THEN ('too wide: ' || n)::cidr"
        " ELSE n END FROM (SELECT network($1::inet) AS n) a";
    char ipv4[12], ipv6[12];
    const char *const parameters[] = {name, ipv4, ipv6};
    struct db_result *result = NULL;
    enum db_status status;

    snprintf(ipv4, sizeof ipv4, "%d", PAGE_IPV4_MIN);
    snprintf(ipv6, sizeof ipv6, "%d", PAGE_IPV6_MIN);
    status = db_query_texts(db, FRAME_TIMEOUT_MS, sql, parameters, 3, &result);
    *network = status == DB_OK ? alloc_text(db_value(result, 0, 0)) : NULL;
    db_result_free(&result);
    return status;
}

static enum db_status write_network(struct db *db, FILE *out, const char *network, const char *zone, bool *found)
{
    static const char found_sql[] =
        "SELECT $2::text IS NOT NULL AND (EXISTS (SELECT FROM hunnypot.listing WHERE network = $1::cidr)"
        " OR EXISTS (SELECT FROM hunnypot.offence_day WHERE network <<= $1::cidr::inet)"
        " OR EXISTS (SELECT FROM hunnypot.pardoned WHERE network <<= $1::cidr::inet) OR EXISTS (SELECT FROM hunnypot.hit WHERE"
        " client <<= $1::cidr::inet))";
    struct section sections[] = {
        {"Listed", "Where it is on the list now.", "Listings", NULL,
         asked(about_network, "SELECT l.class, l.proof, to_char(l.since AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI') AS since,"
                              " to_char(l.until AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI') AS until, l.code, l.hits, l.domains,"
                              " to_char(l.last_seen AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI') AS last_seen"
                              " FROM hunnypot.listing l, span WHERE l.network = $1::cidr ORDER BY l.rank")},
        {"Why", "As <code>hunnypot why</code> tells it; times in the words are as the database has them.", "Reasons", NULL,
         asked(about_network, "SELECT coalesce(v.class, '-') AS class, v.listed, v.what FROM span, hunnypot.verdicts($1::cidr)"
                              " v")},
        {"Hits", "By days of UTC and class, once it is decided what they come to.", "Hits by day and class", chart_bars,
            network_days()},
        {"Last hits", "The twenty newest.", "Newest hits", NULL,
         asked(about_network, "SELECT to_char(h.time AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI:SS') AS time, host(h.client) AS"
                              " client, h.class, h.domain,"
                              " h.client_name, h.helo, h.name_state AS name, h.domain AS _domain_page FROM span, (SELECT * FROM"
                              " hunnypot.hit"
                              " WHERE client <<= $1::cidr::inet ORDER BY time DESC LIMIT 20) h")},
    };

    return write_page(db, out, "Network", network, zone, found_sql, sections, sizeof sections / sizeof *sections, found);
}

enum db_status page_network(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
{
    char *network = NULL;
    enum db_status status = network_of(db, name, &network);

    *found = false;
    if (status == DB_OK)
        status = write_network(db, out, network, zone, found);
    free(network);
    return status;
}

enum db_status page_domain(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
{
    static const char found_sql[] =
        "SELECT $2::text IS NOT NULL AND (EXISTS (SELECT FROM hunnypot.busiest WHERE what = 'domain' AND name = $1)"
        " OR EXISTS (SELECT FROM hunnypot.waiting WHERE domain = $1) OR EXISTS (SELECT FROM hunnypot.outage WHERE domain = $1))";
    struct section sections[] = {
        {"Hits", "By days of UTC, once it is decided what they come to.", "Hits by day", chart_bars,
         asked(about_name, "SELECT b.name AS day, coalesce(sum(d.hits), 0) AS hits FROM bars b LEFT JOIN hunnypot.busiest d"
                           " ON d.day = b.at::date AND d.what = 'domain' AND d.name = $1 GROUP BY b.at, b.name ORDER BY b.at")},
        {"Its primaries", "Where the thin line is, probes were answered.", "Mail hosts by time", chart_lanes,
         frame_lanes(about_name, "o.domain = $1", "r.mx IN (SELECT q.mx FROM hunnypot.outage q WHERE q.domain = $1)")},
        {"Ripening", "Hits that are not decided.", "Ripening hits by class", chart_lines,
         asked(about_name, "SELECT w.class, count(*) AS hits FROM hunnypot.waiting w, span WHERE w.domain = $1 GROUP BY 1 ORDER"
                           " BY 2 DESC, 1")},
        {"Who came", "Of the newest hits that were counted, since yesterday.", "Networks", chart_lines,
         asked(about_name, "SELECT o.network, sum(o.hits) AS hits, string_agg(DISTINCT o.class, ', ') AS classes, o.network AS"
                           " _network FROM span, (SELECT *"
                           " FROM hunnypot.offence_day WHERE day >= (now() AT TIME ZONE 'UTC')::date - 1 ORDER BY day DESC"
                           " LIMIT 50000) o"
                           " WHERE o.domain = $1 GROUP BY o.network ORDER BY 2 DESC, 1 LIMIT 15")},
    };

    return write_page(db, out, "Domain", name, zone, found_sql, sections, sizeof sections / sizeof *sections, found);
}

enum db_status page_sensor(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
{
    static const char found_sql[] = "SELECT $2::text IS NOT NULL AND EXISTS (SELECT FROM hunnypot.sensor WHERE name = $1)";
    struct section sections[] = {
        {"Now", "As its last sign of life told.", "State", html_tiles,
         asked(about_name, "SELECT CASE WHEN s.retired IS NOT NULL THEN 'retired' WHEN s.last_seen > now() - interval '30 seconds' THEN 'alive' ELSE 'SILENT' END AS state,"
                           " to_char(s.last_seen AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI:SS') AS heartbeat, s.inbox, s.outbox,"
                           " s.aside, s.version,"
                           " to_char((SELECT max(last_batch) FROM hunnypot.spool p WHERE p.sensor_id = s.sensor_id) AT TIME"
                           " ZONE zone,"
                           "  'YYYY-MM-DD HH24:MI:SS') AS last_batch, to_char(s.first_seen AT TIME ZONE zone, 'YYYY-MM-DD"
                           " HH24:MI') AS first_seen"
                           " FROM hunnypot.sensor s, span WHERE s.name = $1")},
        {"Counted", "Since it was started; <code>hunnypot-milter(8)</code> says what these are.", "Counters", chart_lines,
         asked(about_name, "SELECT c.key AS counter, c.value::text::numeric AS number FROM span, hunnypot.sensor s,"
                           " jsonb_each(CASE jsonb_typeof(s.counters) WHEN 'object' THEN s.counters ELSE '{}' END) c"
                           " WHERE s.name = $1 AND jsonb_typeof(c.value) = 'number' AND c.value::text::numeric > 0 ORDER BY 2"
                           " DESC, 1 LIMIT 40")},
        {"Mail hosts", "When those that it probes were not taking mail, as it told.", "Mail hosts by time", chart_lanes,
         frame_lanes(about_name, "o.sensor_id = (SELECT sensor_id FROM hunnypot.sensor WHERE name = $1)", "false")},
    };

    return write_page(db, out, "Sensor", name, zone, found_sql, sections, sizeof sections / sizeof *sections, found);
}

enum db_status page_witness(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
{
    static const char found_sql[] = "SELECT $2::text IS NOT NULL AND EXISTS (SELECT FROM hunnypot.witness WHERE mx = $1)";
    struct section sections[] = {
        {"Machines", "Each reads the log of one machine behind this name.", "Machines", NULL,
         asked(about_name, "SELECT w.machine, to_char(w.watching_since AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI') AS"
                           " watching_since,"
                           " to_char(w.watched_until AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI') AS watched_until,"
                           " to_char(w.last_seen AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI:SS') AS heard_of, w.match, w.keys,"
                           " w.version"
                           " FROM hunnypot.witness_list() w, span WHERE w.mx = $1")},
        {"What it told", "Of hits that were still remembered: letters that arrived, and clients that were seen or turned"
                         " away.", "Findings", chart_lines,
         asked(about_name, "SELECT f.what, count(*) AS hits FROM span, hunnypot.witness w JOIN hunnypot.witness_found f USING"
                           " (witness_id)"
                           " WHERE w.mx = $1 GROUP BY 1 ORDER BY 2 DESC, 1")},
        {"Troubles", "What keeps witnesses from proving anything.", "Troubles", NULL,
         asked(about_name, "SELECT t.kind, t.trouble FROM span, hunnypot.witness_troubles() t WHERE strpos(t.trouble, $1) > 0")},
        {"The host", "Whether it took mail, as sensors saw it.", "Mail host by time", chart_lanes,
         frame_lanes(about_name, "o.mx = $1", "r.mx = $1")},
    };

    return write_page(db, out, "Witness", name, zone, found_sql, sections, sizeof sections / sizeof *sections, found);
}
