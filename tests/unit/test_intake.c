#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "witness/intake.h"

#define S INT64_C(1000000)
#define T (INT64_C(1795651200) * S) /* 2026-11-26 00:00 UTC */

static char folder[64], path[80], why[512];
static struct envelope_keys keys = {.keys = {{.secret = {1}}}, .count = 1};
static struct ledger *ledger;
static struct logformat *format;
static struct intake *intake;
static const char *const refusals[] = {"bl.example"};
static struct ipnet prefix; /* of no length until a test sets it */

static void begin(void)
{
    struct intake_config config = {.format = format, .ledger = ledger, .refusals = refusals, .refusal_count = 1,
                                   .nat64_prefixes = &prefix, .nat64_prefix_count = prefix.bits > 0,
                                   .quiet_us = 1800 * S};

    intake = intake_create(&config, why);
    assert_non_null(intake);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test-intake-XXXXXX");
    snprintf(path, sizeof path, "%s/ledger", mkdtemp(folder));
    envelope_key_identify(&keys.keys[0]);
    format = logformat_read(SOURCE_FOLDER "/witness/postfix", why);
    if (format == NULL || !stamp_zone("UTC") || !ledger_open(&ledger, path, &keys, why))
        return -1;
    begin();
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    prefix.bits = 0;
    intake_destroy(&intake);
    ledger_close(&ledger);
    logformat_free(&format);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c): what is run is written above */
}

/* MESSAGE ("smtpd connect from ...") in the log at AFTER_S seconds after T, read at NOW_S. */
static void entry(int64_t after_s, int64_t now_s, bool fresh, const char *message)
{
    time_t when = (time_t)(T / S + after_s);
    struct source_entry line = {.text = NULL};
    char text[1024], stamp[64];
    struct tm local;

    localtime_r(&when, &local);
    strftime(stamp, sizeof stamp, "%b %e %H:%M:%S", &local);
    snprintf(text, sizeof text, "%s mx1 postfix/%.*s[7]: %s", stamp, (int)strcspn(message, " "), message,
             message + strcspn(message, " ") + 1);
    line.text = text;
    assert_true(intake_entry(intake, &line, T + now_s * S, T + now_s * S, fresh));
}

static void at(int64_t after_s)
{
    entry(after_s, 86400, false, "anvil statistics");
}

/* "since-until" of each stretch, in seconds after T. */
static const char *stretches(void)
{
    static char text[512];
    struct ledger_stretch list[16];
    size_t count, used = 0;

    text[0] = '\0';
    assert_true(ledger_untold_stretches(ledger, list, 16, &count));
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld-%lld", i > 0 ? " " : "",
                                 (long long)((list[i].since_us - T) / S), (long long)((list[i].until_us - T) / S));
    return text;
}

static void test_stretch_from_entry_to_entry(void **state)
{
    (void)state;
    at(0);
    at(10);
    at(1810);
    assert_string_equal(stretches(), "0-1810");
    intake_destroy(&intake); /* a restart goes on with it */
    begin();
    at(1900);
    assert_string_equal(stretches(), "0-1900");
    assert_int_equal(intake_until_us(intake), T + 1900 * S);
}

static void test_gaps(void **state)
{
    struct source_entry garbage = {.text = "what is this"};

    (void)state;
    at(0);
    at(10);
    at(10 + 1801); /* silence */
    at(1900);
    assert_string_equal(stretches(), "0-10 1811-1900");
    intake_gap(intake, "for a reason");
    at(1910);
    at(1920);
    assert_string_equal(stretches(), "0-10 1811-1900 1910-1920");
    assert_true(intake_entry(intake, &garbage, T + 3000 * S, T + 3000 * S, false));
    at(1930);
    at(1940);
    assert_string_equal(stretches(), "0-10 1811-1900 1910-1920 1930-1940");
    entry(1950, 3000, false, "journal Suppressed");
    at(1960);
    assert_string_equal(stretches(), "0-10 1811-1900 1910-1920 1930-1960");
    garbage.text = " of the entry before";
    assert_true(intake_entry(intake, &garbage, T + 3000 * S, T + 3000 * S, false));
    assert_int_equal(intake_counts(intake)->unreadable, 1);
    assert_int_equal(intake_counts(intake)->gaps, 3);
}

static void test_suppressed_lines(void **state)
{
    struct source_entry loss = {.text = "Suppressed 12 messages from postfix.service", .program = "systemd-journald",
                                .host = "mx1", .time_us = T + 20 * S};

    (void)state;
    at(0);
    at(10);
    assert_true(intake_entry(intake, &loss, T + 30 * S, T + 30 * S, false));
    at(30);
    at(40);
    /* What was lost was lost before that line. */
    assert_string_equal(stretches(), "0-10 20-40");
}

