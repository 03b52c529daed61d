/* conninfo.h - what a libpq connection string says, before anybody connects with it.
 *
 * Threads:  any.
 * Owns:     nothing.
 * Fails:    with a text.
 */
#ifndef BASE_CONNINFO_H
#define BASE_CONNINFO_H

#include <stdbool.h>
#include <stddef.h>

struct conninfo {
    bool names_database; /* the string or the environment does, by its name or by a service */
    size_t hosts;        /* to be tried one after the other; 1 when none is named */
};

/* Read TEXT as PQconnectdbParams() does: a connection string, a URI, or the name of a database.  False when it makes no
 * sense; *WHY is then a text for the caller to free, without a password. */
bool conninfo_read(const char *text, struct conninfo *conninfo, char **why);

/* Why TEXT cannot stand where others may read it: it holds a password (which should come from a passfile or a service
 * file instead), or makes no sense.  A static text with nothing of TEXT in it, to go behind its name, or NULL. */
const char *conninfo_fault(const char *text);

/* What TEXT itself, which conninfo_read() takes, gives for KEYWORD ("dbname", "host"); the caller frees; NULL: nothing. */
char *conninfo_value(const char *text, const char *keyword);

#endif
