/* ipaddr.h - IP addresses and networks as plain values.
 *
 * An IPv4 address in IPv6 clothes (::ffff:192.0.2.1) is taken for the IPv4 address that it is; the other clothes are ways through
 * the net, so only ipaddr_client() takes those off.
 * Threads: any.  Owns: nothing; values are copied.  Fails: parsing returns false, nothing else fails.
 */
#ifndef BASE_IPADDR_H
#define BASE_IPADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { IPADDR_TEXT_SIZE = 64 }; /* an IPv6 address, a slash and a length fit */

struct ipaddr {
    uint8_t family;    /* 0: no address; 4; 6 */
    uint8_t bytes[16]; /* network order; IPv4 uses the first four, the rest is zero */
};

struct ipnet {
    struct ipaddr address; /* host bits are zero */
    uint8_t bits;
};

/* "192.0.2.1", "2001:db8::1", "IPv6:2001:db8::1" (as MTAs write it in macros), "[192.0.2.1]". */
bool ipaddr_parse(const char *text, struct ipaddr *address);

/* From AF_INET or AF_INET6; PORT (may be NULL) in host order.  False for other families and NULL. */
bool ipaddr_from_sockaddr(const struct sockaddr *sockaddr, struct ipaddr *address, uint16_t *port);

/* Fill OUT for ADDRESS and PORT; returns the length for connect(). */
socklen_t ipaddr_to_sockaddr(const struct ipaddr *address, uint16_t port, struct sockaddr_storage *out);

/* "192.0.2.1" or compressed IPv6; "-" when there is no address.  Returns OUT. */
const char *ipaddr_format(const struct ipaddr *address, char out[IPADDR_TEXT_SIZE]);

bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b);

/* What limits take for one client: IPv4 /32, IPv6 /64, which is the least that anybody is given. */
struct ipnet ipaddr_limit_network(const struct ipaddr *address);

/* The network of ADDRESS alone. */
struct ipnet ipnet_alone(const struct ipaddr *address);

/* "192.0.2.0/24", "2001:db8::/32", or an address alone; false when host bits are set or TEXT is no network. */
bool ipnet_parse(const char *text, struct ipnet *net);
bool ipnet_contains(const struct ipnet *net, const struct ipaddr *address);
const char *ipnet_format(const struct ipnet *net, char out[IPADDR_TEXT_SIZE]);

/* A prefix behind which addresses hold IPv4 ones, as a translator's has it: of length 32, 40, 48, 56, 64 or 96, and with the bits
 * 64 to 71 zero.  RFC 6052 2.2. */
bool ipnet_is_nat64_prefix(const struct ipnet *net);

/* Who ADDRESS is: the IPv4 client where it holds one's address, else ADDRESS.  That is ::ffff:0:0/96 (RFC 4291 2.5.5.2), 64:ff9b::/96
 * (RFC 6052 2.1), 6to4 (2002::/16, RFC 3056 2), Teredo (2001::/32, RFC 4380 4: the last 32 bits, flipped), and what lies behind
 * COUNT PREFIXES, each an ipnet_is_nat64_prefix().  An address that is no client on the Internet is not taken out (but from
 * ::ffff:0:0/96): whoever writes 127.0.0.1 or 10.0.0.1 into one is not that; nor is a private one but behind PREFIXES, whose owner
 * may have it so (RFC 8215). */
struct ipaddr ipaddr_client(const struct ipaddr *address, const struct ipnet *prefixes, size_t count);

/* The same for a network: that of the IPv4 clients in NET; NET when it has no bit of an IPv4 address, or is none of those. */
struct ipnet ipnet_client(const struct ipnet *net, const struct ipnet *prefixes, size_t count);

/* Does NET lie where addresses hold IPv4 ones?  Of what ipaddr_client() or ipnet_client() returned: it is nobody, or everybody. */
bool ipnet_holds_ipv4(const struct ipnet *net, const struct ipnet *prefixes, size_t count);

/* Never a place to probe or a client to list: unspecified, loopback, link-local, multicast, broadcast, reserved (240/4),
 * IPv4-compatible (::/96), also where NAT64 (64:ff9b::/96), 6to4 (2002::/16) or Teredo (2001::/32) leads there.
 * RFC 1122 3.2.1.3, RFC 3927, RFC 4291 2.4 and 2.5.5.1, RFC 5771, RFC 6890, RFC 6052 2.1, RFC 3056. */
bool ipaddr_is_unusable(const struct ipaddr *address);

/* RFC 1918, RFC 6598 (100.64/10), RFC 4193 (fc00::/7), RFC 3879 (fec0::/10), RFC 8215 (64:ff9b:1::/48); the same ways. */
bool ipaddr_is_private(const struct ipaddr *address);

#endif
