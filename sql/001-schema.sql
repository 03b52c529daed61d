-- 001: facts.  What sensors report (hit), what follows from it by counting (offence), and the functions that are all
-- a sensor may use.  Runs once, in one transaction, through `hunnypot db init`.

-- Roles.  They have no login: GRANT them to the roles that programs and people log in with.  hunnypot_owner owns all that
-- is made here, so that functions which run with their owner's rights never have a superuser's, and upgrades need none.
DO $$
DECLARE
    missing text;
BEGIN
    FOR missing IN
        SELECT name FROM unnest(ARRAY['hunnypot_owner', 'hunnypot_sensor', 'hunnypot_reader',
                                        'hunnypot_operator']) name
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
    LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
    END LOOP;
    -- From PostgreSQL 16 on, to be a member is not all.
    IF NOT pg_has_role('hunnypot_owner', CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER'
                                              ELSE 'SET' END) THEN
        GRANT hunnypot_owner TO CURRENT_USER;
    END IF;
    IF NOT pg_has_role('hunnypot_operator', 'hunnypot_reader', 'MEMBER') THEN
        GRANT hunnypot_reader TO hunnypot_operator;
    END IF;
END
$$;

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
    counters   jsonb
);

-- One spool file of a sensor; last_seq is the number of the last hit that was taken over from it.
CREATE TABLE hunnypot.spool (
    spool      uuid PRIMARY KEY,
    sensor_id  integer NOT NULL REFERENCES hunnypot.sensor,
    last_seq   bigint NOT NULL DEFAULT 0,
    last_batch timestamptz
);

