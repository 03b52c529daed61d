#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "judge/name.h"

static void which_names_are_made_from_the_address(void **state)
{
    static const struct {
        const char *address, *name;
        bool made;
    } cases[] = {
        {"203.0.113.77", "mail.example.com", false},
        {"203.0.113.77", "mx77.example.com", false},
        {"203.0.113.77", "203-0-113-77.dsl.example.net", true},
        {"203.0.113.77", "77.113.0.203.dyn.example.net", true},
        {"203.0.113.77", "host-203.0.113.77.example.net", true},
        {"203.0.113.77", "p0-113-77.example.net", true},
        {"203.0.113.77", "77-113-0.pool.example.net", true},
        {"203.0.113.77", "113-77.example.net", false},
        {"203.0.113.77", "203-0-78-77.example.net", false},
        {"203.0.113.77", "cb00714d.pool.example.net", true},
        {"203.0.113.77", "CB-00-71-4D.example.net", true},
        {"203.0.113.77", "4d7100cb.example.net", true},
        {"203.0.113.77", "ip203000113077.example.net", true},
        {"203.0.113.77", "077113000.example.net", true},
        {"203.0.113.77", "1203-0-113-77x.example.net", true}, /* its last three */
        {"192.168.211.177", "host192168211.example.net", true},
        {"10.2.3.4", "host1023.example.net", false},
        {"10.2.3.4", "a10x2x3x4.example.net", true},
        {"2001:db8::c0ff:ee12", "mail6.example.com", false},
        {"2001:db8::c0ff:ee12", "2001-db8--c0ff-ee12.example.net", true},
        {"2001:db8::c0ff:ee12", "2.1.e.e.f.f.0.c.0.0.0.0.ip6.example.net", true},
        {"2001:db8::c0ff:ee12", "c0ffee12.v6.example.net", true},
        {"2001:db8::c0ff:ee12", "c0ff.example.net", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipaddr address;

        assert_true(ipaddr_parse(cases[i].address, &address));
        if (name_is_made_from(cases[i].name, &address) != cases[i].made)
            fail_msg("%s of %s: wanted %d", cases[i].name, cases[i].address, cases[i].made);
    }
}

static void what_names_make_of_a_client(void **state)
{
    static const struct {
        enum mx_status status;
        const char *names[2];
        enum name_state want;
    } cases[] = {
        {MX_OK, {NULL}, NAME_NONE},
        {MX_NXDOMAIN, {NULL}, NAME_NONE},
        {MX_UNKNOWN, {NULL}, NAME_UNKNOWN},
        {MX_OK, {"mail.example.com"}, NAME_CONFIRMED},
        {MX_UNKNOWN, {"mail.example.com"}, NAME_CONFIRMED},
        {MX_OK, {"203-0-113-77.dsl.example.net"}, NAME_NONE},
        {MX_UNKNOWN, {"203-0-113-77.dsl.example.net"}, NAME_UNKNOWN},
        {MX_OK, {"203-0-113-77.dsl.example.net", "mail.example.com"}, NAME_CONFIRMED},
    };
    struct ipaddr address;

    (void)state;
    assert_true(ipaddr_parse("203.0.113.77", &address));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mx_names names = {.status = cases[i].status};

        for (; names.count < 2 && cases[i].names[names.count] != NULL; names.count++)
            strcpy(names.list[names.count], cases[i].names[names.count]);
        if (name_judge(&names, &address) != cases[i].want)
            fail_msg("case %zu: wanted %s", i, name_state_name(cases[i].want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_names_are_made_from_the_address),
        cmocka_unit_test(what_names_make_of_a_client),
    };

    return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
