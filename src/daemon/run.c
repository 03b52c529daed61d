#include "daemon/run.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "daemon/conduct.h"
#include "daemon/identity.h"
#include "daemon/judging.h"
#include "daemon/loader.h"
#include "daemon/outages.h"
#include "daemon/place.h"
#include "daemon/privileges.h"
#include "daemon/signals.h"
#include "milter/prime.h"
#include "milter/server.h"
#include "milter/session.h"
#include "record/shipper.h"
#include "record/spool.h"

enum {
    DESCRIPTORS_BESIDE = 256, /* what is open beside the sessions, with room to spare */
    FLUSH_MS = 5000,
    LOSS_INTERVAL_MS = 60000
};

static struct daemon {
    const char *path;                /* of the settings file */
    char *shown_path;                /* the same, printable */
    const struct settings *started_with; /* the settings that only a restart changes are in force as they are here */
    pthread_mutex_t settings_mutex;  /* covers `settings` */
    const struct settings *settings; /* in force */
    struct privileges_user user;     /* empty when not started as root */
    const char *socket_path;         /* of the socket that this daemon made and did not remove yet; or NULL */
    struct primer *primer;
    struct spool *spool;
    struct judge *judge;
    struct shipper *shipper;
    struct judging *judging;
    pthread_t server;
    int ended_fd; /* readable when the server has ended */
    atomic_uint_fast64_t lost_unsaid;
    int64_t judging_ms; /* since 1970: when the judge was made; its start-up grace counts from then */
} this = {.settings_mutex = PTHREAD_MUTEX_INITIALIZER, .ended_fd = -1};

static bool fail_start(const char *verb, const char *why)
{
    log_event(LOG_LEVEL_ERROR, "%s why=\"%s\"", verb, why);
    return false;
}

static bool fail_part(const char *part, int error)
{
    log_event(LOG_LEVEL_ERROR, "start-failed part=%s why=\"%s\"", part, strerror(error));
    return false;
}

/* What the sessions call. */

static const struct settings *hold_settings(void *context)
{
    const struct settings *settings;

    (void)context;
    pthread_mutex_lock(&this.settings_mutex);
    settings = settings_hold(this.settings);
    pthread_mutex_unlock(&this.settings_mutex);
    return settings;
}

static void prefetch(void *context, const char *domain, const struct ipaddr *local, const char *mta_name)
{
    (void)context;
    judge_prefetch(this.judge, domain, local, mta_name);
}

static void put(void *context, struct hit *hit)
{
    static _Atomic int64_t said_ms;
    const int64_t begun_us = clock_monotonic_us();
    bool decided = judging_at_once(this.judging, hit);
    enum spool_status status = decided ? SPOOL_OK : spool_put(this.spool, hit);

    (void)context;
    counter_took(HISTOGRAM_DATA_REPLY, clock_monotonic_us() - begun_us);
    if (status == SPOOL_OK) {
        counter_add(COUNTER_HITS, 1);
        counter_note(MOMENT_HIT, clock_realtime_us() / 1000);
        if (!decided)
            judging_hit_put(this.judging, hit->id);
        return;
    }
    counter_add(COUNTER_LOST, 1);
    this.lost_unsaid++;
    if (log_is_due(&said_ms, LOSS_INTERVAL_MS))
        log_event(LOG_LEVEL_ERROR, "hits-lost count=%llu why=\"%s\" effect=\"the 451 goes on, without a record\"",
                  (unsigned long long)atomic_exchange(&this.lost_unsaid, 0),
                  status == SPOOL_FULL ? "the spool is full, see spool_limit" : "the spool cannot be written");
}

/* The parts, in the order of the table below. */

static bool start_signals(void)
{
    umask(0077);
    return signals_open() || fail_start("start-failed", strerror(errno));
}

