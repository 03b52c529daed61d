/* setup_ask.c - the questions of `hunnypot setup` at a terminal, each with what was found on this host as its default. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/setup.h"
#include "cli/shell.h"

/* Ask QUESTION; "" takes FOUND.  The caller frees; NULL: nobody answers. */
static char *ask(const char *question, const char *found)
{
    char *line = NULL, *word;
    size_t size = 0;
    ssize_t length;

    printf("%s%s%s%s: ", question, *found == '\0' ? "" : " [", found, *found == '\0' ? "" : "]");
    fflush(stdout);
    clearerr(stdin);
    length = getline(&line, &size, stdin);
    if (length < 0) {
        putchar('\n');
        free(line);
        return NULL;
    }
    while (length > 0 && strchr(" \t\r\n", line[length - 1]) != NULL)
        line[--length] = '\0';
    word = alloc_text(line[strspn(line, " \t")] == '\0' ? found : line + strspn(line, " \t"));
    free(line);
    return word;
}

static int nobody(void)
{
    return cli_fail("no answer; nothing was done");
}

/* What setup wrote into the settings: database, and domains with a blank between them; "" where there are none. */

static void ignore_fault(void *context, const char *line)
{
    (void)context;
    (void)line;
}

static char *domains_of(const struct settings *settings)
{
    static const char *const roles[] = {[ROLE_AUTO] = "", [ROLE_TRAP] = "=trap", [ROLE_BACKUP] = "=backup",
                                        [ROLE_ADDRESS] = "=address", [ROLE_OFF] = NULL};
    char *list;
    size_t size;
    FILE *stream = alloc_text_begin(&list, &size);

    for (size_t i = 0; settings != NULL && i < settings->judge.rule_count; i++) {
        const struct settings_rule *rule = &settings->judge.rules[i];

        if (roles[rule->role] != NULL && strchr(rule->pattern, '*') == NULL && *rule->pattern != '.')
            fprintf(stream, "%s%s%s", ftell(stream) > 0 ? " " : "", rule->pattern, roles[rule->role]);
    }
    alloc_text_end(stream);
    return list;
}

/* The questions */

static int ask_mta(struct setup_asked *asked)
{
    bool postfix = access("/etc/postfix/master.cf", F_OK) == 0, sendmail = access("/etc/mail/sendmail.mc", F_OK) == 0;

    while (asked->mta == NULL) {
        char *answer = ask("Which mail server is it to be, postfix or sendmail?",
                           postfix == sendmail ? "" : postfix ? "postfix" : "sendmail");

        if (answer == NULL)
            return nobody();
        if (strcasecmp(answer, "postfix") == 0)
            asked->mta = "postfix";
        else if (strcasecmp(answer, "sendmail") == 0)
            asked->mta = "sendmail";
        free(answer);
    }
    return CLI_OK;
}

static int ask_database(struct setup *setup, struct setup_asked *asked, const struct settings *settings)
{
    char *found = *setup->cli->database != '\0' || settings == NULL ? NULL : setup_database_given(settings->database);
    int status = CLI_USAGE;

    puts("A database on this host has only a name; one elsewhere is, for example, host=db.example.org dbname=hunnypot");
    while (status == CLI_USAGE) {
        free(asked->database);
        asked->database = ask("Which PostgreSQL database is to have the hits?", found != NULL ? found
                              : *setup->cli->database == '\0' ? "hunnypot" : setup->cli->database);
        status = asked->database == NULL ? nobody() : cli_take_database(setup->cli, "that", asked->database);
    }
    free(found);
    return status;
}

/* The words of LINE are domains, every one; they point into it. */
static int take_domains(struct setup_asked *asked, char *line)
{
    struct setup_domain ignored;
    char *rest = line, *word;
    int status = CLI_OK;

    asked->domains.count = 0;
    while ((word = strsep(&rest, ", \t")) != NULL && status == CLI_OK)
        if (*word != '\0') {
            status = asked->domains.count < CLI_TEXTS_MAX ? setup_take_domain(&ignored, word) : cli_usage("too many domains");
            if (status == CLI_OK)
                asked->domains.texts[asked->domains.count++] = word;
        }
    return status;
}

static int ask_domains(struct setup_asked *asked, const struct settings *settings)
{
    char *found = domains_of(settings);
    int status = CLI_USAGE;

    puts("NAME=trap is a domain that gets no mail at all; NAME alone one whose backup MX or A record this host is, as DNS says");
    while (status == CLI_USAGE || (status == CLI_OK && asked->domains.count == 0)) {
        free(asked->line);
        asked->line = ask("Which domains is it to trap for?", found);
        status = asked->line == NULL ? nobody() : take_domains(asked, asked->line);
    }
    free(found);
    return status;
}

static int ask_key(struct setup *setup, struct setup_asked *asked)
{
    if (access(ENVELOPE_KEY_FILE, F_OK) == 0) {
        puts("The key of envelopes is there: " ENVELOPE_KEY_FILE);
        return CLI_OK;
    }
    puts("A database that other sensors record into has a key of envelopes; this host then needs a copy of it");
    do {
        free(asked->key);
        if ((asked->key = ask("Which file is that copy? (none: this is the first sensor)", "")) == NULL)
            return nobody();
    } while (*asked->key != '\0' && access(asked->key, R_OK) != 0 &&
             cli_fail("%s: there is no such file", asked->key) != CLI_OK);
    if (*asked->key != '\0')
        setup->key_file = asked->key;
    return CLI_OK;
}

int setup_ask(struct setup *setup, struct setup_asked *asked)
{
    struct settings *settings = settings_load(SETUP_SETTINGS, ignore_fault, NULL);
    int status = ask_mta(asked);

    if (status == CLI_OK)
        status = ask_database(setup, asked, settings);
    if (status == CLI_OK)
        status = ask_domains(asked, settings);
    if (status == CLI_OK)
        status = ask_key(setup, asked);
    settings_release(settings);
    return status;
}

void setup_ask_print(const struct setup *setup, const struct setup_asked *asked)
{
    char *quoted = shell_quote(asked->database);

    printf("\nThe same without questions: hunnypot setup --mta %s --database %s", asked->mta, quoted);
    free(quoted);
    for (size_t i = 0; i < asked->domains.count; i++)
        printf(" --domain %s", asked->domains.texts[i]);
    if (setup->key_file != NULL) {
        quoted = shell_quote(setup->key_file);
        printf(" --key-file %s", quoted);
        free(quoted);
    }
    puts(" --apply\n");
}

bool setup_ask_apply(void)
{
    bool yes;
    char *answer = ask("Apply all this? yes or no", "no");

    yes = answer != NULL && (strcasecmp(answer, "yes") == 0 || strcasecmp(answer, "y") == 0);
    free(answer);
    puts(yes ? "" : "Nothing was changed.");
    return yes;
}
