#include "record/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "record/spool_format.h"
#include "record/spool_row.h"
#include "record/spool_wal.h"

enum {
    BUSY_MS = 2000, /* while somebody writes to the file with sqlite3(1) */
    HOST_SIZE = 64,
    PLACE_SIZE = HOST_SIZE + 24
};

/* IGNORE: what damage left without a value does not fit. */
#define COPY_ASIDE \
    "INSERT OR IGNORE INTO aside (id, " SPOOL_HIT_COLUMNS ", " SPOOL_VERDICT_COLUMNS ", reason) SELECT id, " SPOOL_HIT_COLUMNS ", "

static const char *const statements[SPOOL_STATEMENT_COUNT] = {
    [SPOOL_BEGIN] = "BEGIN IMMEDIATE",
    [SPOOL_COMMIT] = "COMMIT",
    [SPOOL_ROLLBACK] = "ROLLBACK",
    [SPOOL_PUT] = "INSERT INTO inbox (" SPOOL_HIT_COLUMNS ") VALUES (" SPOOL_HIT_MARKS ")",
    [SPOOL_READ_INBOX] = "SELECT id, " SPOOL_HIT_COLUMNS " FROM inbox WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SPOOL_LEAVE_INBOX] = "DELETE FROM inbox WHERE id = ?1",
    [SPOOL_COPY_INBOX] = COPY_ASIDE "'none', '', '', 0, '', '', 'unknown', 'unasked', '', id <= (SELECT doubt_inbox FROM spool), ?2 FROM inbox WHERE id = ?1",
    [SPOOL_SEND] = "INSERT INTO outbox (" SPOOL_HIT_COLUMNS ", " SPOOL_VERDICT_COLUMNS ") VALUES (" SPOOL_HIT_MARKS ", " SPOOL_VERDICT_MARKS ")",
    [SPOOL_READ_OUTBOX] = "SELECT id, " SPOOL_HIT_COLUMNS ", " SPOOL_VERDICT_COLUMNS " FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SPOOL_SET_MARK] = "UPDATE spool SET mark = ?1, mark_link = ?2",
    [SPOOL_SKIP] = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'outbox'",
    [SPOOL_FIND_LINK] = "SELECT id FROM outbox WHERE link = ?1",
    [SPOOL_COUNT_KEPT] = "SELECT count(*) FROM outbox WHERE id BETWEEN 1 AND ?1",
    [SPOOL_COUNT_PASSED] = "SELECT count(*) FROM outbox "
                           "WHERE id > min(?1, (SELECT mark FROM spool)) AND id <= max(?1, (SELECT mark FROM spool))",
    [SPOOL_FORGET] = "DELETE FROM outbox WHERE id BETWEEN 1 AND ?1",
    [SPOOL_FORGET_SOME] = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT ?1)",
    [SPOOL_ANCESTORS] = "SELECT ifnull(group_concat(life), '') FROM (SELECT life FROM ended ORDER BY rowid DESC LIMIT 64)",
    [SPOOL_END_LIFE] = "INSERT INTO ended (life) SELECT life FROM spool",
    [SPOOL_BEGIN_LIFE] = "UPDATE spool SET life = ?1, place = ?2, mark = 0, mark_link = '', "
                         "doubt_inbox = (SELECT seq FROM sqlite_sequence WHERE name = 'inbox')",
    [SPOOL_DOUBT_OUTBOX] = "UPDATE outbox SET doubt = 1 WHERE doubt = 0",
    [SPOOL_DOUBT_ASIDE] = "UPDATE aside SET doubt = 1 WHERE doubt = 0",
    [SPOOL_COPY_OUTBOX] = COPY_ASIDE SPOOL_VERDICT_COLUMNS ", ?2 FROM outbox WHERE id = ?1",
    [SPOOL_LEAVE_OUTBOX] = "DELETE FROM outbox WHERE id = ?1",
    [SPOOL_OLDEST] = "SELECT min(time_us) FROM (SELECT * FROM (SELECT time_us FROM inbox ORDER BY id LIMIT 1) UNION ALL "
                     "SELECT * FROM (SELECT time_us FROM outbox WHERE id > ?1 ORDER BY id LIMIT 1))",
};

void spool_file_note(struct spool_file *file, const char *text)
{
    char line[SPOOL_WHY_SIZE];

    snprintf(line, sizeof line, "%s", text);
    for (char *end = strchr(line, '\n'); end != NULL; end = strchr(end, '\n'))
        *end = ' ';
    text_printable(file->why, SPOOL_WHY_SIZE, line, strlen(line));
}

