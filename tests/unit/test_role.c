#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "judge/role.h"
#include "mx_text.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* We are trap.example, 192.0.2.99 and 2001:db8::99. */
#define US4 "192.0.2.99"
#define US6 "2001:db8::99"

static const struct {
    const char *name, *dns;
    enum role_setting setting;
    const char *want; /* "?" not known, or the class and the primaries */
    const char *why;  /* a part of it; NULL: any */
} cases[] = {
    {"least preferred MX", "10 a 192.0.2.1;20 b 192.0.2.2;30 t " US4, ROLE_AUTO, "backup a b", NULL},
    {"MX by name, other addresses", "10 a 192.0.2.1;30 trap.example 203.0.113.1", ROLE_AUTO, "backup a", NULL},
    {"MX by name, addresses not known", "10 a 192.0.2.1;30 trap.example ?", ROLE_AUTO, "backup a", NULL},
    {"MX by IPv6 address", "10 a 2001:db8::1;30 t " US6, ROLE_AUTO, "backup a", NULL},
    {"MX with one address of ours of two", "10 a 192.0.2.1;30 t 203.0.113.1 " US4, ROLE_AUTO, "backup a", NULL},
    {"not the least preferred", "10 a 192.0.2.1;20 t " US4 ";30 c 192.0.2.3", ROLE_AUTO, "backup a", NULL},
    {"equal preference is no primary", "10 a 192.0.2.1;20 b 192.0.2.2;20 t " US4, ROLE_AUTO, "backup a", NULL},
    {"best preference", "10 t " US4 ";20 b 192.0.2.2", ROLE_AUTO, "none", "preferred over this host"},
    {"best preference shared", "10 b 192.0.2.2;10 t " US4, ROLE_AUTO, "none", "preferred over this host"},
    {"only MX", "10 t " US4, ROLE_AUTO, "none", NULL},
    {"twice an MX: the best counts", "10 t1 " US4 ";20 b 192.0.2.2;30 t2 " US4, ROLE_AUTO, "none", NULL},
    {"primary without address", "10 a;20 b 192.0.2.2;30 t " US4, ROLE_AUTO, "backup b", NULL},
    {"no primary with an address", "10 a;30 t " US4, ROLE_AUTO, "none", "usable"},
    {"primary with unknown addresses", "10 a ?;20 b 192.0.2.2;30 t " US4, ROLE_AUTO, "?", "MX host"},
    {"MX and address are ours", "10 a 192.0.2.1;30 t " US4 ";@ " US4, ROLE_AUTO, "backup a", NULL},
    {"address", "10 a 192.0.2.1;20 b 192.0.2.2;@ " US4, ROLE_AUTO, "address a b", NULL},
    {"address, IPv6", "10 a 192.0.2.1;@ 203.0.113.1 " US6, ROLE_AUTO, "address a", NULL},
    {"address, MX without address", "10 a;@ " US4, ROLE_AUTO, "none", "usable"},
    {"address unknown", "10 a 192.0.2.1;@ ?", ROLE_AUTO, "?", "domain's addresses"},
    {"implicit MX", "@ " US4, ROLE_AUTO, "none", "no MX, and the address is ours"},
    {"no MX", "@ 203.0.113.1", ROLE_AUTO, "none", "no MX"},
    {"null MX", "null;@ 203.0.113.1", ROLE_AUTO, "none", "null MX"},
    {"null MX, our address", "null;@ " US4, ROLE_AUTO, "none", "null MX, and the address is ours"},
    {"null MX, set to backup", "null", ROLE_BACKUP, "none", "null MX"},
    {"NXDOMAIN", "nxdomain", ROLE_AUTO, "none", "does not exist"},
    {"neither MX nor address", "10 a 192.0.2.1;@ 203.0.113.1", ROLE_AUTO, "none", "neither"},
    {"SERVFAIL", "unknown", ROLE_AUTO, "?", "no usable answer"},
    {"SERVFAIL, set to backup", "unknown", ROLE_BACKUP, "?", NULL},
    {"SERVFAIL, set to address", "unknown", ROLE_ADDRESS, "?", NULL},
    {"trap", "10 t " US4, ROLE_TRAP, "trap", NULL},
    {"trap, no MX", "nxdomain", ROLE_TRAP, "trap", NULL},
    {"trap, SERVFAIL", "unknown", ROLE_TRAP, "trap", NULL},
    {"trap, MX host not known", "10 a ?", ROLE_TRAP, "trap", NULL},
    {"off", "10 a 192.0.2.1;30 t " US4, ROLE_OFF, "none", "off"},
    {"backup, not among the MXs", "10 a 192.0.2.1;20 b 192.0.2.2", ROLE_BACKUP, "backup a", "set to backup, and no MX is this host"},
    {"backup, not among the MXs, of which two are the best", "10 a 192.0.2.1;10 b 192.0.2.2;20 c 192.0.2.3", ROLE_BACKUP, "backup a b", NULL},
    {"backup, not among the MXs, the best without address", "10 a;20 b 192.0.2.2", ROLE_BACKUP, "none", NULL},
    {"backup, among the MXs", "10 a 192.0.2.1;20 t " US4 ";30 c 192.0.2.3", ROLE_BACKUP, "backup a", NULL},
    {"backup, best preference", "10 t " US4 ";30 c 192.0.2.3", ROLE_BACKUP, "none", NULL},
    {"backup, MX host not known", "10 a 192.0.2.1;20 b ?", ROLE_BACKUP, "?", NULL},
    {"backup, no MX", "@ " US4, ROLE_BACKUP, "none", NULL},
    {"backup, domain's address unknown", "10 a 192.0.2.1;@ ?", ROLE_BACKUP, "backup a", NULL},
    {"address set, address elsewhere", "10 a 192.0.2.1;@ 203.0.113.1", ROLE_ADDRESS, "address a", "set to address"},
    {"address set, among the MXs", "10 a 192.0.2.1;20 t " US4 ";30 c 192.0.2.3", ROLE_ADDRESS, "address a c", NULL},
    {"address set, MX host not known", "10 a 192.0.2.1;20 b ?", ROLE_ADDRESS, "?", NULL},
};

