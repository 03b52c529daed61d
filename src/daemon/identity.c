#include "daemon/identity.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "base/domain.h"
#include "base/interfaces.h"
#include "base/log.h"

static void add_name(struct settings *settings, const char *name)
{
    char normalized[DOMAIN_MAX + 1];

    if (domain_normalize(name, normalized))
        settings_add_own_name(settings, normalized);
}

static void find_names(struct settings *settings)
{
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char host[256] = "";

    gethostname(host, sizeof host - 1);
    add_name(settings, host);
    if (strchr(host, '.') == NULL && getaddrinfo(host, NULL, &hints, &found) == 0) {
        if (found->ai_canonname != NULL)
            add_name(settings, found->ai_canonname);
        freeaddrinfo(found);
    }
}

static void add_address(void *settings, const struct ipaddr *address)
{
    settings_add_own_address(settings, address);
}

static void find_addresses(struct settings *settings)
{
    settings->judge.own_addresses_read = true;
    if (!interfaces_read(add_address, settings))
        log_event(LOG_LEVEL_WARNING, "interfaces-unknown error=\"%s\" effect=\"set trap_host.addresses\"",
                  strerror(errno));
}

void identity_complete(struct settings *settings)
{
    if (settings->judge.own_name_count == 0)
        find_names(settings);
    if (settings->judge.own_address_count == 0)
        find_addresses(settings);
}
