#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "milter/envelope.h"

static char postmaster[] = "postmaster", abuse[] = "abuse", *exempt_localparts[] = {postmaster, abuse};
#define KEEPING(keep) \
    {.session = {.envelope = (keep), .exempt_localparts = exempt_localparts, .exempt_localpart_count = 2}}
static const struct settings settings[] = {
    [ENVELOPE_FULL] = KEEPING(ENVELOPE_FULL),
    [ENVELOPE_DOMAIN] = KEEPING(ENVELOPE_DOMAIN),
    [ENVELOPE_NONE] = KEEPING(ENVELOPE_NONE),
};

/* The texts with blanks between them. */
static const char *joined(char **texts, size_t count, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " " : "", texts[i]);
    return out;
}

static void same(const char *name, const char *what, const char *wanted, const char *got)
{
    if (strcmp(wanted, got) != 0)
        fail_msg("%s, %s: wanted \"%s\", got \"%s\"", name, what, wanted, got);
}

static void the_sender_is_kept_as_the_settings_say(void **state)
{
    static const struct {
        const char *path, *full, *domain;
        bool null_sender;
    } cases[] = {
        {"<a@Example.COM>", "a@Example.COM", "example.com", false},
        {"a@example.com", "a@example.com", "example.com", false},
        {"<@r1.example,@r2.example:u@example.com>", "@r1.example,@r2.example:u@example.com", "example.com", false},
        {"<\"q s\"@example.com>", "\"q s\"@example.com", "example.com", false},
        {"<a@[192.0.2.1]>", "a@[192.0.2.1]", "", false},
        {"<a@b\xff.example>", "a@b\\xFF.example", "", false},
        {"<a\r\n@example.com>", "a\\x0D\\x0A@example.com", "example.com", false},
        {"<>", "", "", true},
        {"", "", "", true},
        {"<", "<", "", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hit hit = {0};

        envelope_set_sender(&hit, cases[i].path, &settings[ENVELOPE_FULL]);
        same(cases[i].path, "full", cases[i].full, hit.sender);
        assert_int_equal(hit.null_sender, cases[i].null_sender);
        envelope_set_sender(&hit, cases[i].path, &settings[ENVELOPE_DOMAIN]);
        same(cases[i].path, "domain", cases[i].domain, hit.sender);
        envelope_set_sender(&hit, cases[i].path, &settings[ENVELOPE_NONE]);
        same(cases[i].path, "none", "", hit.sender);
        assert_int_equal(hit.null_sender, cases[i].null_sender);
        hit_clear(&hit);
    }
}

static void recipients_become_domains_and_evidence(void **state)
{
    static const struct {
        const char *name, *paths[5], *domains, *full, *domain;
        size_t total;
        bool exempt;
    } cases[] = {
        {"one", {"<a@example.org>"}, "example.org", "a@example.org", "example.org", 1, false},
        {"without duplicates", {"<a@example.org>", "<B@EXAMPLE.org.>", "<a@example.org>"}, "example.org",
         "a@example.org B@EXAMPLE.org.", "example.org", 3, false},
        {"several domains", {"<a@b.example>", "<a@a.example>"}, "b.example a.example", "a@b.example a@a.example",
         "b.example a.example", 2, false},
        {"a U-label", {"<a@b\xc3\xbc" "cher.example>"}, "xn--bcher-kva.example", "a@b\\xC3\\xBCcher.example",
         "xn--bcher-kva.example", 1, false},
        {"a literal has no domain", {"<a@[192.0.2.1]>"}, "", "a@[192.0.2.1]", "", 1, false},
        {"raw bytes are no domain", {"<a@\xff\xfe.example>"}, "", "a@\\xFF\\xFE.example", "", 1, false},
        {"only exempt ones", {"<POSTMASTER@example.org>", "<\"abuse\"@b.example>"}, "",
         "POSTMASTER@example.org \"abuse\"@b.example", "example.org b.example", 2, true},
        {"postmaster without domain", {"<Postmaster>"}, "", "Postmaster", "", 1, true},
        {"somebody else without domain", {"<abuse2>"}, "", "abuse2", "", 1, false},
        {"exempt first, then not", {"<abuse@b.example>", "<a@example.org>"}, "example.org",
         "abuse@b.example a@example.org", "b.example example.org", 2, false},
        {"not exempt, then exempt", {"<a@example.org>", "<abuse@b.example>"}, "example.org",
         "a@example.org abuse@b.example", "example.org b.example", 2, false},
        {"an exempt one and a literal", {"<abuse@b.example>", "<a@[192.0.2.1]>"}, "", "abuse@b.example a@[192.0.2.1]",
         "b.example", 2, false},
        {"not quite exempt", {"<abuse2@example.org>", "<xabuse@example.org>"}, "example.org",
         "abuse2@example.org xabuse@example.org", "example.org", 2, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t keep = ENVELOPE_FULL; keep <= ENVELOPE_NONE; keep++) {
            const char *evidence[] = {cases[i].full, cases[i].domain, ""};
            struct hit hit = {0};
            char text[4096];

            envelope_set_sender(&hit, "<s@client.example>", &settings[keep]);
            for (size_t n = 0; n < 5 && cases[i].paths[n] != NULL; n++)
                envelope_add_recipient(&hit, cases[i].paths[n], &settings[keep]);
            same(cases[i].name, "domains", cases[i].domains,
                 joined(hit.domains, hit.domain_count, text, sizeof text));
            same(cases[i].name, "recipients", evidence[keep],
                 joined(hit.recipients, hit.recipient_count, text, sizeof text));
            if (hit.recipients_total != cases[i].total || hit.exempt != cases[i].exempt)
                fail_msg("%s: wanted %zu recipients, exempt %d; got %zu, %d", cases[i].name, cases[i].total,
                         cases[i].exempt, hit.recipients_total, hit.exempt);
            hit_clear(&hit);
        }
    }
}

static void postmaster_without_a_domain_is_always_exempt(void **state)
{
    static const struct {
        const char *path;
        bool exempt;
    } cases[] = {{"<PostMaster>", true}, {"<postmaster@example.org>", false}, {"<abuse>", false}};
    const struct settings none_exempt = {.session.envelope = ENVELOPE_NONE};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hit hit = {0};

        envelope_add_recipient(&hit, cases[i].path, &none_exempt);
        if (hit.exempt != cases[i].exempt)
            fail_msg("%s: wanted %d, got %d", cases[i].path, cases[i].exempt, hit.exempt);
        hit_clear(&hit);
    }
}

