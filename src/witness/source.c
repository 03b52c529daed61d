/* source.c - the parts: chain (which files, in which order), pipe (lines out of bytes), journal.
 *
 * Scenario of a rotation: the file is read to its end; its name now leads to another file; the old one is read on until it
 * was quiet for SETTLE_MS, as whoever writes may still have it open; then source_find() looks from the place in the old
 * one, which has another name by then, what comes behind it.  A restart in the middle does the same. */
#include "witness/source.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"

enum { BUFFER_SIZE = 1 << 16, MARK_BYTES = 64, SETTLE_MS = 3000, CHAIN_MAX = 64, FIELD_MAX = 512 };

/* NOLINTNEXTLINE(readability-redundant-declaration): POSIX has it declared by its user */
extern char **environ;

struct source {
    char *path;
    bool follow, is_pipe, is_journal;
    pid_t child;

    int fd;                 /* -1: the file is not there at the moment */
    struct stat about;      /* of fd */
    char *chain[CHAIN_MAX]; /* files to read after this one, before `path` itself */
    size_t chain_count;
    bool gap;               /* to be told before the next entry */
    int64_t settle_ms;      /* when `path` was first seen to lead elsewhere; 0: it does not */

    char buffer[BUFFER_SIZE];
    size_t start, used;     /* bytes that were read and not given: buffer[start..used) */
    int64_t offset;         /* of buffer[start] in the file */
    bool skipping, ended;
    uint8_t head[MARK_BYTES], tail[MARK_BYTES]; /* the bytes themselves: the first ones, and those before `offset` */
    struct envelope_key key;

    char cursor[LEDGER_CURSOR_SIZE], program[FIELD_MAX], host[FIELD_MAX], message[SOURCE_LINE_MAX + 1];
};

static void say(char why[SOURCE_WHY_SIZE], const char *path, const char *reason)
{
    char printable[SOURCE_WHY_SIZE / 2];

    text_printable(printable, sizeof printable, path, strlen(path));
    snprintf(why, SOURCE_WHY_SIZE, "%s: %s", printable, reason);
}

/* --- the place in a file --- */

static size_t mark_length(int64_t offset)
{
    return offset < MARK_BYTES ? (size_t)offset : MARK_BYTES;
}

/* Are the LENGTH bytes at OFFSET those of HASH?  They go to BYTES. */
static bool has_bytes(const struct source *source, int fd, int64_t offset, const struct envelope_hash *hash, uint8_t *bytes,
                      size_t length)
{
    struct envelope_hash got;

    if (pread(fd, bytes, length, offset) != (ssize_t)length)
        return false;
    got = envelope_hash_bytes(&source->key, bytes, length);
    return memcmp(&got, hash, sizeof got) == 0;
}

/* Is FD what PLACE was taken in, or a copy of it?  Then the marks are its. */
static bool holds_place(struct source *source, int fd, const struct stat *about, const struct ledger_place *place)
{
    uint8_t head[MARK_BYTES], tail[MARK_BYTES];
    size_t length = mark_length(place->offset);
    bool same = about->st_dev == place->device && about->st_ino == place->inode;

    /* By a few bytes only, another log may look the same. */
    if (!S_ISREG(about->st_mode) || about->st_size < place->offset || (!same && length < MARK_BYTES) ||
        !has_bytes(source, fd, 0, &place->head, head, length) ||
        !has_bytes(source, fd, place->offset - (int64_t)length, &place->tail, tail, length))
        return false;
    memcpy(source->head, head, length);
    memcpy(source->tail, tail, length);
    return true;
}

/* LENGTH more bytes were given out, from `offset` on. */
static void keep_marks(struct source *source, const char *bytes, size_t length)
{
    size_t had = mark_length(source->offset), keep;

    for (size_t i = 0; i < length && source->offset + (int64_t)i < MARK_BYTES; i++)
        source->head[source->offset + (int64_t)i] = (uint8_t)bytes[i];
    if (length >= MARK_BYTES) {
        memcpy(source->tail, bytes + length - MARK_BYTES, MARK_BYTES);
        return;
    }
    keep = had < MARK_BYTES - length ? had : MARK_BYTES - length;
    memmove(source->tail, source->tail + had - keep, keep);
    memcpy(source->tail + keep, bytes, length);
}

