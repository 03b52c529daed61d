#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "witness/ledger.h"

#define S INT64_C(1000000)
#define T (INT64_C(1795651200) * S) /* 2026-11-26 00:00 UTC, as good as any */
#define HIT_1 "00000000-0000-0000-0000-000000000001"
#define HIT_2 "00000000-0000-0000-0000-000000000002"

static char folder[] = "/tmp/test-ledger-XXXXXX";
static char path[64], why[LEDGER_WHY_SIZE];
static struct envelope_keys keys = {.keys = {{.secret = {1}}, {.secret = {2}}}, .count = 2};
static struct ledger *ledger;

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test-ledger-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/ledger", folder);
    envelope_key_identify(&keys.keys[0]);
    envelope_key_identify(&keys.keys[1]);
    keys.count = 2;
    return ledger_open(&ledger, path, &keys, why) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    ledger_close(&ledger);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c): what is run is written above */
}

static void reopen(void)
{
    ledger_close(&ledger);
    assert_true(ledger_open(&ledger, path, &keys, why));
}

/* A hit from 192.0.2.1 at TIME_US whose letter went from FROM to TO, under keys.keys[KEY]. */
static void put_hit(const char *id, const char *from, const char *to, int64_t time_us, size_t key)
{
    const struct envelope_key *secret = &keys.keys[key];
    struct envelope_part sender = envelope_sender_part(secret, from), address = envelope_recipient_part(secret, to), domain;
    struct envelope_hash hashes[2] = {envelope_hash(secret, &sender, &address)};
    struct envelope_hash alone = envelope_hash(secret, &sender, NULL);
    struct ledger_hit hit = {.time_us = time_us, .client = {.family = 4, .bytes = {192, 0, 2, 1}}, .hashes = hashes,
                             .hash_count = 1, .sender = &alone};

    strcpy(hit.id, id);
    strcpy(hit.key_id, secret->id);
    if (envelope_domain_part(secret, to, &domain))
        /* cppcheck-suppress unreadVariable ; by way of hit.hashes */
        hashes[hit.hash_count++] = envelope_hash(secret, &sender, &domain);
    assert_true(ledger_wait(ledger, &hit));
}

static void put_letter(const char *id, const char *from, const char *to, int64_t time_us)
{
    struct ipaddr client = {.family = 4, .bytes = {192, 0, 2, 7}};

    assert_true(ledger_letter_client(ledger, id, &client, time_us));
    assert_true(ledger_letter_sender(ledger, id, from, time_us));
    assert_true(ledger_letter_accepted(ledger, id, time_us));
    assert_true(ledger_letter_recipient(ledger, id, to));
}

/* What was found and is not told, as "id:what@seconds after T id:...", in order. */
static const char *found(void)
{
    static char text[1024];
    struct ledger_finding findings[16];
    size_t count, used = 0;

    text[0] = '\0';
    assert_true(ledger_untold_findings(ledger, findings, 16, &count));
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%c:%d@%lld", i > 0 ? " " : "",
                                 findings[i].hit_id[LEDGER_HIT_ID_SIZE - 2], (int)findings[i].what,
                                 (long long)((findings[i].time_us - T) / S));
    return text;
}

static void match(int64_t until_us)
{
    assert_true(ledger_match(ledger, until_us));
}

static void test_letter_before_and_after_the_hit(void **state)
{
    (void)state;
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    match(T);
    assert_string_equal(found(), "");
    put_letter("1", "a@s.example", "u@d.example", T + 3 * S);
    match(T + 3 * S);
    assert_string_equal(found(), "1:0@3 1:1@3");

    put_hit(HIT_2, "a@s.example", "u@d.example", T + 5 * S, 0); /* shipped late: what was read tells */
    match(T + 5 * S);
    assert_string_equal(found(), "1:0@3 1:1@3 2:0@3 2:1@3");
}

static void test_window(void **state)
{
    static const struct {
        int64_t after_s;
        bool wanted;
    } cases[] = {{-LEDGER_BEFORE_S - 1, false}, {-LEDGER_BEFORE_S, true}, {0, true}, {LEDGER_AFTER_S, true},
                 {LEDGER_AFTER_S + 1, false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char id[LEDGER_HIT_ID_SIZE], to[32];

        snprintf(id, sizeof id, "00000000-0000-0000-0000-%012zu", i);
        snprintf(to, sizeof to, "u%zu@d%zu.example", i, i);
        put_hit(id, "a@s.example", to, T, 0);
        put_letter("x", "a@s.example", to, T + cases[i].after_s * S);
    }
    match(T);
    assert_string_equal(found(), "0:1@-300 1:0@-300 1:1@-300 2:0@0 2:1@-300 3:0@432000 3:1@-300 4:1@-300");
}

static void test_what_is_no_match(void **state)
{
    (void)state;
    put_hit(HIT_1, "a@s.example", "postmaster@d.example", T, 0);
    put_hit(HIT_2, "b@s.example", "u@d.example", T, 0);
    put_letter("1", "a@s.example", "u@d.example", T); /* postmaster's domain says nothing */
    put_letter("2", "b@s.example", "postmaster@d.example", T);
    put_letter("3", "a@s.example", "u@e.example", T);
    match(T);
    assert_string_equal(found(), "1:1@0 2:1@0"); /* the sender alone */
    put_letter("4", "b@s.example", "other@d.example", T + S);
    match(T);
    assert_string_equal(found(), "1:1@0 2:0@1 2:1@0"); /* by the domain */
}

static void test_older_key_and_strange_key(void **state)
{
    struct envelope_key strange = {.secret = {9}};

    (void)state;
    envelope_key_identify(&strange);
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 1);
    keys.keys[2] = strange; /* not in the ledger's keys */
    put_hit(HIT_2, "a@s.example", "u@d.example", T, 2);
    put_letter("1", "a@s.example", "u@d.example", T);
    match(T);
    assert_string_equal(found(), "1:0@0 1:1@0");
}

