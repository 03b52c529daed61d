#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_clock.h"
#include "fake_mx.h"
#include "fake_probe.h"
#include "fake_thread.h"
#include "judge/judge.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* We are 192.0.2.99 and trap.example. */
#define US "192.0.2.99"
#define CLIENT "203.0.113.5"

enum { SECOND_MS = 1000, REMEMBER_MS = 399000, GRACE_MS = 3600000, INTERVAL_MS = 10000, PATIENCE_MS = 10000 };

static struct ipaddr address_of(const char *text)
{
    struct ipaddr address;

    assert_true(ipaddr_parse(text, &address));
    return address;
}

static char own_name[] = "trap.example", *own_names[] = {own_name};
static struct ipaddr own_addresses[1];
static struct ipnet ignored[1];
static struct settings_rule rules[] = {
    {.pattern = "*", .role = ROLE_AUTO},
    {.pattern = "trap.test", .role = ROLE_TRAP},
    {.pattern = "*.trap.test", .role = ROLE_TRAP},
    {.pattern = "b.trap.test", .role = ROLE_BACKUP},
    {.pattern = "*.off.trap.test", .role = ROLE_OFF},
    {.pattern = "address.test", .role = ROLE_ADDRESS},
    {.pattern = "off.test", .role = ROLE_OFF},
};

static struct settings settings_default(void)
{
    own_addresses[0] = address_of(US);
    assert_true(ipnet_parse("198.51.100.0/24", &ignored[0]));
    return (struct settings){.judge = {
        .remember_ms = REMEMBER_MS,
        .probe_interval_ms = INTERVAL_MS,
        .outage_grace_ms = GRACE_MS,
        .probers = 4,
        .own_names = own_names,
        .own_name_count = COUNT(own_names),
        .own_addresses = own_addresses,
        .own_address_count = COUNT(own_addresses),
        .rules = rules,
        .rule_count = COUNT(rules),
        .ignored = ignored,
        .ignored_count = COUNT(ignored),
    }};
}

/* The machine's own clock: fake_clock.c has taken the place of clock_gettime(). */
static int64_t real_ms(void)
{
    struct timespec now;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct judge_answer ask_now(struct judge *judge, const struct judge_question *question)
{
    struct judge_answer answer;

    judge_ask(judge, question, &answer);
    return answer;
}

/* Ask until it is known. */
static struct judge_answer ask(struct judge *judge, const struct judge_question *question)
{
    int64_t deadline_ms = real_ms() + PATIENCE_MS;
    uint64_t seen = 0;
    struct judge_answer answer = ask_now(judge, question);

    while (answer.verdict == VERDICT_PENDING && real_ms() < deadline_ms) {
        judge_wait(judge, &seen, deadline_ms);
        answer = ask_now(judge, question);
    }
    return answer;
}

static struct judge_answer ask_about(struct judge *judge, const char *domain)
{
    const struct judge_question question = {.client = address_of(CLIENT), .domains = &domain, .domain_count = 1};

    return ask(judge, &question);
}

static enum verdict verdict_now(struct judge *judge, const char *domain)
{
    const struct judge_question question = {.client = address_of(CLIENT), .domains = &domain, .domain_count = 1};

    return ask_now(judge, &question).verdict;
}

/* Wait until COUNTED of NAME is WANT. */
static void await(unsigned counted(const char *), const char *name, unsigned want)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < PATIENCE_MS && counted(name) < want; i++)
        nanosleep(&pause, NULL);
    assert_int_equal(counted(name), want);
}

static pthread_mutex_t kept_mutex = PTHREAD_MUTEX_INITIALIZER;
static char kept[4096];

/* What a judge wants to be kept; a prober's thread may say so. */
static void keep(void *context, const char *text)
{
    pthread_mutex_lock(&kept_mutex);
    ++*(unsigned *)context;
    snprintf(kept, sizeof kept, "%s", text);
    pthread_mutex_unlock(&kept_mutex);
}

static bool is_kept(const char *want)
{
    bool found;

    pthread_mutex_lock(&kept_mutex);
    found = strstr(kept, want) != NULL;
    pthread_mutex_unlock(&kept_mutex);
    return found;
}

/* Wait until that holds WANT. */
static void await_text(const char *want)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < PATIENCE_MS && !is_kept(want); i++)
        nanosleep(&pause, NULL);
    assert_true(is_kept(want));
}

#define assert_verdict(got, want) assert_string_equal(verdict_name(got), verdict_name(want))

static int setup(void **state)
{
    static struct settings settings; /* the judge holds it */

    settings = settings_default();
    fake_clock_set_ms(1000000);
    fake_mx_reset();
    fake_probe_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US);
    *state = judge_create(&settings, NULL);
    return 0;
}

static int teardown(void **state)
{
    fake_mx_freeze(false);
    fake_probe_freeze(false);
    judge_destroy((struct judge **)state);
    assert_null(*state);
    return 0;
}

