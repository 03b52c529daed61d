#include "milter/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/hash.h"

struct client {
    struct ipnet network;
    unsigned held;
    UT_hash_handle hh;
};

struct limits_place {
    struct client *client; /* NULL once the place has been given back */
    int64_t silent_until_ms;
    struct limits_place *prev, *next;
};

struct limits {
    pthread_mutex_t mutex; /* covers everything below, and all places */
    struct client *clients;
    struct limits_place *places;
    size_t held;
};

struct limits *limits_create(void)
{
    struct limits *limits = alloc_zeroed(1, sizeof *limits);

    pthread_mutex_init(&limits->mutex, NULL);
    return limits;
}

static bool is_silent(const struct limits_place *place, int64_t now_ms)
{
    return place->silent_until_ms != 0 && place->silent_until_ms < now_ms;
}

static struct client *client_find(const struct limits *limits, const struct ipnet *network)
{
    struct client *client;

    HASH_FIND(hh, limits->clients, network, sizeof *network, client);
    return client;
}

static struct limits_place *place_add(struct limits *limits, const struct ipnet *network)
{
    struct limits_place *place = alloc_zeroed(1, sizeof *place);
    struct client *client = client_find(limits, network);

    if (client == NULL) {
        client = alloc_zeroed(1, sizeof *client);
        client->network = *network;
        HASH_ADD(hh, limits->clients, network, sizeof client->network, client);
    }
    client->held++;
    limits->held++;
    place->client = client;
    DL_APPEND(limits->places, place);
    return place;
}

/* The place no longer counts; its struct stays until its session lets go of it. */
static void place_release(struct limits *limits, struct limits_place *place)
{
    DL_DELETE(limits->places, place);
    limits->held--;
    if (--place->client->held == 0) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a client that holds a place is in the table */
        HASH_DEL(limits->clients, place->client);
        free(place->client);
    }
    place->client = NULL;
}

static void release_silent(struct limits *limits, int64_t now_ms)
{
    struct limits_place *place, *next;

    DL_FOREACH_SAFE(limits->places, place, next)
        if (is_silent(place, now_ms))
            place_release(limits, place);
}

static enum limits_outcome outcome_for(const struct limits *limits, const struct ipnet *network, unsigned connections,
                                       unsigned per_client)
{
    const struct client *client = client_find(limits, network);

    if (per_client > 0 && client != NULL && client->held >= per_client)
        return LIMITS_CLIENT_CONNECTIONS;
    if (connections > 0 && limits->held >= connections)
        return LIMITS_CONNECTIONS;
    return LIMITS_OK;
}

enum limits_outcome limits_take(struct limits *limits, const struct ipaddr *client, unsigned connections,
                                unsigned per_client, int64_t now_ms, int64_t silent_until_ms,
                                struct limits_place **place)
{
    struct ipnet network = ipaddr_limit_network(client);
    enum limits_outcome outcome;

    *place = NULL;
    pthread_mutex_lock(&limits->mutex);
    outcome = outcome_for(limits, &network, connections, per_client);
    if (outcome != LIMITS_OK) {
        release_silent(limits, now_ms);
        outcome = outcome_for(limits, &network, connections, per_client);
    }
    if (outcome == LIMITS_OK) {
        *place = place_add(limits, &network);
        (*place)->silent_until_ms = silent_until_ms;
    }
    pthread_mutex_unlock(&limits->mutex);
    return outcome;
}

bool limits_touch(struct limits *limits, struct limits_place *place, int64_t now_ms, int64_t silent_until_ms)
{
    bool held;

    pthread_mutex_lock(&limits->mutex);
    if (place->client != NULL && is_silent(place, now_ms))
        place_release(limits, place);
    held = place->client != NULL;
    if (held)
        place->silent_until_ms = silent_until_ms;
    pthread_mutex_unlock(&limits->mutex);
    return held;
}

void limits_give_back(struct limits *limits, struct limits_place **place)
{
    if (*place == NULL)
        return;
    pthread_mutex_lock(&limits->mutex);
    if ((*place)->client != NULL)
        place_release(limits, *place);
    pthread_mutex_unlock(&limits->mutex);
    free(*place);
    *place = NULL;
}

void limits_destroy(struct limits **limits)
{
    if (*limits == NULL)
        return;
    pthread_mutex_destroy(&(*limits)->mutex);
    free(*limits);
    *limits = NULL;
}
