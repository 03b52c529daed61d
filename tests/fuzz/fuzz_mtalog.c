/* What a witness reads: the first line names one of the shipped formats ("postfix", ...), or is "format" and the rest up to an
 * empty line is one; then come lines of a log, or, when the first line is "journal", what journalctl exports.
 *
 * fuzz-sources: src/witness/intake.c src/witness/ledger.c src/witness/ledger_file.c src/witness/logformat.c src/witness/source.c src/witness/stamp.c
 * fuzz-libraries: -lsqlite3 -DFUZZ_FORMATS=\"witness\" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "fuzz.h"
#include "witness/logformat.h"
#include "witness/source.h"

#define REFERENCE_US INT64_C(1795651200000000)

static void check_text(const struct logformat_text *text, const char *line)
{
    if (text->text != NULL && text->length > 0)
        FUZZ_REQUIRE(text->text >= line && text->text + text->length <= line + strlen(line));
}

static void try_line(const struct logformat *format, const char *line)
{
    struct logformat_entry entry;
    char address[256];

    if (!logformat_line(format, line, REFERENCE_US, &entry))
        return;
    FUZZ_REQUIRE(entry.stamp.time_us > INT64_MIN / 2 && entry.stamp.time_us < INT64_MAX / 2);
    check_text(&entry.id, line);
    check_text(&entry.from, line);
    check_text(&entry.message, line);
    FUZZ_REQUIRE(entry.to_count <= LOGFORMAT_TO_MAX);
    for (size_t i = 0; i < entry.to_count; i++) {
        check_text(&entry.to[i], line);
        while (logformat_next_address(&entry.to[i], address, sizeof address))
            FUZZ_REQUIRE(strlen(address) < sizeof address);
    }
}

static void try_journal(const char *bytes, size_t length)
{
    char why[SOURCE_WHY_SIZE];
    struct source_entry entry;
    int fd = memfd_create("journal", 0);
    struct source *source;
    enum source_got got;
    size_t entries = 0;

    if (fd < 0 || write(fd, bytes, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    source = source_open_export(fd, false);
    while ((got = source_next(source, &entry, 0, why)) == SOURCE_ENTRY || got == SOURCE_GAP) {
        if (got == SOURCE_ENTRY)
            FUZZ_REQUIRE(strlen(entry.text) <= SOURCE_LINE_MAX && entry.program != NULL && entry.host != NULL);
        FUZZ_REQUIRE(++entries <= 2 * length);
    }
    source_close(&source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = alloc_zeroed(size + 1, 1), *rest = text, *first, why[LOGFORMAT_WHY_SIZE];
    struct logformat *format = NULL;

    if (size > 0)
        memcpy(text, data, size);
    stamp_zone("Europe/Berlin");
    first = strsep(&rest, "\n");
    if (rest != NULL && strcmp(first, "journal") == 0) {
        try_journal(rest, size - (size_t)(rest - text));
    } else if (rest != NULL && strcmp(first, "format") == 0) {
        char *end = strstr(rest, "\n\n");

        if (end != NULL)
            *end = '\0';
        format = logformat_parse("fuzz", rest, why);
        rest = end == NULL ? NULL : end + 2;
    } else if (strlen(first) < 20 && strspn(first, "abcdefghijklmnopqrstuvwxyz") == strlen(first) && first[0] != '\0') {
        char path[256];

        snprintf(path, sizeof path, FUZZ_FORMATS "/%s", first);
        format = logformat_read(path, why);
    }
    while (format != NULL && rest != NULL)
        try_line(format, strsep(&rest, "\n"));
    logformat_free(&format);
    free(text);
    return 0;
}
