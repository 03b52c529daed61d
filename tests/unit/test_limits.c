#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "milter/limits.h"

enum { IDLE_MS = 30000, PLACES = 8 };

static struct ipaddr parsed(const char *text)
{
    struct ipaddr address = {0};

    if (text != NULL && !ipaddr_parse(text, &address))
        fail_msg("\"%s\" is no address", text);
    return address;
}

/* One step of a story: who comes at which time, and what becomes of it. */
struct step {
    int64_t now_ms;
    enum { TAKE, TOUCH, GIVE_BACK, HELD } act;
    size_t place; /* which of the places; for HELD: how many are wanted */
    const char *client;
    enum limits_outcome wanted; /* of TAKE; for TOUCH: LIMITS_OK when the place is still held */
};

/* How many places are held at NOW_MS: with a limit of one more there is one to be had. */
static unsigned held(struct limits *limits, int64_t now_ms)
{
    const struct ipaddr anyone = {0};
    struct limits_place *place;
    unsigned count = 0;

    while (limits_take(limits, &anyone, count + 1, 0, now_ms, 0, &place) != LIMITS_OK)
        count++;
    limits_give_back(limits, &place);
    return count;
}

static void run(const char *name, unsigned connections, unsigned per_client, const struct step *steps, size_t count)
{
    struct limits *limits = limits_create();
    struct limits_place *places[PLACES] = {0};

    for (size_t i = 0; i < count; i++) {
        const struct step *step = &steps[i];
        struct ipaddr client = parsed(step->client);
        size_t got;

        if (step->act == TAKE)
            got = limits_take(limits, &client, connections, per_client, step->now_ms, step->now_ms + IDLE_MS,
                              &places[step->place]);
        else if (step->act == TOUCH)
            got = limits_touch(limits, places[step->place], step->now_ms, step->now_ms + IDLE_MS) ? LIMITS_OK : 99;
        else if (step->act == HELD)
            got = held(limits, step->now_ms);
        else
            got = (limits_give_back(limits, &places[step->place]), places[step->place] == NULL ? LIMITS_OK : 99);
        size_t wanted = step->act == HELD ? step->place : step->wanted;
        if (got != wanted)
            fail_msg("%s, step %zu: wanted %zu, got %zu", name, i, wanted, got);
    }
    for (size_t i = 0; i < PLACES; i++)
        limits_give_back(limits, &places[i]);
    assert_int_equal(held(limits, 0), 0);
    limits_destroy(&limits);
    assert_null(limits);
}

#define RUN(name, connections, per_client, ...) \
    do { \
        const struct step steps[] = {__VA_ARGS__}; \
        run(name, connections, per_client, steps, sizeof steps / sizeof *steps); \
    } while (0)

static void counts_all_and_each_network(void **state)
{
    (void)state;
    RUN("in all", 2, 0, {0, TAKE, 0, "192.0.2.1", LIMITS_OK}, {0, TAKE, 1, "192.0.2.1", LIMITS_OK},
        {0, TAKE, 2, "192.0.2.2", LIMITS_CONNECTIONS}, {0, HELD, 2, NULL, 0}, {0, GIVE_BACK, 0, NULL, LIMITS_OK},
        {0, TAKE, 2, "192.0.2.2", LIMITS_OK}, {0, TAKE, 3, "2001:db8::1", LIMITS_CONNECTIONS});
    RUN("per IPv4 address", 0, 2, {0, TAKE, 0, "192.0.2.1", LIMITS_OK}, {0, TAKE, 1, "192.0.2.1", LIMITS_OK},
        {0, TAKE, 2, "192.0.2.1", LIMITS_CLIENT_CONNECTIONS}, {0, TAKE, 2, "192.0.2.2", LIMITS_OK},
        {0, GIVE_BACK, 1, NULL, LIMITS_OK}, {0, TAKE, 1, "192.0.2.1", LIMITS_OK});
    RUN("per IPv6 /64", 0, 1, {0, TAKE, 0, "2001:db8::1", LIMITS_OK},
        {0, TAKE, 1, "2001:db8::ffff:0:0:1", LIMITS_CLIENT_CONNECTIONS}, {0, TAKE, 1, "2001:db8:0:1::1", LIMITS_OK});
    RUN("an IPv4 client in IPv6 clothes is that IPv4 client", 0, 1, {0, TAKE, 0, "192.0.2.1", LIMITS_OK},
        {0, TAKE, 1, "::ffff:192.0.2.1", LIMITS_CLIENT_CONNECTIONS});
    RUN("per client is told before in all", 1, 1, {0, TAKE, 0, "192.0.2.1", LIMITS_OK},
        {0, TAKE, 1, "192.0.2.1", LIMITS_CLIENT_CONNECTIONS}, {0, TAKE, 1, "192.0.2.2", LIMITS_CONNECTIONS});
    RUN("0: no limit", 0, 0, {0, TAKE, 0, "192.0.2.1", LIMITS_OK}, {0, TAKE, 1, "192.0.2.1", LIMITS_OK},
        {0, TAKE, 2, "192.0.2.1", LIMITS_OK}, {0, HELD, 3, NULL, 0});
    RUN("given back twice", 1, 0, {0, TAKE, 0, "192.0.2.1", LIMITS_OK}, {0, GIVE_BACK, 0, NULL, LIMITS_OK},
        {0, GIVE_BACK, 0, NULL, LIMITS_OK}, {0, HELD, 0, NULL, 0});
}

