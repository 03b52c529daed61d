/* ledger.h - what a witness remembers, in one SQLite file on its own disk: hashes of what it read, its place in the log,
 * which stretches of time it watched, the hits that wait, and what it found about them.
 *
 * No address is in it: letters are keyed hashes (envelope_hash.h) and so are clients, once for each key.  What was read and
 * the place behind it change in one transaction, ledger_begin() to ledger_commit(): a restart goes on exactly there.
 * Times are microseconds since 1970 UTC, as the log has them.
 * Threads:  one.
 * Owns:     the file, its -wal and -shm, and a lock beside it (FILE.lock).  A damaged file is set aside
 *           (FILE.damaged-TIME) and a new one begun: what it remembered was not watched.
 * Fails:    false, with the reason in ledger_why(); the transaction is undone and the caller gives up.
 * Limits:   LEDGER_LETTERS_MAX letters whose end was not seen; everything is forgotten LEDGER_KEEP_S later.
 */
#ifndef WITNESS_LEDGER_H
#define WITNESS_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/envelope_key.h"

enum {
    LEDGER_KEEP_S = 7 * 86400,
    LEDGER_LETTERS_MAX = 200000,
    LEDGER_HIT_ID_SIZE = 37, /* a UUID as text */
    LEDGER_WHY_SIZE = 256,
    LEDGER_CURSOR_SIZE = 512,

    /* A letter that was accepted from so long before the hit to so long after it redeems it. */
    LEDGER_BEFORE_S = 300,
    LEDGER_AFTER_S = 5 * 86400,
    /* A client that was here so long before the hit was seen. */
    LEDGER_SEEN_S = 86400
};

struct ledger;

bool ledger_open(struct ledger **ledger, const char *path, const struct envelope_keys *keys, char why[LEDGER_WHY_SIZE])
    __attribute__((warn_unused_result));
void ledger_close(struct ledger **ledger);
const char *ledger_why(const struct ledger *ledger);

bool ledger_begin(struct ledger *ledger) __attribute__((warn_unused_result));
bool ledger_commit(struct ledger *ledger) __attribute__((warn_unused_result));

/* --- what the log says.  ID names a letter for as long as the MTA handles it; addresses are as envelope_reduce() gives them. */

/* A letter begins; what was known of ID is forgotten.  CLIENT may have family 0. */
bool ledger_letter_client(struct ledger *ledger, const char *id, const struct ipaddr *client, int64_t time_us)
    __attribute__((warn_unused_result));
/* FROM is NULL when no letter can be told again by it. */
bool ledger_letter_sender(struct ledger *ledger, const char *id, const char *from, int64_t time_us)
    __attribute__((warn_unused_result));
bool ledger_letter_accepted(struct ledger *ledger, const char *id, int64_t time_us) __attribute__((warn_unused_result));
bool ledger_letter_recipient(struct ledger *ledger, const char *id, const char *to) __attribute__((warn_unused_result));
/* The client of this letter was turned away. */
bool ledger_letter_refused(struct ledger *ledger, const char *id, int64_t time_us) __attribute__((warn_unused_result));
bool ledger_letter_closed(struct ledger *ledger, const char *id) __attribute__((warn_unused_result));

/* A letter that was refused because of the list that Hunnypot makes. */
bool ledger_letter_listed(struct ledger *ledger, const char *from, const char *to, int64_t time_us)
    __attribute__((warn_unused_result));

/* CLIENT was here, or was turned away. */
bool ledger_visit(struct ledger *ledger, const struct ipaddr *client, bool refused, int64_t time_us)
    __attribute__((warn_unused_result));

/* A sensor's own probe was seen; kept as it is, once for each second. */
bool ledger_probe(struct ledger *ledger, const struct ipaddr *sensor, int64_t time_us) __attribute__((warn_unused_result));

/* --- the place in the log --- */

struct ledger_place {
    uint64_t device, inode;
    int64_t offset;            /* of the next byte that was not read */
    struct envelope_hash head; /* of the first bytes of the file, as far as `offset` */
    struct envelope_hash tail; /* of the last bytes before `offset` */
    int64_t stamp_us;          /* of the last entry */
    char cursor[LEDGER_CURSOR_SIZE]; /* the journal's */
};

/* The place in LOG; *FOUND tells whether there is one. */
bool ledger_place(struct ledger *ledger, const char *log, struct ledger_place *place, bool *found)
    __attribute__((warn_unused_result));
