#include "judge/liveness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

struct host {
    UT_hash_handle hh; /* in the order of use: the head is the one to leave */
    struct ipaddr address;
    struct agenda_entry entry; /* its next probe */
    bool probed;               /* state and taken_ms hold */
    bool known;                /* likewise, and nothing came between that makes its age doubtful */
    bool probing, again;       /* again: one more is wanted after the one under way */
    bool again_asked;
    enum liveness_state state;
    int64_t taken_ms;   /* when the last probe began */
    int64_t probing_ms; /* when the one under way did */
    int64_t well_ms;    /* when the last one began that found it accepting; LIVENESS_NEVER */
    struct liveness_trouble deferring, not_accepting;
    char *domain; /* one whose primary it is */
};

struct liveness {
    struct host *hosts;
    size_t max;
    struct agenda *agenda;
    int kind;
    struct liveness_trouble lost_deferring, lost_not_accepting; /* the latest of the addresses that left */
};

static const struct liveness_trouble no_trouble = {.began_ms = LIVENESS_NEVER, .ended_ms = LIVENESS_NEVER};

const char *liveness_state_name(enum liveness_state state)
{
    static const char *const names[] = {
        [LIVENESS_UNKNOWN] = "unknown",
        [LIVENESS_DOWN] = "down",
        [LIVENESS_ACCEPTING] = "accepting",
        [LIVENESS_DEFERRING] = "deferring",
    };

    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "?";
}

struct liveness *liveness_create(size_t max, struct agenda *agenda, int kind)
{
    struct liveness *liveness = alloc_zeroed(1, sizeof *liveness);

    liveness->max = max;
    liveness->agenda = agenda;
    liveness->kind = kind;
    liveness->lost_deferring = liveness->lost_not_accepting = no_trouble;
    return liveness;
}

static void host_drop(struct liveness *liveness, struct host *host)
{
    agenda_drop(liveness->agenda, &host->entry);
    HASH_DEL(liveness->hosts, host); /* NOLINT(clang-analyzer-unix.Malloc): the one before has left */
    free(host->domain);
    free(host);
}

void liveness_destroy(struct liveness **liveness)
{
    if (*liveness == NULL)
        return;
    while ((*liveness)->hosts != NULL)
        host_drop(*liveness, (*liveness)->hosts);
    free(*liveness);
    *liveness = NULL;
}

/* Trouble that is in both, or the later of the two. */
static struct liveness_trouble trouble_merged(struct liveness_trouble a, struct liveness_trouble b)
{
    struct liveness_trouble newer = a.ended_ms >= b.ended_ms ? a : b, older = a.ended_ms >= b.ended_ms ? b : a;

    if (older.ended_ms != LIVENESS_NEVER && older.began_ms < newer.began_ms &&
        newer.began_ms - older.ended_ms <= older.ended_ms - older.began_ms)
        newer.began_ms = older.began_ms;
    return newer;
}

static struct host *host_find(const struct liveness *liveness, const struct ipaddr *address)
{
    struct host *host;

    HASH_FIND(hh, liveness->hosts, address, sizeof *address, host);
    return host;
}

static void evict_host(struct liveness *liveness)
{
    struct host *host = liveness->hosts;

    liveness->lost_deferring = trouble_merged(liveness->lost_deferring, host->deferring);
    liveness->lost_not_accepting = trouble_merged(liveness->lost_not_accepting, host->not_accepting);
    host_drop(liveness, host);
}

static struct host *host_find_or_add(struct liveness *liveness, const struct ipaddr *address)
{
    struct host *host = host_find(liveness, address);

    if (host != NULL) {
        HASH_DEL(liveness->hosts, host); /* and back, to the end of the line */
    } else {
        if (HASH_COUNT(liveness->hosts) >= liveness->max)
            evict_host(liveness);
        host = alloc_zeroed(1, sizeof *host);
        host->address = *address;
        host->entry.kind = liveness->kind;
        host->taken_ms = host->well_ms = LIVENESS_NEVER;
        host->deferring = liveness->lost_deferring;
        host->not_accepting = liveness->lost_not_accepting;
    }
    HASH_ADD(hh, liveness->hosts, address, sizeof host->address, host); /* NOLINT(clang-analyzer-unix.Malloc): as above */
    return host;
}

