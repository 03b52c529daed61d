/* The milter socket: whatever an MTA, or somebody who writes there in its place, sends to the daemon.
 *
 * The daemon runs in this process, whole but for giving up root, with a spool in memory, no database, and DNS where nobody
 * answers.  Each input is one connection.  Its first byte is a set of the flags below; the rest is written as it is, or made
 * into packets: a byte for the command, one for the length of the argument, and the argument.
 *
 * Leaks are looked for at the end only: the daemon's threads go on with what came with an earlier input.
 *
 * fuzz-options: -detect_leaks=0
 * fuzz-sources: src/daemon/[!m]*.c src/judge/?*.c src/milter/?*.c src/record/?*.c src/settings/?*.c
 * fuzz-libraries: -Wl,--wrap=log_event,--wrap=privileges_drop,--wrap=pthread_sigmask -I/usr/include/postgresql -lmilter -lconfuse -lsqlite3 -lpq -lresolv */
#define main daemon_main
int daemon_main(int argc, char **argv);
#include "daemon/main.c" /* NOLINT(bugprone-suspicious-include): its functions are static */
#undef main

#include <arpa/inet.h>
#include <errno.h>
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "fuzz.h"
#include "milter/session.h"

enum flag {
    FLAG_PACKETS = 0x01,       /* else raw bytes */
    FLAG_EVERY_ANSWER = 0x02,  /* the MTA wants each step answered, as sendmail does */
    FLAG_NO_MACRO_LISTS = 0x04 /* the MTA does not let the milter choose its macros */
};

enum {
    COMMANDS = 16,
    COMMAND_WITH_NUL = 0x10, /* in the byte for the command: NUL follows the argument */
    COMMAND_LONG = 0x20,     /* the argument is repeated, up to 64 KiB */
    REPEATED = 256,
    PACKET_MAX = 4 + 1 + REPEATED * UINT8_MAX + 1,
    SENT_MAX = 1 << 17, /* a socket's buffer takes it at once, so that nobody waits for us to read answers */
    PATIENCE_S = 60
};

static const uint32_t no_reply = SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_DATA |
                                 SMFIP_NR_UNKN | SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY;

static char folder[] = "/dev/shm/fuzz-wire.XXXXXX";
static char settings_path[sizeof folder + 16];
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static pthread_t daemon_thread;
static atomic_bool is_ready;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): names that ld --wrap and libc give.
 *
 * In the place of the log: each line is made, and looked at. */
void __wrap_log_event(enum log_level level, const char *format, ...);
void __wrap_log_event(enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    va_list arguments;

    va_start(arguments, format);
    FUZZ_REQUIRE(vsnprintf(line, sizeof line, format, arguments) > 0);
    va_end(arguments);
    for (const char *byte = line; *byte != '\0'; byte++)
        FUZZ_REQUIRE(*byte >= ' ' && *byte <= '~');
    if (level == LOG_LEVEL_ERROR && strncmp(line, "mta-too-old ", 12) != 0 && strncmp(line, "libmilter ", 10) != 0) {
        fprintf(stderr, "%s\n", line);
        FUZZ_REQUIRE(false);
    }
    if (strncmp(line, "ready ", 6) == 0)
        is_ready = true;
}

bool __wrap_privileges_drop(const struct privileges_user *user, char why[PRIVILEGES_WHY_SIZE]);
bool __wrap_privileges_drop(const struct privileges_user *user, char why[PRIVILEGES_WHY_SIZE])
{
    (void)user;
    (void)why;
    return true;
}

/* Were SIGSEGV blocked in the daemon's threads, it would end the process before anything could be told of it. */
int __real_pthread_sigmask(int how, const sigset_t *new, sigset_t *old);
int __wrap_pthread_sigmask(int how, const sigset_t *new, sigset_t *old);
int __wrap_pthread_sigmask(int how, const sigset_t *new, sigset_t *old)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t others = *new;

    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&others, faults[i]);
    return __real_pthread_sigmask(how, &others, old);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static void *run_daemon(void *unused)
{
    char *arguments[] = {(char *)PROGRAM, (char *)"-c", settings_path, NULL};

    (void)unused;
    FUZZ_REQUIRE(daemon_main(3, arguments) == EXIT_SUCCESS);
    return NULL;
}

