/* Waits on the clock of fake_clock.h, in place of libc's: who waits with a deadline wakes up when the test moves that clock there.
 * Link it with fake_clock.c. */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_EVERY_NS = 500000 };

static int compare(const struct timespec *one, const struct timespec *other)
{
    if (one->tv_sec != other->tv_sec)
        return one->tv_sec < other->tv_sec ? -1 : 1;
    return one->tv_nsec < other->tv_nsec ? -1 : one->tv_nsec > other->tv_nsec;
}

/* A wake-up for no reason, which every caller has to live with, is when the clock may have moved. */
int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *deadline)
{
    struct timespec now;

    clock_gettime(clock, &now);
    if (compare(&now, deadline) >= 0)
        return ETIMEDOUT;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    now.tv_nsec += LOOK_EVERY_NS;
    if (now.tv_nsec >= 1000000000) {
        now.tv_sec++;
        now.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(cond, mutex, &now);
    return 0;
}