static const struct verdict_case {
    const char *name, *client, *local, *mta_name;
    const char *domains[4];
    const char *down, *deferring, *unprobable; /* addresses, separated by spaces */
    bool require_all, late, exempt;
    enum verdict want;
    const char *want_domain, *want_primary; /* for an offence */
    enum hit_class want_class;
} cases[] = {
    {.name = "backup", .domains = {"d.test"}, .want = VERDICT_OFFENCE, .want_domain = "d.test",
     .want_primary = "a.mx", .want_class = CLASS_BACKUP},
    {.name = "address", .domains = {"a.test"}, .want = VERDICT_OFFENCE, .want_domain = "a.test",
     .want_primary = "x.mx", .want_class = CLASS_ADDRESS},
    {.name = "address of this connection", .domains = {"n.test"}, .local = "203.0.113.77", .want = VERDICT_OFFENCE,
     .want_domain = "n.test", .want_primary = "x.mx", .want_class = CLASS_ADDRESS},
    {.name = "address of another connection", .domains = {"n.test"}, .want = VERDICT_NONE},
    {.name = "MX by the MTA's name", .domains = {"m.test"}, .mta_name = "MTA.Example.", .want = VERDICT_OFFENCE,
     .want_domain = "m.test", .want_primary = "x.mx", .want_class = CLASS_BACKUP},
    {.name = "trap", .domains = {"trap.test"}, .want = VERDICT_OFFENCE, .want_domain = "trap.test",
     .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "trap, late", .domains = {"trap.test"}, .late = true, .want = VERDICT_OFFENCE,
     .want_domain = "trap.test", .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "backup, late", .domains = {"d.test"}, .late = true, .want = VERDICT_UNKNOWN},
    {.name = "wildcard rule", .domains = {"x.trap.test"}, .want = VERDICT_OFFENCE, .want_domain = "x.trap.test",
     .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "exact rule beats wildcard", .domains = {"b.trap.test"}, .want = VERDICT_OFFENCE,
     .want_domain = "b.trap.test", .want_primary = "x.mx", .want_class = CLASS_BACKUP},
    {.name = "longer wildcard wins", .domains = {"x.off.trap.test"}, .want = VERDICT_NONE},
    {.name = "trap, DNS fails", .domains = {"fail.trap.test"}, .want = VERDICT_UNKNOWN},
    {.name = "trap, an MX host's address not known", .domains = {"half.trap.test"}, .want = VERDICT_UNKNOWN},
    {.name = "NXDOMAIN", .domains = {"gone.test"}, .want = VERDICT_NONE},
    {.name = "DNS fails", .domains = {"fail.test"}, .want = VERDICT_UNKNOWN},
    {.name = "off", .domains = {"off.test"}, .want = VERDICT_NONE},
    {.name = "no domain", .domains = {NULL}, .want = VERDICT_NONE},

    {.name = "an IPv6 address of no IPv4 client on the Internet", .client = "64:ff9b::a00:1", .domains = {"trap.test"},
     .want = VERDICT_IGNORED},
    {.name = "the same, 6to4", .client = "2002:7f00:1::1", .domains = {"trap.test"}, .want = VERDICT_IGNORED},
    {.name = "client ignored", .client = "198.51.100.7", .domains = {"trap.test"}, .want = VERDICT_IGNORED},
    {.name = "client is our own", .client = US, .domains = {"trap.test"}, .want = VERDICT_FRIEND},
    {.name = "client is the address it connected to", .client = "203.0.113.77", .local = "203.0.113.77",
     .domains = {"trap.test"}, .want = VERDICT_FRIEND},
    {.name = "exempt local parts", .exempt = true, .domains = {"trap.test"}, .want = VERDICT_EXEMPT},
    {.name = "ignored before exempt", .client = "198.51.100.7", .exempt = true, .domains = {"trap.test"},
     .want = VERDICT_IGNORED},
    {.name = "client is a primary", .client = "192.0.2.2", .domains = {"d.test"}, .want = VERDICT_FRIEND},
    {.name = "client is an MX host of a trap", .client = "192.0.2.50", .domains = {"mx.trap.test"},
     .want = VERDICT_FRIEND},
    {.name = "client is an MX host that is less preferred", .client = "192.0.2.40", .domains = {"l.test"},
     .want = VERDICT_FRIEND},
    {.name = "client is an MX host of the other domain", .client = "192.0.2.50",
     .domains = {"d.test", "mx.trap.test"}, .want = VERDICT_FRIEND},
    {.name = "client is an MX host of a domain that is nothing to us", .client = "192.0.2.60",
     .domains = {"d.test", "e.test"}, .want = VERDICT_FRIEND},
    {.name = "client is the implicit MX", .client = "192.0.2.70", .domains = {"i.trap.test"}, .want = VERDICT_FRIEND},

    {.name = "one primary down", .domains = {"d.test"}, .down = "192.0.2.1", .want = VERDICT_OFFENCE,
     .want_domain = "d.test", .want_primary = "b.mx", .want_class = CLASS_BACKUP},
    {.name = "all primaries down", .domains = {"d.test"}, .down = "192.0.2.1 192.0.2.2", .want = VERDICT_OUTAGE},
    {.name = "one primary deferring", .domains = {"d.test"}, .deferring = "192.0.2.2", .want = VERDICT_OUTAGE},
    {.name = "one not probable", .domains = {"d.test"}, .unprobable = "192.0.2.2", .want = VERDICT_OFFENCE,
     .want_domain = "d.test", .want_primary = "a.mx", .want_class = CLASS_BACKUP},
    {.name = "none probable", .domains = {"d.test"}, .unprobable = "192.0.2.1 192.0.2.2", .want = VERDICT_UNKNOWN},
    {.name = "one down, one not probable", .domains = {"d.test"}, .down = "192.0.2.1", .unprobable = "192.0.2.2",
     .want = VERDICT_UNKNOWN},
    {.name = "one deferring, one not probable", .domains = {"d.test"}, .deferring = "192.0.2.1",
     .unprobable = "192.0.2.2", .want = VERDICT_OUTAGE},
    {.name = "all required", .require_all = true, .domains = {"d.test"}, .want = VERDICT_OFFENCE,
     .want_domain = "d.test", .want_primary = "a.mx", .want_class = CLASS_BACKUP},
    {.name = "all required, one down", .require_all = true, .domains = {"d.test"}, .down = "192.0.2.2",
     .want = VERDICT_OUTAGE},
    {.name = "all required, one not probable", .require_all = true, .domains = {"d.test"}, .unprobable = "192.0.2.2",
     .want = VERDICT_UNKNOWN},

    {.name = "trap before backup before address", .domains = {"a.test", "d.test", "trap.test"},
     .want = VERDICT_OFFENCE, .want_domain = "trap.test", .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "as addressed within a class", .domains = {"x.trap.test", "trap.test"}, .want = VERDICT_OFFENCE,
     .want_domain = "x.trap.test", .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "no role is passed over", .domains = {"gone.test", "d.test"}, .want = VERDICT_OFFENCE,
     .want_domain = "d.test", .want_primary = "a.mx", .want_class = CLASS_BACKUP},
    {.name = "off is passed over", .domains = {"off.test", "trap.test"}, .want = VERDICT_OFFENCE,
     .want_domain = "trap.test", .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "outage beats offence", .domains = {"a.test", "d.test"}, .deferring = "192.0.2.1",
     .want = VERDICT_OUTAGE},
    {.name = "unknown beats offence", .domains = {"a.test", "fail.test"}, .want = VERDICT_UNKNOWN},
    {.name = "an outage shields no trap", .domains = {"trap.test", "d.test"}, .deferring = "192.0.2.1",
     .want = VERDICT_OFFENCE, .want_domain = "trap.test", .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "no answer shields no trap", .domains = {"fail.test", "trap.test"}, .want = VERDICT_OFFENCE,
     .want_domain = "trap.test", .want_primary = "", .want_class = CLASS_TRAP},
    {.name = "a late backup shields no trap", .domains = {"trap.test", "d.test"}, .late = true,
     .want = VERDICT_OFFENCE, .want_domain = "trap.test", .want_primary = "", .want_class = CLASS_TRAP},
};

static void states_set(const char *addresses, enum liveness_state state)
{
    char copy[256], *rest = copy;

    snprintf(copy, sizeof copy, "%s", addresses != NULL ? addresses : "");
    for (char *word = strtok_r(rest, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        fake_probe_set(word, state);
}

static struct judge_answer case_run(const struct verdict_case *c)
{
    struct settings settings = settings_default();
    struct judge_question question = {
        .client = address_of(c->client != NULL ? c->client : CLIENT),
        .mta_name = c->mta_name,
        .domains = c->domains,
        .late = c->late,
        .exempt = c->exempt,
    };
    struct judge_answer answer, at_once;
    struct judge *judge;
    bool decided;

    if (c->local != NULL)
        question.local = address_of(c->local);
    while (c->domains[question.domain_count] != NULL)
        question.domain_count++;
    fake_probe_reset();
    states_set(c->down, LIVENESS_DOWN);
    states_set(c->deferring, LIVENESS_DEFERRING);
    states_set(c->unprobable, LIVENESS_UNKNOWN);
    settings.judge.require_all = c->require_all;
    judge = judge_create(&settings, NULL);
    decided = judge_at_once(judge, &question, &at_once);
    answer = ask(judge, &question);
    assert_true(!decided || at_once.verdict == answer.verdict);
    assert_true(decided || (answer.verdict != VERDICT_IGNORED && answer.verdict != VERDICT_EXEMPT));
    decided = judge_at_once(judge, &question, &at_once); /* friends may be known now */
    assert_true(!decided || at_once.verdict == answer.verdict);
    judge_destroy(&judge);
    return answer;
}

static void test_verdicts(void **state)
{
    size_t failed = 0;

    (void)state;
    fake_mx_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US);
    fake_mx_set("a.test", "10 x.mx 192.0.2.10;@ " US);
    fake_mx_set("n.test", "10 x.mx 192.0.2.10;@ 203.0.113.77");
    fake_mx_set("m.test", "10 x.mx 192.0.2.10;20 mta.example 203.0.113.78");
    fake_mx_set("l.test", "10 x.mx 192.0.2.10;20 t.mx " US ";30 y.mx 192.0.2.40");
    fake_mx_set("e.test", "10 z.mx 192.0.2.60");
    fake_mx_set("fail.test", "unknown");
    fake_mx_set("fail.trap.test", "unknown");
    fake_mx_set("half.trap.test", "10 x.mx 192.0.2.10;20 y.mx ?");
    fake_mx_set("mx.trap.test", "10 z.mx 192.0.2.50");
    fake_mx_set("i.trap.test", "@ 192.0.2.70");
    fake_mx_set("b.trap.test", "10 x.mx 192.0.2.10");
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct verdict_case *c = &cases[i];
        struct judge_answer got = case_run(c);
        bool offence = c->want == VERDICT_OFFENCE;

        if (got.verdict == c->want && got.why != NULL &&
            (!offence || (strcmp(got.domain, c->want_domain) == 0 && strcmp(got.primary, c->want_primary) == 0 &&
                          got.class == c->want_class)))
            continue;
        failed++;
        print_error("%s: want %s %s %s %s, got %s %s %s %s (%s)\n", c->name, verdict_name(c->want),
                    class_name(c->want_class), offence ? c->want_domain : "", offence ? c->want_primary : "",
                    verdict_name(got.verdict), class_name(got.class), got.domain, got.primary,
                    got.why != NULL ? got.why : "no why");
    }
    assert_int_equal(failed, 0);
}

