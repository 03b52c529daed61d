#include "milter/prime.h"

#include <stddef.h>

bool prime_is_offer(unsigned long actions)
{
    (void)actions;
    return false;
}

struct primer *prime_connect(void)
{
    return NULL;
}

void prime(struct primer **primer, int stop_fd)
{
    (void)primer;
    (void)stop_fd;
}

void prime_hang_up(struct primer **primer)
{
    (void)primer;
}

const char *prime_ping(const char *socket)
{
    (void)socket;
    return "not primed";
}
