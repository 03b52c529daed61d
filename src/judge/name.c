#include "judge/name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { OCTETS = 3 };

/* How one octet may be written: 7, 007 or 07. */
enum octet_form { FORM_DECIMAL, FORM_PADDED, FORM_HEX, FORM_COUNT };

enum { OCTET_SIZE = 4 };

static size_t octet_write(enum octet_form form, uint8_t octet, char out[OCTET_SIZE])
{
    switch (form) {
    case FORM_PADDED:
        return (size_t)snprintf(out, OCTET_SIZE, "%03u", octet);
    case FORM_HEX:
        return (size_t)snprintf(out, OCTET_SIZE, "%02x", octet);
    default:
        return (size_t)snprintf(out, OCTET_SIZE, "%u", octet);
    }
}

static bool divides_octets(char c)
{
    return c == '-' || c == '.' || c == '_' || c == 'x';
}

/* Does TEXT begin with COUNT of the OCTETS, each in FORM, with a separator between them (SEPARATED) or perhaps one? */
static bool begins_with(const char *text, const uint8_t *octets, int step, unsigned count,
                        enum octet_form form, bool separated)
{
    for (unsigned i = 0; i < count; i++, octets += step) {
        char word[OCTET_SIZE];
        size_t length = octet_write(form, *octets, word);

        if (strncasecmp(text, word, length) != 0)
            return false;
        text += length;
        if (i + 1 == count)
            break;
        if (divides_octets(*text))
            text++;
        else if (separated)
            return false;
    }
    return !separated || !isdigit((unsigned char)*text);
}

/* In unpadded decimals without separators, three short octets could be any number. */
static bool needs_separator(enum octet_form form, const uint8_t *octets, int step, unsigned count)
{
    unsigned digits = 0;

    if (form != FORM_DECIMAL)
        return false;
    for (unsigned i = 0; i < count; i++, octets += step)
        digits += *octets > 99 ? 3 : *octets > 9 ? 2 : 1;
    return digits < 7;
}

/* NAME holds COUNT octets from OCTETS on, going by STEP. */
static bool holds(const char *name, const uint8_t *octets, int step, unsigned count)
{
    for (enum octet_form form = 0; form < FORM_COUNT; form++) {
        bool separated = needs_separator(form, octets, step, count);

        for (const char *at = name; *at != '\0'; at++) {
            if (separated && at > name && isdigit((unsigned char)at[-1]))
                continue;
            if (begins_with(at, octets, step, count, form, separated))
                return true;
        }
    }
    return false;
}

/* The last 32 bits as eight hexadecimal digits, from either end, with separators wherever they like. */
static bool holds_nibbles(const char *name, const uint8_t last[4])
{
    char digits[9], reversed[9], plain[DOMAIN_MAX + 1];
    size_t length = 0;

    snprintf(digits, sizeof digits, "%02x%02x%02x%02x", last[0], last[1], last[2], last[3]);
    for (int i = 0; i < 8; i++)
        reversed[i] = digits[7 - i];
    reversed[8] = '\0';
    for (; *name != '\0' && length < DOMAIN_MAX; name++) {
        if (!divides_octets(*name))
            plain[length++] = (char)tolower((unsigned char)*name);
    }
    plain[length] = '\0';
    return strstr(plain, digits) != NULL || strstr(plain, reversed) != NULL;
}

bool name_is_made_from(const char *name, const struct ipaddr *address)
{
    if (address->family == 6)
        return holds_nibbles(name, address->bytes + 12);
    for (int first = 0; first + OCTETS <= 4; first++) {
        if (holds(name, address->bytes + first, 1, OCTETS) || holds(name, address->bytes + first + OCTETS - 1, -1, OCTETS))
            return true;
    }
    return false;
}

enum name_state name_judge(const struct mx_names *names, const struct ipaddr *address)
{
    for (size_t i = 0; i < names->count; i++) {
        if (!name_is_made_from(names->list[i], address))
            return NAME_CONFIRMED;
    }
    return names->status == MX_UNKNOWN ? NAME_UNKNOWN : NAME_NONE;
}
