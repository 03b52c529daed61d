/* fake_store.h - a database for tests of the shipper, in place of record/store.
 *
 * Keeps recorded hits, and the mark of each life, as record_batch() does, over reconnects.
 * Threads: the shipper's and the test's; one mutex covers all.
 */
#ifndef FAKE_STORE_H
#define FAKE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "base/words.h"
#include "record/db.h"

enum { FAKE_STORE_MAX = 4096, FAKE_LIVES_MAX = 8, FAKE_CLIENTS_MAX = 500 };

struct fake_life {
    char life[UUID_SIZE], mark[UUID_SIZE];
};

struct fake_store {
    enum db_status connect;  /* the answer to each connect */
    int record_failures;     /* so many batches fail next, */
    int64_t record_takes_ms;
    bool record_then_fail;   /* ... after they were committed */
    bool frozen;             /* no answer until stop_fd is readable */
    enum db_status heartbeat; /* the answer to each heartbeat */
    enum db_status tick;      /* the answer to each tick */
    enum db_status probes;    /* the answer to each report of probes */
    enum db_status friends;   /* the answer to each report of friends */
    enum db_status record;   /* the answer to each batch that is not otherwise decided */
    const char *refuse_helo; /* a batch with such a hit is refused, */
    enum db_status refusal;  /* ... with this; 0: DB_REFUSED */
    size_t record_most;      /* a batch with more hits takes too long; 0: none does */
    const char *why;

    int connects, batches, heartbeats, ticks;
    int probe_reports;      /* that had an answer, */
    int64_t probes_told, last_probe_us; /* ... and those that went through */
    int friend_reports;     /* that went through */
    struct fake_client {
        int64_t number;     /* of 192.0.2.0, in the order of these */
        enum friend_state state;
    } clients[FAKE_CLIENTS_MAX]; /* with hits that wait to be told whether they are friends: FRIEND_UNANSWERED */
    size_t client_count;
    int64_t last, recorded[FAKE_STORE_MAX]; /* in the order in which they came */
    char recorded_hits[FAKE_STORE_MAX][UUID_SIZE], recorded_links[FAKE_STORE_MAX][UUID_SIZE];
    size_t recorded_count;
    struct fake_life lives[FAKE_LIVES_MAX];
    bool connected;
};

/* Start anew with what TO says; or look, or change, by hand between lock and unlock. */
void fake_store_reset(const struct fake_store *to);
struct fake_store *fake_store_lock(void);
void fake_store_unlock(void);

/* Let time go by (fake_clock.h) until TRUE_NOW (called with the lock held), for up to 400 s; whether it came true. */
bool fake_store_wait(bool (*true_now)(const struct fake_store *fake, int64_t number), int64_t number);

#endif
