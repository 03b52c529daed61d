#include "milter/server.h"

#include <errno.h>
#include <libmilter/mfapi.h>
#include <signal.h>

bool server_open(const char *socket)
{
    errno = 0;
    return smfi_setconn((char *)socket) == MI_SUCCESS && smfi_opensocket(false) == MI_SUCCESS;
}

bool server_run(void)
{
    return smfi_main() == MI_SUCCESS;
}

/* In the place of libc's, for libmilter too, which has a thread that waits for these signals and takes each for a stop.  They
 * are the main thread's: though it has them unblocked, one in a thousand went to libmilter's, and the stop took 5 s. */
int sigwait(const sigset_t *set, int *number)
{
    sigset_t others = *set;

    sigdelset(&others, SIGTERM);
    sigdelset(&others, SIGINT);
    sigdelset(&others, SIGHUP);
    do
        *number = sigwaitinfo(&others, NULL);
    while (*number < 0 && errno == EINTR);
    return *number < 0 ? errno : 0;
}
