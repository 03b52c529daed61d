/* html.h - pieces of a page: text from outside made fit for it, tables, beginning and end.
 *
 * Threads:  any; one for a stream.
 * Fails:    never; whether the stream could be written, the caller asks it.
 */
#ifndef REPORT_HTML_H
#define REPORT_HTML_H

#include <stdio.h>

#include "record/db.h"

/* TEXT (NULL counts as "") as text or attribute value: what is not printable ASCII as \xNN, as everywhere (text.h). */
void html_text(FILE *out, const char *text);

/* The page up to its first section, and from the last one on. */
void html_begin(FILE *out, const char *title);
void html_end(FILE *out);

/* A heading, and what it is about; both may be HTML. */
void html_section_begin(FILE *out, const char *title, const char *words);
void html_section_end(FILE *out);

/* RESULT as a table called CAPTION, its column names as headings ("_" is a space); the first column names the row. */
void html_table(FILE *out, const char *caption, const struct db_result *result);

#endif
