#include "judge/outage.h"

#include <stddef.h>

enum outage_family { FAMILY_UNUSED, FAMILY_DOWN, FAMILY_WITHOUT_EGRESS, FAMILY_NOT_SURE };

/* Of the primaries' addresses of FAMILY, what is known for sure. */
static enum outage_family family_state(const struct facts_domain *domain, uint8_t family,
                                       const struct outage_egress *egress)
{
    enum outage_family state = FAMILY_UNUSED;

    for (size_t i = 0; i < domain->primary_count; i++) {
        const struct facts_primary *primary = &domain->primaries[i];

        for (size_t j = 0; j < primary->address_count; j++) {
            const struct facts_address *address = &primary->addresses[j];

            if (address->family != family)
                continue;
            /* One that answered is up, whatever the others do. */
            if (address->known && (address->state == LIVENESS_ACCEPTING || address->state == LIVENESS_DEFERRING))
                return FAMILY_NOT_SURE;
            if (egress->age_ms[family == 6] > OUTAGE_FRESH_MS)
                state = FAMILY_WITHOUT_EGRESS;
            else if (!address->known || address->state != LIVENESS_DOWN || address->age_ms > OUTAGE_FRESH_MS)
                return FAMILY_NOT_SURE;
            else
                state = FAMILY_DOWN;
        }
    }
    return state;
}

bool outage_is_sure(const struct facts_domain *domain, uint8_t family, const struct outage_egress *egress)
{
    uint8_t other = family == 6 ? 4 : 6;
    enum outage_family own_state, other_state;

    if (domain->dns != FACTS_DNS_KNOWN || domain->role != CLASS_BACKUP || domain->is_trap || domain->hosts_in_doubt ||
        domain->moved || domain->primary_count == 0)
        return false;
    own_state = family_state(domain, family, egress);
    other_state = family_state(domain, other, egress);
    if (own_state == FAMILY_UNUSED)
        return other_state == FAMILY_DOWN;
    return own_state == FAMILY_DOWN && other_state != FAMILY_NOT_SURE;
}
