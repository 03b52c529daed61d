/* known.h - what is known about domains and their mail hosts: asked for at once, found out by worker threads.
 *
 * How a question lives.  RCPT names a domain: known_prefetch() puts a look-up on the agenda, and a worker asks DNS.  DATA
 * makes a hit, and the daemon asks about its domains, known_facts(): what DNS said of each, what this host is to it, and
 * what the last probe of each address of each primary found, with its age.  That may be enough to acquit.  If it is
 * not, known_prove() asks for a probe of each address that begins after the hit: at once, or when the last one of that
 * address is probe_interval old, so that all hits in between share it.  Whatever becomes known wakes known_wait(), and the
 * hit is asked about again.
 *
 * Nobody has to ask: domains that the settings name, or on which hits came within FRESH_DAYS, are looked up before
 * their answer grows old, and their primaries are probed every fresh_ms.  So an outage is known whether or not anybody came in
 * it, and so is a move of the mail.  Both go to the keeper (known_keep_with) at once, and come back with known_recall()
 * in the next process.
 *
 * What DNS says of a client, whether it has a name and whether lists have it as a friend, is asked for an offence, and for what may become
 * one.  A list that did not answer is left alone for KNOWN_ZONE_REST_MS, whoever comes.
 *
 * Threads:  any may call; the mutex is never held while looking up, probing or keeping.
 * Owns:     copies what it is given, and holds the settings.
 * Fails:    only to be created; doubt is a fact.
 * Limits:   KNOWN_DOMAINS_MAX domains and KNOWN_ADDRESSES_MAX addresses of mail hosts, the least recently used leaves first.  The agenda holds one entry for each
 *           of them at most.
 */
#ifndef JUDGE_KNOWN_H
#define JUDGE_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "judge/facts.h"
#include "judge/outage.h"
#include "judge/reached.h"
#include "judge/self.h"
#include "settings/settings.h"

enum { KNOWN_DOMAINS_MAX = 10000, KNOWN_ADDRESSES_MAX = 40000, KNOWN_FRESH_DAYS = 7, KNOWN_ZONE_REST_MS = 60000 };

struct known;

/* How many are remembered, the least recently used leaves first. */
struct known_limits {
    size_t domains, addresses;
};

/* Works by SETTINGS, which it holds, within LIMITS (NULL: the above).  NULL, with errno, when there are not enough threads or
 * descriptors. */
struct known *known_create(const struct settings *settings, const struct known_limits *limits);

/* Ends the workers and frees; those that are within a DNS question then, which cannot be broken off, are left to themselves
 * after a moment, with what they use. */
void known_destroy(struct known **known);

/* Hold SETTINGS, and go by them from now on; `probers` stays.  What is known of addresses stays too, and so does what
 * moved; the rest of what is known of domains is forgotten. */
void known_configure(struct known *known, const struct settings *settings);

/* The settings in force, held: the caller releases them. */
const struct settings *known_settings(struct known *known);

/* Whose question it is. */
struct known_asker {
    const struct settings_judge *settings;
    const struct self *self;
    struct ipaddr client;
    int64_t taken_ms; /* the hit was taken then, or before (boot_ms of clock_now()) */
    int64_t now_ms;   /* of the question, by known_now(): all its ages count from then */
    bool known_only;  /* nothing is added to the tables, which would push out what other questions wait for */
};

/* A domain's facts, and room for what they point to. */
struct known_view {
    struct facts_domain domain;
    struct facts_primary primaries[MX_MAX];
    struct ipaddr addresses[MX_MAX][MX_ADDRESS_MAX]; /* of the primaries */
    char names[MX_MAX][DOMAIN_MAX + 1];
};

/* Now, for a question: boot_ms of clock_now(), after what was remembered was forgotten if the clocks disagree. */
int64_t known_now(struct known *known);

/* Start looking DOMAIN up, if it is not known and not much else waits; returns at once. */
void known_prefetch(struct known *known, const char *domain, const struct settings_judge *settings, const struct self *self);

/* What is known of DOMAIN (borrowed, as long as VIEW is used), whose role the settings say is SETTING.  What is missing
 * or grows old is looked up; returns at once. */
void known_facts(struct known *known, const struct known_asker *asker, const char *domain, enum role_setting setting,
                 struct known_view *view);

/* The hit of ASKER needs probes of VIEW's primaries that began after it: have those made that were not. */
void known_prove(struct known *known, const struct known_asker *asker, const struct known_view *view);

/* Is CLIENT a mail host, or the address, of a domain that is served here? */
bool known_friend(struct known *known, const struct ipaddr *client);

/* Has the client of ASKER a confirmed name?  VERIFIED is what the mail server found ("[address]": nothing).  False: it is
 * being looked up. */
bool known_name(struct known *known, const struct known_asker *asker, const char *verified, enum name_state *state);

/* Do the lists of friends have CLIENT?  False: it is being looked up, and *STATE is FRIEND_UNANSWERED.  KNOWN_ONLY: nothing is added. */
bool known_in_zones(struct known *known, const struct ipaddr *client, bool known_only, enum friend_state *state);

/* How long ago the workers began. */
int64_t known_age_ms(struct known *known);

/* What tells an outage of VIEW's primaries from one of our own net: what else answered, and when. */
void known_egress(struct known *known, const struct known_view *view, struct outage_egress *egress);

/* Take along which probes reached an MX host since the last call: the oldest, MAX at most, into PROBES; returns how many. */
size_t known_reached(struct known *known, struct reached_probe *probes, size_t max);

/* Is it time to log that this host is nothing to DOMAIN?  Once a day for each, and not too many in an hour. */
bool known_no_role_is_due(struct known *known, const char *domain);

/* Have KEEP(CONTEXT, TEXT) keep what is to be remembered over a restart, now and whenever an outage or a move is news: from
 * any thread, one at a time. */
void known_keep_with(struct known *known, void (*keep)(void *context, const char *text), void *context);
void known_keep(struct known *known);

/* Remember TEXT, which was kept by an earlier process, as if it had been seen here; before the first question.  Its age
 * goes by the real clock, and what comes from its future counts as just seen.  A line that is not understood is passed
 * over. */
void known_recall(struct known *known, const char *text);

/* Wait until something became known since the generation *SEEN (start with 0), or until DEADLINE_MS (monotonic), or
 * until known_wake(); *SEEN is moved on. */
void known_wait(struct known *known, uint64_t *seen, int64_t deadline_ms);
void known_wake(struct known *known);

#endif
