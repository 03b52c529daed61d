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
        {"::ffff:192.0.2.0/120", "192.0.2.0/24"}, {"::ffff:192.0.2.1", "192.0.2.1/32"}, {"::ffff:0.0.0.0/96", "0.0.0.0/0"},
        {"::ffff:192.0.2.1/128", "192.0.2.1/32"}, {"::ffff:0.0.0.0/95", NULL}, {"::ffff:192.0.2.1/120", NULL},
        {"::ffff:192.0.2.0/24", NULL}, {"::ffff:192.0.2.1/129", NULL},
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
        net = ipaddr_limit_network(&address);
        assert_string_equal(ipnet_format(&net, text), cases[i][1]);
    }
}

static const char *const translators[] = {
    "2001:db8::/32", "2001:db9:100::/40", "2001:dba:122::/48", "2001:dbb:122:300::/56", "2001:dbc:122:344::/64",
    "2001:dbd:122:344::/96", "64:ff9b:1::/48", "2a00:1:2:3::/96",
};
enum { TRANSLATORS = sizeof translators / sizeof *translators };

static void translators_parse(struct ipnet nets[TRANSLATORS])
{
    for (size_t i = 0; i < TRANSLATORS; i++)
        assert_true(ipnet_parse(translators[i], &nets[i]) && ipnet_is_nat64_prefix(&nets[i]));
}

/* The layouts of RFC 6052 2.4's table (the prefixes differ in their second group, to stand side by side), and RFC 3056 2,
 * RFC 4380 4, RFC 4291 2.5.5.2. */
static void ipv4_inside_ipv6_is_the_ipv4_client(void **state)
{
    static const struct {
        const char *address, *who; /* NULL: itself */
        const char *who_unnamed;   /* without the translators; NULL: itself */
    } cases[] = {
        {"2001:db8:c000:221::", "192.0.2.33", NULL},
        {"2001:db9:1c0:2:21::", "192.0.2.33", NULL},
        {"2001:dba:122:c000:2:2100::", "192.0.2.33", NULL},
        {"2001:dbb:122:3c0:0:221::", "192.0.2.33", NULL},
        {"2001:dbc:122:344:c0:2:2100::", "192.0.2.33", NULL},
        {"2001:dbd:122:344::192.0.2.33", "192.0.2.33", NULL},
        {"64:ff9b:1:c000:2:2100::", "192.0.2.33", NULL},
        {"64:ff9b::192.0.2.33", "192.0.2.33", "192.0.2.33"},
        {"::ffff:192.0.2.33", "192.0.2.33", "192.0.2.33"},
        {"2002:c000:221::1", "192.0.2.33", "192.0.2.33"},
        {"2002:c000:221:9:8:7:6:5", "192.0.2.33", "192.0.2.33"},
        {"2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45", "192.0.2.45"},
        {"2001:db8:c000:221:0:1:2:3", "192.0.2.33", NULL}, /* a suffix is ignored, RFC 6052 2.2 */
        {"2001:db8:c000:221:100::", NULL, NULL},           /* the reserved octet is not zero */
        {"64:ff9b:1:a00:0:100::", "10.0.0.1", NULL},       /* whoever names it may have private ones behind it */
        {"64:ff9b:1:7f00:0:100::", NULL, NULL},
        {"2a00:1:2:3::e000:1", NULL, NULL},
        {"64:ff9b::10.0.0.1", NULL, NULL}, {"64:ff9b::0.0.0.0", NULL, NULL}, {"64:ff9b::127.0.0.1", NULL, NULL},
        {"64:ff9b::169.254.0.1", NULL, NULL}, {"64:ff9b::224.0.0.1", NULL, NULL}, {"64:ff9b::255.255.255.255", NULL, NULL},
        {"2002:c0a8:101::1", NULL, NULL}, {"2002:6440:1::1", NULL, NULL}, {"2002:ac10:1::1", NULL, NULL},
        {"2002::1", NULL, NULL}, {"2002:7f00:1::1", NULL, NULL}, {"2001:0:4136:e378:8000:63bf:f5ff:fffe", NULL, NULL},
        {"2001:0:4136:e378:8000:63bf::", NULL, NULL}, {"::192.0.2.33", NULL, NULL}, {"::1", NULL, NULL},
        {"2001:1::c000:221", NULL, NULL}, {"64:ff9b:0:0:0:1:c000:221", NULL, NULL}, {"64:ff9b:2::c000:221", NULL, NULL},
        {"2003:c000:221::1", NULL, NULL}, {"192.0.2.33", NULL, NULL}, {"127.0.0.1", NULL, NULL},
        {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"},
    };
    struct ipnet nets[TRANSLATORS];

    (void)state;
    translators_parse(nets);
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        const char *text = cases[i / 2].address, *wanted = i % 2 == 0 ? cases[i / 2].who : cases[i / 2].who_unnamed;
        struct ipaddr address, who, right;
        char out[IPADDR_TEXT_SIZE];

        assert_true(ipaddr_parse(text, &address) && ipaddr_parse(wanted != NULL ? wanted : text, &right));
        who = ipaddr_client(&address, nets, i % 2 == 0 ? TRANSLATORS : 0);
        if (!ipaddr_equal(&who, &right))
            fail_msg("%s %s: got %s", text, i % 2 == 0 ? "named" : "unnamed", ipaddr_format(&who, out));
    }
    assert_int_equal(ipaddr_client(&(struct ipaddr){0}, nets, TRANSLATORS).family, 0);
}