bool spool_file_is_damage(int result)
{
    return result == SQLITE_CORRUPT || result == SQLITE_NOTADB;
}

int spool_file_run(struct spool_file *file, enum spool_statement which)
{
    sqlite3_stmt *statement = file->prepared[which];
    int result = sqlite3_step(statement);

    sqlite3_reset(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

void spool_file_look_at_age(struct spool_file *file)
{
    sqlite3_stmt *statement = file->prepared[SPOOL_OLDEST];

    if (file->db == NULL)
        return;
    sqlite3_bind_int64(statement, 1, file->tally.mark.number);
    if (sqlite3_step(statement) == SQLITE_ROW)
        file->tally.depth.oldest_us = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
}

static int file_check_whole(struct spool_file *file)
{
    char answer[SPOOL_WHY_SIZE];
    int result = spool_format_text(file->db, "PRAGMA quick_check(1)", answer, sizeof answer);

    if (result != SQLITE_OK || strcmp(answer, "ok") == 0)
        return result;
    spool_file_note(file, answer);
    return SQLITE_CORRUPT;
}

/* Bring the file to our format, and look whether it is whole. */
static int file_check(struct spool_file *file)
{
    struct spool_birth birth = {.last_inbox = file->tally.last_inbox, .last_outbox = file->tally.last_outbox};
    char life[UUID_SIZE];
    int result;

    if (!uuid_draw(life))
        return SQLITE_IOERR;
    birth.life = life;
    result = spool_format_upgrade(file->db, &birth, file->why, sizeof file->why);
    return result == SQLITE_OK && file->seal == NULL ? file_check_whole(file) : result;
}

static int file_prepare(struct spool_file *file)
{
    for (int i = 0; i < SPOOL_STATEMENT_COUNT; i++) {
        int result = sqlite3_prepare_v3(file->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &file->prepared[i],
                                        NULL);

        if (result != SQLITE_OK)
            return result;
    }
    return SQLITE_OK;
}

/* How many of the two sequences fit the numbers that are there. */
#define COUNT_SEQUENCES \
    "SELECT count(*) FROM sqlite_sequence JOIN " \
    "(SELECT 'inbox' AS name, (SELECT min(id) FROM inbox) AS first, (SELECT max(id) FROM inbox) AS last " \
    "UNION ALL SELECT 'outbox', (SELECT min(id) FROM outbox), (SELECT max(id) FROM outbox)) USING (name) " \
    "WHERE typeof(seq) = 'integer' AND seq BETWEEN ifnull(last, 0) AND " SPOOL_NUMBER_MAX_SQL " AND ifnull(first, 1) > 0"

struct question {
    const char *sql;
    int64_t *number;
};

static int file_ask(struct spool_file *file, const struct question *questions, size_t count)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < count && result == SQLITE_OK; i++)
        result = spool_format_number(file->db, questions[i].sql, questions[i].number);
    return result;
}

/* Of each of its rows something is read: that takes its time. */
static int file_count_rows(struct spool_file *file, struct spool_depth *depth)
{
    const struct question questions[] = {
        {"SELECT count(*) FROM inbox", &depth->inbox},
        {"SELECT count(*) FROM outbox WHERE id > (SELECT mark FROM spool)", &depth->outbox},
        {"SELECT count(*) FROM outbox WHERE id <= (SELECT mark FROM spool)", &depth->kept},
        {"SELECT count(*) FROM aside", &depth->aside},
    };

    if (file->seal == NULL)
        return file_ask(file, questions, sizeof questions / sizeof *questions);
    *depth = file->seal->depth;
    return SQLITE_OK;
}

