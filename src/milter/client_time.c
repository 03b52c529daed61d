#include "milter/client_time.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_MAX = 8192, PATIENCE_MS = 1000 /* the kernel answers at once */ };

struct diag_question {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
};

/* A socket that listens for both families has its IPv4 connections as IPv6 ones: ::ffff:192.0.2.1. */
static void address_put(uint32_t out[4], const struct ipaddr *address, bool mapped)
{
    memset(out, 0, 4 * sizeof *out);
    if (address->family == 4 && mapped)
        out[2] = htonl(0xffff);
    memcpy(address->family == 4 && mapped ? &out[3] : out, address->bytes, address->family == 4 ? 4 : 16);
}

static bool question_send(int fd, const struct ipaddr *client, uint16_t client_port, const struct ipaddr *local,
                          uint16_t local_port, bool mapped)
{
    struct diag_question question = {
        .header = {.nlmsg_len = sizeof question, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .body = {
            .sdiag_family = client->family == 4 && !mapped ? AF_INET : AF_INET6,
            .sdiag_protocol = IPPROTO_TCP,
            .idiag_ext = 1 << (INET_DIAG_INFO - 1),
            .idiag_states = ~0U,
            .id = {.idiag_sport = htons(local_port),
                   .idiag_dport = htons(client_port),
                   .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}},
        },
    };

    address_put(question.body.id.idiag_src, local, mapped);
    address_put(question.body.id.idiag_dst, client, mapped);
    return send(fd, &question, sizeof question, 0) == (ssize_t)sizeof question;
}

static int64_t info_read(const struct tcp_info *info)
{
    return info->tcpi_last_data_sent > info->tcpi_last_data_recv
               ? (int64_t)info->tcpi_last_data_sent - info->tcpi_last_data_recv
               : 0;
}

static int64_t answer_read(const char *answer, size_t length)
{
    const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
    const struct inet_diag_msg *message;
    size_t left;

    if (!NLMSG_OK(header, length) || header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
        header->nlmsg_len < NLMSG_LENGTH(sizeof *message))
        return CLIENT_TIME_UNKNOWN;
    message = NLMSG_DATA(header);
    left = header->nlmsg_len - NLMSG_LENGTH(sizeof *message);
    for (const struct rtattr *attribute = (const struct rtattr *)(message + 1); RTA_OK(attribute, left);
         attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type == INET_DIAG_INFO &&
            RTA_PAYLOAD(attribute) > offsetof(struct tcp_info, tcpi_last_ack_recv))
            return info_read(RTA_DATA(attribute));
    }
    return CLIENT_TIME_UNKNOWN;
}

int64_t client_time_ms(const struct ipaddr *client, uint16_t client_port, const struct ipaddr *local, uint16_t local_port)
{
    static const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int64_t found_ms = CLIENT_TIME_UNKNOWN;
    _Alignas(struct nlmsghdr) char answer[ANSWER_MAX];
    int fd;

    if (client->family == 0 || client->family != local->family || client_port == 0 || local_port == 0)
        return CLIENT_TIME_UNKNOWN;
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return CLIENT_TIME_UNKNOWN;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (int mapped = 0; mapped < (client->family == 4 ? 2 : 1) && found_ms == CLIENT_TIME_UNKNOWN; mapped++) {
        ssize_t got = -1;

        if (question_send(fd, client, client_port, local, local_port, mapped == 1))
            got = recv(fd, answer, sizeof answer, 0);
        if (got > 0)
            found_ms = answer_read(answer, (size_t)got);
    }
    close(fd);
    return found_ms;
}
