/* hit.h - one transaction that reached DATA, with its evidence.
 *
 * All texts are printable ASCII (text_printable() was applied when they came in) and bounded, so that no byte a
 * client sends can make a row fail or a terminal misbehave.
 * Threads:  a struct belongs to one thread at a time.
 * Owns:     all its texts; hit_clear() frees them.
 */
#ifndef RECORD_HIT_H
#define RECORD_HIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/envelope_hash.h"
#include "base/ipaddr.h"
#include "base/uuid.h"
#include "base/words.h"

enum {
    HIT_TEXT_MAX = 1024,     /* bytes of any text, after escaping */
    HIT_DOMAIN_LIMIT = 101,  /* recipient domains: 100 are judged (RFC 5321 4.5.3.1.8: 100 recipients must be taken), one
                              * more tells that there were more */
    HIT_PRIMARY_LIMIT = 20, /* MX_MAX of the judge */
    HIT_RECIPIENT_LIMIT = 100, /* recipients kept as evidence */
    HIT_HASHED_LIMIT = 20, /* recipients whose envelope is hashed */
    HIT_HASH_MAX = 1 + 2 * HIT_HASHED_LIMIT
};

struct hit {
    int64_t id;      /* the spool's number: of the inbox before, of the outbox after the verdict */
    char uuid[UUID_SIZE]; /* drawn when it came into the spool, its own for ever: hit_id in spool and database */
    int64_t time_us; /* when DATA came: microseconds since 1970 UTC */

    struct ipaddr client;
    uint16_t client_port;
    char *client_name;  /* as the MTA verified it, or "[address]" */
    char *helo;         /* "" when there was none */
    char *sender;       /* envelope, as record_envelope has it; "" when not recorded */
    char **recipients;  /* likewise */
    size_t recipient_count;  /* how many are in `recipients` */
    size_t recipients_total; /* how many the MTA let through */
    char **domains;     /* normalized, without duplicates: what is judged */
    size_t domain_count;
    /* By which its letter is told again where it arrives: hashes of the sender alone, then with each recipient and each recipient's
     * domain.  No key: none. */
    char key_id[ENVELOPE_KEY_ID_SIZE]; /* "" : none */
    struct envelope_hash *hashes;
    size_t hash_count;
    bool hashes_whole; /* all recipients are in them */
    struct envelope_part sender_part; /* while the transaction runs */
    bool null_sender;
    bool exempt;        /* only exempt local parts */
    bool tls;
    char *queue_id;     /* "" when the MTA gave none */
    char *mta_name;     /* the MTA's name for itself */
    struct ipaddr local; /* the address that the client connected to; family 0 when not known */

    /* What the verdict added (class is CLASS_NONE before). */
    enum hit_class class;
    char *domain;
    char *primary; /* the primary that was accepting; "" for CLASS_TRAP */
    int64_t primary_age_ms;
    char **primaries; /* all of the domain's, that one too */
    size_t primaries_count;
    char *owner; /* whose domain it is: those of one owner count as one; "" : the domain's own */
    enum name_state name_state;
    enum friend_state friend_state;

    char link[UUID_SIZE]; /* drawn when it joined the outbox: what a mark names (spool.h) */
    bool doubt; /* the database may have it already, from another life of the spool (spool.h) */
};

/* Free what HIT owns, and make it empty. */
void hit_clear(struct hit *hit);

#endif
