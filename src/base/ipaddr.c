#include "base/ipaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static struct ipaddr ipaddr_from_v6(const uint8_t bytes[16])
{
    struct ipaddr address = {.family = 6};

    if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
        address.family = 4;
        memcpy(address.bytes, bytes + 12, 4);
    } else {
        memcpy(address.bytes, bytes, 16);
    }
    return address;
}

bool ipaddr_parse(const char *text, struct ipaddr *address)
{
    char copy[INET6_ADDRSTRLEN + 8];
    uint8_t bytes[16];
    size_t length = strlen(text);

    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length >= 5 && strncasecmp(text, "IPv6:", 5) == 0) {
        text += 5;
        length -= 5;
    }
    if (length >= sizeof copy)
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (inet_pton(AF_INET, copy, bytes) == 1) {
        *address = (struct ipaddr){.family = 4};
        memcpy(address->bytes, bytes, 4);
        return true;
    }
    if (inet_pton(AF_INET6, copy, bytes) == 1) {
        *address = ipaddr_from_v6(bytes);
        return true;
    }
    return false;
}

bool ipaddr_from_sockaddr(const struct sockaddr *sockaddr, struct ipaddr *address, uint16_t *port)
{
    in_port_t net_port;

    *address = (struct ipaddr){0};
    if (sockaddr == NULL)
        return false;
    if (sockaddr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sockaddr;

        address->family = 4;
        memcpy(address->bytes, &in->sin_addr, 4);
        net_port = in->sin_port;
    } else if (sockaddr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sockaddr;

        *address = ipaddr_from_v6(in6->sin6_addr.s6_addr);
        net_port = in6->sin6_port;
    } else {
        return false;
    }
    if (port != NULL)
        *port = ntohs(net_port);
    return true;
}

socklen_t ipaddr_to_sockaddr(const struct ipaddr *address, uint16_t port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (address->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;

        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, address->bytes, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, address->bytes, 16);
    return sizeof *in6;
}

const char *ipaddr_format(const struct ipaddr *address, char out[IPADDR_TEXT_SIZE])
{
    if (address->family == 0 ||
        inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, out, IPADDR_TEXT_SIZE) == NULL)
        strcpy(out, "-");
    return out;
}

bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, 16) == 0;
}

static unsigned width(const struct ipaddr *address)
{
    return address->family == 4 ? 32 : 128;
}

/* ADDRESS with everything after the first BITS bits zero. */
static struct ipaddr masked(const struct ipaddr *address, unsigned bits)
{
    struct ipaddr out = *address;

    for (unsigned i = 0; i < 16; i++) {
        unsigned first = i * 8;

        if (first >= bits)
            out.bytes[i] = 0;
        else if (bits - first < 8)
            out.bytes[i] &= (uint8_t)(0xff << (8 - (bits - first)));
    }
    return out;
}

struct ipnet ipaddr_client_network(const struct ipaddr *address)
{
    uint8_t bits = address->family == 4 ? 32 : 64;

    return (struct ipnet){.address = masked(address, bits), .bits = bits};
}

bool ipnet_parse(const char *text, struct ipnet *net)
{
    char address[IPADDR_TEXT_SIZE];
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
    struct ipaddr base;
    unsigned long bits;
    char *end;

    if (length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    if (!ipaddr_parse(address, &base))
        return false;
    bits = width(&base);
    if (slash != NULL) {
        if (slash[1] < '0' || slash[1] > '9')
            return false;
        bits = strtoul(slash + 1, &end, 10);
        if (*end != '\0' || bits > width(&base))
            return false;
    }
    net->address = masked(&base, (unsigned)bits);
    net->bits = (uint8_t)bits;
    return ipaddr_equal(&net->address, &base);
}

bool ipnet_contains(const struct ipnet *net, const struct ipaddr *address)
{
    struct ipaddr inside;

    if (net->address.family != address->family)
        return false;
    inside = masked(address, net->bits);
    return ipaddr_equal(&inside, &net->address);
}

const char *ipnet_format(const struct ipnet *net, char out[IPADDR_TEXT_SIZE])
{
    char address[IPADDR_TEXT_SIZE];

    snprintf(out, IPADDR_TEXT_SIZE, "%.50s/%u", ipaddr_format(&net->address, address), net->bits);
    return out;
}

/* The IPv4 address that a gateway would turn ADDRESS into; ADDRESS itself when it is none of those. */
static struct ipaddr behind_gateway(const struct ipaddr *address)
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b}, six_to_four[2] = {0x20, 0x02};
    struct ipaddr inner = {.family = 4};

    if (address->family == 6 && memcmp(address->bytes, nat64, sizeof nat64) == 0)
        memcpy(inner.bytes, address->bytes + 12, 4);
    else if (address->family == 6 && memcmp(address->bytes, six_to_four, sizeof six_to_four) == 0)
        memcpy(inner.bytes, address->bytes + 2, 4);
    else
        inner = *address;
    return inner;
}

static bool in_any(const struct ipaddr *address, const char *const *nets)
{
    struct ipaddr inner = behind_gateway(address);
    struct ipnet net;

    for (; *nets != NULL; nets++)
        if (ipnet_parse(*nets, &net) && (ipnet_contains(&net, address) || ipnet_contains(&net, &inner)))
            return true;
    return false;
}

bool ipaddr_is_unusable(const struct ipaddr *address)
{
    static const char *const nets[] = {"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
                                       "::/96",     "fe80::/10",   "ff00::/8",       NULL};

    return address->family == 0 || in_any(address, nets);
}

bool ipaddr_is_private(const struct ipaddr *address)
{
    static const char *const nets[] = {"10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16",
                                       "100.64.0.0/10", "fc00::/7",      "fec0::/10",
                                       "64:ff9b:1::/48", NULL};

    return in_any(address, nets);
}
