#include "web/connections.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/alloc.h"

struct connection_place {
    int fd;
    int64_t since_ms;
    bool waits; /* it is in the list */
    struct connection_place *prev, *next;
};

struct connections {
    pthread_mutex_t mutex; /* covers all below, and all places */
    struct connection_place *waiting; /* whose turn it is, the one that waits longest first */
    size_t open, places;
};

struct connections *connections_create(size_t places)
{
    struct connections *connections = alloc_zeroed(1, sizeof *connections);

    pthread_mutex_init(&connections->mutex, NULL);
    connections->places = places;
    return connections;
}

void connections_destroy(struct connections **connections)
{
    if (*connections == NULL)
        return;
    pthread_mutex_destroy(&(*connections)->mutex);
    free(*connections);
    *connections = NULL;
}

static void leave_list(struct connections *connections, struct connection_place *place)
{
    if (place->waits)
        DL_DELETE(connections->waiting, place);
    place->waits = false;
}

static void join_list(struct connections *connections, struct connection_place *place, int64_t now_ms)
{
    leave_list(connections, place);
    place->since_ms = now_ms;
    place->waits = true;
    DL_APPEND(connections->waiting, place);
}

/* It stays open until whoever reads from it has seen the end. */
static void cut_first(struct connections *connections)
{
    struct connection_place *first = connections->waiting;

    leave_list(connections, first);
    (void)shutdown(first->fd, SHUT_RDWR);
}

struct connection_place *connections_add(struct connections *connections, int fd, int64_t now_ms)
{
    struct connection_place *place = alloc_zeroed(1, sizeof *place);

    place->fd = fd;
    pthread_mutex_lock(&connections->mutex);
    if (++connections->open > connections->places && connections->waiting != NULL)
        cut_first(connections);
    join_list(connections, place, now_ms);
    pthread_mutex_unlock(&connections->mutex);
    return place;
}

void connections_remove(struct connections *connections, struct connection_place *place)
{
    pthread_mutex_lock(&connections->mutex);
    leave_list(connections, place);
    connections->open--;
    pthread_mutex_unlock(&connections->mutex);
    free(place);
}

void connections_hold(struct connections *connections, struct connection_place *place)
{
    pthread_mutex_lock(&connections->mutex);
    leave_list(connections, place);
    pthread_mutex_unlock(&connections->mutex);
}

void connections_release(struct connections *connections, struct connection_place *place, int64_t now_ms)
{
    pthread_mutex_lock(&connections->mutex);
    join_list(connections, place, now_ms);
    pthread_mutex_unlock(&connections->mutex);
}

void connections_cut_slow(struct connections *connections, int64_t now_ms)
{
    pthread_mutex_lock(&connections->mutex);
    while (connections->waiting != NULL && now_ms - connections->waiting->since_ms > CONNECTIONS_TIME_MS)
        cut_first(connections);
    pthread_mutex_unlock(&connections->mutex);
}
