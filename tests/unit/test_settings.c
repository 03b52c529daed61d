#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "settings/table.h"

/* What was reported, a line each. */
#define LABEL "a23456789b23456789c23456789d23456789e23456789f23456789g2345678."
#define LONG_ZONE LABEL LABEL LABEL "example"

static char reports[8192];

static void report(void *context, const char *line)
{
    size_t used = strlen(reports);

    (void)context;
    snprintf(reports + used, sizeof reports - used, "%s\n", line);
}

/* The settings in TEXT, from a file whose name is NAME. */
static struct settings *load(const char *text, char name[64])
{
    int fd = memfd_create("settings", MFD_CLOEXEC);
    struct settings *settings;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    snprintf(name, 64, "/proc/self/fd/%d", fd);
    reports[0] = '\0';
    settings = settings_load(name, report, NULL);
    close(fd);
    return settings;
}

static struct settings *load_good(const char *text)
{
    char name[64];
    struct settings *settings = load(text, name);

    if (settings == NULL)
        fail_msg("\"%s\": refused: %s", text, reports);
    return settings;
}

static char *dump(const struct settings *settings)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    settings_dump(settings, out);
    fclose(out);
    return text;
}

static bool is_ignored(const struct settings *settings, const char *text)
{
    struct ipaddr address;

    assert_true(ipaddr_parse(text, &address));
    for (size_t i = 0; i < settings->judge.ignored_count; i++)
        if (ipnet_contains(&settings->judge.ignored[i], &address))
            return true;
    return false;
}

static void an_empty_file_gives_the_defaults(void **state)
{
    struct settings *settings = load_good("");
    char host[256] = "";

    (void)state;
    gethostname(host, sizeof host - 1);
    assert_string_equal(settings->socket, "unix:/run/hunnypot/milter.sock");
    assert_string_equal(settings->socket_group, "");
    assert_string_equal(settings->user, "hunnypot");
    assert_string_equal(settings->sensor, host);
    assert_string_equal(settings->database, "");
    assert_string_equal(settings->spool, HP_LOCALSTATEDIR "/lib/hunnypot/spool.db");
    assert_int_equal(settings->spool_limit, 1000000);
    assert_int_equal(settings->spool_keep_ms, 600000);
    assert_int_equal(settings->log_level, LOG_LEVEL_INFO);
    assert_int_equal(settings->session.connections, 20);
    assert_int_equal(settings->session.connections_per_client, 3);
    assert_int_equal(settings->session.idle_ms, 30000);
    assert_int_equal(settings->session.client_bytes, 1024);
    assert_int_equal(settings->session.envelope, ENVELOPE_DOMAIN);
    assert_int_equal(settings->session.exempt_localpart_count, 2);
    assert_string_equal(settings->session.reply.code, "451");
    assert_int_equal(settings->judge.remember_ms, 399000);
    assert_int_equal(settings->judge.probe, PROBE_GREETING);
    assert_int_equal(settings->judge.probe_timeout_ms, 10000);
    assert_int_equal(settings->judge.probe_interval_ms, 10000);
    assert_int_equal(settings->judge.fresh_ms, 60000);
    assert_int_equal(settings->verdict_timeout_ms, 60000);
    assert_int_equal(settings->judge.port, 25);
    assert_false(settings->judge.require_all);
    assert_int_equal(settings->judge.startup_grace_ms, 60000);
    assert_int_equal(settings->judge.outage_grace_ms, 6000000);
    assert_int_equal(settings->judge.probers, 4);
    assert_int_equal(settings->judge.dns.server_count, 0);
    assert_int_equal(settings->judge.dns.timeout_s, 5);
    assert_int_equal(settings->judge.dns.attempts, 2);
    assert_int_equal(settings->judge.friend_zone_count, 0);
    assert_int_equal(settings->judge.own_name_count, 0);
    assert_int_equal(settings->judge.own_address_count, 0);
    assert_int_equal(settings->judge.probe_allowed_count, 0);
    assert_int_equal(settings->judge.rule_count, 1);
    assert_string_equal(settings->judge.rules[0].pattern, "*");
    assert_int_equal(settings->judge.rules[0].role, ROLE_AUTO);
    settings_release(settings);
}