static void test_ask_never_waits(void **state)
{
    struct judge *judge = *state;

    fake_mx_freeze(true);
    fake_probe_freeze(true);
    assert_verdict(verdict_now(judge, "d.test"), VERDICT_PENDING);
    fake_mx_freeze(false);
    await(fake_mx_asked, "d.test", 1);
    while (fake_probe_made("192.0.2.1") == 0)
        assert_verdict(verdict_now(judge, "d.test"), VERDICT_PENDING);
    assert_verdict(verdict_now(judge, "d.test"), VERDICT_PENDING);
    fake_probe_freeze(false);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
}

static void test_slow_names_leave_a_prober_for_the_primaries(void **state)
{
    struct judge *judge = *state;
    const char *domain = "trap.test";
    struct judge_question question = {.domains = &domain, .domain_count = 1};
    char client[] = "203.0.115.0";

    assert_verdict(ask_about(judge, domain).verdict, VERDICT_OFFENCE);
    fake_mx_freeze_names(true);
    for (int last = 1; last <= 9; last++) {
        client[sizeof client - 2] = (char)('0' + last);
        question.client = address_of(client);
        assert_verdict(ask_now(judge, &question).verdict, VERDICT_PENDING);
    }
    await(fake_mx_naming, "", 3);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_int_equal(fake_mx_naming(""), 3);
    fake_mx_freeze_names(false);
    for (int last = 1; last <= 9; last++) {
        client[sizeof client - 2] = (char)('0' + last);
        question.client = address_of(client);
        assert_verdict(ask(judge, &question).verdict, VERDICT_OFFENCE);
    }
}

static void test_single_flight(void **state)
{
    struct judge *judge = *state;

    fake_mx_set("e.test", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US);
    fake_mx_freeze(true);
    fake_probe_freeze(true);
    for (int i = 0; i < 100; i++) {
        verdict_now(judge, "d.test");
        verdict_now(judge, "e.test");
    }
    fake_mx_freeze(false);
    while (fake_probe_made(NULL) < 2) {
        verdict_now(judge, "d.test");
        verdict_now(judge, "e.test");
    }
    for (int i = 0; i < 100; i++) {
        verdict_now(judge, "d.test");
        verdict_now(judge, "e.test");
    }
    fake_probe_freeze(false);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_verdict(ask_about(judge, "e.test").verdict, VERDICT_OFFENCE);
    assert_int_equal(fake_mx_asked("d.test"), 1);
    assert_int_equal(fake_mx_asked("e.test"), 1);
    assert_int_equal(fake_probe_made(NULL), 2);
}

static void test_prefetch(void **state)
{
    struct judge *judge = *state;
    const struct ipaddr nowhere = {0};

    judge_prefetch(judge, "d.test", &nowhere, NULL);
    judge_prefetch(judge, "off.test", &nowhere, NULL);
    await(fake_mx_asked, "d.test", 1);
    assert_int_equal(fake_probe_made(NULL), 0); /* a probe before the hit would only put off the one after it */
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_int_equal(fake_mx_asked(NULL), 1);
    assert_int_equal(fake_probe_made(NULL), 2);
}

/* Hits ask for themselves: with much under way, a prefetch would push out of the table what they wait for. */
static void test_prefetch_stands_back_when_much_waits(void **state)
{
    struct judge *judge = *state;
    const struct ipaddr nowhere = {0};

    fake_mx_freeze(true);
    for (int i = 0; i < 1000; i++) {
        char name[32];

        snprintf(name, sizeof name, "x%d.test", i);
        judge_prefetch(judge, name, &nowhere, NULL);
    }
    fake_mx_freeze(false);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_in_range(fake_mx_asked(NULL), 500, 505); /* four were taken from the queue at once, and d.test */
}

static void test_known_only(void **state)
{
    struct settings settings = settings_default();
    const char *domain = "f.test";
    const struct judge_question question = {
        .client = address_of(CLIENT), .domains = &domain, .domain_count = 1, .known_only = true};
    struct judge *judge;

    (void)state;
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    fake_mx_set("e.test", "10 b.mx 192.0.2.2;30 t.mx " US);
    judge = judge_create(&settings, &(struct known_limits){.domains = 10000, .addresses = 1});
    assert_verdict(ask_now(judge, &question).verdict, VERDICT_PENDING);
    domain = "d.test";
    assert_verdict(ask_about(judge, domain).verdict, VERDICT_OFFENCE);
    assert_verdict(ask_now(judge, &question).verdict, VERDICT_OFFENCE);
    assert_verdict(ask_about(judge, "e.test").verdict, VERDICT_OFFENCE);
    assert_verdict(ask_now(judge, &question).verdict, VERDICT_PENDING);
    assert_verdict(verdict_now(judge, "e.test"), VERDICT_OFFENCE); /* its host was not pushed out */
    assert_int_equal(fake_mx_asked(NULL), 2);
    assert_int_equal(fake_probe_made(NULL), 2);
    judge_destroy(&judge);
}

static void test_only_primaries_are_probed(void **state)
{
    struct judge *judge = *state;

    fake_mx_set("e.test", "10 z.mx 192.0.2.60");
    fake_mx_set("mx.trap.test", "10 z.mx 192.0.2.60");
    ask_about(judge, "d.test");
    ask_about(judge, "e.test");
    ask_about(judge, "mx.trap.test");
    assert_int_equal(fake_probe_made("192.0.2.1"), 1);
    assert_int_equal(fake_probe_made("192.0.2.2"), 1);
    assert_int_equal(fake_probe_made(NULL), 2);
}

/* 399 s old is used, 400 s is not, and from three quarters on it is refreshed while the old answer serves. */
static void test_age(void **state)
{
    struct judge *judge = *state;

    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US ";ttl 86400");
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    fake_probe_freeze(true);
    fake_mx_freeze(true);

    fake_clock_advance_ms(299 * SECOND_MS);
    assert_int_equal(ask_about(judge, "d.test").primary_age_ms, 299 * SECOND_MS);
    assert_int_equal(fake_probe_made(NULL), 1);
    assert_int_equal(fake_mx_asked(NULL), 1);

    fake_clock_advance_ms(100 * SECOND_MS);
    assert_int_equal(ask_about(judge, "d.test").primary_age_ms, 399 * SECOND_MS);
    await(fake_probe_made, NULL, 2);
    await(fake_mx_asked, NULL, 2);

    fake_clock_advance_ms(SECOND_MS);
    assert_verdict(verdict_now(judge, "d.test"), VERDICT_PENDING);
    fake_mx_freeze(false);
    fake_probe_freeze(false);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_int_equal(fake_probe_made(NULL), 2);
    assert_int_equal(fake_mx_asked(NULL), 2);
}

static void test_dns_answers_last(void **state)
{
    static const struct {
        const char *name, *domain, *dns;
        int64_t usable_s;
    } dns_cases[] = {
        {"TTL", "a.test", "10 a.mx 192.0.2.1;30 t.mx " US ";ttl 100", 100},
        {"TTL 0", "b.test", "10 a.mx 192.0.2.1;30 t.mx " US ";ttl 0", 5},
        {"long TTL", "c.test", "10 a.mx 192.0.2.1;30 t.mx " US ";ttl 86400", 399},
        {"NXDOMAIN", "d.test", "nxdomain", 60},
        {"no MX", "e.test", "@ 203.0.113.1;ttl 300", 60},
        {"failure", "f.test", "unknown", 15},
        {"failure for a host", "g.test", "10 a.mx ?;30 t.mx " US, 15},
        {"failure for the address", "h.test", "10 a.mx 192.0.2.1;@ ?", 15},
    };
    struct judge *judge = *state;
    size_t failed = 0;

    for (size_t i = 0; i < COUNT(dns_cases); i++) {
        const char *domain = dns_cases[i].domain;
        enum verdict young, old;

        fake_mx_freeze(false);
        fake_mx_set(domain, dns_cases[i].dns);
        fake_clock_advance_ms(2 * REMEMBER_MS);
        ask_about(judge, domain);
        fake_mx_freeze(true);
        fake_clock_advance_ms(dns_cases[i].usable_s * SECOND_MS);
        young = verdict_now(judge, domain);
        fake_clock_advance_ms(1);
        old = verdict_now(judge, domain);
        if (young != VERDICT_PENDING && old == VERDICT_PENDING)
            continue;
        failed++;
        print_error("%s: want an answer for %lld s, got %s then, %s after it\n", dns_cases[i].name,
                    (long long)dns_cases[i].usable_s, verdict_name(young), verdict_name(old));
    }
    assert_int_equal(failed, 0);
}

