#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/verdict.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { SECOND_MS = 1000, HOUR_S = 3600, GRACE_S = 3600, HIT_AGE_S = 20, PRIMARIES = 8 };

static const struct verdict_rules any = {.outage_grace_ms = GRACE_S * SECOND_MS};
static const struct verdict_rules all = {.require_all = true, .outage_grace_ms = GRACE_S * SECOND_MS};
static const struct verdict_rules graceless = {.outage_grace_ms = 0};

/* One word for each address: its family, its state (a accepting, d down, f deferring, u not probable, - not known), how many
 * seconds ago the probe began; then perhaps /AGE+LENGTH of its last trouble of deferring, \AGE+LENGTH of being away. */
static void address_read(const char *word, struct facts_address *address)
{
    static const char states[] = "udaf"; /* in the order of enum liveness_state */
    char *rest;

    *address = (struct facts_address){
        .family = (uint8_t)(word[0] - '0'),
        .known = word[1] != '-',
        .deferring.age_ms = FACTS_NEVER,
        .not_accepting.age_ms = FACTS_NEVER,
    };
    if (address->known)
        address->state = (enum liveness_state)(strchr(states, word[1]) - states);
    address->age_ms = strtoll(word + 2, &rest, 10) * SECOND_MS;
    while (*rest != '\0') {
        struct facts_trouble *trouble = *rest == '/' ? &address->deferring : &address->not_accepting;

        trouble->age_ms = strtoll(rest + 1, &rest, 10) * SECOND_MS;
        trouble->length_ms = strtoll(rest + 1, &rest, 10) * SECOND_MS;
    }
}

/* "4a5 6d9;4a7": one primary with two addresses, and one with one.  They are called p0, p1, ... */
static void primaries_read(const char *text, struct facts_domain *domain, struct facts_primary *primaries)
{
    static const char *const names[PRIMARIES] = {"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"};
    char copy[512], *rest = copy;

    snprintf(copy, sizeof copy, "%s", text);
    domain->primaries = primaries;
    for (char *host = strtok_r(rest, ";", &rest); host != NULL; host = strtok_r(NULL, ";", &rest)) {
        struct facts_primary *primary = &primaries[domain->primary_count];
        char *words = host;

        *primary = (struct facts_primary){.name = names[domain->primary_count++]};
        for (char *word = strtok_r(words, " ", &words); word != NULL; word = strtok_r(NULL, " ", &words))
            address_read(word, &primary->addresses[primary->address_count++]);
    }
}

