#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/domain.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const kinds[] = {
    [DOMAIN_NAME] = "name", [DOMAIN_LITERAL] = "literal", [DOMAIN_MISSING] = "missing", [DOMAIN_INVALID] = "invalid"};

#define LABEL_63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
#define NAME_253 LABEL_63 "." LABEL_63 "." LABEL_63 "." "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"

static void test_recipient(void **state)
{
    static const struct {
        const char *name, *path;
        enum domain_kind kind;
        const char *localpart, *domain;
    } cases[] = {
        {"plain", "<user@example.com>", DOMAIN_NAME, "user", "example.com"},
        {"no brackets", "user@example.com", DOMAIN_NAME, "user", "example.com"},
        {"upper case", "<PostMaster@EXAMPLE.Com>", DOMAIN_NAME, "postmaster", "example.com"},
        {"trailing dot", "<u@example.com.>", DOMAIN_NAME, "u", "example.com"},
        {"two trailing dots", "<u@example.com..>", DOMAIN_INVALID, "u", ""},
        {"parameters after the path", "<u@example.com> SIZE=10", DOMAIN_NAME, "u", "example.com"},
        {"source route", "<@a.example,@b.example:u@d.example>", DOMAIN_NAME, "u", "d.example"},
        {"source route with a literal", "<@[IPv6:2001:db8::1]:u@d.example>", DOMAIN_NAME, "u", "d.example"},
        {"source route without end", "<@a.example>", DOMAIN_NAME, "", "a.example"},
        {"quoted at sign", "<\"a@b\"@d.example>", DOMAIN_NAME, "a@b", "d.example"},
        {"quoted bracket", "<\"a>b\"@d.example>", DOMAIN_NAME, "a>b", "d.example"},
        {"quoted pair", "<\"a\\\"@x\\\\\"@d.example>", DOMAIN_NAME, "a\"@x\\", "d.example"},
        {"quoted, no need", "<\"abuse\"@d.example>", DOMAIN_NAME, "abuse", "d.example"},
        {"quote without end", "<\"a@d.example>", DOMAIN_MISSING, "a@d.example>", ""},
        {"percent hack", "<a%b.example@d.example>", DOMAIN_NAME, "a%b.example", "d.example"},
        {"bang path", "<h!a@d.example>", DOMAIN_NAME, "h!a", "d.example"},
        {"two at signs", "<a@b@d.example>", DOMAIN_NAME, "a@b", "d.example"},
        {"IPv4 literal", "<u@[192.0.2.1]>", DOMAIN_LITERAL, "u", ""},
        {"IPv6 literal", "<u@[IPv6:2001:db8::1]>", DOMAIN_LITERAL, "u", ""},
        {"empty literal", "<u@[]>", DOMAIN_INVALID, "u", ""},
        {"literal without end", "<u@[192.0.2.1>", DOMAIN_INVALID, "u", ""},
        {"bare address", "<u@192.0.2.1>", DOMAIN_INVALID, "u", ""},
        {"bare address with a dot", "<u@192.0.2.1.>", DOMAIN_INVALID, "u", ""},
        {"no domain", "<postmaster>", DOMAIN_MISSING, "postmaster", ""},
        {"empty domain", "<u@>", DOMAIN_MISSING, "u", ""},
        {"null path", "<>", DOMAIN_MISSING, "", ""},
        {"nothing", "", DOMAIN_MISSING, "", ""},
        {"underscore", "<u@_x.example>", DOMAIN_NAME, "u", "_x.example"},
        {"U-label", "<u@b\xc3\xbc" "cher.example>", DOMAIN_NAME, "u", "xn--bcher-kva.example"},
        {"U-label, upper case", "<u@B\xc3\x9c" "CHER.example>", DOMAIN_NAME, "u", "xn--bcher-kva.example"},
        {"U-label, decomposed", "<u@bu\xcc\x88" "cher.example>", DOMAIN_NAME, "u", "xn--bcher-kva.example"},
        {"U-label, sharp s", "<u@stra\xc3\x9f" "e.example>", DOMAIN_NAME, "u", "xn--strae-oqa.example"},
        {"U-label, ideographic full stop", "<u@b\xc3\xbc\xe3\x80\x82" "example>", DOMAIN_NAME, "u",
         "xn--b-eha.example"},
        {"A-label", "<u@XN--BCHER-KVA.example>", DOMAIN_NAME, "u", "xn--bcher-kva.example"},
        {"raw 8-bit", "<u@b\xfc" "cher.example>", DOMAIN_INVALID, "u", ""},
        {"overlong UTF-8", "<u@\xc0\xaf.example>", DOMAIN_INVALID, "u", ""},
        {"full width address", "<u@\xef\xbc\x91.0.0.1>", DOMAIN_INVALID, "u", ""},
        {"space", "<u@a b.example>", DOMAIN_INVALID, "u", ""},
        {"line end", "<u@a\r\nb.example>", DOMAIN_INVALID, "u", ""},
        {"empty label", "<u@a..example>", DOMAIN_INVALID, "u", ""},
        {"leading dot", "<u@.example>", DOMAIN_INVALID, "u", ""},
        {"label of 63", "<u@" LABEL_63 ".example>", DOMAIN_NAME, "u", LABEL_63 ".example"},
        {"label of 64", "<u@a" LABEL_63 ".example>", DOMAIN_INVALID, "u", ""},
        {"name of 253", "<u@" NAME_253 ">", DOMAIN_NAME, "u", NAME_253},
        {"name of 253 and a dot", "<u@" NAME_253 ".>", DOMAIN_NAME, "u", NAME_253},
        {"name of 254", "<u@" NAME_253 "z>", DOMAIN_INVALID, "u", ""},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct recipient got;

        recipient_parse(cases[i].path, &got);
        if (got.kind == cases[i].kind && strcmp(got.localpart, cases[i].localpart) == 0 &&
            strcmp(got.domain, cases[i].domain) == 0)
            continue;
        failed++;
        print_error("%s: want %s \"%s\" \"%s\", got %s \"%s\" \"%s\"\n", cases[i].name, kinds[cases[i].kind],
                    cases[i].localpart, cases[i].domain, kinds[got.kind], got.localpart, got.domain);
    }
    assert_int_equal(failed, 0);
}

