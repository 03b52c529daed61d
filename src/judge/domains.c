#include "judge/domains.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum {
    TTL_MIN_MS = 5000, /* a TTL of 0 would ask DNS once for each question */
    ABSENT_MS = 60000, /* NXDOMAIN and no records: their TTL is not told */
    FAILED_MS = 15000
};

/* An address, and how many domains bring it along. */
struct friend {
    UT_hash_handle hh;
    struct ipaddr address;
    size_t domains;
};

struct domains {
    struct domain *all;
    struct friend *friends;
    size_t max, kept;
    struct agenda *agenda;
    int kind;
};

struct domains *domains_create(size_t max, struct agenda *agenda, int kind)
{
    struct domains *domains = alloc_zeroed(1, sizeof *domains);

    domains->max = max;
    domains->agenda = agenda;
    domains->kind = kind;
    return domains;
}

static void friend_count(struct domains *domains, const struct ipaddr *address, bool more)
{
    struct friend *friend;

    HASH_FIND(hh, domains->friends, address, sizeof *address, friend);
    if (friend == NULL && more) {
        friend = alloc_zeroed(1, sizeof *friend);
        friend->address = *address;
        HASH_ADD(hh, domains->friends, address, sizeof friend->address, friend);
    }
    if (friend == NULL)
        return;
    friend->domains += more ? 1 : (size_t)-1;
    if (friend->domains > 0)
        return;
    HASH_DEL(domains->friends, friend);
    free(friend);
}

static void addresses_count(struct domains *domains, const struct mx_addresses *addresses, bool more)
{
    for (size_t i = 0; i < addresses->count; i++) {
        struct ipaddr who = ipaddr_client(&addresses->list[i], NULL, 0);

        friend_count(domains, &who, more);
    }
}

/* DOMAIN's addresses come to the friends (MORE), or leave them. */
static void friends_count(struct domains *domains, const struct domain *domain, bool more)
{
    if (!domain_is_served(domain))
        return;
    addresses_count(domains, &domain->answer->addresses, more);
    for (size_t i = 0; i < domain->answer->host_count; i++)
        addresses_count(domains, &domain->answer->hosts[i].addresses, more);
}

static void answer_forget(struct domains *domains, struct domain *domain)
{
    friends_count(domains, domain, false);
    free(domain->answer);
    domain->answer = NULL;
    domain->role = (struct role_result){0};
    domain->looking_up = false;
}

static void domain_drop(struct domains *domains, struct domain *domain)
{
    answer_forget(domains, domain);
    agenda_drop(domains->agenda, &domain->entry);
    domains->kept -= domain->kept;
    HASH_DEL(domains->all, domain);
    free(domain->mta_name);
    free(domain);
}

void domains_destroy(struct domains **domains)
{
    if (*domains == NULL)
        return;
    while ((*domains)->all != NULL)
        domain_drop(*domains, (*domains)->all); /* NOLINT(clang-analyzer-unix.Malloc): HASH_DEL moved the head */
    free(*domains);
    *domains = NULL;
}

struct domain *domains_find(const struct domains *domains, const char *name)
{
    struct domain *domain;

    HASH_FIND_STR(domains->all, name, domain);
    return domain;
}

struct domain *domains_of_entry(struct agenda_entry *entry)
{
    return (struct domain *)((char *)entry - offsetof(struct domain, entry));
}

struct domain *domains_first(const struct domains *domains)
{
    return domains->all;
}

/* DOMAIN was used: it is the last to leave. */
static void domain_touch(struct domains *domains, struct domain *domain)
{
    HASH_DEL(domains->all, domain); /* and back, to the end of the line */
    HASH_ADD_STR(domains->all, name, domain);
}

/* What is kept and comes to the head of the line goes back to its end; there are fewer of those than half. */
static void evict_domain(struct domains *domains)
{
    while (domains->all->kept)
        domain_touch(domains, domains->all);
    domain_drop(domains, domains->all);
}

struct domain *domains_find_or_add(struct domains *domains, const char *name)
{
    struct domain *domain = domains_find(domains, name);
    size_t length = strlen(name);

    if (domain != NULL) {
        domain_touch(domains, domain);
        return domain;
    }
    if (HASH_COUNT(domains->all) >= domains->max)
        evict_domain(domains);
    domain = alloc_zeroed(1, sizeof *domain + length + 1);
    memcpy(domain->name, name, length);
    domain->entry.kind = domains->kind;
    domain->seen_ms = domain->fresh_ms = domain->no_role_logged_ms = DOMAINS_NEVER;
    domain->mta_name = alloc_text("");
    HASH_ADD_STR(domains->all, name, domain); /* NOLINT(clang-analyzer-unix.Malloc): so is the evicted one */
    return domain;
}

void domains_keep(struct domains *domains, struct domain *domain, bool keep)
{
    if (keep == domain->kept || (keep && domains->kept >= domains->max / 2))
        return;
    domain->kept = keep;
    domains->kept += keep ? 1 : (size_t)-1;
}

void domains_set_asker(struct domain *domain, const struct self *self)
{
    domain->local = self->local;
    if (strcmp(domain->mta_name, self->mta_name) == 0)
        return;
    free(domain->mta_name);
    domain->mta_name = alloc_text(self->mta_name);
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

bool domains_store(struct domains *domains, struct domain *domain, const struct mx_answer *answer,
                   const struct role_result *role, int64_t taken_ms, int64_t remember_ms, int64_t now_ms)
{
    size_t size = offsetof(struct mx_answer, hosts) + answer->host_count * sizeof *answer->hosts;

    answer_forget(domains, domain);
    domain->answer = alloc_zeroed(1, size);
    memcpy(domain->answer, answer, size);
    domain->taken_ms = taken_ms;
    domain->usable_ms = usable_ms(answer, remember_ms);
    domain->role = *role;
    friends_count(domains, domain, true);
    return !is_doubtful(answer) && moved_note(&domain->moved, answer, now_ms);
}

void domains_age(struct domains *domains)
{
    for (struct domain *domain = domains->all; domain != NULL; domain = domain->hh.next)
        domain->usable_ms = -1;
}

void domains_forget_answers(struct domains *domains)
{
    for (struct domain *domain = domains->all; domain != NULL; domain = domain->hh.next) {
        answer_forget(domains, domain);
        agenda_drop(domains->agenda, &domain->entry);
        domain->configured = false;
        domain->no_role_logged_ms = DOMAINS_NEVER;
    }
}

bool domains_have_friend(const struct domains *domains, const struct ipaddr *address)
{
    struct friend *friend;

    HASH_FIND(hh, domains->friends, address, sizeof *address, friend);
    return friend != NULL;
}
