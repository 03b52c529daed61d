#include "record/spool_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"
#include "record/spool_row.h"

enum { KEPT_FEW = 256 }; /* rows: what takes no longer to count than a hit to put */

/* Run a statement about the hit ID; *CHANGED gets the number of rows. */
static int run_about(struct spool_own *own, enum spool_statement which, int64_t id, int64_t *changed)
{
    int result;

    sqlite3_bind_int64(own->file.prepared[which], 1, id);
    result = spool_file_run(&own->file, which);
    *changed = result == SQLITE_OK ? sqlite3_changes(own->file.db) : 0;
    return result;
}

/* The one number that a statement about number ID, or LINK, gives, or 0. */
static int find_number(struct spool_own *own, enum spool_statement which, int64_t id, const char *link, int64_t *number)
{
    sqlite3_stmt *statement = own->file.prepared[which];
    int result;

    if (link != NULL)
        sqlite3_bind_text(statement, 1, link, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_int64(statement, 1, id);
    result = sqlite3_step(statement);
    *number = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result;
}

/* Insert the hit that is bound; *LAST gets its number. */
static int run_insert(struct spool_own *own, enum spool_statement which, int64_t *last)
{
    int64_t before = *last;
    int result = spool_file_run(&own->file, which);

    if (result == SQLITE_OK)
        *last = sqlite3_last_insert_rowid(own->file.db);
    return *last - before > 2 * SPOOL_LEAP_MAX ? SQLITE_CORRUPT : result;
}

/* Forget what is kept up to outbox number LAST. */
static int forget_kept(struct spool_own *own, int64_t last)
{
    int64_t changed;
    int result = run_about(own, SPOOL_FORGET, last, &changed);

    own->file.tally.depth.kept -= changed;
    return result;
}

/* The mark moved: what it passed is kept from now on; what it went back over is not over yet. */
static void keep_since_now(struct spool_own *own)
{
    int64_t now_ms = clock_monotonic_ms(), number = own->file.tally.mark.number;
    struct spool_keep *newest = own->keep_count > 0 ? &own->keeps[own->keep_count - 1] : NULL;

    for (size_t i = 0; i < own->keep_count; i++)
        if (own->keeps[i].number > number)
            own->keeps[i].number = number;
    if (newest != NULL && (now_ms - newest->since_ms <= own->keep_ms / SPOOL_KEEPS || own->keep_count == SPOOL_KEEPS))
        newest->number = number;
    else
        own->keeps[own->keep_count++] = (struct spool_keep){.since_ms = now_ms, .number = number};
}

/* The time of some may be over; and a tenth of the room is all they get. */
static int keep_less(struct spool_own *own)
{
    struct spool_tally *tally = &own->file.tally;
    int64_t now_ms = clock_monotonic_ms(), many = tally->depth.kept - own->limit / 10, changed;
    size_t over = 0;
    int result = SQLITE_OK;

    if (own->keep_count == 0 && tally->depth.kept > 0)
        keep_since_now(own);
    while (over < own->keep_count && own->keeps[over].since_ms + own->keep_ms + own->keep_ms / SPOOL_KEEPS <= now_ms)
        over++;
    if (over > 0)
        result = forget_kept(own, own->keeps[over - 1].number);
    memmove(own->keeps, own->keeps + over, (own->keep_count - over) * sizeof *own->keeps);
    own->keep_count -= over;
    if (result == SQLITE_OK && many > 0 && over == 0) {
        result = run_about(own, SPOOL_FORGET_SOME, many, &changed);
        tally->depth.kept -= changed;
    }
    return result;
}

int spool_call_put(struct spool_own *own, struct spool_call *call)
{
    struct spool_tally *tally = &own->file.tally;
    int result;

    call->status = tally->depth.inbox + tally->depth.outbox + tally->depth.aside >= own->limit ? SPOOL_FULL : SPOOL_OK;
    if (call->status == SPOOL_FULL)
        return SQLITE_OK;
    spool_row_bind(own->file.prepared[SPOOL_PUT], call->hits, false);
    result = run_insert(own, SPOOL_PUT, &tally->last_inbox);
    call->hits->id = tally->last_inbox;
    tally->depth.inbox += result == SQLITE_OK;
    return result;
}

void spool_call_forget_read(struct spool_call *call)
{
    while (call->got > 0)
        hit_clear(&call->hits[--call->got]);
}

/* *LOST: 1 when `aside` does not take the row. */
static int move_aside(struct spool_own *own, enum spool_statement read, int64_t id, const char *reason, size_t *lost)
{
    bool in_inbox = read == SPOOL_READ_INBOX;
    enum spool_statement copy = in_inbox ? SPOOL_COPY_INBOX : SPOOL_COPY_OUTBOX;
    int64_t copied, left = 0;
    int result;

    sqlite3_bind_text(own->file.prepared[copy], 2, reason, -1, SQLITE_STATIC);
    result = run_about(own, copy, id, &copied);
    if (result == SQLITE_OK)
        result = run_about(own, in_inbox ? SPOOL_LEAVE_INBOX : SPOOL_LEAVE_OUTBOX, id, &left);
    own->file.tally.depth.aside += copied;
    *(in_inbox ? &own->file.tally.depth.inbox : &own->file.tally.depth.outbox) -= left;
    *lost = copied < left;
    return result;
}

/* Read on behind AFTER, which is moved, up to the first row that is damaged (*DAMAGED) or the last that is wanted. */
static int read_on(struct spool_own *own, struct spool_call *call, int64_t *after, bool *damaged)
{
    sqlite3_stmt *statement = own->file.prepared[call->read];
    int64_t last = call->read == SPOOL_READ_INBOX ? own->file.tally.last_inbox : own->file.tally.last_outbox;
    int result = SQLITE_DONE;

    *damaged = false;
    sqlite3_bind_int64(statement, 1, *after);
    sqlite3_bind_int64(statement, 2, (int64_t)(call->count - call->got));
    while (!*damaged && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        *after = sqlite3_column_int64(statement, 0);
        *damaged = !spool_row_read(statement, last, &call->hits[call->got]);
        call->got += !*damaged;
    }
    sqlite3_reset(statement);
    return *damaged || result == SQLITE_DONE ? SQLITE_OK : result;
}

/* Is the mark of CALL one of this life? */
static bool has_life(const struct spool_own *own, struct spool_call *call)
{
    call->status = strcmp(call->mark->life, own->file.tally.mark.life) == 0 ? SPOOL_OK : SPOOL_OTHER_LIFE;
    return call->status == SPOOL_OK;
}

int spool_call_read(struct spool_own *own, struct spool_call *call)
{
    int64_t after = call->id;
    size_t lost;
    bool damaged;
    int result;

    spool_call_forget_read(call);
    call->damaged = call->lost = 0;
    if (call->mark != NULL && !has_life(own, call))
        return SQLITE_OK;
    while ((result = read_on(own, call, &after, &damaged)) == SQLITE_OK && damaged) {
        result = move_aside(own, call->read, after, "damaged in the spool", &lost);
        if (result != SQLITE_OK)
            break;
        call->damaged++;
        call->lost += lost;
    }
    return result;
}

static int settle_one(struct spool_own *own, const struct hit *hit)
{
    struct hit sent = *hit;
    int64_t left;
    int result = run_about(own, SPOOL_LEAVE_INBOX, hit->id, &left);

    own->file.tally.depth.inbox -= left;
    /* Not in the inbox: settled before, unless it went with a damaged file and is known in memory only. */
    if (result != SQLITE_OK || hit->class == CLASS_NONE || (left == 0 && hit->id > own->file.lost_inbox))
        return result;
    if (!uuid_draw(sent.link))
        return SQLITE_IOERR;
    sent.doubt = hit->id <= own->file.tally.doubt_inbox;
    spool_row_bind(own->file.prepared[SPOOL_SEND], &sent, true);
    result = run_insert(own, SPOOL_SEND, &own->file.tally.last_outbox);
    own->file.tally.depth.outbox += result == SQLITE_OK;
    return result;
}

int spool_call_settle(struct spool_own *own, struct spool_call *call)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < call->count && result == SQLITE_OK; i++)
        result = settle_one(own, &call->judged[i]);
    return result;
}

