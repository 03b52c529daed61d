/* table.h - the table of settings, for load and print (and their tests); nobody else needs it. */
#ifndef SETTINGS_TABLE_H
#define SETTINGS_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "settings/settings.h"

enum settings_type {
    TYPE_TEXT,     /* copied to `offset` after `take` found nothing wrong */
    TYPE_DURATION, /* in units of `unit_ms` (0: 1) */
    TYPE_NUMBER,
    TYPE_CHOICE,   /* the index in `choices` */
    TYPE_TAKEN,    /* all is done by `take` */
    TYPE_LIST      /* `take` is called for each */
};

struct settings_row {
    const char *section; /* NULL: none */
    const char *name;
    enum settings_type type;
    const char *standard; /* the default, as written in the file, without quotes */
    const char *help;
    const char *right;    /* of TEXT and LIST: what would be right */
    /* What is wrong with TEXT, as a static text, or NULL after having taken it. */
    const char *(*take)(struct settings *settings, const char *text);
    int64_t min, max, unit_ms;
    const char *const *choices;
    size_t offset, size; /* of the member of struct settings, or of struct settings_rule for `domain` */
    bool fixed;          /* read at start only */
    bool secret;         /* not to be shown in an error */
    bool has_lines;      /* line ends and tabs may stand in the text */
};

/* In the order of the sample file; the rows of a section stand together, those of `domain` last. */
extern const struct settings_row settings_rows[];
extern const size_t settings_row_count;

/* One setting as it was written; a text has one value, a list any number. */
struct settings_values {
    char **texts;
    size_t count;
};

/* What a loaded struct settings has beside its members. */
struct settings_snapshot {
    struct settings settings;
    atomic_uint holders;
    struct settings_values *values; /* of all rows but those of `domain` */
};

/* The row of NAME in SECTION (NULL: none), or NULL. */
const struct settings_row *settings_row_find(const char *section, const char *name);

/* "limits.idle"; the caller frees. */
char *settings_row_title(const struct settings_row *row);

/* ROW is the first, or the last, of its section. */
bool settings_row_begins_section(const struct settings_row *row);
bool settings_row_ends_section(const struct settings_row *row);

/* ROW stands in `domain` sections, of which there may be any number. */
bool settings_row_is_of_domain(const struct settings_row *row);

/* Two rows, each fine by itself, of which one leaves the other no meaning. */
struct settings_contradiction {
    const char *sections[2], *names[2];
    bool (*is_there)(const struct settings *settings);
    const char *why;
    bool follows; /* the first, when it is not written, is what the second is */
};

extern const struct settings_contradiction settings_contradictions[]; /* ended by zeroes */

/* LIST, which has *COUNT items of SIZE bytes, with ITEM behind them: its new place. */
void *settings_append(void *list, size_t *count, size_t size, const void *item);

#endif
