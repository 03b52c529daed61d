/* workers.h - threads in reserve for libmilter, which forgets a connection for which it cannot make one.
 *
 * Threads:  workers_start() in the thread that is to call smfi_main().
 * Limits:   two dozen; a connection beyond them for which there is no thread is closed.
 * Fails:    workers_start() with an error number when they cannot be had at the start.
 */
#ifndef MILTER_WORKERS_H
#define MILTER_WORKERS_H

int workers_start(void) __attribute__((warn_unused_result));

#endif
