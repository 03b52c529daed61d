#include "judge/known_inside.h"

#include <string.h>

#include "judge/name.h"

enum {
    PREFETCH_ASKED_MAX = 500, /* past it, what is asked for now would only be kept waiting */
    DAY_MS = 86400000,
    HOUR_MS = 3600000,
    NO_ROLE_LINES_PER_HOUR = 100
};

/* A look-up of DOMAIN is due, and somebody waits for it. */
static void lookup_want(struct known *known, struct domain *domain, int64_t now_ms)
{
    if (domain->entry.asked)
        return;
    agenda_put(&known->agenda, &domain->entry, now_ms, true);
    known_work_tell(known);
}

/* What is known about the domain, NULL when it is nothing yet or too old; a look-up is started when one is due. */
static const struct mx_answer *answer_ask(struct known *known, struct domain *domain, const struct self *self,
                                          int64_t now_ms)
{
    bool usable = domain_is_usable(domain, now_ms);

    if (!domain->looking_up && (!usable || now_ms - domain->taken_ms > domain->usable_ms / 4 * 3)) {
        domains_set_asker(domain, self);
        lookup_want(known, domain, now_ms);
    }
    return usable ? domain->answer : NULL;
}

void known_prefetch(struct known *known, const char *name, const struct settings_judge *settings, const struct self *self)
{
    enum role_setting setting = self_role(settings, name);

    pthread_mutex_lock(&known->mutex);
    if (known->agenda.asked < PREFETCH_ASKED_MAX && setting != ROLE_OFF)
        answer_ask(known, domains_find_or_add(known->domains, name), self, known_time_look(known));
    pthread_mutex_unlock(&known->mutex);
}

static bool leads_to(const struct settings_judge *settings, const struct mx_addresses *addresses, const struct ipaddr *client)
{
    for (size_t i = 0; i < addresses->count; i++) {
        struct ipaddr who = ipaddr_client(&addresses->list[i], settings->nat64_prefixes, settings->nat64_prefix_count);

        if (ipaddr_equal(&who, client))
            return true;
    }
    return false;
}

/* Is the client one of the domain's mail hosts (without an MX, its address is)?  DOUBT: not all of them are known. */
static bool is_mail_host(const struct settings_judge *settings, const struct mx_answer *mx, const struct ipaddr *client,
                         bool *doubt)
{
    bool implicit = mx->status == MX_OK && mx->host_count == 0 && !mx->null_mx;

    *doubt = mx->status == MX_UNKNOWN || (implicit && mx->addresses.status == MX_UNKNOWN);
    for (size_t i = 0; i < mx->host_count; i++) {
        const struct mx_addresses *addresses = &mx->hosts[i].addresses;

        if (leads_to(settings, addresses, client))
            return true;
        if (addresses->status == MX_UNKNOWN)
            *doubt = true;
    }
    return implicit && leads_to(settings, &mx->addresses, client);
}

static void address_view(struct known *known, const struct known_asker *asker, const char *domain,
                         const struct ipaddr *address, struct facts_address *facts, int64_t now_ms)
{
    int64_t remember_ms = asker->settings->remember_ms;

    *facts = liveness_ask(known->liveness, address, remember_ms, now_ms);
    if (facts->known && facts->age_ms > remember_ms / 4 * 3 && address->family == asker->client.family)
        liveness_want(known->liveness, address, domain, now_ms - facts->age_ms + 1, asker->settings->probe_interval_ms,
                      now_ms, true);
}

/* Returns false when KNOWN_ONLY and something would be added for it. */
static bool primary_view(struct known *known, const struct known_asker *asker, const char *domain,
                         const struct mx_host *host, struct known_view *view, int64_t now_ms)
{
    size_t index = view->domain.primary_count++;
    struct facts_primary *primary = &view->primaries[index];

    strcpy(view->names[index], host->name);
    *primary = (struct facts_primary){.name = view->names[index], .address_count = host->addresses.count};
    for (size_t i = 0; i < host->addresses.count; i++) {
        const struct ipaddr *address = &host->addresses.list[i];

        if (asker->known_only && !liveness_has(known->liveness, address))
            return false;
        view->addresses[index][i] = *address;
        address_view(known, asker, domain, address, &primary->addresses[i], now_ms);
    }
    return true;
}

static void domain_view(struct known *known, const struct known_asker *asker, struct domain *domain,
                        enum role_setting setting, struct known_view *view, int64_t now_ms)
{
    const struct mx_answer *mx = answer_ask(known, domain, asker->self, now_ms);
    struct facts_domain *facts = &view->domain;
    struct role_result role;

    if (mx == NULL)
        return;
    role_decide(setting, mx, asker->self, &role);
    facts->dns = role.known ? FACTS_DNS_KNOWN : FACTS_DNS_DOUBT;
    facts->role = role.class;
    facts->why = role.why;
    facts->moved = now_ms < domain->moved.until_ms;
    facts->client_is_mx = is_mail_host(asker->settings, mx, &asker->client, &facts->hosts_in_doubt);
    for (size_t i = 0; i < role.primary_count; i++) {
        if (!primary_view(known, asker, domain->name, &mx->hosts[role.primaries[i]], view, now_ms)) {
            facts->dns = FACTS_DNS_PENDING;
            break;
        }
    }
    if (domain->seen_ms == DOMAINS_NEVER || now_ms - domain->seen_ms > KNOWN_REFRESH_MIN_MS) {
        domain->seen_ms = now_ms;
        known_plan_domain(known, domain, now_ms);
    }
}

void known_facts(struct known *known, const struct known_asker *asker, const char *name, enum role_setting setting,
                 struct known_view *view)
{
    struct domain *domain;

