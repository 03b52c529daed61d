#include "judge/known.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"
#include "judge/agenda.h"
#include "judge/domains.h"
#include "judge/liveness.h"
#include "judge/memory.h"
#include "judge/name.h"
#include "judge/names.h"

enum {
    PREFETCH_ASKED_MAX = 500, /* past it, what is asked for now would only be kept waiting */
    LEAVE_MS = 300,           /* for the workers to end */
    REFRESH_MIN_MS = 60000,   /* nobody waits for a look-up that keeps a domain fresh */
    DAY_MS = 86400000,
    HOUR_MS = 3600000,
    NO_ROLE_LINES_PER_HOUR = 100,
    EGRESS_KEPT = 8, /* more than the primaries of one domain are likely to push out */
    BLOCKED_PROBES = 10 /* so many without a single connection, to more than one address: it is not them, it is us */
};

enum { AGENDA_DOMAIN, AGENDA_ADDRESS, AGENDA_NAME, AGENDA_EGRESS };

/* Has any probe ever come through?  Under the mutex. */
struct egress {
    bool proven;
    unsigned failures;
    bool several;
    struct ipaddr first;
    struct answered {
        struct ipaddr address; /* family 0: none */
        int64_t began_ms;      /* of the probe */
    } answered[2][EGRESS_KEPT]; /* IPv4, IPv6: the last that answered */
};

struct known {
    pthread_mutex_t mutex; /* covers all up to `stop` */
    pthread_cond_t news;   /* `generation` moved */
    pthread_cond_t work;   /* the agenda changed, or it is time to stop */
    uint64_t generation;
    struct clock_moment looked; /* when time_look() was last called */
    const struct settings *settings;
    struct agenda agenda;
    struct domains *domains;
    struct liveness *liveness;
    struct names *names;
    struct egress egress;
    struct agenda_entry egress_entry;
    int64_t no_role_hour_ms;
    unsigned no_role_lines;
    void (*keep)(void *context, const char *text);
    void *keep_context;
    bool keeping, keep_again;

    atomic_bool stop;
    int stop_fd;  /* readable when `stop` is true */
    int ended_fd; /* counts the workers that have ended */
    int64_t created_ms;
    pthread_t *workers;
    size_t worker_count;
    _Atomic int64_t blocked_logged_ms;
};

/* What a worker does next. */
struct task {
    int kind;
    const struct settings *settings;
    char domain[DOMAIN_MAX + 1]; /* to look up; or one whose primary is probed */
    struct ipaddr address;       /* to probe, or whose names to look up */
    struct ipaddr local;         /* who asks for the look-up: see struct self */
    char mta_name[DOMAIN_MAX + 1];
};

const struct settings *known_settings(struct known *known)
{
    const struct settings *settings;

    pthread_mutex_lock(&known->mutex);
    settings = settings_hold(known->settings);
    pthread_mutex_unlock(&known->mutex);
    return settings;
}

/* Now, on the clock that goes on in a suspend; the mutex is held.  When the real time disagrees with it since we last looked, the
 * machine stood still, or somebody put the clock right: nobody knows how old anything is that is remembered. */
static int64_t time_look(struct known *known)
{
    struct clock_moment now = clock_now();

    if (clock_age_most_ms(&known->looked, &now) == CLOCK_AGE_ENDLESS) {
        liveness_forget_states(known->liveness);
        domains_age(known->domains);
    }
    known->looked = now;
    return now.boot_ms;
}

static void news_tell(struct known *known)
{
    known->generation++;
    pthread_cond_broadcast(&known->news);
}

/* What is under the mutex: domains. */

/* When the answer for DOMAIN is to be asked for again though nobody waits for it. */
static int64_t refresh_due_ms(const struct domain *domain)
{
    int64_t after_ms = domain->usable_ms / 4 * 3;

    if (domain->answer == NULL)
        return 0;
    return domain->taken_ms + (after_ms > REFRESH_MIN_MS ? after_ms : REFRESH_MIN_MS);
}

