-- What operators do: allow, forget, expire.

CREATE OR REPLACE FUNCTION hunnypot.allow_add(network cidr, reason text DEFAULT '', author text DEFAULT session_user,
                                              expires timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO hunnypot.allow AS a (network, reason, author, expires) VALUES (network(hunnypot.client_address($1)), $2, $3, $4)
    ON CONFLICT (network)
        DO UPDATE SET reason = excluded.reason, author = excluded.author, created = now(), expires = excluded.expires;
END;

CREATE OR REPLACE FUNCTION hunnypot.allow_del(network cidr) RETURNS bool
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM hunnypot.allow a WHERE a.network = network(hunnypot.client_address($1));
    RETURN FOUND;
END $$;

-- Remove what is known about NETWORK.  What is allowed stays: that is an operator's word, not an observation.
CREATE OR REPLACE FUNCTION hunnypot.forget(network cidr) RETURNS TABLE (what text, removed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
#variable_conflict use_column
DECLARE
    below cidr := network(client_address($1));
    part cidr;
BEGIN
    PERFORM request_lock();
    PERFORM list_lock();
    what := 'hits';
    DELETE FROM hit WHERE client <<= below;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'offences';
    removed := (SELECT count(*) FROM offence WHERE network <<= below);
    DELETE FROM envelope WHERE client <<= below;
    DELETE FROM witness_letters WHERE client <<= below;
    DELETE FROM pardoned WHERE network <<= below;
    DELETE FROM trap_letter WHERE network <<= below;
    DELETE FROM waiting WHERE network <<= below;
    DELETE FROM offence_day WHERE network <<= below;
    RETURN NEXT;
    what := 'requests';
    removed := request_forget(below);
    RETURN NEXT;
    part := judge_anew(below);
    WHILE EXISTS (SELECT FROM rework WHERE range = part) LOOP
        PERFORM rework_step(part, 5000);
    END LOOP;
    PERFORM list_changed();
END $$;

-- Retention, in one bounded step: call it until nothing is removed.  Recording waits only for what comes last, dropping
-- partitions, which does not wait for a reader of one: from the first that is dropped to the end, hit is locked.
-- After its counts, a partition that somebody reads is a row of its own, with NULL: it is not waited for.
CREATE OR REPLACE FUNCTION hunnypot.expire() RETURNS TABLE (what text, removed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET lock_timeout = '50ms'
    SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
    SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
    SET enable_indexonlyscan = off AS $$
#variable_conflict use_column
DECLARE
    at_most CONSTANT int := 100000;
    oldest timestamptz := now() - setting('keep_hits')::interval;
    fresh  timestamptz := now() - setting('keep_offences')::interval;
    -- Longer than that no listing lasts after a hit.
    spent  timestamptz := fresh - (SELECT max(lasts_max) FROM policy);
    hits   bigint;
    gone   record;
    part   text;
    held   text[] := '{}';
BEGIN
    PERFORM set_config('lock_timeout', '10s', true);
    PERFORM list_lock();
    -- There is what a clock far off dated: it goes by when it was recorded, too.
    DELETE FROM hit_default
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM hit_default WHERE time < oldest OR recorded < oldest LIMIT at_most));
    GET DIAGNOSTICS hits = ROW_COUNT;
    what := 'offences';
    WITH gone AS (
        DELETE FROM offence_day
        WHERE ctid = ANY (ARRAY(
            -- A join, which looks up these few; of NOT EXISTS under OR the planner makes a hash of the whole list.
            SELECT f.ctid FROM offence_day f
            LEFT JOIN listed_network l ON l.network = f.network AND l.class = f.class AND l.removed IS NULL AND l.until > now()
            LEFT JOIN listed_network w ON w.network = neighbours(f.network) AND w.class = f.class AND w.removed IS NULL
                                          AND w.until > now()
            WHERE f.day <= fresh::date AND f.last_seen < fresh
              AND (f.last_seen < spent OR (l.network IS NULL AND w.network IS NULL))
            ORDER BY f.day LIMIT at_most))
        RETURNING network, last_seen
    )
    -- The others are not on the list, and fewer facts put nobody on it.
    SELECT count(*) AS number, ARRAY(SELECT DISTINCT network FROM gone WHERE last_seen < spent) AS networks INTO gone
    FROM gone;
    PERFORM refresh(gone.networks);
    removed := gone.number;
    RETURN NEXT;
    what := 'allows';
    DELETE FROM allow WHERE expires <= now();
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'envelopes';
    removed := witness_forget(at_most);
    RETURN NEXT;
    what := 'requests';
    removed := request_expire(at_most);
    RETURN NEXT;
    -- A few for each hour, and about nobody: no row of what was removed.
    PERFORM figures_expire();
    what := 'hits';
    removed := hits;
    RETURN NEXT;

    what := 'hit partitions';
    removed := 0;
    PERFORM set_config('lock_timeout', '50ms', true);
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'hit'::regclass AND c.relname ~ '^hit_[0-9]{8}$'
          AND (to_date(substr(c.relname, 5), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= oldest
        ORDER BY 1
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE %I', part);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            held := held || part;
            EXIT WHEN removed > 0;
            CONTINUE;
        END;
        removed := removed + 1;
        EXIT WHEN removed = 10;
    END LOOP;
    RETURN NEXT;
    removed := NULL;
    FOREACH what IN ARRAY held LOOP
        RETURN NEXT;
    END LOOP;
END $$;
