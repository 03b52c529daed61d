#include "judge/judge.h"

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
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "judge/liveness.h"
#include "judge/probe.h"

enum {
    TABLE_DEFAULT_MAX = 10000,
    TTL_MIN_MS = 5000, /* a TTL of 0 would ask DNS once for each question */
    ABSENT_MS = 60000, /* NXDOMAIN and no records: their TTL is not told */
    FAILED_MS = 15000,
    PREFETCH_QUEUE_MAX = 500, /* past it, what is asked for now would only be kept waiting */
    LEAVE_MS = 300, /* for the workers to end */
    DAY_MS = 86400000,
    HOUR_MS = 3600000,
    NO_ROLE_LINES_PER_HOUR = 100,
    BLOCKED_PROBES = 10 /* so many without a single connection, to more than one host: it is not them, it is us */
};

/* What DNS said about a domain. */
struct domain {
    UT_hash_handle hh;        /* in the order of use: the head is the one to leave */
    struct mx_answer *answer; /* NULL: none yet.  Only as many hosts as it has are allocated */
    bool looking_up;
    int64_t taken_ms, usable_ms; /* when it was asked, and for how long it is used */
    int64_t no_role_logged_ms;
    char name[];
};

enum job_kind { JOB_LOOKUP, JOB_PROBE };

struct job {
    struct job *next;
    enum job_kind kind;
    char name[DOMAIN_MAX + 1]; /* the domain, or the MX host */
    const struct settings *settings;
    union {
        struct { /* whose look-up it is, to go on with the probes for it */
            struct ipaddr local;
            char mta_name[DOMAIN_MAX + 1];
        } lookup;
        struct {
            size_t count;
            struct ipaddr list[MX_ADDRESS_MAX];
        } addresses;
    };
};

/* Has any probe ever come through?  Under the mutex. */
struct egress {
    bool proven;
    unsigned failures;
    bool several_hosts;
    char first_host[DOMAIN_MAX + 1];
};

struct judge {
    pthread_mutex_t mutex; /* covers all up to `stop` */
    pthread_cond_t news;   /* `generation` moved */
    pthread_cond_t work;   /* a job was put, or it is time to stop */
    uint64_t generation;
    const struct settings *settings;
    struct domain *domains;
    struct liveness *liveness;
    struct job *first_job, **last_job;
    size_t job_count;
    struct egress egress;
    int64_t no_role_hour_ms;
    unsigned no_role_lines;

    atomic_bool stop;
    int stop_fd;  /* readable when `stop` is true */
    int ended_fd; /* counts the workers that have ended */
    size_t max_domains, max_hosts;
    int64_t created_ms;
    pthread_t *workers;
    size_t worker_count;
    _Atomic int64_t blocked_logged_ms;
};

static enum role_setting rule_for(const struct settings_judge *config, const char *domain)
{
    enum role_setting role = ROLE_AUTO;
    size_t best = 0;

    for (size_t i = 0; i < config->rule_count; i++) {
        const struct settings_rule *rule = &config->rules[i];
        size_t weight = rule->pattern[0] == '*' ? strlen(rule->pattern) : SIZE_MAX; /* an exact name beats any "*" */

        if (weight > best && domain_matches(rule->pattern, domain)) {
            best = weight;
            role = rule->role;
        }
    }
    return role;
}

static bool nets_contain(const struct ipnet *nets, size_t count, const struct ipaddr *address)
{
    for (size_t i = 0; i < count; i++) {
        if (ipnet_contains(&nets[i], address))
            return true;
    }
    return false;
}

static bool list_contains(const struct ipaddr *list, size_t count, const struct ipaddr *address)
{
    for (size_t i = 0; i < count; i++) {
        if (ipaddr_equal(&list[i], address))
            return true;
    }
    return false;
}

static void name_copy(char out[DOMAIN_MAX + 1], const char *name)
{
    snprintf(out, DOMAIN_MAX + 1, "%.*s", DOMAIN_MAX, name);
}

/* Who we are to one question: the settings, and what the MTA said. */
struct identity {
    struct role_identity role;
    const char **names;
    struct ipaddr *addresses;
    struct ipaddr local;
    char mta_name[DOMAIN_MAX + 1]; /* empty: none */
};

