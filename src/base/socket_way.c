#include "base/socket_way.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* 0: somebody listens at PATH.  Else why not, as errno says it. */
static int listener_error(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, error;

    if (strlen(path) >= sizeof address.sun_path)
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    error = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    return error;
}

enum socket_way socket_make_way(const char *path)
{
    struct stat status;
    int error;

    if (lstat(path, &status) != 0)
        return errno == ENOENT ? SOCKET_WAY_FREE : SOCKET_WAY_FAILED;
    if (!S_ISSOCK(status.st_mode))
        return SOCKET_WAY_NO_SOCKET;
    error = listener_error(path);
    if (error == 0)
        return SOCKET_WAY_IN_USE;
    /* Only a refused connection proves that nobody listens. */
    if (error == ECONNREFUSED)
        return unlink(path) == 0 ? SOCKET_WAY_FREE : SOCKET_WAY_STAYS;
    errno = error;
    return SOCKET_WAY_FAILED;
}
