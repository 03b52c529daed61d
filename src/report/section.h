/* section.h - a part of a page: what a statement gives, as a picture and as the table under it.
 *
 * Threads:  one, that of the connection.
 * Fails:    as db.h says; what was written to OUT until then is no page.
 */
#ifndef REPORT_SECTION_H
#define REPORT_SECTION_H

#include <stdio.h>

#include "record/db.h"

struct section {
    const char *title, *words, *table; /* the table's caption is not that of another one of the page */
    void (*draw)(FILE *out, const char *title, const struct db_result *result, const char *zone); /* or NULL: the table is all */
    char *sql;                         /* new memory */
};

/* Write COUNT of SECTIONS, each of them what its statement gives with PARAMETERS, and free their statements.  ZONE: see chart.h.
 * */
enum db_status section_write(struct db *db, FILE *out, struct section *sections, size_t count, const char *const *parameters,
                             size_t parameter_count, const char *zone) __attribute__((warn_unused_result));

#endif
