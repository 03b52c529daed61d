/* check_host.c - checks of this host: settings, the milter's socket, the spool. */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/interfaces.h"
#include "cli/check.h"
#include "cli/file.h"

#define EXPORTS_FOLDER "/var/lib/hunnypot-export" /* systemd's, of the unit's StateDirectory= */
enum { EXPORT_STUCK_S = 2 * 3600 };

/* Settings */

static void add_fault(void *context, const char *line)
{
    char **faults = context, *more = alloc_format("%s%s\n", *faults == NULL ? "" : *faults, line);

    free(*faults);
    *faults = more;
}

static void put_own_address(void *settings, const struct ipaddr *address)
{
    settings_add_own_address(settings, address);
}

/* What the daemon would count as ours (daemon/identity). */
static void complete_identity(struct settings *settings)
{
    char host[256] = "", normalized[DOMAIN_MAX + 1];

    gethostname(host, sizeof host - 1);
    if (settings->judge.own_name_count == 0 && domain_normalize(host, normalized))
        settings_add_own_name(settings, normalized);
    if (settings->judge.own_address_count == 0)
        (void)interfaces_read(put_own_address, settings);
}

static void check_settings(const struct check_facts *facts, struct check_report *report)
{
    const struct check_host *host = &facts->host;
    const char *line = host->faults == NULL ? "" : host->faults;

    if (host->settings != NULL)
        check_say(report, CHECK_OK, NULL, "%s can be read", host->settings_path);
    else if (host->settings_hidden)
        check_say(report, CHECK_UNKNOWN, "run this as root", "%s may not be read by you", host->settings_path);
    else
        for (; *line != '\0'; line += strcspn(line, "\n") + 1)
            check_say(report, CHECK_PROBLEM, "mend that, then: systemctl reload hunnypot-milter", "%.*s",
                      (int)strcspn(line, "\n"), line);
}

static void check_user(const struct check_facts *facts, struct check_report *report)
{
    const struct check_host *host = &facts->host;

    if (host->settings != NULL && !host->user_exists)
        check_say(report, CHECK_PROBLEM, "create it: adduser --system --group NAME", "there is no user %s",
                  host->settings->user);
}

/* The socket */

static int socket_try(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = ENAMETOOLONG;

    if (fd >= 0 && strlen(path) < sizeof address.sun_path) {
        memcpy(address.sun_path, path, strlen(path) + 1);
        error = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    }
    if (fd >= 0)
        close(fd);
    return error == EAGAIN ? 0 : error; /* somebody listens, and has much to do */
}