bool ledger_set_place(struct ledger *ledger, const char *log, const struct ledger_place *place)
    __attribute__((warn_unused_result));

/* --- stretches of the log's time that were watched: from the first to the last entry without a gap between --- */

enum { LEDGER_KEYS_SIZE = ENVELOPE_KEYS_MAX * ENVELOPE_KEY_ID_SIZE };

struct ledger_stretch {
    int64_t since_us, until_us;
    char keys[LEDGER_KEYS_SIZE]; /* identifiers of the keys that it was watched with, a comma between */
};

/* Begin STRETCH at SINCE_US, with the keys that there are. */
void ledger_begin_stretch(const struct ledger *ledger, struct ledger_stretch *stretch, int64_t since_us);
/* The last stretch; *FOUND tells whether there is one. */
bool ledger_last_stretch(struct ledger *ledger, struct ledger_stretch *stretch, bool *found)
    __attribute__((warn_unused_result));
/* Keep a stretch that began, or that is longer now. */
bool ledger_watched(struct ledger *ledger, const struct ledger_stretch *stretch) __attribute__((warn_unused_result));
/* Stretches that grew since they were told, the oldest first; up to MAX. */
bool ledger_untold_stretches(struct ledger *ledger, struct ledger_stretch *stretches, size_t max, size_t *count)
    __attribute__((warn_unused_result));
bool ledger_told_stretch(struct ledger *ledger, const struct ledger_stretch *stretch) __attribute__((warn_unused_result));

/* --- hits that wait, and what was found --- */

struct ledger_hit {
    char id[LEDGER_HIT_ID_SIZE];
    int64_t time_us;
    struct ipaddr client;
    char key_id[ENVELOPE_KEY_ID_SIZE];
    const struct envelope_hash *hashes; /* of its letter to each recipient, and to each recipient's domain */
    size_t hash_count;
    const struct envelope_hash *sender; /* of its letter to whomever, or NULL: not to be told by that */
};

/* Keep HIT, unless it is there or has a key that this witness does not have. */
bool ledger_wait(struct ledger *ledger, const struct ledger_hit *hit) __attribute__((warn_unused_result));

enum ledger_what {
    LEDGER_ACCEPTED, /* a letter with this envelope was accepted */
    LEDGER_SENDER,   /* one with this sender was */
    LEDGER_LISTED,   /* one with this envelope was refused because of the list */
    LEDGER_SEEN,     /* the client was here in the 24 h before the hit */
    LEDGER_REFUSED   /* it was turned away in that time */
};

struct ledger_finding {
    char hit_id[LEDGER_HIT_ID_SIZE];
    enum ledger_what what;
    int64_t time_us;
};

/* Look for what waits in what was read.  UNTIL_US: the log was read up to there. */
bool ledger_match(struct ledger *ledger, int64_t until_us) __attribute__((warn_unused_result));
/* What was found and is not told; up to MAX. */
bool ledger_untold_findings(struct ledger *ledger, struct ledger_finding *findings, size_t max, size_t *count)
    __attribute__((warn_unused_result));
bool ledger_told_finding(struct ledger *ledger, const struct ledger_finding *finding) __attribute__((warn_unused_result));

struct ledger_probe {
    char address[IPADDR_TEXT_SIZE];
    int64_t time_us;
};

/* Probes that are not told; up to MAX. */
bool ledger_untold_probes(struct ledger *ledger, struct ledger_probe *probes, size_t max, size_t *count)
    __attribute__((warn_unused_result));
bool ledger_told_probe(struct ledger *ledger, const struct ledger_probe *probe) __attribute__((warn_unused_result));

/* Letters that were accepted from CLIENT since SINCE_US. */
bool ledger_letter_count(struct ledger *ledger, const struct ipaddr *client, int64_t since_us, int64_t *letters)
    __attribute__((warn_unused_result));

/* A text of the caller's, "" when there is none. */
bool ledger_note(struct ledger *ledger, const char *name, char *value, size_t size) __attribute__((warn_unused_result));
bool ledger_set_note(struct ledger *ledger, const char *name, const char *value) __attribute__((warn_unused_result));

/* Forget what is too old at NOW_US.  *LOST: letters had to be forgotten whose recipients nobody had named. */
bool ledger_forget(struct ledger *ledger, int64_t now_us, bool *lost) __attribute__((warn_unused_result));

#endif
