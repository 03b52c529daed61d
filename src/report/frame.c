#include "report/frame.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"

/* $1: how far it goes back; $2: the zone.  The clock is asked once for each hour, and not for each row. */
static const char read_sql[] =
    "WITH clock AS (SELECT CASE WHEN $1::interval <= interval '3 days' THEN 'hour' ELSE 'day' END AS bar,"
    "  now() - $1::interval AS since, $2::text AS zone),"
    " span AS (SELECT bar, zone, date_trunc(bar, since AT TIME ZONE zone) AS first, date_trunc(bar, now() AT TIME ZONE zone) AS last"
    "  FROM clock),"
    " hours AS MATERIALIZED (SELECT hour, date_trunc(bar, hour AT TIME ZONE zone) AS at,"
    "   extract(isodow FROM hour AT TIME ZONE zone)::int AS day, extract(hour FROM hour AT TIME ZONE zone)::int AS told"
    "  FROM span, generate_series(date_trunc('hour', first AT TIME ZONE zone, 'UTC'), now(), interval '1 hour') hour"
    "  WHERE hour >= first AT TIME ZONE zone),"
    " waits AS MATERIALIZED (SELECT date_bin('1 hour', time, 'epoch') AS hour, class, count(*) AS number FROM hunnypot.waiting"
    "  GROUP BY 1, 2),"
    " facts AS (SELECT hour, class, what, number FROM hunnypot.hourly WHERE hour >= (SELECT min(hour) FROM hours)"
    "  UNION ALL SELECT hour, class, 'ripening', number FROM waits),"
    " summed AS (SELECT at, class, what, sum(number)::bigint AS number FROM facts JOIN hours USING (hour) GROUP BY 1, 2, 3),"
    " week AS (SELECT day, told, sum(number)::bigint AS hits FROM (SELECT hour, sum(number) AS number FROM facts"
    "   WHERE what NOT IN ('listed', 'left') GROUP BY 1) f JOIN hours USING (hour) GROUP BY 1, 2)"
    " SELECT s.first, s.last, s.bar, s.zone, coalesce(f.ats, '{}'), coalesce(f.classes, '{}'), coalesce(f.whats, '{}'),"
    "  coalesce(f.numbers, '{}'), coalesce(w.days, '{}'), coalesce(w.hours, '{}'), coalesce(w.hits, '{}'), coalesce(l.classes, '{}'),"
    "  coalesce(l.proofs, '{}'), coalesce(l.worst, '{}'), coalesce(l.numbers, '{}') FROM span s,"
    " (SELECT array_agg(at) AS ats, array_agg(class) AS classes, array_agg(what) AS whats, array_agg(number) AS numbers FROM summed) f,"
    " (SELECT array_agg(day) AS days, array_agg(told) AS hours, array_agg(hits) AS hits FROM week) w,"
    " (SELECT array_agg(class) AS classes, array_agg(proof) AS proofs, array_agg(worst) AS worst, array_agg(number) AS numbers"
    "  FROM (SELECT class, proof, worst, count(*) AS number FROM hunnypot.listing GROUP BY 1, 2, 3) g) l";

const char frame_sql[] =
    "WITH span AS (SELECT $1::timestamp AS first, $2::timestamp AS last, $3::text AS bar, $4::text AS zone,"
    "  $1::timestamp AT TIME ZONE $4 AS begins),"
    " figures AS (SELECT * FROM unnest($5::timestamp[], $6::text[], $7::text[], $8::bigint[]) f (at, class, what, number)),"
    " hits AS (SELECT * FROM figures WHERE what NOT IN ('listed', 'left')),"
    " moves AS (SELECT * FROM figures WHERE what IN ('listed', 'left')),"
    " listed AS (SELECT * FROM unnest($12::text[], $13::text[], $14::boolean[], $15::bigint[]) l"
    "  (class, proof, worst, number)),"
    " week AS (SELECT * FROM unnest($9::int[], $10::int[], $11::bigint[]) w (day, hour, number)),"
    " bars AS (SELECT at, to_char(at, CASE bar WHEN 'hour' THEN 'YYYY-MM-DD HH24:MI' ELSE 'YYYY-MM-DD' END) AS name"
    "  FROM span, generate_series(first, last, ('1 ' || bar)::interval) at)";

enum db_status frame_read(struct frame *frame, struct db *db, int64_t since_ms, const char *zone)
{
    char *since = alloc_format("%" PRId64 " milliseconds", since_ms);
    const char *const given[] = {since, zone};
    enum db_status status = db_query_texts(db, FRAME_TIMEOUT_MS, read_sql, given, 2, &frame->result);

    free(since);
    return status;
}

void frame_free(struct frame *frame)
{
    db_result_free(&frame->result);
}

void frame_parameters(const struct frame *frame, const char *parameters[FRAME_COLUMNS])
{
    for (size_t i = 0; i < FRAME_COLUMNS; i++)
        parameters[i] = db_value(frame->result, 0, i);
}

/* Times of one host are put together when they are so close that the picture has no room between them. */
char *frame_lanes(const char *begin, const char *outage, const char *reached)
{
    return alloc_format(
        "%s, axis AS (SELECT begins, first, last + ('1 ' || bar)::interval AS past, zone, (now() - begins) / 400 AS point FROM"
        " span),"
        " told AS (SELECT o.mx, o.state, tstzrange(greatest(o.since, begins), o.until, '[]') AS time FROM hunnypot.outage o, axis"
        "   WHERE o.until >= begins AND o.since <= o.until AND %s"
        "  UNION ALL SELECT r.mx, 'answered', tstzrange(greatest(r.since, begins), r.until, '[]') FROM hunnypot.reached r, axis"
        "   WHERE r.until >= begins AND %s),"
        " chosen AS (SELECT mx, row_number() OVER (ORDER BY sum(upper(time) - lower(time)) FILTER (WHERE state <> 'answered')"
        " DESC NULLS LAST,"
        "   max(upper(time)) DESC, mx) AS place FROM told GROUP BY mx ORDER BY 2 LIMIT %d),"
        " stretch AS (SELECT mx, place, state, lower(time) AS since, upper(time) - point AS until FROM axis, (SELECT mx, place,"
        " state,"
        "   unnest(range_agg(tstzrange(lower(time), upper(time) + point, '[]'))) AS time FROM told JOIN chosen USING (mx), axis"
        "   GROUP BY mx, place, state) t)"
        " SELECT mx AS primary, state, to_char(since AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI') AS since,"
        " to_char(until AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI') AS until,"
        " round(greatest(extract(epoch FROM (since AT TIME ZONE zone) - first) / extract(epoch FROM past - first), 0), 5) AS"
        " _from,"
        " round(least(extract(epoch FROM (until AT TIME ZONE zone) - first) / extract(epoch FROM past - first), 1), 5) AS _to,"
        " to_char(first, 'MM-DD HH24:MI') AS _first, to_char(past, 'MM-DD HH24:MI') AS _last,"
        " (SELECT w.mx FROM hunnypot.witness w WHERE w.mx = s.mx LIMIT 1) AS _witness"
        " FROM stretch s, axis ORDER BY place, s.state, s.since",
        begin, outage, reached, FRAME_LANES);
}
