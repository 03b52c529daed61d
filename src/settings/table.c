/* table.c - every setting: what it is called, what it may be, and where it goes. */
#include "settings/table.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/conninfo.h"

void *settings_append(void *list, size_t *count, size_t size, const void *item)
{
    char *longer = alloc_resized(list, *count + 1, size);

    memcpy(longer + *count * size, item, size);
    ++*count;
    return longer;
}

void settings_add_own_name(struct settings *settings, const char *name)
{
    struct settings_judge *judge = &settings->judge;
    char *copy = alloc_text(name);

    judge->own_names = settings_append(judge->own_names, &judge->own_name_count, sizeof copy, &copy);
}

void settings_add_own_address(struct settings *settings, const struct ipaddr *address)
{
    struct settings_judge *judge = &settings->judge;

    judge->own_addresses =
        settings_append(judge->own_addresses, &judge->own_address_count, sizeof *address, address);
}

/* What is wrong with "PORT" or "PORT@HOST". */
static const char *port_fault(const char *text)
{
    char *end;
    long port;

    if (!isdigit((unsigned char)*text))
        return "has no port";
    port = strtol(text, &end, 10);
    if (port < 1 || port > UINT16_MAX)
        return "has no port between 1 and 65535";
    return *end == '\0' || (*end == '@' && end[1] != '\0') ? NULL : "is no socket";
}

static const char *take_socket(struct settings *settings, const char *text)
{
    const char *path = settings_socket_path(text);
    struct sockaddr_un address;

    (void)settings;
    if (strncmp(text, "inet:", 5) == 0 || strncmp(text, "inet6:", 6) == 0)
        return port_fault(text + strcspn(text, ":") + 1);
    if (path == NULL || *path != '/')
        return "is no socket";
    return strlen(path) < sizeof address.sun_path ? NULL : "is too long for a unix socket";
}

static const char *take_name(struct settings *settings, const char *text)
{
    (void)settings;
    return *text != '\0' && strpbrk(text, " \t\n:/") == NULL ? NULL : "is no name";
}

static const char *take_group(struct settings *settings, const char *text)
{
    return *text == '\0' ? NULL : take_name(settings, text);
}

static const char *take_sensor(struct settings *settings, const char *text)
{
    (void)settings;
    for (const char *c = text; *c != '\0'; c++)
        if (!isgraph((unsigned char)*c))
            return "has a blank or a byte that is not ASCII";
    return strlen(text) <= 253 ? NULL : "is longer than 253 bytes";
}

static const char *take_database(struct settings *settings, const char *text)
{
    (void)settings;
    return conninfo_fault(text);
}

static const char *take_path(struct settings *settings, const char *text)
{
    (void)settings;
    return *text == '/' && text[strlen(text) - 1] != '/' ? NULL : "is not the full path of a file";
}

static const char *take_reply(struct settings *settings, const char *text)
{
    const char *why = NULL;

    return reply_parse(text, &settings->session.reply, &why) ? NULL : why;
}

static const char *take_nameserver(struct settings *settings, const char *text)
{
    struct settings_dns *dns = &settings->judge.dns;
    char host[IPADDR_TEXT_SIZE];
    const char *colon = strrchr(text, ':');
    struct ipaddr address;
    long port = 53;
    char *end;

    if (!ipaddr_parse(text, &address)) {
        if (colon == NULL || !isdigit((unsigned char)colon[1]) || (size_t)(colon - text) >= sizeof host)
            return "is no address";
        snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
        port = strtol(colon + 1, &end, 10);
        if (!ipaddr_parse(host, &address) || *end != '\0' || port < 1 || port > 65535)
            return "is no address with a port";
    }
    if (dns->server_count == SETTINGS_SERVER_MAX)
        return "is one too many (the resolver takes three)";
    ipaddr_to_sockaddr(&address, (uint16_t)port, &dns->servers[dns->server_count++]);
    return NULL;
}

static const char *take_own_name(struct settings *settings, const char *text)
{
    char normalized[DOMAIN_MAX + 1];

    if (!domain_normalize(text, normalized))
        return "is no host name";
    settings_add_own_name(settings, normalized);
    return NULL;
}

