/* print.c - settings as text: those in force, and the sample file. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "settings/table.h"

/* TEXT between double quotes, as libConfuse reads it back: it expands ${VARIABLE} there. */
static void print_quoted(const char *text, FILE *out)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (strchr("\"\\$\n\t", *text) != NULL)
            putc('\\', out);
        putc(*text == '\n' ? 'n' : *text == '\t' ? 't' : *text, out);
    }
    putc('"', out);
}

static void print_written(const struct settings_row *row, char *const *texts, size_t count, FILE *out)
{
    bool quoted = row->type == TYPE_TEXT || row->type == TYPE_TAKEN || row->type == TYPE_LIST;

    if (row->type == TYPE_LIST)
        putc('{', out);
    for (size_t i = 0; i < count; i++) {
        fputs(i > 0 ? ", " : "", out);
        if (quoted)
            print_quoted(texts[i], out);
        else
            fputs(texts[i], out);
    }
    fputs(row->type == TYPE_LIST ? "}\n" : "\n", out);
}

static void print_rule(const struct settings_rule *rule, FILE *out)
{
    fprintf(out, "domain \"%s\" {\n", rule->pattern);
    for (const struct settings_row *row = settings_rows; row < settings_rows + settings_row_count; row++)
        if (settings_row_is_of_domain(row))
            fprintf(out, "    %s = %s\n", row->name, row->choices[*(const unsigned *)((const char *)rule + row->offset)]);
    fputs("}\n", out);
}

void settings_dump(const struct settings *settings, FILE *out)
{
    for (const struct settings_row *row = settings_rows; !settings_row_is_of_domain(row); row++) {
        const struct settings_values *values = &settings->snapshot->values[row - settings_rows];

        if (settings_row_begins_section(row))
            fprintf(out, "%s {\n", row->section);
        fprintf(out, "%s%s = ", row->section != NULL ? "    " : "", row->name);
        print_written(row, values->texts, values->count, out);
        if (settings_row_ends_section(row))
            fputs("}\n", out);
    }
    for (size_t i = 0; i < settings->judge.rule_count; i++)
        print_rule(&settings->judge.rules[i], out);
}

/* The default of ROW, as print_written() wants it. */
static void print_standard(const struct settings_row *row, FILE *out)
{
    char *copy = alloc_text(row->standard), *rest = copy, *text;
    char *texts[16];
    size_t count = 0;

    if (row->type == TYPE_LIST) {
        while (count < sizeof texts / sizeof *texts && (text = strtok_r(rest, "{, }", &rest)) != NULL)
            texts[count++] = text;
    } else {
        texts[count++] = copy;
    }
    print_written(row, texts, count, out);
    free(copy);
}

void settings_print_sample(FILE *out)
{
    fputs("# hunnypot.conf - settings of hunnypot-milter, see hunnypot.conf(5).\n"
          "# Every setting is here with its default.  After a change: hunnypot-milter --check, then SIGUSR1.\n",
          out);
    for (const struct settings_row *row = settings_rows; row < settings_rows + settings_row_count; row++) {
        bool begins = settings_row_begins_section(row);
        const char *indent = row->section != NULL ? "    " : "";

        if (begins && settings_row_is_of_domain(row))
            fputs("\n# One section for each domain that needs more than auto; the longest match wins.\n"
                  "domain \"*\" {\n",
                  out);
        else if (begins)
            fprintf(out, "\n%s {\n", row->section);
        else
            fputs(row->section == NULL ? "\n" : "", out);
        fprintf(out, "%s# %s\n%s#%s = ", indent, row->help, indent, row->name);
        print_standard(row, out);
        if (settings_row_ends_section(row))
            fputs("}\n", out);
    }
}
