/* role.h - what this host is to a recipient domain (RFC 5321 5.1), and which MX hosts are its primaries.
 *
 * A pure function of what DNS said and who we are: no I/O, no state.
 * Threads:  any.  Fails: never; doubt is ROLE_RESULT_UNKNOWN.
 */
#ifndef JUDGE_ROLE_H
#define JUDGE_ROLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ipaddr.h"
#include "base/words.h"
#include "judge/mx.h"
#include "judge/self.h"
#include "settings/settings.h"


struct role_result {
    bool known;           /* false: DNS gave no usable answer; nothing else counts then */
    enum hit_class class; /* CLASS_NONE: this host is nothing to the domain */
    size_t primaries[MX_MAX]; /* indexes into answer->hosts; empty for CLASS_TRAP and CLASS_NONE */
    size_t primary_count;
    const char *why; /* static text for the log, for example "no MX, and the address is ours" */
};

void role_decide(enum role_setting setting, const struct mx_answer *answer, const struct self *self,
                 struct role_result *result);

#endif
