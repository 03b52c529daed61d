/* check_domain.c - checks of each trapped domain: what DNS says, who we are there, whether the mail server lets its mail come
 * as far as the milter, and with --probe how its primaries are; and of the lists of friends. */

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/check.h"
#include "judge/liveness.h"

enum { DOMAINS_MAX = 1000 };

/* Gathering */

enum among { AMONG_NO, AMONG_YES, AMONG_UNKNOWN };

/* Is DOMAIN among LIST of Postfix's?  A table is not looked into.  With SUBDOMAINS a name means those below it too. */
static enum among is_among(const char *list, const char *domain, bool subdomains)
{
    enum among answer = AMONG_NO;
    char *copy = alloc_text(list), *rest = copy, *word;

    while (answer != AMONG_YES && (word = strsep(&rest, ", \t")) != NULL) {
        size_t length = strlen(word), whole = strlen(domain);

        bool below = subdomains && length > 0 && length < whole && domain[whole - length - 1] == '.' &&
                     strcasecmp(domain + whole - length, word) == 0;

        if (below || strcasecmp(word, domain) == 0 || strcmp(word, "static:all") == 0)
            answer = AMONG_YES;
        else if (strpbrk(word, ":/") != NULL)
            answer = AMONG_UNKNOWN;
    }
    free(copy);
    return answer;
}

static void gather_domain(struct check_facts *facts, const char *name)
{
    const struct settings_judge *judge = &facts->host.settings->judge;
    const struct check_mta *mta = &facts->mta;
    static const atomic_bool stop = false;
    struct ipaddr nowhere = {.family = 0};
    struct check_domain *domain;
    struct self self;

    facts->domains = alloc_resized(facts->domains, facts->domain_count + 1, sizeof *facts->domains);
    domain = &facts->domains[facts->domain_count++];
    memset(domain, 0, sizeof *domain);
    domain_normalize(name, domain->name);
    domain->setting = self_role(judge, domain->name);
    self_make(&self, judge, &nowhere, NULL);
    mx_resolve(&judge->dns, domain->name, &stop, &domain->answer);
    role_decide(domain->setting, &domain->answer, &self, &domain->role);
    for (size_t i = 0; i < domain->answer.host_count; i++) {
        const struct mx_host *host = &domain->answer.hosts[i];

        domain->named = domain->named || self_has_name(&self, host->name);
        for (size_t j = 0; self_has_name(&self, host->name) && j < host->addresses.count; j++)
            domain->our_address = domain->our_address || self_has_address(&self, &host->addresses.list[j]);
    }
    domain->may_relay = mta->relay_domains != NULL && is_among(mta->relay_domains, domain->name, true) == AMONG_YES;
    domain->relay_unknown = mta->relay_domains == NULL || is_among(mta->relay_domains, domain->name, true) == AMONG_UNKNOWN;
    domain->delivered = mta->delivered != NULL && is_among(mta->delivered, domain->name, false) == AMONG_YES;
}

static void probe_primaries(const struct settings_judge *judge, struct check_domain *domain)
{
    struct probe_config config = {.port = judge->port, .timeout_ms = judge->probe_timeout_ms, .allowed = judge->probe_allowed,
                                  .allowed_count = judge->probe_allowed_count, .name = self_probe_name(judge), .domain = domain->name,
                                  .stop_fd = -1};
    struct ipaddr source;

    for (size_t i = 0; i < domain->role.primary_count; i++) {
        const struct mx_addresses *addresses = &domain->answer.hosts[domain->role.primaries[i]].addresses;

        for (size_t j = 0; j < addresses->count; j++) {
            config.said = domain->said[i][j];
            domain->states[i][j] = probe_address(&config, &addresses->list[j], &source);
        }
    }
}

/* 127.0.0.2, which is listed everywhere, and 127.0.0.1, which is nowhere. */
static void gather_zones(struct check_facts *facts)
{
    const struct settings_judge *judge = &facts->host.settings->judge;
    static const struct ipaddr has = {.family = 4, .bytes = {127, 0, 0, 2}}, has_not = {.family = 4, .bytes = {127, 0, 0, 1}};
    static const atomic_bool stop = false;

    facts->zone_count = judge->friend_zone_count;
    for (size_t i = 0; i < facts->zone_count; i++) {
        struct check_zone *zone = &facts->zones[i];

        zone->name = judge->friend_zones[i];
        zone->has = mx_listed(&judge->dns, zone->name, &has, &stop);
        zone->has_not = zone->has == FRIEND_UNANSWERED ? FRIEND_UNANSWERED : mx_listed(&judge->dns, zone->name, &has_not, &stop);
    }
}

