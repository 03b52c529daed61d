/* pager.c - a long table at a terminal goes through the operator's pager. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/output.h"
#include "cli/shell.h"

static FILE *pager;
static bool wanted;

void output_page_tables(void)
{
    wanted = true;
}

void output_page_begin(void)
{
    const char *command = getenv("PAGER");
    char *found = NULL;

    if (!wanted || pager != NULL || !isatty(STDOUT_FILENO))
        return;
    if (command == NULL) {
        found = shell_output("command -v less", NULL);
        command = *found == '\0' ? "" : "less -FRSX";
    }
    fflush(stdout);
    if (*command != '\0')
        pager = popen(command, "we"); /* NOLINT(cert-env33-c): an operator has a PATH */
    free(found);
    if (pager == NULL)
        return;
    /* A pager that ends early has shown what was wanted; what is typed is for it alone. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    dup2(fileno(pager), STDOUT_FILENO);
}

void output_page_end(void)
{
    int nowhere;

    if (pager == NULL)
        return;
    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0)
        dup2(nowhere, STDOUT_FILENO);
    else
        close(STDOUT_FILENO);
    if (nowhere >= 0)
        close(nowhere);
    pclose(pager);
    pager = NULL;
}