/* How often the primaries of DOMAIN are probed though nobody asks. */
static int64_t fresh_interval_ms(const struct known *known, const struct domain *domain)
{
    int64_t interval_ms = known->settings->judge.fresh_ms;

    return domain->accepts && interval_ms > OUTAGE_PROBE_MS ? OUTAGE_PROBE_MS : interval_ms;
}

static int64_t fresh_due_ms(const struct known *known, const struct domain *domain)
{
    return domain->fresh_ms == DOMAINS_NEVER ? 0 : domain->fresh_ms + fresh_interval_ms(known, domain);
}

/* Is DOMAIN to be kept fresh?  One that no hit was for within FRESH_DAYS is not, unless the settings name it. */
static bool is_worth_keeping(const struct known *known, const struct domain *domain, int64_t now_ms)
{
    bool seen = domain->seen_ms != DOMAINS_NEVER && now_ms - domain->seen_ms < KNOWN_FRESH_DAYS * INT64_C(86400000);

    return known->settings->judge.fresh_ms > 0 && (domain->configured || (seen && domain_is_served(domain)) ||
                                                    (seen && domain->kept && domain->answer == NULL));
}

/* What DOMAIN is kept for is put on the agenda. */
static void domain_plan(struct known *known, struct domain *domain, int64_t now_ms)
{
    int64_t refresh_ms, probes_ms;

    domains_keep(known->domains, domain, is_worth_keeping(known, domain, now_ms));
    if (domain->looking_up || !domain->kept)
        return;
    refresh_ms = refresh_due_ms(domain);
    probes_ms = fresh_due_ms(known, domain);
    agenda_put(&known->agenda, &domain->entry,
               domain->role.primary_count > 0 && probes_ms < refresh_ms ? probes_ms : refresh_ms, false);
    pthread_cond_signal(&known->work);
}

/* A look-up of DOMAIN is due, and somebody waits for it. */
static void lookup_want(struct known *known, struct domain *domain, int64_t now_ms)
{
    if (domain->entry.asked)
        return;
    agenda_put(&known->agenda, &domain->entry, now_ms, true);
    pthread_cond_signal(&known->work);
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
        answer_ask(known, domains_find_or_add(known->domains, name), self, time_look(known));
    pthread_mutex_unlock(&known->mutex);
}

/* Is the client one of the domain's mail hosts (without an MX, its address is)?  DOUBT: not all of them are known. */
static bool is_mail_host(const struct mx_answer *mx, const struct ipaddr *client, bool *doubt)
{
    bool implicit = mx->status == MX_OK && mx->host_count == 0 && !mx->null_mx;

    *doubt = mx->status == MX_UNKNOWN || (implicit && mx->addresses.status == MX_UNKNOWN);
    for (size_t i = 0; i < mx->host_count; i++) {
        const struct mx_addresses *addresses = &mx->hosts[i].addresses;

        for (size_t j = 0; j < addresses->count; j++) {
            if (ipaddr_equal(&addresses->list[j], client))
                return true;
        }
        if (addresses->status == MX_UNKNOWN)
            *doubt = true;
    }
    for (size_t i = 0; implicit && i < mx->addresses.count; i++) {
        if (ipaddr_equal(&mx->addresses.list[i], client))
            return true;
    }
    return false;
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
    facts->client_is_mx = is_mail_host(mx, &asker->client, &facts->hosts_in_doubt);
    for (size_t i = 0; i < role.primary_count; i++) {
        if (!primary_view(known, asker, domain->name, &mx->hosts[role.primaries[i]], view, now_ms)) {
            facts->dns = FACTS_DNS_PENDING;
            break;
        }
    }
    if (domain->seen_ms == DOMAINS_NEVER || now_ms - domain->seen_ms > REFRESH_MIN_MS) {
        domain->seen_ms = now_ms;
        domain_plan(known, domain, now_ms);
    }
}