static void networks_of_ipv4_inside_ipv6(void **state)
{
    static const char *const cases[][2] = {
        {"64:ff9b::192.0.2.0/120", "192.0.2.0/24"}, {"2002:c000:200::/40", "192.0.2.0/24"}, {"2002:c000:221:5::/64", "192.0.2.33/32"},
        {"2001:0:4136:e378:8000:63bf:3fff:fd00/120", "192.0.2.0/24"}, {"2001:dba:122:c000:2::/80", "192.0.2.0/24"},
        {"2001:dba:122:c000::/64", "192.0.0.0/16"}, {"2001:dba:122:c000::/72", "192.0.0.0/16"},
        {"64:ff9b::/96", "64:ff9b::/96"}, {"2002::/16", "2002::/16"}, {"2001::/32", "2001::/32"}, {"2001::/64", "2001::/64"},
        {"2001:dba:122::/48", "2001:dba:122::/48"}, {"::/0", "::/0"}, {"2000::/3", "2000::/3"},
        {"2002:c0a8::/32", "2002:c0a8::/32"}, {"192.0.2.0/24", "192.0.2.0/24"}, {"2a01::/32", "2a01::/32"},
    };
    struct ipnet nets[TRANSLATORS];

    (void)state;
    translators_parse(nets);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipnet net;
        char text[IPADDR_TEXT_SIZE];

        assert_true(ipnet_parse(cases[i][0], &net));
        net = ipnet_client(&net, nets, TRANSLATORS);
        assert_string_equal(ipnet_format(&net, text), cases[i][1]);
    }
}

static void prefixes_that_no_translator_has(void **state)
{
    static const char *const cases[] = {"192.0.2.0/24", "2001:db8::/33", "2001:d00::/24", "2001:db8::/72", "2001:db8::/128", "::/0",
                                        "2001:db8::/95", "2001:db8:0:0:100::/96"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipnet net;

        assert_true(ipnet_parse(cases[i], &net));
        if (ipnet_is_nat64_prefix(&net))
            fail_msg("%s", cases[i]);
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
        cmocka_unit_test(ipv4_inside_ipv6_is_the_ipv4_client),
        cmocka_unit_test(networks_of_ipv4_inside_ipv6),
        cmocka_unit_test(prefixes_that_no_translator_has),
        cmocka_unit_test(addresses_that_are_never_probed),
        cmocka_unit_test(sockaddr_there_and_back),
    };

    return cmocka_run_group_tests_name("ipaddr", tests, NULL, NULL);
}