static void only_a_new_domain_is_to_be_looked_up(void **state)
{
    struct hit hit = {0};
    const struct settings *keep_none = &settings[ENVELOPE_NONE];

    (void)state;
    envelope_set_sender(&hit, "<>", keep_none);
    assert_string_equal(envelope_add_recipient(&hit, "<a@EXAMPLE.org>", keep_none), "example.org");
    assert_null(envelope_add_recipient(&hit, "<b@example.org>", keep_none));
    assert_null(envelope_add_recipient(&hit, "<abuse@b.example>", keep_none));
    assert_string_equal(envelope_add_recipient(&hit, "<b@b.example>", keep_none), "b.example");
    hit_clear(&hit);
}

static void what_is_kept_is_bounded(void **state)
{
    struct hit hit = {0};
    char *giant = alloc_zeroed(1, 70000);

    (void)state;
    memset(giant, '\xff', 69000);
    envelope_set_sender(&hit, giant, &settings[ENVELOPE_FULL]);
    assert_in_range(strlen(hit.sender), HIT_TEXT_MAX - 8, HIT_TEXT_MAX + 4);
    for (int i = 0; i < 1000; i++) {
        char path[64];

        snprintf(path, sizeof path, "<u%d@d%d.example>", i, i);
        envelope_add_recipient(&hit, path, &settings[ENVELOPE_FULL]);
    }
    assert_int_equal(hit.recipients_total, 1000);
    assert_int_equal(hit.recipient_count, HIT_RECIPIENT_LIMIT);
    assert_int_equal(hit.domain_count, HIT_DOMAIN_LIMIT);
    assert_string_equal(hit.domains[99], "d99.example");
    hit_clear(&hit);
    free(giant);
}

static void a_new_transaction_knows_nothing_of_the_old(void **state)
{
    struct hit hit = {.id = 7, .helo = alloc_text("client.example"), .queue_id = alloc_text("4Q")};

    (void)state;
    envelope_set_sender(&hit, "<>", &settings[ENVELOPE_FULL]);
    envelope_add_recipient(&hit, "<abuse@example.org>", &settings[ENVELOPE_FULL]);
    envelope_set_sender(&hit, "<a@client.example>", &settings[ENVELOPE_FULL]);
    assert_false(hit.null_sender);
    assert_false(hit.exempt);
    assert_int_equal(hit.recipients_total, 0);
    assert_int_equal(hit.recipient_count, 0);
    assert_int_equal(hit.domain_count, 0);
    assert_int_equal(hit.id, 0);
    assert_string_equal(hit.queue_id, "");
    assert_string_equal(hit.helo, "client.example");
    envelope_clear(&hit);
    envelope_clear(&hit);
    assert_string_equal(hit.sender, "");
    hit_clear(&hit);
}

