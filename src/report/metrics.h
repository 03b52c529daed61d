/* metrics.h - figures of the whole fleet for monitoring, in the text format of Prometheus (0.0.4).
 *
 * No label is an address, a mail domain or a recipient: machines are named, and what is in the tables of base/words.h.  What a sensor
 * tells may be anything: it never breaks a line, and makes no series of its own.
 * Threads:  one, that of the connection.
 * Fails:    as db.h says; what was written to OUT until then is no answer, and the transaction is left broken: the caller says
 *           ROLLBACK or closes.  Whether OUT could be written, the caller asks it.
 * Limits:   METRICS_SENSORS_MAX and as many witnesses, those that were seen last; counters of how many there are tell of more.
 */
#ifndef REPORT_METRICS_H
#define REPORT_METRICS_H

#include <stdio.h>

#include "record/db.h"

#define METRICS_SENSORS_MAX "100"

/* The sensors with what they told of themselves (base/counter.h), in seconds since 1970, as the table "told" of a WITH.  What a
 * sensor sends may be anything: what is no number that can be a time is left out. */
#define METRICS_TOLD_SQL \
    "told AS MATERIALIZED (SELECT s.*, s.last_seen > now() - interval '30 seconds' AS alive," \
    " m.session, m.hit, m.judging, m.oldest, round(m.sent - extract(epoch FROM s.last_seen), 1) AS skew," \
    " m.judging - m.sent - extract(epoch FROM now() - s.last_seen) AS grace, h.hosts FROM hunnypot.sensor s," \
    " LATERAL (SELECT max(at) FILTER (WHERE key = 'sent') AS sent, max(at) FILTER (WHERE key = 'session') AS session," \
    "   max(at) FILTER (WHERE key = 'hit') AS hit, max(at) FILTER (WHERE key = 'judging') AS judging," \
    "   max(at) FILTER (WHERE key = 'oldest') AS oldest" \
    "  FROM (SELECT key, CASE jsonb_typeof(value) WHEN 'number' THEN value::text::numeric / 1000 END AS at FROM" \
    "   jsonb_each(CASE jsonb_typeof(s.counters->'moments') WHEN 'object' THEN s.counters->'moments' ELSE '{}' END)) v" \
    "  WHERE at BETWEEN 0 AND 2e11) m," \
    " LATERAL (SELECT CASE jsonb_typeof(s.counters->'hosts') WHEN 'array' THEN s.counters->'hosts' ELSE '[]' END AS hosts) h" \
    " WHERE s.retired IS NULL)"

/* Write all figures, of one moment, to OUT.  Within a transaction of its own, which is over then. */
enum db_status metrics_write(struct db *db, FILE *out) __attribute__((warn_unused_result));

#endif