static void loopback_private_and_link_local_clients_are_ignored_by_default(void **state)
{
    static const struct {
        const char *address;
        bool wanted;
    } cases[] = {
        {"127.0.0.9", true},  {"::1", true},         {"10.1.2.3", true},       {"172.16.0.1", true}, {"172.32.0.1", false},
        {"192.168.9.9", true}, {"100.64.0.1", true}, {"fd00::1", true},        {"169.254.1.1", true}, {"fe80::1", true},
        {"192.0.2.1", false}, {"8.8.8.8", false},    {"2001:db8::1", false},   {"::2", false},
    };
    struct settings *settings = load_good("");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (is_ignored(settings, cases[i].address) != cases[i].wanted)
            fail_msg("%s: wanted %d", cases[i].address, cases[i].wanted);
    settings_release(settings);
}

static void every_setting_arrives(void **state)
{
    struct settings *settings = load_good(
        "socket = 'inet:8891@127.0.0.1' socket_group = mail user = trap sensor = mx9 database = 'service=x'\n"
        "spool = /var/x.db spool_limit = 7 spool_keep = 8s log_level = debug ignore_clients = {203.0.113.0/24} # one\n"
        "exempt_localparts = {Abuse} record_envelope = full reply = \"451 4.7.9 one\\ntwo\"\n"
        "limits { connections = 0 connections_per_client = 9 idle = 2m client_bytes = 99 }\n"
        "liveness { remember = 1s probe = envelope probe_timeout = 100ms verdict_timeout = 2s port = 2525 require = all\n"
        "  probe_interval = 1s fresh = 0\n"
        "  startup_grace = 0 outage_grace = 1d probers = 8 probe_networks = {10.0.0.0/8, ::1} }\n"
        "dns { nameservers = {192.0.2.53, '192.0.2.54:5353', '[2001:db8::53]:99'} timeout = 3s attempts = 1 }\n"
        "trap_host { names = {MX2.Example.org., 'b\xc3\xbc" "cher.example'} addresses = {192.0.2.1, 2001:db8::1} }\n"
        "domain Trap.Example. { role = trap } domain '*.b.example' { role = backup } domain '*' { role = off }\n");
    const struct settings_judge *judge = &settings->judge;
    struct ipaddr address;
    uint16_t port;

    (void)state;
    assert_string_equal(settings->socket, "inet:8891@127.0.0.1");
    assert_string_equal(settings->socket_group, "mail");
    assert_string_equal(settings->user, "trap");
    assert_string_equal(settings->sensor, "mx9");
    assert_string_equal(settings->database, "service=x");
    assert_string_equal(settings->spool, "/var/x.db");
    assert_int_equal(settings->spool_limit, 7);
    assert_int_equal(settings->spool_keep_ms, 8000);
    assert_int_equal(settings->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(judge->ignored_count, 1);
    assert_int_equal(settings->session.exempt_localpart_count, 1);
    assert_string_equal(settings->session.exempt_localparts[0], "abuse");
    assert_int_equal(settings->session.envelope, ENVELOPE_FULL);
    assert_string_equal(settings->session.reply.lines[1], "two");
    assert_int_equal(settings->session.connections, 0);
    assert_int_equal(settings->session.connections_per_client, 9);
    assert_int_equal(settings->session.idle_ms, 120000);
    assert_int_equal(settings->session.client_bytes, 99);
    assert_int_equal(judge->remember_ms, 1000);
    assert_int_equal(judge->probe, PROBE_ENVELOPE);
    assert_int_equal(judge->probe_timeout_ms, 100);
    assert_int_equal(judge->probe_interval_ms, 1000);
    assert_int_equal(judge->fresh_ms, 0);
    assert_int_equal(settings->verdict_timeout_ms, 2000);
    assert_int_equal(judge->port, 2525);
    assert_true(judge->require_all);
    assert_int_equal(judge->startup_grace_ms, 0);
    assert_int_equal(judge->outage_grace_ms, 86400000);
    assert_int_equal(judge->probers, 8);
    assert_int_equal(judge->probe_allowed_count, 2);
    assert_int_equal(judge->dns.server_count, 3);
    assert_true(ipaddr_from_sockaddr((const struct sockaddr *)&judge->dns.servers[0], &address, &port));
    assert_int_equal(port, 53);
    assert_true(ipaddr_from_sockaddr((const struct sockaddr *)&judge->dns.servers[2], &address, &port));
    assert_int_equal(port, 99);
    assert_int_equal(address.family, 6);
    assert_int_equal(judge->dns.timeout_s, 3);
    assert_int_equal(judge->dns.attempts, 1);
    assert_string_equal(judge->own_names[0], "mx2.example.org");
    assert_string_equal(judge->own_names[1], "xn--bcher-kva.example");
    assert_int_equal(judge->own_address_count, 2);
    assert_int_equal(judge->rule_count, 3);
    assert_string_equal(judge->rules[0].pattern, "trap.example");
    assert_int_equal(judge->rules[0].role, ROLE_TRAP);
    assert_string_equal(judge->rules[1].pattern, "*.b.example");
    assert_int_equal(judge->rules[1].role, ROLE_BACKUP);
    assert_string_equal(judge->rules[2].pattern, "*");
    assert_int_equal(judge->rules[2].role, ROLE_OFF);
    settings_release(settings);
}

/* Every member of struct settings that a row fills, as text. */

static void text_of_nets(const struct ipnet *nets, size_t count, FILE *out)
{
    char text[IPADDR_TEXT_SIZE];

    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s ", ipnet_format(&nets[i], text));
}

static void text_of_members(const struct settings *settings, FILE *out)
{
    const struct settings_judge *judge = &settings->judge;
    const struct settings_session *session = &settings->session;
    char text[IPADDR_TEXT_SIZE];

    if (out == NULL)
        abort();
    fprintf(out, "socket=%s\nsocket_group=%s\nuser=%s\nsensor=%s\ndatabase=%s\nspool=%s\n", settings->socket,
            settings->socket_group, settings->user, settings->sensor, settings->database, settings->spool);
    fprintf(out, "envelope_key=%s\n", settings->envelope_key);
    fprintf(out, "spool_limit=%lld\nspool_keep=%lld\nlog_level=%d\n", (long long)settings->spool_limit,
            (long long)settings->spool_keep_ms, (int)settings->log_level);
    fprintf(out, "liveness.verdict_timeout=%lld\nliveness.remember=%lld\nliveness.probe_timeout=%lld\n",
            (long long)settings->verdict_timeout_ms, (long long)judge->remember_ms, (long long)judge->probe_timeout_ms);
    fprintf(out, "liveness.probe=%d\n", (int)judge->probe);
    fprintf(out, "liveness.probe_interval=%lld\nliveness.fresh=%lld\n", (long long)judge->probe_interval_ms,
            (long long)judge->fresh_ms);
    fprintf(out, "liveness.startup_grace=%lld\nliveness.outage_grace=%lld\n", (long long)judge->startup_grace_ms,
            (long long)judge->outage_grace_ms);
    fprintf(out, "liveness.port=%u\nliveness.require=%d\nliveness.probers=%u\n", judge->port, judge->require_all,
            judge->probers);
    fprintf(out, "dns.timeout=%d\ndns.attempts=%d\ndns.nameservers=", judge->dns.timeout_s, judge->dns.attempts);
    for (size_t i = 0; i < judge->dns.server_count; i++) {
        struct ipaddr address;
        uint16_t port;

        assert_true(ipaddr_from_sockaddr((const struct sockaddr *)&judge->dns.servers[i], &address, &port));
        fprintf(out, "%s:%u ", ipaddr_format(&address, text), port);
    }
    fputs("\ntrap_host.names=", out);
    for (size_t i = 0; i < judge->own_name_count; i++)
        fprintf(out, "%s ", judge->own_names[i]);
    fputs("\ntrap_host.addresses=", out);
    for (size_t i = 0; i < judge->own_address_count; i++)
        fprintf(out, "%s ", ipaddr_format(&judge->own_addresses[i], text));
    fputs("\nnat64_prefixes=", out);
    text_of_nets(judge->nat64_prefixes, judge->nat64_prefix_count, out);
    fputs("\nignore_clients=", out);
    text_of_nets(judge->ignored, judge->ignored_count, out);
    fputs("\nliveness.probe_networks=", out);
    text_of_nets(judge->probe_allowed, judge->probe_allowed_count, out);
    fputs("\nliveness.egress_hosts=", out);
    for (size_t i = 0; i < judge->egress_host_count; i++)
        fprintf(out, "%s ", ipaddr_format(&judge->egress_hosts[i], text));
    fputs("\nfriends.zones=", out);
    for (size_t i = 0; i < judge->friend_zone_count; i++)
        fprintf(out, "%s ", judge->friend_zones[i]);
    fputs("\ndomain.on_outage=", out);
    for (size_t i = 0; i < judge->rule_count; i++)
        fprintf(out, "%d ", (int)judge->rules[i].on_outage);
    fputs("\ndomain.role=", out);
    for (size_t i = 0; i < judge->rule_count; i++)
        fprintf(out, "%s:%d ", judge->rules[i].pattern, (int)judge->rules[i].role);
    fprintf(out, "\nlimits.connections=%u\nlimits.connections_per_client=%u\n", session->connections,
            session->connections_per_client);
    fprintf(out, "limits.idle=%lld\nlimits.client_bytes=%u\n", (long long)session->idle_ms, session->client_bytes);
    fprintf(out, "record_envelope=%d\nreply=%s\nexempt_localparts=", (int)session->envelope, session->reply.lines[0]);
    for (size_t i = 0; i < session->exempt_localpart_count; i++)
        fprintf(out, "%s ", session->exempt_localparts[i]);
    fputs("\n", out);
}

static char *members(const struct settings *settings)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    text_of_members(settings, out);
    fclose(out);
    return text;
}

