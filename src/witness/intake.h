/* intake.h - what is made of a log's entries, one after the other: letters, visits, and the stretches that were watched.
 *
 * A stretch goes from entry to entry.  It ends where something may be missing: the log was silent for `quiet_us`, lines were
 * suppressed, unreadable or cut, the clock jumped, was off, or passed an hour twice.  The next one begins at the next entry
 * that is right.
 * Threads:  one.  Owns: the stretch that runs; borrows format and ledger.
 * Fails:    false: the ledger does (ledger_why()).
 */
#ifndef WITNESS_INTAKE_H
#define WITNESS_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "witness/ledger.h"
#include "witness/logformat.h"
#include "witness/source.h"

enum { INTAKE_SENSORS_MAX = 64, INTAKE_REFUSALS_MAX = 64, INTAKE_CLOCK_OFF_S = 60, INTAKE_LATELY = 4096 };

struct intake_config {
    const struct logformat *format;
    struct ledger *ledger;
    const char *const *refusals; /* a refusal that has one of these texts is because of the list */
    size_t refusal_count;
    const struct ipnet *nat64_prefixes; /* for ipaddr_client() */
    size_t nat64_prefix_count;
    int64_t quiet_us;
};

struct intake;

struct intake *intake_create(const struct intake_config *config, char why[LEDGER_WHY_SIZE]);
void intake_destroy(struct intake **intake);

/* Take one entry, within a transaction of the ledger.  NOW_US: the time of this host.  FRESH: the entry was written just
 * now, so that its stamp tells whether the clocks agree.  REFERENCE_US: as in stamp.h. */
bool intake_entry(struct intake *intake, const struct source_entry *entry, int64_t now_us, int64_t reference_us, bool fresh)
    __attribute__((warn_unused_result));

/* Something may be missing here, for the reason WHY (a static text). */
void intake_gap(struct intake *intake, const char *why);

/* The time of the last entry; 0 before there is one. */
int64_t intake_until_us(const struct intake *intake);

/* The sensors' own addresses: when they were seen is kept.  That counts for the last INTAKE_LATELY clients, too: a new sensor is
 * heard of only after its first probes were read.  Those are kept with the next entry. */
void intake_set_sensors(struct intake *intake, const struct ipaddr *addresses, size_t count);

struct intake_counts {
    uint64_t entries, unreadable, gaps, letters;
    const char *last_gap; /* static text, NULL: there was none */
};
const struct intake_counts *intake_counts(const struct intake *intake);

#endif
