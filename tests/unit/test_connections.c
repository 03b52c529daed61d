#include "web/connections.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PLACES = 3 };

struct client {
    int fds[2];
    struct connection_place *place;
};

static struct client connected(struct connections *connections, int64_t now_ms)
{
    struct client client;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, client.fds), 0);
    client.place = connections_add(connections, client.fds[0], now_ms);
    return client;
}

static bool is_cut(const struct client *client)
{
    struct pollfd fd = {.fd = client->fds[1], .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void leave(struct connections *connections, struct client *client)
{
    connections_remove(connections, client->place);
    close(client->fds[0]);
    close(client->fds[1]);
}

static void the_slow_are_cut(void **state)
{
    struct connections *connections = connections_create(PLACES);
    struct client early = connected(connections, 1000), late = connected(connections, 1001);

    (void)state;
    connections_cut_slow(connections, 1000 + CONNECTIONS_TIME_MS);
    assert_false(is_cut(&early));
    connections_cut_slow(connections, 1001 + CONNECTIONS_TIME_MS);
    assert_true(is_cut(&early));
    assert_false(is_cut(&late));
    leave(connections, &early);
    leave(connections, &late);
    connections_destroy(&connections);
    connections_destroy(&connections);
}

static void time_does_not_count_while_we_work(void **state)
{
    struct connections *connections = connections_create(PLACES);
    struct client client = connected(connections, 0);

    (void)state;
    connections_hold(connections, client.place);
    connections_cut_slow(connections, 1000000);
    assert_false(is_cut(&client));
    connections_release(connections, client.place, 1000000);
    connections_cut_slow(connections, 1000000 + CONNECTIONS_TIME_MS);
    assert_false(is_cut(&client));
    connections_cut_slow(connections, 1000001 + CONNECTIONS_TIME_MS);
    assert_true(is_cut(&client));
    leave(connections, &client);
    connections_destroy(&connections);
}

/* Not one that we work for, nor one that was cut already. */
static void who_waits_longest_makes_room(void **state)
{
    struct connections *connections = connections_create(PLACES);
    struct client held = connected(connections, 0), first = connected(connections, 1), second = connected(connections, 2);
    struct client third, fourth;

    (void)state;
    connections_hold(connections, held.place);
    connections_release(connections, first.place, 3);
    third = connected(connections, 4);
    assert_true(is_cut(&second));
    assert_false(is_cut(&held) || is_cut(&first) || is_cut(&third));
    leave(connections, &second);
    fourth = connected(connections, 5);
    assert_true(is_cut(&first));
    assert_false(is_cut(&held) || is_cut(&third) || is_cut(&fourth));
    leave(connections, &first);
    leave(connections, &held);
    leave(connections, &third);
    leave(connections, &fourth);
    connections_destroy(&connections);
}

static void when_we_work_for_all_one_more_is_let_in(void **state)
{
    struct connections *connections = connections_create(1);
    struct client first = connected(connections, 0), second;

    (void)state;
    connections_hold(connections, first.place);
    second = connected(connections, 1);
    assert_false(is_cut(&first) || is_cut(&second));
    leave(connections, &first);
    leave(connections, &second);
    connections_destroy(&connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_slow_are_cut),
        cmocka_unit_test(time_does_not_count_while_we_work),
        cmocka_unit_test(who_waits_longest_makes_room),
        cmocka_unit_test(when_we_work_for_all_one_more_is_let_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
