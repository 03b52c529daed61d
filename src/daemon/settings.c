#include "daemon/settings.h"

#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/ipaddr.h"
#include "base/text.h"

enum { DNS_PORT = 53, WHY_SIZE = 512 };

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define AT(member) offsetof(struct settings, member)

enum type {
    TYPE_TEXT,      /* char * */
    TYPE_SOCKET,    /* char *, in libmilter's syntax */
    TYPE_DATABASE,  /* char *, without a password */
    TYPE_INTEGER,   /* of `width` bytes */
    TYPE_DURATION,  /* milliseconds, of `width` bytes, divided by `divide` */
    TYPE_CHOICE,    /* an enum of `width` bytes, or a bool: index into `choices` */
    TYPE_REPLY,     /* struct reply */
    TYPE_SERVERS,   /* struct sockaddr_storage[MX_SERVER_MAX] */
    TYPE_NETWORKS,  /* struct ipnet *, allocated */
    TYPE_ADDRESSES, /* struct ipaddr *, allocated */
    TYPE_NAMES,     /* char **, allocated: normalized host names */
    TYPE_WORDS      /* char **, allocated: lower case */
};

/* One setting.  Lists have their count, a size_t, at `count_at`; their default is in libConfuse's syntax. */
struct row {
    const char *section, *name;
    enum type type;
    const char *initial; /* NULL: the host's name */
    size_t at, width, count_at;
    long long min, max, divide; /* of the number, or of the duration in milliseconds */
    const char *const *choices;
    const char *help;
};

#define MS(seconds) ((seconds) * 1000LL)

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const envelopes[] = {"full", "domain", "none", NULL};
static const char *const requires[] = {"any", "all", NULL};

