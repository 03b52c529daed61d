#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static _Atomic int threshold = LOG_LEVEL_INFO;

static const struct {
    const char *name;
    int priority; /* syslog(3), as sd-daemon(3) takes it in front of a line */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", LOG_ERR},
    [LOG_LEVEL_WARNING] = {"warning", LOG_WARNING},
    [LOG_LEVEL_INFO] = {"info", LOG_INFO},
    [LOG_LEVEL_DEBUG] = {"debug", LOG_DEBUG},
};

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

bool log_level_from_name(const char *name, enum log_level *level)
{
    for (unsigned i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(levels[i].name, name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

/* What stands before the event; returns its length. */
static int log_prefix(char *line, size_t size, enum log_level level)
{
    struct tm broken;
    time_t now = time(NULL);
    char stamp[32];

    if (getenv("JOURNAL_STREAM") != NULL)
        return snprintf(line, size, "<%d>", levels[level].priority);
    gmtime_r(&now, &broken);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &broken);
    return snprintf(line, size, "%s %s ", stamp, levels[level].name);
}

void log_event(enum log_level level, const char *format, ...)
{
    int saved_errno = errno;
    char line[LOG_LINE_MAX];
    va_list arguments;
    size_t used;
    int wrote;

    if ((int)level > atomic_load(&threshold))
        return;
    used = (size_t)log_prefix(line, sizeof line, level);
    va_start(arguments, format);
    wrote = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    if (wrote > 0)
        used += (size_t)wrote < sizeof line - used - 1 ? (size_t)wrote : sizeof line - used - 2;
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0) {
        /* Nobody is left to be told. */
    }
    errno = saved_errno;
}

bool log_is_due(_Atomic int64_t *last_ms, int64_t interval_ms)
{
    int64_t now = clock_monotonic_ms(), last = atomic_load(last_ms);

    return (last == 0 || now - last >= interval_ms) && atomic_compare_exchange_strong(last_ms, &last, now);
}
