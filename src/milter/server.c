#include "milter/server.h"

#include <libmilter/mfapi.h>
#include <string.h>

#include "milter/prime.h"

bool server_open(const char *socket)
{
    return smfi_setconn((char *)socket) == MI_SUCCESS && smfi_opensocket(false) == MI_SUCCESS;
}

bool server_run(void)
{
    return smfi_main() == MI_SUCCESS;
}

void server_stop(const char *socket)
{
    smfi_stop();
    prime_knock(socket);
}

const char *server_unix_path(const char *spec)
{
    if (strncmp(spec, "inet:", 5) == 0 || strncmp(spec, "inet6:", 6) == 0)
        return NULL;
    if (strncmp(spec, "unix:", 5) == 0)
        return spec + 5;
    return strncmp(spec, "local:", 6) == 0 ? spec + 6 : spec;
}
