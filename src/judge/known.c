#include "judge/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "judge/known_inside.h"
#include "judge/memory.h"

const struct settings *known_settings(struct known *known)
{
    const struct settings *settings;

    pthread_mutex_lock(&known->mutex);
    settings = settings_hold(known->settings);
    pthread_mutex_unlock(&known->mutex);
    return settings;
}

/* When the clocks disagree, the machine stood still, or somebody put the real time right: nobody knows how old anything is
 * that is remembered. */
int64_t known_time_look(struct known *known)
{
    struct clock_moment now = clock_now();

    if (clock_age_most_ms(&known->looked, &now) == CLOCK_AGE_ENDLESS) {
        liveness_forget_states(known->liveness);
        domains_age(known->domains);
    }
    known->looked = now;
    return now.boot_ms;
}

void known_news_tell(struct known *known)
{
    known->generation++;
    pthread_cond_broadcast(&known->news);
}

int64_t known_now(struct known *known)
{
    int64_t now_ms;

    pthread_mutex_lock(&known->mutex);
    now_ms = known_time_look(known);
    pthread_mutex_unlock(&known->mutex);
    return now_ms;
}

int64_t known_age_ms(struct known *known)
{
    return clock_now().boot_ms - known->created_ms;
}

/* The settings name single domains: those are kept fresh from the start. */
static void configured_add(struct known *known)
{
    const struct settings_judge *settings = &known->settings->judge;
    int64_t now_ms = known_time_look(known);

    for (size_t i = 0; i < settings->rule_count && settings->fresh_ms > 0; i++) {
        const struct settings_rule *rule = &settings->rules[i];
        struct domain *domain;

        if (rule->pattern[0] == '*' || rule->role == ROLE_OFF)
            continue;
        domain = domains_find_or_add(known->domains, rule->pattern);
        domain->configured = true;
        known_plan_domain(known, domain, now_ms);
    }
}

struct known *known_create(const struct settings *settings, const struct known_limits *limits)
{
    static const struct known_limits standard = {.domains = KNOWN_DOMAINS_MAX, .addresses = KNOWN_ADDRESSES_MAX};
    struct known *known = alloc_zeroed(1, sizeof *known);
    int error;

    pthread_mutex_init(&known->mutex, NULL);
    pthread_cond_init(&known->news, NULL);
    pthread_cond_init(&known->work, NULL);
    limits = limits != NULL ? limits : &standard;
    known->settings = settings_hold(settings);
    known->domains = domains_create(limits->domains, &known->agenda, KNOWN_DUE_DOMAIN);
    known->liveness = liveness_create(limits->addresses, &known->agenda, KNOWN_DUE_ADDRESS);
    known->egress_entry.kind = KNOWN_DUE_EGRESS;
    known->names = answers_create(limits->domains, &known->clients_due, KNOWN_DUE_NAME);
    known->friends = answers_create(limits->domains, &known->clients_due, KNOWN_DUE_FRIEND);
    known->looked = clock_now();
    known->created_ms = known->looked.boot_ms;
    configured_add(known);
    known_plan_egress(known, known->created_ms);
    known->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    known->ended_fd = eventfd(0, EFD_CLOEXEC);
    error = known->stop_fd < 0 || known->ended_fd < 0 ? errno : known_probers_start(known, settings->judge.probers);
    if (error != 0) {
        known_destroy(&known);
        errno = error;
    }
    return known;
}

static void known_free(struct known *known)
{
    domains_destroy(&known->domains);
    liveness_destroy(&known->liveness);
    answers_destroy(&known->names);
    answers_destroy(&known->friends);
    agenda_clear(&known->agenda);
    agenda_clear(&known->clients_due);
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
    if (!known_probers_end(known)) {
        left = known;
        for (size_t i = 0; i < left->worker_count; i++)
            pthread_detach(left->workers[i]);
        return;
    }
    for (size_t i = 0; i < known->worker_count; i++)
        pthread_join(known->workers[i], NULL);
    known_free(known);
}

/* The lists may be others. */
static void friends_forget(struct known *known, size_t max)
{
    answers_destroy(&known->friends);
    known->friends = answers_create(max, &known->clients_due, KNOWN_DUE_FRIEND);
    memset(known->zone_rests_ms, 0, sizeof known->zone_rests_ms);
}

void known_configure(struct known *known, const struct settings *settings)
{
    const struct settings *before;
    struct domain *domain;

    pthread_mutex_lock(&known->mutex);
    before = known->settings;
    known->settings = settings_hold(settings);
    domains_forget_answers(known->domains);
    friends_forget(known, answers_max(known->friends));
    configured_add(known);
    known_plan_egress(known, known_time_look(known));
    for (domain = domains_first(known->domains); domain != NULL; domain = domain->hh.next)
        known_plan_domain(known, domain, known_time_look(known));
    known_news_tell(known);
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
        .now_ms = known_time_look(known),
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
    memory.now_ms = known_time_look(known);
    memory_read(&memory, text, known->domains, known->liveness);
    for (domain = domains_first(known->domains); domain != NULL; domain = domain->hh.next) {
        if (domain->seen_ms != DOMAINS_NEVER)
            domains_keep(known->domains, domain, true);
        known_plan_domain(known, domain, memory.now_ms);
    }
    pthread_mutex_unlock(&known->mutex);
}

void known_wait(struct known *known, uint64_t *seen, int64_t deadline_ms)
{
    struct timespec deadline = clock_timespec(deadline_ms);

    pthread_mutex_lock(&known->mutex);
    while (known->generation == *seen &&
           pthread_cond_clockwait(&known->news, &known->mutex, CLOCK_MONOTONIC, &deadline) != ETIMEDOUT)
        ;
    *seen = known->generation;
    pthread_mutex_unlock(&known->mutex);
}

void known_wake(struct known *known)
{
    pthread_mutex_lock(&known->mutex);
    known_news_tell(known);
    pthread_mutex_unlock(&known->mutex);
}
