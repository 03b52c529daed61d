/* loader.h - reads the settings, and finds out who this host is, in a thread of its own: the name may be asked of a DNS that
 * does not answer, and whoever waits for it has to be able to leave.
 *
 * Threads:  the caller's, and one for each loader; one at a time, as settings_load() demands.
 * Owns:     a loader owns what it has read until loader_take().
 * Fails:    loader_start() with an error number; faults in the file go to the log.
 */
#ifndef DAEMON_LOADER_H
#define DAEMON_LOADER_H

#include "settings/settings.h"

struct loader;

/* Begin to read PATH, which has to last as long as the process. */
int loader_start(struct loader **loader, const char *path) __attribute__((warn_unused_result));

/* Readable when loader_take() will not wait. */
int loader_fd(const struct loader *loader);

/* What was read, the caller's from here on; NULL after faults. */
struct settings *loader_take(struct loader **loader);

/* The end of the process is near: let it be.  Nobody else may load afterwards. */
void loader_leave(struct loader **loader);

#endif
