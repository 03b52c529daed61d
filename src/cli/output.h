/* output.h - the rows of a query on standard output, as they come: memory does not grow with them.
 *
 * Whatever the database holds, what is printed has no control characters: tables and CSV write such a byte, and every
 * byte that is not ASCII, as \xNN (text.h); JSON as \uNNNN.
 * Fails:    as cli.h says.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "cli/cli.h"

enum output_format {
    OUTPUT_TABLE,
    OUTPUT_JSON,       /* one array */
    OUTPUT_CSV,
    OUTPUT_RECORDS,    /* "name: value" lines, a blank line between rows; empty values are left out */
    OUTPUT_LINES,      /* values between single spaces */
    OUTPUT_JSON_LINES, /* one object a line */
    OUTPUT_ONE_JSON    /* for a query of one row and one column that is JSON already */
};

/* The option that every command with rows has. */
#define OUTPUT_FORMAT_OPTION(target) \
    {.name = "format", .argument = "FORMAT", .help = "table (default), json or csv", .text = (target)}

/* "table", "json" or "csv"; CLI_OK or CLI_USAGE. */
int output_format_parse(const char *text, enum output_format *format);

/* Print what SQL (one SELECT) gives.  Column names are the headings, "_" as a space. */
int output_query(struct cli *cli, enum output_format format, const char *sql);

/* The same; *ROWS (may be NULL): how many there were. */
int output_query_rows(struct cli *cli, enum output_format format, const char *sql, size_t *rows);

/* From here on a table at a terminal, and all behind it, goes through PAGER, or less where that is there. */
void output_page_tables(void);

/* The first line of such a table is there; wait until the pager has ended. */
void output_page_begin(void);
void output_page_end(void);

/* Take the next value of a row in COPY's text format, from *ROW, in place, and undo its escapes; *ROW is moved behind
 * it, or to NULL after the last one.  Returns the value, NULL for SQL's NULL. */
char *output_next_value(char **row);

/* While work goes on that says nothing itself, tell a person at a terminal every second how long WHAT takes. */
struct output_progress *output_progress_start(const char *what);
void output_progress_stop(struct output_progress **progress);

#endif