/* The only place where a setting exists, but for the `domain` sections below. */
static const struct row rows[] = {
    {NULL, "socket", TYPE_SOCKET, "unix:/run/hunnypot/milter.sock", AT(socket), 0, 0, 0, 0, 1, NULL,
     "where the MTA reaches the milter: unix:PATH, inet:PORT@HOST or inet6:PORT@HOST"},
    {NULL, "socket_group", TYPE_TEXT, "", AT(socket_group), 0, 0, 0, 0, 1, NULL,
     "group that may use a unix socket (mode 0660), such as postfix; empty: the user's own"},
    {NULL, "user", TYPE_TEXT, "hunnypot", AT(user), 0, 0, 0, 0, 1, NULL,
     "started as root, the daemon becomes this user before its first session"},
    {NULL, "sensor", TYPE_TEXT, NULL, AT(sensor), 0, 0, 0, 0, 1, NULL, "this milter's name in the database"},
    {NULL, "database", TYPE_DATABASE, "", AT(database), 0, 0, 0, 0, 1, NULL,
     "libpq connection string or URI, without a password; empty: hits stay in the spool"},
    {NULL, "spool", TYPE_TEXT, HP_LOCALSTATEDIR "/lib/hunnypot/spool.db", AT(spool), 0, 0, 0, 0, 1, NULL,
     "SQLite file that holds hits until the database has them"},
    {NULL, "spool_limit", TYPE_INTEGER, "1000000", AT(spool_limit), 8, 0, 1, 1000000000, 1, NULL,
     "hits in the spool; at the limit new hits are lost, the 451 goes on"},
    {NULL, "log_level", TYPE_CHOICE, "info", AT(log_level), sizeof(enum log_level), 0, 0, 0, 1, log_levels,
     "error, warning, info or debug"},
    {"limits", "connections", TYPE_INTEGER, "20", AT(session.connections), 4, 0, 0, 100000, 1, NULL,
     "connections at once; 0: no limit"},
    {"limits", "connections_per_client", TYPE_INTEGER, "3", AT(session.connections_per_client), 4, 0, 0, 100000, 1, NULL,
     "connections at once from one client (IPv6: one /64); 0: no limit"},
    {"limits", "idle", TYPE_DURATION, "30s", AT(session.idle_ms), 8, 0, 0, MS(3600), 1, NULL,
     "silence after which a command is answered 421 and a place is given back; 0: no limit"},
    {"limits", "client_bytes", TYPE_INTEGER, "1024", AT(session.client_bytes), 4, 0, 0, 100000000, 1, NULL,
     "bytes that a client may send before it is closed; 0: no limit"},
    {"liveness", "remember", TYPE_DURATION, "399s", AT(judge.remember_ms), 8, 0, 1, MS(3600), 1, NULL,
     "how long the state of an MX host is used"},
    {"liveness", "probe_timeout", TYPE_DURATION, "10s", AT(judge.probe_timeout_ms), 8, 0, 1, MS(300), 1, NULL,
     "for the connection and the greeting of one address"},
    {"liveness", "verdict_timeout", TYPE_DURATION, "60s", AT(verdict_timeout_ms), 8, 0, 1, MS(3600), 1, NULL,
     "a hit without an answer after this is not recorded"},
    {"liveness", "port", TYPE_INTEGER, "25", AT(judge.port), 2, 0, 1, 65535, 1, NULL, "where MX hosts listen"},
    {"liveness", "require", TYPE_CHOICE, "any", AT(judge.require_all), sizeof(bool), 0, 0, 0, 1, requires,
     "any: one accepting primary is enough; all: every one must accept"},
    {"liveness", "startup_grace", TYPE_DURATION, "60s", AT(judge.startup_grace_ms), 8, 0, 0, MS(86400 * 30LL), 1, NULL,
     "nothing is recorded for backup and address this long after the start"},
    {"liveness", "outage_grace", TYPE_DURATION, "1h", AT(judge.outage_grace_ms), 8, 0, 0, MS(86400 * 30LL), 1, NULL,
     "nothing is recorded this long after an outage that was seen"},
    {"liveness", "probers", TYPE_INTEGER, "4", AT(judge.probers), 4, 0, 1, 64, 1, NULL,
     "threads that look up and probe, and so the most probes at once"},
    {"liveness", "probe_networks", TYPE_NETWORKS, "{}", AT(judge.probe_allowed), 0, AT(judge.probe_allowed_count), 0, 0,
     1, NULL, "private or loopback networks whose hosts may be probed all the same"},
    {"dns", "nameservers", TYPE_SERVERS, "{}", AT(judge.dns.servers), 0, AT(judge.dns.server_count), 0, 0, 1, NULL,
     "up to 3, as ADDRESS or ADDRESS:PORT ([ADDRESS]:PORT for IPv6); none: the system's"},
    {"dns", "timeout", TYPE_DURATION, "5s", AT(judge.dns.timeout_s), 4, 0, MS(1), MS(60), 1000, NULL,
     "for one try of one server, in whole seconds"},
    {"dns", "attempts", TYPE_INTEGER, "2", AT(judge.dns.attempts), 4, 0, 1, 10, 1, NULL, "tries of each server"},
    {"trap_host", "names", TYPE_NAMES, "{}", AT(judge.own_names), 0, AT(judge.own_name_count), 0, 0, 1, NULL,
     "names of this host in MX records; none: the host name; the MTA's name for itself always counts"},
    {"trap_host", "addresses", TYPE_ADDRESSES, "{}", AT(judge.own_addresses), 0, AT(judge.own_address_count), 0, 0, 1,
     NULL, "addresses of this host; none: those of its interfaces; the one that a client reached always counts"},
    {NULL, "ignore_clients", TYPE_NETWORKS,
     "{\"127.0.0.0/8\", \"::1/128\", \"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"100.64.0.0/10\", "
     "\"fc00::/7\", \"169.254.0.0/16\", \"fe80::/10\"}",
     AT(judge.ignored), 0, AT(judge.ignored_count), 0, 0, 1, NULL, "networks that are never recorded"},
    {NULL, "exempt_localparts", TYPE_WORDS, "{\"postmaster\", \"abuse\"}", AT(session.exempt_localparts), 0,
     AT(session.exempt_localpart_count), 0, 0, 1, NULL, "a hit on these recipients only is not recorded"},
    {NULL, "record_envelope", TYPE_CHOICE, "domain", AT(session.envelope), sizeof(enum session_envelope), 0, 0, 0, 1,
     envelopes, "what is kept of sender and recipients: full, domain (no local parts) or none"},
    {NULL, "reply", TYPE_REPLY, "451 4.7.1 This is not the preferred mail server of the domain, please try that one",
     AT(session.reply), 0, 0, 0, 0, 1, NULL, "the answer to DATA; code 451, class 4"},
};

