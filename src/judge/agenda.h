/* agenda.h - what is to be done when: a heap of entries, the earliest first; of two for one time, the first that was put.
 *
 * Threads:  the caller's mutex covers all calls; none waits.
 * Owns:     the heap.  An entry is a member of what it is for, which outlives it.
 * Fails:    never.
 */
#ifndef JUDGE_AGENDA_H
#define JUDGE_AGENDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agenda_entry { /* all zero: not in */
    size_t place;     /* in the heap, from 1 */
    int64_t due_ms;
    uint64_t number;
    bool asked; /* somebody waits for it */
    int kind;   /* the caller's */
};

struct agenda { /* all zero: empty */
    struct agenda_entry **heap;
    size_t count, room;
    size_t asked; /* how many of them somebody waits for */
    uint64_t numbers;
};

/* ENTRY is due at DUE_MS, whatever it was before; once ASKED it stays so until it leaves. */
void agenda_put(struct agenda *agenda, struct agenda_entry *entry, int64_t due_ms, bool asked);

/* ENTRY, which may not be in, leaves. */
void agenda_drop(struct agenda *agenda, struct agenda_entry *entry);

/* The earliest; NULL when there is none. */
struct agenda_entry *agenda_first(const struct agenda *agenda);

/* Free what AGENDA owns. */
void agenda_clear(struct agenda *agenda);

#endif
