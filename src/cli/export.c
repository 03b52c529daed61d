/* export.c - hunnypot export: a listing in a consumer's format, to a file that is replaced only when whole. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/export.h"
#include "cli/file.h"
#include "cli/format.h"
#include "cli/output.h"

enum {
    COMMAND_LONG_MS = 60000, /* then it is said that the command still runs */
    COMMAND_END_MS = 500     /* for the command to end when we are to */
};

/* One run */

struct sink {
    struct file_replacement *replacement; /* NULL: `out` */
    FILE *out;
    const char *problem; /* with the last row */
    uint64_t rows;
    bool unwritable; /* which file_replace_write() or, in the end, main() says */
};

/* One row is one line: what could make two of it, or steer a terminal, comes from no client and is a mistake. */
static const char *line_problem(const char *line)
{
    if (line == NULL)
        return "is NULL";
    for (; *line != '\0'; line++)
        if (((unsigned char)*line < ' ' && *line != '\t') || *line == 0x7f)
            return "has a control character";
    return NULL;
}

static bool write_out(FILE *out, const char *data, size_t length)
{
    bool done = fwrite(data, 1, length, out) == length;

    return out == stdout ? !cli_output_failed() : done;
}

static void write_line(struct sink *sink, const char *line, size_t length)
{
    sink->unwritable = sink->replacement != NULL ? !file_replace_write(sink->replacement, line, length)
                                                 : !write_out(sink->out, line, length);
}

/* A row with what COPY escapes, of which few have any. */
static void take_escaped_row(struct sink *sink, const char *data, size_t length)
{
    char *row = alloc_zeroed(length + 1, 1), *rest = row, *line;
    size_t line_length;

    memcpy(row, data, length);
    line = output_next_value(&rest);
    sink->problem = rest != NULL ? "has more than one column" : line_problem(line);
    if (sink->problem == NULL) {
        line_length = strlen(line);
        line[line_length] = '\n'; /* the row's own line end, or further in, was here */
        write_line(sink, line, line_length + 1);
    }
    free(row);
}

/* One column, in printable ASCII without escapes, and the line end. */
static bool is_plain_row(const char *data, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++)
        if (data[i] < ' ' || data[i] == '\\' || data[i] == 0x7f)
            return false;
    return length > 0 && data[length - 1] == '\n';
}

static bool take_row(void *context, const char *data, size_t length)
{
    struct sink *sink = context;

    sink->rows++;
    sink->problem = NULL;
    if (is_plain_row(data, length))
        write_line(sink, data, length);
    else
        take_escaped_row(sink, data, length);
    return sink->problem == NULL && !sink->unwritable;
}

