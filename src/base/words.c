#include "base/words.h"

#include <string.h>

static const char *const class_names[] = {
    [CLASS_NONE] = "none",
    [CLASS_TRAP] = "trap",
    [CLASS_BACKUP] = "backup",
    [CLASS_ADDRESS] = "address",
};

static const char *const verdict_names[] = {
    [VERDICT_PENDING] = "pending",
    [VERDICT_OFFENCE] = "offence",
    [VERDICT_OUTAGE] = "outage",
    [VERDICT_RECOVERING] = "recovering",
    [VERDICT_FRIEND] = "friend",
    [VERDICT_IGNORED] = "ignored",
    [VERDICT_EXEMPT] = "exempt",
    [VERDICT_NONE] = "none",
    [VERDICT_UNKNOWN] = "unknown",
};

const char *class_name(enum hit_class class)
{
    return class_names[class];
}

const char *verdict_name(enum verdict verdict)
{
    return verdict_names[verdict];
}

bool class_from_name(const char *name, enum hit_class *class)
{
    for (unsigned i = 0; i < sizeof class_names / sizeof *class_names; i++)
        if (strcmp(class_names[i], name) == 0) {
            *class = (enum hit_class)i;
            return true;
        }
    return false;
}
