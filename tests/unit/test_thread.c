#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/thread.h"
#include "fake_thread.h"

static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD, SIGALRM};

struct seen {
    bool blocked[sizeof numbers / sizeof *numbers];
    pthread_barrier_t named;
};

static void *look(void *argument)
{
    struct seen *seen = argument;
    sigset_t mask;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        seen->blocked[i] = sigismember(&mask, numbers[i]) == 1;
    pthread_barrier_wait(&seen->named);
    return seen;
}

static void signals_are_blocked_in_the_thread_and_as_before_in_the_caller(void **state)
{
    struct seen seen = {0};
    char name[THREAD_NAME_SIZE];
    sigset_t some, after;
    pthread_t thread;
    void *result;

    (void)state;
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &some, NULL);
    pthread_barrier_init(&seen.named, NULL, 2);

    assert_int_equal(thread_start(&thread, "fifteen-letters", look, &seen), 0);
    assert_int_equal(pthread_getname_np(thread, name, sizeof name), 0);
    assert_string_equal(name, "fifteen-letters");
    pthread_barrier_wait(&seen.named);
    pthread_join(thread, &result);
    assert_ptr_equal(result, &seen);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!seen.blocked[i])
            fail_msg("signal %d reaches the thread", numbers[i]);

    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&after, SIGUSR2), 1);
    assert_int_equal(sigismember(&after, SIGTERM), 0);
    pthread_barrier_destroy(&seen.named);
}

static void without_a_thread_there_is_an_error_and_the_mask_is_as_before(void **state)
{
    sigset_t none, after;
    pthread_t thread;

    (void)state;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    fake_thread_fail_after(0);
    assert_int_equal(thread_start(&thread, "none", look, NULL), EAGAIN);
    fake_thread_fail_after(-1);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&after, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_are_blocked_in_the_thread_and_as_before_in_the_caller),
        cmocka_unit_test(without_a_thread_there_is_an_error_and_the_mask_is_as_before),
    };

    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
