/* Preloaded into a program: its N-th allocation, or N-th system call, fails, and some behind it.
 *
 * FAULT_KIND is "memory" or "system" (or "thread", for those calls that make one), FAULT_AT the number of the first that fails (0: none), FAULT_COUNT how many do; FAULT_LOG
 * is a file to which what failed, and where, is appended, and in the end how many calls there were. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,bugprone-macro-parentheses): it takes the place of libc's */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FRAMES = 16 };

enum kind { KIND_NONE, KIND_MEMORY, KIND_SYSTEM, KIND_THREAD };

static enum kind chosen;
static long first, how_many;
static int log_fd = -1;
static atomic_long calls;

__attribute__((constructor)) static void choose(void)
{
    const char *kind = getenv("FAULT_KIND"), *at = getenv("FAULT_AT"), *count = getenv("FAULT_COUNT"), *path = getenv("FAULT_LOG");

    if (kind == NULL || at == NULL || count == NULL || path == NULL)
        return;
    first = strtol(at, NULL, 10);
    how_many = strtol(count, NULL, 10);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    chosen = strcmp(kind, "memory") == 0 ? KIND_MEMORY : strcmp(kind, "thread") == 0 ? KIND_THREAD : KIND_SYSTEM;
}

static void note(const char *name, long number)
{
    char line[80];
    int length = snprintf(line, sizeof line, "%s %ld\n", name, number);

    syscall(SYS_write, log_fd, line, (size_t)length);
}

__attribute__((destructor)) static void tell(void)
{
    if (chosen != KIND_NONE)
        note("calls", calls);
}

static bool fails(enum kind kind, const char *name, int error)
{
    static _Thread_local bool inside;
    void *frames[FRAMES];
    long number;

    if (kind != chosen || inside)
        return false;
    number = ++calls;
    if (first == 0 || number < first || number >= first + how_many)
        return false;
    inside = true;
    note(name, number);
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES), log_fd);
    inside = false;
    errno = error;
    return true;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    return fails(KIND_MEMORY, "malloc", ENOMEM) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(KIND_MEMORY, "calloc", ENOMEM) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(KIND_MEMORY, "realloc", ENOMEM) ? NULL : __libc_realloc(old, size);
}

#define SYSTEM(type, name, failed, error, parameters, arguments) \
    type name parameters \
    { \
        static type(*real) parameters; \
        if (fails(KIND_SYSTEM, #name, error)) \
            return failed; \
        if (real == NULL) \
            *(void **)&real = dlsym(RTLD_NEXT, #name); \
        return real arguments; \
    }

/* A pipe or an eventfd has room or has not, and never fails.  The log never does either: it is what the test goes by. */
ssize_t write(int fd, const void *data, size_t size)
{
    struct stat status;

    if (fd != STDERR_FILENO && fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISSOCK(status.st_mode)) &&
        fails(KIND_SYSTEM, "write", S_ISREG(status.st_mode) ? ENOSPC : ECONNRESET))
        return -1;
    return syscall(SYS_write, fd, data, size);
}
SYSTEM(ssize_t, pwrite64, -1, ENOSPC, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
SYSTEM(ssize_t, read, -1, EIO, (int fd, void *data, size_t size), (fd, data, size))
SYSTEM(ssize_t, pread64, -1, EIO, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
SYSTEM(int, fsync, -1, EIO, (int fd), (fd))
SYSTEM(int, fdatasync, -1, EIO, (int fd), (fd))
SYSTEM(int, ftruncate64, -1, EIO, (int fd, off64_t size), (fd, size))
SYSTEM(int, rename, -1, EIO, (const char *from, const char *to), (from, to))
SYSTEM(int, unlink, -1, EIO, (const char *path), (path))
SYSTEM(int, flock, -1, EIO, (int fd, int operation), (fd, operation))
SYSTEM(int, socket, -1, EMFILE, (int family, int type, int protocol), (family, type, protocol))
SYSTEM(int, connect, -1, ENETUNREACH, (int fd, const struct sockaddr *to, socklen_t length), (fd, to, length))
SYSTEM(int, listen, -1, EADDRINUSE, (int fd, int backlog), (fd, backlog))
SYSTEM(int, accept, -1, EMFILE, (int fd, struct sockaddr *from, socklen_t *length), (fd, from, length))
SYSTEM(ssize_t, send, -1, ECONNRESET, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
SYSTEM(ssize_t, recv, -1, ECONNRESET, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
SYSTEM(int, poll, -1, ENOMEM, (struct pollfd *fds, nfds_t count, int ms), (fds, count, ms))
SYSTEM(int, eventfd, -1, EMFILE, (unsigned value, int flags), (value, flags))
SYSTEM(int, signalfd, -1, EMFILE, (int fd, const sigset_t *set, int flags), (fd, set, flags))
SYSTEM(ssize_t, getrandom, -1, EIO, (void *data, size_t size, unsigned flags), (data, size, flags))
SYSTEM(void *, mmap64, MAP_FAILED, ENOMEM, (void *at, size_t size, int how, int flags, int fd, off64_t offset),
       (at, size, how, flags, fd, offset))
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    if (fails(KIND_SYSTEM, "pthread_create", EAGAIN) || fails(KIND_THREAD, "pthread_create", EAGAIN))
        return EAGAIN;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, run, argument);
}

#define SYSTEM_OPEN(name, first_parameter, first_argument) \
    int name first_parameter \
    { \
        static int(*real) first_parameter; \
        va_list rest; \
        mode_t mode; \
        if (fails(KIND_SYSTEM, #name, EMFILE)) \
            return -1; \
        if (real == NULL) \
            *(void **)&real = dlsym(RTLD_NEXT, #name); \
        va_start(rest, flags); \
        mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return real first_argument; \
    }

SYSTEM_OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
SYSTEM_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
SYSTEM_OPEN(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,bugprone-macro-parentheses) */
