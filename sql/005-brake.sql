-- 005: a brake on how fast the list grows, whoever publishes it and how often.  It goes by what refresh() puts on the list,
-- so that all who read it, a hot standby too, see the same.

DROP FUNCTION IF EXISTS hunnypot.published(), hunnypot.set_published(), hunnypot.entered_since(bigint),
    hunnypot.left_since(bigint), hunnypot.brake_release();
DROP TABLE hunnypot.publication, hunnypot.publication_growth;

-- How large the list is, and what the brake holds back.  Written under list_lock().
CREATE TABLE hunnypot.brake (
    only_row   bool PRIMARY KEY DEFAULT true CHECK (only_row),
    networks   bigint NOT NULL,             -- on the list, also those that are held back
    held_after bigint,                      -- of the change after which what came on the list is held back; NULL: nothing is
    since      timestamptz,
    why        text,
    held       bigint NOT NULL DEFAULT 0,   -- how many networks came since then
    is_free    bool NOT NULL DEFAULT false, -- true only within policy_enable(): what comes is what the operator was shown
    CHECK ((held_after IS NULL) = (since IS NULL) AND (since IS NULL) = (why IS NULL))
);
INSERT INTO hunnypot.brake (networks) SELECT count(DISTINCT network) FROM hunnypot.listed_network WHERE removed IS NULL;

-- How fast the list grew, in steps of five minutes.
CREATE TABLE hunnypot.brake_growth (
    at     timestamptz PRIMARY KEY,
    fewest bigint NOT NULL, -- the least that were on the list then
    fresh  bigint NOT NULL  -- new ones
);

UPDATE hunnypot.setting SET value = CASE value WHEN '1 hour' THEN '24 hours' ELSE value END,
    meaning = 'the time that the brake goes by; a quarter of that may come in an hour'
WHERE name = 'brake_time';
UPDATE hunnypot.setting SET meaning = 'in brake_time may come on the list this share of what it has'
WHERE name = 'brake_share';
UPDATE hunnypot.setting SET meaning = 'or this many networks, where that is more' WHERE name = 'brake_floor';

-- An export looks at `entered`, too.
ALTER TABLE hunnypot.listed_network DROP CONSTRAINT listed_network_pkey,
    ADD PRIMARY KEY (network, class) INCLUDE (since, until, worse_until, removed, soft_until, entered);
