/* thread.h - start a thread that no signal interrupts: signals are for the thread that waits for them.
 *
 * Threads:  any may call; the caller's signal mask is as before when it returns.
 * Owns:     nothing; the caller joins or detaches THREAD.
 * Fails:    with an error number, as pthread_create() does; there is no thread then.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

enum { THREAD_NAME_SIZE = 16 }; /* with the final NUL: what the kernel takes */

/* Run RUN(ARGUMENT) in a new thread with every signal blocked.  NAME (below THREAD_NAME_SIZE) is what ps and a debugger
 * show.  Returns 0 or an error number. */
int thread_start(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument)
    __attribute__((warn_unused_result));

#endif
