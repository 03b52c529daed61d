-- The door: what somebody who is listed may see and ask for.  The role hunnypot_door may call the three functions door_*(), and
-- nothing else.  Order of locks: request_lock(), then list_lock().

CREATE OR REPLACE FUNCTION hunnypot.request_lock() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE hunnypot.turn_request IN EXCLUSIVE MODE;
END $$;

-- The functions up to door_look_up() are called for each look-up.  Planning takes longer than what they do, and so does setting
-- anything: they name the schema with each name, and their callers set what keeps the planner at the indexes.  What a plan depends on is
-- kept from it behind a SELECT, as else it makes one anew each time.

-- What is listed of UNIT, an address, also while an inferred listing pauses: the widest network of it, the change it came with,
-- as what; and whether it can come off without a person: by inference only, and no neighbour is listed with it.  NULLs: nothing.
CREATE OR REPLACE FUNCTION hunnypot.door_listing(unit cidr, OUT part cidr, OUT entered bigint, OUT listed text, OUT is_plain bool)
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    around CONSTANT cidr[] := hunnypot.covering(unit);
BEGIN
    SELECT min(l.network), max(l.entered),
           string_agg(l.class || CASE WHEN l.witnessed THEN ' witnessed' ELSE ' inferred' END, ', ' ORDER BY l.class),
           bool_and(l.network = unit AND NOT l.witnessed)
    INTO part, entered, listed, is_plain
    FROM hunnypot.listed_network l WHERE l.network = ANY ((SELECT around)::cidr[]) AND l.removed IS NULL AND l.until > now();
END $$;

-- What the owner of the name puts into DNS: another one for each listing.
CREATE OR REPLACE FUNCTION hunnypot.door_code(unit cidr, entered bigint) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN 'hunnypot-' || left(encode(sha256(convert_to($1::text || ' ' || $2::text, 'UTF8')), 'hex'), 24);
END $$;

-- Whether the door may take UNIT, which is listed plainly, off by itself.  Once: the hits that come later took a person's trust away.
CREATE OR REPLACE FUNCTION hunnypot.door_may_remove(unit cidr, is_plain bool) RETURNS bool
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF is_plain IS NOT TRUE THEN
        RETURN false;
    END IF;
    -- At most 1000 hits, all of which are voided at once.
    RETURN NOT EXISTS (SELECT FROM hunnypot.request r
                       WHERE r.network = ANY ((SELECT ARRAY[unit, hunnypot.neighbours(unit)])::cidr[]) AND r.state = 'removed')
       AND (SELECT count(x.decided) < min(s.value::int)
            FROM hunnypot.setting s LEFT JOIN LATERAL (SELECT r.decided FROM hunnypot.request r
                                                       WHERE r.state = 'removed' AND r.author IS NULL
                                                         AND r.decided > now() - interval '1 day' LIMIT s.value::int) x ON true
            WHERE s.name = 'removals_per_day')
       AND (SELECT coalesce(sum(f.hits), 0) <= 1000 FROM hunnypot.offence_day f WHERE f.network = (SELECT unit));
END $$;

-- How UNIT, which LISTING is of, comes off the list: 'itself' (at once), by a 'person'; or how its request stands: 'unproven',
-- 'waiting', 'refused'.
CREATE OR REPLACE FUNCTION hunnypot.door_way(unit cidr, part cidr, entered bigint, is_plain bool) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT r.state FROM hunnypot.request r WHERE r.network = (SELECT part) AND r.state IN ('unproven', 'waiting')),
                    (SELECT r.state FROM hunnypot.request r
                     WHERE r.network = (SELECT part) AND r.state = 'refused' AND r.entered = door_way.entered LIMIT 1),
                    CASE WHEN hunnypot.door_may_remove(unit, is_plain) THEN 'itself' ELSE 'person' END);
END $$;

