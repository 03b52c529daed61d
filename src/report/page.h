/* page.h - a page about one network, domain, sensor or witness, for those who follow a link of the report.
 *
 * Whole pages as report_write() writes one: HTML without a script that loads nothing; all figures are of one moment.  They link
 * to each other and to the report by relative addresses, as siblings: "report?since=30d&tz=ZONE",
 * "network?of=203.0.113.7%2F32&tz=ZONE", "domain?of=NAME", "sensor?of=NAME", "witness?of=MX"; what is not a letter, digit or one
 * of "-._~" is percent-encoded.
 * Threads:  one, that of the connection.
 * Fails:    as db.h says; what was written to OUT until then is no page.  DB_REFUSED: ZONE, or the network, is none.
 *           Whether OUT could be written, the caller asks it.
 * Limits:   each reads a bounded number of rows, of the last 30 days; networks are at most as wide as PAGE_IPV4_MIN and
 *           PAGE_IPV6_MIN say, or DB_REFUSED.
 */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include <stdbool.h>
#include <stdio.h>

#include "record/db.h"

enum { PAGE_IPV4_MIN = 24, PAGE_IPV6_MIN = 48 };

/* The page about what is called NAME (a network in CIDR notation or an address, a domain, a sensor, the MX name of a witness),
 * with the times of ZONE.  *FOUND: the database knows something of it; else the page says that it does not.  Within a
 * transaction of its own, which is over then. */
enum db_status page_network(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
    __attribute__((warn_unused_result));
enum db_status page_domain(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
    __attribute__((warn_unused_result));
enum db_status page_sensor(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
    __attribute__((warn_unused_result));
enum db_status page_witness(struct db *db, FILE *out, const char *name, const char *zone, bool *found)
    __attribute__((warn_unused_result));

#endif
