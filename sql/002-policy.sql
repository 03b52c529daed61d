-- 002: the policy, the allowlist, and the list that is kept.
--
-- For readers (exports, DNSBL, Postfix, the command line), in schema hunnypot:
--   listing                   who is listed now, one row per network and class: network, class, since, until, code,
--                             return_address, hits, domains, reason, last_seen, rank
--                             (`since`: when it came on the list; `reason`: ready to show, URL included)
--   worst_listing(class)      the same, one row per network: of the class given, or of the worst class when that is ''
--   listing_serial()          rises with each change of the list; in seconds since 1970, for a zone's SOA
--   listed(inet)              rows of `listing` that cover this address
--   offence                   what each network did to each domain in each class: hits, first and last seen
--   postfix_action(text)      an access(5) action or NULL for any key that Postfix asks
--   publish_check()           NULL: may be published; else why the brake holds
--   changes(after)            what changed on the list after a number that it gave before
-- For operators also:
--   policy, allow, setting    tables to change with plain SQL
--   brake_release()           what is listed now is right: let it be published
--   allow_add(network cidr, reason text, author text, expires timestamptz), allow_del(network cidr) returns bool
--   forget(network cidr), expire()    rows (what text, removed bigint)
--   rebuild()                 have the whole list made anew, by tick()
-- For sensors and operators:
--   tick()                    what time alone changes; true: call it again, there is more; NULL: somebody else is at it
-- NOTIFY hunnypot_listing comes when the list has changed.  A listing also ends by the clock alone: readers see that at
-- once, the notification comes with the next tick().

CREATE DOMAIN hunnypot.plain_text AS text
    CONSTRAINT plain_text_fits_every_format CHECK (value ~ '^[] !#-&(-[^-~]*$'
                                                   AND length(value) <= 100);
COMMENT ON DOMAIN hunnypot.plain_text IS
    'printable ASCII without quotes and backslashes: every format carries it as it is; two and an address fit a TXT';

-- RFC 6052 2.2: lengths, and bits 64 to 71 are zero.
CREATE FUNCTION hunnypot.are_nat64_prefixes(prefixes text) RETURNS bool
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_and(family(p) = 6 AND masklen(p) IN (32, 40, 48, 56, 64, 96) AND get_byte(inet_send(p), 12) = 0), true)
    FROM unnest(string_to_array(prefixes, ' ')::cidr[]) p
$$;

CREATE TABLE hunnypot.setting (
    name    text PRIMARY KEY,
    value   hunnypot.plain_text NOT NULL,
    meaning text NOT NULL,
    CONSTRAINT setting_value_makes_sense CHECK (
        CASE WHEN starts_with(name, 'keep_') OR name = 'brake_time' THEN value::interval > '0' AND value::interval < '100 years'
             WHEN name = 'brake_share' THEN value::numeric BETWEEN 0 AND 1
             WHEN name = 'brake_floor' THEN value::bigint >= 0
             WHEN name = 'nat64_prefixes' THEN hunnypot.are_nat64_prefixes(value)
             -- The address stands for each $, and all of it must fit into one string of a TXT (255 bytes).
             WHEN name = 'lookup_url' THEN length(value) - length(replace(value, '$', '')) <= 1
             -- RFC 2181 8 has more, but no list that changes wants a week.
             WHEN name = 'dnsbl_ttl' THEN value ~ '^[0-9]{1,6}$' AND value::int BETWEEN 1 AND 604800
             WHEN name IN ('dnsbl_zone', 'dnsbl_ns', 'dnsbl_hostmaster') THEN value ~ '^([a-z0-9_-]{1,63}[.])*[a-z0-9_-]{1,63}$'
             ELSE true END)
);
INSERT INTO hunnypot.setting (name, value, meaning) VALUES
    ('keep_hits', '30 days', 'hits older than this are dropped by expire()'),
    ('keep_offences', '90 days', 'offences without a hit for this long are forgotten by expire(), unless still listed'),
    ('keep_ended', '7 days', 'for so long the list remembers what left it, for readers that ask what changed'),
    ('brake_share', '0.5', 'the brake holds when more new networks than this share of the published would be listed'),
    ('brake_time', '1 hour', 'what was published in this time counts as new, too'),
    ('brake_floor', '100', 'the brake never holds for this many new networks or fewer'),
    ('nat64_prefixes', '', 'prefixes behind which addresses hold IPv4 ones, with blanks between, as the sensors have them'),
    ('lookup_url', '', 'where a refused client finds out why; $ stands for its address');

