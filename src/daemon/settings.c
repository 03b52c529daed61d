#include "daemon/settings.h"

#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"
#include "record/db.h"

enum { FILE_MAX = 1 << 20, SHOWN_MAX = 200, TEXT_MAX = 4096 };

enum row_type {
    TYPE_TEXT,     /* copied to `offset` after `take` found nothing wrong */
    TYPE_DURATION, /* in units of `unit_ms` (0: 1) */
    TYPE_NUMBER,
    TYPE_CHOICE,   /* the index in `choices` */
    TYPE_TAKEN,    /* all is done by `take` */
    TYPE_LIST      /* `take` is called for each */
};

struct row {
    const char *section; /* NULL: none */
    const char *name;
    enum row_type type;
    const char *standard; /* the default, as written in the file, without quotes */
    const char *help;
    const char *right;    /* of TEXT and LIST: what would be right */
    /* What is wrong with TEXT, as a static text, or NULL after having taken it. */
    const char *(*take)(struct settings *settings, const char *text);
    int64_t min, max, unit_ms;
    const char *const *choices;
    size_t offset, size; /* of the member of struct settings */
    bool fixed;          /* read at start only */
};

/* Comes behind the text of the file: libConfuse takes a file for whole that ends within a section or a comment. */
#define END_MARK "end-of-file"

/* One setting as it is in force; a text has one value, a list any number. */
struct row_values {
    char **texts;
    size_t count;
};

