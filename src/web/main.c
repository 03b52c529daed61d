/* main.c - hunnypot-web: opens its listeners, and waits until it is to end. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
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

static bool start(const struct site *site, const struct web_place *place, const struct web_options *options,
                  struct listener **listener)
{
    char *why, *at;
    int fd;

    if (place->text == NULL)
        return true;
    at = text_printable_new(place->text, PATH_MAX);
    fd = place_open(&place->place, &why);
    if (fd >= 0)
        *listener = listener_start(site, options, place->database, fd, &why);
    if (*listener != NULL) {
        log_event(LOG_LEVEL_INFO, "listening site=%s at=%s", site->name, at);
    } else {
        log_event(LOG_LEVEL_ERROR, "not-listening site=%s at=%s why=\"%s\"", site->name, at, why);
        free(why);
    }
    free(at);
    return *listener != NULL;
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
    struct listener *listeners[2] = {NULL};
    int signals, status = options_read(argc, argv, &options);

    if (status != OPTIONS_GO_ON)
        return status;
    signals = open_signals();
    if (signals < 0 || log_writer_start() != 0) {
        log_event(LOG_LEVEL_ERROR, "not-started why=\"%s\"", strerror(errno));
        return EXIT_FAILURE;
    }
    status = EXIT_FAILURE;
    if (start(&private_site, &options.for_us, &options, &listeners[0]) &&
        start(&public_site, &options.for_all, &options, &listeners[1])) {
        wait_for_end(signals, listeners, 2);
        log_event(LOG_LEVEL_INFO, "stopping");
        status = EXIT_SUCCESS;
    }
    for (size_t i = 0; i < sizeof listeners / sizeof *listeners; i++)
        listener_stop(&listeners[i]);
    return status;
}