/* A hit of 20 s ago by an IPv4 client on one domain of which this host is a backup. */
static const struct {
    const char *name, *primaries;
    const struct verdict_rules *rules; /* NULL: any */
    enum verdict want;
    const char *primary; /* for an offence */
    uint8_t family;      /* 0: 4 */
} proof_cases[] = {
    {"probed after the hit", "4a19", NULL, VERDICT_OFFENCE, "p0", 0},
    {"probed at the moment of the hit", "4a20", NULL, VERDICT_OFFENCE, "p0", 0},
    {"probed before the hit: remembered states convict nobody", "4a21", NULL, VERDICT_PENDING, NULL, 0},
    {"one probed before, one after", "4a5;4a30", NULL, VERDICT_PENDING, NULL, 0},
    {"never probed", "4-", NULL, VERDICT_PENDING, NULL, 0},
    {"remembered states acquit: down", "4d300", NULL, VERDICT_OUTAGE, NULL, 0},
    {"remembered states acquit: deferring", "4a1;4f300", NULL, VERDICT_OUTAGE, NULL, 0},
    {"remembered down, others accepting", "4d300;4a300", NULL, VERDICT_PENDING, NULL, 0},
    {"down before the hit, accepting after it", "4a5\\15+30", NULL, VERDICT_RECOVERING, NULL, 0},

    {"the second primary accepts", "4d5;4a6", NULL, VERDICT_OFFENCE, "p1", 0},
    {"all are down", "4d5;4d6", NULL, VERDICT_OUTAGE, NULL, 0},
    {"one defers", "4a5;4f6", NULL, VERDICT_OUTAGE, NULL, 0},
    {"one address of a primary defers", "4a5 4f6", NULL, VERDICT_OUTAGE, NULL, 0},
    {"one address of a primary is down", "4a5 4d6", NULL, VERDICT_OFFENCE, "p0", 0},
    {"none can be probed", "4u5;4u6", NULL, VERDICT_UNKNOWN, NULL, 0},
    {"one cannot be probed", "4u5;4a6", NULL, VERDICT_OFFENCE, "p1", 0},
    {"one cannot be probed, one is down", "4u5;4d6", NULL, VERDICT_UNKNOWN, NULL, 0},
    {"all are required, and accept", "4a5;4a6", &all, VERDICT_OFFENCE, "p0", 0},
    {"all are required, one is down", "4a5;4d6", &all, VERDICT_OUTAGE, NULL, 0},
    {"all are required, one cannot be probed", "4a5;4u6", &all, VERDICT_UNKNOWN, NULL, 0},

    {"IPv4 client, IPv6 primary", "6a5", NULL, VERDICT_UNKNOWN, NULL, 4},
    {"IPv6 client, IPv4 primary", "4a5", NULL, VERDICT_UNKNOWN, NULL, 6},
    {"IPv4 is down, IPv6 is up: IPv4 client", "4d5 6a5", NULL, VERDICT_OUTAGE, NULL, 4},
    {"IPv4 is down, IPv6 is up: IPv6 client", "4d5 6a5", NULL, VERDICT_OFFENCE, "p0", 6},
    {"IPv6 is down, IPv4 is up: IPv6 client", "4a5 6d5", NULL, VERDICT_OUTAGE, NULL, 6},
    {"IPv6 is down, IPv4 is up: IPv4 client", "4a5 6d5", NULL, VERDICT_OFFENCE, "p0", 4},
    {"down in one family each", "4d5;6a5", NULL, VERDICT_OUTAGE, NULL, 4},
    {"the other family is not waited for", "4a5 6-", NULL, VERDICT_OFFENCE, "p0", 4},
    {"the other family cannot be probed", "4a5 6u5", NULL, VERDICT_OFFENCE, "p0", 4},
    {"the other family defers", "4a5 6f300", NULL, VERDICT_OUTAGE, NULL, 4},
    {"the most preferred one of the family is named", "6a1;4a5;4a2", NULL, VERDICT_OFFENCE, "p1", 4},

    {"away within the grace", "4a5\\3599+60", NULL, VERDICT_RECOVERING, NULL, 0},
    {"away before the grace", "4a5\\3600+60", NULL, VERDICT_OFFENCE, "p0", 0},
    {"a long outage has a long grace", "4a5\\17999+18000", NULL, VERDICT_RECOVERING, NULL, 0},
    {"as long as it lasted", "4a5\\18000+18000", NULL, VERDICT_OFFENCE, "p0", 0},
    {"at most six hours", "4a5\\21599+864000", NULL, VERDICT_RECOVERING, NULL, 0},
    {"and no longer", "4a5\\21600+864000", NULL, VERDICT_OFFENCE, "p0", 0},
    {"no grace at all", "4a5\\1+18000", &graceless, VERDICT_OFFENCE, "p0", 0},
    {"one was away, one was not", "4a5\\10+60;4a5", NULL, VERDICT_OFFENCE, "p0", 0},
    {"one was away, all are required", "4a5\\10+60;4a5", &all, VERDICT_RECOVERING, NULL, 0},
    {"one address was away", "4a5\\10+60 4a5", NULL, VERDICT_OFFENCE, "p0", 0},
    {"one address was away, all primaries are required", "4a5\\10+60 4a5", &all, VERDICT_OFFENCE, "p0", 0},
    {"the other family was away", "4a5 6a5\\10+60", NULL, VERDICT_OFFENCE, "p0", 4},
    {"one was deferring", "4a5/10+60;4a5", NULL, VERDICT_RECOVERING, NULL, 0},
    {"one address was deferring", "4a5 4a5/10+60", NULL, VERDICT_RECOVERING, NULL, 0},
    {"the other family was deferring", "4a5 6a5/10+60", NULL, VERDICT_RECOVERING, NULL, 4},
};

static void what_convicts_and_what_acquits(void **state)
{
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(proof_cases); i++) {
        struct facts_primary primaries[PRIMARIES];
        struct facts_domain domain = {.name = "d.test", .dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP};
        struct facts_hit hit = {.family = 4, .age_ms = HIT_AGE_S * SECOND_MS};
        struct verdict_result got;

        if (proof_cases[i].family != 0)
            hit.family = proof_cases[i].family;
        primaries_read(proof_cases[i].primaries, &domain, primaries);
        verdict_of_domain(proof_cases[i].rules != NULL ? proof_cases[i].rules : &any, &hit, &domain, &got);
        if (got.verdict == proof_cases[i].want && (got.why != NULL || got.verdict == VERDICT_PENDING) &&
            (got.primary == NULL) == (proof_cases[i].primary == NULL) &&
            (got.primary == NULL || strcmp(got.primary, proof_cases[i].primary) == 0))
            continue;
        failed++;
        print_error("%s: want %s, got %s %s (%s)\n", proof_cases[i].name, verdict_name(proof_cases[i].want),
                    verdict_name(got.verdict), got.primary != NULL ? got.primary : "", got.why != NULL ? got.why : "");
    }
    assert_int_equal(failed, 0);
}

