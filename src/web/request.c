#include "web/request.h"

#include <string.h>
#include <strings.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What LENGTH bytes of FROM stand for, into OUT (SIZE bytes with the final NUL).  In a form "+" is a space. */
static const char *decode(const char *from, size_t length, bool form, char *out, size_t size)
{
    size_t used = 0;

    *out = '\0';
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)from[i];

        if (byte == '+' && form) {
            byte = ' ';
        } else if (byte == '%') {
            int high = i + 2 < length ? hex_value(from[i + 1]) : -1, low = high >= 0 ? hex_value(from[i + 2]) : -1;

            if (low < 0)
                return "a % without two hexadecimal digits";
            byte = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7f)
            return "a control character";
        if (used + 1 == size)
            return "a part that is too long";
        out[used++] = (char)byte;
        out[used] = '\0';
    }
    return NULL;
}

/* NAME=VALUE, or VALUE. */
static const char *read_parameter(const char *from, size_t length, struct request *request)
{
    struct request_parameter *parameter = &request->parameters[request->count];
    const char *equals = memchr(from, '=', length), *fault;
    size_t name_length = equals == NULL ? 0 : (size_t)(equals - from), behind = equals == NULL ? 0 : name_length + 1;

    if (request->count == REQUEST_PARAMETERS_MAX)
        return "too many parameters";
    fault = decode(from, name_length, true, parameter->name, sizeof parameter->name);
    if (fault == NULL)
        fault = decode(from + behind, length - behind, true, parameter->value, sizeof parameter->value);
    if (fault == NULL && request_parameter(request, parameter->name) != NULL)
        fault = "a parameter that is given twice";
    if (fault == NULL)
        request->count++;
    return fault;
}

const char *request_read_form(const char *form, size_t length, struct request *request)
{
    const char *fault = NULL;

    request->count = 0;
    while (fault == NULL && length > 0) {
        const char *end = memchr(form, '&', length);
        size_t part = end == NULL ? length : (size_t)(end - form);

        if (part > 0)
            fault = read_parameter(form, part, request);
        if (end != NULL)
            part++;
        form += part;
        length -= part;
    }
    return fault;
}

const char *request_read_target(const char *target, struct request *request)
{
    const char *query = strchr(target, '?');
    size_t path_length = query == NULL ? strlen(target) : (size_t)(query - target);
    const char *fault = decode(target, path_length, false, request->path, sizeof request->path);

    request->count = 0;
    if (fault == NULL && *request->path != '/')
        return "no path";
    if (fault == NULL && query != NULL)
        fault = request_read_form(query + 1, strlen(query + 1), request);
    return fault;
}

const char *request_parameter(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->count; i++)
        if (strcmp(request->parameters[i].name, name) == 0)
            return request->parameters[i].value;
    return NULL;
}

bool request_last_forwarded(const char *list, struct ipaddr *client)
{
    const char *comma = strrchr(list, ',');
    char text[IPADDR_TEXT_SIZE];
    size_t length;

    list = comma == NULL ? list : comma + 1;
    list += strspn(list, " \t");
    length = strcspn(list, " \t");
    if (length >= sizeof text || list[length + strspn(list + length, " \t")] != '\0')
        return false;
    memcpy(text, list, length);
    text[length] = '\0';
    return ipaddr_parse(text, client);
}

bool request_names_this_host(const char *host)
{
    struct ipaddr address;
    char name[IPADDR_TEXT_SIZE];
    size_t length;

    if (host == NULL)
        return true; /* no browser leaves it out */
    length = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (length >= sizeof name || length > strlen(host) || (host[length] != '\0' && host[length] != ':'))
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    return strcasecmp(name, "localhost") == 0 || ipaddr_parse(name, &address);
}