static void test_startup_grace(void **state)
{
    struct settings settings = settings_default();
    struct judge *judge;

    (void)state;
    fake_clock_set_ms(1000000);
    fake_mx_reset();
    fake_probe_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    settings.judge.startup_grace_ms = 60 * SECOND_MS;
    judge = judge_create(&settings, NULL);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_RECOVERING);
    assert_verdict(ask_about(judge, "trap.test").verdict, VERDICT_OFFENCE);
    fake_clock_advance_ms(60 * SECOND_MS - 1);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_RECOVERING);
    fake_clock_advance_ms(1);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    judge_destroy(&judge);
}

static void test_outage_grace(void **state)
{
    static const struct {
        const char *name, *down, *deferring;
        bool require_all;
        enum verdict during, after;
    } grace_cases[] = {
        {"one deferring", NULL, "192.0.2.2", false, VERDICT_OUTAGE, VERDICT_RECOVERING},
        {"all down", "192.0.2.1 192.0.2.2", NULL, false, VERDICT_OUTAGE, VERDICT_RECOVERING},
        {"one down", "192.0.2.1", NULL, false, VERDICT_OFFENCE, VERDICT_OFFENCE},
        {"one down, all required", "192.0.2.1", NULL, true, VERDICT_OUTAGE, VERDICT_RECOVERING},
    };
    size_t failed = 0;

    (void)state;
    fake_mx_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US);
    for (size_t i = 0; i < COUNT(grace_cases); i++) {
        struct settings settings = settings_default();
        enum verdict during, after, grace_end, later, trap;
        struct judge *judge;

        settings.judge.require_all = grace_cases[i].require_all;
        fake_probe_reset();
        states_set(grace_cases[i].down, LIVENESS_DOWN);
        states_set(grace_cases[i].deferring, LIVENESS_DEFERRING);
        judge = judge_create(&settings, NULL);
        during = ask_about(judge, "d.test").verdict;
        fake_probe_reset();
        fake_clock_advance_ms(REMEMBER_MS + 1);
        after = ask_about(judge, "d.test").verdict; /* seen to be over: the grace begins */
        trap = ask_about(judge, "trap.test").verdict;
        fake_clock_advance_ms(GRACE_MS - 1);
        grace_end = ask_about(judge, "d.test").verdict;
        fake_clock_advance_ms(1);
        later = ask_about(judge, "d.test").verdict;
        judge_destroy(&judge);
        if (during == grace_cases[i].during && after == grace_cases[i].after && grace_end == grace_cases[i].after &&
            later == VERDICT_OFFENCE && trap == VERDICT_OFFENCE)
            continue;
        failed++;
        print_error("%s: want %s %s %s offence offence, got %s %s %s %s %s\n", grace_cases[i].name,
                    verdict_name(grace_cases[i].during), verdict_name(grace_cases[i].after),
                    verdict_name(grace_cases[i].after), verdict_name(during), verdict_name(after),
                    verdict_name(grace_end), verdict_name(later), verdict_name(trap));
    }
    assert_int_equal(failed, 0);
}

/* A judge that lived through an outage, as the next process gets to know it. */
static void outages_of_a_judge(const struct settings *settings)
{
    struct judge *judge;
    unsigned times = 0;

    fake_clock_set_ms(1000000);
    judge = judge_create(settings, NULL);
    judge_keep_with(judge, keep, &times);
    states_set("192.0.2.1", LIVENESS_DOWN);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OUTAGE);
    assert_verdict(ask_about(judge, "sound.test").verdict, VERDICT_OFFENCE);
    fake_probe_reset();
    fake_clock_advance_ms(REMEMBER_MS + 1);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_RECOVERING);
    judge_destroy(&judge);
    assert_int_equal(times, 3); /* at the start, when it began, when it was over: nobody asked for it */
}

static void test_outages_are_recalled(void **state)
{
    enum { SEEN_MS = 1000000 + REMEMBER_MS + 1 };
    static const struct {
        const char *name, *text; /* NULL: what the judge before remembers */
        int64_t now_ms;
        enum verdict wanted;
    } recall_cases[] = {
        {"at once", NULL, SEEN_MS, VERDICT_RECOVERING},
        {"within the grace", NULL, SEEN_MS + GRACE_MS - 1, VERDICT_RECOVERING},
        {"after the grace", NULL, SEEN_MS + GRACE_MS, VERDICT_OFFENCE},
        {"the clock was put back", NULL, 1000, VERDICT_RECOVERING},
        {"another host", "address 192.0.2.2 - 1000000000-1000000000\n", 1000001, VERDICT_OFFENCE},
        {"all that have left", "address * - 1000000000-1000000000\n", 1000001, VERDICT_RECOVERING},
        {"deferring", "address 192.0.2.1 1000000000-1000000000 -\n", 1000001, VERDICT_RECOVERING},
        {"not seen to be over", "address 192.0.2.1 - 1000-now\n", 1000001 + 2 * GRACE_MS, VERDICT_RECOVERING},
        {"behind lines of another kind",
         "x\n1\naddress\naddress 192.0.2.1\naddress 192.0.2.1 -\ndomain\ndomain d.test\ndomain d.test x 1 1 1 1\n\n"
         "address 192.0.2.1 - 1000000000-1000000000\n", 1000001, VERDICT_RECOVERING},
        {"as it was before", "0 1000000000 a.mx\n", 1000001, VERDICT_OFFENCE},
        {"never", "address 192.0.2.1 - -\n", 1000001, VERDICT_OFFENCE},
        {"no numbers", "address 192.0.2.1 - a-b\n", 1000001, VERDICT_OFFENCE},
        {"numbers too big", "address 192.0.2.1 - 1000000000-99999999999999999999\n", 1000001, VERDICT_RECOVERING},
        {"negative", "address 192.0.2.1 - -5--5\n", 1000001, VERDICT_OFFENCE},
        {"over before it began", "address 192.0.2.1 - 1000000000-999999999\n", 1000001, VERDICT_OFFENCE},
        {"the mail moved", "domain d.test 1 60000 1000000000 0 0\n", 1000001, VERDICT_MOVED},
        {"a move that is in doubt still", "domain d.test 1 1 1000000000 1000002000 0\n", 1000001, VERDICT_MOVED},
        {"nothing", "", 1000001, VERDICT_OFFENCE},
    };
    struct settings settings = settings_default();
    size_t failed = 0;

    (void)state;
    fake_mx_reset();
    fake_probe_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    fake_mx_set("sound.test", "10 c.mx 192.0.2.3;30 t.mx " US);
    outages_of_a_judge(&settings);
    for (size_t i = 0; i < COUNT(recall_cases); i++) {
        struct judge *judge;
        enum verdict got, sound;

        fake_clock_set_ms(recall_cases[i].now_ms);
        judge = judge_create(&settings, NULL);
        judge_recall(judge, recall_cases[i].text != NULL ? recall_cases[i].text : kept);
        got = ask_about(judge, "d.test").verdict;
        sound = recall_cases[i].text == NULL ? ask_about(judge, "sound.test").verdict : VERDICT_OFFENCE;
        if (got != recall_cases[i].wanted || sound != VERDICT_OFFENCE) {
            failed++;
            print_error("%s: want %s, offence; got %s, %s\n", recall_cases[i].name, verdict_name(recall_cases[i].wanted),
                        verdict_name(got), verdict_name(sound));
        }
        judge_destroy(&judge);
    }
    assert_int_equal(failed, 0);
}

