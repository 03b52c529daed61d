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
--   published()               to be called after an export replaced its target: what is listed now is not new any more;
--                             does nothing while the brake holds
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

CREATE TABLE hunnypot.setting (
    name    text PRIMARY KEY,
    value   hunnypot.plain_text NOT NULL,
    meaning text NOT NULL,
    CONSTRAINT setting_value_makes_sense CHECK (
        CASE WHEN starts_with(name, 'keep_') THEN value::interval > '0' AND value::interval < '100 years'
             WHEN name = 'brake_share' THEN value::numeric BETWEEN 0 AND 1
             WHEN name = 'brake_floor' THEN value::bigint >= 0
             ELSE true END)
);
INSERT INTO hunnypot.setting (name, value, meaning) VALUES
    ('keep_hits', '30 days', 'hits older than this are dropped by expire()'),
    ('keep_offences', '90 days', 'offences without a hit for this long are forgotten by expire(), unless still listed'),
    ('keep_ended', '7 days', 'for so long the list remembers what left it, for readers that ask what changed'),
    ('brake_share', '0.5', 'the brake holds when more new networks than this share of the published would be listed'),
    ('brake_floor', '100', 'the brake never holds for this many new networks or fewer'),
    ('lookup_url', '', 'where a refused client finds out why; $ stands for its address');

-- Per class: who is listed, for how long, and with which words.
CREATE TABLE hunnypot.policy (
    class          text PRIMARY KEY,
    rank           int NOT NULL UNIQUE,
    listed         bool NOT NULL,
    ripens         interval NOT NULL CHECK (ripens >= '0'),
    min_hits       int NOT NULL CHECK (min_hits >= 1),
    min_span       interval NOT NULL CHECK (min_span >= '0'),
    min_domains    int NOT NULL CHECK (min_domains >= 1),
    lasts          interval NOT NULL CHECK (lasts > '0'),
    growth         numeric NOT NULL CHECK (growth BETWEEN 1 AND 100),
    lasts_max      interval NOT NULL CHECK (lasts_max BETWEEN lasts AND '10 years'),
    return_address inet NOT NULL UNIQUE CHECK (return_address << '127.0.0.0/8' AND return_address <> '127.0.0.1'
                                               AND masklen(return_address) = 32),
    code           text NOT NULL CHECK (code ~ '^(4[0-9]{2} 4|5[0-9]{2} 5)[.][0-9]{1,3}[.][0-9]{1,3}$'),
    reason         hunnypot.plain_text NOT NULL CHECK (reason <> '' AND strpos(reason, '$') = 0)
);
COMMENT ON COLUMN hunnypot.policy.rank IS 'the lowest is the worst class: it speaks for a network listed under several';
COMMENT ON COLUMN hunnypot.policy.listed IS 'false: offences are only watched';
COMMENT ON COLUMN hunnypot.policy.ripens IS 'a hit is counted so long after it was recorded';
COMMENT ON COLUMN hunnypot.policy.min_hits IS
    'listed from this many hits on, when the first and the last are min_span apart or they went to min_domains owners';
COMMENT ON COLUMN hunnypot.policy.lasts IS
    'how long after the last hit; times growth for each time that it came back after a listing ended, up to lasts_max';
COMMENT ON COLUMN hunnypot.policy.return_address IS 'what a DNSBL answers';
COMMENT ON COLUMN hunnypot.policy.code IS 'SMTP reply code and enhanced status code';

INSERT INTO hunnypot.policy VALUES
    ('trap', 1, true, '0', 1, '0', 1, '30 days', 2, '120 days', '127.0.0.2', '550 5.7.1',
     'Listed for sending to a domain that gets no mail'),
    ('backup', 2, true, '0', 2, '1 hour', 2, '7 days', 2, '60 days', '127.0.0.3', '550 5.7.1',
     'Listed for sending to a backup mail server past the working primary'),
    ('address', 3, true, '0', 2, '1 hour', 2, '7 days', 2, '60 days', '127.0.0.4', '550 5.7.1',
     'Listed for sending to the address of a domain past its mail servers'),
    ('null-sender', 4, false, '0', 2, '1 hour', 2, '7 days', 2, '60 days', '127.0.0.5', '550 5.7.1',
     'Listed for bounces to a host that is not the mail server of the domain');

CREATE TABLE hunnypot.allow (
    network cidr PRIMARY KEY,
    reason  text NOT NULL DEFAULT '',
    author  text NOT NULL DEFAULT session_user,
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz
);
COMMENT ON TABLE hunnypot.allow IS
    'networks that are never listed; one address of an IPv6 /64 keeps all of that off the list';
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
    hits        bigint NOT NULL,
    domains     bigint NOT NULL,
    last_seen   timestamptz NOT NULL,
    due         timestamptz,          -- when time alone changes something about it
    serial      bigint NOT NULL,      -- of the change that this row came with
    entered     bigint NOT NULL,      -- of the change that the network came on the list with
    -- All that an export of networks needs, in its order.
    PRIMARY KEY (network, class) INCLUDE (since, until, worse_until, removed)
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
