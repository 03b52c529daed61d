#include "base/conninfo.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val;
    return NULL;
}

/* As PQconnectdbParams() takes it: a word is the name of a database. */
static bool is_database_name(const char *text)
{
    return strchr(text, '=') == NULL && strstr(text, "://") == NULL && *text != '\0';
}

/* NULL when it makes no sense; ERROR, when the caller wants it and frees it with PQfreemem(), says why. */
static PQconninfoOption *parse_options(const char *text, char **error)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(is_database_name(text) ? "" : text, &why);

    if (options == NULL && (why == NULL || strcmp(why, "out of memory\n") == 0))
        alloc_failed();
    if (error != NULL)
        *error = why;
    else
        PQfreemem(why);
    return options;
}

const char *conninfo_fault(const char *text)
{
    PQconninfoOption *options = parse_options(text, NULL);
    const char *fault = NULL;

    if (options == NULL)
        fault = "cannot be read";
    else if (option_value(options, "password") != NULL || option_value(options, "sslpassword") != NULL)
        fault = "holds a password";
    PQconninfoFree(options);
    return fault;
}

static size_t count_hosts(const PQconninfoOption *options)
{
    const char *hosts = option_value(options, "host");
    size_t count = 1;

    if (hosts == NULL)
        hosts = option_value(options, "hostaddr");
    for (; hosts != NULL && *hosts != '\0'; hosts++)
        count += *hosts == ',';
    return count;
}

static bool names_database(const PQconninfoOption *options)
{
    return option_value(options, "dbname") != NULL || option_value(options, "service") != NULL ||
           getenv("PGDATABASE") != NULL || getenv("PGSERVICE") != NULL;
}

bool conninfo_read(const char *text, struct conninfo *conninfo, char **why)
{
    char *error = NULL;
    PQconninfoOption *options = parse_options(text, &error);

    if (options == NULL) {
        /* libpq quotes the part that it could not read, which may be the end of a password. */
        bool secret = strstr(text, "pass") != NULL || strchr(text, '@') != NULL;

        *why = alloc_text(secret ? "the connection string cannot be read" : error);
        PQfreemem(error);
        return false;
    }
    conninfo->names_database = is_database_name(text) || names_database(options);
    conninfo->hosts = count_hosts(options);
    PQconninfoFree(options);
    return true;
}

char *conninfo_value(const char *text, const char *keyword)
{
    PQconninfoOption *options = parse_options(text, NULL);
    char *value = NULL;

    if (is_database_name(text) && strcmp(keyword, "dbname") == 0)
        value = alloc_text(text);
    else if (options != NULL)
        value = alloc_text(option_value(options, keyword));
    PQconninfoFree(options);
    return value;
}