static void test_clock_that_is_off(void **state)
{
    (void)state;
    entry(0, 0, true, "anvil x");
    entry(10, 10 + 60, true, "anvil x"); /* a minute is fine */
    entry(20, 20 + 61, true, "anvil x"); /* a line just written has the stamp of a minute ago */
    entry(30, 30 + 61, true, "anvil x");
    assert_string_equal(stretches(), "0-10");
    entry(100, 100, true, "anvil x");
    entry(110, 110, true, "anvil x");
    entry(200, 110, true, "anvil x"); /* the future */
    entry(120, 120, true, "anvil x");
    entry(130, 130, true, "anvil x");
    assert_string_equal(stretches(), "0-10 100-110 120-130");
    assert_int_equal(intake_until_us(intake), T + 130 * S);
}

static void test_clock_jumps_back(void **state)
{
    (void)state;
    at(0);
    at(1000);
    at(100);
    at(900);
    assert_string_equal(stretches(), "0-1000");
    at(1010);
    at(1020);
    assert_string_equal(stretches(), "0-1000 1010-1020");
    at(1015); /* two processes */
    at(1030);
    assert_string_equal(stretches(), "0-1000 1010-1030");
}

static void test_hour_that_comes_twice(void **state)
{
    static const int64_t oct_25_0000_utc = 1792886400 - 1795651200;
    const int64_t h = oct_25_0000_utc; /* 02:00 of Berlin's summer */

    (void)state;
    assert_true(stamp_zone("Europe/Berlin"));
    at(h - 20);
    at(h - 10);
    at(h + 10);
    at(h + 3600 - 10);
    at(h + 3600 + 10);
    at(h + 7200 - 10);
    at(h + 7200 + 10);
    at(h + 7200 + 20);
    {
        char wanted[128];

        snprintf(wanted, sizeof wanted, "%lld-%lld %lld-%lld", (long long)h - 20, (long long)h - 10, (long long)h + 7210,
                 (long long)h + 7220);
        assert_string_equal(stretches(), wanted);
    }
    assert_true(stamp_zone("UTC"));
}

/* A hit whose letter went from a@s.example to TO. */
static void wait_for_letter(const char *to)
{
    const struct envelope_key *key = &keys.keys[0];
    struct envelope_part sender = envelope_sender_part(key, "a@s.example"), address = envelope_recipient_part(key, to);
    struct envelope_hash hash = envelope_hash(key, &sender, &address);
    struct ledger_hit hit = {.id = "00000000-0000-0000-0000-000000000001", .time_us = T, .hashes = &hash, .hash_count = 1,
                             .client = {.family = 4, .bytes = {192, 0, 2, 7}}};

    strcpy(hit.key_id, key->id);
    assert_true(ledger_wait(ledger, &hit));
}

static const char *findings(void)
{
    static char text[128];
    struct ledger_finding list[8];
    size_t count, used = 0;

    text[0] = '\0';
    assert_true(ledger_match(ledger, intake_until_us(intake)));
    assert_true(ledger_untold_findings(ledger, list, 8, &count));
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d@%lld", i > 0 ? " " : "", (int)list[i].what,
                                 (long long)((list[i].time_us - T) / S));
    return text;
}

static void test_letter(void **state)
{
    (void)state;
    wait_for_letter("u@d.example");
    entry(1, 9, true, "smtpd ABC: client=c[192.0.2.9]");
    entry(2, 9, true, "qmgr ABC: from=<prvs=0123456789=A@S.example>, size=1, nrcpt=1 (queue active)");
    entry(3, 9, true, "lmtp ABC: to=<store@box.example>, orig_to=<U@d.example>, relay=x, delay=1, status=deferred (later)");
    entry(4, 9, true, "qmgr ABC: removed");
    assert_string_equal(findings(), "0@2");
}

static void test_letter_that_was_not_accepted(void **state)
{
    (void)state;
    wait_for_letter("u@d.example");
    entry(1, 9, true, "smtpd ABC: client=c[192.0.2.9]");
    entry(2, 9, true, "smtpd ABC: reject: RCPT from c[192.0.2.9]: 450 later; from=<a@s.example> to=<u@d.example> proto=SMTP");
    entry(3, 9, true, "cleanup ABC: milter-reject: END-OF-MESSAGE from c[192.0.2.9]: 5.7.1 no; from=<a@s.example> "
                      "to=<u@d.example> proto=SMTP");
    assert_string_equal(findings(), "");
    entry(4, 9, true, "smtpd NOQUEUE: reject: RCPT from c[192.0.2.9]: 554 blocked using bl.example; from=<a@s.example> "
                      "to=<u@d.example> proto=SMTP");
    assert_string_equal(findings(), "2@4"); /* our own list turned it away */
}