int check_connect(const char *path, const char *root, const char *user)
{
    const struct passwd *entry = user == NULL ? NULL : getpwnam(user);
    int status;
    pid_t child;

    if (user != NULL && entry == NULL)
        return ENOENT;
    child = fork();
    if (child == 0) {
        if ((root != NULL && (chroot(root) != 0 || chdir("/") != 0)) ||
            (entry != NULL && (initgroups(entry->pw_name, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 ||
                               setuid(entry->pw_uid) != 0)))
            _exit(errno);
        _exit(socket_try(path));
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return EIO;
    return WEXITSTATUS(status);
}

static void check_socket(const struct check_facts *facts, struct check_report *report)
{
    const struct check_host *host = &facts->host;
    const char *path = host->socket_path;

    if (host->settings == NULL || path == NULL)
        return;
    if (host->socket_error == EACCES)
        check_say(report, CHECK_UNKNOWN, "run this as root", "%s may not be seen by you", path);
    else if (host->socket_error != 0)
        check_say(report, CHECK_PROBLEM, "start the daemon: systemctl start hunnypot-milter", "%s: %s", path,
                  strerror(host->socket_error));
    else if (!S_ISSOCK(host->socket_mode))
        check_say(report, CHECK_PROBLEM, "move it away, and start the daemon", "%s is no socket", path);
    else if (host->connect_error == EACCES)
        check_say(report, CHECK_UNKNOWN, "run this as root", "%s takes no connection from you", path);
    else if (host->connect_error != 0)
        check_say(report, CHECK_PROBLEM, "start the daemon: systemctl restart hunnypot-milter", "nobody listens at %s: %s",
                  path, strerror(host->connect_error));
    else
        check_say(report, CHECK_OK, NULL, "the daemon listens at %s", path);
}

static void check_socket_group(const struct check_facts *facts, struct check_report *report)
{
    const struct check_host *host = &facts->host;
    const struct group *wanted;

    if (host->settings == NULL || host->socket_path == NULL || host->socket_error != 0 ||
        *host->settings->socket_group == '\0')
        return;
    wanted = getgrnam(host->settings->socket_group);
    if (wanted == NULL)
        check_say(report, CHECK_PROBLEM, "create it, or name another in socket_group", "there is no group %s",
                  host->settings->socket_group);
    else if (wanted->gr_gid != host->socket_gid || (host->socket_mode & S_IWGRP) == 0)
        check_say(report, CHECK_PROBLEM, "restart the daemon: systemctl restart hunnypot-milter",
                  "%s is not open to the group %s", host->socket_path, host->settings->socket_group);
}

/* The spool */

static void check_spool(const struct check_facts *facts, struct check_report *report)
{
    const struct check_host *host = &facts->host;

    if (host->settings == NULL)
        return;
    if (host->spool_error == EACCES)
        check_say(report, CHECK_UNKNOWN, "run this as root", "%s may not be read by you", host->settings->spool);
    else if (host->spool_error != 0)
        check_say(report, CHECK_PROBLEM, "start the daemon, which makes it; its folder must be its own", "%s: %s",
                  host->settings->spool, strerror(host->spool_error));
    else if (host->spool_head == SPOOL_HEAD_NEWER)
        check_say(report, CHECK_PROBLEM, "run that version again, or move the file away, and its -wal with it, to start a new one",
                  "%s was written by a newer hunnypot-milter", host->settings->spool);
    else if (host->spool_head == SPOOL_HEAD_OTHER)
        check_say(report, CHECK_PROBLEM, "name another file as spool, or move this one away", "%s is no spool",
                  host->settings->spool);
    else if (host->user_exists && (host->spool_uid != host->user_uid || (host->spool_folder_uid != host->user_uid &&
                                                                       (host->spool_folder_mode & 0022) == 0)))
        check_say(report, CHECK_PROBLEM, "give the file and its folder to that user: chown", "%s cannot be written by %s",
                  host->settings->spool, host->settings->user);
    else if (host->spool_free_bytes >= 0 && host->spool_free_bytes < 16 << 20)
        check_say(report, CHECK_WARNING, "make room on that file system", "%s has only %lld bytes of room left",
                  host->settings->spool, (long long)host->spool_free_bytes);
    else
        check_say(report, CHECK_OK, NULL, "%s can be written by %s", host->settings->spool, host->settings->user);
}

/* Exports */

static void check_exports(const struct check_facts *facts, struct check_report *report)
{
    const char *line = facts->host.stuck_exports;

    for (; line != NULL && *line != '\0'; line += strcspn(line, "\n") + 1) {
        int length = (int)strcspn(line, " ");

        check_say(report, CHECK_PROBLEM,
                  "see: journalctl -u 'hunnypot-export@*' (database away? brake?); when it is used no more, remove that folder",
                  "hunnypot-export@%.*s did not bring " EXPORTS_FOLDER "/%.*s/list up to date for %.*s h", length, line, length, line,
                  (int)strcspn(line + length + 1, "\n"), line + length + 1);
    }
}

/* Gathering */

/* A unit that exports looks at the list at least once an hour, and its note says so. */
static void gather_exports(struct check_host *host)
{
    time_t now = (time_t)(clock_realtime_us() / CLOCK_SECOND_US);
    glob_t found;
    struct stat status;

    if (glob(EXPORTS_FOLDER "/*/list", GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *format = found.gl_pathv[i] + sizeof EXPORTS_FOLDER;
        char *line;

        if (!file_has_note(found.gl_pathv[i]) || stat(found.gl_pathv[i], &status) != 0 || now - status.st_ctime < EXPORT_STUCK_S)
            continue;
        line = alloc_format("%.*s %lld", (int)strcspn(format, "/"), format, (long long)(now - status.st_ctime) / 3600);
        add_fault(&host->stuck_exports, line);
        free(line);
    }
    globfree(&found);
}

static void gather_spool(struct check_host *host)
{
    const char *path = host->settings->spool, *slash = strrchr(path, '/');
    char *folder = slash == NULL ? alloc_text(".") : alloc_format("%.*s", (int)(slash - path) + 1, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct statvfs room;
    struct stat status;

    host->spool_error = fd < 0 ? errno : 0;
    host->spool_free_bytes = statvfs(folder, &room) == 0 ? (int64_t)(room.f_bavail * room.f_frsize) : -1;
    if (stat(folder, &status) == 0) {
        host->spool_folder_uid = status.st_uid;
        host->spool_folder_mode = status.st_mode;
    }
    if (fd >= 0) {
        if (fstat(fd, &status) == 0)
            host->spool_uid = status.st_uid;
        host->spool_head = spool_head_read(fd);
        close(fd);
    }
    free(folder);
}

static void gather_socket(struct check_host *host)
{
    struct stat status;

    host->socket_path = settings_socket_path(host->settings->socket);
    if (host->socket_path == NULL)
        return;
    host->socket_error = lstat(host->socket_path, &status) == 0 ? 0 : errno;
    if (host->socket_error == 0) {
        host->socket_mode = status.st_mode;
        host->socket_gid = status.st_gid;
        host->connect_error = check_connect(host->socket_path, NULL, NULL);
    }
}

void check_gather_host(struct check_facts *facts, const char *settings_path)
{
    struct check_host *host = &facts->host;
    const struct passwd *user;

    gather_exports(host);
    host->settings_path = settings_path;
    host->connect_error = CHECK_NOT_TRIED;
    host->settings = settings_load(settings_path, add_fault, &host->faults);
    host->settings_hidden = host->settings == NULL && access(settings_path, R_OK) != 0 && errno == EACCES;
    if (host->settings == NULL)
        return;
    complete_identity(host->settings);
    user = getpwnam(host->settings->user);
    host->user_exists = user != NULL;
    host->user_uid = user == NULL ? 0 : user->pw_uid;
    gather_socket(host);
    gather_spool(host);
}

void check_free_host(struct check_host *host)
{
    settings_release(host->settings);
    free(host->faults);
    free(host->stuck_exports);
}

const struct check check_host_table[] = {
    {"settings", check_settings}, {"user", check_user},   {"socket", check_socket},
    {"socket group", check_socket_group}, {"spool", check_spool},
    {"exports", check_exports}, {NULL, NULL},
};
