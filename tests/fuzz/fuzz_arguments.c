/* The arguments of both programs, against a database and a system that are made up: whatever is asked for, what is printed
 * steers no terminal and tells no password, and what is sent to the database are statements of the program's own.
 *
 * An input is four bytes (see struct choices), arguments ended by NUL, and behind an argument that is \xff what files hold
 * and rows of the database.
 *
 * fuzz-sources: tests/fuzz/arguments_daemon.c src/daemon/[!m]*.c src/milter/[a-z]*.c src/judge/[a-z]*.c src/record/[a-z]*.c src/settings/[a-z]*.c src/cli/[!cfmws]*.c src/cli/connect.c src/cli/format.c src/cli/manage.c src/cli/s[act]*.c
 * fuzz-libraries: @tests/fuzz/arguments.wrap -I/usr/include/postgresql -lmilter -lconfuse -lsqlite3 -lpq -lresolv
 * fuzz-options: -max_len=512 */
#define main cli_main
int cli_main(int argc, char **argv);
#include "cli/main.c" /* NOLINT(bugprone-suspicious-include) */
#undef main

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/conninfo.h"
#include "cli/file.h"
#include "fuzz.h"
#include "judge/mx.h"

int daemon_main(int argc, char **argv);

/* Witnesses read real files, and what they read has targets of its own; check asks servers and programs, and setup runs some. */
const struct cli_command witness_commands[] = {{.name = NULL}}, check_commands[] = {{.name = NULL}},
                         setup_commands[] = {{.name = NULL}};

enum { ARGUMENTS_MAX = 80, OUTPUT_MAX = 1 << 20, STATEMENTS_MAX = 400, SQL_MAX = 1 << 16, SECRET_MIN = 5 };

/* How the world is in this run; zeroes are one in which all goes well. */
struct choices {
    bool is_daemon, no_files, no_room, odd_format, command_fails, refused_output, no_user, no_folder;
    enum db_status connect; /* DB_OK or how it fails */
    unsigned fails_at;      /* the statement that fails, from 1 */
    enum db_status failure;
    unsigned answer;        /* what a question about the database's state is answered with */
    unsigned polls;         /* waits until it is to stop */
};

static struct world {
    bool inside; /* the program under test runs, not the fuzzing engine */
    struct choices choices;
    const char *text;
    size_t text_size;
    unsigned statements, waits, open, results;
    char *output;
    size_t output_used;
    FILE *out, *err;
} world;

/* --wrap of the linker asks for these names.
 * NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* Output */

/* cppcheck-suppress constParameter ; the type is fopencookie()'s */
static ssize_t take_output(void *cookie, const char *data, size_t size)
{
    if (cookie == &world.out && world.choices.no_room) {
        errno = ENOSPC;
        return 0;
    }
    FUZZ_REQUIRE(size < OUTPUT_MAX - world.output_used);
    memcpy(world.output + world.output_used, data, size);
    world.output_used += size;
    return (ssize_t)size;
}

static FILE *open_output(FILE **cookie)
{
    return fopencookie(cookie, "w", (cookie_io_functions_t){.write = take_output});
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (!world.inside)
        return __real_write(fd, data, size);
    FUZZ_REQUIRE(fd == STDERR_FILENO);
    return take_output(NULL, data, size);
}

/* Lines of an export are whatever the operator's format makes of the data, without control characters; values of the
 * settings are as the operator wrote them. */
static void check_output(bool is_export)
{
    for (size_t i = 0; i < world.output_used; i++) {
        unsigned char byte = (unsigned char)world.output[i];

        FUZZ_REQUIRE(byte == '\n' || (byte >= ' ' && byte < 0x7f) || (is_export && byte == '\t') ||
                     ((is_export || world.choices.is_daemon) && byte >= 0x80));
    }
}

