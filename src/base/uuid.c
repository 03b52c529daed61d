#include "base/uuid.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { UUID_BYTES = 16, ORDERED_TIME_BYTES = 6 };

static bool draw(uint8_t bytes[UUID_BYTES], int version)
{
    if (getrandom(bytes, UUID_BYTES, 0) != UUID_BYTES)
        return false;
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | version << 4);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    return true;
}

static void write_text(const uint8_t b[UUID_BYTES], char text[UUID_SIZE])
{
    snprintf(text, UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

bool uuid_draw(char text[UUID_SIZE])
{
    uint8_t bytes[UUID_BYTES];

    if (!draw(bytes, 4))
        return false;
    write_text(bytes, text);
    return true;
}

bool uuid_draw_ordered(int64_t time_us, char text[UUID_SIZE])
{
    uint64_t ms = time_us > 0 ? (uint64_t)time_us / 1000 : 0;
    uint8_t bytes[UUID_BYTES];

    if (!draw(bytes, 7))
        return false;
    for (int i = 0; i < ORDERED_TIME_BYTES; i++)
        bytes[i] = (uint8_t)(ms >> 8 * (ORDERED_TIME_BYTES - 1 - i));
    write_text(bytes, text);
    return true;
}

bool uuid_is_valid(const char *text)
{
    if (strlen(text) != UUID_SIZE - 1)
        return false;
    for (size_t i = 0; i < UUID_SIZE - 1; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    return true;
}
