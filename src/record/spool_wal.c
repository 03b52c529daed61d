#include "record/spool_wal.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

/* https://www.sqlite.org/fileformat2.html#walformat: numbers are big-endian, but the words that a checksum covers are as the magic
 * number says. */
enum {
    HEADER_SIZE = 32, /* magic, format, page size, count, salt (8), checksum (8): the last covers what is before it */
    FRAME_HEADER = 24, /* page number, size of the database after a commit, salt (8), checksum (8) */
    COVERED_HEAD = 8, /* of a frame's header, and then the page */
    SALT_SIZE = 8,
    MENDED_MAX = 8,
    SIZE_MAX_BYTES = 1 << 28
};
#define MAGIC_LITTLE 0x377f0682u

struct sum {
    uint32_t s0, s1;
};

struct wal {
    unsigned char *bytes;
    size_t size, page;
    bool little;
};

static uint32_t big(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void put_big(unsigned char *bytes, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(number >> (24 - 8 * i));
}

static unsigned shift_of(const struct wal *wal, size_t byte)
{
    return 8 * (unsigned)(wal->little ? byte % 4 : 3 - byte % 4);
}

static uint32_t word(const struct wal *wal, const unsigned char *bytes)
{
    uint32_t number = 0;

    for (size_t i = 0; i < 4; i++)
        number |= (uint32_t)bytes[i] << shift_of(wal, i);
    return number;
}

static struct sum sum_on(const struct wal *wal, struct sum sum, const unsigned char *bytes, size_t size)
{
    for (size_t at = 0; at < size; at += 8) {
        sum.s0 += word(wal, bytes + at) + sum.s1;
        sum.s1 += word(wal, bytes + at + 4) + sum.s0;
    }
    return sum;
}

static struct sum stored(const unsigned char *bytes)
{
    return (struct sum){big(bytes), big(bytes + 4)};
}

static bool equal(struct sum one, struct sum other)
{
    return one.s0 == other.s0 && one.s1 == other.s1;
}

/* What a word adds to the sum when it grows by 1: (1, 1) for the first of a pair and (0, 1) for the second, and from pair to pair
 * (a, b) becomes (a + b, a + 2b). */
static struct sum carried(struct sum effect)
{
    return (struct sum){effect.s0 + effect.s1, effect.s0 + 2 * effect.s1};
}

/* The bytes of which each alone, with another value, would make the sum right. */
struct suspects {
    unsigned char *byte, value; /* the last one found */
    size_t count;
};

static void suspect_word(const struct wal *wal, unsigned char *bytes, struct sum effect, struct sum missing,
                         struct suspects *suspects)
{
    for (size_t i = 0; i < 4; i++) {
        unsigned byte = bytes[i], shift = shift_of(wal, i);

        for (unsigned value = 0; value < 256; value++) {
            uint32_t more = (value - byte) << shift;

            if (more == 0 || effect.s0 * more != missing.s0 || effect.s1 * more != missing.s1)
                continue;
            suspects->byte = bytes + i;
            suspects->value = (unsigned char)value;
            suspects->count++;
        }
    }
}

/* Among the SIZE bytes, behind which TAIL more follow before the end of the sum, of which MISSING is missing. */
static void suspect(const struct wal *wal, unsigned char *bytes, size_t size, size_t tail, struct sum missing,
                    struct suspects *suspects)
{
    struct sum first = {1, 1}, second = {0, 1};

    for (size_t at = 0; at < tail; at += 8) {
        first = carried(first);
        second = carried(second);
    }
    for (size_t at = size; at > 0; at -= 8) {
        suspect_word(wal, bytes + at - 8, first, missing, suspects);
        suspect_word(wal, bytes + at - 4, second, missing, suspects);
        first = carried(first);
        second = carried(second);
    }
}

static size_t count_wrong(const unsigned char *one, const unsigned char *other, size_t size)
{
    size_t count = 0;

    for (size_t i = 0; i < size; i++)
        count += one[i] != other[i];
    return count;
}

static void put_sum(unsigned char *bytes, struct sum sum)
{
    put_big(bytes, sum.s0);
    put_big(bytes + 4, sum.s1);
}

/* FRAME as it should be, when it is sound or can be mended; *SUM goes on. */
static bool check_frame(const struct wal *wal, unsigned char *frame, struct sum *sum, size_t *mended)
{
    unsigned char *salt = frame + 8, *place = frame + 16, *page = frame + FRAME_HEADER, right[8];
    size_t wrong_salt = count_wrong(salt, wal->bytes + 16, SALT_SIZE);
    struct sum found = sum_on(wal, sum_on(wal, *sum, frame, COVERED_HEAD), page, wal->page), wanted = stored(place);
    struct sum missing = {wanted.s0 - found.s0, wanted.s1 - found.s1};
    struct suspects suspects = {.count = 0};

    put_sum(right, found);
    if (wrong_salt > 1 || (wrong_salt == 1 && !equal(found, wanted)))
        return false; /* of an earlier round of the file, which was not overwritten */
    *sum = wanted;
    if (wrong_salt == 0 && equal(found, wanted))
        return true;
    if (wrong_salt == 1) {
        memcpy(salt, wal->bytes + 16, SALT_SIZE);
        ++*mended;
        return true;
    }
    suspect(wal, page, wal->page, 0, missing, &suspects);
    suspect(wal, frame, COVERED_HEAD, wal->page, missing, &suspects);
    if (count_wrong(place, right, sizeof right) == 1) {
        suspects.count++;
        suspects.byte = NULL;
    }
    if (suspects.count != 1)
        return false;
    if (suspects.byte != NULL)
        *suspects.byte = suspects.value;
    else
        memcpy(place, right, sizeof right);
    *sum = stored(place);
    ++*mended;
    return true;
}

static size_t check_all(struct wal *wal)
{
    struct sum sum;
    size_t mended = 0;

    wal->little = big(wal->bytes) == MAGIC_LITTLE;
    wal->page = big(wal->bytes + 8);
    if ((big(wal->bytes) & ~1u) != MAGIC_LITTLE || wal->page < 512 || wal->page > 65536 || (wal->page & (wal->page - 1)) != 0)
        return 0;
    sum = sum_on(wal, (struct sum){0, 0}, wal->bytes, HEADER_SIZE - 8);
    if (!equal(sum, stored(wal->bytes + HEADER_SIZE - 8)))
        return 0;
    for (size_t at = HEADER_SIZE; at + FRAME_HEADER + wal->page <= wal->size && mended <= MENDED_MAX; at += FRAME_HEADER + wal->page)
        if (!check_frame(wal, wal->bytes + at, &sum, &mended))
            break;
    return mended;
}

/* Only what differs: somebody with sqlite3(1) may be about to write elsewhere in the file. */
static bool write_changed(int fd, const struct wal *wal, const unsigned char *before)
{
    bool done = true;

    for (size_t at = 0; at < wal->size && done; at++)
        if (wal->bytes[at] != before[at])
            done = pwrite(fd, wal->bytes + at, 1, (off_t)at) == 1;
    return done && fsync(fd) == 0;
}

size_t spool_wal_mend(const char *path)
{
    struct wal wal = {.bytes = NULL};
    unsigned char *before = NULL;
    struct stat status;
    size_t mended = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (fstat(fd, &status) == 0 && status.st_size > HEADER_SIZE && status.st_size < SIZE_MAX_BYTES) {
        wal.size = (size_t)status.st_size;
        wal.bytes = alloc_zeroed(wal.size, 1);
        before = alloc_zeroed(wal.size, 1);
        if (pread(fd, wal.bytes, wal.size, 0) == status.st_size) {
            memcpy(before, wal.bytes, wal.size);
            mended = check_all(&wal);
        }
        if (mended > 0 && !write_changed(fd, &wal, before))
            mended = 0;
    }
    free(before);
    free(wal.bytes);
    close(fd);
    return mended;
}
