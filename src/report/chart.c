#include "report/chart.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart_inside.h"
#include "report/html.h"

enum { PLOT_HEIGHT = 190, GRID_LINES = 4, LABELS_MAX = 6 };

double chart_number(const struct db_result *result, size_t row, size_t column)
{
    const char *value = db_value(result, row, column);

    return value == NULL ? 0 : strtod(value, NULL);
}

size_t chart_columns(const struct db_result *result)
{
    size_t count = 0;

    while (count < db_columns(result) && db_column_name(result, count)[0] != '_')
        count++;
    return count;
}

size_t chart_column(const struct db_result *result, const char *name)
{
    size_t column = 0;

    while (column < db_columns(result) && strcmp(db_column_name(result, column), name) != 0)
        column++;
    return column;
}

void chart_begin(FILE *out, const char *title, const char *class, int height)
{
    fprintf(out, "<svg class=\"%s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", class, CHART_WIDTH, height, title);
}

void chart_end(FILE *out)
{
    fputs("</svg>\n", out);
}

void chart_text(FILE *out, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    html_text(out, text);
    fputs("</text>\n", out);
}

/* The title of a shape: the names of row and column, and the number. */
static void put_title(FILE *out, const struct db_result *result, size_t row, size_t column)
{
    fputs("<title>", out);
    html_text(out, db_value(result, row, 0));
    fputs(", ", out);
    html_text(out, db_column_name(result, column));
    fputs(": ", out);
    html_text(out, db_value(result, row, column));
    fputs("</title>", out);
}

/* The lowest of 4, 8, 20, 40, 80, 200, ... that is not below HIGHEST, so that all lines of the grid stand at whole numbers. */
static double scale_top(double highest)
{
    static const double factors[] = {4, 8, 20};
    double power = 1;

    while (factors[2] * power < highest)
        power *= 10;
    return power * (factors[0] * power >= highest ? factors[0] : factors[1] * power >= highest ? factors[1] : factors[2]);
}

static void put_grid(FILE *out, double top)
{
    const char *unit = top >= 2e7 ? "M" : top >= 2e4 ? "k" : "";
    double divisor = top >= 2e7 ? 1e6 : top >= 2e4 ? 1e3 : 1;

    for (int i = 0; i <= GRID_LINES; i++) {
        int y = CHART_TOP + PLOT_HEIGHT - i * PLOT_HEIGHT / GRID_LINES;

        fprintf(out, "<path class=\"grid\" d=\"M%d %dH%d\"/><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f%s</text>\n",
                CHART_LEFT, y,
                CHART_WIDTH, CHART_LEFT - 6, y + 4, top * i / GRID_LINES / divisor, i > 0 ? unit : "");
    }
}

static void put_bar(FILE *out, const struct db_result *result, size_t row, double top)
{
    double step = (double)(CHART_WIDTH - CHART_LEFT) / (double)db_rows(result), x = CHART_LEFT + step * (double)row;
    double y = CHART_TOP + PLOT_HEIGHT;

    for (size_t i = 1; i < chart_columns(result); i++) {
        double height = chart_number(result, row, i) / top * PLOT_HEIGHT;

        if (height <= 0)
            continue;
        y -= height;
        fprintf(out, "<rect class=\"s%zu\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\">", i - 1, x + step * 0.1, y,
                step * 0.8, height);
        put_title(out, result, row, i);
        fputs("</rect>\n", out);
    }
}

/* A date without its year, which stands over the page. */
static const char *short_label(const char *name)
{
    return name != NULL && strlen(name) >= 10 && isdigit((unsigned char)name[0]) && name[4] == '-' ? name + 5 : name;
}

static void put_bar_labels(FILE *out, const struct db_result *result)
{
    size_t rows = db_rows(result), each = (rows + LABELS_MAX - 1) / LABELS_MAX;
    double step = (double)(CHART_WIDTH - CHART_LEFT) / (double)rows;

    for (size_t row = 0; row < rows; row += each) {
        double x = CHART_LEFT + step * ((double)row + 0.5);
        bool last = x > CHART_WIDTH - CHART_LEFT / 2.0;

        chart_text(out, last ? CHART_WIDTH : x, CHART_TOP + PLOT_HEIGHT + CHART_LETTER - 4, last ? "end" : "middle",
                   short_label(db_value(result, row, 0)));
    }
}

void chart_key(FILE *out, const struct db_result *result, const char *const *names)
{
    size_t count = names == NULL ? chart_columns(result) - 1 : 0;

    while (names != NULL && names[count] != NULL)
        count++;
    fputs("<ul class=\"key\">\n", out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"s%zu\" width=\"10\""
                     " height=\"10\"/></svg>", i);
        html_text(out, names != NULL ? names[i] : db_column_name(result, i + 1));
        fputs("</li>\n", out);
    }
    fputs("</ul>\n", out);
}

