#include "judge/self.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/interfaces.h"

enum { READ_EVERY_MS = 1000 };

/* What the interfaces have now and the settings of the last question had not: DHCP, a failover address. */
static struct {
    pthread_mutex_t mutex; /* covers the rest */
    const struct settings_judge *settings;
    int64_t read_ms;
    struct ipaddr addresses[SELF_NEW_MAX];
    size_t count;
} lately = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void take_new(void *context, const struct ipaddr *address)
{
    const struct settings_judge *settings = context;

    for (size_t i = 0; i < settings->own_address_count; i++)
        if (ipaddr_equal(&settings->own_addresses[i], address))
            return;
    if (lately.count < SELF_NEW_MAX)
        lately.addresses[lately.count++] = *address;
}

static void add_new_addresses(struct self *self, const struct settings_judge *settings)
{
    int64_t now_ms = clock_monotonic_ms();

    pthread_mutex_lock(&lately.mutex);
    if (lately.settings != settings || lately.read_ms == 0 || now_ms - lately.read_ms >= READ_EVERY_MS) {
        lately.settings = settings;
        lately.read_ms = now_ms;
        lately.count = 0;
        (void)interfaces_read(take_new, (void *)settings);
    }
    self->new_count = lately.count;
    memcpy(self->new_addresses, lately.addresses, lately.count * sizeof *lately.addresses);
    pthread_mutex_unlock(&lately.mutex);
}

void self_make(struct self *self, const struct settings_judge *settings, const struct ipaddr *local, const char *mta_name)
{
    *self = (struct self){
        .names = settings->own_names,
        .name_count = settings->own_name_count,
        .addresses = settings->own_addresses,
        .address_count = settings->own_address_count,
        .nat64_prefixes = settings->nat64_prefixes,
        .nat64_prefix_count = settings->nat64_prefix_count,
        .local = *local,
    };
    if (settings->own_addresses_read)
        add_new_addresses(self, settings);
    if (mta_name != NULL && !domain_normalize(mta_name, self->mta_name))
        self->mta_name[0] = '\0';
}

const char *self_probe_name(const struct settings_judge *settings)
{
    return settings->probe == PROBE_ENVELOPE && settings->own_name_count > 0 ? settings->own_names[0] : NULL;
}

bool self_has_name(const struct self *self, const char *name)
{
    for (size_t i = 0; i < self->name_count; i++) {
        if (strcmp(self->names[i], name) == 0)
            return true;
    }
    return strcmp(self->mta_name, name) == 0;
}

static bool is_same_client(const struct self *self, const struct ipaddr *ours, const struct ipaddr *address)
{
    struct ipaddr a = ipaddr_client(ours, self->nat64_prefixes, self->nat64_prefix_count);
    struct ipaddr b = ipaddr_client(address, self->nat64_prefixes, self->nat64_prefix_count);

    return ipaddr_equal(&a, &b);
}

bool self_has_address(const struct self *self, const struct ipaddr *address)
{
    for (size_t i = 0; i < self->address_count; i++) {
        if (is_same_client(self, &self->addresses[i], address))
            return true;
    }
    for (size_t i = 0; i < self->new_count; i++) {
        if (is_same_client(self, &self->new_addresses[i], address))
            return true;
    }
    return self->local.family != 0 && is_same_client(self, &self->local, address);
}

const struct settings_rule *self_rule(const struct settings_judge *settings, const char *domain)
{
    const struct settings_rule *found = NULL;
    size_t best = 0;

    for (size_t i = 0; i < settings->rule_count; i++) {
        const struct settings_rule *rule = &settings->rules[i];
        size_t weight = rule->pattern[0] == '*' ? strlen(rule->pattern) : SIZE_MAX; /* an exact name beats any "*" */

        if (weight > best && domain_matches(rule->pattern, domain)) {
            best = weight;
            found = rule;
        }
    }
    return found;
}

enum role_setting self_role(const struct settings_judge *settings, const char *domain)
{
    const struct settings_rule *rule = self_rule(settings, domain);

    return rule != NULL ? rule->role : ROLE_AUTO;
}
