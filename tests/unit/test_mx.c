#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_clock.h"
#include "judge/mx.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MESSAGE_MAX = 65535, PORT_TRIES = 20 };

/* How the server answers for a name; where it says nothing else, with the records below that match. */
enum behaviour {
    SERVE_HONEST,
    SERVE_SERVFAIL,
    SERVE_REFUSED,
    SERVE_SILENT,
    SERVE_WRONG_ID,
    SERVE_TRUNCATED,
    SERVE_COMPRESSION_LOOP,
    SERVE_GARBAGE,
    SERVE_SHORT_RDATA
};

static const struct zone_record {
    const char *name;
    ns_type type;
    const char *data; /* MX: "10 host" */
    uint32_t ttl_s;
} zone[] = {
    {"two.test", ns_t_mx, "20 B.mx.test", 300},
    {"two.test", ns_t_mx, "10 a.mx.test", 200},
    {"two.test", ns_t_a, "192.0.2.7", 250},
    {"a.mx.test", ns_t_a, "192.0.2.1", 100},
    {"a.mx.test", ns_t_a, "192.0.2.2", 100},
    {"a.mx.test", ns_t_aaaa, "2001:db8::1", 400},
    {"b.mx.test", ns_t_a, "192.0.2.3", 400},
    {"doubled.test", ns_t_mx, "20 a.mx.test", 300},
    {"doubled.test", ns_t_mx, "10 A.MX.test", 300},
    {"doubled.test", ns_t_mx, "10 a.mx.test", 300},
    {"doubled.test", ns_t_mx, "30 a.mx.test", 300},
    {"equal.test", ns_t_mx, "10 b.mx.test", 300},
    {"equal.test", ns_t_mx, "10 a.mx.test", 300},
    {"null.test", ns_t_mx, "0 ", 300},
    {"null.test", ns_t_a, "192.0.2.8", 300},
    {"nullish.test", ns_t_mx, "0 ", 300},
    {"nullish.test", ns_t_mx, "10 b.mx.test", 300},
    {"implicit.test", ns_t_a, "192.0.2.9", 300},
    {"mapped.test", ns_t_aaaa, "::ffff:127.0.0.1", 300},
    {"alias.test", ns_t_cname, "two.test", 50},
    {"chain.test", ns_t_cname, "alias.test", 300},
    {"toalias.test", ns_t_mx, "10 host-alias.test", 300},
    {"host-alias.test", ns_t_cname, "b.mx.test", 300},
    {"tonothing.test", ns_t_cname, "gone.test", 300},
    {"loop1.test", ns_t_cname, "loop2.test", 300},
    {"loop2.test", ns_t_cname, "loop1.test", 300},
    {"self.test", ns_t_cname, "self.test", 300},
    {"toloop.test", ns_t_mx, "10 loop1.test", 300},
    {"gonehost.test", ns_t_mx, "10 gone.test", 300},
    {"nohost.test", ns_t_mx, "10 null.mx.test", 300},
    {"null.mx.test", ns_t_txt, "", 300},
    {"brokenhost.test", ns_t_mx, "10 servfail.test", 300},
    {"brokenhost.test", ns_t_mx, "20 b.mx.test", 300},
    {"silenthost.test", ns_t_mx, "10 silent.test", 300},
    {"silenthost.test", ns_t_mx, "20 b.mx.test", 300},
    {"brokenaaaa.test", ns_t_mx, "10 half.test", 300},
    {"half.test", ns_t_a, "192.0.2.4", 300},
    {"negative-ttl.test", ns_t_mx, "10 b.mx.test", 0x80000001},
    {"shortrdata.test", ns_t_mx, "10 b.mx.test", 300},
    {"wrongid.test", ns_t_mx, "10 b.mx.test", 300},
    {"1.113.0.203.white.test", ns_t_a, "127.0.5.1", 300},
    {"1.113.0.203.white.test", ns_t_a, "127.0.0.2", 300},
    {"2.113.0.203.white.test", ns_t_a, "127.0.0.255", 300}, /* asked too much */
    {"3.113.0.203.white.test", ns_t_a, "127.255.255.254", 300},
    {"4.113.0.203.white.test", ns_t_a, "192.0.2.80", 300}, /* of a domain that has another owner now */
    {"5.113.0.203.white.test", ns_t_a, "127.0.0.2", 300},
    {"5.113.0.203.white.test", ns_t_a, "127.0.0.255", 300},
    {"6.113.0.203.white.test", ns_t_txt, "", 300},
    {"7.113.0.203.white.test", ns_t_cname, "1.113.0.203.white.test", 300},
    {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.white.test", ns_t_a, "127.0.0.2", 300},
    {"odd.test", ns_t_mx, "10 b\\032\\010x.test", 300},
};

static const struct {
    const char *name;
    enum behaviour behaviour;
} behaviours[] = {
    {"servfail.test", SERVE_SERVFAIL},     {"refused.test", SERVE_REFUSED},
    {"9.113.0.203.white.test", SERVE_SERVFAIL}, {"10.113.0.203.white.test", SERVE_REFUSED},
    {"11.113.0.203.white.test", SERVE_GARBAGE},
    {"silent.test", SERVE_SILENT},              {"wrongid.test", SERVE_WRONG_ID},
    {"truncated.test", SERVE_TRUNCATED},        {"comploop.test", SERVE_COMPRESSION_LOOP},
    {"garbage.test", SERVE_GARBAGE},            {"shortrdata.test", SERVE_SHORT_RDATA},
};

/* Silence takes libresolv at least a second, which nobody can shorten.  So for names whose behaviour is silence to it, this
 * stands in its place: the clock moves on instead.  silence_is_what_it_is_taken_for() holds it against the real one. */
static bool is_silence(const char *name)
{
    return strcasecmp(name, "silent.test") == 0 || strcasecmp(name, "wrongid.test") == 0;
}

static int silence(res_state resolver)
{
    fake_clock_advance_ms((int64_t)resolver->retrans * 1000 * resolver->retry * resolver->nscount);
    resolver->res_h_errno = TRY_AGAIN;
    return -1;
}

typedef int query_function(res_state, const char *, int, int, unsigned char *, int);

static query_function *real_query(void)
{
    query_function *found;

    *(void **)&found = dlsym(RTLD_NEXT, "res_nquery");
    assert_non_null(found);
    return found;
}

int res_nquery(res_state resolver, const char *name, int class, int type, unsigned char *answer, int size)
{
    return is_silence(name) ? silence(resolver) : real_query()(resolver, name, class, type, answer, size);
}

/* A DNS server on loopback, UDP and TCP.  It lies on demand, and follows aliases for the asker only when told to. */
struct server {
    int udp, tcp;
    struct sockaddr_storage address;
    pthread_t thread;
    atomic_uint questions;
    atomic_bool complete_aliases;
};

struct writer {
    unsigned char *start, *at;
    uint16_t answers;
};

static void put16(struct writer *out, unsigned value)
{
    ns_put16(value, out->at);
    out->at += 2;
}

static void put_name(struct writer *out, const char *name)
{
    int length = dn_comp(name, out->at, NS_MAXCDNAME, NULL, NULL);

    if (length < 0)
        abort();
    out->at += length;
}

static void put_record(struct writer *out, const char *owner, ns_type type, const char *data, uint32_t ttl_s,
                       bool short_rdata)
{
    unsigned char *length_at;
    struct ipaddr ip;

    put_name(out, owner);
    put16(out, type);
    put16(out, ns_c_in);
    ns_put32(ttl_s, out->at);
    out->at += 4;
    length_at = out->at;
    out->at += 2;
    if (type == ns_t_a) {
        ipaddr_parse(data, &ip);
        memcpy(out->at, ip.bytes, 4);
        out->at += 4;
    } else if (type == ns_t_aaaa) {
        struct in6_addr in6;

        inet_pton(AF_INET6, data, &in6);
        memcpy(out->at, &in6, 16);
        out->at += 16;
    } else if (type == ns_t_mx) {
        put16(out, (unsigned)strtoul(data, NULL, 10));
        if (!short_rdata)
            put_name(out, strchr(data, ' ') + 1);
    } else if (type == ns_t_cname) {
        put_name(out, data);
    }
    ns_put16((unsigned)(out->at - length_at - 2), length_at);
    out->answers++;
}

static const char *alias_of(const char *name)
{
    for (size_t i = 0; i < COUNT(zone); i++) {
        if (zone[i].type == ns_t_cname && strcasecmp(zone[i].name, name) == 0)
            return zone[i].data;
    }
    return NULL;
}

static bool exists(const char *name)
{
    for (size_t i = 0; i < COUNT(zone); i++) {
        if (strcasecmp(zone[i].name, name) == 0)
            return true;
    }
    return false;
}

/* "many20.test" has 20 MX hosts, "addresses17.test" as many addresses, and so on. */
static unsigned number_in(const char *name, const char *prefix)
{
    return strncasecmp(name, prefix, strlen(prefix)) == 0 ? (unsigned)strtoul(name + strlen(prefix), NULL, 10) : 0;
}

static int put_records(struct writer *out, const struct server *server, const char *asked, ns_type type,
                       enum behaviour behaviour)
{
    unsigned hosts = number_in(asked, "many"), addresses = number_in(asked, "addresses");
    const char *name = asked;
    char text[64];

    for (unsigned i = 0; i < hosts && type == ns_t_mx; i++) {
        snprintf(text, sizeof text, "%u host%u.a-rather-long-name.mx.test", i, i);
        put_record(out, asked, type, text, 300, false);
    }
    for (unsigned i = 0; i < addresses && type == ns_t_a; i++) {
        snprintf(text, sizeof text, "192.0.2.%u", i);
        put_record(out, asked, type, text, 300, false);
    }
    if (hosts + addresses > 0)
        return ns_r_noerror;
    for (int links = 0; alias_of(name) != NULL && links < 20; links++) {
        put_record(out, name, ns_t_cname, alias_of(name), 300, false);
        name = alias_of(name);
        if (!server->complete_aliases)
            return ns_r_noerror;
    }
    for (size_t i = 0; i < COUNT(zone); i++) {
        if (zone[i].type == type && strcasecmp(zone[i].name, name) == 0)
            put_record(out, zone[i].name, type, zone[i].data, zone[i].ttl_s, behaviour == SERVE_SHORT_RDATA);
    }
    return exists(name) || strstr(name, ".mx.test") != NULL ? ns_r_noerror : ns_r_nxdomain;
}

static enum behaviour behaviour_of(const char *name, ns_type type)
{
    if (strcasecmp(name, "half.test") == 0 && type == ns_t_aaaa)
        return SERVE_SERVFAIL;
    for (size_t i = 0; i < COUNT(behaviours); i++) {
        if (strcasecmp(behaviours[i].name, name) == 0)
            return behaviours[i].behaviour;
    }
    return SERVE_HONEST;
}

/* The reply to QUERY in OUT; its length, 0 for none. */
static size_t reply_make(struct server *server, const unsigned char *query, size_t length, unsigned char *reply,
                         bool udp)
{
    char name[NS_MAXDNAME];
    struct writer out = {.start = reply, .at = reply};
    int name_length = dn_expand(query, query + length, query + 12, name, sizeof name), rcode = ns_r_noerror;
    ns_type type;
    enum behaviour behaviour;
    HEADER *header = (HEADER *)reply;

    if (length < 17 || name_length < 0)
        return 0;
    server->questions++;
    type = ns_get16(query + 12 + name_length);
    behaviour = behaviour_of(name, type);
    if (behaviour == SERVE_SILENT)
        return 0;
    memcpy(reply, query, 12 + (size_t)name_length + 4);
    out.at += 12 + name_length + 4;
    header->qr = header->ra = 1;
    header->arcount = 0;
    if (behaviour == SERVE_SERVFAIL)
        rcode = ns_r_servfail;
    else if (behaviour == SERVE_REFUSED)
        rcode = ns_r_refused;
    else if (behaviour != SERVE_TRUNCATED && behaviour != SERVE_GARBAGE && behaviour != SERVE_COMPRESSION_LOOP)
        rcode = put_records(&out, server, name, type, behaviour);
    if (behaviour == SERVE_GARBAGE) {
        memset(out.at, 0xff, 100);
        out.at += 100;
        out.answers = 5;
    }
    if (behaviour == SERVE_COMPRESSION_LOOP) { /* a name that points to itself */
        put16(&out, 0xc000 | (unsigned)(out.at - out.start));
        memset(out.at, 0, 10);
        out.at += 10;
        out.answers = 1;
    }
    if (behaviour == SERVE_WRONG_ID)
        header->id ^= 0x5555;
    header->rcode = (unsigned)rcode & 15;
    header->tc = behaviour == SERVE_TRUNCATED;
    header->ancount = htons(out.answers);
    if (udp && out.at - out.start > 512) {
        header->tc = 1;
        header->ancount = 0;
        return 12 + (size_t)name_length + 4;
    }
    return (size_t)(out.at - out.start);
}

static void serve_udp(struct server *server, unsigned char *query, unsigned char *reply)
{
    struct sockaddr_storage from;
    socklen_t from_length = sizeof from;
    ssize_t got = recvfrom(server->udp, query, MESSAGE_MAX, 0, (struct sockaddr *)&from, &from_length);
    size_t length = got > 0 ? reply_make(server, query, (size_t)got, reply, true) : 0;

    if (length > 0 && sendto(server->udp, reply, length, 0, (struct sockaddr *)&from, from_length) < 0)
        abort();
}

static void serve_tcp(struct server *server, unsigned char *query, unsigned char *reply)
{
    int fd = accept(server->tcp, NULL, NULL);
    unsigned char prefix[2];
    size_t length = 0;

    if (recv(fd, prefix, 2, MSG_WAITALL) == 2 &&
        recv(fd, query, ns_get16(prefix), MSG_WAITALL) == (ssize_t)ns_get16(prefix))
        length = reply_make(server, query, ns_get16(prefix), reply, false);
    ns_put16((unsigned)length, prefix);
    if (length > 0 && (send(fd, prefix, 2, MSG_NOSIGNAL) < 0 || send(fd, reply, length, MSG_NOSIGNAL) < 0))
        abort();
    close(fd);
}

static void *serve(void *context)
{
    struct server *server = context;
    unsigned char *query = calloc(2, MESSAGE_MAX + 1), *reply = query + MESSAGE_MAX + 1;
    struct pollfd fds[] = {{.fd = server->udp, .events = POLLIN}, {.fd = server->tcp, .events = POLLIN}};

    while (poll(fds, 2, -1) > 0 && ((fds[0].revents | fds[1].revents) & ~POLLIN) == 0) {
        if (fds[0].revents != 0)
            serve_udp(server, query, reply);
        if (fds[1].revents != 0)
            serve_tcp(server, query, reply);
    }
    free(query);
    return NULL;
}

/* One port for both protocols: what the kernel gives for TCP may be taken for UDP. */
static void server_start(struct server *server, const char *text)
{
    struct ipaddr ip;
    socklen_t length;
    bool bound = false;

    assert_true(ipaddr_parse(text, &ip));
    for (int i = 0; i < PORT_TRIES && !bound; i++) {
        length = ipaddr_to_sockaddr(&ip, 0, &server->address);
        server->tcp = socket(server->address.ss_family, SOCK_STREAM, 0);
        server->udp = socket(server->address.ss_family, SOCK_DGRAM, 0);
        bound = bind(server->tcp, (struct sockaddr *)&server->address, length) == 0 &&
                getsockname(server->tcp, (struct sockaddr *)&server->address, &length) == 0 &&
                bind(server->udp, (struct sockaddr *)&server->address, length) == 0 && listen(server->tcp, 16) == 0;
        if (!bound) {
            close(server->tcp);
            close(server->udp);
        }
    }
    assert_true(bound);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->tcp, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->tcp);
    close(server->udp);
}