static bool is_told(const char *secret, char *const *argv)
{
    unsigned given = 0;

    for (; *argv != NULL; argv++)
        for (const char *at = *argv; (at = strstr(at, secret)) != NULL; at++)
            given++;
    /* What was also given otherwise is none. */
    return given == 1 && memmem(world.output, world.output_used, secret, strlen(secret)) != NULL;
}

/* The secret in what was given as a connection string.  Only "s3..." counts: other words are in texts of the program. */
static void check_secret(const char *conninfo, char *const *argv)
{
    PQconninfoOption *options = NULL;

    if (strstr(conninfo, "s3") != NULL)
        options = PQconninfoParse(conninfo, NULL);
    for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
        if (strcmp(option->keyword, "password") == 0 && option->val != NULL && strncmp(option->val, "s3", 2) == 0 &&
            strlen(option->val) >= SECRET_MIN)
            FUZZ_REQUIRE(!is_told(option->val, argv));
    PQconninfoFree(options);
}

/* Behind --database, also misspelt, and behind -d.  What follows another option may be its value, and is told as such. */
static void check_secrets(int argc, char *const *argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *equals = strchr(argv[i], '=');
        bool is_value = i > 1 && *argv[i - 1] == '-';

        if (!is_value && strncmp(argv[i], "--d", 3) == 0 && equals != NULL)
            check_secret(equals + 1, argv);
        else if (!is_value && strncmp(argv[i], "-d", 2) == 0)
            check_secret(argv[i] + 2, argv);
        if (i + 1 < argc && (strcmp(argv[i], "-d") == 0 || strcmp(argv[i], "--database") == 0))
            check_secret(argv[i + 1], argv);
    }
}

/* SQL */

/* Behind the literal at SQL; ends this program when it has no end, or reads otherwise by standard_conforming_strings. */
static const char *literal_end(const char *sql, bool escapes)
{
    for (sql++;; sql++) {
        FUZZ_REQUIRE(*sql != '\0' && (escapes || *sql != '\\'));
        if (*sql == '\\' || (*sql == '\'' && sql[1] == '\''))
            sql++;
        else if (*sql == '\'')
            return sql + 1;
        FUZZ_REQUIRE(*sql != '\0');
    }
}

/* SQL with its literals and numbers taken out, so that nothing of an argument is left. */
static size_t skeleton(const char *sql, char *out)
{
    static const char again[] = "inet ',inet '"; /* one more address */
    size_t used = 0;
    char before = ' ';

    while (*sql != '\0') {
        bool within = isalnum((unsigned char)before) || before == '_';

        FUZZ_REQUIRE(used < SQL_MAX && (*sql == '\n' || (*sql >= ' ' && *sql < 0x7f)) && *sql != '$');
        before = *sql;
        if (*sql == '\'' || (*sql == 'E' && sql[1] == '\'')) {
            sql = literal_end(sql + (*sql == 'E'), *sql == 'E');
            out[used++] = '\'';
            if (used >= sizeof again && memcmp(out + used + 1 - sizeof again, again, sizeof again - 1) == 0)
                used -= strlen(",inet '");
        } else if (isdigit((unsigned char)*sql) && !within) {
            sql += strspn(sql, "0123456789");
            out[used++] = '0';
        } else if (strncmp(sql, "--", 2) == 0) {
            sql = strchrnul(sql, '\n');
        } else {
            FUZZ_REQUIRE(*sql != '"' && strncmp(sql, "/*", 2) != 0);
            out[used++] = *sql++;
        }
    }
    return used;
}

/* The program knows so many statements; what an argument could smuggle into one makes more of them without end. */
static void check_sql(const char *sql)
{
    static uint64_t seen[STATEMENTS_MAX];
    static size_t count;
    static char out[SQL_MAX];
    uint64_t hash = 14695981039346656037u;
    size_t used = skeleton(sql, out);

    for (size_t i = 0; i < used; i++)
        hash = (hash ^ (unsigned char)out[i]) * 1099511628211u;
    for (size_t i = 0; i < count; i++)
        if (seen[i] == hash)
            return;
    FUZZ_REQUIRE(count < STATEMENTS_MAX);
    seen[count++] = hash;
}

