#include "judge/owner.h"

#include <libpsl.h>
#include <stdio.h>
#include <string.h>

/* Within NAME; a public suffix is its own. */
static const char *registrable(const char *name)
{
    const char *found = psl_registrable_domain(psl_builtin(), name);

    return found != NULL ? found : name;
}

void owner_of(const struct facts_domain *domain, char owner[DOMAIN_MAX + 1])
{
    const char *own = registrable(domain->name), *whose = own;

    if (domain->primary_count > 0)
        whose = registrable(domain->primaries[0].name);
    for (size_t i = 0; i < domain->primary_count; i++) {
        if (strcmp(registrable(domain->primaries[i].name), own) == 0)
            whose = own;
    }
    snprintf(owner, DOMAIN_MAX + 1, "%s", whose);
}