static double sum_of(const struct db_result *result, size_t row)
{
    double sum = 0;

    for (size_t i = 1; i < chart_columns(result); i++)
        sum += chart_number(result, row, i);
    return sum;
}

static double highest_sum(const struct db_result *result)
{
    double highest = 0;

    for (size_t row = 0; row < db_rows(result); row++)
        if (sum_of(result, row) > highest)
            highest = sum_of(result, row);
    return highest;
}

void chart_bars(FILE *out, const char *title, const struct db_result *result, const char *zone)
{
    double top = scale_top(highest_sum(result));

    (void)zone;
    chart_begin(out, title, "plot", CHART_TOP + PLOT_HEIGHT + CHART_LETTER);
    put_grid(out, top);
    for (size_t row = 0; row < db_rows(result); row++)
        put_bar(out, result, row, top);
    put_bar_labels(out, result);
    chart_end(out);
    chart_key(out, result, NULL);
}

/* The names stand over their bars, so that they have all of the width on a telephone too. */
static void put_line(FILE *out, const struct db_result *result, size_t row, size_t columns, double highest, const char *zone)
{
    enum { LINE_HEIGHT = 46, BAR_HEIGHT = 10 };
    double x = 0;
    int y = CHART_TOP + (int)row * LINE_HEIGHT;

    html_link_begin(out, result, row, zone);
    chart_text(out, 0, y + 12, "start", db_value(result, row, 0));
    html_link_end(out, result, row, zone);
    if (columns == 2)
        chart_text(out, CHART_WIDTH, y + 12, "end", db_value(result, row, 1));
    else
        fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f</text>\n", CHART_WIDTH, y + 12, sum_of(result, row));
    fprintf(out, "<rect class=\"ground\" x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", y + 20, CHART_WIDTH, BAR_HEIGHT);
    for (size_t i = 1; i < columns; i++) {
        double width = chart_number(result, row, i) / highest * CHART_WIDTH;

        if (width <= 0)
            continue;
        fprintf(out, "<rect class=\"s%zu\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\">", columns == 2 ? 1 : i - 1, x,
                y + 20, width,
                BAR_HEIGHT);
        put_title(out, result, row, i);
        fputs("</rect>\n", out);
        x += width;
    }
}

static void put_lines(FILE *out, const char *title, const struct db_result *result, size_t columns, double highest,
                      const char *zone)
{
    if (db_rows(result) == 0) {
        fputs("<p>Nothing yet.</p>\n", out);
        return;
    }
    chart_begin(out, title, "lines", (int)db_rows(result) * 46 + CHART_TOP);
    for (size_t row = 0; row < db_rows(result); row++)
        put_line(out, result, row, columns, highest > 0 ? highest : 1, zone);
    chart_end(out);
}

void chart_lines(FILE *out, const char *title, const struct db_result *result, const char *zone)
{
    double highest = 0;

    for (size_t row = 0; row < db_rows(result); row++)
        if (chart_number(result, row, 1) > highest)
            highest = chart_number(result, row, 1);
    put_lines(out, title, result, 2, highest, zone);
}

void chart_shares(FILE *out, const char *title, const struct db_result *result, const char *zone)
{
    put_lines(out, title, result, chart_columns(result), highest_sum(result), zone);
    chart_key(out, result, NULL);
}

static double highest_number(const struct db_result *result)
{
    double highest = 1;

    for (size_t row = 0; row < db_rows(result); row++)
        for (size_t i = 1; i < chart_columns(result); i++)
            if (chart_number(result, row, i) > highest)
                highest = chart_number(result, row, i);
    return highest;
}

void chart_fields(FILE *out, const char *title, const struct db_result *result, const char *zone)
{
    enum { FIELD_HEIGHT = 28, EACH = 3 }; /* every third column has its name under it */
    double highest = highest_number(result), step = (double)(CHART_WIDTH - CHART_LEFT) / (double)(chart_columns(result) - 1);
    int bottom = CHART_TOP + (int)db_rows(result) * FIELD_HEIGHT;

    (void)zone;
    chart_begin(out, title, "plot", bottom + CHART_LETTER);
    for (size_t row = 0; row < db_rows(result); row++) {
        int y = CHART_TOP + (int)row * FIELD_HEIGHT;

        chart_text(out, CHART_LEFT - 6, y + 18, "end", db_value(result, row, 0));
        for (size_t i = 1; i < chart_columns(result); i++) {
            fprintf(out, "<rect class=\"s1\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill-opacity=\"%.3f\">",
                    CHART_LEFT + step * (double)(i - 1), y, step - 2, FIELD_HEIGHT - 2,
                    0.06 + 0.94 * chart_number(result, row, i) / highest);
            put_title(out, result, row, i);
            fputs("</rect>\n", out);
        }
    }
    for (size_t i = 1; i < chart_columns(result); i += EACH)
        chart_text(out, CHART_LEFT + step * (double)(i - 1), bottom + CHART_LETTER - 6, "start", db_column_name(result, i));
    chart_end(out);
}