/* One value for each row, none of them the default or that of another, and alone without contradiction. */
static const struct {
    const char *title, *text;
} others[] = {
    {"socket", "socket = 'unix:/a'"},
    {"socket_group", "socket_group = b"},
    {"user", "user = c"},
    {"sensor", "sensor = d"},
    {"database", "database = e"},
    {"spool", "spool = /f"},
    {"envelope_key", "envelope_key = ''"},
    {"spool_limit", "spool_limit = 1001"},
    {"spool_keep", "spool_keep = 1001s"},
    {"log_level", "log_level = debug"},
    {"nat64_prefixes", "nat64_prefixes = {'2001:db8:64::/96'}"},
    {"ignore_clients", "ignore_clients = {192.0.2.0/24}"},
    {"exempt_localparts", "exempt_localparts = {g}"},
    {"record_envelope", "record_envelope = none"},
    {"reply", "reply = '451 4.7.1 h'"},
    {"friends.zones", "friends { zones = {list.dnswl.example} }"},
    {"limits.connections", "limits { connections = 1002 }"},
    {"limits.connections_per_client", "limits { connections_per_client = 13 }"},
    {"limits.idle", "limits { idle = 1003s }"},
    {"limits.client_bytes", "limits { client_bytes = 1004 }"},
    {"liveness.remember", "liveness { remember = 105s }"},
    {"liveness.probe", "liveness { probe = envelope }"},
    {"liveness.probe_timeout", "liveness { probe_timeout = 16s }"},
    {"liveness.probe_interval", "liveness { probe_interval = 17s }"},
    {"liveness.fresh", "liveness { fresh = 18s }"},
    {"liveness.verdict_timeout", "liveness { verdict_timeout = 107s }"},
    {"liveness.port", "liveness { port = 1008 }"},
    {"liveness.require", "liveness { require = all }"},
    {"liveness.startup_grace", "liveness { startup_grace = 109s }"},
    {"liveness.outage_grace", "liveness { outage_grace = 110s }"},
    {"liveness.probers", "liveness { probers = 11 }"},
    {"liveness.probe_networks", "liveness { probe_networks = {198.51.100.0/24} }"},
    {"liveness.egress_hosts", "liveness { egress_hosts = {203.0.113.25} }"},
    {"dns.nameservers", "dns { nameservers = {203.0.113.1} }"},
    {"dns.timeout", "dns { timeout = 12s }"},
    {"dns.attempts", "dns { attempts = 5 }"},
    {"trap_host.names", "trap_host { names = {i.example} }"},
    {"trap_host.addresses", "trap_host { addresses = {192.0.2.77} }"},
    {"domain.role", "domain '*' { role = trap }"},
    {"domain.on_outage", "domain '*' { on_outage = accept }"},
};

