#include "milter/server.h"

#include <errno.h>
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "milter/prime.h"

enum { KNOCK_INTERVAL_MS = 10 };

bool server_open(const char *socket)
{
    errno = 0;
    return smfi_setconn((char *)socket) == MI_SUCCESS && smfi_opensocket(false) == MI_SUCCESS;
}

bool server_run(void)
{
    return smfi_main() == MI_SUCCESS;
}

static void *stop_thread(void *argument)
{
    atomic_bool *stopped = argument;

    smfi_stop();
    *stopped = true;
    return NULL;
}

/* smfi_stop() says "stop" and then waits for a mutex that the listener holds while it waits for a connection.  So somebody
 * must connect after the one and before the end of the other. */
void server_stop(const char *socket)
{
    const struct timespec pause = {.tv_nsec = KNOCK_INTERVAL_MS * 1000000L};
    atomic_bool stopped = false;
    pthread_t thread;

    if (pthread_create(&thread, NULL, stop_thread, &stopped) != 0) {
        smfi_stop();
        return;
    }
    while (!stopped) {
        prime_knock(socket);
        nanosleep(&pause, NULL);
    }
    pthread_join(thread, NULL);
}