static void identity_open(struct identity *self, const struct settings_judge *config, const struct ipaddr *local,
                          const char *mta_name)
{
    *self = (struct identity){.local = *local};
    self->names = alloc_zeroed(config->own_name_count + 1, sizeof *self->names);
    self->addresses = alloc_zeroed(config->own_address_count + 1, sizeof *self->addresses);
    for (; self->role.name_count < config->own_name_count; self->role.name_count++)
        self->names[self->role.name_count] = config->own_names[self->role.name_count];
    for (; self->role.address_count < config->own_address_count; self->role.address_count++)
        self->addresses[self->role.address_count] = config->own_addresses[self->role.address_count];
    if (mta_name != NULL && domain_normalize(mta_name, self->mta_name))
        self->names[self->role.name_count++] = self->mta_name;
    if (local->family != 0)
        self->addresses[self->role.address_count++] = *local;
    self->role.names = self->names;
    self->role.addresses = self->addresses;
}

static void identity_close(struct identity *self)
{
    free(self->names);
    free(self->addresses);
}

static void job_free(struct job *job)
{
    settings_release(job->settings);
    free(job);
}

static struct job *job_new(enum job_kind kind, const char *name, const struct settings *settings)
{
    struct job *job = alloc_zeroed(1, sizeof *job);

    job->kind = kind;
    name_copy(job->name, name);
    job->settings = settings_hold(settings);
    return job;
}

/* Takes JOB; false when the queue is full. */
static bool job_put(struct judge *judge, struct job *job)
{
    if (judge->job_count >= judge->max_domains + judge->max_hosts) {
        job_free(job);
        return false;
    }
    *judge->last_job = job;
    judge->last_job = &job->next;
    judge->job_count++;
    pthread_cond_signal(&judge->work);
    return true;
}

static struct job *job_pop(struct judge *judge)
{
    struct job *job = judge->first_job;

    judge->first_job = job->next;
    if (judge->first_job == NULL)
        judge->last_job = &judge->first_job;
    judge->job_count--;
    return job;
}

static struct domain *domain_find(const struct judge *judge, const char *name)
{
    struct domain *domain;

    HASH_FIND_STR(judge->domains, name, domain);
    return domain;
}

static void domain_drop(struct judge *judge, struct domain *domain)
{
    HASH_DEL(judge->domains, domain);
    free(domain->answer);
    free(domain);
}

static struct domain *domain_find_or_add(struct judge *judge, const char *name)
{
    struct domain *domain = domain_find(judge, name);

    if (domain != NULL) {
        HASH_DEL(judge->domains, domain); /* and back, to the end of the line */
    } else {
        size_t length = strlen(name);

        if (HASH_COUNT(judge->domains) >= judge->max_domains)
            domain_drop(judge, judge->domains);
        domain = alloc_zeroed(1, sizeof *domain + length + 1);
        memcpy(domain->name, name, length);
    }
    HASH_ADD_STR(judge->domains, name, domain);
    return domain;
}

static bool is_doubtful(const struct mx_answer *answer)
{
    if (answer->status == MX_UNKNOWN || (answer->status == MX_OK && answer->addresses.status == MX_UNKNOWN))
        return true;
    for (size_t i = 0; i < answer->host_count; i++) {
        if (answer->hosts[i].addresses.status == MX_UNKNOWN)
            return true;
    }
    return false;
}

static int64_t usable_ms(const struct mx_answer *answer, int64_t remember_ms)
{
    int64_t usable_ms = (int64_t)answer->ttl_s * 1000;

    if (is_doubtful(answer))
        usable_ms = FAILED_MS;
    else if (answer->host_count == 0)
        usable_ms = ABSENT_MS;
    else if (usable_ms < TTL_MIN_MS)
        usable_ms = TTL_MIN_MS;
    return usable_ms < remember_ms ? usable_ms : remember_ms;
}

static void domain_store(struct domain *domain, const struct mx_answer *answer, int64_t taken_ms, int64_t remember_ms)
{
    size_t size = offsetof(struct mx_answer, hosts) + answer->host_count * sizeof *answer->hosts;

    domain->answer = alloc_resized(domain->answer, 1, size);
    memcpy(domain->answer, answer, size);
    domain->taken_ms = taken_ms;
    domain->usable_ms = usable_ms(answer, remember_ms);
    domain->looking_up = false;
}

