#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/envelope_hash.h"
#include "base/envelope_key.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_reduce(void **state)
{
    static const struct {
        const char *path, *wanted; /* NULL: by this one no letter is told again */
    } cases[] = {
        {"<User@Example.COM>", "user@example.com"},
        {"user@example.com", "user@example.com"},
        {"<>", ""},
        {"", ""},
        {"<\"User\"@example.com.>", "user@example.com"},
        {"\"a b\"@example.com", "a b@example.com"},
        {"a b@example.com", "a b@example.com"}, /* Postfix before 3.5 logs it so */
        {"<@relay.example:u@d.example>", "u@d.example"},
        {"<u@b\xc3\xbc" "cher.example>", "u@xn--bcher-kva.example"},
        {"<u@XN--BCHER-KVA.example>", "u@xn--bcher-kva.example"},
        {"<prvs=2387b8a3f1=joe@d.example>", "joe@d.example"},
        {"<PRVS=2387B8A3F1=Joe@d.example>", "joe@d.example"},
        {"<prvs=joe/2387b8a3f1@d.example>", "joe@d.example"},
        {"<msprvs1=17911mi8kGvns=bounces-1@d.example>", "bounces-1@d.example"},
        {"<btv1==0512345678==joe@d.example>", "joe@d.example"},
        {"<prvs=@d.example>", "prvs=@d.example"},
        {"<prvs=2387b8a3f1=@d.example>", "prvs=2387b8a3f1=@d.example"},
        {"<SRS0=HHH=TT=source.example=user@forwarder.example>", "user@source.example"},
        {"<SRS0+HHH=TT=source.example=user=x@forwarder.example>", "user=x@source.example"},
        {"<SRS1=HHH=first.example==HHH=TT=source.example=user@second.example>", "user@source.example"},
        {"<srs1-hhh=first.example=+hhh=tt=Source.Example=user@second.example>", "user@source.example"},
        {"<SRS0=HHH=TT=source.example=prvs=2387b8a3f1=joe@forwarder.example>", "joe@source.example"},
        {"<SRS0=HHH=TT=source.example@forwarder.example>", "srs0=hhh=tt=source.example@forwarder.example"},
        {"<SRS0=HHH=TT=not a domain=user@forwarder.example>", "srs0=hhh=tt=not a domain=user@forwarder.example"},
        {"<SRS1=HHH=first.example=user@second.example>", "srs1=hhh=first.example=user@second.example"},
        {"<user>", NULL},
        {"<@d.example>", NULL},
        {"<user@[192.0.2.1]>", NULL},
        {"<us\xc3\xa9r@d.example>", NULL},
        {"<us\x01r@d.example>", NULL},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char got[ENVELOPE_ADDRESS_MAX + 1];
        bool ok = envelope_reduce(cases[i].path, got);

        if (ok != (cases[i].wanted != NULL) || (ok && strcmp(got, cases[i].wanted) != 0)) {
            print_error("%s: wanted %s, got %s\n", cases[i].path, cases[i].wanted, ok ? got : "nothing");
            failed++;
        }
    }
    assert_int_equal(failed, 0);
}

static void test_too_long_to_be_told_again(void **state)
{
    char address[ENVELOPE_ADDRESS_MAX + 2], out[ENVELOPE_ADDRESS_MAX + 1];

    (void)state;
    memset(address, 'a', sizeof address);
    memcpy(address + ENVELOPE_ADDRESS_MAX - 10, "@d.example", 11);
    assert_true(envelope_reduce(address, out));
    memset(address, 'a', sizeof address);
    memcpy(address + ENVELOPE_ADDRESS_MAX - 9, "@d.example", 11);
    assert_false(envelope_reduce(address, out));
}

/* Checked against `openssl dgst -sha256 -mac HMAC -macopt hexkey:0001..1f`. */
static void test_hash_is_hmac_sha256(void **state)
{
    struct envelope_key key;
    struct envelope_part part;
    static const uint8_t wanted[] = {0x10, 0x32, 0xc0, 0xba, 0xcf, 0x4c, 0xac, 0x20, 0x7f, 0xd1, 0xad, 0xba, 0xc9, 0xb2, 0x15, 0xe2, 0xd8, 0x84, 0xdb, 0x91, 0xac, 0xf3, 0x4c, 0x17, 0xb7, 0x04, 0xa8, 0x4a, 0x7d, 0xcc, 0xee, 0xd9};

    (void)state;
    for (size_t i = 0; i < sizeof key.secret; i++)
        key.secret[i] = (uint8_t)i;
    envelope_key_identify(&key);
    assert_string_equal(key.id, "2661c01333467ead");
    part = envelope_sender_part(&key, "a@b.example");
    assert_memory_equal(part.bytes, wanted, sizeof wanted);
}

