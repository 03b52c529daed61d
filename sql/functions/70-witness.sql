-- Witnesses: what they may call, and what follows from what they tell.

-- Its number; who has not said hello, or was removed, has none.
CREATE OR REPLACE FUNCTION hunnypot.find_witness(p_mx text, p_machine text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
DECLARE
    found_id integer := (SELECT witness_id FROM witness w WHERE w.mx = p_mx AND w.machine = p_machine);
BEGIN
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'witness % of % has not said hello', p_machine, p_mx;
    END IF;
    RETURN found_id;
END
$$;

-- What a witness says after it connected: the time here, and the addresses that sensors probed from lately, in a row each.
CREATE OR REPLACE FUNCTION hunnypot.witness_hello(p_mx text, p_machine text, p_version text, p_keys text[], p_match text)
    RETURNS TABLE (server_time timestamptz, sensor inet)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    INSERT INTO witness AS w (mx, machine, version, keys, match) VALUES (p_mx, p_machine, p_version, p_keys, p_match)
    ON CONFLICT (mx, machine) DO UPDATE
    SET version = excluded.version, keys = excluded.keys, match = excluded.match, last_seen = now();
    RETURN QUERY
        SELECT clock_timestamp(), p.source
        FROM (SELECT) one LEFT JOIN (SELECT DISTINCT source FROM probe WHERE time > now() - interval '8 days') p ON true;
END
$$;

-- Hits that wait, behind one that was recorded at AFTER, in the order of their recording.
CREATE OR REPLACE FUNCTION hunnypot.witness_waiting(p_mx text, p_machine text, after timestamptz, after_id uuid, at_most int)
    RETURNS TABLE (hit_id uuid, recorded timestamptz, "time" timestamptz, client inet, key_id text, envelope bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    PERFORM find_witness(p_mx, p_machine);
    RETURN QUERY
        SELECT e.hit_id, e.recorded, e.time, e.client, e.key_id, e.hashes FROM envelope e
        WHERE (e.recorded, e.hit_id) > (after, after_id)
        ORDER BY e.recorded, e.hit_id LIMIT least(at_most, 10000);
END
$$;

-- Clients with a name that have hits, also those of which only a trap knows, in the order of their addresses: whose letters count.
CREATE OR REPLACE FUNCTION hunnypot.witness_clients(p_mx text, p_machine text, after inet, at_most int) RETURNS SETOF inet
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM find_witness(p_mx, p_machine);
    -- From one to the next: a client may have any number of hits.
    RETURN QUERY
        WITH RECURSIVE clients AS (
            SELECT coalesce(after, '0.0.0.0/0')::cidr AS client, 0 AS number
            UNION ALL
            SELECT next.client, c.number + 1
            FROM clients c, LATERAL (
                SELECT min(n.network::inet)::cidr AS client FROM (
                    (SELECT o.network FROM offence_day o WHERE o.named AND o.network > c.client ORDER BY o.network LIMIT 1)
                    UNION ALL
                    (SELECT w.network FROM waiting w WHERE w.name_state <> 'none' AND w.network > c.client ORDER BY w.network LIMIT 1)) n) next
            WHERE c.number < least(at_most, 10000) AND next.client IS NOT NULL
        )
        SELECT c.client::inet FROM clients c WHERE c.number > 0;
END
$$;

CREATE OR REPLACE FUNCTION hunnypot.from_micros(micros bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN timestamptz 'epoch' + micros * interval '1 microsecond';

-- Hits that are redeemed now do not count: they are taken out of what waits, and of what was counted.
CREATE OR REPLACE FUNCTION hunnypot.redeem(hits uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off AS $$
DECLARE
    decided record;
    counted uuid[];
    touched cidr[];
BEGIN
    PERFORM list_lock();
    WITH still_waiting AS (
        DELETE FROM waiting w WHERE w.hit_id = ANY (hits) RETURNING w.hit_id, w.time, w.class, w.domain, w.client_name, w.helo
    ), hours AS (
        INSERT INTO hourly AS h (hour, class, what, number)
        SELECT date_trunc('hour', time), class, 'redeemed', count(*) FROM still_waiting GROUP BY 1, 2
        ON CONFLICT (hour, class, what) DO UPDATE SET number = h.number + excluded.number
    )
    SELECT (SELECT array_agg(id) FROM unnest(hits) id WHERE id NOT IN (SELECT hit_id FROM still_waiting)) AS counted,
           array_agg(hour) AS hours, array_agg(domain) AS domains, array_agg(client_name) AS names, array_agg(helo) AS helos,
           array_agg(number) AS numbers
    INTO decided
    FROM (SELECT date_trunc('hour', time) AS hour, domain, client_name, helo, count(*) AS number FROM still_waiting GROUP BY 1, 2, 3, 4) s;
    IF decided.hours IS NOT NULL THEN
        PERFORM busiest_add(decided.hours, decided.domains, decided.names, decided.helos, decided.numbers);
    END IF;
    counted := decided.counted;
    IF counted IS NULL THEN
        RETURN;
    END IF;

    -- Which of a day's facts a hit went into is known but for what was proven then; that is looked at again.
    WITH taken AS MATERIALIZED (
        SELECT d.*, date_trunc('hour', least(h.time, h.recorded)) AS hour,
               CASE WHEN d.while_listed THEN 'while-listed' WHEN d.witnessed THEN 'proven' ELSE 'inferred' END AS what
        FROM unnest(counted) c(id)
        JOIN envelope e ON e.hit_id = c.id
        JOIN hit h ON h.client = e.client AND h.time = e.time AND h.hit_id = c.id
        CROSS JOIN LATERAL (
            SELECT * FROM offence_day f
            WHERE f.network = client_network(e.client) AND f.class = e.class AND f.domain = e.domain
              AND f.day = least(h.time, h.recorded)::date
            ORDER BY f.named = (h.name_state <> 'none') DESC, f.while_listed = h.while_listed DESC,
                     f.witnessed = was_watched(c.id, h.recorded) DESC
            LIMIT 1) d
    ), days AS (
        SELECT network, class, domain, day, named, witnessed, while_listed, count(*) AS fewer FROM taken
        GROUP BY 1, 2, 3, 4, 5, 6, 7
    ), hours AS (
        INSERT INTO hourly AS h (hour, class, what, number)
        SELECT hour, class, 'redeemed', count(*) FROM taken GROUP BY 1, 2
        ON CONFLICT (hour, class, what) DO UPDATE SET number = h.number + excluded.number
    ), fewer_hours AS (
        -- Of a hit that was counted before there were figures there is nothing to take away.
        UPDATE hourly h SET number = greatest(h.number - t.fewer, 0)
        FROM (SELECT hour, class, what, count(*) AS fewer FROM taken GROUP BY 1, 2, 3) t
        WHERE (h.hour, h.class, h.what) = (t.hour, t.class, t.what)
    ), gone AS (
        DELETE FROM offence_day f USING days d
        WHERE (f.network, f.class, f.domain, f.day, f.named, f.witnessed, f.while_listed)
            = (d.network, d.class, d.domain, d.day, d.named, d.witnessed, d.while_listed) AND f.hits <= d.fewer
        RETURNING f.network
    ), fewer AS (
        UPDATE offence_day f SET hits = f.hits - d.fewer FROM days d
        WHERE (f.network, f.class, f.domain, f.day, f.named, f.witnessed, f.while_listed)
            = (d.network, d.class, d.domain, d.day, d.named, d.witnessed, d.while_listed) AND f.hits > d.fewer
        RETURNING f.network
    )
    SELECT ARRAY(SELECT network FROM gone UNION SELECT network FROM fewer) INTO touched;
    PERFORM refresh(touched);
END
$$;

-- [{"hit": ID, "what": "accepted", "time": MICROSECONDS}]: what was found.
CREATE OR REPLACE FUNCTION hunnypot.witness_found(p_mx text, p_machine text, report jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    me integer := find_witness(p_mx, p_machine);
    news uuid[];
BEGIN
    -- What may redeem waits for its turn before it locks a row.
    IF jsonb_path_exists(report, '$[*].what ? (@ == "accepted" || @ == "listed" || @ == "sender")') THEN
        PERFORM list_lock();
    END IF;
    WITH found AS (
        SELECT r.hit, r.what, from_micros(r.time) AS at
        FROM jsonb_to_recordset(report) AS r(hit uuid, what text, time bigint)
        JOIN envelope e ON e.hit_id = r.hit
        WHERE from_micros(r.time) BETWEEN e.time - CASE WHEN r.what IN ('seen', 'refused') THEN interval '24 hours'
                                                        ELSE interval '5 minutes' END
                                      AND e.time + interval '5 days'
    ), kept AS (
        INSERT INTO witness_found (hit_id, witness_id, what, time) SELECT hit, me, what, at FROM found
        ON CONFLICT DO NOTHING RETURNING hit_id, what, time
    ), new AS (
        INSERT INTO pardoned AS r (hit_id, why, network, class, domain, hit_time, time, mx)
        SELECT e.hit_id, 'redeemed', client_network(e.client), e.class, e.domain, e.time, min(k.time), p_mx
        FROM kept k JOIN envelope e ON e.hit_id = k.hit_id
        WHERE k.what IN ('accepted', 'listed')
           OR (k.what = 'sender' AND EXISTS (SELECT FROM witness WHERE witness_id = me AND match = 'sender'))
        GROUP BY e.hit_id
        ON CONFLICT DO NOTHING RETURNING r.hit_id
    )
    SELECT array_agg(hit_id) INTO news FROM new;
    UPDATE witness SET last_seen = now() WHERE witness_id = me;
    IF news IS NOT NULL THEN
        PERFORM redeem(news);
    END IF;
END
$$;

-- [{"since": MICROSECONDS, "until": MICROSECONDS, "keys": "ID,ID"}]: stretches that were watched, or that are longer now.
CREATE OR REPLACE FUNCTION hunnypot.witness_watched(p_mx text, p_machine text, report jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    me integer := find_witness(p_mx, p_machine);
    latest timestamptz := clock_timestamp() + interval '60 seconds';
BEGIN
    INSERT INTO witness_stretch AS s (witness_id, since, until, keys)
    SELECT me, from_micros(r.since), least(from_micros(r.until), latest), string_to_array(r.keys, ',')
    FROM jsonb_to_recordset(report) AS r(since bigint, until bigint, keys text)
    WHERE from_micros(r.since) <= latest
    ON CONFLICT (witness_id, since) DO UPDATE SET until = greatest(s.until, excluded.until), keys = excluded.keys;
    UPDATE witness SET last_seen = now() WHERE witness_id = me;
END
$$;

-- [{"sensor": ADDRESS, "time": MICROSECONDS}]: when sensors' own probes were in the log.
CREATE OR REPLACE FUNCTION hunnypot.witness_probes(p_mx text, p_machine text, report jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
    INSERT INTO witness_probe (witness_id, time, source)
    SELECT me.id, from_micros(r.time), r.sensor
    FROM jsonb_to_recordset(report) AS r(sensor inet, time bigint), (SELECT find_witness(p_mx, p_machine) AS id OFFSET 0) me
    ON CONFLICT DO NOTHING;
    UPDATE witness SET logs_probes = true
    WHERE witness_id = find_witness(p_mx, p_machine) AND NOT logs_probes AND jsonb_array_length(report) > 0
$$;

-- [{"client": ADDRESS, "letters": NUMBER}]: letters accepted in the last 7 days.  Of most clients there are none, and then no row.
CREATE OR REPLACE FUNCTION hunnypot.witness_letters(p_mx text, p_machine text, report jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
    INSERT INTO witness_letters AS l (client, witness_id, letters)
    SELECT r.client, me.id, r.letters
    FROM jsonb_to_recordset(report) AS r(client inet, letters bigint), (SELECT find_witness(p_mx, p_machine) AS id OFFSET 0) me
    WHERE r.letters > 0 OR EXISTS (SELECT FROM witness_letters l WHERE l.client = r.client AND l.witness_id = me.id)
    ON CONFLICT (client, witness_id) DO UPDATE SET letters = excluded.letters, told = now()
    WHERE l.letters IS DISTINCT FROM excluded.letters OR l.told < now() - interval '1 day'
$$;

-- [{"mx": NAME, "source": ADDRESS, "time": MICROSECONDS}]: probes that a sensor made.
CREATE OR REPLACE FUNCTION hunnypot.sensor_probes(report jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
    INSERT INTO probe (mx, time, source)
    SELECT r.mx, from_micros(r.time), r.source FROM jsonb_to_recordset(report) AS r(mx text, source inet, time bigint)
    ON CONFLICT DO NOTHING;
    SELECT note_reached(report)
$$;

-- Whether one machine watched from SINCE to UNTIL with the key KEY.  By the sender alone it proves something only when that
-- told some letters already: where it never does, the sender is rewritten too.
CREATE OR REPLACE FUNCTION hunnypot.machine_watched(me integer, key text, since timestamptz, until timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = hunnypot, pg_temp AS $$
    SELECT coalesce(range_agg(tstzrange(s.since, s.until, '[]')) @> tstzrange($3, $4, '[]'), false)
       AND (SELECT w.match = 'envelope' OR (SELECT count(*) >= 10 FROM witness_found f
                                            WHERE f.witness_id = me AND f.what = 'sender')
            FROM witness w WHERE w.witness_id = me)
    FROM witness_stretch s
    WHERE s.witness_id = me AND s.until >= $3 AND s.since <= $4 AND key = ANY (s.keys)
$$;

-- Whether all machines behind an MX name watched.  Once one of them has logged a probe, each probe that was made must be in
-- one of their logs, within 60 s of its time: one that is not shows that the log is not all there, or its clock off.
CREATE OR REPLACE FUNCTION hunnypot.mx_watched(p_mx text, key text, since timestamptz, until timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = hunnypot, pg_temp AS $$
    SELECT coalesce((SELECT bool_and(machine_watched(w.witness_id, $2, $3, $4)) FROM witness w WHERE w.mx = $1), false)
       AND (NOT EXISTS (SELECT FROM witness w WHERE w.mx = $1 AND w.logs_probes)
            OR NOT EXISTS (
                SELECT FROM probe made
                WHERE made.mx = $1 AND made.time BETWEEN $3 AND $4
                  AND NOT EXISTS (
                    SELECT FROM witness_probe p JOIN witness w USING (witness_id)
                    WHERE w.mx = $1 AND p.source = made.source
                      AND p.time BETWEEN made.time - interval '60 seconds' AND made.time + interval '60 seconds')))
$$;

-- Whether every primary that the client of this hit should have gone to was watched from 24 h before it until UNTIL.  A hit
-- with more recipients than were hashed never is, nor one without a key.
CREATE OR REPLACE FUNCTION hunnypot.was_watched(hit uuid, until timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = hunnypot, pg_temp AS $$
    SELECT coalesce((
        SELECT e.whole AND cardinality(e.primaries) > 0
           AND (SELECT bool_and(mx_watched(p, e.key_id, e.time - interval '24 hours', $2)) FROM unnest(e.primaries) p)
        FROM envelope e WHERE e.hit_id = $1), false)
$$;

-- The witnesses, and since when each watches without a gap.
CREATE OR REPLACE FUNCTION hunnypot.witness_list()
    RETURNS TABLE (mx text, machine text, watching_since timestamptz, watched_until timestamptz, last_seen timestamptz,
                   match text, keys text, version text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
    SELECT w.mx, w.machine, s.since, s.until, w.last_seen, w.match, array_to_string(w.keys, ','), w.version
    FROM witness w
    LEFT JOIN LATERAL (SELECT * FROM witness_stretch s WHERE s.witness_id = w.witness_id ORDER BY s.since DESC LIMIT 1) s
        ON true
    ORDER BY 1, 2
$$;

-- What keeps witnesses from proving anything, for `hunnypot check`, a row each: KIND is a word that it knows.
CREATE OR REPLACE FUNCTION hunnypot.witness_troubles() RETURNS TABLE (kind text, trouble text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
    WITH named AS (
        SELECT *, regexp_replace(mx || ' (' || machine || ')', '[^ -~]', '?', 'g') AS name,
               last_seen < now() - interval '10 minutes' AS silent,
               (SELECT max(s.until) FROM witness_stretch s WHERE s.witness_id = w.witness_id) AS watched
        FROM witness w
    ), made AS (
        -- Of machines behind one name any may have seen a probe; of a name whose logs have none at all no probe is asked for.
        SELECT w.mx, count(*) AS probes, count(*) FILTER (WHERE NOT EXISTS (
                   SELECT FROM witness_probe p JOIN witness v USING (witness_id)
                   WHERE v.mx = w.mx AND p.source = m.source
                     AND p.time BETWEEN m.time - interval '60 seconds' AND m.time + interval '60 seconds')) AS unseen
        FROM (SELECT DISTINCT mx FROM witness) w
        -- The newest: of many sensors' there may be hundreds of thousands.
        CROSS JOIN LATERAL (SELECT p.time, p.source FROM probe p
                            WHERE p.mx = w.mx AND p.time BETWEEN now() - interval '1 hour' AND now() - interval '5 minutes'
                            ORDER BY p.time DESC LIMIT 500) m
        WHERE EXISTS (SELECT FROM witness v WHERE v.mx = w.mx AND v.logs_probes)
        GROUP BY w.mx
    )
    SELECT 'silent', format('the witness %s is silent since %s', name, date_trunc('second', last_seen)) FROM named WHERE silent
    UNION ALL
    SELECT 'behind', CASE WHEN watched IS NULL THEN format('the witness %s has watched nothing yet', name)
                          ELSE format('the witness %s is behind: it watched until %s', name, date_trunc('second', watched)) END
    FROM named WHERE NOT silent AND coalesce(watched, first_seen) < now() - interval '2 hours'
    UNION ALL
    SELECT 'blind', format('the witnesses of %s are blind: %s of %s probes of the last hour (500 at most) are not in their logs', mx,
                           unseen, probes)
    FROM made WHERE unseen > 0
    UNION ALL
    SELECT 'key', format('the witness %s has another key than this database: %s', name, array_to_string(keys, ','))
    FROM named WHERE NOT keys && ARRAY(SELECT key_id FROM envelope_key) AND EXISTS (SELECT FROM envelope_key)
    UNION ALL
    SELECT 'missing', format('%s has no witness, and others have: what passed by it is never witnessed', p)
    FROM (SELECT DISTINCT unnest(e.primaries) AS p FROM (SELECT primaries FROM envelope ORDER BY recorded DESC LIMIT 1000) e) m
    WHERE EXISTS (SELECT FROM witness) AND NOT EXISTS (SELECT FROM witness w WHERE w.mx = p)
    ORDER BY 1, 2
$$;

-- A machine is no primary any more: it is waited for no longer.  What it redeemed stays redeemed.
CREATE OR REPLACE FUNCTION hunnypot.witness_remove(p_mx text, p_machine text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    DELETE FROM witness w WHERE w.mx = p_mx AND w.machine = p_machine;
    RETURN FOUND;
END
$$;

-- Forget, in a bounded step, what no hit waits for any more; how many rows there were.
CREATE OR REPLACE FUNCTION hunnypot.witness_forget(at_most int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    gone bigint := 0;
    step bigint;
BEGIN
    DELETE FROM envelope WHERE ctid = ANY (ARRAY(SELECT ctid FROM envelope WHERE recorded < now() - interval '6 days'
                                                 ORDER BY recorded LIMIT at_most));
    GET DIAGNOSTICS step = ROW_COUNT;
    gone := gone + step;
    DELETE FROM pardoned WHERE ctid = ANY (ARRAY(SELECT ctid FROM pardoned WHERE told < now() - setting('keep_hits')::interval
                                                 ORDER BY told LIMIT at_most));
    GET DIAGNOSTICS step = ROW_COUNT;
    gone := gone + step;
    DELETE FROM trap_letter WHERE ctid = ANY (ARRAY(SELECT ctid FROM trap_letter WHERE first_seen < now() - interval '14 days'
                                                    ORDER BY first_seen LIMIT at_most));
    GET DIAGNOSTICS step = ROW_COUNT;
    gone := gone + step;
    DELETE FROM probe WHERE ctid = ANY (ARRAY(SELECT ctid FROM probe WHERE time < now() - interval '9 days'
                                              ORDER BY time LIMIT at_most));
    GET DIAGNOSTICS step = ROW_COUNT;
    gone := gone + step;
    DELETE FROM witness_probe WHERE ctid = ANY (ARRAY(SELECT ctid FROM witness_probe WHERE time < now() - interval '9 days'
                                                      ORDER BY time LIMIT at_most));
    GET DIAGNOSTICS step = ROW_COUNT;
    gone := gone + step;
    DELETE FROM witness_stretch WHERE ctid = ANY (ARRAY(SELECT ctid FROM witness_stretch
                                                        WHERE until < now() - interval '9 days' ORDER BY until LIMIT at_most));
    GET DIAGNOSTICS step = ROW_COUNT;
    gone := gone + step;
    DELETE FROM witness_letters WHERE ctid = ANY (ARRAY(SELECT ctid FROM witness_letters
                                                        WHERE told < now() - interval '9 days' LIMIT at_most));
    GET DIAGNOSTICS step = ROW_COUNT;
    RETURN gone + step;
END
$$;

GRANT USAGE ON SCHEMA hunnypot TO hunnypot_witness;
GRANT SELECT ON hunnypot.schema_version TO hunnypot_witness;
GRANT EXECUTE ON FUNCTION hunnypot.witness_hello, hunnypot.witness_waiting, hunnypot.witness_clients, hunnypot.witness_found,
    hunnypot.witness_watched, hunnypot.witness_probes, hunnypot.witness_letters TO hunnypot_witness;
GRANT EXECUTE ON FUNCTION hunnypot.sensor_probes TO hunnypot_sensor;
GRANT SELECT ON hunnypot.envelope, hunnypot.witness, hunnypot.witness_stretch, hunnypot.witness_found, hunnypot.pardoned,
    hunnypot.witness_letters, hunnypot.probe, hunnypot.witness_probe TO hunnypot_reader;
GRANT EXECUTE ON FUNCTION hunnypot.witness_list, hunnypot.witness_troubles, hunnypot.was_watched, hunnypot.mx_watched, hunnypot.machine_watched
    TO hunnypot_reader;
GRANT EXECUTE ON FUNCTION hunnypot.witness_remove, hunnypot.witness_forget TO hunnypot_operator;

-- The fingerprints of the keys of envelopes that belong to this database.  When there are none, those CLAIMED do from now on.
CREATE OR REPLACE FUNCTION hunnypot.envelope_keys(claimed text[]) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    LOCK TABLE envelope_key IN SHARE ROW EXCLUSIVE MODE;
    -- A key that was copied by hand is known by what it was used for.
    IF NOT EXISTS (SELECT FROM envelope_key) THEN
        INSERT INTO envelope_key (key_id)
            SELECT unnest(keys) FROM witness UNION (SELECT e.key_id FROM envelope e LIMIT 1);
    END IF;
    IF NOT EXISTS (SELECT FROM envelope_key) THEN
        INSERT INTO envelope_key (key_id) SELECT DISTINCT unnest(claimed);
    END IF;
    RETURN QUERY SELECT k.key_id FROM envelope_key k ORDER BY k.since, k.key_id;
END
$$;
