/* public.c - the door: the one page that anybody may ask for.  What is on it is src/report/door.h's. */
#include <stdlib.h>
#include <string.h>

#include "report/catalogue.h"
#include "report/door.h"
#include "web/exchange.h"

static bool asks_for_json(const struct exchange *exchange)
{
    const char *format = request_parameter(&exchange->request, "format");

    if (format != NULL)
        return strcmp(format, "json") == 0;
    return strstr(exchange->accept, "application/json") != NULL && strstr(exchange->accept, "text/html") == NULL;
}

static struct door_visit visit_of(struct exchange *exchange)
{
    const char *address = request_parameter(&exchange->request, DOOR_ADDRESS);
    struct door_visit visit = {
        .address = address != NULL ? address : request_parameter(&exchange->request, ""),
        .token = request_parameter(&exchange->request, DOOR_TOKEN),
        .asker = exchange->client,
        .asker_is_sure = exchange->client_is_sure,
        .json = asks_for_json(exchange),
        .words = catalogue_choose(exchange->accept_language),
    };

    exchange->type = visit.json ? HTTP_JSON : HTTP_HTML;
    exchange->language = visit.words->language;
    return visit;
}

/* What is inside is nobody's business here. */
static void refuse(struct exchange *exchange, int status, const char *why, FILE *out)
{
    struct door_visit visit = visit_of(exchange);

    (void)why;
    door_refuse(&visit, status == HTTP_TARGET_TOO_LONG ? HTTP_TOO_LARGE : status, out);
}

static enum db_status write_lookup(struct db *db, struct exchange *exchange, FILE *out)
{
    struct door_visit visit = visit_of(exchange);

    return exchange->post ? door_ask_removal(db, &visit, out, &exchange->status)
                          : door_look_up(db, &visit, out, &exchange->status);
}

static const struct page pages[] = {
    {.path = "/" DOOR_PATH, .takes_post = true, .asks_database = true, .write = write_lookup},
    {.path = NULL},
};

const struct site public_site = {
    .name = "public",
    .role = "hunnypot_door",
    .pages = pages,
    .for_everybody = true,
    .workers = 4,
    .places = 1000,
    .refuse = refuse,
};