static const char *const sections[] = {"limits", "liveness", "dns", "trap_host"};

/* A snapshot: what users see comes first.  The tree is kept for settings_dump(). */
struct snapshot {
    struct settings settings;
    atomic_uint holders;
    cfg_t *tree;
    cfg_opt_t *options[COUNT(sections) + 2]; /* the tree points into them: top, each section, domain */
};

/* While a file is read: libConfuse's callbacks take no context, so one thread reads at a time and leaves it here. */
static _Thread_local struct {
    void (*report)(void *context, const char *line);
    void *context;
    unsigned faults;
} reading;

static bool is_list(const struct row *row)
{
    return row->count_at != 0;
}

/* Values.  Each reader puts TEXT into INTO, or says in WHY what is wrong with it and what would be right. */

static bool number_store(const struct row *row, long long number, void *into)
{
    switch (row->width) {
    case 1:
        *(bool *)into = number != 0;
        break;
    case 2:
        *(uint16_t *)into = (uint16_t)number;
        break;
    case 4:
        *(uint32_t *)into = (uint32_t)number;
        break;
    default:
        *(int64_t *)into = number;
    }
    return true;
}

static bool read_integer(const struct row *row, const char *text, void *into, char *why)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || number < row->min || number > row->max) {
        snprintf(why, WHY_SIZE, "\"%.60s\" is not a whole number from %lld to %lld", text, row->min, row->max);
        return false;
    }
    return number_store(row, number, into);
}

static bool read_duration(const struct row *row, const char *text, void *into, char *why)
{
    long long ms = text_duration_ms(text);

    if (ms >= row->min && ms <= row->max && ms % row->divide == 0)
        return number_store(row, ms / row->divide, into);
    snprintf(why, WHY_SIZE, "\"%.60s\" is not a duration from %lldms to %llds%s; write a number and ms, s, m, h or d, such as 30s",
             text, row->min, row->max / 1000, row->divide > 1 ? " in whole seconds" : "");
    return false;
}

static bool read_choice(const struct row *row, const char *text, void *into, char *why)
{
    size_t used;

    for (int i = 0; row->choices[i] != NULL; i++)
        if (strcmp(row->choices[i], text) == 0)
            return number_store(row, i, into);
    used = (size_t)snprintf(why, WHY_SIZE, "\"%.60s\" is none of", text);
    for (int i = 0; row->choices[i] != NULL; i++)
        used += (size_t)snprintf(why + used, WHY_SIZE - used, "%s %s", i > 0 ? "," : "", row->choices[i]);
    return false;
}

static bool text_store(const char *text, void *into)
{
    free(*(char **)into);
    *(char **)into = alloc_text(text);
    return true;
}

static bool read_socket(const char *text, void *into, char *why)
{
    bool inet = strncmp(text, "inet:", 5) == 0 || strncmp(text, "inet6:", 6) == 0;
    bool local = strncmp(text, "unix:/", 6) == 0 || strncmp(text, "local:/", 7) == 0 || text[0] == '/';

    if (inet && isdigit((unsigned char)strchr(text, ':')[1]))
        return text_store(text, into);
    if (local && strlen(strchr(text, '/')) < 108) /* unix(7) sun_path */
        return text_store(text, into);
    snprintf(why, WHY_SIZE, "\"%.60s\" is no socket; write unix:/PATH (up to 107 bytes), inet:PORT@HOST or inet6:PORT@HOST",
             text);
    return false;
}

/* A password in the file would be one more place to leak from; libpq has better ones. */
static bool has_password(const char *text)
{
    const char *found = strstr(text, "://"), *at = found != NULL ? strchr(found + 3, '@') : NULL;

    if (at != NULL && memchr(found + 3, ':', (size_t)(at - found - 3)) != NULL)
        return true;
    for (found = text; (found = strcasestr(found, "password")) != NULL; found++) {
        const char *after = found + strlen("password");

        while (isspace((unsigned char)*after))
            after++;
        if (*after == '=' && (found == text || strchr(" \t\n&?", found[-1]) != NULL))
            return true;
    }
    return false;
}

