/* text.h - the one place where bytes from outside are made fit to store, log and print.
 *
 * Printable ASCII stays; everything else (controls, 8-bit bytes, the backslash itself) becomes \xNN,
 * so the result is pure ASCII, has no NUL, no line end, no terminal control, and can be reversed.
 * Threads:  any.  Fails: never.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Put the LENGTH bytes of IN into OUT (SIZE bytes with the final NUL, at least 4), escaped.
 * What does not fit is cut, never within an escape, and "..." marks it; returns false then. */
bool text_printable(char *out, size_t size, const char *in, size_t length);

/* The same for the C string IN (NULL counts as ""), into new memory with at most LIMIT bytes of text; the caller frees. */
char *text_printable_new(const char *in, size_t limit);

/* A duration such as "399s", "10m", "1h", "2d", "500ms" ("30" alone counts as seconds) in milliseconds; -1 if TEXT is none. */
long long text_duration_ms(const char *text);

#endif
