/* mx_text.h - DNS answers written as text, for tests.
 *
 * Items separated by ";": "10 mx.example 192.0.2.1 2001:db8::1" (an MX host), "@ 192.0.2.1" (the domain's own addresses),
 * "null" (RFC 7505), "nxdomain", "unknown", "ttl 300".  "?" in place of addresses: DNS did not tell them; none: it has none.
 */
#ifndef UNIT_MX_TEXT_H
#define UNIT_MX_TEXT_H

#include "judge/mx.h"

struct mx_answer mx_from_text(const char *text);

#endif