static void test_recipients_before_acceptance_and_late(void **state)
{
    (void)state;
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    put_hit(HIT_2, "a@s.example", "u@e.example", T, 0);
    assert_true(ledger_letter_recipient(ledger, "1", "u@d.example")); /* Exim's cutthrough names it first */
    assert_true(ledger_letter_sender(ledger, "1", "a@s.example", T));
    match(T);
    assert_string_equal(found(), "");
    assert_true(ledger_letter_accepted(ledger, "1", T + S));
    reopen();
    assert_true(ledger_letter_accepted(ledger, "1", T + 9 * S)); /* Postfix says so again */
    assert_true(ledger_letter_recipient(ledger, "1", "u@e.example"));
    match(T);
    assert_string_equal(found(), "1:0@1 1:1@1 2:0@1 2:1@1");
}

static void test_number_used_again(void **state)
{
    struct ipaddr client = {.family = 4, .bytes = {192, 0, 2, 7}};

    (void)state;
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    assert_true(ledger_letter_client(ledger, "1", &client, T));
    assert_true(ledger_letter_sender(ledger, "1", "a@s.example", T));
    assert_true(ledger_letter_accepted(ledger, "1", T));
    put_letter("1", "b@s.example", "u@d.example", T + S); /* another letter: its recipients are not the first one's */
    assert_true(ledger_letter_closed(ledger, "1"));
    assert_true(ledger_letter_recipient(ledger, "1", "u@d.example"));
    match(T);
    assert_string_equal(found(), "1:1@0");
}

static void test_refused_because_of_the_list(void **state)
{
    (void)state;
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    assert_true(ledger_letter_listed(ledger, "a@s.example", "v@d.example", T + S));
    match(T);
    assert_string_equal(found(), "1:2@1");
}

static void test_client_was_here(void **state)
{
    struct ipaddr client = {.family = 4, .bytes = {192, 0, 2, 1}}, other = {.family = 4, .bytes = {192, 0, 2, 2}};

    (void)state;
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    assert_true(ledger_visit(ledger, &other, true, T - 10 * S));
    assert_true(ledger_visit(ledger, &client, false, T - (LEDGER_SEEN_S + 1) * S));
    assert_true(ledger_visit(ledger, &client, true, T + S)); /* after the hit */
    match(T - S); /* not read so far yet */
    assert_string_equal(found(), "");
    assert_true(ledger_visit(ledger, &client, false, T - 9 * S));
    match(T);
    assert_string_equal(found(), "1:3@-9");

    put_hit(HIT_2, "a@s.example", "u@d.example", T + 2 * S, 0);
    match(T + 2 * S);
    assert_string_equal(found(), "1:3@-9 2:3@1 2:4@1");
}

static void test_letters_of_a_client(void **state)
{
    struct ipaddr client = {.family = 4, .bytes = {192, 0, 2, 7}};
    int64_t letters;

    (void)state;
    put_letter("1", "a@s.example", "u@d.example", T - 8 * 86400 * S);
    put_letter("2", "a@s.example", "u@d.example", T);
    put_letter("3", "b@s.example", "u@d.example", T + S);
    assert_true(ledger_letter_count(ledger, &client, T - 7 * 86400 * S, &letters));
    assert_int_equal(letters, 2);
}

