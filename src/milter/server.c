#include "milter/server.h"

#include <dlfcn.h>
#include <errno.h>
#include <libmilter/mfapi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <syslog.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "milter/workers.h"

enum { PACKET_COMPLAINT_MS = 60000 };

typedef char *packet_reader(int fd, struct timeval *timeout, char *command, size_t *length, char *name);

static packet_reader *libmilter_read;
static int listener = -1;

/* libmilter does not tell its listener; it is among the first descriptors from LOWEST on. */
static int find_listener(int lowest)
{
    enum { DESCRIPTORS = 16 };

    for (int fd = lowest; fd < lowest + DESCRIPTORS; fd++) {
        int listening = 0;
        socklen_t length = sizeof listening;

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening)
            return fd;
    }
    return -1;
}

bool server_open(const char *socket)
{
    int lowest = eventfd(0, EFD_CLOEXEC);
    bool opened;

    close(lowest);
    libmilter_read = (packet_reader *)dlsym(RTLD_NEXT, "mi_rd_cmd");
    errno = 0;
    opened = smfi_setconn((char *)socket) == MI_SUCCESS && smfi_opensocket(false) == MI_SUCCESS;
    listener = find_listener(lowest);
    return opened;
}

bool server_address(struct sockaddr_storage *address, socklen_t *length)
{
    return getsockname(listener, (struct sockaddr *)address, length) == 0;
}

bool server_run(void)
{
    int failed = workers_start();

    if (failed != 0) {
        log_event(LOG_LEVEL_ERROR, "no-thread part=spare error=\"%s\"", strerror(failed));
        return false;
    }
    return smfi_main() == MI_SUCCESS;
}

/* In the place of libc's, for libmilter, which has a thread that waits for these signals and takes each for a stop, and 5 s for
 * that.  They are the main thread's. */
int sigwait(const sigset_t *set, int *number)
{
    sigset_t others = *set;

    sigdelset(&others, SIGTERM);
    sigdelset(&others, SIGINT);
    sigdelset(&others, SIGHUP);
    do
        *number = sigwaitinfo(&others, NULL);
    while (*number < 0 && errno == EINTR);
    return *number < 0 ? errno : 0;
}

/* In the place of libc's, for libmilter: syslog(3) waits for whoever reads /dev/log, and with it would the sessions. */
void syslog_checked(int priority, int flag, const char *format, ...) __asm__("__syslog_chk")
    __attribute__((format(printf, 3, 4)));
void syslog_checked(int priority, int flag, const char *format, ...)
{
    static const enum log_level levels[] = {
        [LOG_WARNING] = LOG_LEVEL_WARNING, [LOG_NOTICE] = LOG_LEVEL_INFO, [LOG_INFO] = LOG_LEVEL_INFO,
        [LOG_DEBUG] = LOG_LEVEL_DEBUG};
    char text[512], printable[512];
    va_list arguments;

    (void)flag;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized): the line above */
    va_end(arguments);
    text_printable(printable, sizeof printable, text, strlen(text));
    log_event(levels[LOG_PRI(priority)], "libmilter says=\"%s\"", printable);
}

static size_t count_nul(const char *bytes, size_t size)
{
    const char *end = bytes + size;
    size_t count = 0;

    while ((bytes = memchr(bytes, '\0', (size_t)(end - bytes))) != NULL) {
        bytes++;
        count++;
    }
    return count;
}

/* What libmilter takes for granted (seen with 8.17.1): it reads behind the end of a packet that is not so. */
static bool packet_is_sound(char command, const char *packet, size_t length)
{
    switch (command) {
    case SMFIC_CONNECT: /* the client's name has an end */
        return count_nul(packet, length) > 0;
    case SMFIC_MACRO: /* each name has a value */
        return count_nul(packet, length) % 2 == 0;
    case SMFIC_UNKNOWN: /* the command has an end */
        return packet[length - 1] == '\0';
    default:
        return true;
    }
}

/* In the place of libmilter's own, which it calls.  Weak, so that a static libmilter can be linked, though without this. */
packet_reader mi_rd_cmd __attribute__((weak));
char *mi_rd_cmd(int fd, struct timeval *timeout, char *command, size_t *length, char *name)
{
    static _Atomic int64_t complaint_ms;
    char *packet = libmilter_read(fd, timeout, command, length, name);

    if (packet == NULL || packet_is_sound(*command, packet, *length))
        return packet;
    if (log_is_due(&complaint_ms, PACKET_COMPLAINT_MS))
        log_event(LOG_LEVEL_WARNING, "bad-packet command=%c effect=\"the MTA's connection was closed\"", *command);
    free(packet);
    *command = '\0'; /* as when reading fails: the session ends */
    return NULL;
}
