/* main.c - hunnypot-web: opens its listeners, and waits until it is to end. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "web/listener.h"
#include "web/options.h"

enum { TICK_MS = 1000 };

/* Blocked here, and so in all threads. */
static int open_signals(void)
{
    sigset_t set;

    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool start(const struct site *site, const char *text, const struct place *place, const struct web_options *options,
                  const char *conninfo, struct listener **listener)
{
    char *why;
    int fd;

    if (text == NULL)
        return true;
    fd = place_open(place, &why);
    if (fd >= 0)
        *listener = listener_start(site, options, conninfo, fd, &why);
    if (*listener != NULL) {
        log_event(LOG_LEVEL_INFO, "listening site=%s at=%s", site->name, text);
        return true;
    }
    log_event(LOG_LEVEL_ERROR, "not-listening site=%s at=%s why=\"%s\"", site->name, text, why);
    free(why);
    return false;
}

static void wait_for_end(int signals, struct listener *const *listeners, size_t count)
{
    struct pollfd fd = {.fd = signals, .events = POLLIN};

    while (poll(&fd, 1, TICK_MS) <= 0)
        for (size_t i = 0; i < count; i++)
            if (listeners[i] != NULL)
                listener_tick(listeners[i]);
}

int main(int argc, char **argv)
{
    struct web_options options;
    struct listener *listeners[1] = {NULL};
    int signals, status = options_read(argc, argv, &options);

    if (status != OPTIONS_GO_ON)
        return status;
    signals = open_signals();
    if (signals < 0 || log_writer_start() != 0) {
        log_event(LOG_LEVEL_ERROR, "not-started why=\"%s\"", strerror(errno));
        return EXIT_FAILURE;
    }
    status = EXIT_FAILURE;
    if (start(&private_site, options.private_text, &options.private_place, &options, options.database, &listeners[0])) {
        wait_for_end(signals, listeners, 1);
        log_event(LOG_LEVEL_INFO, "stopping");
        status = EXIT_SUCCESS;
    }
    for (size_t i = 0; i < sizeof listeners / sizeof *listeners; i++)
        listener_stop(&listeners[i]);
    return status;
}
