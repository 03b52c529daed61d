/* owner.h - whose domain is it?
 *
 * One customer's newsletter goes to several of their domains: domains of one owner count as one.  They are of one owner when
 * they have one registrable domain (libpsl), or when the same hosts take their mail.
 * Pure, but for the public suffix list that is built into libpsl.  Threads: any.  Fails: never.
 */
#ifndef JUDGE_OWNER_H
#define JUDGE_OWNER_H

#include "base/domain.h"
#include "judge/facts.h"

/* The registrable domain of DOMAIN, or, when none of its primaries is below that, of the most preferred primary. */
void owner_of(const struct facts_domain *domain, char owner[DOMAIN_MAX + 1]);

#endif
