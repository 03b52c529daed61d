-- 001: facts.  What sensors report (hit), what of it still waits (waiting), and what was counted (offence_day).  Runs once,
-- in one transaction, through `hunnypot db init`, after roles.sql, followed by functions/*.sql, which hold all functions and views.

CREATE SCHEMA hunnypot AUTHORIZATION hunnypot_owner;
SET LOCAL ROLE hunnypot_owner;

CREATE TABLE hunnypot.schema_version (
    version integer PRIMARY KEY,
    applied timestamptz NOT NULL DEFAULT now()
);

-- One running milter; the numbers are those of its last heartbeat.
CREATE TABLE hunnypot.sensor (
    sensor_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255),
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    version    text,
    inbox      bigint,
    outbox     bigint,
    aside      bigint,
    counters   jsonb,
    instance   uuid   -- of the process that sent the last heartbeat
);

-- One life of a sensor's spool: the time through which its file surely was the one that we knew (tests/model/spool.pml).
CREATE TABLE hunnypot.spool (
    spool      uuid PRIMARY KEY,
    sensor_id  integer NOT NULL REFERENCES hunnypot.sensor,
    mark       uuid,                      -- the link of the last hit that was taken over from it
    ended      timestamptz,               -- a later life of this file, or of a copy, began
    last_seq   bigint NOT NULL DEFAULT 0, -- the number of that hit
    last_batch timestamptz
);

-- One hit as a sensor sends it: an element of record_batch()'s array.  A sensor sends all columns, in this order; the
-- columns from owner on are NULL when it does not know.
CREATE TYPE hunnypot.new_hit AS (
    seq              bigint,
    hit_id           uuid,       -- a UUIDv7 that the sensor drew; NULL: one is made here
    "time"           timestamptz,
    client           inet,
    client_port      integer,
    client_name      text,
    helo             text,
    sender           text,
    recipients       text[],
    recipients_total integer,
    null_sender      boolean,
    tls              boolean,
    class            text,
    domain           text,
    primary_host     text,
    primary_age_ms   integer,
    queue_id         text,
    mta_name         text,
    local            inet,
    owner            text,       -- whose domain: domains of one owner count as one; NULL: the domain's own
    name_state       text        -- confirmed (forward-confirmed reverse DNS, not made from the address), none, or unknown
);

-- One transaction that reached DATA and was an offence, with its evidence.  Partitions are days in UTC.  Nothing here
-- changes once it is written.
CREATE TABLE hunnypot.hit (
    hit_id           uuid NOT NULL,
    time             timestamptz NOT NULL,
    sensor_id        integer NOT NULL,
    spool            uuid NOT NULL,
    seq              bigint NOT NULL,
    client           inet NOT NULL,
    client_port      integer NOT NULL,
    client_name      text NOT NULL,
    helo             text NOT NULL,
    sender           text NOT NULL,
    recipients       text[] NOT NULL,
    recipients_total integer NOT NULL,
    null_sender      boolean NOT NULL,
    tls              boolean NOT NULL,
    class            text NOT NULL CHECK (class IN ('trap', 'backup', 'address')),
    domain           text NOT NULL,
    primary_host     text,     -- the primary that took mail; none for a trap
    primary_age_ms   integer,  -- how old that answer was
    queue_id         text NOT NULL,
    mta_name         text NOT NULL,
    local            inet,     -- the address that the client connected to
    owner            text NOT NULL,
    name_state       text NOT NULL CHECK (name_state IN ('confirmed', 'none', 'unknown')),
    while_listed     boolean NOT NULL, -- the client was on the list when it came
    recorded         timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (time);

CREATE INDEX hit_client_time ON hunnypot.hit (client, time);
-- For `hunnypot tail`, which asks for what was recorded lately, of whatever day; such an index costs next to nothing.
CREATE INDEX hit_recorded ON hunnypot.hit USING brin (recorded);

-- Takes what has no partition of its own: a clock far off, or a partition that could not be made in time.
CREATE TABLE hunnypot.hit_default PARTITION OF hunnypot.hit DEFAULT;

-- Hits that are not counted yet.
CREATE TABLE hunnypot.waiting (
    hit_id       uuid PRIMARY KEY,
    due          timestamptz NOT NULL, -- when it is looked at next
    ripe         timestamptz NOT NULL, -- when it had the time that it is given
    recorded     timestamptz NOT NULL DEFAULT now(),
    time         timestamptz NOT NULL,
    network      cidr NOT NULL,
    class        text NOT NULL,        -- what it counts as: null-sender too
    domain       text NOT NULL,
    owner        text NOT NULL,
    name_state   text NOT NULL,
    while_listed boolean NOT NULL,
    letter       bytea                 -- in a trap, of a client with a name: what tells its letter from others
);
CREATE INDEX waiting_due ON hunnypot.waiting (due);

-- Hits counted: all that the list is made from, kept for as long as any listing needs it, longer than the hits themselves.
-- Days are those of the hits, in UTC.  No column of an index ever changes, so that a known client's update stays cheap.
CREATE TABLE hunnypot.offence_day (
    network       cidr NOT NULL,
    class         text NOT NULL,
    domain        text NOT NULL,
    day           date NOT NULL,
    named         boolean NOT NULL,     -- the client has a confirmed name, or it could not be found out
    witnessed     boolean NOT NULL,     -- every primary was watched, and none of these letters arrived
    while_listed  boolean NOT NULL,     -- the client was on the list, and may have come only because of that: not counted
    owner         text NOT NULL,
    hits          bigint NOT NULL,
    first_seen    timestamptz NOT NULL,
    last_seen     timestamptz NOT NULL,
    counted       timestamptz NOT NULL, -- when the first of them was counted
    counted_again timestamptz,          -- when the second was: after the first two, a third makes no difference to a day
    PRIMARY KEY (network, class, domain, day, named, witnessed, while_listed)
) WITH (fillfactor = 80);
CREATE INDEX offence_day_day ON hunnypot.offence_day (day);
-- What addresses of an IPv6 /64 did, the newest first.
CREATE INDEX offence_day_prefix ON hunnypot.offence_day (set_masklen(network, 64), class, day DESC, network, domain, named, witnessed)
    WHERE family(network) = 6 AND masklen(network) = 128 AND NOT while_listed;
