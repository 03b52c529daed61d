#include "mx_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void addresses_take(char *words, struct mx_addresses *addresses)
{
    char *rest = words;

    for (char *word = strtok_r(rest, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (strcmp(word, "?") == 0)
            addresses->status = MX_UNKNOWN;
        else if (!ipaddr_parse(word, &addresses->list[addresses->count++]))
            abort();
    }
}

static void item_take(char *item, struct mx_answer *answer)
{
    char *rest = item, *word = strtok_r(rest, " ", &rest);

    if (strcmp(word, "nxdomain") == 0) {
        answer->status = MX_NXDOMAIN;
    } else if (strcmp(word, "unknown") == 0) {
        answer->status = MX_UNKNOWN;
    } else if (strcmp(word, "null") == 0) {
        answer->null_mx = true;
    } else if (strcmp(word, "ttl") == 0) {
        answer->ttl_s = answer->ttl_max_s = (uint32_t)strtoul(rest, NULL, 10);
    } else if (strcmp(word, "@") == 0) {
        addresses_take(rest, &answer->addresses);
    } else {
        struct mx_host *host = &answer->hosts[answer->host_count++];

        host->preference = (uint16_t)strtoul(word, NULL, 10);
        strcpy(host->name, strtok_r(NULL, " ", &rest));
        addresses_take(rest, &host->addresses);
    }
}

struct mx_answer mx_from_text(const char *text)
{
    struct mx_answer answer = {.status = MX_OK, .ttl_s = 300, .ttl_max_s = 300};
    char copy[4096], *rest = copy;

    assert(strlen(text) < sizeof copy);
    strcpy(copy, text);
    for (char *item = strtok_r(rest, ";", &rest); item != NULL; item = strtok_r(NULL, ";", &rest))
        item_take(item, &answer);
    return answer;
}
