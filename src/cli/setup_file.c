#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/file.h"
#include "cli/setup.h"
#include "cli/shell.h"

static const char begin_mark[] = ">>> hunnypot setup (`hunnypot setup --undo` takes these lines out)";
static const char end_mark[] = "<<< hunnypot setup";
static const char was_mark[] = "was: ";

/* Where SUFFIX of PATH is kept: "/etc/postfix/master.cf" is "etc-postfix-master.cf" there. */
static char *kept_path(const char *path, const char *suffix)
{
    char *kept = alloc_format("%s/%s.%s", SETUP_FOLDER, path + 1, suffix);

    for (char *c = kept + strlen(SETUP_FOLDER) + 1; *c != '\0'; c++)
        if (*c == '/')
            *c = '-';
    return kept;
}

/* *TEXT is NULL when there is no such file. */
static int read_if_there(const char *path, char **text)
{
    *text = NULL;
    return access(path, F_OK) != 0 && errno == ENOENT ? CLI_OK : file_read(path, text);
}

static void show_difference(const char *path, const char *from, const char *to)
{
    char names[2][32] = {"/tmp/hunnypot.XXXXXX", "/tmp/hunnypot.XXXXXX"}, *command;
    const char *texts[2] = {from, to};

    for (int i = 0; i < 2; i++) {
        int fd = mkostemp(names[i], O_CLOEXEC);

        if (fd < 0 || (texts[i] != NULL && write(fd, texts[i], strlen(texts[i])) < 0))
            cli_fail("%s: %s", names[i], strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    command = alloc_format("diff -u --label %s --label %s %s %s", path, path, names[0], names[1]);
    shell_run(command);
    free(command);
    unlink(names[0]);
    unlink(names[1]);
}

/* The end of the line at TEXT, behind its newline. */
static char *line_end(char *text)
{
    text += strcspn(text, "\n");
    return *text == '\n' ? text + 1 : text;
}

/* The line of TEXT that is LEAD and MARK. */
static char *find_mark(char *text, const char *lead, const char *mark)
{
    char *line = alloc_format("%s %s", lead, mark), *at = text;
    size_t length = strlen(line);

    for (; *at != '\0' && (strncmp(at, line, length) != 0 || (at[length] != '\n' && at[length] != '\0')); at = line_end(at))
        ;
    free(line);
    return *at == '\0' ? NULL : at;
}

/* The lines of BLOCK in whose place it stands; the caller frees. */
static char *lines_before(char *block, const char *lead)
{
    char *mark = alloc_format("%s %s", lead, was_mark), *lines, *end;
    size_t size;
    FILE *stream = alloc_text_begin(&lines, &size);

    for (char *at = block; *at != '\0'; at = end) {
        end = line_end(at);
        if (strncmp(at, mark, strlen(mark)) == 0)
            fwrite(at + strlen(mark), 1, (size_t)(end - at) - strlen(mark), stream);
    }
    alloc_text_end(stream);
    free(mark);
    return lines;
}

static int changed_since(const struct setup_change *change, const char *now)
{
    show_difference(change->path, change->written, now);
    return cli_fail("%s: what setup wrote there was changed since (above); nothing was done; take that change back, or go on by"
                    " hand", change->path);
}

/* Take the block out of base. */
static int find_block(struct setup_change *change)
{
    char *begin = find_mark(change->old, change->lead, begin_mark), *end, *block, *was;
    int status = CLI_OK;

    change->base = alloc_text(change->old);
    end = begin == NULL ? NULL : find_mark(begin, change->lead, end_mark);
    if (begin == NULL)
        return CLI_OK;
    end = end == NULL ? begin + strlen(begin) : line_end(end);
    block = alloc_format("%.*s", (int)(end - begin), begin);
    if (change->written == NULL || strcmp(change->written, block) != 0) {
        status = changed_since(change, block);
    } else {
        was = lines_before(block, change->lead);
        free(change->base);
        change->base = alloc_format("%.*s%s%s", (int)(begin - change->old), change->old, was, end);
        free(was);
    }
    free(block);
    return status;
}

int setup_file_open(struct setup_change *change, const char *path, const char *lead)
{
    char *kept = kept_path(path, "written");
    int status;

    *change = (struct setup_change){.path = path, .lead = lead};
    status = read_if_there(path, &change->old);
    if (status == CLI_OK)
        status = read_if_there(kept, &change->written);
    free(kept);
    if (status != CLI_OK || change->old == NULL)
        return status;
    if (lead != NULL)
        return find_block(change);
    return change->written == NULL || strcmp(change->written, change->old) == 0 ? CLI_OK : changed_since(change, change->old);
}

char *setup_file_block(const struct setup_change *change, const char *body, const char *was)
{
    size_t size;
    char *text;
    FILE *stream = alloc_text_begin(&text, &size);

    fprintf(stream, "%s %s\n", change->lead, begin_mark);
    while (*was != '\0') {
        size_t length = strcspn(was, "\n");

        fprintf(stream, "%s %s%.*s\n", change->lead, was_mark, (int)length, was);
        was += length + (was[length] == '\n');
    }
    fprintf(stream, "%s%s %s\n", body, change->lead, end_mark);
    alloc_text_end(stream);
    return text;
}

bool setup_file_differs(const struct setup_change *change)
{
    if (change->old == NULL || change->new == NULL)
        return change->old != change->new;
    return strcmp(change->old, change->new) != 0;
}

void setup_file_show(const struct setup_change *change)
{
    if (setup_file_differs(change))
        show_difference(change->path, change->old, change->new);
}

int setup_file_put(const char *path, const char *text, unsigned mode, uid_t uid, gid_t gid)
{
    struct stat about;
    bool there = stat(path, &about) == 0, changed;
    char *beside = alloc_format("%s.setup", path);
    int fd = there ? open(path, O_RDONLY | O_CLOEXEC)
                   : open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct cli cli = {.stop_fd = -1};
    struct file_replacement *replacement = NULL;
    int status = fd < 0 ? cli_fail("%s: %s", path, strerror(errno)) : CLI_OK;

    /* A new one has its mode and owner before it has its name. */
    if (status == CLI_OK && !there &&
        (write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchown(fd, uid, gid) != 0 || fchmod(fd, mode) != 0 ||
         fsync(fd) != 0 || rename(beside, path) != 0))
        status = cli_fail("%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(beside);
    if (status != CLI_OK || !there)
        return status;
    status = file_replace_begin(&replacement, &cli, path);
    if (status == CLI_OK) {
        char *lock = alloc_format("%s.lock", path);

        status = file_replace_write(replacement, text, strlen(text)) ? file_replace_commit(replacement, NULL, &changed)
                                                                     : CLI_FAILED;
        unlink(lock); /* others take what is in /etc for configuration */
        free(lock);
        file_replace_end(&replacement);
    }
    return status;
}

static int make_folder(const char *path)
{
    return mkdir(path, 0755) == 0 || errno == EEXIST ? CLI_OK : cli_fail("%s: %s", path, strerror(errno));
}

/* The folder of PATH, and those above it. */
static int make_folders(const char *path)
{
    char *copy = alloc_text(path);
    int status = CLI_OK;

    for (char *slash = strchr(copy + 1, '/'); slash != NULL && status == CLI_OK; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        status = make_folder(copy);
        *slash = '/';
    }
    free(copy);
    return status;
}

/* The file as it was before we touched it, the first time and every later one. */
static int keep_copy(const struct setup_change *change)
{
    char *path = kept_path(change->path, "before"), stamp[32];
    time_t now = time(NULL);
    struct tm utc;
    int status = CLI_OK;

    if (change->old != NULL && access(path, F_OK) == 0) {
        free(path);
        strftime(stamp, sizeof stamp, "before-%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));
        path = kept_path(change->path, stamp);
    }
    if (change->old != NULL) {
        status = setup_file_put(path, change->old, 0600, 0, 0);
        if (status == CLI_OK)
            printf("%s: the file as it was is %s\n", change->path, path);
    }
    free(path);
    return status;
}

/* Note what is ours in TEXT (NULL: nothing is). */
static int keep_written(const struct setup_change *change, char *text)
{
    char *path = kept_path(change->path, "written"), *begin, *ours;
    int status = CLI_OK;

    begin = text == NULL || change->lead == NULL ? text : find_mark(text, change->lead, begin_mark);
    if (begin == NULL) {
        unlink(path);
    } else {
        char *end = change->lead == NULL ? NULL : find_mark(begin, change->lead, end_mark);

        ours = end == NULL ? alloc_text(begin) : alloc_format("%.*s", (int)(line_end(end) - begin), begin);
        status = setup_file_put(path, ours, 0600, 0, 0);
        free(ours);
    }
    free(path);
    return status;
}

static int text_append(const struct setup_change *change, char *text)
{
    int status = CLI_OK;

    if (text == NULL && unlink(change->path) != 0 && errno != ENOENT)
        status = cli_fail("%s: %s", change->path, strerror(errno));
    else if (text != NULL && (status = make_folders(change->path)) == CLI_OK)
        status = setup_file_put(change->path, text, 0644, 0, 0);
    return status == CLI_OK ? keep_written(change, text) : status;
}

int setup_file_write(const struct setup_change *change)
{
    int status;

    if (!setup_file_differs(change))
        return CLI_OK;
    status = make_folders(SETUP_FOLDER "/");
    if (status == CLI_OK)
        status = keep_copy(change);
    return status == CLI_OK ? text_append(change, change->new) : status;
}

int setup_file_restore(const struct setup_change *change)
{
    return setup_file_differs(change) ? text_append(change, change->old) : CLI_OK;
}

void setup_file_free(struct setup_change *change)
{
    free(change->old);
    free(change->base);
    free(change->new);
    free(change->written);
}