static void silent_sessions_give_their_place_back(void **state)
{
    (void)state;
    RUN("29.999 s, 30 s, 30.001 s", 1, 0, {1000, TAKE, 0, "192.0.2.1", LIMITS_OK},
        {30999, TAKE, 1, "192.0.2.2", LIMITS_CONNECTIONS}, {31000, TAKE, 1, "192.0.2.2", LIMITS_CONNECTIONS},
        {31001, TAKE, 1, "192.0.2.2", LIMITS_OK}, {31001, HELD, 1, NULL, 0});
    RUN("of the client", 0, 1, {0, TAKE, 0, "192.0.2.1", LIMITS_OK}, {30001, TAKE, 1, "192.0.2.1", LIMITS_OK},
        {30001, TAKE, 2, "192.0.2.1", LIMITS_CLIENT_CONNECTIONS});
    RUN("speaking keeps it", 1, 0, {0, TAKE, 0, "192.0.2.1", LIMITS_OK}, {30000, TOUCH, 0, NULL, LIMITS_OK},
        {59999, TAKE, 1, "192.0.2.2", LIMITS_CONNECTIONS}, {60001, HELD, 0, NULL, 0});
    RUN("never taken again, though nobody wanted it", 1, 0, {0, TAKE, 0, "192.0.2.1", LIMITS_OK},
        {30001, TOUCH, 0, NULL, 99}, {30002, TOUCH, 0, NULL, 99}, {30002, HELD, 0, NULL, 0},
        {30003, GIVE_BACK, 0, NULL, LIMITS_OK}, {30003, HELD, 0, NULL, 0});
    RUN("never taken again, though it is free once more", 1, 0, {0, TAKE, 0, "192.0.2.1", LIMITS_OK},
        {30001, TAKE, 1, "192.0.2.2", LIMITS_OK}, {30002, GIVE_BACK, 1, NULL, LIMITS_OK},
        {30003, TOUCH, 0, NULL, 99}, {30003, TAKE, 1, "192.0.2.3", LIMITS_OK});
}

static void without_an_idle_time_a_place_is_held_for_ever(void **state)
{
    struct ipaddr client = parsed("192.0.2.1");
    struct limits *limits = limits_create();
    struct limits_place *place, *refused;

    (void)state;
    assert_int_equal(limits_take(limits, &client, 1, 1, 0, 0, &place), LIMITS_OK);
    assert_int_equal(limits_take(limits, &client, 1, 0, INT64_MAX, 0, &refused), LIMITS_CONNECTIONS);
    assert_null(refused);
    assert_true(limits_touch(limits, place, INT64_MAX, 0));
    limits_give_back(limits, &place);
    limits_destroy(&limits);
}

/* More threads than places, in which each is silent soon. */
static void *come_and_go(void *limits)
{
    struct ipaddr client = {0};
    struct limits_place *place;

    ipaddr_parse("192.0.2.1", &client);
    for (int64_t now_ms = 1; now_ms <= 2000; now_ms++) {
        if (limits_take(limits, &client, 3, 2, now_ms, now_ms, &place) == LIMITS_OK) {
            sched_yield();
            limits_touch(limits, place, now_ms, now_ms);
        }
        limits_give_back(limits, &place);
    }
    return NULL;
}

static void serves_many_threads(void **state)
{
    struct limits *limits = limits_create();
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, limits), 0);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(held(limits, 0), 0);
    limits_destroy(&limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_all_and_each_network),
        cmocka_unit_test(silent_sessions_give_their_place_back),
        cmocka_unit_test(without_an_idle_time_a_place_is_held_for_ever),
        cmocka_unit_test(serves_many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
