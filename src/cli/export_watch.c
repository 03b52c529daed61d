/* export_watch.c - hunnypot export --watch.
 *
 * How a change reaches a consumer that takes changes: a notification, or CLI_NEWS_MS, ends await_next(); tell_changes() has the database
 * write what changed since the mark that the consumer has, and the changes command reads it.  The command fails when the consumer
 * has no such mark: its sets are empty after a boot, or somebody else filled them.  Then, and once an hour, as durations change, and when
 * more has changed than can be told, the target is written as a whole, the command run, and the consumer given the mark of that.
 * Without the command, it is written after changes too, as often as that takes no more than a FILE_SHARE of the time, and at the end.
 * A consumer that takes none has the last part alone, each time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/export.h"

enum {
    CHANGES_INTERVAL_MS = 500, /* what changes in that time is told together */
    FILE_SHARE = 100,
    ASK_MS = 30000, /* for longer a consumer is not left alone */
    WHOLE_MS = 3600000 /* for longer the consumer is not only told changes */
};

struct watch {
    struct export *export;
    /* The consumer may not have what the file says: it was not told yet (a firewall's sets are empty after a boot, the
     * file is not), or the command failed. */
    bool untold;
    char *exported; /* what the list was like, as export_state() has it, when it was exported; NULL: not exported */
    char *mark;       /* of what the consumer has; NULL: it can be told no changes */
    int64_t told_ms;  /* when it had that */
    int64_t whole_ms; /* when it was last seen to that it has the whole */
    int64_t file_ms, took_ms; /* when the file was written last, and how long that took */
    bool file_is_old;         /* the consumer was told something since */
    bool file_is_untold;      /* it was written since the command was run */
};

/* Wait for a change that is noticed, or for AT_MOST_MS. */
static enum db_status await_change(struct cli *cli, int64_t at_most_ms)
{
    char *channel, *payload;
    enum db_status status = db_wait_notify(cli->db, (int)at_most_ms, &channel, &payload);

    if (status == DB_OK) {
        free(channel);
        free(payload);
    }
    return status;
}

/* Until INTERVAL_MS after BEGAN_MS more changes may come; one export is for all of them. */
static enum db_status await_next(struct cli *cli, int64_t began_ms, int64_t interval_ms)
{
    enum db_status status = await_change(cli, CLI_NEWS_MS);
    int64_t left;

    while (status == DB_OK && (left = began_ms + interval_ms - clock_monotonic_ms()) > 0)
        status = await_change(cli, left);
    return status;
}

static void set_mark(struct watch *watch, char *mark)
{
    if (mark != NULL && (watch->mark == NULL || strcmp(mark, watch->mark) != 0))
        watch->told_ms = clock_monotonic_ms();
    free(watch->mark);
    watch->mark = mark;
}

/* The consumer was told what the file may not say, and it is not known any more what that was: it needs the whole even if the file is as
 * it was when it was loaded. */
static void lose_mark(struct watch *watch)
{
    watch->untold |= watch->mark != NULL;
    set_mark(watch, NULL);
}

/* A file without a name, to be written and then read by the command; NULL, which is said. */
static FILE *changes_begin(void)
{
    FILE *changes = tmpfile();

    if (changes == NULL)
        cli_fail("changes: %m");
    return changes;
}

/* Run the command with what was written to CHANGES, if anything was. */
static int changes_end(const struct cli *cli, const struct export *export, FILE *changes)
{
    int status = CLI_OK;

    if (fflush(changes) != 0)
        status = cli_fail("changes: %m");
    else if (ftello(changes) > 0)
        status = lseek(fileno(changes), 0, SEEK_SET) == 0 ? export_command(cli, export->changes_command, fileno(changes))
                                                          : cli_fail("changes: %m");
    fclose(changes);
    return status;
}

/* Tell the consumer what changed since its mark.  False: the whole list is to be exported, now. */
static bool tell_changes(struct cli *cli, struct watch *watch)
{
    bool is_due = clock_monotonic_ms() - watch->told_ms >= ASK_MS;
    FILE *changes = changes_begin();
    char *mark = NULL;
    int count = 0;

    if (changes == NULL || export_changes(cli, watch->export, watch->mark, is_due, changes, &mark, &count) != CLI_OK) {
        if (changes != NULL)
            fclose(changes);
        free(mark);
        lose_mark(watch);
        return true; /* what failed was said; the next time it is the whole list */
    }
    if (changes_end(cli, watch->export, changes) != CLI_OK || count < 0) {
        free(mark);
        lose_mark(watch);
        return false;
    }
    watch->file_is_old |= count > 0;
    set_mark(watch, mark);
    return true;
}

