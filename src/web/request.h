/* request.h - what a client asks for, taken apart: the target of a request, a form, a header that a proxy adds.
 *
 * Threads:  any.
 * Owns:     nothing; everything is copied into the caller's struct.
 * Fails:    with a static text that says what is wrong; what was read until then is there, ended by NULs.
 * Limits:   those below; what is longer is refused, not cut.
 */
#ifndef WEB_REQUEST_H
#define WEB_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ipaddr.h"

enum {
    REQUEST_TARGET_MAX = 2000,
    REQUEST_FORM_MAX = 2000,
    REQUEST_PATH_SIZE = 128,
    REQUEST_NAME_SIZE = 32,
    REQUEST_VALUE_SIZE = 300,
    REQUEST_PARAMETERS_MAX = 8
};

struct request_parameter {
    char name[REQUEST_NAME_SIZE]; /* "": it has only a value, as in "?192.0.2.1" */
    char value[REQUEST_VALUE_SIZE];
};

struct request {
    char path[REQUEST_PATH_SIZE];
    struct request_parameter parameters[REQUEST_PARAMETERS_MAX]; /* no name is there twice */
    size_t count;
};

/* The target as it stands in the request line (RFC 9112 3.2.1: a path, perhaps with a query).  NULL, or what is wrong. */
const char *request_read_target(const char *target, struct request *request);

/* A form of LENGTH bytes (application/x-www-form-urlencoded), whose fields take the place of the parameters. */
const char *request_read_form(const char *form, size_t length, struct request *request);

/* The value of NAME; NULL when it was not given. */
const char *request_parameter(const struct request *request, const char *name);

/* The last address of a list as proxies append to it (X-Forwarded-For); false when that is none. */
bool request_last_forwarded(const char *list, struct ipaddr *client);

/* May a page that holds networks be told by this name of the host ("Host", NULL: none)?  An address or "localhost", with a port
 * or without: else a page of somebody's, whose name leads to this host all of a sudden, could have a browser here read it. */
bool request_names_this_host(const char *host);

#endif
