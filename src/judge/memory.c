#include "judge/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "judge/verdict.h"

enum { STAMP_SIZE = 48 };

struct writing {
    const struct memory *memory;
    const struct domains *domains;
    int64_t grace_ms;
};

static int64_t us_of(const struct memory *memory, int64_t ms)
{
    return memory->now_us - (memory->now_ms - ms) * 1000;
}

/* What comes from the future counts as now. */
static int64_t ms_of(const struct memory *memory, int64_t us)
{
    return us < memory->now_us ? memory->now_ms - (memory->now_us - us) / 1000 : memory->now_ms;
}

/* The same for a time that may lie ahead, by LIMIT_MS at most. */
static int64_t ms_ahead(const struct memory *memory, int64_t us, int64_t limit_ms)
{
    int64_t ahead_ms = us > memory->now_us ? (us - memory->now_us) / 1000 : 0;

    return memory->now_ms + (ahead_ms < limit_ms ? ahead_ms : limit_ms);
}

/* Returns whether it is still of interest. */
static bool moment_text(const struct writing *writing, const struct liveness_trouble *trouble, char out[STAMP_SIZE])
{
    const struct memory *memory = writing->memory;
    int64_t length_ms, grace_ms = writing->grace_ms;

    strcpy(out, "-");
    if (trouble->ended_ms == LIVENESS_NEVER)
        return false;
    length_ms = trouble->ended_ms - trouble->began_ms;
    if (length_ms > VERDICT_OUTAGE_LENGTH_MAX_MS)
        length_ms = VERDICT_OUTAGE_LENGTH_MAX_MS;
    if (memory->now_ms - trouble->ended_ms >= (length_ms > grace_ms ? length_ms : grace_ms))
        return false;
    if (trouble->lasts)
        snprintf(out, STAMP_SIZE, "%" PRId64 "-now", us_of(memory, trouble->began_ms));
    else
        snprintf(out, STAMP_SIZE, "%" PRId64 "-%" PRId64, us_of(memory, trouble->began_ms),
                 us_of(memory, trouble->ended_ms));
    return true;
}

/* How the domain whose primary it is calls ADDRESS; NULL when DNS says so no more. */
static const char *mx_name(const struct writing *writing, const char *domain_name, const struct ipaddr *address)
{
    const struct domain *domain = domain_name != NULL ? domains_find(writing->domains, domain_name) : NULL;

    if (domain == NULL || domain->answer == NULL)
        return NULL;
    for (size_t i = 0; i < domain->answer->host_count; i++) {
        const struct mx_host *host = &domain->answer->hosts[i];

        for (size_t j = 0; j < host->addresses.count; j++)
            if (ipaddr_equal(&host->addresses.list[j], address))
                return host->name;
    }
    return NULL;
}

static void address_write(void *context, const struct liveness_memory *remembered)
{
    const struct writing *writing = context;
    char deferring[STAMP_SIZE], away[STAMP_SIZE], address[IPADDR_TEXT_SIZE] = "*";
    bool was_deferring = moment_text(writing, &remembered->deferring, deferring);

    if (!moment_text(writing, &remembered->not_accepting, away) && !was_deferring)
        return;
    if (remembered->address != NULL)
        ipaddr_format(remembered->address, address);
    fprintf(writing->memory->stream, "address %s %s %s", address, deferring, away);
    if (remembered->not_accepting.lasts) {
        const char *mx = mx_name(writing, remembered->domain, remembered->address);

        if (mx != NULL)
            fprintf(writing->memory->stream, " %s %s", mx, remembered->domain);
    }
    fputc('\n', writing->memory->stream);
}

static void domain_write(const struct memory *memory, const struct domain *domain)
{
    const struct moved_answer *now = moved_now(&domain->moved);

    if (now->fingerprint == 0 || !(domain->kept || domain_is_served(domain)))
        return;
    fprintf(memory->stream, "domain %s %" PRIx64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", domain->name,
            now->fingerprint, now->ttl_ms, us_of(memory, now->seen_ms),
            domain->moved.until_ms > memory->now_ms ? us_of(memory, domain->moved.until_ms) : 0,
            domain->seen_ms != DOMAINS_NEVER ? us_of(memory, domain->seen_ms) : 0);
}

