#include "judge/known_inside.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/alloc.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"
#include "judge/name.h"

enum {
    LEAVE_MS = 300, /* for the workers to end */
    BLOCKED_LOG_MS = 3600000,
    ZONE_LOG_MS = 3600000,
    BLOCKED_PROBES = 10 /* so many without a single connection, to more than one address: it is not them, it is us */
};

/* What a worker does next. */
struct task {
    int kind;
    const struct settings *settings;
    char domain[DOMAIN_MAX + 1]; /* to look up; or one whose primary is probed */
    struct ipaddr address;       /* to probe, or a client to look up */
    struct ipaddr local;         /* who asks for the look-up: see struct self */
    char mta_name[DOMAIN_MAX + 1];
};

static const char egress_domain[] = "egress_hosts"; /* in place of a domain: whose mail they take is not known */

void known_work_tell(struct known *known)
{
    uint64_t put = known->agenda.numbers + known->clients_due.numbers;

    if (put != known->told)
        pthread_cond_signal(&known->work);
    known->told = put;
}

/* When the answer for DOMAIN is to be asked for again though nobody waits for it. */
static int64_t refresh_due_ms(const struct domain *domain)
{
    int64_t after_ms = domain->usable_ms / 4 * 3;

    if (domain->answer == NULL)
        return 0;
    return domain->taken_ms + (after_ms > KNOWN_REFRESH_MIN_MS ? after_ms : KNOWN_REFRESH_MIN_MS);
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
void known_plan_domain(struct known *known, struct domain *domain, int64_t now_ms)
{
    int64_t refresh_ms, probes_ms;

    domains_keep(known->domains, domain, is_worth_keeping(known, domain, now_ms));
    if (domain->looking_up || !domain->kept)
        return;
    refresh_ms = refresh_due_ms(domain);
    probes_ms = fresh_due_ms(known, domain);
    agenda_put(&known->agenda, &domain->entry,
               domain->role.primary_count > 0 && probes_ms < refresh_ms ? probes_ms : refresh_ms, false);
    known_work_tell(known);
}

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
void known_plan_egress(struct known *known, int64_t due_ms)
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
        liveness_want(known->liveness, &settings->egress_hosts[i], egress_domain, now_ms, settings->probe_interval_ms,
                      now_ms, false);
    known_plan_egress(known, now_ms + OUTAGE_PROBE_MS);
}

