/* main.c - the hunnypot command: finds the command that is asked for, and runs it. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command *const groups[] = {
    setup_commands,  query_commands,  status_commands,  report_commands, check_commands,
    policy_commands, manage_commands, request_commands, export_commands, witness_commands, schema_commands};

static void print_commands(void)
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

static int find_and_run(struct cli *cli, int argc, char **argv)
{
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct cli_command *command = groups[group]; command->name != NULL; command++) {
            int words = match_command(command, argc, argv);

            if (words == 0)
                continue;
            cli_begin(command);
            return command->run(cli, argc - words + 1, argv + words - 1);
        }
    if (argc < 1)
        return cli_usage("which command?");
    /* The second word may be half of the name, but not an option: there may be a password in it. */
    return argc > 1 && *argv[1] != '-' ? cli_usage("no such command: %s %s", argv[0], argv[1])
                                       : cli_usage("no such command: %s", argv[0]);
}

/* The options before the command. */
static int take_arguments(struct cli *cli, int argc, char **argv)
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
            print_commands();
            return CLI_OK;
        } else if (got == 'V') {
            puts("hunnypot " PACKAGE_VERSION);
            return CLI_OK;
        } else {
            status = cli_bad_option(argv[optind - 1], got);
        }
    }
    return status != CLI_OK ? status : find_and_run(cli, argc - optind, argv + optind);
}

int main(int argc, char **argv)
{
    const char *database = getenv("HUNNYPOT_DATABASE");
    struct cli cli = {.database = "", .stop_fd = -1};
    int status = CLI_OK;

    cli_begin(NULL);
    if (database != NULL)
        status = cli_take_database(&cli, "HUNNYPOT_DATABASE", database);
    if (status == CLI_OK)
        status = take_arguments(&cli, argc, argv);

    db_close(&cli.db);
    return cli_close_output(status);
}