/* What is known about the domain, NULL when it is nothing yet or too old; a look-up is started when one is due. */
static const struct mx_answer *domain_ask(struct judge *judge, struct domain *domain, const struct identity *self,
                                          int64_t now_ms)
{
    int64_t age_ms = now_ms - domain->taken_ms;
    bool usable = domain->answer != NULL && age_ms <= domain->usable_ms;

    if (!domain->looking_up && (!usable || age_ms > domain->usable_ms / 4 * 3)) {
        struct job *job = job_new(JOB_LOOKUP, domain->name, judge->settings);

        job->lookup.local = self->local;
        memcpy(job->lookup.mta_name, self->mta_name, sizeof job->lookup.mta_name);
        domain->looking_up = job_put(judge, job);
    }
    return usable ? domain->answer : NULL;
}

static struct liveness_view host_ask(struct judge *judge, const struct mx_host *host, int64_t now_ms)
{
    int64_t remember_ms = judge->settings->judge.remember_ms;
    struct liveness_view view = liveness_ask(judge->liveness, host->name, remember_ms, now_ms);

    if (view.probe) {
        struct job *job = job_new(JOB_PROBE, host->name, judge->settings);

        job->addresses.count = host->addresses.count;
        memcpy(job->addresses.list, host->addresses.list, sizeof job->addresses.list);
        if (!job_put(judge, job))
            liveness_abandon(judge->liveness, host->name);
    }
    return view;
}

/* Start what is missing to judge hits on DOMAIN.  That is not a use of it: the answers to a flood of questions would
 * otherwise push out of the table what is really asked for. */
static void missing_start(struct judge *judge, struct domain *domain, const struct identity *self, int64_t now_ms)
{
    const struct mx_answer *mx = domain_ask(judge, domain, self, now_ms);
    struct role_result role;

    if (mx == NULL)
        return;
    role_decide(rule_for(&judge->settings->judge, domain->name), mx, &self->role, &role);
    for (size_t i = 0; i < role.primary_count; i++)
        host_ask(judge, &mx->hosts[role.primaries[i]], now_ms);
}

void judge_prefetch(struct judge *judge, const char *name, const struct ipaddr *local, const char *mta_name)
{
    struct identity self;

    pthread_mutex_lock(&judge->mutex);
    if (judge->job_count < PREFETCH_QUEUE_MAX && rule_for(&judge->settings->judge, name) != ROLE_OFF) {
        identity_open(&self, &judge->settings->judge, local, mta_name);
        missing_start(judge, domain_find_or_add(judge, name), &self, clock_monotonic_ms());
        identity_close(&self);
    }
    pthread_mutex_unlock(&judge->mutex);
}

static void settle(struct judge_answer *answer, enum verdict verdict, const char *why)
{
    answer->verdict = verdict;
    answer->why = why;
}

/* What the primaries of a domain are, put together. */
struct tally {
    size_t pending, unknown, down, accepting, deferring;
    const struct mx_host *first; /* the most preferred one that is accepting */
    int64_t first_age_ms;
    int64_t last_deferring_ms;                             /* of any */
    int64_t first_not_accepting_ms, last_not_accepting_ms; /* the earliest and the latest over the primaries */
};

static void tally_add(struct tally *tally, const struct mx_host *host, const struct liveness_view *view)
{
    size_t *const counts[] = {
        [LIVENESS_UNKNOWN] = &tally->unknown,
        [LIVENESS_DOWN] = &tally->down,
        [LIVENESS_ACCEPTING] = &tally->accepting,
        [LIVENESS_DEFERRING] = &tally->deferring,
    };

    ++*(view->known ? counts[view->state] : &tally->pending);
    if (view->known && view->state == LIVENESS_ACCEPTING && tally->first == NULL) {
        tally->first = host;
        tally->first_age_ms = view->age_ms;
    }
    if (view->last_deferring_ms > tally->last_deferring_ms)
        tally->last_deferring_ms = view->last_deferring_ms;
    if (view->last_not_accepting_ms > tally->last_not_accepting_ms)
        tally->last_not_accepting_ms = view->last_not_accepting_ms;
    if (view->last_not_accepting_ms < tally->first_not_accepting_ms)
        tally->first_not_accepting_ms = view->last_not_accepting_ms;
}

