#include "judge/mx.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "judge/dnstcp.h"

enum {
    MESSAGE_MAX = 65535, /* RFC 1035 4.2.2 */
    CNAME_MAX = 8        /* links that are followed; BIND and unbound stop in the same region */
};

/* One look-up: the resolver state, the message last received, and what all messages said together. */
struct lookup {
    struct __res_state resolver;
    unsigned char *message;
    const atomic_bool *stop;
    bool silent;    /* a question was not answered at all: asking on would only wait again */
    bool has_ttl;
    uint32_t ttl_s, ttl_max_s; /* the smallest, the longest */
};

/* glibc keeps every server in _u._ext too, and an IPv6 one only there; its sockets are -1 until they are opened. */
static void server_set(res_state resolver, int index, const struct sockaddr_storage *server)
{
    struct sockaddr_in6 *copy = alloc_zeroed(1, sizeof *copy);

    memset(&resolver->nsaddr_list[index], 0, sizeof resolver->nsaddr_list[index]);
    if (server->ss_family == AF_INET6) {
        memcpy(copy, server, sizeof *copy);
    } else {
        memcpy(copy, server, sizeof(struct sockaddr_in));
        memcpy(&resolver->nsaddr_list[index], server, sizeof(struct sockaddr_in));
    }
    free(resolver->_u._ext.nsaddrs[index]);
    resolver->_u._ext.nsaddrs[index] = copy;
    resolver->_u._ext.nssocks[index] = -1;
}

static bool resolver_open(const struct settings_dns *config, res_state resolver)
{
    if (res_ninit(resolver) != 0)
        return false;
    resolver->options &= ~(unsigned long)(RES_DNSRCH | RES_DEFNAMES);
    resolver->options |= RES_IGNTC; /* for TCP there is tcp_ask() */
    resolver->retrans = config->timeout_s;
    resolver->retry = config->attempts;
    if (config->server_count == 0)
        return true;
    for (size_t i = 0; i < config->server_count; i++)
        server_set(resolver, (int)i, &config->servers[i]);
    for (size_t i = config->server_count; i < MAXNS; i++) {
        free(resolver->_u._ext.nsaddrs[i]); /* a server of the system's that ours do not replace */
        resolver->_u._ext.nsaddrs[i] = NULL;
    }
    resolver->nscount = (int)config->server_count;
    resolver->_u._ext.nscount = (uint16_t)config->server_count;
    return true;
}

/* As the resolver itself picks it: an IPv6 one is only in _u._ext. */
static const struct sockaddr *server_get(res_state resolver, int index)
{
    const struct sockaddr_in6 *other = resolver->_u._ext.nsaddrs[index];

    if (resolver->nsaddr_list[index].sin_family == 0 && other != NULL)
        return (const struct sockaddr *)other;
    return (const struct sockaddr *)&resolver->nsaddr_list[index];
}

/* Ask over TCP the first server that answers there, once. */
static enum mx_status tcp_ask(struct lookup *lookup, const char *name, int type, size_t *length)
{
    const HEADER *header = (const HEADER *)lookup->message;
    res_state resolver = &lookup->resolver;
    unsigned char query[NS_PACKETSZ];
    int query_length = res_nmkquery(resolver, ns_o_query, name, ns_c_in, type, NULL, 0, NULL, query, sizeof query);
    size_t got = 0;

    if (query_length < 0)
        return MX_UNKNOWN;
    for (int i = 0; i < resolver->nscount && got == 0; i++)
        got = dnstcp_ask(server_get(resolver, i), query, (uint16_t)query_length, lookup->message, MESSAGE_MAX,
                         clock_monotonic_ms() + resolver->retrans * 1000);
    lookup->silent = got == 0;
    if (got < (size_t)query_length || !header->qr || header->tc || memcmp(query, lookup->message, 2) != 0 ||
        memcmp(query + sizeof *header, lookup->message + sizeof *header, (size_t)query_length - sizeof *header) != 0)
        return MX_UNKNOWN; /* not the answer to our question: its id, the question itself */
    if (header->rcode == ns_r_nxdomain)
        return MX_NXDOMAIN;
    if (header->rcode != ns_r_noerror)
        return MX_UNKNOWN;
    *length = header->ancount != 0 ? got : 0;
    return MX_OK;
}