void memory_write(const struct memory *memory, const struct domains *domains, const struct liveness *liveness,
                  int64_t grace_ms)
{
    struct writing writing = {.memory = memory, .domains = domains, .grace_ms = grace_ms};

    liveness_tell(liveness, memory->now_ms, address_write, &writing);
    for (const struct domain *domain = domains_first(domains); domain != NULL; domain = domain->hh.next)
        domain_write(memory, domain);
}

static bool trouble_read(const struct memory *memory, const char *text, struct liveness_trouble *trouble)
{
    char *end;
    int64_t began_us, ended_us;

    *trouble = (struct liveness_trouble){.began_ms = LIVENESS_NEVER, .ended_ms = LIVENESS_NEVER};
    if (text == NULL || strcmp(text, "-") == 0)
        return text != NULL;
    began_us = strtoll(text, &end, 10);
    if (end == text || *end != '-' || began_us <= 0)
        return false;
    text = end + 1;
    ended_us = strcmp(text, "now") == 0 ? INT64_MAX : strtoll(text, &end, 10);
    if (ended_us != INT64_MAX && (end == text || *end != '\0' || ended_us < began_us))
        return false;
    trouble->began_ms = ms_of(memory, began_us);
    trouble->ended_ms = ms_of(memory, ended_us);
    return true;
}

static void address_read(const struct memory *memory, char *rest, struct liveness *liveness)
{
    const char *name = strtok_r(rest, " ", &rest), *deferring = strtok_r(rest, " ", &rest);
    const char *away = strtok_r(rest, " ", &rest);
    struct liveness_memory remembered = {0};
    struct ipaddr address;

    if (name == NULL || !trouble_read(memory, deferring, &remembered.deferring) ||
        !trouble_read(memory, away, &remembered.not_accepting))
        return;
    if (strcmp(name, "*") != 0 && !ipaddr_parse(name, &address))
        return;
    remembered.address = strcmp(name, "*") != 0 ? &address : NULL;
    liveness_recall(liveness, &remembered);
}

static void domain_read(const struct memory *memory, char *rest, struct domains *domains)
{
    const char *name = strtok_r(rest, " ", &rest);
    char normalized[DOMAIN_MAX + 1];
    struct domain *domain;
    uint64_t fingerprint;
    long long ttl_ms, seen_us, until_us, hit_us;

    if (name == NULL || !domain_normalize(name, normalized) ||
        /* NOLINTNEXTLINE(cert-err34-c): our own file; what does not fit is passed over */
        sscanf(rest, "%" SCNx64 " %lld %lld %lld %lld", &fingerprint, &ttl_ms, &seen_us, &until_us, &hit_us) != 5 ||
        fingerprint == 0 || ttl_ms < 0)
        return;
    domain = domains_find_or_add(domains, normalized);
    moved_recall(&domain->moved, fingerprint, ttl_ms < MOVED_MAX_MS ? ttl_ms : MOVED_MAX_MS, ms_of(memory, seen_us),
                 ms_ahead(memory, until_us, MOVED_MAX_MS));
    if (hit_us > 0)
        domain->seen_ms = ms_of(memory, hit_us);
}

void memory_read(const struct memory *memory, const char *text, struct domains *domains, struct liveness *liveness)
{
    char *copy = alloc_text(text), *lines = NULL;

    for (char *line = strtok_r(copy, "\n", &lines); line != NULL; line = strtok_r(NULL, "\n", &lines)) {
        char *rest = NULL, *kind = strtok_r(line, " ", &rest);

        if (kind != NULL && strcmp(kind, "address") == 0)
            address_read(memory, rest, liveness);
        else if (kind != NULL && strcmp(kind, "domain") == 0)
            domain_read(memory, rest, domains);
    }
    free(copy);
}
