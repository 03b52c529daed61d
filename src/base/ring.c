#include "base/ring.h"

#include <string.h>

bool ring_put(struct ring *ring, const char *line, size_t length, size_t leave)
{
    size_t last = (ring->first + ring->used) % RING_BYTES, ahead = RING_BYTES - last;

    if (RING_BYTES - ring->used < length + leave)
        return false;
    if (ahead > length)
        ahead = length;
    memcpy(ring->bytes + last, line, ahead);
    memcpy(ring->bytes, line + ahead, length - ahead);
    ring->used += length;
    return true;
}

size_t ring_take(struct ring *ring, char *chunk, size_t size)
{
    size_t length = ring->used < size ? ring->used : size, ahead = RING_BYTES - ring->first;

    if (ahead > length)
        ahead = length;
    memcpy(chunk, ring->bytes + ring->first, ahead);
    memcpy(chunk + ahead, ring->bytes, length - ahead);
    while (length > 0 && chunk[length - 1] != '\n')
        length--;
    ring->first = (ring->first + length) % RING_BYTES;
    ring->used -= length;
    return length;
}
