/* outage.h - is a domain in outage for sure, so that its backup may take its mail?
 *
 * Recording needs doubt to be no offence; taking mail needs the contrary: doubt is no outage.  So this is no verdict.
 * Pure: facts in, answer out; no lock, no clock, no I/O.
 * Threads:  any.
 * Fails:    never.
 */
#ifndef JUDGE_OUTAGE_H
#define JUDGE_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "judge/facts.h"

enum {
    OUTAGE_FRESH_MS = 60000, /* what was found out longer ago proves nothing here */
    OUTAGE_PROBE_MS = 20000  /* so often is probed what outages are proven by, so that a slow probe is still fresh */
};

/* How long ago, for IPv4 and IPv6, a probe was answered by a host that is none of the domain's primaries; FACTS_NEVER. */
struct outage_egress {
    int64_t age_ms[2];
};

/* Are all primaries of DOMAIN, whose backup this host is, surely down for a client of FAMILY?  Every address of theirs was
 * found down within OUTAGE_FRESH_MS, while another host answered over the same family.  A family over which nobody answers
 * is not looked at, if the client's own family tells. */
bool outage_is_sure(const struct facts_domain *domain, uint8_t family, const struct outage_egress *egress);

#endif
