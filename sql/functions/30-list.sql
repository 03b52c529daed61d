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
    PERFORM pg_advisory_xact_lock(hashtext('hunnypot.list'));
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

CREATE OR REPLACE FUNCTION hunnypot.is_enough(policy hunnypot.policy, hits numeric, span interval, domains bigint)
    RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN $2 >= $1.min_hits AND ($3 >= $1.min_span OR $4 >= $1.min_domains);

-- What the policy makes of all FACTS of a network in a class, in the order in which they were counted: its listing, which
-- may be over, or NULLs.  Pure: the same facts and policy always give the same, however they came about.  It is called for
-- each network, so it is without settings of its own, which would take longer than the rest: refresh() has them.
CREATE OR REPLACE FUNCTION hunnypot.judge(policy hunnypot.policy, facts hunnypot.offence_day[],
                                          OUT since timestamptz, OUT until timestamptz, OUT hits bigint,
                                          OUT domains bigint, OUT last_seen timestamptz)
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    f          hunnypot.offence_day;
    first_seen timestamptz;
    returns    int := 0;
    owners     text[] := '{}';
    names      text[] := '{}';
BEGIN
    hits := 0;
    FOREACH f IN ARRAY coalesce(facts, '{}') LOOP
        -- It was over before this hit: the network is back.
        IF until < f.first_seen THEN
            returns := returns + 1;
            since := NULL;
        END IF;
        IF f.domain <> ALL (names) THEN
            names := names || f.domain;
            IF f.owner <> ALL (owners) THEN
                owners := owners || f.owner;
            END IF;
        END IF;
        first_seen := least(first_seen, f.first_seen);
        IF since IS NULL THEN
            IF hunnypot.is_enough(policy, hits + 1, greatest(last_seen, f.first_seen) - first_seen, cardinality(owners)) THEN
                since := f.counted;
            ELSIF hunnypot.is_enough(policy, hits + f.hits, greatest(last_seen, f.last_seen) - first_seen,
                                     cardinality(owners)) THEN
                since := coalesce(f.counted_again, f.counted);
            END IF;
        END IF;
        hits := hits + f.hits;
        last_seen := greatest(last_seen, f.last_seen);
        IF since IS NOT NULL THEN
            until := last_seen + CASE returns WHEN 0 THEN policy.lasts ELSE hunnypot.lasting(policy, returns) END;
        END IF;
    END LOOP;
    domains := cardinality(names);
END $$;

