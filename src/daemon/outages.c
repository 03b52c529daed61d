#include "daemon/outages.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/counter.h"
#include "base/domain.h"
#include "base/ipaddr.h"
#include "base/log.h"

enum {
    OUTAGES_MAX = 1 << 24, /* far more than the judge's table of hosts can fill */
    OUTAGES_COMPLAINT_MS = 3600000,
    OUTAGES_TOLD_MAX = 20, /* hosts, with a heartbeat */
    OUTAGES_STAMP = 40
};

static void complain(const char *path, const char *effect)
{
    static _Atomic int64_t complaint_ms;

    if (log_is_due(&complaint_ms, OUTAGES_COMPLAINT_MS))
        log_event(LOG_LEVEL_WARNING, "outages-file file=%s error=\"%s\" effect=\"%s\"", path, strerror(errno), effect);
}

static bool write_durably(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t length = (ssize_t)strlen(text);
    bool done = fd >= 0 && write(fd, text, (size_t)length) == length && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return done;
}

static bool sync_folder_of(char *path)
{
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return done;
}

/* A name from DNS, in which a backslash may stand, as a string of JSON. */
static void put_name(FILE *stream, const char *key, const char *name)
{
    fprintf(stream, ",\"%s\":\"", key);
    for (; *name != '\0'; name++) {
        if (*name == '"' || *name == '\\')
            fputc('\\', stream);
        fputc(*name >= ' ' && *name <= '~' ? *name : '?', stream);
    }
    fputc('"', stream);
}

/* Of TEXT (see judge/memory.h) the addresses whose trouble lasts: the first of them, as counter_tell_hosts() takes them. */
static void tell_hosts(const char *text)
{
    char *json;
    size_t size, count = 0;
    FILE *stream = alloc_text_begin(&json, &size);

    fputc('[', stream);
    for (const char *line = text; *line != '\0' && count < OUTAGES_TOLD_MAX; line += strcspn(line, "\n"), line += *line != '\0') {
        char address[IPADDR_TEXT_SIZE], deferring[OUTAGES_STAMP], away[OUTAGES_STAMP], mx[DOMAIN_MAX + 1], domain[DOMAIN_MAX + 1];
        bool defers;
        int fields = sscanf(line, "address %45[0-9a-f.:] %39s %39s%*1[ ]%253[^ \n] %253[^ \n]", address, deferring, away, mx,
                            domain);

        if (fields < 3 || strstr(away, "-now") == NULL)
            continue;
        defers = strstr(deferring, "-now") != NULL;
        fprintf(stream, "%s{\"address\":\"%s\",\"state\":\"%s\",\"since\":%lld", count++ > 0 ? "," : "", address,
                defers ? "deferring" : "down", strtoll(defers ? deferring : away, NULL, 10) / 1000);
        if (fields == 5) {
            put_name(stream, "mx", mx);
            put_name(stream, "domain", domain);
        }
        fputc('}', stream);
    }
    fputc(']', stream);
    alloc_text_end(stream);
    counter_tell_hosts(json);
    free(json);
}

/* Replace the file durably, or remove it when there is nothing to remember. */
static void outages_keep(void *spool, const char *text)
{
    char *path = alloc_format("%s.outages", (const char *)spool), *fresh = alloc_format("%s.new", path);

    tell_hosts(text);
    if (*text == '\0' ? unlink(path) != 0 && errno != ENOENT
                      : !write_durably(fresh, text) || rename(fresh, path) != 0 || !sync_folder_of(fresh))
        complain(path, "outages may be forgotten at a restart");
    free(fresh);
    free(path);
}

void outages_recall(struct judge *judge, const char *spool)
{
    char *path = alloc_format("%s.outages", spool), *text = alloc_zeroed(OUTAGES_MAX + 1, 1);
    FILE *file = fopen(path, "re");

    if (file == NULL ? errno != ENOENT : fread(text, 1, OUTAGES_MAX, file) == 0 && ferror(file))
        complain(path, "outages before the start are not known");
    judge_recall(judge, text);
    if (file != NULL)
        fclose(file);
    free(text);
    free(path);
    judge_keep_with(judge, outages_keep, (void *)spool);
}
