/* What a browser, or a bot, asks hunnypot-web for: a target, a form, a Host, an X-Forwarded-For; the input is taken for each.
 *
 * fuzz-sources: src/web/request.c */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fuzz.h"
#include "web/request.h"

/* Each text is ended, short enough and without a control character, and no name is there twice. */
static void look_at(const struct request *request)
{
    FUZZ_REQUIRE(request->count <= REQUEST_PARAMETERS_MAX);
    for (size_t i = 0; i < request->count; i++) {
        const struct request_parameter *parameter = &request->parameters[i];

        FUZZ_REQUIRE(memchr(parameter->name, '\0', sizeof parameter->name) != NULL);
        FUZZ_REQUIRE(memchr(parameter->value, '\0', sizeof parameter->value) != NULL);
        for (const char *byte = parameter->value; *byte != '\0'; byte++)
            FUZZ_REQUIRE((unsigned char)*byte >= 0x20 && *byte != 0x7f);
        FUZZ_REQUIRE(request_parameter(request, parameter->name) == parameter->value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request request;
    struct ipaddr client;
    char *text = alloc_zeroed(size + 1, 1);

    if (size > 0)
        memcpy(text, data, size);
    if (request_read_target(text, &request) == NULL)
        FUZZ_REQUIRE(*request.path == '/' && memchr(request.path, '\0', sizeof request.path) != NULL);
    look_at(&request);
    (void)request_read_form(text, size, &request);
    look_at(&request);
    if (request_last_forwarded(text, &client))
        FUZZ_REQUIRE(client.family == 4 || client.family == 6);
    (void)request_names_this_host(text);
    free(text);
    return 0;
}