/* Those that were asked for or, without, those that the settings name one by one. */
void check_gather_domains(struct check_facts *facts, char **names, size_t count)
{
    const struct settings *settings = facts->host.settings;

    if (settings == NULL)
        return;
    gather_zones(facts);
    for (size_t i = 0; i < count; i++)
        gather_domain(facts, names[i]);
    for (size_t i = 0; count == 0 && i < settings->judge.rule_count && i < DOMAINS_MAX; i++)
        if (*settings->judge.rules[i].pattern != '*' && settings->judge.rules[i].role != ROLE_OFF)
            gather_domain(facts, settings->judge.rules[i].pattern);
    for (size_t i = 0; facts->probe && i < facts->domain_count; i++)
        probe_primaries(&settings->judge, &facts->domains[i]);
}

/* The checks */

/* Nobody answers for any of them: then it is not the domains. */
static bool dns_is_dead(const struct check_facts *facts)
{
    size_t unknown = 0;

    for (size_t i = 0; i < facts->domain_count; i++)
        unknown += facts->domains[i].answer.status == MX_UNKNOWN && !facts->domains[i].answer.too_many;
    return facts->domain_count > 0 && unknown == facts->domain_count;
}

static void check_dns(const struct check_facts *facts, struct check_report *report)
{
    if (dns_is_dead(facts))
        check_say(report, CHECK_PROBLEM, "see to /etc/resolv.conf or dns.nameservers; until then no hit is recorded but of traps",
                  "no name server answers for %s%s", facts->domains[0].name, facts->domain_count > 1 ? " and the others" : "");
    for (size_t i = 0; i < facts->domain_count && !dns_is_dead(facts); i++) {
        const struct check_domain *domain = &facts->domains[i];

        if (domain->answer.status == MX_UNKNOWN)
            check_say(report, CHECK_WARNING, "see to the name servers of that domain", "%s: %s", domain->name,
                      domain->answer.too_many ? "has more MX hosts or addresses than are taken" : "DNS gives no usable answer");
        else if (domain->answer.status == MX_NXDOMAIN)
            check_say(report, CHECK_WARNING, "spell it right, or give it an MX record", "%s does not exist in DNS", domain->name);
    }
}

static void check_role(const struct check_facts *facts, struct check_report *report)
{
    for (size_t i = 0; i < facts->domain_count; i++) {
        const struct check_domain *domain = &facts->domains[i];

        if (domain->answer.status == MX_UNKNOWN || (domain->answer.status == MX_NXDOMAIN && domain->setting != ROLE_TRAP))
            continue;
        if (domain->setting == ROLE_OFF)
            check_say(report, CHECK_OK, NULL, "%s is not trapped: role = off", domain->name);
        else if (domain->role.class == CLASS_NONE)
            check_say(report, CHECK_PROBLEM, "add an MX record that names this host, or set trap_host.names and .addresses",
                      "this host is nothing to %s: %s", domain->name, domain->role.why);
        else
            check_say(report, CHECK_OK, NULL, "this host is the %s of %s: %s", class_name(domain->role.class), domain->name,
                      domain->role.why);
        if (domain->named && !domain->our_address)
            check_say(report, CHECK_WARNING, "behind a NAT put the public address into trap_host.addresses; else mend DNS",
                      "our name in the MX set of %s has none of our addresses", domain->name);
    }
}

static void check_relay(const struct check_facts *facts, struct check_report *report)
{
    for (size_t i = 0; i < facts->domain_count; i++) {
        const struct check_domain *domain = &facts->domains[i];

        if (facts->mta.name == NULL || strcmp(facts->mta.name, "postfix") != 0 || domain->setting == ROLE_OFF)
            continue;
        if (domain->delivered)
            check_say(report, CHECK_PROBLEM, "take it out of the settings, or out of mydestination and virtual_*_domains",
                      "%s is delivered by this host, and must not be trapped here", domain->name);
        else if (domain->relay_unknown && !domain->may_relay)
            check_say(report, CHECK_UNKNOWN, "ask: postmap -q DOMAIN TABLE", "%s may be in a table of relay_domains",
                      domain->name);
        else if (!domain->may_relay)
            check_say(report, CHECK_PROBLEM, "add it to hunnypot_domains (relay_domains of the trap), then: postfix reload",
                      "%s is not among the relay domains: its mail never reaches the milter", domain->name);
        else
            check_say(report, CHECK_OK, NULL, "%s is among the relay domains", domain->name);
    }
}