static void raise_descriptor_limit(const struct settings *settings)
{
    unsigned connections = settings->session.connections;
    rlim_t wanted = 2 * (rlim_t)connections + DESCRIPTORS_BESIDE;
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (connections == 0)
        wanted = limit.rlim_max;
    if (wanted <= limit.rlim_cur)
        return;
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted)
        limit.rlim_max = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    log_event(LOG_LEVEL_WARNING, "few-descriptors wanted=%llu got=%llu effect=\"fewer connections than limits.connections\"",
              (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
}

static bool start_descriptors(void)
{
    raise_descriptor_limit(this.settings);
    return true;
}

static bool start_milter(void)
{
    const struct session_calls calls = {
        .context = &this.judge,
        .hold_settings = hold_settings,
        .prefetch = prefetch,
        .put = put,
        .conduct_at_rcpt = conduct_at_rcpt,
        .conduct_at_data = conduct_at_data,
        .conduct_at_end = conduct_at_end,
        .when_stopping = CONDUCT_WHEN_STOPPING,
    };

    return session_register(PROGRAM, &calls) || fail_start("start-failed", "libmilter refuses the callbacks");
}

static bool start_socket(void)
{
    const struct settings *settings = this.settings;
    const char *path = settings_socket_path(settings->socket);
    char why[PLACE_WHY_SIZE];
    gid_t group = (gid_t)-1;

    if (geteuid() == 0) {
        if (!privileges_find_user(settings->user, &this.user, why))
            return fail_start("start-failed", why);
        group = this.user.gid;
    }
    if (*settings->socket_group != '\0' && !privileges_find_group(settings->socket_group, &group, why))
        return fail_start("start-failed", why);
    if ((path != NULL && !place_make_folder(path, 0755, this.user.uid, this.user.gid, why)) ||
        !place_open_socket(settings->socket, this.user.uid, group, why))
        return fail_start("socket-failed", why);
    this.socket_path = path;
    this.primer = prime_connect();
    return true;
}

/* Once: after that the path may be another daemon's. */
static void remove_socket(void)
{
    prime_hang_up(&this.primer);
    if (this.socket_path != NULL)
        unlink(this.socket_path);
    this.socket_path = NULL;
}

static bool start_privileges(void)
{
    char why[PLACE_WHY_SIZE];
    bool root = geteuid() == 0;

    if (root && !place_make_folder(this.settings->spool, 0750, this.user.uid, this.user.gid, why))
        return fail_start("start-failed", why);
    return privileges_drop(root ? &this.user : NULL, why) || fail_start("start-failed", why);
}

static bool start_log(void)
{
    int failed = log_writer_start();

    return failed == 0 || fail_start("start-failed", strerror(failed));
}

static bool start_spool(void)
{
    char why[PLACE_WHY_SIZE] = "";
    enum spool_status status =
        spool_open(&this.spool, this.settings->spool, this.settings->spool_limit, this.settings->spool_keep_ms, why, sizeof why);

    if (status == SPOOL_LOCKED)
        snprintf(why, sizeof why, "another daemon has this spool");
    if (status != SPOOL_OK)
        log_event(LOG_LEVEL_ERROR, "spool-failed doing=open file=%s why=\"%s\"", this.settings->spool, why);
    return status == SPOOL_OK;
}

static void stop_spool(void)
{
    spool_close(&this.spool);
}

static void tell_grace(const struct settings *settings)
{
    counter_note(MOMENT_JUDGING, this.judging_ms + settings->judge.startup_grace_ms);
}

static bool start_judge(void)
{
    this.judge = judge_create(this.settings, NULL);
    if (this.judge == NULL)
        return fail_part("judge", errno);
    this.judging_ms = clock_now().real_ms;
    tell_grace(this.settings);
    outages_recall(this.judge, this.started_with->spool);
    return true;
}

static void stop_judge(void)
{
    judge_keep(this.judge);
    judge_destroy(&this.judge);
}

_Static_assert(sizeof ((struct store_probe *)0)->mx == sizeof ((struct reached_probe *)0)->mx, "a name fits");

static size_t take_probes(void *context, struct store_probe *probes, size_t max)
{
    struct reached_probe *reached = alloc_zeroed(max, sizeof *reached);
    size_t count = judge_reached(context, reached, max);

    for (size_t i = 0; i < count; i++) {
        strcpy(probes[i].mx, reached[i].mx);
        probes[i].source = reached[i].source;
        probes[i].time_us = reached[i].time_us;
    }
    free(reached);
    return count;
}

static enum friend_state friend_state(void *context, const struct ipaddr *client)
{
    return judge_friend(context, client);
}

static bool start_shipper(void)
{
    const struct shipper_probes probes = {.take = take_probes, .context = this.judge};
    const struct shipper_friends friends = {.state = friend_state, .context = this.judge};

    if (*this.settings->database == '\0')
        return true;
    this.shipper = shipper_start(this.spool, this.settings->database, this.settings->sensor, PACKAGE_VERSION, &probes,
                                 &friends);
    return this.shipper != NULL || fail_part("shipper", errno);
}

static void stop_shipper(void)
{
    if (this.shipper != NULL)
        shipper_stop(&this.shipper, FLUSH_MS);
}

static bool start_judging(void)
{
    this.judging = judging_start(this.spool, this.judge, this.settings->verdict_timeout_ms);
    return this.judging != NULL || fail_part("judging", errno);
}

static void stop_judging(void)
{
    judging_stop(&this.judging);
}

static void *server_thread(void *unused)
{
    (void)unused;
    (void)server_run();
    (void)eventfd_write(this.ended_fd, 1);
    return NULL;
}

static bool start_server(void)
{
    int failed;

    this.ended_fd = eventfd(0, EFD_CLOEXEC);
    failed = this.ended_fd < 0 ? errno : thread_start(&this.server, "server", server_thread, NULL);
    if (failed != 0)
        return fail_part("server", failed);
    prime(&this.primer, signals_stop_fd());
    return true;
}

static void stop_server(void)
{
    /* libmilter's own way to stop takes up to 5 s, and now and then never ends: its pool of workers destroys a mutex that
     * others are about to use.  So its threads end with the process; until then no callback does anything. */
    remove_socket();
    session_drop_all();
}

static const struct part {
    bool (*start)(void); /* logs why it fails */
    void (*stop)(void);  /* may be NULL */
} parts[] = {
    {.start = start_signals},
    {.start = start_descriptors},
    {.start = start_milter},
    {.start = start_socket, .stop = remove_socket},
    {.start = start_privileges},
    {.start = start_log, .stop = log_finish},
    {.start = start_spool, .stop = stop_spool},
    {.start = start_judge, .stop = stop_judge},
    {.start = start_shipper, .stop = stop_shipper},
    {.start = start_judging, .stop = stop_judging},
    {.start = start_server, .stop = stop_server},
};

enum { PART_COUNT = sizeof parts / sizeof *parts };

static void report_fixed(void *context, const char *name)
{
    (void)context;
    log_event(LOG_LEVEL_WARNING, "restart-needed setting=%s", name);
}

/* NEW is from now on in force; NULL: there were faults. */
static void use_settings(struct settings *new)
{
    const struct settings *old;

    if (new == NULL) {
        log_event(LOG_LEVEL_ERROR, "reload-failed file=%s effect=\"keeping the settings in force\"", this.shown_path);
        return;
    }
    settings_report_fixed(this.started_with, new, report_fixed, NULL);
    log_set_level(new->log_level);
    raise_descriptor_limit(new);
    judge_configure(this.judge, new);
    tell_grace(new);
    judging_configure(this.judging, new->verdict_timeout_ms);
    pthread_mutex_lock(&this.settings_mutex);
    old = this.settings;
    this.settings = new;
    pthread_mutex_unlock(&this.settings_mutex);
    settings_release(old);
    log_event(LOG_LEVEL_INFO, "reloaded file=%s", this.shown_path);
}

static struct loader *begin_reload(void)
{
    struct loader *loader = NULL;
    int failed;

    if (!signals_take_reload())
        return NULL;
    failed = loader_start(&loader, this.path);
    if (failed != 0)
        log_event(LOG_LEVEL_ERROR, "reload-failed file=%s error=\"%s\" effect=\"keeping the settings in force\"",
                  this.shown_path, strerror(failed));
    return loader;
}

/* Reload as told, until there is something to stop for. */
static void serve(void)
{
    int64_t keep_ms = clock_monotonic_ms() + OUTAGES_KEEP_MS;
    struct loader *loader = NULL;

    for (;;) {
        struct pollfd fds[] = {{.fd = signals_stop_fd(), .events = POLLIN},
                               {.fd = this.ended_fd, .events = POLLIN},
                               {.fd = loader == NULL ? signals_reload_fd() : loader_fd(loader), .events = POLLIN}};
        int64_t left_ms = keep_ms - clock_monotonic_ms();

        poll(fds, sizeof fds / sizeof *fds, left_ms > 0 ? (int)left_ms : 0);
        if (fds[0].revents != 0 || fds[1].revents != 0)
            break;
        if (fds[2].revents != 0 && loader == NULL)
            loader = begin_reload();
        else if (fds[2].revents != 0)
            use_settings(loader_take(&loader));
        if (clock_monotonic_ms() >= keep_ms) {
            judge_keep(this.judge);
            keep_ms = clock_monotonic_ms() + OUTAGES_KEEP_MS;
        }
    }
    loader_leave(&loader);
}

/* False when the server ended unasked. */
static bool say_stopping(void)
{
    const char *signal_name = signals_take_stop();

    if (signal_name == NULL)
        log_event(LOG_LEVEL_ERROR, "server-ended why=\"libmilter stopped serving\"");
    else
        log_event(LOG_LEVEL_INFO, "stopping signal=%s sessions=%zu", signal_name, session_count());
    return signal_name != NULL;
}

/* Start what is in the table, serve, and stop what was started. */
static int run_parts(void)
{
    size_t started = 0;
    int status = EXIT_FAILURE;

    while (started < PART_COUNT && parts[started].start())
        started++;
    if (started == PART_COUNT) {
        log_event(LOG_LEVEL_INFO, "ready version=%s sensor=%s socket=%s user=%u database=%s", PACKAGE_VERSION,
                  this.settings->sensor, this.settings->socket, (unsigned)geteuid(),
                  this.shipper != NULL ? "yes" : "no");
        serve();
        status = say_stopping() ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    while (started-- > 0)
        if (parts[started].stop != NULL)
            parts[started].stop();
    log_event(LOG_LEVEL_INFO, "stopped hits=%llu lost=%llu", (unsigned long long)counter_value(COUNTER_HITS),
              (unsigned long long)counter_value(COUNTER_LOST));
    free(this.user.name);
    return status;
}

int daemon_run(const char *path, struct settings *settings)
{
    int status;

#ifdef M_ARENA_MAX
    /* One heap for all threads: else each keeps its own share of what others freed. */
    mallopt(M_ARENA_MAX, 1);
#endif
    identity_complete(settings);
    this.path = path;
    this.shown_path = text_printable_new(path, PATH_MAX);
    this.settings = settings_hold(settings);
    this.started_with = settings_hold(settings);
    status = run_parts();
    settings_release(this.settings);
    settings_release(this.started_with);
    free(this.shown_path);
    return status;
}