int64_t known_now(struct known *known)
{
    int64_t now_ms;

    pthread_mutex_lock(&known->mutex);
    now_ms = time_look(known);
    pthread_mutex_unlock(&known->mutex);
    return now_ms;
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
    pthread_cond_signal(&known->work);
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
    pthread_cond_broadcast(&known->work);
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
    bool found;

    *state = NAME_UNKNOWN;
    if (verified != NULL && *verified != '\0' && *verified != '[') {
        *state = name_is_made_from(verified, &asker->client) ? NAME_NONE : NAME_CONFIRMED;
        return true;
    }
    pthread_mutex_lock(&known->mutex);
    found = names_ask(known->names, &asker->client, asker->known_only, asker->now_ms, state);
    pthread_cond_signal(&known->work);
    pthread_mutex_unlock(&known->mutex);
    return found;
}

int64_t known_age_ms(struct known *known)
{
    return clock_now().boot_ms - known->created_ms;
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
    now_ms = time_look(known);
    for (int family = 0; family < 2; family++) {
        for (int i = 0; i < EGRESS_KEPT; i++) {
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
    due = domain != NULL && no_role_is_due(known, domain, time_look(known));
    pthread_mutex_unlock(&known->mutex);
    return due;
}

/* The workers. */

/* Have the primaries of DOMAIN probed though nobody asked, each address that was not within the interval. */
static void probes_refresh(struct known *known, struct domain *domain, int64_t now_ms)
{
    const struct settings_judge *settings = &known->settings->judge;

    domain->fresh_ms = now_ms;
    for (size_t i = 0; i < domain->role.primary_count; i++) {
        const struct mx_addresses *addresses = &domain->answer->hosts[domain->role.primaries[i]].addresses;

        for (size_t j = 0; j < addresses->count; j++)
            liveness_want(known->liveness, &addresses->list[j], domain->name, now_ms - fresh_interval_ms(known, domain) / 2,
                          settings->probe_interval_ms, now_ms, false);
    }
}

/* The hosts that tell an outage of others from one of ours are asked, as long as somebody wants to know. */
static void egress_plan(struct known *known, int64_t due_ms)
{
    if (known->settings->judge.egress_host_count > 0 && settings_accept_in_outage(&known->settings->judge))
        agenda_put(&known->agenda, &known->egress_entry, due_ms, false);
    else
        agenda_drop(&known->agenda, &known->egress_entry);
}

static void egress_refresh(struct known *known, int64_t now_ms)
{
    const struct settings_judge *settings = &known->settings->judge;

    for (size_t i = 0; i < settings->egress_host_count; i++)
        liveness_want(known->liveness, &settings->egress_hosts[i], "egress_hosts", now_ms, settings->probe_interval_ms,
                      now_ms, false);
    egress_plan(known, now_ms + OUTAGE_PROBE_MS);
}

/* What is due for DOMAIN is a look-up (true; TASK is filled in), or was done at once. */
static bool domain_begin(struct known *known, struct domain *domain, struct task *task, int64_t now_ms)
{
    bool asked = domain->entry.asked;

    agenda_drop(&known->agenda, &domain->entry);
    if (!asked && now_ms < refresh_due_ms(domain)) {
        probes_refresh(known, domain, now_ms);
        domain_plan(known, domain, now_ms);
        return false;
    }
    domain->looking_up = true;
    strcpy(task->domain, domain->name);
    strcpy(task->mta_name, domain->mta_name);
    task->local = domain->local;
    return true;
}

/* Take what is due; false when nothing is. */
static bool task_begin(struct known *known, struct agenda_entry *entry, struct task *task, int64_t now_ms)
{
    *task = (struct task){.kind = entry->kind};
    if (entry->kind == AGENDA_EGRESS) {
        egress_refresh(known, now_ms);
        return false;
    }
    if (entry->kind == AGENDA_NAME)
        task->address = names_begin(known->names, entry);
    else if (entry->kind == AGENDA_ADDRESS)
        liveness_begin(known->liveness, entry, now_ms, &task->address, task->domain);
    else if (!domain_begin(known, domains_of_entry(entry), task, now_ms))
        return false;
    task->settings = settings_hold(known->settings);
    return true;
}

static bool task_take(struct known *known, struct task *task)
{
    bool taken = false;

    pthread_mutex_lock(&known->mutex);
    while (!known->stop && !taken) {
        struct agenda_entry *entry = agenda_first(&known->agenda);
        int64_t now_ms = time_look(known);

        if (entry == NULL) {
            pthread_cond_wait(&known->work, &known->mutex);
        } else if (entry->due_ms > now_ms) {
            struct timespec due = clock_timespec(clock_monotonic_ms() + entry->due_ms - now_ms);

            pthread_cond_timedwait(&known->work, &known->mutex, &due);
        } else {
            taken = task_begin(known, entry, task, now_ms);
        }
    }
    pthread_mutex_unlock(&known->mutex);
    return taken;
}

/* The domain that TASK, a look-up, is for; NULL when nobody waits for it any more. */
static struct domain *domain_wanted(const struct known *known, const struct task *task)
{
    struct domain *domain = domains_find(known->domains, task->domain);

    return domain != NULL && domain->looking_up && task->settings == known->settings ? domain : NULL;
}

/* Did the machine stand still between STARTED and now?  What was found out meanwhile may be from before that. */
static bool stood_still_since(const struct clock_moment *started)
{
    struct clock_moment now = clock_now();

    return clock_age_most_ms(started, &now) == CLOCK_AGE_ENDLESS;
}

static void lookup_run(struct known *known, const struct task *task)
{
    const struct settings_judge *settings = &task->settings->judge;
    const struct clock_moment started = clock_now();
    const struct settings_rule *rule = self_rule(settings, task->domain);
    struct mx_answer answer;
    struct role_result role;
    struct domain *domain;
    struct self self;
    bool moved = false, too_many = false;

    mx_resolve(&settings->dns, task->domain, &known->stop, &answer);
    if (stood_still_since(&started))
        answer = (struct mx_answer){.status = MX_UNKNOWN};
    self_make(&self, settings, &task->local, task->mta_name);
    role_decide(rule != NULL ? rule->role : ROLE_AUTO, &answer, &self, &role);
    pthread_mutex_lock(&known->mutex);
    domain = known->stop ? NULL : domain_wanted(known, task);
    if (domain != NULL) {
        int64_t now_ms = time_look(known);

        too_many = answer.too_many && (domain->answer == NULL || !domain->answer->too_many);
        domain->looking_up = false;
        domain->accepts = rule != NULL && rule->on_outage == ON_OUTAGE_ACCEPT;
        moved = domains_store(known->domains, domain, &answer, &role, started.boot_ms, settings->remember_ms, now_ms);
        domain_plan(known, domain, now_ms);
    }
    news_tell(known);
    pthread_mutex_unlock(&known->mutex);
    log_event(LOG_LEVEL_DEBUG, "looked-up domain=%s answer=%s mx=%zu ttl=%us", task->domain,
              answer.status == MX_OK ? "ok" : answer.status == MX_NXDOMAIN ? "nxdomain" : "unknown",
              answer.host_count, answer.ttl_s);
    if (too_many)
        log_event(LOG_LEVEL_INFO, "too-many-hosts domain=%s limit=\"%d MX hosts, %d addresses each\" effect=\"unknown\"",
                  task->domain, MX_MAX, MX_ADDRESS_MAX);
    if (!moved)
        return;
    log_event(LOG_LEVEL_INFO, "moved domain=%s mx=%zu", task->domain, answer.host_count);
    known_keep(known);
}

/* ADDRESS takes the place that it has, or that of the longest ago. */
static void egress_remember(struct answered *answered, const struct ipaddr *address, int64_t began_ms)
{
    struct answered *place = answered;

    for (int i = 0; i < EGRESS_KEPT; i++) {
        if (ipaddr_equal(&answered[i].address, address)) {
            place = &answered[i];
            break;
        }
        if (place->address.family != 0 && (answered[i].address.family == 0 || answered[i].began_ms < place->began_ms))
            place = &answered[i];
    }
    *place = (struct answered){.address = *address, .began_ms = began_ms};
}

/* Returns how many probes have failed to connect when all of them have, and that is no accident; else 0. */
static unsigned egress_note(struct egress *egress, const struct ipaddr *address, enum liveness_state state,
                            int64_t started_ms)
{
    if (state == LIVENESS_ACCEPTING || state == LIVENESS_DEFERRING) {
        egress->proven = true;
        egress_remember(egress->answered[address->family == 6], address, started_ms);
    }
    if (egress->proven || state != LIVENESS_DOWN)
        return 0;
    if (egress->failures++ == 0)
        egress->first = *address;
    else if (!ipaddr_equal(&egress->first, address))
        egress->several = true;
    return egress->several && egress->failures >= BLOCKED_PROBES ? egress->failures : 0;
}

static void probe_log(struct known *known, const struct task *task, enum liveness_state state, bool news,
                      unsigned all_failed)
{
    char address[IPADDR_TEXT_SIZE];

    log_event(news ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "probed address=%s state=%s domain=%s",
              ipaddr_format(&task->address, address), liveness_state_name(state), task->domain);
    if (all_failed > 0 && log_is_due(&known->blocked_logged_ms, HOUR_MS))
        log_event(LOG_LEVEL_WARNING, "probes-all-fail probes=%u hint=\"outgoing port %u may be blocked\"", all_failed,
                  task->settings->judge.port);
}

static void probe_run(struct known *known, const struct task *task)
{
    const struct settings_judge *settings = &task->settings->judge;
    const struct probe_config probe = {
        .port = settings->port,
        .timeout_ms = settings->probe_timeout_ms,
        .allowed = settings->probe_allowed,
        .allowed_count = settings->probe_allowed_count,
        .stop_fd = known->stop_fd,
    };
    const struct clock_moment started = clock_now();
    enum liveness_state state = probe_address(&probe, &task->address);
    struct liveness_change change;
    unsigned all_failed;

    counter_add(COUNTER_PROBES, 1);
    if (known->stop)
        return;
    if (stood_still_since(&started))
        state = LIVENESS_UNKNOWN;
    pthread_mutex_lock(&known->mutex);
    change = liveness_report(known->liveness, &task->address, state, started.boot_ms, settings->probe_interval_ms,
                             time_look(known));
    all_failed = egress_note(&known->egress, &task->address, state, started.boot_ms);
    news_tell(known);
    pthread_cond_signal(&known->work); /* one more may be wanted */
    pthread_mutex_unlock(&known->mutex);
    probe_log(known, task, state, change.state, all_failed);
    if (change.outage)
        known_keep(known);
}

static void name_run(struct known *known, const struct task *task)
{
    char address[IPADDR_TEXT_SIZE];
    struct mx_names names;
    enum name_state state;

    mx_names_resolve(&task->settings->judge.dns, &task->address, &known->stop, &names);
    state = name_judge(&names, &task->address);
    pthread_mutex_lock(&known->mutex);
    names_report(known->names, &task->address, state, time_look(known));
    news_tell(known);
    pthread_mutex_unlock(&known->mutex);
    log_event(LOG_LEVEL_DEBUG, "named client=%s state=%s name=%s", ipaddr_format(&task->address, address),
              name_state_name(state), names.count > 0 ? names.list[0] : "-");
}

static void *work(void *context)
{
    struct known *known = context;
    struct task task;

    while (task_take(known, &task)) {
        if (task.kind == AGENDA_ADDRESS)
            probe_run(known, &task);
        else if (task.kind == AGENDA_NAME)
            name_run(known, &task);
        else
            lookup_run(known, &task);
        settings_release(task.settings);
    }
    (void)eventfd_write(known->ended_fd, 1);
    return NULL;
}

/* Returns 0 or an error number; what was started is counted in any case. */
static int probers_start(struct known *known, unsigned wanted)
{
    int error = 0;

    known->workers = alloc_zeroed(wanted, sizeof *known->workers);
    while (error == 0 && known->worker_count < wanted) {
        error = thread_start(&known->workers[known->worker_count], "prober", work, known);
        known->worker_count += error == 0;
    }
    return error;
}

/* The settings name single domains: those are kept fresh from the start. */
static void configured_add(struct known *known)
{
    const struct settings_judge *settings = &known->settings->judge;
    int64_t now_ms = time_look(known);

    for (size_t i = 0; i < settings->rule_count && settings->fresh_ms > 0; i++) {
        const struct settings_rule *rule = &settings->rules[i];
        struct domain *domain;

        if (rule->pattern[0] == '*' || rule->role == ROLE_OFF)
            continue;
        domain = domains_find_or_add(known->domains, rule->pattern);
        domain->configured = true;
        domain_plan(known, domain, now_ms);
    }
}

struct known *known_create(const struct settings *settings, const struct known_limits *limits)
{
    static const struct known_limits standard = {.domains = KNOWN_DOMAINS_MAX, .addresses = KNOWN_ADDRESSES_MAX};
    struct known *known = alloc_zeroed(1, sizeof *known);
    pthread_condattr_t monotonic;
    int error;

    pthread_mutex_init(&known->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&known->news, &monotonic);
    pthread_cond_init(&known->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    limits = limits != NULL ? limits : &standard;
    known->settings = settings_hold(settings);
    known->domains = domains_create(limits->domains, &known->agenda, AGENDA_DOMAIN);
    known->liveness = liveness_create(limits->addresses, &known->agenda, AGENDA_ADDRESS);
    known->egress_entry.kind = AGENDA_EGRESS;
    known->names = names_create(limits->domains, &known->agenda, AGENDA_NAME);
    known->looked = clock_now();
    known->created_ms = known->looked.boot_ms;
    configured_add(known);
    egress_plan(known, known->created_ms);
    known->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    known->ended_fd = eventfd(0, EFD_CLOEXEC);
    error = known->stop_fd < 0 || known->ended_fd < 0 ? errno : probers_start(known, settings->judge.probers);
    if (error != 0) {
        known_destroy(&known);
        errno = error;
    }
    return known;
}

/* False when a worker does not end within LEAVE_MS, since a look-up cannot be broken off. */
static bool probers_end(struct known *known)
{
    struct pollfd ended = {.fd = known->ended_fd, .events = POLLIN};
    size_t left = known->worker_count;
    eventfd_t count;

    while (left > 0 && poll(&ended, 1, LEAVE_MS) == 1 && eventfd_read(known->ended_fd, &count) == 0)
        left -= (size_t)count;
    return left == 0;
}

static void known_free(struct known *known)
{
    domains_destroy(&known->domains);
    liveness_destroy(&known->liveness);
    names_destroy(&known->names);
    agenda_clear(&known->agenda);
    settings_release(known->settings);
    if (known->stop_fd >= 0)
        close(known->stop_fd);
    if (known->ended_fd >= 0)
        close(known->ended_fd);
    pthread_cond_destroy(&known->news);
    pthread_cond_destroy(&known->work);
    pthread_mutex_destroy(&known->mutex);
    free(known->workers);
    free(known);
}

void known_destroy(struct known **known_pointer)
{
    static struct known *left; /* for those who go on with it */
    struct known *known = *known_pointer;

    *known_pointer = NULL;
    if (known == NULL)
        return;
    pthread_mutex_lock(&known->mutex);
    known->stop = true;
    pthread_cond_broadcast(&known->work);
    pthread_mutex_unlock(&known->mutex);
    if (known->stop_fd >= 0 && eventfd_write(known->stop_fd, 1) != 0)
        log_event(LOG_LEVEL_WARNING, "stop-failed error=\"%s\"", strerror(errno));
    if (!probers_end(known)) {
        left = known;
        for (size_t i = 0; i < left->worker_count; i++)
            pthread_detach(left->workers[i]);
        return;
    }
    for (size_t i = 0; i < known->worker_count; i++)
        pthread_join(known->workers[i], NULL);
    known_free(known);
}

void known_configure(struct known *known, const struct settings *settings)
{
    const struct settings *before;
    struct domain *domain;

    pthread_mutex_lock(&known->mutex);
    before = known->settings;
    known->settings = settings_hold(settings);
    domains_forget_answers(known->domains);
    configured_add(known);
    egress_plan(known, time_look(known));
    for (domain = domains_first(known->domains); domain != NULL; domain = domain->hh.next)
        domain_plan(known, domain, time_look(known));
    news_tell(known);
    pthread_mutex_unlock(&known->mutex);
    settings_release(before);
}

/* What is remembered over a restart. */

static char *memory_text(struct known *known)
{
    size_t size = 0;
    char *text = NULL;
    struct memory memory = {
        .stream = alloc_text_begin(&text, &size),
        .now_ms = time_look(known),
        .now_us = clock_realtime_us(),
    };

    memory_write(&memory, known->domains, known->liveness, known->settings->judge.outage_grace_ms);
    alloc_text_end(memory.stream);
    return text;
}

/* Whoever comes while somebody keeps leaves it to them to do it once more. */
void known_keep(struct known *known)
{
    pthread_mutex_lock(&known->mutex);
    known->keep_again = known->keep != NULL;
    while (known->keep_again && !known->keeping) {
        char *text = memory_text(known);

        known->keeping = true;
        known->keep_again = false;
        pthread_mutex_unlock(&known->mutex);
        known->keep(known->keep_context, text);
        free(text);
        pthread_mutex_lock(&known->mutex);
        known->keeping = false;
    }
    pthread_mutex_unlock(&known->mutex);
}

void known_keep_with(struct known *known, void (*keep)(void *context, const char *text), void *context)
{
    pthread_mutex_lock(&known->mutex);
    known->keep = keep;
    known->keep_context = context;
    pthread_mutex_unlock(&known->mutex);
    known_keep(known);
}

void known_recall(struct known *known, const char *text)
{
    struct memory memory = {.now_us = clock_realtime_us()};
    struct domain *domain;

    pthread_mutex_lock(&known->mutex);
    memory.now_ms = time_look(known);
    memory_read(&memory, text, known->domains, known->liveness);
    for (domain = domains_first(known->domains); domain != NULL; domain = domain->hh.next) {
        if (domain->seen_ms != DOMAINS_NEVER)
            domains_keep(known->domains, domain, true);
        domain_plan(known, domain, memory.now_ms);
    }
    pthread_mutex_unlock(&known->mutex);
}

void known_wait(struct known *known, uint64_t *seen, int64_t deadline_ms)
{
    struct timespec deadline = clock_timespec(deadline_ms);

    pthread_mutex_lock(&known->mutex);
    while (known->generation == *seen) {
        if (pthread_cond_timedwait(&known->news, &known->mutex, &deadline) != 0)
            break;
    }
    *seen = known->generation;
    pthread_mutex_unlock(&known->mutex);
}

void known_wake(struct known *known)
{
    pthread_mutex_lock(&known->mutex);
    pthread_cond_broadcast(&known->work);
    news_tell(known);
    pthread_mutex_unlock(&known->mutex);
}
