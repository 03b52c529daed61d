#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/counter.h"
#include "base/log.h"
#include "daemon/judging.h"
#include "daemon/privileges.h"
#include "daemon/settings.h"
#include "judge/judge.h"
#include "milter/prime.h"
#include "milter/server.h"
#include "milter/session.h"
#include "record/shipper.h"
#include "record/spool.h"

enum {
    DESCRIPTORS_EACH = 2,      /* for a connection: the MTA's, and one to spare while another closes */
    DESCRIPTORS_BESIDE = 256,  /* spool, database, DNS, probes */
    DESCRIPTORS_MANY = 65536,  /* when connections has no limit */
    FLUSH_MS = 5000,           /* for the outbox at the end */
    LOST_LOG_MS = 60000,
    OWN_NAME_MAX = 2
};

/* The running daemon.  `mutex` covers `settings`, which a reload replaces; the rest is set before the first session. */
static struct {
    const char *path;
    pthread_mutex_t mutex;
    struct settings *settings;
    struct spool *spool;
    struct judge *judge;
    struct judging *judging;
    struct shipper *shipper;
    char *socket;
    pthread_t main_thread;
} daemon_ = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct settings *settings_in_force(void)
{
    struct settings *held;

    pthread_mutex_lock(&daemon_.mutex);
    held = settings_hold(daemon_.settings);
    pthread_mutex_unlock(&daemon_.mutex);
    return held;
}

/* What the sessions turn to. */

static const struct session_policy *hold_policy(void *context)
{
    (void)context;
    return &settings_in_force()->session;
}

static void release_policy(void *context, const struct session_policy *policy)
{
    struct settings *settings = (struct settings *)((char *)policy - offsetof(struct settings, session));

    (void)context;
    settings_release(&settings);
}

static void prefetch(void *context, const char *domain, const struct ipaddr *local, const char *mta_name)
{
    (void)context;
    judge_prefetch(daemon_.judge, domain, local, mta_name);
}

static void put(void *context, struct hit *hit)
{
    static _Atomic int64_t logged_ms;
    enum spool_status status = spool_put(daemon_.spool, hit);

    (void)context;
    if (status == SPOOL_OK) {
        counter_add(COUNTER_HITS, 1);
        judge_wake(daemon_.judge);
        return;
    }
    counter_add(COUNTER_LOST, 1);
    if (log_is_due(&logged_ms, LOST_LOG_MS))
        log_event(LOG_LEVEL_ERROR, "hits-lost total=%llu reason=%s", (unsigned long long)counter_value(COUNTER_LOST),
                  status == SPOOL_FULL ? "spool-limit" : "spool-failed");
}

/* Who we are: what the settings say, or else what the host says. */
struct identity {
    const char *names[OWN_NAME_MAX];
    size_t name_count;
    char host_name[DOMAIN_MAX + 1];
    struct ipaddr *addresses;
    size_t address_count;
};

static void identity_addresses(struct identity *identity)
{
    struct ifaddrs *list = NULL;

    if (getifaddrs(&list) != 0)
        log_event(LOG_LEVEL_WARNING, "own-addresses-unknown error=\"%s\"", strerror(errno));
    for (const struct ifaddrs *entry = list; entry != NULL; entry = entry->ifa_next) {
        struct ipaddr address;

        if (!ipaddr_from_sockaddr(entry->ifa_addr, &address, NULL))
            continue;
        identity->addresses =
            alloc_resized(identity->addresses, identity->address_count + 1, sizeof *identity->addresses);
        identity->addresses[identity->address_count++] = address;
    }
    freeifaddrs(list);
}

static void identity_name(struct identity *identity)
{
    char name[256];

    if (gethostname(name, sizeof name) == 0 && domain_normalize(name, identity->host_name))
        identity->names[identity->name_count++] = identity->host_name;
}

/* CONFIG as the judge wants it, with the gaps of the settings filled from IDENTITY. */
static struct judge_config judge_config_for(const struct settings *settings, struct identity *identity)
{
    struct judge_config config = settings->judge;

    *identity = (struct identity){0};
    if (config.own_name_count == 0) {
        identity_name(identity);
        config.own_names = identity->names;
        config.own_name_count = identity->name_count;
    }
    if (config.own_address_count == 0) {
        identity_addresses(identity);
        config.own_addresses = identity->addresses;
        config.own_address_count = identity->address_count;
    }
    return config;
}

