#include "judge/role.h"

#include <string.h>

static bool any_is_ours(const struct self *self, const struct mx_addresses *addresses)
{
    for (size_t i = 0; i < addresses->count; i++) {
        if (self_has_address(self, &addresses->list[i]))
            return true;
    }
    return false;
}

/* What the MX hosts are to us. */
struct census {
    bool ours[MX_MAX];
    bool doubt; /* one of them might be us: its addresses are not known */
    bool found;
    uint32_t bound; /* of who is preferred over us the preference is less */
};

static void census_take(const struct mx_answer *answer, const struct self *self, struct census *census)
{
    /* Who is not known among them may be any but the most preferred: behind address translation another one may be us. */
    *census = (struct census){.bound = answer->hosts[0].preference + 1U};
    for (size_t i = 0; i < answer->host_count; i++) {
        const struct mx_host *host = &answer->hosts[i];

        census->ours[i] = self_has_name(self, host->name) || any_is_ours(self, &host->addresses);
        if (!census->ours[i] && host->addresses.status == MX_UNKNOWN)
            census->doubt = true;
        if (census->ours[i] && !census->found) {
            census->found = true; /* hosts are sorted: the first is our best */
            census->bound = host->preference;
        }
    }
}

/* Hosts that are not us and have an address; with PREFERRED, only those that are preferred over us. */
static void primaries_collect(const struct mx_answer *answer, const struct census *census, bool preferred,
                              struct role_result *result)
{
    for (size_t i = 0; i < answer->host_count; i++) {
        const struct mx_host *host = &answer->hosts[i];

        if (census->ours[i] || host->addresses.count == 0 || (preferred && host->preference >= census->bound))
            continue;
        result->primaries[result->primary_count++] = i;
    }
}

static void role_found(struct role_result *result, enum hit_class class, const char *why)
{
    result->known = true;
    result->class = class;
    result->why = why;
}

static void decide_backup(const struct mx_answer *answer, const struct census *census, struct role_result *result)
{
    primaries_collect(answer, census, true, result);
    if (result->primary_count > 0)
        role_found(result, CLASS_BACKUP, census->found ? "a less preferred MX" : "set to backup, and no MX is this host");
    else
        role_found(result, CLASS_NONE, "no usable MX is preferred over this host");
}

static void decide_address(const struct mx_answer *answer, const struct census *census, const char *why,
                           struct role_result *result)
{
    primaries_collect(answer, census, false, result);
    if (result->primary_count > 0)
        role_found(result, CLASS_ADDRESS, why);
    else
        role_found(result, CLASS_NONE, "no usable MX besides this host");
}

static void decide_auto(const struct mx_answer *answer, const struct census *census,
                        const struct self *self, struct role_result *result)
{
    if (census->found)
        decide_backup(answer, census, result);
    else if (any_is_ours(self, &answer->addresses))
        decide_address(answer, census, "the domain's address is ours, its MX hosts are elsewhere", result);
    else if (answer->addresses.status == MX_UNKNOWN)
        result->why = "the domain's addresses are not known";
    else
        role_found(result, CLASS_NONE, "neither MX nor address is ours");
}

/* Without an MX host there is nobody that the client should have gone to. */
static void decide_without_mx(const struct mx_answer *answer, const struct self *self,
                              struct role_result *result)
{
    bool ours = any_is_ours(self, &answer->addresses);

    if (answer->status == MX_NXDOMAIN)
        role_found(result, CLASS_NONE, "the domain does not exist");
    else if (answer->null_mx)
        role_found(result, CLASS_NONE, ours ? "null MX, and the address is ours" : "null MX");
    else
        role_found(result, CLASS_NONE, ours ? "no MX, and the address is ours" : "no MX");
}

void role_decide(enum role_setting setting, const struct mx_answer *answer, const struct self *self,
                 struct role_result *result)
{
    struct census census;

    *result = (struct role_result){.why = "no usable answer from DNS"};
    if (setting == ROLE_OFF) {
        role_found(result, CLASS_NONE, "set to off");
        return;
    }
    if (setting == ROLE_TRAP) {
        role_found(result, CLASS_TRAP, "set to trap");
        return;
    }
    if (answer->status == MX_UNKNOWN)
        return;
    if (answer->host_count == 0) {
        decide_without_mx(answer, self, result);
        return;
    }
    census_take(answer, self, &census);
    if (census.doubt)
        result->why = "the addresses of an MX host are not known";
    else if (setting == ROLE_BACKUP)
        decide_backup(answer, &census, result);
    else if (setting == ROLE_ADDRESS)
        decide_address(answer, &census, "set to address", result);
    else
        decide_auto(answer, &census, self, result);
}