/* The titles of the lines that differ between A and B, each with a blank behind it; A and B are taken apart. */
static void differences(char *a, char *b, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (char *line_a, *line_b; (line_a = strsep(&a, "\n")) != NULL && (line_b = strsep(&b, "\n")) != NULL;)
        if (strcmp(line_a, line_b) != 0)
            used += (size_t)snprintf(out + used, size - used, "%.*s ", (int)strcspn(line_a, "="), line_a);
}

static void each_row_reaches_its_own_member_and_no_other(void **state)
{
    struct settings *standard = load_good("");

    (void)state;
    assert_int_equal(sizeof others / sizeof *others, settings_row_count);
    for (size_t i = 0; i < settings_row_count; i++) {
        struct settings *settings = load_good(others[i].text);
        char *title = settings_row_title(&settings_rows[i]), *wanted = alloc_format("%s ", title);
        char *before = members(standard), *after = members(settings), got[4096];

        assert_string_equal(others[i].title, title);
        differences(before, after, got, sizeof got);
        if (strcmp(got, wanted) != 0)
            fail_msg("%s changes %s", title, got);
        free(title);
        free(wanted);
        free(before);
        free(after);
        settings_release(settings);
    }
    settings_release(standard);
}

static void networks_are_read_as_the_ipv4_ones_that_they_hold(void **state)
{
    struct settings *settings = load_good("ignore_clients = {'64:ff9b::c000:200/120', '2002:c633:6400::/40', '::ffff:cb00:7100/120', "
                                          "'2001:db8:64::cb00:7200/120'}\n"
                                          "nat64_prefixes = {'2001:db8:64::/96'}");

    (void)state;
    assert_true(is_ignored(settings, "192.0.2.1"));
    assert_true(is_ignored(settings, "198.51.100.1"));
    assert_true(is_ignored(settings, "203.0.113.1"));
    assert_true(is_ignored(settings, "203.0.114.1"));
    assert_false(is_ignored(settings, "203.0.115.1"));
    settings_release(settings);
}