/* How much is kept when the mark goes to NUMBER.  All of it is counted when that is little, and when as much again was passed since
 * the last time: so bit rot in numbers does not make the tally wrong for long, and many marks take no longer than as many rows. */
static int count_kept(struct spool_own *own, int64_t number, int64_t *kept)
{
    struct spool_tally *tally = &own->file.tally;
    int64_t passed;
    int result;

    if (tally->depth.kept <= KEPT_FEW || tally->passed >= tally->depth.kept) {
        tally->passed = 0;
        return find_number(own, SPOOL_COUNT_KEPT, number, NULL, kept);
    }
    result = find_number(own, SPOOL_COUNT_PASSED, number, NULL, &passed);
    *kept = tally->depth.kept + (number < tally->mark.number ? -passed : passed);
    tally->passed += passed;
    return result;
}

/* Put the mark at LINK, number NUMBER of the outbox. */
static int move_mark(struct spool_own *own, const char *link, int64_t number)
{
    struct spool_tally *tally = &own->file.tally;
    int64_t kept = 0, changed;
    int result = count_kept(own, number, &kept);

    sqlite3_bind_text(own->file.prepared[SPOOL_SET_MARK], 2, link, -1, SQLITE_TRANSIENT);
    if (result == SQLITE_OK)
        result = run_about(own, SPOOL_SET_MARK, number, &changed);
    tally->depth.outbox += tally->depth.kept - kept;
    tally->depth.kept = kept;
    /* A number that was never given, by damage: what comes next is not to be below the mark. */
    if (result == SQLITE_OK && number > tally->last_outbox) {
        result = run_about(own, SPOOL_SKIP, number, &changed);
        tally->last_outbox = number;
    }
    tally->mark.number = number;
    snprintf(tally->mark.link, sizeof tally->mark.link, "%s", link);
    return result;
}

