/* source.h - where a log comes from: a file through its rotations, standard input, or the journal.
 *
 * Entries come in order, each once.  The place behind the last one that was given goes into the ledger in the transaction
 * that holds what was read; a source that is opened with it goes on exactly there.
 * A file is known again by its inode and the bytes around its place, in itself or in a file beside it whose name begins
 * with its own ("mail.log.1", "mail.log-20261126"), from which it goes on through the younger ones to the file itself.
 * Where it is not found any more, was cut short, or has lines that are none, SOURCE_GAP says that something may be missing.
 * Threads:  one.  Owns: what it has open; an entry is valid until the next call.
 * Fails:    SOURCE_FAILED and WHY.
 * Limits:   SOURCE_LINE_MAX bytes in a line; of the files beside it the 64 youngest.
 */
#ifndef WITNESS_SOURCE_H
#define WITNESS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "witness/ledger.h"

enum { SOURCE_LINE_MAX = 16384, SOURCE_WHY_SIZE = 512 };

enum source_got {
    SOURCE_ENTRY,
    SOURCE_GAP,     /* something may be missing between the entry before and the next */
    SOURCE_NOTHING, /* as yet; ask again when time has gone by, or when source_fd() is readable */
    SOURCE_END,
    SOURCE_FAILED
};

struct source_entry {
    const char *text;    /* the line, or the journal's message; no NUL within */
    const char *program; /* NULL: in the line, as are time and host */
    const char *host;
    int64_t time_us;
};

struct source;

/* PATH is "-" for standard input.  PLACE may be NULL: from the beginning.  FOLLOW: a file never ends.  KEY hashes the bytes by
 * which the file is known again; it is copied. */
struct source *source_open_file(const char *path, const struct ledger_place *place, const struct envelope_key *key, bool follow,
                                char why[SOURCE_WHY_SIZE]);
struct source *source_open_journal(const struct ledger_place *place, bool follow, char why[SOURCE_WHY_SIZE]);
/* What `journalctl --output=export` writes, from FD, which is taken over. */
struct source *source_open_export(int fd, bool follow);
void source_close(struct source **source);

enum source_got source_next(struct source *source, struct source_entry *entry, int64_t now_ms, char why[SOURCE_WHY_SIZE]);

/* Fill in the place behind the last entry, but for its stamp. */
void source_place(const struct source *source, struct ledger_place *place);

/* What becomes readable when there may be more; -1 for a file, which is to be asked now and then. */
int source_fd(const struct source *source);

/* Of a file that is there: when it was written last (in microseconds since 1970), else 0. */
int64_t source_written_us(const struct source *source);

#endif
