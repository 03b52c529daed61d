#include "web/crew.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

enum {
    QUICK_MS = 500, /* a connection that breaks within that was broken before: the server restarted */
    SCRIPT_MS = 2000
};

static const char too_busy[] = "too many requests at once";

struct worker {
    struct crew *crew;
    struct db *db; /* NULL: not connected */
    pthread_t thread;
};

struct crew {
    const struct site *site;
    const char *conninfo;
    void (*done)(struct exchange *exchange);
    int stop_fd;
    pthread_mutex_t mutex; /* covers what follows, up to the line */
    pthread_cond_t changed;
    struct exchange *waiting; /* the first to be answered first */
    unsigned count;
    bool stopping;

    pthread_mutex_t connecting; /* held while connecting; covers what follows */
    int64_t pause_until_ms;
    char *away; /* why there is no connection; NULL: there is one, or none was needed yet */

    unsigned running; /* workers that were started */
    struct worker workers[];
};

/* What is said of the database, in the log too, once for each time that it goes away. */
static void note_away(struct crew *crew, const char *why)
{
    if (crew->away == NULL)
        log_event(LOG_LEVEL_WARNING, "database-away site=%s why=\"%s\"", crew->site->name, why);
    free(crew->away);
    crew->away = alloc_text(why);
    crew->pause_until_ms = clock_monotonic_ms() + CREW_PAUSE_MS;
}

static void note_back(struct crew *crew)
{
    if (crew->away != NULL)
        log_event(LOG_LEVEL_INFO, "database-back site=%s", crew->site->name);
    free(crew->away);
    crew->away = NULL;
}

/* What follows must not depend on how the server, or the role, is set up. */
static enum db_status prepare(struct crew *crew, struct db *db, char **why)
{
    char *sql = alloc_format("SET ROLE %s; SET client_min_messages = warning; SET datestyle = iso; SET intervalstyle = postgres;"
                             " SET timezone = 'UTC'; SET standard_conforming_strings = on", crew->site->role);
    enum db_status status = db_script(db, SCRIPT_MS, sql);

    free(sql);
    if (status == DB_OK && crew->site->begin != NULL)
        status = crew->site->begin(db, why);
    if (status != DB_OK && *why == NULL)
        *why = alloc_text(db_why(db));
    return status;
}

/* Connect, unless somebody failed to just before.  False with the reason in WHY, which the caller frees. */
static bool connect_worker(struct worker *worker, char **why)
{
    struct crew *crew = worker->crew;
    enum db_status status;

    *why = NULL;
    pthread_mutex_lock(&crew->connecting);
    if (crew->away != NULL && clock_monotonic_ms() < crew->pause_until_ms) {
        *why = alloc_text(crew->away);
    } else {
        status = db_connect(&worker->db, crew->conninfo, "hunnypot-web", CREW_CONNECT_MS, crew->stop_fd);
        if (status == DB_OK)
            status = prepare(crew, worker->db, why);
        else
            *why = alloc_text(db_why(worker->db));
        if (status == DB_OK) {
            note_back(crew);
        } else {
            if (status != DB_STOPPED)
                note_away(crew, *why);
            db_close(&worker->db);
        }
    }
    pthread_mutex_unlock(&crew->connecting);
    return worker->db != NULL;
}

/* A connection of which nobody knows how it stands is worth nothing. */
static void look_at_connection(struct worker *worker, enum db_status status)
{
    if (status == DB_REFUSED)
        status = db_script(worker->db, SCRIPT_MS, "ROLLBACK");
    if (status != DB_OK)
        db_close(&worker->db);
}

static void answer(struct worker *worker, struct exchange *exchange)
{
    struct crew *crew = worker->crew;
    char *why;

    for (bool again = false;; again = true) {
        bool used = worker->db != NULL;
        int64_t began_ms = clock_monotonic_ms();
        enum db_status status;

        if (!used && !connect_worker(worker, &why)) {
            exchange_refuse(crew->site, exchange, HTTP_UNAVAILABLE, why);
            free(why);
            return;
        }
        status = exchange_write(crew->site, exchange, worker->db);
        look_at_connection(worker, status);
        /* What a POST asked for may have happened. */
        if (status != DB_UNREACHABLE || again || !used || exchange->post || clock_monotonic_ms() - began_ms > QUICK_MS)
            return;
    }
}