static void stop_daemon(void)
{
    static const char *const files[] = {"hunnypot.conf", "spool.db.lock", "spool.db"};
    char path[sizeof folder + 32];

    kill(getpid(), SIGTERM);
    pthread_join(daemon_thread, NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void start_daemon(void)
{
    sigset_t stop;
    FILE *file;

    FUZZ_REQUIRE(mkdtemp(folder) != NULL);
    snprintf(settings_path, sizeof settings_path, "%s/hunnypot.conf", folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
    file = fopen(settings_path, "w");
    FUZZ_REQUIRE(file != NULL);
    fprintf(file,
            "socket = \"unix:%s\"\nuser = \"nobody\"\nspool = \"%s/spool.db\"\nrecord_envelope = full\n"
            "dns { nameservers = {\"127.0.0.1:1\"} timeout = 1s attempts = 1 }\n",
            address.sun_path, folder);
    fclose(file);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    FUZZ_REQUIRE(pthread_sigmask(SIG_BLOCK, &stop, NULL) == 0); /* it is for the daemon to read */
    FUZZ_REQUIRE(pthread_create(&daemon_thread, NULL, run_daemon, NULL) == 0);
    while (!is_ready)
        usleep(1000);
    atexit(stop_daemon);
}

static size_t put_word(uint8_t *out, uint32_t word)
{
    word = htonl(word);
    memcpy(out, &word, sizeof word);
    return sizeof word;
}

static size_t put_negotiation(uint8_t *out, unsigned flags)
{
    size_t used = put_word(out, 13);

    out[used++] = SMFIC_OPTNEG;
    used += put_word(out + used, SMFI_PROT_VERSION);
    used += put_word(out + used, SMFI_CURR_ACTS & ~(flags & FLAG_NO_MACRO_LISTS ? SMFIF_SETSYMLIST : 0u));
    return used + put_word(out + used, SMFI_CURR_PROT & ~(flags & FLAG_EVERY_ANSWER ? no_reply : 0u));
}

static size_t put_packet(uint8_t *out, uint8_t command, const uint8_t *argument, size_t length)
{
    static const char commands[COMMANDS + 1] = "OCDHMRTUQKABENLX";
    size_t times = command & COMMAND_LONG ? REPEATED : 1, nul = command & COMMAND_WITH_NUL ? 1 : 0;
    size_t used = put_word(out, (uint32_t)(1 + times * length + nul));

    out[used++] = (uint8_t)commands[command % COMMANDS];
    for (; times > 0; times--, used += length)
        memcpy(out + used, argument, length);
    if (nul)
        out[used++] = '\0';
    return used;
}

/* Behind the USED bytes; returns how many are used then. */
static size_t put_packets(uint8_t *out, size_t used, const uint8_t *data, size_t size)
{
    size_t length;

    for (; size >= 2 && used + PACKET_MAX <= SENT_MAX; data += 2 + length, size -= 2 + length) {
        length = data[1] < size - 2 ? data[1] : size - 2;
        used += put_packet(out + used, data[0], data + 2, length);
    }
    return used;
}

static uint32_t get_word(const uint8_t *from)
{
    uint32_t word;

    memcpy(&word, from, sizeof word);
    return ntohl(word);
}

static void require_negotiated(const uint8_t *packet, size_t size)
{
    const uint32_t needed = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NODATA | SMFIP_NOUNKNOWN;
    const uint32_t widening = SMFIP_NOMAIL | SMFIP_NORCPT; /* prime.h */
    uint32_t steps;

    FUZZ_REQUIRE(size >= 13);
    steps = get_word(packet + 9);
    FUZZ_REQUIRE((get_word(packet + 5) & ~(uint32_t)SMFIF_SETSYMLIST) == 0);
    FUZZ_REQUIRE((steps & needed) == 0 || steps == widening);
}

/* Go on, or a temporary refusal on one line. */
static void require_harmless(const uint8_t *packet, size_t size)
{
    if (packet[0] == SMFIR_CONTINUE || packet[0] == SMFIR_TEMPFAIL) {
        FUZZ_REQUIRE(size == 1);
        return;
    }
    FUZZ_REQUIRE(packet[0] == SMFIR_REPLYCODE && size > 10 && packet[1] == '4' && packet[size - 1] == '\0');
    for (size_t i = 1; i < size - 1; i++)
        FUZZ_REQUIRE(packet[i] >= ' ' && packet[i] <= '~');
}

static void require_answers(const uint8_t *answers, size_t size)
{
    for (size_t at = 0, length; at < size; at += length) {
        FUZZ_REQUIRE(size - at > 4);
        length = get_word(answers + at);
        at += 4;
        FUZZ_REQUIRE(length > 0 && length <= size - at);
        if (answers[at] == SMFIC_OPTNEG && at == 4)
            require_negotiated(answers + at, length);
        else
            require_harmless(answers + at, length);
    }
}

static void converse(const uint8_t *sent, size_t sent_size)
{
    static uint8_t answers[1 << 20];
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t size = 0;
    ssize_t got;

    FUZZ_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(fd, sent, sent_size, MSG_NOSIGNAL) >= 0)
        shutdown(fd, SHUT_WR);
    do {
        got = recv(fd, answers + size, sizeof answers - size, 0);
        size += got > 0 ? (size_t)got : 0;
    } while (got > 0 || (got < 0 && errno == EINTR)); /* libFuzzer's timer; SA_RESTART is of no avail here, signal(7) */
    FUZZ_REQUIRE(got == 0 || errno == ECONNRESET); /* it hung up before it had read all */
    close(fd);
    require_answers(answers, size);
    FUZZ_REQUIRE(session_count() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t sent[SENT_MAX];
    size_t used = 0;

    if (!is_ready)
        start_daemon();
    if (size == 0 || size > SENT_MAX)
        return 0;
    if (data[0] & FLAG_PACKETS)
        used = put_packets(sent, put_negotiation(sent, data[0]), data + 1, size - 1);
    else
        memcpy(sent, data + 1, used = size - 1);
    converse(sent, used);
    return 0;
}
