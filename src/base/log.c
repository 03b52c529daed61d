/* log.c - the way of a line.
 *
 *     log_event() --> ring --> chunk of whole lines --> write()
 *
 * Whoever takes a chunk out of the ring is `writing` until it is written, and nobody else takes one: lines stay in order,
 * and a reader that stands still holds up one thread, which has nothing else to do.  Without that thread, log_event() and
 * log_finish() take what standard error has room for.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/ring.h"
#include "base/thread.h"

enum { FOR_THE_GRAVE = RING_BYTES / 4, RETRY_MS = 100 };

static _Atomic int threshold = LOG_LEVEL_INFO;

static struct {
    pthread_mutex_t mutex; /* covers all below; not held while writing */
    pthread_cond_t changed;
    struct ring ring;
    uint64_t dropped; /* and not said yet */
    bool writing;     /* somebody has a chunk in hand */
    bool has_thread, ending;
    pthread_t thread;
} this = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool to_journal;

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

/* The journal names the stream that it made; what was started from there with its output elsewhere inherits the name too. */
static void look_at_stderr(void)
{
    const char *journals = getenv("JOURNAL_STREAM");
    struct stat status;
    char ours[64];

    if (journals != NULL && fstat(STDERR_FILENO, &status) == 0) {
        snprintf(ours, sizeof ours, "%llu:%llu", (unsigned long long)status.st_dev, (unsigned long long)status.st_ino);
        to_journal = strcmp(journals, ours) == 0;
    }
    atexit(log_finish);
}

/* What stands before the event; returns its length. */
static size_t print_prefix(char *line, size_t size, enum log_level level)
{
    struct tm broken;
    time_t now;
    char stamp[32];

    if (to_journal)
        return (size_t)snprintf(line, size, "<%d>", levels[level].priority);
    now = (time_t)(clock_realtime_us() / 1000000);
    gmtime_r(&now, &broken);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &broken);
    return (size_t)snprintf(line, size, "%s %s ", stamp, levels[level].name);
}

/* A quote that belongs to the line, while it is made: no text from outside has this byte (text_printable). */
enum { QUOTE = '\001', ESCAPED_QUOTE = 4 /* bytes of \x22 */, FORMAT_MAX = 512 };

/* Put TEXT behind USED bytes of LINE, cut where it is too long: the format's quotes become such, and those between two of them
 * \x22. */
static size_t append_quoted(char line[LOG_LINE_MAX], size_t used, const char *text)
{
    bool within = false;

    for (; *text != '\0'; text++) {
        bool escape = within && *text == '"';
        size_t wants = escape ? ESCAPED_QUOTE : 1;

        if (used + wants >= LOG_LINE_MAX - 1)
            break;
        within = within != (*text == QUOTE);
        if (escape)
            memcpy(line + used, "\\x22", wants);
        else
            line[used] = (char)(*text == QUOTE ? '"' : *text);
        used += wants;
    }
    return used;
}

/* Returns the length of the whole line. */
static size_t print_event(char line[LOG_LINE_MAX], enum log_level level, const char *format, va_list arguments)
{
    char marked[FORMAT_MAX], text[LOG_LINE_MAX];
    size_t used = print_prefix(line, LOG_LINE_MAX, level);

    snprintf(marked, sizeof marked, "%s", format);
    for (char *c = marked; (c = strchr(c, '"')) != NULL;)
        *c = QUOTE;
    vsnprintf(text, sizeof text, marked, arguments);
    used = append_quoted(line, used, text);
    line[used++] = '\n';
    return used;
}

/* Under the mutex. */
static void note_dropped(uint64_t lines)
{
    this.dropped += lines;
    counter_add(COUNTER_LOG_DROPPED, lines);
}

/* Under the mutex: there may be room again for the line that says how many had none. */
static void say_dropped(void)
{
    char line[LOG_LINE_MAX];
    size_t length;

    if (this.dropped == 0)
        return;
    length = print_prefix(line, sizeof line, LOG_LEVEL_WARNING);
    length += (size_t)snprintf(line + length, sizeof line - length,
                               "log-dropped lines=%llu why=\"standard error did not take them\"\n",
                               (unsigned long long)this.dropped);
    if (ring_put(&this.ring, line, length, 0))
        this.dropped = 0;
}

