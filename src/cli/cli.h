/* cli.h - what the files of the hunnypot command share: the connection, options, errors, exit statuses.
 *
 * Threads:  one.
 * Fails:    cli_fail() prints one line "hunnypot: ..." to standard error and gives the exit status to return.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record/db.h"

enum {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 64, /* EX_USAGE of sysexits.h */

    CLI_SCHEMA_VERSION = 14,    /* the oldest schema that this program works with: the number of a file in sql/ */
    CLI_TIMEOUT_MS = 10000,    /* to connect, and for what is done at once */
    CLI_WORK_MS = 24 * 3600000 /* for what takes as long as it takes */
};

struct cli {
    const char *database; /* --database, or HUNNYPOT_DATABASE, or "" */
    struct db *db;
    int stop_fd; /* -1, or what breaks off a wait for the database */
};

struct cli_command {
    const char *name; /* one word or two */
    const char *arguments;
    const char *help;
    int (*run)(struct cli *cli, int argc, char **argv);
};

/* The commands of each file, ended by one without a name. */
extern const struct cli_command query_commands[], policy_commands[], schema_commands[], manage_commands[], export_commands[],
    witness_commands[], check_commands[], setup_commands[], status_commands[], report_commands[], request_commands[];

enum { CLI_TEXTS_MAX = 64 };
struct cli_texts {
    const char *texts[CLI_TEXTS_MAX];
    size_t count;
};

/* One option; exactly one of the targets is set. */
struct cli_option {
    const char *name;
    char letter;          /* or 0 */
    const char *argument; /* how help names it; NULL with a flag */
    const char *help;
    bool *flag;
    const char **text;
    struct cli_texts *texts; /* may be given several times */
};

/* Read the options of a command, up to OPTIONS' entry without a name, and those that every command has.  argv[0] is the
 * command.  Returns the index of the first argument, or -1 when *STATUS is to be returned. */
int cli_options(struct cli *cli, int argc, char **argv, const struct cli_option *options, int *status);

/* Is TEXT a number of at most so many digits?  INT_DIGITS and BIGINT_DIGITS always fit into what SQL calls so. */
enum { INT_DIGITS = 9, BIGINT_DIGITS = 18 };
bool cli_is_number(const char *text, size_t digits_max);

/* What was given as NAME (--database or a variable), checked: it can be read, and has no password, as others can read
 * arguments, and every command that is run the environment. */
int cli_take_database(struct cli *cli, const char *name, const char *conninfo);

/* Say that getopt_long() returned GOT, "?" or ":", for ARGUMENT; the status to return. */
int cli_bad_option(const char *argument, int got);

/* COMMAND (NULL: not found yet) runs from now on, and has written nothing.  What follows here is said in its name. */
void cli_begin(const struct cli_command *command);
const struct cli_command *cli_running(void);

int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether standard output cannot be written, asked at once after writing.  In the end it is said here, for all commands, and
 * is a failure; a reader that went away (`| head`) has seen what it wanted.  Returns the status to end with. */
bool cli_output_failed(void);
int cli_close_output(int status);

/* What went wrong with the database, and what to do about it; nothing when somebody stopped it. */
int cli_db_fail(const struct cli *cli, enum db_status status);

/* Connect; cli_open() also sees to it that the schema is there and not too old.  CLI_OK, or a status to return. */
int cli_connect(struct cli *cli);
int cli_open(struct cli *cli);

/* Times are in UTC after that; from here on, with OWN, in the zone of PGTZ, TZ or this host: for what people write and read.
 * CLI_OK, or a status to return. */
int cli_use_zone(struct cli *cli, bool own);

/* Ask for the notifications of CHANNEL.  On a standby, and behind a pooler that gives each transaction another connection, none
 * come: whoever waits looks for itself every CLI_NEWS_MS. */
enum { CLI_NEWS_MS = 2000 };
enum db_status cli_listen(struct cli *cli, const char *channel);

/* Connect and run BODY, which returns when the connection broke, and again, for as long as it does not return DB_STOPPED.
 * Only the first connection must come about: what cannot work is said and ends at once. */
int cli_keep_open(struct cli *cli, enum db_status (*body)(struct cli *cli, void *context), void *context);

/* From here on SIGINT and SIGTERM end what waits for the database, and nothing is left behind. */
int cli_stop_on_signals(struct cli *cli);

/* Wait; true when it is to end before MS have gone by. */
bool cli_stopped_within(const struct cli *cli, int64_t ms);

/* When it is to end: take the signal, so that what is left to be done may wait for the database until another one comes. */
void cli_stop_later(struct cli *cli);

/* Who runs this, into new memory: behind sudo, the person and not root. */
char *cli_author(void);

/* TEXT as an SQL literal, into new memory. */
char *cli_literal(const char *text);

/* NAME within the folder of what was installed, or within HUNNYPOT_DATADIR; the caller frees. */
char *cli_data_path(const char *name);

#endif
