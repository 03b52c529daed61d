#include "record/db.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/conninfo.h"
#include "base/text.h"
#include "base/thread.h"

enum {
    WHY_MAX = 1000,
    SQLSTATE_SIZE = 6,
    CONNECT_TIMEOUT_MIN_S = 2, /* libpq takes less for 2 */
    CANCEL_WAIT_MS = 500,
    THREADS_MAX = 16 /* attempts at once: one for each connection of a program that has many, all of which may time out */
};

struct db {
    PGconn *conn; /* NULL: not connected */
    int stop_fd;
    char *why;
    char sqlstate[SQLSTATE_SIZE];
};

struct db_result {
    PGresult *pg;
};

/* PQconnectPoll() neither goes on to the next host when one is frozen, nor looks up host names without blocking.
 * PQconnectdbParams() does the former; in a thread of its own, which is left to itself when the time is up, it also
 * cannot hold up the caller.  So it is with PQcancel(), which has no limit of time at all.  The later of the two sides frees. */
struct attempt {
    atomic_int sides;
    PGconn *conn;
    PGcancel *cancel; /* not NULL: to cancel, not to connect */
    int done_fd;
    char *conninfo;
    char *application;
    char connect_timeout[16];
    bool name_database;
};

static void set_why(struct db *db, const char *text)
{
    char *line = alloc_text(text);
    size_t length = strlen(line);

    while (length > 0 && line[length - 1] == '\n')
        line[--length] = '\0';
    for (char *c = line; *c != '\0'; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    free(db->why);
    db->why = text_printable_new(line, WHY_MAX);
    free(line);
}

static void clear_why(struct db *db)
{
    free(db->why);
    db->why = alloc_text("");
    db->sqlstate[0] = '\0';
}

static void disconnect(struct db *db)
{
    if (db->conn != NULL)
        PQfinish(db->conn);
    db->conn = NULL;
}

static enum db_status fail(struct db *db, enum db_status status, const char *why)
{
    set_why(db, why);
    if (status == DB_UNREACHABLE || status == DB_STOPPED)
        disconnect(db);
    return status;
}

/* Connecting. */

static void attempt_leave(struct attempt *attempt)
{
    if (atomic_fetch_sub(&attempt->sides, 1) != 1)
        return;
    if (attempt->conn != NULL)
        PQfinish(attempt->conn);
    PQfreeCancel(attempt->cancel);
    close(attempt->done_fd);
    free(attempt->conninfo);
    free(attempt->application);
    free(attempt);
}

static void attempt_connect(struct attempt *attempt)
{
    /* The later entry wins: our connect_timeout beats the one of the connection string, which may be none at all; "hunnypot"
     * beats no name. */
    const char *const keywords[] = {"client_encoding", "fallback_application_name", "dbname", "connect_timeout",
                                    attempt->name_database ? "dbname" : NULL, NULL};
    const char *const values[] = {"UTF8", attempt->application, attempt->conninfo, attempt->connect_timeout,
                                  "hunnypot", NULL};

    attempt->conn = PQconnectdbParams(keywords, values, 1);
}

/* Threads that were left to themselves end when the server says something, or the network does. */
static atomic_int threads;

static void *attempt_run(void *argument)
{
    struct attempt *attempt = argument;
    char why[WHY_MAX];

    if (attempt->cancel != NULL)
        (void)PQcancel(attempt->cancel, why, sizeof why);
    else
        attempt_connect(attempt);
    if (write(attempt->done_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0) {
        /* Cannot be; the waiting side would run into its time-out. */
    }
    attempt_leave(attempt);
    atomic_fetch_sub(&threads, 1);
    return NULL;
}

static bool start_attempt(struct attempt *attempt)
{
    pthread_t thread;
    bool started;

    atomic_store(&attempt->sides, 2);
    started = atomic_fetch_add(&threads, 1) < THREADS_MAX &&
              thread_start(&thread, attempt->cancel != NULL ? "cancel" : "connect", attempt_run, attempt) == 0;
    if (started) {
        pthread_detach(thread);
    } else {
        atomic_fetch_sub(&threads, 1);
        atomic_store(&attempt->sides, 1);
    }
    return started;
}

/* Fill in what TEXT decides; false with the reason in DB when it makes no sense. */
static bool prepare_attempt(struct db *db, struct attempt *attempt, const char *text, int timeout_ms)
{
    struct conninfo conninfo;
    char *why;
    int seconds;

    if (!conninfo_read(text, &conninfo, &why)) {
        set_why(db, why);
        free(why);
        return false;
    }
    attempt->name_database = !conninfo.names_database;
    seconds = timeout_ms / 1000 / (int)conninfo.hosts;
    snprintf(attempt->connect_timeout, sizeof attempt->connect_timeout, "%d",
             seconds > CONNECT_TIMEOUT_MIN_S ? seconds : CONNECT_TIMEOUT_MIN_S);
    return true;
}

/* libpq keeps the SQLSTATE of a refused connection to itself, so the text has to tell.  In another language than English
 * this is DB_UNREACHABLE, which is handled alike; the text is shown in both cases. */
static enum db_status refusal_status(const char *message)
{
    static const char *const denials[] = {"authentication failed", "no password supplied", "does not exist",
                                          "no pg_hba.conf entry", "permission denied", "not permitted to log in",
                                          "not currently accepting connections"};

    for (size_t i = 0; i < sizeof denials / sizeof *denials; i++)
        if (strstr(message, denials[i]) != NULL)
            return DB_DENIED;
    return DB_UNREACHABLE;
}

static void ignore_notice(void *context, const PGresult *result)
{
    (void)context;
    (void)result;
}

/* Wait until FD is ready for EVENTS; DB_UNREACHABLE stands for the end of the time here. */
static enum db_status wait_fd(const struct db *db, int fd, short events, int64_t deadline_ms)
{
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = db->stop_fd, .events = POLLIN}};
    int ready;

    do {
        int64_t left = deadline_ms - clock_monotonic_ms();

        ready = poll(fds, 2, left > 0 ? (int)left : 0);
    } while (ready < 0 && errno == EINTR);
    if (db->stop_fd >= 0 && fds[1].revents != 0)
        return DB_STOPPED;
    return ready > 0 ? DB_OK : DB_UNREACHABLE;
}

