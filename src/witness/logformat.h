/* logformat.h - what the lines of an MTA's log mean, as a format file says.
 *
 *     # comment
 *     lines syslog                          each line is "STAMP HOST PROGRAM[PID]: MESSAGE" (the default), or
 *     lines bare                            "STAMP MESSAGE", with "[PID]" before the message or not; syslog's lines too
 *     EVENT  PROGRAM  PATTERN               a message of PROGRAM that is like PATTERN tells of EVENT
 *
 * The first rule that matches a line is the one.  PROGRAM is compared with the last part of "postfix/smtpd"; "*" is any.
 * A PATTERN is text with places in braces, from the start of the message to its end:
 *     {id} {client} {from} {to}             what the event is about; {to} may come twice, or be a list with commas
 *     {*}                                   any text
 *     {{                                    a brace
 * A place ends where the text behind it first comes; in {from} and {to} what is in double quotes is passed over.
 * Threads:  a format is read only once made.  Fails: false, with file, line and reason in WHY.
 * Limits:   LOGFORMAT_RULES_MAX rules, LOGFORMAT_PIECES_MAX places in each.
 */
#ifndef WITNESS_LOGFORMAT_H
#define WITNESS_LOGFORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"
#include "witness/stamp.h"

enum { LOGFORMAT_RULES_MAX = 100, LOGFORMAT_PIECES_MAX = 24, LOGFORMAT_WHY_SIZE = 512, LOGFORMAT_TO_MAX = 2 };

/* X(identifier, "word in a format file", "what it needs") */
#define LOGFORMAT_EVENT_TABLE(X) \
    X(CLIENT, "client", "ic")      /* a letter begins, from this client */ \
    X(SENDER, "sender", "if")      /* its sender */ \
    X(ACCEPTED, "accepted", "i")   /* the final answer to DATA was yes */ \
    X(RECIPIENT, "recipient", "it") /* one of its recipients, before that answer or after it */ \
    X(TAKEN_BACK, "dropped", "i")  /* the letter was refused after all */ \
    X(CLOSED, "closed", "i")       /* nothing more comes about it */ \
    X(REFUSED, "refused", "")      /* a client was turned away */ \
    X(SEEN, "seen", "c")           /* a client was here */ \
    X(SUPPRESSED, "suppressed", "") /* lines are missing here */ \
    X(IGNORED, "ignore", "")       /* nothing that matters: keeps a line from later rules */

enum logformat_event {
    LOGFORMAT_NONE, /* no rule matches */
#define X(identifier, word, needs) LOGFORMAT_##identifier,
    LOGFORMAT_EVENT_TABLE(X)
#undef X
};

struct logformat;

/* A part of a line: not ended by a NUL. */
struct logformat_text {
    const char *text; /* NULL: there was none */
    size_t length;
};

struct logformat_entry {
    enum logformat_event event;
    struct stamp stamp;
    struct logformat_text host, message, id, from;
    struct logformat_text to[LOGFORMAT_TO_MAX];
    size_t to_count;
    struct ipaddr client; /* family 0: none */
};

/* Read the format in the file PATH; NULL with WHY set when it cannot be read or is wrong. */
struct logformat *logformat_read(const char *path, char why[LOGFORMAT_WHY_SIZE]);

/* The same from TEXT, which is called NAME where something is wrong with it. */
struct logformat *logformat_parse(const char *name, const char *text, char why[LOGFORMAT_WHY_SIZE]);
void logformat_free(struct logformat **format);

/* Take LINE (without its end) apart; ENTRY points into it.  REFERENCE_US as in stamp.h.  False: it has no stamp, or is not
 * laid out as the format says. */
bool logformat_line(const struct logformat *format, const char *line, int64_t reference_us, struct logformat_entry *entry)
    __attribute__((warn_unused_result));

/* The same for a message that came apart from its program and time, which are in ENTRY already (stamp, host). */
void logformat_message(const struct logformat *format, const char *program, const char *message,
                       struct logformat_entry *entry);

/* Take the next address of the list TEXT ("<a@b>,<c@d>"), which is moved behind it, into OUT (SIZE bytes); false at its end.
 * One that does not fit is "". */
bool logformat_next_address(struct logformat_text *text, char *out, size_t size);

#endif
