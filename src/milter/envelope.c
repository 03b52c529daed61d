#include "milter/envelope.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/domain.h"
#include "base/envelope_hash.h"
#include "base/text.h"

static void texts_clear(char ***texts, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        free((*texts)[i]);
    free(*texts);
    *texts = NULL;
    *count = 0;
}

/* Add TEXT (taken) unless it is there; true when it is new.  At LIMIT it is dropped. */
static bool texts_take(char ***texts, size_t *count, size_t limit, char *text)
{
    bool is_new = *count < limit;

    for (size_t i = 0; i < *count; i++)
        is_new = is_new && strcmp((*texts)[i], text) != 0;
    if (!is_new) {
        free(text);
        return false;
    }
    *texts = alloc_resized(*texts, *count + 1, sizeof **texts);
    (*texts)[(*count)++] = text;
    return true;
}

void envelope_clear(struct hit *hit)
{
    free(hit->sender);
    free(hit->queue_id);
    hit->sender = alloc_text("");
    hit->queue_id = alloc_text("");
    texts_clear(&hit->recipients, &hit->recipient_count);
    texts_clear(&hit->domains, &hit->domain_count);
    free(hit->hashes);
    hit->hashes = NULL;
    hit->hash_count = 0;
    hit->key_id[0] = '\0';
    hit->hashes_whole = false;
    hit->recipients_total = 0;
    hit->null_sender = hit->exempt = false;
    hit->id = 0;
}

/* PATH without its brackets, made printable. */
static char *path_printable(const char *path)
{
    size_t length = strlen(path);
    char *inner, *printable;

    if (length >= 2 && path[0] == '<' && path[length - 1] == '>') {
        path++;
        length -= 2;
    }
    inner = alloc_format("%.*s", (int)length, path);
    printable = text_printable_new(inner, HIT_TEXT_MAX);
    free(inner);
    return printable;
}

/* What is kept of PATH as evidence; NULL: nothing.  Of what is no address with a domain, no part can be called the
 * domain, so only "full" keeps it. */
static char *evidence_of(const char *path, const struct recipient *parsed, enum envelope_setting keep)
{
    if (keep == ENVELOPE_FULL)
        return path_printable(path);
    if (keep == ENVELOPE_DOMAIN && parsed->kind == DOMAIN_NAME)
        return alloc_text(parsed->domain);
    return NULL;
}

/* Two recipients of one domain have its hash in common. */
static void hash_add(struct hit *hit, struct envelope_hash hash)
{
    for (size_t i = 0; i < hit->hash_count; i++)
        if (memcmp(&hit->hashes[i], &hash, sizeof hash) == 0)
            return;
    hit->hashes[hit->hash_count++] = hash;
}

static void hash_sender(struct hit *hit, const char *path, const struct envelope_keys *keys)
{
    char reduced[ENVELOPE_ADDRESS_MAX + 1];

    if (keys->count == 0)
        return;
    strcpy(hit->key_id, keys->keys[0].id);
    hit->hashes = alloc_zeroed(HIT_HASH_MAX, sizeof *hit->hashes);
    if (!envelope_reduce(path, reduced))
        return;
    hit->sender_part = envelope_sender_part(&keys->keys[0], reduced);
    hit->hashes_whole = true;
    hash_add(hit, envelope_hash(&keys->keys[0], &hit->sender_part, NULL));
}

static void hash_recipient(struct hit *hit, const char *path, const struct envelope_keys *keys)
{
    char reduced[ENVELOPE_ADDRESS_MAX + 1];
    struct envelope_part part;

    if (hit->hash_count == 0)
        return;
    /* The first ones can still redeem it. */
    if (hit->recipients_total > HIT_HASHED_LIMIT || !envelope_reduce(path, reduced) || reduced[0] == '\0') {
        hit->hashes_whole = false;
        return;
    }
    part = envelope_recipient_part(&keys->keys[0], reduced);
    hash_add(hit, envelope_hash(&keys->keys[0], &hit->sender_part, &part));
    if (envelope_domain_part(&keys->keys[0], reduced, &part))
        hash_add(hit, envelope_hash(&keys->keys[0], &hit->sender_part, &part));
}

void envelope_set_sender(struct hit *hit, const char *path, const struct settings *settings)
{
    struct recipient parsed;
    char *evidence;

    envelope_clear(hit);
    hit->null_sender = path[0] == '\0' || strcmp(path, "<>") == 0;
    hash_sender(hit, path, &settings->session.envelope_keys);
    recipient_parse(path, &parsed);
    evidence = evidence_of(path, &parsed, settings->session.envelope);
    if (evidence != NULL) {
        free(hit->sender);
        hit->sender = evidence;
    }
}

static bool is_exempt(const struct recipient *recipient, const struct settings *settings)
{
    /* RFC 5321 4.5.1: <postmaster> needs no domain, and must be taken. */
    if (recipient->kind == DOMAIN_MISSING && strcmp(recipient->localpart, "postmaster") == 0)
        return true;
    for (size_t i = 0; i < settings->session.exempt_localpart_count; i++)
        if (strcmp(recipient->localpart, settings->session.exempt_localparts[i]) == 0)
            return true;
    return false;
}

const char *envelope_add_recipient(struct hit *hit, const char *path, const struct settings *settings)
{
    struct recipient parsed;
    bool exempt;
    char *evidence;

    recipient_parse(path, &parsed);
    exempt = is_exempt(&parsed, settings);
    hit->exempt = exempt && (hit->exempt || hit->recipients_total == 0);
    hit->recipients_total++;
    hash_recipient(hit, path, &settings->session.envelope_keys);
    evidence = evidence_of(path, &parsed, settings->session.envelope);
    if (evidence != NULL)
        texts_take(&hit->recipients, &hit->recipient_count, HIT_RECIPIENT_LIMIT, evidence);
    if (exempt || parsed.kind != DOMAIN_NAME ||
        !texts_take(&hit->domains, &hit->domain_count, HIT_DOMAIN_LIMIT, alloc_text(parsed.domain)))
        return NULL;
    return hit->domains[hit->domain_count - 1];
}