static struct server nameserver;

static int setup(void **state)
{
    (void)state;
    server_start(&nameserver, "127.0.0.1");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    server_stop(&nameserver);
    return 0;
}

static struct settings_dns config_for(const struct sockaddr_storage *address)
{
    return (struct settings_dns){.servers = {*address}, .server_count = 1, .timeout_s = 1, .attempts = 1};
}

static struct mx_answer resolve(const char *domain)
{
    const struct settings_dns config = config_for(&nameserver.address);
    const atomic_bool stop = false;
    struct mx_answer answer;

    mx_resolve(&config, domain, &stop, &answer);
    return answer;
}

static const char *status_text(enum mx_status status)
{
    return status == MX_OK ? "ok" : status == MX_NXDOMAIN ? "nxdomain" : "unknown";
}

static size_t addresses_write(const struct mx_addresses *addresses, char *out, size_t size)
{
    size_t used = 0;

    if (addresses->status != MX_OK)
        used += (size_t)snprintf(out, size, " %s", status_text(addresses->status));
    for (size_t i = 0; i < addresses->count; i++) {
        char text[IPADDR_TEXT_SIZE];

        used += (size_t)snprintf(out + used, size - used, " %s", ipaddr_format(&addresses->list[i], text));
    }
    return used;
}

static void answer_write(const struct mx_answer *answer, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s%s", status_text(answer->status), answer->null_mx ? " null" : "");

    for (size_t i = 0; i < answer->host_count; i++) {
        const struct mx_host *host = &answer->hosts[i];

        used += (size_t)snprintf(out + used, size - used, "; %u %s", host->preference, host->name);
        used += addresses_write(&host->addresses, out + used, size - used);
    }
    used += (size_t)snprintf(out + used, size - used, "; @");
    used += addresses_write(&answer->addresses, out + used, size - used);
    snprintf(out + used, size - used, "; ttl %u", answer->ttl_s);
}

