/* chart_inside.h - what the files that draw share: nobody else includes this. */
#ifndef REPORT_CHART_INSIDE_H
#define REPORT_CHART_INSIDE_H

#include <stdbool.h>
#include <stdio.h>

#include "record/db.h"

/* In units of the drawing, which is as wide as the page.  Letters are 12 high, on a telephone 24. */
enum { CHART_WIDTH = 800, CHART_LEFT = 56, CHART_TOP = 12, CHART_LETTER = 28 };

double chart_number(const struct db_result *result, size_t row, size_t column);

/* The number of columns that are drawn: those behind begin with "_". */
size_t chart_columns(const struct db_result *result);

/* The column called NAME; the number of columns when there is none. */
size_t chart_column(const struct db_result *result, const char *name);

void chart_begin(FILE *out, const char *title, const char *class, int height);
void chart_end(FILE *out);

/* The text at X and Y, ANCHOR as SVG has it. */
void chart_text(FILE *out, double x, double y, const char *anchor, const char *text);

/* The key to the columns, or to NAMES, ended by NULL, where that is not NULL. */
void chart_key(FILE *out, const struct db_result *result, const char *const *names);

#endif
