/* signals.h - what the process is told from outside: a stop, or a reload.
 *
 * Both are descriptors to poll(), so that nothing queues: a signal that comes ten thousand times before it is taken is one,
 * and a stop is seen by whoever waits for anything else too.
 * Threads:  signals_open() before the first thread, which all then have every signal blocked; the rest is the main thread's.
 * Owns:     two descriptors, as long as the process lives.
 * Fails:    signals_open() with false and errno.
 */
#ifndef DAEMON_SIGNALS_H
#define DAEMON_SIGNALS_H

#include <stdbool.h>

bool signals_open(void) __attribute__((warn_unused_result));

/* Readable once SIGTERM or SIGINT came, until signals_take_stop(). */
int signals_stop_fd(void);

/* Readable once SIGUSR1 or SIGHUP came, until signals_take_reload(). */
int signals_reload_fd(void);

/* "TERM", "INT", or NULL when no stop is asked for. */
const char *signals_take_stop(void);

/* Whether a reload is asked for. */
bool signals_take_reload(void);

#endif