/* When the domain may last have been in an outage, from what its primaries went through: one deferring is enough, but
 * all have to be down, unless each of them is required. */
static bool is_recovering(const struct tally *tally, const struct settings_judge *config, int64_t now_ms)
{
    int64_t last_ms = config->require_all ? tally->last_not_accepting_ms : tally->first_not_accepting_ms;

    if (tally->last_deferring_ms > last_ms)
        last_ms = tally->last_deferring_ms;
    return last_ms != LIVENESS_NEVER && now_ms - last_ms < config->outage_grace_ms;
}

static void tally_judge(const struct tally *tally, const struct settings_judge *config, int64_t now_ms,
                        struct judge_answer *answer)
{
    bool none_missing = tally->unknown + tally->down == 0;

    if (tally->deferring > 0)
        settle(answer, VERDICT_OUTAGE, "a primary defers mail");
    else if (tally->pending > 0)
        settle(answer, VERDICT_PENDING, NULL);
    else if (config->require_all && tally->down > 0)
        settle(answer, VERDICT_OUTAGE, "a primary is down");
    else if ((config->require_all && !none_missing) || (tally->accepting == 0 && tally->unknown > 0))
        settle(answer, VERDICT_UNKNOWN, "a primary cannot be probed from here");
    else if (tally->accepting == 0)
        settle(answer, VERDICT_OUTAGE, "all primaries are down");
    else if (is_recovering(tally, config, now_ms))
        settle(answer, VERDICT_RECOVERING, "the outage of a primary was too recent");
    else
        settle(answer, VERDICT_OFFENCE, "the primaries take mail");
}

static void primaries_judge(struct judge *judge, const struct mx_answer *mx, const struct role_result *role,
                            bool known_only, int64_t now_ms, struct judge_answer *answer)
{
    const struct settings_judge *config = &judge->settings->judge;
    struct tally tally = {
        .last_deferring_ms = LIVENESS_NEVER,
        .last_not_accepting_ms = LIVENESS_NEVER,
        .first_not_accepting_ms = INT64_MAX,
    };

    for (size_t i = 0; i < role->primary_count; i++) {
        const struct mx_host *host = &mx->hosts[role->primaries[i]];
        struct liveness_view view;

        if (known_only && !liveness_has(judge->liveness, host->name))
            return;
        view = host_ask(judge, host, now_ms);
        tally_add(&tally, host, &view);
    }
    if (now_ms - judge->created_ms < config->startup_grace_ms) {
        settle(answer, VERDICT_RECOVERING, "this milter was started too recently");
        return;
    }
    tally_judge(&tally, config, now_ms, answer);
    if (answer->verdict == VERDICT_OFFENCE) {
        name_copy(answer->primary, tally.first->name);
        answer->primary_age_ms = tally.first_age_ms;
    }
}

/* Is the client one of the domain's mail hosts (without an MX, its address is)?  DOUBT: not all of them are known. */
static bool is_friend(const struct mx_answer *mx, const struct ipaddr *client, bool *doubt)
{
    bool implicit = mx->status == MX_OK && mx->host_count == 0 && !mx->null_mx;

    *doubt = mx->status == MX_UNKNOWN || (implicit && mx->addresses.status == MX_UNKNOWN);
    for (size_t i = 0; i < mx->host_count; i++) {
        const struct mx_addresses *addresses = &mx->hosts[i].addresses;

        if (list_contains(addresses->list, addresses->count, client))
            return true;
        if (addresses->status == MX_UNKNOWN)
            *doubt = true;
    }
    return implicit && list_contains(mx->addresses.list, mx->addresses.count, client);
}

/* Once a day for each domain, and no more than so many in an hour: strangers choose the domains. */
static bool no_role_is_due(struct judge *judge, struct domain *domain, int64_t now_ms)
{
    if (domain->no_role_logged_ms != 0 && now_ms - domain->no_role_logged_ms < DAY_MS)
        return false;
    if (judge->no_role_hour_ms == 0 || now_ms - judge->no_role_hour_ms >= HOUR_MS) {
        judge->no_role_hour_ms = now_ms;
        judge->no_role_lines = 0;
    }
    if (judge->no_role_lines >= NO_ROLE_LINES_PER_HOUR)
        return false;
    judge->no_role_lines++;
    domain->no_role_logged_ms = now_ms;
    return true;
}

