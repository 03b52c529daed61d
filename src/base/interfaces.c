#include "base/interfaces.h"

#include <ifaddrs.h>
#include <stddef.h>

bool interfaces_read(void (*take)(void *context, const struct ipaddr *address), void *context)
{
    struct ifaddrs *interfaces = NULL;
    struct ipaddr address;

    if (getifaddrs(&interfaces) != 0)
        return false;
    for (const struct ifaddrs *interface = interfaces; interface != NULL; interface = interface->ifa_next)
        if (ipaddr_from_sockaddr(interface->ifa_addr, &address, NULL))
            take(context, &address);
    freeifaddrs(interfaces);
    return true;
}
