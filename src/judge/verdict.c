#include "judge/verdict.h"

#include <stddef.h>

static const char no_answer[] = "no answer within verdict_timeout";

static void conclude(struct verdict_result *result, enum verdict verdict, const char *why)
{
    result->verdict = verdict;
    result->why = why;
}

/* The primaries of a domain, put together. */
struct tally {
    size_t pending, unknown, down, accepting, deferring;
    const struct facts_primary *first; /* the most preferred one that is accepting */
    int64_t first_age_ms;
};

/* One primary, for clients of FAMILY: its state is the highest of its addresses'. */
static void tally_add(struct tally *tally, const struct facts_primary *primary, uint8_t family, int64_t age_max_ms)
{
    size_t *const counts[] = {
        [LIVENESS_UNKNOWN] = &tally->unknown,
        [LIVENESS_DOWN] = &tally->down,
        [LIVENESS_ACCEPTING] = &tally->accepting,
        [LIVENESS_DEFERRING] = &tally->deferring,
    };
    enum liveness_state state = LIVENESS_UNKNOWN;
    bool pending = false, any = false;
    int64_t age_ms = 0;

    for (size_t i = 0; i < primary->address_count; i++) {
        const struct facts_address *address = &primary->addresses[i];

        if (address->family != family)
            continue;
        any = true;
        if (!address->known || address->age_ms > age_max_ms) {
            pending = true;
        } else if (address->state > state) {
            state = address->state;
            age_ms = address->age_ms;
        }
    }
    if (!any)
        return;
    ++*(pending && state != LIVENESS_DEFERRING ? &tally->pending : counts[state]);
    if (!pending && state == LIVENESS_ACCEPTING && tally->first == NULL) {
        tally->first = primary;
        tally->first_age_ms = age_ms;
    }
}

static struct tally tally_of(const struct facts_domain *domain, uint8_t family, int64_t age_max_ms)
{
    struct tally tally = {0};

    for (size_t i = 0; i < domain->primary_count; i++)
        tally_add(&tally, &domain->primaries[i], family, age_max_ms);
    return tally;
}

static enum primaries_state state_of(const struct tally *tally, bool require_all)
{
    size_t all = tally->pending + tally->unknown + tally->down + tally->accepting + tally->deferring;

    if (all == 0)
        return PRIMARIES_ELSEWHERE;
    if (tally->deferring > 0)
        return PRIMARIES_DEFERRING;
    if (tally->pending > 0)
        return PRIMARIES_PENDING;
    if (require_all && tally->down > 0)
        return PRIMARIES_DOWN;
    if (tally->unknown > 0 && (require_all || tally->accepting == 0))
        return PRIMARIES_UNKNOWN;
    return tally->accepting == 0 ? PRIMARIES_DOWN : PRIMARIES_ACCEPTING;
}

enum primaries_state verdict_primaries(const struct verdict_rules *rules, const struct facts_domain *domain,
                                       uint8_t family, int64_t age_ms)
{
    struct tally tally = tally_of(domain, family, age_ms);

    return state_of(&tally, rules->require_all);
}

/* For how much longer TROUBLE is doubt; 0: not any more. */
static int64_t doubt_left_ms(const struct verdict_rules *rules, const struct facts_trouble *trouble)
{
    int64_t length_ms = trouble->length_ms, grace_ms = rules->outage_grace_ms;

    if (length_ms > VERDICT_OUTAGE_LENGTH_MAX_MS)
        length_ms = VERDICT_OUTAGE_LENGTH_MAX_MS;
    if (grace_ms > 0 && length_ms > grace_ms)
        grace_ms = length_ms;
    return trouble->age_ms < grace_ms ? grace_ms - trouble->age_ms : 0;
}

/* Is one of the addresses of PRIMARY in doubt because it was deferring? */
static bool deferred_lately(const struct verdict_rules *rules, const struct facts_primary *primary)
{
    for (size_t i = 0; i < primary->address_count; i++) {
        if (doubt_left_ms(rules, &primary->addresses[i].deferring) > 0)
            return true;
    }
    return false;
}

/* Was PRIMARY as a whole, as clients of FAMILY know it, not accepting lately?  It was when all its addresses were. */
static bool was_away_lately(const struct verdict_rules *rules, const struct facts_primary *primary, uint8_t family,
                            bool *counts)
{
    bool away = true;

    *counts = false;
    for (size_t i = 0; i < primary->address_count; i++) {
        if (primary->addresses[i].family != family)
            continue;
        *counts = true;
        away = away && doubt_left_ms(rules, &primary->addresses[i].not_accepting) > 0;
    }
    return away;
}

/* One primary that was deferring is enough, but all have to have been down, unless each of them is required. */
static bool is_recovering(const struct verdict_rules *rules, const struct facts_domain *domain, uint8_t family)
{
    bool any_away = false, all_away = true;

    for (size_t i = 0; i < domain->primary_count; i++) {
        bool counts, away = was_away_lately(rules, &domain->primaries[i], family, &counts);

        if (deferred_lately(rules, &domain->primaries[i]))
            return true;
        any_away = any_away || (counts && away);
        all_away = all_away && (!counts || away);
    }
    return any_away && (rules->require_all || all_away);
}

/* A primary that defers at an address of the other family is doubt too: a client may have both. */
static bool defers_anywhere(const struct facts_domain *domain)
{
    struct tally ipv4 = tally_of(domain, 4, INT64_MAX), ipv6 = tally_of(domain, 6, INT64_MAX);

    return ipv4.deferring + ipv6.deferring > 0;
}