static bool read_database(const char *text, void *into, char *why)
{
    if (!has_password(text))
        return text_store(text, into);
    snprintf(why, WHY_SIZE, "a password does not belong here; put it into a password file (passfile=FILE) or a service file "
                            "(service=NAME)");
    return false;
}

static bool read_reply(const char *text, void *into, char *why)
{
    const char *reason;

    if (reply_parse(text, into, &reason))
        return true;
    snprintf(why, WHY_SIZE, "%s", reason);
    return false;
}

static bool read_server(const char *text, void *into, char *why)
{
    char address[IPADDR_TEXT_SIZE];
    const char *colon = strrchr(text, ':'), *bracket = strchr(text, ']');
    bool has_port = colon != NULL && (bracket != NULL ? colon > bracket : strchr(text, ':') == colon);
    long port = DNS_PORT;
    struct ipaddr server;
    char *end;

    snprintf(address, sizeof address, "%.*s", has_port ? (int)(colon - text) : (int)strlen(text), text);
    if (has_port)
        port = strtol(colon + 1, &end, 10);
    if (!ipaddr_parse(address, &server) || (has_port && (end == colon + 1 || *end != '\0')) || port < 1 || port > 65535) {
        snprintf(why, WHY_SIZE, "\"%.60s\" is no name server; write ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT", text);
        return false;
    }
    ipaddr_to_sockaddr(&server, (uint16_t)port, into);
    return true;
}

static bool read_network(const char *text, void *into, char *why)
{
    if (ipnet_parse(text, into))
        return true;
    snprintf(why, WHY_SIZE, "\"%.60s\" is no network; write ADDRESS/BITS without host bits, such as 192.0.2.0/24", text);
    return false;
}

static bool read_address(const char *text, void *into, char *why)
{
    if (ipaddr_parse(text, into))
        return true;
    snprintf(why, WHY_SIZE, "\"%.60s\" is no address", text);
    return false;
}

static bool read_name(const char *text, void *into, char *why)
{
    char name[DOMAIN_MAX + 1];

    if (domain_normalize(text, name))
        return text_store(name, into);
    snprintf(why, WHY_SIZE, "\"%.60s\" is no host name", text);
    return false;
}

static bool read_word(const char *text, void *into, char *why)
{
    (void)why;
    text_store(text, into);
    for (char *byte = *(char **)into; *byte != '\0'; byte++)
        *byte = (char)tolower((unsigned char)*byte);
    return true;
}

static bool row_read(const struct row *row, const char *text, void *into, char *why)
{
    switch (row->type) {
    case TYPE_TEXT:
        return text_store(text, into);
    case TYPE_SOCKET:
        return read_socket(text, into, why);
    case TYPE_DATABASE:
        return read_database(text, into, why);
    case TYPE_INTEGER:
        return read_integer(row, text, into, why);
    case TYPE_DURATION:
        return read_duration(row, text, into, why);
    case TYPE_CHOICE:
        return read_choice(row, text, into, why);
    case TYPE_REPLY:
        return read_reply(text, into, why);
    case TYPE_SERVERS:
        return read_server(text, into, why);
    case TYPE_NETWORKS:
        return read_network(text, into, why);
    case TYPE_ADDRESSES:
        return read_address(text, into, why);
    case TYPE_NAMES:
        return read_name(text, into, why);
    case TYPE_WORDS:
        return read_word(text, into, why);
    }
    return false;
}

static size_t element_size(enum type type)
{
    switch (type) {
    case TYPE_SERVERS:
        return sizeof(struct sockaddr_storage);
    case TYPE_NETWORKS:
        return sizeof(struct ipnet);
    case TYPE_ADDRESSES:
        return sizeof(struct ipaddr);
    default:
        return sizeof(char *);
    }
}

/* Faults. */