static enum db_status await_attempt(struct db *db, struct attempt *attempt, int timeout_ms)
{
    uint64_t done;

    switch (wait_fd(db, attempt->done_fd, POLLIN, clock_monotonic_ms() + timeout_ms)) {
    case DB_OK:
        break;
    case DB_STOPPED:
        return fail(db, DB_STOPPED, "stopped while connecting");
    default:
        return fail(db, DB_UNREACHABLE, "no connection in time");
    }
    if (read(attempt->done_fd, &done, sizeof done) < 0)
        return fail(db, DB_UNREACHABLE, strerror(errno));
    db->conn = attempt->conn;
    attempt->conn = NULL;
    if (db->conn == NULL || PQstatus(db->conn) != CONNECTION_OK) {
        set_why(db, db->conn == NULL ? "out of memory" : PQerrorMessage(db->conn));
        disconnect(db);
        return refusal_status(db->why);
    }
    PQsetnonblocking(db->conn, 1);
    PQsetNoticeReceiver(db->conn, ignore_notice, NULL);
    return DB_OK;
}

enum db_status db_connect(struct db **out, const char *conninfo, const char *application, int timeout_ms, int stop_fd)
{
    struct db *db = alloc_zeroed(1, sizeof *db);
    struct attempt *attempt = alloc_zeroed(1, sizeof *attempt);
    enum db_status status = DB_ERROR;

    *db = (struct db){.stop_fd = stop_fd, .why = alloc_text("")};
    *attempt = (struct attempt){.conninfo = alloc_text(conninfo),
                                .application = alloc_text(application),
                                .done_fd = eventfd(0, EFD_CLOEXEC)};
    atomic_init(&attempt->sides, 1);
    *out = db;

