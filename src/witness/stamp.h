/* stamp.h - the time at the start of a log line.
 *
 *     2026-11-26T05:00:00.123456+01:00    RFC 3339: says everything
 *     2026-11-26 05:00:00.123 +0100       Exim; the fraction and the zone may be missing
 *     Nov 26 05:00:00                     syslog of old: no year, no zone
 *
 * What has no zone is read in the one that stamp_zone() named.  Where its clocks are put back an hour comes twice, and a
 * stamp in it may mean either: it is read as the later one and marked.  What has no year is read as the last one that is not
 * after the reference time.
 * Threads:  one.  Fails: returns NULL or false.
 */
#ifndef WITNESS_STAMP_H
#define WITNESS_STAMP_H

#include <stdbool.h>
#include <stdint.h>

struct stamp {
    int64_t time_us; /* since 1970 UTC */
    bool twice;      /* local time that the clocks passed twice */
};

/* Read stamps without a zone as local time of ZONE ("Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"; NULL: the one of this
 * host).  False when there is no such zone.  It becomes the zone of the process. */
bool stamp_zone(const char *zone);

/* Read the stamp at the start of TEXT.  REFERENCE_US: no stamp is more than a day after it, as far as it has no year.
 * Returns what follows it and one blank, or NULL: there is none, or it is no time that ever was. */
const char *stamp_parse(const char *text, int64_t reference_us, struct stamp *stamp);

#endif