/* The consumer has all that is in the target: give it the mark of that. */
static void give_mark(struct cli *cli, struct watch *watch)
{
    FILE *changes = changes_begin();
    int status = changes != NULL ? export_mark(cli, watch->export, changes) : CLI_FAILED;

    if (status == CLI_OK)
        status = changes_end(cli, watch->export, changes);
    else if (changes != NULL)
        fclose(changes);
    set_mark(watch, status == CLI_OK ? alloc_text(watch->export->mark) : NULL);
}

/* As export_file(). */
static int replace_target(struct cli *cli, struct watch *watch, bool *changed)
{
    int64_t began_ms = clock_monotonic_ms();
    int status = export_file(cli, watch->export, changed);

    watch->file_ms = clock_monotonic_ms();
    watch->took_ms = watch->file_ms - began_ms;
    if (status == CLI_OK)
        watch->file_is_old = false;
    return status;
}

/* The consumer has been told: whoever else reads the file, and the next boot, may have it too. */
static void refresh_file(struct cli *cli, struct watch *watch)
{
    int64_t wait_ms = watch->took_ms * FILE_SHARE;
    bool changed;

    if (wait_ms < watch->export->interval_ms)
        wait_ms = watch->export->interval_ms;
    if (watch->file_is_old && clock_monotonic_ms() - watch->file_ms >= wait_ms) {
        (void)replace_target(cli, watch, &changed); /* what failed was said */
        watch->file_is_untold |= changed;
    }
}

/* What fails is said; the next change, or the next minute, is the next try. */
static void export_whole(struct cli *cli, struct watch *watch)
{
    char *state = export_state(cli, watch->export);
    bool changed;
    int status;

    if (state == NULL)
        return;
    watch->whole_ms = clock_monotonic_ms();
    if (watch->exported != NULL && strcmp(state, watch->exported) == 0 && !watch->untold) {
        free(state);
        return;
    }
    status = replace_target(cli, watch, &changed);
    free(watch->exported);
    watch->exported = status == CLI_OK ? state : NULL;
    if (status != CLI_OK)
        free(state);
    if (watch->export->command != NULL && (changed || (status == CLI_OK && watch->untold))) {
        watch->untold = export_tell(cli, watch->export) != CLI_OK;
        watch->file_is_untold = false;
        set_mark(watch, NULL);
        if (watch->export->changes_command != NULL && !watch->untold)
            give_mark(cli, watch);
    } else if (status == CLI_OK) {
        watch->untold = false;
    }
}

static void watch_once(struct cli *cli, struct watch *watch)
{
    int64_t left;

    if (watch->mark != NULL && clock_monotonic_ms() - watch->whole_ms < WHOLE_MS) {
        if (tell_changes(cli, watch)) {
            refresh_file(cli, watch);
            return;
        }
        left = watch->file_ms + watch->export->interval_ms - clock_monotonic_ms();
        if (left > 0 && cli_stopped_within(cli, left))
            return;
    }
    watch->untold |= watch->file_is_untold;
    export_whole(cli, watch);
}

/* Export, again and again, as long as the connection lasts; DB_STOPPED when it is to end. */
static enum db_status watch_on(struct cli *cli, void *context)
{
    struct watch *watch = context;
    enum db_status status = cli_listen(cli, "hunnypot_listing");

    lose_mark(watch); /* it may be another database */
    while (status == DB_OK) {
        int64_t began_ms = clock_monotonic_ms(), interval_ms = watch->export->interval_ms;

        watch_once(cli, watch);
        if (watch->mark != NULL && interval_ms > CHANGES_INTERVAL_MS)
            interval_ms = CHANGES_INTERVAL_MS;
        status = await_next(cli, began_ms, interval_ms);
    }
    return status;
}

/* Who reads the file while nobody watches, at boot for one, is to have what the consumer was told.  The connection went with the
 * signal. */
static void leave_file(struct cli *cli, struct watch *watch)
{
    bool changed;

    if (!watch->file_is_old)
        return;
    cli_stop_later(cli);
    db_close(&cli->db);
    if (cli_open(cli) == CLI_OK)
        (void)replace_target(cli, watch, &changed); /* what failed was said */
}

int export_watch(struct cli *cli, struct export *export)
{
    struct watch watch = {.export = export, .untold = true};
    int status = cli_keep_open(cli, watch_on, &watch);

    leave_file(cli, &watch);
    free(watch.exported);
    free(watch.mark);
    return status;
}
