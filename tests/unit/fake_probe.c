#include "fake_probe.h"

#include <pthread.h>
#include <string.h>

enum { ENTRY_MAX = 64 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t thawed = PTHREAD_COND_INITIALIZER;
static struct {
    char address[IPADDR_TEXT_SIZE];
    enum liveness_state state;
    unsigned made, deep;
} entries[ENTRY_MAX];
static size_t entry_count;
static unsigned total, at_once, most_at_once;
static bool is_frozen;

void fake_probe_reset(void)
{
    pthread_mutex_lock(&mutex);
    entry_count = 0;
    total = at_once = most_at_once = 0;
    is_frozen = false;
    pthread_mutex_unlock(&mutex);
}

static size_t find_or_add(const char *address)
{
    for (size_t i = 0; i < entry_count; i++) {
        if (strcmp(entries[i].address, address) == 0)
            return i;
    }
    strcpy(entries[entry_count].address, address);
    entries[entry_count].state = LIVENESS_ACCEPTING;
    entries[entry_count].made = entries[entry_count].deep = 0;
    return entry_count++;
}

void fake_probe_set(const char *address, enum liveness_state state)
{
    pthread_mutex_lock(&mutex);
    entries[find_or_add(address)].state = state;
    pthread_mutex_unlock(&mutex);
}

unsigned fake_probe_made(const char *address)
{
    unsigned made;

    pthread_mutex_lock(&mutex);
    made = address == NULL ? total : entries[find_or_add(address)].made;
    pthread_mutex_unlock(&mutex);
    return made;
}

unsigned fake_probe_deep(const char *address)
{
    unsigned deep;

    pthread_mutex_lock(&mutex);
    deep = entries[find_or_add(address)].deep;
    pthread_mutex_unlock(&mutex);
    return deep;
}

unsigned fake_probe_most_at_once(void)
{
    unsigned most;

    pthread_mutex_lock(&mutex);
    most = most_at_once;
    pthread_mutex_unlock(&mutex);
    return most;
}

void fake_probe_freeze(bool frozen)
{
    pthread_mutex_lock(&mutex);
    is_frozen = frozen;
    pthread_cond_broadcast(&thawed);
    pthread_mutex_unlock(&mutex);
}

enum liveness_state probe_address(const struct probe_config *config, const struct ipaddr *address, struct ipaddr *source)
{
    char text[IPADDR_TEXT_SIZE];
    enum liveness_state state;
    size_t i;

    *source = (struct ipaddr){.family = 4, .bytes = {192, 0, 2, 99}};
    pthread_mutex_lock(&mutex);
    i = find_or_add(ipaddr_format(address, text));
    entries[i].made++;
    entries[i].deep += config->name != NULL;
    total++;
    if (++at_once > most_at_once)
        most_at_once = at_once;
    while (is_frozen)
        pthread_cond_wait(&thawed, &mutex);
    at_once--;
    state = entries[i].state;
    if (state != LIVENESS_ACCEPTING && state != LIVENESS_DEFERRING)
        source->family = 0;
    pthread_mutex_unlock(&mutex);
    return state;
}
