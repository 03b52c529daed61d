/* check_mta.c - checks of the mail server: does it ask the milter, in time, and before anything else has its say?
 *
 * Postfix is asked by postconf(1), of the configuration that MAIL_CONFIG names or the default; of sendmail the .cf is read.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/check.h"
#include "cli/shell.h"
#include "settings/settings.h"

enum { COMMAND_MIN_MS = 5000, COMMAND_MAX_MS = 60000 /* the shipped files have 10 s */ };

/* Is SOCKET, as libmilter writes it, among MILTERS? "inet:8891@localhost" is "inet:localhost:8891" to Postfix. */
static bool names_socket(const char *milters, const char *socket)
{
    const char *at = strchr(socket, '@'), *colon = strchr(socket, ':');
    char *turned;
    bool found = strstr(milters, settings_socket_tail(socket)) != NULL;

    if (found || strncmp(socket, "inet", 4) != 0 || at == NULL || colon == NULL || at < colon)
        return found;
    turned = alloc_format("%s:%.*s", at + 1, (int)(at - colon) - 1, colon + 1);
    found = strstr(milters, turned) != NULL;
    free(turned);
    return found;
}

/* Postfix */

/* All that postconf says, as "name = value" lines. */
struct postfix {
    char *main, *options; /* of main.cf; and "service/type/name = value" of master.cf */
    char *services;       /* master.cf, a line each */
};

/* The value of the line of TEXT that begins with NAME and " = "; the caller frees; NULL: none. */
static char *value_in(const char *text, const char *name)
{
    size_t length = strlen(name);

    for (; *text != '\0'; text += strcspn(text, "\n"), text += *text == '\n')
        if (strncmp(text, name, length) == 0 && strncmp(text + length, " =", 2) == 0) {
            const char *value = text + length + 2;

            value += strspn(value, " ");
            return alloc_format("%.*s", (int)strcspn(value, "\n"), value);
        }
    return NULL;
}

/* NAME as SERVICE ("smtp/inet") has it; the caller frees. */
static char *value_of(const struct postfix *postfix, const char *service, const char *name)
{
    char *title = alloc_format("%s/%s", service, name), *value = value_in(postfix->options, title);

    free(title);
    if (value == NULL)
        value = value_in(postfix->main, name);
    return value == NULL ? alloc_text("") : value;
}

static int64_t duration_of(const struct postfix *postfix, const char *service, const char *name)
{
    char *value = value_of(postfix, service, name);
    long long ms = text_duration_ms(value);

    free(value);
    return ms;
}

/* -1: it is none. */
static int64_t number_in(const char *text)
{
    return *text != '\0' && strspn(text, "0123456789") == strlen(text) ? strtoll(text, NULL, 10) : -1;
}

static int64_t number_of(const struct postfix *postfix, const char *service, const char *name)
{
    char *value = value_of(postfix, service, name);
    int64_t number = number_in(value);

    free(value);
    return number;
}

/* What on SERVICE may refuse a client before the milter has seen a whole transaction. */
static char *early_of(const struct postfix *postfix, const char *service)
{
    static const char *const lists[] = {"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
                                        "smtpd_recipient_restrictions", "smtpd_data_restrictions"};
    char *early = alloc_text("");

    for (size_t i = 0; i <= sizeof lists / sizeof *lists; i++) {
        bool last = i == sizeof lists / sizeof *lists;
        const char *name = last ? "smtpd_forbid_unauth_pipelining" : lists[i];
        char *value = value_of(postfix, service, name), *more;

        if (last ? strcmp(value, "yes") == 0 : strstr(value, "reject") != NULL || strstr(value, "check_") != NULL) {
            more = alloc_format("%s%s%s", early, *early == '\0' ? "" : ", ", name);
            free(early);
            early = more;
        }
        free(value);
    }
    return early;
}

