#include "base/envelope_hash.h"

#include <ctype.h>
#include <nettle/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/domain.h"

enum { UNWRAP_MAX = 4, BATV_TAG_LENGTH = 10 };

/* What a hash is of: the first byte of what is hashed, so that no two kinds are ever the same. */
enum kind { KIND_ID = 'i', KIND_SENDER = 's', KIND_RECIPIENT = 'r', KIND_DOMAIN = 'd', KIND_LETTER = 'l', KIND_CLIENT = 'c',
            KIND_BYTES = 'b' };

static void keyed(const struct envelope_key *key, enum kind kind, const void *data, size_t length, uint8_t *out,
                  size_t out_length)
{
    struct hmac_sha256_ctx context;
    uint8_t first = (uint8_t)kind;

    hmac_sha256_set_key(&context, sizeof key->secret, key->secret);
    hmac_sha256_update(&context, 1, &first);
    hmac_sha256_update(&context, length, data);
    hmac_sha256_digest(&context, out_length, out);
}

static struct envelope_part part_of(const struct envelope_key *key, enum kind kind, const char *text)
{
    struct envelope_part part = {0};

    keyed(key, kind, text, strlen(text), part.bytes, sizeof part.bytes);
    return part;
}

void envelope_key_identify(struct envelope_key *key)
{
    uint8_t bytes[(ENVELOPE_KEY_ID_SIZE - 1) / 2];

    keyed(key, KIND_ID, "", 0, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(key->id + 2 * i, 3, "%02x", bytes[i]);
}

/* --- reducing; all is lower case already --- */

static bool is_hexadecimal(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

/* "prvs=TAG=user" (draft-levine-smtp-batv-01), its older "prvs=user/TAG", "msprvs1=TAG=user", "btv1==TAG==user". */
static bool unwrap_batv(struct recipient *address)
{
    static const struct {
        const char *prefix, *end;
    } forms[] = {{"prvs=", "="}, {"msprvs1=", "="}, {"btv1==", "=="}};
    const char *user = NULL;
    size_t length;

    for (size_t i = 0; i < sizeof forms / sizeof *forms && user == NULL; i++)
        if (strncmp(address->localpart, forms[i].prefix, strlen(forms[i].prefix)) == 0) {
            const char *tag = address->localpart + strlen(forms[i].prefix), *slash = strrchr(tag, '/');

            if (slash != NULL && strlen(slash + 1) == BATV_TAG_LENGTH && is_hexadecimal(slash + 1, BATV_TAG_LENGTH)) {
                length = (size_t)(slash - tag);
                memmove(address->localpart, tag, length);
                address->localpart[length] = '\0';
                return true;
            }
            user = strstr(tag, forms[i].end);
            user = user == NULL ? NULL : user + strlen(forms[i].end);
        }
    if (user == NULL || *user == '\0')
        return false;
    memmove(address->localpart, user, strlen(user) + 1);
    return true;
}

static bool is_srs_separator(char c)
{
    return c == '=' || c == '+' || c == '-';
}

/* "HASH=TT=DOMAIN=USER", as it stands behind "SRS0=". */
static bool unwrap_srs0(struct recipient *address, const char *hash)
{
    const char *stamp = strchr(hash, '='), *domain = stamp == NULL ? NULL : strchr(stamp + 1, '=');
    const char *user = domain == NULL ? NULL : strchr(domain + 1, '=');
    char name[LOCALPART_MAX + 1], normalized[DOMAIN_MAX + 1];

    if (user == NULL || user[1] == '\0')
        return false;
    snprintf(name, sizeof name, "%.*s", (int)(user - domain - 1), domain + 1);
    if (!domain_normalize(name, normalized))
        return false;
    strcpy(address->domain, normalized);
    memmove(address->localpart, user + 1, strlen(user + 1) + 1);
    return true;
}

/* "SRS0=HASH=TT=DOMAIN=USER", and what a second forwarder makes of it: "SRS1=HASH=FORWARDER==HASH=TT=DOMAIN=USER". */
static bool unwrap_srs(struct recipient *address)
{
    const char *local = address->localpart, *forwarder, *inner;

    if (strncmp(local, "srs0", 4) == 0 && is_srs_separator(local[4]))
        return unwrap_srs0(address, local + 5);
    if (strncmp(local, "srs1", 4) != 0 || !is_srs_separator(local[4]))
        return false;
    forwarder = strchr(local + 5, '=');
    inner = forwarder == NULL ? NULL : strchr(forwarder + 1, '=');
    return inner != NULL && is_srs_separator(inner[1]) && unwrap_srs0(address, inner + 2);
}

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < 0x20 || *text > 0x7e)
            return false;
    return true;
}

bool envelope_reduce(const char *path, char out[ENVELOPE_ADDRESS_MAX + 1])
{
    struct recipient address;

    out[0] = '\0';
    if (path[0] == '\0' || strcmp(path, "<>") == 0)
        return true;
    recipient_parse(path, &address);
    if (address.kind != DOMAIN_NAME || address.localpart[0] == '\0' || strlen(address.localpart) >= LOCALPART_MAX ||
        !is_printable(address.localpart))
        return false;
    for (int i = 0; i < UNWRAP_MAX && (unwrap_batv(&address) || unwrap_srs(&address)); i++)
        ;
    if (snprintf(out, ENVELOPE_ADDRESS_MAX + 1, "%s@%s", address.localpart, address.domain) <= ENVELOPE_ADDRESS_MAX)
        return true;
    out[0] = '\0';
    return false;
}

/* --- hashing --- */

struct envelope_part envelope_sender_part(const struct envelope_key *key, const char *reduced)
{
    return part_of(key, KIND_SENDER, reduced);
}

struct envelope_part envelope_recipient_part(const struct envelope_key *key, const char *reduced)
{
    return part_of(key, KIND_RECIPIENT, reduced);
}

bool envelope_domain_part(const struct envelope_key *key, const char *reduced, struct envelope_part *part)
{
    const char *domain = strrchr(reduced, '@');

    if (domain == NULL || strncmp(reduced, "postmaster@", strlen("postmaster@")) == 0 ||
        strncmp(reduced, "abuse@", strlen("abuse@")) == 0)
        return false;
    *part = part_of(key, KIND_DOMAIN, domain + 1);
    return true;
}

struct envelope_hash envelope_hash(const struct envelope_key *key, const struct envelope_part *sender,
                                   const struct envelope_part *recipient)
{
    struct envelope_part parts[2] = {*sender};
    struct envelope_hash hash = {0};

    if (recipient != NULL)
        parts[1] = *recipient;
    keyed(key, KIND_LETTER, parts, recipient != NULL ? sizeof parts : sizeof *parts, hash.bytes, sizeof hash.bytes);
    return hash;
}

struct envelope_hash envelope_hash_bytes(const struct envelope_key *key, const void *bytes, size_t length)
{
    struct envelope_hash hash = {0};

    keyed(key, KIND_BYTES, bytes, length, hash.bytes, sizeof hash.bytes);
    return hash;
}

struct envelope_hash envelope_hash_client(const struct envelope_key *key, const struct ipaddr *client)
{
    struct envelope_hash hash = {0};
    uint8_t bytes[17] = {client->family};

    memcpy(bytes + 1, client->bytes, sizeof client->bytes);
    keyed(key, KIND_CLIENT, bytes, sizeof bytes, hash.bytes, sizeof hash.bytes);
    return hash;
}
