/* log.h - one event, one line: "verb key=value ...", to standard error.
 *
 * Under systemd's journal each line carries its priority ("<6>"); elsewhere it carries the UTC time.
 * The one who decides logs; nobody both logs and returns.  Text from outside goes through text_printable() first.  The quotes
 * of the format stand around a value; a quote within one becomes \x22, so that a line can be taken apart.
 *
 * Nobody who logs ever waits for the one who reads: lines go into a ring (RING_BYTES), and a thread of its own takes them
 * out and writes them.  While there is no such thread, the line is written at once if standard error takes it just then.
 * Lines for which there is no room are counted (COUNTER_LOG_DROPPED), and "log-dropped" says how many where they would
 * have been; debug and info leave the last quarter of the ring to the graver ones.
 * Threads:  any; lines of one thread stay in order.  A line is in one write, with others perhaps.  errno is kept.
 * Fails:    never; a line that cannot be written is gone, and counted.
 * Limits:   a line is cut at LOG_LINE_MAX bytes, and a format has less than 512.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* No more than PIPE_BUF, pipe(7): a pipe takes a write of that size wholly or not at all. */
enum { LOG_LINE_MAX = 4096 };

/* From the gravest on; the values have nothing to do with syslog's. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines graver than or equal to LEVEL are written; LOG_LEVEL_INFO until this is called. */
void log_set_level(enum log_level level);

void log_event(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Once: from here on a thread writes.  Returns 0, or an error number: all goes on as before then. */
int log_writer_start(void) __attribute__((warn_unused_result));

/* Write what is there, for LOG_FINISH_MS at most, and end the thread, if there is one and it is not held up by a write.
 * Also called by exit(). */
enum { LOG_FINISH_MS = 300 };
void log_finish(void);

/* At most once in INTERVAL_MS: true when it is time, and *LAST_MS (start it with 0) is moved.  Several threads may share LAST_MS. */
bool log_is_due(_Atomic int64_t *last_ms, int64_t interval_ms);

#endif
