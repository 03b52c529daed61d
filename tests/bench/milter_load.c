/* milter_load: many milter sessions, as Postfix speaks them, and what they cost.
 *
 *     milter_load SOCKET CONNECTIONS SESSIONS PACE_MS FIRST CLIENTS RECIPIENT...
 *
 * SESSIONS sessions over CONNECTIONS connections at once to the unix socket SOCKET; each is connect, HELO, MAIL, one RECIPIENT in turn,
 * DATA, QUIT, with the flags that the milter asks for: a step that it wants not at all is not sent, one that it does not answer is
 * sent with the next that it does, as Postfix does.  PACE_MS lies between two steps (0: back to back).  The n-th session, counted from
 * FIRST, is of client number n modulo CLIENTS.  Prints one JSON object: sessions, seconds, replies to DATA by code, and the time to that
 * reply in microseconds (p50, p99, max).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>

/* The milter protocol (libmilter/mfdef.h): what a milter may ask for. */
enum {
    PROTOCOL = 6, ACTIONS = 0x1FF, STEPS = 0x1FFFFF, BUFFER_SIZE = 4096,
    NO_CONNECT = 1 << 0, NO_HELO = 1 << 1, NO_MAIL = 1 << 2, NO_RCPT = 1 << 3, NO_DATA = 1 << 9,
    NR_CONNECT = 1 << 12, NR_HELO = 1 << 13, NR_MAIL = 1 << 14, NR_RCPT = 1 << 15, NR_DATA = 1 << 16
};

enum step { STEP_CONNECT, STEP_HELO, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_END };

static const struct {
    char command;
    unsigned none, no_reply;
} steps[STEP_END] = {
    [STEP_CONNECT] = {'C', NO_CONNECT, NR_CONNECT}, [STEP_HELO] = {'H', NO_HELO, NR_HELO},
    [STEP_MAIL] = {'M', NO_MAIL, NR_MAIL},          [STEP_RCPT] = {'R', NO_RCPT, NR_RCPT},
    [STEP_DATA] = {'T', NO_DATA, NR_DATA},
};

struct session {
    int fd;
    unsigned flags;
    bool negotiated;
    enum step step; /* the one whose answer is waited for, or that is next */
    uint64_t number;
    int64_t sent_us, due_us; /* due: when the next step is sent; 0: an answer is waited for */
    uint8_t in[BUFFER_SIZE], out[BUFFER_SIZE];
    size_t in_used, out_used;
};

static struct {
    const char *socket;
    size_t connections;
    uint64_t sessions, begun, ended, first, clients;
    int64_t pace_us;
    char **recipients;
    size_t recipient_count;
    int epoll;
    uint64_t deferred, refused, other;
    uint32_t *times_us;
    size_t time_count;
} this;