static const char *take_socket(struct settings *settings, const char *text)
{
    const char *path = text;
    struct sockaddr_un address;

    (void)settings;
    if (strncmp(text, "inet:", 5) == 0 || strncmp(text, "inet6:", 6) == 0)
        return isdigit((unsigned char)text[strcspn(text, ":") + 1]) ? NULL : "has no port";
    if (strncmp(text, "unix:", 5) == 0 || strncmp(text, "local:", 6) == 0)
        path = text + strcspn(text, ":") + 1;
    if (*path != '/')
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
    return db_conninfo_fault(text);
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

static void append(const void *array, size_t *count, size_t size, const void *item)
{
    void **items = (void **)array;

    *items = alloc_resized(*items, *count + 1, size);
    memcpy((char *)*items + *count * size, item, size);
    ++*count;
}

static const char *take_nameserver(struct settings *settings, const char *text)
{
    struct mx_config *dns = &settings->judge.dns;
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
    if (dns->server_count == MX_SERVER_MAX)
        return "is one too many (the resolver takes three)";
    ipaddr_to_sockaddr(&address, (uint16_t)port, &dns->servers[dns->server_count++]);
    return NULL;
}

static const char *take_own_name(struct settings *settings, const char *text)
{
    char normalized[DOMAIN_MAX + 1];
    char *copy;

    if (!domain_normalize(text, normalized))
        return "is no host name";
    copy = alloc_text(normalized);
    append(&settings->judge.own_names, &settings->judge.own_name_count, sizeof copy, &copy);
    return NULL;
}

static const char *take_own_address(struct settings *settings, const char *text)
{
    struct ipaddr address;

    if (!ipaddr_parse(text, &address))
        return "is no address";
    append(&settings->judge.own_addresses, &settings->judge.own_address_count, sizeof address, &address);
    return NULL;
}

static const char *take_network(const struct ipnet *const *nets, size_t *count, const char *text)
{
    struct ipnet net;

    if (!ipnet_parse(text, &net))
        return "is no network";
    append(nets, count, sizeof net, &net);
    return NULL;
}

static const char *take_ignored(struct settings *settings, const char *text)
{
    return take_network(&settings->judge.ignored, &settings->judge.ignored_count, text);
}

static const char *take_probe_network(struct settings *settings, const char *text)
{
    return take_network(&settings->judge.probe_allowed, &settings->judge.probe_allowed_count, text);
}

static const char *take_localpart(struct settings *settings, const char *text)
{
    char *copy = alloc_text(text);

    for (char *c = copy; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    append(&settings->session.exempt_localparts, &settings->session.exempt_localpart_count, sizeof copy, &copy);
    return *text != '\0' && strchr(text, '@') == NULL ? NULL : "is no local part";
}

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL}; /* enum log_level */
static const char *const requires[] = {"any", "all", NULL};                          /* require_all */
static const char *const envelopes[] = {"full", "domain", "none", NULL};             /* enum session_envelope */
static const char *const roles[] = {"auto", "trap", "backup", "address", "off", NULL}; /* enum role_setting */

#define MEMBER(path) .offset = offsetof(struct settings, path), .size = sizeof(((struct settings *)NULL)->path)
#define SECONDS(n) ((n) * INT64_C(1000))
#define NETWORK_RIGHT "a network is 192.0.2.0/24 or 2001:db8::/32, with no bits set behind its length"

static const struct row rows[] = {
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
    {.name = "database", .type = TYPE_TEXT, .standard = "", .take = take_database, .fixed = true,
     .right = "a libpq connection string or URI; the password belongs into a passfile or service file", MEMBER(database),
     .help = "The PostgreSQL database, such as \"service=hunnypot\". Empty: hits stay in the spool."},
    {.name = "spool", .type = TYPE_TEXT, .standard = HP_LOCALSTATEDIR "/lib/hunnypot/spool.db", .take = take_path,
     .fixed = true, .right = "the full path of a file", MEMBER(spool),
     .help = "The file that holds the hits until they are in the database. It must be on a local disk."},
    {.name = "spool_limit", .type = TYPE_NUMBER, .standard = "1000000", .min = 1, .max = 1000000000, .fixed = true,
     MEMBER(spool_limit), .help = "At most so many hits in the spool. More are lost, counted, and said once a minute."},
    {.name = "log_level", .type = TYPE_CHOICE, .standard = "info", .choices = log_levels, MEMBER(log_level),
     .help = "How much is logged. debug tells of each hit that is not recorded, and why."},
    {.name = "ignore_clients", .type = TYPE_LIST, .take = take_ignored, .right = NETWORK_RIGHT,
     .standard = "{127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7, "
                 "169.254.0.0/16, fe80::/10}",
     .help = "Networks of clients that are never recorded; += adds to the default."},
    {.name = "exempt_localparts", .type = TYPE_LIST, .standard = "{postmaster, abuse}", .take = take_localpart,
     .right = "the part of an address before the @",
     .help = "A hit on none but these local parts is not recorded."},
    {.name = "record_envelope", .type = TYPE_CHOICE, .standard = "domain", .choices = envelopes, MEMBER(session.envelope),
     .help = "What is kept of sender and recipients: full addresses, their domains, or none."},
    {.name = "reply", .type = TYPE_TAKEN, .take = take_reply,
     .standard = "451 4.7.1 This host takes no mail. Please try the preferred mail server of the domain",
     .help = "What DATA is answered with. \\n begins a further line."},

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
    {.section = "liveness", .name = "probe_timeout", .type = TYPE_DURATION, .standard = "10s", .min = 100,
     .max = SECONDS(300), MEMBER(judge.probe_timeout_ms), .help = "How long an MX host has for its greeting."},
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
    {.section = "liveness", .name = "outage_grace", .type = TYPE_DURATION, .standard = "1h", .max = SECONDS(7 * 86400),
     MEMBER(judge.outage_grace_ms), .help = "No recording for this long after an outage of the primaries was seen."},
    {.section = "liveness", .name = "probers", .type = TYPE_NUMBER, .standard = "4", .min = 1, .max = 64, .fixed = true,
     MEMBER(judge.probers), .help = "DNS look-ups and probes at once."},
    {.section = "liveness", .name = "probe_networks", .type = TYPE_LIST, .standard = "{}", .take = take_probe_network,
     .right = NETWORK_RIGHT, .help = "Private or loopback networks in which primaries may be probed all the same."},

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
     .help = "What this host is to the domain: auto (by DNS), trap, backup, address, or off."},
};

enum { ROW_COUNT = sizeof rows / sizeof *rows, ROLE_ROW = ROW_COUNT - 1, SECTION_MAX = 8 };

/* The snapshot behind the public struct. */
struct snapshot {
    struct settings settings; /* first */
    atomic_uint holders;
    struct row_values values[ROW_COUNT]; /* all but ROLE_ROW */
};

