#include "judge/answers.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"

struct answer {
    UT_hash_handle hh; /* in the order of use: the head is the one to leave */
    struct ipaddr address;
    struct agenda_entry entry;
    bool known, looking_up;
    int value;
    int64_t until_ms; /* it is used */
};

struct answers {
    struct answer *all;
    size_t max;
    struct agenda *agenda;
    int kind;
};

struct answers *answers_create(size_t max, struct agenda *agenda, int kind)
{
    struct answers *answers = alloc_zeroed(1, sizeof *answers);

    answers->max = max;
    answers->agenda = agenda;
    answers->kind = kind;
    return answers;
}

static void answer_drop(struct answers *answers, struct answer *answer)
{
    agenda_drop(answers->agenda, &answer->entry);
    HASH_DEL(answers->all, answer); /* NOLINT(clang-analyzer-unix.Malloc): the one before has left */
    free(answer);
}

void answers_destroy(struct answers **answers)
{
    if (*answers == NULL)
        return;
    while ((*answers)->all != NULL)
        answer_drop(*answers, (*answers)->all); /* NOLINT(clang-analyzer-unix.Malloc): HASH_DEL moved the head */
    free(*answers);
    *answers = NULL;
}

size_t answers_max(const struct answers *answers)
{
    return answers->max;
}

static struct answer *answer_find(const struct answers *answers, const struct ipaddr *address)
{
    struct answer *answer;

    HASH_FIND(hh, answers->all, address, sizeof *address, answer);
    return answer;
}

static struct answer *answer_find_or_add(struct answers *answers, const struct ipaddr *address)
{
    struct answer *answer = answer_find(answers, address);

    if (answer != NULL) {
        HASH_DEL(answers->all, answer); /* and back, to the end of the line */
    } else {
        if (HASH_COUNT(answers->all) >= answers->max)
            answer_drop(answers, answers->all);
        answer = alloc_zeroed(1, sizeof *answer);
        answer->address = *address;
        answer->entry.kind = answers->kind;
    }
    HASH_ADD(hh, answers->all, address, sizeof answer->address, answer); /* NOLINT(clang-analyzer-unix.Malloc): as above */
    return answer;
}

bool answers_ask(struct answers *answers, const struct ipaddr *address, bool known_only, int64_t now_ms, int *value)
{
    struct answer *answer = known_only ? answer_find(answers, address) : answer_find_or_add(answers, address);

    if (answer == NULL)
        return false;
    if (answer->known)
        *value = answer->value;
    if (answer->known && now_ms < answer->until_ms)
        return true;
    if (!answer->looking_up && !answer->entry.asked)
        agenda_put(answers->agenda, &answer->entry, now_ms, true);
    return false;
}

struct ipaddr answers_begin(struct answers *answers, struct agenda_entry *entry)
{
    struct answer *answer = (struct answer *)((char *)entry - offsetof(struct answer, entry));

    agenda_drop(answers->agenda, entry);
    answer->looking_up = true;
    return answer->address;
}

void answers_report(struct answers *answers, const struct ipaddr *address, int value, int64_t until_ms)
{
    struct answer *answer = answer_find(answers, address);

    if (answer == NULL)
        return;
    answer->looking_up = false;
    answer->known = true;
    answer->value = value;
    answer->until_ms = until_ms;
}
