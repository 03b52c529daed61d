#include "record/hit.h"

#include <stdlib.h>

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

void hit_clear(struct hit *hit)
{
    free(hit->client_name);
    free(hit->helo);
    free(hit->sender);
    free_texts(hit->recipients, hit->recipient_count);
    free_texts(hit->domains, hit->domain_count);
    free(hit->hashes);
    free(hit->queue_id);
    free(hit->mta_name);
    free(hit->domain);
    free(hit->primary);
    free_texts(hit->primaries, hit->primaries_count);
    free(hit->owner);
    *hit = (struct hit){.id = 0};
}
