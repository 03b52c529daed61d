#include "judge/judge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "judge/known.h"
#include "judge/outage.h"
#include "judge/owner.h"
#include "judge/verdict.h"

struct judge {
    struct known *known;
};

struct judge *judge_create(const struct settings *settings, const struct known_limits *limits)
{
    struct judge *judge = alloc_zeroed(1, sizeof *judge);

    judge->known = known_create(settings, limits);
    if (judge->known == NULL) {
        int error = errno;

        free(judge);
        errno = error;
        return NULL;
    }
    return judge;
}

void judge_destroy(struct judge **judge)
{
    if (*judge == NULL)
        return;
    known_destroy(&(*judge)->known);
    free(*judge);
    *judge = NULL;
}

void judge_configure(struct judge *judge, const struct settings *settings)
{
    known_configure(judge->known, settings);
}

void judge_keep_with(struct judge *judge, void (*keep)(void *context, const char *text), void *context)
{
    known_keep_with(judge->known, keep, context);
}

void judge_keep(struct judge *judge)
{
    known_keep(judge->known);
}

void judge_recall(struct judge *judge, const char *text)
{
    known_recall(judge->known, text);
}

size_t judge_reached(struct judge *judge, struct reached_probe *probes, size_t max)
{
    return known_reached(judge->known, probes, max);
}

void judge_wait(struct judge *judge, uint64_t *seen, int64_t deadline_ms)
{
    known_wait(judge->known, seen, deadline_ms);
}

void judge_wake(struct judge *judge)
{
    known_wake(judge->known);
}

void judge_prefetch(struct judge *judge, const char *domain, const struct ipaddr *local, const char *mta_name)
{
    const struct settings *settings = known_settings(judge->known);
    struct self self;

    self_make(&self, &settings->judge, local, mta_name);
    known_prefetch(judge->known, domain, &settings->judge, &self);
    settings_release(settings);
}

static bool nets_contain(const struct ipnet *nets, size_t count, const struct ipaddr *address)
{
    for (size_t i = 0; i < count; i++) {
        if (ipnet_contains(&nets[i], address))
            return true;
    }
    return false;
}

/* Also whoever comes from where addresses hold IPv4 ones and is none of those: to list it would be to list them all. */
static bool client_is_ignored(const struct settings_judge *settings, const struct ipaddr *client)
{
    const struct ipnet whole = {.address = *client, .bits = 128};

    return nets_contain(settings->ignored, settings->ignored_count, client) ||
           (client->family == 6 && ipnet_holds_ipv4(&whole, settings->nat64_prefixes, settings->nat64_prefix_count));
}

static void hit_facts(struct judge *judge, const struct known_asker *asker, const struct judge_question *question,
                      struct facts_hit *hit)
{
    const struct settings_judge *settings = asker->settings;

    *hit = (struct facts_hit){
        .family = question->client.family,
        .age_ms = asker->now_ms - asker->taken_ms,
        .client_is_ignored = client_is_ignored(settings, &question->client),
        .client_is_ours = self_has_address(asker->self, &question->client),
        .client_is_friend = known_friend(judge->known, &question->client),
        .exempt = question->exempt,
        .more_domains = question->domain_count > JUDGE_DOMAIN_LIMIT,
        .late = question->late,
        .final = question->final,
        .starting = known_age_ms(judge->known) < settings->startup_grace_ms,
    };
}

/* What follows for one domain; what is missing for it is asked for. */
static void domain_judge(struct judge *judge, const struct known_asker *asker, const struct facts_hit *hit,
                         const char *domain, struct known_view *view, struct verdict_result *result)
{
    const struct verdict_rules rules = {
        .require_all = asker->settings->require_all,
        .outage_grace_ms = asker->settings->outage_grace_ms,
    };

    enum role_setting setting = self_role(asker->settings, domain);

    known_facts(judge->known, asker, domain, setting, view);
    verdict_of_domain(&rules, hit, &view->domain, result);
    if (result->verdict == VERDICT_PENDING && view->domain.dns == FACTS_DNS_KNOWN && !asker->known_only)
        known_prove(judge->known, asker, view);
    if (result->verdict == VERDICT_NONE && setting != ROLE_OFF && known_no_role_is_due(judge->known, domain))
        log_event(LOG_LEVEL_WARNING, "no-role domain=%s why=\"%s\"", domain, result->why);
}

/* What goes along with an offence against DOMAIN. */
static void evidence_copy(const struct facts_domain *domain, struct judge_answer *answer)
{
    answer->primary_count = domain->primary_count;
    for (size_t i = 0; i < domain->primary_count; i++)
        strcpy(answer->primaries[i], domain->primaries[i].name);
    owner_of(domain, answer->owner);
}

