#include "fake_mx.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "judge/mx.h"
#include "mx_text.h"

enum { ENTRY_MAX = 16, KEY_SIZE = DOMAIN_MAX + IPADDR_TEXT_SIZE + 2 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const char *domain, *text;
    unsigned asked;
} entries[ENTRY_MAX];
static unsigned total, naming;
static bool is_frozen, names_are_frozen;

void fake_mx_reset(void)
{
    pthread_mutex_lock(&mutex);
    memset(entries, 0, sizeof entries);
    total = 0;
    is_frozen = names_are_frozen = false;
    pthread_mutex_unlock(&mutex);
}

static int find(const char *domain)
{
    for (int i = 0; i < ENTRY_MAX; i++) {
        if (entries[i].domain != NULL && strcmp(entries[i].domain, domain) == 0)
            return i;
    }
    return -1;
}

void fake_mx_set(const char *domain, const char *text)
{
    int i;

    pthread_mutex_lock(&mutex);
    i = find(domain);
    for (int free_one = 0; i < 0; free_one++) {
        if (entries[free_one].domain == NULL)
            i = free_one;
    }
    entries[i].domain = domain;
    entries[i].text = text;
    pthread_mutex_unlock(&mutex);
}

unsigned fake_mx_asked(const char *domain)
{
    unsigned asked;

    pthread_mutex_lock(&mutex);
    asked = domain == NULL ? total : find(domain) >= 0 ? entries[find(domain)].asked : 0;
    pthread_mutex_unlock(&mutex);
    return asked;
}

void fake_mx_freeze(bool frozen)
{
    pthread_mutex_lock(&mutex);
    is_frozen = frozen;
    pthread_mutex_unlock(&mutex);
}

void fake_mx_freeze_names(bool frozen)
{
    pthread_mutex_lock(&mutex);
    names_are_frozen = frozen;
    pthread_mutex_unlock(&mutex);
}

unsigned fake_mx_naming(const char *unused)
{
    unsigned now;

    (void)unused;
    pthread_mutex_lock(&mutex);
    now = naming;
    pthread_mutex_unlock(&mutex);
    return now;
}

void mx_resolve(const struct settings_dns *config, const char *domain, const atomic_bool *stop, struct mx_answer *answer)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    const char *text = "nxdomain";
    int i;

    (void)config;
    pthread_mutex_lock(&mutex);
    total++;
    i = find(domain);
    if (i >= 0)
        entries[i].asked++;
    while (is_frozen && !*stop) {
        pthread_mutex_unlock(&mutex);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&mutex);
    }
    if (*stop)
        text = "unknown";
    else if (i >= 0)
        text = entries[i].text;
    pthread_mutex_unlock(&mutex);
    *answer = mx_from_text(text);
}

void mx_names_resolve(const struct settings_dns *config, const struct ipaddr *address, const atomic_bool *stop,
                      struct mx_names *names)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    char text[IPADDR_TEXT_SIZE];
    int i;

    (void)config;
    *names = (struct mx_names){.status = MX_OK};
    pthread_mutex_lock(&mutex);
    naming++;
    while (names_are_frozen && !*stop) {
        pthread_mutex_unlock(&mutex);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&mutex);
    }
    naming--;
    i = find(ipaddr_format(address, text));
    if (i >= 0 && strcmp(entries[i].text, "unknown") == 0) {
        names->status = MX_UNKNOWN;
    } else if (i >= 0) {
        strcpy(names->list[0], entries[i].text);
        names->count = 1;
    }
    pthread_mutex_unlock(&mutex);
}

enum friend_state mx_listed(const struct settings_dns *config, const char *zone, const struct ipaddr *address,
                            const atomic_bool *stop)
{
    enum friend_state state = FRIEND_NO;
    char text[IPADDR_TEXT_SIZE], key[KEY_SIZE];
    int i;

    (void)config;
    (void)stop;
    snprintf(key, sizeof key, "%s %s", zone, ipaddr_format(address, text));
    pthread_mutex_lock(&mutex);
    i = find(key);
    if (i >= 0) {
        entries[i].asked++;
        if (!friend_state_from_name(entries[i].text, &state))
            abort();
    }
    pthread_mutex_unlock(&mutex);
    return state;
}