/* Judge QUESTION for the one domain NAME.  Returns whether it is time to log that we have no role. */
static bool domain_judge(struct judge *judge, const struct identity *self, const struct judge_question *question,
                         const char *name, struct judge_answer *answer)
{
    enum role_setting setting = rule_for(&judge->settings->judge, name);
    int64_t now_ms = clock_monotonic_ms();
    const struct mx_answer *mx;
    struct domain *domain;
    struct role_result role;
    bool doubt;

    *answer = (struct judge_answer){.verdict = VERDICT_PENDING};
    name_copy(answer->domain, name);
    if (setting == ROLE_OFF) {
        settle(answer, VERDICT_NONE, "set to off");
        return false;
    }
    domain = question->known_only ? domain_find(judge, name) : domain_find_or_add(judge, name);
    if (domain == NULL)
        return false;
    mx = domain_ask(judge, domain, self, now_ms);
    if (mx == NULL)
        return false;
    role_decide(setting, mx, &self->role, &role);
    answer->class = role.class;
    if (is_friend(mx, &question->client, &doubt)) {
        settle(answer, VERDICT_FRIEND, "an MX host of the domain");
    } else if (!role.known) {
        settle(answer, VERDICT_UNKNOWN, role.why);
    } else if (role.class == CLASS_NONE) {
        settle(answer, VERDICT_NONE, role.why);
        return no_role_is_due(judge, domain, now_ms);
    } else if (doubt) {
        settle(answer, VERDICT_UNKNOWN, "the addresses of an MX host are not known");
    } else if (role.class == CLASS_TRAP) {
        settle(answer, VERDICT_OFFENCE, role.why);
    } else if (question->late) {
        settle(answer, VERDICT_UNKNOWN, "too old for the state of the primaries today");
    } else {
        primaries_judge(judge, mx, &role, question->known_only, now_ms, answer);
    }
    return false;
}

/* Doubt beats offence, and a doubt that stands beats one that may still go away. */
static bool outranks(const struct judge_answer *a, const struct judge_answer *b)
{
    if (a->verdict == VERDICT_OFFENCE && b->verdict == VERDICT_OFFENCE)
        return class_rank(a->class) > class_rank(b->class);
    return verdict_rank(a->verdict) > verdict_rank(b->verdict);
}

static void domains_judge(struct judge *judge, const struct identity *self, const struct judge_question *question,
                          struct judge_answer *answer)
{
    settle(answer, VERDICT_NONE, "no domain");
    for (size_t i = 0; i < question->domain_count; i++) {
        struct judge_answer one;
        bool log_no_role;

        pthread_mutex_lock(&judge->mutex);
        log_no_role = domain_judge(judge, self, question, question->domains[i], &one);
        pthread_mutex_unlock(&judge->mutex);
        if (log_no_role)
            log_event(LOG_LEVEL_WARNING, "no-role domain=%s why=\"%s\"", one.domain, one.why);
        if (i == 0 || outranks(&one, answer))
            *answer = one;
        if (question->known_only && one.verdict == VERDICT_PENDING)
            return; /* it is asked again, when more may be found out for it */
    }
}

void judge_ask(struct judge *judge, const struct judge_question *question, struct judge_answer *answer)
{
    const struct settings *settings;
    struct identity self;

    pthread_mutex_lock(&judge->mutex);
    settings = settings_hold(judge->settings);
    pthread_mutex_unlock(&judge->mutex);
    identity_open(&self, &settings->judge, &question->local, question->mta_name);
    *answer = (struct judge_answer){.verdict = VERDICT_PENDING};
    if (nets_contain(settings->judge.ignored, settings->judge.ignored_count, &question->client))
        settle(answer, VERDICT_IGNORED, "ignore_clients");
    else if (list_contains(self.addresses, self.role.address_count, &question->client))
        settle(answer, VERDICT_FRIEND, "one of our own addresses");
    else if (question->exempt)
        settle(answer, VERDICT_EXEMPT, "exempt local parts only");
    else
        domains_judge(judge, &self, question, answer);
    identity_close(&self);
    settings_release(settings);
}

