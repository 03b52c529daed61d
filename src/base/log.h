/* log.h - one event, one line: "verb key=value ...", to standard error.
 *
 * Under systemd's journal each line carries its priority ("<6>"); elsewhere it carries the UTC time.
 * The one who decides logs; nobody both logs and returns.  Text from outside goes through text_printable() first.
 * Threads:  any; a line is one write.  errno is kept.
 * Fails:    never; a line that cannot be written is gone.
 * Limits:   a line is cut at LOG_LINE_MAX bytes.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum { LOG_LINE_MAX = 4096 };

/* From the gravest on; the values have nothing to do with syslog's. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines graver than or equal to LEVEL are written; LOG_LEVEL_INFO until this is called. */
void log_set_level(enum log_level level);

/* "error", "warning", "info", "debug". */
bool log_level_from_name(const char *name, enum log_level *level);

void log_event(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At most once in INTERVAL_MS: true when it is time, and *LAST_MS (start it with 0) is moved.  Several threads may share LAST_MS. */
bool log_is_due(_Atomic int64_t *last_ms, int64_t interval_ms);

#endif