static const char *take_own_address(struct settings *settings, const char *text)
{
    struct ipaddr address;

    if (!ipaddr_parse(text, &address))
        return "is no address";
    settings_add_own_address(settings, &address);
    return NULL;
}

static const char *take_nat64_prefix(struct settings *settings, const char *text)
{
    struct settings_judge *judge = &settings->judge;
    struct ipnet net;

    if (!ipnet_parse(text, &net))
        return "is no network";
    if (!ipnet_is_nat64_prefix(&net))
        return "is no prefix of a translator";
    judge->nat64_prefixes = settings_append(judge->nat64_prefixes, &judge->nat64_prefix_count, sizeof net, &net);
    return NULL;
}

static const char *take_ignored(struct settings *settings, const char *text)
{
    struct settings_judge *judge = &settings->judge;
    struct ipnet net;

    if (!ipnet_parse(text, &net))
        return "is no network";
    net = ipnet_client(&net, judge->nat64_prefixes, judge->nat64_prefix_count);
    if (ipnet_holds_ipv4(&net, judge->nat64_prefixes, judge->nat64_prefix_count))
        return "holds IPv4 addresses, but those of no network on the Internet; name IPv4 networks";
    judge->ignored = settings_append(judge->ignored, &judge->ignored_count, sizeof net, &net);
    return NULL;
}

static const char *take_probe_network(struct settings *settings, const char *text)
{
    struct settings_judge *judge = &settings->judge;
    struct ipnet net;

    if (!ipnet_parse(text, &net))
        return "is no network";
    judge->probe_allowed = settings_append(judge->probe_allowed, &judge->probe_allowed_count, sizeof net, &net);
    return NULL;
}

/* The longest name that is asked for is that of an IPv6 address, 64 bytes before the zone. */
static const char *take_friend_zone(struct settings *settings, const char *text)
{
    struct settings_judge *judge = &settings->judge;
    char normalized[DOMAIN_MAX + 1];

    if (!domain_normalize(text, normalized) || strlen(normalized) > DOMAIN_MAX - 64)
        return "is no zone";
    for (size_t i = 0; i < judge->friend_zone_count; i++)
        if (strcmp(judge->friend_zones[i], normalized) == 0)
            return "is there twice";
    if (judge->friend_zone_count == SETTINGS_ZONE_MAX)
        return "is one too many (8 are taken)";
    judge->friend_zones[judge->friend_zone_count++] = alloc_text(normalized);
    return NULL;
}

static const char *take_egress_host(struct settings *settings, const char *text)
{
    struct settings_judge *judge = &settings->judge;
    struct ipaddr address;

    if (!ipaddr_parse(text, &address))
        return "is no address";
    if (ipaddr_is_unusable(&address))
        return "is no address of a host elsewhere";
    judge->egress_hosts = settings_append(judge->egress_hosts, &judge->egress_host_count, sizeof address, &address);
    return NULL;
}

static const char *take_localpart(struct settings *settings, const char *text)
{
    struct settings_session *session = &settings->session;
    char *copy = alloc_text(text);

    for (char *c = copy; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    session->exempt_localparts =
        settings_append(session->exempt_localparts, &session->exempt_localpart_count, sizeof copy, &copy);
    return *text != '\0' && strchr(text, '@') == NULL ? NULL : "is no local part";
}

/* The file at its usual place may be missing; one that somebody named may not. */
static const char *take_envelope_key(struct settings *settings, const char *text)
{
    static char why[ENVELOPE_WHY_SIZE]; /* one settings_load() at a time */
    bool missing;

    if (*text == '\0')
        return NULL;
    if (*text != '/')
        return "is no full path";
    if (envelope_keys_read(text, &settings->session.envelope_keys, &missing, why) ||
        (missing && strcmp(text, ENVELOPE_KEY_FILE) == 0))
        return NULL;
    memmove(why + strlen("cannot be used: "), why, sizeof why - strlen("cannot be used: "));
    memcpy(why, "cannot be used: ", strlen("cannot be used: "));
    why[sizeof why - 1] = '\0';
    return why;
}

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL}; /* enum log_level */
static const char *const requires[] = {"any", "all", NULL};                          /* require_all */
static const char *const envelopes[] = {"full", "domain", "none", NULL};             /* enum envelope_setting */
static const char *const roles[] = {"auto", "trap", "backup", "address", "off", NULL}; /* enum role_setting */

