-- 003: witnesses, who read the mail logs of primaries, and what they tell.

-- What a sensor adds to a hit: hashes of its envelope (hunnypot-witness(8)), the key they were made with, and whether they are
-- of all recipients; and the MX hosts that the client should have gone to.
ALTER TYPE hunnypot.new_hit ADD ATTRIBUTE key_id text, ADD ATTRIBUTE envelope bytea,
    ADD ATTRIBUTE envelope_whole boolean, ADD ATTRIBUTE primaries text[];

-- The envelope of a hit, for as long as a letter that arrives may redeem it.
CREATE TABLE hunnypot.envelope (
    hit_id    uuid PRIMARY KEY,
    recorded  timestamptz NOT NULL DEFAULT clock_timestamp(),
    time      timestamptz NOT NULL,
    client    inet NOT NULL,
    class     text NOT NULL,   -- what it counts as
    domain    text NOT NULL,
    primaries text[] NOT NULL,
    key_id    text NOT NULL,
    hashes    bytea NOT NULL,  -- 16 bytes each: of the sender alone, then with each recipient and each domain
    whole     boolean NOT NULL -- of all recipients
);
CREATE INDEX envelope_recorded ON hunnypot.envelope (recorded, hit_id);
CREATE INDEX envelope_client ON hunnypot.envelope (client);

-- Which keys belong to this database, so that a further sensor does not come with one of its own.
CREATE TABLE hunnypot.envelope_key (
    key_id text PRIMARY KEY, -- the fingerprint; the key itself is in no database
    since  timestamptz NOT NULL DEFAULT now()
);

-- One machine behind one MX name.
CREATE TABLE hunnypot.witness (
    witness_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mx         text NOT NULL CHECK (length(mx) BETWEEN 1 AND 253),
    machine    text NOT NULL CHECK (length(machine) BETWEEN 1 AND 253),
    version    text NOT NULL,
    keys       text[] NOT NULL,
    match      text NOT NULL CHECK (match IN ('envelope', 'sender')),
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (mx, machine)
);

-- A stretch of its log's time that it watched without a gap, with these keys.
CREATE TABLE hunnypot.witness_stretch (
    witness_id integer NOT NULL REFERENCES hunnypot.witness ON DELETE CASCADE,
    since      timestamptz NOT NULL,
    until      timestamptz NOT NULL CHECK (until >= since),
    keys       text[] NOT NULL,
    PRIMARY KEY (witness_id, since)
);
CREATE INDEX witness_stretch_until ON hunnypot.witness_stretch (until);

-- A probe that a sensor made of an MX host, and one that a witness saw.
CREATE TABLE hunnypot.probe (
    mx     text NOT NULL,
    time   timestamptz NOT NULL,
    source inet NOT NULL,
    PRIMARY KEY (mx, time, source)
);
CREATE INDEX probe_time ON hunnypot.probe (time);
CREATE TABLE hunnypot.witness_probe (
    witness_id integer NOT NULL REFERENCES hunnypot.witness ON DELETE CASCADE,
    time       timestamptz NOT NULL,
    source     inet NOT NULL,
    PRIMARY KEY (witness_id, time, source)
);
CREATE INDEX witness_probe_time ON hunnypot.witness_probe (time);

-- What a witness found about a hit.
CREATE TABLE hunnypot.witness_found (
    hit_id     uuid NOT NULL REFERENCES hunnypot.envelope ON DELETE CASCADE,
    witness_id integer NOT NULL REFERENCES hunnypot.witness ON DELETE CASCADE,
    what       text NOT NULL CHECK (what IN ('accepted', 'sender', 'listed', 'seen', 'refused')),
    time       timestamptz NOT NULL, -- the log's
    told       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hit_id, what, witness_id)
);
CREATE INDEX witness_found_witness ON hunnypot.witness_found (witness_id);

-- Hits that do not count: redeemed, as their letter was accepted at a primary (or refused there because of the list);
-- excused, as the primary saw their client, which has a name; or repeated, as they only try again to bring a trap a letter that
-- was counted.  Kept for as long as hits.
CREATE TABLE hunnypot.pardoned (
    hit_id   uuid PRIMARY KEY,
    why      text NOT NULL CHECK (why IN ('redeemed', 'excused', 'repeated')),
    network  cidr NOT NULL,
    class    text NOT NULL,
    domain   text NOT NULL,
    hit_time timestamptz NOT NULL,
    time     timestamptz,          -- when the letter was accepted
    mx       text,                 -- by whom
    told     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX pardoned_told ON hunnypot.pardoned (told);
CREATE INDEX pardoned_network ON hunnypot.pardoned (network);

-- Letters that clients with a name brought to a trap, and which were counted: when the first try of each came.
CREATE TABLE hunnypot.trap_letter (
    network    cidr NOT NULL,
    letter     bytea NOT NULL,
    hit_id     uuid NOT NULL,
    first_seen timestamptz NOT NULL,
    PRIMARY KEY (network, letter)
);
CREATE INDEX trap_letter_first_seen ON hunnypot.trap_letter (first_seen);

-- How many letters a primary accepted from a client that has hits, in the 7 days before.
CREATE TABLE hunnypot.witness_letters (
    client     inet NOT NULL,
    witness_id integer NOT NULL REFERENCES hunnypot.witness ON DELETE CASCADE,
    letters    bigint NOT NULL,
    told       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client, witness_id)
);
CREATE INDEX witness_letters_witness ON hunnypot.witness_letters (witness_id);