/* Under the mutex. */
static struct exchange *take_first(struct crew *crew)
{
    struct exchange *first = crew->waiting;

    DL_DELETE(crew->waiting, first);
    crew->count--;
    return first;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct crew *crew = worker->crew;

    pthread_mutex_lock(&crew->mutex);
    while (!crew->stopping) {
        struct exchange *exchange;

        if (crew->waiting == NULL) {
            pthread_cond_wait(&crew->changed, &crew->mutex);
            continue;
        }
        exchange = take_first(crew);
        pthread_mutex_unlock(&crew->mutex);
        answer(worker, exchange);
        crew->done(exchange);
        pthread_mutex_lock(&crew->mutex);
    }
    pthread_mutex_unlock(&crew->mutex);
    db_close(&worker->db);
    return NULL;
}

struct crew *crew_start(const struct site *site, const char *conninfo, void (*done)(struct exchange *exchange))
{
    struct crew *crew = alloc_zeroed(1, sizeof *crew + site->workers * sizeof *crew->workers);

    crew->site = site;
    crew->conninfo = conninfo;
    crew->done = done;
    crew->stop_fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&crew->mutex, NULL);
    pthread_cond_init(&crew->changed, NULL);
    pthread_mutex_init(&crew->connecting, NULL);
    while (crew->stop_fd >= 0 && crew->running < site->workers) {
        struct worker *worker = &crew->workers[crew->running];

        worker->crew = crew;
        if (thread_start(&worker->thread, site->name, work, worker) != 0)
            break;
        crew->running++;
    }
    if (crew->running < site->workers) {
        crew_stop(crew);
        crew_destroy(&crew);
    }
    return crew;
}

bool crew_give(struct crew *crew, struct exchange *exchange)
{
    bool taken;

    pthread_mutex_lock(&crew->mutex);
    taken = !crew->stopping && crew->count < CREW_WAITING_MAX;
    if (taken) {
        exchange->given_ms = clock_monotonic_ms();
        DL_APPEND(crew->waiting, exchange);
        crew->count++;
        pthread_cond_signal(&crew->changed);
    }
    pthread_mutex_unlock(&crew->mutex);
    return taken;
}

/* Answer those that were given before GIVEN_MS. */
static void refuse_waiting(struct crew *crew, int64_t given_ms, const char *why)
{
    pthread_mutex_lock(&crew->mutex);
    while (crew->waiting != NULL && crew->waiting->given_ms < given_ms) {
        struct exchange *exchange = take_first(crew);

        pthread_mutex_unlock(&crew->mutex);
        exchange_refuse(crew->site, exchange, HTTP_UNAVAILABLE, why);
        crew->done(exchange);
        pthread_mutex_lock(&crew->mutex);
    }
    pthread_mutex_unlock(&crew->mutex);
}

void crew_tick(struct crew *crew)
{
    refuse_waiting(crew, clock_monotonic_ms() - CREW_WAIT_MS, too_busy);
}

void crew_stop(struct crew *crew)
{
    pthread_mutex_lock(&crew->mutex);
    crew->stopping = true;
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->mutex);
    if (crew->stop_fd >= 0)
        (void)eventfd_write(crew->stop_fd, 1);
    for (unsigned i = 0; i < crew->running; i++)
        pthread_join(crew->workers[i].thread, NULL);
    refuse_waiting(crew, INT64_MAX, "the program is stopping");
}

void crew_destroy(struct crew **out)
{
    struct crew *crew = *out;

    if (crew == NULL)
        return;
    if (crew->stop_fd >= 0)
        close(crew->stop_fd);
    pthread_mutex_destroy(&crew->mutex);
    pthread_cond_destroy(&crew->changed);
    pthread_mutex_destroy(&crew->connecting);
    free(crew->away);
    free(crew);
    *out = NULL;
}
