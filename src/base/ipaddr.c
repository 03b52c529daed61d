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

struct ipnet ipaddr_limit_network(const struct ipaddr *address)
{
    uint8_t bits = address->family == 4 ? 32 : 64;

    return (struct ipnet){.address = masked(address, bits), .bits = bits};
}

struct ipnet ipnet_alone(const struct ipaddr *address)
{
    return (struct ipnet){.address = *address, .bits = (uint8_t)width(address)};
}

bool ipnet_parse(const char *text, struct ipnet *net)
{
    char address[IPADDR_TEXT_SIZE];
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
    struct ipaddr base;
    unsigned long bits, mapped_bits;
    char *end;

    if (length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    if (!ipaddr_parse(address, &base))
        return false;
    bits = width(&base);
    mapped_bits = base.family == 4 && strchr(address, ':') != NULL ? 96 : 0;
    if (slash != NULL) {
        if (slash[1] < '0' || slash[1] > '9')
            return false;
        bits = strtoul(slash + 1, &end, 10);
        if (*end != '\0' || bits < mapped_bits || bits > mapped_bits + width(&base))
            return false;
        bits -= mapped_bits;
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

/* How addresses behind a prefix hold IPv4 ones. */
struct embedding {
    struct ipnet prefix;
    unsigned first; /* octet of the address */
    bool flipped;   /* all bits of it */
    bool named;     /* by a setting */
};

enum { RESERVED_OCTET = 8 /* RFC 6052 2.2: bits 64 to 71 */ };

static const struct embedding gateways[] = {
    {.prefix = {{6, {0x00, 0x64, 0xff, 0x9b}}, 96}, .first = 12},
    {.prefix = {{6, {0x20, 0x02}}, 16}, .first = 2},
    {.prefix = {{6, {0x20, 0x01, 0x00, 0x00}}, 32}, .first = 12, .flipped = true},
};

bool ipnet_is_nat64_prefix(const struct ipnet *net)
{
    return net->address.family == 6 && net->address.bytes[RESERVED_OCTET] == 0 && net->bits >= 32 &&
           (net->bits == 96 || (net->bits <= 64 && net->bits % 8 == 0));
}

/* Where ADDRESS holds an IPv4 one; false when nowhere. */
static bool embedding_find(const struct ipaddr *address, const struct ipnet *prefixes, size_t count, struct embedding *found)
{
    for (size_t i = 0; i < count; i++) {
        *found = (struct embedding){.prefix = prefixes[i], .first = prefixes[i].bits / 8, .named = true};
        if (ipnet_contains(&found->prefix, address))
            return true;
    }
    for (size_t i = 0; i < sizeof gateways / sizeof *gateways; i++) {
        *found = gateways[i];
        if (ipnet_contains(&found->prefix, address))
            return true;
    }
    return false; /* ::ffff:0:0/96 never gets here: see ipaddr_from_v6() */
}

/* The octet of an address that holds octet I of the IPv4 one: a translator's prefixes leave the reserved one out. */
static unsigned octet_of(const struct embedding *embedding, unsigned i)
{
    unsigned octet = embedding->first + i;

    return embedding->named && embedding->prefix.bits < 96 && octet >= RESERVED_OCTET ? octet + 1 : octet;
}

/* What NET, which lies there, has of an IPv4 address; the bits may be none. */
static struct ipnet embedding_take(const struct embedding *embedding, const struct ipnet *net)
{
    struct ipnet inner = {.address = {.family = 4}};

    for (unsigned i = 0; i < 4; i++) {
        unsigned octet = octet_of(embedding, i), known = net->bits > 8 * octet ? net->bits - 8 * octet : 0;

        inner.address.bytes[i] = net->address.bytes[octet] ^ (embedding->flipped ? 0xff : 0);
        inner.bits += (uint8_t)(known < 8 ? known : 8);
    }
    inner.address = masked(&inner.address, inner.bits);
    return inner;
}

/* The IPv4 address that a gateway would turn ADDRESS into; ADDRESS itself when it is none of those. */
static struct ipaddr behind_gateway(const struct ipaddr *address)
{
    const struct ipnet whole = {.address = *address, .bits = 128};
    struct embedding embedding;

    return embedding_find(address, NULL, 0, &embedding) ? embedding_take(&embedding, &whole).address : *address;
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

bool ipnet_holds_ipv4(const struct ipnet *net, const struct ipnet *prefixes, size_t count)
{
    struct embedding embedding;

    return embedding_find(&net->address, prefixes, count, &embedding) && net->bits >= embedding.prefix.bits;
}

struct ipnet ipnet_client(const struct ipnet *net, const struct ipnet *prefixes, size_t count)
{
    struct embedding embedding;
    struct ipnet inner;

    if (!ipnet_holds_ipv4(net, prefixes, count))
        return *net;
    embedding_find(&net->address, prefixes, count, &embedding);
    inner = embedding_take(&embedding, net);
    if (inner.bits == 0 || ipaddr_is_unusable(&inner.address) || (!embedding.named && ipaddr_is_private(&inner.address)) ||
        (embedding.named && embedding.prefix.bits < 96 && net->address.bytes[RESERVED_OCTET] != 0))
        return *net;
    return inner;
}

struct ipaddr ipaddr_client(const struct ipaddr *address, const struct ipnet *prefixes, size_t count)
{
    const struct ipnet whole = {.address = *address, .bits = 128};

    return address->family == 6 ? ipnet_client(&whole, prefixes, count).address : *address;
}
