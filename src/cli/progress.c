#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"
#include "cli/output.h"

struct output_progress {
    const char *what;
    pthread_t thread;
    pthread_mutex_t mutex; /* covers `stopping` */
    pthread_cond_t wake;
    bool stopping;
};

static void *show(void *context)
{
    struct output_progress *progress = context;
    int64_t begin_ms = clock_monotonic_ms();
    bool shown = false;

    pthread_mutex_lock(&progress->mutex);
    for (int seconds = 1; !progress->stopping;) {
        struct timespec due = clock_timespec(begin_ms + seconds * 1000LL);

        if (pthread_cond_clockwait(&progress->wake, &progress->mutex, CLOCK_MONOTONIC, &due) == 0)
            continue;
        fprintf(stderr, "hunnypot: %s: %d s\r", progress->what, seconds++);
        shown = true;
    }
    pthread_mutex_unlock(&progress->mutex);
    if (shown)
        fputc('\n', stderr);
    return NULL;
}

struct output_progress *output_progress_start(const char *what)
{
    struct output_progress *progress;

    if (!isatty(STDERR_FILENO))
        return NULL;
    progress = alloc_zeroed(1, sizeof *progress);
    *progress = (struct output_progress){
        .what = what, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    if (thread_start(&progress->thread, "progress", show, progress) != 0) {
        free(progress);
        return NULL;
    }
    return progress;
}

void output_progress_stop(struct output_progress **progress)
{
    if (*progress == NULL)
        return;
    pthread_mutex_lock(&(*progress)->mutex);
    (*progress)->stopping = true;
    pthread_cond_signal(&(*progress)->wake);
    pthread_mutex_unlock(&(*progress)->mutex);
    pthread_join((*progress)->thread, NULL);
    free(*progress);
    *progress = NULL;
}
