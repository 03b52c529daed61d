/* ring.h - a bounded queue of lines, between those who must not wait and the one who may.
 *
 * Threads:  the caller's mutex covers all calls; none waits.
 * Owns:     copies of what was put in.  All zero is an empty ring.
 * Fails:    ring_put() says so when there is no room; what is in there already is never lost.
 * Limits:   RING_BYTES.
 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

enum { RING_BYTES = 1 << 18 };

struct ring {
    size_t first, used; /* where the oldest byte is, and how many there are */
    char bytes[RING_BYTES];
};

/* Append LINE of LENGTH bytes, the last of which is its only newline, if LEAVE bytes are free behind it. */
bool ring_put(struct ring *ring, const char *line, size_t length, size_t leave) __attribute__((warn_unused_result));

/* Take out the oldest lines, as many as fit whole into SIZE bytes at CHUNK; returns their bytes.  No line may be longer. */
size_t ring_take(struct ring *ring, char *chunk, size_t size);

#endif
