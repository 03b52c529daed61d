-- 010: the door: those who are listed look themselves up, and ask to be taken off.

SELECT hunnypot.lock_alone('hunnypot.pardoned, hunnypot.hourly, hunnypot.setting', 'hits');

-- Who asked, for which address, and what came of it.  Kept for keep_requests.
CREATE TABLE hunnypot.request (
    request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network    cidr NOT NULL,        -- what is listed, and comes off
    address    inet NOT NULL,        -- for whom it was asked
    asker      cidr NOT NULL,        -- from where: an address or, of IPv6, its /64
    asked      timestamptz NOT NULL DEFAULT now(),
    listed     text NOT NULL,        -- as what: 'backup inferred'
    entered    bigint NOT NULL,      -- which listing: listed_network has that
    proof      text NOT NULL CHECK (proof IN ('address', 'name')), -- from the address itself, or by a TXT record of its name
    code       text NOT NULL,        -- what that record says
    name       text,                 -- where it was found
    checked    timestamptz,          -- when it was looked for last
    state      text NOT NULL DEFAULT 'unproven'
        CHECK (state IN ('unproven', 'waiting', 'removed', 'refused', 'over')), -- waiting: for a person; over: nothing came of it
    decided    timestamptz,
    author     text,                 -- who decided; NULL: nobody had to
    reason     text,
    voided     bigint                -- hits that count no more
);
CREATE UNIQUE INDEX request_open ON hunnypot.request (network) WHERE state IN ('unproven', 'waiting');
CREATE INDEX request_unproven ON hunnypot.request (checked) WHERE state = 'unproven';
CREATE INDEX request_state ON hunnypot.request (state);
CREATE INDEX request_removed ON hunnypot.request (network) WHERE state = 'removed';
CREATE INDEX request_decided ON hunnypot.request (decided) WHERE state = 'removed';
CREATE INDEX request_network ON hunnypot.request (network, asked);
CREATE INDEX request_asker ON hunnypot.request (asker, asked);
CREATE INDEX request_asked ON hunnypot.request (asked);

-- The token in the form that a listed address was given last.
CREATE TABLE hunnypot.request_token (
    network cidr PRIMARY KEY, -- the address
    hash    bytea NOT NULL,
    entered bigint NOT NULL,
    expires timestamptz NOT NULL
);
CREATE INDEX request_token_expires ON hunnypot.request_token (expires);

CREATE TABLE hunnypot.turn_request (); -- who takes a request, or decides one: request_lock()

-- Voided: their client was taken off the list on request, later than they came.
ALTER TABLE hunnypot.pardoned DROP CONSTRAINT pardoned_why_check,
    ADD CONSTRAINT pardoned_why_check CHECK (why IN ('redeemed', 'excused', 'repeated', 'friend', 'unanswered', 'voided')) NOT VALID;
ALTER TABLE hunnypot.hourly DROP CONSTRAINT hourly_what_check,
    ADD CONSTRAINT hourly_what_check CHECK (what IN ('proven', 'inferred', 'while-listed', 'repeated', 'excused', 'redeemed',
                                                     'friend', 'unanswered', 'voided', 'listed', 'left')) NOT VALID;

ALTER TABLE hunnypot.setting ADD CONSTRAINT setting_of_door_makes_sense CHECK (
    -- They become links.
    CASE name WHEN 'contact' THEN value ~ '^([a-zA-Z0-9.!#%*/=?^_{|}~+-]+@[a-zA-Z0-9.-]+|https?://[^ <>]+)?$'
              WHEN 'privacy_url' THEN value ~ '^(https?://[^ <>]+)?$'
              WHEN 'removals_per_day' THEN value ~ '^[0-9]{1,6}$'
              WHEN 'requests_most' THEN value ~ '^[0-9]{1,6}$'
              ELSE true END);
INSERT INTO hunnypot.setting (name, value, meaning) VALUES
    ('contact', '', 'whom a listed client may write to: a mail address or a URL'),
    ('privacy_url', '', 'where a listed client finds what is kept about people'),
    ('keep_requests', '180 days', 'requests to be taken off the list are kept for so long, and a second one takes a person'),
    ('removals_per_day', '100', 'so many come off the list on their own request in a day; more take a person'),
    ('requests_most', '1000', 'so many requests wait for a person at most, and as many for a TXT record');
