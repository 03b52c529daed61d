/* reply.h - the text of the 451, checked once and given to libmilter in the form it wants.
 *
 * Threads:  any; a reply is read-only once parsed.
 */
#ifndef BASE_REPLY_H
#define BASE_REPLY_H

#include <stdbool.h>
#include <stddef.h>

enum { REPLY_LINE_MAX = 980, REPLY_LINES_MAX = 8 }; /* libmilter's MAXREPLYLEN and room enough */

struct reply {
    char code[4];      /* "451" */
    char enhanced[12]; /* "4.7.1" (RFC 3463); class 4 like the code */
    char lines[REPLY_LINES_MAX][REPLY_LINE_MAX + 1]; /* every % doubled, as both MTAs want it */
    size_t line_count;
};

/* Parse TEXT: "451 4.7.1 text", lines divided by \n.  Only code 451 and class 4 are taken; printable ASCII only.
 * WHY (may be NULL) gets a static text that says what would be right. */
bool reply_parse(const char *text, struct reply *reply, const char **why);

#endif