/* --- the files beside it --- */

struct beside {
    char *path;
    struct timespec written;
    bool compressed;
};

static int by_age(const struct beside *x, const struct beside *y)
{
    if (x->written.tv_sec != y->written.tv_sec)
        return x->written.tv_sec < y->written.tv_sec ? -1 : 1;
    return (x->written.tv_nsec > y->written.tv_nsec) - (x->written.tv_nsec < y->written.tv_nsec);
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);

    return length >= strlen(end) && strcmp(name + length - strlen(end), end) == 0;
}

static bool is_compressed(const char *name)
{
    return ends_with(name, ".gz") || ends_with(name, ".xz") || ends_with(name, ".bz2") || ends_with(name, ".zst");
}

/* Put FILE (its path is taken) where it belongs among the COUNT files, the oldest first; of too many the oldest leaves. */
static size_t keep_youngest(struct beside files[CHAIN_MAX], size_t count, struct beside file)
{
    size_t at;

    if (count == CHAIN_MAX) {
        bool is_older = by_age(&file, &files[0]) < 0;

        free(is_older ? file.path : files[0].path);
        if (is_older)
            return count;
        memmove(files, files + 1, --count * sizeof *files);
    }
    for (at = count; at > 0 && by_age(&file, &files[at - 1]) < 0; at--)
        files[at] = files[at - 1];
    files[at] = file;
    return count + 1;
}

/* Is FILE_NAME one that a log called NAME is given when it is put aside? */
static bool is_rotated(const char *file_name, const char *name)
{
    size_t length = strlen(name);

    return strncmp(file_name, name, length) == 0 && (file_name[length] == '.' || file_name[length] == '-');
}

/* The older files of the log PATH, the oldest first.  Where PATH is a link they lie beside what it leads to, and may be called
 * after either. */
static size_t list_beside(const char *path, struct beside files[CHAIN_MAX])
{
    char *real_path = realpath(path, NULL); /* NULL: it is between two names */
    char *folder_copy = alloc_text(real_path != NULL ? real_path : path), *name_copy = alloc_text(path);
    char *real_copy = alloc_text(folder_copy);
    const char *folder = dirname(folder_copy), *name = basename(name_copy), *real_name = basename(real_copy);
    DIR *open_folder = opendir(folder);
    const struct dirent *entry;
    size_t count = 0;

    while (open_folder != NULL && (entry = readdir(open_folder)) != NULL) {
        struct stat about;
        char *full;

        if (!is_rotated(entry->d_name, name) && !is_rotated(entry->d_name, real_name))
            continue;
        full = alloc_format("%s/%s", folder, entry->d_name);
        if (stat(full, &about) == 0 && S_ISREG(about.st_mode))
            count = keep_youngest(files, count, (struct beside){full, about.st_mtim, is_compressed(full)});
        else
            free(full);
    }
    if (open_folder != NULL)
        closedir(open_folder);
    free(real_path);
    free(folder_copy);
    free(name_copy);
    free(real_copy);
    return count;
}

static int open_log(const char *path, struct stat *about)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd >= 0 && fstat(fd, about) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void chain_clear(struct source *source)
{
    for (size_t i = 0; i < source->chain_count; i++)
        free(source->chain[i]);
    source->chain_count = 0;
}

static void use_file(struct source *source, int fd, const struct stat *about, int64_t offset)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = fd;
    source->about = *about;
    source->offset = offset; /* the marks are right: of the place that was found, or of length 0 */
    source->start = source->used = 0;
    source->skipping = false;
    source->settle_ms = 0;
}

