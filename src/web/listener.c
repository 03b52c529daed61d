#include "web/listener.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "web/connections.h"
#include "web/crew.h"
#include "web/rate.h"

enum { PLACES_SLACK = 50 /* those that were cut, and are still to be closed */ };

struct listener {
    const struct site *site;
    const struct web_options *options;
    struct connections *connections;
    struct crew *crew;
    struct rate *rate; /* NULL: no limit */
    struct MHD_Daemon *daemon;
};

/* A connection.  Of a request whose cookies do not fit, libmicrohttpd never says that it is over: the next one on the connection,
 * or the end of that, is its end. */
struct visitor {
    struct connection_place *place;
    struct exchange *exchange; /* NULL: none, or it is over */
};

static const struct {
    const char *name, *value;
} headers[] = {
    {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
                                " frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
    {"X-Robots-Tag", "noindex, nofollow"},
};

/* --- the answer --- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct exchange *exchange)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(exchange->length, exchange->body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result done;

    if (response == NULL)
        return MHD_NO;
    exchange->body = NULL;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        (void)MHD_add_response_header(response, headers[i].name, headers[i].value);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, exchange->type);
    if (exchange->language != NULL)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_LANGUAGE, exchange->language);
    if (exchange->status == HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW,
                                      exchange->page->takes_post ? "GET, HEAD, POST" : "GET, HEAD");
    if (exchange->retry_s > 0) {
        char seconds[16];

        snprintf(seconds, sizeof seconds, "%d", exchange->retry_s);
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
    done = MHD_queue_response(connection, (unsigned)exchange->status, response);
    MHD_destroy_response(response);
    return done;
}

/* A thread of the crew's: there is an answer, for the next call of on_request(). */
static void on_answered(struct exchange *exchange)
{
    MHD_resume_connection(exchange->connection);
}

/* --- the request --- */

/* NULL: there is no such page. */
static const struct page *find_page(const struct site *site, const char *path)
{
    for (const struct page *page = site->pages; page->path != NULL; page++)
        if (strcmp(page->path, path) == 0)
            return page;
    return NULL;
}

/* The last header of that name has what the server in front of us wrote. */
static enum MHD_Result take_forwarded(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    const char **last = context;

    (void)kind;
    if (strcasecmp(name, "X-Forwarded-For") == 0 && value != NULL)
        *last = value;
    return MHD_YES;
}

/* Who asks: the peer, or whom a server in front of us says it asks for.  Of what comes over loopback or a socket nobody knows. */
static void find_client(const struct listener *listener, struct MHD_Connection *connection, struct exchange *exchange)
{
    const struct sockaddr *peer = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    struct ipaddr client = {.family = 0};
    const char *forwarded = NULL;

    (void)ipaddr_from_sockaddr(peer, &client, NULL);
    if (options_trust(listener->options, &client)) {
        MHD_get_connection_values(connection, MHD_HEADER_KIND, take_forwarded, &forwarded);
        client = (struct ipaddr){.family = 0};
        if (forwarded != NULL)
            (void)request_last_forwarded(forwarded, &client);
    }
    exchange->client = ipaddr_client(&client, NULL, 0);
    exchange->client_is_sure = !ipaddr_is_unusable(&exchange->client);
}

static void copy_header(struct MHD_Connection *connection, const char *name, char copy[HTTP_HEADER_SIZE])
{
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);

    snprintf(copy, HTTP_HEADER_SIZE, "%s", value == NULL ? "" : value);
}

static bool has_form(struct MHD_Connection *connection)
{
    static const char type[] = "application/x-www-form-urlencoded";
    const char *given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);

    return given != NULL && strncasecmp(given, type, sizeof type - 1) == 0;
}

/* What can be said of a request by its header; 0: it is fine. */
static int judge_header(const struct listener *listener, struct MHD_Connection *connection, struct exchange *exchange,
                        const char *method)
{
    bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;

    exchange->post = strcmp(method, MHD_HTTP_METHOD_POST) == 0;
    if (listener->site->for_this_host &&
        !request_names_this_host(MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST)))
        return HTTP_MISDIRECTED;
    if (exchange->status != 0)
        return exchange->status;
    exchange->page = find_page(listener->site, exchange->request.path);
    if (exchange->page == NULL)
        return HTTP_NOT_FOUND;
    if (!get && !(exchange->post && exchange->page->takes_post))
        return HTTP_METHOD_NOT_ALLOWED;
    if (exchange->fault == NULL && exchange->post && !has_form(connection))
        exchange->fault = "no application/x-www-form-urlencoded";
    if (exchange->fault != NULL)
        return HTTP_BAD_REQUEST;
    if (listener->rate != NULL)
        exchange->retry_s = rate_take(listener->rate, &exchange->client, clock_monotonic_ms());
    return exchange->retry_s > 0 ? HTTP_TOO_MANY : 0;
}

/* A piece of the body: of a form, or of what nobody asked for. */
static void take_body(struct exchange *exchange, const char *piece, size_t length)
{
    if (!exchange->post)
        return;
    if (exchange->form == NULL)
        exchange->form = alloc_zeroed(REQUEST_FORM_MAX, 1);
    if (length > REQUEST_FORM_MAX - exchange->form_length)
        exchange->status = HTTP_TOO_LARGE;
    if (exchange->status != 0)
        return;
    memcpy(exchange->form + exchange->form_length, piece, length);
    exchange->form_length += length;
}

/* What is wrong with the form; 0: nothing. */
static int judge_form(struct exchange *exchange)
{
    if (exchange->status == 0)
        exchange->fault = request_read_form(exchange->form, exchange->form_length, &exchange->request);
    return exchange->fault != NULL ? HTTP_BAD_REQUEST : exchange->status;
}

