/* settings.h - hunnypot.conf: one table of settings, read with libConfuse, as an immutable, reference-counted snapshot.
 *
 * The table in settings.c is the only place where a setting exists (name, type, default, bounds, unit, help); it feeds
 * load, reload, --check, --dump, the sample file and the manual page.
 * Threads:  settings_load() in one at a time (libConfuse's scanner is global); a snapshot is read-only; hold and
 *           release are atomic.
 * Owns:     a snapshot owns all it points to; settings_release() frees it with its last holder.
 * Fails:    NULL from load, after one line for each fault (file, line, what is wrong, what would be right) went to REPORT.
 */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "judge/judge.h"
#include "milter/session.h"

struct settings {
    char *socket;
    char *socket_group; /* "" : none */
    char *user;
    char *sensor;
    char *database; /* "" : spool only */
    char *spool;
    int64_t spool_limit;
    enum log_level log_level;
    int64_t verdict_timeout_ms;
    struct judge_config judge;     /* arrays belong to the snapshot; own_addresses without local interfaces */
    struct session_policy session;
};

/* Read PATH. */
struct settings *settings_load(const char *path, void (*report)(void *context, const char *line), void *context);

struct settings *settings_hold(struct settings *settings);
void settings_release(struct settings **settings);

/* One line to REPORT for each setting that differs between the two and is only read at start. */
void settings_report_fixed(const struct settings *started_with, const struct settings *loaded,
                           void (*report)(void *context, const char *line), void *context);

/* The settings in force, as a file that settings_load() reads back to the same. */
void settings_dump(const struct settings *settings, FILE *out);

/* The sample file, made from the table: every setting with its default and one line of help, commented out. */
void settings_print_sample(FILE *out);

#endif