/* Whoever asks may have begun before the answer came. */
static int64_t age_of(int64_t then_ms, int64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

static struct facts_trouble trouble_seen(const struct liveness_trouble *trouble, int64_t now_ms)
{
    if (trouble->ended_ms == LIVENESS_NEVER)
        return (struct facts_trouble){.age_ms = FACTS_NEVER};
    return (struct facts_trouble){.age_ms = age_of(trouble->ended_ms, now_ms), .length_ms = trouble->ended_ms - trouble->began_ms};
}

struct facts_address liveness_ask(struct liveness *liveness, const struct ipaddr *address, int64_t remember_ms,
                                  int64_t now_ms)
{
    const struct host *host = host_find_or_add(liveness, address);

    return (struct facts_address){
        .family = address->family,
        .known = host->known && now_ms - host->taken_ms <= remember_ms,
        .state = host->state,
        .age_ms = host->known ? age_of(host->taken_ms, now_ms) : FACTS_NEVER,
        .deferring = trouble_seen(&host->deferring, now_ms),
        .not_accepting = trouble_seen(&host->not_accepting, now_ms),
    };
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void host_plan(struct liveness *liveness, struct host *host, int64_t last_ms, int64_t interval_ms, int64_t now_ms,
                      bool asked)
{
    int64_t due_ms = last_ms == LIVENESS_NEVER ? now_ms : later(now_ms, last_ms + interval_ms);

    if (host->entry.place == 0 || due_ms < host->entry.due_ms || (asked && !host->entry.asked))
        agenda_put(liveness->agenda, &host->entry, due_ms, asked);
}

void liveness_want(struct liveness *liveness, const struct ipaddr *address, const char *domain, int64_t after_ms,
                   int64_t interval_ms, int64_t now_ms, bool asked)
{
    struct host *host = host_find_or_add(liveness, address);

    if (host->domain == NULL || strcmp(host->domain, domain) != 0) {
        free(host->domain);
        host->domain = alloc_text(domain);
    }
    if (host->probing) {
        host->again = host->again || host->probing_ms < after_ms;
        host->again_asked = host->again_asked || (asked && host->probing_ms < after_ms);
        return;
    }
    if (!host->known || host->taken_ms < after_ms)
        host_plan(liveness, host, host->taken_ms, interval_ms, now_ms, asked);
}

bool liveness_has(const struct liveness *liveness, const struct ipaddr *address)
{
    return host_find(liveness, address) != NULL;
}

void liveness_begin(struct liveness *liveness, struct agenda_entry *entry, int64_t now_ms, struct ipaddr *address,
                    char domain[DOMAIN_MAX + 1])
{
    struct host *host = (struct host *)((char *)entry - offsetof(struct host, entry));

    agenda_drop(liveness->agenda, entry);
    host->probing = true;
    host->again = host->again_asked = false;
    host->probing_ms = now_ms;
    *address = host->address;
    snprintf(domain, DOMAIN_MAX + 1, "%.*s", DOMAIN_MAX, host->domain != NULL ? host->domain : "");
}

/* Trouble is counted to the moment when it is seen to be over, and from when the host was last well: senders may have met it
 * from then and until then.  Returns whether it began or ended now. */
static bool trouble_note(struct liveness_trouble *trouble, bool before, bool now, const struct host *host,
                         int64_t started_ms, int64_t now_ms)
{
    int64_t began_ms = host->well_ms != LIVENESS_NEVER ? host->well_ms : started_ms;

    if (!before && !now)
        return false;
    if (before && trouble->ended_ms != LIVENESS_NEVER)
        trouble->ended_ms = now_ms;
    else
        *trouble = trouble_merged(*trouble, (struct liveness_trouble){.began_ms = began_ms, .ended_ms = now_ms});
    return before != now;
}

static bool is_away(enum liveness_state state)
{
    return state == LIVENESS_DEFERRING || state == LIVENESS_DOWN;
}

struct liveness_change liveness_report(struct liveness *liveness, const struct ipaddr *address, enum liveness_state state,
                                       int64_t started_ms, int64_t interval_ms, int64_t now_ms)
{
    struct host *host = host_find(liveness, address);
    struct liveness_change change = {0};
    enum liveness_state before;

    if (host == NULL)
        return change;
    before = host->probed ? host->state : LIVENESS_UNKNOWN;
    change.state = !host->probed || state != before;
    change.outage = trouble_note(&host->deferring, before == LIVENESS_DEFERRING, state == LIVENESS_DEFERRING, host,
                                 started_ms, now_ms);
    if (trouble_note(&host->not_accepting, is_away(before), is_away(state), host, started_ms, now_ms))
        change.outage = true;
    if (state == LIVENESS_ACCEPTING)
        host->well_ms = started_ms;
    host->state = state;
    host->taken_ms = started_ms;
    host->probed = host->known = true;
    host->probing = false;
    if (host->again)
        host_plan(liveness, host, started_ms, interval_ms, now_ms, host->again_asked);
    return change;
}

void liveness_forget_states(struct liveness *liveness)
{
    for (struct host *host = liveness->hosts; host != NULL; host = host->hh.next)
        host->known = false;
}

static struct liveness_trouble trouble_until(const struct liveness_trouble *trouble, bool lasts, int64_t now_ms)
{
    if (!lasts)
        return *trouble;
    return (struct liveness_trouble){.began_ms = trouble->began_ms, .ended_ms = now_ms, .lasts = true};
}

void liveness_tell(const struct liveness *liveness, int64_t now_ms,
                   void (*tell)(void *context, const struct liveness_memory *memory), void *context)
{
    for (const struct host *host = liveness->hosts; host != NULL; host = host->hh.next)
        tell(context, &(struct liveness_memory){
                          .address = &host->address,
                          .domain = host->domain,
                          .deferring = trouble_until(&host->deferring,
                                                     host->probed && host->state == LIVENESS_DEFERRING, now_ms),
                          .not_accepting = trouble_until(&host->not_accepting, host->probed && is_away(host->state), now_ms),
                      });
    /* Last, or else it would be that of the addresses behind it too. */
    tell(context, &(struct liveness_memory){.deferring = liveness->lost_deferring,
                                            .not_accepting = liveness->lost_not_accepting});
}

void liveness_recall(struct liveness *liveness, const struct liveness_memory *memory)
{
    struct host *host = memory->address != NULL ? host_find_or_add(liveness, memory->address) : NULL;
    struct liveness_trouble *deferring = host != NULL ? &host->deferring : &liveness->lost_deferring;
    struct liveness_trouble *not_accepting = host != NULL ? &host->not_accepting : &liveness->lost_not_accepting;

    *deferring = trouble_merged(*deferring, memory->deferring);
    *not_accepting = trouble_merged(*not_accepting, memory->not_accepting);
}