static void fault_report(cfg_t *tree, const char *format, va_list arguments)
{
    char what[WHY_SIZE + 128], line[sizeof what + 512];

    vsnprintf(what, sizeof what, format, arguments);
    for (char *byte = what; *byte != '\0'; byte++) /* one line, whatever stands in the file */
        if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
            *byte = ' ';
    snprintf(line, sizeof line, "%s:%d: %s", tree->filename != NULL ? tree->filename : "?", tree->line, what);
    reading.faults++;
    reading.report(reading.context, line);
}

/* A value was read: look at it now, while its line is known.  The fault is counted; reading goes on, to find the next. */
static void value_check(cfg_t *tree, const struct row *row, const char *text)
{
    union {
        char *text;
        int64_t number;
        struct reply reply;
        struct sockaddr_storage server;
        struct ipnet network;
    } into = {0};
    char why[WHY_SIZE] = "";

    if (!row_read(row, text, &into, why))
        cfg_error(tree, "%s%s%s: %s", row->section != NULL ? row->section : "", row->section != NULL ? "." : "", row->name,
                  why);
    else if (row->type == TYPE_TEXT || row->type == TYPE_SOCKET || row->type == TYPE_DATABASE || row->type == TYPE_NAMES ||
             row->type == TYPE_WORDS)
        free(into.text);
}

static const struct row *row_find(const char *section, const char *name)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(rows[i].name, name) == 0 &&
            (rows[i].section == NULL ? section == NULL : section != NULL && strcmp(rows[i].section, section) == 0))
            return &rows[i];
    return NULL;
}

static int option_check(cfg_t *tree, cfg_opt_t *option)
{
    bool top = strcmp(cfg_name(tree), "root") == 0;
    const struct row *row = row_find(top ? NULL : cfg_name(tree), cfg_opt_name(option));

    for (unsigned i = 0; i < cfg_opt_size(option); i++)
        value_check(tree, row, cfg_opt_getnstr(option, i));
    if (row->type == TYPE_SERVERS && cfg_opt_size(option) > MX_SERVER_MAX)
        cfg_error(tree, "dns.nameservers: %u are too many; at most %d are asked", cfg_opt_size(option), MX_SERVER_MAX);
    return 0;
}

/* `domain` sections. */

static bool pattern_read(const char *title, char out[DOMAIN_MAX + 3])
{
    char name[DOMAIN_MAX + 1];
    bool wild = strncmp(title, "*.", 2) == 0;

    if (strcmp(title, "*") == 0) {
        strcpy(out, "*");
        return true;
    }
    if (!domain_normalize(wild ? title + 2 : title, name))
        return false;
    snprintf(out, DOMAIN_MAX + 3, "%s%s", wild ? "*." : "", name);
    return true;
}

static int domain_check(cfg_t *tree, cfg_opt_t *option)
{
    const char *title = cfg_title(cfg_opt_getnsec(option, cfg_opt_size(option) - 1));
    char pattern[DOMAIN_MAX + 3];

    if (!pattern_read(title, pattern))
        cfg_error(tree, "domain: \"%.60s\" is no domain; write a name, *.NAME for all below it, or *", title);
    return 0;
}

static int role_check(cfg_t *tree, cfg_opt_t *option)
{
    const char *role = cfg_opt_getnstr(option, 0);
    enum role_setting ignored;

    if (!role_setting_from_name(role, &ignored))
        cfg_error(tree, "domain.role: \"%.60s\" is none of auto, trap, backup, address, off", role);
    return 0;
}

static void rules_take(struct snapshot *snapshot)
{
    unsigned count = cfg_size(snapshot->tree, "domain");
    struct judge_rule *rules = alloc_zeroed(count + 1, sizeof *rules);
    bool has_default = false;

    for (unsigned i = 0; i < count; i++) {
        cfg_t *section = cfg_getnsec(snapshot->tree, "domain", i);

        pattern_read(cfg_title(section), rules[i].pattern);
        role_setting_from_name(cfg_getstr(section, "role"), &rules[i].role);
        has_default = has_default || strcmp(rules[i].pattern, "*") == 0;
    }
    if (!has_default)
        rules[count++] = (struct judge_rule){.pattern = "*", .role = ROLE_AUTO};
    snapshot->settings.judge.rules = rules;
    snapshot->settings.judge.rule_count = count;
}