/* All down, and one that defers, are different facts. */
static void the_states_of_the_primaries(void **state)
{
    static const struct {
        const char *primaries;
        enum primaries_state want;
    } cases[] = {
        {"4a5;4d5", PRIMARIES_ACCEPTING}, {"4d5;4d5", PRIMARIES_DOWN},      {"4d5;4f5", PRIMARIES_DEFERRING},
        {"4d5;4-", PRIMARIES_PENDING},    {"4d5;4d90", PRIMARIES_PENDING},  {"4d5;4u5", PRIMARIES_UNKNOWN},
        {"6a5", PRIMARIES_ELSEWHERE},     {"4f5;4-", PRIMARIES_DEFERRING},  {"", PRIMARIES_ELSEWHERE},
        {"4d5 4-", PRIMARIES_PENDING},    {"4a5 4-;4a5", PRIMARIES_PENDING}, {"4d5 6-;4d5", PRIMARIES_DOWN},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct facts_primary primaries[PRIMARIES];
        struct facts_domain domain = {0};
        enum primaries_state got;

        primaries_read(cases[i].primaries, &domain, primaries);
        got = verdict_primaries(&any, &domain, 4, 60 * SECOND_MS);
        if (got != cases[i].want)
            fail_msg("\"%s\": want %d, got %d", cases[i].primaries, (int)cases[i].want, (int)got);
    }
}

/* Domains as they may be, by a word each. */
static struct facts_domain domain_of(const char *word, struct facts_primary *primaries)
{
    static const struct {
        const char *word;
        struct facts_domain facts;
        const char *primaries;
    } kinds[] = {
        {"trap", {.dns = FACTS_DNS_KNOWN, .role = CLASS_TRAP, .is_trap = true}, ""},
        {"trap?", {.dns = FACTS_DNS_PENDING, .is_trap = true}, ""},
        {"trap-doubt", {.dns = FACTS_DNS_KNOWN, .role = CLASS_TRAP, .is_trap = true, .hosts_in_doubt = true}, ""},
        {"backup", {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP}, "4a5"},
        {"backup?", {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP}, "4-"},
        {"address", {.dns = FACTS_DNS_KNOWN, .role = CLASS_ADDRESS}, "4a5"},
        {"outage", {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP}, "4d5"},
        {"recovering", {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP}, "4a5\\9+9"},
        {"moved", {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP, .moved = true}, "4a5"},
        {"none", {.dns = FACTS_DNS_KNOWN, .role = CLASS_NONE}, ""},
        {"?", {.dns = FACTS_DNS_PENDING}, ""},
        {"doubt", {.dns = FACTS_DNS_DOUBT}, ""},
        {"friend", {.dns = FACTS_DNS_KNOWN, .role = CLASS_BACKUP, .client_is_mx = true}, "4a5"},
        {"friend-elsewhere", {.dns = FACTS_DNS_KNOWN, .role = CLASS_NONE, .client_is_mx = true}, ""},
    };
    struct facts_domain domain;

    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcmp(kinds[i].word, word) != 0)
            continue;
        domain = kinds[i].facts;
        domain.name = kinds[i].word;
        domain.why = "as the test says";
        primaries_read(kinds[i].primaries, &domain, primaries);
        return domain;
    }
    fail_msg("no domain is called %s", word);
    return (struct facts_domain){0};
}

