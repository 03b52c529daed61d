#include "daemon/conduct.h"

#include "judge/judge.h"
#include "judge/self.h"

enum session_conduct conduct_at_rcpt(void *context, const struct settings *settings, const struct hit *hit,
                                     const char *domain)
{
    const struct settings_rule *rule = self_rule(&settings->judge, domain);
    struct judge *const *judge = context;

    if (rule != NULL && rule->role == ROLE_OFF)
        return CONDUCT_PASS;
    if (rule != NULL && rule->on_outage == ON_OUTAGE_ACCEPT && *domain != '\0' && hit->client.family != 0 &&
        judge_outage_is_sure(*judge, &hit->client, &hit->local, hit->mta_name, domain))
        return CONDUCT_ACCEPT;
    return CONDUCT_DEFER;
}

enum session_conduct conduct_at_data(void *context, const struct settings *settings, const struct hit *hit,
                                     const struct session_bond *bond)
{
    for (size_t i = 0; i < bond->domain_count; i++)
        if (conduct_at_rcpt(context, settings, hit, bond->domains[i]) != bond->conduct)
            return CONDUCT_DEFER;
    return bond->conduct;
}

/* What was decided at DATA is repeated: the MTA may have let a message through that was deferred there. */
enum session_conduct conduct_at_end(void *context, const struct settings *settings, const struct hit *hit,
                                    enum session_conduct decided)
{
    (void)context;
    (void)settings;
    (void)hit;
    return decided;
}
