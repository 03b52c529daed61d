/* workers.h - threads in reserve for libmilter, which forgets a connection for which it cannot make one.
 *
 * Threads:  workers_start() in the thread that is to call smfi_main().
 * Limits:   two dozen; what they all have no time for waits for the first that has.
 * Fails:    workers_start() with an error number when they cannot be had at the start.
 */
#ifndef MILTER_WORKERS_H
#define MILTER_WORKERS_H

int workers_start(void) __attribute__((warn_unused_result));

#endif
