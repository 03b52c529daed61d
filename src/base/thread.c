#include "base/thread.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

int thread_start(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument)
{
    sigset_t all, before;
    int error;

    assert(strlen(name) < THREAD_NAME_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        (void)pthread_setname_np(*thread, name); /* for people only: it may have ended already */
    return error;
}
