/* main.c - the hunnypot command: finds the command that is asked for, and runs it. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"

static const struct cli_command *const groups[] = {query_commands, manage_commands, export_commands, schema_commands};
static const struct cli_command *running;
static int output_error; /* errno of the first write that failed */

/* Arguments and file names may hold anything; what goes to the terminal is printable, and one line. */
static void print_error(const char *format, va_list arguments)
{
    char line[LINE_MAX], escaped[8];

    fflush(stdout);
    vsnprintf(line, sizeof line, format, arguments);
    fputs("hunnypot: ", stderr);
    for (const char *c = line; *c != '\0'; c++) {
        /* A backslash stands for itself: texts of the database come with their escapes. */
        text_printable(escaped, sizeof escaped, c, 1);
        fputs(*c == '\\' ? "\\" : escaped, stderr);
    }
}

int cli_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return CLI_FAILED;
}

int cli_usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
    fprintf(stderr, " (see: hunnypot%s%s --help)\n", running == NULL ? "" : " ", running == NULL ? "" : running->name);
    return CLI_USAGE;
}

const struct cli_command *cli_running(void)
{
    return running;
}

/* Help */

static void print_help(void)
{
    puts("Usage: hunnypot [--database CONNINFO] COMMAND [OPTION...] [ARGUMENT...]\n"
         "Who was caught by the Hunnypot milter, and why.\n");
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct cli_command *command = groups[group]; command->name != NULL; command++)
            printf("  %-12s %-12s  %s\n", command->name, command->arguments, command->help);
    puts("\n`hunnypot COMMAND --help` lists the options of a command; hunnypot(1) has everything.");
}

/* How many words of ARGV name COMMAND: 0, 1 or 2. */
static int match_command(const struct cli_command *command, int argc, char **argv)
{
    const char *second = strchr(command->name, ' ');
    size_t first_length = second == NULL ? strlen(command->name) : (size_t)(second - command->name);

    if (argc < 1 || strlen(argv[0]) != first_length || strncmp(argv[0], command->name, first_length) != 0)
        return 0;
    if (second == NULL)
        return 1;
    return argc >= 2 && strcmp(argv[1], second + 1) == 0 ? 2 : 0;
}

static int run_command(struct cli *cli, int argc, char **argv)
{
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct cli_command *command = groups[group]; command->name != NULL; command++) {
            int words = match_command(command, argc, argv);

            if (words == 0)
                continue;
            running = command;
            return command->run(cli, argc - words + 1, argv + words - 1);
        }
    if (argc < 1)
        return cli_usage("which command?");
    /* The second word may be half of the name, but not an option: there may be a password in it. */
    return argc > 1 && *argv[1] != '-' ? cli_usage("no such command: %s %s", argv[0], argv[1])
                                       : cli_usage("no such command: %s", argv[0]);
}

/* The options before the command. */
static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"database", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    int got, status = CLI_OK;

    while (status == CLI_OK && (got = getopt_long(argc, argv, "+:d:hV", longs, NULL)) != -1) {
        if (got == 'd') {
            status = cli_take_database(cli, "--database", optarg);
        } else if (got == 'h') {
            print_help();
            return CLI_OK;
        } else if (got == 'V') {
            puts("hunnypot " PACKAGE_VERSION);
            return CLI_OK;
        } else {
            status = cli_bad_option(argv[optind - 1], got);
        }
    }
    return status != CLI_OK ? status : run_command(cli, argc - optind, argv + optind);
}

bool cli_output_failed(void)
{
    if (output_error == 0 && ferror(stdout))
        output_error = errno;
    return output_error != 0;
}

/* What could not be written is said here, for all commands.  A reader that went away (`| head`) has seen what it wanted. */
static int close_output(int status)
{
    if (!cli_output_failed() && fflush(stdout) != 0)
        output_error = errno;
    if (output_error == 0 || output_error == EPIPE)
        return status;
    cli_fail("standard output: %s", strerror(output_error));
    return status == CLI_OK ? CLI_FAILED : status;
}

int main(int argc, char **argv)
{
    const char *database = getenv("HUNNYPOT_DATABASE");
    struct cli cli = {.database = "", .stop_fd = -1};
    int status = database == NULL ? CLI_OK : cli_take_database(&cli, "HUNNYPOT_DATABASE", database);

    if (status == CLI_OK)
        status = run(&cli, argc, argv);

    db_close(&cli.db);
    return close_output(status);
}
