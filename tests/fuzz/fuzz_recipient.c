/* The recipient parser: whatever a client writes into RCPT. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/domain.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recipient recipient;
    char again[DOMAIN_MAX + 1];
    char *path = alloc_zeroed(size + 1, 1);

    if (size > 0)
        memcpy(path, data, size);
    recipient_parse(path, &recipient);
    free(path);

    FUZZ_REQUIRE(strlen(recipient.localpart) <= LOCALPART_MAX && strlen(recipient.domain) <= DOMAIN_MAX);
    FUZZ_REQUIRE((recipient.kind == DOMAIN_NAME) == (recipient.domain[0] != '\0'));
    for (const char *byte = recipient.domain; *byte != '\0'; byte++)
        FUZZ_REQUIRE(*byte > ' ' && *byte < 0x7f && !(*byte >= 'A' && *byte <= 'Z'));
    /* A normalized domain is its own normal form: it is the key of tables and of the database. */
    if (recipient.kind == DOMAIN_NAME)
        FUZZ_REQUIRE(domain_normalize(recipient.domain, again) && strcmp(again, recipient.domain) == 0);
    return 0;
}