/* A load under way.  libConfuse gives its callbacks no context. */
static struct load {
    const char *path; /* printable */
    void (*report)(void *context, const char *line);
    void *context;
    bool failed;
    struct snapshot *snapshot;
    int lines[ROW_COUNT]; /* where the value was given last */
    int *domain_lines;
    size_t domain_count;
    const char *sections[SECTION_MAX]; /* seen */
    size_t section_count;
} *load;

static void __attribute__((format(printf, 2, 3))) fault(int line, const char *format, ...)
{
    char *text, *whole;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    whole = line > 0 ? alloc_format("%s:%d: %s", load->path, line, text) : alloc_format("%s: %s", load->path, text);
    load->failed = true;
    load->report(load->context, whole);
    free(whole);
    free(text);
}

/* "limits.idle"; the caller frees. */
static char *row_full_name(const struct row *row)
{
    return row->section == NULL ? alloc_text(row->name) : alloc_format("%s.%s", row->section, row->name);
}

static bool begins_section(const struct row *row)
{
    return row->section != NULL && (row[-1].section == NULL || strcmp(row[-1].section, row->section) != 0);
}

static const struct row *row_find(const char *section, const char *name)
{
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++)
        if (strcmp(row->name, name) == 0 && strcmp(row->section == NULL ? "root" : row->section, section) == 0)
            return row;
    return NULL;
}

/* The steps of Levenshtein's that turn A into B; the length of A when it is much longer, as then they are many. */
static size_t distance(const char *a, const char *b)
{
    size_t width = strlen(b), row[64], diagonal, next;

    if (width >= sizeof row / sizeof *row || strlen(a) > 2 * width)
        return strlen(a);
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            next = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            next = next < row[j] + 1 ? next : row[j] + 1;
            row[j + 1] = next < diagonal + 1 ? next : diagonal + 1;
        }
    }
    return row[width];
}

/* The setting or section that NAME may have meant, or NULL. */
static const char *closest_name(const char *name)
{
    const char *best = NULL, *candidate;
    size_t best_distance = strlen(name) / 2 + 1, d;

    for (size_t i = 0; i < 2 * ROW_COUNT; i++) {
        candidate = i < ROW_COUNT ? rows[i].name : rows[i - ROW_COUNT].section;
        d = candidate == NULL ? best_distance : distance(name, candidate);
        if (d < best_distance) {
            best = candidate;
            best_distance = d;
        }
    }
    return best;
}

static void unknown_setting(int line, const char *name, const char *section)
{
    const char *close = closest_name(name);
    char *shown = text_printable_new(name, SHOWN_MAX);
    const struct row *elsewhere = NULL;

    for (const struct row *row = rows; row < rows + ROW_COUNT && elsewhere == NULL; row++)
        if (strcmp(row->name, name) == 0 && row->section != NULL)
            elsewhere = row;
    if (strcmp(name, END_MARK) == 0)
        fault(line, "%s: the section does not end; a } is missing", section);
    else if (elsewhere != NULL && strcmp(section, elsewhere->section) != 0)
        fault(line, "%s: not a setting here; it belongs into %s { }", shown, elsewhere->section);
    else if (close != NULL && strcmp(close, name) != 0)
        fault(line, "%s: no such setting; the closest is %s", shown, close);
    else
        fault(line, "%s: no such setting here; hunnypot-milter --sample shows all", shown);
    free(shown);
}

static void on_confuse_error(cfg_t *cfg, const char *format, va_list arguments)
{
    static const char unknown[] = "no such option '";
    char *text, *shown;

    if (vasprintf(&text, format, arguments) < 0)
        return;
    if (strncmp(text, unknown, sizeof unknown - 1) == 0) {
        text[strlen(text) - 1] = '\0';
        unknown_setting(cfg->line, text + sizeof unknown - 1, cfg_name(cfg));
    } else {
        shown = text_printable_new(text, SHOWN_MAX);
        fault(cfg->line, "%s; a line is `name = value`, `name = {value, value}` or `section {`; put text into quotes",
              shown);
        free(shown);
    }
    free(text);
}

/* Keep the line; values are judged when all is read, so that each fault is told. */
static int on_value(cfg_t *cfg, cfg_opt_t *option, const char *value, void *result)
{
    const struct row *row = cfg->line > 0 ? row_find(cfg_name(cfg), cfg_opt_name(option)) : NULL;

    if (row != NULL)
        load->lines[row - rows] = cfg->line;
    else if (cfg->line > 0) /* no default: libConfuse takes `limits|idle = 5s` outside of the section */
        unknown_setting(cfg->line, cfg_opt_name(option), cfg_name(cfg));
    *(const char **)result = value;
    return 0;
}