static const struct {
    const char *name, *domain, *want;
} cases[] = {
    {"two MXs", "two.test",
     "ok; 10 a.mx.test 192.0.2.1 192.0.2.2 2001:db8::1; 20 b.mx.test 192.0.2.3; @ 192.0.2.7; ttl 100"},
    {"duplicates", "doubled.test", "ok; 10 a.mx.test 192.0.2.1 192.0.2.2 2001:db8::1; @; ttl 100"},
    {"equal preference", "equal.test",
     "ok; 10 a.mx.test 192.0.2.1 192.0.2.2 2001:db8::1; 10 b.mx.test 192.0.2.3; @; ttl 100"},
    {"null MX", "null.test", "ok null; @ 192.0.2.8; ttl 300"},
    {"null MX beside another", "nullish.test", "ok; 10 b.mx.test 192.0.2.3; @; ttl 300"},
    {"no MX", "implicit.test", "ok; @ 192.0.2.9; ttl 300"},
    {"IPv4 in IPv6 clothes", "mapped.test", "ok; @ 127.0.0.1; ttl 300"},
    {"NXDOMAIN", "gone.test", "nxdomain; @; ttl 0"},
    {"SERVFAIL", "servfail.test", "unknown; @; ttl 0"},
    {"REFUSED", "refused.test", "unknown; @; ttl 0"},
    {"silence", "silent.test", "unknown; @; ttl 0"},
    {"wrong id", "wrongid.test", "unknown; @; ttl 0"},
    {"truncated over TCP", "truncated.test", "unknown; @; ttl 0"},
    {"compression loop", "comploop.test", "unknown; @; ttl 0"},
    {"garbage", "garbage.test", "unknown; @; ttl 0"},
    {"short record", "shortrdata.test", "unknown; @; ttl 300"},
    {"alias loop", "loop1.test", "unknown; @; ttl 300"},
    {"alias of itself", "self.test", "unknown; @; ttl 300"},
    {"MX is an alias", "toalias.test", "ok; 10 host-alias.test 192.0.2.3; @; ttl 300"},
    {"MX is an alias loop", "toloop.test", "ok; 10 loop1.test unknown; @; ttl 300"},
    {"MX host does not exist", "gonehost.test", "ok; 10 gone.test nxdomain; @; ttl 300"},
    {"MX host has no address", "nohost.test", "ok; 10 null.mx.test; @; ttl 300"},
    {"MX host fails, the next is asked", "brokenhost.test",
     "ok; 10 servfail.test unknown; 20 b.mx.test 192.0.2.3; @; ttl 300"},
    {"MX host silent, nothing more is asked", "silenthost.test",
     "ok; 10 silent.test unknown; 20 b.mx.test unknown; @ unknown; ttl 300"},
    {"AAAA fails", "brokenaaaa.test", "ok; 10 half.test unknown; @; ttl 300"},
    {"TTL with the top bit", "negative-ttl.test", "ok; 10 b.mx.test 192.0.2.3; @; ttl 0"},
    {"odd bytes in a name", "odd.test", "ok; 10 b\\032\\010x.test nxdomain; @; ttl 300"},
    {"21 MXs", "many21.test", "unknown; @; ttl 300"},
    {"100 MXs", "many100.test", "unknown; @; ttl 300"},
    {"17 addresses", "addresses17.test", "ok; @ unknown; ttl 300"},
};

