#include "milter/prime.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmilter/mfapi.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

enum { PATIENCE_S = 10, PROTOCOL_VERSION = 6 };

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

static int unix_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int inet_connect(int family, const char *port_at_host)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *found = NULL;
    const char *at = strchr(port_at_host, '@');
    char port[32], host[256];
    int fd = -1;

    snprintf(port, sizeof port, "%.*s", at != NULL ? (int)(at - port_at_host) : 31, port_at_host);
    /* libmilter takes the brackets of an address literal, and listens on all addresses when no host is named. */
    snprintf(host, sizeof host, "%s", at == NULL ? "" : at[1] == '[' ? at + 2 : at + 1);
    if (at != NULL && at[1] == '[')
        host[strcspn(host, "]")] = '\0';
    if (getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* Connect to SPEC in libmilter's syntax; -1 with errno. */
static int spec_connect(const char *spec)
{
    if (strncmp(spec, "inet:", 5) == 0)
        return inet_connect(AF_INET, spec + 5);
    if (strncmp(spec, "inet6:", 6) == 0)
        return inet_connect(AF_INET6, spec + 6);
    if (strncmp(spec, "unix:", 5) == 0)
        return unix_connect(spec + 5);
    if (strncmp(spec, "local:", 6) == 0)
        return unix_connect(spec + 6);
    return unix_connect(spec);
}

static bool read_all(int fd, void *buffer, size_t size)
{
    ssize_t got;

    /* SA_RESTART is of no avail to a socket with a timeout, signal(7). */
    do
        got = recv(fd, buffer, size, MSG_WAITALL);
    while (got < 0 && errno == EINTR);
    if (got >= 0 && (size_t)got < size)
        errno = ECONNRESET;
    return got == (ssize_t)size;
}

/* Offer what prime_is_offer() knows; true when the answer leaves MAIL and RCPT out. */
static bool negotiate(int fd)
{
    struct option_packet packet = {
        .length = htonl(sizeof packet - sizeof packet.length),
        .command = SMFIC_OPTNEG,
        .version = htonl(PROTOCOL_VERSION),
        .actions = htonl(SMFIF_SETSYMLIST),
        .steps = htonl(SMFI_CURR_PROT),
    };
    const uint32_t widening = SMFIP_NOMAIL | SMFIP_NORCPT;

    if (send(fd, &packet, sizeof packet, MSG_NOSIGNAL) != sizeof packet || !read_all(fd, &packet, sizeof packet))
        return false;
    errno = EPROTO;
    return packet.command == SMFIC_OPTNEG && (ntohl(packet.steps) & widening) == widening;
}

static bool prime_once(const char *socket_spec)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = spec_connect(socket_spec);
    int saved_errno;
    bool primed;

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    primed = negotiate(fd);
    saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return primed;
}

void prime(const char *socket_spec)
{
    if (prime_once(socket_spec))
        log_event(LOG_LEVEL_DEBUG, "primed socket=%s", socket_spec);
    else
        log_event(LOG_LEVEL_WARNING,
                  "prime-failed socket=%s error=\"%s\" effect=\"a client that sends DATA again after its 451, without "
                  "RSET, waits for the MTA's milter timeout\"",
                  socket_spec, strerror(errno));
}

bool prime_knock(const char *socket_spec)
{
    int fd = spec_connect(socket_spec);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}
