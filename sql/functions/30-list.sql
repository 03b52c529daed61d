-- From facts to the list.  count_ripe() makes facts of hits, judge() is what the policy makes of the facts of one network
-- in one class, refresh() brings the list up to date for some networks, and tick() does what time alone changes.  One at a
-- time writes facts and list (list_lock()); recording only puts hits into `waiting`, and never waits for it.
--
-- Statistics of these tables are stale when it matters (a list that grew a hundredfold in an hour), and each step here
-- touches few rows: hence the settings that leave the planner no way but the indexes.

-- Who changes facts or list waits here for who does, until that transaction ends.
CREATE OR REPLACE FUNCTION hunnypot.list_lock() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE hunnypot.turn_list IN EXCLUSIVE MODE;
END $$;

-- To be called under list_lock() when readers of the list see something else now.
CREATE OR REPLACE FUNCTION hunnypot.list_changed() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE hunnypot.change
    SET serial = greatest(serial + 1, ceil(extract(epoch FROM clock_timestamp()))::bigint);
    NOTIFY hunnypot_listing;
END $$;

-- How long a listing lasts after the last hit, when the network came back so often.
CREATE OR REPLACE FUNCTION hunnypot.lasting(policy hunnypot.policy, returns int) RETURNS interval
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN make_interval(secs => least(
        extract(epoch FROM $1.lasts_max)::float8,
        extract(epoch FROM $1.lasts)::float8 * power($1.growth::float8, least($2, 100))));

-- Whether FACTS[1] to FACTS[LAST] are enough to list, of the last of which only so many HITS count, up to UNTIL.
-- PROVEN: by what witnesses prove, else by what may be inferred.  LETTERS: how many of the client's letters witnesses saw
-- accepted in the 7 days before; NULL: that is not known, and a client with a name is not listed.  CLIENTS: of how many clients they must be.
CREATE OR REPLACE FUNCTION hunnypot.is_enough(policy hunnypot.policy, facts hunnypot.offence_day[], last int, last_hits bigint,
                                              last_until timestamptz, proven bool, letters bigint, clients int) RETURNS bool
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    f          hunnypot.offence_day;
    oldest     timestamptz := facts[last].first_seen - policy.counts_for;
    nameless   bigint := 0;
    named      bigint := 0;
    first_seen timestamptz;
    last_seen  timestamptz;
    days       date[] := '{}';
    owners     text[] := '{}';
    networks   cidr[] := '{}';
BEGIN
    FOR i IN 1 .. last LOOP
        f := facts[i];
        CONTINUE WHEN f.last_seen < oldest OR f.while_listed OR (proven AND NOT f.witnessed)
                      OR (f.named AND NOT proven AND NOT policy.inferred_named);
        IF i = last THEN
            f.hits := last_hits;
            f.last_seen := last_until;
        END IF;
        IF f.named THEN
            named := named + f.hits;
        ELSE
            nameless := nameless + f.hits;
        END IF;
        first_seen := least(first_seen, f.first_seen);
        last_seen := greatest(last_seen, f.last_seen);
        IF f.day <> ALL (days) THEN
            days := days || f.day;
        END IF;
        IF f.owner <> ALL (owners) THEN
            owners := owners || f.owner;
        END IF;
        IF clients > 1 AND f.network <> ALL (networks) THEN
            networks := networks || f.network;
        END IF;
    END LOOP;
    IF clients > 1 AND cardinality(networks) < clients THEN
        RETURN false;
    END IF;
    IF proven THEN
        RETURN nameless >= policy.witnessed_hits
            OR (nameless + named >= policy.named_hits AND cardinality(days) >= policy.named_days
                AND coalesce(nameless + named > policy.named_share * letters, false));
    END IF;
    RETURN nameless + named >= policy.min_hits AND cardinality(days) >= policy.min_days
       AND (last_seen - first_seen >= policy.min_span OR cardinality(owners) >= policy.min_domains);
END $$;

-- What the policy makes of all FACTS of a network in a class, in the order in which they were counted, when only what is
-- PROVEN counts, or all: since and until when it is listed, which may be over, or NULLs; from how many hits, the first of
-- which came then, and whether they are of one letter.
CREATE OR REPLACE FUNCTION hunnypot.listing_term(policy hunnypot.policy, facts hunnypot.offence_day[], proven bool, letters bigint,
                                                 clients int, OUT since timestamptz, OUT until timestamptz, OUT hits bigint,
                                                 OUT first_seen timestamptz, OUT is_one_letter bool)
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    f         hunnypot.offence_day;
    letter    bytea;
    returns   int := 0;
    last_seen timestamptz;
