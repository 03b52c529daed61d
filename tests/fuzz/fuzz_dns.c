/* DNS answers: whatever a name server, or somebody who answers in its place, puts into a message.
 *
 * Stands in for res_nquery() and dnstcp_ask(), and answers each question with the next part of the input: a length
 * (two bytes), then the message.
 *
 * fuzz-sources: src/judge/mx.c
 * fuzz-libraries: -lresolv */
#include <errno.h>
#include <netdb.h>
#include <resolv.h>
#include <string.h>

#include "fuzz.h"
#include "judge/dnstcp.h"
#include "judge/mx.h"

static const uint8_t *rest;
static size_t rest_size;

static size_t message_next(unsigned char *answer, size_t size)
{
    size_t length;

    if (rest_size < 2)
        return 0;
    length = (size_t)(rest[0] << 8 | rest[1]);
    rest += 2;
    rest_size -= 2;
    if (length > rest_size)
        length = rest_size;
    memcpy(answer, rest, length < size ? length : size);
    rest += length;
    rest_size -= length;
    return length;
}

/* The id and the question are always right. */
size_t dnstcp_ask(const struct sockaddr *server, const unsigned char *query, uint16_t query_length,
                  unsigned char *answer, size_t answer_size, int64_t deadline_ms)
{
    size_t length = message_next(answer, answer_size);

    (void)server;
    (void)deadline_ms;
    if (length > answer_size)
        return 0;
    if (length >= query_length) {
        memcpy(answer, query, 2);
        memcpy(answer + NS_HFIXEDSZ, query + NS_HFIXEDSZ, query_length - NS_HFIXEDSZ);
    }
    return length;
}

int res_nquery(res_state state, const char *name, int class, int type, unsigned char *answer, int size)
{
    size_t length;

    (void)name;
    (void)class;
    (void)type;
    state->res_h_errno = TRY_AGAIN;
    errno = ETIMEDOUT;
    length = message_next(answer, (size_t)size);
    if (length < NS_HFIXEDSZ)
        return -1;
    state->res_h_errno = ns_get16(answer + 6) == 0 ? NO_DATA : 0; /* ANCOUNT, as the real one looks at it */
    return ns_get16(answer + 6) == 0 ? -1 : (int)length;
}

static void addresses_require(const struct mx_addresses *addresses)
{
    FUZZ_REQUIRE(addresses->count <= MX_ADDRESS_MAX);
    FUZZ_REQUIRE(addresses->status != MX_UNKNOWN || addresses->count == 0);
    for (size_t i = 0; i < addresses->count; i++)
        FUZZ_REQUIRE(addresses->list[i].family == 4 || addresses->list[i].family == 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct settings_dns config = {.timeout_s = 1, .attempts = 1};
    static const atomic_bool stop;
    struct mx_answer answer;

    rest = data;
    rest_size = size;
    mx_resolve(&config, "example.org", &stop, &answer);
    FUZZ_REQUIRE(answer.host_count <= MX_MAX);
    FUZZ_REQUIRE(answer.status == MX_OK || answer.host_count == 0);
    FUZZ_REQUIRE(!answer.null_mx || answer.host_count == 0);
    for (size_t i = 0; i < answer.host_count; i++) {
        FUZZ_REQUIRE(answer.hosts[i].name[0] != '\0' && memchr(answer.hosts[i].name, '\0', DOMAIN_MAX + 1) != NULL);
        FUZZ_REQUIRE(i == 0 || answer.hosts[i - 1].preference <= answer.hosts[i].preference);
        addresses_require(&answer.hosts[i].addresses);
    }
    addresses_require(&answer.addresses);
    return 0;
}
