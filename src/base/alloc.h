/* alloc.h - allocation that succeeds or ends the program with a line that says so.
 *
 * Threads:  any.
 * Owns:     nothing; the caller frees with free().
 * Fails:    never returns NULL.  Sizes that depend on outside input are bounded by the caller first.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>
#include <stdio.h>

/* Somebody else's allocation failed: end the program with the line that says so. */
void alloc_failed(void) __attribute__((noreturn));

void *alloc_zeroed(size_t count, size_t size);
void *alloc_resized(void *old, size_t count, size_t size);

/* A copy of TEXT; NULL gives NULL. */
char *alloc_text(const char *text);

/* A text made as by printf. */
char *alloc_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A stream that makes a text: *TEXT is there, and the caller's, once alloc_text_end() has closed it. */
FILE *alloc_text_begin(char **text, size_t *length);
void alloc_text_end(FILE *stream);

#endif