/* The database */

struct db {
    const char *why;
};

struct db_result {
    const char *values[2];
    size_t rows; /* all alike */
};

static enum db_status fail_as(struct db *db, enum db_status status)
{
    db->why = status == DB_OK ? "" : status == DB_DENIED ? "database \"x\" does not exist" : "made up";
    return status;
}

static enum db_status answer(struct db *db, const char *sql)
{
    FUZZ_REQUIRE(world.open == 1);
    check_sql(sql);
    return fail_as(db, ++world.statements == world.choices.fails_at ? world.choices.failure : DB_OK);
}

enum db_status __wrap_db_connect(struct db **db, const char *conninfo, const char *application, int timeout_ms, int stop_fd);
enum db_status __wrap_db_connect(struct db **db, const char *conninfo, const char *application, int timeout_ms, int stop_fd)
{
    (void)timeout_ms;
    (void)stop_fd;
    FUZZ_REQUIRE(conninfo_fault(conninfo) == NULL && strcmp(application, "hunnypot") == 0 && world.open++ == 0);
    *db = alloc_zeroed(1, sizeof **db);
    return fail_as(*db, world.choices.connect);
}

void __wrap_db_close(struct db **db);
void __wrap_db_close(struct db **db)
{
    world.open -= *db != NULL;
    free(*db);
    *db = NULL;
}

const char *__wrap_db_why(const struct db *db);
const char *__wrap_db_why(const struct db *db)
{
    return db->why;
}

enum db_status __wrap_db_query(struct db *db, int timeout_ms, const char *sql, const struct db_param *params,
                               size_t param_count, struct db_result **result);
enum db_status __wrap_db_query(struct db *db, int timeout_ms, const char *sql, const struct db_param *params,
                               size_t param_count, struct db_result **result)
{
    static const char *const numbers[] = {"2", "1", "0", "3"}, *const jsons[] = {"{}", "{\"a\" : 1}", "{\"a\" : 2}"};
    enum db_status status = answer(db, sql);
    unsigned choice = world.choices.answer;
    struct db_result made = {.values = {numbers[choice & 3], "2026-11-23 12:00:00+00"}, .rows = 1};

    (void)timeout_ms;
    (void)params;
    (void)param_count;
    if (status != DB_OK || result == NULL)
        return status;
    if (strstr(sql, "IS NOT NULL") != NULL || strstr(sql, "allow_del") != NULL)
        made.values[0] = (choice & 3) != 2 ? "t" : "f";
    else if (strstr(sql, "publish_check") != NULL)
        made.values[0] = choice & 4 ? "it grew too fast" : NULL;
    else if (strstr(sql, "server_version_num") != NULL)
        made.values[0] = choice & 4 ? "130014" : "150008";
    else if (strstr(sql, "json_object_agg") != NULL)
        made.values[0] = jsons[world.statements % 3];
    else if (strstr(sql, "expire()") != NULL) /* a few steps, or a partition that is in use */
        made = (struct db_result){.values = {"hits", choice & 4 ? NULL : numbers[world.statements % 3]}, .rows = choice};
    *result = alloc_zeroed(1, sizeof **result);
    **result = made;
    world.results++;
    return status;
}

enum db_status __wrap_db_query_texts(struct db *db, int timeout_ms, const char *sql, const char *const *texts,
                                     size_t text_count, struct db_result **result);
enum db_status __wrap_db_query_texts(struct db *db, int timeout_ms, const char *sql, const char *const *texts,
                                     size_t text_count, struct db_result **result)
{
    char *plain = alloc_zeroed(strlen(sql) + 1, 1), *out = plain;
    enum db_status status;

    for (size_t i = 0; i < text_count; i++)
        FUZZ_REQUIRE(texts[i] != NULL);
    for (; *sql != '\0'; sql++)
        if (*sql != '$')
            *out++ = *sql;
    status = __wrap_db_query(db, timeout_ms, plain, NULL, 0, result);
    free(plain);
    return status;
}

