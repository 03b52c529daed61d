/* uuid.h - identities that nobody else draws (RFC 9562), as text.
 *
 * Threads:  any.
 * Fails:    without a source of randomness, false.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

enum { UUID_SIZE = 37 }; /* 36 characters and the end */

/* Version 4: all of it chance. */
bool uuid_draw(char text[UUID_SIZE]) __attribute__((warn_unused_result));

/* Version 7: begins with TIME_US (microseconds since 1970 UTC), to the millisecond, so that what is drawn later sorts later. */
bool uuid_draw_ordered(int64_t time_us, char text[UUID_SIZE]) __attribute__((warn_unused_result));

/* Has TEXT the form of a UUID, of whatever version? */
bool uuid_is_valid(const char *text);

#endif
