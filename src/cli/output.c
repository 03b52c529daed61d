#include "cli/output.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

enum {
    COLUMNS_MAX = 32,
    FIT_ROWS = 500 /* a table is made wide enough for this many rows; later ones may stick out */
};

struct output {
    enum output_format format;
    size_t columns;
    char *names[COLUMNS_MAX];
    unsigned types[COLUMNS_MAX];
    size_t widths[COLUMNS_MAX];
    char **waiting[FIT_ROWS]; /* rows that the widths still wait for */
    size_t waiting_count;
    bool fitted;
    size_t rows;
};

int output_format_parse(const char *text, enum output_format *format)
{
    static const char *const names[] = {[OUTPUT_TABLE] = "table", [OUTPUT_JSON] = "json", [OUTPUT_CSV] = "csv"};

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            *format = (enum output_format)i;
            return CLI_OK;
        }
    return cli_usage("--format is table, json or csv, not %s", text);
}

/* Rows */

static char unescaped(char letter)
{
    static const char from[] = "bfnrtv", to[] = "\b\f\n\r\t\v";
    const char *at = strchr(from, letter);

    if (at == NULL)
        return letter;
    return to[at - from];
}

char *output_next_value(char **row)
{
    char *value = *row, *in = value, *out = value;
    bool null = strncmp(value, "\\N", 2) == 0 && strchr("\t\n", value[2]) != NULL;

    for (; *in != '\t' && *in != '\n' && *in != '\0'; in++) {
        if (*in == '\\' && in[1] != '\0')
            *out++ = unescaped(*++in);
        else
            *out++ = *in;
    }
    *row = *in == '\t' ? in + 1 : NULL;
    *out = '\0';
    return null ? NULL : value;
}

/* VALUE, of a column of TYPE, as a person reads it; may be changed in place. */
static const char *for_people(unsigned type, char *value)
{
    enum { TYPE_BOOL = 16, TYPE_TEXT_ARRAY = 1009 }; /* pg_type.dat of PostgreSQL; they never change */
    size_t length = value == NULL ? 0 : strlen(value);

    if (length == 0)
        return value;
    if (type == TYPE_BOOL)
        return *value == 't' ? "yes" : "no";
    if (type != TYPE_TEXT_ARRAY || length < 2 || *value != '{')
        return value;
    value[length - 1] = '\0';
    return value + 1;
}

/* The values of one row, printable, in new memory. */
static char **split_row(const struct output *output, char *row)
{
    char **values = alloc_zeroed(output->columns, sizeof *values);

    for (size_t i = 0; i < output->columns; i++)
        values[i] = text_printable_new(row == NULL ? NULL : for_people(output->types[i], output_next_value(&row)), SIZE_MAX / 8);
    return values;
}

static void free_row(const struct output *output, char **values)
{
    for (size_t i = 0; i < output->columns; i++)
        free(values[i]);
    free(values);
}

/* Tables */

static void print_padded(const struct output *output, char **values)
{
    for (size_t i = 0; i < output->columns; i++)
        if (i + 1 == output->columns)
            printf("%s\n", values[i]);
        else
            printf("%-*s  ", (int)output->widths[i], values[i]);
}

static void widen(struct output *output, char **values)
{
    for (size_t i = 0; i < output->columns; i++)
        if (strlen(values[i]) > output->widths[i])
            output->widths[i] = strlen(values[i]);
}

/* Print the heading and the rows that waited for it. */
static void print_waiting(struct output *output)
{
    if (output->fitted)
        return;
    output->fitted = true;
    output_page_begin();
    print_padded(output, output->names);
    for (size_t i = 0; i < output->waiting_count; i++) {
        print_padded(output, output->waiting[i]);
        free_row(output, output->waiting[i]);
    }
    output->waiting_count = 0;
}