/* Reload. */

static void fault_log(void *context, const char *line)
{
    (void)context;
    log_event(LOG_LEVEL_ERROR, "settings %s", line);
}

static void say_restart(const char *setting, bool changed)
{
    if (changed)
        log_event(LOG_LEVEL_WARNING, "reload-needs-restart setting=%s", setting);
}

static void say_restarts(const struct settings *old, const struct settings *new)
{
    say_restart("socket", strcmp(old->socket, new->socket) != 0);
    say_restart("socket_group", strcmp(old->socket_group, new->socket_group) != 0);
    say_restart("user", strcmp(old->user, new->user) != 0);
    say_restart("sensor", strcmp(old->sensor, new->sensor) != 0);
    say_restart("database", strcmp(old->database, new->database) != 0);
    say_restart("spool", strcmp(old->spool, new->spool) != 0);
    say_restart("spool_limit", old->spool_limit != new->spool_limit);
    say_restart("liveness.probers", old->judge.probers != new->judge.probers);
}

static void reload(void)
{
    struct settings *loaded = settings_load(daemon_.path, fault_log, NULL), *old;
    struct judge_config config;
    struct identity identity;

    if (loaded == NULL) {
        log_event(LOG_LEVEL_ERROR, "reload-failed file=%s effect=\"the settings in force stay\"", daemon_.path);
        return;
    }
    config = judge_config_for(loaded, &identity);
    judge_configure(daemon_.judge, &config);
    free(identity.addresses);
    judging_configure(daemon_.judging, loaded->verdict_timeout_ms);
    log_set_level(loaded->log_level);
    pthread_mutex_lock(&daemon_.mutex);
    old = daemon_.settings;
    daemon_.settings = loaded;
    pthread_mutex_unlock(&daemon_.mutex);
    log_event(LOG_LEVEL_INFO, "reloaded file=%s", daemon_.path);
    say_restarts(old, loaded);
    settings_release(&old);
}

/* Signals.  All are blocked in every thread, and the main thread waits for them: the kernel gives a signal for the process
 * to the main thread first, so that libmilter's own signal thread, for which SIGHUP means stop, goes without. */