/* Random domains push out what is old, never more than that; a host in use is not forgotten. */
static void test_flood(void **state)
{
    struct settings settings = settings_default();
    struct judge *judge;

    (void)state;
    fake_mx_reset();
    fake_probe_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    fake_mx_set("kept.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    judge = judge_create(&settings, &(struct known_limits){.domains = 100, .addresses = 100});
    ask_about(judge, "d.test");
    ask_about(judge, "kept.test");
    for (int i = 0; i < 10000; i++) {
        char name[32];

        snprintf(name, sizeof name, "x%d.test", i);
        verdict_now(judge, name);
        if (i % 50 == 0)
            assert_verdict(verdict_now(judge, "kept.test"), VERDICT_OFFENCE);
    }
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_int_equal(fake_mx_asked("kept.test"), 1);
    assert_int_equal(fake_mx_asked("d.test"), 2);
    assert_int_equal(fake_probe_made(NULL), 1);
    judge_destroy(&judge);
}

/* With DNS frozen, waiting look-ups are bounded too, those that were pushed out are not made, and it goes on after. */
static void test_flood_while_dns_is_frozen(void **state)
{
    struct settings settings = settings_default();
    struct judge *judge;

    (void)state;
    fake_mx_reset();
    fake_probe_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    judge = judge_create(&settings, &(struct known_limits){.domains = 100, .addresses = 100});
    fake_mx_freeze(true);
    for (int i = 0; i < 10000; i++) {
        char name[32];

        snprintf(name, sizeof name, "x%d.test", i);
        verdict_now(judge, name);
    }
    fake_mx_freeze(false);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_in_range(fake_mx_asked(NULL), 1, 210);
    judge_destroy(&judge);
}

static void test_never_more_probes_than_probers(void **state)
{
    struct judge *judge = *state;

    fake_mx_set("many.test", "1 a 192.0.2.1;2 b 192.0.2.2;3 c 192.0.2.3;4 d 192.0.2.4;5 e 192.0.2.5;6 f 192.0.2.6;"
                             "7 g 192.0.2.7;8 h 192.0.2.8;9 i 192.0.2.9;30 t.mx " US);
    fake_probe_freeze(true);
    while (fake_probe_made(NULL) < 4)
        verdict_now(judge, "many.test");
    fake_probe_freeze(false);
    assert_verdict(ask_about(judge, "many.test").verdict, VERDICT_OFFENCE);
    assert_int_equal(fake_probe_made(NULL), 9);
    assert_in_range(fake_probe_most_at_once(), 1, 4);
}

static void test_destroy_while_dns_is_frozen(void **state)
{
    struct judge *judge = *state;
    int64_t started_ms;

    fake_mx_freeze(true);
    for (int i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof name, "x%d.test", i);
        verdict_now(judge, name);
    }
    await(fake_mx_asked, NULL, 4);
    started_ms = real_ms();
    judge_destroy(&judge);
    assert_true(real_ms() - started_ms < PATIENCE_MS);
    assert_int_equal(fake_mx_asked(NULL), 4);
    *state = NULL;
}

static void test_configure(void **state)
{
    static struct settings_rule now_trap[] = {{.pattern = "*", .role = ROLE_TRAP}};
    struct settings settings = settings_default(), trap = settings, back = settings;
    struct judge *judge;

    (void)state;
    fake_mx_reset();
    fake_probe_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US);
    fake_mx_set("e.test", "nxdomain");
    settings.judge.probers = 1; /* so that the old look-up ends before the new one begins */
    judge = judge_create(&settings, NULL);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    fake_mx_freeze(true);
    verdict_now(judge, "e.test"); /* under way by the old settings: its answer is not taken */
    await(fake_mx_asked, NULL, 2);
    trap.judge.rules = now_trap;
    trap.judge.rule_count = 1;
    judge_configure(judge, &trap);
    assert_verdict(verdict_now(judge, "d.test"), VERDICT_PENDING);
    assert_verdict(verdict_now(judge, "e.test"), VERDICT_PENDING);
    fake_mx_freeze(false);
    assert_int_equal(ask_about(judge, "d.test").class, CLASS_TRAP);
    assert_int_equal(ask_about(judge, "e.test").class, CLASS_TRAP);
    assert_int_equal(fake_mx_asked("e.test"), 2);
    judge_configure(judge, &back);
    assert_int_equal(ask_about(judge, "d.test").class, CLASS_BACKUP);
    assert_int_equal(fake_probe_made(NULL), 2); /* hosts are remembered */
    judge_destroy(&judge);
}

/* Standard error goes to a file from the one call to the other, which returns how many lines hold TEXT. */
static int log_before;
static FILE *log_file;

static void log_catch(void)
{
    log_file = tmpfile();
    assert_non_null(log_file);
    log_before = dup(STDERR_FILENO);
    assert_true(dup2(fileno(log_file), STDERR_FILENO) >= 0);
}

static unsigned log_release(const char *text)
{
    char line[4096];
    unsigned count = 0;

    assert_true(dup2(log_before, STDERR_FILENO) >= 0);
    close(log_before);
    rewind(log_file);
    while (fgets(line, sizeof line, log_file) != NULL)
        count += strstr(line, text) != NULL;
    fclose(log_file);
    return count;
}

static void test_no_role_is_logged_once_a_day(void **state)
{
    struct judge *judge = *state;
    const char *both[] = {"gone.test", "off.test"};
    const struct judge_question question = {.client = address_of(CLIENT), .domains = both, .domain_count = 2};

    log_catch();
    for (int hour = 0; hour < 25; hour++) {
        ask(judge, &question);
        ask(judge, &question);
        fake_clock_advance_ms(3600 * SECOND_MS);
    }
    assert_int_equal(log_release("no-role domain=gone.test why=\"the domain does not exist\""), 2);
}

static void test_no_role_lines_are_bounded(void **state)
{
    struct judge *judge = *state;

    log_catch();
    for (int i = 0; i < 500; i++) {
        char name[32];

        snprintf(name, sizeof name, "x%d.test", i);
        ask_about(judge, name);
    }
    assert_int_equal(log_release("no-role"), 100);
}

