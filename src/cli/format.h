/* format.h - an export format: one SQL file.
 *
 * It starts with comment lines, of which these have a meaning:
 *     -- consumer: what reads the file
 *     -- syntax: where that is described
 *     -- parameter: name = default  meaning         (two spaces before the meaning)
 * and goes on with one SELECT of one column, a row for each line of the file, in order.  :'name' in it stands for a
 * parameter, as an SQL literal.
 * Behind a line that starts with "-- changes:" may come a second SELECT like that: what a program that has taken in the whole is told when
 * the list has changed since.  In it :'since' is the mark (list_mark() in sql/functions) of what the program has, empty when all that it
 * is to do is to remember :'mark', which is that of now.
 * Fails:    as cli.h says.
 * Limits:   FORMAT_PARAMETERS_MAX.
 */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include "cli/cli.h"

enum { FORMAT_PARAMETERS_MAX = 32, FORMAT_FOLDERS = 2 };

struct format_parameter {
    char *name, *value, *meaning;
};

struct format {
    char *path, *consumer, *syntax, *sql;
    const char *changes; /* in `sql`; NULL: it has none */
    struct format_parameter parameters[FORMAT_PARAMETERS_MAX];
    size_t parameter_count;
};

/* Read the format NAME from the first of FOLDERS that has it.  CLI_OK with *FORMAT to be freed, or a status. */
int format_read(struct format **format, const char *const folders[FORMAT_FOLDERS], const char *name);
void format_free(struct format **format);

/* Whether it came from FOLDER. */
bool format_is_in(const struct format *format, const char *folder);

/* "name=value" for one of its parameters. */
int format_set(struct format *format, const char *assignment);

/* The SELECT with its parameters put in; NULL with *STATUS when it names one that the header does not. */
char *format_select(const struct format *format, int *status);

/* The same for the changes, of which there are some, since the mark SINCE, or "", up to MARK. */
char *format_changes(const struct format *format, const char *since, const char *mark, int *status);

/* Print every format in FOLDERS, with its parameters. */
int format_list(const char *const folders[FORMAT_FOLDERS]);

#endif
