/* words.h - the words that every layer shares: classes of offence and verdicts on a hit.
 *
 * Their texts are part of the log, the database and the manual pages: change them nowhere else.
 */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

#include <stdbool.h>

/* What this host is to a recipient domain, and so what a client that comes here did wrong. */
enum hit_class {
    CLASS_NONE,    /* this host is nothing to the domain */
    CLASS_TRAP,    /* the domain gets no legitimate mail */
    CLASS_BACKUP,  /* a less preferred MX: the client skipped the live primaries */
    CLASS_ADDRESS  /* the domain's A/AAAA while its MX records point elsewhere */
};

enum verdict {
    VERDICT_PENDING,    /* answers are still being looked up */
    VERDICT_OFFENCE,    /* recorded */
    VERDICT_OUTAGE,     /* the primaries do not all take mail */
    VERDICT_RECOVERING, /* they do, but an outage or our own start was too recent */
    VERDICT_FRIEND,     /* the client is one of our own addresses or an MX host of the domain */
    VERDICT_IGNORED,    /* the client is in ignore_clients */
    VERDICT_EXEMPT,     /* only exempt local parts were addressed */
    VERDICT_NONE,       /* this host is nothing to any of the domains */
    VERDICT_UNKNOWN     /* doubt: no answer, or too late */
};

/* Static text of a value, for example "backup"; never NULL. */
const char *class_name(enum hit_class class);
const char *verdict_name(enum verdict verdict);

/* The class called NAME; false when there is none ("none" counts as one). */
bool class_from_name(const char *name, enum hit_class *class);

#endif
