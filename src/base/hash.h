/* hash.h - uthash tables whose keys are chosen by strangers.
 *
 * Include this instead of <uthash.h>: with its own hash function, anyone who picks the keys (domains, clients) could
 * make them all fall into one bucket.  SipHash-2-4 with a key drawn when the process starts prevents that.
 * Threads:  any; a table is the caller's to lock.
 * Fails:    without memory or a source of randomness the program ends with a line that says so.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

/* The lower half of SipHash-2-4 of DATA under this process's key. */
unsigned hash_keyed(const void *data, size_t length);

#define HASH_FUNCTION(data, length, value) ((value) = hash_keyed((data), (length)))
#define uthash_malloc(size) alloc_zeroed(1, (size))
#include <uthash.h>

#endif