enum db_status __wrap_db_script(struct db *db, int timeout_ms, const char *sql);
enum db_status __wrap_db_script(struct db *db, int timeout_ms, const char *sql)
{
    (void)timeout_ms;
    return answer(db, sql);
}

size_t __wrap_db_rows(const struct db_result *result);
size_t __wrap_db_rows(const struct db_result *result)
{
    return result->rows;
}

size_t __wrap_db_columns(const struct db_result *result);
size_t __wrap_db_columns(const struct db_result *result)
{
    (void)result;
    return 3;
}

const char *__wrap_db_column_name(const struct db_result *result, size_t column);
const char *__wrap_db_column_name(const struct db_result *result, size_t column)
{
    static const char *const names[] = {"network", "first_seen", "reason"};

    (void)result;
    return names[column];
}

unsigned __wrap_db_column_type(const struct db_result *result, size_t column);
unsigned __wrap_db_column_type(const struct db_result *result, size_t column)
{
    static const unsigned types[] = {16 /* bool */, 25 /* text */, 1009 /* text[] */};

    (void)result;
    FUZZ_REQUIRE(column < 3);
    return types[(world.choices.answer + column) % 3];
}

const char *__wrap_db_value(const struct db_result *result, size_t row, size_t column);
const char *__wrap_db_value(const struct db_result *result, size_t row, size_t column)
{
    FUZZ_REQUIRE(row < result->rows && column < 2);
    return result->values[column];
}

void __wrap_db_result_free(struct db_result **result);
void __wrap_db_result_free(struct db_result **result)
{
    world.results -= *result != NULL;
    free(*result);
    *result = NULL;
}

/* One line of the input's text as PostgreSQL sends it: JSON and CSV are well formed, whatever is in them. */
static void print_piece(FILE *piece, const char *sql, const char *line, size_t length)
{
    bool json = strstr(sql, "json") != NULL, csv = strstr(sql, "FORMAT csv") != NULL;

    fputs(json ? "{\"a\": \"" : csv ? "\"" : "", piece);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)line[i];

        if (json && (byte < ' ' || byte == '"' || byte == '\\'))
            fprintf(piece, "\\\\u%04x", byte);
        else
            fprintf(piece, csv && byte == '"' ? "\"\"" : "%c", byte);
    }
    fputs(json ? "\"}\n" : csv ? "\"\n" : "\n", piece);
}

enum db_status __wrap_db_copy_out(struct db *db, int timeout_ms, const char *sql,
                                  bool (*sink)(void *context, const char *data, size_t length), void *context);
enum db_status __wrap_db_copy_out(struct db *db, int timeout_ms, const char *sql,
                                  bool (*sink)(void *context, const char *data, size_t length), void *context)
{
    enum db_status status = answer(db, sql);
    const char *line = world.text, *end = line + world.text_size, *next;

    (void)timeout_ms;
    for (; status == DB_OK && line < end; line = next + 1) {
        char *data = NULL;
        size_t size = 0;
        FILE *piece = open_memstream(&data, &size);

        FUZZ_REQUIRE(piece != NULL);
        if ((next = memchr(line, '\n', (size_t)(end - line))) == NULL)
            next = end;
        print_piece(piece, sql, line, (size_t)(next - line));
        fclose(piece);
        if (!sink(context, data, size))
            status = fail_as(db, DB_ERROR);
        free(data);
    }
    return status;
}

enum db_status __wrap_db_wait_notify(struct db *db, int timeout_ms, char **channel, char **payload);
enum db_status __wrap_db_wait_notify(struct db *db, int timeout_ms, char **channel, char **payload)
{
    (void)timeout_ms;
    *channel = world.choices.answer & 4 ? alloc_text("hunnypot_hit") : NULL;
    *payload = *channel != NULL ? alloc_text("1") : NULL;
    if (++world.waits < 3)
        return DB_OK;
    free(*channel);
    free(*payload);
    *channel = *payload = NULL;
    return fail_as(db, world.choices.answer & 8 ? DB_UNREACHABLE : DB_STOPPED);
}