static void test_all_probes_fail_is_said(void **state)
{
    static const struct {
        const char *name, *dns;
        unsigned rounds, want;
    } fail_cases[] = {
        {"two hosts, 10 failures", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US, 5, 1},
        {"two hosts, 8 failures", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US, 4, 0},
        {"two hosts, for three hours", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;30 t.mx " US, 27, 3},
        {"one host", "10 a.mx 192.0.2.1;30 t.mx " US, 27, 0},
        {"one that answers", "10 a.mx 192.0.2.1;20 b.mx 192.0.2.2;25 c.mx 192.0.2.3;30 t.mx " US, 27, 0},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(fail_cases); i++) {
        const struct settings settings = settings_default();
        struct judge *judge;
        unsigned got;

        fake_clock_set_ms(1000000);
        fake_mx_reset();
        fake_probe_reset();
        fake_mx_set("d.test", fail_cases[i].dns);
        states_set("192.0.2.1 192.0.2.2", LIVENESS_DOWN);
        judge = judge_create(&settings, NULL);
        log_catch();
        for (unsigned j = 0; j < fail_cases[i].rounds; j++) {
            ask_about(judge, "d.test");
            fake_clock_advance_ms(REMEMBER_MS + 1);
        }
        judge_destroy(&judge);
        got = log_release("probes-all-fail");
        if (got == fail_cases[i].want)
            continue;
        failed++;
        print_error("%s: want %u lines, got %u\n", fail_cases[i].name, fail_cases[i].want, got);
    }
    assert_int_equal(failed, 0);
}

static void test_wake(void **state)
{
    struct judge *judge = *state;
    int64_t started_ms = real_ms();
    uint64_t seen = 0;

    judge_wake(judge);
    judge_wait(judge, &seen, clock_monotonic_ms() + 60 * SECOND_MS);
    assert_int_equal(seen, 1);
    judge_wait(judge, &seen, clock_monotonic_ms() - 1);
    assert_int_equal(seen, 1);
    assert_true(real_ms() - started_ms < PATIENCE_MS);
}

static void test_no_judge_without_its_threads(void **state)
{
    const struct settings settings = settings_default();

    (void)state;
    for (int threads = 0; threads < (int)settings.judge.probers; threads++) {
        struct judge *judge;

        fake_thread_fail_after(threads);
        judge = judge_create(&settings, NULL);
        fake_thread_fail_after(-1);
        assert_null(judge);
        assert_int_equal(errno, EAGAIN);
    }
}

/* A hit of now. */
static struct judge_question hit_now(const char *const *domain)
{
    return (struct judge_question){
        .client = address_of(CLIENT), .domains = domain, .domain_count = 1, .taken_ms = clock_now().boot_ms};
}

static void time_goes_by(struct judge *judge, int64_t ms)
{
    fake_clock_advance_ms(ms);
    judge_wake(judge);
}

/* The primary goes down right after it was probed.  What is remembered of it convicts no hit that comes then, and the
 * probe that tells is made when the interval is over; hits until then share it. */
static void test_proof_begins_after_the_hit(void **state)
{
    struct judge *judge = *state;
    const char *domain = "one.test";
    struct judge_question hits[3];

    fake_mx_set("one.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    hits[0] = hit_now(&domain);
    assert_verdict(ask(judge, &hits[0]).verdict, VERDICT_OFFENCE);
    assert_int_equal(fake_probe_made(NULL), 1);
    states_set("192.0.2.1", LIVENESS_DOWN);
    for (size_t i = 0; i < COUNT(hits); i++) {
        time_goes_by(judge, 3 * SECOND_MS);
        hits[i] = hit_now(&domain);
        assert_verdict(ask_now(judge, &hits[i]).verdict, VERDICT_PENDING);
    }
    time_goes_by(judge, INTERVAL_MS - 9 * SECOND_MS - 1);
    assert_verdict(ask_now(judge, &hits[0]).verdict, VERDICT_PENDING);
    assert_int_equal(fake_probe_made(NULL), 1);
    time_goes_by(judge, 1);
    for (size_t i = 0; i < COUNT(hits); i++)
        assert_verdict(ask(judge, &hits[i]).verdict, VERDICT_OUTAGE);
    assert_int_equal(fake_probe_made(NULL), 2);
    time_goes_by(judge, 200 * SECOND_MS); /* what is remembered acquits */
    hits[0] = hit_now(&domain);
    assert_verdict(ask_now(judge, &hits[0]).verdict, VERDICT_OUTAGE);
    assert_int_equal(fake_probe_made(NULL), 2);
}

/* 19 names with one address made 114 connections in 36 s to it. */
static void test_an_address_is_probed_once_whatever_its_names_are(void **state)
{
    static char dns[1024] = "";
    struct judge *judge = *state;

    for (int i = 0; i < 19; i++)
        snprintf(dns + strlen(dns), sizeof dns - strlen(dns), "%d h%d.mx 192.0.2.1;", i, i);
    snprintf(dns + strlen(dns), sizeof dns - strlen(dns), "30 t.mx " US);
    fake_mx_set("many.test", dns);
    fake_mx_set("one.test", "10 other.mx 192.0.2.1;30 t.mx " US);
    for (int i = 0; i < 4; i++) {
        const char *many = "many.test", *one = "one.test";
        const struct judge_question of_many = hit_now(&many), of_one = hit_now(&one);

        while (ask_now(judge, &of_many).verdict == VERDICT_PENDING || ask_now(judge, &of_one).verdict == VERDICT_PENDING)
            time_goes_by(judge, 10);
        time_goes_by(judge, 4 * SECOND_MS);
    }
    assert_in_range(fake_probe_made("192.0.2.1"), 3, 4);
}

/* Nobody comes while the primaries are down. */
static void test_an_outage_that_nobody_visited(void **state)
{
    static const struct {
        const char *name;
        bool configured;
    } fresh_cases[] = {{"hit once", false}, {"named in the settings", true}};

    (void)state;
    for (size_t i = 0; i < COUNT(fresh_cases); i++) {
        static struct settings_rule rule = {.pattern = "d.test", .role = ROLE_AUTO};
        struct settings settings = settings_default();
        struct judge *judge;
        unsigned times = 0;

        fake_clock_set_ms(1000000);
        fake_mx_reset();
        fake_probe_reset();
        fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
        settings.judge.fresh_ms = 60 * SECOND_MS;
        if (fresh_cases[i].configured) {
            settings.judge.rules = &rule;
            settings.judge.rule_count = 1;
        }
        judge = judge_create(&settings, NULL);
        judge_keep_with(judge, keep, &times);
        if (!fresh_cases[i].configured)
            assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
        await(fake_probe_made, NULL, 1);
        states_set("192.0.2.1", LIVENESS_DOWN);
        time_goes_by(judge, 60 * SECOND_MS);
        await(fake_probe_made, NULL, 2);
        states_set("192.0.2.1", LIVENESS_ACCEPTING);
        time_goes_by(judge, 60 * SECOND_MS);
        await(fake_probe_made, NULL, 3);
        await_text("address 192.0.2.1 - 1000000000-1120000000");
        time_goes_by(judge, 60 * SECOND_MS);
        await(fake_probe_made, NULL, 4);
        assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_RECOVERING);
        assert_in_range(fake_mx_asked("d.test"), 1, 2); /* within its TTL */
        judge_destroy(&judge);
    }
}

static bool is_sure(struct judge *judge, const char *client)
{
    const struct ipaddr from = address_of(client), nowhere = {0};

    return judge_outage_is_sure(judge, &from, &nowhere, NULL, "d.test");
}

/* Mail may be taken while the primaries are down and another host answered, both within the last minute: they are looked after. */
static void test_a_sure_outage(void **state)
{
    static struct settings_rule rule = {.pattern = "d.test", .on_outage = ON_OUTAGE_ACCEPT};
    struct ipaddr egress_hosts[] = {address_of("198.51.100.25")};

    (void)state;
    for (size_t count = 0; count < 2; count++) {
        struct settings settings = settings_default();
        struct judge *judge;

        fake_clock_set_ms(1000000);
        fake_mx_reset();
        fake_probe_reset();
        fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
        settings.judge.fresh_ms = 600 * SECOND_MS;
        settings.judge.rules = &rule;
        settings.judge.rule_count = 1;
        settings.judge.egress_hosts = egress_hosts;
        settings.judge.egress_host_count = count;
        settings.judge.probe = PROBE_ENVELOPE;
        judge = judge_create(&settings, NULL);
        await(fake_probe_made, "192.0.2.1", 1);
        await(fake_probe_made, "198.51.100.25", (unsigned)count);
        assert_false(is_sure(judge, CLIENT));
        states_set("192.0.2.1", LIVENESS_DOWN);
        for (unsigned probes = 2; probes < 6; probes++) {
            time_goes_by(judge, 20 * SECOND_MS);
            await(fake_probe_made, "192.0.2.1", probes);
            await(fake_probe_made, "198.51.100.25", (unsigned)count * probes);
            for (int64_t until_ms = real_ms() + PATIENCE_MS; count > 0 && !is_sure(judge, CLIENT) && real_ms() < until_ms;)
                ; /* the probe was begun; its answer is about to be known */
            assert_int_equal(is_sure(judge, CLIENT), count > 0);
        }
        /* What is somebody else's is not asked whose mail it takes. */
        assert_int_equal(fake_probe_deep("192.0.2.1"), 5);
        assert_int_equal(fake_probe_deep("198.51.100.25"), 0);
        fake_probe_freeze(true);
        time_goes_by(judge, 61 * SECOND_MS);
        assert_false(is_sure(judge, CLIENT));
        fake_probe_freeze(false);
        judge_destroy(&judge);
    }
}

/* Who was hit long ago is left alone, and so is who is nothing to us. */
static void test_what_is_not_kept_fresh(void **state)
{
    static struct settings_rule all_auto[] = {{.pattern = "*", .role = ROLE_AUTO}};
    struct settings settings = settings_default();
    struct judge *judge;

    (void)state;
    fake_clock_set_ms(1000000);
    fake_mx_reset();
    fake_probe_reset();
    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    fake_mx_set("else.test", "10 b.mx 192.0.2.2");
    settings.judge.fresh_ms = 60 * SECOND_MS;
    settings.judge.rules = all_auto;
    settings.judge.rule_count = COUNT(all_auto);
    judge = judge_create(&settings, NULL);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    assert_verdict(ask_about(judge, "else.test").verdict, VERDICT_NONE);
    time_goes_by(judge, INT64_C(8) * 86400 * SECOND_MS);
    await(fake_mx_asked, "d.test", 2); /* what was planned before; then it is seen to be too long ago */
    time_goes_by(judge, INT64_C(8) * 86400 * SECOND_MS);
    assert_verdict(ask_about(judge, "gone.test").verdict, VERDICT_NONE);
    assert_int_equal(fake_mx_asked("d.test"), 2);
    assert_int_equal(fake_mx_asked("else.test"), 1);
    assert_int_equal(fake_probe_made("192.0.2.2"), 0);
    judge_destroy(&judge);
}

static void test_moved_mail(void **state)
{
    struct judge *judge = *state;

    fake_mx_set("d.test", "10 a.mx 192.0.2.1;30 t.mx " US ";ttl 100");
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
    fake_mx_set("d.test", "10 new.mx 192.0.2.3;30 t.mx " US ";ttl 3000");
    fake_clock_advance_ms(101 * SECOND_MS);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_MOVED);
    fake_clock_advance_ms(99 * SECOND_MS);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_MOVED);
    fake_clock_advance_ms(1 * SECOND_MS);
    assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
}

