/* spool_wal.h - one damaged byte in a -wal file, found and put right.  Only for spool_file.c.
 *
 * SQLite silently leaves out all frames behind the first one whose checksum is wrong: hits that were answered.  The checksums form
 * a chain, and are linear in what they cover, so that a single wrong byte (bit rot, mostly) can be told from its effect on them.
 * Where another byte would explain that as well (it is so for the top byte of a word, a quarter of all), and when it is worse
 * than one byte, the file is left as it is.
 * Threads:  any, while no SQLite has the file open.
 */
#ifndef RECORD_SPOOL_WAL_H
#define RECORD_SPOOL_WAL_H

#include <stddef.h>

/* Put wrong bytes of the file PATH right, durably; how many there were.  0 also when it is sound, not there or beyond that. */
size_t spool_wal_mend(const char *path);

#endif
