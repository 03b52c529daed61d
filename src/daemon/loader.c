#include "daemon/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/thread.h"
#include "daemon/identity.h"

struct loader {
    const char *path;
    struct settings *settings; /* the thread's until `done_fd` is readable */
    int done_fd;
    pthread_t thread;
};

static void report_fault(void *context, const char *line)
{
    (void)context;
    log_event(LOG_LEVEL_ERROR, "settings-fault %s", line);
}

static void *loader_thread(void *context)
{
    struct loader *loader = context;

    loader->settings = settings_load(loader->path, report_fault, NULL);
    if (loader->settings != NULL)
        identity_complete(loader->settings);
    (void)eventfd_write(loader->done_fd, 1); /* 1 always has room in an eventfd that is 0 */
    return NULL;
}

int loader_start(struct loader **loader, const char *path)
{
    struct loader *made = alloc_zeroed(1, sizeof *made);
    int error;

    made->path = path;
    made->done_fd = eventfd(0, EFD_CLOEXEC);
    error = made->done_fd < 0 ? errno : thread_start(&made->thread, "loader", loader_thread, made);
    if (error == 0) {
        *loader = made;
        return 0;
    }
    if (made->done_fd >= 0)
        close(made->done_fd);
    free(made);
    return error;
}

int loader_fd(const struct loader *loader)
{
    return loader->done_fd;
}

struct settings *loader_take(struct loader **loader)
{
    struct settings *settings;

    pthread_join((*loader)->thread, NULL);
    settings = (*loader)->settings;
    close((*loader)->done_fd);
    free(*loader);
    *loader = NULL;
    return settings;
}

void loader_leave(struct loader **loader)
{
    static struct loader *left __attribute__((used)); /* its thread goes on with it; a leak detector is to see who has it */

    left = *loader;
    if (left != NULL)
        pthread_detach(left->thread);
    *loader = NULL;
}
