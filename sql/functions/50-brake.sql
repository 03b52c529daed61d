-- The brake: not too much that is new may be published at once.  Who came on the list after the last publication is told
-- by `entered`; nothing is written for that, however long the list is.
--
-- What the functions are SET to leaves the planner no way to read the whole list, whatever statistics it has: none at all, or those
-- of an empty table, by which every way costs the same.

-- How many networks came on the list after the change SERIAL, and are on it.
CREATE OR REPLACE FUNCTION hunnypot.entered_since(last bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
    SET enable_indexonlyscan = off AS $$
BEGIN
    RETURN (SELECT count(DISTINCT l.network) FROM listed_network l
            WHERE l.entered > last AND l.removed IS NULL AND l.until > now()
              -- The network is new when none of its classes was there.  With "+ 0" no index but that of the networks fits,
              -- whatever the statistics make of the others.
              AND NOT EXISTS (SELECT FROM listed_network o WHERE o.network = l.network AND o.entered + 0 <= last
                                AND (o.removed IS NULL OR o.serial + 0 > last)));
END $$;

-- How many networks that were on the list at the change SERIAL are not on it any more.
CREATE OR REPLACE FUNCTION hunnypot.left_since(last bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
    SET enable_indexonlyscan = off AS $$
BEGIN
    -- By what changed, which is little; most of the list entered before.
    RETURN (WITH changed AS MATERIALIZED (SELECT network, entered, removed FROM listed_network WHERE serial > last)
            SELECT count(DISTINCT l.network) FROM changed l
            WHERE l.entered <= last AND l.removed IS NOT NULL
              AND NOT EXISTS (SELECT FROM listed_network o WHERE o.network = l.network AND o.removed IS NULL));
END $$;

CREATE OR REPLACE FUNCTION hunnypot.publish_check() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off
    SET enable_bitmapscan = off SET enable_indexonlyscan = off AS $$
DECLARE
    wide  cidr := (SELECT network FROM listed_network
                   WHERE removed IS NULL AND masklen(network) < CASE family(network) WHEN 4 THEN 24 ELSE 48 END
                     AND until > now()
                   ORDER BY network LIMIT 1);
    last   publication;
    fresh  bigint;
    lately bigint := coalesce((SELECT sum(g.fresh) FROM publication_growth g
                               WHERE g.at > now() - setting('brake_time')::interval), 0);
    most   bigint;
BEGIN
    IF wide IS NOT NULL THEN
        RETURN format('%s is shorter than a %s', wide::inet, CASE family(wide) WHEN 4 THEN '/24' ELSE '/48' END);
    END IF;
    SELECT * INTO last FROM publication;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- On rate: however often is published, the list grows no faster than by its share in that time.
    most := greatest(setting('brake_floor')::bigint,
                     floor((last.networks - lately) * setting('brake_share')::numeric)::bigint);
    fresh := entered_since(last.serial);
    IF fresh > 0 AND fresh + lately > most THEN
        RETURN format('%s networks are new since the %s that were published at %s; at most %s may be%s', fresh,
                      last.networks, to_char(last.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'), most,
                      CASE WHEN lately > 0 THEN format(' in %s, and %s were', setting('brake_time'), lately) ELSE '' END);
    END IF;
    RETURN NULL;
END $$;

-- What is on the list now is published, or as good as.
CREATE OR REPLACE FUNCTION hunnypot.set_published() RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
DECLARE
    last  publication;
    fresh bigint := 0;
    total bigint;
BEGIN
    PERFORM list_lock();
    SELECT * INTO last FROM publication;
    -- What left longer ago than the list remembers cannot be subtracted.
    IF last.serial < (SELECT forgotten FROM change) OR NOT FOUND THEN
        total := (SELECT count(DISTINCT network) FROM listed_network WHERE removed IS NULL);
    ELSE
        fresh := entered_since(last.serial);
        total := last.networks + fresh - left_since(last.serial);
    END IF;
    DELETE FROM publication_growth g WHERE g.at < now() - setting('brake_time')::interval;
    IF fresh > 0 THEN
        INSERT INTO publication_growth VALUES (DEFAULT, fresh);
    END IF;
    INSERT INTO publication (at, networks, serial) VALUES (now(), total, (SELECT last_value FROM listed_serial))
    ON CONFLICT (only_row) DO UPDATE SET at = excluded.at, networks = excluded.networks, serial = excluded.serial;
END $$;

CREATE OR REPLACE FUNCTION hunnypot.brake_release() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    PERFORM set_published();
    DELETE FROM publication_growth;
END $$;

CREATE OR REPLACE FUNCTION hunnypot.published() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    IF publish_check() IS NULL THEN
        PERFORM set_published();
    END IF;
END $$;