/* What a probe that began after the hit, or later still, has to say. */
static void proof_judge(const struct verdict_rules *rules, const struct facts_hit *hit,
                        const struct facts_domain *domain, struct verdict_result *result)
{
    struct tally proof = tally_of(domain, hit->family, hit->age_ms);

    switch (state_of(&proof, rules->require_all)) {
    case PRIMARIES_PENDING:
        break;
    case PRIMARIES_ELSEWHERE:
        conclude(result, VERDICT_UNKNOWN, "no primary has an address of the client's family");
        break;
    case PRIMARIES_UNKNOWN:
        conclude(result, VERDICT_UNKNOWN, "a primary cannot be probed from here");
        break;
    case PRIMARIES_DOWN:
        conclude(result, VERDICT_OUTAGE, rules->require_all ? "a primary is down" : "all primaries are down");
        break;
    case PRIMARIES_DEFERRING:
        conclude(result, VERDICT_OUTAGE, "a primary defers mail");
        break;
    case PRIMARIES_ACCEPTING:
        if (is_recovering(rules, domain, hit->family)) {
            conclude(result, VERDICT_RECOVERING, "the outage of a primary was too recent");
            break;
        }
        conclude(result, VERDICT_OFFENCE, "the primaries take mail");
        result->primary = proof.first->name;
        result->primary_age_ms = proof.first_age_ms;
        break;
    }
}

static void primaries_judge(const struct verdict_rules *rules, const struct facts_hit *hit,
                            const struct facts_domain *domain, struct verdict_result *result)
{
    if (hit->late)
        conclude(result, VERDICT_UNKNOWN, "too old for the state of the primaries today");
    else if (hit->starting)
        conclude(result, VERDICT_RECOVERING, "this milter was started too recently");
    else if (defers_anywhere(domain))
        conclude(result, VERDICT_OUTAGE, "a primary defers mail");
    else if (verdict_primaries(rules, domain, hit->family, INT64_MAX) == PRIMARIES_DOWN)
        conclude(result, VERDICT_OUTAGE, rules->require_all ? "a primary is down" : "all primaries are down");
    else if (domain->moved)
        conclude(result, VERDICT_MOVED, "the old answer of DNS may still be obeyed");
    else
        proof_judge(rules, hit, domain, result);
}

bool verdict_begin(const struct facts_hit *hit, struct verdict_result *result)
{
    *result = (struct verdict_result){.verdict = VERDICT_NONE, .why = "no domain"};
    if (hit->client_is_ignored)
        conclude(result, VERDICT_IGNORED, "ignore_clients");
    else if (hit->client_is_ours)
        conclude(result, VERDICT_FRIEND, "one of our own addresses");
    else if (hit->exempt)
        conclude(result, VERDICT_EXEMPT, "exempt local parts only");
    else if (hit->client_is_friend)
        conclude(result, VERDICT_FRIEND, "a mail host of a domain that is served here");
    return result->verdict != VERDICT_NONE;
}

void verdict_of_domain(const struct verdict_rules *rules, const struct facts_hit *hit,
                       const struct facts_domain *domain, struct verdict_result *result)
{
    *result = (struct verdict_result){.verdict = VERDICT_PENDING, .domain = domain->name, .class = domain->role};
    result->friends_pending = domain->dns == FACTS_DNS_PENDING;
    result->trap = domain->is_trap && domain->dns == FACTS_DNS_PENDING;
    if (domain->dns == FACTS_DNS_PENDING)
        return;
    if (domain->client_is_mx)
        conclude(result, VERDICT_FRIEND, "an MX host of the domain");
    else if (domain->dns == FACTS_DNS_DOUBT)
        conclude(result, VERDICT_UNKNOWN, domain->why);
    else if (domain->role == CLASS_NONE)
        conclude(result, VERDICT_NONE, domain->why);
    else if (domain->hosts_in_doubt)
        conclude(result, VERDICT_UNKNOWN, "the addresses of an MX host are not known");
    else if (domain->role == CLASS_TRAP)
        conclude(result, VERDICT_OFFENCE, domain->why);
    else
        primaries_judge(rules, hit, domain, result);
    result->trap = result->verdict == VERDICT_OFFENCE && result->class == CLASS_TRAP;
}

/* Above all doubt, below a friend. */
static int rank(const struct verdict_result *result)
{
    bool trapped = result->verdict == VERDICT_OFFENCE && result->class == CLASS_TRAP;

    return trapped ? 2 * verdict_rank(VERDICT_FRIEND) - 1 : 2 * verdict_rank(result->verdict);
}

static bool outranks(const struct verdict_result *a, const struct verdict_result *b)
{
    if (a->verdict == VERDICT_OFFENCE && b->verdict == VERDICT_OFFENCE)
        return class_rank(a->class) > class_rank(b->class);
    return rank(a) > rank(b);
}

void verdict_join(struct verdict_result *result, const struct verdict_result *one)
{
    bool friends_pending = result->friends_pending || one->friends_pending, trap = result->trap || one->trap;

    if (result->domain == NULL || outranks(one, result))
        *result = *one;
    result->friends_pending = friends_pending;
    result->trap = trap;
}

void verdict_end(const struct facts_hit *hit, struct verdict_result *result)
{
    bool trapped = result->verdict == VERDICT_OFFENCE && result->class == CLASS_TRAP;

    /* A domain that is not known yet may be the client's own, which shields it, or the trap itself. */
    if (result->trap && result->friends_pending && result->verdict != VERDICT_FRIEND && !hit->final)
        conclude(result, VERDICT_PENDING, NULL);
    else if (hit->more_domains && !trapped && (result->verdict == VERDICT_OFFENCE || result->verdict == VERDICT_PENDING))
        conclude(result, VERDICT_UNKNOWN, "more domains were addressed than are looked at");
    else if (hit->final && result->verdict == VERDICT_PENDING)
        conclude(result, VERDICT_UNKNOWN, no_answer);
}
