-- The list as readers see it: by the clock, whether or not tick() has come by.

-- What each network did to each domain in each class, counted or not yet.
CREATE OR REPLACE VIEW hunnypot.offence AS
SELECT network, class, domain, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(hits)::bigint AS hits
FROM (SELECT network, class, domain, first_seen, last_seen, hits FROM hunnypot.offence_day
      UNION ALL SELECT network, class, domain, time, time, 1 FROM hunnypot.waiting) o
GROUP BY network, class, domain;

-- Whose policy an export does not ask for, it does not join: hence LEFT.
CREATE OR REPLACE VIEW hunnypot.listing AS
SELECT l.network, l.class, l.since, l.until, p.code, p.return_address, l.hits, l.domains,
       p.reason || coalesce(', see ' || replace((SELECT nullif(hunnypot.setting('lookup_url'), '')), '$',
                                                host(l.network)), '') AS reason,
       l.last_seen, p.rank, l.worse_until IS NULL OR l.worse_until <= now() AS worst
FROM hunnypot.listed_network l LEFT JOIN hunnypot.policy p ON p.class = l.class
WHERE l.removed IS NULL AND l.since <= now() AND l.until > now();
COMMENT ON COLUMN hunnypot.listing.worst IS 'no worse class speaks for this network';

CREATE OR REPLACE FUNCTION hunnypot.worst_listing(class text) RETURNS SETOF hunnypot.listing
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT l.* FROM hunnypot.listing l
    WHERE (SELECT hunnypot.known_class($1)) IN ('', l.class) AND ($1 <> '' OR l.worst);
END;

CREATE OR REPLACE FUNCTION hunnypot.listed(address inet) RETURNS SETOF hunnypot.listing
    LANGUAGE sql STABLE ROWS 1
BEGIN ATOMIC
    SELECT * FROM hunnypot.listing WHERE network = ANY (hunnypot.covering($1));
END;

CREATE OR REPLACE FUNCTION hunnypot.listing_serial() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET enable_seqscan = off
    SET enable_bitmapscan = off AS $$
BEGIN
    -- What has ended since tick() came by last has changed when it ended.
    RETURN greatest((SELECT serial FROM change),
                    ceil(extract(epoch FROM (SELECT max(due) FROM listed_network WHERE due <= now())))::bigint);
END $$;

-- What changed on the list after a number that this gave before, in order: who is (again, or otherwise) listed, and who is
-- not any more.  From 0 on it is all.  An error when what was removed since then is not remembered.
CREATE OR REPLACE FUNCTION hunnypot.changes(after bigint)
    RETURNS TABLE (serial bigint, network cidr, class text, listed bool, since timestamptz, until timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET enable_seqscan = off
    SET enable_bitmapscan = off AS $$
BEGIN
    IF after > 0 AND after < (SELECT c.forgotten FROM change c) THEN
        RAISE 'what changed after % is not remembered any more', after USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Read the whole list.';
    END IF;
    RETURN QUERY SELECT l.serial, l.network, l.class, l.removed IS NULL AND l.since <= now() AND l.until > now(),
                        l.since, l.until
                 FROM listed_network l WHERE l.serial > after ORDER BY l.serial;
END $$;

-- Postfix also asks for names and for truncated addresses.  A truncated IPv4 address is no address.  Of an IPv6 one it
-- cuts the last groups off, also behind a "::", so that 2001::5:6:7:8:9 is asked again as 2001::5:6:7:8, which is in
-- another /64.  That takes a "::" behind the first group or none, so such keys get no answer.
CREATE OR REPLACE FUNCTION hunnypot.postfix_action(key text) RETURNS text
    -- Not in SQL: planning takes longer than the rest, and PL/pgSQL keeps its plans.
    LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    client inet := CASE WHEN key !~ '^[^:]*::' THEN hunnypot.address(key) END;
BEGIN
    RETURN (SELECT code || ' ' || reason FROM hunnypot.listed(client) ORDER BY rank LIMIT 1);
END $$;