/* Ask for NAME's records of TYPE.  MX_OK with *LENGTH 0: there are none. */
static enum mx_status ask(struct lookup *lookup, const char *name, int type, size_t *length)
{
    const HEADER *header = (const HEADER *)lookup->message;
    int got;

    *length = 0;
    if (lookup->silent || *lookup->stop)
        return MX_UNKNOWN;
    /* Cleared, so that an rcode can be told from silence: res_nquery's own error does not tell. */
    memset(lookup->message, 0, sizeof *header);
    counter_add(COUNTER_DNS_QUERIES, 1);
    if ((lookup->resolver.options & RES_USEVC) != 0)
        return tcp_ask(lookup, name, type, length);
    got = res_nquery(&lookup->resolver, name, ns_c_in, type, lookup->message, MESSAGE_MAX);
    if (header->tc)
        return tcp_ask(lookup, name, type, length);
    if (got >= (int)sizeof *header && got <= MESSAGE_MAX) {
        *length = (size_t)got;
        return MX_OK;
    }
    if (got >= 0)
        return MX_UNKNOWN;
    if (lookup->resolver.res_h_errno == NO_DATA && header->qr)
        return MX_OK;
    if (lookup->resolver.res_h_errno == HOST_NOT_FOUND)
        return MX_NXDOMAIN;
    lookup->silent = header->rcode == ns_r_noerror && lookup->resolver.res_h_errno == TRY_AGAIN;
    return MX_UNKNOWN;
}

static void ttl_note(struct lookup *lookup, ns_rr record)
{
    uint32_t ttl_s = ns_rr_ttl(record) <= INT32_MAX ? ns_rr_ttl(record) : 0; /* RFC 2181 8 */

    if (!lookup->has_ttl || ttl_s < lookup->ttl_s)
        lookup->ttl_s = ttl_s;
    if (ttl_s > lookup->ttl_max_s)
        lookup->ttl_max_s = ttl_s;
    lookup->has_ttl = true;
}

/* Takes one record of the type asked for; false ends the look-up as MX_UNKNOWN. */
typedef bool record_taker(void *into, const ns_msg *message, const ns_rr *record);

/* If the answer says that NAME is an alias, put what for into NAME. */
static bool alias_follow(struct lookup *lookup, ns_msg *message, char name[NS_MAXDNAME])
{
    ns_rr record;

    for (int i = 0; i < ns_msg_count(*message, ns_s_an); i++) {
        if (ns_parserr(message, ns_s_an, i, &record) != 0)
            return false;
        if (ns_rr_type(record) != ns_t_cname || strcasecmp(ns_rr_name(record), name) != 0)
            continue;
        ttl_note(lookup, record);
        return dn_expand(ns_msg_base(*message), ns_msg_end(*message), ns_rr_rdata(record), name, NS_MAXDNAME) >= 0;
    }
    return false;
}

static enum mx_status records_take(struct lookup *lookup, ns_msg *message, const char *name, int type,
                                   record_taker *take, void *into, size_t *taken)
{
    ns_rr record;

    for (int i = 0; i < ns_msg_count(*message, ns_s_an); i++) {
        if (ns_parserr(message, ns_s_an, i, &record) != 0)
            return MX_UNKNOWN;
        if ((int)ns_rr_type(record) != type || ns_rr_class(record) != ns_c_in ||
            strcasecmp(ns_rr_name(record), name) != 0)
            continue;
        ttl_note(lookup, record);
        if (!take(into, message, &record))
            return MX_UNKNOWN;
        ++*taken;
    }
    return MX_OK;
}

