/* main.c - hunnypot-milter: the command line, and what it does short of running. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/place.h"
#include "daemon/privileges.h"
#include "daemon/run.h"
#include "daemon/second_net.h"
#include "milter/prime.h"
#include "settings/settings.h"

#define SETTINGS_FILE HP_SYSCONFDIR "/hunnypot.conf"

static void report_to_stderr(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

/* What the file cannot say by itself: users, groups and folders.  Not being root, a user may be missing: it will not be needed. */
static int check(const char *shown_path, const struct settings *settings)
{
    const char *path = settings_socket_path(settings->socket);
    struct privileges_user user = {0};
    bool fine = true;
    char why[PLACE_WHY_SIZE], where[SECOND_NET_WHERE_SIZE];
    gid_t group;

    if (!privileges_find_user(settings->user, &user, why)) {
        fine = geteuid() != 0;
        fprintf(stderr, "%s: user: %s%s\n", shown_path, why, fine ? " (needed when started as root)" : "; create it");
    }
    if (*settings->socket_group != '\0' && !privileges_find_group(settings->socket_group, &group, why)) {
        fine = false;
        fprintf(stderr, "%s: socket_group: %s; create it, or name another\n", shown_path, why);
    }
    if (path != NULL && !place_check_folder(path, why)) {
        fine = false;
        fprintf(stderr, "%s: socket: %s; make that folder\n", shown_path, why);
    }
    if (!place_check_folder(settings->spool, why)) {
        fine = false;
        fprintf(stderr, "%s: spool: %s; make that folder\n", shown_path, why);
    }
    if (settings_may_take(settings) && second_net_is_there(settings->socket, where)) {
        fine = false;
        fprintf(stderr, "%s: mail may be taken (on_outage = accept, role = off), but the mail server puts it off; %s\n",
                shown_path, where);
    }
    if (fine)
        printf("%s: ok\n", shown_path);
    free(user.name);
    return fine ? EX_OK : EX_CONFIG;
}

/* Whatever it is that asks, a failure is 1: a container engine knows no other. */
static int ping(const char *socket)
{
    const char *why = prime_ping(socket);
    char *shown = text_printable_new(socket, PATH_MAX);

    if (why != NULL)
        fprintf(stderr, "%s: %s\n", shown, why);
    free(shown);
    return why == NULL ? EX_OK : EXIT_FAILURE;
}

enum mode { MODE_RUN, MODE_CHECK = 'k', MODE_PING = 'p', MODE_DUMP = 'd', MODE_SAMPLE = 's', MODE_HELP = 'h', MODE_VERSION = 'v' };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},      {"check", no_argument, NULL, MODE_CHECK},
    {"ping", no_argument, NULL, MODE_PING},        {"dump", no_argument, NULL, MODE_DUMP},
    {"sample", no_argument, NULL, MODE_SAMPLE},    {"help", no_argument, NULL, MODE_HELP},
    {"version", no_argument, NULL, MODE_VERSION},  {NULL, 0, NULL, 0},
};

static void print_usage(FILE *out)
{
    fprintf(out,
            "usage: " PROGRAM " [-c FILE] [--check | --ping | --dump | --sample]\n"
            "\n"
            "Runs in the foreground as a milter and logs to standard error.\n"
            "\n"
            "  -c, --config FILE  the settings (%s)\n"
            "      --check        say what is wrong with the settings, and end\n"
            "      --ping         ask whether the daemon that runs answers, and end\n"
            "      --dump         print the settings in force, and end\n"
            "      --sample       print a settings file with every default, and end\n"
            "      --help, --version\n"
            "\n"
            "SIGUSR1 or SIGHUP: read the settings again.  SIGTERM or SIGINT: stop.\n",
            SETTINGS_FILE);
}

static int usage(void)
{
    print_usage(stderr);
    return EX_USAGE;
}

/* Output that was asked for and could not be written is a failure. */
static int finish_output(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? EX_OK : EXIT_FAILURE;
}

/* With the settings of the file PATH. */
static int act(enum mode mode, const char *path)
{
    struct settings *settings = settings_load(path, report_to_stderr, NULL);
    char *shown_path;
    int status;

    if (settings == NULL)
        return EX_CONFIG;
    log_set_level(settings->log_level);
    shown_path = text_printable_new(path, PATH_MAX);
    if (mode == MODE_CHECK) {
        status = check(shown_path, settings);
    } else if (mode == MODE_PING) {
        status = ping(settings->socket);
    } else if (mode == MODE_DUMP) {
        settings_dump(settings, stdout);
        status = finish_output();
    } else {
        status = daemon_run(path, settings);
    }
    settings_release(settings);
    free(shown_path);
    return status;
}

/* What needs no settings. */
static int print(enum mode mode)
{
    if (mode == MODE_HELP)
        print_usage(stdout);
    else if (mode == MODE_VERSION)
        puts(PACKAGE_STRING);
    else
        settings_print_sample(stdout);
    return finish_output();
}

int main(int argc, char **argv)
{
    const char *path = SETTINGS_FILE;
    enum mode mode = MODE_RUN;
    int option;

    opterr = 0; /* getopt would repeat arguments as they are */
    while ((option = getopt_long(argc, argv, "c:", long_options, NULL)) != -1) {
        if (option == 'c')
            path = optarg;
        else if (option == '?' || mode != MODE_RUN)
            return usage();
        else
            mode = (enum mode)option;
    }
    if (optind != argc)
        return usage();
    return mode == MODE_HELP || mode == MODE_VERSION || mode == MODE_SAMPLE ? print(mode) : act(mode, path);
}
