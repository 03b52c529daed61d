/* chart.h - drawings in SVG of the rows of a query.
 *
 * Each shape has its <title>, which a browser shows to who points at it.  Colours are classes of the page's style (html.c).
 * The first column of a result names a row, the others are numbers, NULL as 0.
 * Threads:  any; one for a stream.
 * Fails:    never; whether the stream could be written, the caller asks it.
 */
#ifndef REPORT_CHART_H
#define REPORT_CHART_H

#include <stdio.h>

#include "record/db.h"

enum { CHART_SERIES_MAX = 4 }; /* colours in the page's style */

/* A stacked bar for each row, with a part for each of its at most CHART_SERIES_MAX numbers; and the key to them. */
void chart_bars(FILE *out, const char *title, const struct db_result *result);

/* A bar that lies, for each row, of its first number. */
void chart_lines(FILE *out, const char *title, const struct db_result *result);

/* A row of fields, for each row, which are the darker the higher the number. */
void chart_fields(FILE *out, const char *title, const struct db_result *result);

#endif
