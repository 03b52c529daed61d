/* report.c - hunnypot report: the page of src/report, on standard output or in a file. */

#include "report/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/file.h"

/* The page, in new memory. */
static int make_page(struct cli *cli, long long since_ms, const char *zone, char **page, size_t *length)
{
    FILE *text = alloc_text_begin(page, length);
    enum db_status status = report_write(cli->db, text, since_ms, zone, false);

    alloc_text_end(text);
    if (status == DB_REFUSED)
        return cli_usage("--tz: %s", db_why(cli->db));
    return status == DB_OK ? CLI_OK : cli_db_fail(cli, status);
}

/* Networks are in it, so a file that is new is for nobody else. */
static int put_file(const struct cli *cli, const char *path, const char *page, size_t length)
{
    mode_t mask = umask(077);
    struct file_replacement *replacement;
    bool changed;
    int status = file_replace_begin(&replacement, cli, path);

    if (status == CLI_OK) {
        status = file_replace_write(replacement, page, length) ? file_replace_commit(replacement, NULL, &changed) : CLI_FAILED;
        file_replace_end(&replacement);
    }
    umask(mask);
    return status;
}

static int run_report(struct cli *cli, int argc, char **argv)
{
    const char *since = "30d", *zone = "UTC", *file = NULL;
    const struct cli_option options[] = {
        {.name = "since", .argument = "DURATION", .help = "how far it goes back: 12h, 30d (default), 400d at most", .text = &since},
        {.name = "tz", .argument = "ZONE", .help = "the clock that it shows: UTC (default), Europe/Berlin, ...", .text = &zone},
        {.name = "output", .letter = 'o', .argument = "FILE", .help = "into this file, not to standard output", .text = &file},
        {.name = NULL},
    };
    char *page = NULL;
    size_t length = 0;
    long long since_ms;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    since_ms = text_duration_ms(since);
    if (since_ms <= 0 || since_ms > REPORT_MAX_MS)
        return cli_usage("--since is a duration of at most 400d, not %s", since);
    status = cli_open(cli);
    if (status == CLI_OK)
        status = make_page(cli, since_ms, zone, &page, &length);
    if (status == CLI_OK && file != NULL)
        status = put_file(cli, file, page, length);
    else if (status == CLI_OK)
        fwrite(page, 1, length, stdout); /* cli_close_output() tells whether it could be */
    free(page);
    return status;
}

const struct cli_command report_commands[] = {
    {.name = "report", .arguments = "", .help = "Draw what was caught: one page of HTML", .run = run_report},
    {.name = NULL},
};
