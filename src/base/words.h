/* words.h - the words that every layer shares: classes of offence and verdicts on a hit.  One table for each.
 *
 * A row is all that a new word needs here: enum, name, rank, counter (base/counter.h) and the checks of the manual pages
 * (tests/check-manual) are made from it.  The names are part of the log, the database and the manual pages.
 * Threads: any.  Fails: never.
 */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

#include <stdbool.h>

/* What this host is to a recipient domain, and so what a client that comes here did wrong.
 *
 * X(identifier, "name", rank, "meaning").  Of two offences the one of the higher rank is recorded; 0 is no offence. */
#define CLASS_TABLE(X) \
    X(NONE, "none", 0, "this host is nothing to the domain") \
    X(TRAP, "trap", 4, "the domain gets no legitimate mail") \
    X(BACKUP, "backup", 3, "a less preferred MX: the client skipped the live primaries") \
    X(ADDRESS, "address", 2, "the domain's A/AAAA while its MX records point elsewhere") \
    X(NULL_SENDER, "null-sender", 1, "backup or address without a sender: it may be an innocent bounce")

/* What follows for a hit.
 *
 * X(ARGUMENT, identifier, "name", rank, counts, "meaning").  Over the domains of a hit the highest rank decides: doubt
 * beats offence, and a doubt that stands beats one that may still go away.  COUNTS says whether hits end so: WAITING do
 * not, FINAL have a counter of the same name.  ARGUMENT is handed on to X. */
#define VERDICT_TABLE(X, ARGUMENT) \
    X(ARGUMENT, PENDING, "pending", 3, WAITING, "answers are still being looked up") \
    X(ARGUMENT, OFFENCE, "offence", 2, FINAL, "recorded") \
    X(ARGUMENT, OUTAGE, "outage", 7, FINAL, "not recorded, the primaries do not take mail") \
    X(ARGUMENT, RECOVERING, "recovering", 5, FINAL, "not recorded, an outage or the start was too recent") \
    X(ARGUMENT, MOVED, "moved", 6, FINAL, "not recorded, DNS changed so lately that the old answer may still be obeyed") \
    X(ARGUMENT, FRIEND, "friend", 8, FINAL, "not recorded, one of our addresses, an MX host of the domain, or on a list of friends") \
    X(ARGUMENT, IGNORED, "ignored", 10, FINAL, "not recorded, ignore_clients") \
    X(ARGUMENT, EXEMPT, "exempt", 9, FINAL, "not recorded, exempt local parts only") \
    X(ARGUMENT, NONE, "none", 1, FINAL, "not recorded, this host is nothing to the domain") \
    X(ARGUMENT, UNKNOWN, "unknown", 4, FINAL, "not recorded, no answer in time, or doubt")

/* Has the client of a hit a confirmed name: forward-confirmed reverse DNS that is not made from its address?
 *
 * X(identifier, "name", "meaning") */
#define NAME_STATE_TABLE(X) \
    X(UNKNOWN, "unknown", "DNS did not tell") \
    X(NONE, "none", "it has no name, or one that is made from its address") \
    X(CONFIRMED, "confirmed", "it has one")

/* Do the lists of friends (friends.zones) have the client of a hit?
 *
 * X(identifier, "name", "meaning") */
#define FRIEND_STATE_TABLE(X) \
    X(UNASKED, "unasked", "there are no such lists") \
    X(NO, "no", "none of them has it") \
    X(YES, "yes", "one of them has it") \
    X(UNANSWERED, "unanswered", "one of them did not tell, and no other has it")

enum hit_class {
#define X(identifier, name, rank, meaning) CLASS_##identifier,
    CLASS_TABLE(X)
#undef X
    CLASS_COUNT
};

enum verdict {
#define X(argument, identifier, name, rank, counts, meaning) VERDICT_##identifier,
    VERDICT_TABLE(X, )
#undef X
    VERDICT_COUNT
};

enum name_state {
#define X(identifier, name, meaning) NAME_##identifier,
    NAME_STATE_TABLE(X)
#undef X
    NAME_STATE_COUNT
};

enum friend_state {
#define X(identifier, name, meaning) FRIEND_##identifier,
    FRIEND_STATE_TABLE(X)
#undef X
    FRIEND_STATE_COUNT
};

/* Static text of a value, for example "backup". */
const char *class_name(enum hit_class class);
const char *verdict_name(enum verdict verdict);
const char *name_state_name(enum name_state state);
const char *friend_state_name(enum friend_state state);

/* The table's rank. */
int class_rank(enum hit_class class);
int verdict_rank(enum verdict verdict);

/* The class called NAME; false when there is none ("none" counts as one). */
bool class_from_name(const char *name, enum hit_class *class);
bool name_state_from_name(const char *name, enum name_state *state);
bool friend_state_from_name(const char *name, enum friend_state *state);

#endif
