#include "judge/probe.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { QUIT_WAIT_MS = 1000 }; /* for the answer to QUIT, so that closing does not reset the connection under it */

static bool permitted(const struct probe_config *config, const struct ipaddr *address)
{
    for (size_t i = 0; i < config->allowed_count; i++) {
        if (ipnet_contains(&config->allowed[i], address))
            return true;
    }
    return !ipaddr_is_unusable(address) && !ipaddr_is_private(address);
}

enum wait_result { WAIT_READY, WAIT_TIMEOUT, WAIT_STOPPED };

static enum wait_result wait_for(const struct probe_config *config, int fd, short events, int64_t deadline_ms)
{
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = config->stop_fd, .events = POLLIN}};

    for (;;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();

        if (left_ms <= 0)
            return WAIT_TIMEOUT;
        if (poll(fds, 2, (int)left_ms) < 0 && errno != EINTR)
            return WAIT_STOPPED;
        if (fds[1].revents != 0)
            return WAIT_STOPPED;
        if (fds[0].revents != 0)
            return WAIT_READY;
    }
}

/* An error at once is this machine's: no route for that family, no address to send from.  What comes later, and a
 * refusal, is the other side's; so is, for want of a better guess, a local filter that forbids the connection. */
static enum liveness_state state_of_instant_error(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case EPERM:
    case EACCES:
        return LIVENESS_DOWN;
    default:
        return LIVENESS_UNKNOWN;
    }
}

/* LIVENESS_ACCEPTING here says no more than that the connection stands. */
static enum liveness_state connect_to(const struct probe_config *config, int fd, const struct ipaddr *address,
                                      int64_t deadline_ms)
{
    struct sockaddr_storage to;
    socklen_t length = ipaddr_to_sockaddr(address, config->port, &to);
    int error = 0;
    socklen_t error_length = sizeof error;

    if (connect(fd, (struct sockaddr *)&to, length) == 0)
        return LIVENESS_ACCEPTING;
    if (errno != EINPROGRESS)
        return state_of_instant_error(errno);
    switch (wait_for(config, fd, POLLOUT, deadline_ms)) {
    case WAIT_STOPPED:
        return LIVENESS_UNKNOWN;
    case WAIT_TIMEOUT:
        return LIVENESS_DOWN;
    default:
        break;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_length) != 0)
        return LIVENESS_UNKNOWN;
    /* Refused is ECONNREFUSED; a reset comes after the connection stood, though we may see both at once. */
    return error == 0 || error == ECONNRESET ? LIVENESS_ACCEPTING : LIVENESS_DOWN;
}

/* Does LINE begin with "220" and a space, the end of the line, or (not the last line) a hyphen?  RFC 5321 4.2. */
static bool is_220(const char *line, size_t length, bool *last)
{
    int separator = length > 3 ? line[3] : ' ';

    *last = separator != '-';
    return length >= 3 && memcmp(line, "220", 3) == 0 && strchr(" -\r", separator) != NULL && separator != '\0';
}

enum greeting { GREETING_PARTIAL, GREETING_220, GREETING_OTHER };

static enum greeting greeting_look(const char *text, size_t length)
{
    const char *line = text, *end = text + length, *newline;

    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        bool last;

        if (!is_220(line, (size_t)(newline - line), &last))
            return GREETING_OTHER;
        if (last)
            return GREETING_220;
        line = newline + 1;
    }
    return GREETING_PARTIAL;
}

static enum liveness_state greeting_read(const struct probe_config *config, int fd, int64_t deadline_ms)
{
    char text[PROBE_GREETING_MAX];
    size_t length = 0;

    while (length < sizeof text) {
        enum wait_result ready = wait_for(config, fd, POLLIN, deadline_ms);
        ssize_t got;

        if (ready == WAIT_STOPPED)
            return LIVENESS_UNKNOWN;
        if (ready == WAIT_TIMEOUT)
            return LIVENESS_DEFERRING;
        got = recv(fd, text + length, sizeof text - length, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return LIVENESS_DEFERRING;
        length += (size_t)got;
        switch (greeting_look(text, length)) {
        case GREETING_220:
            return LIVENESS_ACCEPTING;
        case GREETING_OTHER:
            return LIVENESS_DEFERRING;
        default:
            break;
        }
    }
    return LIVENESS_DEFERRING;
}

static void say_quit(const struct probe_config *config, int fd, int64_t deadline_ms)
{
    static const char quit[] = "QUIT\r\n";
    int64_t until_ms = clock_monotonic_ms() + QUIT_WAIT_MS;
    char reply[512];

    if (send(fd, quit, sizeof quit - 1, MSG_NOSIGNAL) < 0)
        return;
    if (wait_for(config, fd, POLLIN, until_ms < deadline_ms ? until_ms : deadline_ms) == WAIT_READY &&
        recv(fd, reply, sizeof reply, 0) < 0)
        return; /* whatever it said, we are leaving */
}

/* Family 0 when the connection is gone already. */
static struct ipaddr own_address(int fd)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    struct ipaddr address;

    if (getsockname(fd, (struct sockaddr *)&name, &length) != 0 || !ipaddr_from_sockaddr((struct sockaddr *)&name, &address, NULL))
        return (struct ipaddr){.family = 0};
    return address;
}

enum liveness_state probe_address(const struct probe_config *config, const struct ipaddr *address, struct ipaddr *source)
{
    int64_t deadline_ms = clock_monotonic_ms() + config->timeout_ms;
    enum liveness_state state;
    int fd;

    *source = (struct ipaddr){.family = 0};
    if (!permitted(config, address))
        return LIVENESS_UNKNOWN;
    fd = socket(address->family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return LIVENESS_UNKNOWN;
    state = connect_to(config, fd, address, deadline_ms);
    if (state == LIVENESS_ACCEPTING) {
        *source = own_address(fd);
        state = greeting_read(config, fd, deadline_ms);
        say_quit(config, fd, deadline_ms);
    }
    close(fd);
    return state;
}
