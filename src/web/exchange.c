#include "web/exchange.h"

#include <stdlib.h>

#include "base/alloc.h"

static FILE *begin_body(struct exchange *exchange)
{
    free(exchange->body);
    return alloc_text_begin(&exchange->body, &exchange->length);
}

enum db_status exchange_write(const struct site *site, struct exchange *exchange, struct db *db)
{
    FILE *out = begin_body(exchange);
    enum db_status status;

    exchange->status = HTTP_OK;
    status = exchange->page->write(db, exchange, out);
    alloc_text_end(out);
    if (status != DB_OK)
        exchange_refuse(site, exchange, status == DB_REFUSED ? HTTP_BAD_REQUEST : HTTP_UNAVAILABLE, db_why(db));
    return status;
}

void exchange_refuse(const struct site *site, struct exchange *exchange, int status, const char *why)
{
    FILE *out = begin_body(exchange);

    exchange->status = status;
    site->refuse(exchange, status, why, out);
    alloc_text_end(out);
}
