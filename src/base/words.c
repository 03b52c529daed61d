#include "base/words.h"

#include <string.h>

struct word {
    const char *name;
    int rank;
};

static const struct word classes[] = {
#define X(identifier, text, order, meaning) [CLASS_##identifier] = {.name = (text), .rank = (order)},
    CLASS_TABLE(X)
#undef X
};

static const struct word verdicts[] = {
#define X(argument, identifier, text, order, counts, meaning) \
    [VERDICT_##identifier] = {.name = (text), .rank = (order)},
    VERDICT_TABLE(X, )
#undef X
};

static const char *const name_states[] = {
#define X(identifier, text, meaning) [NAME_##identifier] = (text),
    NAME_STATE_TABLE(X)
#undef X
};

static const char *const friend_states[] = {
#define X(identifier, text, meaning) [FRIEND_##identifier] = (text),
    FRIEND_STATE_TABLE(X)
#undef X
};

_Static_assert(sizeof classes / sizeof *classes == CLASS_COUNT, "each class has its row in CLASS_TABLE");
_Static_assert(sizeof verdicts / sizeof *verdicts == VERDICT_COUNT, "each verdict has its row in VERDICT_TABLE");

const char *class_name(enum hit_class class)
{
    return classes[class].name;
}

const char *verdict_name(enum verdict verdict)
{
    return verdicts[verdict].name;
}

int class_rank(enum hit_class class)
{
    return classes[class].rank;
}

int verdict_rank(enum verdict verdict)
{
    return verdicts[verdict].rank;
}

bool class_from_name(const char *name, enum hit_class *class)
{
    for (unsigned i = 0; i < CLASS_COUNT; i++)
        if (strcmp(classes[i].name, name) == 0) {
            *class = (enum hit_class)i;
            return true;
        }
    return false;
}

const char *name_state_name(enum name_state state)
{
    return name_states[state];
}

bool name_state_from_name(const char *name, enum name_state *state)
{
    for (unsigned i = 0; i < NAME_STATE_COUNT; i++)
        if (strcmp(name_states[i], name) == 0) {
            *state = (enum name_state)i;
            return true;
        }
    return false;
}

const char *friend_state_name(enum friend_state state)
{
    return friend_states[state];
}

bool friend_state_from_name(const char *name, enum friend_state *state)
{
    for (unsigned i = 0; i < FRIEND_STATE_COUNT; i++)
        if (strcmp(friend_states[i], name) == 0) {
            *state = (enum friend_state)i;
            return true;
        }
    return false;
}