/* Give NAME's records of TYPE to TAKE, aliases followed: within one answer, and by asking again where an answer ends
 * with an alias (a server that has no authority over the rest). */
static enum mx_status records_ask(struct lookup *lookup, const char *asked, int type, record_taker *take, void *into)
{
    char name[NS_MAXDNAME];
    int links = 0;

    strcpy(name, asked);
    for (;;) {
        size_t length, taken = 0;
        ns_msg message;
        int before = links;
        enum mx_status status = ask(lookup, name, type, &length);

        if (status != MX_OK || length == 0)
            return status;
        if (ns_initparse(lookup->message, (int)length, &message) != 0)
            return MX_UNKNOWN;
        while (alias_follow(lookup, &message, name)) {
            if (++links > CNAME_MAX)
                return MX_UNKNOWN;
        }
        status = records_take(lookup, &message, name, type, take, into, &taken);
        if (status != MX_OK || taken > 0 || links == before)
            return status;
    }
}

static bool address_take(void *into, const ns_msg *message, const ns_rr *record)
{
    struct mx_addresses *addresses = into;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    bool v4 = ns_rr_type(*record) == ns_t_a;

    (void)message;
    addresses->too_many = addresses->count == MX_ADDRESS_MAX;
    if (addresses->too_many || ns_rr_rdlen(*record) != (v4 ? sizeof in.sin_addr : sizeof in6.sin6_addr))
        return false;
    if (v4)
        memcpy(&in.sin_addr, ns_rr_rdata(*record), sizeof in.sin_addr);
    else
        memcpy(&in6.sin6_addr, ns_rr_rdata(*record), sizeof in6.sin6_addr);
    /* By way of a sockaddr, which turns ::ffff:127.0.0.1 into what it is. */
    return ipaddr_from_sockaddr(v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6,
                                &addresses->list[addresses->count++], NULL);
}

static void addresses_ask(struct lookup *lookup, const char *name, struct mx_addresses *addresses)
{
    *addresses = (struct mx_addresses){0};
    addresses->status = records_ask(lookup, name, ns_t_a, address_take, addresses);
    if (addresses->status == MX_OK)
        addresses->status = records_ask(lookup, name, ns_t_aaaa, address_take, addresses);
    if (addresses->status == MX_UNKNOWN)
        addresses->count = 0;
}

static bool host_add(struct mx_answer *answer, const char *name, uint16_t preference)
{
    struct mx_host *host = NULL;

    for (size_t i = 0; i < answer->host_count; i++) {
        if (strcmp(answer->hosts[i].name, name) == 0)
            host = &answer->hosts[i];
    }
    if (host != NULL) {
        if (preference < host->preference)
            host->preference = preference;
        return true;
    }
    answer->too_many = answer->host_count == MX_MAX;
    if (answer->too_many)
        return false;
    host = &answer->hosts[answer->host_count++];
    strcpy(host->name, name);
    host->preference = preference;
    return true;
}

static bool mx_take(void *into, const ns_msg *message, const ns_rr *record)
{
    struct mx_answer *answer = into;
    char name[NS_MAXDNAME];

    if (ns_rr_rdlen(*record) < 3 || dn_expand(ns_msg_base(*message), ns_msg_end(*message), ns_rr_rdata(*record) + 2,
                                              name, sizeof name) < 0)
        return false;
    if (name[0] == '\0') { /* beside other MXs it means nothing (RFC 7505 3) */
        answer->null_mx = true;
        return true;
    }
    if (strlen(name) > DOMAIN_MAX)
        return false;
    for (char *p = name; *p != '\0'; p++) {
        if (*p >= 'A' && *p <= 'Z')
            *p += 'a' - 'A';
    }
    return host_add(answer, name, (uint16_t)ns_get16(ns_rr_rdata(*record)));
}

