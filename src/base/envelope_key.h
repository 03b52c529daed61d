/* envelope_key.h - the file with the keys that sensors and witnesses of one database share.
 *
 * A line "key DIGITS" (64 hexadecimal ones) for each, the newest first: sensors hash with the first, witnesses with all, so
 * that letters hashed with an older one are still told again.  "#" starts a comment; empty lines are fine.
 * Only its owner and group may read it.
 * Threads: any.  Owns: nothing.  Fails: false, with the reason in WHY: file, line, and nothing of the keys.
 * Limits: ENVELOPE_KEYS_MAX keys; making one more drops the oldest.
 */
#ifndef BASE_ENVELOPE_KEY_H
#define BASE_ENVELOPE_KEY_H

#include <stddef.h>

#include "base/envelope_hash.h"

/* Where it usually is. */
#define ENVELOPE_KEY_FILE HP_SYSCONFDIR "/hunnypot/envelope.key"

enum { ENVELOPE_KEYS_MAX = 4, ENVELOPE_WHY_SIZE = 512 };

struct envelope_keys {
    struct envelope_key keys[ENVELOPE_KEYS_MAX]; /* the newest first */
    size_t count;
};

/* At least one key is there when this returns true.  A file that is not there has *MISSING set. */
bool envelope_keys_read(const char *path, struct envelope_keys *keys, bool *missing, char why[ENVELOPE_WHY_SIZE])
    __attribute__((warn_unused_result));

/* Draw a key and put it in front of those in PATH, which is made (0640, of the group GROUP when there is one) or replaced
 * durably.  KEYS gets all. */
bool envelope_keys_renew(const char *path, const char *group, struct envelope_keys *keys, char why[ENVELOPE_WHY_SIZE])
    __attribute__((warn_unused_result));

#endif
