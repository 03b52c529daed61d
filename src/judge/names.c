#include "judge/names.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"

struct client_name {
    UT_hash_handle hh; /* in the order of use: the head is the one to leave */
    struct ipaddr address;
    struct agenda_entry entry;
    bool known, looking_up;
    enum name_state state;
    int64_t until_ms; /* it is used */
};

struct names {
    struct client_name *all;
    size_t max;
    struct agenda *agenda;
    int kind;
};

struct names *names_create(size_t max, struct agenda *agenda, int kind)
{
    struct names *names = alloc_zeroed(1, sizeof *names);

    names->max = max;
    names->agenda = agenda;
    names->kind = kind;
    return names;
}

static void name_drop(struct names *names, struct client_name *name)
{
    agenda_drop(names->agenda, &name->entry);
    HASH_DEL(names->all, name); /* NOLINT(clang-analyzer-unix.Malloc): the one before has left */
    free(name);
}

void names_destroy(struct names **names)
{
    if (*names == NULL)
        return;
    while ((*names)->all != NULL)
        name_drop(*names, (*names)->all); /* NOLINT(clang-analyzer-unix.Malloc): HASH_DEL moved the head */
    free(*names);
    *names = NULL;
}

static struct client_name *name_find(const struct names *names, const struct ipaddr *address)
{
    struct client_name *name;

    HASH_FIND(hh, names->all, address, sizeof *address, name);
    return name;
}

static struct client_name *name_find_or_add(struct names *names, const struct ipaddr *address)
{
    struct client_name *name = name_find(names, address);

    if (name != NULL) {
        HASH_DEL(names->all, name); /* and back, to the end of the line */
    } else {
        if (HASH_COUNT(names->all) >= names->max)
            name_drop(names, names->all);
        name = alloc_zeroed(1, sizeof *name);
        name->address = *address;
        name->entry.kind = names->kind;
    }
    HASH_ADD(hh, names->all, address, sizeof name->address, name); /* NOLINT(clang-analyzer-unix.Malloc): as above */
    return name;
}

bool names_ask(struct names *names, const struct ipaddr *address, bool known_only, int64_t now_ms,
               enum name_state *state)
{
    struct client_name *name = known_only ? name_find(names, address) : name_find_or_add(names, address);

    *state = NAME_UNKNOWN;
    if (name == NULL)
        return false;
    *state = name->state;
    if (name->known && now_ms < name->until_ms)
        return true;
    if (!name->looking_up && !name->entry.asked)
        agenda_put(names->agenda, &name->entry, now_ms, true);
    return false;
}

struct ipaddr names_begin(struct names *names, struct agenda_entry *entry)
{
    struct client_name *name = (struct client_name *)((char *)entry - offsetof(struct client_name, entry));

    agenda_drop(names->agenda, entry);
    name->looking_up = true;
    return name->address;
}

void names_report(struct names *names, const struct ipaddr *address, enum name_state state, int64_t now_ms)
{
    struct client_name *name = name_find(names, address);

    if (name == NULL)
        return;
    name->looking_up = false;
    name->known = true;
    name->state = state;
    name->until_ms = now_ms + (state == NAME_UNKNOWN ? NAMES_UNKNOWN_USED_MS : NAMES_USED_MS);
}
