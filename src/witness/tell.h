/* tell.h - what a witness and the database say to each other.
 *
 * The witness asks for the hits that wait and for the clients they came from, and tells what it found about them, which
 * stretches it watched, and when it saw the sensors' probes; nothing else of what it read leaves it.  All that is told may be
 * told again: the database takes it once.
 * Talks only to the SQL functions that the role hunnypot_witness may call.
 * Threads:  one.  Borrows the connection and the ledger.
 * Fails:    TELL_DATABASE (see db_why()) or TELL_LEDGER (see ledger_why()); what was told is remembered up to there.
 */
#ifndef WITNESS_TELL_H
#define WITNESS_TELL_H

#include "record/db.h"
#include "witness/intake.h"
#include "witness/ledger.h"

enum tell_status { TELL_OK, TELL_DATABASE, TELL_LEDGER, TELL_CLOCK /* this clock and the database's are too far apart */ };

struct tell {
    struct db *db;
    struct ledger *ledger;
    const char *mx;      /* whose log it is: the name in the MX record, normalized */
    const char *machine; /* and which of the machines behind that name */
    bool by_sender;      /* --match sender */
    const struct envelope_keys *keys;
    enum db_status database; /* how the last call of it ended */
};

/* Say who this is.  INTAKE learns which addresses the sensors probe from. */
enum tell_status tell_hello(struct tell *tell, struct intake *intake) __attribute__((warn_unused_result));

/* Fetch what waits, look for it, and tell.  UNTIL_US: the log was read up to there. */
enum tell_status tell_all(struct tell *tell, int64_t until_us) __attribute__((warn_unused_result));

#endif
