/* export.h - one export of `hunnypot export`, and the same again and again (export_watch.c).
 *
 * Threads:  one.
 * Owns:     struct export owns `select` and `mark`; the rest is the caller's.
 * Fails:    CLI_OK, or a status after a line that says why.
 */
#ifndef CLI_EXPORT_H
#define CLI_EXPORT_H

#include "cli/cli.h"
#include "cli/format.h"

struct export {
    const char *target;          /* NULL: standard output */
    const char *command;         /* run when the target is new; NULL: none */
    const char *changes_command; /* reads what changed since; NULL: none */
    bool is_held;                /* by the brake, and that was said */
    int64_t interval_ms;
    const struct format *format;
    bool is_shipped; /* it reads the list alone; what a format of the user's own reads, nobody knows */
    char *select;
    char *mark; /* with `changes_command`: the list as it was when the target was written last, see list_mark() in sql/functions */
};

/* What the list is like now, in the form that the export gives it, into new memory; NULL on failure, which is said. */
char *export_state(struct cli *cli, const struct export *export);

/* Bring the target up to date.  *CHANGED: whether it was replaced. */
int export_file(struct cli *cli, struct export *export, bool *changed);

/* Write to OUT what the consumer is to do that has the list of SINCE.  *MARK is then that of what it will have, into new memory, and *COUNT
 * how many networks may look otherwise; -1, and nothing is written, when only the whole list will do.  When nothing has changed OUT stays
 * empty, unless the consumer IS_DUE to be given a new mark, and so asked whether it has the old one. */
int export_changes(struct cli *cli, struct export *export, const char *since, bool is_due, FILE *out, char **mark, int *count);

/* Write to OUT what makes the consumer, which has all that is in the target, remember that. */
int export_mark(struct cli *cli, struct export *export, FILE *out);

/* Run COMMAND by the shell, with standard input from INPUT_FD (-1: ours), until it ends or CLI is to stop. */
int export_command(const struct cli *cli, const char *command, int input_fd);

/* Run EXPORT's command for what is in place; one that fails is owed, and made up for by the next run. */
int export_tell(const struct cli *cli, const struct export *export);

/* Export, and again when the list has changed, until CLI is to stop. */
int export_watch(struct cli *cli, struct export *export);

#endif
