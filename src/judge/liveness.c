#include "judge/liveness.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"

struct host {
    UT_hash_handle hh; /* in the order of use: the head is the one to leave */
    bool probed;       /* state and taken_ms hold */
    bool probing;
    enum liveness_state state;
    int64_t taken_ms;
    int64_t last_deferring_ms, last_not_accepting_ms;
    char name[];
};

struct liveness {
    struct host *hosts;
    size_t max_hosts;
    int64_t lost_deferring_ms, lost_not_accepting_ms; /* the latest of the hosts that left */
};

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

struct liveness *liveness_create(size_t max_hosts)
{
    struct liveness *liveness = alloc_zeroed(1, sizeof *liveness);

    liveness->max_hosts = max_hosts;
    liveness->lost_deferring_ms = liveness->lost_not_accepting_ms = LIVENESS_NEVER;
    return liveness;
}

void liveness_destroy(struct liveness **liveness)
{
    struct host *host, *next;

    if (*liveness == NULL)
        return;
    HASH_ITER(hh, (*liveness)->hosts, host, next) {
        HASH_DEL((*liveness)->hosts, host); /* NOLINT(clang-analyzer-unix.Malloc): the one before has left */
        free(host);
    }
    free(*liveness);
    *liveness = NULL;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct host *find(const struct liveness *liveness, const char *name)
{
    struct host *host;

    HASH_FIND_STR(liveness->hosts, name, host);
    return host;
}

static void evict_oldest(struct liveness *liveness)
{
    struct host *host = liveness->hosts;

    liveness->lost_deferring_ms = later(liveness->lost_deferring_ms, host->last_deferring_ms);
    liveness->lost_not_accepting_ms = later(liveness->lost_not_accepting_ms, host->last_not_accepting_ms);
    HASH_DEL(liveness->hosts, host);
    free(host);
}

static struct host *find_or_add(struct liveness *liveness, const char *name)
{
    struct host *host = find(liveness, name);

    if (host != NULL) {
        HASH_DEL(liveness->hosts, host); /* and back, to the end of the line */
    } else {
        size_t length = strlen(name);

        if (HASH_COUNT(liveness->hosts) >= liveness->max_hosts)
            evict_oldest(liveness);
        host = alloc_zeroed(1, sizeof *host + length + 1);
        memcpy(host->name, name, length);
        host->last_deferring_ms = liveness->lost_deferring_ms;
        host->last_not_accepting_ms = liveness->lost_not_accepting_ms;
    }
    HASH_ADD_STR(liveness->hosts, name, host); /* NOLINT(clang-analyzer-unix.Malloc): so is the evicted one */
    return host;
}

struct liveness_view liveness_ask(struct liveness *liveness, const char *name, int64_t remember_ms, int64_t now_ms)
{
    struct host *host = find_or_add(liveness, name);
    int64_t age_ms = now_ms - host->taken_ms;
    struct liveness_view view = {
        .known = host->probed && age_ms <= remember_ms,
        .state = host->state,
        .age_ms = age_ms,
        .last_deferring_ms = host->last_deferring_ms,
        .last_not_accepting_ms = host->last_not_accepting_ms,
    };

    view.probe = !host->probing && (!view.known || age_ms > remember_ms / 4 * 3);
    if (view.probe)
        host->probing = true;
    return view;
}

bool liveness_has(const struct liveness *liveness, const char *name)
{
    return find(liveness, name) != NULL;
}

bool liveness_is_probing(const struct liveness *liveness, const char *name)
{
    const struct host *host = find(liveness, name);

    return host != NULL && host->probing;
}

bool liveness_report(struct liveness *liveness, const char *name, enum liveness_state state, int64_t started_ms,
                     int64_t now_ms)
{
    struct host *host = find(liveness, name);
    enum liveness_state before;
    bool news;

    if (host == NULL)
        return false;
    before = host->probed ? host->state : LIVENESS_UNKNOWN;
    news = !host->probed || state != before;
    /* Trouble is counted to the moment when it is seen to be over: senders may have met it until then. */
    if (state == LIVENESS_DEFERRING || before == LIVENESS_DEFERRING)
        host->last_deferring_ms = now_ms;
    if (state == LIVENESS_DEFERRING || state == LIVENESS_DOWN || before == LIVENESS_DEFERRING ||
        before == LIVENESS_DOWN)
        host->last_not_accepting_ms = now_ms;
    host->state = state;
    host->taken_ms = started_ms;
    host->probed = true;
    host->probing = false;
    return news;
}

void liveness_abandon(struct liveness *liveness, const char *name)
{
    struct host *host = find(liveness, name);

    if (host != NULL)
        host->probing = false;
}

void liveness_tell_trouble(const struct liveness *liveness, int64_t now_ms,
                           void (*tell)(void *context, const struct liveness_trouble *trouble), void *context)
{
    for (const struct host *host = liveness->hosts; host != NULL; host = host->hh.next) {
        bool deferring = host->probed && host->state == LIVENESS_DEFERRING;
        bool down = host->probed && host->state == LIVENESS_DOWN;

        tell(context, &(struct liveness_trouble){
                          .host = host->name,
                          .last_deferring_ms = deferring ? now_ms : host->last_deferring_ms,
                          .last_not_accepting_ms = deferring || down ? now_ms : host->last_not_accepting_ms,
                      });
    }
    /* Last, or else it would be that of the hosts behind it too. */
    tell(context, &(struct liveness_trouble){.last_deferring_ms = liveness->lost_deferring_ms,
                                             .last_not_accepting_ms = liveness->lost_not_accepting_ms});
}

void liveness_recall(struct liveness *liveness, const struct liveness_trouble *trouble)
{
    struct host *host = trouble->host != NULL ? find_or_add(liveness, trouble->host) : NULL;
    int64_t *deferring_ms = host != NULL ? &host->last_deferring_ms : &liveness->lost_deferring_ms;
    int64_t *not_accepting_ms = host != NULL ? &host->last_not_accepting_ms : &liveness->lost_not_accepting_ms;

    *deferring_ms = later(*deferring_ms, trouble->last_deferring_ms);
    *not_accepting_ms = later(*not_accepting_ms, trouble->last_not_accepting_ms);
}