-- One transaction that reached DATA and was an offence, with its evidence.  Partitions are days in UTC.
CREATE TABLE hunnypot.hit (
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
    recorded         timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (time);

CREATE INDEX hit_client_time ON hunnypot.hit (client, time);
-- For `hunnypot tail`, which asks for what was recorded lately, of whatever day; such an index costs next to nothing.
CREATE INDEX hit_recorded ON hunnypot.hit USING brin (recorded);

-- Takes what has no partition of its own: a clock far off, or a partition that could not be made in time.
CREATE TABLE hunnypot.hit_default PARTITION OF hunnypot.hit DEFAULT;

-- Hits counted.  No other index: one on a column that changes would make every update of a known client dearer.
CREATE TABLE hunnypot.offence (
    network    cidr NOT NULL,  -- /32 or /64
    class      text NOT NULL CHECK (class IN ('trap', 'backup', 'address', 'null-sender')),
    domain     text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    hits       bigint NOT NULL,
    PRIMARY KEY (network, class, domain)
) WITH (fillfactor = 80);

-- The network a client is counted and listed under.
CREATE FUNCTION hunnypot.client_network(client inet) RETURNS cidr
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN network(set_masklen(client, CASE family(client) WHEN 4 THEN 32 ELSE 64 END));

-- Make the partitions of DAYS that are missing.  Only for days near now, so that a sensor with a wrong clock does not
-- fill the database with tables; and never waiting long for a reader, as hit_default takes what has no partition.
CREATE FUNCTION hunnypot.make_partitions(days date[]) RETURNS void
LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' SET lock_timeout = '500ms' AS $$
DECLARE
    day date;
    partition text;
BEGIN
    FOREACH day IN ARRAY days LOOP
        partition := 'hit_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL OR day NOT BETWEEN current_date - 30 AND current_date + 1;
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtext('hunnypot.make_partitions'));
            CONTINUE WHEN to_regclass(partition) IS NOT NULL;
            -- ATTACH locks less than CREATE ... PARTITION OF: readers of the other days go on.
            EXECUTE format('CREATE TABLE %I (LIKE hit INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
            EXECUTE format('ALTER TABLE hit ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           partition, day, day + 1);
        EXCEPTION WHEN lock_not_available OR deadlock_detected OR check_violation OR duplicate_table THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- Count hits, one of each array a hit.  One row a key in one fixed order, so that several sensors never deadlock.
-- Null-sender hits (bounces) are a class of their own, except in a trap, where nothing is legitimate.  A sensor whose
-- clock is ahead must not make a listing last longer, hence least().
CREATE FUNCTION hunnypot.count_offences(clients inet[], classes text[], domains text[], null_senders boolean[],
                                        times timestamptz[]) RETURNS void
LANGUAGE sql SET search_path = hunnypot, pg_temp AS $$
    INSERT INTO offence AS o (network, class, domain, first_seen, last_seen, hits)
    SELECT client_network(client), CASE WHEN null_sender AND class <> 'trap' THEN 'null-sender' ELSE class END AS kind,
           domain, least(min(time), now()), least(max(time), now()), count(*)
    FROM unnest(clients, classes, domains, null_senders, times) AS new(client, class, domain, null_sender, time)
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (network, class, domain) DO UPDATE
    SET first_seen = least(o.first_seen, excluded.first_seen),
        last_seen = greatest(o.last_seen, excluded.last_seen),
        hits = o.hits + excluded.hits
$$;

-- The number of the sensor NAME, which is made when it is new.
CREATE FUNCTION hunnypot.find_sensor(p_name text) RETURNS integer
LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
DECLARE
    found_id integer;
BEGIN
    INSERT INTO sensor (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
    SELECT sensor_id INTO STRICT found_id FROM sensor WHERE name = p_name;
    RETURN found_id;
END
$$;

-- What a sensor says after it connected.  Returns the number of the last hit of this spool that is recorded.
-- needs_schema: the oldest schema that the sensor can talk to.
CREATE FUNCTION hunnypot.sensor_hello(p_sensor text, p_spool uuid, needs_schema integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    has_schema integer := (SELECT max(version) FROM schema_version);
    seq bigint;
BEGIN
    IF has_schema IS NULL OR has_schema < needs_schema THEN
        RAISE EXCEPTION 'the database has schema version %, and this milter needs % or newer: run "hunnypot db upgrade"',
            coalesce(has_schema, 0), needs_schema USING ERRCODE = 'invalid_schema_name';
    END IF;
    INSERT INTO spool AS s (spool, sensor_id) VALUES (p_spool, find_sensor(p_sensor))
    ON CONFLICT (spool) DO UPDATE SET sensor_id = excluded.sensor_id
    RETURNING last_seq INTO seq;
    RETURN seq;
END
$$;

-- Record a batch of hits of one spool, in the order of their numbers; returns how many were new.  Numbers up to the
-- spool's last_seq are skipped, so a batch whose outcome the sensor does not know can be sent again.
CREATE FUNCTION hunnypot.record_batch(
    p_sensor text, p_spool uuid, seqs bigint[], times timestamptz[], clients inet[], client_ports integer[],
    client_names text[], helos text[], senders text[], recipient_lists text[], recipients_totals integer[],
    null_senders boolean[], tlss boolean[], classes text[], domains text[], primary_hosts text[],
    primary_ages_ms integer[], queue_ids text[], mta_names text[], locals inet[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    from_spool spool;
    new_count bigint;
    new_clients inet[];
    new_classes text[];
    new_domains text[];
    new_null_senders boolean[];
    new_times timestamptz[];
BEGIN
    SELECT * INTO from_spool FROM spool WHERE spool = p_spool FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'spool % of sensor % has not said hello', p_spool, p_sensor;
    END IF;
    PERFORM make_partitions(ARRAY(SELECT DISTINCT t::date FROM unnest(times) t ORDER BY 1));

    WITH new AS (
        SELECT * FROM unnest(seqs, times, clients, client_ports, client_names, helos, senders, recipient_lists,
                             recipients_totals, null_senders, tlss, classes, domains, primary_hosts, primary_ages_ms,
                             queue_ids, mta_names, locals)
            AS batch(seq, time, client, client_port, client_name, helo, sender, recipient_list, recipients_total,
                     null_sender, tls, class, domain, primary_host, primary_age_ms, queue_id, mta_name, local)
        WHERE seq > from_spool.last_seq
    ), inserted AS (
        INSERT INTO hit (time, sensor_id, spool, seq, client, client_port, client_name, helo, sender, recipients,
                         recipients_total, null_sender, tls, class, domain, primary_host, primary_age_ms, queue_id,
                         mta_name, local)
        SELECT time, from_spool.sensor_id, p_spool, seq, client, client_port, client_name, helo, sender,
               string_to_array(recipient_list, E'\n'), recipients_total, null_sender, tls, class, domain, primary_host,
               primary_age_ms, queue_id, mta_name, local
        FROM new
    )
    SELECT count(*), array_agg(client), array_agg(class), array_agg(domain), array_agg(null_sender), array_agg(time)
    INTO new_count, new_clients, new_classes, new_domains, new_null_senders, new_times
    FROM new;

    IF new_count > 0 THEN
        PERFORM count_offences(new_clients, new_classes, new_domains, new_null_senders, new_times);
        UPDATE spool SET last_seq = greatest(last_seq, (SELECT max(seq) FROM unnest(seqs) seq)), last_batch = now()
        WHERE spool = p_spool;
        PERFORM pg_notify('hunnypot_hit', p_sensor);
    END IF;
    RETURN new_count;
END
$$;

-- A sign of life.  It also makes today's and tomorrow's partition, so that midnight finds them there.
CREATE FUNCTION hunnypot.sensor_heartbeat(p_sensor text, p_version text, p_inbox bigint, p_outbox bigint,
                                          p_aside bigint, p_counters jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    UPDATE sensor
    SET last_seen = now(), version = p_version, inbox = p_inbox, outbox = p_outbox, aside = p_aside, counters = p_counters
    WHERE name = p_sensor;
    PERFORM make_partitions(ARRAY[current_date, current_date + 1]);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hunnypot FROM PUBLIC;

GRANT USAGE ON SCHEMA hunnypot TO hunnypot_sensor, hunnypot_reader, hunnypot_operator;
GRANT SELECT ON ALL TABLES IN SCHEMA hunnypot TO hunnypot_reader;
GRANT EXECUTE ON FUNCTION hunnypot.client_network TO hunnypot_reader;
GRANT EXECUTE ON FUNCTION hunnypot.sensor_hello, hunnypot.record_batch, hunnypot.sensor_heartbeat TO hunnypot_sensor;
