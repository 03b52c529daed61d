/* setup.c - hunnypot setup: makes this host a trap, a step after the other, each said before it is done. */

#include <ifaddrs.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/check.h"
#include "cli/setup.h"
#include "cli/shell.h"

enum { START_MS = 15000, STEP_MS = 100 };

/* What was asked for */

int setup_take_domain(struct setup_domain *domain, const char *text)
{
    static const char *const known[] = {"auto", "trap", "backup", "address"};
    char *name = alloc_format("%.*s", (int)strcspn(text, "="), text);
    const char *role = strchr(text, '=') == NULL ? "auto" : strchr(text, '=') + 1;
    bool fine = domain_normalize(name, domain->name);

    free(name);
    domain->role = NULL;
    if (!fine)
        return cli_usage("%.*s is no domain", (int)strcspn(text, "="), text);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(role, known[i]) == 0)
            domain->role = known[i];
    return domain->role != NULL ? CLI_OK : cli_usage("%s: a role is auto, trap, backup or address", text);
}

/* Those of this host that others reach. */
static void take_own_addresses(struct setup *setup)
{
    struct ifaddrs *interfaces = NULL;
    struct ipaddr address;
    char text[IPADDR_TEXT_SIZE];

    if (getifaddrs(&interfaces) != 0)
        return;
    for (const struct ifaddrs *one = interfaces; one != NULL && setup->address_count < SETUP_ADDRESSES_MAX; one = one->ifa_next)
        if (ipaddr_from_sockaddr(one->ifa_addr, &address, NULL)) {
            ipaddr_format(&address, text);
            if (strncmp(text, "127.", 4) != 0 && strcmp(text, "::1") != 0 && strncasecmp(text, "fe80:", 5) != 0)
                setup->addresses[setup->address_count++] = address;
        }
    freeifaddrs(interfaces);
}

static int take_asked(struct setup *setup, const struct setup_asked *asked)
{
    int status = CLI_OK;

    if (asked->mta == NULL || (strcmp(asked->mta, "postfix") != 0 && strcmp(asked->mta, "sendmail") != 0))
        return cli_usage("--mta is postfix or sendmail");
    setup->sendmail = strcmp(asked->mta, "sendmail") == 0;
    if (asked->dry_run + setup->apply + setup->undo > 1)
        return cli_usage("--dry-run, --apply or --undo?");
    if (setup->undo)
        return CLI_OK;
    if (asked->domains.count == 0)
        return cli_usage("which domains is this host to trap for? --domain NAME=trap, or NAME for a backup MX or A record");
    for (size_t i = 0; i < asked->domains.count && status == CLI_OK; i++)
        status = setup_take_domain(&setup->domains[setup->domain_count++], asked->domains.texts[i]);
    for (size_t i = 0; i < asked->addresses.count && status == CLI_OK; i++)
        if (i >= SETUP_ADDRESSES_MAX || !ipaddr_parse(asked->addresses.texts[i], &setup->addresses[setup->address_count++]))
            status = cli_usage("--address %s: is no address, or one too many", asked->addresses.texts[i]);
    if (setup->address_count == 0)
        take_own_addresses(setup);
    if (status == CLI_OK && setup->address_count == 0)
        status = cli_usage("this host has no address but loopback's; which is the trap's? --address");
    return status;
}

/* The settings */

