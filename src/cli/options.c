#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/conninfo.h"
#include "cli/cli.h"

static const struct cli_option common_options[] = {
    {.name = "database", .letter = 'd', .argument = "CONNINFO", .help = "the database: \"host=... dbname=...\" or a URI"},
    {.name = "help", .letter = 'h', .help = "this text"},
    {.name = NULL},
};

static void print_option(const struct cli_option *option)
{
    char left[40];

    if (option->letter != 0)
        snprintf(left, sizeof left, "-%c, --%s %s", option->letter, option->name,
                 option->argument == NULL ? "" : option->argument);
    else
        snprintf(left, sizeof left, "    --%s %s", option->name, option->argument == NULL ? "" : option->argument);
    printf("  %-28s  %s\n", left, option->help);
}

static void print_options(const struct cli_option *options)
{
    const struct cli_command *running = cli_running();

    printf("Usage: hunnypot %s [OPTION...]%s%s\n%s.\n\n", running->name, *running->arguments == '\0' ? "" : " ",
           running->arguments, running->help);
    for (; options->name != NULL; options++)
        print_option(options);
    for (options = common_options; options->name != NULL; options++)
        print_option(options);
}

static int take_option(const struct cli_option *option, const char *value)
{
    if (option->flag != NULL) {
        *option->flag = true;
    } else if (option->text != NULL) {
        *option->text = value;
    } else if (option->texts->count < CLI_TEXTS_MAX) {
        option->texts->texts[option->texts->count++] = value;
    } else {
        return cli_usage("--%s was given more than %d times", option->name, CLI_TEXTS_MAX);
    }
    return CLI_OK;
}

bool cli_is_number(const char *text, size_t digits_max)
{
    return *text != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) <= digits_max;
}

int cli_take_database(struct cli *cli, const char *name, const char *conninfo)
{
    const char *fault = conninfo_fault(conninfo);

    if (fault != NULL)
        return cli_usage("%s %s; it takes a libpq connection string or URI, without the password, which others"
                         " could read there: use ~/.pgpass", name, fault);
    cli->database = conninfo;
    return CLI_OK;
}

int cli_bad_option(const char *argument, int got)
{
    const char *what = got == ':' ? "needs a value" : "no such option";

    if (optopt > 0 && optopt <= UCHAR_MAX)
        return cli_usage("-%c: %s", optopt, what);
    /* Behind the name there may be a password. */
    return cli_usage("%.*s: %s", (int)strcspn(argument, "="), argument, what);
}

enum { OPTIONS_MAX = 20, FIRST_LONG = 256 /* above all letters */ };

/* getopt_long's view of OPTIONS and the common ones; what it returns for each is FIRST_LONG and the index here. */
static size_t join_options(const struct cli_option *options, const struct cli_option *all[OPTIONS_MAX],
                           struct option longs[OPTIONS_MAX], char shorts[OPTIONS_MAX * 2 + 2])
{
    size_t count = 0, used = strlen(shorts);

    for (const struct cli_option *from = options; from != NULL; from = from == options ? common_options : NULL)
        for (const struct cli_option *option = from; option->name != NULL; option++) {
            bool takes = option->argument != NULL;

            longs[count] = (struct option){.name = option->name,
                                           .has_arg = takes ? required_argument : no_argument,
                                           .val = (int)count + FIRST_LONG};
            if (option->letter != 0) {
                shorts[used++] = option->letter;
                if (takes)
                    shorts[used++] = ':';
            }
            all[count++] = option;
        }
    return count;
}

static const struct cli_option *find_option(const struct cli_option *const *all, size_t count, int got)
{
    for (size_t i = 0; i < count; i++)
        if (got == (int)i + FIRST_LONG || got == all[i]->letter)
            return all[i];
    return NULL;
}

int cli_options(struct cli *cli, int argc, char **argv, const struct cli_option *options, int *status)
{
    const struct cli_option *all[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX] = {{.name = NULL}};
    char shorts[OPTIONS_MAX * 2 + 2] = ":";
    size_t count = join_options(options, all, longs, shorts);
    int got;

    optind = 0;
    while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const struct cli_option *option = find_option(all, count, got);

        *status = CLI_OK;
        if (option == NULL)
            *status = cli_bad_option(argv[optind - 1], got);
        else if (strcmp(option->name, "database") == 0)
            *status = cli_take_database(cli, "--database", optarg);
        else if (strcmp(option->name, "help") != 0)
            *status = take_option(option, optarg);
        else
            print_options(options);
        if (*status != CLI_OK || (option != NULL && strcmp(option->name, "help") == 0))
            return -1;
    }
    return optind;
}
