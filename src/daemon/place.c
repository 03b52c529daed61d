#include "daemon/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "milter/prime.h"
#include "milter/server.h"

static bool __attribute__((format(printf, 2, 3))) refuse(char why[PLACE_WHY_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, PLACE_WHY_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

const char *place_unix_path(const char *socket)
{
    if (strncmp(socket, "unix:", 5) == 0)
        return socket + 5;
    if (strncmp(socket, "local:", 6) == 0)
        return socket + 6;
    return *socket == '/' ? socket : NULL;
}

/* The folder of the full path FILE; the caller frees. */
static char *folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');

    return slash == file ? alloc_text("/") : alloc_format("%.*s", (int)(slash - file), file);
}

bool place_make_folder(const char *file, mode_t mode, uid_t uid, gid_t gid, char why[PLACE_WHY_SIZE])
{
    char *folder = folder_of(file);
    bool done = true;

    if (mkdir(folder, mode) == 0) {
        if (chmod(folder, mode) != 0 || (geteuid() == 0 && chown(folder, uid, gid) != 0))
            done = refuse(why, "folder %s: %s", folder, strerror(errno));
    } else if (errno != EEXIST) {
        done = refuse(why, "folder %s cannot be made: %s", folder, strerror(errno));
    }
    free(folder);
    return done;
}

bool place_check_folder(const char *file, char why[PLACE_WHY_SIZE])
{
    char *folder = folder_of(file), *parent = folder_of(folder);
    struct stat status;
    bool fine = true;

    if (stat(folder, &status) == 0) {
        if (!S_ISDIR(status.st_mode))
            fine = refuse(why, "%s is no folder", folder);
    } else if (errno != ENOENT || stat(parent, &status) != 0) {
        fine = refuse(why, "folder %s: %s", folder, strerror(errno));
    }
    free(parent);
    free(folder);
    return fine;
}

/* Is PATH free for a new socket? */
static bool make_way(const char *socket, const char *path, char why[PLACE_WHY_SIZE])
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return errno == ENOENT || refuse(why, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return refuse(why, "%s is in the way and no socket", path);
    if (prime_knock(socket))
        return refuse(why, "%s is in use by a running daemon", path);
    /* Only a refused connection proves that nobody listens. */
    if (errno != ECONNREFUSED)
        return refuse(why, "%s: %s", path, strerror(errno));
    return unlink(path) == 0 || refuse(why, "%s cannot be removed: %s", path, strerror(errno));
}

static bool open_unix(const char *socket, const char *path, uid_t uid, gid_t gid, char why[PLACE_WHY_SIZE])
{
    mode_t saved = umask(0117);
    bool done = make_way(socket, path, why);

    if (done && !server_open(socket))
        done = refuse(why, "%s cannot be listened on: %s", path, strerror(errno));
    umask(saved);
    if (done && lchown(path, geteuid() == 0 ? uid : (uid_t)-1, gid) != 0) {
        done = refuse(why, "%s cannot be given to its group: %s", path, strerror(errno));
        unlink(path);
    }
    return done;
}

bool place_open_socket(const char *socket, uid_t uid, gid_t gid, char why[PLACE_WHY_SIZE])
{
    const char *path = place_unix_path(socket);
    char *folder;
    int folder_fd;
    bool done;

    if (path == NULL)
        return server_open(socket) || refuse(why, "%s cannot be listened on: %s", socket, strerror(errno));
    folder = folder_of(path);
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* The lock keeps two daemons that start at once from removing each other's socket. */
    if (folder_fd < 0 || flock(folder_fd, LOCK_EX) != 0)
        done = refuse(why, "folder %s: %s", folder, strerror(errno));
    else
        done = open_unix(socket, path, uid, gid, why);
    if (folder_fd >= 0)
        close(folder_fd);
    free(folder);
    return done;
}