static void signals_block(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* Libmilter runs beside; when it ends by itself, the main thread is told as by anyone else. */
static void *server_thread(void *argument)
{
    bool *served = argument;

    *served = server_run();
    pthread_kill(daemon_.main_thread, SIGTERM);
    return NULL;
}

static bool serve_until_signal(const sigset_t *set)
{
    pthread_t server;
    bool served = false;
    int signal_number;

    daemon_.main_thread = pthread_self();
    if (pthread_create(&server, NULL, server_thread, &served) != 0)
        return false;
    for (;;) {
        if (sigwait(set, &signal_number) != 0)
            continue;
        if (signal_number == SIGTERM || signal_number == SIGINT)
            break;
        reload();
    }
    log_event(LOG_LEVEL_INFO, "stopping sessions=%zu", session_count());
    server_stop(daemon_.socket);
    pthread_join(server, NULL);
    return served;
}

/* Start and stop: the steps in order; what was started is stopped backwards. */

static bool folder_make(const char *file, mode_t mode, const struct passwd *owner)
{
    char *copy = alloc_text(file);
    const char *folder = dirname(copy);
    bool made = mkdir(folder, mode) == 0;
    bool there = made || errno == EEXIST;

    if (made && geteuid() == 0 && owner != NULL)
        there = chown(folder, owner->pw_uid, owner->pw_gid) == 0;
    if (!there)
        log_event(LOG_LEVEL_ERROR, "fatal folder=%s error=\"%s\"", folder, strerror(errno));
    free(copy);
    return there;
}

static bool start_descriptors(void)
{
    unsigned connections = daemon_.settings->session.connections;
    unsigned long wanted =
        connections == 0 ? DESCRIPTORS_MANY : (unsigned long)connections * DESCRIPTORS_EACH + DESCRIPTORS_BESIDE;
    unsigned long got = privileges_raise_descriptors(wanted);

    if (got < wanted)
        log_event(LOG_LEVEL_WARNING, "few-descriptors wanted=%lu got=%lu", wanted, got);
    return true;
}

static bool start_sessions(void)
{
    static const struct session_calls calls = {
        .hold_policy = hold_policy,
        .release_policy = release_policy,
        .prefetch = prefetch,
        .put = put,
    };

    return session_register("hunnypot-milter", &calls);
}

/* A socket left behind by a daemon that was killed goes away; one that somebody answers never does. */
static bool socket_path_free(const char *path)
{
    struct stat status;

    if (path == NULL || lstat(path, &status) != 0)
        return true;
    if (!S_ISSOCK(status.st_mode)) {
        log_event(LOG_LEVEL_ERROR, "fatal socket=%s error=\"is there and is no socket\"", path);
        return false;
    }
    if (prime_knock(daemon_.socket) || errno != ECONNREFUSED) {
        log_event(LOG_LEVEL_ERROR, "fatal socket=%s error=\"in use by a running daemon\"", path);
        return false;
    }
    return unlink(path) == 0;
}

static bool socket_hand_over(const char *path, const struct passwd *owner)
{
    const char *group_name = daemon_.settings->socket_group;
    const struct group *group = *group_name != '\0' ? getgrnam(group_name) : NULL;
    uid_t uid = geteuid() == 0 && owner != NULL ? owner->pw_uid : (uid_t)-1;
    gid_t gid = geteuid() == 0 && owner != NULL ? owner->pw_gid : (gid_t)-1;

    if (path == NULL)
        return true;
    if (*group_name != '\0' && group == NULL) {
        log_event(LOG_LEVEL_ERROR, "fatal socket_group=%s error=\"no such group\"", group_name);
        return false;
    }
    if (group != NULL)
        gid = group->gr_gid;
    if (chown(path, uid, gid) == 0)
        return true;
    log_event(LOG_LEVEL_ERROR, "fatal socket=%s error=\"chown: %s\"", path, strerror(errno));
    return false;
}

static bool start_socket(void)
{
    const char *path = server_unix_path(daemon_.socket);
    const struct passwd *owner = getpwnam(daemon_.settings->user);
    mode_t mask;
    bool opened;

    if (path != NULL && (!folder_make(path, 0755, owner) || !socket_path_free(path)))
        return false;
    mask = umask(0117); /* 0660: the MTA's group, and nobody else */
    opened = server_open(daemon_.socket);
    umask(mask);
    if (!opened)
        log_event(LOG_LEVEL_ERROR, "fatal socket=%s error=\"cannot listen: %s\"", daemon_.socket, strerror(errno));
    return opened && socket_hand_over(path, owner);
}

static void stop_socket(void)
{
    const char *path = server_unix_path(daemon_.socket);

    if (path != NULL)
        unlink(path); /* libmilter has done so already, if it may */
}

static bool start_user(void)
{
    char why[256];

    if (!folder_make(daemon_.settings->spool, 0750, getpwnam(daemon_.settings->user)))
        return false;
    if (privileges_drop(daemon_.settings->user, why, sizeof why))
        return true;
    log_event(LOG_LEVEL_ERROR, "fatal user=%s error=\"%s\"", daemon_.settings->user, why);
    return false;
}

static bool start_spool(void)
{
    char why[256] = "";
    enum spool_status status = spool_open(&daemon_.spool, daemon_.settings->spool, daemon_.settings->spool_limit, why,
                                          sizeof why);

    if (status == SPOOL_OK)
        return true;
    log_event(LOG_LEVEL_ERROR, "fatal spool=%s error=\"%s%s\"", daemon_.settings->spool, why,
              status == SPOOL_LOCKED ? "; another hunnypot-milter runs on it" : "");
    return false;
}

static void stop_spool(void)
{
    spool_close(&daemon_.spool);
}

static bool start_judge(void)
{
    struct identity identity;
    struct judge_config config = judge_config_for(daemon_.settings, &identity);

    daemon_.judge = judge_create(&config);
    free(identity.addresses);
    return true;
}

static void stop_judge(void)
{
    judge_destroy(&daemon_.judge);
}

static bool start_judging(void)
{
    daemon_.judging = judging_start(daemon_.spool, daemon_.judge, daemon_.settings->verdict_timeout_ms);
    return true;
}

static void stop_judging(void)
{
    judging_stop(&daemon_.judging);
}

static bool start_shipper(void)
{
    if (daemon_.settings->database[0] != '\0')
        daemon_.shipper = shipper_start(daemon_.spool, daemon_.settings->database, daemon_.settings->sensor,
                                        PACKAGE_VERSION);
    return true;
}

static void stop_shipper(void)
{
    shipper_stop(&daemon_.shipper, FLUSH_MS);
}

static bool start_prime(void)
{
    prime_start(daemon_.socket);
    return true;
}

static const struct step {
    bool (*start)(void);
    void (*stop)(void); /* NULL: nothing to do */
} steps[] = {
    {.start = start_descriptors},
    {.start = start_sessions},
    {.start = start_socket, .stop = stop_socket},
    {.start = start_user}, /* root ends here */
    {.start = start_spool, .stop = stop_spool},
    {.start = start_judge, .stop = stop_judge},
    {.start = start_shipper, .stop = stop_shipper},
    {.start = start_judging, .stop = stop_judging},
    {.start = NULL, .stop = session_drop_all}, /* after the last callback, before what callbacks use */
    {.start = start_prime, .stop = prime_join},
};

enum { STEP_COUNT = sizeof steps / sizeof *steps };

static int serve(void)
{
    size_t started = 0;
    bool served = false;
    sigset_t set;

    signals_block(&set); /* before the first thread, which inherits it */
    while (started < STEP_COUNT && (steps[started].start == NULL || steps[started].start()))
        started++;
    if (started == STEP_COUNT) {
        log_event(LOG_LEVEL_INFO, "ready version=%s socket=%s spool=%s database=%s", PACKAGE_VERSION, daemon_.socket,
                  daemon_.settings->spool, daemon_.settings->database[0] != '\0' ? "set" : "none");
        served = serve_until_signal(&set);
    }
    while (started-- > 0)
        if (steps[started].stop != NULL)
            steps[started].stop();
    if (served)
        log_event(LOG_LEVEL_INFO, "stopped");
    return served ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The command line. */

static void fault_print(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void usage_print(FILE *out)
{
    fputs("usage: hunnypot-milter [-c FILE] [--check | --dump]\n"
          "       hunnypot-milter --sample | --help | --version\n"
          "\n"
          "  -c, --config FILE  the settings, " HP_SYSCONFDIR "/hunnypot.conf unless named\n"
          "      --check        say whether the settings are right, and end\n"
          "      --dump         print the settings in force, and end\n"
          "      --sample       print every setting with its default, and end\n",
          out);
}

enum mode { MODE_SERVE, MODE_CHECK, MODE_DUMP };

static int run(enum mode mode)
{
    int status = EXIT_SUCCESS;

    daemon_.settings = settings_load(daemon_.path, fault_print, NULL);
    if (daemon_.settings == NULL)
        return EX_CONFIG;
    daemon_.socket = alloc_text(daemon_.settings->socket);
    log_set_level(daemon_.settings->log_level);
    if (mode == MODE_CHECK)
        printf("%s: ok\n", daemon_.path);
    else if (mode == MODE_DUMP)
        settings_dump(daemon_.settings, stdout);
    else
        status = serve();
    settings_release(&daemon_.settings);
    free(daemon_.socket);
    return status;
}

int main(int argc, char **argv)
{
    enum { OPTION_CHECK = 256, OPTION_DUMP, OPTION_SAMPLE, OPTION_HELP, OPTION_VERSION };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},      {"check", no_argument, NULL, OPTION_CHECK},
        {"dump", no_argument, NULL, OPTION_DUMP},      {"sample", no_argument, NULL, OPTION_SAMPLE},
        {"help", no_argument, NULL, OPTION_HELP},      {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
    };
    enum mode mode = MODE_SERVE;
    int option;

    daemon_.path = HP_SYSCONFDIR "/hunnypot.conf";
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1)
        switch (option) {
        case 'c':
            daemon_.path = optarg;
            break;
        case OPTION_CHECK:
            mode = MODE_CHECK;
            break;
        case OPTION_DUMP:
            mode = MODE_DUMP;
            break;
        case OPTION_SAMPLE:
            settings_print_sample(stdout);
            return EXIT_SUCCESS;
        case OPTION_HELP:
            usage_print(stdout);
            return EXIT_SUCCESS;
        case OPTION_VERSION:
            puts(PACKAGE_STRING);
            return EXIT_SUCCESS;
        default:
            usage_print(stderr);
            return EX_USAGE;
        }
    if (optind < argc) {
        fprintf(stderr, "hunnypot-milter: unexpected argument: %s\n", argv[optind]);
        usage_print(stderr);
        return EX_USAGE;
    }
    return run(mode);
}