BEGIN
    hits := 0;
    FOR i IN 1 .. coalesce(cardinality(facts), 0) LOOP
        f := facts[i];
        CONTINUE WHEN f.while_listed OR (proven AND NOT f.witnessed) OR (f.named AND NOT proven AND NOT policy.inferred_named);
        -- It was over before this hit: the network is back.
        IF until < f.first_seen THEN
            returns := returns + 1;
            since := NULL;
        END IF;
        IF since IS NULL THEN
            IF hunnypot.is_enough(policy, facts, i, 1, f.first_seen, proven, letters, clients) THEN
                since := f.counted;
            ELSIF f.hits > 1 AND hunnypot.is_enough(policy, facts, i, f.hits, f.last_seen, proven, letters, clients) THEN
                since := coalesce(f.counted_again, f.counted);
            END IF;
        END IF;
        is_one_letter := CASE WHEN hits = 0 THEN f.hits = 1 OR f.letter IS NOT NULL ELSE coalesce(is_one_letter AND f.letter = letter, false) END;
        letter := f.letter;
        hits := hits + f.hits;
        first_seen := least(first_seen, f.first_seen);
        last_seen := greatest(last_seen, f.last_seen);
        IF since IS NOT NULL THEN
            until := last_seen + CASE returns WHEN 0 THEN policy.lasts ELSE hunnypot.lasting(policy, returns) END;
        END IF;
    END LOOP;
END $$;

-- What the policy makes of all FACTS of a network in a class, in the order in which they were counted: its listing at MOMENT,
-- which may begin later (it pauses), or NULLs.  Pure: the same facts, policy and moment always give the same, however they
-- came about.  PROVEN_HITS and ALL_HITS: how many of the hits in FACTS are witnessed, and how many there are, without those of
-- a client that was on the list; where they cannot be enough, nobody need look closer.
-- It is called for each network, so it is without settings of its own, which would take longer than the rest: refresh() has
-- them.
CREATE OR REPLACE FUNCTION hunnypot.judge(policy hunnypot.policy, facts hunnypot.offence_day[], proven_hits bigint,
                                          all_hits bigint, letters bigint, clients int, moment timestamptz, OUT since timestamptz,
                                          OUT until timestamptz, OUT witnessed bool, OUT soft_until timestamptz)
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    term   record;
    cycle  interval := policy.inferred_lasts + policy.inferred_pause;
    cycles float8;
BEGIN
    IF proven_hits >= least(policy.witnessed_hits, policy.named_hits) THEN
        term := hunnypot.listing_term(policy, facts, true, letters, clients);
        IF term.until > moment THEN
            witnessed := true;
            since := term.since;
            until := term.until;
            -- One letter that has not arrived yet may still be on its way.
            soft_until := CASE WHEN policy.code LIKE '4%' THEN 'infinity' WHEN policy.inferred_code LIKE '5%' THEN '-infinity'
                               WHEN term.is_one_letter THEN term.first_seen + policy.firm_after ELSE term.first_seen END;
            RETURN;
        END IF;
    END IF;
    IF all_hits < policy.min_hits THEN
        RETURN;
    END IF;
    term := hunnypot.listing_term(policy, facts, false, letters, clients);
    witnessed := false;
    soft_until := CASE WHEN policy.inferred_code LIKE '4%' THEN 'infinity' ELSE '-infinity' END;
    IF term.until > moment THEN
        since := term.since;
        until := term.until;
        IF policy.inferred_pause > '0' THEN
            -- The time of the list that runs, or the next one.
            cycles := floor(extract(epoch FROM moment - since) / extract(epoch FROM cycle));
            since := since + cycle * greatest(cycles, 0);
            IF since + policy.inferred_lasts <= moment THEN
                since := since + cycle;
            END IF;
            until := CASE WHEN since < until THEN least(until, since + policy.inferred_lasts) END;
        END IF;
    END IF;
END $$;

-- The policy for who was taken off the list on request: the next hit puts it there again, where it takes several by inference.
CREATE OR REPLACE FUNCTION hunnypot.strict(policy hunnypot.policy) RETURNS hunnypot.policy
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    policy.min_hits := 1;
    policy.min_days := 1;
    policy.min_span := '0';
    RETURN policy;
END $$;

-- What UNIT is judged by: what a client did, or of an IPv6 /64 what its addresses did of late, of each class so much that it
-- tells whether they are several, however many there are.
CREATE OR REPLACE FUNCTION hunnypot.facts_of(unit cidr) RETURNS SETOF hunnypot.offence_day
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT o.* FROM hunnypot.offence_day o WHERE o.network = $1
    UNION ALL
    SELECT f.* FROM hunnypot.policy p
    CROSS JOIN LATERAL (
        SELECT o.* FROM hunnypot.offence_day o
        WHERE family(o.network) = 6 AND masklen(o.network) = 128 AND NOT o.while_listed AND set_masklen(o.network, 64) = $1
          AND o.class = p.class
        ORDER BY o.day DESC, o.network, o.domain, o.named, o.witnessed LIMIT 200) f
    WHERE family($1) = 6 AND masklen($1) = 64;
END;

-- Of how many clients the facts of UNIT must be.
CREATE OR REPLACE FUNCTION hunnypot.clients_needed(unit cidr, policy hunnypot.policy) RETURNS int
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN family($1) = 6 AND masklen($1) = 64 THEN ($2).prefix_clients ELSE 1 END;