static void test_told_once(void **state)
{
    struct ledger_finding findings[4];
    struct ledger_stretch stretches[4], stretch = {.since_us = T, .until_us = T + S};
    size_t count;
    bool is_there;

    (void)state;
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    put_letter("1", "a@s.example", "u@d.example", T);
    match(T);
    assert_true(ledger_untold_findings(ledger, findings, 4, &count));
    assert_int_equal(count, 2);
    assert_true(ledger_told_finding(ledger, &findings[0]));
    assert_true(ledger_told_finding(ledger, &findings[1]));
    put_letter("2", "a@s.example", "u@d.example", T + S);
    match(T);
    assert_string_equal(found(), "");

    assert_true(ledger_watched(ledger, &stretch));
    assert_true(ledger_untold_stretches(ledger, stretches, 4, &count));
    assert_int_equal(count, 1);
    assert_true(ledger_told_stretch(ledger, &stretches[0]));
    stretch.until_us += S;
    assert_true(ledger_watched(ledger, &stretch));
    reopen();
    assert_true(ledger_untold_stretches(ledger, stretches, 4, &count));
    assert_int_equal(count, 1);
    assert_int_equal(stretches[0].until_us, T + 2 * S);
    assert_true(ledger_last_stretch(ledger, &stretch, &is_there));
    assert_true(is_there && stretch.since_us == T);
}

static void test_place_and_facts_are_one(void **state)
{
    struct ledger_place place = {.device = 1, .inode = UINT64_MAX, .offset = 100, .stamp_us = T}, got;
    bool is_there;
    int status;

    (void)state;
    strcpy(place.cursor, "s=1;i=2");
    assert_true(ledger_place(ledger, "log", &got, &is_there));
    assert_false(is_there);
    ledger_close(&ledger);
    if (fork() == 0) { /* killed between one commit and the next */
        if (!ledger_open(&ledger, path, &keys, why) || !ledger_begin(ledger) || !ledger_set_place(ledger, "log", &place) ||
            !ledger_commit(ledger))
            _exit(1);
        place.offset = 200;
        if (!ledger_begin(ledger) || !ledger_set_place(ledger, "log", &place) ||
            !ledger_letter_listed(ledger, "a@s.example", "u@d.example", T))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_true(wait(&status) > 0 && WIFSIGNALED(status));
    assert_true(ledger_open(&ledger, path, &keys, why));
    assert_true(ledger_place(ledger, "log", &got, &is_there));
    assert_true(is_there);
    assert_int_equal(got.offset, 100);
    assert_true(got.inode == UINT64_MAX && got.stamp_us == T);
    assert_string_equal(got.cursor, "s=1;i=2");
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    match(T);
    assert_string_equal(found(), "");
}

static void test_forgets(void **state)
{
    struct ledger_stretch stretch = {.since_us = T, .until_us = T + S}, young = {.since_us = T + 9 * S, .until_us = T + 10 * S}, got[4];
    bool lost;
    size_t count;

    (void)state;
    put_letter("1", "a@s.example", "u@d.example", T);
    put_hit(HIT_1, "b@s.example", "u@d.example", T, 0);
    assert_true(ledger_watched(ledger, &stretch));
    assert_true(ledger_told_stretch(ledger, &stretch));
    assert_true(ledger_watched(ledger, &young));
    assert_true(ledger_forget(ledger, T + LEDGER_KEEP_S * S, &lost));
    assert_false(lost);
    put_hit(HIT_2, "a@s.example", "u@d.example", T, 0);
    match(T);
    assert_string_equal(found(), "2:0@0 2:1@0");
    assert_true(ledger_forget(ledger, T + (LEDGER_KEEP_S + 20) * S, &lost));
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    match(T);
    assert_string_equal(found(), ""); /* and what was found about hits that are that old */
    assert_true(ledger_untold_stretches(ledger, got, 4, &count)); /* what was not told stays */
    assert_int_equal(count, 1);
}

static void test_second_witness_and_damage(void **state)
{
    struct ledger *second;
    char command[256];
    FILE *file;

    (void)state;
    assert_false(ledger_open(&second, path, &keys, why));
    assert_non_null(strstr(why, "another witness"));
    put_hit(HIT_1, "a@s.example", "u@d.example", T, 0);
    ledger_close(&ledger);

    file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, 100, SEEK_SET); /* the number of pages, the schema's root */
    for (int i = 0; i < 8000; i++)
        fputc(0xff, file);
    fclose(file);
    assert_true(ledger_open(&ledger, path, &keys, why));
    put_letter("1", "a@s.example", "u@d.example", T);
    match(T);
    assert_string_equal(found(), ""); /* a new one */
    snprintf(command, sizeof command, "ls %.60s.damaged-* >/dev/null", path);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): what is run is written above */

    ledger_close(&ledger);
    snprintf(command, sizeof command, "echo 'no ledger, and long enough to be one of some kind' >%.60s", path);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): what is run is written above */
    assert_true(ledger_open(&ledger, path, &keys, why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_letter_before_and_after_the_hit),
        TEST(test_window),
        TEST(test_what_is_no_match),
        TEST(test_older_key_and_strange_key),
        TEST(test_recipients_before_acceptance_and_late),
        TEST(test_number_used_again),
        TEST(test_refused_because_of_the_list),
        TEST(test_client_was_here),
        TEST(test_letters_of_a_client),
        TEST(test_told_once),
        TEST(test_place_and_facts_are_one),
        TEST(test_forgets),
        TEST(test_second_witness_and_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