/* The domain that JOB, a look-up, is for; NULL when nobody waits for it any more. */
static struct domain *domain_wanted(const struct judge *judge, const struct job *job)
{
    struct domain *domain = domain_find(judge, job->name);

    return domain != NULL && domain->looking_up && job->settings == judge->settings ? domain : NULL;
}

static bool job_is_wanted(const struct judge *judge, const struct job *job)
{
    return job->kind == JOB_PROBE ? liveness_is_probing(judge->liveness, job->name) : domain_wanted(judge, job) != NULL;
}

static void news_tell(struct judge *judge)
{
    judge->generation++;
    pthread_cond_broadcast(&judge->news);
}

/* The next job that somebody still waits for; NULL when it is time to stop. */
static struct job *job_take(struct judge *judge)
{
    struct job *job = NULL;

    pthread_mutex_lock(&judge->mutex);
    while (!judge->stop && job == NULL) {
        if (judge->first_job == NULL) {
            pthread_cond_wait(&judge->work, &judge->mutex);
            continue;
        }
        job = job_pop(judge);
        if (!job_is_wanted(judge, job)) {
            job_free(job);
            job = NULL;
            news_tell(judge); /* there is room again for a question that found the queue full */
        }
    }
    pthread_mutex_unlock(&judge->mutex);
    return job;
}

static void lookup_run(struct judge *judge, const struct job *job)
{
    const struct settings_judge *config = &job->settings->judge;
    int64_t started_ms = clock_monotonic_ms();
    struct mx_answer answer;
    struct identity self;
    struct domain *domain;

    mx_resolve(&config->dns, job->name, &judge->stop, &answer);
    identity_open(&self, config, &job->lookup.local, job->lookup.mta_name);
    pthread_mutex_lock(&judge->mutex);
    domain = judge->stop ? NULL : domain_wanted(judge, job);
    if (domain != NULL) {
        domain_store(domain, &answer, started_ms, config->remember_ms);
        missing_start(judge, domain, &self, clock_monotonic_ms());
    }
    news_tell(judge);
    pthread_mutex_unlock(&judge->mutex);
    identity_close(&self);
    log_event(LOG_LEVEL_DEBUG, "looked-up domain=%s answer=%s mx=%zu ttl=%us", job->name,
              answer.status == MX_OK ? "ok" : answer.status == MX_NXDOMAIN ? "nxdomain" : "unknown",
              answer.host_count, answer.ttl_s);
}

/* Returns how many probes have failed to connect when all of them have, and that is no accident; else 0. */
static unsigned egress_note(struct egress *egress, const char *host, enum liveness_state state)
{
    if (state == LIVENESS_ACCEPTING || state == LIVENESS_DEFERRING)
        egress->proven = true;
    if (egress->proven || state != LIVENESS_DOWN)
        return 0;
    if (egress->failures++ == 0)
        name_copy(egress->first_host, host);
    else if (strcmp(egress->first_host, host) != 0)
        egress->several_hosts = true;
    return egress->several_hosts && egress->failures >= BLOCKED_PROBES ? egress->failures : 0;
}

static void probe_run(struct judge *judge, const struct job *job)
{
    const struct settings_judge *config = &job->settings->judge;
    const struct probe_config probe = {
        .port = config->port,
        .timeout_ms = config->probe_timeout_ms,
        .allowed = config->probe_allowed,
        .allowed_count = config->probe_allowed_count,
        .stop_fd = judge->stop_fd,
    };
    int64_t started_ms = clock_monotonic_ms();
    enum liveness_state state = probe_host(&probe, job->addresses.list, job->addresses.count);
    unsigned all_failed;
    bool news;

    counter_add(COUNTER_PROBES, 1);
    if (judge->stop)
        return;
    pthread_mutex_lock(&judge->mutex);
    news = liveness_report(judge->liveness, job->name, state, started_ms, clock_monotonic_ms());
    all_failed = egress_note(&judge->egress, job->name, state);
    news_tell(judge);
    pthread_mutex_unlock(&judge->mutex);
    log_event(news ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "probed host=%s state=%s", job->name,
              liveness_state_name(state));
    if (all_failed > 0 && log_is_due(&judge->blocked_logged_ms, HOUR_MS))
        log_event(LOG_LEVEL_WARNING, "probes-all-fail probes=%u hint=\"outgoing port %u may be blocked\"", all_failed,
                  config->port);
}