static void add_table_row(struct output *output, char **values)
{
    if (output->fitted) {
        print_padded(output, values);
        free_row(output, values);
        return;
    }
    widen(output, values);
    output->waiting[output->waiting_count++] = values;
    if (output->waiting_count == FIT_ROWS)
        print_waiting(output);
}

static void print_record(const struct output *output, char **values)
{
    size_t width = 0;

    for (size_t i = 0; i < output->columns; i++)
        if (output->widths[i] > width)
            width = output->widths[i];
    if (output->rows > 0)
        putchar('\n');
    for (size_t i = 0; i < output->columns; i++)
        if (*values[i] != '\0')
            printf("%s:%-*s %s\n", output->names[i], (int)(width - output->widths[i]), "", values[i]);
}

static void print_line(const struct output *output, char **values)
{
    for (size_t i = 0; i < output->columns; i++)
        printf("%s%s", values[i], i + 1 < output->columns ? " " : "\n");
}

/* JSON */

/* The code point at *TEXT, which is moved behind it; U+FFFD for bytes that are no UTF-8. */
static unsigned next_code_point(const unsigned char **text)
{
    unsigned first = *(*text)++, more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    unsigned code = first & (0x3fu >> more);

    if (first < 0xc2 || first > 0xf4)
        return 0xfffd;
    while (more-- > 0) {
        if ((**text & 0xc0) != 0x80)
            return 0xfffd;
        code = code << 6 | (*(*text)++ & 0x3fu);
    }
    return code;
}

