/* chart.h - drawings in SVG of the rows of a query.
 *
 * Each shape has its <title>, which a browser shows to who points at it, and nothing is told by colour alone.  Colours are
 * classes of the page's style (html.c).  The first column of a result names a row, the others are numbers, NULL as 0, where
 * nothing else is said; columns whose names begin with "_" are not drawn.
 * Threads:  any; one for a stream.
 * Fails:    never; whether the stream could be written, the caller asks it.
 */
#ifndef REPORT_CHART_H
#define REPORT_CHART_H

#include <stdio.h>

#include "record/db.h"

enum { CHART_SERIES_MAX = 4 }; /* colours in the page's style */

/* ZONE: names of rows are links to their pages, as html_link_begin() has them; NULL: they are not. */

/* A stacked bar for each row, with a part for each of its at most CHART_SERIES_MAX numbers; and the key to them. */
void chart_bars(FILE *out, const char *title, const struct db_result *result, const char *zone);

/* A bar that lies, for each row, of its first number. */
void chart_lines(FILE *out, const char *title, const struct db_result *result, const char *zone);

/* The same, of up to CHART_SERIES_MAX numbers one behind the other; and the key to them. */
void chart_shares(FILE *out, const char *title, const struct db_result *result, const char *zone);

/* A row of fields, for each row, which are the darker the higher the number. */
void chart_fields(FILE *out, const char *title, const struct db_result *result, const char *zone);

/* A lane of time for each name, on the axis of chart_bars().  A row is a stretch: name, state ("answered", "deferring", "down"),
 * since, until, "_from" and "_to" (0 to 1, where on the axis), "_first" and "_last" (what to write at its ends); rows of one
 * lane follow each other. */
void chart_lanes(FILE *out, const char *title, const struct db_result *result, const char *zone);

/* What flows from where to where.  A row is a flow: from, to, number, "_layer" (how far left FROM is: 0 or more), "_tone" (of
 * which colour). Those that come to nothing are not drawn. */
void chart_flow(FILE *out, const char *title, const struct db_result *result, const char *zone);

#endif
