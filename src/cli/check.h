/* check.h - `hunnypot check`: facts about the world around the daemon, and small functions that judge them.
 *
 * Facts are gathered first, by the check_gather_...() functions, which never fail: what could not be found out is said in the
 * facts.  Then each row of the tables of checks looks at the facts, asks nothing, and says what it finds.
 * Threads:  one.
 * Owns:     facts own what they point to, but for the settings' path and the connections of struct cli.
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/cli.h"
#include "judge/mx.h"
#include "judge/probe.h"
#include "judge/role.h"
#include "record/spool_head.h"
#include "settings/settings.h"

/* Also the exit status for the worst finding, as monitoring plugins have it. */
enum check_level { CHECK_OK = 0, CHECK_WARNING = 1, CHECK_PROBLEM = 2, CHECK_UNKNOWN = 3 };

struct check_finding {
    enum check_level level;
    const char *check; /* the name of its row */
    char *what;        /* printable */
    const char *cure;  /* static; NULL: nothing is to be done */
};

struct check_report {
    const char *check; /* the row that looks now */
    struct check_finding *findings;
    size_t count;
};

/* A finding of the row that looks now.  CURE is static, or NULL. */
void check_say(struct check_report *report, enum check_level level, const char *cure, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The outcome of an attempt to connect to the milter's socket: 0, or an errno; CHECK_NOT_TRIED. */
enum { CHECK_NOT_TRIED = -1 };

struct check_host {
    const char *settings_path;
    struct settings *settings; /* NULL: see faults */
    bool settings_hidden;      /* the caller may not read the file */
    char *faults;              /* a line for each */
    const char *socket_path;   /* NULL: no UNIX socket */
    int socket_error;          /* of lstat(): 0 or an errno */
    mode_t socket_mode;
    gid_t socket_gid;
    int connect_error;         /* as the caller */
    int spool_error;           /* of the file: 0 or an errno */
    enum spool_head spool_head;
    bool user_exists;
    uid_t user_uid, spool_uid, spool_folder_uid;
    mode_t spool_folder_mode;
    int64_t spool_free_bytes; /* of the file system; -1: not known */
    char *stuck_exports;      /* "FORMAT HOURS", a line each: since when hunnypot-export@FORMAT did not look; NULL: none */
};

/* One place in a mail server's configuration that has a milter. */
struct check_service {
    char *where;       /* "smtp/inet in master.cf" */
    char *milters;     /* smtpd_milters */
    char *action;      /* milter_default_action; of sendmail F= */
    char *name;        /* of the filter, in sendmail */
    char *early;       /* names of what may refuse a client before DATA, "" for none */
    int64_t command_ms; /* how long it waits for an answer of the milter; -1: not known */
    int64_t connections, per_client; /* that it lets in at once, and from one client; 0: any number, -1: not known */
    int64_t idle_ms;    /* how long it waits for a client; -1: not known */
    bool ours, chrooted, screened /* behind postscreen */, asked /* of sendmail: by InputMailFilters */;
};

struct check_mta {
    const char *name; /* "postfix", "sendmail", NULL: none was found */
    char *file;       /* what was read */
    struct check_service *services;
    size_t service_count;
    char *user, *queue_directory, *relay_domains, *delivered; /* Postfix's, with all of what it delivers itself in `delivered` */
    char *screen;      /* the service behind which postscreen stands; NULL: none */
    int connect_error; /* to the socket as the mail server's user, within its chroot if it has one */
};

struct check_domain {
    char name[DOMAIN_MAX + 1];
    enum role_setting setting;
    struct mx_answer answer;
    struct role_result role;
    bool named; /* we are in the MX set by name */
    bool our_address; /* one of the addresses of that host is ours */
    bool may_relay, delivered; /* by the mail server, when its lists can be read */
    bool relay_unknown;
    enum liveness_state states[MX_MAX][MX_ADDRESS_MAX]; /* with --probe, of the primaries */
    char said[MX_MAX][MX_ADDRESS_MAX][PROBE_SAID_SIZE];
};

/* A list of friends. */
struct check_zone {
    const char *name; /* the settings' */
    enum friend_state has, has_not; /* what it says of what each list must have, and must not (RFC 5782 5) */
};

struct check_database {
    enum db_status sensor_status; /* of the daemon's connection */
    char *sensor_why, *sensor_role;
    int server_version;
    int64_t clock_off_ms;         /* the server's clock minus ours */
    bool has_schema, may_record, has_partition;
    enum db_status reader_status; /* of the caller's connection */
    char *reader_why;
    char *unread_why;             /* of a row that could not be read; NULL: none */
    int schema_version;           /* 0: none */
    bool seen;                    /* the sensor is in the database */
    int64_t silent_s;             /* since its heartbeat */
    int64_t sessions, aside, spooled; /* as its last heartbeat had them; -1: not known */
    int64_t hits, clients;        /* hits of the last day, 1000 at most, and how many clients these had */
    bool clients_private;         /* all of them */
    char *witness_troubles;       /* "KIND TEXT" (hunnypot.witness_troubles), a line each; NULL: none */
    char *held_why;               /* by the brake; NULL: it does not */
    int64_t requests_waiting;     /* for a person */
    bool requests_unchecked;      /* nobody looks for the TXT records of others */
};

struct check_facts {
    struct check_host host;
    struct check_mta mta;
    struct check_database database;
    struct check_domain *domains;
    size_t domain_count;
    struct check_zone zones[SETTINGS_ZONE_MAX];
    size_t zone_count;
    bool probe;
};

struct check {
    const char *name;
    void (*look)(const struct check_facts *facts, struct check_report *report);
};

/* Ended by a row without a name. */
extern const struct check check_host_table[], check_mta_table[], check_domain_table[], check_database_table[];

void check_gather_host(struct check_facts *facts, const char *settings_path);
void check_gather_mta(struct check_facts *facts, const char *sendmail_cf);
void check_gather_domains(struct check_facts *facts, char **names, size_t count);
void check_gather_database(struct check_facts *facts, struct cli *cli);

void check_free_host(struct check_host *host);
void check_free_mta(struct check_mta *mta);
void check_free_database(struct check_database *database);

/* Connect to the milter's socket at PATH within ROOT (NULL: no chroot) as USER (NULL: as the caller), in a process of its own:
 * 0 or an errno. */
int check_connect(const char *path, const char *root, const char *user);

#endif
