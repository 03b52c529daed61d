/* run.h - the running daemon: start and stop of all parts in one table, walked backwards to stop, and reload.
 *
 * Threads:  the main one, once in a process.
 * Owns:     what it starts; it holds the settings.
 * Fails:    a part that does not start is logged, what was started is stopped, and the status says so.
 */
#ifndef DAEMON_RUN_H
#define DAEMON_RUN_H

#include "settings/settings.h"

#define PROGRAM "hunnypot-milter"

/* Run by SETTINGS, which nobody else has yet, from the file PATH (read again for a reload), until a signal says stop.  Returns the
 * status to end with. */
int daemon_run(const char *path, struct settings *settings);

#endif
