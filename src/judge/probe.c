#include "judge/probe.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uuid.h"

enum { PROBE_COMMAND_SIZE = 600 }; /* two names of 255 octets fit */
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

/* The reply code at the start of LINE, behind which is a space, the end of the line, or (not the last line) a hyphen; 0: it is no
 * line of a reply.  RFC 5321 4.2. */
static int line_code(const char *line, size_t length, bool *last)
{
    int separator = length > 3 ? line[3] : ' ', code = 0;

    *last = separator != '-';
    if (length < 3 || separator == '\0' || strchr(" -\r", separator) == NULL)
        return 0;
    for (int i = 0; i < 3; i++) {
        if (line[i] < '0' || line[i] > '9')
            return 0;
        code = code * 10 + (line[i] - '0');
    }
    return code;
}

enum { REPLY_PARTIAL = -1, REPLY_NONE = 0 };

/* The code of the reply that TEXT begins with, the same in all its lines; REPLY_NONE when it is none. */
static int reply_look(const char *text, size_t length)
{
    const char *line = text, *end = text + length, *newline;
    int code = REPLY_NONE;

    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        bool last;
        int more = line_code(line, (size_t)(newline - line), &last);

        if (more == 0 || (code != REPLY_NONE && more != code))
            return REPLY_NONE;
        code = more;
        if (last)
            return code;
        line = newline + 1;
    }
    return REPLY_PARTIAL;
}

/* The first line of TEXT. */
static void note_said(char said[PROBE_SAID_SIZE], const char *text, size_t length)
{
    size_t used = 0;

    while (used < length && used < PROBE_SAID_SIZE - 1 && strchr("\r\n", text[used]) == NULL) {
        said[used] = text[used];
        used++;
    }
    said[used] = '\0';
}

/* *STOPPED: this end gave up, so that REPLY_NONE says nothing about the other. */
static int reply_read(const struct probe_config *config, int fd, int64_t deadline_ms, bool *stopped)
{
    char text[PROBE_GREETING_MAX];
    size_t length = 0;
    int code = REPLY_PARTIAL;

    *stopped = false;
    while (code == REPLY_PARTIAL && length < sizeof text) {
        enum wait_result ready = wait_for(config, fd, POLLIN, deadline_ms);
        ssize_t got;

        *stopped = ready == WAIT_STOPPED;
        if (ready != WAIT_READY)
            return REPLY_NONE;
        got = recv(fd, text + length, sizeof text - length, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return REPLY_NONE;
        length += (size_t)got;
        code = reply_look(text, length);
        if (config->said != NULL)
            note_said(config->said, text, length);
    }
    return code == REPLY_PARTIAL ? REPLY_NONE : code;
}

static enum liveness_state greeting_read(const struct probe_config *config, int fd, int64_t deadline_ms)
{
    bool stopped;
    int code = reply_read(config, fd, deadline_ms, &stopped);

    return stopped ? LIVENESS_UNKNOWN : code == 220 ? LIVENESS_ACCEPTING : LIVENESS_DEFERRING;
}

/* Behind the greeting: whether a letter would be put off.  5xx is about us, or about what we asked for, and not about the server:
 * what else it would say is not known, so it is as good as its greeting.  RFC 5321 4.5.1: each domain has a postmaster; without
 * the domain Postfix takes it whatever its restrictions are. */
static enum liveness_state envelope_try(const struct probe_config *config, int fd, int64_t deadline_ms)
{
    char id[UUID_SIZE], commands[3][PROBE_COMMAND_SIZE];

    if (!uuid_draw(id))
        return LIVENESS_UNKNOWN;
    snprintf(commands[0], PROBE_COMMAND_SIZE, "EHLO %.255s\r\n", config->name);
    snprintf(commands[1], PROBE_COMMAND_SIZE, "MAIL FROM:<%s@%.255s>\r\n", id, config->name);
    snprintf(commands[2], PROBE_COMMAND_SIZE, "RCPT TO:<postmaster@%.255s>\r\n", config->domain);
    for (size_t i = 0; i < 3; i++) {
        bool stopped;
        int code;

        if (send(fd, commands[i], strlen(commands[i]), MSG_NOSIGNAL) < 0)
            return LIVENESS_DEFERRING;
        code = reply_read(config, fd, deadline_ms, &stopped);
        if (stopped)
            return LIVENESS_UNKNOWN;
        if (code >= 500 && code <= 599)
            break;
        if (code < 200 || code > 299)
            return LIVENESS_DEFERRING;
    }
    return LIVENESS_ACCEPTING;
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
        if (state == LIVENESS_ACCEPTING && config->name != NULL)
            state = envelope_try(config, fd, deadline_ms);
        say_quit(config, fd, deadline_ms);
    }
    close(fd);
    return state;
}
