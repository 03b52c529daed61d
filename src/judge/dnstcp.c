#include "judge/dnstcp.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"

/* Let no next call on FD take longer than is left. */
static bool limit(int fd, int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - clock_monotonic_ms();
    struct timeval left = {.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};

    return left_ms > 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &left, sizeof left) == 0;
}

static bool receive(int fd, unsigned char *into, size_t size, int64_t deadline_ms)
{
    while (size > 0) {
        ssize_t got = limit(fd, deadline_ms) ? recv(fd, into, size, 0) : 0;

        if (got <= 0)
            return false;
        into += got;
        size -= (size_t)got;
    }
    return true;
}

size_t dnstcp_ask(const struct sockaddr *server, const unsigned char *query, uint16_t query_length,
                  unsigned char *answer, size_t answer_size, int64_t deadline_ms)
{
    socklen_t length = server->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    unsigned char packet[2 + 512], prefix[2];
    int fd = socket(server->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t size = 0;

    if (fd < 0)
        return 0;
    if (query_length > sizeof packet - 2)
        goto out;
    packet[0] = (unsigned char)(query_length >> 8);
    packet[1] = (unsigned char)query_length;
    memcpy(packet + 2, query, query_length);
    if (!limit(fd, deadline_ms) || connect(fd, server, length) != 0 || !limit(fd, deadline_ms) ||
        send(fd, packet, 2 + (size_t)query_length, MSG_NOSIGNAL) != 2 + query_length)
        goto out;
    if (!receive(fd, prefix, sizeof prefix, deadline_ms))
        goto out;
    size = (size_t)(prefix[0] << 8 | prefix[1]);
    if (size > answer_size || !receive(fd, answer, size, deadline_ms))
        size = 0;
out:
    close(fd);
    return size;
}
