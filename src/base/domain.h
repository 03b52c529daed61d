/* domain.h - the recipient of a RCPT command, taken apart by RFC 5321's rules.
 *
 * Threads:  any.
 * Owns:     nothing; everything is copied into the caller's struct.
 * Fails:    never; what is not an address with a domain says so.
 * Limits:   a domain is at most DOMAIN_MAX bytes (RFC 1035 2.3.4, as text without the final dot).
 */
#ifndef BASE_DOMAIN_H
#define BASE_DOMAIN_H

#include <stdbool.h>
#include <stddef.h>

enum { DOMAIN_MAX = 253, LOCALPART_MAX = 256 };

enum domain_kind {
    DOMAIN_NAME,    /* a domain name, in `domain` */
    DOMAIN_LITERAL, /* an address literal, [192.0.2.1] or [IPv6:...] (RFC 5321 4.1.3): no MX, no role */
    DOMAIN_MISSING, /* no domain: <postmaster>, <> */
    DOMAIN_INVALID  /* not a name that DNS could hold */
};

struct recipient {
    enum domain_kind kind;
    char localpart[LOCALPART_MAX + 1]; /* unquoted (RFC 5321 4.1.2: quoting is no part of it), lower case, cut when longer */
    char domain[DOMAIN_MAX + 1];       /* A-labels, lower case, no final dot; empty unless DOMAIN_NAME */
};

/* Take apart PATH as the milter gets it: "<@a,@b:u@d>", "u@d", "\"a@b\"@d", with or without brackets. */
void recipient_parse(const char *path, struct recipient *recipient);

/* The domain NAME in the form that DNS and the database use (U-labels to A-labels by IDNA2008/UTS 46, lower case,
 * no final dot).  False when it is not one. */
bool domain_normalize(const char *name, char out[DOMAIN_MAX + 1]);

/* Does PATTERN ("*", "*.example.com", "example.com", already normalized) cover DOMAIN?  "*.example.com" covers
 * names below example.com, not example.com itself. */
bool domain_matches(const char *pattern, const char *domain);

#endif