-- Per class: who is listed, for how long, and with which words.
CREATE TABLE hunnypot.policy (
    class          text PRIMARY KEY,
    rank           int NOT NULL UNIQUE,
    listed         bool NOT NULL,

    ripens         interval NOT NULL DEFAULT '4 hours' CHECK (ripens >= '0'),
    ripens_named   interval NOT NULL DEFAULT '24 hours' CHECK (ripens_named >= '0'),
    waits          interval NOT NULL DEFAULT '48 hours' CHECK (waits >= '0'),
    counts_for     interval NOT NULL DEFAULT '14 days' CHECK (counts_for > '0'),

    witnessed_hits int NOT NULL DEFAULT 1 CHECK (witnessed_hits >= 1),
    named_hits     int NOT NULL DEFAULT 2 CHECK (named_hits >= 1),
    named_days     int NOT NULL DEFAULT 1 CHECK (named_days >= 1),
    named_share    numeric NOT NULL DEFAULT 0 CHECK (named_share BETWEEN 0 AND 1),

    min_hits       int NOT NULL DEFAULT 2 CHECK (min_hits >= 1),
    min_days       int NOT NULL DEFAULT 2 CHECK (min_days >= 1),
    min_span       interval NOT NULL DEFAULT '0' CHECK (min_span >= '0'),
    min_domains    int NOT NULL DEFAULT 1 CHECK (min_domains >= 1),
    inferred_named bool NOT NULL DEFAULT false,

    prefix_clients int NOT NULL DEFAULT 3 CHECK (prefix_clients >= 2),

    lasts          interval NOT NULL DEFAULT '7 days' CHECK (lasts > '0'),
    growth         numeric NOT NULL DEFAULT 2 CHECK (growth BETWEEN 1 AND 100),
    lasts_max      interval NOT NULL DEFAULT '60 days' CHECK (lasts_max BETWEEN lasts AND '10 years'),
    firm_after     interval NOT NULL DEFAULT '24 hours' CHECK (firm_after >= '0'),
    inferred_lasts interval NOT NULL DEFAULT '24 hours' CHECK (inferred_lasts > '0'),
    inferred_pause interval NOT NULL DEFAULT '24 hours' CHECK (inferred_pause >= '0'),

    return_address inet NOT NULL UNIQUE CHECK (return_address << '127.0.0.0/8' AND return_address <> '127.0.0.1'
                                               AND masklen(return_address) = 32),
    inferred_address inet NOT NULL UNIQUE CHECK (inferred_address << '127.0.0.0/8' AND inferred_address <> '127.0.0.1'
                                                 AND masklen(inferred_address) = 32),
    suspect_address inet UNIQUE CHECK (suspect_address << '127.0.0.0/8' AND suspect_address <> '127.0.0.1'
                                       AND masklen(suspect_address) = 32),
    code           text NOT NULL DEFAULT '550 5.7.1'
        CHECK (code ~ '^(4[0-9]{2} 4|5[0-9]{2} 5)[.][0-9]{1,3}[.][0-9]{1,3}$'),
    inferred_code  text NOT NULL DEFAULT '450 4.7.1'
        CHECK (inferred_code ~ '^(4[0-9]{2} 4|5[0-9]{2} 5)[.][0-9]{1,3}[.][0-9]{1,3}$'),
    reason         hunnypot.plain_text NOT NULL CHECK (reason <> '' AND strpos(reason, '$') = 0)
);
COMMENT ON COLUMN hunnypot.policy.rank IS 'the lowest is the worst class: it speaks for a network listed under several';
COMMENT ON COLUMN hunnypot.policy.listed IS 'false: offences are only watched';
COMMENT ON COLUMN hunnypot.policy.ripens IS 'a hit of a client without a confirmed name is counted so long after it was recorded';
COMMENT ON COLUMN hunnypot.policy.ripens_named IS 'the same of a client with a confirmed name, or whose name could not be looked up';
COMMENT ON COLUMN hunnypot.policy.waits IS 'so long a hit waits for a witness that did not watch all the time, before it counts as inferred';
COMMENT ON COLUMN hunnypot.policy.counts_for IS 'hits further apart than this do not add up';
COMMENT ON COLUMN hunnypot.policy.witnessed_hits IS 'witnessed: listed from this many hits of a client without a name on';
COMMENT ON COLUMN hunnypot.policy.named_hits IS
    'witnessed: listed from this many hits of a client with a name on, on named_days days, when they are more than named_share of its '
    'letters that witnesses saw accepted in the 7 days before';
COMMENT ON COLUMN hunnypot.policy.min_hits IS
    'inferred: listed from this many hits on, on min_days days, when the first and the last are min_span apart or they went to '
    'min_domains owners';
COMMENT ON COLUMN hunnypot.policy.inferred_named IS 'false: without witnesses, clients with a name are watched only';
COMMENT ON COLUMN hunnypot.policy.prefix_clients IS
    'an IPv6 /64 is listed from this many addresses in it on, when their hits together are enough';
COMMENT ON COLUMN hunnypot.policy.firm_after IS 'a listing for one single letter answers inferred_code until the letter is so old';
COMMENT ON COLUMN hunnypot.policy.inferred_lasts IS
    'an inferred listing lasts so long, and then pauses for inferred_pause, again and again; no pause: it goes on';
