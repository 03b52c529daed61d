#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const char cut_mark[] = "...";

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '\\';
}

bool text_printable(char *out, size_t size, const char *in, size_t length)
{
    size_t used = 0, cut_at = 0; /* cut_at: the last place where the mark would still fit */

    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)in[i];
        size_t wants = is_plain(byte) ? 1 : 4;

        if (used + sizeof cut_mark <= size)
            cut_at = used;
        if (used + wants + 1 > size) {
            memcpy(out + cut_at, cut_mark, sizeof cut_mark);
            return false;
        }
        if (wants == 1)
            out[used] = (char)byte;
        else
            snprintf(out + used, size - used, "\\x%02X", byte);
        used += wants;
    }
    out[used] = '\0';
    return true;
}

char *text_printable_new(const char *in, size_t limit)
{
    size_t length = in == NULL ? 0 : strlen(in);
    size_t size = length < limit / 4 ? length * 4 + 4 : limit + 4;
    char *out = alloc_zeroed(size, 1);

    text_printable(out, size, in == NULL ? "" : in, length);
    return out;
}

long long text_duration_ms(const char *text)
{
    static const struct {
        const char *unit;
        long long ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    long long number;

    if (!isdigit((unsigned char)*text))
        return -1;
    errno = 0;
    number = strtoll(text, &end, 10);
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0)
            return errno != 0 || number > LLONG_MAX / units[i].ms ? -1 : number * units[i].ms;
    return -1;
}