static void add_service(struct check_mta *mta, const struct check_service *service)
{
    mta->services = alloc_resized(mta->services, mta->service_count + 1, sizeof *mta->services);
    mta->services[mta->service_count++] = *service;
}

/* One line of master.cf: an smtpd that listens, or has what postscreen lets through. */
static void gather_service(struct check_mta *mta, const struct postfix *postfix, const char *line, const char *socket)
{
    char name[128], kind[16], chrooted[8], most[16], program[64], *title;
    struct check_service service = {.command_ms = -1};

    if (sscanf(line, "%127s %15s %*s %*s %7s %*s %15s %63s", name, kind, chrooted, most, program) != 5)
        return;
    if (strcmp(program, "postscreen") == 0 && mta->screen == NULL)
        mta->screen = alloc_format("%s/%s", name, kind);
    if (strcmp(program, "smtpd") != 0 || (strcmp(kind, "inet") != 0 && strcmp(kind, "pass") != 0))
        return;
    title = alloc_format("%s/%s", name, kind);
    service.where = alloc_format("%s in master.cf", title);
    service.milters = value_of(postfix, title, "smtpd_milters");
    service.action = value_of(postfix, title, "milter_default_action");
    service.command_ms = duration_of(postfix, title, "milter_command_timeout");
    service.early = early_of(postfix, title);
    service.connections = *most == '-' ? number_of(postfix, title, "default_process_limit") : number_in(most);
    service.per_client = number_of(postfix, title, "smtpd_client_connection_count_limit");
    service.idle_ms = duration_of(postfix, title, "smtpd_timeout");
    service.screened = strcmp(kind, "pass") == 0;
    service.ours = names_socket(service.milters, socket);
    service.chrooted = *chrooted == 'y';
    if (service.ours && mta->relay_domains == NULL) {
        char *rewriting = value_of(postfix, title, "rewrite_service_name"), *unix_name = alloc_format("%s/unix", rewriting);

        mta->relay_domains = value_of(postfix, unix_name, "relay_domains");
        free(unix_name);
        free(rewriting);
    }
    free(title);
    add_service(mta, &service);
}

