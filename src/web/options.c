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
#include "web/rate.h"

#define PROGRAM "hunnypot-web"

enum { RATE_DEFAULT = 60 };

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
    puts("usage: " PROGRAM " [--private ADDRESS] [--public ADDRESS] [OPTION...]\n"
         "Pages and figures of what the Hunnypot milter caught, and a door for those who are listed.\n"
         "\n"
         "      --private ADDRESS          the pages for you: unix:PATH, 127.0.0.1:PORT or [::1]:PORT\n"
         "      --public ADDRESS           the door, for everybody: unix:PATH, ADDRESS:PORT or [ADDRESS]:PORT\n"
         "  -d, --database CONNINFO        the database: a URI, or \"host=... dbname=...\" (also: HUNNYPOT_DATABASE)\n"
         "      --door-database CONNINFO   that of the door (the same)\n"
         "      --trusted-proxy NETWORK    a server in front of the door, or unix: whom it asks for is in X-Forwarded-For\n"
         "      --rate N                   requests a minute that a client may make at the door (60; 0: any number)\n"
         "  -h, --help\n"
         "  -V, --version\n"
         "\n"
         "Runs in the foreground and logs to standard error.  SIGTERM or SIGINT: stop.");
    return fflush(stdout) == 0 && !ferror(stdout) ? EX_OK : EXIT_FAILURE;
}

static int take_place(const char *name, const char *text, struct web_place *place)
{
    if (place->text != NULL)
        return usage("%s: only once", name);
    if (!place_read(text, &place->place))
        return usage("%s: unix:PATH, 192.0.2.1:PORT or [2001:db8::1]:PORT, not %s", name, text);
    place->text = text;
    return OPTIONS_GO_ON;
}

static int take_private(struct web_options *options, const char *text)
{
    int status = take_place("--private", text, &options->for_us);

    if (status == OPTIONS_GO_ON && !place_is_local(&options->for_us.place))
        return usage("--private: %s can be reached from elsewhere, and these pages are not for everybody; take unix:PATH,"
                     " 127.0.0.1:PORT or [::1]:PORT", text);
    return status;
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

static int take_proxy(struct web_options *options, const char *text)
{
    if (strcmp(text, "unix") == 0) {
        options->trust_unix = true;
        return OPTIONS_GO_ON;
    }
    if (options->proxy_count == OPTIONS_PROXIES_MAX)
        return usage("--trusted-proxy: at most %d times", OPTIONS_PROXIES_MAX);
    if (!ipnet_parse(text, &options->proxies[options->proxy_count++]))
        return usage("--trusted-proxy: an address, a network or unix, not %s", text);
    return OPTIONS_GO_ON;
}

static int take_rate(struct web_options *options, const char *text)
{
    char *end;
    unsigned long rate = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || rate > RATE_MAX)
        return usage("--rate: a number up to %d, not %s", RATE_MAX, text);
    options->rate = (unsigned)rate;
    return OPTIONS_GO_ON;
}

static int take_option(struct web_options *options, int option, const char *argument)
{
    switch (option) {
    case 'p':
        return take_private(options, optarg);
    case 'P':
        return take_place("--public", optarg, &options->for_all);
    case 'd':
        return take_database("--database", optarg, &options->for_us.database);
    case 'D':
        return take_database("--door-database", optarg, &options->for_all.database);
    case 't':
        return take_proxy(options, optarg);
    case 'r':
        return take_rate(options, optarg);
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

/* What all options together lack. */
static int complete(struct web_options *options)
{
    if (options->for_us.text == NULL && options->for_all.text == NULL)
        return usage("where to listen? --private, --public");
    if (options->for_us.database == NULL)
        options->for_us.database = "";
    if (options->for_all.database == NULL)
        options->for_all.database = options->for_us.database;
    return OPTIONS_GO_ON;
}

int options_read(int argc, char **argv, struct web_options *options)
{
    static const struct option longs[] = {
        {"private", required_argument, NULL, 'p'},       {"public", required_argument, NULL, 'P'},
        {"database", required_argument, NULL, 'd'},      {"door-database", required_argument, NULL, 'D'},
        {"trusted-proxy", required_argument, NULL, 't'}, {"rate", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},                {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0}};
    const char *database = getenv("HUNNYPOT_DATABASE");
    int option, status = OPTIONS_GO_ON;

    *options = (struct web_options){.rate = RATE_DEFAULT};
    opterr = 0;
    if (database != NULL)
        status = take_database("HUNNYPOT_DATABASE", database, &options->for_us.database);
    while (status == OPTIONS_GO_ON && (option = getopt_long(argc, argv, "+:d:hV", longs, NULL)) != -1)
        status = take_option(options, option, argv[optind - 1]);
    if (status != OPTIONS_GO_ON)
        return status;
    return optind == argc ? complete(options) : usage("takes no argument");
}

bool options_trust(const struct web_options *options, const struct ipaddr *peer)
{
    if (peer->family == 0)
        return options->trust_unix;
    for (size_t i = 0; i < options->proxy_count; i++)
        if (ipnet_contains(&options->proxies[i], peer))
            return true;
    return false;
}