static void cases_run(size_t *failed)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mx_answer answer = resolve(cases[i].domain);
        char got[2048];

        answer_write(&answer, got, sizeof got);
        if (strcmp(got, cases[i].want) == 0)
            continue;
        ++*failed;
        print_error("%s:\nwant %s\n got %s\n", cases[i].name, cases[i].want, got);
    }
}

static void test_answers(void **state)
{
    size_t failed = 0;

    (void)state;
    nameserver.complete_aliases = true;
    cases_run(&failed);
    nameserver.complete_aliases = false; /* the rest of an alias has to be asked for */
    cases_run(&failed);
    assert_int_equal(failed, 0);
}

static void test_aliases(void **state)
{
    (void)state;
    for (int complete = 0; complete < 2; complete++) {
        nameserver.complete_aliases = complete;
        for (const char *const *domain = (const char *const[]){"alias.test", "chain.test", NULL}; *domain; domain++) {
            struct mx_answer answer = resolve(*domain);

            assert_int_equal(answer.status, MX_OK);
            assert_int_equal(answer.host_count, 2);
            assert_string_equal(answer.hosts[0].name, "a.mx.test");
            assert_int_equal(answer.addresses.count, 1);
        }
        assert_int_equal(resolve("tonothing.test").status, MX_NXDOMAIN);
    }
}