static void test_visits_of_clients_and_sensors(void **state)
{
    struct ipaddr sensor = {.family = 4, .bytes = {192, 0, 2, 1}};
    struct ledger_probe probes[4];
    size_t count;

    (void)state;
    wait_for_letter("u@d.example");
    intake_set_sensors(intake, &sensor, 1);
    entry(-20, 9, true, "smtpd connect from c[192.0.2.7]");
    entry(-10, 9, true, "smtpd warning: Connection rate limit exceeded: 5 from c[192.0.2.7] for service smtp");
    entry(-9, 9, true, "smtpd connect from mx2[192.0.2.1]");
    entry(-9, 9, true, "smtpd disconnect from mx2[192.0.2.1] ehlo=1");
    entry(1, 9, true, "anvil x");
    assert_string_equal(findings(), "3@-10 4@-10");
    assert_true(ledger_untold_probes(ledger, probes, 4, &count));
    assert_int_equal(count, 1);
    assert_string_equal(probes[0].address, "192.0.2.1");
    assert_int_equal(probes[0].time_us, T - 9 * S);
    assert_true(ledger_told_probe(ledger, &probes[0]));
    assert_true(ledger_untold_probes(ledger, probes, 4, &count));
    assert_int_equal(count, 0);
}

static void test_an_ipv4_address_behind_a_prefix_of_the_settings(void **state)
{
    struct ipaddr sensor = {.family = 4, .bytes = {192, 0, 2, 1}};
    struct ledger_probe probes[4];
    size_t count;

    (void)state;
    intake_destroy(&intake);
    assert_true(ipnet_parse("2001:db8:64::/96", &prefix));
    begin();
    intake_set_sensors(intake, &sensor, 1);
    entry(-9, 9, true, "smtpd connect from mx2[2001:db8:64::192.0.2.1]");
    assert_true(ledger_untold_probes(ledger, probes, 4, &count));
    assert_int_equal(count, 1);
}

static void test_probes_of_a_sensor_that_is_heard_of_later(void **state)
{
    struct ipaddr sensors[] = {{.family = 4, .bytes = {192, 0, 2, 1}}, {.family = 4, .bytes = {192, 0, 2, 2}}};
    struct ledger_probe probes[4];
    size_t count;

    (void)state;
    intake_set_sensors(intake, sensors, 1);
    entry(-30, 9, true, "smtpd connect from mx3[192.0.2.2]");
    entry(-20, 9, true, "smtpd connect from c[192.0.2.7]");
    entry(-10, 9, true, "smtpd connect from mx2[192.0.2.1]");
    assert_true(ledger_untold_probes(ledger, probes, 4, &count));
    assert_int_equal(count, 1);
    intake_set_sensors(intake, sensors, 2);
    entry(1, 9, true, "anvil x");
    assert_true(ledger_untold_probes(ledger, probes, 4, &count));
    assert_int_equal(count, 2);
    assert_string_equal(probes[0].address, "192.0.2.2");
    assert_int_equal(probes[0].time_us, T - 30 * S);
    assert_true(ledger_told_probe(ledger, &probes[0]));
    /* Heard of again, and after many others came, it is told no more. */
    intake_set_sensors(intake, sensors, 2);
    for (int i = 0; i < INTAKE_LATELY + 1; i++)
        entry(1, 9, true, "smtpd connect from c[192.0.2.7]");
    assert_true(ledger_untold_probes(ledger, probes, 4, &count));
    assert_int_equal(count, 1);
    assert_string_equal(probes[0].address, "192.0.2.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_stretch_from_entry_to_entry),
        TEST(test_gaps),
        TEST(test_suppressed_lines),
        TEST(test_clock_that_is_off),
        TEST(test_clock_jumps_back),
        TEST(test_hour_that_comes_twice),
        TEST(test_letter),
        TEST(test_letter_that_was_not_accepted),
        TEST(test_visits_of_clients_and_sensors),
        TEST(test_an_ipv4_address_behind_a_prefix_of_the_settings),
        TEST(test_probes_of_a_sensor_that_is_heard_of_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
