#include "report/report.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/words.h"
#include "report/chart.h"
#include "report/frame.h"
#include "report/html.h"
#include "report/section.h"

/* How an outcome is called, in the order in which it is told. */
static const char outcomes_sql[] =
    ", outcome (rank, what, name) AS (VALUES (1, 'proven', 'counted, proven'), (2, 'inferred', 'counted, inferred'),"
    " (3, 'ripening', 'ripening still'), (4, 'redeemed', 'redeemed'), (5, 'excused', 'excused'), (6, 'repeated', 'repeated'),"
    " (7, 'while-listed', 'while listed'), (8, 'voided', 'voided'), (9, 'friend', 'of friends'),"
    " (10, 'unanswered', 'not told whether of friends'))";

/* A column for each class, of the NUMBERs of TABLE, by what KEY and its name are in NAMES. */
static char *by_class(const char *more, const char *names, const char *key, const char *name, const char *table)
{
    char *sql;
    size_t length;
    FILE *text = alloc_text_begin(&sql, &length);

    fprintf(text, "%s%s SELECT b.name AS %s", frame_sql, more, name);
    for (int class = CLASS_NONE + 1; class < CLASS_COUNT; class++)
        fprintf(text, ", coalesce(sum(f.number) FILTER (WHERE f.class = '%s'), 0) AS \"%s\"", class_name((enum hit_class)class),
                class_name((enum hit_class)class));
    fprintf(text, " FROM %s b LEFT JOIN %s f ON f.%s = b.%s GROUP BY b.%s, b.name ORDER BY b.%s", names, table, key, key, key,
            key);
    alloc_text_end(text);
    return sql;
}

static char *by_time(const char *table)
{
    return by_class("", "bars", "at", "time", table);
}

static char *by_delay(void)
{
    return by_class(", steps AS (SELECT step, CASE WHEN hours IS NULL THEN 'longer' WHEN hours <= 48 THEN hours || ' h' ELSE"
                    " hours / 24 || ' d' END"
                    "  AS name FROM (SELECT ordinality - 1 AS step, hours FROM unnest(hunnypot.until_listed_steps() || NULL::int) WITH"
                    " ORDINALITY h (hours)) s)",
                    "steps", "step", "up_to", "(SELECT d.* FROM hunnypot.until_listed d, span WHERE d.day >= span.first::date)");
}

