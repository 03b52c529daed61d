#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "judge/liveness.h"
#include "judge/probe.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum {
    TIMEOUT_MS = 5000,      /* where the answer is awaited */
    SHORT_TIMEOUT_MS = 200, /* where there will be none */
    SERVER_PATIENCE_MS = 10000
};

/* A mail host on loopback: takes one connection, sends its script, and notes what it is told. */
struct server {
    const char *script; /* NULL: says nothing */
    const char *replies[4]; /* to what is said then; none: 221 */
    bool byte_by_byte, endless, reset, hang_up;
    int listener;
    uint16_t port;
    pthread_t thread;
    char heard[256];
};

static struct ipaddr address_of(const char *text)
{
    struct ipaddr address;

    assert_true(ipaddr_parse(text, &address));
    return address;
}

static void server_bind(struct server *server, const char *address, uint16_t port, int backlog)
{
    struct ipaddr ip = address_of(address);
    struct sockaddr_storage name;
    socklen_t length = ipaddr_to_sockaddr(&ip, port, &name);

    server->listener = socket(name.ss_family, SOCK_STREAM, 0);
    assert_return_code(bind(server->listener, (struct sockaddr *)&name, length), errno);
    assert_return_code(listen(server->listener, backlog), errno);
    assert_return_code(getsockname(server->listener, (struct sockaddr *)&name, &length), errno);
    assert_true(ipaddr_from_sockaddr((struct sockaddr *)&name, &ip, &server->port));
}

static void server_talk(struct server *server, int fd)
{
    size_t length = server->script != NULL ? strlen(server->script) : 0;

    do {
        size_t piece = server->byte_by_byte ? 1 : length;

        for (size_t sent = 0; sent < length; sent += piece) {
            if (send(fd, server->script + sent, piece, MSG_NOSIGNAL) < 0)
                return;
        }
    } while (server->endless);
}