static void result_write(const struct role_result *result, const struct mx_answer *answer, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s", result->known ? class_name(result->class) : "?");

    for (size_t i = 0; i < result->primary_count; i++)
        used += (size_t)snprintf(out + used, size - used, " %s", answer->hosts[result->primaries[i]].name);
}

static void test_decide(void **state)
{
    static char other[] = "other.example", trap[] = "trap.example", *names[] = {other, trap};
    struct ipaddr addresses[2];
    const struct self self = {
        .names = names, .name_count = COUNT(names), .addresses = addresses, .address_count = COUNT(addresses)};
    size_t failed = 0;

    (void)state;
    assert_true(ipaddr_parse(US4, &addresses[0]) && ipaddr_parse(US6, &addresses[1]));
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mx_answer answer = mx_from_text(cases[i].dns);
        struct role_result result;
        char got[512];

        role_decide(cases[i].setting, &answer, &self, &result);
        result_write(&result, &answer, got, sizeof got);
        if (strcmp(got, cases[i].want) == 0 && (cases[i].why == NULL || strstr(result.why, cases[i].why) != NULL))
            continue;
        failed++;
        print_error("%s: want \"%s\" (%s), got \"%s\" (%s)\n", cases[i].name, cases[i].want,
                    cases[i].why != NULL ? cases[i].why : "", got, result.why);
    }
    assert_int_equal(failed, 0);
}

static void test_no_identity(void **state)
{
    struct mx_answer answer = mx_from_text("10 a 192.0.2.1;@ 203.0.113.1");
    const struct self nobody = {0};
    struct role_result result;

    (void)state;
    role_decide(ROLE_AUTO, &answer, &nobody, &result);
    assert_true(result.known);
    assert_int_equal(result.class, CLASS_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decide),
        cmocka_unit_test(test_no_identity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
