#include "daemon/identity.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/domain.h"
#include "base/log.h"

static void add_name(struct identity *identity, const char *name)
{
    char normalized[DOMAIN_MAX + 1];

    if (!domain_normalize(name, normalized))
        return;
    identity->names = alloc_resized(identity->names, identity->name_count + 1, sizeof *identity->names);
    identity->names[identity->name_count++] = alloc_text(normalized);
}

static void find_names(struct identity *identity)
{
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char host[256] = "";

    gethostname(host, sizeof host - 1);
    add_name(identity, host);
    if (strchr(host, '.') == NULL && getaddrinfo(host, NULL, &hints, &found) == 0) {
        if (found->ai_canonname != NULL)
            add_name(identity, found->ai_canonname);
        freeaddrinfo(found);
    }
}

static void find_addresses(struct identity *identity)
{
    struct ifaddrs *interfaces = NULL;
    struct ipaddr address;

    if (getifaddrs(&interfaces) != 0) {
        log_event(LOG_LEVEL_WARNING, "interfaces-unknown error=\"%s\" effect=\"set trap_host.addresses\"",
                  strerror(errno));
        return;
    }
    for (const struct ifaddrs *interface = interfaces; interface != NULL; interface = interface->ifa_next)
        if (ipaddr_from_sockaddr(interface->ifa_addr, &address, NULL)) {
            identity->addresses =
                alloc_resized(identity->addresses, identity->address_count + 1, sizeof *identity->addresses);
            identity->addresses[identity->address_count++] = address;
        }
    freeifaddrs(interfaces);
}

void identity_complete(struct identity *identity, struct judge_config *config)
{
    *identity = (struct identity){0};
    if (config->own_name_count == 0) {
        find_names(identity);
        config->own_names = (const char *const *)identity->names;
        config->own_name_count = identity->name_count;
    }
    if (config->own_address_count == 0) {
        find_addresses(identity);
        config->own_addresses = identity->addresses;
        config->own_address_count = identity->address_count;
    }
}

void identity_clear(struct identity *identity)
{
    for (size_t i = 0; i < identity->name_count; i++)
        free(identity->names[i]);
    free(identity->names);
    free(identity->addresses);
    *identity = (struct identity){0};
}