/* What is due for DOMAIN is a look-up (true; TASK is filled in), or was done at once. */
static bool domain_begin(struct known *known, struct domain *domain, struct task *task, int64_t now_ms)
{
    bool asked = domain->entry.asked;

    agenda_drop(&known->agenda, &domain->entry);
    if (!asked && now_ms < refresh_due_ms(domain)) {
        probes_refresh(known, domain, now_ms);
        known_plan_domain(known, domain, now_ms);
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
    if (entry->kind == KNOWN_DUE_EGRESS) {
        egress_refresh(known, now_ms);
        return false;
    }
    if (entry->kind == KNOWN_DUE_NAME || entry->kind == KNOWN_DUE_FRIEND) {
        task->address = answers_begin(entry->kind == KNOWN_DUE_NAME ? known->names : known->friends, entry);
        known->asking_clients++;
    } else if (entry->kind == KNOWN_DUE_ADDRESS) {
        liveness_begin(known->liveness, entry, now_ms, &task->address, task->domain);
    } else if (!domain_begin(known, domains_of_entry(entry), task, now_ms)) {
        return false;
    }
    task->settings = settings_hold(known->settings);
    return true;
}

/* What is due next, or will be; NULL: nothing.  Clients, for whom DNS may let wait long, leave one worker for the rest. */
static struct agenda_entry *task_next(const struct known *known, int64_t now_ms)
{
    struct agenda_entry *first = agenda_first(&known->agenda), *client = agenda_first(&known->clients_due);

    if (first != NULL && first->due_ms <= now_ms)
        return first;
    return client != NULL && (known->asking_clients == 0 || known->asking_clients + 1 < known->settings->judge.probers) ? client
                                                                                                                         : first;
}

static bool task_take(struct known *known, struct task *task)
{
    bool taken = false;

    pthread_mutex_lock(&known->mutex);
    while (!known->stop && !taken) {
        int64_t now_ms = known_time_look(known);
        struct agenda_entry *entry = task_next(known, now_ms);

        if (entry == NULL) {
            pthread_cond_wait(&known->work, &known->mutex);
        } else if (entry->due_ms > now_ms) {
            struct timespec due = clock_timespec(clock_monotonic_ms() + entry->due_ms - now_ms);

            pthread_cond_clockwait(&known->work, &known->mutex, CLOCK_MONOTONIC, &due);
        } else {
            taken = task_begin(known, entry, task, now_ms);
        }
    }
    /* Somebody is to wait for what is due next, and this one does not. */
    if (taken && (agenda_first(&known->agenda) != NULL || agenda_first(&known->clients_due) != NULL))
        pthread_cond_signal(&known->work);
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
        int64_t now_ms = known_time_look(known);

        too_many = answer.too_many && (domain->answer == NULL || !domain->answer->too_many);
        domain->looking_up = false;
        domain->accepts = rule != NULL && rule->on_outage == ON_OUTAGE_ACCEPT;
        moved = domains_store(known->domains, domain, &answer, &role, started.boot_ms, settings->remember_ms, now_ms);
        known_plan_domain(known, domain, now_ms);
    }
    known_news_tell(known);
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

    for (int i = 0; i < KNOWN_EGRESS_KEPT; i++) {
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
    if (all_failed > 0 && log_is_due(&known->blocked_logged_ms, BLOCKED_LOG_MS))
        log_event(LOG_LEVEL_WARNING, "probes-all-fail probes=%u hint=\"outgoing port %u may be blocked\"", all_failed,
                  task->settings->judge.port);
}

/* A probe of an address that TASK's domain has reached it from SOURCE: note the names that the address has there. */
static void reached_note(struct known *known, const struct task *task, const struct ipaddr *source, int64_t began_us)
{
    const struct domain *domain = source->family != 0 ? domains_find(known->domains, task->domain) : NULL;

    if (domain == NULL || domain->answer == NULL)
        return;
    for (size_t i = 0; i < domain->answer->host_count; i++) {
        const struct mx_host *host = &domain->answer->hosts[i];

        for (size_t j = 0; j < host->addresses.count; j++)
            if (ipaddr_equal(&host->addresses.list[j], &task->address))
                reached_put(&known->reached, host->name, source, began_us);
    }
}

size_t known_reached(struct known *known, struct reached_probe *probes, size_t max)
{
    size_t count;

    pthread_mutex_lock(&known->mutex);
    count = reached_take(&known->reached, probes, max);
    pthread_mutex_unlock(&known->mutex);
    return count;
}

static const enum counter probe_counters[] = {
    [LIVENESS_UNKNOWN] = COUNTER_PROBES_UNKNOWN,
    [LIVENESS_DOWN] = COUNTER_PROBES_DOWN,
    [LIVENESS_ACCEPTING] = COUNTER_PROBES_ACCEPTING,
    [LIVENESS_DEFERRING] = COUNTER_PROBES_DEFERRING,
};

static void probe_run(struct known *known, const struct task *task)
{
    const struct settings_judge *settings = &task->settings->judge;
    const struct probe_config probe = {
        .port = settings->port,
        .timeout_ms = settings->probe_timeout_ms,
        .allowed = settings->probe_allowed,
        .allowed_count = settings->probe_allowed_count,
        .name = strcmp(task->domain, egress_domain) != 0 ? self_probe_name(settings) : NULL,
        .domain = task->domain,
        .stop_fd = known->stop_fd,
    };
    const struct clock_moment started = clock_now();
    const int64_t begun_us = clock_monotonic_us();
    struct ipaddr source;
    enum liveness_state state = probe_address(&probe, &task->address, &source);
    struct liveness_change change;
    unsigned all_failed;

    counter_took(HISTOGRAM_PROBE, clock_monotonic_us() - begun_us);
    counter_add(probe_counters[state], 1);
    if (known->stop)
        return;
    if (stood_still_since(&started)) {
        state = LIVENESS_UNKNOWN;
        source.family = 0;
    }
    pthread_mutex_lock(&known->mutex);
    change = liveness_report(known->liveness, &task->address, state, started.boot_ms, settings->probe_interval_ms,
                             known_time_look(known));
    reached_note(known, task, &source, started.real_ms * 1000);
    all_failed = egress_note(&known->egress, &task->address, state, started.boot_ms);
    known_news_tell(known);
    pthread_cond_signal(&known->work); /* one more may be wanted */
    pthread_mutex_unlock(&known->mutex);
    probe_log(known, task, state, change.state, all_failed);
    if (change.outage)
        known_keep(known);
}

/* The look-up of a client ended.  The mutex is held. */
static void client_end(struct known *known)
{
    known->asking_clients--;
    known_news_tell(known);
    pthread_cond_signal(&known->work); /* for the next one */
}

static void name_run(struct known *known, const struct task *task)
{
    char address[IPADDR_TEXT_SIZE];
    struct mx_names names;
    enum name_state state;

    mx_names_resolve(&task->settings->judge.dns, &task->address, &known->stop, &names);
    state = name_judge(&names, &task->address);
    pthread_mutex_lock(&known->mutex);
    answers_report(known->names, &task->address, state,
                   known_time_look(known) + (state == NAME_UNKNOWN ? ANSWERS_NONE_USED_MS : ANSWERS_USED_MS));
    client_end(known);
    pthread_mutex_unlock(&known->mutex);
    log_event(LOG_LEVEL_DEBUG, "named client=%s state=%s name=%s", ipaddr_format(&task->address, address),
              name_state_name(state), names.count > 0 ? names.list[0] : "-");
}

/* Does the list ZONE rest?  One that did not answer, or said that it was asked too much, is not asked again by everyone who comes. */
static bool zone_rests(struct known *known, size_t zone)
{
    bool rests;

    pthread_mutex_lock(&known->mutex);
    rests = known_time_look(known) < known->zone_rests_ms[zone];
    pthread_mutex_unlock(&known->mutex);
    return rests;
}

static void zone_give_rest(struct known *known, const struct task *task, size_t zone)
{
    pthread_mutex_lock(&known->mutex);
    if (task->settings == known->settings)
        known->zone_rests_ms[zone] = known_time_look(known) + KNOWN_ZONE_REST_MS;
    pthread_mutex_unlock(&known->mutex);
    if (!known->stop && log_is_due(&known->zone_logged_ms, ZONE_LOG_MS))
        log_event(LOG_LEVEL_WARNING, "no-answer zone=%s effect=\"whom no list has is not counted against before it answers\"",
                  task->settings->judge.friend_zones[zone]);
}

/* One list that has the client is enough; that none has it, all have to say. */
static enum friend_state zones_ask(struct known *known, const struct task *task)
{
    const struct settings_judge *settings = &task->settings->judge;
    enum friend_state state = FRIEND_NO;

    for (size_t i = 0; i < settings->friend_zone_count && state != FRIEND_YES; i++) {
        enum friend_state one = FRIEND_UNANSWERED;

        if (!zone_rests(known, i)) {
            one = mx_listed(&settings->dns, settings->friend_zones[i], &task->address, &known->stop);
            if (one == FRIEND_UNANSWERED)
                zone_give_rest(known, task, i);
        }
        if (one != FRIEND_NO)
            state = one;
    }
    return state;
}

static void friend_run(struct known *known, const struct task *task)
{
    enum friend_state state = zones_ask(known, task);
    char address[IPADDR_TEXT_SIZE];

    pthread_mutex_lock(&known->mutex);
    if (task->settings == known->settings)
        answers_report(known->friends, &task->address, state,
                       known_time_look(known) + (state == FRIEND_UNANSWERED ? ANSWERS_NONE_USED_MS : ANSWERS_USED_MS));
    client_end(known);
    pthread_mutex_unlock(&known->mutex);
    log_event(LOG_LEVEL_DEBUG, "befriended client=%s state=%s", ipaddr_format(&task->address, address),
              friend_state_name(state));
}

static void *work(void *context)
{
    struct known *known = context;
    struct task task;

    while (task_take(known, &task)) {
        if (task.kind == KNOWN_DUE_ADDRESS)
            probe_run(known, &task);
        else if (task.kind == KNOWN_DUE_NAME)
            name_run(known, &task);
        else if (task.kind == KNOWN_DUE_FRIEND)
            friend_run(known, &task);
        else
            lookup_run(known, &task);
        settings_release(task.settings);
    }
    (void)eventfd_write(known->ended_fd, 1);
    return NULL;
}

/* Returns 0 or an error number; what was started is counted in any case. */
int known_probers_start(struct known *known, unsigned wanted)
{
    int error = 0;

    known->workers = alloc_zeroed(wanted, sizeof *known->workers);
    while (error == 0 && known->worker_count < wanted) {
        error = thread_start(&known->workers[known->worker_count], "prober", work, known);
        known->worker_count += error == 0;
    }
    return error;
}

/* False when a worker does not end within LEAVE_MS, since a look-up cannot be broken off. */
bool known_probers_end(struct known *known)
{
    struct pollfd ended = {.fd = known->ended_fd, .events = POLLIN};
    size_t left = known->worker_count;
    eventfd_t count;

    while (left > 0 && poll(&ended, 1, LEAVE_MS) == 1 && eventfd_read(known->ended_fd, &count) == 0)
        left -= (size_t)count;
    return left == 0;
}
