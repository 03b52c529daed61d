#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/alloc.h"
#include "power_vfs.h"

enum { FILES_MAX = 8, SECTOR = 512 };

/* What was done to a file since its last sync. */
struct change {
    struct change *next;
    sqlite3_int64 offset, size;
    bool is_truncation;
    unsigned char data[];
};

struct disk_file {
    char path[256];
    unsigned char *synced;
    sqlite3_int64 size, room;
    bool is_gone;
    struct change *first, **end;
};

struct shim {
    sqlite3_file base;
    struct disk_file *disk; /* NULL: what a power cut does to it does not matter */
    sqlite3_file *real;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct disk_file files[FILES_MAX];
static size_t file_count;
static sqlite3_vfs *real_vfs, vfs;
static int64_t events, cut_before = -1;
static uint64_t random_state;
static bool disk_lies;

static bool tossed(void)
{
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return random_state >> 63;
}

static void image_resize(struct disk_file *file, sqlite3_int64 size)
{
    if (size > file->room) {
        file->room = size * 2 + SECTOR;
        file->synced = realloc(file->synced, (size_t)file->room);
        if (file->synced == NULL)
            abort();
    }
    if (size > file->size)
        memset(file->synced + file->size, 0, (size_t)(size - file->size));
    file->size = size;
}

/* Apply what was done since the last sync: all of it, or any part. */
static void image_apply(struct disk_file *file, bool whole)
{
    for (struct change *change = file->first, *next; change != NULL; change = next) {
        next = change->next;
        if (change->is_truncation && (whole || tossed()))
            image_resize(file, change->size);
        for (sqlite3_int64 at = 0; !change->is_truncation && at < change->size; at += SECTOR) {
            sqlite3_int64 part = change->size - at < SECTOR ? change->size - at : SECTOR;

            if (!whole && !tossed())
                continue;
            if (change->offset + at + part > file->size)
                image_resize(file, change->offset + at + part);
            memcpy(file->synced + change->offset + at, change->data + at, (size_t)part);
        }
        free(change);
    }
    file->first = NULL;
    file->end = &file->first;
}

static void power_cut(void)
{
    for (size_t i = 0; i < file_count; i++) {
        int fd = files[i].is_gone ? -1 : open(files[i].path, O_WRONLY | O_CREAT, 0600);

        if (files[i].is_gone)
            continue;
        image_apply(&files[i], false);
        if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, files[i].synced, (size_t)files[i].size, 0) != files[i].size)
            abort();
    }
    _exit(POWER_CUT);
}

/* To be called with the mutex held. */
static void event(void)
{
    if (events++ == cut_before)
        power_cut();
}

static void change_add(struct disk_file *file, bool is_truncation, const void *data, sqlite3_int64 offset, sqlite3_int64 size)
{
    struct change *change = alloc_zeroed(1, sizeof *change + (is_truncation ? 0 : (size_t)size));

    change->offset = offset;
    change->size = size;
    change->is_truncation = is_truncation;
    if (!is_truncation)
        memcpy(change->data, data, (size_t)size);
    *file->end = change;
    file->end = &change->next;
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct shim *)file)->real;
}