static bool gather_postfix(struct check_mta *mta, const char *socket)
{
    struct postfix postfix = {.main = shell_output("postconf -x 2>/dev/null", NULL)};
    char *parts[3], *version = value_in(postfix.main, "mail_version");
    const char *line;

    if (version == NULL) {
        free(postfix.main);
        return false;
    }
    free(version);
    postfix.options = shell_output("postconf -Px 2>/dev/null", NULL);
    postfix.services = shell_output("postconf -M 2>/dev/null", NULL);
    mta->name = "postfix";
    mta->file = value_in(postfix.main, "config_directory");
    mta->user = value_in(postfix.main, "mail_owner");
    mta->queue_directory = value_in(postfix.main, "queue_directory");
    for (line = postfix.services; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n')
        gather_service(mta, &postfix, line, socket);
    if (mta->relay_domains == NULL)
        mta->relay_domains = value_of(&postfix, "", "relay_domains");
    parts[0] = value_of(&postfix, "", "mydestination");
    parts[1] = value_of(&postfix, "", "virtual_mailbox_domains");
    parts[2] = value_of(&postfix, "", "virtual_alias_domains");
    mta->delivered = alloc_format("%s %s %s", parts[0], parts[1], parts[2]);
    for (size_t i = 0; i < 3; i++)
        free(parts[i]);
    free(postfix.main);
    free(postfix.options);
    free(postfix.services);
    return true;
}

/* sendmail */

/* "Xname, S=..., F=T, T=C:5s;S:10s;R:10s;E:10s" */
static void gather_filter(struct check_mta *mta, const char *line, unsigned number, const char *socket)
{
    const char *place = strstr(line, "S="), *action = strstr(line, "F="), *times = strstr(line, "T=");
    const char *reading = times == NULL ? NULL : strstr(times, "R:");
    char *duration;
    struct check_service service = {
        .command_ms = -1, .connections = -1, .per_client = -1, .idle_ms = -1, .early = alloc_text("")};

    service.where = alloc_format("%s:%u", mta->file, number);
    service.name = alloc_format("%.*s", (int)strcspn(line + 1, ", \t"), line + 1);
    service.milters = place == NULL ? alloc_text("") : alloc_format("%.*s", (int)strcspn(place + 2, ", \t"), place + 2);
    service.action = action != NULL && strncmp(action, "F=T", 3) == 0 ? alloc_text("tempfail")
                     : action != NULL && strncmp(action, "F=R", 3) == 0 ? alloc_text("reject") : alloc_text("accept");
    if (reading != NULL) {
        duration = alloc_format("%.*s", (int)strcspn(reading + 2, "; ,\n"), reading + 2);
        service.command_ms = text_duration_ms(duration);
        free(duration);
    }
    service.ours = names_socket(service.milters, socket);
    add_service(mta, &service);
}

/* Behind NAME in LINE; NULL: it is not there. */
static char *word_behind(const char *line, const char *name)
{
    const char *at = strstr(line, name);

    return at == NULL ? NULL : alloc_format("%.*s", (int)strcspn(at + strlen(name), " \t\n"), at + strlen(name));
}

/* Limits are of all daemons; how many connections a client may have is in the rule of FEATURE(hunnypot). */
static void gather_limits(struct check_mta *mta, const char *line)
{
    char *most = word_behind(line, "O MaxDaemonChildren="), *idle = word_behind(line, "O Timeout.command=");
    char *client = word_behind(line, "$(hunnypot_count l $@ ");

    for (size_t i = 0; i < mta->service_count; i++) {
        if (most != NULL)
            mta->services[i].connections = number_in(most);
        if (idle != NULL)
            mta->services[i].idle_ms = text_duration_ms(idle);
        if (client != NULL)
            mta->services[i].per_client = number_in(client);
    }
    free(most);
    free(idle);
    free(client);
}

/* A filter counts only where InputMailFilters asks it. */
static void gather_asked(struct check_mta *mta, const char *line)
{
    const char *asked = strstr(line, "InputMailFilters=");

    for (size_t i = 0; asked != NULL && i < mta->service_count; i++) {
        mta->services[i].asked = mta->services[i].asked || strstr(asked, mta->services[i].name) != NULL;
    }
}

static bool gather_sendmail(struct check_mta *mta, const char *path, const char *socket)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;

    if (file == NULL)
        return false;
    mta->name = "sendmail";
    mta->file = alloc_text(path);
    for (unsigned number = 1; getline(&line, &size, file) >= 0; number++)
        if (*line == 'X')
            gather_filter(mta, line, number, socket);
        else if (strncmp(line, "Sgreet_pause", 12) == 0 && mta->screen == NULL)
            mta->screen = alloc_text("greet_pause");
    rewind(file);
    while (getline(&line, &size, file) >= 0) {
        if (*line == 'O')
            gather_asked(mta, line);
        gather_limits(mta, line);
    }
    for (size_t i = 0; i < mta->service_count; i++)
        mta->services[i].ours = mta->services[i].ours && mta->services[i].asked;
    free(line);
    fclose(file);
    return true;
}

static void forget_server(struct check_mta *mta)
{
    check_free_mta(mta);
    *mta = (struct check_mta){.connect_error = CHECK_NOT_TRIED};
}

static const struct check_service *our_service(const struct check_mta *mta)
{
    for (size_t i = 0; i < mta->service_count; i++)
        if (mta->services[i].ours)
            return &mta->services[i];
    return NULL;
}

