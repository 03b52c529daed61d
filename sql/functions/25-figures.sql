-- Figures for pictures, beside those that are written where hits are counted: no address of a client is in them.

-- NAME without what tells one host from its neighbours.
CREATE OR REPLACE FUNCTION hunnypot.name_pattern(name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- A dot, another one behind it that is neither next to it nor the end.  Regular expressions, and lower() by a locale, take longer.
    RETURN left(lower((CASE WHEN strpos($1, '.') > 0 AND strpos(left(substr($1, strpos($1, '.') + 2), -1), '.') > 0
                            THEN '*' || substr($1, strpos($1, '.')) ELSE $1 END) COLLATE "C"), 80);

-- What kind of HELO it is: what bots say is of few kinds.
CREATE OR REPLACE FUNCTION hunnypot.helo_pattern(helo text, client_name text, domain text, mta_name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN $1 = '' THEN 'nothing'
                WHEN octet_length($1) = octet_length($4) AND lower($1 COLLATE "C") = lower($4 COLLATE "C") THEN 'the name of the trap host'
                WHEN octet_length($1) = octet_length($2) AND lower($1 COLLATE "C") = lower($2 COLLATE "C") THEN 'its own name'
                WHEN octet_length($1) = octet_length($3) AND lower($1 COLLATE "C") = lower($3 COLLATE "C") THEN 'the domain that it writes to'
                WHEN starts_with($1, '[') THEN 'an address in brackets'
                WHEN (ascii($1) BETWEEN 48 AND 57 OR strpos($1, ':') > 0)
                     AND $1 ~ '^(([0-9]{1,3}[.]){3}[0-9]{1,3}|[0-9a-fA-F.]*:[0-9a-fA-F.:]*)$' THEN 'an address'
                WHEN ascii($1) IN (76, 108) AND $1 ~* '^localhost([.]|$)' THEN 'localhost'
                WHEN strpos($1, '.') > 0 THEN hunnypot.name_pattern($1)
                WHEN $1 ~* '^(win|desktop|laptop|pc)-[0-9a-z]+$' THEN lower(split_part($1, '-', 1)) || '-*'
                ELSE left(lower(regexp_replace($1, '[0-9]+', '#', 'g')), 80) END;

-- So many hits with these columns, an array each, are decided.
CREATE OR REPLACE FUNCTION hunnypot.busiest_add(hours timestamptz[], domains text[], names text[], helos text[], numbers bigint[])
    RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    -- So many of a day at first, of which expire() leaves the busiest when the day is over.
    at_most CONSTANT int := 1000;
BEGIN
    WITH given AS MATERIALIZED (
        SELECT h.hour::date AS day, v.what, v.name, sum(h.number) AS hits
        FROM unnest(hours, domains, names, helos, numbers) h (hour, domain, client_name, helo, number),
             LATERAL (VALUES ('domain', h.domain), ('name', h.client_name), ('helo', h.helo)) v (what, name)
        WHERE v.name IS NOT NULL
        GROUP BY 1, 2, 3
    ), taken AS MATERIALIZED (
        SELECT b.day, b.what, count(*) AS names FROM busiest b
        WHERE b.day = ANY (ARRAY(SELECT DISTINCT day FROM given)) GROUP BY 1, 2
    ), placed AS (
        SELECT g.*, b.name IS NOT NULL AS is_known, coalesce(t.names, 0)
               + count(*) FILTER (WHERE b.name IS NULL) OVER (PARTITION BY g.day, g.what ORDER BY g.hits DESC, g.name) AS place
        FROM given g LEFT JOIN busiest b USING (day, what, name) LEFT JOIN taken t USING (day, what)
    )
    INSERT INTO busiest AS b (day, what, name, hits)
    SELECT day, what, CASE WHEN is_known OR place <= at_most THEN name ELSE '' END, sum(hits)
    FROM placed GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (day, what, name) DO UPDATE SET hits = b.hits + excluded.hits;
END $$;

-- Figures that are too old, and of a day that is over all but the busiest.
CREATE OR REPLACE FUNCTION hunnypot.figures_expire() RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    oldest timestamptz := now() - setting('keep_figures')::interval;
    kept CONSTANT int := 100;
BEGIN
    DELETE FROM hourly WHERE hour < oldest;
    DELETE FROM left_alone WHERE hour < oldest;
    DELETE FROM outage WHERE until < oldest;
    DELETE FROM reached WHERE until < oldest;
    DELETE FROM until_listed WHERE day < oldest::date;
    DELETE FROM busiest WHERE day < oldest::date;
    WITH few AS (
        DELETE FROM busiest b
        USING (SELECT day, what, name, row_number() OVER (PARTITION BY day, what ORDER BY name = '', hits DESC, name) AS place
               FROM busiest WHERE day BETWEEN current_date - 30 AND current_date - 5) p
        WHERE (b.day, b.what, b.name) = (p.day, p.what, p.name) AND p.place > kept AND p.name <> ''
        RETURNING b.day, b.what, b.hits
    )
    INSERT INTO busiest AS b (day, what, name, hits) SELECT day, what, '', sum(hits) FROM few GROUP BY 1, 2
    ON CONFLICT (day, what, name) DO UPDATE SET hits = b.hits + excluded.hits;
END $$;

-- Hours after the first hit, up to which a network was listed: one step each, and one more for those that took longer.
CREATE OR REPLACE FUNCTION hunnypot.until_listed_steps() RETURNS int[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY[4, 8, 12, 24, 36, 48, 72, 168, 336, 720];

-- What a sensor counted since its sign of life before; what it did before its first one is not known.
CREATE OR REPLACE FUNCTION hunnypot.note_counters(before jsonb, after jsonb) RETURNS void
    LANGUAGE sql SET search_path = hunnypot, pg_temp AS $$
    INSERT INTO left_alone AS l (hour, what, number)
    SELECT date_trunc('hour', now(), 'UTC'), name, number
    FROM (SELECT a.name, CASE WHEN a.value::text::numeric >= coalesce(b.value::text::numeric, 0)
                              THEN a.value::text::numeric - coalesce(b.value::text::numeric, 0) ELSE a.value::text::numeric END AS number
          FROM (SELECT key AS name, value FROM jsonb_each(CASE jsonb_typeof(after) WHEN 'object' THEN after ELSE '{}' END)) a
          LEFT JOIN (SELECT key AS name, value FROM jsonb_each(CASE jsonb_typeof(before) WHEN 'object' THEN before ELSE '{}' END)
                     WHERE jsonb_typeof(value) = 'number') b USING (name)
          WHERE jsonb_typeof(a.value) = 'number'
            AND a.name IN ('hits', 'offence', 'outage', 'recovering', 'moved', 'unknown', 'friend', 'ignored', 'exempt', 'none')) d
    WHERE number BETWEEN 1 AND 1e12
    ORDER BY name
    ON CONFLICT (hour, what) DO UPDATE SET number = l.number + excluded.number
$$;

-- Mail hosts that a sensor told do not take mail: [{"address": ADDRESS, "state": STATE, "since": MILLISECONDS, "mx": NAME,
-- "domain": NAME}].  What it tells may be anything.
CREATE OR REPLACE FUNCTION hunnypot.note_outages(sensor integer, hosts jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
DECLARE
    at_most CONSTANT int := 20;
    host jsonb;
    host_address inet;
    began timestamptz;
    last outage;
BEGIN
    FOR host IN SELECT e FROM jsonb_array_elements(CASE jsonb_typeof(hosts) WHEN 'array' THEN hosts ELSE '[]' END) e
                WHERE jsonb_typeof(e) = 'object' AND e->>'state' IN ('deferring', 'down') LIMIT at_most
    LOOP
        host_address := address(host->>'address');
        CONTINUE WHEN host_address IS NULL;
        -- By the clock of the sensor, which may be anywhere.
        began := CASE WHEN jsonb_typeof(host->'since') = 'number' AND (host->>'since')::numeric BETWEEN 0 AND 4e12
                      THEN to_timestamp((host->>'since')::numeric / 1000) END;
        began := greatest(least(coalesce(began, now()), now()), now() - setting('keep_figures')::interval);
        SELECT * INTO last FROM outage o WHERE o.sensor_id = sensor AND o.address = host_address ORDER BY o.since DESC LIMIT 1;
        IF last.state = host->>'state' AND began <= last.until THEN
            UPDATE outage o SET until = now(), mx = coalesce(left(host->>'mx', 255), o.mx), domain = coalesce(left(host->>'domain', 255), o.domain)
            WHERE o.sensor_id = sensor AND o.address = host_address AND o.since = last.since AND o.until < now() - interval '25 s';
        ELSE
            INSERT INTO outage (sensor_id, address, since, until, state, mx, domain)
            VALUES (sensor, host_address, greatest(began, last.until), now(), host->>'state',
                    coalesce(left(host->>'mx', 255), host(host_address)), left(host->>'domain', 255))
            ON CONFLICT (sensor_id, address, since) DO UPDATE SET until = excluded.until, state = excluded.state;
        END IF;
    END LOOP;
END $$;

-- [{"mx": NAME, "time": MICROSECONDS}]: probes that reached their host.
CREATE OR REPLACE FUNCTION hunnypot.note_reached(report jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET enable_seqscan = off AS $$
DECLARE
    gap CONSTANT interval := '2 hours';
    part record;
BEGIN
    FOR part IN SELECT r.mx, min(from_micros(r.time)) AS first, least(max(from_micros(r.time)), now()) AS last
                FROM jsonb_to_recordset(report) AS r(mx text, time bigint)
                WHERE from_micros(r.time) BETWEEN now() - interval '30 days' AND now() + interval '1 day'
                GROUP BY r.mx ORDER BY r.mx
    LOOP
        UPDATE reached SET until = greatest(until, part.last)
        WHERE mx = part.mx AND since = (SELECT max(since) FROM reached r WHERE r.mx = part.mx) AND until >= part.first - gap;
        IF NOT FOUND THEN
            INSERT INTO reached (mx, since, until) VALUES (part.mx, least(part.first, part.last), part.last) ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;
END $$;

-- The policy, as STEP would have it: -2 lists whoever had a hit that counts, -1 wants half of what it takes, 0 is as it is, 1
-- wants twice as much, and 2 takes nothing but proof.
CREATE OR REPLACE FUNCTION hunnypot.policy_step(policy hunnypot.policy, step int) RETURNS hunnypot.policy
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    factor CONSTANT numeric := CASE step WHEN -2 THEN 0 WHEN -1 THEN 0.5 WHEN 1 THEN 2 ELSE 1 END;
BEGIN
    IF step = 2 THEN
        policy.min_hits := 2147483647;
    ELSIF step <> 0 THEN
        policy.witnessed_hits := greatest(1, least(ceil(policy.witnessed_hits * factor), 1e9));
        policy.named_hits := greatest(1, least(ceil(policy.named_hits * factor), 1e9));
        policy.named_days := greatest(1, least(ceil(policy.named_days * factor), 1e9));
        policy.named_share := least(policy.named_share * factor, 1);
        policy.min_hits := greatest(1, least(ceil(policy.min_hits * factor), 1e9));
        policy.min_days := greatest(1, least(ceil(policy.min_days * factor), 1e9));
        policy.min_span := policy.min_span * factor::float8;
        policy.inferred_named := policy.inferred_named OR step = -2;
    END IF;
    RETURN policy;
END $$;

-- What stricter and looser policies would list of the networks that did something: how many, and how many of these are clients
-- one of whose letters arrived, or which a primary saw.  Of a great many, some hundreds are looked at, and always the same.
CREATE OR REPLACE FUNCTION hunnypot.policy_tradeoff()
    RETURNS TABLE (class text, rank int, step int, networks bigint, listed bigint, innocent bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan
    SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    pages CONSTANT float8 := 24;
    at_most CONSTANT int := 600;
    share CONSTANT float8 := least(100, 100 * pages * current_setting('block_size')::int
                                        / greatest(pg_relation_size('offence_day'), 1));
BEGIN
    RETURN QUERY
    WITH drawn AS MATERIALIZED (
        SELECT DISTINCT o.network, o.class FROM offence_day o TABLESAMPLE SYSTEM (share) REPEATABLE (0)
        WHERE NOT o.while_listed LIMIT at_most
    ), known AS MATERIALIZED (
        SELECT s.network, s.class, f.*, EXISTS (SELECT FROM pardoned p WHERE p.network = s.network AND p.class = s.class
                                                                         AND p.why IN ('redeemed', 'excused')) AS is_innocent
        FROM drawn s CROSS JOIN LATERAL (
            SELECT array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day, o.named, o.witnessed, o.network) AS facts,
                   (sum(o.hits) FILTER (WHERE o.witnessed AND NOT o.while_listed))::bigint AS proven_hits,
                   (sum(o.hits) FILTER (WHERE NOT o.while_listed))::bigint AS all_hits, bool_or(o.named) AS is_named
            FROM offence_day o WHERE o.network = s.network AND o.class = s.class) f
    )
    SELECT p.class, p.rank, v.step, count(*), count(j.until),
           count(j.until) FILTER (WHERE k.is_innocent)
    FROM known k JOIN policy p ON p.class = k.class CROSS JOIN generate_series(-2, 2) v (step)
    CROSS JOIN LATERAL policy_step(p, v.step) changed
    CROSS JOIN LATERAL judge(changed, k.facts, k.proven_hits, k.all_hits,
                             letters_compared(p, k.network, k.is_named, (SELECT letters_are_known())), 1, now()) j
    GROUP BY p.class, p.rank, v.step;
END $$;
