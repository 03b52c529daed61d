/* shell.h - commands of the system, run by the shell with the PATH of an administrator.  Fails: as said. */
#ifndef CLI_SHELL_H
#define CLI_SHELL_H

/* TEXT as one word of a command; the caller frees. */
char *shell_quote(const char *text);

/* What COMMAND writes to standard output; the caller frees.  *STATUS (may be NULL): its exit
 * status, -1 when it could not run. */
char *shell_output(const char *command, int *status);

/* Run COMMAND with our standard output: its exit status, or -1. */
int shell_run(const char *command);

#endif
