#include "cli/shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/alloc.h"

char *shell_quote(const char *text)
{
    char *quoted = alloc_zeroed(strlen(text) * 4 + 3, 1), *out = quoted;

    *out++ = '\'';
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            out = stpcpy(out, "'\\'");
        *out++ = *text;
    }
    *out = '\'';
    return quoted;
}

char *shell_output(const char *command, int *status)
{
    char *line = alloc_format("PATH=$PATH:/usr/sbin:/sbin; %s", command), *text = alloc_text(""), buffer[4096];
    FILE *pipe = popen(line, "re"); /* NOLINT(cert-env33-c): an operator has a PATH */
    size_t length = 0, got;
    int ended = -1;

    while (pipe != NULL && (got = fread(buffer, 1, sizeof buffer, pipe)) > 0) {
        text = alloc_resized(text, length + got + 1, 1);
        memcpy(text + length, buffer, got);
        length += got;
        text[length] = '\0';
    }
    if (pipe != NULL)
        ended = pclose(pipe);
    if (status != NULL)
        *status = ended != -1 && WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
    free(line);
    return text;
}

int shell_run(const char *command)
{
    int status;
    char *text;

    fflush(stdout);
    text = shell_output(command, &status);
    fputs(text, stdout);
    free(text);
    return status;
}
