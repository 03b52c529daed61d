/* The file with the keys of envelopes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/envelope_key.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct envelope_keys keys;
    char path[64], why[ENVELOPE_WHY_SIZE];
    bool missing, ok;
    int fd = memfd_create("key", 0);

    if (fd < 0 || fchmod(fd, 0640) != 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ok = envelope_keys_read(path, &keys, &missing, why);
    FUZZ_REQUIRE(ok == (keys.count > 0 && ok) && keys.count <= ENVELOPE_KEYS_MAX && !missing);
    for (size_t i = 0; ok && i < keys.count; i++)
        FUZZ_REQUIRE(strlen(keys.keys[i].id) == ENVELOPE_KEY_ID_SIZE - 1);
    close(fd);
    return 0;
}
