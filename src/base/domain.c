#include "base/domain.h"

#include <ctype.h>
#include <idn2.h>
#include <string.h>

#include "base/ipaddr.h"

enum {
    LABEL_MAX = 63,                   /* RFC 1035 2.3.4 */
    DOMAIN_BYTES_MAX = 4 * DOMAIN_MAX /* a U-label takes up to four bytes where its A-label takes one */
};

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Letters, digits and hyphens, and the underscore that DNS holds all the same.  NAME has no final dot. */
static bool ascii_normalize(const char *name, char out[DOMAIN_MAX + 1])
{
    size_t label = 0, i;

    for (i = 0; name[i] != '\0'; i++) {
        unsigned char c = (unsigned char)name[i];

        if (i == DOMAIN_MAX)
            return false;
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (c < 0x80 && (isalnum(c) || c == '-' || c == '_')) {
            if (++label > LABEL_MAX)
                return false;
        } else {
            return false;
        }
        out[i] = lower((char)c);
    }
    out[i] = '\0';
    return label > 0;
}

static bool is_ascii(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text >= 0x80)
            return false;
    }
    return true;
}

/* An address without brackets is no domain, though DNS could hold it: no top-level domain is a number. */
static bool is_bare_address(const char *name)
{
    struct ipaddr ignored;

    return ipaddr_parse(name, &ignored);
}

/* NAME's U-labels as A-labels; false when it is no UTF-8, or holds what no label may. */
static bool a_labels_from(const char *name, char *out, size_t size)
{
    char *a_labels = NULL;
    bool ok = idn2_to_ascii_8z(name, &a_labels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK &&
              strlen(a_labels) < size;

    if (ok)
        strcpy(out, a_labels);
    idn2_free(a_labels);
    return ok;
}

bool domain_normalize(const char *name, char out[DOMAIN_MAX + 1])
{
    char ascii[DOMAIN_MAX + 2]; /* room for a final dot */
    size_t length;

    out[0] = '\0';
    if (is_ascii(name) && strlen(name) < sizeof ascii)
        strcpy(ascii, name);
    else if (strlen(name) >= DOMAIN_BYTES_MAX || !a_labels_from(name, ascii, sizeof ascii))
        return false;
    length = strlen(ascii);
    if (length > 0 && ascii[length - 1] == '.')
        ascii[length - 1] = '\0';
    if (ascii_normalize(ascii, out) && !is_bare_address(out))
        return true;
    out[0] = '\0';
    return false;
}

bool domain_matches(const char *pattern, const char *domain)
{
    if (strcmp(pattern, "*") == 0)
        return true;
    if (strncmp(pattern, "*.", 2) == 0) {
        size_t suffix = strlen(pattern) - 1, length = strlen(domain);

        return length > suffix && strcmp(domain + length - suffix, pattern + 1) == 0;
    }
    return strcmp(pattern, domain) == 0;
}

/* The end of a source route "@a,@[IPv6:::1]:" (RFC 5321 4.1.2), or TEXT when there is none. */
static const char *after_source_route(const char *text, const char *end)
{
    bool literal = false;

    if (text == end || *text != '@')
        return text;
    for (const char *p = text; p < end; p++) {
        if (*p == '[')
            literal = true;
        else if (*p == ']')
            literal = false;
        else if (*p == ':' && !literal)
            return p + 1;
    }
    return text;
}

/* The first '>' (when WANTED is '>') or the last '@' that is not quoted; NULL when there is none. */
static const char *unquoted(const char *text, const char *end, char wanted)
{
    const char *found = NULL;
    bool quoted = false;

    for (const char *p = text; p < end; p++) {
        if (*p == '\\' && p + 1 < end) {
            p++;
        } else if (*p == '"') {
            quoted = !quoted;
        } else if (*p == wanted && !quoted) {
            found = p;
            if (wanted == '>')
                break;
        }
    }
    return found;
}

static void localpart_copy(const char *from, const char *end, char out[LOCALPART_MAX + 1])
{
    size_t length = 0;
    bool quoted = false;

    for (; from < end && length < LOCALPART_MAX; from++) {
        if (*from == '"') {
            quoted = !quoted;
            continue;
        }
        if (*from == '\\' && quoted && from + 1 < end)
            from++;
        out[length++] = lower(*from);
    }
    out[length] = '\0';
}

static enum domain_kind domain_take(const char *from, const char *end, char out[DOMAIN_MAX + 1])
{
    char name[DOMAIN_BYTES_MAX];
    size_t length = (size_t)(end - from);

    if (length == 0)
        return DOMAIN_MISSING;
    if (*from == '[')
        return end[-1] == ']' && length > 2 ? DOMAIN_LITERAL : DOMAIN_INVALID;
    if (length >= sizeof name)
        return DOMAIN_INVALID;
    memcpy(name, from, length);
    name[length] = '\0';
    return domain_normalize(name, out) ? DOMAIN_NAME : DOMAIN_INVALID;
}

void recipient_parse(const char *path, struct recipient *recipient)
{
    const char *end = path + strlen(path), *at;

    *recipient = (struct recipient){.kind = DOMAIN_MISSING};
    if (*path == '<') {
        const char *close = unquoted(++path, end, '>');

        if (close != NULL)
            end = close;
    }
    path = after_source_route(path, end);
    at = unquoted(path, end, '@');
    localpart_copy(path, at != NULL ? at : end, recipient->localpart);
    if (at != NULL)
        recipient->kind = domain_take(at + 1, end, recipient->domain);
}
