/* mx.h - a domain's MX hosts and addresses, an address's names, and what lists say of it, asked with libresolv.  The only module that knows libresolv.
 *
 * Threads:  any; each call has a resolver state of its own.  Calls block for as long as DNS takes, bounded by
 *           timeout x attempts x servers for each question, and timeout x servers more when it has to be asked again
 *           over TCP; after one that nobody answered, no further is asked.
 * Owns:     the answer is the caller's plain struct.
 * Fails:    a status; a doubtful answer (SERVFAIL, REFUSED, timeout, truncated past TCP, loops) is MX_UNKNOWN.
 * Limits:   MX_MAX hosts and MX_ADDRESS_MAX addresses each; a domain that has more is MX_UNKNOWN.
 */
#ifndef JUDGE_MX_H
#define JUDGE_MX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/domain.h"
#include "base/ipaddr.h"
#include "base/words.h"
#include "settings/settings.h"

/* 20 is four times the addresses that Postfix tries in one run (smtp_mx_address_limit 5). */
enum { MX_MAX = 20, MX_ADDRESS_MAX = 16, MX_NAME_MAX = 8 };

enum mx_status {
    MX_OK,       /* what is said is so: also "no MX" and "no address" */
    MX_NXDOMAIN, /* the name does not exist */
    MX_UNKNOWN   /* no usable answer */
};

struct mx_addresses {
    enum mx_status status;
    bool too_many;
    struct ipaddr list[MX_ADDRESS_MAX];
    size_t count;
};

struct mx_host {
    char name[DOMAIN_MAX + 1]; /* lower case, no final dot */
    uint16_t preference;
    struct mx_addresses addresses;
};

struct mx_answer {
    enum mx_status status;           /* of the MX question, CNAMEs followed */
    bool too_many;                   /* MX_UNKNOWN somewhere for no other reason than that there are more than we take */
    bool null_mx;                    /* RFC 7505: the single record "0 ." */
    uint32_t ttl_s, ttl_max_s;       /* the smallest and the longest TTL in what was said; 0 when nothing was */
    struct mx_addresses addresses;   /* of the domain itself; not asked for, and empty, unless status is MX_OK */
    size_t host_count;
    struct mx_host hosts[MX_MAX];    /* by preference, then name; duplicates removed (the best preference stays) */
};

/* The names of an address that lead back to it. */
struct mx_names {
    enum mx_status status; /* MX_UNKNOWN: there may be more */
    size_t count;
    char list[MX_NAME_MAX][DOMAIN_MAX + 1]; /* lower case, no final dot */
};

/* Ask for DOMAIN's mail hosts.  STOP is looked at before each question: once it is true, nothing more is asked, and
 * what is not known yet is MX_UNKNOWN. */
void mx_resolve(const struct settings_dns *config, const char *domain, const atomic_bool *stop, struct mx_answer *answer);

/* Is TEXT what a TXT record of NAME says?  MX_OK: it is; MX_NXDOMAIN: it is not. */
enum mx_status mx_text_find(const struct settings_dns *config, const char *name, const char *text, const atomic_bool *stop);

/* Ask for the names of ADDRESS, and for the addresses of each. */
void mx_names_resolve(const struct settings_dns *config, const struct ipaddr *address, const atomic_bool *stop,
                      struct mx_names *names);

/* Is ADDRESS in the list ZONE (RFC 5782)?  FRIEND_UNANSWERED: it did not tell, or what it told is no answer of a list: one that
 * is not in 127.0.0.0/8, or 127.0.0.255 or one in 127.255.255.0/24, by which lists say that they were asked too much. */
enum friend_state mx_listed(const struct settings_dns *config, const char *zone, const struct ipaddr *address,
                            const atomic_bool *stop) __attribute__((warn_unused_result));

#endif