/* Files */

int file_read(const char *path, char **text)
{
    static const char format[] = "-- consumer: none\n-- parameter: a = 1  what\n-- parameter: b-2 =\nSELECT :'a' || :'b-2' AS x;\n";
    size_t length = strlen(path);

    *text = NULL;
    if (world.choices.no_files)
        return cli_fail("%s: %s", path, strerror(ENOENT));
    if (length > 4 && strcmp(path + length - 4, ".sql") == 0)
        *text = alloc_text(world.choices.odd_format ? "SELECT 'x', :'c'" : format);
    else
        *text = alloc_format("%.*s", (int)world.text_size, world.text);
    return CLI_OK;
}

struct file_replacement {
    const char *target;
};

int file_replace_begin(struct file_replacement **replacement, const struct cli *cli, const char *target)
{
    static struct file_replacement one;

    (void)cli;
    one.target = target;
    *replacement = &one;
    return world.choices.refused_output ? cli_fail("%s: %s", target, strerror(EACCES)) : CLI_OK;
}

bool file_replace_write(struct file_replacement *replacement, const char *data, size_t length)
{
    (void)data;
    FUZZ_REQUIRE(length > 0);
    if (world.choices.no_room)
        cli_fail("%s: %s", replacement->target, strerror(ENOSPC));
    return !world.choices.no_room;
}

bool file_replace_is_noted(const struct file_replacement *replacement, const char *note)
{
    (void)replacement;
    (void)note;
    return world.choices.odd_format;
}

int file_replace_commit(struct file_replacement *replacement, const char *note, bool *changed)
{
    (void)replacement;
    (void)note;
    *changed = !world.choices.odd_format;
    return CLI_OK;
}

void file_replace_owe(struct file_replacement *replacement)
{
    (void)replacement;
}

bool file_is_owed(const char *path)
{
    (void)path;
    return false;
}

void file_settle(const char *path)
{
    (void)path;
}

void file_replace_end(struct file_replacement **replacement)
{
    *replacement = NULL;
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    static int fd = -1;
    char own[64];

    if (!world.inside)
        return __real_fopen(path, mode);
    FUZZ_REQUIRE(*mode == 'r');
    if (world.choices.no_files) {
        errno = ENOENT;
        return NULL;
    }
    if (fd < 0)
        fd = memfd_create("settings", MFD_CLOEXEC);
    FUZZ_REQUIRE(pwrite(fd, world.text, world.text_size, 0) == (ssize_t)world.text_size &&
                 ftruncate(fd, (off_t)world.text_size) == 0);
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    return __real_fopen(own, mode);
}

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
    const char *name = strrchr(path, '/');

    if (!world.inside)
        return __real_access(path, mode);
    FUZZ_REQUIRE(name != NULL && strspn(name + 1, "abcdefghijklmnopqrstuvwxyz0123456789_-") + 5 == strlen(name));
    if (!world.choices.no_files)
        return 0;
    errno = ENOENT;
    return -1;
}

int __wrap_scandir(const char *path, struct dirent ***entries, int (*wanted)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **));
int __wrap_scandir(const char *path, struct dirent ***entries, int (*wanted)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **))
{
    static const char *const names[] = {"001-a.sql", "002-b.sql", "\x1b[2J.sql", "x"};
    int count = 0;

    (void)path;
    (void)compare;
    if (world.choices.no_folder) {
        errno = ENOENT;
        return -1;
    }
    *entries = alloc_zeroed(sizeof names / sizeof *names, sizeof **entries);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct dirent *entry = alloc_zeroed(1, sizeof *entry);

        strcpy(entry->d_name, names[i]);
        if (wanted(entry))
            (*entries)[count++] = entry;
        else
            free(entry);
    }
    return count;
}

