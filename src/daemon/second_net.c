#include "daemon/second_net.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings/settings.h"

#define POSTFIX_FILE "/etc/postfix/master.cf"
#define SENDMAIL_FILE "/etc/mail/sendmail.cf"

/* A service is a line that does not begin with a blank, and those that do and follow. */
struct service {
    bool ours;
    unsigned net_line; /* 0: it has no such restriction */
};

static void look_at_postfix(char *line, unsigned number, const char *tail, struct service *service)
{
    static const char net[] = "smtpd_end_of_data_restrictions=";
    const char *found;

    if (!isspace((unsigned char)*line) && *line != '#' && *line != '\0')
        *service = (struct service){0};
    if (line[strspn(line, " \t")] == '#')
        return;
    found = strstr(line, net);
    if (strstr(line, "smtpd_milters=") != NULL && strstr(line, tail) != NULL)
        service->ours = true;
    if (found != NULL && (strstr(found, "defer") != NULL || strstr(found, "reject") != NULL))
        service->net_line = number;
}

static bool postfix_has_it(FILE *file, const char *tail, char where[SECOND_NET_WHERE_SIZE])
{
    struct service service = {0};
    unsigned number = 0;
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    while (!found && getline(&line, &size, file) >= 0) {
        look_at_postfix(line, ++number, tail, &service);
        found = service.ours && service.net_line > 0;
    }
    free(line);
    snprintf(where, SECOND_NET_WHERE_SIZE, POSTFIX_FILE ":%u: take out smtpd_end_of_data_restrictions", service.net_line);
    return found;
}

static bool sendmail_has_it(FILE *file, const char *tail, char where[SECOND_NET_WHERE_SIZE])
{
    unsigned number = 0, net_line = 0;
    char *line = NULL;
    size_t size = 0;
    bool ours = false;

    while (getline(&line, &size, file) >= 0) {
        number++;
        if (strncmp(line, "Scheck_eom", 10) == 0)
            net_line = number;
        ours = ours || (*line == 'X' && strstr(line, tail) != NULL);
    }
    free(line);
    snprintf(where, SECOND_NET_WHERE_SIZE, SENDMAIL_FILE ":%u: give FEATURE(`hunnypot') its third argument, `backup'", net_line);
    return ours && net_line > 0;
}

static bool look_into(const char *path, bool (*has_it)(FILE *file, const char *tail, char *where), const char *tail,
                      char where[SECOND_NET_WHERE_SIZE])
{
    FILE *file = fopen(path, "re");
    bool found = file != NULL && has_it(file, tail, where);

    if (file != NULL)
        fclose(file);
    return found;
}

bool second_net_is_there(const char *socket, char where[SECOND_NET_WHERE_SIZE])
{
    const char *tail = settings_socket_tail(socket);

    return look_into(POSTFIX_FILE, postfix_has_it, tail, where) || look_into(SENDMAIL_FILE, sendmail_has_it, tail, where);
}