/* Look for PLACE in the files beside; the younger ones are what follows it.  False: it is in none. */
static bool find_beside(struct source *source, const struct ledger_place *place)
{
    struct beside files[CHAIN_MAX] = {{0}};
    size_t count = list_beside(source->path, files), found = count;

    for (size_t i = count; i-- > 0 && found == count;) {
        struct stat about;
        int fd = files[i].compressed ? -1 : open_log(files[i].path, &about);

        if (fd >= 0 && holds_place(source, fd, &about, place)) {
            use_file(source, fd, &about, place->offset);
            found = i;
        } else if (fd >= 0) {
            close(fd);
        }
    }
    chain_clear(source);
    for (size_t i = 0; i < count; i++)
        if (i > found && found < count && !files[i].compressed) {
            source->chain[source->chain_count++] = files[i].path;
        } else {
            if (i > found && found < count)
                source->gap = true; /* one that cannot be read */
            free(files[i].path);
        }
    return found < count;
}

/* Go to PLACE, wherever it is by now; where it is nowhere, to the beginning of the file, with a gap.  False: the file
 * cannot be opened. */
static bool source_find(struct source *source, const struct ledger_place *place, char why[SOURCE_WHY_SIZE])
{
    struct stat about;
    int fd = open_log(source->path, &about), saved = errno;

    if (fd >= 0 && holds_place(source, fd, &about, place)) {
        chain_clear(source);
        use_file(source, fd, &about, place->offset);
        return true;
    }
    if (fd >= 0 && about.st_dev == place->device && about.st_ino == place->inode)
        source->gap = true; /* cut short: what came between the last copy and the cut is lost */
    if (find_beside(source, place)) {
        if (fd >= 0)
            close(fd);
        return true;
    }
    source->gap = true;
    if (fd < 0) {
        say(why, source->path, strerror(saved));
        return false;
    }
    use_file(source, fd, &about, 0);
    return true;
}

struct source *source_open_file(const char *path, const struct ledger_place *place, const struct envelope_key *key, bool follow,
                                char why[SOURCE_WHY_SIZE])
{
    struct source *source = alloc_zeroed(1, sizeof *source);
    bool ok = true;
    int fd;

    source->path = alloc_text(path);
    source->fd = -1;
    source->follow = follow;
    source->key = *key;
    if (strcmp(path, "-") == 0) {
        source->fd = STDIN_FILENO;
        source->is_pipe = true;
    } else if (place != NULL) {
        ok = source_find(source, place, why);
    } else if ((fd = open_log(path, &source->about)) >= 0) {
        source->fd = fd;
    } else {
        say(why, path, strerror(errno));
        ok = false;
    }
    if (ok && !source->is_pipe && !S_ISREG(source->about.st_mode)) {
        say(why, path, "it is no file");
        ok = false;
    }
    if (!ok)
        source_close(&source);
    return source;
}

void source_close(struct source **source)
{
    if (*source == NULL)
        return;
    chain_clear(*source);
    if ((*source)->fd > 0)
        close((*source)->fd);
    if ((*source)->child > 0) {
        kill((*source)->child, SIGTERM);
        waitpid((*source)->child, NULL, 0);
    }
    free((*source)->path);
    free(*source);
    *source = NULL;
}

/* --- bytes and lines --- */

/* Read more behind what is in the buffer.  SOURCE_ENTRY: there is more; SOURCE_NOTHING: not now; SOURCE_END. */
static enum source_got fill(struct source *source, char why[SOURCE_WHY_SIZE])
{
    struct pollfd readable = {.fd = source->fd, .events = POLLIN};
    ssize_t got;

    if (source->is_pipe && poll(&readable, 1, 0) <= 0)
        return SOURCE_NOTHING;
    if (source->start > 0) {
        memmove(source->buffer, source->buffer + source->start, source->used - source->start);
        source->used -= source->start;
        source->start = 0;
    }
    do {
        got = source->is_pipe ? read(source->fd, source->buffer + source->used, BUFFER_SIZE - source->used)
                              : pread(source->fd, source->buffer + source->used, BUFFER_SIZE - source->used,
                                      source->offset + (int64_t)source->used);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        say(why, source->path, strerror(errno));
        return SOURCE_FAILED;
    }
    source->used += (size_t)got;
    return got > 0 ? SOURCE_ENTRY : SOURCE_END;
}

static void consume(struct source *source, size_t length)
{
    keep_marks(source, source->buffer + source->start, length);
    source->start += length;
    source->offset += (int64_t)length;
}

