#include "cli/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
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

enum { LOCK_AGAIN_MS = 100, LOCK_SAY_MS = 10000 };

static bool is_ours(uid_t owner)
{
    return owner == geteuid() || owner == 0;
}

static bool owns_folder(uid_t owner, const char *path)
{
    char *copy = alloc_text(path);
    struct stat folder;
    bool owns = stat(dirname(copy), &folder) == 0 && owner == folder.st_uid;

    free(copy);
    return owns;
}

/* Take the lock of the open file; false and *STATUS when it is not to be had. */
static bool lock_target(const struct file_replacement *replacement, const struct cli *cli, int *status)
{
    for (int waited_ms = 0; flock(replacement->lock_fd, LOCK_EX | LOCK_NB) != 0; waited_ms += LOCK_AGAIN_MS) {
        *status = CLI_FAILED;
        if (errno != EWOULDBLOCK)
            *status = cli_fail("%s: %s", replacement->lock, strerror(errno));
        else if (cli_stopped_within(cli, LOCK_AGAIN_MS))
            *status = cli_fail("%s: stopped while waiting for another export", replacement->lock);
        else {
            if (waited_ms == LOCK_SAY_MS)
                cli_fail("%s: waiting for another export", replacement->lock);
            continue;
        }
        return false;
    }
    return true;
}

static int open_lock(struct file_replacement *replacement, const struct cli *cli)
{
    struct stat ours, named;
    int status = CLI_OK;

    for (;;) {
        replacement->lock_fd = open(replacement->lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
        if (replacement->lock_fd < 0 || fstat(replacement->lock_fd, &ours) != 0)
            return cli_fail("%s: %s", replacement->lock, strerror(errno));
        if (!is_ours(ours.st_uid) && !owns_folder(ours.st_uid, replacement->lock))
            return cli_fail("%s: belongs to user %u, who could hold up every export; remove it", replacement->lock,
                            (unsigned)ours.st_uid);
        if (!lock_target(replacement, cli, &status))
            return status;
        /* Somebody may have removed the file meanwhile; the next would make one of their own. */
        if (stat(replacement->lock, &named) == 0 && named.st_dev == ours.st_dev && named.st_ino == ours.st_ino)
            return CLI_OK;
        close(replacement->lock_fd);
    }
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

/* What PATH is after the first link in it has been followed, in new memory; NULL when there is none.  *STRANGER: there is one,
 * but it was put there by somebody who has no business to say which file is replaced. */
static char *follow_link(const char *path, bool *stranger)
{
    const char *end = path;
    char *followed = NULL;

    *stranger = false;
    while (followed == NULL && *end != '\0') {
        char *name, to[PATH_MAX];
        struct stat status;
        ssize_t length;

        end += strspn(end, "/");
        end += strcspn(end, "/");
        name = alloc_format("%.*s", (int)(end - path), path);
        if (lstat(name, &status) == 0 && S_ISLNK(status.st_mode)) {
            length = readlink(name, to, sizeof to - 1);
            to[length > 0 ? length : 0] = '\0';
            *stranger = !is_ours(status.st_uid);
            followed = *to == '/' ? alloc_format("%s%s", to, end) : alloc_format("%s/%s%s", dirname(name), to, end);
        }
        free(name);
    }
    return followed;
}

/* A link stays one: what it points to is replaced.  As the kernel's protected_symlinks has it in /tmp, but in every folder, and
 * though its owner has the folder too: the one who runs this may be root. */
static bool links_are_trusted(const char *target)
{
    enum { LINKS_MAX = 40 }; /* the kernel's own */
    char *path = alloc_text(target), *next;
    bool stranger = false;

    for (int links = 0; !stranger && links < LINKS_MAX && (next = follow_link(path, &stranger)) != NULL; links++) {
        free(path);
        path = next;
    }
    free(path);
    return !stranger;
}

static int find_target(struct file_replacement *replacement, const char *target)
{
    char *real = realpath(target, NULL);
    struct stat link;

    replacement->target = real != NULL ? real : alloc_text(target);
    if (!links_are_trusted(target))
        return cli_fail("%s: is reached by a link of another user; name the file itself", target);
    if (real == NULL && lstat(target, &link) == 0 && S_ISLNK(link.st_mode))
        return cli_fail("%s: is a link that leads to no file; make an empty one there, or remove the link", target);
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
static bool is_unchanged(struct file_replacement *replacement)
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

static const char note_name[] = "user.hunnypot.made-from", owed_name[] = "user.hunnypot.command-owed";

/* NOTE, with what changes when somebody else writes, replaces or copies the file that is FILE. */
static char *sealed_note(const struct stat *file, const char *note)
{
    return alloc_format("%ju %ju %jd %jd.%09ld %s", (uintmax_t)file->st_dev, (uintmax_t)file->st_ino, (intmax_t)file->st_size,
                        (intmax_t)file->st_mtim.tv_sec, file->st_mtim.tv_nsec, note);
}

bool file_replace_is_noted(const struct file_replacement *replacement, const char *note)
{
    char found[FILE_NOTE_MAX + 128], *sealed = sealed_note(&replacement->old, note);
    ssize_t length = replacement->there ? getxattr(replacement->target, note_name, found, sizeof found) : -1;
    bool is_noted = length >= 0 && (size_t)length == strlen(sealed) && memcmp(found, sealed, (size_t)length) == 0;

    free(sealed);
    return is_noted;
}

bool file_has_note(const char *path)
{
    return getxattr(path, note_name, NULL, 0) > 0;
}

/* A note less is a slower run, no wrong one: so it may fail. */
static void note_fresh(const struct file_replacement *replacement, const char *note)
{
    int fd = fileno(replacement->file);
    struct stat fresh;

    if (note != NULL && fstat(fd, &fresh) == 0) {
        char *sealed = sealed_note(&fresh, note);

        (void)fsetxattr(fd, note_name, sealed, strlen(sealed), 0);
        free(sealed);
    }
}

/* What has become of the old file since it was compared, its note does not fit. */
static void note_old(const struct file_replacement *replacement, const char *note)
{
    if (note != NULL && !file_replace_is_noted(replacement, note)) {
        char *sealed = sealed_note(&replacement->old, note);

        (void)setxattr(replacement->target, note_name, sealed, strlen(sealed), 0);
        free(sealed);
    }
}

void file_replace_owe(struct file_replacement *replacement)
{
    (void)fsetxattr(fileno(replacement->file), owed_name, "", 0, 0);
}

bool file_is_owed(const char *path)
{
    return getxattr(path, owed_name, NULL, 0) >= 0;
}

void file_settle(const char *path)
{
    (void)removexattr(path, owed_name);
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

int file_replace_commit(struct file_replacement *replacement, const char *note, bool *changed)
{
    int fd = fileno(replacement->file);

    *changed = false;
    if (fflush(replacement->file) != 0)
        return cli_fail("%s: %s", replacement->fresh, strerror(errno));
    if (is_unchanged(replacement)) {
        note_old(replacement, note);
        return CLI_OK;
    }
    note_fresh(replacement, note);
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
