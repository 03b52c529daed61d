#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/ipaddr.h"

static void parse_takes_what_mtas_write(void **state)
{
    static const struct {
        const char *text, *out; /* NULL: refused */
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"}, {"2001:db8::1", "2001:db8::1"}, {"IPv6:2001:db8:0:0:0:0:0:7", "2001:db8::7"},
        {"ipv6:::1", "::1"}, {"[192.0.2.1]", "192.0.2.1"}, {"[IPv6:2001:db8::9]", "2001:db8::9"},
        {"::ffff:192.0.2.1", "192.0.2.1"}, {"", NULL}, {"[]", NULL}, {"192.0.2", NULL}, {"192.0.2.256", NULL},
        {"192.0.2.1 ", NULL}, {"mail.example.com", NULL}, {"[192.0.2.1", NULL}, {"2001:db8::1%eth0", NULL},
        {"1234567890123456789012345678901234567890123456789012345678901234567890", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipaddr address = {0};
        char text[IPADDR_TEXT_SIZE];
        const char *out = ipaddr_parse(cases[i].text, &address) ? ipaddr_format(&address, text) : NULL;

        if ((out == NULL) != (cases[i].out == NULL) || (out != NULL && strcmp(out, cases[i].out) != 0))
            fail_msg("\"%s\": wanted %s, got %s", cases[i].text, cases[i].out ? cases[i].out : "refusal",
                     out ? out : "refusal");
    }
}

static void network_parse_wants_zero_host_bits(void **state)
{
    static const struct {
        const char *text, *out;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.0/24"}, {"192.0.2.1", "192.0.2.1/32"}, {"2001:db8::/32", "2001:db8::/32"},
        {"0.0.0.0/0", "0.0.0.0/0"}, {"::/0", "::/0"}, {"192.0.2.128/25", "192.0.2.128/25"},
        {"192.0.2.1/24", NULL}, {"192.0.2.0/33", NULL}, {"2001:db8::/129", NULL}, {"192.0.2.0/", NULL},
        {"192.0.2.0/-1", NULL}, {"192.0.2.0/+8", NULL}, {"192.0.2.0/24x", NULL}, {"/24", NULL}, {"example.com/24", NULL},
        {"192.0.2.0/99999999999999999999", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipnet net;
        char text[IPADDR_TEXT_SIZE];
        const char *out = ipnet_parse(cases[i].text, &net) ? ipnet_format(&net, text) : NULL;

        if ((out == NULL) != (cases[i].out == NULL) || (out != NULL && strcmp(out, cases[i].out) != 0))
            fail_msg("\"%s\": wanted %s, got %s", cases[i].text, cases[i].out ? cases[i].out : "refusal",
                     out ? out : "refusal");
    }
}

static void network_contains_by_prefix_and_family(void **state)
{
    static const struct {
        const char *net, *address;
        bool inside;
    } cases[] = {
        {"192.0.2.0/25", "192.0.2.127", true}, {"192.0.2.0/25", "192.0.2.128", false}, {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false}, {"::/0", "192.0.2.1", false}, {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false}, {"192.0.2.1/32", "::ffff:192.0.2.1", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipnet net;
        struct ipaddr address;

        assert_true(ipnet_parse(cases[i].net, &net) && ipaddr_parse(cases[i].address, &address));
        if (ipnet_contains(&net, &address) != cases[i].inside)
            fail_msg("%s in %s: wanted %d", cases[i].address, cases[i].net, cases[i].inside);
    }
}

static void client_network_is_32_or_64(void **state)
{
    static const char *const cases[][2] = {
        {"192.0.2.9", "192.0.2.9/32"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipaddr address;
        struct ipnet net;
        char text[IPADDR_TEXT_SIZE];

        assert_true(ipaddr_parse(cases[i][0], &address));
        net = ipaddr_client_network(&address);
        assert_string_equal(ipnet_format(&net, text), cases[i][1]);
    }
}

static void addresses_that_are_never_probed(void **state)
{
    static const struct {
        const char *address;
        bool unusable, private;
    } cases[] = {
        {"192.0.2.1", false, false}, {"8.8.8.8", false, false}, {"2001:db8::1", false, false}, {"223.255.255.255", false, false},
        {"0.0.0.0", true, false}, {"127.0.0.1", true, false}, {"127.255.0.1", true, false}, {"169.254.1.1", true, false},
        {"224.0.0.1", true, false}, {"240.0.0.1", true, false}, {"255.255.255.255", true, false}, {"::", true, false},
        {"::1", true, false}, {"fe80::1", true, false}, {"ff02::1", true, false}, {"::ffff:127.0.0.1", true, false},
        {"10.0.0.1", false, true}, {"172.16.0.1", false, true}, {"172.32.0.1", false, false}, {"192.168.1.1", false, true},
        {"100.64.0.1", false, true}, {"100.128.0.1", false, false}, {"fd00::1", false, true},
        {"::127.0.0.1", true, false}, {"64:ff9b::127.0.0.1", true, false}, {"64:ff9b::10.0.0.1", false, true},
        {"64:ff9b::192.0.2.1", false, false}, {"64:ff9b:1::10.0.0.1", false, true}, {"2002:7f00:1::1", true, false},
        {"2002:c0a8:101::1", false, true}, {"2002:c000:201::1", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipaddr address;

        assert_true(ipaddr_parse(cases[i].address, &address));
        if (ipaddr_is_unusable(&address) != cases[i].unusable || ipaddr_is_private(&address) != cases[i].private)
            fail_msg("%s: wanted unusable=%d private=%d", cases[i].address, cases[i].unusable, cases[i].private);
    }
    assert_true(ipaddr_is_unusable(&(struct ipaddr){0}));
}

static void sockaddr_there_and_back(void **state)
{
    static const char *const cases[] = {"192.0.2.1", "2001:db8::1"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipaddr address, back;
        struct sockaddr_storage storage;
        uint16_t port = 0;

        assert_true(ipaddr_parse(cases[i], &address));
        ipaddr_to_sockaddr(&address, 2525, &storage);
        assert_true(ipaddr_from_sockaddr((struct sockaddr *)&storage, &back, &port));
        assert_true(ipaddr_equal(&address, &back));
        assert_int_equal(port, 2525);
    }
    assert_false(ipaddr_from_sockaddr(NULL, &(struct ipaddr){0}, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_takes_what_mtas_write),
        cmocka_unit_test(network_parse_wants_zero_host_bits),
        cmocka_unit_test(network_contains_by_prefix_and_family),
        cmocka_unit_test(client_network_is_32_or_64),
        cmocka_unit_test(addresses_that_are_never_probed),
        cmocka_unit_test(sockaddr_there_and_back),
    };

    return cmocka_run_group_tests_name("ipaddr", tests, NULL, NULL);
}