/* A whole line out of the buffer: SOURCE_ENTRY, SOURCE_GAP for what is none, or SOURCE_NOTHING when there is no end of a
 * line in it. */
static enum source_got cut_line(struct source *source, struct source_entry *entry)
{
    char *line = source->buffer + source->start;
    size_t left = source->used - source->start;
    char *end = memchr(line, '\n', left);
    bool was_skipping = source->skipping;
    size_t length;

    if (end == NULL) {
        if (left <= SOURCE_LINE_MAX)
            return SOURCE_NOTHING;
        source->skipping = true; /* too long: what is left of it is passed over */
        consume(source, left);
        return SOURCE_NOTHING;
    }
    length = (size_t)(end - line);
    consume(source, length + 1);
    source->skipping = false;
    if (was_skipping || length > SOURCE_LINE_MAX || memchr(line, '\0', length) != NULL)
        return SOURCE_GAP;
    if (length > 0 && line[length - 1] == '\r')
        length--;
    line[length] = '\0';
    entry->text = line;
    return SOURCE_ENTRY;
}

void source_place(const struct source *source, struct ledger_place *place)
{
    *place = (struct ledger_place){.device = source->about.st_dev, .inode = source->about.st_ino, .offset = source->offset};
    place->head = envelope_hash_bytes(&source->key, source->head, mark_length(source->offset));
    place->tail = envelope_hash_bytes(&source->key, source->tail, mark_length(source->offset));
    memcpy(place->cursor, source->cursor, sizeof place->cursor);
}

/* A file was read to its end: open what comes next, or stay.  SOURCE_ENTRY: go on reading. */
static enum source_got next_file(struct source *source, int64_t now_ms, char why[SOURCE_WHY_SIZE])
{
    struct stat about;
    struct ledger_place place;
    int fd;

    while (source->chain_count > 0) {
        char *next = source->chain[0];

        memmove(source->chain, source->chain + 1, --source->chain_count * sizeof *source->chain);
        source->gap |= source->used > source->start; /* a line that was never finished */
        fd = open_log(next, &about);
        source->gap |= fd < 0;
        free(next);
        if (fd >= 0) {
            use_file(source, fd, &about, 0);
            return SOURCE_ENTRY;
        }
    }
    if (stat(source->path, &about) != 0)
        return source->follow ? SOURCE_NOTHING : SOURCE_END; /* between two names */
    if (about.st_dev == source->about.st_dev && about.st_ino == source->about.st_ino) {
        return source->follow ? SOURCE_NOTHING : SOURCE_END;
    }
    if (source->settle_ms == 0)
        source->settle_ms = now_ms;
    if (source->follow && now_ms - source->settle_ms < SETTLE_MS)
        return SOURCE_NOTHING;
    source->gap |= source->used > source->start;
    source_place(source, &place);
    if (find_beside(source, &place) && source->chain_count > 0)
        return SOURCE_ENTRY; /* to its end again, where nothing is, and on through the chain */
    fd = open_log(source->path, &about);
    if (fd < 0) {
        say(why, source->path, strerror(errno));
        return SOURCE_FAILED;
    }
    use_file(source, fd, &about, 0);
    return SOURCE_ENTRY;
}

/* Was the file cut short under us, or written anew?  Then go to what was saved of it, or to its beginning. */
static bool check_cut(struct source *source, char why[SOURCE_WHY_SIZE])
{
    struct ledger_place place;
    struct stat about;
    uint8_t tail[MARK_BYTES];
    size_t length = mark_length(source->offset);

    if (fstat(source->fd, &about) != 0)
        return true;
    if (about.st_size >= source->offset + (int64_t)(source->used - source->start) &&
        ((about.st_size == source->about.st_size && about.st_mtim.tv_sec == source->about.st_mtim.tv_sec &&
          about.st_mtim.tv_nsec == source->about.st_mtim.tv_nsec) ||
         (pread(source->fd, tail, length, source->offset - (int64_t)length) == (ssize_t)length &&
          memcmp(tail, source->tail, length) == 0))) {
        source->about = about;
        return true;
    }
    source_place(source, &place);
    source->gap = true;
    return source_find(source, &place, why);
}

