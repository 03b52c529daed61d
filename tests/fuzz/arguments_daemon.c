/* hunnypot-milter as a function, for fuzz_arguments.c. */
#define main daemon_main
int daemon_main(int argc, char **argv);
#include "daemon/main.c" /* NOLINT(bugprone-suspicious-include) */