/* PostgreSQL escapes what JSON says must be; a terminal minds DEL and the C1 controls too. */
static void print_json(const char *json)
{
    const unsigned char *in = (const unsigned char *)json;

    while (*in != '\0') {
        unsigned code;

        if (*in < 0x7f) {
            putchar(*in++);
            continue;
        }
        code = *in == 0x7f ? *in++ : next_code_point(&in);
        if (code > 0xffff)
            printf("\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
        else
            printf("\\u%04x", code);
    }
}

static void add_json_row(struct output *output, char *row)
{
    const char *json = output_next_value(&row);

    if (output->format == OUTPUT_JSON)
        fputs(output->rows == 0 ? "[" : ",\n ", stdout);
    print_json(json == NULL ? "null" : json);
    if (output->format != OUTPUT_JSON)
        putchar('\n');
}

/* A spreadsheet takes a cell that begins so for a formula, and runs it; clients choose what begins some. */
static bool is_formula(const char *cell)
{
    char *behind;

    if (*cell == '\0' || strchr("=+-@\t\r", *cell) == NULL)
        return false;
    strtod(cell, &behind);
    return *cell != '-' || behind == cell || strchr(",\"\n", *behind) == NULL; /* a negative number is no more than that */
}

/* The row of CSV with a ' before each formula, in new memory. */
static char *without_formulas(const char *row)
{
    char *out = alloc_zeroed(strlen(row) + 1, 2), *to = out;
    bool quoted = false, begins = true;

    for (; *row != '\0'; row++) {
        if (begins && (*row != '"' || quoted)) {
            if (is_formula(row))
                *to++ = '\'';
            begins = false;
        }
        if (*row == '"')
            quoted = !quoted;
        if (*row == ',' && !quoted)
            begins = true;
        *to++ = *row;
    }
    return out;
}

/* PostgreSQL quotes; a line end within a value is within one piece, so only the last one ends a row. */
static void print_csv(const char *row)
{
    char *safe = without_formulas(row);
    size_t length = strlen(safe);
    char *line;

    if (length > 0 && safe[length - 1] == '\n')
        length--;
    line = alloc_zeroed(length * 4 + 4, 1);
    text_printable(line, length * 4 + 4, safe, length);
    puts(line);
    free(line);
    free(safe);
}

/* Queries */

static void print_values(struct output *output, char *row)
{
    char **values = split_row(output, row);

    if (output->format == OUTPUT_TABLE) {
        add_table_row(output, values);
        return;
    }
    if (output->format == OUTPUT_RECORDS)
        print_record(output, values);
    else
        print_line(output, values);
    free_row(output, values);
}

static bool take_piece(void *context, const char *data, size_t length)
{
    struct output *output = context;
    char *row = alloc_zeroed(length + 1, 1);

    memcpy(row, data, length);
    if (output->format == OUTPUT_CSV)
        print_csv(row);
    else if (output->format == OUTPUT_JSON || output->format == OUTPUT_JSON_LINES || output->format == OUTPUT_ONE_JSON)
        add_json_row(output, row);
    else
        print_values(output, row);
    free(row);
    output->rows++;
    return !cli_output_failed();
}

/* The columns of SQL: COPY in text format has no heading before PostgreSQL 15. */
static int read_columns(struct cli *cli, struct output *output, const char *sql)
{
    char *empty = alloc_format("SELECT * FROM (%s) AS q LIMIT 0", sql);
    struct db_result *result = NULL;
    enum db_status status = db_query(cli->db, CLI_WORK_MS, empty, NULL, 0, &result);

    free(empty);
    if (status != DB_OK)
        return cli_db_fail(cli, status);
    output->columns = db_columns(result) < COLUMNS_MAX ? db_columns(result) : COLUMNS_MAX;
    for (size_t i = 0; i < output->columns; i++) {
        output->types[i] = db_column_type(result, i);
        output->names[i] = alloc_text(db_column_name(result, i));
        for (char *at = output->names[i]; (at = strchr(at, '_')) != NULL;)
            *at = ' ';
    }
    widen(output, output->names);
    db_result_free(&result);
    return CLI_OK;
}

static void finish(struct output *output)
{
    if (output->format == OUTPUT_TABLE)
        print_waiting(output);
    if (output->format == OUTPUT_RECORDS && output->rows == 0)
        puts("(none)");
    if (output->format == OUTPUT_JSON)
        puts(output->rows == 0 ? "[]" : "]");
}

int output_query(struct cli *cli, enum output_format format, const char *sql)
{
    return output_query_rows(cli, format, sql, NULL);
}

int output_query_rows(struct cli *cli, enum output_format format, const char *sql, size_t *rows)
{
    static const char *const copies[] = {
        [OUTPUT_TABLE] = "COPY (%s) TO STDOUT",
        [OUTPUT_JSON] = "COPY (SELECT row_to_json(q) FROM (%s) AS q) TO STDOUT",
        [OUTPUT_CSV] = "COPY (%s) TO STDOUT (FORMAT csv, HEADER)",
        [OUTPUT_RECORDS] = "COPY (%s) TO STDOUT",
        [OUTPUT_LINES] = "COPY (%s) TO STDOUT",
        [OUTPUT_JSON_LINES] = "COPY (SELECT row_to_json(q) FROM (%s) AS q) TO STDOUT",
        [OUTPUT_ONE_JSON] = "COPY (%s) TO STDOUT",
    };
    struct output output = {.format = format};
    const char *copy = copies[format], *hole = strstr(copy, "%s");
    char *text = alloc_format("%.*s%s%s", (int)(hole - copy), copy, sql, hole + 2);
    enum db_status status;
    int exit_status = read_columns(cli, &output, sql);

    if (exit_status == CLI_OK)
        exit_status = cli_use_zone(cli, format == OUTPUT_TABLE || format == OUTPUT_RECORDS || format == OUTPUT_LINES);
    if (exit_status == CLI_OK) {
        status = db_copy_out(cli->db, CLI_WORK_MS, text, take_piece, &output);
        if (status == DB_OK)
            finish(&output);
        else if (!cli_output_failed())
            exit_status = cli_db_fail(cli, status);
    }
    if (rows != NULL)
        *rows = output.rows;
    for (size_t i = 0; i < output.waiting_count; i++)
        free_row(&output, output.waiting[i]);
    for (size_t i = 0; i < output.columns; i++)
        free(output.names[i]);
    free(text);
    return exit_status;
}