/* All of it is there.  What the crew gets is the crew's until the connection is resumed. */
static enum MHD_Result begin_answer(const struct listener *listener, struct MHD_Connection *connection, struct exchange *exchange)
{
    int status = exchange->post ? judge_form(exchange) : 0;

    if (status != 0) {
        exchange_refuse(listener->site, exchange, status, exchange->fault);
        return send_answer(connection, exchange);
    }
    if (!exchange->page->asks_database) {
        (void)exchange_write(listener->site, exchange, NULL);
        return send_answer(connection, exchange);
    }
    exchange->given = true;
    connections_hold(listener->connections, exchange->place);
    MHD_suspend_connection(connection);
    if (!crew_give(listener->crew, exchange)) {
        exchange_refuse(listener->site, exchange, HTTP_UNAVAILABLE, "too many requests at once");
        MHD_resume_connection(connection);
    }
    return MHD_YES;
}

static struct visitor *visitor_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* The header is there. */
static enum MHD_Result take_header(const struct listener *listener, struct MHD_Connection *connection, struct exchange *exchange,
                                   const char *method)
{
    int status;

    copy_header(connection, MHD_HTTP_HEADER_ACCEPT, exchange->accept);
    copy_header(connection, MHD_HTTP_HEADER_ACCEPT_LANGUAGE, exchange->accept_language);
    find_client(listener, connection, exchange);
    status = judge_header(listener, connection, exchange, method);
    exchange->connection = connection;
    exchange->place = visitor_of(connection)->place;
    exchange->status = 0;
    if (status == 0)
        return MHD_YES;
    exchange_refuse(listener->site, exchange, status, exchange->fault);
    return send_answer(connection, exchange);
}

/* Called by libmicrohttpd: with the header, with each piece of a body, when all is there, and after a resumption. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_length, void **request)
{
    const struct listener *listener = context;
    struct exchange *exchange = *request;

    (void)url;
    (void)version;
    if (exchange->connection == NULL)
        return take_header(listener, connection, exchange, method);
    if (*upload_length > 0) {
        take_body(exchange, upload, *upload_length);
        *upload_length = 0;
        return MHD_YES;
    }
    if (!exchange->given)
        return begin_answer(listener, connection, exchange);
    connections_release(listener->connections, exchange->place, clock_monotonic_ms());
    return send_answer(connection, exchange);
}

static void end_exchange(struct visitor *visitor)
{
    struct exchange *exchange = visitor->exchange;

    visitor->exchange = NULL;
    if (exchange == NULL)
        return;
    free(exchange->form);
    free(exchange->body);
    free(exchange);
}

/* The first that is known of a request: what its header asks for.  What is returned comes with each call for this request. */
static void *on_target(void *context, const char *target, struct MHD_Connection *connection)
{
    struct visitor *visitor = visitor_of(connection);
    struct exchange *exchange = alloc_zeroed(1, sizeof *exchange);

    (void)context;
    end_exchange(visitor);
    visitor->exchange = exchange;
    if (strlen(target) > REQUEST_TARGET_MAX)
        exchange->status = HTTP_TARGET_TOO_LONG;
    else
        exchange->fault = request_read_target(target, &exchange->request);
    return exchange;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)code;
    end_exchange(visitor_of(connection));
    *request = NULL;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **visitor_at,
                          enum MHD_ConnectionNotificationCode code)
{
    const struct listener *listener = context;
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct visitor *visitor = *visitor_at;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        visitor = alloc_zeroed(1, sizeof *visitor);
        visitor->place = connections_add(listener->connections, fd, clock_monotonic_ms());
        *visitor_at = visitor;
    } else {
        end_exchange(visitor);
        connections_remove(listener->connections, visitor->place);
        free(visitor);
        *visitor_at = NULL;
    }
}

/* --- start and stop --- */

/* Fewer than the site wants, where the process may not have so many descriptors. */
static unsigned places_for(const struct site *site)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur / 2 > site->places + PLACES_SLACK)
        return site->places;
    return limit.rlim_cur / 2 > 2 * PLACES_SLACK ? (unsigned)(limit.rlim_cur / 2) - PLACES_SLACK : PLACES_SLACK;
}

static struct MHD_Daemon *start_daemon(struct listener *listener, int fd, unsigned places)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, listener,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener,
        MHD_OPTION_CONNECTION_LIMIT, places + PLACES_SLACK,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LISTENER_MEMORY,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
}

struct listener *listener_start(const struct site *site, const struct web_options *options, const char *conninfo, int fd,
                                char **why)
{
    struct listener *listener = alloc_zeroed(1, sizeof *listener);
    unsigned places = places_for(site);

    listener->site = site;
    listener->options = options;
    listener->connections = connections_create(places);
    if (site->for_everybody && options->rate > 0)
        listener->rate = rate_create(options->rate);
    listener->crew = crew_start(site, conninfo, on_answered);
    if (listener->crew != NULL)
        listener->daemon = start_daemon(listener, fd, places);
    if (listener->daemon == NULL) {
        *why = alloc_format("cannot be served: %s", strerror(errno));
        close(fd);
        listener_stop(&listener);
    }
    return listener;
}

void listener_tick(struct listener *listener)
{
    connections_cut_slow(listener->connections, clock_monotonic_ms());
    crew_tick(listener->crew);
}

void listener_stop(struct listener **out)
{
    struct listener *listener = *out;

    if (listener == NULL)
        return;
    if (listener->crew != NULL)
        crew_stop(listener->crew);
    if (listener->daemon != NULL)
        MHD_stop_daemon(listener->daemon); /* whose thread gives requests to the crew up to here */
    crew_destroy(&listener->crew);
    connections_destroy(&listener->connections);
    rate_destroy(&listener->rate);
    free(listener);
    *out = NULL;
}
