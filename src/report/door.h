/* door.h - the public door of the list: is an address on it, why, and how it gets off it.
 *
 * What is told is about the address that was asked for and nobody else: no domain, no host, no recipient of ours, no network.
 * Threads:  one, that of the connection, whose role needs nothing but hunnypot_door.
 * Owns:     nothing; everything is borrowed.
 * Fails:    as db.h says.  Also then OUT gets a whole body, which says so, and *HTTP_STATUS is 503.  Whether OUT could be
 *           written, the caller asks it.
 * Limits:   of requests, by address and in all, in the database; of look-ups, the caller's.
 */
#ifndef REPORT_DOOR_H
#define REPORT_DOOR_H

#include <stdbool.h>
#include <stdio.h>

#include "base/ipaddr.h"
#include "record/db.h"
#include "report/catalogue.h"

/* All forms go to this path, relative to the page: a GET to look up, whose query is an address or DOOR_ADDRESS=an address; and
 * a POST to ask for removal, whose body is application/x-www-form-urlencoded with these fields. */
#define DOOR_PATH "lookup"
#define DOOR_ADDRESS "address"
#define DOOR_TOKEN "token"

enum { DOOR_TIMEOUT_MS = 10000 };

struct door_visit {
    const char *address;  /* as asked for, decoded, any bytes; NULL or "": none yet */
    const char *token;    /* of a POST, the same way; NULL or "": none */
    struct ipaddr asker;  /* who asks */
    bool asker_is_sure;   /* that it is surely the asker's; if not, removal is not offered, and not done */
    bool json;            /* application/json, else text/html; both in UTF-8 */
    const struct catalogue *words;
};

/* Look up visit->address.  From the address itself, the page has a form with a token of one use.  DB may be NULL: no connection. */
enum db_status door_look_up(struct db *db, const struct door_visit *visit, FILE *out, int *http_status)
    __attribute__((warn_unused_result));

/* The POST: ask that visit->address is taken off the list. */
enum db_status door_ask_removal(struct db *db, const struct door_visit *visit, FILE *out, int *http_status)
    __attribute__((warn_unused_result));

/* The body that goes with HTTP_STATUS: 400, 404, 405, 413, 429, 503; any other is told as 500. */
void door_refuse(const struct door_visit *visit, int http_status, FILE *out);

#endif
