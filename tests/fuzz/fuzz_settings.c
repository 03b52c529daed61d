/* The settings file: a mistake in it must be told, never crash, and what is taken must survive --dump.
 *
 * fuzz-sources: src/daemon/settings.c src/judge/domain.c src/judge/role.c src/milter/reply.c src/record/db.c
 * fuzz-libraries: -I/usr/include/postgresql -lconfuse -lidn2 -lpq */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/settings.h"
#include "fuzz.h"

static void report(void *context, const char *line)
{
    unsigned *lines = context;

    FUZZ_REQUIRE(strchr(line, '\n') == NULL);
    ++*lines;
}

static struct settings *load(const void *data, size_t size, unsigned *lines)
{
    int fd = memfd_create("settings", MFD_CLOEXEC);
    struct settings *settings;
    char path[64];

    FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    settings = settings_load(path, report, lines);
    close(fd);
    return settings;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned lines = 0;
    struct settings *settings, *again;
    size_t dumped_size = 0;
    char *dumped = NULL;
    FILE *out;

    if (memmem(data, size, "include", 7) != NULL) /* libConfuse opens other files by it */
        return 0;
    settings = load(data, size, &lines);
    FUZZ_REQUIRE((settings == NULL) == (lines > 0));
    if (settings == NULL)
        return 0;
    out = open_memstream(&dumped, &dumped_size);
    settings_dump(settings, out);
    fclose(out);
    again = load(dumped, dumped_size, &lines);
    FUZZ_REQUIRE(again != NULL);
    settings_release(&again);
    settings_release(&settings);
    free(dumped);
    return 0;
}
