/* catalogue.h - the words of the public pages, in each language that there is: one file catalogue_XX.c for each.
 *
 * A text is UTF-8 and fit for HTML, attributes and JSON as it is: it has no < > & " \ and no control characters.  "$" in it
 * stands for what the page puts there.  tests/unit/test_door.c holds each catalogue against this.
 * Threads:  any; all of it is constant.
 * Fails:    never; what no catalogue speaks is answered in English.
 */
#ifndef REPORT_CATALOGUE_H
#define REPORT_CATALOGUE_H

#include <stddef.h>

enum catalogue_word {
    /* The page. */
    WORD_TITLE, WORD_ADDRESS, WORD_LOOK_UP, WORD_CONTACT, WORD_PRIVACY,
    /* What is listed: "$" is the address. */
    WORD_NOT_LISTED, WORD_NOT_LISTED_MORE, WORD_LISTED, WORD_PAUSES, WORD_WHAT_FOR, WORD_PROOF, WORD_SINCE, WORD_UNTIL, WORD_LAST_SEEN,
    WORD_ANSWER, WORD_NEIGHBOURS,
    WORD_TRAP, WORD_BACKUP, WORD_ADDRESS_CLASS, WORD_NULL_SENDER, WORD_OTHER_CLASS, WORD_WITNESSED, WORD_INFERRED, WORD_FIRM, WORD_SOFT,
    /* What can be checked. */
    WORD_CHECK, WORD_CHECK_PRIMARY, WORD_CHECK_NAME, WORD_CHECK_OTHERS, WORD_CHECK_ADDRESSES,
    /* The way off. */
    WORD_OFF, WORD_OFF_BY_TIME, WORD_OFF_MEANS, WORD_OFF_PERSON, WORD_OFF_UNSURE, WORD_OFF_BUTTON, WORD_OFF_FROM_THERE,
    WORD_OFF_BY_NAME, WORD_OFF_BY_NAME_BUTTON, WORD_OFF_UNPROVEN, WORD_OFF_WAITING, WORD_OFF_REFUSED, WORD_OFF_NOT_NOW,
    /* What came of a request. */
    WORD_DID_REMOVED, WORD_DID_PERSON, WORD_DID_NAME, WORD_DID_GONE, WORD_DID_STALE, WORD_DID_OPEN, WORD_DID_REFUSED, WORD_DID_BUSY,
    /* What went wrong. */
    WORD_WRONG_ADDRESS, WORD_WRONG_REQUEST, WORD_WRONG_PATH, WORD_WRONG_METHOD, WORD_WRONG_SIZE, WORD_WRONG_OFTEN, WORD_WRONG_LATER,
    WORD_WRONG_INSIDE,
    WORD_COUNT
};

struct catalogue {
    const char *language; /* "en": the primary subtag of a language tag (RFC 5646), and what the page says of itself */
    const char *words[WORD_COUNT];
};

/* All of them, English first, ended by NULL. */
extern const struct catalogue *const catalogues[];

/* The one that fits ACCEPT_LANGUAGE, a header of a browser's (RFC 9110 12.5.4; any bytes; NULL: none), best. */
const struct catalogue *catalogue_choose(const char *accept_language);

#endif