static void domains_judge(struct judge *judge, const struct known_asker *asker, const struct facts_hit *hit,
                          const struct judge_question *question, struct verdict_result *result,
                          struct judge_answer *answer)
{
    size_t count = question->domain_count < JUDGE_DOMAIN_LIMIT ? question->domain_count : JUDGE_DOMAIN_LIMIT;
    struct known_view *view = alloc_zeroed(1, sizeof *view);

    for (size_t i = 0; i < count; i++) {
        struct verdict_result one;

        domain_judge(judge, asker, hit, question->domains[i], view, &one);
        verdict_join(result, &one);
        if (result->primary != NULL && result->primary == one.primary) { /* the view's, which the next domain overwrites */
            strcpy(answer->primary, one.primary);
            result->primary = answer->primary;
        }
        if (result->verdict == VERDICT_OFFENCE && result->domain == one.domain)
            evidence_copy(&view->domain, answer);
        if (asker->known_only && one.verdict == VERDICT_PENDING && result->verdict != VERDICT_FRIEND) {
            *result = one; /* it is asked again, when more may be found out for it */
            break;
        }
    }
    verdict_end(hit, result);
    if (result->primary == NULL)
        answer->primary[0] = '\0';
    free(view);
}

/* An offence waits for what DNS says of the client, which is looked up while the primaries are probed.  A name that is not known is
 * taken for one (policy), and where no list of friends answered the hit does not count before one does: so that not to wait for
 * it makes nobody guilty. */
static void client_wait(struct judge *judge, const struct known_asker *asker, const struct judge_question *question,
                        struct verdict_result *result, struct judge_answer *answer)
{
    bool named, asked;

    if (result->verdict != VERDICT_OFFENCE && result->verdict != VERDICT_PENDING)
        return;
    named = known_name(judge->known, asker, question->client_name, &answer->name_state);
    asked = known_in_zones(judge->known, &asker->client, asker->known_only, &answer->friend_state);
    if (answer->friend_state == FRIEND_YES) {
        result->verdict = VERDICT_FRIEND;
        result->why = "a list of friends has it";
    } else if (!(named && asked) && !question->final && !question->hurry) {
        result->verdict = VERDICT_PENDING;
    }
}

enum friend_state judge_friend(struct judge *judge, const struct ipaddr *client)
{
    enum friend_state state;

    (void)known_in_zones(judge->known, client, false, &state);
    return state;
}

bool judge_at_once(struct judge *judge, const struct judge_question *question, struct judge_answer *answer)
{
    const struct settings *settings = known_settings(judge->known);
    struct self self;
    const struct known_asker asker = {.settings = &settings->judge, .self = &self};
    struct verdict_result result;
    struct facts_hit hit;
    bool decided;

    self_make(&self, asker.settings, &question->local, question->mta_name);
    hit_facts(judge, &asker, question, &hit);
    decided = verdict_begin(&hit, &result);
    *answer = (struct judge_answer){.verdict = result.verdict, .why = result.why};
    settings_release(settings);
    return decided;
}

void judge_ask(struct judge *judge, const struct judge_question *question, struct judge_answer *answer)
{
    const struct settings *settings = known_settings(judge->known);
    struct known_asker asker = {
        .settings = &settings->judge,
        .client = question->client,
        .taken_ms = question->taken_ms,
        .now_ms = known_now(judge->known),
        .known_only = question->known_only,
    };
    struct verdict_result result;
    struct facts_hit hit;
    struct self self;

    *answer = (struct judge_answer){.verdict = VERDICT_PENDING};
    self_make(&self, asker.settings, &question->local, question->mta_name);
    asker.self = &self;
    hit_facts(judge, &asker, question, &hit);
    if (!verdict_begin(&hit, &result))
        domains_judge(judge, &asker, &hit, question, &result, answer);
    client_wait(judge, &asker, question, &result, answer);
    answer->verdict = result.verdict;
    answer->why = result.why;
    if (result.verdict == VERDICT_OFFENCE) {
        answer->class = result.class;
        answer->primary_age_ms = result.primary_age_ms;
        snprintf(answer->domain, sizeof answer->domain, "%s", result.domain);
    }
    settings_release(settings);
}

bool judge_outage_is_sure(struct judge *judge, const struct ipaddr *client, const struct ipaddr *local, const char *mta_name,
                          const char *domain)
{
    const struct settings *settings = known_settings(judge->known);
    struct known_view *view = alloc_zeroed(1, sizeof *view);
    struct known_asker asker = {.settings = &settings->judge, .client = *client, .now_ms = known_now(judge->known)};
    struct outage_egress egress;
    struct self self;
    bool sure;

    asker.taken_ms = asker.now_ms;
    self_make(&self, asker.settings, local, mta_name);
    asker.self = &self;
    known_facts(judge->known, &asker, domain, self_role(asker.settings, domain), view);
    known_egress(judge->known, view, &egress);
    sure = outage_is_sure(&view->domain, client->family, &egress);
    free(view);
    settings_release(settings);
    return sure;
}