static const char *const probes[] = {"greeting", "envelope", NULL};                   /* enum probe_setting */
static const char *const outages[] = {"defer", "accept", NULL};                      /* enum outage_setting */

#define MEMBER(path) .offset = offsetof(struct settings, path), .size = sizeof(((struct settings *)NULL)->path)
#define RULE_MEMBER(path) .offset = offsetof(struct settings_rule, path), .size = sizeof(((struct settings_rule *)NULL)->path)
#define SECONDS(n) ((n) * INT64_C(1000))
#define NETWORK_RIGHT "a network is 192.0.2.0/24 or 2001:db8::/32, with no bits set behind its length"

const struct settings_row settings_rows[] = {
    {.name = "socket", .type = TYPE_TEXT, .standard = "unix:/run/hunnypot/milter.sock", .take = take_socket, .fixed = true,
     .right = "unix:/PATH, inet:PORT@HOST or inet6:PORT@HOST", MEMBER(socket),
     .help = "Where the MTA finds the milter. Prefer unix: sendmail needs 44 ms for each step over inet."},
    {.name = "socket_group", .type = TYPE_TEXT, .standard = "", .take = take_group, .fixed = true,
     .right = "the name of a group, or nothing", MEMBER(socket_group),
     .help = "The group that may use the unix socket (mode 0660): that of the MTA, such as postfix. "
             "Empty: the group of `user`."},
    {.name = "user", .type = TYPE_TEXT, .standard = "hunnypot", .take = take_name, .fixed = true,
     .right = "the name of a user who is not root", MEMBER(user),
     .help = "Started as root, the daemon becomes this user before the first session."},
    {.name = "sensor", .type = TYPE_TEXT, .standard = "", .take = take_sensor, .fixed = true,
     .right = "a short name, such as mx2.example.org", MEMBER(sensor),
     .help = "The name of this milter in the database. Empty: the host's name."},
    {.name = "database", .type = TYPE_TEXT, .standard = "", .take = take_database, .fixed = true, .secret = true,
     .has_lines = true,
     .right = "a libpq connection string or URI; the password belongs into a passfile or service file", MEMBER(database),
     .help = "The PostgreSQL database, such as \"service=hunnypot\". Empty: hits stay in the spool."},
    {.name = "spool", .type = TYPE_TEXT, .standard = HP_LOCALSTATEDIR "/lib/hunnypot/spool.db", .take = take_path,
     .fixed = true, .right = "the full path of a file", MEMBER(spool),
     .help = "The file that holds the hits until they are in the database. It must be on a local disk."},
    {.name = "envelope_key", .type = TYPE_TEXT, .standard = ENVELOPE_KEY_FILE, .take = take_envelope_key,
     .right = "the full path of a file that `hunnypot witness key --new` made, or nothing", MEMBER(envelope_key),
     .help = "The keys by which witnesses tell letters again; see hunnypot-witness(8). It may be missing there. Empty: none."},
    {.name = "spool_limit", .type = TYPE_NUMBER, .standard = "1000000", .min = 1, .max = 1000000000, .fixed = true,
     MEMBER(spool_limit), .help = "At most so many hits in the spool. More are lost, counted, and said once a minute."},
    {.name = "spool_keep", .type = TYPE_DURATION, .standard = "10m", .max = SECONDS(86400), .fixed = true,
     MEMBER(spool_keep_ms),
     .help = "How long a recorded hit stays in the spool, should the database come back without it. At most spool_limit / 10."},
    {.name = "log_level", .type = TYPE_CHOICE, .standard = "info", .choices = log_levels, MEMBER(log_level),
     .help = "How much is logged. debug tells of each hit that is not recorded, and why."},
    {.name = "nat64_prefixes", .type = TYPE_LIST, .standard = "{}", .take = take_nat64_prefix,
     .right = "such as 2001:db8:64::/96; of length 32, 40, 48, 56, 64 or 96, with zeroes in the bits 64 to 71",
     .help = "Prefixes behind which a translator puts IPv4 clients. Known anyway: 64:ff9b::/96, 6to4, Teredo."},
    {.name = "ignore_clients", .type = TYPE_LIST, .take = take_ignored, .right = NETWORK_RIGHT,
     .standard = "{127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7, "
                 "169.254.0.0/16, fe80::/10}",
     .help = "Networks of clients that are never recorded; += adds to the default."},
    {.name = "exempt_localparts", .type = TYPE_LIST, .standard = "{postmaster, abuse}", .take = take_localpart,
     .right = "the part of an address before the @",
     .help = "A hit on none but these local parts is not recorded."},
    {.name = "record_envelope", .type = TYPE_CHOICE, .standard = "domain", .choices = envelopes, MEMBER(session.envelope),
     .help = "What is kept of sender and recipients: full addresses, their domains, or none."},
    {.name = "reply", .type = TYPE_TAKEN, .take = take_reply, .has_lines = true,
     .standard = "451 4.7.1 This host takes no mail. Please try the preferred mail server of the domain",
     .help = "What DATA is answered with. \\n begins a further line."},

    {.section = "friends", .name = "zones", .type = TYPE_LIST, .standard = "{}", .take = take_friend_zone,
     .right = "up to eight lists in DNS, such as list.dnswl.example",
     .help = "Lists in DNS (DNSWL) of clients that are never recorded. Whom they do not tell about is not counted against."},

    {.section = "limits", .name = "connections", .type = TYPE_NUMBER, .standard = "20", .max = 100000,
     MEMBER(session.connections), .help = "Connections at once; one more is answered 421. 0: no limit."},
    {.section = "limits", .name = "connections_per_client", .type = TYPE_NUMBER, .standard = "3", .max = 100000,
     MEMBER(session.connections_per_client),
     .help = "Connections at once from one IPv4 address or IPv6 /64. 0: no limit."},
    {.section = "limits", .name = "idle", .type = TYPE_DURATION, .standard = "30s", .max = SECONDS(86400),
     MEMBER(session.idle_ms), .help = "A command that comes later than this is answered 421. 0: no limit."},
    {.section = "limits", .name = "client_bytes", .type = TYPE_NUMBER, .standard = "1024", .max = 1000000000,
     MEMBER(session.client_bytes), .help = "A client that says more than this is answered 421. 0: no limit."},

    {.section = "liveness", .name = "remember", .type = TYPE_DURATION, .standard = "399s", .min = SECONDS(1),
     .max = SECONDS(399), MEMBER(judge.remember_ms),
     .help = "How long the state of an MX host and a DNS answer are believed."},
    {.section = "liveness", .name = "probe", .type = TYPE_CHOICE, .standard = "greeting", .choices = probes, MEMBER(judge.probe),
     .help = "How deep an MX host is probed: up to its greeting, or to its answers to MAIL and RCPT."},
    {.section = "liveness", .name = "probe_timeout", .type = TYPE_DURATION, .standard = "10s", .min = 100,
     .max = SECONDS(300), MEMBER(judge.probe_timeout_ms), .help = "How long an MX host has for connection and answers."},
    {.section = "liveness", .name = "probe_interval", .type = TYPE_DURATION, .standard = "10s", .min = 100,
     .max = SECONDS(3600), MEMBER(judge.probe_interval_ms),
     .help = "Probes of one address begin at least this far apart; a hit waits for the first that begins after it."},
    {.section = "liveness", .name = "fresh", .type = TYPE_DURATION, .standard = "60s", .max = SECONDS(3600),
     MEMBER(judge.fresh_ms),
     .help = "How often the primaries are probed of domains named here or hit within a week. 0: only when asked."},
    {.section = "liveness", .name = "verdict_timeout", .type = TYPE_DURATION, .standard = "60s", .min = SECONDS(1),
     .max = SECONDS(3600), MEMBER(verdict_timeout_ms),
     .help = "A hit that cannot be judged within this time is not recorded."},
    {.section = "liveness", .name = "port", .type = TYPE_NUMBER, .standard = "25", .min = 1, .max = 65535,
     MEMBER(judge.port), .help = "The port on which MX hosts are probed."},
    {.section = "liveness", .name = "require", .type = TYPE_CHOICE, .standard = "any", .choices = requires,
     MEMBER(judge.require_all),
     .help = "A domain is live when any primary accepts and none defers, or only when all accept."},
    {.section = "liveness", .name = "startup_grace", .type = TYPE_DURATION, .standard = "60s", .max = SECONDS(86400),
     MEMBER(judge.startup_grace_ms), .help = "No recording for this long after start."},
    {.section = "liveness", .name = "outage_grace", .type = TYPE_DURATION, .standard = "100m", .max = SECONDS(7 * 86400),
     MEMBER(judge.outage_grace_ms),
     .help = "No recording for this long after an outage of the primaries, and for as long as it lasted, up to 6 h."},
    {.section = "liveness", .name = "probers", .type = TYPE_NUMBER, .standard = "4", .min = 1, .max = 64, .fixed = true,
     MEMBER(judge.probers), .help = "DNS look-ups and probes at once."},
    {.section = "liveness", .name = "probe_networks", .type = TYPE_LIST, .standard = "{}", .take = take_probe_network,
     .right = NETWORK_RIGHT, .help = "Private or loopback networks in which primaries may be probed all the same."},
    {.section = "liveness", .name = "egress_hosts", .type = TYPE_LIST, .standard = "{}", .take = take_egress_host,
     .right = "the address of a mail server elsewhere that is always up, such as your provider's",
     .help = "Mail servers that prove, for on_outage = accept, that an outage is not ours."},

    {.section = "dns", .name = "nameservers", .type = TYPE_LIST, .standard = "{}", .take = take_nameserver,
     .right = "up to three of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT", .help = "Name servers. None: the system's."},
    {.section = "dns", .name = "timeout", .type = TYPE_DURATION, .standard = "5s", .min = SECONDS(1), .max = SECONDS(30),
     .unit_ms = 1000, MEMBER(judge.dns.timeout_s), .help = "For each try of each name server; whole seconds."},
    {.section = "dns", .name = "attempts", .type = TYPE_NUMBER, .standard = "2", .min = 1, .max = 5,
     MEMBER(judge.dns.attempts), .help = "Tries of each name server."},

    {.section = "trap_host", .name = "names", .type = TYPE_LIST, .standard = "{}", .take = take_own_name,
     .right = "the name of this host in MX records, such as mx2.example.org",
     .help = "The names of this host in MX records. None: the host's name; the MTA's name for itself always counts."},
    {.section = "trap_host", .name = "addresses", .type = TYPE_LIST, .standard = "{}", .take = take_own_address,
     .right = "an IP address of this host, as the world sees it",
     .help = "The addresses of this host. None: those of its interfaces; the one the client came to always counts."},

    {.section = "domain", .name = "role", .type = TYPE_CHOICE, .standard = "auto", .choices = roles,
     RULE_MEMBER(role), .help = "What this host is to the domain: auto (by DNS), trap, backup, address, or off."},
    {.section = "domain", .name = "on_outage", .type = TYPE_CHOICE, .standard = "defer", .choices = outages,
     RULE_MEMBER(on_outage),
     .help = "When all primaries are surely down: defer as ever, or accept, so that the mail server queues."},
};

const size_t settings_row_count = sizeof settings_rows / sizeof *settings_rows;

const struct settings_row *settings_row_find(const char *section, const char *name)
{
    for (const struct settings_row *row = settings_rows; row < settings_rows + settings_row_count; row++) {
        bool same = section == NULL || row->section == NULL ? section == row->section : strcmp(section, row->section) == 0;

        if (same && strcmp(row->name, name) == 0)
            return row;
    }
    return NULL;
}

char *settings_row_title(const struct settings_row *row)
{
    return row->section == NULL ? alloc_text(row->name) : alloc_format("%s.%s", row->section, row->name);
}

static bool shares_section(const struct settings_row *a, const struct settings_row *b)
{
    return a->section != NULL && b->section != NULL && strcmp(a->section, b->section) == 0;
}

bool settings_row_begins_section(const struct settings_row *row)
{
    return row->section != NULL && (row == settings_rows || !shares_section(row, row - 1));
}

bool settings_row_ends_section(const struct settings_row *row)
{
    return row->section != NULL && (row + 1 == settings_rows + settings_row_count || !shares_section(row, row + 1));
}

bool settings_row_is_of_domain(const struct settings_row *row)
{
    return row->section != NULL && strcmp(row->section, "domain") == 0;
}