/* What the brake holds back is not exported; that is said when it begins to, not each time. */
static int look_at_brake(struct cli *cli, struct export *export)
{
    struct db_result *result = NULL;
    enum db_status status = db_query(cli->db, CLI_TIMEOUT_MS, "SELECT hunnypot.publish_check()", NULL, 0, &result);
    const char *reason = status == DB_OK ? db_value(result, 0, 0) : NULL;

    if (reason != NULL && !export->is_held)
        cli_fail("%s (see: hunnypot brake show)", reason);
    if (status == DB_OK)
        export->is_held = reason != NULL;
    db_result_free(&result);
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

static int copy_rows(struct cli *cli, const struct export *export, const char *select, struct sink *sink)
{
    /* A comment may end the SELECT, so the parenthesis goes on a line of its own. */
    char *copy = alloc_format("COPY (%s\n) TO STDOUT", select);
    enum db_status status = db_copy_out(cli->db, CLI_WORK_MS, copy, take_row, sink);
    int exit_status = CLI_OK;

    free(copy);
    if (sink->problem != NULL)
        exit_status = cli_fail("%s: row %llu %s", export->format->path, (unsigned long long)sink->rows, sink->problem);
    else if (sink->unwritable)
        exit_status = CLI_FAILED;
    else if (status == DB_STOPPED)
        exit_status = cli_db_fail(cli, status);
    else if (status != DB_OK)
        exit_status = cli_fail("%s: %s", export->format->path, db_why(cli->db));
    return exit_status;
}

/* The one value that SQL gives, into new memory.  NULL on failure, which is said. */
static char *fetch_value(struct cli *cli, const char *sql, const char *const *parameters, int count)
{
    struct db_result *result = NULL;
    char *value = NULL;
    enum db_status status = db_query_texts(cli->db, CLI_TIMEOUT_MS, sql, parameters, count, &result);

    if (status == DB_OK)
        value = alloc_text(db_value(result, 0, 0));
    else
        cli_db_fail(cli, status);
    db_result_free(&result);
    return value;
}

char *export_state(struct cli *cli, const struct export *export)
{
    const char *select = export->select;

    return fetch_value(cli, "SELECT hunnypot.listing_state($1)", &select, 1);
}

/* For a consumer that has the list of SINCE; NULL: none. */
static char *list_mark(struct cli *cli, const char *since)
{
    return fetch_value(cli, "SELECT hunnypot.list_mark($1)", &since, 1);
}

/* The rows, unless REPLACEMENT (NULL: none) is to replace what was made from the list as it is: *NOTE is NULL then, else what
 * the rows are made from, or "" when that is not known. */
static int copy_news(struct cli *cli, const struct export *export, struct file_replacement *replacement, char **note)
{
    struct sink sink = {.replacement = replacement, .out = stdout};
    /* The state of the list says nothing of what begins or ends by the clock while no tick() comes by; a consumer is told of that once. */
    bool may_be_known = replacement != NULL && export->is_shipped && export->changes_command == NULL;

    *note = may_be_known ? export_state(cli, export) : alloc_text("");
    if (*note == NULL)
        return CLI_FAILED;
    if (!may_be_known || !file_replace_is_noted(replacement, *note))
        return copy_rows(cli, export, export->select, &sink);
    free(*note);
    *note = NULL;
    return CLI_OK;
}

/* The brake and the rows are of one snapshot.  The list has an index in the order that most formats want, and statistics that
 * are stale must not let the planner sort millions instead. */
static int snapshot_begin(struct cli *cli, struct export *export)
{
    enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
                                                               "SET LOCAL enable_sort = off; SET LOCAL jit = off; "
                                                               "SET LOCAL hunnypot.export = 'on'");

    return status == DB_OK ? look_at_brake(cli, export) : cli_db_fail(cli, status);
}

static int snapshot_end(struct cli *cli, int exit_status)
{
    enum db_status status = db_script(cli->db, CLI_TIMEOUT_MS, exit_status == CLI_OK ? "COMMIT" : "ROLLBACK");

    return exit_status == CLI_OK && status != DB_OK ? cli_db_fail(cli, status) : exit_status;
}

static int run_select(struct cli *cli, struct export *export, struct file_replacement *replacement, char **note)
{
    int exit_status = snapshot_begin(cli, export);

    if (exit_status == CLI_OK && export->changes_command != NULL) {
        free(export->mark);
        export->mark = list_mark(cli, NULL);
        exit_status = export->mark != NULL ? CLI_OK : CLI_FAILED;
    }
    if (exit_status == CLI_OK)
        exit_status = copy_news(cli, export, replacement, note);
    return snapshot_end(cli, exit_status);
}

static int copy_changes(struct cli *cli, const struct export *export, const char *since, const char *mark, FILE *out)
{
    struct sink sink = {.out = out};
    int exit_status;
    char *select = format_changes(export->format, since, mark, &exit_status);

    if (exit_status == CLI_OK)
        exit_status = copy_rows(cli, export, select, &sink);
    if (exit_status == CLI_FAILED && sink.unwritable)
        cli_fail("changes: %s", strerror(errno));
    free(select);
    return exit_status;
}

static int count_changes(struct cli *cli, const char *since, int *count)
{
    char *number = fetch_value(cli, "SELECT coalesce(cardinality(hunnypot.changed_networks($1)), -1)", &since, 1);

    if (number == NULL)
        return CLI_FAILED;
    *count = (int)strtol(number, NULL, 10);
    free(number);
    return CLI_OK;
}