static void test_recipient_long(void **state)
{
    static char path[70000];
    struct recipient got;

    (void)state;
    memset(path, 'a', sizeof path - 1);
    recipient_parse(path, &got);
    assert_int_equal(got.kind, DOMAIN_MISSING);
    assert_int_equal(strlen(got.localpart), LOCALPART_MAX);
    path[300] = '@';
    recipient_parse(path, &got);
    assert_int_equal(got.kind, DOMAIN_INVALID);
    memset(path + 301, 0xc3, sizeof path - 302);
    recipient_parse(path, &got);
    assert_int_equal(got.kind, DOMAIN_INVALID);
    strcpy(path + 300, "@d.example");
    recipient_parse(path, &got);
    assert_string_equal(got.domain, "d.example");
    assert_int_equal(strlen(got.localpart), LOCALPART_MAX);
}

static void test_matches(void **state)
{
    static const struct {
        const char *pattern, *domain;
        bool want;
    } cases[] = {
        {"*", "example.com", true},
        {"example.com", "example.com", true},
        {"example.com", "www.example.com", false},
        {"*.example.com", "www.example.com", true},
        {"*.example.com", "a.b.example.com", true},
        {"*.example.com", "example.com", false},
        {"*.example.com", ".example.com", false},
        {"*.example.com", "notexample.com", false},
    };
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        bool got = domain_matches(cases[i].pattern, cases[i].domain);

        if (got == cases[i].want)
            continue;
        failed++;
        print_error("%s covers %s: want %d, got %d\n", cases[i].pattern, cases[i].domain, cases[i].want, got);
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipient),
        cmocka_unit_test(test_recipient_long),
        cmocka_unit_test(test_matches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