-- In seconds; never changed without a new table.
CREATE OR REPLACE FUNCTION hunnypot.hit_to_listing_bounds() RETURNS int[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '{60,600,3600,14400,18000,43200,86400,90000,172800,176400,345600,604800}'::int[];

-- Bring the list up to date for NETWORKS, which must be without duplicates, and the /64 of each that is an IPv6 address.  To be
-- called under list_lock().
CREATE OR REPLACE FUNCTION hunnypot.refresh(networks cidr[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
    SET enable_indexonlyscan = off AS $$
DECLARE
    this_change bigint := nextval('listed_serial');
    -- What is free of the brake goes before what it holds back.
    new_entered bigint := (SELECT CASE WHEN b.is_free THEN coalesce(b.held_after, this_change) ELSE this_change END FROM brake b);
    back_within interval := setting('brake_time')::interval;
    is_any_taken_off bool := EXISTS (SELECT FROM request r WHERE r.state = 'removed');
    -- With fewer hits no class lists; NULL: none lists anybody.
    fewest_hits   int := (SELECT min(p.min_hits) FROM policy p WHERE p.listed);
    fewest_proven int := (SELECT min(least(p.witnessed_hits, p.named_hits)) FROM policy p WHERE p.listed);
    changes record;
BEGIN
    IF EXISTS (SELECT FROM unnest(networks) n WHERE family(n) = 6) THEN
        networks := ARRAY(SELECT n FROM unnest(networks) n UNION SELECT neighbours(n) FROM unnest(networks) n WHERE family(n) = 6
                                                                                                  AND masklen(n) = 128);
    END IF;
    -- Most networks have too few hits to be listed, and are not.
    WITH looked_at AS MATERIALIZED (
        SELECT n.network, r.was_taken_off
        FROM unnest(networks) n(network)
        CROSS JOIN LATERAL (SELECT is_any_taken_off AND (SELECT count(*) FROM request r
                                                         WHERE r.network = n.network AND r.state = 'removed') > 0 AS was_taken_off) r
        -- Not EXISTS under OR, of which the planner may make a hash of the whole list.
        WHERE (SELECT count(*) FROM listed_network l WHERE l.network = n.network AND l.removed IS NULL) > 0
           -- By the numbers of its hits first, which is told without the policy of each class.
           OR ((family(n.network) = 6 AND masklen(n.network) = 64
                OR (SELECT sum(o.hits) >= fewest_hits OR sum(o.hits) FILTER (WHERE o.witnessed) >= fewest_proven
                    FROM offence_day o WHERE o.network = n.network AND NOT o.while_listed))
               AND fewest_hits IS NOT NULL AND EXISTS (SELECT FROM facts_of(n.network) o JOIN policy p ON p.class = o.class
                      WHERE p.listed AND NOT o.while_listed
                      GROUP BY p.class
                      HAVING sum(o.hits) >= p.min_hits
                          OR sum(o.hits) FILTER (WHERE o.witnessed) >= least(p.witnessed_hits, p.named_hits)))
           OR r.was_taken_off
    ), known AS MATERIALIZED (
        -- All classes that a network has facts for or is listed under.
        SELECT n.network, k.class, k.facts, k.hits, k.proven_hits, k.all_hits, k.domains, k.first_seen, k.last_seen, k.is_named, k.was_listed,
               k.was_witnessed, k.hit_time, was.entered, was.was_known,
               n.was_taken_off,
               -- RFC 5782: 127.0.0.1 is never listed, nor is its IPv6 form; what else is in these networks are test entries.
               n.network <<= '127.0.0.0/8' OR n.network <<= '::/64'
               OR EXISTS (SELECT FROM allow a
                          WHERE a.network && n.network::inet AND (a.expires IS NULL OR a.expires > now())) AS is_allowed
        FROM looked_at n
        CROSS JOIN LATERAL (
            SELECT class, f.facts, f.hits, f.proven_hits, f.all_hits, f.domains, f.first_seen, f.last_seen, f.is_named, f.hit_time,
                   coalesce(l.was_listed, false) AS was_listed, l.witnessed AS was_witnessed
            FROM (SELECT class, array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day, o.named, o.witnessed, o.network) AS facts,
                         sum(o.hits)::bigint AS hits,
                         (sum(o.hits) FILTER (WHERE o.witnessed AND NOT o.while_listed))::bigint AS proven_hits,
                         (sum(o.hits) FILTER (WHERE NOT o.while_listed))::bigint AS all_hits,
                         count(DISTINCT o.domain) AS domains, min(o.first_seen) AS first_seen, max(o.last_seen) AS last_seen,
                         bool_or(o.named) AS is_named,
                         -- Of hits that are counted just now.
                         max(o.last_seen) FILTER (WHERE now() IN (o.counted, o.counted_again) AND NOT o.while_listed) AS hit_time
                  FROM facts_of(n.network) o GROUP BY class) f
            FULL JOIN (SELECT class, true AS was_listed, witnessed FROM listed_network l WHERE l.network = n.network AND l.removed IS NULL) l
                USING (class)) k
        CROSS JOIN LATERAL (
            -- What left just now is not new when it comes back.
            SELECT coalesce(min(l.entered) FILTER (WHERE l.removed IS NULL),
                            min(l.entered) FILTER (WHERE l.removed > now() - back_within)) AS entered, count(*) > 0 AS was_known
            FROM listed_network l WHERE l.network = n.network) was
    ), judged AS MATERIALIZED (
        SELECT k.network, k.class, k.hits, k.domains, k.first_seen, k.last_seen, k.was_listed, k.was_known, k.was_witnessed,
               k.hit_time, k.entered, j.*, j.until IS NOT NULL AS is_listed,
               j.soft_until > now() AS is_soft
        FROM known k
        LEFT JOIN LATERAL (
            SELECT p.rank, j.*
            FROM policy p
            CROSS JOIN LATERAL judge(CASE WHEN k.was_taken_off THEN strict(p) ELSE p END, k.facts, k.proven_hits, k.all_hits,
                                     letters_compared(p, k.network, k.is_named, (SELECT letters_are_known())),
                                     clients_needed(k.network, p), now()) j
            WHERE p.class = k.class AND p.listed AND NOT k.is_allowed AND k.facts IS NOT NULL) j ON true
    ), written AS (
        INSERT INTO listed_network AS l (network, class, since, until, witnessed, soft_until, worse_until, hits, domains,
                                         last_seen, due, serial, entered)
        SELECT network, class, since, until, witnessed, soft_until,
               -- Who answers for good speaks before who does not, then the worse class.
               max(until) FILTER (WHERE since <= now())
                   OVER (PARTITION BY network ORDER BY is_soft, rank ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
               hits, domains, last_seen,
               least(until, CASE WHEN since > now() THEN since END,
                     CASE WHEN soft_until > now() AND soft_until < 'infinity' THEN soft_until END),
               this_change, coalesce(entered, new_entered)
        FROM judged WHERE is_listed
        ORDER BY network, class
        ON CONFLICT (network, class) DO UPDATE
        SET since = excluded.since, until = excluded.until, witnessed = excluded.witnessed,
            soft_until = excluded.soft_until, worse_until = excluded.worse_until, removed = NULL,
            hits = excluded.hits, domains = excluded.domains, last_seen = excluded.last_seen, due = excluded.due,
            serial = excluded.serial, entered = excluded.entered
        WHERE (l.since, l.until, l.witnessed, l.soft_until, l.worse_until, l.removed, l.hits, l.domains, l.last_seen, l.due)
              IS DISTINCT FROM
              (excluded.since, excluded.until, excluded.witnessed, excluded.soft_until, excluded.worse_until, NULL,
               excluded.hits, excluded.domains, excluded.last_seen, excluded.due)
        RETURNING 1
    ), gone AS (
        UPDATE listed_network SET removed = now(), worse_until = NULL, due = NULL, serial = this_change
        -- Not a join, of which the planner may begin with the whole list.
        WHERE ctid = ANY (ARRAY(SELECT l.ctid FROM judged j, LATERAL (
            SELECT n.ctid FROM listed_network n
            WHERE n.network = j.network AND n.class = j.class AND n.removed IS NULL OFFSET 0) l
            WHERE j.was_listed AND NOT j.is_listed))
        RETURNING 1
    ), hours AS (
        INSERT INTO hourly AS h (hour, class, what, number)
        SELECT date_trunc('hour', now(), 'UTC'), class, CASE WHEN is_listed THEN 'listed' ELSE 'left' END, count(*)
        FROM judged WHERE is_listed <> was_listed
        GROUP BY class, is_listed
        ON CONFLICT (hour, class, what) DO UPDATE SET number = h.number + excluded.number
    ), delays AS (
        -- What an operator lists by enabling a class was seen long before.
        INSERT INTO until_listed AS d (day, class, step, number)
        SELECT (now() AT TIME ZONE 'UTC')::date, class,
               width_bucket(ceil(extract(epoch FROM now() - first_seen) / 3600)::int - 1, until_listed_steps()), count(*)
        FROM judged WHERE is_listed AND NOT was_listed AND NOT was_known AND NOT (SELECT is_free FROM brake)
        GROUP BY 1, 2, 3
        ON CONFLICT (day, class, step) DO UPDATE SET number = d.number + excluded.number
    ), counts AS (
        INSERT INTO listing_count AS c (class, witnessed, number)
        SELECT class, proof, sum(more)
        FROM (SELECT class, witnessed AS proof, 1 AS more FROM judged WHERE is_listed
              UNION ALL SELECT class, was_witnessed, -1 FROM judged WHERE was_listed) m
        GROUP BY 1, 2 HAVING sum(more) <> 0 ORDER BY 1, 2
        ON CONFLICT (class, witnessed) DO UPDATE SET number = c.number + excluded.number
    ), brought AS (
        INSERT INTO hit_to_listing AS d (class, place, number, seconds)
        SELECT class, (SELECT count(*) FROM unnest(hit_to_listing_bounds()) bound WHERE bound < took), count(*), sum(took)
        FROM (SELECT class, greatest(extract(epoch FROM now() - hit_time), 0) AS took FROM judged
              WHERE is_listed AND NOT was_listed AND hit_time IS NOT NULL) t
        GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (class, place) DO UPDATE SET number = d.number + excluded.number, seconds = d.seconds + excluded.seconds
    )
    SELECT (SELECT count(*) FROM written) + (SELECT count(*) FROM gone) AS number,
           count(*) FILTER (WHERE is_on AND NOT was_on) AS came, count(*) FILTER (WHERE was_on AND NOT is_on) AS went,
           count(*) FILTER (WHERE is_new) AS fresh,
           min(network) FILTER (WHERE is_new AND masklen(network) < CASE family(network) WHEN 4 THEN 24 ELSE 48 END)::cidr AS wide
    INTO changes
    FROM (SELECT network, bool_or(is_listed) AS is_on, bool_or(was_listed) AS was_on,
                 bool_or(is_listed AND entered IS NULL) AS is_new
          FROM judged GROUP BY network) n;
    IF changes.number > 0 THEN
        PERFORM list_changed();
        PERFORM brake_turn(this_change, changes.came, changes.went, changes.fresh, changes.wide);
    END IF;
END $$;

-- How many letters of a client witnesses saw accepted in the last 7 days.
CREATE OR REPLACE FUNCTION hunnypot.letters_accepted(network cidr) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
BEGIN
    RETURN coalesce((SELECT sum(w.letters) FROM witness_letters w
                     WHERE w.client >= network::inet AND w.client <= last_within(network)::inet), 0);
END $$;

-- Whether witnesses tell of letters at all: each has watched in the last 48 hours, and sees probes if it ever did.  Else a big sender would
-- seem to send no letters but those that somebody had it send to a trap.
CREATE OR REPLACE FUNCTION hunnypot.letters_are_known() RETURNS bool
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    lately CONSTANT timestamptz := now() - interval '48 hours';
BEGIN
    RETURN EXISTS (SELECT FROM witness) AND NOT EXISTS (
        SELECT FROM witness w
        WHERE NOT EXISTS (SELECT FROM witness_stretch s WHERE s.witness_id = w.witness_id AND s.until > lately)
           OR (w.logs_probes
               AND EXISTS (SELECT FROM probe made WHERE made.mx = w.mx AND made.time BETWEEN lately AND now() - interval '1 hour')
               AND NOT EXISTS (SELECT FROM witness_probe p JOIN witness v USING (witness_id) WHERE v.mx = w.mx AND p.time > lately)));
END $$;

-- What named_share of POLICY is taken of: NULL, which no number of hits is more than, when it counts and is not known.
CREATE OR REPLACE FUNCTION hunnypot.letters_compared(policy hunnypot.policy, network cidr, is_named bool, are_known bool) RETURNS bigint
    LANGUAGE sql STABLE
    RETURN CASE WHEN NOT $3 OR $1.named_share = 0 THEN 0 WHEN $4 THEN hunnypot.letters_accepted($2) END;

-- When all of PRIMARIES were watched with the key KEY, between FROM and TO; with a hole at each probe that none of them logged.
CREATE OR REPLACE FUNCTION hunnypot.watched_times(primaries text[], key text, p_from timestamptz, p_to timestamptz)
    RETURNS tstzmultirange
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
DECLARE
    times tstzmultirange := tstzmultirange(tstzrange(p_from, p_to, '[]'));
    host  text;
BEGIN
    FOREACH host IN ARRAY primaries LOOP
        times := times * coalesce((
            SELECT range_intersect_agg(machine.watched) FROM (
                SELECT coalesce((SELECT range_agg(tstzrange(s.since, s.until, '[]')) FROM witness_stretch s
                                 WHERE s.witness_id = w.witness_id AND s.until >= p_from AND s.since <= p_to
                                   AND key = ANY (s.keys)
                                   AND (w.match = 'envelope' OR (SELECT count(*) >= 10 FROM witness_found f
                                                                 WHERE f.witness_id = w.witness_id AND f.what = 'sender'))),
                                '{}') AS watched
                FROM witness w WHERE w.mx = host) machine), '{}');
        EXIT WHEN isempty(times);
        times := times - coalesce((
            SELECT range_agg(tstzrange(made.time, made.time, '[]')) FROM probe made
            WHERE made.mx = host AND made.time BETWEEN p_from AND p_to
              AND EXISTS (SELECT FROM witness w WHERE w.mx = host AND w.logs_probes)
              AND NOT EXISTS (SELECT FROM witness_probe p JOIN witness w USING (witness_id)
                              WHERE w.mx = host AND p.source = made.source
                                AND p.time BETWEEN made.time - interval '60 seconds' AND made.time + interval '60 seconds')),
            '{}');
    END LOOP;
    RETURN times;
END $$;

-- Until when a hit waits for a witness that did not watch all the time.  One whose letter was given longer than RIPENS_NAMED waits
-- so much longer, too.
CREATE OR REPLACE FUNCTION hunnypot.waits_until("time" timestamptz, recorded timestamptz, ripe timestamptz, ripens_named interval,
                                                waits interval) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN greatest($1 + $5, $2 + $5, $3 - $4 + $5);

-- Count at most so many hits that are ripe; the networks that they came from.  To be called under list_lock().
-- A hit of a friend, of which lists told only after it was recorded, does not count.  One of which no list told waits for that, as long
-- as the policy says, and then does not count either.
-- A hit whose client has a confirmed name and was seen at a primary is excused; one that came before its client was taken off the
-- list on request is voided.  One that some witness should have watched, and
-- did not, waits for it.  One of a client that was on the list does not count, unless it is proven that it did not come because
-- of that.  A trap has no primary: what came there is proven; but of a client with a name all tries of one letter are one hit.
-- What keeps on trying one letter is a mail server: where witnesses would tell if that arrived, it is waited for longer.
CREATE OR REPLACE FUNCTION hunnypot.count_ripe(at_most int, OUT looked_at bigint, OUT networks cidr[])
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    is_any_void bool := EXISTS (SELECT FROM request q WHERE q.state = 'removed');
    decided record;
BEGIN
    WITH ripe AS (
        DELETE FROM waiting
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM waiting WHERE due <= now() ORDER BY due LIMIT at_most
                                FOR UPDATE SKIP LOCKED))
        RETURNING *
    ), times AS MATERIALIZED (
        SELECT primaries, key_id,
               watched_times(string_to_array(primaries, ' '), key_id, min(time) - interval '24 hours', max(ripe)) AS watched,
               NOT EXISTS (SELECT FROM unnest(string_to_array(primaries, ' ')) u (mx)
                           WHERE NOT EXISTS (SELECT FROM witness w WHERE w.mx = u.mx)) AS are_known
        FROM ripe WHERE primaries IS NOT NULL
        GROUP BY primaries, key_id
    ), policies AS MATERIALIZED (
        SELECT class, waits, friend_waits, ripens, ripens_named, ripens_retried, retries FROM policy
    ), letters AS MATERIALIZED (
        SELECT DISTINCT r.network, r.letter, r.class
        FROM ripe r JOIN times t ON t.primaries = r.primaries AND t.key_id = r.key_id
        WHERE r.class <> 'trap' AND r.letter IS NOT NULL AND t.are_known
    ), retried AS MATERIALIZED (
        -- Three look-ups at most of a letter, however often it was tried.
        SELECT l.network, l.letter, a.first + p.ripens_named AS until, a.first + p.ripens_retried AS until_named
        FROM letters l JOIN policies p USING (class)
        CROSS JOIN LATERAL (SELECT w.time AS enough FROM waiting w WHERE w.network = l.network AND w.letter = l.letter
                            ORDER BY w.time OFFSET p.retries - 1 LIMIT 1) z
        CROSS JOIN LATERAL (SELECT w.time AS first FROM waiting w WHERE w.network = l.network AND w.letter = l.letter
                            ORDER BY w.time LIMIT 1) a
        CROSS JOIN LATERAL (SELECT FROM waiting w WHERE w.network = l.network AND w.letter = l.letter
                                                    AND w.time BETWEEN a.first + p.ripens / 4 AND a.first + p.ripens LIMIT 1) b
        WHERE z.enough <= a.first + p.ripens
    ), weighed AS MATERIALIZED (
        SELECT r.*, v.is_proven, r.letter IS NOT NULL AND r.class = 'trap' AND r.name_state <> 'none' AS may_repeat, d.pardon,
               v.retried_until, d.waits_until, d.pardon IS NULL AND coalesce(now() < d.waits_until, false) AS is_postponed,
               r.while_listed AND r.class <> 'trap' AND NOT (v.is_proven AND NOT coalesce(v.was_refused, false)) AS is_of_list
        FROM ripe r LEFT JOIN policies p ON p.class = r.class
        LEFT JOIN times t ON t.primaries = r.primaries AND t.key_id = r.key_id
        LEFT JOIN retried a ON a.network = r.network AND a.letter = r.letter
        CROSS JOIN LATERAL (
            SELECT CASE r.name_state WHEN 'none' THEN a.until ELSE a.until_named END AS retried_until,
                   r.class = 'trap' OR coalesce(t.watched @> tstzrange(r.time - interval '24 hours', r.ripe, '[]'), false) AS is_proven,
                   -- NULL: no primary saw it.
                   CASE WHEN r.name_state = 'confirmed' OR r.while_listed
                        THEN (SELECT bool_or(f.what = 'refused') FROM witness_found f
                              WHERE f.hit_id = r.hit_id AND f.what IN ('seen', 'refused')) END AS was_refused,
                   is_any_void AND (SELECT count(*) FROM request q
                                    WHERE q.network IN (r.network, neighbours(r.network)) AND q.state = 'removed'
                                      AND q.decided >= r.time) > 0 AS is_void
            OFFSET 0) v
        CROSS JOIN LATERAL (
            SELECT CASE WHEN r.friend THEN 'friend' WHEN v.is_void THEN 'voided'
                        WHEN r.name_state = 'confirmed' AND v.was_refused IS NOT NULL THEN 'excused'
                        WHEN r.asks IS NOT NULL AND now() >= r.recorded + coalesce(p.friend_waits, '0') THEN 'unanswered' END AS pardon,
                   CASE WHEN r.asks IS NOT NULL THEN r.recorded + p.friend_waits
                        WHEN v.retried_until > now() THEN v.retried_until
                        WHEN NOT v.is_proven AND t.are_known THEN waits_until(r.time, r.recorded, r.ripe, p.ripens_named, p.waits) END
                       AS waits_until
            OFFSET 0) d
    ), excused AS (
        INSERT INTO pardoned (hit_id, why, network, class, domain, hit_time)
        SELECT hit_id, pardon, network, class, domain, time FROM weighed WHERE pardon IS NOT NULL
        ON CONFLICT DO NOTHING
    ), postponed AS (
        INSERT INTO waiting (hit_id, due, ripe, recorded, time, network, class, domain, owner, name_state, while_listed, letter,
                             client_name, helo, asks, primaries, key_id)
        -- Looked at again after a quarter of the time that it has waited: of a witness that is dead there may be millions.
        SELECT hit_id, CASE WHEN waits_until = retried_until THEN retried_until
                            ELSE least(now() + greatest(interval '10 minutes', (now() - ripe) / 4), waits_until) END,
               greatest(ripe, retried_until), recorded, time, network, class, domain, owner, name_state,
               while_listed, letter, client_name, helo, asks, primaries, key_id
        FROM weighed WHERE is_postponed
    ), letters_new AS (
        -- A mail server tries for up to 7 days (qmail); after that it is another one with the same envelope.
        INSERT INTO trap_letter AS l (network, letter, hit_id, first_seen)
        SELECT DISTINCT ON (network, letter) network, letter, hit_id, time FROM weighed
        WHERE may_repeat AND pardon IS NULL AND NOT is_postponed ORDER BY network, letter, time
        ON CONFLICT (network, letter) DO UPDATE SET hit_id = excluded.hit_id, first_seen = excluded.first_seen
        WHERE l.first_seen < excluded.first_seen - interval '7 days'
        RETURNING hit_id
    ), repeated AS (
        INSERT INTO pardoned (hit_id, why, network, class, domain, hit_time)
        SELECT hit_id, 'repeated', network, class, domain, time FROM weighed c
        WHERE may_repeat AND pardon IS NULL AND NOT is_postponed
          AND NOT EXISTS (SELECT FROM letters_new l WHERE l.hit_id = c.hit_id)
        ON CONFLICT DO NOTHING
        RETURNING hit_id
    ), facts AS (
        INSERT INTO offence_day AS f (network, class, domain, day, named, witnessed, while_listed, owner, hits, first_seen,
                                      last_seen, counted, counted_again, letter)
        SELECT network, class, domain, time::date AS day, name_state <> 'none', is_proven, is_of_list, max(owner), count(*), min(time),
               max(time), now(), CASE WHEN count(*) > 1 THEN now() END,
               CASE WHEN count(letter) = count(*) AND min(letter::text) = max(letter::text) THEN min(letter::text)::bytea END
        FROM weighed c
        WHERE pardon IS NULL AND NOT is_postponed AND (NOT may_repeat OR hit_id NOT IN (SELECT hit_id FROM repeated))
        GROUP BY 1, 2, 3, 4, 5, 6, 7
        ORDER BY 1
        ON CONFLICT (network, class, domain, day, named, witnessed, while_listed) DO UPDATE
        SET hits = f.hits + excluded.hits, first_seen = least(f.first_seen, excluded.first_seen),
            last_seen = greatest(f.last_seen, excluded.last_seen), owner = excluded.owner,
            counted_again = coalesce(f.counted_again, excluded.counted), letter = CASE WHEN f.letter = excluded.letter THEN f.letter END
        RETURNING network
    ), sums AS MATERIALIZED (
        -- All that is left of them in figures: a few rows.
        SELECT date_trunc('hour', time) AS hour, class, domain, client_name, helo,
               CASE WHEN pardon IS NOT NULL THEN pardon
                    WHEN may_repeat AND hit_id IN (SELECT hit_id FROM repeated) THEN 'repeated'
                    WHEN is_of_list THEN 'while-listed' WHEN is_proven THEN 'proven' ELSE 'inferred' END AS what, count(*) AS number
        FROM weighed WHERE NOT is_postponed
        GROUP BY 1, 2, 3, 4, 5, 6
    ), hours AS (
        INSERT INTO hourly AS h (hour, class, what, number)
        SELECT hour, class, what, sum(number) FROM sums
        GROUP BY 1, 2, 3
        ORDER BY 1, 2, 3
        ON CONFLICT (hour, class, what) DO UPDATE SET number = h.number + excluded.number
    )
    SELECT d.*, (SELECT count(*) FROM ripe) AS ripe, ARRAY(SELECT DISTINCT network FROM facts) AS networks INTO decided
    FROM (SELECT array_agg(hour) AS hours, array_agg(domain) AS domains, array_agg(client_name) AS names, array_agg(helo) AS helos,
                 array_agg(number) AS numbers
          FROM (SELECT hour, domain, client_name, helo, sum(number)::bigint AS number FROM sums GROUP BY 1, 2, 3, 4) s) d;
    looked_at := decided.ripe;
    networks := decided.networks;
    IF decided.hours IS NOT NULL THEN
        PERFORM busiest_add(decided.hours, decided.domains, decided.names, decided.helos, decided.numbers);
    END IF;
END $$;

-- Make a part of the list anew: at most so many networks at once, the rest by tick().  To be called under list_lock().
CREATE OR REPLACE FUNCTION hunnypot.rework_step(part cidr, at_most int) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashagg = off AS $$
DECLARE
    first cidr := (SELECT next FROM rework WHERE range = part);
    last cidr := last_within(part);
    networks cidr[];
BEGIN
    networks := ARRAY(
        SELECT network FROM (
            (SELECT DISTINCT network FROM offence_day WHERE network BETWEEN first AND last ORDER BY network LIMIT at_most)
            UNION
            (SELECT network FROM listed_network WHERE network BETWEEN first AND last AND removed IS NULL
             ORDER BY network LIMIT at_most)) n
        ORDER BY network LIMIT at_most);
    PERFORM refresh(networks);
    IF cardinality(networks) < at_most THEN
        DELETE FROM rework WHERE range = part;
    ELSE
        UPDATE rework SET next = networks[at_most] WHERE range = part;
    END IF;
END $$;

-- All of a part at once.
CREATE OR REPLACE FUNCTION hunnypot.rework_whole(part cidr) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
BEGIN
    WHILE EXISTS (SELECT FROM rework WHERE range = part) LOOP
        PERFORM rework_step(part, 5000);
    END LOOP;
END $$;

-- Have all networks within PART judged anew, and the /64 around it: the first ones at once, the rest by tick().  Returns the
-- range of that in `rework`.
CREATE OR REPLACE FUNCTION hunnypot.judge_anew(part cidr) RETURNS cidr
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM list_lock();
    INSERT INTO rework (range, next) VALUES (part, part) ON CONFLICT (range) DO UPDATE SET next = excluded.next;
    PERFORM rework_step(part, 2000);
    -- Its /64 is judged by what its addresses did, and not listed while one of them is allowed; its neighbours are not concerned.
    IF family(part) = 6 AND masklen(part) > 64 THEN
        PERFORM refresh(ARRAY[set_masklen(part::inet, 64)::cidr]);
    END IF;
    RETURN part;
END $$;

-- What time alone changes, in one bounded step: hits that are ripe, listings and allows that end; and what there still is
-- to be made anew.  True: there is more, call it again.  NULL: somebody else is at it.
CREATE OR REPLACE FUNCTION hunnypot.tick() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    at_most CONSTANT int := 5000;
    hits_at_most CONSTANT int := 10000;
    ripe record;
    due_networks cidr[];
    old_serial bigint;
BEGIN
    BEGIN
        LOCK TABLE turn_list IN EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN NULL;
    END;
    DELETE FROM allow WHERE ctid = ANY (ARRAY(SELECT ctid FROM allow WHERE expires <= now() ORDER BY expires LIMIT 100
                                              FOR UPDATE SKIP LOCKED));
    ripe := count_ripe(hits_at_most);
    due_networks := ARRAY(SELECT network FROM listed_network WHERE due <= now() ORDER BY due LIMIT at_most);
    IF ripe.looked_at + cardinality(due_networks) > 0 THEN
        PERFORM refresh(CASE WHEN cardinality(due_networks) = 0 THEN ripe.networks
                             ELSE ARRAY(SELECT unnest(ripe.networks) UNION SELECT unnest(due_networks)) END);
    END IF;
    PERFORM rework_step(range, at_most) FROM (SELECT range FROM rework ORDER BY range LIMIT 1) r;

    WITH forgotten AS (
        DELETE FROM listed_network
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM listed_network WHERE removed < now() - setting('keep_ended')::interval
                                ORDER BY removed LIMIT at_most))
        RETURNING serial
    )
    SELECT max(serial) INTO old_serial FROM forgotten;
    IF old_serial IS NOT NULL THEN
        UPDATE change SET forgotten = greatest(forgotten, old_serial);
    END IF;
    RETURN ripe.looked_at = hits_at_most OR cardinality(due_networks) = at_most OR EXISTS (SELECT FROM rework);
