/* facts.h - what is known when a hit is judged: plain values, which judge/known fills in and judge/verdict decides on.
 *
 * Times are ages, in milliseconds before the moment of judging, so that whoever reads facts needs no clock.
 * Owns:  `primaries` borrows what known wrote into; nothing is freed by a reader.
 */
#ifndef JUDGE_FACTS_H
#define JUDGE_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/domain.h"
#include "base/words.h"
#include "judge/mx.h"
#include "judge/probe.h"

#define FACTS_NEVER INT64_MAX /* of an age: it never was */

/* Trouble that was seen at an address: the last time of it, and how long it had lasted then. */
struct facts_trouble {
    int64_t age_ms; /* since it was last seen, or seen to be over */
    int64_t length_ms;
};

struct facts_address {
    uint8_t family;            /* 4 or 6 */
    bool known;                /* the last probe is young enough to be used: state and age_ms hold */
    enum liveness_state state;
    int64_t age_ms;            /* since that probe began */
    struct facts_trouble deferring, not_accepting; /* not accepting: deferring or down */
};

struct facts_primary {
    const char *name;
    size_t address_count;
    struct facts_address addresses[MX_ADDRESS_MAX];
};

/* How far DNS has told about a domain. */
enum facts_dns {
    FACTS_DNS_PENDING, /* nothing usable yet */
    FACTS_DNS_DOUBT,   /* it told too little to say what this host is to the domain */
    FACTS_DNS_KNOWN
};

struct facts_domain {
    const char *name;
    enum facts_dns dns;
    enum hit_class role;  /* with FACTS_DNS_KNOWN; what `why` says of it, or of the doubt, is static text */
    const char *why;
    bool is_trap;         /* by the settings, whatever DNS says */
    bool client_is_mx;    /* the client is one of the domain's mail hosts */
    bool hosts_in_doubt;  /* it might be: not all of their addresses are known */
    bool moved;           /* DNS changed so lately that the old answer may still be obeyed */
    size_t primary_count;
    const struct facts_primary *primaries; /* by preference */
};

/* What holds for the hit as a whole. */
struct facts_hit {
    uint8_t family;        /* of the client: 4 or 6 */
    int64_t age_ms;        /* since it was taken, at least */
    bool client_is_ignored, client_is_ours;
    bool client_is_friend; /* a mail host, or the address, of any domain that is served here */
    bool exempt;           /* none but exempt local parts were addressed */
    bool more_domains;     /* than are looked at */
    bool late;             /* too old for today's state of the primaries */
    bool final;            /* nothing is waited for any more: what is not known now is doubt */
    bool starting;         /* this milter was started too recently */
};

#endif
