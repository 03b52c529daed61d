/* The settings file: a mistake in it must be told, never crash, and what is taken must survive --dump.
 *
 * fuzz-sources: src/settings/contradictions.c src/settings/load.c src/settings/print.c src/settings/settings.c src/settings/table.c
 * fuzz-libraries: -lconfuse
 * fuzz-options: -max_len=1024 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "settings/settings.h"

static void require_no_control(const char *text, const char *but)
{
    for (; *text != '\0'; text++)
        FUZZ_REQUIRE(!iscntrl((unsigned char)*text) || strchr(but, *text) != NULL);
}

static void report(void *context, const char *line)
{
    unsigned *lines = context;

    require_no_control(line, "");
    ++*lines;
}

static struct settings *load(const void *data, size_t size, unsigned *lines)
{
    static int fd = -1;
    char path[64];

    if (fd < 0)
        fd = memfd_create("settings", MFD_CLOEXEC);
    FUZZ_REQUIRE(pwrite(fd, data, size, 0) == (ssize_t)size && ftruncate(fd, (off_t)size) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return settings_load(path, report, lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned lines = 0;
    struct settings *settings, *again;
    size_t dumped_size = 0;
    char *dumped = NULL;
    FILE *out;

    settings = load(data, size, &lines);
    FUZZ_REQUIRE((settings == NULL) == (lines > 0));
    if (settings == NULL)
        return 0;
    out = open_memstream(&dumped, &dumped_size);
    settings_dump(settings, out);
    fclose(out);
    require_no_control(dumped, "\n");
    again = load(dumped, dumped_size, &lines);
    FUZZ_REQUIRE(again != NULL);
    settings_release(again);
    settings_release(settings);
    free(dumped);
    return 0;
}