/* A mail host of one domain that is served here comes with mail for another. */
static void test_friends_of_all_domains(void **state)
{
    static const struct {
        const char *client;
        enum verdict want;
    } friend_cases[] = {
        {"192.0.2.50", VERDICT_FRIEND}, /* an MX host of a trap */
        {"192.0.2.60", VERDICT_FRIEND}, /* its address */
        {"192.0.2.2", VERDICT_FRIEND},  /* a primary */
        {"192.0.2.61", VERDICT_FRIEND}, /* and another, held by an IPv6 address */
        {"192.0.2.70", VERDICT_OFFENCE}, /* an MX host of a domain that is nothing to us */
    };
    struct judge *judge = *state;
    const char *domain = "trap.test";

    fake_mx_set("mx.trap.test", "10 z.mx 192.0.2.50;@ 192.0.2.60 64:ff9b::c000:23d");
    fake_mx_set("else.test", "10 y.mx 192.0.2.70");
    ask_about(judge, "mx.trap.test");
    ask_about(judge, "d.test");
    ask_about(judge, "else.test");
    for (size_t i = 0; i < COUNT(friend_cases); i++) {
        const struct judge_question question = {
            .client = address_of(friend_cases[i].client), .domains = &domain, .domain_count = 1};

        assert_verdict(ask(judge, &question).verdict, friend_cases[i].want);
    }
    fake_mx_set("mx.trap.test", "10 z.mx 192.0.2.51");
    fake_clock_advance_ms(REMEMBER_MS + 1);
    ask_about(judge, "mx.trap.test");
    const struct judge_question before = {.client = address_of("192.0.2.50"), .domains = &domain, .domain_count = 1};

    assert_verdict(ask(judge, &before).verdict, VERDICT_OFFENCE);
}

/* The machine slept, or a hypervisor held it: what is remembered is of before. */
static void test_time_that_stands_still(void **state)
{
    static void (*const stills[])(int64_t ms) = {fake_clock_suspend_ms, fake_clock_step_ms};

    (void)state;
    for (size_t i = 0; i < COUNT(stills); i++) {
        struct judge *judge;

        setup((void **)&judge);
        assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
        states_set("192.0.2.1 192.0.2.2", LIVENESS_DOWN);
        fake_clock_advance_ms(20 * SECOND_MS);
        assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OFFENCE);
        stills[i](7200 * SECOND_MS);
        assert_verdict(ask_about(judge, "d.test").verdict, VERDICT_OUTAGE);
        teardown((void **)&judge);
    }
}

/* A probe that began in the same millisecond as the hit is one that began after it, whenever that is looked at. */
static void test_no_hit_is_forgotten(void **state)
{
    struct judge *judge = *state;
    const char *domain = "one.test";

    fake_mx_set("one.test", "10 a.mx 192.0.2.1;30 t.mx " US);
    ask_about(judge, "one.test");
    fake_probe_freeze(true);
    time_goes_by(judge, INTERVAL_MS);
    for (int i = 0; i < 3; i++) {
        const struct judge_question hit = hit_now(&domain);

        assert_verdict(ask_now(judge, &hit).verdict, VERDICT_PENDING);
        await(fake_probe_made, NULL, 2 + (unsigned)i);
        fake_probe_freeze(false);
        assert_verdict(ask(judge, &hit).verdict, VERDICT_OFFENCE);
        time_goes_by(judge, 1);
        assert_verdict(ask_now(judge, &hit).verdict, VERDICT_OFFENCE);
        fake_probe_freeze(true);
        time_goes_by(judge, INTERVAL_MS);
    }
    fake_probe_freeze(false);
    assert_int_equal(fake_probe_made(NULL), 4);
}

static void await_reached(struct judge *judge, struct reached_probe *probe)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    size_t count = 0;

    for (int i = 0; i < PATIENCE_MS && (count = judge_reached(judge, probe, 1)) == 0; i++)
        nanosleep(&pause, NULL);
    assert_int_equal(count, 1);
}

/* What a log of a mail host must show is told: by the host's name, when, and from where; each once, and no more than so many. */
static void test_reached(void **state)
{
    static struct reached_probe probes[REACHED_MAX + 1];
    struct judge *judge = *state;
    struct ipaddr us = address_of(US);
    int64_t begun_us = clock_now().real_ms * 1000;

    fake_probe_set("192.0.2.2", LIVENESS_DOWN);
    ask_about(judge, "d.test");
    await(fake_probe_made, NULL, 2);
    await_reached(judge, &probes[0]);
    assert_string_equal(probes[0].mx, "a.mx");
    assert_true(ipaddr_equal(&probes[0].source, &us));
    assert_int_equal(probes[0].time_us, begun_us);
    ask_about(judge, "d.test");
    assert_int_equal(judge_reached(judge, probes, COUNT(probes)), 0); /* told already; and b.mx was not reached */
}

static void test_reached_is_bounded(void **state)
{
    static struct reached reached;
    static struct reached_probe probes[REACHED_MAX + 1];
    struct ipaddr us = address_of(US);

    (void)state;
    for (int64_t i = 0; i < 3 * REACHED_MAX / 2; i++)
        reached_put(&reached, "a.mx", &us, i);
    assert_int_equal(reached_take(&reached, probes, 2), 2);
    assert_int_equal(probes[0].time_us, REACHED_MAX / 2);
    assert_int_equal(probes[1].time_us, REACHED_MAX / 2 + 1);
    reached_put(&reached, "b.mx", &us, 7);
    assert_int_equal(reached_take(&reached, probes, COUNT(probes)), REACHED_MAX - 1);
    assert_int_equal(probes[0].time_us, REACHED_MAX / 2 + 2);
    assert_string_equal(probes[REACHED_MAX - 2].mx, "b.mx");
    assert_int_equal(reached_take(&reached, probes, COUNT(probes)), 0);
}

/* The name is looked up while the primaries are probed, and what it is goes with the offence. */
static void test_names(void **state)
{
    static const struct {
        const char *client, *verified;
        enum name_state want;
    } name_cases[] = {
        {"203.0.113.5", "mail.example.com", NAME_CONFIRMED},
        {"203.0.113.5", "203-0-113-5.example.com", NAME_NONE},
        {"203.0.113.5", "[203.0.113.5]", NAME_NONE},
        {"203.0.113.6", "[203.0.113.6]", NAME_CONFIRMED},
        {"203.0.113.7", NULL, NAME_UNKNOWN},
        {"203.0.113.8", "", NAME_NONE},
    };
    struct judge *judge = *state;
    const char *domain = "d.test";

    fake_mx_set("203.0.113.6", "mail.example.com");
    fake_mx_set("203.0.113.7", "unknown");
    fake_mx_set("203.0.113.8", "8.113.0.203.example.com");
    for (size_t i = 0; i < COUNT(name_cases); i++) {
        const struct judge_question question = {.client = address_of(name_cases[i].client),
            .client_name = name_cases[i].verified, .domains = &domain, .domain_count = 1};
        struct judge_answer answer = ask(judge, &question);

        assert_verdict(answer.verdict, VERDICT_OFFENCE);
        assert_string_equal(answer.owner, "a.mx");
        if (answer.name_state != name_cases[i].want)
            fail_msg("%s: wanted %s, got %s", name_cases[i].client, name_state_name(name_cases[i].want),
                     name_state_name(answer.name_state));
    }
}

static char white[] = "white.test", other_list[] = "list.test";

/* A judge that asks lists of friends. */
static struct judge *judge_with_zones(size_t zones)
{
    static struct settings settings; /* the judge holds it */
    struct judge *judge;

    settings = settings_default();
    settings.judge.friend_zones[0] = white;
    settings.judge.friend_zones[1] = other_list;
    settings.judge.friend_zone_count = zones;
    judge = judge_create(&settings, NULL);
    assert_non_null(judge);
    return judge;
}

static struct judge_answer ask_of(struct judge *judge, const char *client, const char *domain)
{
    const struct judge_question question = {.client = address_of(client), .domains = &domain, .domain_count = 1};