static void test_lists(void **state)
{
    static const struct {
        const char *address, *zone;
        enum friend_state want;
    } list_cases[] = {
        {"203.0.113.1", "white.test", FRIEND_YES},         {"203.0.113.2", "white.test", FRIEND_UNANSWERED},
        {"203.0.113.3", "white.test", FRIEND_UNANSWERED},  {"203.0.113.4", "white.test", FRIEND_UNANSWERED},
        {"203.0.113.5", "white.test", FRIEND_UNANSWERED},  {"203.0.113.6", "white.test", FRIEND_NO},
        {"203.0.113.7", "white.test", FRIEND_YES},         {"203.0.113.8", "white.test", FRIEND_NO},
        {"203.0.113.9", "white.test", FRIEND_UNANSWERED},  {"203.0.113.10", "white.test", FRIEND_UNANSWERED},
        {"203.0.113.11", "white.test", FRIEND_UNANSWERED}, {"2001:db8::1", "white.test", FRIEND_YES},
        {"2001:db8::2", "white.test", FRIEND_NO},
    };
    struct settings_dns config = config_for(&nameserver.address);
    const atomic_bool stop = false, stopped = true;

    (void)state;
    for (size_t i = 0; i < COUNT(list_cases); i++) {
        struct ipaddr address;
        enum friend_state got;

        assert_true(ipaddr_parse(list_cases[i].address, &address));
        got = mx_listed(&config, list_cases[i].zone, &address, &stop);
        if (got != list_cases[i].want)
            fail_msg("%s in %s: wanted %s, got %s", list_cases[i].address, list_cases[i].zone,
                     friend_state_name(list_cases[i].want), friend_state_name(got));
        assert_int_equal(mx_listed(&config, list_cases[i].zone, &address, &stopped), FRIEND_UNANSWERED);
    }
}