    if (attempt->done_fd < 0) {
        set_why(db, strerror(errno));
        goto out;
    }
    if (!prepare_attempt(db, attempt, conninfo, timeout_ms))
        goto out;
    status = DB_UNREACHABLE;
    if (!start_attempt(attempt)) {
        set_why(db, "earlier attempts to connect have not ended, or there is no thread");
        goto out;
    }
    status = await_attempt(db, attempt, timeout_ms);
out:
    attempt_leave(attempt);
    return status;
}

void db_close(struct db **db)
{
    if (*db == NULL)
        return;
    disconnect(*db);
    free((*db)->why);
    free(*db);
    *db = NULL;
}

const char *db_why(const struct db *db)
{
    return db->why;
}

/* Asking. */

static enum db_status sqlstate_status(const char *sqlstate)
{
    static const struct {
        const char *start;
        enum db_status status;
    } map[] = {{"25006", DB_READ_ONLY}, {"22", DB_REFUSED},    {"23", DB_REFUSED},   {"28", DB_DENIED},     {"3D", DB_DENIED},
               {"42501", DB_DENIED},  {"3F000", DB_MISSING}, {"42P01", DB_MISSING}, {"42883", DB_MISSING}};

    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (strncmp(sqlstate, map[i].start, strlen(map[i].start)) == 0)
            return map[i].status;
    return DB_ERROR;
}

static void set_why_from_result(struct db *db, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    char *text = detail != NULL ? alloc_format("%s: %s", primary, detail)
                                : alloc_text(primary != NULL ? primary : PQresultErrorMessage(result));

    snprintf(db->sqlstate, sizeof db->sqlstate, "%s", state != NULL ? state : "");
    set_why(db, text);
    free(text);
}

/* The connection broke; what the server said last, if anything, is the better reason. */
static enum db_status lost(struct db *db)
{
    return fail(db, DB_UNREACHABLE, db->why[0] != '\0' ? db->why : PQerrorMessage(db->conn));
}

/* Let the server know that nobody waits for what it does: else it goes on, behind a lock for hours, and the next call gets a
 * process of its own. */
static void cancel(struct db *db)
{
    struct attempt *attempt = alloc_zeroed(1, sizeof *attempt);
    struct pollfd done = {.events = POLLIN};

    *attempt = (struct attempt){.cancel = PQgetCancel(db->conn), .done_fd = eventfd(0, EFD_CLOEXEC)};
    atomic_init(&attempt->sides, 1);
    done.fd = attempt->done_fd;
    if (attempt->cancel != NULL && attempt->done_fd >= 0 && start_attempt(attempt))
        (void)poll(&done, 1, CANCEL_WAIT_MS);
    attempt_leave(attempt);
}

/* Wait for the server; what ends the wait otherwise also ends the connection, as an answer may still be on its way. */
static enum db_status wait_server(struct db *db, short events, int64_t deadline_ms)
{
    enum db_status status = wait_fd(db, PQsocket(db->conn), events, deadline_ms);

    if (status != DB_OK)
        cancel(db);
    switch (status) {
    case DB_OK:
        return DB_OK;
    case DB_STOPPED:
        return fail(db, DB_STOPPED, "stopped while waiting for the server");
    default:
        return fail(db, DB_UNREACHABLE, "no answer from the server in time");
    }
}

static enum db_status flush(struct db *db, int64_t deadline_ms)
{
    int left;

    while ((left = PQflush(db->conn)) > 0) {
        enum db_status status = wait_server(db, POLLIN | POLLOUT, deadline_ms);

        if (status != DB_OK)
            return status;
        if (!PQconsumeInput(db->conn))
            return lost(db);
    }
    return left == 0 ? DB_OK : lost(db);
}