static void put_quoted(FILE *stream, const char *text)
{
    fputc('"', stream);
    for (; *text != '\0'; text++)
        fprintf(stream, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('"', stream);
}

static int make_settings(const struct setup *setup, struct setup_change *change)
{
    char *body;
    size_t size;
    FILE *stream = alloc_text_begin(&body, &size);
    int status = CLI_OK;

    if (!setup->sendmail)
        fputs("socket_group = \"postfix\"\n", stream);
    fputs("database = ", stream);
    put_quoted(stream, setup->daemon_conninfo);
    fputc('\n', stream);
    for (size_t i = 0; i < setup->domain_count; i++)
        fprintf(stream, "domain \"%s\" { role = %s }\n", setup->domains[i].name, setup->domains[i].role);
    alloc_text_end(stream);
    change->new = setup_file_block(change, body, "");
    free(body);
    if (change->old != NULL && change->written == NULL && strcmp(change->old, change->new) != 0) {
        setup_file_show(change);
        status = cli_fail("%s: is there already, and setup did not write it; what it would write is above", change->path);
    } else if (change->base != NULL && *change->base != '\0') {
        /* What the operator wrote around it stays. */
        char *block = change->new;

        change->new = alloc_format("%s%s", change->base, block);
        free(block);
    }
    return status;
}

/* A word as systemd's EnvironmentFile= and the shell read it. */
static void put_environment(FILE *stream, const char *name, const char *value)
{
    fprintf(stream, "%s=\"", name);
    for (; *value != '\0'; value++)
        fprintf(stream, strchr("\"\\`$", *value) != NULL ? "\\%c" : "%c", *value);
    fputs("\"\n", stream);
}

/* Which database the units of hunnypot-operator work on, where it is not the one that they take by themselves. */
static int make_operator(const struct setup *setup, struct setup_change *change)
{
    size_t size;
    FILE *stream;

    /* A role that is named is the sensor's, and another one may expire: what is there stays. */
    if (setup->role_named || strcmp(setup->reader_conninfo, SETUP_DATABASE) == 0) {
        change->new = alloc_text(setup->role_named || change->written == NULL ? change->old : NULL);
        return CLI_OK;
    }
    stream = alloc_text_begin(&change->new, &size);
    fputs("# By hunnypot setup, for all units that run as hunnypot-operator\n", stream);
    put_environment(stream, "HUNNYPOT_DATABASE", setup->reader_conninfo);
    alloc_text_end(stream);
    if (change->old == NULL || change->written != NULL || strcmp(change->old, change->new) == 0)
        return CLI_OK;
    setup_file_show(change);
    return cli_fail("%s: is there already, and setup did not write it; what it would write is above", change->path);
}

/* The daemon */

static bool daemon_listens(void)
{
    return check_connect(SETUP_SOCKET, NULL, NULL) == 0;
}

static int start_daemon(bool changed)
{
    int64_t until_ms = clock_monotonic_ms() + START_MS;
    struct cli nobody = {.stop_fd = -1};
    int status;

    if (shell_run("hunnypot-milter --check") != 0)
        return cli_fail("hunnypot-milter does not take its settings (above)");
    if (daemon_listens() && !changed)
        return CLI_OK;
    /* A reload would leave the database as it was. */
    status = shell_run(daemon_listens() ? "systemctl restart hunnypot-milter 2>&1"
                                        : "systemctl daemon-reload && systemctl enable --now hunnypot-milter hunnypot-expire.timer"
                                          " 2>&1");
    while (status == 0 && !daemon_listens() && clock_monotonic_ms() < until_ms)
        cli_stopped_within(&nobody, STEP_MS);
    return daemon_listens() ? CLI_OK : cli_fail("the daemon does not start; journalctl -u hunnypot-milter says why");
}

/* All of it */

static int write_mta(const struct setup *setup, const struct setup_change *changes, size_t count)
{
    bool differs = false;
    int status = CLI_OK;

    for (size_t i = 0; i < count; i++)
        differs = differs || setup_file_differs(&changes[i]);
    if (!differs)
        return CLI_OK;
    for (size_t i = 0; i < count && status == CLI_OK; i++)
        status = setup_file_write(&changes[i]);
    if (status == CLI_OK && (status = setup_mta_check(setup)) != CLI_OK)
        cli_fail("%s finds fault with its configuration (above, or in its log); its files are put back as they were",
                 setup->sendmail ? "sendmail" : "Postfix");
    if (status != CLI_OK) {
        for (size_t i = count; i > 0; i--)
            setup_file_restore(&changes[i - 1]);
        if (setup->sendmail)
            free(shell_output("make -C /etc/mail 2>&1", NULL));
        return status;
    }
    return setup_mta_reload(setup);
}

static int run_final_check(const struct setup *setup)
{
    char *quoted = shell_quote(setup->reader_conninfo);
    char *command = alloc_format("%s --database %s check --config %s", setup->program, quoted, SETUP_SETTINGS);
    int status;

    if (strcmp(setup->reader_conninfo, SETUP_DATABASE) != 0)
        printf("To look, as root: export HUNNYPOT_DATABASE=%s\n", quoted);
    if (setup->role_named)
        puts("hunnypot-expire.timer and exporters want HUNNYPOT_DATABASE=..., with a role in hunnypot_operator, in " SETUP_OPERATOR);
    fputs("hunnypot check:\n", stdout);
    status = shell_run(command);
    free(command);
    free(quoted);
    return status == CHECK_PROBLEM ? CLI_FAILED : CLI_OK;
}

/* The files that setup changes: our own, and the mail server's. */
enum { OWN_SETTINGS, OWN_OPERATOR, OWN_CHANGES };
struct changes {
    struct setup_change own[OWN_CHANGES], mta[SETUP_MTA_CHANGES];
    size_t mta_count;
};

static int apply_changes(struct setup *setup, const struct changes *changes, bool changed)
{
    bool new_settings = setup_file_differs(&changes->own[OWN_SETTINGS]);
    int status = CLI_OK;

    for (size_t i = 0; i < OWN_CHANGES && status == CLI_OK; i++)
        status = setup_file_write(&changes->own[i]);
    if (status == CLI_OK && setup->sendmail)
        status = setup_file_write(&changes->mta[SETUP_MTA_UNIT]);
    if (status == CLI_OK)
        status = start_daemon(new_settings);
    if (status == CLI_OK)
        status = write_mta(setup, changes->mta, changes->mta_count);
    if (status == CLI_OK && !changed)
        puts("nothing was to be changed");
    return status == CLI_OK ? run_final_check(setup) : status;
}

static int undo_changes(const struct setup *setup, struct changes *changes)
{
    struct setup_change *settings = &changes->own[OWN_SETTINGS], *operator = &changes->own[OWN_OPERATOR];
    int status = write_mta(setup, changes->mta, changes->mta_count);

    settings->new = settings->base == NULL || *settings->base == '\0' ? NULL : alloc_text(settings->base);
    operator->new = alloc_text(operator->written == NULL ? operator->old : NULL);
    if (status == CLI_OK && shell_run("systemctl disable --now hunnypot-milter hunnypot-expire.timer 2>&1") != 0)
        status = cli_fail("systemctl disable --now hunnypot-milter failed");
    for (size_t i = 0; i < OWN_CHANGES && status == CLI_OK; i++)
        status = setup_file_write(&changes->own[i]);
    if (status == CLI_OK)
        puts("The database, its roles, passwords, the key and the spool stay.");
    return status;
}

static void show(const struct setup_change *changes, size_t count, bool *changed)
{
    for (size_t i = 0; i < count; i++) {
        setup_file_show(&changes[i]);
        *changed = *changed || setup_file_differs(&changes[i]);
    }
}

/* What would be refused is, before anything is made. */
static int prepare(struct setup *setup, struct changes *changes, bool *changed)
{
    int status = setup_mta_prepare(setup, changes->mta, &changes->mta_count);

    if (status == CLI_OK)
        status = setup_file_open(&changes->own[OWN_SETTINGS], SETUP_SETTINGS, "#");
    if (status == CLI_OK)
        status = setup_file_open(&changes->own[OWN_OPERATOR], SETUP_OPERATOR, NULL);
    if (status == CLI_OK && !setup->undo)
        status = make_settings(setup, &changes->own[OWN_SETTINGS]);
    if (status == CLI_OK && !setup->undo)
        status = make_operator(setup, &changes->own[OWN_OPERATOR]);
    if (status == CLI_OK && setup->apply && getpwnam("hunnypot") == NULL && shell_run("systemd-sysusers 2>&1") != 0)
        status = cli_fail("there is no user hunnypot, and systemd-sysusers does not make it");
    if (status == CLI_OK && !setup->undo)
        status = setup_database(setup, changed);
    if (status == CLI_OK)
        show(changes->mta, changes->mta_count, changed);
    if (status == CLI_OK && !setup->undo)
        show(changes->own, OWN_CHANGES, changed);
    return status;
}

/* *CHANGED: something was, or would be. */
static int setup_host(struct setup *setup, bool *changed)
{
    struct changes changes = {.mta_count = 0};
    int status;

    *changed = false;
    status = prepare(setup, &changes, changed);
    if (status == CLI_OK && setup->undo)
        status = undo_changes(setup, &changes);
    else if (status == CLI_OK && setup->apply)
        status = apply_changes(setup, &changes, *changed);
    else if (status == CLI_OK)
        puts(*changed ? "Nothing was changed yet; --apply does all this." : "Nothing is to be changed.");
    for (size_t i = 0; i < changes.mta_count; i++)
        setup_file_free(&changes.mta[i]);
    for (size_t i = 0; i < OWN_CHANGES; i++)
        setup_file_free(&changes.own[i]);
    return status;
}

/* Whether it was called with no option but --database, by a person at a terminal. */
static bool is_to_ask(const struct setup *setup, const struct setup_asked *asked)
{
    return asked->mta == NULL && asked->domains.count + asked->addresses.count == 0 && setup->key_file == NULL &&
           !asked->dry_run && !setup->apply && !setup->undo && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* What was asked for, or answered, is done. */
static int run_asked(struct setup *setup, struct setup_asked *asked)
{
    bool ask = is_to_ask(setup, asked), changed;
    int status = ask && geteuid() != 0 ? cli_fail("setup is for root") : CLI_OK;

    if (status == CLI_OK && ask)
        status = setup_ask(setup, asked);
    if (status == CLI_OK)
        status = take_asked(setup, asked);
    if (status == CLI_OK && geteuid() != 0)
        status = cli_fail("setup is for root");
    if (status == CLI_OK)
        status = setup_take_database(setup, setup->cli->database);
    if (status == CLI_OK && ask)
        setup_ask_print(setup, asked);
    if (status == CLI_OK)
        status = setup_host(setup, &changed);
    if (status == CLI_OK && ask && changed && setup_ask_apply()) {
        setup->apply = true;
        status = setup_host(setup, &changed);
    }
    return status;
}

static int run_setup(struct cli *cli, int argc, char **argv)
{
    struct setup_asked asked = {.mta = NULL};
    struct setup setup = {.cli = cli};
    const struct cli_option options[] = {
        {.name = "mta", .argument = "MTA", .help = "postfix or sendmail", .text = &asked.mta},
        {.name = "domain", .argument = "DOMAIN[=ROLE]", .help = "to trap for; a role is auto, trap, backup, address",
         .texts = &asked.domains},
        {.name = "address", .argument = "ADDRESS", .help = "where the trap listens (all of this host)",
         .texts = &asked.addresses},
        {.name = "key-file", .argument = "FILE", .help = "the key of envelopes of a database that has one",
         .text = &setup.key_file},
        {.name = "dry-run", .help = "only show what would be done (the default)", .flag = &asked.dry_run},
        {.name = "apply", .help = "do it", .flag = &setup.apply},
        {.name = "undo", .help = "take out what setup wrote", .flag = &setup.undo},
        {.name = NULL},
    };
    char program[PATH_MAX];
    ssize_t length;
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (first < argc)
        return cli_usage("takes no argument: %s", argv[first]);
    length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    setup.program = shell_quote(program);
    status = run_asked(&setup, &asked);
    free(setup.program);
    free(setup.conninfo);
    free(setup.daemon_conninfo);
    free(setup.reader_conninfo);
    free(asked.database);
    free(asked.line);
    free(asked.key);
    return status;
}

const struct cli_command setup_commands[] = {
    {.name = "setup", .arguments = "[--mta MTA --domain DOMAIN... [--apply]]", .help = "Make this host a trap, or --undo that",
     .run = run_setup},
    {.name = NULL},
};