/* Both may be installed: the one that has our milter counts, else the first. */
void check_gather_mta(struct check_facts *facts, const char *sendmail_cf)
{
    struct check_mta *mta = &facts->mta;
    const struct check_service *ours;
    const char *path = facts->host.socket_path;

    mta->connect_error = CHECK_NOT_TRIED;
    if (facts->host.settings == NULL)
        return;
    if (gather_postfix(mta, facts->host.settings->socket) && our_service(mta) == NULL && access(sendmail_cf, R_OK) == 0)
        forget_server(mta);
    if (mta->name == NULL && !gather_sendmail(mta, sendmail_cf, facts->host.settings->socket))
        return;
    ours = our_service(mta);
    if (ours == NULL || path == NULL || facts->host.connect_error != 0 || geteuid() != 0 || mta->user == NULL)
        return;
    if (ours->chrooted) {
        size_t length = strlen(mta->queue_directory);

        path = strncmp(path, mta->queue_directory, length) == 0 && path[length] == '/' ? path + length : path;
    }
    mta->connect_error = check_connect(path, ours->chrooted ? mta->queue_directory : NULL, mta->user);
}

void check_free_mta(struct check_mta *mta)
{
    for (size_t i = 0; i < mta->service_count; i++) {
        free(mta->services[i].where);
        free(mta->services[i].name);
        free(mta->services[i].milters);
        free(mta->services[i].action);
        free(mta->services[i].early);
    }
    free(mta->services);
    free(mta->file);
    free(mta->user);
    free(mta->queue_directory);
    free(mta->relay_domains);
    free(mta->delivered);
    free(mta->screen);
}

/* The checks */

static void check_named(const struct check_facts *facts, struct check_report *report)
{
    const struct check_mta *mta = &facts->mta;
    const struct check_service *ours = our_service(mta);

    if (facts->host.settings == NULL)
        return;
    if (mta->name == NULL)
        check_say(report, CHECK_UNKNOWN, "run this on the trap host; --sendmail-cf names another file",
                  "neither Postfix nor a sendmail.cf was found");
    else if (ours != NULL)
        check_say(report, CHECK_OK, NULL, "%s asks the milter: %s", mta->name, ours->where);
    else if (strcmp(mta->name, "postfix") == 0)
        check_say(report, CHECK_PROBLEM, "add the service of postfix/master.cf, then: postfix reload",
                  "no smtpd has %s in smtpd_milters, by %s", facts->host.settings->socket, mta->file);
    else
        check_say(report, CHECK_PROBLEM, "add FEATURE(`hunnypot') and InputMailFilters=hunnypot, then make and restart",
                  "no daemon of %s asks a filter at %s", mta->file, facts->host.settings->socket);
}

static void check_reachable(const struct check_facts *facts, struct check_report *report)
{
    const struct check_mta *mta = &facts->mta;
    const struct check_service *ours = our_service(mta);

    if (ours == NULL || facts->host.socket_path == NULL || facts->host.connect_error != 0 || mta->user == NULL)
        return;
    if (mta->connect_error == CHECK_NOT_TRIED)
        check_say(report, CHECK_UNKNOWN, "run this as root", "whether %s reaches %s was not tried", mta->user,
                  facts->host.socket_path);
    else if (mta->connect_error != 0 && ours->chrooted)
        check_say(report, CHECK_PROBLEM, "put an n into the chroot column of that service, or the socket below the queue folder",
                  "%s runs in the chroot %s, from where %s is not reached: %s", ours->where, mta->queue_directory,
                  facts->host.socket_path, strerror(mta->connect_error));
    else if (mta->connect_error != 0)
        check_say(report, CHECK_PROBLEM, "name a group of that user as socket_group, and restart the daemon",
                  "the user %s does not reach %s: %s", mta->user, facts->host.socket_path, strerror(mta->connect_error));
    else
        check_say(report, CHECK_OK, NULL, "the user %s reaches %s", mta->user, facts->host.socket_path);
}

static void check_action(const struct check_facts *facts, struct check_report *report)
{
    const struct check_mta *mta = &facts->mta;

    for (size_t i = 0; i < mta->service_count; i++)
        if (mta->services[i].ours && strcmp(mta->services[i].action, "tempfail") != 0)
            check_say(report, CHECK_PROBLEM, "set milter_default_action=tempfail (sendmail: F=T) there",
                      "%s does \"%s\" with mail while the daemon is away", mta->services[i].where, mta->services[i].action);
}