int spool_call_mark(struct spool_own *own, struct spool_call *call)
{
    *call->mark = own->file.tally.mark;
    return SQLITE_OK;
}

int spool_call_ancestors(struct spool_own *own, struct spool_call *call)
{
    sqlite3_stmt *statement = own->file.prepared[SPOOL_ANCESTORS];
    int result = sqlite3_step(statement);

    free(call->text);
    call->text = result == SQLITE_ROW ? alloc_text((const char *)sqlite3_column_text(statement, 0)) : NULL;
    sqlite3_reset(statement);
    return result == SQLITE_ROW ? SQLITE_OK : result;
}

static int begin_life(struct spool_own *own, const char *reason)
{
    log_event(LOG_LEVEL_WARNING, "spool-new-life file=%s reason=\"%s\"", own->file.path, reason);
    own->keep_count = 0;
    return spool_file_begin_life(&own->file);
}

int spool_call_agree(struct spool_own *own, struct spool_call *call)
{
    const struct spool_mark *mark = &own->file.tally.mark;
    int64_t number = 0;
    int result = SQLITE_OK;

    if (!has_life(own, call))
        return SQLITE_OK;
    if (strcmp(call->link, mark->link) != 0) {
        if (call->link[0] != '\0')
            result = find_number(own, SPOOL_FIND_LINK, 0, call->link, &number);
        if (result == SQLITE_OK && number > 0)
            result = move_mark(own, call->link, number);
        else if (result == SQLITE_OK)
            result = begin_life(own, "the database has a mark that is not ours: one of the two is a copy, or older");
        keep_since_now(own);
    }
    *call->mark = *mark;
    return result;
}

int spool_call_confirm(struct spool_own *own, struct spool_call *call)
{
    int result;

    if (!has_life(own, call))
        return SQLITE_OK;
    result = move_mark(own, call->mark->link, call->mark->number);
    keep_since_now(own);
    return result == SQLITE_OK ? keep_less(own) : result;
}

int spool_call_set_aside(struct spool_own *own, struct spool_call *call)
{
    size_t lost;
    int result = move_aside(own, SPOOL_READ_OUTBOX, call->id, call->reason, &lost);

    return result == SQLITE_OK && lost > 0 ? SQLITE_CONSTRAINT : result;
}

int spool_call_keep_less(struct spool_own *own, struct spool_call *call)
{
    (void)call;
    return keep_less(own);
}
