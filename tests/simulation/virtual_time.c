#include "virtual_time.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "fake_clock.h"

/* A thread in a wait.  It lives on the stack of that thread. */
struct waiter {
    struct waiter *next;
    const pthread_cond_t *cond;
    int64_t deadline_ms; /* INT64_MAX: none */
    bool awake, timed_out;
    pthread_cond_t woken;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled = PTHREAD_COND_INITIALIZER;
static struct waiter *waiters;
static unsigned running; /* threads beside the first that do not wait */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): what the linker's --wrap calls them */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *held);
int __real_pthread_cond_broadcast(pthread_cond_t *cond);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *held);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *held, const struct timespec *deadline);
int __wrap_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *held, clockid_t clock,
                                  const struct timespec *deadline);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);

struct start {
    void *(*run)(void *);
    void *context;
};

static void running_less(void)
{
    pthread_mutex_lock(&mutex);
    if (--running == 0)
        __real_pthread_cond_broadcast(&settled);
    pthread_mutex_unlock(&mutex);
}

static void *thread_run(void *context)
{
    struct start start = *(struct start *)context;
    void *result;

    free(context);
    result = start.run(start.context);
    running_less();
    return result;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
    struct start *start = malloc(sizeof *start);
    int error;

    if (start == NULL)
        return EAGAIN;
    *start = (struct start){.run = run, .context = context};
    pthread_mutex_lock(&mutex);
    running++;
    pthread_mutex_unlock(&mutex);
    error = __real_pthread_create(thread, attributes, thread_run, start);
    if (error != 0) {
        free(start);
        running_less();
    }
    return error;
}

/* With the mutex held. */
static void wake(struct waiter *waiter, bool timed_out)
{
    if (waiter->awake)
        return;
    waiter->awake = true;
    waiter->timed_out = timed_out;
    running++;
    __real_pthread_cond_broadcast(&waiter->woken);
}

static void unlink_waiter(struct waiter *waiter)
{
    struct waiter **link = &waiters;

    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
}

static int wait_until(const pthread_cond_t *cond, pthread_mutex_t *held, int64_t deadline_ms)
{
    struct waiter waiter = {.cond = cond, .deadline_ms = deadline_ms, .woken = PTHREAD_COND_INITIALIZER};

    pthread_mutex_lock(&mutex);
    waiter.next = waiters;
    waiters = &waiter;
    if (deadline_ms <= clock_monotonic_ms()) {
        waiter.awake = waiter.timed_out = true;
    } else if (--running == 0) {
        __real_pthread_cond_broadcast(&settled);
    }
    pthread_mutex_unlock(held);
    while (!waiter.awake)
        __real_pthread_cond_wait(&waiter.woken, &mutex);
    unlink_waiter(&waiter);
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&waiter.woken);
    pthread_mutex_lock(held);
    return waiter.timed_out ? ETIMEDOUT : 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *held)
{
    return wait_until(cond, held, INT64_MAX);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *held, const struct timespec *deadline)
{
    return wait_until(cond, held, (int64_t)deadline->tv_sec * 1000 + deadline->tv_nsec / 1000000);
}

int __wrap_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *held, clockid_t clock,
                                  const struct timespec *deadline)
{
    (void)clock;
    return __wrap_pthread_cond_timedwait(cond, held, deadline);
}

/* To wake too many is allowed. */
int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    return __wrap_pthread_cond_broadcast(cond);
}

/* cppcheck-suppress constParameter ; the type is pthread_cond_broadcast()'s */
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    pthread_mutex_lock(&mutex);
    for (struct waiter *waiter = waiters; waiter != NULL; waiter = waiter->next) {
        if (waiter->cond == cond)
            wake(waiter, false);
    }
    pthread_mutex_unlock(&mutex);
    return 0;
}

void virtual_time_settle(void)
{
    pthread_mutex_lock(&mutex);
    while (running > 0)
        __real_pthread_cond_wait(&settled, &mutex);
    pthread_mutex_unlock(&mutex);
}

int64_t virtual_time_next(void)
{
    int64_t next_ms = INT64_MAX;

    virtual_time_settle();
    pthread_mutex_lock(&mutex);
    for (const struct waiter *waiter = waiters; waiter != NULL; waiter = waiter->next) {
        if (!waiter->awake && waiter->deadline_ms < next_ms)
            next_ms = waiter->deadline_ms;
    }
    pthread_mutex_unlock(&mutex);
    return next_ms;
}

/* Wake whoever waits for a moment that has come. */
static void wake_due(void)
{
    int64_t now_ms = clock_monotonic_ms();

    pthread_mutex_lock(&mutex);
    for (struct waiter *waiter = waiters; waiter != NULL; waiter = waiter->next) {
        if (waiter->deadline_ms <= now_ms)
            wake(waiter, true);
    }
    pthread_mutex_unlock(&mutex);
}

void virtual_time_advance(int64_t to_ms)
{
    int64_t next_ms;

    while ((next_ms = virtual_time_next()) <= to_ms) {
        if (next_ms > clock_monotonic_ms())
            fake_clock_set_ms(next_ms);
        wake_due();
    }
    if (to_ms > clock_monotonic_ms())
        fake_clock_set_ms(to_ms);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
