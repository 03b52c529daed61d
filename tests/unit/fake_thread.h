/* fake_thread.h - pthread_create() that fails when told to; link with -Wl,--wrap=pthread_create. */
#ifndef FAKE_THREAD_H
#define FAKE_THREAD_H

/* Of the calls from now on, COUNT succeed and all later ones fail with EAGAIN; below 0: none fails. */
void fake_thread_fail_after(int count);

#endif