static int on_section_end(cfg_t *cfg, cfg_opt_t *option)
{
    if (option->flags & CFGF_MULTI) {
        load->domain_lines = alloc_resized(load->domain_lines, load->domain_count + 1, sizeof *load->domain_lines);
        load->domain_lines[load->domain_count++] = cfg->line;
        return 0;
    }
    for (size_t i = 0; i < load->section_count; i++)
        if (strcmp(load->sections[i], cfg_opt_name(option)) == 0) {
            fault(cfg->line, "%s: given twice; put all its settings into one section", load->sections[i]);
            return 0;
        }
    load->sections[load->section_count++] = cfg_opt_name(option);
    return 0;
}

static cfg_opt_t row_option(const struct row *row)
{
    cfg_opt_t text = CFG_STR_CB(row->name, row->standard, CFGF_NONE, on_value);
    cfg_opt_t list = CFG_STR_LIST_CB(row->name, (char *)row->standard, CFGF_NONE, on_value); /* it is only read */

    return row->type == TYPE_LIST ? list : text;
}

struct options {
    cfg_opt_t top[ROW_COUNT + SECTION_MAX + 2];
    cfg_opt_t of_sections[ROW_COUNT + SECTION_MAX + 1];
};

/* The table as libConfuse wants it: an array for each section, ended by zeroes.  OPTIONS are zeroes before. */
static void options_fill(struct options *options)
{
    cfg_opt_t section = CFG_SEC(NULL, NULL, CFGF_NONE), end = CFG_STR(END_MARK, NULL, CFGF_NODEFAULT);
    cfg_opt_t *next_top = options->top, *next = options->of_sections;

    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        if (row->section == NULL) {
            *next_top++ = row_option(row);
            continue;
        }
        if (begins_section(row)) {
            section.name = row->section;
            section.subopts = ++next;
            section.flags = row == &rows[ROLE_ROW] ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE;
            section.validcb = on_section_end;
            *next_top++ = section;
        }
        *next++ = row_option(row);
    }
    *next_top = end;
}

static void number_store(void *member, size_t size, int64_t value)
{
    switch (size) {
    case sizeof(bool):
        *(bool *)member = value != 0;
        break;
    case sizeof(uint16_t):
        *(uint16_t *)member = (uint16_t)value;
        break;
    case sizeof(uint32_t):
        *(uint32_t *)member = (uint32_t)value;
        break;
    default:
        *(int64_t *)member = value;
    }
}

static int64_t number_parse(const char *text)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    return isdigit((unsigned char)*text) && *end == '\0' && errno == 0 ? number : -1;
}

static void wrong(const struct row *row, const char *value, const char *what, const char *right)
{
    char *name = row_full_name(row), *shown = text_printable_new(value, SHOWN_MAX);

    fault(load->lines[row - rows], "%s: \"%s\" %s%s%s", name, row->take == take_database ? "..." : shown, what,
          right != NULL ? "; " : "", right != NULL ? right : "");
    free(name);
    free(shown);
}

static void take_amount(const struct row *row, const char *text, void *member)
{
    bool is_duration = row->type == TYPE_DURATION;
    int64_t value = is_duration ? text_duration_ms(text) : number_parse(text), unit = row->unit_ms > 0 ? row->unit_ms : 1;
    char *right;

    if (value >= row->min && value <= row->max && value % unit == 0) {
        number_store(member, row->size, value / unit);
        return;
    }
    if (is_duration)
        right = alloc_format("from %lld%s to %llds, written as 500ms, 30s, 10m, 1h or 2d",
                             (long long)(row->min % 1000 == 0 ? row->min / 1000 : row->min),
                             row->min % 1000 == 0 ? "s" : "ms", (long long)row->max / 1000);
    else
        right = alloc_format("from %lld to %lld", (long long)row->min, (long long)row->max);
    wrong(row, text, value < 0 ? is_duration ? "is no duration" : "is no number" : "is out of bounds", right);
    free(right);
}