int __real_stat(const char *path, struct stat *status);
int __wrap_stat(const char *path, struct stat *status);
int __wrap_stat(const char *path, struct stat *status)
{
    if (!world.inside)
        return __real_stat(path, status);
    *status = (struct stat){.st_mode = world.choices.odd_format ? S_IFREG : S_IFDIR};
    errno = ENOENT;
    return world.choices.no_folder ? -1 : 0;
}

/* Users and processes */

static struct passwd a_user = {.pw_name = (char *)"fuzz", .pw_uid = 1000, .pw_gid = 1000};
static struct group a_group = {.gr_name = (char *)"fuzz", .gr_gid = 1000};

struct passwd *__wrap_getpwuid(uid_t uid);
struct passwd *__wrap_getpwuid(uid_t uid)
{
    (void)uid;
    return world.choices.no_user ? NULL : &a_user;
}

struct passwd *__wrap_getpwnam(const char *name);
struct passwd *__wrap_getpwnam(const char *name)
{
    (void)name;
    return world.choices.no_user ? NULL : &a_user;
}

struct group *__wrap_getgrnam(const char *name);
struct group *__wrap_getgrnam(const char *name)
{
    (void)name;
    return world.choices.no_user ? NULL : &a_group;
}

int __real_isatty(int fd);
int __wrap_isatty(int fd);
int __wrap_isatty(int fd)
{
    return world.inside ? 0 : __real_isatty(fd);
}

pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
    return world.inside ? 2 : __real_fork();
}

int __wrap_execl(const char *path, const char *argument, ...);
int __wrap_execl(const char *path, const char *argument, ...)
{
    (void)path;
    (void)argument;
    FUZZ_REQUIRE(false);
}

pid_t __real_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
    if (!world.inside)
        return __real_waitpid(pid, status, options);
    *status = !world.choices.command_fails ? 0 : world.choices.answer & 1 ? 9 : 0x100; /* killed, or exit status 1 */
    return pid;
}

/* DNS has targets of its own; nobody is asked here. */
const char *__wrap_prime_ping(const char *socket);
const char *__wrap_prime_ping(const char *socket)
{
    (void)socket;
    return world.choices.command_fails ? "Connection refused" : NULL;
}

void __wrap_mx_names_resolve(const struct settings_dns *config, const struct ipaddr *address, const atomic_bool *stop,
                             struct mx_names *names);
void __wrap_mx_names_resolve(const struct settings_dns *config, const struct ipaddr *address, const atomic_bool *stop,
                             struct mx_names *names)
{
    (void)config, (void)address, (void)stop;
    *names = (struct mx_names){.status = MX_OK, .count = 1, .list = {"a.example"}};
}

enum mx_status __wrap_mx_text_find(const struct settings_dns *config, const char *name, const char *text, const atomic_bool *stop);
enum mx_status __wrap_mx_text_find(const struct settings_dns *config, const char *name, const char *text, const atomic_bool *stop)
{
    (void)config, (void)name, (void)text, (void)stop;
    return MX_OK;
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (!world.inside)
        return __real_poll(fds, count, timeout_ms);
    return timeout_ms > 0 && world.choices.polls-- == 0 ? 1 : 0;
}

/* What is started is no process: nobody waits for it, and nobody else is hit. */
int __wrap_pidfd_open(pid_t pid, unsigned flags);
int __wrap_pidfd_open(pid_t pid, unsigned flags)
{
    (void)pid;
    (void)flags;
    errno = ENOSYS;
    return -1;
}

int __real_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number)
{
    return world.inside ? 0 : __real_kill(pid, number);
}

/* The daemon does not start. */
int __wrap_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags)
{
    (void)fd;
    (void)set;
    (void)flags;
    errno = EMFILE;
    return world.choices.is_daemon ? -1 : 1000;
}

int __real_sigprocmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    return world.inside ? 0 : __real_sigprocmask(how, set, old);
}

