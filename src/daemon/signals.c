#include "daemon/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int stop_fd = -1, reload_fd = -1;

static int open_for(int first, int second)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, first);
    sigaddset(&set, second);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

bool signals_open(void)
{
    sigset_t all;

    /* Threads inherit this; a signal for the process then waits until it is read. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    stop_fd = open_for(SIGTERM, SIGINT);
    reload_fd = open_for(SIGUSR1, SIGHUP);
    return stop_fd >= 0 && reload_fd >= 0;
}

int signals_stop_fd(void)
{
    return stop_fd;
}

int signals_reload_fd(void)
{
    return reload_fd;
}

/* The number of the signal that FD has, or 0. */
static unsigned signal_take(int fd)
{
    struct signalfd_siginfo info;

    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? info.ssi_signo : 0;
}

const char *signals_take_stop(void)
{
    unsigned number = signal_take(stop_fd);

    return number == SIGTERM ? "TERM" : number == SIGINT ? "INT" : NULL;
}

bool signals_take_reload(void)
{
    bool asked = false;

    while (signal_take(reload_fd) != 0)
        asked = true;
    return asked;
}