static void check_timeouts(const struct check_facts *facts, struct check_report *report)
{
    const struct check_mta *mta = &facts->mta;

    for (size_t i = 0; i < mta->service_count; i++) {
        const struct check_service *service = &mta->services[i];

        if (!service->ours || service->command_ms < 0)
            continue;
        if (service->command_ms < COMMAND_MIN_MS)
            check_say(report, CHECK_WARNING, "set milter_command_timeout (sendmail: T=R:) to 10s there",
                      "%s gives the milter only %lld ms for an answer, and a disk may take longer to write a hit", service->where,
                      (long long)service->command_ms);
        else if (service->command_ms > COMMAND_MAX_MS)
            check_say(report, CHECK_WARNING, "set milter_command_timeout (sendmail: T=R:) to 10s there",
                      "%s waits %lld s for a daemon that hangs, and so do its clients", service->where,
                      (long long)service->command_ms / 1000);
    }
}

static void check_limits(const struct check_facts *facts, struct check_report *report)
{
    static const char cure[] = "make both the same; postfix/master.cf and hunnypot.m4 have what goes with the defaults";
    const struct settings *settings = facts->host.settings;

    for (size_t i = 0; i < facts->mta.service_count; i++) {
        const struct check_service *service = &facts->mta.services[i];

        if (!service->ours || settings == NULL)
            continue;
        if (service->connections > 0 && service->connections < (int64_t)settings->session.connections)
            check_say(report, CHECK_WARNING, cure, "%s lets %lld clients in at once, and limits.connections is %u",
                      service->where, (long long)service->connections, settings->session.connections);
        if (service->per_client > 0 && service->per_client < (int64_t)settings->session.connections_per_client)
            check_say(report, CHECK_WARNING, cure, "%s lets a client have %lld connections, and limits.connections_per_client is %u",
                      service->where, (long long)service->per_client, settings->session.connections_per_client);
        if (settings->session.idle_ms > 0 && service->idle_ms > settings->session.idle_ms)
            check_say(report, CHECK_WARNING, cure, "%s holds a place %lld s for a client that says nothing, and limits.idle is %lld s",
                      service->where, (long long)service->idle_ms / 1000, (long long)settings->session.idle_ms / 1000);
    }
}

static void check_early(const struct check_facts *facts, struct check_report *report)
{
    const struct check_mta *mta = &facts->mta;

    for (size_t i = 0; i < mta->service_count; i++) {
        const struct check_service *service = &mta->services[i];

        if (!service->ours)
            continue;
        if (*service->early != '\0')
            check_say(report, CHECK_WARNING, "take these off that service, as postfix/master.cf does",
                      "%s may refuse clients before the milter counts them: %s", service->where, service->early);
        if (service->screened && mta->screen != NULL)
            check_say(report, CHECK_WARNING, "give the trap's address a service of its own, without postscreen",
                      "postscreen (%s) stands before %s", mta->screen, service->where);
        if (strcmp(mta->name, "postfix") == 0 && strpbrk(service->milters, ", \t") != NULL &&
            *service->milters != '{')
            check_say(report, CHECK_WARNING, "leave only this milter on the trap's service",
                      "%s asks other milters too: %s", service->where, service->milters);
        if (strcmp(mta->name, "sendmail") == 0 && mta->screen != NULL)
            check_say(report, CHECK_WARNING, "take FEATURE(`greet_pause') out of the .mc",
                      "%s: greet_pause turns early talkers away before the milter sees them", mta->file);
    }
}

const struct check check_mta_table[] = {
    {"mail server", check_named},     {"mail server's user", check_reachable}, {"default action", check_action},
    {"timeouts", check_timeouts},     {"limits", check_limits},
    {"early refusals", check_early},  {NULL, NULL},
};
