#include "cli/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

int file_read(const char *path, char **text)
{
    FILE *file = fopen(path, "re");
    size_t used = 0, size = 0;
    int exit_status = CLI_OK;

    *text = NULL;
    if (file == NULL)
        return cli_fail("%s: %s", path, strerror(errno));
    do {
        if (used + 1 >= size)
            *text = alloc_resized(*text, size = size * 2 + 8192, 1);
        used += fread(*text + used, 1, size - used - 1, file);
    } while (!feof(file) && !ferror(file));
    (*text)[used] = '\0';
    if (ferror(file))
        exit_status = cli_fail("%s: %s", path, strerror(errno));
    else if (strlen(*text) != used)
        exit_status = cli_fail("%s: has a NUL byte", path);
    fclose(file);
    if (exit_status != CLI_OK) {
        free(*text);
        *text = NULL;
    }
    return exit_status;
}

struct file_replacement {
    char *target, *fresh, *lock;
    int lock_fd;
    FILE *file;
    bool there;      /* `old` is what the target is now */
    struct stat old;
};

enum { LOCK_AGAIN_MS = 100 };

static int open_lock(struct file_replacement *replacement, const struct cli *cli)
{
    replacement->lock_fd = open(replacement->lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (replacement->lock_fd < 0)
        return cli_fail("%s: %s", replacement->lock, strerror(errno));
    while (flock(replacement->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return cli_fail("%s: %s", replacement->lock, strerror(errno));
        if (cli_stopped_within(cli, LOCK_AGAIN_MS))
            return cli_fail("%s: stopped while waiting for another export", replacement->lock);
    }
    return CLI_OK;
}

/* Under the lock, a file of this name was left by a run that was killed. */
static int open_fresh(struct file_replacement *replacement)
{
    int fd;

    unlink(replacement->fresh);
    fd = open(replacement->fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return cli_fail("%s: %s", replacement->fresh, strerror(errno));
    replacement->file = fdopen(fd, "w+");
    return replacement->file != NULL ? CLI_OK : cli_fail("%s: %s", replacement->fresh, strerror(errno));
}

/* A link stays one: what it points to is replaced. */
static int find_target(struct file_replacement *replacement, const char *target)
{
    char *real = realpath(target, NULL);

    replacement->target = real != NULL ? real : alloc_text(target);
    replacement->there = stat(replacement->target, &replacement->old) == 0;
    if (!replacement->there && (errno != ENOENT || real != NULL))
        return cli_fail("%s: %s", target, strerror(errno));
    if (replacement->there && !S_ISREG(replacement->old.st_mode))
        return cli_fail("%s: is not a file", target);
    return CLI_OK;
}

int file_replace_begin(struct file_replacement **replacement, const struct cli *cli, const char *target)
{
    struct file_replacement *made = alloc_zeroed(1, sizeof *made);
    int exit_status;

    made->lock_fd = -1;
    exit_status = find_target(made, target);
    made->fresh = alloc_format("%s.new", made->target);
    made->lock = alloc_format("%s.lock", made->target);
    if (exit_status == CLI_OK)
        exit_status = open_lock(made, cli);
    /* The one who had the lock before may have replaced it. */
    if (exit_status == CLI_OK)
        made->there = stat(made->target, &made->old) == 0;
    if (exit_status == CLI_OK)
        exit_status = open_fresh(made);
    if (exit_status == CLI_OK)
        *replacement = made;
    else
        file_replace_end(&made);
    return exit_status;
}

bool file_replace_write(struct file_replacement *replacement, const char *data, size_t length)
{
    if (fwrite(data, 1, length, replacement->file) == length)
        return true;
    cli_fail("%s: %s", replacement->fresh, strerror(errno));
    return false;
}

/* FILE from its start on against what the target holds. */
static bool is_same(struct file_replacement *replacement)
{
    FILE *old = replacement->there ? fopen(replacement->target, "re") : NULL;
    bool same = old != NULL;
    int left, right;

    rewind(replacement->file);
    while (same) {
        left = getc_unlocked(replacement->file);
        right = getc_unlocked(old);
        same = left == right;
        if (left == EOF)
            break;
    }
    same = same && !ferror(old) && !ferror(replacement->file);
    if (old != NULL)
        fclose(old);
    return same;
}

static bool sync_folder(const struct file_replacement *replacement)
{
    char *copy = alloc_text(replacement->target);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return fine;
}

static bool keep_mode(const struct file_replacement *replacement, int fd)
{
    const struct stat *old = &replacement->old;
    struct stat now;

    if (!replacement->there)
        return true;
    if (fstat(fd, &now) != 0)
        return false;
    if ((now.st_uid != old->st_uid || now.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid) != 0)
        return false;
    return fchmod(fd, old->st_mode & 07777) == 0;
}

int file_replace_commit(struct file_replacement *replacement, bool *changed)
{
    int fd = fileno(replacement->file);

    *changed = false;
    if (fflush(replacement->file) != 0)
        return cli_fail("%s: %s", replacement->fresh, strerror(errno));
    if (is_same(replacement))
        return CLI_OK;
    if (!keep_mode(replacement, fd) || fsync(fd) != 0)
        return cli_fail("%s: %s", replacement->fresh, strerror(errno));
    if (rename(replacement->fresh, replacement->target) != 0)
        return cli_fail("%s: %s", replacement->target, strerror(errno));
    *changed = true;
    return sync_folder(replacement) ? CLI_OK : cli_fail("folder of %s: %s", replacement->target, strerror(errno));
}

void file_replace_end(struct file_replacement **replacement)
{
    struct file_replacement *old = *replacement;

    if (old->file != NULL) {
        fclose(old->file);
        unlink(old->fresh); /* not there any more after a commit; the lock is still ours */
    }
    if (old->lock_fd >= 0)
        close(old->lock_fd);
    free(old->target);
    free(old->fresh);
    free(old->lock);
    free(old);
    *replacement = NULL;
}
