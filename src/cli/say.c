/* say.c - what the person at the terminal is told: faults, and that output could not be written. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/output.h"

static const struct cli_command *running;
static int output_error; /* errno of the first write that failed */

/* Arguments and file names may hold anything; what goes to the terminal is printable, and one line. */
static void say_line(const char *format, va_list arguments)
{
    char line[LINE_MAX], escaped[8];

    fflush(stdout);
    vsnprintf(line, sizeof line, format, arguments);
    fputs("hunnypot: ", stderr);
    for (const char *c = line; *c != '\0'; c++) {
        /* A backslash stands for itself: texts of the database come with their escapes. */
        text_printable(escaped, sizeof escaped, c, 1);
        fputs(*c == '\\' ? "\\" : escaped, stderr);
    }
}

int cli_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say_line(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return CLI_FAILED;
}

int cli_usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say_line(format, arguments);
    va_end(arguments);
    fprintf(stderr, " (see: hunnypot%s%s --help)\n", running == NULL ? "" : " ", running == NULL ? "" : running->name);
    return CLI_USAGE;
}

void cli_begin(const struct cli_command *command)
{
    running = command;
    output_error = 0;
}

const struct cli_command *cli_running(void)
{
    return running;
}

bool cli_output_failed(void)
{
    if (output_error == 0 && ferror(stdout))
        output_error = errno;
    return output_error != 0;
}

int cli_close_output(int status)
{
    if (!cli_output_failed() && fflush(stdout) != 0)
        output_error = errno;
    output_page_end();
    if (output_error == 0 || output_error == EPIPE)
        return status;
    cli_fail("standard output: %s", strerror(output_error));
    return status == CLI_OK ? CLI_FAILED : status;
}