int __real_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return world.inside ? 0 : __real_pthread_sigmask(how, set, old);
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* A run */

enum { CHOICE_BYTES = 4 };

static enum db_status failure(unsigned number)
{
    static const enum db_status failures[] = {DB_UNREACHABLE, DB_DENIED, DB_MISSING, DB_ERROR};

    return failures[number % 4];
}

static struct choices choose(const uint8_t *bytes)
{
    return (struct choices){
        .is_daemon = bytes[0] & 1,
        .no_files = bytes[0] & 2,
        .no_room = bytes[0] & 4,
        .odd_format = bytes[0] & 8,
        .command_fails = bytes[0] & 16,
        .refused_output = bytes[0] & 32,
        .no_user = bytes[0] & 64,
        .no_folder = bytes[0] & 128,
        .connect = bytes[1] & 4 ? failure(bytes[1]) : DB_OK,
        .polls = bytes[1] >> 6,
        .fails_at = bytes[2] & 15,
        .failure = failure(bytes[2] >> 4),
        .answer = bytes[3],
    };
}

/* Point ARGV into COPY, which holds the arguments; the rest is the text. */
static int split(char *copy, size_t size, char **argv)
{
    char *end = copy + size, *next;
    int argc = 1;

    world.text = end;
    for (; copy < end && argc < ARGUMENTS_MAX; copy = next) {
        next = copy + strlen(copy) + 1;
        if (strcmp(copy, "\xff") == 0) {
            world.text = next < end ? next : end;
            break;
        }
        argv[argc++] = copy;
    }
    world.text_size = strlen(world.text);
    argv[argc] = NULL;
    return argc;
}

static int run_program(int argc, char **argv)
{
    FILE *old_out = stdout, *old_err = stderr;
    int status;

    cli_begin(NULL);
    optind = 0;
    stdout = world.out;
    stderr = world.err;
    world.inside = true;
    status = world.choices.is_daemon ? daemon_main(argc, argv) : cli_main(argc, argv);
    fflush(stdout);
    fflush(stderr);
    world.inside = false;
    clearerr(stdout);
    stdout = old_out;
    stderr = old_err;
    return status;
}

static bool is_status(int status)
{
    if (status == 0 || status == CLI_FAILED || status == CLI_USAGE)
        return true;
    if (world.choices.is_daemon)
        return status == 78; /* EX_CONFIG */
    if (cli_running() == status_commands)
        return status == 2 || status == 3; /* as monitoring plugins have it */
    return status == 2 && cli_running() != NULL && strcmp(cli_running()->name, "listed") == 0;
}

static void prepare(void)
{
    unsetenv("HUNNYPOT_DATABASE");
    unsetenv("HUNNYPOT_DATADIR");
    unsetenv("HUNNYPOT_EXPORT_DIR");
    unsetenv("SUDO_USER");
    unsetenv("JOURNAL_STREAM");
    world.output = alloc_zeroed(OUTPUT_MAX, 1);
    world.out = open_output(&world.out);
    world.err = open_output(&world.err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[ARGUMENTS_MAX + 1] = {(char *)"hunnypot"}, *given[ARGUMENTS_MAX + 1], *copy;
    int argc, status;

    if (world.out == NULL)
        prepare();
    if (size < CHOICE_BYTES)
        return 0;
    world.choices = choose(data);
    world.statements = world.waits = 0;
    world.output_used = 0;
    copy = alloc_zeroed(size - CHOICE_BYTES + 1, 1);
    memcpy(copy, data + CHOICE_BYTES, size - CHOICE_BYTES);
    argc = split(copy, size - CHOICE_BYTES, argv);
    memcpy(given, argv, sizeof given); /* getopt changes their order */
    status = run_program(argc, argv);
    FUZZ_REQUIRE(is_status(status) && world.open == 0 && world.results == 0);
    check_output(cli_running() == export_commands);
    check_secrets(argc, given);
    free(copy);
    return 0;
}
