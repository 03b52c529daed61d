/* A damaged spool file: bytes of a sound one, which has hits in all its tables, changed before the daemon starts.
 *
 * The input is a list of changes: page (one byte), place in it (two bytes), how many bytes (one) and those.
 *
 * fuzz-sources: src/record/spool*.c src/record/hit.c
 * fuzz-libraries: -lsqlite3
 * fuzz-options: -detect_leaks=0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz.h"
#include "record/spool.h"

enum { HITS = 30, READ_MAX = 8, PAGE = 4096, FILE_MAX = 64 * PAGE };

static char folder[64], path[80];
static char sound[FILE_MAX];
static size_t sound_size;

/* All but the file that is written anew. */
static void remove_files(bool all)
{
    DIR *files = opendir(folder);
    struct dirent *entry;
    char name[400];

    FUZZ_REQUIRE(files != NULL);
    while ((entry = readdir(files)) != NULL) {
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        if (all || strcmp(name, path) != 0)
            unlink(name);
    }
    closedir(files);
}

static void finish(void)
{
    remove_files(true);
    rmdir(folder);
}

static struct spool *open_spool(void)
{
    struct spool *spool;
    char why[256];

    return spool_open(&spool, path, INT32_MAX, 0, why, sizeof why) == SPOOL_OK ? spool : NULL;
}

static void put_hit(struct spool *spool)
{
    struct hit hit = {.time_us = 1700000000000000, .client.family = 4};

    FUZZ_REQUIRE(spool_put(spool, &hit) == SPOOL_OK);
}

/* A third of the hits in each table. */
static void make_sound(void)
{
    struct spool *spool = open_spool();
    struct hit hits[HITS];
    size_t count;
    int fd;

    for (int i = 0; i < HITS; i++)
        put_hit(spool);
    FUZZ_REQUIRE(spool_read_inbox(spool, 0, hits, HITS, &count) == SPOOL_OK && count == HITS);
    for (int i = 0; i < HITS; i++)
        hits[i].class = CLASS_TRAP;
    FUZZ_REQUIRE(spool_settle(spool, hits, HITS / 3 * 2) == SPOOL_OK);
    for (int i = 0; i < HITS; i++)
        hit_clear(&hits[i]);
    for (int i = 1; i <= HITS / 3; i++)
        FUZZ_REQUIRE(spool_set_aside(spool, i, "refused") == SPOOL_OK);
    spool_close(&spool);
    fd = open(path, O_RDONLY);
    sound_size = (size_t)read(fd, sound, sizeof sound);
    close(fd);
    FUZZ_REQUIRE(sound_size > 5 * PAGE && sound_size < FILE_MAX);
}

static void begin(void)
{
    snprintf(folder, sizeof folder, "%s/fuzz-spool.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_REQUIRE(mkdtemp(folder) != NULL && atexit(finish) == 0);
    snprintf(path, sizeof path, "%s/db", folder);
    log_set_level(-1);
    make_sound();
}

static void write_damaged(const uint8_t *data, size_t size)
{
    static char damaged[FILE_MAX];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    memcpy(damaged, sound, sound_size);
    while (size > 4) {
        size_t at = (data[0] * PAGE + (data[1] << 8 | data[2])) % sound_size, length = data[3] % 16u + 1;

        data += 4;
        size -= 4;
        if (length > size)
            length = size;
        if (length > sound_size - at)
            length = sound_size - at;
        memcpy(damaged + at, data, length);
        data += length;
        size -= length;
    }
    FUZZ_REQUIRE(fd >= 0 && write(fd, damaged, sound_size) == (ssize_t)sound_size);
    close(fd);
}

static const struct spool_mark *mark_at(struct spool *spool, int64_t number)
{
    static struct spool_mark mark;

    FUZZ_REQUIRE(spool_mark(spool, &mark) == SPOOL_OK);
    mark.number = number;
    return &mark;
}

static size_t read_all(struct spool *spool, bool inbox)
{
    struct hit hits[READ_MAX];
    size_t count, all = 0;
    int64_t after = 0;

    do {
        if (inbox)
            FUZZ_REQUIRE(spool_read_inbox(spool, after, hits, READ_MAX, &count) == SPOOL_OK);
        else
            FUZZ_REQUIRE(spool_read_outbox(spool, mark_at(spool, after), hits, READ_MAX, &count) == SPOOL_OK);
        for (size_t i = 0; i < count; i++) {
            FUZZ_REQUIRE(hits[i].id > after);
            after = hits[i].id;
            FUZZ_REQUIRE(hits[i].client.family != 0 && hits[i].client_name != NULL);
        }
        if (count > 0)
            FUZZ_REQUIRE((inbox ? spool_settle(spool, hits, count) : spool_confirm(spool, mark_at(spool, after))) == SPOOL_OK);
        for (size_t i = 0; i < count; i++)
            hit_clear(&hits[i]);
        all += count;
    } while (count > 0);
    return all;
}

/* It still is a spool, or said to be none of ours; a new one took its place else. */
static bool names_another_format(void)
{
    unsigned char header[72];
    int fd = open(path, O_RDONLY);
    bool whole = read(fd, header, sizeof header) == sizeof header;

    close(fd);
    return whole && (memcmp(header + 60, sound + 60, 4) != 0 || memcmp(header + 68, sound + 68, 4) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spool *spool;

    if (sound_size == 0)
        begin();
    write_damaged(data, size);
    spool = open_spool();
    FUZZ_REQUIRE(spool != NULL || names_another_format());
    if (spool != NULL) {
        FUZZ_REQUIRE(uuid_is_valid(mark_at(spool, 0)->life));
        FUZZ_REQUIRE(read_all(spool, true) <= HITS && read_all(spool, false) <= HITS);
        put_hit(spool);
        FUZZ_REQUIRE(read_all(spool, true) == 1);
    }
    spool_close(&spool);
    remove_files(false);
    return 0;
}