/* The index of TEXT among the choices of ROW, or -1 after saying so. */
static int choice_find(const struct row *row, const char *text)
{
    char *all = alloc_text(row->choices[0]), *longer;

    for (int i = 0; row->choices[i] != NULL; i++)
        if (strcmp(row->choices[i], text) == 0) {
            free(all);
            return i;
        }
    for (int i = 1; row->choices[i] != NULL; i++) {
        longer = alloc_format("%s%s%s", all, row->choices[i + 1] != NULL ? ", " : " or ", row->choices[i]);
        free(all);
        all = longer;
    }
    wrong(row, text, "is not among the choices", all);
    free(all);
    return -1;
}

/* Controls but ALLOWED would break lines of the log, and steer the terminal that shows them. */
static bool has_control(const char *text, const char *allowed)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text) && strchr(allowed, *text) == NULL)
            return true;
    return false;
}

static void take_value(const struct row *row, const char *text)
{
    struct row_values *values = &load->snapshot->values[row - rows];
    struct settings *settings = &load->snapshot->settings;
    void *member = (char *)settings + row->offset;
    char *copy = alloc_text(text);
    const char *what = NULL, *controls = row->take == take_reply || row->take == take_database ? "\n\t" : "";
    int choice;

    append(&values->texts, &values->count, sizeof copy, &copy);
    if (row->type == TYPE_DURATION || row->type == TYPE_NUMBER) {
        take_amount(row, text, member);
    } else if (row->type == TYPE_CHOICE) {
        choice = choice_find(row, text);
        number_store(member, row->size, choice > 0 ? choice : 0);
    } else {
        what = strlen(text) > TEXT_MAX ? "is too long" : row->take(settings, text);
        if (what == NULL && has_control(text, controls))
            what = "has a control character";
        if (what != NULL)
            wrong(row, text, what, row->right);
        if (row->type == TYPE_TEXT)
            *(char **)member = alloc_text(text);
    }
}

static void add_rule(struct settings *settings, const struct judge_rule *rule)
{
    append(&settings->judge.rules, &settings->judge.rule_count, sizeof *rule, rule);
}

static bool pattern_normalize(const char *name, char pattern[DOMAIN_MAX + 3])
{
    bool wild = strncmp(name, "*.", 2) == 0;

    strcpy(pattern, wild ? "*." : "*");
    return strcmp(name, "*") == 0 || domain_normalize(wild ? name + 2 : name, pattern + (wild ? 2 : 0));
}

static void take_domain(cfg_t *section, int line)
{
    struct judge_config *judge = &load->snapshot->settings.judge;
    char *shown = text_printable_new(cfg_title(section), SHOWN_MAX);
    struct judge_rule rule = {0};
    int role;

    if (load->lines[ROLE_ROW] != 0)
        load->lines[ROLE_ROW] = line;
    role = choice_find(&rows[ROLE_ROW], cfg_getstr(section, "role"));
    rule.role = (enum role_setting)(role < 0 ? 0 : role);
    if (!pattern_normalize(cfg_title(section), rule.pattern))
        fault(line, "domain \"%s\": is no domain; example.com, *.example.com or *", shown);
    for (size_t i = 0; i < judge->rule_count; i++)
        if (strcmp(judge->rules[i].pattern, rule.pattern) == 0)
            fault(line, "domain \"%s\": given twice; one section for each domain", shown);
    add_rule(&load->snapshot->settings, &rule);
    free(shown);
}

static void take_all(cfg_t *cfg)
{
    struct settings *settings = &load->snapshot->settings;
    struct judge_rule rest = {.pattern = "*", .role = ROLE_AUTO};
    cfg_t *section = cfg;
    bool has_rest = false;

    for (const struct row *row = rows; row < rows + ROLE_ROW; row++) {
        cfg_opt_t *option;

        if (begins_section(row))
            section = cfg_getsec(cfg, row->section);
        option = cfg_getopt(section, row->name);
        for (unsigned i = 0; i < cfg_opt_size(option); i++)
            take_value(row, cfg_opt_getnstr(option, i));
    }
    /* A section that was broken off has no line, and the fault was told. */
    for (unsigned i = 0; i < cfg_size(cfg, "domain") && i < load->domain_count; i++)
        take_domain(cfg_getnsec(cfg, "domain", i), load->domain_lines[i]);
    for (size_t i = 0; i < settings->judge.rule_count; i++)
        has_rest = has_rest || strcmp(settings->judge.rules[i].pattern, "*") == 0;
    if (!has_rest)
        add_rule(settings, &rest);
}

