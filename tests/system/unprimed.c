#include "milter/prime.h"

#include <errno.h>

bool prime_is_offer(unsigned long actions)
{
    (void)actions;
    return false;
}

void prime(const char *socket_spec)
{
    (void)socket_spec;
}

bool prime_knock(const char *socket_spec)
{
    (void)socket_spec;
    errno = ECONNREFUSED;
    return false;
}