static int shim_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 offset)
{
    struct disk_file *disk = ((struct shim *)file)->disk;

    pthread_mutex_lock(&mutex);
    if (disk != NULL) {
        event();
        change_add(disk, false, data, offset, size);
    }
    pthread_mutex_unlock(&mutex);
    return real_of(file)->pMethods->xWrite(real_of(file), data, size, offset);
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct disk_file *disk = ((struct shim *)file)->disk;

    pthread_mutex_lock(&mutex);
    if (disk != NULL) {
        event();
        change_add(disk, true, NULL, 0, size);
    }
    pthread_mutex_unlock(&mutex);
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int shim_sync(sqlite3_file *file, int flags)
{
    struct disk_file *disk = ((struct shim *)file)->disk;

    (void)flags;
    pthread_mutex_lock(&mutex);
    if (disk != NULL) {
        event();
        if (!disk_lies)
            image_apply(disk, true);
    }
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

/* Methods that only pass on. */
#define PASS(NAME, METHOD, PARAMETERS, ...) \
    static int NAME PARAMETERS \
    { \
        return real_of(file)->pMethods->METHOD(real_of(file), ##__VA_ARGS__); \
    }
PASS(shim_read, xRead, (sqlite3_file * file, void *data, int size, sqlite3_int64 offset), data, size, offset)
PASS(shim_size, xFileSize, (sqlite3_file * file, sqlite3_int64 *size), size)
PASS(shim_lock, xLock, (sqlite3_file * file, int level), level)
PASS(shim_unlock, xUnlock, (sqlite3_file * file, int level), level)
PASS(shim_check_lock, xCheckReservedLock, (sqlite3_file * file, int *found), found)
PASS(shim_control, xFileControl, (sqlite3_file * file, int what, void *argument), what, argument)
PASS(shim_sector, xSectorSize, (sqlite3_file * file))
PASS(shim_device, xDeviceCharacteristics, (sqlite3_file * file))
PASS(shim_shm_map, xShmMap, (sqlite3_file * file, int page, int size, int extend, void volatile **at), page, size, extend, at)
PASS(shim_shm_lock, xShmLock, (sqlite3_file * file, int offset, int count, int flags), offset, count, flags)
PASS(shim_shm_unmap, xShmUnmap, (sqlite3_file * file, int remove), remove)

static void shim_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int shim_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

/* Version 2: without xFetch, by which a file could be read past xRead. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_check_lock,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_device,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

/* What the disk has of PATH when it is opened first. */
static struct disk_file *disk_find(const char *path)
{
    struct disk_file *file = NULL;
    int fd;

    for (size_t i = 0; i < file_count; i++) {
        if (strcmp(files[i].path, path) == 0) {
            files[i].is_gone = false;
            return &files[i];
        }
    }
    if (file_count == FILES_MAX)
        abort();
    file = &files[file_count++];
    snprintf(file->path, sizeof file->path, "%s", path);
    file->end = &file->first;
    fd = open(path, O_RDONLY);
    if (fd >= 0) {
        image_resize(file, lseek(fd, 0, SEEK_END));
        if (pread(fd, file->synced, (size_t)file->size, 0) != file->size)
            abort();
        /* To close it would give up SQLite's locks, fcntl(2). */
    }
    return file;
}

static int shim_open(sqlite3_vfs *self, const char *path, sqlite3_file *file, int flags, int *given)
{
    const int lasting = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL;
    struct shim *shim = (struct shim *)file;
    int result;

    (void)self;
    shim->real = (sqlite3_file *)(shim + 1);
    result = real_vfs->xOpen(real_vfs, path, shim->real, flags, given);
    file->pMethods = shim->real->pMethods == NULL ? NULL : &methods;
    pthread_mutex_lock(&mutex);
    shim->disk = result == SQLITE_OK && (flags & lasting) != 0 ? disk_find(path) : NULL;
    pthread_mutex_unlock(&mutex);
    return result;
}

/* The folder is synced by who deletes, so what is gone stays gone. */
static int shim_delete(sqlite3_vfs *self, const char *path, int sync_folder)
{
    (void)self;
    pthread_mutex_lock(&mutex);
    event();
    for (size_t i = 0; i < file_count; i++) {
        if (strcmp(files[i].path, path) == 0) {
            image_apply(&files[i], true);
            image_resize(&files[i], 0);
            files[i].is_gone = true;
        }
    }
    pthread_mutex_unlock(&mutex);
    return real_vfs->xDelete(real_vfs, path, sync_folder);
}

void power_vfs_begin(int64_t cut_at, uint64_t seed, bool lies)
{
    if (real_vfs == NULL) {
        real_vfs = sqlite3_vfs_find(NULL);
        vfs = *real_vfs;
        vfs.zName = "power";
        vfs.szOsFile = (int)sizeof(struct shim) + real_vfs->szOsFile;
        vfs.xOpen = shim_open;
        vfs.xDelete = shim_delete;
        sqlite3_vfs_register(&vfs, 1);
    }
    cut_before = cut_at;
    random_state = seed;
    disk_lies = lies;
}

int64_t power_vfs_count(void)
{
    return events;
}