    return ask(judge, &question);
}

/* One list that has a client is enough; that it is no friend, all of them have to say. */
static void test_lists_of_friends(void **state)
{
    static const struct {
        const char *client, *domain;
        enum verdict verdict;
        enum friend_state friend_state;
    } list_cases[] = {
        {"203.0.113.1", "trap.test", VERDICT_FRIEND, FRIEND_YES},
        {"203.0.113.1", "d.test", VERDICT_FRIEND, FRIEND_YES},
        {"203.0.113.2", "d.test", VERDICT_FRIEND, FRIEND_YES},  /* the second has it */
        {"2001:db8::1", "trap.test", VERDICT_FRIEND, FRIEND_YES},
        {"203.0.113.3", "d.test", VERDICT_OFFENCE, FRIEND_NO},
        {"203.0.113.3", "else.test", VERDICT_NONE, FRIEND_UNASKED}, /* no offence: nobody is asked */
        {"198.51.100.7", "trap.test", VERDICT_IGNORED, FRIEND_UNASKED},
    };
    struct judge *judge;

    teardown(state);
    *state = judge = judge_with_zones(2);
    fake_mx_set("white.test 203.0.113.1", "yes");
    fake_mx_set("list.test 203.0.113.2", "yes");
    fake_mx_set("white.test 2001:db8::1", "yes");
    fake_mx_set("else.test", "10 y.mx 192.0.2.70");
    for (size_t i = 0; i < COUNT(list_cases); i++) {
        struct judge_answer answer = ask_of(judge, list_cases[i].client, list_cases[i].domain);

        if (answer.verdict != list_cases[i].verdict || answer.friend_state != list_cases[i].friend_state)
            fail_msg("%s at %s: wanted %s, %s, got %s, %s", list_cases[i].client, list_cases[i].domain,
                     verdict_name(list_cases[i].verdict), friend_state_name(list_cases[i].friend_state),
                     verdict_name(answer.verdict), friend_state_name(answer.friend_state));
    }
    assert_int_equal(fake_mx_asked("white.test 203.0.113.1"), 1);
}

/* A list that does not answer is asked once a minute, whoever comes; who has no answer is recorded with that, at once. */
static void test_a_list_that_does_not_answer_is_left_alone(void **state)
{
    struct judge *judge;

    teardown(state);
    *state = judge = judge_with_zones(2);
    fake_mx_set("white.test 203.0.113.1", "unanswered");
    fake_mx_set("white.test 203.0.113.2", "yes");
    fake_mx_set("list.test 203.0.113.4", "yes");
    assert_int_equal(ask_of(judge, "203.0.113.1", "trap.test").friend_state, FRIEND_UNANSWERED);
    assert_verdict(ask_of(judge, "203.0.113.2", "trap.test").verdict, VERDICT_OFFENCE);
    assert_int_equal(ask_of(judge, "203.0.113.2", "trap.test").friend_state, FRIEND_UNANSWERED);
    assert_int_equal(fake_mx_asked("white.test 203.0.113.2"), 0);
    assert_verdict(ask_of(judge, "203.0.113.4", "trap.test").verdict, VERDICT_FRIEND); /* the other one answers */
    fake_clock_advance_ms(KNOWN_ZONE_REST_MS);
    assert_verdict(ask_of(judge, "203.0.113.2", "trap.test").verdict, VERDICT_FRIEND);
    assert_int_equal(fake_mx_asked("white.test 203.0.113.1"), 1);
}

/* What is asked for later, for hits that were recorded without an answer. */
static void test_friends_asked_for_later(void **state)
{
    struct judge *judge;
    struct ipaddr client = address_of("203.0.113.1");
    static struct settings settings;

    teardown(state);
    *state = judge = judge_with_zones(1);
    fake_mx_set("white.test 203.0.113.1", "unanswered");
    assert_int_equal(ask_of(judge, "203.0.113.1", "trap.test").friend_state, FRIEND_UNANSWERED);
    fake_mx_set("white.test 203.0.113.1", "yes");
    assert_int_equal(judge_friend(judge, &client), FRIEND_UNANSWERED);
    fake_clock_advance_ms(KNOWN_ZONE_REST_MS);
    assert_int_equal(judge_friend(judge, &client), FRIEND_UNANSWERED); /* it does not wait */
    await(fake_mx_asked, "white.test 203.0.113.1", 2);
    while (judge_friend(judge, &client) != FRIEND_YES)
        assert_int_equal(fake_mx_asked("white.test 203.0.113.1"), 2);
    fake_clock_advance_ms(3600 * SECOND_MS - 1);
    assert_int_equal(judge_friend(judge, &client), FRIEND_YES);
    settings = settings_default(); /* other lists, here none: what the ones before said is forgotten */
    judge_configure(judge, &settings);
    assert_int_equal(judge_friend(judge, &client), FRIEND_UNASKED);
}

static void test_hurry(void **state)
{
    struct judge *judge = *state;
    const char *domains[] = {"d.test", "trap.test"};
    struct judge_question question = {.client = address_of("203.0.113.8"), .domains = domains, .domain_count = 2};
    struct judge_answer answer;

    ask_about(judge, "d.test");
    ask_about(judge, "trap.test");
    fake_mx_freeze_names(true);
    assert_verdict(ask_now(judge, &question).verdict, VERDICT_PENDING);
    question.hurry = true;
    answer = ask_now(judge, &question);
    assert_verdict(answer.verdict, VERDICT_OFFENCE);
    assert_int_equal(answer.name_state, NAME_UNKNOWN);
    fake_probe_freeze(true);
    question.domain_count = 1;
    question.taken_ms = clock_now().boot_ms + 1;
    fake_clock_advance_ms(11000);
    assert_verdict(ask_now(judge, &question).verdict, VERDICT_PENDING); /* for a proof there is time */
    fake_probe_freeze(false);
    fake_mx_freeze_names(false);
}

static void test_final(void **state)
{
    struct judge *judge = *state;
    const char *domains[] = {"d.test", "trap.test"};
    struct judge_question question = {.client = address_of(CLIENT), .domains = domains, .domain_count = 2};

    fake_mx_freeze(true);
    assert_verdict(ask_now(judge, &question).verdict, VERDICT_PENDING);
    question.final = true;
    assert_verdict(ask_now(judge, &question).verdict, VERDICT_UNKNOWN); /* the trap's own mail hosts are not known */
    fake_mx_freeze(false);
    ask_about(judge, "trap.test");
    fake_probe_freeze(true);
    question.final = false;
    assert_int_equal(ask(judge, &question).class, CLASS_TRAP); /* which is not waiting for the primaries of the other */
    fake_probe_freeze(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test_setup_teardown(test_ask_never_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_names_leave_a_prober_for_the_primaries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_single_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefetch_stands_back_when_much_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_primaries_are_probed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_age, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dns_answers_last, setup, teardown),
        cmocka_unit_test(test_startup_grace),
        cmocka_unit_test(test_outage_grace),
        cmocka_unit_test(test_outages_are_recalled),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_flood_while_dns_is_frozen),
        cmocka_unit_test_setup_teardown(test_never_more_probes_than_probers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_while_dns_is_frozen, setup, teardown),
        cmocka_unit_test(test_configure),
        cmocka_unit_test_setup_teardown(test_no_role_is_logged_once_a_day, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_role_lines_are_bounded, setup, teardown),
        cmocka_unit_test(test_all_probes_fail_is_said),
        cmocka_unit_test_setup_teardown(test_wake, setup, teardown),
        cmocka_unit_test(test_no_judge_without_its_threads),
        cmocka_unit_test_setup_teardown(test_proof_begins_after_the_hit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_address_is_probed_once_whatever_its_names_are, setup, teardown),
        cmocka_unit_test(test_an_outage_that_nobody_visited),
        cmocka_unit_test(test_what_is_not_kept_fresh),
        cmocka_unit_test(test_a_sure_outage),
        cmocka_unit_test_setup_teardown(test_moved_mail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_friends_of_all_domains, setup, teardown),
        cmocka_unit_test(test_time_that_stands_still),
        cmocka_unit_test_setup_teardown(test_no_hit_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reached, setup, teardown),
        cmocka_unit_test(test_reached_is_bounded),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists_of_friends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_list_that_does_not_answer_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_friends_asked_for_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hurry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_final, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