static void check_primary(const struct check_domain *domain, size_t primary, struct check_report *report)
{
    const struct mx_host *host = &domain->answer.hosts[domain->role.primaries[primary]];
    char text[IPADDR_TEXT_SIZE];

    for (size_t i = 0; i < host->addresses.count; i++) {
        enum liveness_state state = domain->states[primary][i];
        const char *address = ipaddr_format(&host->addresses.list[i], text), *said = domain->said[primary][i];

        if (state == LIVENESS_ACCEPTING)
            check_say(report, CHECK_OK, NULL, "%s [%s], a primary of %s, takes mail: %s", host->name, address, domain->name,
                      said);
        else
            check_say(report, CHECK_WARNING,
                      state == LIVENESS_DOWN ? "is outgoing port 25 open here (telnet ADDRESS 25)? no hit counts that needs it"
                      : state == LIVENESS_DEFERRING ? "see why its greeting is not 220; no hit counts that needs it"
                                                    : "a private address needs liveness.probe_networks",
                      "%s [%s], a primary of %s, is %s%s%s", host->name, address, domain->name, liveness_state_name(state),
                      *said == '\0' ? "" : ": ", said);
    }
}

/* A host without an address is no primary to the judge. */
static void check_addresses(const struct check_domain *domain, struct check_report *report)
{
    for (size_t i = 0; i < domain->answer.host_count; i++)
        if (domain->answer.hosts[i].addresses.count == 0)
            check_say(report, CHECK_WARNING, "give it an A or AAAA record", "%s, an MX of %s, has no address",
                      domain->answer.hosts[i].name, domain->name);
}

static void check_primaries(const struct check_facts *facts, struct check_report *report)
{
    size_t probed = 0, silent = 0;

    for (size_t i = 0; i < facts->domain_count; i++)
        check_addresses(&facts->domains[i], report);
    if (!facts->probe)
        return;
    for (size_t i = 0; i < facts->domain_count; i++)
        for (size_t j = 0; j < facts->domains[i].role.primary_count; j++) {
            const struct check_domain *domain = &facts->domains[i];

            check_primary(domain, j, report);
            for (size_t k = 0; k < domain->answer.hosts[domain->role.primaries[j]].addresses.count; k++, probed++)
                silent += domain->states[j][k] == LIVENESS_DOWN;
        }
    if (probed > 0 && silent == probed)
        check_say(report, CHECK_PROBLEM, "let this host connect to port 25 of others; many providers open it only when asked",
                  "no primary can be reached: outgoing port 25 may be blocked");
}

static void check_friends(const struct check_facts *facts, struct check_report *report)
{
    for (size_t i = 0; i < facts->zone_count; i++) {
        const struct check_zone *zone = &facts->zones[i];

        if (zone->has == FRIEND_UNANSWERED || zone->has_not == FRIEND_UNANSWERED)
            check_say(report, CHECK_PROBLEM, "ask it by a resolver of your own, or take it out of friends.zones; whom no list has does not count",
                      "%s gives no answer of a list", zone->name);
        else if (zone->has_not == FRIEND_YES)
            check_say(report, CHECK_PROBLEM, "take it out of friends.zones; until then nobody is recorded",
                      "%s has 127.0.0.1, and so everybody", zone->name);
        else if (zone->has == FRIEND_NO)
            check_say(report, CHECK_WARNING, "is it spelt right, and alive? to this host it has nobody",
                      "%s has not even 127.0.0.2, which each list must have", zone->name);
        else
            check_say(report, CHECK_OK, NULL, "%s, a list of friends, answers", zone->name);
    }
}

const struct check check_domain_table[] = {
    {"dns", check_dns}, {"role", check_role}, {"relay domains", check_relay}, {"primaries", check_primaries},
    {"friends", check_friends}, {NULL, NULL},
};