/* An empty sensor is the host's name. */
static void name_sensor(struct snapshot *snapshot)
{
    struct row_values *values = &snapshot->values[row_find("root", "sensor") - rows];
    char name[256] = "";

    if (*snapshot->settings.sensor != '\0')
        return;
    gethostname(name, sizeof name - 1);
    free(snapshot->settings.sensor);
    free(values->texts[0]);
    snapshot->settings.sensor = text_printable_new(name, sizeof name);
    values->texts[0] = alloc_text(snapshot->settings.sensor);
}

/* The whole file and END_MARK as a C string, or NULL after saying why: libConfuse would end the process over a folder or a read error. */
static char *file_read(const char *path)
{
    static const char end[] = "\n" END_MARK " = 1";
    FILE *file = fopen(path, "re");
    char *text = NULL;
    struct stat status;
    size_t size = 0, length = 0;

    if (file == NULL || fstat(fileno(file), &status) != 0) {
        fault(0, "cannot be read: %s", strerror(errno));
    } else if (S_ISDIR(status.st_mode)) {
        fault(0, "is a folder; give the file");
    } else {
        do {
            size = size * 2 + 8192;
            text = alloc_resized(text, size + sizeof end, 1);
            length += fread(text + length, 1, size - length, file);
        } while (length == size && length <= FILE_MAX);
        text[length] = '\0';
        if (ferror(file))
            fault(0, "cannot be read: %s", strerror(errno));
        else if (length > FILE_MAX)
            fault(0, "is longer than 1 MiB; it cannot be a settings file");
        else if (strlen(text) != length)
            fault(0, "holds a NUL byte; it cannot be a settings file");
        length = strlen(text);
        strcpy(text + length, length > 0 && text[length - 1] == '\n' ? end + 1 : end);
    }
    if (file != NULL)
        fclose(file);
    return text;
}

struct settings *settings_load(const char *path, void (*report)(void *context, const char *line), void *context)
{
    struct snapshot *snapshot = alloc_zeroed(1, sizeof *snapshot);
    char *shown = text_printable_new(path, PATH_MAX);
    struct load this = {.path = shown, .report = report, .context = context, .snapshot = snapshot};
    struct settings *settings = &snapshot->settings;
    struct options *options = alloc_zeroed(1, sizeof *options);
    cfg_t *cfg = NULL;
    char *text;

    atomic_init(&snapshot->holders, 1);
    load = &this;
    text = file_read(path);
    if (!this.failed) {
        options_fill(options);
        cfg = cfg_init(options->top, CFGF_NONE);
        cfg_set_error_function(cfg, on_confuse_error);
        if (cfg_parse_buf(cfg, text) != CFG_SUCCESS && !this.failed)
            fault(cfg->line, "cannot be read from here on; is a quote, a brace or a value missing?");
        else if (!this.failed && cfg_size(cfg, END_MARK) == 0)
            fault(cfg->line, "the file ends within a comment; a */ is missing");
        take_all(cfg);
        name_sensor(snapshot);
        cfg_free(cfg);
    }
    load = NULL;
    free(this.domain_lines);
    free(options);
    free(text);
    free(shown);
    if (this.failed)
        settings_release(&settings);
    return settings;
}

struct settings *settings_hold(struct settings *settings)
{
    atomic_fetch_add(&((struct snapshot *)settings)->holders, 1);
    return settings;
}

static void texts_free(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

void settings_release(struct settings **settings)
{
    struct snapshot *snapshot = (struct snapshot *)*settings;
    struct judge_config *judge;
    struct session_policy *session;

    *settings = NULL;
    if (snapshot == NULL || atomic_fetch_sub(&snapshot->holders, 1) > 1)
        return;
    judge = &snapshot->settings.judge;
    session = &snapshot->settings.session;
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        texts_free(snapshot->values[row - rows].texts, snapshot->values[row - rows].count);
        if (row->type == TYPE_TEXT)
            free(*(char **)((char *)&snapshot->settings + row->offset));
    }
    texts_free(session->exempt_localparts, session->exempt_localpart_count);
    texts_free((char **)judge->own_names, judge->own_name_count);
    free((void *)judge->own_addresses);
    free((void *)judge->rules);
    free((void *)judge->ignored);
    free((void *)judge->probe_allowed);
    free(snapshot);
}