static void *work(void *context)
{
    struct judge *judge = context;
    struct job *job;

    while ((job = job_take(judge)) != NULL) {
        if (job->kind == JOB_LOOKUP)
            lookup_run(judge, job);
        else
            probe_run(judge, job);
        job_free(job);
    }
    (void)eventfd_write(judge->ended_fd, 1);
    return NULL;
}

/* Returns 0 or an error number; what was started is counted in any case. */
static int workers_start(struct judge *judge, unsigned wanted)
{
    int error = 0;

    judge->workers = alloc_zeroed(wanted, sizeof *judge->workers);
    while (error == 0 && judge->worker_count < wanted) {
        error = thread_start(&judge->workers[judge->worker_count], "prober", work, judge);
        judge->worker_count += error == 0;
    }
    return error;
}

struct judge *judge_create(const struct settings *settings, const struct judge_limits *limits)
{
    struct judge *judge = alloc_zeroed(1, sizeof *judge);
    pthread_condattr_t monotonic;
    int error;

    pthread_mutex_init(&judge->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&judge->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&judge->work, NULL);
    judge->max_domains = limits != NULL ? limits->domains : TABLE_DEFAULT_MAX;
    judge->max_hosts = limits != NULL ? limits->hosts : TABLE_DEFAULT_MAX;
    judge->settings = settings_hold(settings);
    judge->liveness = liveness_create(judge->max_hosts);
    judge->last_job = &judge->first_job;
    judge->created_ms = clock_monotonic_ms();
    judge->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    judge->ended_fd = eventfd(0, EFD_CLOEXEC);
    error = judge->stop_fd < 0 || judge->ended_fd < 0 ? errno : workers_start(judge, settings->judge.probers);
    if (error != 0) {
        judge_destroy(&judge);
        errno = error;
    }
    return judge;
}

static void domains_forget(struct judge *judge)
{
    while (judge->domains != NULL)
        domain_drop(judge, judge->domains); /* NOLINT(clang-analyzer-unix.Malloc): HASH_DEL moved the head */
}

/* False when a worker does not end within LEAVE_MS, since a look-up cannot be broken off. */
static bool workers_end(struct judge *judge)
{
    struct pollfd ended = {.fd = judge->ended_fd, .events = POLLIN};
    size_t left = judge->worker_count;
    eventfd_t count;

    while (left > 0 && poll(&ended, 1, LEAVE_MS) == 1 && eventfd_read(judge->ended_fd, &count) == 0)
        left -= (size_t)count;
    return left == 0;
}

void judge_destroy(struct judge **judge_pointer)
{
    static struct judge *left; /* for those who go on with it */
    struct judge *judge = *judge_pointer;

    *judge_pointer = NULL;
    if (judge == NULL)
        return;
    pthread_mutex_lock(&judge->mutex);
    judge->stop = true;
    pthread_cond_broadcast(&judge->work);
    pthread_mutex_unlock(&judge->mutex);
    if (judge->stop_fd >= 0 && eventfd_write(judge->stop_fd, 1) != 0)
        log_event(LOG_LEVEL_WARNING, "stop-failed error=\"%s\"", strerror(errno));
    if (!workers_end(judge)) {
        left = judge;
        for (size_t i = 0; i < left->worker_count; i++)
            pthread_detach(left->workers[i]);
        return;
    }
    for (size_t i = 0; i < judge->worker_count; i++)
        pthread_join(judge->workers[i], NULL);
    while (judge->first_job != NULL)
        job_free(job_pop(judge));
    domains_forget(judge);
    liveness_destroy(&judge->liveness);
    settings_release(judge->settings);
    if (judge->stop_fd >= 0)
        close(judge->stop_fd);
    if (judge->ended_fd >= 0)
        close(judge->ended_fd);
    pthread_cond_destroy(&judge->news);
    pthread_cond_destroy(&judge->work);
    pthread_mutex_destroy(&judge->mutex);
    free(judge->workers);
    free(judge);
}