    view->domain = (struct facts_domain){
        .name = name,
        .dns = FACTS_DNS_PENDING,
        .is_trap = setting == ROLE_TRAP,
        .primaries = view->primaries,
    };
    if (setting == ROLE_OFF) {
        view->domain.dns = FACTS_DNS_KNOWN;
        view->domain.why = "set to off";
        return;
    }
    pthread_mutex_lock(&known->mutex);
    domain = asker->known_only ? domains_find(known->domains, name) : domains_find_or_add(known->domains, name);
    if (domain != NULL)
        domain_view(known, asker, domain, setting, view, asker->now_ms);
    known_work_tell(known);
    pthread_mutex_unlock(&known->mutex);
}

/* A probe of ADDRESS tells nothing about the hit: it began before it, or is too old by now. */
static bool needs_proof(const struct known_asker *asker, const struct facts_address *address)
{
    return address->family == asker->client.family &&
           (!address->known || address->age_ms > asker->now_ms - asker->taken_ms);
}

void known_prove(struct known *known, const struct known_asker *asker, const struct known_view *view)
{
    int64_t oldest_ms = asker->now_ms - asker->settings->remember_ms;
    int64_t after_ms = asker->taken_ms > oldest_ms ? asker->taken_ms : oldest_ms;

    pthread_mutex_lock(&known->mutex);
    for (size_t i = 0; i < view->domain.primary_count; i++) {
        const struct facts_primary *primary = &view->primaries[i];

        for (size_t j = 0; j < primary->address_count; j++) {
            if (needs_proof(asker, &primary->addresses[j]))
                liveness_want(known->liveness, &view->addresses[i][j], view->domain.name, after_ms,
                              asker->settings->probe_interval_ms, asker->now_ms, true);
        }
    }
    known_work_tell(known);
    pthread_mutex_unlock(&known->mutex);
}

bool known_friend(struct known *known, const struct ipaddr *client)
{
    bool friend;

    pthread_mutex_lock(&known->mutex);
    friend = domains_have_friend(known->domains, client);
    pthread_mutex_unlock(&known->mutex);
    return friend;
}

/* What the mail server found for itself leads back; what it did not, it may not have looked for. */
bool known_name(struct known *known, const struct known_asker *asker, const char *verified, enum name_state *state)
{
    int answer = NAME_UNKNOWN;
    bool found;

    if (verified != NULL && *verified != '\0' && *verified != '[') {
        *state = name_is_made_from(verified, &asker->client) ? NAME_NONE : NAME_CONFIRMED;
        return true;
    }
    pthread_mutex_lock(&known->mutex);
    found = answers_ask(known->names, &asker->client, asker->known_only, asker->now_ms, &answer);
    *state = (enum name_state)answer;
    known_work_tell(known);
    pthread_mutex_unlock(&known->mutex);
    return found;
}

bool known_in_zones(struct known *known, const struct ipaddr *client, bool known_only, enum friend_state *state)
{
    int answer = FRIEND_UNANSWERED;
    bool found = true;

    pthread_mutex_lock(&known->mutex);
    if (known->settings->judge.friend_zone_count == 0)
        answer = FRIEND_UNASKED;
    else
        found = answers_ask(known->friends, client, known_only, known_time_look(known), &answer);
    *state = found ? (enum friend_state)answer : FRIEND_UNANSWERED;
    known_work_tell(known);
    pthread_mutex_unlock(&known->mutex);
    return found;
}

static bool is_primary(const struct known_view *view, const struct ipaddr *address)
{
    for (size_t i = 0; i < view->domain.primary_count; i++) {
        for (size_t j = 0; j < view->primaries[i].address_count; j++) {
            if (ipaddr_equal(&view->addresses[i][j], address))
                return true;
        }
    }
    return false;
}

void known_egress(struct known *known, const struct known_view *view, struct outage_egress *egress)
{
    int64_t now_ms;

    *egress = (struct outage_egress){.age_ms = {FACTS_NEVER, FACTS_NEVER}};
    pthread_mutex_lock(&known->mutex);
    now_ms = known_time_look(known);
    for (int family = 0; family < 2; family++) {
        for (int i = 0; i < KNOWN_EGRESS_KEPT; i++) {
            const struct answered *answered = &known->egress.answered[family][i];
            int64_t age_ms = now_ms - answered->began_ms;

            if (answered->address.family != 0 && age_ms < egress->age_ms[family] && !is_primary(view, &answered->address))
                egress->age_ms[family] = age_ms;
        }
    }
    pthread_mutex_unlock(&known->mutex);
}

/* Once a day for each domain, and no more than so many in an hour: strangers choose the domains. */
static bool no_role_is_due(struct known *known, struct domain *domain, int64_t now_ms)
{
    if (domain->no_role_logged_ms != DOMAINS_NEVER && now_ms - domain->no_role_logged_ms < DAY_MS)
        return false;
    if (known->no_role_hour_ms == 0 || now_ms - known->no_role_hour_ms >= HOUR_MS) {
        known->no_role_hour_ms = now_ms;
        known->no_role_lines = 0;
    }
    if (known->no_role_lines >= NO_ROLE_LINES_PER_HOUR)
        return false;
    known->no_role_lines++;
    domain->no_role_logged_ms = now_ms;
    return true;
}

bool known_no_role_is_due(struct known *known, const char *name)
{
    struct domain *domain;
    bool due;

    pthread_mutex_lock(&known->mutex);
    domain = domains_find(known->domains, name);
    due = domain != NULL && no_role_is_due(known, domain, known_time_look(known));
    pthread_mutex_unlock(&known->mutex);
    return due;
}
