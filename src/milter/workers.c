#include "milter/workers.h"

#include <dlfcn.h>
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/thread.h"

/* No more than one for each connection is ever needed: the default of limits.connections, and a few. */
enum { SPARE_THREADS = 24, WORKERS_COMPLAINT_MS = 60000 };

typedef int creator(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
typedef int detacher(pthread_t thread);
typedef int acceptor(int fd, struct sockaddr *from, socklen_t *length);

/* What libmilter wanted a thread for, and a spare one waits to do. */
static struct {
    pthread_mutex_t mutex; /* covers all */
    pthread_cond_t wanted;
    unsigned idle; /* spare threads that nothing was given to yet */
    void *(*run)(void *);
    void *argument;
} spare = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};

static _Thread_local bool is_listener, is_spare;
static _Thread_local int accepted_fd = -1;

static void *wait_for_work(void *unused)
{
    (void)unused;
    is_spare = true;
    for (;;) {
        void *(*run)(void *);
        void *argument;

        pthread_mutex_lock(&spare.mutex);
        spare.idle++;
        while (spare.run == NULL)
            pthread_cond_wait(&spare.wanted, &spare.mutex);
        run = spare.run;
        argument = spare.argument;
        spare.run = NULL;
        pthread_mutex_unlock(&spare.mutex);
        run(argument);
    }
    return NULL;
}

int workers_start(void)
{
    int failed = 0;

    is_listener = true;
    for (int i = 0; i < SPARE_THREADS && failed == 0; i++) {
        pthread_t thread;

        failed = thread_start(&thread, "spare", wait_for_work, NULL);
        if (failed == 0)
            pthread_detach(thread);
    }
    return failed;
}

static bool give_to_spare(void *(*run)(void *), void *argument)
{
    bool given;

    pthread_mutex_lock(&spare.mutex);
    given = spare.idle > 0 && spare.run == NULL;
    if (given) {
        spare.idle--;
        spare.run = run;
        spare.argument = argument;
        pthread_cond_signal(&spare.wanted);
    }
    pthread_mutex_unlock(&spare.mutex);
    return given;
}

/* A program that has this file for its name of pthread_create() may be without libmilter. */
#pragma weak smfi_main

static bool is_of_libmilter(void *(*run)(void *))
{
    Dl_info theirs, wanted;

    return smfi_main != NULL && dladdr((void *)smfi_main, &theirs) != 0 && dladdr((void *)run, &wanted) != 0 &&
           theirs.dli_fbase == wanted.dli_fbase;
}

/* In the place of libc's, for libmilter, which has a connection in hand for which it wants a worker: when there is none, nobody
 * ever looks at that connection again, and its client waits for the MTA's milter timeout. */
/* NOLINTNEXTLINE(readability-redundant-declaration): made weak here */
creator pthread_create __attribute__((weak));
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    static _Atomic int64_t complaint_ms;
    static creator *_Atomic real;
    int failed;

    if (real == NULL)
        real = (creator *)dlsym(RTLD_NEXT, "pthread_create");
    failed = real(thread, attributes, run, argument);
    if (failed == 0 || !is_of_libmilter(run))
        return failed;
    if (log_is_due(&complaint_ms, WORKERS_COMPLAINT_MS))
        log_event(LOG_LEVEL_WARNING, "no-thread part=worker effect=\"clients wait for each other; see TasksMax, RLIMIT_NPROC\"");
    if (give_to_spare(run, argument))
        return 0;
    if (is_listener)
        shutdown(accepted_fd, SHUT_RDWR); /* better no milter at once than none after the MTA's timeout */
    return failed;
}

/* In the place of libc's: a worker detaches itself first, and ends when it cannot; a spare one is detached already. */
/* NOLINTNEXTLINE(readability-redundant-declaration): made weak here */
detacher pthread_detach __attribute__((weak));
int pthread_detach(pthread_t thread)
{
    static detacher *_Atomic real;

    if (real == NULL)
        real = (detacher *)dlsym(RTLD_NEXT, "pthread_detach");
    return is_spare ? 0 : real(thread);
}

/* In the place of libc's: which connection it is. */
/* NOLINTNEXTLINE(readability-redundant-declaration): made weak here */
acceptor accept __attribute__((weak));
int accept(int fd, struct sockaddr *from, socklen_t *length)
{
    static acceptor *_Atomic real;

    if (real == NULL)
        real = (acceptor *)dlsym(RTLD_NEXT, "accept");
    return accepted_fd = real(fd, from, length);
}
