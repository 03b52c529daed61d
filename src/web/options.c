#include "web/options.h"

#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/conninfo.h"
#include "base/text.h"

#define PROGRAM "hunnypot-web"

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage(const char *format, ...)
{
    char line[LINE_MAX], *said;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    said = text_printable_new(line, LINE_MAX);
    fprintf(stderr, PROGRAM ": %s (see: " PROGRAM " --help)\n", said);
    free(said);
    return EX_USAGE;
}

static int print_help(void)
{
    puts("usage: " PROGRAM " --private ADDRESS [OPTION...]\n"
         "Pages and figures of what the Hunnypot milter caught.\n"
         "\n"
         "      --private ADDRESS   the pages for you: unix:PATH, 127.0.0.1:PORT or [::1]:PORT\n"
         "  -d, --database CONNINFO their database: a URI, or \"host=... dbname=...\" (also: HUNNYPOT_DATABASE)\n"
         "  -h, --help\n"
         "  -V, --version\n"
         "\n"
         "Runs in the foreground and logs to standard error.  SIGTERM or SIGINT: stop.");
    return fflush(stdout) == 0 && !ferror(stdout) ? EX_OK : EXIT_FAILURE;
}

static int take_private(struct web_options *options, const char *text)
{
    if (options->private_text != NULL)
        return usage("--private: only once");
    if (!place_read(text, &options->private_place))
        return usage("--private: unix:PATH, 127.0.0.1:PORT or [::1]:PORT, not %s", text);
    if (!place_is_local(&options->private_place))
        return usage("--private: %s can be reached from elsewhere, and these pages are not for everybody; take unix:PATH,"
                     " 127.0.0.1:PORT or [::1]:PORT", text);
    options->private_text = text;
    return OPTIONS_GO_ON;
}

static int take_database(const char *name, const char *conninfo, const char **database)
{
    const char *fault = conninfo_fault(conninfo);

    if (fault != NULL)
        return usage("%s %s; it takes a libpq connection string or URI, without the password, which others could read there:"
                     " use a password file", name, fault);
    *database = conninfo;
    return OPTIONS_GO_ON;
}

static int take_option(struct web_options *options, int option, const char *argument)
{
    switch (option) {
    case 'p':
        return take_private(options, optarg);
    case 'd':
        return take_database("--database", optarg, &options->database);
    case 'h':
        return print_help();
    case 'V':
        puts(PROGRAM " " PACKAGE_VERSION);
        return EX_OK;
    default:
        /* Behind a name there may be a password. */
        return usage("%.*s: %s", (int)strcspn(argument, "="), argument, option == ':' ? "needs a value" : "no such option");
    }
}

int options_read(int argc, char **argv, struct web_options *options)
{
    static const struct option longs[] = {
        {"private", required_argument, NULL, 'p'}, {"database", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},          {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0}};
    const char *database = getenv("HUNNYPOT_DATABASE");
    int option, status = OPTIONS_GO_ON;

    *options = (struct web_options){.database = ""};
    opterr = 0;
    if (database != NULL)
        status = take_database("HUNNYPOT_DATABASE", database, &options->database);
    while (status == OPTIONS_GO_ON && (option = getopt_long(argc, argv, "+:d:hV", longs, NULL)) != -1)
        status = take_option(options, option, argv[optind - 1]);
    if (status != OPTIONS_GO_ON)
        return status;
    if (optind != argc)
        return usage("takes no argument");
    if (options->private_text == NULL)
        return usage("where to listen? --private");
    return OPTIONS_GO_ON;
}
