#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/conduct.h"
#include "judge/judge.h"

static struct judge *const judge; /* never looked at */
static const char *down;          /* the domain in a sure outage */

bool judge_outage_is_sure(struct judge *asked, const struct ipaddr *client, const struct ipaddr *local, const char *mta_name,
                          const char *domain)
{
    (void)client;
    (void)local;
    (void)mta_name;
    assert_ptr_equal(asked, judge);
    return strcmp(domain, down) == 0;
}

static struct settings_rule rules[] = {
    {.pattern = "*", .role = ROLE_OFF},
    {.pattern = "trap.test", .role = ROLE_TRAP},
    {.pattern = "a.test", .on_outage = ON_OUTAGE_ACCEPT},
    {.pattern = "*.a.test", .on_outage = ON_OUTAGE_ACCEPT},
    {.pattern = "defer.test", .role = ROLE_BACKUP},
};
static const struct settings settings = {.judge = {.rules = rules, .rule_count = sizeof rules / sizeof *rules}};
static const struct hit hit = {.client = {.family = 4}};

static void each_domain_has_its_conduct(void **state)
{
    static const struct {
        const char *domain, *down;
        enum session_conduct wanted;
    } cases[] = {
        {"else.test", "else.test", CONDUCT_PASS},  {"", "", CONDUCT_PASS},
        {"trap.test", "trap.test", CONDUCT_DEFER}, {"defer.test", "defer.test", CONDUCT_DEFER},
        {"a.test", "", CONDUCT_DEFER},             {"a.test", "a.test", CONDUCT_ACCEPT},
        {"x.a.test", "a.test", CONDUCT_DEFER},     {"x.a.test", "x.a.test", CONDUCT_ACCEPT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum session_conduct got;

        down = cases[i].down;
        got = conduct_at_rcpt((void *)&judge, &settings, &hit, cases[i].domain);
        if (got != cases[i].wanted)
            fail_msg("%s: wanted %d, got %d", cases[i].domain, cases[i].wanted, got);
    }
}

/* A client without an address (mail of this host) proves nothing about a family. */
static void without_an_address_nothing_is_accepted(void **state)
{
    const struct hit local = {0};

    (void)state;
    down = "a.test";
    assert_int_equal(conduct_at_rcpt((void *)&judge, &settings, &local, "a.test"), CONDUCT_DEFER);
}

static void what_changed_before_data_is_deferred(void **state)
{
    char one[] = "a.test", other[] = "x.a.test", *domains[] = {one, other};
    const struct session_bond bonds[] = {
        {.conduct = CONDUCT_ACCEPT, .domains = domains, .domain_count = 1},
        {.conduct = CONDUCT_ACCEPT, .domains = domains, .domain_count = 2},
        {.conduct = CONDUCT_PASS},
        {.conduct = CONDUCT_DEFER},
    };

    (void)state;
    down = "a.test";
    assert_int_equal(conduct_at_data((void *)&judge, &settings, &hit, &bonds[0]), CONDUCT_ACCEPT);
    assert_int_equal(conduct_at_data((void *)&judge, &settings, &hit, &bonds[1]), CONDUCT_DEFER);
    assert_int_equal(conduct_at_data((void *)&judge, &settings, &hit, &bonds[2]), CONDUCT_PASS);
    assert_int_equal(conduct_at_data((void *)&judge, &settings, &hit, &bonds[3]), CONDUCT_DEFER);
    down = "";
    assert_int_equal(conduct_at_data((void *)&judge, &settings, &hit, &bonds[0]), CONDUCT_DEFER);
    for (enum session_conduct decided = CONDUCT_DEFER; decided <= CONDUCT_PASS; decided++)
        assert_int_equal(conduct_at_end((void *)&judge, &settings, &hit, decided), decided);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_domain_has_its_conduct),
        cmocka_unit_test(without_an_address_nothing_is_accepted),
        cmocka_unit_test(what_changed_before_data_is_deferred),
    };

    return cmocka_run_group_tests_name("conduct", tests, NULL, NULL);
}
