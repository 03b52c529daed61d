#include "milter/server.h"

#include <errno.h>
#include <libmilter/mfapi.h>

bool server_open(const char *socket)
{
    errno = 0;
    return smfi_setconn((char *)socket) == MI_SUCCESS && smfi_opensocket(false) == MI_SUCCESS;
}

bool server_run(void)
{
    return smfi_main() == MI_SUCCESS;
}
