#include "milter/prime.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmilter/mfapi.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "milter/server.h"
#include "settings/settings.h"

enum { PRIME_PATIENCE_MS = 10000, PROTOCOL_VERSION = 6 };

/* What travels: a length, a command, and three words, all in network order. */
struct __attribute__((packed)) option_packet {
    uint32_t length; /* of what follows */
    char command;
    uint32_t version, actions, steps;
};

bool prime_is_offer(unsigned long actions)
{
    return actions == SMFIF_SETSYMLIST;
}

/* Wait until FD is readable; false with errno when DEADLINE_MS comes first, or an end is told by STOP_FD. */
static bool await_answer(int fd, int stop_fd, int64_t deadline_ms)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    int ready;

    do {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();

        ready = poll(fds, 2, left_ms > 0 ? (int)left_ms : 0);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0)
        errno = ETIMEDOUT;
    else if (fds[1].revents != 0)
        errno = ECANCELED;
    return ready > 0 && fds[1].revents == 0;
}

/* The answer is small and comes in one piece. */
static bool read_answer(int fd, struct option_packet *packet, int stop_fd)
{
    ssize_t got;

    if (!await_answer(fd, stop_fd, clock_monotonic_ms() + PRIME_PATIENCE_MS))
        return false;
    got = recv(fd, packet, sizeof *packet, MSG_DONTWAIT);
    if (got >= 0 && (size_t)got < sizeof *packet)
        errno = ECONNRESET;
    return got == (ssize_t)sizeof *packet;
}

/* Offer what prime_is_offer() knows; true when the answer leaves MAIL and RCPT out. */
static bool negotiate_as_mta(int fd, int stop_fd)
{
    struct option_packet packet = {
        .length = htonl(sizeof packet - sizeof packet.length),
        .command = SMFIC_OPTNEG,
        .version = htonl(PROTOCOL_VERSION),
        .actions = htonl(SMFIF_SETSYMLIST),
        .steps = htonl(SMFI_CURR_PROT),
    };
    const uint32_t widening = SMFIP_NOMAIL | SMFIP_NORCPT;

    if (send(fd, &packet, sizeof packet, MSG_NOSIGNAL) != sizeof packet || !read_answer(fd, &packet, stop_fd))
        return false;
    errno = EPROTO;
    return packet.command == SMFIC_OPTNEG && (ntohl(packet.steps) & widening) == widening;
}

struct primer {
    int fd;    /* -1: not connected, for the reason that is in error */
    int error; /* an errno */
};

struct primer *prime_connect(void)
{
    struct primer *primer = alloc_zeroed(1, sizeof *primer);
    struct sockaddr_storage address;
    socklen_t length = sizeof address;

    primer->fd = -1;
    if (server_address(&address, &length))
        primer->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (primer->fd < 0 || connect(primer->fd, (struct sockaddr *)&address, length) != 0)
        primer->error = errno;
    return primer;
}

void prime(struct primer **primer, int stop_fd)
{
    int error = (*primer)->error;

    if (error == 0 && !negotiate_as_mta((*primer)->fd, stop_fd))
        error = errno;
    prime_hang_up(primer);
    if (error == 0)
        log_event(LOG_LEVEL_DEBUG, "primed");
    else if (error != ECANCELED)
        log_event(LOG_LEVEL_WARNING,
                  "prime-failed error=\"%s\" effect=\"a client that sends DATA again after its 451, without RSET, waits for "
                  "the MTA's milter timeout\"",
                  strerror(error));
}

void prime_hang_up(struct primer **primer)
{
    if (*primer != NULL && (*primer)->fd >= 0)
        close((*primer)->fd);
    free(*primer);
    *primer = NULL;
}

/* 0, or an errno. */
static int ask_at(int family, const struct sockaddr *address, socklen_t length)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

    if (fd < 0 || connect(fd, address, length) != 0 || !negotiate_as_mta(fd, -1))
        error = errno;
    if (fd >= 0)
        close(fd);
    return error;
}

/* PORT, PORT@HOST or PORT@[HOST]: libmilter listens on one of the host's addresses. */
static const char *ask_inet(int family, const char *text)
{
    const struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const char *at = strchr(text, '@');
    size_t bracket = at != NULL && at[1] == '[' ? 1 : 0;
    char port[sizeof "65535"], host[NI_MAXHOST];
    struct addrinfo *found = NULL;
    int error, last = ENOENT;

    snprintf(port, sizeof port, "%.*s", (int)strcspn(text, "@"), text);
    snprintf(host, sizeof host, "%.*s", at == NULL ? 0 : (int)strcspn(at + 1 + bracket, "]"), at == NULL ? "" : at + 1 + bracket);
    error = getaddrinfo(at == NULL ? NULL : host, port, &hints, &found);
    if (error != 0)
        return gai_strerror(error);
    for (struct addrinfo *one = found; one != NULL && last != 0; one = one->ai_next)
        last = ask_at(one->ai_family, one->ai_addr, one->ai_addrlen);
    freeaddrinfo(found);
    return last == 0 ? NULL : strerror(last);
}

const char *prime_ping(const char *socket)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error;

    if (strncmp(socket, "inet:", 5) == 0)
        return ask_inet(AF_INET, socket + 5);
    if (strncmp(socket, "inet6:", 6) == 0)
        return ask_inet(AF_INET6, socket + 6);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", settings_socket_path(socket));
    error = ask_at(AF_UNIX, (struct sockaddr *)&address, sizeof address);
    return error == 0 ? NULL : strerror(error);
}