END $$;

-- Have the whole list made anew from the facts, by tick().
CREATE OR REPLACE FUNCTION hunnypot.rebuild() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM judge_anew('0.0.0.0/0');
    PERFORM judge_anew('::/0');
END $$;

-- Whoever writes what the list goes by waits for its turn before it locks a row: those who have their turn may come to that row.
CREATE OR REPLACE FUNCTION hunnypot.list_turn() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM list_lock();
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER list_turn BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON hunnypot.policy
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.list_turn();
CREATE OR REPLACE TRIGGER list_turn BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON hunnypot.allow
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.list_turn();
CREATE OR REPLACE TRIGGER list_turn BEFORE UPDATE ON hunnypot.setting
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.list_turn();

-- A change of the policy counts for all that was recorded.  Who is a suspect is not to seem to be listed.
CREATE OR REPLACE FUNCTION hunnypot.policy_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    shared CONSTANT inet := (SELECT s.suspect_address FROM policy s JOIN policy l ON s.suspect_address IN (l.return_address, l.inferred_address)
                           LIMIT 1);
BEGIN
    IF shared IS NOT NULL THEN
        RAISE '% is what a DNSBL answers for who is listed, and cannot be suspect_address, too', host(shared) USING ERRCODE = 'unique_violation';
    END IF;
    PERFORM list_changed();
    PERFORM rebuild();
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hunnypot.policy
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.policy_changed();
CREATE OR REPLACE TRIGGER allow_emptied AFTER TRUNCATE ON hunnypot.allow
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.policy_changed();

CREATE OR REPLACE FUNCTION hunnypot.allow_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM list_changed();
    IF TG_OP <> 'INSERT' THEN
        PERFORM judge_anew(OLD.network);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM judge_anew(NEW.network);
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER allow_changed AFTER INSERT OR UPDATE OR DELETE ON hunnypot.allow
    FOR EACH ROW EXECUTE FUNCTION hunnypot.allow_changed();

CREATE OR REPLACE FUNCTION hunnypot.setting_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM list_changed();
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER setting_changed AFTER UPDATE ON hunnypot.setting
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.setting_changed();