/* A column for each hour of the day, a row for each day of the week. */
static char *by_hour_of_week(void)
{
    char *sql;
    size_t length;
    FILE *text = alloc_text_begin(&sql, &length);

    fprintf(text, "%s SELECT d.name AS day", frame_sql);
    for (int hour = 0; hour < 24; hour++)
        fprintf(text, ", coalesce(sum(w.number) FILTER (WHERE w.hour = %d), 0) AS \"%02d\"", hour, hour);
    fputs(" FROM (VALUES (1, 'Mon'), (2, 'Tue'), (3, 'Wed'), (4, 'Thu'), (5, 'Fri'), (6, 'Sat'), (7, 'Sun')) d (number, name)"
          " LEFT JOIN week w ON w.day = d.number GROUP BY d.number, d.name ORDER BY d.number",
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

    /* What a sensor sends may be anything. */
    fprintf(text, "%s SELECT v.name AS verdict, coalesce(sum((s.counters->>v.name)::bigint)"
                  " FILTER (WHERE jsonb_typeof(s.counters->v.name) = 'number'), 0) AS hits"
                  " FROM (VALUES (0, NULL)", frame_sql);
    for (int verdict = VERDICT_OFFENCE + 1; verdict < VERDICT_COUNT; verdict++)
        fprintf(text, ", (%d, '%s')", verdict, verdict_name((enum verdict)verdict));
    fputs(") v (rank, name) LEFT JOIN hunnypot.sensor s ON true WHERE v.rank > 0 GROUP BY v.rank, v.name ORDER BY v.rank", text);
    alloc_text_end(text);
    return sql;
}

/* What came most, by the kind WHAT. */
static char *busiest(const char *what, const char *page)
{
    return alloc_format("%s SELECT b.name AS \"%s\", sum(b.hits) AS hits, b.name AS _%s FROM hunnypot.busiest b, span"
                        " WHERE b.day >= span.first::date AND b.what = '%s' AND b.name <> '' GROUP BY b.name ORDER BY 2 DESC, 1"
                        " LIMIT 12",
                        frame_sql, what, page, what);
}

static char *with_frame(const char *select)
{
    return alloc_format("%s%s %s", frame_sql, outcomes_sql, select);
}

static const char head_sql[] =
    "SELECT to_char(s.first, 'YYYY-MM-DD HH24:MI') AS from, to_char(now() AT TIME ZONE s.zone, 'YYYY-MM-DD HH24:MI') AS until,"
    " s.zone AS clock, (SELECT coalesce(sum(number), 0) FROM hits) AS hits,"
    " (SELECT coalesce(sum(number), 0) FROM hits WHERE what = 'ripening') AS of_them_ripening,"
    " (SELECT coalesce(sum(number), 0) FROM listed WHERE worst) AS networks_listed_now,"
    " (SELECT count(DISTINCT mx) FROM hunnypot.outage WHERE until > now() - interval '1 minute') AS primaries_not_taking_mail"
    " FROM span s";
static const char flow_sql[] =
    ", alone (rank, what, name) AS (VALUES (1, 'outage', 'outage'), (2, 'recovering', 'doubt'), (2, 'moved', 'doubt'), (2,"
    " 'unknown', 'doubt'),"
    "  (3, 'friend', 'no business of ours'), (3, 'ignored', 'no business of ours'), (3, 'exempt', 'no business of ours'), (3,"
    " 'none', 'no business of ours')),"
    " came AS (SELECT o.rank, o.name, sum(h.number) AS number FROM outcome o JOIN hits h USING (what) GROUP BY 1, 2)"
    " SELECT f.from, f.to, f.hits, f._layer, f._tone FROM ("
    "  SELECT 'came' AS from, 'recorded' AS to, (SELECT sum(number) FROM came) AS hits, 0 AS _layer, 1 AS _tone, 0 AS rank"
    "  UNION ALL SELECT 'came', a.name, sum(l.number), 0, CASE a.rank WHEN 1 THEN 2 ELSE 3 END, a.rank FROM alone a"
    "   JOIN hunnypot.left_alone l USING (what), span WHERE l.hour >= span.begins GROUP BY a.rank, a.name"
    "  UNION ALL SELECT 'recorded', name, number, 1, CASE WHEN rank <= 2 THEN 0 WHEN rank = 3 THEN 1 ELSE 2 END, 10 + rank FROM"
    " came"
    "  UNION ALL SELECT name, format('the list: %s came', (SELECT coalesce(sum(number), 0) FROM moves WHERE what = 'listed')),"
    " number, 2, 0,"
    "   20 + rank FROM came WHERE rank <= 2) f WHERE f.hits > 0 ORDER BY f.rank";
static const char outcome_sql[] =
    "SELECT o.name AS outcome, coalesce(sum(h.number), 0) AS hits FROM outcome o LEFT JOIN hits h USING (what)"
    " GROUP BY o.rank, o.name ORDER BY o.rank";
static const char listed_sql[] =
    "SELECT p.class, coalesce(l.proven, 0) AS proven, coalesce(l.inferred, 0) AS inferred FROM hunnypot.policy p LEFT JOIN ("
    " SELECT class, sum(number) FILTER (WHERE proof = 'witnessed') AS proven,"
    "  sum(number) FILTER (WHERE proof = 'inferred') AS inferred FROM listed GROUP BY class) l USING (class) ORDER BY p.rank";
static const char policy_sql[] =
    "SELECT v.name AS policy, coalesce(sum(t.innocent), 0) AS \"listed, though a primary saw them or a letter of theirs"
    " arrived\","
    " coalesce(sum(t.listed - t.innocent), 0) AS \"other networks listed\" FROM (VALUES (-2, 'whoever had a hit that counts'),"
    " (-1, 'half of what it takes now'), (0, 'as it is now'), (1, 'twice what it takes now'), (2, 'only what is proven')) v"
    " (step, name)"
    " LEFT JOIN hunnypot.policy_tradeoff() t USING (step) GROUP BY v.step, v.name ORDER BY v.step";
/* The ranks are joined to those that are shown only. */
static const char networks_sql[] =
    "SELECT l.network, sum(l.hits) AS hits, string_agg(l.class, ', ' ORDER BY p.rank) AS classes, max(l.domains) AS domains,"
    " to_char(min(l.since) AT TIME ZONE s.zone, 'YYYY-MM-DD HH24:MI') AS since, to_char(max(l.last_seen) AT TIME ZONE s.zone,"
    " 'YYYY-MM-DD HH24:MI') AS last_seen, l.network AS _network FROM (SELECT network, class, hits, domains, since, last_seen"
    " FROM hunnypot.listing ORDER BY hits DESC, network LIMIT 15) l LEFT JOIN hunnypot.policy p USING (class), span s"
    " GROUP BY l.network, s.zone ORDER BY 2 DESC, 1";
static const char sensors_sql[] =
    "SELECT s.name AS sensor, CASE WHEN s.last_seen > now() - interval '30 seconds' THEN 'alive' ELSE 'SILENT' END AS state,"
    " to_char(s.last_seen AT TIME ZONE p.zone, 'YYYY-MM-DD HH24:MI:SS') AS heartbeat, s.inbox, s.outbox, s.aside, s.version,"
    " s.name AS _sensor FROM hunnypot.sensor s, span p WHERE s.retired IS NULL ORDER BY s.name";

static enum db_status write_sections(const struct frame *frame, struct db *db, FILE *out, const char *zone)
{
    struct section sections[] = {
        {"Overview", "All figures are of one moment.", "Overview", html_tiles, with_frame(head_sql)},
        {"Hits",
         "When they came, by class; of hits that ripen too. <code>hunnypot-milter(8)</code> says what the classes are.",
         "Hits by time and class", chart_bars, by_time("hits")},
        {"Primaries",
         "Whether they took mail, on the same axis: the thin line is where probes were answered; where there is none, no sensor"
         " asked. The twelve with the longest outages.",
         "Mail hosts by time", chart_lanes, frame_lanes(frame_sql, "true", "true")},
        {"Where hits went",
         "From the trap hosts to the list. What was recorded is of hits; what was not, of signs of life that sensors gave. Doubt:"
         " the primaries were only just back, the mail had moved, or no answer came in time.",
         "Hits from stage to stage", chart_flow, with_frame(flow_sql)},
        {"What they came to",
         "Counted hits are what the list is made of. Ripening: nothing is decided yet. Redeemed: the letter arrived at a primary."
         " Excused: a primary saw that client. Repeated: a further try of a letter to a trap. While listed: the client may have"
         " come only because it was on the list. Voided: the client was taken off the list on request.",
         "Hits by outcome", chart_lines, with_frame(outcome_sql)},
        {"New on the list", "Networks that came on the list, by class.", "Networks that came, by time and class", chart_bars,
         by_time("(SELECT * FROM moves WHERE what = 'listed')")},
        {"Off the list", "Networks that left it: their time was over, or somebody allowed or forgot them.",
         "Networks that left, by time and class", chart_bars, by_time("(SELECT * FROM moves WHERE what = 'left')")},
        {"Time until listed", "How long after its first hit a network came on the list, if it was not there before.",
         "Networks by time until listed", chart_bars, by_delay()},
        {"A stricter or a looser policy",
         "What other policies would list now, of this database's own facts; of a great many networks some hundreds are looked at."
         " Those of whom a primary knows better are what strictness costs.",
         "Networks by policy", chart_shares, with_frame(policy_sql)},
        {"Listed now", "By what proves it: witnesses, or that it is inferred.", "Listings by class", chart_bars,
         with_frame(listed_sql)},
        {"Hour of the week", "When hits come.", "Hits by day and hour", chart_fields, by_hour_of_week()},
        {"Who came most", "Of the networks that are listed now, those with the most hits.", "Networks", chart_lines,
         with_frame(networks_sql)},
        {"Domains", "Which were written to most, of hits that are decided; by days of UTC, as are the next two.", "Domains",
         chart_lines, busiest("domain", "domain")},
        {"Names", "Confirmed names of clients, without what tells one host from its neighbours. Most bots have none.",
         "Client names", chart_lines, busiest("name", "")},
        {"HELO", "What clients called themselves, by kind.", "HELO by kind", chart_lines, busiest("helo", "")},
        {"Not recorded", "What sensors saw and left alone, since each of them was started.", "Not recorded, by verdict",
         chart_lines, not_recorded()},
        {"Sensors", "", "Sensors", NULL, with_frame(sensors_sql)},
    };
    const char *parameters[FRAME_COLUMNS];

    frame_parameters(frame, parameters);
    return section_write(db, out, sections, sizeof sections / sizeof *sections, parameters, FRAME_COLUMNS, zone);
}

/* Links to the same page about other times. */
static void write_periods(FILE *out, const char *zone)
{
    static const char *const periods[] = {"24h", "7d", "30d", "90d", "400d"};

    fputs("<nav aria-label=\"Period\"><p>", out);
    for (size_t i = 0; i < sizeof periods / sizeof *periods; i++) {
        fprintf(out, "<a href=\"report?since=%s", periods[i]);
        html_parameter(out, "&amp;tz", zone);
        fprintf(out, "\">%s</a> ", periods[i]);
    }
    fputs("</p></nav>\n", out);
}

/* Groups are few, whatever stale statistics say: they are hashed, and no rows sorted for them on disk. */
static const char begin_sql[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off; SET LOCAL enable_sort = off;"
                                " SET LOCAL work_mem = '32MB'";

enum db_status report_write(struct db *db, FILE *out, int64_t since_ms, const char *zone, bool linked)
{
    struct frame frame = {.result = NULL};
    enum db_status status = db_script(db, FRAME_TIMEOUT_MS, begin_sql);

    if (status == DB_OK)
        status = frame_read(&frame, db, since_ms, zone);
    if (status == DB_OK) {
        html_begin(out, "What the trap caught");
        if (linked)
            write_periods(out, zone);
        status = write_sections(&frame, db, out, linked ? zone : NULL);
    }
    frame_free(&frame);
    if (status == DB_OK) {
        html_end(out);
        status = db_script(db, FRAME_TIMEOUT_MS, "COMMIT");
    }
    return status;
}
