/* html.h - pieces of a page: text from outside made fit for it, tables, beginning and end.
 *
 * Threads:  any; one for a stream.
 * Fails:    never; whether the stream could be written, the caller asks it.
 */
#ifndef REPORT_HTML_H
#define REPORT_HTML_H

#include <stdbool.h>
#include <stdio.h>

#include "record/db.h"

/* TEXT (NULL counts as "") as text or attribute value: what is not printable ASCII as \xNN, as everywhere (text.h). */
void html_text(FILE *out, const char *text);

/* The page up to its first section, and from the last one on; in English; or in another LANGUAGE with a TITLE that is
 * fit for HTML. */
void html_begin(FILE *out, const char *title);
void html_begin_in(FILE *out, const char *language, const char *title);
void html_end(FILE *out);

/* A heading, and what it is about; both may be HTML. */
void html_section_begin(FILE *out, const char *title, const char *words);
void html_section_end(FILE *out);

/* NAME=VALUE as a part of an address, the value percent-encoded. */
void html_parameter(FILE *out, const char *name, const char *value);

/* Around what names ROW: a link to its page, if RESULT has a column "_network", "_domain", "_sensor" or "_witness" with the name
 * that it goes by there, and ZONE is not NULL. */
void html_link_begin(FILE *out, const struct db_result *result, size_t row, const char *zone);
void html_link_end(FILE *out, const struct db_result *result, size_t row, const char *zone);

/* The first row of RESULT as big figures with their column names ("_" is a space). */
void html_tiles(FILE *out, const char *caption, const struct db_result *result, const char *zone);

/* RESULT as a table called CAPTION, its column names as headings ("_" is a space; those that begin with it are left out); the
 * first column names the row.  It shows when asked for, or at once if OPEN, and in print. */
void html_table(FILE *out, const char *caption, const struct db_result *result, const char *zone, bool open);

#endif