/* From the table to libConfuse, and from its tree to the snapshot. */

static cfg_opt_t *options_for(const char *section, size_t extra)
{
    cfg_opt_t *options = alloc_zeroed(COUNT(rows) + extra + 1, sizeof *options);
    size_t count = 0;
    char host[256] = "localhost";

    gethostname(host, sizeof host - 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *initial = rows[i].initial != NULL ? rows[i].initial : host;

        if (section == NULL ? rows[i].section != NULL : rows[i].section == NULL || strcmp(rows[i].section, section) != 0)
            continue;
        options[count++] = is_list(&rows[i])
                               ? (cfg_opt_t)CFG_STR_LIST(rows[i].name, (char *)alloc_text(initial), CFGF_NONE)
                               : (cfg_opt_t)CFG_STR(rows[i].name, (char *)alloc_text(initial), CFGF_NONE);
    }
    options[count] = (cfg_opt_t)CFG_END();
    return options;
}

static void tree_make(struct snapshot *snapshot)
{
    cfg_opt_t **options = snapshot->options;
    cfg_opt_t *top = options_for(NULL, COUNT(sections) + 1);
    size_t count = 0;

    while (top[count].name != NULL)
        count++;
    for (size_t i = 0; i < COUNT(sections); i++) {
        options[i + 1] = options_for(sections[i], 0);
        top[count++] = (cfg_opt_t)CFG_SEC(sections[i], options[i + 1], CFGF_NONE);
    }
    options[COUNT(sections) + 1] = alloc_zeroed(2, sizeof **options);
    options[COUNT(sections) + 1][0] = (cfg_opt_t)CFG_STR("role", (char *)alloc_text("auto"), CFGF_NONE);
    options[COUNT(sections) + 1][1] = (cfg_opt_t)CFG_END();
    top[count++] =
        (cfg_opt_t)CFG_SEC("domain", options[COUNT(sections) + 1], CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
    top[count] = (cfg_opt_t)CFG_END();
    options[0] = top;
    snapshot->tree = cfg_init(top, CFGF_NONE);
}

static void tree_set_checks(cfg_t *tree)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        char path[128];

        snprintf(path, sizeof path, "%s%s%s", rows[i].section != NULL ? rows[i].section : "",
                 rows[i].section != NULL ? "|" : "", rows[i].name);
        cfg_set_validate_func(tree, path, option_check);
    }
    cfg_set_validate_func(tree, "domain", domain_check);
    cfg_set_validate_func(tree, "domain|role", role_check);
    cfg_set_error_function(tree, fault_report);
}

/* Every value was checked when it was read. */
static void list_take(const struct row *row, cfg_t *tree, char *settings)
{
    unsigned count = cfg_size(tree, row->name);
    size_t size = element_size(row->type);
    char *elements = row->type == TYPE_SERVERS ? settings + row->at : alloc_zeroed(count, size);
    char why[WHY_SIZE];

    for (unsigned i = 0; i < count; i++)
        row_read(row, cfg_getnstr(tree, row->name, i), elements + i * size, why);
    if (row->type != TYPE_SERVERS)
        *(void **)(settings + row->at) = elements;
    *(size_t *)(settings + row->count_at) = count;
}

static void snapshot_fill(struct snapshot *snapshot)
{
    char *settings = (char *)&snapshot->settings;
    char why[WHY_SIZE];

    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct row *row = &rows[i];
        cfg_t *tree = row->section != NULL ? cfg_getsec(snapshot->tree, row->section) : snapshot->tree;

        if (is_list(row))
            list_take(row, tree, settings);
        else
            row_read(row, cfg_getstr(tree, row->name), settings + row->at, why);
    }
    rules_take(snapshot);
}

static void options_free(cfg_opt_t *options)
{
    for (cfg_opt_t *option = options; option != NULL && option->name != NULL; option++)
        free(option->type == CFGT_STR ? (void *)((option->flags & CFGF_LIST) != 0 ? option->def.parsed
                                                                                  : (char *)option->def.string)
                                      : NULL);
    free(options);
}

