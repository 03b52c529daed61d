#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "judge/outage.h"

enum { FRESH = OUTAGE_FRESH_MS };

/* A primary's addresses: "4d10" is IPv4, down, found so 10 s ago; a: accepting, f: deferring, u: unknown, -: not known. */
static struct facts_primary primary_of(const char *text)
{
    struct facts_primary primary = {.name = "p"};

    while (*text != '\0') {
        struct facts_address *address = &primary.addresses[primary.address_count++];
        char *end;

        address->family = (uint8_t)(*text++ - '0');
        address->known = *text != '-';
        address->state = *text == 'd'   ? LIVENESS_DOWN
                         : *text == 'a' ? LIVENESS_ACCEPTING
                         : *text == 'f' ? LIVENESS_DEFERRING
                                        : LIVENESS_UNKNOWN;
        address->age_ms = strtol(text + 1, &end, 10) * 1000;
        text = *end == ' ' ? end + 1 : end;
    }
    return primary;
}

static void only_what_is_proven_is_an_outage(void **state)
{
    static const struct {
        const char *name, *primaries[3];
        uint8_t family;
        int64_t egress[2]; /* s; -1: never */
        bool wanted;
    } cases[] = {
        {"down, and another host answered", {"4d10"}, 4, {5, -1}, true},
        {"both at the last moment", {"4d60"}, 4, {60, -1}, true},
        {"too long ago", {"4d61"}, 4, {5, -1}, false},
        {"the other host too long ago", {"4d10"}, 4, {61, -1}, false},
        {"no other host", {"4d10"}, 4, {-1, -1}, false},
        {"the other host over the other family", {"4d10"}, 4, {-1, 5}, false},
        {"all of several", {"4d10 4d20", "4d30"}, 4, {5, -1}, true},
        {"one accepts", {"4d10", "4a10"}, 4, {5, -1}, false},
        {"one defers", {"4d10", "4f10"}, 4, {5, -1}, false},
        {"one address accepts", {"4d10 4a50"}, 4, {5, -1}, false},
        {"one not known", {"4d10", "4-0"}, 4, {5, -1}, false},
        {"one cannot be probed", {"4d10", "4u10"}, 4, {5, -1}, false},
        {"both families down", {"4d10 6d10"}, 4, {5, 5}, true},
        {"the other family accepts", {"4d10 6a10"}, 4, {5, 5}, false},
        {"the other family not known", {"4d10 6-0"}, 4, {5, 5}, false},
        {"the other family without egress", {"4d10 6d10"}, 4, {5, -1}, true},
        {"the other family without egress, and not known", {"4d10 6-0"}, 4, {5, -1}, true},
        {"the other family answered though", {"4d10 6a300"}, 4, {5, -1}, false},
        {"the client's own without egress", {"4d10 6d10"}, 6, {5, -1}, false},
        {"nothing in the client's own", {"6d10"}, 4, {-1, 5}, true},
        {"nothing in the client's own, the other without egress", {"6d10"}, 4, {5, -1}, false},
        {"no address at all", {""}, 4, {5, 5}, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct facts_primary primaries[3];
        struct facts_domain domain = {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP, .primaries = primaries};
        struct outage_egress egress;

        for (; cases[i].primaries[domain.primary_count] != NULL; domain.primary_count++)
            /* cppcheck-suppress unreadVariable ; by way of domain.primaries */
            primaries[domain.primary_count] = primary_of(cases[i].primaries[domain.primary_count]);
        for (int family = 0; family < 2; family++)
            egress.age_ms[family] = cases[i].egress[family] < 0 ? FACTS_NEVER : cases[i].egress[family] * 1000;
        if (outage_is_sure(&domain, cases[i].family, &egress) != cases[i].wanted)
            fail_msg("%s: wanted %d", cases[i].name, cases[i].wanted);
    }
}

static void doubt_about_the_domain_is_no_outage(void **state)
{
    const struct facts_primary primary = primary_of("4d10");
    const struct facts_domain sure = {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP, .primaries = &primary, .primary_count = 1};
    const struct outage_egress egress = {.age_ms = {FRESH, FRESH}};
    struct facts_domain doubts[] = {sure, sure, sure, sure, sure, sure, sure, sure};

    (void)state;
    assert_true(outage_is_sure(&sure, 4, &egress));
    doubts[0].dns = FACTS_DNS_PENDING;
    doubts[1].dns = FACTS_DNS_DOUBT;
    doubts[2].role = CLASS_ADDRESS;
    doubts[3].role = CLASS_NONE;
    doubts[4].is_trap = true;
    doubts[5].hosts_in_doubt = true;
    doubts[6].moved = true;
    doubts[7].primary_count = 0;
    for (size_t i = 0; i < sizeof doubts / sizeof *doubts; i++)
        if (outage_is_sure(&doubts[i], 4, &egress))
            fail_msg("doubt %zu: an outage", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_proven_is_an_outage),
        cmocka_unit_test(doubt_about_the_domain_is_no_outage),
    };

    return cmocka_run_group_tests_name("outage", tests, NULL, NULL);
}
