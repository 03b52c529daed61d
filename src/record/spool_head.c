#include "record/spool_head.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* SQLite's header, fileformat2.html: 16 bytes of magic; user_version and application_id, the most significant byte first. */
enum { HEAD_SIZE = 100, AT_USER_VERSION = 60, AT_APPLICATION_ID = 68 };

static uint32_t number_at(const unsigned char *head, size_t at)
{
    return (uint32_t)head[at] << 24 | (uint32_t)head[at + 1] << 16 | (uint32_t)head[at + 2] << 8 | head[at + 3];
}

enum spool_head spool_head_read(int fd)
{
    static const char magic[16] = "SQLite format 3";
    unsigned char head[HEAD_SIZE];
    ssize_t got = read(fd, head, sizeof head);

    if (got == 0)
        return SPOOL_HEAD_FINE;
    if (got != sizeof head || memcmp(head, magic, sizeof magic) != 0)
        return SPOOL_HEAD_OTHER;
    if (number_at(head, AT_APPLICATION_ID) == 0)
        return SPOOL_HEAD_FINE;
    if (number_at(head, AT_APPLICATION_ID) != SPOOL_APPLICATION_ID)
        return SPOOL_HEAD_OTHER;
    return number_at(head, AT_USER_VERSION) > SPOOL_FORMAT ? SPOOL_HEAD_NEWER : SPOOL_HEAD_FINE;
}
