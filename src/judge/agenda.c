#include "judge/agenda.h"

#include <stdlib.h>

#include "base/alloc.h"

static bool is_before(const struct agenda_entry *a, const struct agenda_entry *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->number < b->number;
}

static void place_at(struct agenda *agenda, size_t place, struct agenda_entry *entry)
{
    agenda->heap[place - 1] = entry;
    entry->place = place;
}

/* ENTRY takes PLACE, or one nearer to the top or the bottom, as the order wants it. */
static void sift(struct agenda *agenda, size_t place, struct agenda_entry *entry)
{
    while (place > 1 && is_before(entry, agenda->heap[place / 2 - 1])) {
        place_at(agenda, place, agenda->heap[place / 2 - 1]);
        place /= 2;
    }
    for (;;) {
        size_t child = 2 * place;

        if (child < agenda->count && is_before(agenda->heap[child], agenda->heap[child - 1]))
            child++;
        if (child > agenda->count || is_before(entry, agenda->heap[child - 1]))
            break;
        place_at(agenda, place, agenda->heap[child - 1]);
        place = child;
    }
    place_at(agenda, place, entry);
}

void agenda_drop(struct agenda *agenda, struct agenda_entry *entry)
{
    struct agenda_entry *last;
    size_t place = entry->place;

    if (place == 0)
        return;
    agenda->asked -= entry->asked;
    entry->place = 0;
    entry->asked = false;
    last = agenda->heap[--agenda->count];
    if (last != entry)
        sift(agenda, place, last);
}

void agenda_put(struct agenda *agenda, struct agenda_entry *entry, int64_t due_ms, bool asked)
{
    asked = asked || entry->asked;
    agenda_drop(agenda, entry);
    if (agenda->count == agenda->room) {
        agenda->room = agenda->room == 0 ? 64 : 2 * agenda->room;
        agenda->heap = alloc_resized(agenda->heap, agenda->room, sizeof *agenda->heap);
    }
    entry->due_ms = due_ms;
    entry->number = ++agenda->numbers;
    entry->asked = asked;
    agenda->asked += asked;
    agenda->count++;
    sift(agenda, agenda->count, entry);
}

struct agenda_entry *agenda_first(const struct agenda *agenda)
{
    return agenda->count > 0 ? agenda->heap[0] : NULL;
}

void agenda_clear(struct agenda *agenda)
{
    free(agenda->heap);
    *agenda = (struct agenda){0};
}
