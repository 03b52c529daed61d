-- Hits of whose clients lists of friends did not tell when they were recorded: their sensor asks again, and tells.

-- What the sensor found out: these clients are FRIENDS, the OTHERS are on none of its lists.  Returns who else waits for that, with
-- blanks between: the clients behind p_after (NULL: from the first on), at most so many.  It only notes what count_ripe() decides by,
-- and waits for nobody who counts.
CREATE OR REPLACE FUNCTION hunnypot.sensor_friends(p_sensor text, friends inet[], others inet[], p_after inet, at_most integer)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
DECLARE
    own_id integer := (SELECT sensor_id FROM sensor WHERE name = p_sensor);
    are_friends cidr[] := ARRAY(SELECT client_network(f) FROM unnest(friends) f);
    are_not cidr[] := ARRAY(SELECT client_network(o) FROM unnest(others) o);
BEGIN
    IF cardinality(are_friends || are_not) > 0 THEN
        -- The rest of a client with more hits than that waits, and is asked for again.
        UPDATE waiting w SET asks = NULL, friend = (w.network = ANY (are_friends)),
                             due = CASE WHEN w.network = ANY (are_friends) THEN least(w.due, now()) ELSE w.ripe END
        WHERE w.ctid = ANY (ARRAY(SELECT a.ctid FROM waiting a WHERE a.asks = own_id AND a.network = ANY (are_friends || are_not)
                                  LIMIT 5000 FOR UPDATE SKIP LOCKED));
    END IF;
    -- From one client to the next, however many hits each has.
    RETURN (
        WITH RECURSIVE clients AS (
            (SELECT network, 1 AS number FROM waiting WHERE asks = own_id AND (p_after IS NULL OR network > client_network(p_after))
             ORDER BY network LIMIT 1)
            UNION ALL
            SELECT next.network, c.number + 1
            FROM clients c, LATERAL (SELECT w.network FROM waiting w WHERE w.asks = own_id AND w.network > c.network
                                     ORDER BY w.network LIMIT 1) next
            WHERE c.number < at_most
        )
        SELECT string_agg(host(network), ' ' ORDER BY network) FROM clients);
END
$$;