static void *server_run(void *context)
{
    struct server *server = context;
    struct pollfd ready = {.fd = server->listener, .events = POLLIN};
    struct linger at_once = {.l_onoff = 1};
    size_t heard = 0, said = 0;
    ssize_t got;
    int fd;

    if (poll(&ready, 1, SERVER_PATIENCE_MS) != 1 || (fd = accept(server->listener, NULL, NULL)) < 0)
        return NULL;
    server_talk(server, fd);
    if (server->reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    while (!server->reset && !server->hang_up &&
           (got = recv(fd, server->heard + heard, sizeof server->heard - 1 - heard, 0)) > 0) {
        const char *reply = said < 4 && server->replies[said] != NULL ? server->replies[said] : "221 bye\r\n";

        heard += (size_t)got;
        said++;
        if (send(fd, reply, strlen(reply), MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
    return NULL;
}

static void server_start(struct server *server, const char *address, uint16_t port)
{
    server_bind(server, address, port, 8);
    assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->listener, SHUT_RDWR); /* ends the wait for a connection that did not come */
    pthread_join(server->thread, NULL);
    close(server->listener);
}

static struct ipaddr probed_from; /* by the last probe() */
static const char *probe_name;    /* for it */

static enum liveness_state probe(uint16_t port, int64_t timeout_ms, int stop_fd, bool allowed, const char *text)
{
    struct ipnet nets[2];
    struct probe_config config = {
        .port = port, .timeout_ms = timeout_ms, .allowed = nets, .allowed_count = allowed ? 2 : 0, .stop_fd = stop_fd,
        .name = probe_name, .domain = "b.example"};
    struct ipaddr address = address_of(text);

    assert_true(ipnet_parse("127.0.0.0/8", &nets[0]) && ipnet_parse("::1", &nets[1]));
    return probe_address(&config, &address, &probed_from);
}

static char megabyte[1024 * 1024 + 1];

static void test_greetings(void **state)
{
    static const struct {
        const char *name;
        struct server server;
        enum liveness_state want;
        bool in_time, quit; /* QUIT is expected */
    } cases[] = {
        {"220", {.script = "220 mx.example ESMTP\r\n"}, LIVENESS_ACCEPTING, true, true},
        {"220 without text", {.script = "220\r\n"}, LIVENESS_ACCEPTING, true, true},
        {"220, bare line end", {.script = "220 mx.example\n"}, LIVENESS_ACCEPTING, true, true},
        {"220 byte by byte", {.script = "220 mx.example\r\n", .byte_by_byte = true}, LIVENESS_ACCEPTING, true, true},
        {"220, many lines", {.script = "220-a\r\n220-b\r\n220 c\r\n"}, LIVENESS_ACCEPTING, true, true},
        {"220, then 421", {.script = "220-a\r\n421 busy\r\n"}, LIVENESS_DEFERRING, true, true},
        {"421", {.script = "421 busy\r\n"}, LIVENESS_DEFERRING, true, true},
        {"450", {.script = "450 later\r\n"}, LIVENESS_DEFERRING, true, true},
        {"554", {.script = "554 no SMTP service here\r\n"}, LIVENESS_DEFERRING, true, true},
        {"250", {.script = "250 what?\r\n"}, LIVENESS_DEFERRING, true, true},
        {"2201", {.script = "2201 what?\r\n"}, LIVENESS_DEFERRING, true, true},
        {"not SMTP", {.script = "SSH-2.0-OpenSSH\r\n"}, LIVENESS_DEFERRING, true, true},
        {"empty line", {.script = "\r\n220 x\r\n"}, LIVENESS_DEFERRING, true, true},
        {"silence", {.script = NULL}, LIVENESS_DEFERRING, false, true},
        {"half a line", {.script = "220 mx.exa"}, LIVENESS_DEFERRING, false, true},
        {"first line only", {.script = "220-mx.example\r\n"}, LIVENESS_DEFERRING, false, true},
        {"megabytes in one line", {.script = megabyte}, LIVENESS_DEFERRING, true, false},
        {"first lines without end", {.script = "220-more\r\n", .endless = true}, LIVENESS_DEFERRING, true, false},
        {"hangs up at once", {.script = NULL, .hang_up = true}, LIVENESS_DEFERRING, true, false},
        {"resets at once", {.script = NULL, .reset = true}, LIVENESS_DEFERRING, true, false},
        {"resets in the greeting", {.script = "220-mx", .reset = true}, LIVENESS_DEFERRING, true, false},
    };
    size_t failed = 0;
    struct ipaddr loopback;

    (void)state;
    assert_true(ipaddr_parse("127.0.0.1", &loopback));
    memset(megabyte, '2', sizeof megabyte - 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct server server = cases[i].server;
        int64_t started_ms = clock_monotonic_ms(), took_ms;
        enum liveness_state got;

        server_start(&server, "127.0.0.1", 0);
        got = probe(server.port, cases[i].in_time ? TIMEOUT_MS : SHORT_TIMEOUT_MS, -1, true, "127.0.0.1");
        took_ms = clock_monotonic_ms() - started_ms;
        server_stop(&server);
        assert_true(ipaddr_equal(&probed_from, &loopback)); /* all of them were reached */
        if (got == cases[i].want && took_ms < (cases[i].in_time ? TIMEOUT_MS : 10 * SHORT_TIMEOUT_MS) &&
            (!cases[i].quit || strcmp(server.heard, "QUIT\r\n") == 0))
            continue;
        failed++;
        print_error("%s: want %s, got %s in %lld ms, heard \"%s\"\n", cases[i].name,
                    liveness_state_name(cases[i].want), liveness_state_name(got), (long long)took_ms, server.heard);
    }
    assert_int_equal(failed, 0);
}

static void test_envelopes(void **state)
{
    static const struct {
        const char *name, *greeting, *replies[4];
        enum liveness_state want;
        unsigned commands; /* with QUIT */
    } cases[] = {
        {"well", "220 x\r\n", {"250-x\r\n250 y\r\n", "250 x\r\n", "250 x\r\n"}, LIVENESS_ACCEPTING, 4},
        {"EHLO later", "220 x\r\n", {"421 x\r\n"}, LIVENESS_DEFERRING, 2},
        {"MAIL later", "220 x\r\n", {"250 x\r\n", "452 x\r\n"}, LIVENESS_DEFERRING, 3},
        {"RCPT later", "220 x\r\n", {"250 x\r\n", "250 x\r\n", "450 x\r\n"}, LIVENESS_DEFERRING, 4},
        {"no EHLO", "220 x\r\n", {"502 x\r\n"}, LIVENESS_ACCEPTING, 2},
        {"not from us", "220 x\r\n", {"250 x\r\n", "550 x\r\n"}, LIVENESS_ACCEPTING, 3},
        {"no postmaster", "220 x\r\n", {"250 x\r\n", "250 x\r\n", "550 x\r\n"}, LIVENESS_ACCEPTING, 4},
        {"nonsense", "220 x\r\n", {"250 x\r\n", "hello\r\n"}, LIVENESS_DEFERRING, 3},
        {"two codes", "220 x\r\n", {"250-x\r\n450 x\r\n"}, LIVENESS_DEFERRING, 2},
        {"half a reply", "220 x\r\n", {"250-x\r\n"}, LIVENESS_DEFERRING, 2},
        {"greeted with 421", "421 x\r\n", {NULL}, LIVENESS_DEFERRING, 1},
    };

    (void)state;
    probe_name = "mx2.example.org";
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct server server = {.script = cases[i].greeting};
        unsigned commands = 0;
        enum liveness_state got;

        memcpy(server.replies, cases[i].replies, sizeof server.replies);
        server_start(&server, "127.0.0.1", 0);
        got = probe(server.port, strcmp(cases[i].name, "half a reply") == 0 ? SHORT_TIMEOUT_MS : TIMEOUT_MS, -1, true, "127.0.0.1");
        server_stop(&server);
        for (const char *line = server.heard; (line = strchr(line, '\n')) != NULL; line++)
            commands++;
        if (got != cases[i].want || commands != cases[i].commands)
            fail_msg("%s: got %s, heard \"%s\"", cases[i].name, liveness_state_name(got), server.heard);
        assert_true(commands < 4 || strstr(server.heard, "@mx2.example.org>\r\nRCPT TO:<postmaster@b.example>\r\nQUIT\r\n") != NULL);
    }
    probe_name = NULL;
}

static void test_refused(void **state)
{
    struct server server = {0};

    (void)state;
    server_bind(&server, "127.0.0.1", 0, 8);
    close(server.listener);
    probed_from = address_of("127.0.0.1");
    assert_int_equal(probe(server.port, TIMEOUT_MS, -1, true, "127.0.0.1"), LIVENESS_DOWN);
    assert_int_equal(probed_from.family, 0);
}

/* A listener whose queue is full takes no further connection, and does not say so. */
static void test_no_connection_in_time(void **state)
{
    struct server server = {0};
    struct sockaddr_storage name;
    struct ipaddr ip = address_of("127.0.0.1");
    int fillers[8];

    (void)state;
    server_bind(&server, "127.0.0.1", 0, 0);
    for (size_t i = 0; i < COUNT(fillers); i++) {
        socklen_t length = ipaddr_to_sockaddr(&ip, server.port, &name);

        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fillers[i], (struct sockaddr *)&name, length) != 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    assert_int_equal(probe(server.port, SHORT_TIMEOUT_MS, -1, true, "127.0.0.1"), LIVENESS_DOWN);
    for (size_t i = 0; i < COUNT(fillers); i++)
        close(fillers[i]);
    close(server.listener);
}

static void test_forbidden_addresses(void **state)
{
    static const char *const addresses[] = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.2"};

    (void)state;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct server server = {.script = "220 x\r\n"};
        struct ipaddr ip = address_of(addresses[i]);
        char text[IPADDR_TEXT_SIZE];
        struct pollfd ready;

        server_bind(&server, ipaddr_format(&ip, text), 0, 8);
        ready = (struct pollfd){.fd = server.listener, .events = POLLIN};
        assert_int_equal(probe(server.port, TIMEOUT_MS, -1, false, addresses[i]), LIVENESS_UNKNOWN);
        assert_int_equal(poll(&ready, 1, 0), 0);
        close(server.listener);
    }
}

/* These would be answered at once by nobody, or by somebody that we must not touch: no time may pass. */
static void test_forbidden_networks(void **state)
{
    static const char *const addresses[] = {"10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.1.1", "100.64.0.1",
                                            "224.0.0.1", "240.0.0.1", "255.255.255.255", "0.0.0.0", "::",
                                            "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1"};

    (void)state;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        int64_t started_ms = clock_monotonic_ms();

        if (probe(25, TIMEOUT_MS, -1, false, addresses[i]) != LIVENESS_UNKNOWN ||
            clock_monotonic_ms() - started_ms >= TIMEOUT_MS)
            fail_msg("%s: was probed", addresses[i]);
    }
}

static void test_stop(void **state)
{
    struct server silent = {0};
    int64_t started_ms = clock_monotonic_ms();
    int stop_fd = eventfd(1, 0);

    (void)state;
    server_start(&silent, "127.0.0.1", 0);
    assert_int_equal(probe(silent.port, 60000, stop_fd, true, "127.0.0.1"), LIVENESS_UNKNOWN);
    assert_true(clock_monotonic_ms() - started_ms < 10000);
    server_stop(&silent);
    close(stop_fd);
}

/* In a network namespace of its own there is no route to anywhere. */
static void test_no_route(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
            _exit(77);
        _exit(probe(25, TIMEOUT_MS, -1, false, "192.0.2.1") == LIVENESS_UNKNOWN &&
                      probe(25, TIMEOUT_MS, -1, false, "2001:db8::1") == LIVENESS_UNKNOWN
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no namespaces here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greetings),
        cmocka_unit_test(test_envelopes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_connection_in_time),
        cmocka_unit_test(test_forbidden_addresses),
        cmocka_unit_test(test_forbidden_networks),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_no_route),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
