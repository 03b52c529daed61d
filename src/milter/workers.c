#include "milter/workers.h"

#include <dlfcn.h>
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/thread.h"

/* One for each connection that is taken by default (limits.connections), and a few; where there are more, some wait. */
enum { SPARE_THREADS = 24, WORKERS_COMPLAINT_MS = 60000 };

typedef int creator(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
typedef int detacher(pthread_t thread);

/* What libmilter wanted a thread for. */
struct work {
    void *(*run)(void *);
    void *argument;
    struct work *prev, *next; /* utlist's */
};

/* What spare threads are to do, one after the other. */
static struct {
    pthread_mutex_t mutex; /* covers all */
    pthread_cond_t wanted;
    struct work *queue;
} spare = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};

static _Thread_local bool is_spare;

static struct work *spare_take(void)
{
    struct work *work;

    pthread_mutex_lock(&spare.mutex);
    while (spare.queue == NULL)
        pthread_cond_wait(&spare.wanted, &spare.mutex);
    work = spare.queue;
    DL_DELETE(spare.queue, work);
    pthread_mutex_unlock(&spare.mutex);
    return work;
}

static void *work_always(void *unused)
{
    (void)unused;
    is_spare = true;
    for (;;) {
        struct work *work = spare_take();

        work->run(work->argument);
        free(work);
    }
    return NULL;
}

int workers_start(void)
{
    int failed = 0;

    for (int i = 0; i < SPARE_THREADS && failed == 0; i++) {
        pthread_t thread;

        failed = thread_start(&thread, "spare", work_always, NULL);
        if (failed == 0)
            pthread_detach(thread);
    }
    return failed;
}

/* Is there memory for it? */
static bool give_to_spare(void *(*run)(void *), void *argument)
{
    struct work *work = malloc(sizeof *work);

    if (work == NULL)
        return false;
    *work = (struct work){.run = run, .argument = argument};
    pthread_mutex_lock(&spare.mutex);
    DL_APPEND(spare.queue, work);
    pthread_cond_signal(&spare.wanted);
    pthread_mutex_unlock(&spare.mutex);
    return true;
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
    return give_to_spare(run, argument) ? 0 : failed;
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