static void a_list_can_be_emptied_and_added_to(void **state)
{
    struct settings *emptied = load_good("ignore_clients = {}"), *added = load_good("ignore_clients += {203.0.113.0/24}");

    (void)state;
    assert_int_equal(emptied->judge.ignored_count, 0);
    assert_true(is_ignored(added, "203.0.113.1"));
    assert_true(is_ignored(added, "127.0.0.1"));
    settings_release(emptied);
    settings_release(added);
}

/* Each fault is told by "FILE:LINE: ", what the setting is called, and what would be right. */
static void faults_are_told(void **state)
{
    static const struct {
        const char *text, *wanted; /* parts of the report, each behind its line number, divided by | */
    } cases[] = {
        {"sockt = a", "1: sockt: no such setting; the closest is socket"},
        {"\nlimitz { }", "2: limitz: no such setting; the closest is limits"},
        {"zzzzzzzzzzzz = 1", "1: zzzzzzzzzzzz: no such setting here; hunnypot-milter --sample"},
        {"idle = 30s", "1: idle: not a setting here; it belongs into limits { }"},
        {"limits { port = 25 }", "1: port: not a setting here; it belongs into liveness { }"},
        {"limits {\n", "2: limits: the section does not end; a } is missing"},
        {"limits { idle = 1s", "2: limits: the section does not end"},
        {"/* x", "the file ends within a comment; a */ is missing"},
        {"socket = 'unix:/x", "unterminated string"},
        {"limits { idle = 1s, connections = 1 }", "1: unexpected token ','"},
        {"limits { }\nlimits { idle = 1s }", "2: limits: given twice"},
        {"record_envelope = none\nlog_level = info\nrecord_envelope = full", "3: record_envelope: given twice; line 1 has it, too"},
        {"log_level = info\nlog_level = info", "2: log_level: given twice; line 1"},
        {"limits { idle = 1s\nidle = 2s }", "2: limits.idle: given twice; line 1"},
        {"ignore_clients = {192.0.2.1}\nignore_clients = {192.0.2.2}", "2: ignore_clients: given twice; line 1"},
        {"ignore_clients += {192.0.2.1}\nignore_clients = {192.0.2.2}", "2: ignore_clients: given twice; line 1"},
        {"domain x.example { }\ndomain y.example { role = off\nrole = trap }", "3: domain.role: given twice; line 2"},
        {"limits {\n idle = soon\n}", "2: limits.idle: \"soon\" is no duration; from 0s to 86400s"},
        {"limits { connections = -1 }", "1: limits.connections: \"-1\" is no number; from 0 to 100000"},
        {"limits { connections = '+1' }", "1: limits.connections: \"+1\" is no number"},
        {"limits { connections = ' 1' }", "1: limits.connections: \" 1\" is no number"},
        {"limits { connections = 1x }", "1: limits.connections: \"1x\" is no number"},
        {"limits { connections = 100001 }", "1: limits.connections: \"100001\" is out of bounds"},
        {"spool_limit = 99999999999999999999", "1: spool_limit: \"99999999999999999999\" is no number"},
        {"spool_limit = 0", "1: spool_limit: \"0\" is out of bounds; from 1"},
        {"liveness { remember = 400s }", "1: liveness.remember: \"400s\" is out of bounds; from 1s to 399s"},
        {"liveness { probe_timeout = 99ms }", "1: liveness.probe_timeout: \"99ms\" is out of bounds; from 100ms"},
        {"liveness { port = 65536 }", "1: liveness.port: \"65536\" is out of bounds"},
        {"liveness { require = most }", "1: liveness.require: \"most\" is not among the choices; any or all"},
        {"dns { timeout = 1500ms }", "1: dns.timeout: \"1500ms\" is out of bounds"},
        {"dns { nameservers = {a} }", "1: dns.nameservers: \"a\" is no address"},
        {"dns { nameservers = {'192.0.2.1:0'} }", "1: dns.nameservers: \"192.0.2.1:0\" is no address with a port"},
        {"dns { nameservers = {192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4} }", "\"192.0.2.4\" is one too many"},
        {"friends { zones = {'a b'} }", "1: friends.zones: \"a b\" is no zone; up to eight lists in DNS, such as list.dnswl.example"},
        {"friends { zones = {127.0.0.1/8} }", "1: friends.zones: \"127.0.0.1/8\" is no zone"},
        {"friends { zones = {''} }", "1: friends.zones: \"\" is no zone"},
        {"friends { zones = {" LONG_ZONE "} }", "is no zone"}, /* with an IPv6 address before it, the name is too long */
        {"friends { zones = {a.example, b.example, A.Example.} }", "1: friends.zones: \"A.Example.\" is there twice"},
        {"friends { zones = {a, b, c, d, e, f, g, h, i} }", "1: friends.zones: \"i\" is one too many (8 are taken)"},
        {"trap_host { names = {'a b'} }", "1: trap_host.names: \"a b\" is no host name"},
        {"trap_host { addresses = {mx} }", "1: trap_host.addresses: \"mx\" is no address"},
        {"ignore_clients = {192.0.2.1/24}", "1: ignore_clients: \"192.0.2.1/24\" is no network"},
        {"exempt_localparts = {'a@b'}", "1: exempt_localparts: \"a@b\" is no local part"},
        {"log_level = loud", "1: log_level: \"loud\" is not among the choices; error, warning, info or debug"},
        {"record_envelope = all", "full, domain or none"},
        {"reply = '550 5.7.1 no'", "1: reply: \"550 5.7.1 no\" it must start with the code 451"},
        {"socket = nowhere", "1: socket: \"nowhere\" is no socket; unix:/PATH"},
        {"socket = 'unix:run/x'", "is no socket"},
        {"socket = 'inet:smtp'", "has no port"},
        {"socket = 'inet:0@127.0.0.1'", "1: socket: \"inet:0@127.0.0.1\" has no port between 1 and 65535; unix:/PATH"},
        {"socket = 'inet:99999@127.0.0.1'", "has no port between 1 and 65535"},
        {"socket = 'inet6:99999999999999999999@::1'", "has no port between 1 and 65535"},
        {"socket = 'inet:8891@'", "is no socket"},
        {"socket = 'inet:8891x'", "is no socket"},
        {"user = 'a b'", "1: user: \"a b\" is no name"},
        {"user = ''", "1: user: \"\" is no name"},
        {"sensor = 'a b'", "1: sensor: \"a b\" has a blank"},
        {"sensor = \"a\\x1b\"", "1: sensor: \"a\\x1B\" has a blank or a byte that is not ASCII"},
        {"spool = spool.db", "1: spool: \"spool.db\" is not the full path of a file"},
        {"database = 'host=db password=geheim'", "1: database: \"...\" holds a password; a libpq connection string"},
        {"database = 'postgresql://u:geheim@db/x'", "1: database: \"...\" holds a password"},
        {"\ndatabase = 'host=db sslmod=require'", "2: database: \"...\" cannot be read; a libpq connection string"},
        {"database = 'password=my geheim'", "1: database: \"...\" cannot be read; a libpq connection string"},
        {"domain 'x y' { }", "1: domain \"x y\": is no domain"},
        {"domain x.example { role = king }", "1: domain.role: \"king\" is not among the choices; auto, trap, backup"},
        {"domain x.example { }\ndomain X.Example. { }", "2: domain \"X.Example.\": given twice"},
        {"spool_limit = 0\nlog_level = loud\nlimits {\n idle = x\n}\nignore_clients = {a,\n b}",
         "1: spool_limit|2: log_level|4: limits.idle|ignore_clients: \"a\"|ignore_clients: \"b\""},
        {"limits { }\nlimits|idle = 5s", "2: idle: not a setting here; it belongs into limits { }"},
        {"spool = '/x\x1b/y'", "1: spool: \"/x\\x1B/y\" has a control character"},
        {"user = 'a\x7f'", "1: user: \"a\\x7F\" has a control character"},
        {"spool_limit = 0\nfoo", "1: spool_limit|2: foo: no such setting"},
        {"liveness {\n verdict_timeout = 9s\n}",
         "2: liveness.verdict_timeout = 9s contradicts liveness.probe_timeout = 10s: a hit would be given up"},
        {"liveness {\n verdict_timeout = 9s\n probe_timeout = 9001ms\n}",
         "3: liveness.verdict_timeout = 9s contradicts liveness.probe_timeout = 9001ms"},
        {"liveness {\n verdict_timeout = 19999ms\n}",
         "2: liveness.verdict_timeout = 19999ms contradicts liveness.probe_interval = 10s: a hit would be given up"},
        {"liveness {\n probe_interval = 50001ms\n}",
         "2: liveness.verdict_timeout = 60s contradicts liveness.probe_interval = 50001ms"},
        {"liveness {\n probe_timeout = 61s\n}",
         "2: liveness.verdict_timeout = 60s contradicts liveness.probe_timeout = 61s"},
        {"liveness { verdict_timeout = 500s probe_timeout = 300s\n remember = 299s }",
         "2: liveness.remember = 299s contradicts liveness.probe_timeout = 300s: what a slow probe found out"},
        {"limits {\n connections_per_client = 21\n connections = 20\n}",
         "3: limits.connections_per_client = 21 contradicts limits.connections = 20: one client could never"},
        {"\nsocket = 'unix:/x/y'\nspool = /x/y", "3: spool = /x/y contradicts socket = unix:/x/y: one file"},
        {"domain a.example {\n role = trap\n on_outage = accept\n}", "4: domain \"a.example\": on_outage = accept contradicts"},
        {"domain a.example { role = off on_outage = accept }", "1: domain \"a.example\": on_outage = accept contradicts"},
        {"domain a.example { role = address on_outage = accept }", "on_outage = accept contradicts"},
        {"domain a.example { on_outage = bounce }", "1: domain.on_outage: \"bounce\" is not among the choices; defer or accept"},
        {"domain a.example { on_outage = accept }\nliveness { fresh = 0 }",
         "2: domain.on_outage contradicts liveness.fresh = 0: an outage that nobody looks for"},
        {"\nnat64_prefixes = {'2001:db8::/33'}", "2: nat64_prefixes: \"2001:db8::/33\" is no prefix of a translator; such as"},
        {"nat64_prefixes = {'192.0.2.0/24'}", "1: nat64_prefixes: \"192.0.2.0/24\" is no prefix of a translator"},
        {"nat64_prefixes = {'2001:db8:0:0:100::/96'}", "is no prefix of a translator"},
        {"nat64_prefixes = {'2001:db8::1/96'}", "1: nat64_prefixes: \"2001:db8::1/96\" is no network"},
        {"\nignore_clients = {'64:ff9b::/96'}", "2: ignore_clients: \"64:ff9b::/96\" holds IPv4 addresses"},
        {"ignore_clients = {'2001:db8:64::/96'} nat64_prefixes = {'2001:db8:64::/96'}", "\"2001:db8:64::/96\" holds IPv4"},
        {"liveness { egress_hosts = {mx.example.org} }", "1: liveness.egress_hosts: \"mx.example.org\" is no address"},
        {"liveness { egress_hosts = {127.0.0.1} }", "\"127.0.0.1\" is no address of a host elsewhere"},
        {"limits { connections_per_client = 5 connections = 2 }\nliveness { verdict_timeout = 9s }",
         "1: limits.connections|2: liveness.verdict"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64], *parts = alloc_text(cases[i].wanted), *rest = parts, *part;
        struct settings *settings = load(cases[i].text, name);

        if (settings != NULL)
            fail_msg("\"%s\": taken", cases[i].text);
        while ((part = strtok_r(rest, "|", &rest)) != NULL)
            if (strstr(reports, part) == NULL)
                fail_msg("\"%s\": wanted \"%s\", got %s", cases[i].text, part, reports);
        if (strstr(reports, "geheim") != NULL)
            fail_msg("\"%s\": the password is told", cases[i].text);
        if (strncmp(reports, name, strlen(name)) != 0)
            fail_msg("\"%s\": the file is not named: %s", cases[i].text, reports);
        free(parts);
    }
}