static const struct {
    const char *domains;
    struct facts_hit hit;
    enum verdict want;
    const char *domain; /* for an offence */
} join_cases[] = {
    {"", {0}, VERDICT_NONE, NULL},
    {"none", {0}, VERDICT_NONE, NULL},
    {"none backup", {0}, VERDICT_OFFENCE, "backup"},
    {"address backup trap", {0}, VERDICT_OFFENCE, "trap"},
    {"address backup", {0}, VERDICT_OFFENCE, "backup"},
    {"trap none", {0}, VERDICT_OFFENCE, "trap"},

    {"backup outage", {0}, VERDICT_OUTAGE, NULL},
    {"backup recovering", {0}, VERDICT_RECOVERING, NULL},
    {"backup moved", {0}, VERDICT_MOVED, NULL},
    {"backup doubt", {0}, VERDICT_UNKNOWN, NULL},
    {"backup ?", {0}, VERDICT_PENDING, NULL},
    {"backup backup?", {0}, VERDICT_PENDING, NULL},
    {"outage ?", {0}, VERDICT_OUTAGE, NULL},
    {"address friend", {0}, VERDICT_FRIEND, NULL},
    {"backup friend-elsewhere", {0}, VERDICT_FRIEND, NULL},
    {"outage friend", {0}, VERDICT_FRIEND, NULL},

    /* A trap is shielded by nothing but a friend. */
    {"trap outage", {0}, VERDICT_OFFENCE, "trap"},
    {"outage trap", {0}, VERDICT_OFFENCE, "trap"},
    {"trap recovering moved doubt", {0}, VERDICT_OFFENCE, "trap"},
    {"trap backup?", {0}, VERDICT_OFFENCE, "trap"},
    {"trap friend", {0}, VERDICT_FRIEND, NULL},
    {"friend trap?", {0}, VERDICT_FRIEND, NULL},
    {"trap ?", {0}, VERDICT_PENDING, NULL}, /* that may be the client's own */
    {"outage trap?", {0}, VERDICT_PENDING, NULL},
    {"trap ?", {.final = true}, VERDICT_OFFENCE, "trap"},
    {"outage trap?", {.final = true}, VERDICT_OUTAGE, NULL},
    {"backup trap?", {.final = true}, VERDICT_UNKNOWN, NULL},
    {"trap-doubt", {0}, VERDICT_UNKNOWN, NULL},
    {"trap-doubt trap", {0}, VERDICT_OFFENCE, "trap"},
    {"trap", {.late = true}, VERDICT_OFFENCE, "trap"},
    {"trap backup", {.late = true}, VERDICT_OFFENCE, "trap"},
    {"trap", {.starting = true}, VERDICT_OFFENCE, "trap"},
    {"trap", {.more_domains = true}, VERDICT_OFFENCE, "trap"},
    {"trap?", {.more_domains = true}, VERDICT_PENDING, NULL},

    {"backup", {.late = true}, VERDICT_UNKNOWN, NULL},
    {"backup", {.starting = true}, VERDICT_RECOVERING, NULL},
    {"backup", {.more_domains = true}, VERDICT_UNKNOWN, NULL},
    {"backup?", {.more_domains = true}, VERDICT_UNKNOWN, NULL},
    {"outage", {.more_domains = true}, VERDICT_OUTAGE, NULL},
    {"backup?", {.final = true}, VERDICT_UNKNOWN, NULL},
    {"?", {.final = true}, VERDICT_UNKNOWN, NULL},

    {"trap", {.client_is_ignored = true}, VERDICT_IGNORED, NULL},
    {"trap", {.client_is_ignored = true, .exempt = true, .client_is_ours = true}, VERDICT_IGNORED, NULL},
    {"trap", {.client_is_ours = true, .exempt = true}, VERDICT_FRIEND, NULL},
    {"trap", {.exempt = true, .client_is_friend = true}, VERDICT_EXEMPT, NULL},
    {"trap", {.client_is_friend = true}, VERDICT_FRIEND, NULL},
};

static void what_the_domains_make_together(void **state)
{
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(join_cases); i++) {
        struct facts_primary primaries[PRIMARIES];
        struct facts_hit hit = join_cases[i].hit;
        struct verdict_result got, one;
        char copy[256], *rest = copy;

        hit.family = 4;
        hit.age_ms = HIT_AGE_S * SECOND_MS;
        snprintf(copy, sizeof copy, "%s", join_cases[i].domains);
        if (!verdict_begin(&hit, &got)) {
            for (char *word = strtok_r(rest, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
                const struct facts_domain domain = domain_of(word, primaries);

                verdict_of_domain(&any, &hit, &domain, &one);
                verdict_join(&got, &one);
            }
            verdict_end(&hit, &got);
        }
        if (got.verdict == join_cases[i].want && (got.why != NULL || got.verdict == VERDICT_PENDING) &&
            (got.verdict != VERDICT_OFFENCE || strcmp(got.domain, join_cases[i].domain) == 0))
            continue;
        failed++;
        print_error("%s: want %s %s, got %s %s (%s)\n", join_cases[i].domains, verdict_name(join_cases[i].want),
                    join_cases[i].domain != NULL ? join_cases[i].domain : "", verdict_name(got.verdict),
                    got.domain != NULL ? got.domain : "", got.why != NULL ? got.why : "");
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_convicts_and_what_acquits),
        cmocka_unit_test(the_states_of_the_primaries),
        cmocka_unit_test(what_the_domains_make_together),
    };

    return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