/* Settings that have a key, and what a witness with the same key would look for. */
static struct settings with_key(struct envelope_key *key)
{
    struct settings keyed = settings[ENVELOPE_NONE];

    *key = (struct envelope_key){.secret = {7}};
    envelope_key_identify(key);
    keyed.session.envelope_keys = (struct envelope_keys){.keys = {*key}, .count = 1};
    return keyed;
}

static bool has_hash(const struct hit *hit, const struct envelope_key *key, const char *from, const char *to, bool by_domain)
{
    struct envelope_part sender = envelope_sender_part(key, from), part = envelope_recipient_part(key, to != NULL ? to : "");
    struct envelope_hash hash;

    if (by_domain)
        assert_true(envelope_domain_part(key, to, &part));
    hash = envelope_hash(key, &sender, to != NULL ? &part : NULL);
    for (size_t i = 0; i < hit->hash_count; i++)
        if (memcmp(&hit->hashes[i], &hash, sizeof hash) == 0)
            return true;
    return false;
}

static void envelopes_are_hashed_as_a_witness_does(void **state)
{
    struct envelope_key key;
    struct settings keyed = with_key(&key);
    struct hit hit = {0};

    (void)state;
    envelope_set_sender(&hit, "<prvs=0123456789=A@Client.example>", &keyed);
    envelope_add_recipient(&hit, "<\"U\"@example.org>", &keyed);
    envelope_add_recipient(&hit, "<v@example.org>", &keyed);
    envelope_add_recipient(&hit, "<abuse@example.net>", &keyed);
    assert_string_equal(hit.key_id, key.id);
    assert_int_equal(hit.hash_count, 5);
    assert_true(hit.hashes_whole);
    assert_true(has_hash(&hit, &key, "a@client.example", NULL, false));
    assert_true(has_hash(&hit, &key, "a@client.example", "u@example.org", false));
    assert_true(has_hash(&hit, &key, "a@client.example", "v@example.org", false));
    assert_true(has_hash(&hit, &key, "a@client.example", "w@example.org", true));
    assert_true(has_hash(&hit, &key, "a@client.example", "abuse@example.net", false));
    assert_string_equal(hit.sender, ""); /* record_envelope keeps its meaning */
    envelope_set_sender(&hit, "<>", &settings[ENVELOPE_NONE]);
    envelope_add_recipient(&hit, "<u@example.org>", &settings[ENVELOPE_NONE]);
    assert_string_equal(hit.key_id, "");
    assert_int_equal(hit.hash_count, 0);
    assert_false(hit.hashes_whole);
    hit_clear(&hit);
}

static void what_no_log_tells_again_is_not_whole(void **state)
{
    static const struct {
        const char *sender, *recipient;
        size_t hashes;
    } cases[] = {{"<a@\xff.example>", "<u@example.org>", 0}, {"<\xff@a.example>", "<u@example.org>", 0},
                 {"<>", "<\xff@example.org>", 1}, {"<>", "<postmaster>", 1}, {"<>", "<u@[192.0.2.1]>", 1}, {"<>", "<>", 1}};
    struct envelope_key key;
    struct settings keyed = with_key(&key);
    struct hit hit = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        envelope_set_sender(&hit, cases[i].sender, &keyed);
        envelope_add_recipient(&hit, cases[i].recipient, &keyed);
        if (hit.hashes_whole || hit.hash_count != cases[i].hashes)
            fail_msg("case %zu: %zu hashes%s", i, hit.hash_count, hit.hashes_whole ? ", whole" : "");
    }
    envelope_set_sender(&hit, "<>", &keyed);
    for (int i = 0; i < HIT_HASHED_LIMIT + 1; i++) {
        char path[64];

        snprintf(path, sizeof path, "<u%d@d%d.example>", i, i);
        assert_int_equal(hit.hashes_whole, true);
        envelope_add_recipient(&hit, path, &keyed);
    }
    assert_int_equal(hit.hash_count, HIT_HASH_MAX);
    assert_false(hit.hashes_whole); /* one too many */
    hit_clear(&hit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sender_is_kept_as_the_settings_say),
        cmocka_unit_test(recipients_become_domains_and_evidence),
        cmocka_unit_test(postmaster_without_a_domain_is_always_exempt),
        cmocka_unit_test(only_a_new_domain_is_to_be_looked_up),
        cmocka_unit_test(what_is_kept_is_bounded),
        cmocka_unit_test(a_new_transaction_knows_nothing_of_the_old),
        cmocka_unit_test(envelopes_are_hashed_as_a_witness_does),
        cmocka_unit_test(what_no_log_tells_again_is_not_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