static int host_compare(const void *a, const void *b)
{
    const struct mx_host *left = a, *right = b;

    if (left->preference != right->preference)
        return left->preference < right->preference ? -1 : 1;
    return strcmp(left->name, right->name);
}

static void hosts_ask(struct lookup *lookup, const char *domain, struct mx_answer *answer)
{
    answer->status = records_ask(lookup, domain, ns_t_mx, mx_take, answer);
    if (answer->status != MX_OK) {
        answer->host_count = 0;
        answer->null_mx = false;
        return;
    }
    if (answer->host_count > 0)
        answer->null_mx = false;
    qsort(answer->hosts, answer->host_count, sizeof *answer->hosts, host_compare);
    for (size_t i = 0; i < answer->host_count; i++) {
        addresses_ask(lookup, answer->hosts[i].name, &answer->hosts[i].addresses);
        answer->too_many = answer->too_many || answer->hosts[i].addresses.too_many;
    }
    addresses_ask(lookup, domain, &answer->addresses);
    answer->too_many = answer->too_many || answer->addresses.too_many;
}

void mx_resolve(const struct settings_dns *config, const char *domain, const atomic_bool *stop, struct mx_answer *answer)
{
    struct lookup lookup = {.stop = stop};

    *answer = (struct mx_answer){.status = MX_UNKNOWN};
    if (!resolver_open(config, &lookup.resolver))
        return;
    lookup.message = alloc_zeroed(1, MESSAGE_MAX);
    hosts_ask(&lookup, domain, answer);
    answer->ttl_s = lookup.ttl_s;
    answer->ttl_max_s = lookup.ttl_max_s;
    free(lookup.message);
    res_nclose(&lookup.resolver);
}

/* The names of an address, whether or not they lead back. */
static bool name_take(void *into, const ns_msg *message, const ns_rr *record)
{
    struct mx_names *names = into;
    char name[NS_MAXDNAME];

    if (dn_expand(ns_msg_base(*message), ns_msg_end(*message), ns_rr_rdata(*record), name, sizeof name) < 0 ||
        names->count == MX_NAME_MAX)
        return false;
    if (domain_normalize(name, names->list[names->count]))
        names->count++;
    return true;
}

/* ADDRESS from its end on, below ZONE. */
static void reverse_name(const struct ipaddr *address, const char *zone, char out[NS_MAXDNAME])
{
    size_t used = 0;

    if (address->family == 4) {
        snprintf(out, NS_MAXDNAME, "%u.%u.%u.%u.%s", address->bytes[3], address->bytes[2], address->bytes[1],
                 address->bytes[0], zone);
        return;
    }
    for (int i = 15; i >= 0; i--)
        used += (size_t)snprintf(out + used, NS_MAXDNAME - used, "%x.%x.", address->bytes[i] & 15, address->bytes[i] >> 4);
    snprintf(out + used, NS_MAXDNAME - used, "%s", zone);
}

/* Does NAME lead to ADDRESS?  MX_UNKNOWN: it may. */
static enum mx_status leads_back(struct lookup *lookup, const char *name, const struct ipaddr *address)
{
    struct mx_addresses addresses = {0};

    addresses.status = records_ask(lookup, name, address->family == 4 ? ns_t_a : ns_t_aaaa, address_take, &addresses);
    for (size_t i = 0; i < addresses.count; i++) {
        if (ipaddr_equal(&addresses.list[i], address))
            return MX_OK;
    }
    return addresses.status == MX_UNKNOWN ? MX_UNKNOWN : MX_NXDOMAIN;
}