-- What ASKER (NULL: not known) may see about ADDRESS: a row for each listing that it is in, one with NULLs when there is none.
-- Times are rounded: what a trap is, is not to be found out by trying.
CREATE OR REPLACE FUNCTION hunnypot.door_look_up(asked inet, asker inet)
    RETURNS TABLE (address text, is_own bool, contact text, privacy_url text, class text, proof text, is_alone bool, is_listed bool,
                   is_firm bool, since text, until text, last_seen text, way text, code text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    unit CONSTANT cidr := client_network(asked);
BEGIN
    RETURN QUERY
    SELECT host(unit), unit = client_network(asker), (SELECT s.value::text FROM setting s WHERE s.name = 'contact'),
           (SELECT s.value::text FROM setting s WHERE s.name = 'privacy_url'), l.class,
           CASE WHEN l.witnessed THEN 'witnessed' WHEN NOT l.witnessed THEN 'inferred' END, l.network = unit, l.since <= now(),
           l.witnessed AND l.soft_until <= now(), to_char(l.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24":00Z"'),
           to_char((l.until + interval '1 hour' - interval '1 microsecond') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24":00Z"'),
           to_char(l.last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
           CASE WHEN l.class IS NOT NULL THEN door_way(unit, l.part, l.change, l.is_plain) END, door_code(unit, l.change)
    FROM (VALUES (1)) once
    -- As door_listing() has it, of all rows at once.
    LEFT JOIN (SELECT n.*, (min(n.network) OVER ())::cidr AS part, max(n.entered) OVER () AS change,
                      bool_and(n.network = unit AND NOT n.witnessed) OVER () AS is_plain
               FROM listed_network n
               WHERE n.network = ANY ((SELECT covering(unit))::cidr[]) AND n.removed IS NULL AND n.until > now()) l ON true
    ORDER BY (SELECT p.rank FROM policy p WHERE p.class = l.class), l.network DESC;
END $$;

-- A token for the form that goes to ADDRESS itself, in the place of the one it had; NULL: there are too many.
CREATE OR REPLACE FUNCTION hunnypot.door_token(asked inet) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    most CONSTANT int := 10000;
    unit CONSTANT cidr := client_network(asked);
    what record := door_listing(unit);
    token text := replace(gen_random_uuid()::text, '-', '');
BEGIN
    DELETE FROM request_token
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM request_token WHERE expires <= now() ORDER BY expires LIMIT 100 FOR UPDATE SKIP LOCKED));
    IF what.part IS NULL OR (SELECT count(*) FROM (SELECT FROM request_token WHERE network <> unit LIMIT most) t) >= most THEN
        RETURN NULL;
    END IF;
    INSERT INTO request_token AS t (network, hash, entered, expires)
    VALUES (unit, sha256(convert_to(token, 'UTF8')), what.entered, now() + interval '1 hour')
    ON CONFLICT (network) DO UPDATE SET hash = excluded.hash, entered = excluded.entered, expires = excluded.expires;
    RETURN token;
END $$;

-- Void all that was counted of PART: it makes no listing any more.  What ripens, or is on its way here, count_ripe() voids by the
-- time of the request.  How many hits.
CREATE OR REPLACE FUNCTION hunnypot.void(part cidr) RETURNS bigint
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    number   bigint;
    networks cidr[];
BEGIN
    PERFORM list_lock();
    WITH old AS MATERIALIZED (
        SELECT h FROM hit h
        WHERE h.client >= part::inet AND h.client <= last_within(part)::inet
          AND NOT EXISTS (SELECT FROM waiting w WHERE w.hit_id = h.hit_id)
          AND NOT EXISTS (SELECT FROM pardoned p WHERE p.hit_id = h.hit_id)
    ), hours AS (
        SELECT date_trunc('hour', least((o.h).time, (o.h).recorded)) AS hour, f.class,
               CASE WHEN f.while_listed THEN 'while-listed' WHEN f.witnessed THEN 'proven' ELSE 'inferred' END AS what,
               count(*) AS number
        FROM old o CROSS JOIN LATERAL fact_of(o.h) f WHERE f.class IS NOT NULL GROUP BY 1, 2, 3
    ), fewer AS (
        UPDATE hourly y SET number = greatest(y.number - h.number, 0)
        FROM hours h WHERE (y.hour, y.class, y.what) = (h.hour, h.class, h.what)
    ), more AS (
        INSERT INTO hourly AS y (hour, class, what, number)
        SELECT h.hour, h.class, 'voided', sum(h.number) FROM hours h GROUP BY 1, 2
        ON CONFLICT (hour, class, what) DO UPDATE SET number = y.number + excluded.number
    ), voided AS (
        INSERT INTO pardoned (hit_id, why, network, class, domain, hit_time)
        SELECT (h).hit_id, 'voided', client_network((h).client),
               counted_class((h).class, (h).null_sender, (h).recipients_total), (h).domain, (h).time
        FROM old
        RETURNING 1
    )
    SELECT count(*) INTO number FROM voided;
    WITH gone AS (
        DELETE FROM offence_day WHERE network >= part AND network <= last_within(part) RETURNING network
    )
    SELECT ARRAY(SELECT network FROM gone UNION SELECT part) INTO networks;
    PERFORM refresh(networks);
    RETURN number;
END $$;

-- Take what the open request ID is about off the list.  To be called under request_lock() and list_lock().
CREATE OR REPLACE FUNCTION hunnypot.request_remove(id bigint, p_author text, p_reason text) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    part   cidr;
    number bigint;
BEGIN
    -- First, as refresh() asks for it.
    UPDATE request r SET state = 'removed', decided = now(), author = p_author, reason = p_reason,
                         network = coalesce((door_listing(client_network(r.address))).part, r.network)
    WHERE r.request_id = id RETURNING r.network INTO part;
    number := void(part);
    UPDATE request r SET voided = number WHERE r.request_id = id;
END $$;

-- Whether there is no place for another request in the state P_STATE.
CREATE OR REPLACE FUNCTION hunnypot.request_is_full(p_state text) RETURNS bool
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    most int := setting('requests_most')::int;
BEGIN
    RETURN (SELECT count(*) FROM (SELECT FROM request r WHERE r.state = p_state LIMIT most) x) >= most;
END $$;

-- The open request ID is proven: it is granted at once, or waits for a person.  To be called under request_lock().
CREATE OR REPLACE FUNCTION hunnypot.request_proven(id bigint) RETURNS text
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    unit cidr := (SELECT client_network(address) FROM request WHERE request_id = id);
BEGIN
    IF door_may_remove(unit, (door_listing(unit)).is_plain) THEN
        PERFORM list_lock();
        -- Whoever had the lock may have found more.
        IF door_may_remove(unit, (door_listing(unit)).is_plain) THEN
            PERFORM request_remove(id, NULL, NULL);
            RETURN 'removed';
        END IF;
    END IF;
    IF request_is_full('waiting') THEN
        RETURN 'busy';
    END IF;
    UPDATE request SET state = 'waiting' WHERE request_id = id;
    RETURN 'person';
END $$;

-- ASKER asks that ADDRESS is taken off the list, from there with the TOKEN of the form.  What comes of it: 'removed'; a 'person'
-- decides; a record in DNS is waited for ('name'); nothing, as it is 'gone' from the list, the token is 'stale', the request is
-- 'open' already or was 'refused', or there are too many ('busy').
CREATE OR REPLACE FUNCTION hunnypot.door_ask(asked inet, asker inet, token text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    a_day CONSTANT int := 5; -- for one address, and by one asker
    unit  CONSTANT cidr := client_network(asked);
    place CONSTANT cidr := coalesce(neighbours(client_network(asker)), client_network(asker));
    own   CONSTANT bool := unit = client_network(asker);
    what  record;
    old   request;
    sound bool;
    id    bigint;
BEGIN
    PERFORM request_lock();
    what := door_listing(unit);
    IF own THEN
        DELETE FROM request_token t WHERE t.network = unit AND t.hash = sha256(convert_to(token, 'UTF8'))
        RETURNING t.expires > now() AND t.entered = coalesce(what.entered, t.entered) INTO sound;
        IF sound IS NOT TRUE THEN
            RETURN 'stale';
        END IF;
    END IF;
    IF what.part IS NULL THEN
        RETURN 'gone';
    END IF;
    SELECT * INTO old FROM request r WHERE r.network = what.part AND r.state IN ('unproven', 'waiting');
    IF old.state = 'waiting' THEN
        RETURN 'open';
    ELSIF old.state = 'unproven' AND NOT own THEN
        RETURN 'name';
    ELSIF EXISTS (SELECT FROM request r WHERE r.network = what.part AND r.state = 'refused' AND r.entered = what.entered) THEN
        RETURN 'refused';
    ELSIF (SELECT count(*) FROM request r WHERE r.network = what.part AND r.asked > now() - interval '1 day') >= a_day
          OR (SELECT count(*) FROM request r WHERE r.asker = place AND r.asked > now() - interval '1 day') >= a_day
          OR (own AND request_is_full('waiting') AND NOT door_may_remove(unit, what.is_plain)) THEN
        RETURN 'busy';
    END IF;
    IF old.state IS NULL THEN
        IF NOT own AND request_is_full('unproven') THEN
            -- One that was looked for, and not there, makes room.
            UPDATE request SET state = 'over', decided = now()
            WHERE request_id = (SELECT r.request_id FROM request r WHERE r.state = 'unproven' AND r.checked IS NOT NULL
                                ORDER BY r.checked LIMIT 1);
            IF NOT FOUND THEN
                RETURN 'busy';
            END IF;
        END IF;
        INSERT INTO request (network, address, asker, listed, entered, proof, code)
        VALUES (what.part, unit::inet, place, what.listed, what.entered, CASE WHEN own THEN 'address' ELSE 'name' END,
                door_code(unit, what.entered))
        RETURNING request_id INTO id;
    ELSE
        UPDATE request SET proof = 'address', asker = place, address = unit::inet, listed = what.listed, entered = what.entered
        WHERE request_id = old.request_id RETURNING request_id INTO id;
    END IF;
    RETURN CASE WHEN own THEN request_proven(id) ELSE 'name' END;
END $$;

-- For operators: `hunnypot requests`.

-- Which records to look for, those that were not looked for the longest time first; what nobody waits for any more is closed.
CREATE OR REPLACE FUNCTION hunnypot.request_to_check() RETURNS TABLE (request_id bigint, address text, code text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM request_close();
    RETURN QUERY SELECT r.request_id, host(r.address), r.code FROM request r WHERE r.state = 'unproven'
                 ORDER BY r.checked NULLS FIRST, r.request_id LIMIT 1000;
END $$;

-- The record of the request ID was looked for, and found at P_NAME (NULL: it was not).  What comes of it, as door_ask() has it.
CREATE OR REPLACE FUNCTION hunnypot.request_checked(id bigint, p_name text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
BEGIN
    PERFORM request_lock();
    UPDATE request SET checked = now(), name = p_name WHERE request_id = id AND state = 'unproven';
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    RETURN CASE WHEN p_name IS NULL THEN 'name' ELSE request_proven(id) END;
END $$;

-- A person says yes or no to the open request ID.  Whether it was one.
CREATE OR REPLACE FUNCTION hunnypot.request_decide(id bigint, is_granted bool, p_author text, p_reason text) RETURNS bool
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
BEGIN
    PERFORM request_lock();
    PERFORM list_lock();
    IF NOT EXISTS (SELECT FROM request WHERE request_id = id AND state IN ('unproven', 'waiting')) THEN
        RETURN false;
    END IF;
    IF is_granted THEN
        PERFORM request_remove(id, p_author, p_reason);
    ELSE
        UPDATE request SET state = 'refused', decided = now(), author = p_author, reason = p_reason WHERE request_id = id;
    END IF;
    RETURN true;
END $$;

-- Close what nobody waits for any more: no record for a day, or it is not listed.
CREATE OR REPLACE FUNCTION hunnypot.request_close() RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
BEGIN
    UPDATE request SET state = 'over', decided = now()
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM request r
        WHERE r.state IN ('unproven', 'waiting')
          AND ((r.state = 'unproven' AND r.asked < now() - interval '1 day') OR (door_listing(client_network(r.address))).part IS NULL)
        FOR UPDATE SKIP LOCKED));
END $$;

-- Remove, in a bounded step, requests that are old; how many there were.  To be called under list_lock().
CREATE OR REPLACE FUNCTION hunnypot.request_expire(at_most int) RETURNS bigint
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    gone record;
BEGIN
    PERFORM request_close();
    DELETE FROM request_token
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM request_token WHERE expires <= now() LIMIT at_most FOR UPDATE SKIP LOCKED));
    WITH old AS (
        DELETE FROM request
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM request WHERE asked < now() - setting('keep_requests')::interval
                                ORDER BY asked LIMIT at_most FOR UPDATE SKIP LOCKED))
        RETURNING network, state
    )
    SELECT count(*) AS number, ARRAY(SELECT DISTINCT network FROM old WHERE state = 'removed') AS networks INTO gone FROM old;
    -- They are judged as all others again.
    PERFORM refresh(gone.networks);
    RETURN gone.number;
END $$;

-- Forget who is within PART, as the listed and as the asker; how many requests there were.
CREATE OR REPLACE FUNCTION hunnypot.request_forget(part cidr) RETURNS bigint
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    number bigint;
BEGIN
    DELETE FROM request_token t WHERE t.network <<= part;
    DELETE FROM request r WHERE r.network <<= part OR r.address <<= part OR r.asker <<= part;
    GET DIAGNOSTICS number = ROW_COUNT;
    RETURN number;
END $$;
