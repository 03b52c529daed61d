/* envelope_hash.h - the envelope of a letter as keyed hashes, so that a letter can be told again by whoever has the key,
 * and nobody else learns an address.
 *
 * Sensors hash what a client said at the trap host, witnesses what the log of a primary says.  Both first reduce the
 * addresses alike: quotes off, lower case, the domain as A-labels, BATV and SRS unwrapped.
 * A hash is HMAC-SHA256 (RFC 2104), cut to half its length.  It is made of a part for each address, so that a witness which
 * still waits for a recipient keeps no address on its disk.
 * Threads: any.  Owns: nothing; values are copied.  Fails: reducing returns false, nothing else fails.
 */
#ifndef BASE_ENVELOPE_HASH_H
#define BASE_ENVELOPE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ipaddr.h"

enum {
    ENVELOPE_SECRET_BYTES = 32,
    ENVELOPE_KEY_ID_SIZE = 17, /* 16 hexadecimal digits */
    ENVELOPE_HASH_BYTES = 16,
    ENVELOPE_PART_BYTES = 32,
    ENVELOPE_ADDRESS_MAX = 200 /* sendmail cuts longer ones in its log */
};

struct envelope_key {
    uint8_t secret[ENVELOPE_SECRET_BYTES];
    char id[ENVELOPE_KEY_ID_SIZE]; /* the secret's fingerprint: says which key, and nothing about it */
};

struct envelope_hash {
    uint8_t bytes[ENVELOPE_HASH_BYTES];
};

struct envelope_part {
    uint8_t bytes[ENVELOPE_PART_BYTES];
};

/* Fill in the id of KEY, whose secret is there. */
void envelope_key_identify(struct envelope_key *key);

/* Reduce the address PATH ("<u@d>", "u@d", "" or "<>") to OUT ("" for the null sender).  False when a log may show it in
 * another way than it came (bytes that are not printable ASCII, too long), or when it has no domain: by such an address no
 * letter can be told again. */
bool envelope_reduce(const char *path, char out[ENVELOPE_ADDRESS_MAX + 1]);

/* The parts of REDUCED addresses. */
struct envelope_part envelope_sender_part(const struct envelope_key *key, const char *reduced);
struct envelope_part envelope_recipient_part(const struct envelope_key *key, const char *reduced);

/* The part of the domain of a recipient; false for postmaster and abuse, which every domain has: a letter to them says
 * nothing about letters to others. */
bool envelope_domain_part(const struct envelope_key *key, const char *reduced, struct envelope_part *part);

/* One letter: its sender and RECIPIENT, which is the part of an address, of a domain, or NULL: to whomever. */
struct envelope_hash envelope_hash(const struct envelope_key *key, const struct envelope_part *sender,
                                   const struct envelope_part *recipient);

/* LENGTH bytes of whatever it be. */
struct envelope_hash envelope_hash_bytes(const struct envelope_key *key, const void *bytes, size_t length);

/* A client's address. */
struct envelope_hash envelope_hash_client(const struct envelope_key *key, const struct ipaddr *client);

#endif