static void confirmed_names_ask(struct lookup *lookup, const struct ipaddr *address, struct mx_names *names)
{
    char reverse[NS_MAXDNAME];
    size_t confirmed = 0;

    reverse_name(address, address->family == 4 ? "in-addr.arpa" : "ip6.arpa", reverse);
    names->status = records_ask(lookup, reverse, ns_t_ptr, name_take, names);
    for (size_t i = 0; i < names->count; i++) {
        enum mx_status status = leads_back(lookup, names->list[i], address);

        if (status == MX_OK && i != confirmed)
            strcpy(names->list[confirmed], names->list[i]);
        confirmed += status == MX_OK;
        if (status == MX_UNKNOWN)
            names->status = MX_UNKNOWN;
    }
    names->count = confirmed;
}

void mx_names_resolve(const struct settings_dns *config, const struct ipaddr *address, const atomic_bool *stop,
                      struct mx_names *names)
{
    struct lookup lookup = {.stop = stop};

    *names = (struct mx_names){.status = MX_UNKNOWN};
    if (!resolver_open(config, &lookup.resolver))
        return;
    lookup.message = alloc_zeroed(1, MESSAGE_MAX);
    confirmed_names_ask(&lookup, address, names);
    free(lookup.message);
    res_nclose(&lookup.resolver);
}

/* The records of an address in a list. */
struct entry {
    bool listed, no_answer;
};

static bool entry_take(void *into, const ns_msg *message, const ns_rr *record)
{
    struct entry *entry = into;
    const unsigned char *data = ns_rr_rdata(*record);

    (void)message;
    if (ns_rr_rdlen(*record) != 4)
        return false;
    if (data[0] != 127 || memcmp(data, "\x7f\0\0\xff", 4) == 0 || memcmp(data, "\x7f\xff\xff", 3) == 0)
        entry->no_answer = true;
    else
        entry->listed = true;
    return true;
}

enum friend_state mx_listed(const struct settings_dns *config, const char *zone, const struct ipaddr *address,
                            const atomic_bool *stop)
{
    struct lookup lookup = {.stop = stop};
    struct entry entry = {.listed = false};
    char name[NS_MAXDNAME];
    enum mx_status status;

    if (!resolver_open(config, &lookup.resolver))
        return FRIEND_UNANSWERED;
    lookup.message = alloc_zeroed(1, MESSAGE_MAX);
    reverse_name(address, zone, name);
    status = records_ask(&lookup, name, ns_t_a, entry_take, &entry);
    free(lookup.message);
    res_nclose(&lookup.resolver);
    if (status == MX_UNKNOWN || entry.no_answer)
        return FRIEND_UNANSWERED;
    return entry.listed ? FRIEND_YES : FRIEND_NO;
}

struct text_search {
    const char *wanted;
    bool found;
};

/* RFC 7208 3.3: the strings of a record belong together, without anything in between. */
static bool text_take(void *into, const ns_msg *message, const ns_rr *record)
{
    struct text_search *search = into;
    const unsigned char *at = ns_rr_rdata(*record), *end = at + ns_rr_rdlen(*record);
    size_t wanted = strlen(search->wanted), matched = 0;
    bool same = true;

    (void)message;
    while (at < end) {
        size_t length = *at++;

        if (length > (size_t)(end - at))
            return false;
        same = same && length <= wanted - matched && memcmp(search->wanted + matched, at, length) == 0;
        matched += same ? length : 0;
        at += length;
    }
    search->found = search->found || (same && matched == wanted);
    return true;
}

enum mx_status mx_text_find(const struct settings_dns *config, const char *name, const char *text, const atomic_bool *stop)
{
    struct text_search search = {.wanted = text};
    struct lookup lookup = {.stop = stop};
    enum mx_status status;

    if (strlen(name) > DOMAIN_MAX || !resolver_open(config, &lookup.resolver))
        return MX_UNKNOWN;
    lookup.message = alloc_zeroed(1, MESSAGE_MAX);
    status = records_ask(&lookup, name, ns_t_txt, text_take, &search);
    free(lookup.message);
    res_nclose(&lookup.resolver);
    return search.found ? MX_OK : status == MX_UNKNOWN ? MX_UNKNOWN : MX_NXDOMAIN;
}