/* The next result; *RESULT is NULL after the last one. */
static enum db_status next_result(struct db *db, int64_t deadline_ms, PGresult **result)
{
    while (PQisBusy(db->conn)) {
        enum db_status status = wait_server(db, POLLIN, deadline_ms);

        if (status != DB_OK)
            return status;
        if (!PQconsumeInput(db->conn))
            break; /* what the server said before it left makes the next result */
    }
    *result = PQgetResult(db->conn);
    return DB_OK;
}

/* What is expected of the results of one call. */
struct request {
    int timeout_ms;                                                /* for each wait when there is a sink, else for all */
    bool (*sink)(void *context, const char *data, size_t length); /* NULL: no COPY */
    void *context;
    bool copied;
    PGresult *kept; /* the last result */
};

/* Give the sink what the server sends, until the end or an error, which shows in the next result. */
static enum db_status copy_pieces(struct db *db, const struct request *request)
{
    for (;;) {
        char *data;
        int length = PQgetCopyData(db->conn, &data, 1);

        if (length < 0)
            return DB_OK;
        if (length > 0) {
            bool taken = request->sink(request->context, data, (size_t)length);

            PQfreemem(data);
            if (!taken) {
                disconnect(db); /* the rest of the data is still on its way */
                return fail(db, DB_ERROR, "the output could not be written");
            }
        } else {
            enum db_status status = wait_server(db, POLLIN, clock_monotonic_ms() + request->timeout_ms);

            if (status != DB_OK)
                return status;
            if (!PQconsumeInput(db->conn))
                return DB_OK;
        }
    }
}

/* What RESULT says, which is taken over.  Without a connection afterwards there is nothing more to read. */
static enum db_status take_result(struct db *db, struct request *request, PGresult *result)
{
    ExecStatusType type = PQresultStatus(result);
    enum db_status status = DB_OK;

    if (type == PGRES_COPY_OUT && request->sink != NULL) {
        status = copy_pieces(db, request);
        request->copied = true;
    } else if (type == PGRES_COPY_OUT || type == PGRES_COPY_IN || type == PGRES_COPY_BOTH) {
        disconnect(db);
        status = fail(db, DB_ERROR, "COPY is not possible here");
    } else if (type != PGRES_COMMAND_OK && type != PGRES_TUPLES_OK && type != PGRES_EMPTY_QUERY) {
        set_why_from_result(db, result);
        status = sqlstate_status(db->sqlstate);
    }
    PQclear(request->kept);
    request->kept = result;
    return status;
}

/* Read all results of what was sent; the first error counts. */
static enum db_status finish_request(struct db *db, struct request *request)
{
    int64_t deadline_ms = clock_monotonic_ms() + request->timeout_ms;
    enum db_status status = flush(db, deadline_ms), outcome = DB_OK;

    while (status == DB_OK && db->conn != NULL) {
        PGresult *result;

        status = next_result(db, deadline_ms, &result);
        if (status != DB_OK || result == NULL)
            break;
        if (outcome == DB_OK)
            outcome = take_result(db, request, result);
        else
            PQclear(result);
        if (request->sink != NULL)
            deadline_ms = clock_monotonic_ms() + request->timeout_ms;
    }
    if (status != DB_OK)
        return status;
    if (db->conn != NULL && PQstatus(db->conn) != CONNECTION_OK)
        return lost(db);
    return outcome;
}

/* Forget the last error; DB_UNREACHABLE without a connection, or when it was given up before. */
static enum db_status begin(struct db *db)
{
    if (db == NULL || db->conn == NULL)
        return DB_UNREACHABLE;
    clear_why(db);
    return DB_OK;
}

