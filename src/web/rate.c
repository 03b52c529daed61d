#include "web/rate.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { MINUTE_US = 60000000 };

struct client {
    struct ipnet network;
    int64_t used_us; /* up to when its requests last when each takes its part of a minute */
    UT_hash_handle hh;
};

struct rate {
    int64_t each_us;
    struct client *clients; /* the one that asked longest ago first */
};

struct rate *rate_create(unsigned per_minute)
{
    struct rate *rate = alloc_zeroed(1, sizeof *rate);

    rate->each_us = MINUTE_US / per_minute;
    return rate;
}

void rate_destroy(struct rate **rate)
{
    struct client *client, *next;

    if (*rate == NULL)
        return;
    client = (*rate)->clients;
    HASH_CLEAR(hh, (*rate)->clients);
    for (; client != NULL; client = next) {
        next = client->hh.next;
        free(client);
    }
    free(*rate);
    *rate = NULL;
}

/* The entry of the client at ADDRESS, which becomes the last of the table. */
static struct client *find(struct rate *rate, const struct ipaddr *address)
{
    struct ipnet network = ipaddr_limit_network(address);
    struct client *client;

    HASH_FIND(hh, rate->clients, &network, sizeof network, client);
    if (client == NULL) {
        struct client *first = HASH_COUNT(rate->clients) < RATE_CLIENTS_MAX ? NULL : rate->clients;

        if (first != NULL)
            HASH_DEL(rate->clients, first);
        client = first != NULL ? first : alloc_zeroed(1, sizeof *client);
        *client = (struct client){.network = network};
    } else {
        HASH_DEL(rate->clients, client);
    }
    HASH_ADD(hh, rate->clients, network, sizeof client->network, client);
    return client;
}

int rate_take(struct rate *rate, const struct ipaddr *address, int64_t now_ms)
{
    struct client *client = find(rate, address);
    int64_t now_us = now_ms * 1000, from_us = client->used_us > now_us ? client->used_us : now_us;
    int64_t over_us = from_us + rate->each_us - now_us - MINUTE_US;

    if (over_us > 0)
        return (int)(over_us / 1000000) + 1;
    client->used_us = from_us + rate->each_us;
    return 0;
}