static enum source_got take_gap(struct source *source)
{
    source->gap = false;
    return SOURCE_GAP;
}

static enum source_got pipe_next(struct source *source, struct source_entry *entry, char why[SOURCE_WHY_SIZE])
{
    for (;;) {
        enum source_got got = cut_line(source, entry);

        if (got != SOURCE_NOTHING)
            return got;
        if (source->ended)
            return SOURCE_END;
        got = fill(source, why);
        if (got == SOURCE_END) {
            source->ended = true;
            if (source->used > source->start)
                source->buffer[source->used++] = '\n'; /* there was none behind the last line */
        } else if (got != SOURCE_ENTRY) {
            return got;
        }
    }
}

static enum source_got file_next(struct source *source, struct source_entry *entry, int64_t now_ms,
                                 char why[SOURCE_WHY_SIZE])
{
    for (;;) {
        enum source_got got;

        if (source->gap)
            return take_gap(source);
        got = cut_line(source, entry);
        if (got != SOURCE_NOTHING)
            return got;
        if (!check_cut(source, why))
            return SOURCE_FAILED;
        if (source->gap)
            continue;
        got = fill(source, why);
        if (got == SOURCE_END)
            got = next_file(source, now_ms, why);
        else if (got == SOURCE_ENTRY)
            source->settle_ms = source->settle_ms == 0 ? 0 : now_ms; /* the old one is still written to */
        if (got != SOURCE_ENTRY)
            return got;
    }
}

/* --- the journal, as `journalctl --output=export` writes it ---
 *
 * An entry is lines "NAME=value", or "NAME" alone, then 64 bits of length (little-endian), as many bytes and a line end for
 * what is not plain text; an empty line ends it. */

struct source *source_open_export(int fd, bool follow)
{
    struct source *source = alloc_zeroed(1, sizeof *source);

    source->path = alloc_text("journalctl");
    source->fd = fd;
    source->is_pipe = source->is_journal = true;
    source->follow = follow;
    return source;
}

struct source *source_open_journal(const struct ledger_place *place, bool follow, char why[SOURCE_WHY_SIZE])
{
    char *from = place != NULL && place->cursor[0] != '\0' ? alloc_format("--after-cursor=%s", place->cursor)
                                                            : alloc_text("--since=-7d");
    const char *const words[] = {"journalctl", "--quiet", "--no-pager", "--output=export", from, "--no-tail",
                           "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_HOSTNAME,_SOURCE_REALTIME_TIMESTAMP",
                           "SYSLOG_FACILITY=2", "+", "SYSLOG_IDENTIFIER=systemd-journald", follow ? "--follow" : NULL, NULL};
    struct source *source = NULL;
    posix_spawn_file_actions_t actions;
    int ends[2], failed = pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;

    if (failed == 0) {
        source = source_open_export(ends[0], follow);
        if (place != NULL)
            memcpy(source->cursor, place->cursor, sizeof source->cursor);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        failed = posix_spawnp(&source->child, words[0], &actions, NULL, (char *const *)words, environ);
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
    }
    free(from);
    if (failed != 0) {
        say(why, words[0], strerror(failed));
        if (source != NULL)
            source->child = 0;
        source_close(&source);
    }
    return source;
}

static void field_keep(struct source *source, struct source_entry *entry, const char *name, const char *value, size_t length)
{
    static const struct {
        const char *name;
        size_t at, size;
    } kept[] = {{"__CURSOR", offsetof(struct source, cursor), LEDGER_CURSOR_SIZE},
                {"SYSLOG_IDENTIFIER", offsetof(struct source, program), FIELD_MAX},
                {"_HOSTNAME", offsetof(struct source, host), FIELD_MAX},
                {"MESSAGE", offsetof(struct source, message), SOURCE_LINE_MAX + 1}};

    /* When the sender gave it; for want of that, when the journal got it. */
    if (strcmp(name, "_SOURCE_REALTIME_TIMESTAMP") == 0 ||
        (strcmp(name, "__REALTIME_TIMESTAMP") == 0 && entry->time_us == 0))
        entry->time_us = strtoll(value, NULL, 10);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(name, kept[i].name) == 0) {
            bool fits = length < kept[i].size && memchr(value, '\0', length) == NULL;

            source->gap |= !fits;
            memcpy((char *)source + kept[i].at, value, fits ? length : 0);
            ((char *)source + kept[i].at)[fits ? length : 0] = '\0';
        }
}