enum db_status db_query(struct db *db, int timeout_ms, const char *sql, const struct db_param *params,
                        size_t param_count, struct db_result **result)
{
    struct request request = {.timeout_ms = timeout_ms};
    Oid *types = alloc_zeroed(param_count, sizeof *types);
    const char **values = alloc_zeroed(param_count, sizeof *values);
    int *lengths = alloc_zeroed(param_count, sizeof *lengths), *formats = alloc_zeroed(param_count, sizeof *formats);
    enum db_status status = begin(db);

    if (status != DB_OK)
        goto out;
    for (size_t i = 0; i < param_count; i++) {
        types[i] = params[i].type;
        values[i] = params[i].value;
        lengths[i] = params[i].length;
        formats[i] = params[i].binary;
    }
    if (PQsendQueryParams(db->conn, sql, (int)param_count, types, values, lengths, formats, 0))
        status = finish_request(db, &request);
    else
        status = lost(db);
    if (status == DB_OK && result != NULL) {
        *result = alloc_zeroed(1, sizeof **result);
        (*result)->pg = request.kept;
        request.kept = NULL;
    }
out:
    PQclear(request.kept);
    free(types);
    free(values);
    free(lengths);
    free(formats);
    return status;
}

enum db_status db_query_texts(struct db *db, int timeout_ms, const char *sql, const char *const *texts,
                              size_t text_count, struct db_result **result)
{
    struct db_param *params = alloc_zeroed(text_count, sizeof *params);
    enum db_status status;

    for (size_t i = 0; i < text_count; i++)
        params[i].value = texts[i];
    status = db_query(db, timeout_ms, sql, params, text_count, result);
    free(params);
    return status;
}

/* By the simple protocol: any number of statements. */
static enum db_status run_simple(struct db *db, const char *sql, struct request *request)
{
    enum db_status status = begin(db);

    if (status != DB_OK)
        return status;
    return PQsendQuery(db->conn, sql) ? finish_request(db, request) : lost(db);
}

enum db_status db_script(struct db *db, int timeout_ms, const char *sql)
{
    struct request request = {.timeout_ms = timeout_ms};
    enum db_status status = run_simple(db, sql, &request);

    PQclear(request.kept);
    return status;
}

enum db_status db_copy_out(struct db *db, int timeout_ms, const char *sql,
                           bool (*sink)(void *context, const char *data, size_t length), void *context)
{
    struct request request = {.timeout_ms = timeout_ms, .sink = sink, .context = context};
    enum db_status status = run_simple(db, sql, &request);

    PQclear(request.kept);
    return status == DB_OK && !request.copied ? fail(db, DB_ERROR, "there was no COPY ... TO STDOUT") : status;
}

size_t db_rows(const struct db_result *result)
{
    return (size_t)PQntuples(result->pg);
}

size_t db_columns(const struct db_result *result)
{
    return (size_t)PQnfields(result->pg);
}

const char *db_column_name(const struct db_result *result, size_t column)
{
    return PQfname(result->pg, (int)column);
}

unsigned db_column_type(const struct db_result *result, size_t column)
{
    return PQftype(result->pg, (int)column);
}

const char *db_value(const struct db_result *result, size_t row, size_t column)
{
    return PQgetisnull(result->pg, (int)row, (int)column) ? NULL : PQgetvalue(result->pg, (int)row, (int)column);
}

void db_result_free(struct db_result **result)
{
    if (*result == NULL)
        return;
    PQclear((*result)->pg);
    free(*result);
    *result = NULL;
}

enum db_status db_wait_notify(struct db *db, int timeout_ms, char **channel, char **payload)
{
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    enum db_status status = begin(db);
    PGnotify *notify;

    *channel = NULL;
    *payload = NULL;
    if (status != DB_OK)
        return status;
    while ((notify = PQnotifies(db->conn)) == NULL) {
        status = wait_fd(db, PQsocket(db->conn), POLLIN, deadline_ms);
        if (status == DB_UNREACHABLE)
            return DB_OK; /* nothing came: that is all right */
        if (status != DB_OK)
            return fail(db, status, "stopped while waiting for a notification");
        if (!PQconsumeInput(db->conn))
            return lost(db);
    }
    *channel = alloc_text(notify->relname);
    *payload = alloc_text(notify->extra);
    PQfreemem(notify);
    return DB_OK;
}
