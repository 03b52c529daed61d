/* Reducing of addresses: whatever a client writes into MAIL and RCPT, and whatever a log has in their place. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/envelope_hash.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char reduced[ENVELOPE_ADDRESS_MAX + 1];
    char *path = alloc_zeroed(size + 1, 1);
    bool ok;

    if (size > 0)
        memcpy(path, data, size);
    ok = envelope_reduce(path, reduced);
    FUZZ_REQUIRE(strlen(reduced) <= ENVELOPE_ADDRESS_MAX);
    if (ok && path[0] != '\0' && strcmp(path, "<>") != 0) {
        const char *at = strrchr(reduced, '@');

        FUZZ_REQUIRE(at != NULL && at > reduced && at[1] != '\0');
        for (const char *byte = reduced; *byte != '\0'; byte++)
            FUZZ_REQUIRE(*byte >= ' ' && *byte < 0x7f && !(*byte >= 'A' && *byte <= 'Z'));
    }
    free(path);
    return 0;
}