static void row_free(const struct row *row, char *settings)
{
    void **at = (void **)(settings + row->at);
    size_t count = is_list(row) ? *(size_t *)(settings + row->count_at) : 0;

    if (row->type == TYPE_NAMES || row->type == TYPE_WORDS)
        for (size_t i = 0; i < count; i++)
            free((*(char ***)at)[i]);
    if ((is_list(row) && row->type != TYPE_SERVERS) || row->type == TYPE_TEXT || row->type == TYPE_SOCKET ||
        row->type == TYPE_DATABASE)
        free(*at);
}

static void snapshot_free(struct snapshot *snapshot)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        row_free(&rows[i], (char *)&snapshot->settings);
    free((void *)snapshot->settings.judge.rules);
    cfg_free(snapshot->tree);
    for (size_t i = 0; i < COUNT(snapshot->options); i++)
        options_free(snapshot->options[i]);
    free(snapshot);
}

static void say_unreadable(const char *path)
{
    char line[600];

    snprintf(line, sizeof line, "%.500s: %s", path, strerror(errno));
    reading.report(reading.context, line);
}

struct settings *settings_load(const char *path, void (*report)(void *context, const char *line), void *context)
{
    struct snapshot *snapshot = alloc_zeroed(1, sizeof *snapshot);
    int parsed;

    reading.report = report;
    reading.context = context;
    reading.faults = 0;
    atomic_init(&snapshot->holders, 1);
    tree_make(snapshot);
    tree_set_checks(snapshot->tree);
    parsed = cfg_parse(snapshot->tree, path);
    if (parsed == CFG_FILE_ERROR)
        say_unreadable(path);
    if (parsed != CFG_SUCCESS || reading.faults > 0) {
        snapshot_free(snapshot);
        return NULL;
    }
    snapshot_fill(snapshot);
    return &snapshot->settings;
}

struct settings *settings_hold(struct settings *settings)
{
    atomic_fetch_add(&((struct snapshot *)settings)->holders, 1);
    return settings;
}

void settings_release(struct settings **settings)
{
    struct snapshot *snapshot = (struct snapshot *)*settings;

    *settings = NULL;
    if (snapshot != NULL && atomic_fetch_sub(&snapshot->holders, 1) == 1)
        snapshot_free(snapshot);
}

void settings_dump(const struct settings *settings, FILE *out)
{
    cfg_print(((const struct snapshot *)settings)->tree, out);
}

static void sample_print_row(const struct row *row, FILE *out)
{
    const char *indent = row->section != NULL ? "    " : "";
    bool quoted = !is_list(row) && (row->type == TYPE_TEXT || row->type == TYPE_SOCKET || row->type == TYPE_DATABASE ||
                                    row->type == TYPE_REPLY);

    fprintf(out, "%s# %s\n", indent, row->help);
    if (row->initial == NULL)
        fprintf(out, "%s# %s = \"the host's name\"\n", indent, row->name);
    else
        fprintf(out, quoted ? "%s# %s = \"%s\"\n" : "%s# %s = %s\n", indent, row->name, row->initial);
}

void settings_print_sample(FILE *out)
{
    fputs("# The settings of hunnypot-milter(8), each with its default; see hunnypot.conf(5).\n", out);
    for (size_t i = 0; i < COUNT(rows); i++)
        if (rows[i].section == NULL) {
            fputc('\n', out);
            sample_print_row(&rows[i], out);
        }
    for (size_t s = 0; s < COUNT(sections); s++) {
        fprintf(out, "\n%s {\n", sections[s]);
        for (size_t i = 0; i < COUNT(rows); i++)
            if (rows[i].section != NULL && strcmp(rows[i].section, sections[s]) == 0)
                sample_print_row(&rows[i], out);
        fputs("}\n", out);
    }
    fputs("\n# What this host is to a domain: auto, trap, backup, address or off; the longest matching name wins\n"
          "# domain \"*\" { role = auto }\n"
          "# domain \"old.example.com\" { role = trap }\n", out);
}