/* Returns how many lines of CHUNK were not written.  PATIENT: wait for whoever reads. */
static uint64_t write_lines(const char *chunk, size_t length, bool patient)
{
    uint64_t lines = 0;

    while (length > 0) {
        ssize_t wrote = write(STDERR_FILENO, chunk, length);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN && patient) { /* somebody else who has this file too made it so */
            poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, RETRY_MS);
            continue;
        }
        if (wrote < 0)
            break;
        chunk += wrote;
        length -= (size_t)wrote;
    }
    for (; length > 0; length--)
        lines += *chunk++ == '\n';
    return lines;
}

/* Under the mutex, which it gives up meanwhile: write the oldest lines. */
static void write_chunk(bool patient)
{
    char chunk[LOG_LINE_MAX];
    size_t length = ring_take(&this.ring, chunk, sizeof chunk);
    uint64_t failed;

    say_dropped();
    this.writing = true;
    pthread_mutex_unlock(&this.mutex);
    failed = write_lines(chunk, length, patient);
    pthread_mutex_lock(&this.mutex);
    this.writing = false;
    if (failed > 0)
        note_dropped(failed);
    pthread_cond_broadcast(&this.changed);
}

/* Under the mutex, without the thread: write what can be written before DEADLINE_MS.  A pipe that poll() calls writable takes
 * a whole chunk. */
static void write_what_fits(int64_t deadline_ms)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    int64_t left_ms;

    while (this.ring.used > 0 && !this.writing) {
        left_ms = deadline_ms - clock_monotonic_ms();
        if (poll(&out, 1, left_ms > 0 ? (int)left_ms : 0) <= 0)
            break;
        write_chunk(false);
    }
}

void log_event(enum log_level level, const char *format, ...)
{
    int saved_errno = errno;
    char line[LOG_LINE_MAX];
    va_list arguments;
    size_t length;

    if ((int)level > atomic_load(&threshold))
        return;
    pthread_once(&once, look_at_stderr);
    va_start(arguments, format);
    length = print_event(line, level, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&this.mutex);
    if (!ring_put(&this.ring, line, length, level > LOG_LEVEL_WARNING ? FOR_THE_GRAVE : 0))
        note_dropped(1);
    if (this.has_thread)
        pthread_cond_broadcast(&this.changed);
    else
        write_what_fits(0);
    pthread_mutex_unlock(&this.mutex);
    errno = saved_errno;
}

static void *write_all(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&this.mutex);
    while (this.ring.used > 0 || !this.ending) {
        if (this.ring.used == 0 || this.writing)
            pthread_cond_wait(&this.changed, &this.mutex);
        else
            write_chunk(true);
    }
    this.has_thread = false;
    pthread_cond_broadcast(&this.changed);
    pthread_mutex_unlock(&this.mutex);
    return NULL;
}

int log_writer_start(void)
{
    int failed;

    pthread_once(&once, look_at_stderr);
    pthread_mutex_lock(&this.mutex);
    failed = thread_start(&this.thread, "log", write_all, NULL);
    if (failed == 0) {
        this.has_thread = true;
        pthread_detach(this.thread);
    }
    pthread_mutex_unlock(&this.mutex);
    return failed;
}

void log_finish(void)
{
    int64_t deadline_ms = clock_monotonic_ms() + LOG_FINISH_MS;
    struct timespec deadline = clock_timespec(deadline_ms);

    pthread_mutex_lock(&this.mutex);
    this.ending = true;
    pthread_cond_broadcast(&this.changed);
    while (this.has_thread &&
           pthread_cond_clockwait(&this.changed, &this.mutex, CLOCK_MONOTONIC, &deadline) != ETIMEDOUT) {
    }
    if (!this.has_thread)
        write_what_fits(deadline_ms);
    pthread_mutex_unlock(&this.mutex);
}

bool log_is_due(_Atomic int64_t *last_ms, int64_t interval_ms)
{
    int64_t now = clock_monotonic_ms(), last = atomic_load(last_ms);

    return (last == 0 || now - last >= interval_ms) && atomic_compare_exchange_strong(last_ms, &last, now);
}
