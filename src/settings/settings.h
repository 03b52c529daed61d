/* settings.h - hunnypot.conf: one table of settings, read with libConfuse, as one reference-counted snapshot.
 *
 * The table in table.c is the only place where a setting exists (name, type, default, bounds, unit, help); it feeds
 * load, reload, --check, --dump, the sample file and the manual page.  Who works by the settings holds the snapshot and
 * reads its members; there is no second copy.
 * Threads:  settings_load() in one at a time (libConfuse's scanner is global).  Whoever loaded a snapshot may change it
 *           until somebody else sees it; from then on it is const, and hold and release are atomic.
 * Owns:     a snapshot owns all it points to; settings_release() frees it with its last holder.  A struct settings that
 *           was not loaded (snapshot NULL) is its maker's, who keeps it longer than any holder: hold and release do nothing.
 * Fails:    NULL from load, after one line for each fault (file, line, what is wrong, what would be right) went to REPORT.
 */
#ifndef SETTINGS_SETTINGS_H
#define SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/domain.h"
#include "base/envelope_key.h"
#include "base/ipaddr.h"
#include "base/log.h"
#include "base/reply.h"

/* The `role` of a `domain` section. */
enum role_setting { ROLE_AUTO, ROLE_TRAP, ROLE_BACKUP, ROLE_ADDRESS, ROLE_OFF };

/* record_envelope */
enum envelope_setting { ENVELOPE_FULL, ENVELOPE_DOMAIN, ENVELOPE_NONE };

/* liveness.probe: how deep a probe looks. */
enum probe_setting { PROBE_GREETING, PROBE_ENVELOPE };

/* The `on_outage` of a `domain` section. */
enum outage_setting { ON_OUTAGE_DEFER, ON_OUTAGE_ACCEPT };

enum {
    SETTINGS_SERVER_MAX = 3, /* resolver(5) MAXNS */
    SETTINGS_ZONE_MAX = 8
};

struct settings_dns {
    struct sockaddr_storage servers[SETTINGS_SERVER_MAX]; /* none: the system's */
    size_t server_count;
    int timeout_s; /* for one try of one server */
    int attempts;
};

struct settings_rule { /* one `domain` section */
    char pattern[DOMAIN_MAX + 3];
    enum role_setting role;
    enum outage_setting on_outage;
};

/* What the judge goes by. */
struct settings_judge {
    struct settings_dns dns;
    int64_t remember_ms; /* an address's state and a DNS answer are never used when older */
    enum probe_setting probe;
    int64_t probe_timeout_ms;
    int64_t probe_interval_ms; /* from the beginning of one probe of an address to the next */
    int64_t fresh_ms;          /* how often primaries are probed though nobody asks; 0: never */
    int64_t startup_grace_ms;
    int64_t outage_grace_ms;
    uint16_t port;
    bool require_all; /* every primary must accept, not just one */
    unsigned probers; /* worker threads; fixed when the judge is created */

    char **own_names; /* normalized */
    size_t own_name_count;
    struct ipaddr *own_addresses;
    size_t own_address_count;
    bool own_addresses_read; /* they are the interfaces', which may get more */
    struct settings_rule *rules; /* the longest matching pattern wins */
    size_t rule_count;
    struct ipnet *nat64_prefixes; /* each an ipnet_is_nat64_prefix() */
    size_t nat64_prefix_count;
    struct ipnet *ignored; /* ignore_clients, as ipnet_client() has them */
    size_t ignored_count;
    struct ipnet *probe_allowed; /* private or loopback networks where primaries may be probed all the same */
    size_t probe_allowed_count;
    char *friend_zones[SETTINGS_ZONE_MAX]; /* lists in DNS, normalized: whom one has is never recorded */
    size_t friend_zone_count;
    struct ipaddr *egress_hosts; /* elsewhere, always up: they tell an outage from a net of ours that is gone */
    size_t egress_host_count;
};

/* What a session goes by. */
struct settings_session {
    unsigned connections, connections_per_client; /* 0: no limit */
    int64_t idle_ms;                              /* 0: no limit */
    unsigned client_bytes;                        /* 0: no limit */
    char **exempt_localparts;                     /* lower case */
    size_t exempt_localpart_count;
    enum envelope_setting envelope;
    struct envelope_keys envelope_keys; /* none: envelopes are not hashed */
    struct reply reply;
};

struct settings {
    char *socket;
    char *socket_group; /* "" : none */
    char *user;
    char *sensor;
    char *database; /* "" : spool only */
    char *spool;
    char *envelope_key; /* the file that envelope_keys came from; "": none */
    int64_t spool_limit;
    int64_t spool_keep_ms;
    enum log_level log_level;
    int64_t verdict_timeout_ms;
    struct settings_judge judge;
    struct settings_session session;
    struct settings_snapshot *snapshot; /* settings.c's */
};

/* Is there mail that this host may take (a role off, or on_outage = accept)?  Otherwise all that comes is trapped. */
bool settings_may_take(const struct settings *settings);

/* Does a section say on_outage = accept? */
bool settings_accept_in_outage(const struct settings_judge *settings);

/* The path in SOCKET (libmilter's syntax), or NULL when it is no unix socket. */
const char *settings_socket_path(const char *socket);

/* The end of the name SOCKET that mail server and daemon write in the same way: with a chroot the path begins elsewhere. */
const char *settings_socket_tail(const char *socket);

/* Read PATH. */
struct settings *settings_load(const char *path, void (*report)(void *context, const char *line), void *context);

/* One holder more, and one less (NULL: none). */
const struct settings *settings_hold(const struct settings *settings);
void settings_release(const struct settings *settings);

/* Who this host is, before SETTINGS are shared: NAME (normalized) and ADDRESS count as ours. */
void settings_add_own_name(struct settings *settings, const char *name);
void settings_add_own_address(struct settings *settings, const struct ipaddr *address);

/* One line to REPORT for each setting that differs between the two and is only read at start. */
void settings_report_fixed(const struct settings *started_with, const struct settings *loaded,
                           void (*report)(void *context, const char *line), void *context);

/* The settings in force, as a file that settings_load() reads back to the same. */
void settings_dump(const struct settings *settings, FILE *out);

/* The sample file, made from the table: every setting with its default and one line of help, commented out. */
void settings_print_sample(FILE *out);

#endif