-- Bring the list up to date for NETWORKS, which must be without duplicates.  To be called under list_lock().
CREATE OR REPLACE FUNCTION hunnypot.refresh(networks cidr[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    this_change bigint := nextval('listed_serial');
    was_published bigint := coalesce((SELECT p.serial FROM publication p), 0);
    changed bigint;
BEGIN
    -- All classes that a network has facts for or is listed under.
    WITH known AS MATERIALIZED (
        SELECT n.network, k.class, k.facts,
               -- RFC 5782: 127.0.0.1 is never listed, nor is its IPv6 form; what else is in these networks are test entries.
               n.network <<= '127.0.0.0/8' OR n.network <<= '::/64'
               OR EXISTS (SELECT FROM allow a
                          WHERE a.network && n.network::inet AND (a.expires IS NULL OR a.expires > now())) AS is_allowed
        FROM unnest(networks) n(network)
        CROSS JOIN LATERAL (
            SELECT class, f.facts
            FROM (SELECT class, array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day) AS facts
                  FROM offence_day o WHERE o.network = n.network GROUP BY class) f
            FULL JOIN (SELECT class FROM listed_network l WHERE l.network = n.network AND l.removed IS NULL) l
                USING (class)) k
    ), judged AS MATERIALIZED (
        SELECT k.network, k.class, p.rank, j.*, coalesce(j.until > now(), false) AS is_listed
        FROM known k
        LEFT JOIN policy p ON p.class = k.class AND p.listed AND NOT k.is_allowed AND k.facts IS NOT NULL
        LEFT JOIN LATERAL judge(p, k.facts) j ON p.class IS NOT NULL
    ), written AS (
        INSERT INTO listed_network AS l (network, class, since, until, worse_until, hits, domains, last_seen, due, serial,
                                         entered)
        SELECT network, class, since, until,
               max(until) OVER (PARTITION BY network ORDER BY rank ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
               hits, domains, last_seen, until, this_change, this_change
        FROM judged WHERE is_listed
        ORDER BY network, class
        ON CONFLICT (network, class) DO UPDATE
        SET since = excluded.since, until = excluded.until, worse_until = excluded.worse_until, removed = NULL,
            hits = excluded.hits, domains = excluded.domains, last_seen = excluded.last_seen, due = excluded.due,
            serial = excluded.serial,
            -- What left since the last publication is still where that went, and not new when it comes back.
            entered = CASE WHEN l.removed IS NULL OR (l.serial > was_published AND l.entered <= was_published)
                           THEN l.entered ELSE excluded.entered END
        WHERE (l.since, l.until, l.worse_until, l.removed, l.hits, l.domains, l.last_seen, l.due) IS DISTINCT FROM
              (excluded.since, excluded.until, excluded.worse_until, NULL, excluded.hits, excluded.domains,
               excluded.last_seen, excluded.due)
        RETURNING 1
    ), gone AS (
        UPDATE listed_network l SET removed = now(), worse_until = NULL, due = NULL, serial = this_change
        FROM judged j
        WHERE l.network = j.network AND l.class = j.class AND l.removed IS NULL AND NOT j.is_listed
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM written) + (SELECT count(*) FROM gone) INTO changed;
    IF changed > 0 THEN
        PERFORM list_changed();
    END IF;
END $$;

-- Count at most so many hits that are ripe; the networks that they came from.  To be called under list_lock().
CREATE OR REPLACE FUNCTION hunnypot.count_ripe(at_most int, OUT counted bigint, OUT networks cidr[])
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp SET timezone = 'UTC' SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    WITH ripe AS (
        DELETE FROM waiting
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM waiting WHERE due <= now() ORDER BY due LIMIT at_most
                                FOR UPDATE SKIP LOCKED))
        RETURNING *
    ), facts AS (
        INSERT INTO offence_day AS f (network, class, domain, day, owner, hits, first_seen, last_seen, counted, counted_again)
        SELECT network, class, domain, time::date AS day, max(owner), count(*), min(time), max(time), now(),
               CASE WHEN count(*) > 1 THEN now() END
        FROM ripe
        GROUP BY network, class, domain, day
        ORDER BY network, class, domain, day
        ON CONFLICT (network, class, domain, day) DO UPDATE
        SET hits = f.hits + excluded.hits, first_seen = least(f.first_seen, excluded.first_seen),
            last_seen = greatest(f.last_seen, excluded.last_seen), owner = excluded.owner,
            counted_again = coalesce(f.counted_again, excluded.counted)
        RETURNING network
    )
    SELECT (SELECT count(*) FROM ripe), ARRAY(SELECT DISTINCT network FROM facts) INTO counted, networks;
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

-- Have all networks within PART judged anew: the first ones at once, the rest by tick().
CREATE OR REPLACE FUNCTION hunnypot.judge_anew(part cidr) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
DECLARE
    -- A client is judged as a whole.
    whole cidr := CASE WHEN family(part) = 6 AND masklen(part) > 64 THEN set_masklen(part::inet, 64)::cidr ELSE part END;
BEGIN
    PERFORM list_lock();
    INSERT INTO rework (range, next) VALUES (whole, whole) ON CONFLICT (range) DO UPDATE SET next = excluded.next;
    PERFORM rework_step(whole, 2000);
END $$;

-- What time alone changes, in one bounded step: hits that are ripe, listings and allows that end; and what there still is
-- to be made anew.  True: there is more, call it again.  NULL: somebody else is at it.
CREATE OR REPLACE FUNCTION hunnypot.tick() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    at_most CONSTANT int := 5000;
    ripe record;
    due_networks cidr[];
    old_serial bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('hunnypot.list')) THEN
        RETURN NULL;
    END IF;
    DELETE FROM allow WHERE ctid = ANY (ARRAY(SELECT ctid FROM allow WHERE expires <= now() ORDER BY expires LIMIT 100
                                              FOR UPDATE SKIP LOCKED));
    ripe := count_ripe(at_most);
    due_networks := ARRAY(SELECT network FROM listed_network WHERE due <= now() ORDER BY due LIMIT at_most);
    IF ripe.counted + cardinality(due_networks) > 0 THEN
        PERFORM refresh(ARRAY(SELECT unnest(ripe.networks) UNION SELECT unnest(due_networks)));
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
    RETURN ripe.counted = at_most OR cardinality(due_networks) = at_most OR EXISTS (SELECT FROM rework);
END $$;

-- Have the whole list made anew from the facts, by tick().
CREATE OR REPLACE FUNCTION hunnypot.rebuild() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM judge_anew('0.0.0.0/0');
    PERFORM judge_anew('::/0');
END $$;

-- A change of the policy counts for all that was recorded.
CREATE OR REPLACE FUNCTION hunnypot.policy_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM list_lock();
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
    PERFORM list_lock();
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
    PERFORM list_lock();
    PERFORM list_changed();
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER setting_changed AFTER UPDATE ON hunnypot.setting
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.setting_changed();
