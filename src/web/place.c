#include "web/place.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/socket_way.h"

enum { BACKLOG = 4096 };

static bool read_port(const char *text, uint16_t *port)
{
    char *end;
    unsigned long number;

    if (*text < '0' || *text > '9')
        return false;
    number = strtoul(text, &end, 10);
    *port = (uint16_t)number;
    return *end == '\0' && number > 0 && number <= UINT16_MAX;
}

bool place_read(const char *text, struct place *place)
{
    const char *colon = strrchr(text, ':');
    char address[IPADDR_TEXT_SIZE];

    *place = (struct place){.path = ""};
    if (strncmp(text, "unix:/", 6) == 0 && strlen(text + 5) < sizeof place->path) {
        memcpy(place->path, text + 5, strlen(text + 5));
        return true;
    }
    if (colon == NULL || (size_t)(colon - text) >= sizeof address || !read_port(colon + 1, &place->port))
        return false;
    memcpy(address, text, (size_t)(colon - text));
    address[colon - text] = '\0';
    return ipaddr_parse(address, &place->address) && (*address == '[' || strchr(address, ':') == NULL);
}

bool place_is_local(const struct place *place)
{
    static const struct ipaddr loopback6 = {.family = 6, .bytes = {[15] = 1}};

    return *place->path != '\0' || ipaddr_equal(&place->address, &loopback6) ||
           (place->address.family == 4 && place->address.bytes[0] == 127);
}

/* NULL: PATH is free for a new socket. */
static char *what_is_in_the_way(const char *path)
{
    switch (socket_make_way(path)) {
    case SOCKET_WAY_FREE:
        return NULL;
    case SOCKET_WAY_NO_SOCKET:
        return alloc_text("it is in the way and no socket");
    case SOCKET_WAY_IN_USE:
        return alloc_text("it is in use by a running program");
    case SOCKET_WAY_STAYS:
    case SOCKET_WAY_FAILED:
        break;
    }
    return alloc_text(strerror(errno));
}

static int open_unix(const struct place *place, char **why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t mask;
    int fd;

    memcpy(address.sun_path, place->path, strlen(place->path) + 1);
    *why = what_is_in_the_way(place->path);
    if (*why != NULL)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mask = umask(0117);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, BACKLOG) != 0)
        *why = alloc_text(strerror(errno));
    umask(mask);
    return fd;
}

static int open_internet(const struct place *place, char **why)
{
    struct sockaddr_storage address;
    socklen_t length = ipaddr_to_sockaddr(&place->address, place->port, &address);
    int on = 1, off = 0, fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (address.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) ||
        bind(fd, (const struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0)
        *why = alloc_text(strerror(errno));
    return fd;
}

int place_open(const struct place *place, char **why)
{
    int fd;

    *why = NULL;
    fd = *place->path != '\0' ? open_unix(place, why) : open_internet(place, why);
    if (*why != NULL && fd >= 0)
        close(fd);
    return *why == NULL ? fd : -1;
}
