/* check.c - hunnypot check: gathers, has each check look, and prints what was found. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/check.h"

enum { FINDING_MAX = 1000 };

static const char *const level_names[] = {"ok", "warning", "problem", "unknown"};

void check_say(struct check_report *report, enum check_level level, const char *cure, const char *format, ...)
{
    struct check_finding finding = {.level = level, .check = report->check, .cure = cure};
    va_list arguments;
    char *text = NULL;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    finding.what = text_printable_new(text, FINDING_MAX);
    free(text);
    report->findings = alloc_resized(report->findings, report->count + 1, sizeof *report->findings);
    report->findings[report->count++] = finding;
}

static void look(const struct check *table, const struct check_facts *facts, struct check_report *report)
{
    for (; table->name != NULL; table++) {
        report->check = table->name;
        table->look(facts, report);
    }
}

/* TEXT is printable ASCII. */
static void print_json_text(const char *text)
{
    putchar('"');
    for (; text != NULL && *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void report_print_json(const struct check_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct check_finding *finding = &report->findings[i];

        printf("%s{\"level\": \"%s\", \"check\": \"%s\", \"finding\": ", i == 0 ? "[" : ",\n ", level_names[finding->level],
               finding->check);
        print_json_text(finding->what);
        fputs(", \"cure\": ", stdout);
        if (finding->cure == NULL)
            fputs("null", stdout);
        else
            print_json_text(finding->cure);
        putchar('}');
    }
    puts("]");
}

static void print_lines(const struct check_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct check_finding *finding = &report->findings[i];

        printf("%-7s  %s: %s%s%s\n", level_names[finding->level], finding->check, finding->what,
               finding->cure == NULL ? "" : "; ", finding->cure == NULL ? "" : finding->cure);
    }
}

/* Problem before warning before unknown before ok. */
static int worst(const struct check_report *report)
{
    static const int ranks[] = {[CHECK_OK] = 0, [CHECK_UNKNOWN] = 1, [CHECK_WARNING] = 2, [CHECK_PROBLEM] = 3};
    enum check_level level = CHECK_OK;

    for (size_t i = 0; i < report->count; i++)
        if (ranks[report->findings[i].level] > ranks[level])
            level = report->findings[i].level;
    return (int)level;
}

static int check_and_print(struct check_facts *facts, bool json)
{
    struct check_report report = {.count = 0};
    int status;

    look(check_host_table, facts, &report);
    look(check_mta_table, facts, &report);
    look(check_domain_table, facts, &report);
    look(check_database_table, facts, &report);
    if (json)
        report_print_json(&report);
    else
        print_lines(&report);
    status = worst(&report);
    for (size_t i = 0; i < report.count; i++)
        free(report.findings[i].what);
    free(report.findings);
    return status;
}

static int run_check(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "table", *path = HP_SYSCONFDIR "/hunnypot.conf", *sendmail_cf = "/etc/mail/sendmail.cf";
    struct check_facts facts = {.probe = false};
    const struct cli_option options[] = {
        {.name = "format", .argument = "FORMAT", .help = "table (default), a line each, or json", .text = &format_name},
        {.name = "config", .letter = 'c', .argument = "FILE", .help = "the settings of the daemon", .text = &path},
        {.name = "sendmail-cf", .argument = "FILE", .help = "sendmail's configuration", .text = &sendmail_cf},
        {.name = "probe", .help = "probe the primaries too, as the daemon does", .flag = &facts.probe},
        {.name = NULL},
    };
    char normalized[DOMAIN_MAX + 1];
    int status, first = cli_options(cli, argc, argv, options, &status);

    if (first < 0)
        return status;
    if (strcmp(format_name, "table") != 0 && strcmp(format_name, "json") != 0)
        return cli_usage("--format is table or json, not %s", format_name);
    for (int i = first; i < argc; i++)
        if (!domain_normalize(argv[i], normalized))
            return cli_usage("%s is no domain", argv[i]);
    check_gather_host(&facts, path);
    check_gather_mta(&facts, sendmail_cf);
    check_gather_domains(&facts, argv + first, (size_t)(argc - first));
    check_gather_database(&facts, cli);
    status = check_and_print(&facts, strcmp(format_name, "json") == 0);
    check_free_database(&facts.database);
    free(facts.domains);
    check_free_mta(&facts.mta);
    check_free_host(&facts.host);
    return status;
}

const struct cli_command check_commands[] = {
    {.name = "check", .arguments = "[DOMAIN...]", .help = "Say what is wrong around the daemon, and how to mend it",
     .run = run_check},
    {.name = NULL},
};