int export_changes(struct cli *cli, struct export *export, const char *since, bool is_due, FILE *out, char **mark, int *count)
{
    int exit_status = snapshot_begin(cli, export);
    bool is_told = false;

    *mark = NULL;
    *count = 0;
    if (exit_status == CLI_OK)
        exit_status = count_changes(cli, since, count);
    if (exit_status == CLI_OK) {
        is_told = *count > 0 || (*count == 0 && is_due);
        *mark = is_told ? list_mark(cli, since) : alloc_text(since);
        exit_status = *mark != NULL ? CLI_OK : CLI_FAILED;
    }
    if (exit_status == CLI_OK && is_told)
        exit_status = copy_changes(cli, export, since, *mark, out);
    return snapshot_end(cli, exit_status);
}

int export_mark(struct cli *cli, struct export *export, FILE *out)
{
    return copy_changes(cli, export, "", export->mark, out);
}

/* In a process group of its own, so that all of it can be ended. */
static pid_t start_command(const char *command, int input_fd)
{
    pid_t child = fork();
    sigset_t none;

    setpgid(child, child); /* the first of both wins */
    if (child != 0)
        return child;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (input_fd >= 0 && dup2(input_fd, STDIN_FILENO) < 0)
        _exit(127);
    unsetenv("PGPASSWORD"); /* our business, not the command's */
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* Whether the process PIDFD ended within MS; STOP_FD (-1: none) being readable ends the wait as well. */
static bool ended_within(int pidfd, int stop_fd, int ms)
{
    struct pollfd fds[] = {{.fd = pidfd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};

    while (poll(fds, 2, ms) < 0 && errno == EINTR) {
    }
    return fds[0].revents != 0;
}

/* The command ends when it will, but never holds up our own end, and is not waited for in silence.  Whether we ended it. */
static bool await_command(const struct cli *cli, const char *command, pid_t child)
{
    int pidfd = pidfd_open(child, 0);
    bool ended = false;

    if (pidfd < 0)
        return false;
    if (!ended_within(pidfd, cli->stop_fd, COMMAND_LONG_MS)) {
        if (!cli_stopped_within(cli, 0))
            cli_fail("%s: still runs after %d s", command, COMMAND_LONG_MS / 1000);
        if (!ended_within(pidfd, cli->stop_fd, -1)) {
            ended = true;
            kill(-child, SIGTERM);
            (void)ended_within(pidfd, -1, COMMAND_END_MS);
            kill(-child, SIGKILL); /* and what outlives the shell: one that was forked just then may not have heard SIGTERM */
        }
    }
    close(pidfd);
    return ended;
}

int export_command(const struct cli *cli, const char *command, int input_fd)
{
    pid_t child = start_command(command, input_fd);
    int result = 0;
    bool ended;

    if (child < 0)
        return cli_fail("%s: %s", command, strerror(errno));
    ended = await_command(cli, command, child);
    while (waitpid(child, &result, 0) < 0)
        if (errno != EINTR)
            return cli_fail("%s: %s", command, strerror(errno));
    if (ended && result != 0)
        return CLI_FAILED; /* whoever stopped us knows */
    if (WIFSIGNALED(result))
        return cli_fail("%s: killed by signal %d", command, WTERMSIG(result));
    return result == 0 ? CLI_OK : cli_fail("%s: exit status %d", command, WEXITSTATUS(result));
}

int export_tell(const struct cli *cli, const struct export *export)
{
    int status = export_command(cli, export->command, -1);

    if (status == CLI_OK)
        file_settle(export->target);
    return status;
}

int export_file(struct cli *cli, struct export *export, bool *changed)
{
    struct file_replacement *replacement;
    char *note = NULL;
    int status = file_replace_begin(&replacement, cli, export->target);

    *changed = false;
    if (status != CLI_OK)
        return status;
    if (export->command != NULL)
        file_replace_owe(replacement);
    status = run_select(cli, export, replacement, &note);
    if (status == CLI_OK && note != NULL)
        status = file_replace_commit(replacement, *note != '\0' ? note : NULL, changed);
    free(note);
    file_replace_end(&replacement);
    return status;
}

static int export_once(struct cli *cli, struct export *export)
{
    struct output_progress *progress;
    char *note = NULL;
    bool changed;
    int status;

    if ((status = cli_open(cli)) != CLI_OK)
        return status;
    if (export->target == NULL) {
        status = run_select(cli, export, NULL, &note);
        free(note);
        return status;
    }
    progress = output_progress_start("export");
    status = export_file(cli, export, &changed);
    output_progress_stop(&progress);
    /* One that failed, or was cut off, is made good for. */
    if (export->command != NULL && (changed || (status == CLI_OK && file_is_owed(export->target))))
        status = export_tell(cli, export) == CLI_OK ? status : CLI_FAILED;
    return status;
}

/* Command line */

static int run_format(struct cli *cli, struct export *export, const char *const folders[FORMAT_FOLDERS],
                      const char *name, const struct cli_texts *settings, bool watching)
{
    struct format *format = NULL;
    int status = format_read(&format, folders, name);

    for (size_t i = 0; status == CLI_OK && i < settings->count; i++)
        status = format_set(format, settings->texts[i]);
    if (status == CLI_OK) {
        export->format = format;
        export->is_shipped = format_is_in(format, folders[FORMAT_FOLDERS - 1]);
        export->select = format_select(format, &status);
    }
    if (status == CLI_OK && export->changes_command != NULL && format->changes == NULL)
        status = cli_usage("%s says nothing of changes: there is no line \"-- changes:\"", format->path);
    if (status == CLI_OK && export->target != NULL)
        status = cli_stop_on_signals(cli);
    if (status == CLI_OK)
        status = watching ? export_watch(cli, export) : export_once(cli, export);
    free(export->select);
    free(export->mark);
    if (format != NULL)
        format_free(&format);
    return status;
}

static const char *user_folder(const char *option)
{
    const char *variable = getenv("HUNNYPOT_EXPORT_DIR");

    if (option != NULL)
        return option;
    return variable != NULL && *variable != '\0' ? variable : HP_SYSCONFDIR "/hunnypot/export";
}

static int run_export(struct cli *cli, int argc, char **argv)
{
    struct export export = {.target = NULL};
    struct cli_texts settings = {.count = 0};
    const char *interval = "10s", *folder = NULL;
    bool list = false, watching = false;
    const struct cli_option options[] = {
        {.name = "list", .help = "list the formats and their parameters", .flag = &list},
        {.name = "output", .letter = 'o', .argument = "FILE", .help = "replace FILE; else standard output",
         .text = &export.target},
        {.name = "set", .argument = "NAME=VALUE", .help = "set a parameter of the format", .texts = &settings},
        {.name = "watch", .help = "go on, and export again when listings change", .flag = &watching},
        {.name = "interval", .argument = "TIME", .help = "with --watch: at most once in this time (10s)",
         .text = &interval},
        {.name = "command", .argument = "COMMAND", .help = "run by the shell after FILE was replaced",
         .text = &export.command},
        {.name = "changes", .argument = "COMMAND", .help = "with --watch: run by the shell with what changed since, on standard input",
         .text = &export.changes_command},
        {.name = "export-dir", .argument = "DIR", .help = "folder of your own formats", .text = &folder},
        {.name = NULL},
    };
    int status, first = cli_options(cli, argc, argv, options, &status);
    char *shipped;

    if (first < 0)
        return status;
    export.interval_ms = text_duration_ms(interval);
    if (export.interval_ms < 0 || export.interval_ms > CLI_WORK_MS)
        return cli_usage("--interval: %s is no duration (10s, 5m)", interval);
    if (argc - first != (list ? 0 : 1))
        return cli_usage(list ? "--list takes no argument" : "takes one format (see: hunnypot export --list)");
    if (export.target == NULL && (watching || export.command != NULL))
        return cli_usage("--watch and --command need --output");
    if (export.changes_command != NULL && *export.changes_command == '\0') /* as a unit has it for formats that do not know changes */
        export.changes_command = NULL;
    if (export.changes_command != NULL && (!watching || export.command == NULL))
        return cli_usage("--changes needs --watch and --command");
    shipped = cli_data_path("sql/export");
    status = list ? format_list((const char *const[]){user_folder(folder), shipped})
                  : run_format(cli, &export, (const char *const[]){user_folder(folder), shipped}, argv[first],
                               &settings, watching);
    free(shipped);
    return status;
}

const struct cli_command export_commands[] = {
    {.name = "export", .arguments = "FORMAT", .help = "Write the listing as a mail server, DNSBL or firewall reads it",
     .run = run_export},
    {.name = NULL},
};