static bool values_equal(const struct row_values *a, const struct row_values *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->texts[i], b->texts[i]) != 0)
            return false;
    return true;
}

void settings_report_fixed(const struct settings *started_with, const struct settings *loaded,
                           void (*report)(void *context, const char *line), void *context)
{
    const struct snapshot *old = (const struct snapshot *)started_with, *new = (const struct snapshot *)loaded;
    char *name;

    for (const struct row *row = rows; row < rows + ROW_COUNT; row++)
        if (row->fixed && !values_equal(&old->values[row - rows], &new->values[row - rows])) {
            name = row_full_name(row);
            report(context, name);
            free(name);
        }
}

/* TEXT between double quotes, as libConfuse reads it back: it expands ${VARIABLE} there. */
static void print_quoted(const char *text, FILE *out)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (strchr("\"\\$\n\t", *text) != NULL)
            putc('\\', out);
        putc(*text == '\n' ? 'n' : *text == '\t' ? 't' : *text, out);
    }
    putc('"', out);
}

static void print_values(const struct row *row, char *const *texts, size_t count, FILE *out)
{
    bool quoted = row->type == TYPE_TEXT || row->type == TYPE_TAKEN || row->type == TYPE_LIST;

    if (row->type == TYPE_LIST)
        putc('{', out);
    for (size_t i = 0; i < count; i++) {
        fputs(i > 0 ? ", " : "", out);
        if (quoted)
            print_quoted(texts[i], out);
        else
            fputs(texts[i], out);
    }
    fputs(row->type == TYPE_LIST ? "}\n" : "\n", out);
}

static bool ends_section(const struct row *row)
{
    return row->section != NULL && strcmp(row[1].section, row->section) != 0;
}

void settings_dump(const struct settings *settings, FILE *out)
{
    const struct snapshot *snapshot = (const struct snapshot *)settings;

    for (const struct row *row = rows; row < rows + ROLE_ROW; row++) {
        const struct row_values *values = &snapshot->values[row - rows];

        if (begins_section(row))
            fprintf(out, "%s {\n", row->section);
        fprintf(out, "%s%s = ", row->section != NULL ? "    " : "", row->name);
        print_values(row, values->texts, values->count, out);
        if (ends_section(row))
            fputs("}\n", out);
    }
    for (size_t i = 0; i < settings->judge.rule_count; i++)
        fprintf(out, "domain \"%s\" {\n    role = %s\n}\n", settings->judge.rules[i].pattern,
                roles[settings->judge.rules[i].role]);
}

/* The default of ROW, as print_values() wants it. */
static void print_standard(const struct row *row, FILE *out)
{
    char *copy = alloc_text(row->standard), *rest = copy, *text;
    char *texts[16];
    size_t count = 0;

    if (row->type == TYPE_LIST) {
        while (count < sizeof texts / sizeof *texts && (text = strtok_r(rest, "{, }", &rest)) != NULL)
            texts[count++] = text;
    } else {
        texts[count++] = copy;
    }
    print_values(row, texts, count, out);
    free(copy);
}

void settings_print_sample(FILE *out)
{
    fputs("# hunnypot.conf - settings of hunnypot-milter, see hunnypot.conf(5).\n"
          "# Every setting is here with its default.  After a change: hunnypot-milter --check, then SIGUSR1.\n",
          out);
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        bool is_role = row == &rows[ROLE_ROW];
        const char *indent = row->section != NULL ? "    " : "";

        if (is_role)
            fputs("\n# One section for each domain that needs more than auto; the longest match wins.\n"
                  "domain \"*\" {\n",
                  out);
        else if (begins_section(row))
            fprintf(out, "\n%s {\n", row->section);
        else
            fputs(row->section == NULL ? "\n" : "", out);
        fprintf(out, "%s# %s\n%s#%s = ", indent, row->help, indent, row->name);
        print_standard(row, out);
        if (is_role || ends_section(row))
            fputs("}\n", out);
    }
}
