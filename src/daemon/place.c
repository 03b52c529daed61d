#include "daemon/place.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/socket_way.h"
#include "milter/server.h"
#include "settings/settings.h"

static bool refuse(char why[PLACE_WHY_SIZE], const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(char why[PLACE_WHY_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, PLACE_WHY_SIZE, format, arguments);
    va_end(arguments);
    return false;
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
static bool is_free(const char *path, char why[PLACE_WHY_SIZE])
{
    switch (socket_make_way(path)) {
    case SOCKET_WAY_FREE:
        return true;
    case SOCKET_WAY_NO_SOCKET:
        return refuse(why, "%s is in the way and no socket", path);
    case SOCKET_WAY_IN_USE:
        return refuse(why, "%s is in use by a running daemon", path);
    case SOCKET_WAY_STAYS:
        return refuse(why, "%s cannot be removed: %s", path, strerror(errno));
    case SOCKET_WAY_FAILED:
        break;
    }
    return refuse(why, "%s: %s", path, strerror(errno));
}

static bool open_unix(const char *socket, const char *path, uid_t uid, gid_t gid, char why[PLACE_WHY_SIZE])
{
    mode_t saved = umask(0117);
    bool done = is_free(path, why);

    if (done && !server_open(socket))
        done = refuse(why, "%s cannot be listened on: %s", path, strerror(errno));
    umask(saved);
    if (done && lchown(path, geteuid() == 0 ? uid : (uid_t)-1, gid) != 0) {
        done = refuse(why, "%s cannot be given to its group: %s", path, strerror(errno));
        unlink(path);
    }
    return done;
}

/* Keeps two daemons that start at once from removing each other's socket.  That takes no time; but whoever can read the folder
 * can lock it for as long as they like. */
static bool lock_folder(int fd, const char *folder, char why[PLACE_WHY_SIZE])
{
    enum { TRIES = 50, PAUSE_MS = 100 };

    for (int tries = 0; fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (fd < 0 || errno != EWOULDBLOCK)
            return refuse(why, "folder %s: %s", folder, strerror(errno));
        if (tries == TRIES)
            return refuse(why, "folder %s is locked by another program (see: fuser -v %s)", folder, folder);
        poll(NULL, 0, PAUSE_MS);
    }
    return true;
}

bool place_open_socket(const char *socket, uid_t uid, gid_t gid, char why[PLACE_WHY_SIZE])
{
    const char *path = settings_socket_path(socket);
    char *folder;
    int folder_fd;
    bool done;

    if (path == NULL)
        return server_open(socket) || refuse(why, "%s cannot be listened on: %s", socket, strerror(errno));
    folder = folder_of(path);
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    done = lock_folder(folder_fd, folder, why) && open_unix(socket, path, uid, gid, why);
    if (folder_fd >= 0)
        close(folder_fd);
    free(folder);
    return done;
}
