#include "web/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/ipaddr.h"

#define X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X300 X50 X50 X50 X50 X50 X50

/* What a target comes to: path, and each parameter as "|name=value"; or "!" and what is wrong. */
static const char *read_as_text(const char *target)
{
    static char text[4000];
    struct request request;
    const char *fault = request_read_target(target, &request);
    size_t used = (size_t)snprintf(text, sizeof text, "%s%s", fault == NULL ? "" : "!", fault == NULL ? request.path : fault);

    for (size_t i = 0; fault == NULL && i < request.count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "|%s=%s", request.parameters[i].name,
                                 request.parameters[i].value);
    return text;
}

static void takes_targets_apart(void **state)
{
    static const struct {
        const char *target, *wanted;
    } cases[] = {
        {"/", "/"},
        {"/report?since=30d&tz=Europe/Berlin", "/report|since=30d|tz=Europe/Berlin"},
        {"/lookup?192.0.2.1", "/lookup|=192.0.2.1"},
        {"/lookup?2001:db8::1&format=json", "/lookup|=2001:db8::1|format=json"},
        {"/lookup?2001%3Adb8%3a%3A1", "/lookup|=2001:db8::1"},
        {"/a+b?a+b=c+d", "/a+b|a b=c d"},
        {"/?a==b=", "/|a==b="},
        {"/?a=", "/|a="},
        {"/?=v", "/|=v"},
        {"/?&&a=1&", "/|a=1"},
        {"/?", "/"},
        {"/%41%c3%a9", "/A\xc3\xa9"},
        {"/?a=1?b", "/|a=1?b"},
        {"/%", "!a % without two hexadecimal digits"},
        {"/?a=%4", "!a % without two hexadecimal digits"},
        {"/?a=%4&b=1", "!a % without two hexadecimal digits"},
        {"/?a=%g0", "!a % without two hexadecimal digits"},
        {"/?a=%0g", "!a % without two hexadecimal digits"},
        {"/%00", "!a control character"},
        {"/?a=%0a", "!a control character"},
        {"/?a=\x7f", "!a control character"},
        {"", "!no path"},
        {"*", "!no path"},
        {"http://example.com/", "!no path"},
        {"?/", "!no path"},
        {"/?a=1&a=2", "!a parameter that is given twice"},
        {"/?1&2", "!a parameter that is given twice"},
        {"/?a&b=1&c=1&d=1&e=1&f=1&g=1&h=1", "/|=a|b=1|c=1|d=1|e=1|f=1|g=1|h=1"},
        {"/?a&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1", "!too many parameters"},
        {"/" X50 X50 X50, "!a part that is too long"},
        {"/?" X50 "=1", "!a part that is too long"},
        {"/?a=" X300, "!a part that is too long"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = read_as_text(cases[i].target);

        if (strcmp(got, cases[i].wanted) != 0)
            fail_msg("%s: wanted %s, got %s", cases[i].target, cases[i].wanted, got);
    }
}

static void a_form_takes_the_place_of_the_query(void **state)
{
    struct request request;

    (void)state;
    assert_null(request_read_target("/lookup?a=1", &request));
    assert_null(request_read_form("b=2&c=3xxx", 7, &request));
    assert_null(request_parameter(&request, "a"));
    assert_string_equal(request_parameter(&request, "b"), "2");
    assert_string_equal(request_parameter(&request, "c"), "3");
    assert_string_equal(request_read_form("b=\0", 3, &request), "a control character");
}

static void the_last_forwarded_address_counts(void **state)
{
    static const struct {
        const char *list, *wanted;
    } cases[] = {{"192.0.2.1", "192.0.2.1"},          {"192.0.2.1, 192.0.2.2", "192.0.2.2"}, {"x,\t2001:db8::1 ", "2001:db8::1"},
                 {"192.0.2.1,[2001:db8::1]", "2001:db8::1"}, {"192.0.2.1,", NULL},               {"", NULL},
                 {"192.0.2.1, unknown", NULL},        {"192.0.2.1 192.0.2.2", NULL},         {"192.0.2.1:80", NULL},
                 {"a,b,c " X300, NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ipaddr client;
        char text[IPADDR_TEXT_SIZE];
        bool found = request_last_forwarded(cases[i].list, &client);

        if (found != (cases[i].wanted != NULL) || (found && strcmp(ipaddr_format(&client, text), cases[i].wanted) != 0))
            fail_msg("%s: wanted %s, got %s", cases[i].list, cases[i].wanted, found ? text : "none");
    }
}

static void only_this_host_is_named(void **state)
{
    static const char *const yes[] = {"localhost", "LocalHost:80", "127.0.0.1", "192.0.2.1:9180", "[::1]", "[2001:db8::1]:80"};
    static const char *const no[] = {"", "example.com", "localhost.example.com", "127.0.0.1.example.com", "[::1", "[::1]x",
                                     ":80", "::1", "127.0.0.1x:80"};

    (void)state;
    assert_true(request_names_this_host(NULL));
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!request_names_this_host(yes[i]))
            fail_msg("%s is this host", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (request_names_this_host(no[i]))
            fail_msg("%s is not this host", no[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_targets_apart),
        cmocka_unit_test(a_form_takes_the_place_of_the_query),
        cmocka_unit_test(the_last_forwarded_address_counts),
        cmocka_unit_test(only_this_host_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
