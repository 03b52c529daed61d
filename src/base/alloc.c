#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void alloc_failed(void)
{
    log_event(LOG_LEVEL_ERROR, "fatal reason=out-of-memory");
    exit(EXIT_FAILURE);
}

static void *alloc_checked(void *memory)
{
    if (memory == NULL)
        alloc_failed();
    return memory;
}

void *alloc_zeroed(size_t count, size_t size)
{
    return alloc_checked(calloc(count != 0 ? count : 1, size));
}

void *alloc_resized(void *old, size_t count, size_t size)
{
    return alloc_checked(reallocarray(old, count != 0 ? count : 1, size));
}

char *alloc_text(const char *text)
{
    return text == NULL ? NULL : alloc_checked(strdup(text));
}

char *alloc_format(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    return alloc_checked(text);
}

FILE *alloc_text_begin(char **text, size_t *length)
{
    return alloc_checked(open_memstream(text, length));
}

void alloc_text_end(FILE *stream)
{
    if (fclose(stream) != 0)
        alloc_checked(NULL);
}