static void test_many(void **state)
{
    struct mx_answer answer;

    (void)state;
    answer = resolve("many20.test");
    assert_int_equal(answer.status, MX_OK);
    assert_int_equal(answer.host_count, 20);
    assert_int_equal(answer.hosts[19].preference, 19);
    answer = resolve("addresses16.test");
    assert_int_equal(answer.addresses.status, MX_OK);
    assert_int_equal(answer.addresses.count, 16);
}

static void test_stop(void **state)
{
    const struct settings_dns config = config_for(&nameserver.address);
    const atomic_bool stop = true;
    unsigned before = nameserver.questions;
    struct mx_answer answer;

    (void)state;
    mx_resolve(&config, "two.test", &stop, &answer);
    assert_int_equal(answer.status, MX_UNKNOWN);
    assert_int_equal(nameserver.questions, before);
}

/* One silent server costs its time once, however many questions a domain would take. */
static void test_silence_is_bounded(void **state)
{
    struct settings_dns config = config_for(&nameserver.address);
    const atomic_bool stop = false;
    struct mx_answer answer;

    (void)state;
    for (int attempts = 1; attempts <= 3; attempts++) {
        int64_t before_ms = clock_monotonic_ms();

        config.timeout_s = 5;
        config.attempts = attempts;
        mx_resolve(&config, "silenthost.test", &stop, &answer);
        assert_int_equal(clock_monotonic_ms() - before_ms, 5000 * attempts);
    }
}

