#include "report/chart.h"

#include <stdlib.h>

#include "report/html.h"

/* In units of the drawing, which is as wide as the page. */
enum { WIDTH = 800, LEFT = 56, TOP = 10, PLOT_HEIGHT = 190, LABEL_HEIGHT = 24, GRID_LINES = 4, LABELS_MAX = 6 };

static double number(const struct db_result *result, size_t row, size_t column)
{
    const char *value = db_value(result, row, column);

    return value == NULL ? 0 : strtod(value, NULL);
}

static void svg_begin(FILE *out, const char *title, int height)
{
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, height, title);
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
    for (int i = 0; i <= GRID_LINES; i++) {
        int y = TOP + PLOT_HEIGHT - i * PLOT_HEIGHT / GRID_LINES;

        fprintf(out, "<path class=\"grid\" d=\"M%d %dH%d\"/><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f</text>\n", LEFT, y,
                WIDTH, LEFT - 6, y + 4, top * i / GRID_LINES);
    }
}

static void put_bar(FILE *out, const struct db_result *result, size_t row, double top)
{
    double step = (double)(WIDTH - LEFT) / (double)db_rows(result), x = LEFT + step * (double)row, y = TOP + PLOT_HEIGHT;

    for (size_t i = 1; i < db_columns(result); i++) {
        double height = number(result, row, i) / top * PLOT_HEIGHT;

        if (height <= 0)
            continue;
        y -= height;
        fprintf(out, "<rect class=\"s%zu\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\">", i - 1, x + step * 0.1, y,
                step * 0.8, height);
        put_title(out, result, row, i);
        fputs("</rect>\n", out);
    }
}

static void put_bar_labels(FILE *out, const struct db_result *result)
{
    size_t rows = db_rows(result), each = (rows + LABELS_MAX - 1) / LABELS_MAX;
    double step = (double)(WIDTH - LEFT) / (double)rows;

    for (size_t row = 0; row < rows; row += each) {
        fprintf(out, "<text x=\"%.2f\" y=\"%d\">", LEFT + step * (double)row, TOP + PLOT_HEIGHT + LABEL_HEIGHT - 6);
        html_text(out, db_value(result, row, 0));
        fputs("</text>\n", out);
    }
}

static void put_key(FILE *out, const struct db_result *result)
{
    fputs("<ul class=\"key\">\n", out);
    for (size_t i = 1; i < db_columns(result); i++) {
        fprintf(out, "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"s%zu\" width=\"10\" height=\"10\"/></svg>", i - 1);
        html_text(out, db_column_name(result, i));
        fputs("</li>\n", out);
    }
    fputs("</ul>\n", out);
}

void chart_bars(FILE *out, const char *title, const struct db_result *result)
{
    double highest = 0, top;

    for (size_t row = 0; row < db_rows(result); row++) {
        double sum = 0;

        for (size_t i = 1; i < db_columns(result); i++)
            sum += number(result, row, i);
        if (sum > highest)
            highest = sum;
    }
    top = scale_top(highest);
    svg_begin(out, title, TOP + PLOT_HEIGHT + LABEL_HEIGHT);
    put_grid(out, top);
    for (size_t row = 0; row < db_rows(result); row++)
        put_bar(out, result, row, top);
    put_bar_labels(out, result);
    fputs("</svg>\n", out);
    put_key(out, result);
}

static double highest_number(const struct db_result *result)
{
    double highest = 1;

    for (size_t row = 0; row < db_rows(result); row++)
        for (size_t i = 1; i < db_columns(result); i++)
            if (number(result, row, i) > highest)
                highest = number(result, row, i);
    return highest;
}

void chart_lines(FILE *out, const char *title, const struct db_result *result)
{
    enum { LINE_HEIGHT = 28, NAME_WIDTH = 190, NUMBER_WIDTH = 90 };
    double highest = 1;

    for (size_t row = 0; row < db_rows(result); row++)
        if (number(result, row, 1) > highest)
            highest = number(result, row, 1);
    svg_begin(out, title, (int)db_rows(result) * LINE_HEIGHT + TOP);
    for (size_t row = 0; row < db_rows(result); row++) {
        double width = number(result, row, 1) / highest * (WIDTH - NAME_WIDTH - NUMBER_WIDTH);
        int y = TOP + (int)row * LINE_HEIGHT;

        fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", NAME_WIDTH - 8, y + 14);
        html_text(out, db_value(result, row, 0));
        fprintf(out, "</text><rect class=\"s1\" x=\"%d\" y=\"%d\" width=\"%.2f\" height=\"20\">", NAME_WIDTH, y, width);
        put_title(out, result, row, 1);
        fprintf(out, "</rect><text x=\"%.2f\" y=\"%d\">", NAME_WIDTH + width + 6, y + 14);
        html_text(out, db_value(result, row, 1));
        fputs("</text>\n", out);
    }
    fputs("</svg>\n", out);
}

void chart_fields(FILE *out, const char *title, const struct db_result *result)
{
    enum { FIELD_HEIGHT = 24, EACH = 3 }; /* every third column has its name under it */
    double highest = highest_number(result), step = (double)(WIDTH - LEFT) / (double)(db_columns(result) - 1);
    int bottom = TOP + (int)db_rows(result) * FIELD_HEIGHT;

    svg_begin(out, title, bottom + LABEL_HEIGHT);
    for (size_t row = 0; row < db_rows(result); row++) {
        int y = TOP + (int)row * FIELD_HEIGHT;

        fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LEFT - 6, y + 16);
        html_text(out, db_value(result, row, 0));
        fputs("</text>\n", out);
        for (size_t i = 1; i < db_columns(result); i++) {
            fprintf(out, "<rect class=\"s1\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill-opacity=\"%.3f\">",
                    LEFT + step * (double)(i - 1), y, step - 2, FIELD_HEIGHT - 2, 0.06 + 0.94 * number(result, row, i) / highest);
            put_title(out, result, row, i);
            fputs("</rect>\n", out);
        }
    }
    for (size_t i = 1; i < db_columns(result); i += EACH)
        fprintf(out, "<text x=\"%.2f\" y=\"%d\">%s</text>\n", LEFT + step * (double)(i - 1), bottom + LABEL_HEIGHT - 8,
                db_column_name(result, i));
    fputs("</svg>\n", out);
}