void judge_configure(struct judge *judge, const struct settings *settings)
{
    const struct settings *before;

    pthread_mutex_lock(&judge->mutex);
    before = judge->settings;
    judge->settings = settings_hold(settings);
    domains_forget(judge);
    news_tell(judge);
    pthread_mutex_unlock(&judge->mutex);
    settings_release(before);
}

/* A line of judge_outages(): when it was last deferring, when last not accepting (microseconds since 1970, 0: never), and
 * the host, or OTHERS for those that have left the table. */
#define OTHERS "*"

struct outages {
    FILE *text;
    int64_t now_ms, now_us, grace_ms;
};

static int64_t outage_time_us(const struct outages *outages, int64_t seen_ms)
{
    if (seen_ms == LIVENESS_NEVER || outages->now_ms - seen_ms >= outages->grace_ms)
        return 0;
    return outages->now_us - (outages->now_ms - seen_ms) * 1000;
}

static int64_t outage_seen_ms(const struct outages *outages, int64_t time_us)
{
    int64_t age_us = outages->now_us - time_us;

    if (time_us <= 0)
        return LIVENESS_NEVER;
    return outages->now_ms - (age_us > 0 ? age_us / 1000 : 0);
}

static void outage_print(void *context, const struct liveness_trouble *trouble)
{
    const struct outages *outages = context;
    int64_t deferring_us = outage_time_us(outages, trouble->last_deferring_ms);
    int64_t not_accepting_us = outage_time_us(outages, trouble->last_not_accepting_ms);

    if (deferring_us != 0 || not_accepting_us != 0)
        fprintf(outages->text, "%lld %lld %s\n", (long long)deferring_us, (long long)not_accepting_us,
                trouble->host != NULL ? trouble->host : OTHERS);
}

char *judge_outages(struct judge *judge)
{
    struct outages outages = {.now_ms = clock_monotonic_ms(), .now_us = clock_realtime_us()};
    char *text = NULL;
    size_t size = 0;

    outages.text = alloc_text_begin(&text, &size);
    pthread_mutex_lock(&judge->mutex);
    outages.grace_ms = judge->settings->judge.outage_grace_ms;
    liveness_tell_trouble(judge->liveness, outages.now_ms, outage_print, &outages);
    pthread_mutex_unlock(&judge->mutex);
    alloc_text_end(outages.text);
    return text;
}

static void outage_recall(struct judge *judge, const struct outages *outages, char *line)
{
    char *second, *host;
    long long deferring_us = strtoll(line, &second, 10), not_accepting_us = strtoll(second, &host, 10);

    if (host == second || *host != ' ' || *++host == '\0' || strlen(host) > DOMAIN_MAX)
        return;
    liveness_recall(judge->liveness, &(struct liveness_trouble){
                                         .host = strcmp(host, OTHERS) != 0 ? host : NULL,
                                         .last_deferring_ms = outage_seen_ms(outages, deferring_us),
                                         .last_not_accepting_ms = outage_seen_ms(outages, not_accepting_us),
                                     });
}

void judge_recall(struct judge *judge, const char *text)
{
    const struct outages outages = {.now_ms = clock_monotonic_ms(), .now_us = clock_realtime_us()};
    char *copy = alloc_text(text), *rest = NULL;

    pthread_mutex_lock(&judge->mutex);
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        outage_recall(judge, &outages, line);
    pthread_mutex_unlock(&judge->mutex);
    free(copy);
}

void judge_wait(struct judge *judge, uint64_t *seen, int64_t deadline_ms)
{
    struct timespec deadline = clock_timespec(deadline_ms);

    pthread_mutex_lock(&judge->mutex);
    while (judge->generation == *seen) {
        if (pthread_cond_timedwait(&judge->news, &judge->mutex, &deadline) != 0)
            break;
    }
    *seen = judge->generation;
    pthread_mutex_unlock(&judge->mutex);
}

void judge_wake(struct judge *judge)
{
    pthread_mutex_lock(&judge->mutex);
    news_tell(judge);
    pthread_mutex_unlock(&judge->mutex);
}