/* Each is the last value that leaves the other a meaning. */
static void what_only_just_agrees_is_taken(void **state)
{
    static const char *const texts[] = {
        "liveness { verdict_timeout = 20s }",
        "liveness { verdict_timeout = 10500ms probe_interval = 500ms }",
        "liveness { remember = 10s }",
        "limits { connections_per_client = 20 connections = 20 }",
        "limits { connections = 2 }",
        "limits { connections = 0 connections_per_client = 100 }",
        "limits { connections = 2 connections_per_client = 0 }",
        "socket = 'unix:/x/y' spool = /x/y.db",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        settings_release(load_good(texts[i]));
}

static void the_default_for_a_client_is_no_more_than_for_all(void **state)
{
    struct settings *settings = load_good("limits { connections = 2 }");

    (void)state;
    assert_int_equal(settings->session.connections_per_client, 2);
    settings_release(settings);
}

static void what_is_no_file_is_refused(void **state)
{
    static const struct {
        const char *path, *wanted;
    } cases[] = {
        {"/", "/: is a folder"},
        {"/nonexistent/hunnypot.conf", "/nonexistent/hunnypot.conf: cannot be read: No such file"},
        {"/dev/zero", "/dev/zero: is longer than 1 MiB"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reports[0] = '\0';
        assert_null(settings_load(cases[i].path, report, NULL));
        if (strncmp(reports, cases[i].wanted, strlen(cases[i].wanted)) != 0)
            fail_msg("%s: wanted \"%s\", got %s", cases[i].path, cases[i].wanted, reports);
    }
}

static void a_dump_loads_back_to_the_same(void **state)
{
    static const char *const texts[] = {
        "",
        "ignore_clients = {} exempt_localparts = {'a\"b', \"c\\\\d\", '${HOME}', \"n l\"}",
        "reply = \"451 4.7.1 100% \\\"sure\\\" \\\\ \\${HOME}\\nline two\"",
        "liveness { probe_timeout = 100ms remember = 6m } dns { nameservers = {'[::1]:99'} }",
        "domain 'b\303\274cher.example' { role = trap } domain '*.x.example' { role = off }",
        "database = 'host=/run/x user=y application_name=$z'",
        "limits { connections = 1 }",
        "domain a.example { role = backup on_outage = accept } domain b.example { on_outage = accept }",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct settings *first = load_good(texts[i]), *second;
        char *wanted = dump(first), *got;

        second = load_good(wanted);
        got = dump(second);
        if (strcmp(wanted, got) != 0)
            fail_msg("wanted %s\ngot %s", wanted, got);
        assert_null(strstr(wanted, "\nline two")); /* a value stays on its line */
        assert_memory_equal(&first->session.reply, &second->session.reply, sizeof first->session.reply);
        settings_release(first);
        settings_release(second);
        free(wanted);
        free(got);
    }
}

static void the_sample_is_the_defaults_also_when_all_of_it_counts(void **state)
{
    char *sample = NULL, *defaults, *got;
    size_t size;
    FILE *out = open_memstream(&sample, &size);
    struct settings *settings = load_good("");

    (void)state;
    defaults = dump(settings);
    settings_release(settings);
    settings_print_sample(out);
    fclose(out);
    for (int uncommented = 0; uncommented < 2; uncommented++) {
        settings = load_good(sample);
        got = dump(settings);
        assert_string_equal(got, defaults);
        free(got);
        settings_release(settings);
        /* "#name = value" is a setting, "# text" is none */
        for (char *c = sample; *c != '\0'; c++)
            if (*c == '#' && c[1] != ' ')
                *c = ' ';
    }
    free(defaults);
    free(sample);
}

static void a_snapshot_lives_as_long_as_its_last_holder(void **state)
{
    const struct settings *settings = load_good("sensor = mx9"), *held = settings_hold(settings);

    (void)state;
    settings_release(settings);
    assert_string_equal(held->sensor, "mx9");
    settings_release(held);
}

static void what_needs_a_restart_is_told(void **state)
{
    struct settings *old = load_good("sensor = a"), *same = load_good("sensor = a limits { idle = 1s }");
    struct settings *new = load_good("sensor = b socket = 'unix:/x' user = u socket_group = g database = d spool = /s "
                                     "spool_limit = 5 liveness { probers = 1 port = 26 }");

    (void)state;
    reports[0] = '\0';
    settings_report_fixed(old, same, report, NULL);
    assert_string_equal(reports, "");
    settings_report_fixed(old, new, report, NULL);
    assert_string_equal(reports, "socket\nsocket_group\nuser\nsensor\ndatabase\nspool\nspool_limit\nliveness.probers\n");
    settings_release(old);
    settings_release(same);
    settings_release(new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_defaults),
        cmocka_unit_test(loopback_private_and_link_local_clients_are_ignored_by_default),
        cmocka_unit_test(every_setting_arrives),
        cmocka_unit_test(each_row_reaches_its_own_member_and_no_other),
        cmocka_unit_test(networks_are_read_as_the_ipv4_ones_that_they_hold),
        cmocka_unit_test(what_only_just_agrees_is_taken),
        cmocka_unit_test(the_default_for_a_client_is_no_more_than_for_all),
        cmocka_unit_test(a_list_can_be_emptied_and_added_to),
        cmocka_unit_test(faults_are_told),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_dump_loads_back_to_the_same),
        cmocka_unit_test(the_sample_is_the_defaults_also_when_all_of_it_counts),
        cmocka_unit_test(a_snapshot_lives_as_long_as_its_last_holder),
        cmocka_unit_test(what_needs_a_restart_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