static void test_what_tells_letters_apart(void **state)
{
    struct envelope_key key = {.secret = {1}}, other = {.secret = {2}};
    struct envelope_part sender = envelope_sender_part(&key, "a@b.example");
    struct envelope_part recipient = envelope_recipient_part(&key, "c@d.example"), domain, unused;
    struct envelope_part same = envelope_recipient_part(&key, "a@b.example");
    struct envelope_hash hashes[6];

    (void)state;
    assert_true(envelope_domain_part(&key, "c@d.example", &domain));
    hashes[0] = envelope_hash(&key, &sender, &recipient);
    hashes[1] = envelope_hash(&key, &sender, &domain);
    hashes[2] = envelope_hash(&key, &sender, NULL);
    hashes[3] = envelope_hash(&key, &recipient, &sender);
    hashes[4] = envelope_hash(&other, &sender, &recipient);
    hashes[5] = envelope_hash(&key, &sender, &same);
    for (size_t i = 0; i < COUNT(hashes); i++)
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(&hashes[i], &hashes[j], sizeof *hashes);
    assert_memory_not_equal(&sender, &same, sizeof sender);
    assert_false(envelope_domain_part(&key, "postmaster@d.example", &unused));
    assert_false(envelope_domain_part(&key, "abuse@d.example", &unused));
    assert_true(envelope_domain_part(&key, "postmaster2@d.example", &unused));
}

/* --- the file --- */

static char folder[] = "/tmp/test-envelope-key-XXXXXX";
static char path[64], why[ENVELOPE_WHY_SIZE];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/key", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void write_text(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static void test_renew_keeps_older_keys(void **state)
{
    struct envelope_keys made, read;
    char first[ENVELOPE_KEY_ID_SIZE], second[ENVELOPE_KEY_ID_SIZE];
    struct stat about;
    bool missing;

    (void)state;
    unlink(path);
    assert_false(envelope_keys_read(path, &read, &missing, why));
    assert_true(missing);
    assert_true(envelope_keys_renew(path, "no-such-group", &made, why));
    assert_int_equal(made.count, 1);
    strcpy(first, made.keys[0].id);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0640);

    assert_true(envelope_keys_renew(path, "no-such-group", &made, why));
    strcpy(second, made.keys[0].id);
    assert_string_not_equal(first, second);
    assert_true(envelope_keys_read(path, &read, &missing, why));
    assert_int_equal(read.count, 2);
    assert_memory_equal(&read, &made, sizeof read);
    assert_string_equal(read.keys[1].id, first);

    for (int i = 0; i < ENVELOPE_KEYS_MAX; i++)
        assert_true(envelope_keys_renew(path, "no-such-group", &made, why));
    assert_true(envelope_keys_read(path, &read, &missing, why));
    assert_int_equal(read.count, ENVELOPE_KEYS_MAX);
    assert_string_not_equal(read.keys[ENVELOPE_KEYS_MAX - 1].id, second);
}

#define DIGITS "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void test_file_that_is_wrong(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        const char *wanted; /* in the reason; NULL: it is fine */
    } cases[] = {
        {"# comment\n\n  key  " DIGITS "  # more\n", 0640, NULL},
        {"key " DIGITS, 0600, NULL}, /* no line end */
        {"key " DIGITS "\n", 0644, "everybody"},
        {"", 0640, "no key"},
        {"# nothing\n", 0640, "no key"},
        {"\n" DIGITS "\n", 0640, "line 2: the line does not begin"},
        {"key " DIGITS "0\n", 0640, "line 1: a key is"},
        {"key x" DIGITS "\n", 0640, "line 1: a key is"},
        {"key " DIGITS " " DIGITS "\n", 0640, "line 1: a key is"},
        {"key\n", 0640, "line 1: a key is"},
        {"key " DIGITS "\nkey " DIGITS "\nkey " DIGITS "\nkey " DIGITS "\nkey " DIGITS "\n", 0640, "line 5: more keys"},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct envelope_keys keys;
        bool missing, ok;

        write_text(cases[i].text, cases[i].mode);
        why[0] = '\0';
        ok = envelope_keys_read(path, &keys, &missing, why);
        if (ok != (cases[i].wanted == NULL) || missing || (!ok && strstr(why, cases[i].wanted) == NULL) ||
            strstr(why, DIGITS) != NULL || (!ok && strncmp(why, path, strlen(path)) != 0)) {
            print_error("case %zu: wanted %s, got %s\n", i, cases[i].wanted, ok ? "fine" : why);
            failed++;
        }
        assert_false(!ok && envelope_keys_renew(path, "no-such-group", &keys, why)); /* nothing is thrown away */
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce),
        cmocka_unit_test(test_too_long_to_be_told_again),
        cmocka_unit_test(test_hash_is_hmac_sha256),
        cmocka_unit_test(test_what_tells_letters_apart),
        cmocka_unit_test(test_renew_keeps_older_keys),
        cmocka_unit_test(test_file_that_is_wrong),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