COMMENT ON COLUMN hunnypot.policy.suspect_address IS
    'what a DNSBL answers for clients whose hits are not counted yet; NULL: nothing.  For scores, never for refusing';
COMMENT ON COLUMN hunnypot.policy.lasts IS
    'how long after the last hit; times growth for each time that it came back after a listing ended, up to lasts_max';
COMMENT ON COLUMN hunnypot.policy.return_address IS 'what a DNSBL answers';
COMMENT ON COLUMN hunnypot.policy.code IS 'SMTP reply code and enhanced status code';

-- A new installation lists nobody: `hunnypot policy enable CLASS`, after a look at `hunnypot policy test`.
INSERT INTO hunnypot.policy (class, rank, listed, return_address, inferred_address, reason) VALUES
    ('trap', 1, false, '127.0.0.2', '127.0.1.2', 'Listed for sending to a domain that gets no mail'),
    ('backup', 2, false, '127.0.0.3', '127.0.1.3',
     'Listed for sending to a backup mail server past the working primary'),
    ('address', 3, false, '127.0.0.4', '127.0.1.4',
     'Listed for sending to the address of a domain past its mail servers'),
    ('null-sender', 4, false, '127.0.0.5', '127.0.1.5',
     'Listed for bounces to a host that is not the mail server of the domain');
UPDATE hunnypot.policy SET counts_for = '30 days', named_hits = 3, named_days = 3, named_share = 0.05, lasts = '30 days',
    lasts_max = '120 days' WHERE class = 'trap';

CREATE TABLE hunnypot.allow (
    network cidr PRIMARY KEY,
    reason  text NOT NULL DEFAULT '',
    author  text NOT NULL DEFAULT session_user,
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz
);
COMMENT ON TABLE hunnypot.allow IS
    'networks that are never listed; an IPv6 /64 is not listed as a whole while any of it is here, its other addresses by themselves are';
CREATE INDEX allow_covering ON hunnypot.allow USING gist (network inet_ops);
CREATE INDEX allow_expires ON hunnypot.allow (expires);

-- Who is listed, as the facts, the policy and the allowlist have it: brought up to date by refresh() alone, for the
-- networks that something touched.  Nothing but refresh() and the brake writes here, under list_lock().
CREATE TABLE hunnypot.listed_network (
    network     cidr NOT NULL,
    class       text NOT NULL,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    worse_until timestamptz,          -- until when a worse class speaks for this network
    removed     timestamptz,          -- not listed any more since then; such a row goes after keep_ended
    witnessed   bool NOT NULL,        -- what proves it: witnesses, or that it is inferred
    soft_until  timestamptz NOT NULL, -- until then it answers that the client may come again
    hits        bigint NOT NULL,
    domains     bigint NOT NULL,
    last_seen   timestamptz NOT NULL,
    due         timestamptz,          -- when time alone changes something about it
    serial      bigint NOT NULL,      -- of the change that this row came with
    entered     bigint NOT NULL,      -- of the change that the network came on the list with
    -- All that an export of networks needs, in its order.
    PRIMARY KEY (network, class) INCLUDE (since, until, worse_until, removed, soft_until)
);
CREATE INDEX listed_network_serial ON hunnypot.listed_network (serial);
-- Of all rows: were it of those WHERE removed IS NULL, the planner would take it for a look at one network, too.
CREATE INDEX listed_network_entered ON hunnypot.listed_network (entered);
CREATE INDEX listed_network_due ON hunnypot.listed_network (due) WHERE due IS NOT NULL;
CREATE INDEX listed_network_removed ON hunnypot.listed_network (removed) WHERE removed IS NOT NULL;
CREATE INDEX listed_network_wide ON hunnypot.listed_network (network)
    WHERE removed IS NULL AND masklen(network) < CASE family(network) WHEN 4 THEN 24 ELSE 48 END;

-- Numbers the changes of the list.  They are taken under list_lock(), so that whoever has seen one has seen those before.
CREATE SEQUENCE hunnypot.listed_serial;

CREATE TABLE hunnypot.change (
    only_row  bool PRIMARY KEY DEFAULT true CHECK (only_row),
    serial    bigint NOT NULL,            -- rises with each change of what readers see, and follows the clock where it can
    forgotten bigint NOT NULL DEFAULT 0   -- of the change up to which rows that were removed are gone
);
INSERT INTO hunnypot.change (serial) VALUES (ceil(extract(epoch FROM now())));

-- Parts of the list that are to be made anew, step by step: all networks within RANGE from NEXT on.
CREATE TABLE hunnypot.rework (
    range cidr PRIMARY KEY,
    next  cidr NOT NULL
);

-- The brake: what was published last.
CREATE TABLE hunnypot.publication (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    at       timestamptz NOT NULL,
    networks bigint NOT NULL,
    serial   bigint NOT NULL  -- of the last change of the list that it had
);
-- How many networks were new in each publication of late.
CREATE TABLE hunnypot.publication_growth (
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    fresh bigint NOT NULL
);