/* The fields of one entry lie whole in the buffer, from START on: LENGTH gets how long it is.  False: not yet. */
static bool entry_length(const struct source *source, size_t *length)
{
    size_t at = source->start;

    while (at < source->used) {
        const char *line = source->buffer + at, *end = memchr(line, '\n', source->used - at);
        uint64_t bytes;

        if (end == NULL)
            return false;
        if (end == line) {
            *length = at + 1 - source->start;
            return true;
        }
        at += (size_t)(end - line) + 1;
        if (memchr(line, '=', (size_t)(end - line)) == NULL) {
            if (source->used - at < sizeof bytes)
                return false;
            memcpy(&bytes, source->buffer + at, sizeof bytes);
            bytes = le64toh(bytes);
            if (bytes >= BUFFER_SIZE || source->used - at < sizeof bytes + bytes + 1)
                return false;
            at += sizeof bytes + bytes + 1;
        }
    }
    return false;
}

static void entry_take(struct source *source, struct source_entry *entry, size_t length)
{
    char *at = source->buffer + source->start, *end = at + length - 1;

    *entry = (struct source_entry){.text = source->message, .program = source->program, .host = source->host};
    source->message[0] = source->program[0] = source->host[0] = '\0';
    while (at < end) {
        char *line_end = memchr(at, '\n', (size_t)(end - at)), *value = memchr(at, '=', (size_t)(line_end - at));

        *line_end = '\0';
        if (value != NULL) {
            *value++ = '\0';
            field_keep(source, entry, at, value, (size_t)(line_end - value));
            at = line_end + 1;
        } else {
            uint64_t bytes;

            memcpy(&bytes, line_end + 1, sizeof bytes);
            bytes = le64toh(bytes);
            value = line_end + 1 + sizeof bytes;
            value[bytes] = '\0';
            field_keep(source, entry, at, value, bytes);
            at = value + bytes + 1;
        }
    }
}

static bool journal_ended_well(struct source *source)
{
    int status = -1;

    if (source->child == 0)
        status = 0;
    else if (waitpid(source->child, &status, 0) == source->child)
        source->child = 0;
    return !source->follow && source->used == source->start && status == 0;
}

static enum source_got journal_next(struct source *source, struct source_entry *entry, char why[SOURCE_WHY_SIZE])
{
    for (;;) {
        size_t length;
        enum source_got got;

        if (source->gap)
            return take_gap(source);
        if (entry_length(source, &length)) {
            entry_take(source, entry, length);
            source->start += length;
            if (source->gap)
                continue; /* what is in it does not count */
            return SOURCE_ENTRY;
        }
        if (source->used - source->start == BUFFER_SIZE) {
            say(why, source->path, "an entry is too long");
            return SOURCE_FAILED;
        }
        got = fill(source, why);
        if (got == SOURCE_END && !journal_ended_well(source)) {
            say(why, source->path, "it ended before the journal did; what it said is above");
            return SOURCE_FAILED;
        }
        if (got != SOURCE_ENTRY)
            return got;
    }
}

/* --- */

enum source_got source_next(struct source *source, struct source_entry *entry, int64_t now_ms, char why[SOURCE_WHY_SIZE])
{
    *entry = (struct source_entry){.text = NULL};
    if (source->is_journal)
        return journal_next(source, entry, why);
    return source->is_pipe ? pipe_next(source, entry, why) : file_next(source, entry, now_ms, why);
}

int source_fd(const struct source *source)
{
    return source->is_pipe ? source->fd : -1;
}

int64_t source_written_us(const struct source *source)
{
    return source->is_pipe ? 0 : (int64_t)source->about.st_mtim.tv_sec * 1000000;
}