static int file_count(struct spool_file *file)
{
    struct spool_tally tally = {0};
    int64_t sequences = 0;
    const struct question questions[] = {
        {"SELECT mark FROM spool WHERE typeof(mark) = 'integer' AND mark >= 0", &tally.mark.number},
        {"SELECT doubt_inbox FROM spool WHERE typeof(doubt_inbox) = 'integer'", &tally.doubt_inbox},
        {"SELECT seq FROM sqlite_sequence WHERE name = 'inbox'", &tally.last_inbox},
        {"SELECT seq FROM sqlite_sequence WHERE name = 'outbox'", &tally.last_outbox},
        {COUNT_SEQUENCES, &sequences},
    };
    int result = file_count_rows(file, &tally.depth);

    if (result == SQLITE_OK)
        result = file_ask(file, questions, sizeof questions / sizeof *questions);
    if (result == SQLITE_OK)
        result = spool_format_text(file->db, "SELECT life FROM spool", tally.mark.life, sizeof tally.mark.life);
    if (result == SQLITE_OK)
        result = spool_format_text(file->db, "SELECT mark_link FROM spool", tally.mark.link, sizeof tally.mark.link);
    if (result == SQLITE_OK && (!uuid_is_valid(tally.mark.life) || sequences != 2)) {
        spool_file_note(file, "the spool has no identity, or numbers that it never gave");
        result = SQLITE_CORRUPT;
    }
    if (result != SQLITE_OK)
        return result;
    file->tally = tally;
    return SQLITE_OK;
}

