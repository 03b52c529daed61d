#include "judge/moved.h"

#include <stddef.h>
#include <string.h>

/* FNV-1a: it is kept over restarts, so no key of this process is in it. */
static uint64_t hash_more(uint64_t hash, const void *data, size_t length)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* The same for the same hosts, preferences and addresses in whatever order; never 0. */
static uint64_t fingerprint_of(const struct mx_answer *answer)
{
    uint64_t sum = 1;

    for (size_t i = 0; i < answer->host_count; i++) {
        const struct mx_host *host = &answer->hosts[i];
        uint64_t hash = hash_more(UINT64_C(0xcbf29ce484222325), host->name, strlen(host->name) + 1);

        hash = hash_more(hash, &host->preference, sizeof host->preference);
        sum += hash;
        for (size_t j = 0; j < host->addresses.count; j++)
            sum += hash_more(hash, &host->addresses.list[j], sizeof host->addresses.list[j]);
    }
    return sum != 0 ? sum : 1;
}

static int64_t ttl_of(const struct mx_answer *answer)
{
    int64_t ttl_ms = (int64_t)answer->ttl_max_s * 1000;

    if (answer->host_count == 0 && ttl_ms < MOVED_ABSENT_MS)
        ttl_ms = MOVED_ABSENT_MS;
    return ttl_ms < MOVED_MAX_MS ? ttl_ms : MOVED_MAX_MS;
}

/* The place of FINGERPRINT among the past answers, or that of the oldest. */
static unsigned place_of(const struct moved *moved, uint64_t fingerprint)
{
    unsigned oldest = moved->now == 0 ? 1 : 0;

    for (unsigned i = 0; i < MOVED_PAST; i++) {
        if (moved->past[i].fingerprint == fingerprint)
            return i;
        if (i != moved->now && moved->past[i].seen_ms < moved->past[oldest].seen_ms)
            oldest = i;
    }
    return oldest;
}

static void answer_return(struct moved_answer *answer, uint64_t fingerprint, int64_t ttl_ms, int64_t now_ms)
{
    if (answer->fingerprint != fingerprint || now_ms - answer->seen_ms > MOVED_TURNS_MS)
        *answer = (struct moved_answer){.fingerprint = fingerprint};
    answer->turns++;
    answer->seen_ms = now_ms;
    if (ttl_ms > answer->ttl_ms)
        answer->ttl_ms = ttl_ms;
}

bool moved_note(struct moved *moved, const struct mx_answer *answer, int64_t now_ms)
{
    uint64_t fingerprint = fingerprint_of(answer);
    struct moved_answer *before = &moved->past[moved->now], *now;
    bool is_first = before->fingerprint == 0;

    if (before->fingerprint == fingerprint) {
        before->seen_ms = now_ms;
        if (ttl_of(answer) > before->ttl_ms)
            before->ttl_ms = ttl_of(answer);
        return false;
    }
    moved->now = is_first ? 0 : place_of(moved, fingerprint);
    now = &moved->past[moved->now];
    answer_return(now, fingerprint, ttl_of(answer), now_ms);
    if (is_first || (now->turns >= MOVED_TURNS && before->turns >= MOVED_TURNS))
        return false;
    if (now_ms + before->ttl_ms > moved->until_ms)
        moved->until_ms = now_ms + before->ttl_ms;
    return true;
}

void moved_recall(struct moved *moved, uint64_t fingerprint, int64_t ttl_ms, int64_t seen_ms, int64_t until_ms)
{
    *moved = (struct moved){.until_ms = until_ms};
    moved->past[0] =
        (struct moved_answer){.fingerprint = fingerprint, .ttl_ms = ttl_ms, .seen_ms = seen_ms, .turns = 1};
}
