/* envelope.h - the part of a hit that belongs to one transaction: sender, recipients, domains.
 *
 * Threads:  one at a time.
 * Owns:     the hit's texts, as hit.h says.
 * Fails:    never; what a client sends is made printable and cut to HIT_TEXT_MAX.
 * Limits:   HIT_RECIPIENT_LIMIT recipients and HIT_DOMAIN_LIMIT domains are kept, HIT_HASHED_LIMIT recipients hashed; all
 *           recipients are counted.
 */
#ifndef MILTER_ENVELOPE_H
#define MILTER_ENVELOPE_H

#include "record/hit.h"
#include "settings/settings.h"

/* No transaction: forget sender, recipients, domains, queue id and number. */
void envelope_clear(struct hit *hit);

/* MAIL FROM:PATH starts a transaction. */
void envelope_set_sender(struct hit *hit, const char *path, const struct settings *settings);

/* RCPT TO:PATH.  Returns the domain to look up (the hit's) when this recipient brought a new one, or NULL.
 * The domain of an exempt recipient is not judged. */
const char *envelope_add_recipient(struct hit *hit, const char *path, const struct settings *settings);

#endif
