/* power_vfs.h - SQLite's files as a disk has them when the power goes: what was synced is there, and of what was written since any
 * part may be, sector by sector, in any order.
 *
 * Threads: any.  Owns: what was written since the last sync, in memory.  Nothing is synced for real, so it is fast.
 */
#ifndef POWER_VFS_H
#define POWER_VFS_H

#include <stdbool.h>
#include <stdint.h>

enum { POWER_CUT = 77 }; /* exit status of the process in which the power went */

/* All databases that are opened from now on have such files.  The power goes before the write, truncation, sync or deletion number CUT_AT (0 is
 * the first, negative: never); SEED says what was written.  LIES: the disk says that it synced, and did not. */
void power_vfs_begin(int64_t cut_at, uint64_t seed, bool lies);

/* How many of these there were. */
int64_t power_vfs_count(void);

#endif
