-- Recording: all that a sensor may call, except tick().

-- Make the partitions of DAYS that are missing.  Only for days near now, so that a sensor with a wrong clock does not
-- fill the database with tables; and never waiting long for a reader, as hit_default takes what has no partition.
CREATE OR REPLACE FUNCTION hunnypot.make_partitions(days date[]) RETURNS void
LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' SET lock_timeout = '500ms' AS $$
DECLARE
    day date;
    partition text;
BEGIN
    FOREACH day IN ARRAY days LOOP
        partition := 'hit_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL OR day NOT BETWEEN current_date - 30 AND current_date + 1;
        BEGIN
            LOCK TABLE turn_partitions IN EXCLUSIVE MODE;
            CONTINUE WHEN to_regclass(partition) IS NOT NULL;
            -- First of all: who waits for its readers holds no row that another may want.
            LOCK TABLE hit_default IN ACCESS EXCLUSIVE MODE;
            -- ATTACH locks less than CREATE ... PARTITION OF: readers of the other days go on.
            EXECUTE format('CREATE TABLE %I (LIKE hit INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
            -- What came before, by a clock that was ahead: with it in hit_default there could be no partition for it.
            EXECUTE format('WITH early AS (DELETE FROM hit_default WHERE time >= %L AND time < %L RETURNING *)
                            INSERT INTO %I SELECT * FROM early', day, day + 1, partition);
            EXECUTE format('ALTER TABLE hit ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           partition, day, day + 1);
        EXCEPTION WHEN lock_not_available OR deadlock_detected OR check_violation OR duplicate_table THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- The number of the sensor NAME, which is made when it is new.
CREATE OR REPLACE FUNCTION hunnypot.find_sensor(p_name text) RETURNS integer
LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
DECLARE
    found_id integer;
BEGIN
    INSERT INTO sensor (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
    SELECT sensor_id INTO STRICT found_id FROM sensor WHERE name = p_name;
    RETURN found_id;
END
$$;

-- What stands for the mark of a life that has ended: no link that was ever drawn.
CREATE OR REPLACE FUNCTION hunnypot.no_link() RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '00000000-0000-0000-0000-000000000000'::uuid;

-- What a sensor says after it connected.  Returns the mark of this life of its spool.  A life that begins ends the ones
-- before it, wherever they are still being lived: what they share with it is in doubt for both.
-- needs_schema: the oldest schema that the sensor can talk to.
CREATE OR REPLACE FUNCTION hunnypot.sensor_hello(p_sensor text, p_life uuid, p_ancestors uuid[], needs_schema integer)
RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    has_schema integer := (SELECT max(version) FROM schema_version);
    own_id integer;
    life spool;
BEGIN
    IF has_schema IS NULL OR has_schema < needs_schema THEN
        RAISE EXCEPTION 'the database has schema version %, and this milter needs % or newer: run "hunnypot db upgrade"',
            coalesce(has_schema, 0), needs_schema USING ERRCODE = 'invalid_schema_name';
    END IF;
    own_id := find_sensor(p_sensor);
    INSERT INTO spool (spool, sensor_id) VALUES (p_life, own_id) ON CONFLICT (spool) DO NOTHING;
    IF FOUND THEN
        INSERT INTO spool AS s (spool, sensor_id, ended)
        SELECT DISTINCT ancestor, own_id, now() FROM unnest(p_ancestors) ancestor ORDER BY ancestor
        ON CONFLICT (spool) DO UPDATE SET ended = coalesce(s.ended, now());
    ELSE
        UPDATE spool SET sensor_id = own_id WHERE spool = p_life AND sensor_id <> own_id;
    END IF;
    SELECT * INTO life FROM spool WHERE spool = p_life;
    RETURN CASE WHEN life.ended IS NULL THEN life.mark ELSE no_link() END;
END
$$;

-- What a hit counts as.  Null-sender hits (bounces) are a class of their own, in a trap too: one forged sender makes whoever
-- bounces come there.  With more than one recipient it is no bounce.
CREATE OR REPLACE FUNCTION hunnypot.counted_class(class text, null_sender boolean, recipients_total integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN null_sender AND recipients_total <= 1 THEN 'null-sender' ELSE class END;

-- What tells a letter of a client from its others: all its tries have it in common.  Of the hashes the second,
-- of the sender with the first recipient; without, what is recorded of these.  The less is known, the more letters are taken for one.
-- STABLE, as convert_to() is: IMMUTABLE, it would be a call for each hit instead of a part of the plan.
CREATE OR REPLACE FUNCTION hunnypot.letter_of(envelope bytea, domain text, sender text, recipients text[]) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN length(envelope) >= 32 THEN substr(envelope, 17, 16)
            ELSE substr(sha256(convert_to(concat_ws(' ', domain, sender, recipients[1]), 'UTF8')), 1, 16) END;

-- Record a batch of hits of one life of a spool, and move its mark from p_from to p_to, the link of the last of them.  When
-- the mark is not at p_from nothing happens, so a batch whose outcome the sensor does not know can be sent again.  Returns
-- where the mark is then.
-- p_check: some may be recorded already, under another life; those are skipped.  Only then does it cost to look, and no
-- other batch is under way meanwhile, which might be recording the same hits.
-- friends: what lists of friends said of each; one of which they did not tell waits for that (sensor_friends()).
-- A sensor whose clock is ahead must not make a listing last longer, hence least().  What is recorded while it is, or by a batch that
-- shows it, no witness proves: by such a time the letter arrived before its hit, which is then not found.
CREATE OR REPLACE FUNCTION hunnypot.record_batch(p_sensor text, p_life uuid, p_from uuid, p_to uuid, p_check boolean,
                                                 hits hunnypot.new_hit[], friends text[] DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET timezone = 'UTC' SET enable_seqscan = off
SET enable_bitmapscan = off AS $$
DECLARE
    life spool;
    is_ahead boolean;
    new_count bigint;
    first_due timestamptz;
BEGIN
    SELECT * INTO life FROM spool WHERE spool = p_life FOR UPDATE;
    IF NOT FOUND OR life.ended IS NOT NULL THEN
        RETURN no_link();
    ELSIF life.mark IS DISTINCT FROM p_from THEN
        RETURN life.mark;
    END IF;
    -- The sensor will forget what it is told is recorded.  Of the transaction, not of the session: a pooler may be between.
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF p_check THEN
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'hits in doubt need transaction isolation "read committed", and default_transaction_isolation is not';
        END IF;
        LOCK TABLE turn_record IN EXCLUSIVE MODE;
    ELSE
        LOCK TABLE turn_record IN ROW EXCLUSIVE MODE;
    END IF;
    is_ahead := EXISTS (SELECT FROM unnest(hits) h WHERE h.time > now() + interval '60 seconds')
        OR coalesce((SELECT CASE jsonb_typeof(s.counters->'moments'->'sent') WHEN 'number' THEN (s.counters->'moments'->>'sent')::numeric END
                            > (extract(epoch FROM s.last_seen) + 60) * 1000
                     FROM sensor s WHERE s.sensor_id = life.sensor_id), false);
    PERFORM make_partitions(ARRAY(SELECT DISTINCT h.time::date FROM unnest(hits) h ORDER BY 1));
    -- Without it the INSERT may choose hit_default, wait there for somebody who takes that day's rows away from it, and then fail for good.
    LOCK TABLE hit_default IN ROW EXCLUSIVE MODE;

    WITH new AS MATERIALIZED (
        SELECT coalesce(h.hit_id, gen_random_uuid()) AS id, coalesce(h.owner, h.domain) AS whose,
               counted_class(h.class, h.null_sender, h.recipients_total) AS kind, coalesce(h.name_state, 'unknown') AS name,
               EXISTS (SELECT FROM listed_network l
                       WHERE l.network = ANY (ARRAY[n.network, neighbours(n.network)])
                         AND l.since <= h.time AND l.until > h.time
                         AND coalesce(l.removed > h.time, true)) AS while_listed,
               letter_of(h.envelope, h.domain, h.sender, h.recipients) AS letter, n.network,
               coalesce(h.envelope_whole, false) AND NOT is_ahead AS is_whole,
               CASE WHEN friends[h.ordinality] IN ('no', 'unanswered') THEN friends[h.ordinality] END AS friend, h.*
        FROM unnest(hits) WITH ORDINALITY h CROSS JOIN LATERAL (SELECT client_network(h.client) AS network OFFSET 0) n
        WHERE NOT p_check OR NOT EXISTS (SELECT FROM hit known WHERE known.client = h.client AND known.time = h.time
                                                                     AND known.hit_id = h.hit_id)
    ), inserted AS (
        INSERT INTO hit (hit_id, time, sensor_id, spool, seq, client, client_port, client_name, helo, sender, recipients,
                         recipients_total, null_sender, tls, class, domain, primary_host, primary_age_ms, queue_id,
                         mta_name, local, owner, name_state, while_listed, friend)
        SELECT id, time, life.sensor_id, p_life, seq, client, client_port, client_name, helo, sender, recipients,
               recipients_total, null_sender, tls, class, domain, primary_host, primary_age_ms, queue_id, mta_name,
               local, whose, name, while_listed, friend
        FROM new
    ), kept AS (
        -- Of a trap no letter ever arrives elsewhere.
        INSERT INTO envelope (hit_id, time, client, class, domain, primaries, key_id, hashes, whole)
        SELECT id, time, client, kind, domain, coalesce(primaries, '{}'), key_id, envelope, is_whole
        FROM new WHERE key_id IS NOT NULL AND class <> 'trap'
    ), queued AS (
        INSERT INTO waiting (hit_id, due, ripe, time, network, class, domain, owner, name_state, while_listed, letter, client_name, helo,
                             asks, primaries, key_id)
        SELECT id, ripe, ripe, least(time, now()), network, kind, domain, whose, name, while_listed, letter,
               CASE name WHEN 'confirmed' THEN name_pattern(client_name) END, helo_pattern(helo, client_name, domain, mta_name),
               CASE friend WHEN 'unanswered' THEN life.sensor_id END, can_be_proven, CASE WHEN can_be_proven IS NOT NULL THEN key_id END
        FROM new LEFT JOIN policy p ON p.class = kind,
             LATERAL (SELECT now() + coalesce(CASE name WHEN 'none' THEN p.ripens ELSE p.ripens_named END, '0') AS ripe,
                             CASE WHEN new.class <> 'trap' AND key_id IS NOT NULL AND is_whole AND cardinality(primaries) > 0
                                  THEN array_to_string(primaries, ' ') END AS can_be_proven) r
        RETURNING due
    )
    SELECT count(*), min(due) INTO new_count, first_due FROM queued;

    UPDATE spool SET mark = p_to, last_seq = greatest(last_seq, (SELECT max(seq) FROM unnest(hits))), last_batch = now()
    WHERE spool = p_life;
    IF new_count > 0 THEN
        PERFORM pg_notify('hunnypot_hit', p_sensor);
        -- What need not ripen is counted at once, unless somebody else is about to count anyway.
        IF first_due <= now() THEN
            PERFORM tick();
        END IF;
    END IF;
    RETURN p_to;
END
$$;

-- A sign of life of the process p_instance.  Whether no other one by this name gave any since.  It also makes today's and
-- tomorrow's partition, so that midnight finds them there.
CREATE OR REPLACE FUNCTION hunnypot.sensor_heartbeat(p_sensor text, p_version text, p_inbox bigint, p_outbox bigint,
                                                     p_aside bigint, p_counters jsonb, p_instance uuid DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    before sensor;
BEGIN
    SELECT * INTO before FROM sensor WHERE name = p_sensor FOR UPDATE;
    UPDATE sensor
    SET last_seen = now(), version = p_version, inbox = p_inbox, outbox = p_outbox, aside = p_aside,
        -- Ours are of some thousand bytes; who reads them is not to choke on others.
        counters = CASE WHEN octet_length(p_counters::text) <= 65536 THEN p_counters ELSE '{}' END,
        instance = p_instance, retired = NULL
    WHERE name = p_sensor;
    PERFORM make_partitions(ARRAY[current_date, current_date + 1]);
    PERFORM note_outages(before.sensor_id, p_counters->'hosts');
    IF before.instance IS NOT DISTINCT FROM p_instance AND before.counters IS NOT NULL THEN
        PERFORM note_counters(before.counters, p_counters);
    END IF;
    RETURN before.instance IS NOT DISTINCT FROM p_instance;
END
$$;

-- Nobody waits for the sensor any more: 'retired', or what speaks against it: it is 'alive', or 'unknown'.
CREATE OR REPLACE FUNCTION hunnypot.sensor_retire(p_sensor text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    UPDATE sensor SET retired = coalesce(retired, now()) WHERE name = p_sensor AND last_seen <= now() - interval '30 seconds';
    IF FOUND THEN
        RETURN 'retired';
    END IF;
    RETURN CASE WHEN EXISTS (SELECT FROM sensor WHERE name = p_sensor) THEN 'alive' ELSE 'unknown' END;
END
$$;
