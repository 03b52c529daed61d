/* exchange.h - one request and its answer, and the pages of a site that answer it.
 *
 * Scenario: the listener reads the request and finds its page; what needs the database goes to a worker of the site's crew, which
 * has the page written; then the listener sends what is there.  Whoever has the exchange in hand is the only one who touches it.
 */
#ifndef WEB_EXCHANGE_H
#define WEB_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/ipaddr.h"
#include "record/db.h"
#include "web/request.h"

/* RFC 9110 15 */
enum http_status {
    HTTP_OK = 200,
    HTTP_BAD_REQUEST = 400,
    HTTP_NOT_FOUND = 404,
    HTTP_METHOD_NOT_ALLOWED = 405,
    HTTP_TOO_LARGE = 413,
    HTTP_TARGET_TOO_LONG = 414,
    HTTP_MISDIRECTED = 421,
    HTTP_TOO_MANY = 429,
    HTTP_UNAVAILABLE = 503
};

#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_HTML "text/html; charset=utf-8"
#define HTTP_JSON "application/json; charset=utf-8"

enum { HTTP_HEADER_SIZE = 200 };

struct page;

struct exchange {
    /* The request. */
    struct request request;
    const char *fault; /* what is wrong with it, or NULL */
    const struct page *page;
    bool post; /* its form has taken the place of the parameters */
    char accept[HTTP_HEADER_SIZE], accept_language[HTTP_HEADER_SIZE]; /* cut when longer */
    struct ipaddr client; /* no address: nobody knows */
    bool client_is_sure;  /* nobody else can have put it there */

    /* The answer, whole when STATUS is not 0. */
    int status;
    const char *type, *language; /* static; no language: NULL */
    char *body;       /* from malloc() */
    size_t length;
    int retry_s; /* when to come again; 0: nothing to say about it */

    bool given; /* to the crew */
    int64_t given_ms;
    struct exchange *prev, *next;
    void *connection, *place; /* the listener's, as is what follows */
    char *form;               /* NULL: none yet */
    size_t form_length;
};

struct page {
    const char *path;
    bool takes_post;
    bool asks_database;
    /* Write the body to OUT, set the answer's type, and its status unless it is HTTP_OK.  DB is NULL when it asks none.  What it
     * wrote is forgotten when it is not DB_OK. */
    enum db_status (*write)(struct db *db, struct exchange *exchange, FILE *out);
};

struct site {
    const char *name;
    const char *role;         /* whose rights its connections have */
    const struct page *pages; /* ended by one without a path */
    bool for_this_host;       /* see request_names_this_host() */
    bool for_everybody;       /* and so by rate.h */
    unsigned workers, places; /* connections to the database, and of clients */
    /* Write what goes with STATUS in place of a page; WHY (printable, or NULL) tells of the inside. */
    void (*refuse)(struct exchange *exchange, int status, const char *why, FILE *out);
    /* Is the database as the site needs it?  Else *WHY says what it lacks, in new memory.  NULL: nothing is asked. */
    enum db_status (*begin)(struct db *db, char **why);
};

extern const struct site private_site, public_site;

/* Make the answer: of PAGE with DB, or of STATUS and WHY. */
enum db_status exchange_write(const struct site *site, struct exchange *exchange, struct db *db);
void exchange_refuse(const struct site *site, struct exchange *exchange, int status, const char *why);

#endif