/* SQLite would make the file readable for all that the umask lets; -wal and -shm take its mode. */
static bool file_touch(struct spool_file *file)
{
    int fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);

    if (fd < 0) {
        snprintf(file->why, SPOOL_WHY_SIZE, "open: %s", strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

void spool_file_close(struct spool_file *file, bool checkpoint)
{
    if (file->db != NULL && checkpoint)
        sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    for (int i = 0; i < SPOOL_STATEMENT_COUNT; i++) {
        sqlite3_finalize(file->prepared[i]);
        file->prepared[i] = NULL;
    }
    sqlite3_close(file->db);
    file->db = NULL;
    file->wal_inode = 0;
}

/* Where the file is: another host, or another inode, and it may be a copy of the one that we knew. */
static void file_place(const struct spool_file *file, char place[PLACE_SIZE])
{
    char host[HOST_SIZE] = "";
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    struct stat status = {0};
    ssize_t length = fd >= 0 ? read(fd, host, HOST_SIZE - 1) : 0;

    if (fd >= 0)
        close(fd);
    host[length > 0 ? strcspn(host, "\n") : 0] = '\0';
    if (stat(file->path, &status) != 0)
        status.st_ino = 0;
    snprintf(place, PLACE_SIZE, "%s/%llu", host, (unsigned long long)status.st_ino);
}

int spool_file_begin_life(struct spool_file *file)
{
    static const enum spool_statement steps[] = {SPOOL_END_LIFE, SPOOL_BEGIN_LIFE, SPOOL_DOUBT_OUTBOX, SPOOL_DOUBT_ASIDE};
    struct spool_tally *tally = &file->tally;
    char place[PLACE_SIZE];
    int result = SQLITE_OK;

    if (!uuid_draw(tally->mark.life))
        return SQLITE_IOERR;
    file_place(file, place);
    sqlite3_bind_text(file->prepared[SPOOL_BEGIN_LIFE], 1, tally->mark.life, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(file->prepared[SPOOL_BEGIN_LIFE], 2, place, -1, SQLITE_TRANSIENT);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && result == SQLITE_OK; i++)
        result = spool_file_run(file, steps[i]);
    tally->mark.number = 0;
    tally->mark.link[0] = '\0';
    tally->doubt_inbox = tally->last_inbox;
    tally->depth.outbox += tally->depth.kept;
    tally->depth.kept = 0;
    return result;
}

int spool_file_new_life(struct spool_file *file, const char *reason)
{
    int result = spool_file_run(file, SPOOL_BEGIN);

    if (result == SQLITE_OK)
        result = spool_file_begin_life(file);
    if (result == SQLITE_OK)
        result = spool_file_run(file, SPOOL_COMMIT);
    if (result == SQLITE_OK && reason != NULL)
        log_event(LOG_LEVEL_WARNING, "spool-new-life file=%s reason=\"%s\"", file->path, reason);
    return result;
}

/* A new life when the file is not where it was. */
static int file_recognise(struct spool_file *file)
{
    char place[PLACE_SIZE], remembered[PLACE_SIZE];
    int result = spool_format_text(file->db, "SELECT place FROM spool", remembered, sizeof remembered);

    file_place(file, place);
    if (result != SQLITE_OK || strcmp(place, remembered) == 0)
        return result;
    return spool_file_new_life(file, remembered[0] != '\0' ? "the file is not where it was: a copy, or moved" : NULL);
}

static int file_open_once(struct spool_file *file)
{
    int result;

    file->why[0] = '\0';
    if (!file_touch(file))
        return SQLITE_CANTOPEN;
    result = sqlite3_open_v2(file->path, &file->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (file->db == NULL) { /* no memory for that */
        snprintf(file->why, SPOOL_WHY_SIZE, "%s", sqlite3_errstr(result));
        return result;
    }
    /* As found, with its -wal: closing must not write into a file that turns out to be damaged. */
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(file->db, BUSY_MS);
    if (result == SQLITE_OK)
        result = sqlite3_exec(file->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL, NULL);
    /* file_touch() could write: it is the header that forbids it. */
    if (sqlite3_db_readonly(file->db, "main") == 1) {
        spool_file_note(file, "the header forbids to write");
        result = SQLITE_CORRUPT;
    }
    if (result == SQLITE_OK)
        result = file_check(file);
    if (result == SQLITE_OK)
        result = file_prepare(file);
    if (result == SQLITE_OK)
        result = file_count(file);
    if (result == SQLITE_OK)
        result = file_recognise(file);
    if (result != SQLITE_OK) {
        if (file->why[0] == '\0')
            spool_file_note(file, sqlite3_errmsg(file->db));
        spool_file_close(file, false);
    }
    return result == SQLITE_ERROR ? SQLITE_CORRUPT : result; /* our SQL is right: a table is missing, or the like */
}

/* Rename what is under the name, as WHAT it is.  The file first: without its -wal it is an old copy of itself, and nobody could
 * tell. */
static bool file_rename(struct spool_file *file, const char *what)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    int64_t now_us = clock_realtime_us();
    time_t now = (time_t)(now_us / 1000000);
    struct tm broken;
    char stamp[32];
    bool moved = true;

    gmtime_r(&now, &broken);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%S", &broken);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes && moved; i++) {
        char *from = alloc_format("%s%s", file->path, suffixes[i]);
        char *to = alloc_format("%s.%s-%s.%06dZ%s", file->path, what, stamp, (int)(now_us % 1000000), suffixes[i]);

        errno = 0;
        moved = rename(from, to) == 0 || errno == ENOENT;
        if (!moved)
            snprintf(file->why, SPOOL_WHY_SIZE, "%s, and cannot be renamed: %s", what, strerror(errno));
        else if (suffixes[i][0] == '\0' && errno == 0)
            log_event(LOG_LEVEL_ERROR, "spool-damaged file=%s moved_to=%s reason=\"%s\"", from, to, file->why);
        free(from);
        free(to);
    }
    return moved;
}

bool spool_file_set_aside(struct spool_file *file)
{
    spool_file_close(file, false);
    if (!file_rename(file, "damaged"))
        return false;
    file->lost_inbox = file->tally.last_inbox;
    return true;
}

bool spool_file_is_there(struct spool_file *file)
{
    char *wal = alloc_format("%s-wal", file->path);
    struct stat status = {0};
    int moved = 0;

    sqlite3_file_control(file->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (stat(wal, &status) != 0)
        status.st_ino = 0;
    free(wal);
    if (file->wal_inode == 0)
        file->wal_inode = status.st_ino;
    return !moved && file->wal_inode == status.st_ino;
}

/* Durably; what is under the new name goes. */
static bool replace_file(const char *from, const char *to)
{
    char *folder = alloc_text(to), *slash = strrchr(folder, '/');
    int file_fd = open(from, O_RDONLY | O_CLOEXEC), folder_fd;
    bool done = file_fd >= 0 && fsync(file_fd) == 0 && rename(from, to) == 0;

    if (file_fd >= 0)
        close(file_fd);
    if (slash != NULL)
        slash[1] = '\0';
    folder_fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd >= 0) {
        done = fsync(folder_fd) == 0 && done;
        close(folder_fd);
    }
    free(folder);
    return done;
}

/* What spool_file_rescue() wrote takes its place, now or after a crash. */
static bool finish_rescue(struct spool_file *file)
{
    char *rescued = alloc_format("%s.rescued", file->path);
    bool done = true;

    if (access(rescued, F_OK) == 0) {
        snprintf(file->why, SPOOL_WHY_SIZE, "the name led to another file while ours was open");
        done = file_rename(file, "replaced") && replace_file(rescued, file->path);
        log_event(LOG_LEVEL_WARNING, "spool-rescued file=%s", file->path);
    }
    free(rescued);
    return done;
}

int spool_file_rescue(struct spool_file *file)
{
    char *half = alloc_format("%s.rescuing", file->path), *whole = alloc_format("%s.rescued", file->path);
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", half);
    int result, fd;

    unlink(half);
    fd = open(half, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    result = sqlite3_exec(file->db, sql, NULL, NULL, NULL);
    if (result == SQLITE_OK && !replace_file(half, whole))
        result = SQLITE_IOERR;
    if (result != SQLITE_OK)
        spool_file_note(file, sqlite3_errmsg(file->db));
    sqlite3_free(sql);
    free(half);
    free(whole);
    if (result != SQLITE_OK)
        return result;
    spool_file_close(file, false);
    return spool_file_open(file);
}

/* Before SQLite sees it, and forgets what is behind the damage. */
static void mend_wal(const struct spool_file *file)
{
    char *wal = alloc_format("%s-wal", file->path);
    size_t mended = spool_wal_mend(wal);

    if (mended > 0)
        log_event(LOG_LEVEL_WARNING, "spool-mended file=%s bytes=%zu", wal, mended);
    free(wal);
}

/* True when all of the file with SUFFIX can be read, or there is none.  The file is not open here: to close it would give up SQLite's
 * locks, fcntl(2). */
static bool can_be_read(struct spool_file *file, const char *suffix)
{
    enum { BLOCK = 1 << 16 };
    char *path = alloc_format("%s%s", file->path, suffix), block[BLOCK];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length;

    do
        length = fd >= 0 ? read(fd, block, BLOCK) : errno == ENOENT ? 0 : -1;
    while (length > 0);
    if (length < 0)
        snprintf(file->why, SPOOL_WHY_SIZE, "it cannot be read: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    free(path);
    return length == 0;
}

int spool_file_open(struct spool_file *file)
{
    int result;

    if (!finish_rescue(file))
        return SQLITE_CANTOPEN;
    mend_wal(file);
    /* A crash came before the -wal could follow a damaged file: beside a new one, SQLite would delete it. */
    if (access(file->path, F_OK) != 0 && errno == ENOENT && !spool_file_set_aside(file))
        return SQLITE_CANTOPEN;
    result = file_open_once(file);
    file->seal = NULL;
    /* SQLite calls damaged, too, what the disk did not give it.  Such a file may be as good as ever. */
    if (spool_file_is_damage(result))
        result = can_be_read(file, "") && can_be_read(file, "-wal") ? file_open_once(file) : SQLITE_IOERR;
    if (spool_file_is_damage(result) && spool_file_set_aside(file))
        result = file_open_once(file);
    return result;
}

bool spool_file_look(const struct spool_file *file, struct spool_seal *seal)
{
    char *wal = alloc_format("%s-wal", file->path);
    bool has_wal = access(wal, F_OK) == 0;
    struct stat status;
    struct timespec tick;

    free(wal);
    /* Inodes are stamped by this clock, which stands still between its ticks; or in whole seconds, where a file system has no room. */
    if (has_wal || stat(file->path, &status) != 0 || status.st_ctim.tv_nsec == 0 || clock_gettime(CLOCK_REALTIME_COARSE, &tick) != 0)
        return false;
    seal->inode = status.st_ino;
    seal->size = status.st_size;
    seal->changed_ns = (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec;
    return seal->changed_ns != (int64_t)tick.tv_sec * 1000000000 + tick.tv_nsec;
}

void spool_file_retry_aside(struct spool_file *file)
{
    static const char script[] =
        "BEGIN IMMEDIATE;"
        "INSERT INTO outbox (" SPOOL_HIT_COLUMNS ", " SPOOL_VERDICT_COLUMNS ") "
        "SELECT " SPOOL_HIT_COLUMNS ", class, domain, primary_mx, primary_age_ms, primaries, owner, name_state, friend, " SPOOL_FORMAT_LINK ", doubt "
        "FROM aside ORDER BY rowid;"
        "DELETE FROM aside;"
        "COMMIT";
    int64_t aside = file->tally.depth.aside;

    if (aside == 0)
        return;
    if (sqlite3_exec(file->db, script, NULL, NULL, NULL) == SQLITE_OK && file_count(file) == SQLITE_OK)
        log_event(LOG_LEVEL_INFO, "aside-again hits=%lld", (long long)aside);
    else
        sqlite3_exec(file->db, "ROLLBACK", NULL, NULL, NULL);
}
