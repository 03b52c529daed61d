#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "judge/owner.h"

static void whose_a_domain_is(void **state)
{
    static const struct {
        const char *domain, *primaries[3], *owner;
    } cases[] = {
        {"customer.com", {NULL}, "customer.com"},
        {"mail.customer.co.uk", {NULL}, "customer.co.uk"},
        {"a.b.c.customer.com", {"mx.customer.com"}, "customer.com"},
        {"news.customer.com", {"mx.customer.com", "mx2.provider.net"}, "customer.com"},
        {"news.customer.com", {"mx2.provider.net", "mx.customer.com"}, "customer.com"},
        {"customer.com", {"mx1.provider.net", "mx2.provider.net"}, "provider.net"},
        {"other.org", {"mx1.provider.net", "mx2.provider.net"}, "provider.net"},
        {"com", {NULL}, "com"},
        {"localhost", {"mx"}, "mx"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct facts_primary primaries[3] = {0};
        struct facts_domain domain = {.name = cases[i].domain, .primaries = primaries};
        char owner[DOMAIN_MAX + 1];

        for (; domain.primary_count < 3 && cases[i].primaries[domain.primary_count] != NULL; domain.primary_count++)
            /* cppcheck-suppress unreadVariable ; by way of domain.primaries */
            primaries[domain.primary_count].name = cases[i].primaries[domain.primary_count];
        owner_of(&domain, owner);
        if (strcmp(owner, cases[i].owner) != 0)
            fail_msg("%s: wanted %s, got %s", cases[i].domain, cases[i].owner, owner);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whose_a_domain_is)};

    return cmocka_run_group_tests_name("owner", tests, NULL, NULL);
}