struct asked {
    const char *name;
    int got, error;
    bool no_reply; /* to go by what mx.c looks at; the bytes may be those of a packet that was not believed */
};

static void *ask_in_earnest(void *context)
{
    struct asked *asked = context;
    struct __res_state resolver;
    unsigned char answer[NS_PACKETSZ] = {0};
    HEADER header;

    memset(&resolver, 0, sizeof resolver);
    if (res_ninit(&resolver) != 0)
        return NULL;
    resolver.retrans = resolver.retry = resolver.nscount = 1;
    memcpy(&resolver.nsaddr_list[0], &nameserver.address, sizeof resolver.nsaddr_list[0]);
    asked->got = real_query()(&resolver, asked->name, ns_c_in, ns_t_mx, answer, sizeof answer);
    asked->error = resolver.res_h_errno;
    memcpy(&header, answer, sizeof header);
    asked->no_reply = header.rcode == ns_r_noerror && !header.tc;
    res_nclose(&resolver);
    return NULL;
}

/* What libresolv says when nobody answers, or nobody whom it believes: a second of real time, for both at once. */
static void silence_is_what_it_is_taken_for(void **state)
{
    struct asked asked[] = {{.name = "silent.test"}, {.name = "wrongid.test"}};
    struct __res_state resolver = {.retrans = 1, .retry = 1, .nscount = 1};
    pthread_t threads[COUNT(asked)];
    int got = silence(&resolver);

    (void)state;
    for (size_t i = 0; i < COUNT(asked); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_earnest, &asked[i]), 0);
    for (size_t i = 0; i < COUNT(asked); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(asked[i].got, got);
        assert_int_equal(asked[i].error, resolver.res_h_errno);
        assert_true(asked[i].no_reply);
    }
}

static void test_dead_server(void **state)
{
    struct server dead = {0};
    struct settings_dns config;
    const atomic_bool stop = false;
    struct mx_answer answer;

    (void)state;
    server_start(&dead, "127.0.0.1");
    server_stop(&dead);
    config = config_for(&dead.address);
    mx_resolve(&config, "two.test", &stop, &answer);
    assert_int_equal(answer.status, MX_UNKNOWN);

    config.servers[1] = nameserver.address; /* the second one answers */
    config.server_count = 2;
    mx_resolve(&config, "two.test", &stop, &answer);
    assert_int_equal(answer.host_count, 2);
}

static void test_ipv6_server(void **state)
{
    struct server six = {0};
    struct settings_dns config;
    const atomic_bool stop = false;
    struct mx_answer answer;
    int probe = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    (void)state;
    if (probe < 0 || bind(probe, (struct sockaddr *)&loopback, sizeof loopback) != 0) {
        print_message("no IPv6 here\n");
        skip();
    }
    close(probe);
    server_start(&six, "::1");
    config = config_for(&six.address);
    mx_resolve(&config, "two.test", &stop, &answer);
    assert_int_equal(answer.host_count, 2);
    assert_true(six.questions > 0);

    config.servers[0] = nameserver.address; /* both families, in both orders */
    config.servers[1] = six.address;
    config.server_count = 2;
    mx_resolve(&config, "two.test", &stop, &answer);
    assert_int_equal(answer.host_count, 2);
    server_stop(&six);
    config.servers[0] = six.address;
    config.servers[1] = nameserver.address;
    mx_resolve(&config, "two.test", &stop, &answer);
    assert_int_equal(answer.host_count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aliases, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_is_what_it_is_taken_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ipv6_server, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