static void __attribute__((noreturn)) fail(const char *what)
{
    fprintf(stderr, "milter_load: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void put_packet(struct session *session, char command, const void *data, size_t length)
{
    uint32_t wire = htonl((uint32_t)length + 1);
    uint8_t *at = session->out + session->out_used;

    if (session->out_used + length + 5 > sizeof session->out)
        fail("packets too long");
    memcpy(at, &wire, sizeof wire);
    at[4] = (uint8_t)command;
    memcpy(at + 5, data, length);
    session->out_used += length + 5;
}

static void put_macros(struct session *session, char command, const char *texts, size_t length)
{
    char data[512] = {command};

    memcpy(data + 1, texts, length);
    put_packet(session, 'D', data, length + 1);
}

static void put_connect(struct session *session)
{
    static const char macros[] = "j\0mx2.example.org\0v\0Postfix 3.7.11\0{daemon_addr}\000192.0.2.1";
    uint64_t client = session->number % this.clients;
    char data[256], address[32];
    int name, whole;

    snprintf(address, sizeof address, "%u.%u.%u.%u", (unsigned)(20 + (client >> 24) % 100), (unsigned)(client >> 16 & 255),
             (unsigned)(client >> 8 & 255), (unsigned)(client & 255));
    name = snprintf(data, sizeof data, "[%s]", address);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a packet, not a text */
    memcpy(data + name + 1, "4\x12\x34", 3); /* the family, and the port */
    whole = name + 4 + snprintf(data + name + 4, sizeof data - (size_t)name - 4, "%s", address);
    put_macros(session, 'C', macros, sizeof macros);
    put_packet(session, 'C', data, (size_t)whole + 1);
}

static void put_step(struct session *session, enum step step)
{
    char data[512];
    int length;

    if (step == STEP_CONNECT) {
        put_connect(session);
        return;
    }
    if (step == STEP_HELO)
        length = snprintf(data, sizeof data, "n%llu.load.example", (unsigned long long)session->number);
    else if (step == STEP_MAIL)
        length = snprintf(data, sizeof data, "<x%llu@forged%llu.example>", (unsigned long long)session->number,
                          (unsigned long long)session->number % 1000);
    else
        length = snprintf(data, sizeof data, "<user%llu@%s>", (unsigned long long)session->number % 5000,
                          this.recipients[session->number % this.recipient_count]);
    if (step == STEP_DATA)
        put_macros(session, 'T', "i\0004QZ1xW0abc", 13);
    put_packet(session, steps[step].command, data, step == STEP_DATA ? 0 : (size_t)length + 1);
}

static void flush_out(struct session *session)
{
    if (write(session->fd, session->out, session->out_used) != (ssize_t)session->out_used)
        fail("write");
    session->out_used = 0;
}

static void session_begin(struct session *session)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const uint32_t offer[] = {htonl(PROTOCOL), htonl(ACTIONS), htonl(STEPS)};

    *session = (struct session){.number = this.first + this.begun++};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", this.socket);
    session->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (session->fd < 0 || connect(session->fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    if (epoll_ctl(this.epoll, EPOLL_CTL_ADD, session->fd,
                  &(struct epoll_event){.events = EPOLLIN, .data = {.ptr = session}}) != 0)
        fail("epoll_ctl");
    put_packet(session, 'O', offer, sizeof offer);
    flush_out(session);
}

static void session_end(struct session *session)
{
    put_packet(session, 'A', "", 0);
    put_packet(session, 'Q', "", 0);
    flush_out(session);
    close(session->fd);
    session->fd = -1;
    this.ended++;
    if (this.begun < this.sessions)
        session_begin(session);
}

/* Send what comes next, up to the first step that is answered. */
static void session_go_on(struct session *session)
{
    session->due_us = 0;
    while (session->step < STEP_END) {
        enum step step = session->step;

        if ((session->flags & steps[step].none) == 0) {
            put_step(session, step);
            if ((session->flags & steps[step].no_reply) == 0)
                break;
        }
        session->step++;
    }
    if (session->step == STEP_END) {
        session_end(session);
        return;
    }
    session->sent_us = now_us();
    flush_out(session);
}

static void session_answered(struct session *session, const uint8_t *answer, size_t length)
{
    if (!session->negotiated) {
        uint32_t flags;

        if (answer[0] != 'O' || length < 13)
            fail("no negotiation");
        memcpy(&flags, answer + 9, sizeof flags);
        session->flags = ntohl(flags);
        session->negotiated = true;
    } else if (session->step == STEP_DATA) {
        if (this.time_count < this.sessions)
            this.times_us[this.time_count++] = (uint32_t)(now_us() - session->sent_us);
        ++*(answer[0] == 'y' && answer[1] == '4' ? &this.deferred : answer[0] == 'y' ? &this.refused : &this.other);
        session_end(session);
        return;
    } else if (answer[0] == 'y' || answer[0] == 'r' || answer[0] == 't') {
        this.refused++;
        session_end(session);
        return;
    } else {
        session->step++;
    }
    if (this.pace_us > 0)
        session->due_us = now_us() + this.pace_us;
    else
        session_go_on(session);
}

static void session_read(struct session *session)
{
    ssize_t got = read(session->fd, session->in + session->in_used, sizeof session->in - session->in_used);
    uint32_t length;

    if (got <= 0)
        fail("the milter hung up");
    session->in_used += (size_t)got;
    while (session->in_used >= sizeof length) {
        uint8_t answer[BUFFER_SIZE];

        memcpy(&length, session->in, sizeof length);
        length = ntohl(length);
        if (length == 0 || length > sizeof answer - sizeof length)
            fail("an answer out of bounds");
        if (session->in_used < sizeof length + length)
            return;
        memcpy(answer, session->in + sizeof length, length);
        session->in_used -= sizeof length + length;
        memmove(session->in, session->in + sizeof length + length, session->in_used);
        session_answered(session, answer, length);
    }
}

static void run(struct session *sessions)
{
    struct epoll_event events[256];

    for (size_t i = 0; i < this.connections && this.begun < this.sessions; i++)
        session_begin(&sessions[i]);
    while (this.ended < this.sessions) {
        int count = epoll_wait(this.epoll, events, 256, this.pace_us > 0 ? 1 : 20000);

        if (count < 0 || (count == 0 && this.pace_us == 0))
            fail("epoll_wait: nothing came for 20 s");
        for (int i = 0; i < count; i++)
            session_read(events[i].data.ptr);
        if (this.pace_us > 0) {
            int64_t now = now_us();

            for (size_t i = 0; i < this.connections; i++) {
                if (sessions[i].fd >= 0 && sessions[i].due_us != 0 && sessions[i].due_us <= now)
                    session_go_on(&sessions[i]);
            }
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

static uint32_t percentile(double share)
{
    return this.time_count > 0 ? this.times_us[(size_t)((double)(this.time_count - 1) * share)] : 0;
}

int main(int argc, char **argv)
{
    struct session *sessions;
    int64_t began_us;
    double seconds;

    if (argc < 8) {
        fputs("usage: milter_load SOCKET CONNECTIONS SESSIONS PACE_MS FIRST CLIENTS RECIPIENT...\n", stderr);
        return EXIT_FAILURE;
    }
    this.socket = argv[1];
    this.connections = strtoul(argv[2], NULL, 10);
    this.sessions = strtoull(argv[3], NULL, 10);
    this.pace_us = strtoll(argv[4], NULL, 10) * 1000;
    this.first = strtoull(argv[5], NULL, 10);
    this.clients = strtoull(argv[6], NULL, 10);
    this.recipients = argv + 7;
    this.recipient_count = (size_t)argc - 7;
    this.times_us = calloc(this.sessions + 1, sizeof *this.times_us);
    sessions = calloc(this.connections + 1, sizeof *sessions);
    this.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (this.times_us == NULL || sessions == NULL || this.epoll < 0 || this.clients == 0)
        fail("start");
    began_us = now_us();
    run(sessions);
    seconds = (double)(now_us() - began_us) / 1e6;
    qsort(this.times_us, this.time_count, sizeof *this.times_us, compare);
    printf("{\"sessions\": %llu, \"seconds\": %.6f, \"deferred\": %llu, \"refused\": %llu, \"other\": %llu, \"p50_us\": %u, "
           "\"p99_us\": %u, \"max_us\": %u}\n",
           (unsigned long long)this.ended, seconds, (unsigned long long)this.deferred, (unsigned long long)this.refused,
           (unsigned long long)this.other, percentile(0.5), percentile(0.99), percentile(1));
    free(sessions);
    free(this.times_us);
    return EXIT_SUCCESS;
}
