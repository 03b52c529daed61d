-- What changed on the list since somebody read it, for readers that keep it and are told the changes only: list_mark() is what they
-- remember of a reading.

-- The list as it is now, for who has that of MARK (NULL: none): where it is, its last change, the time, as listings also begin and end by
-- the clock, and what the brake holds back.  The first word is another one in another database, on another timeline, and after an
-- upgrade.  (Of the timelines, a server that was promoted has the first one from its next checkpoint on, the other one up to then.)
CREATE OR REPLACE FUNCTION hunnypot.list_mark(mark text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off
    SET enable_bitmapscan = off SET enable_sort = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    old CONSTANT bigint := coalesce(nullif(split_part(mark, ' ', 2), '')::bigint, 0);
    last bigint := (SELECT greatest(c.forgotten, (SELECT l.serial FROM listed_network l ORDER BY l.serial DESC LIMIT 1)) FROM change c);
BEGIN
    -- Who wrote a row may have been ahead of our clock: it began its transaction after us, or we are a standby whose clock is behind, or the
    -- clock went back.  What has not begun here, and is not due when it does, is looked at again as if it changed after this.
    last := least(last, (SELECT min(l.serial) - 1
                         FROM (SELECT * FROM listed_network n WHERE n.serial > old ORDER BY n.serial DESC LIMIT 50000) l
                         WHERE l.due > now() AND (l.since > now() AND l.since < l.due OR l.soft_until > now() AND l.soft_until < l.due)));
    RETURN concat_ws(' ', concat_ws('-', (SELECT system_identifier FROM pg_control_system()),
                                    greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                                             (SELECT min_recovery_end_timeline FROM pg_control_recovery())),
                                    (SELECT oid FROM pg_database WHERE datname = current_database()),
                                    (SELECT xmin FROM pg_proc WHERE oid = 'list_mark(text)'::regprocedure)),
                     last, (extract(epoch FROM now()) * 1000000)::bigint,
                     (SELECT coalesce(min(b.held_after), 9223372036854775807) FROM brake b));
END $$;

-- The networks of which something may have changed since MARK, at most so many.  NULL: they are more, or that is not known, and the
-- whole list is to be read.
CREATE OR REPLACE FUNCTION hunnypot.changed_networks(mark text, at_most int DEFAULT 50000) RETURNS cidr[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off
    SET enable_bitmapscan = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    old CONSTANT text[] := string_to_array(mark, ' ');
    new CONSTANT text[] := string_to_array(list_mark(mark), ' ');
    moment timestamptz;
    found cidr[];
BEGIN
    -- An older number than this one: somebody put an older database back.  And of networks in networks, which no client has, it would be said
    -- too little: part of one may be listed by itself.
    IF EXISTS (SELECT FROM odd_network) OR cardinality(old) IS DISTINCT FROM 4 OR old[1] <> new[1] OR old[2]::bigint > new[2]::bigint
       OR old[2]::bigint < (SELECT c.forgotten FROM change c) OR old[3]::bigint > new[3]::bigint THEN
        RETURN NULL;
    END IF;
    moment := timestamptz 'epoch' + old[3]::bigint * interval '1 microsecond';
    found := ARRAY(SELECT l.network FROM listed_network l WHERE l.serial > old[2]::bigint LIMIT at_most + 1)
          || ARRAY(SELECT l.network FROM listed_network l WHERE l.due >= moment AND l.due <= now() LIMIT at_most + 1)
          -- As long as no tick() comes by, what is due stays so, and goes on by the clock.
          || ARRAY(SELECT l.network FROM listed_network l
                   WHERE l.due < moment AND (l.until > moment AND l.until <= now() OR l.since > moment AND l.since <= now()
                                             OR l.soft_until > moment AND l.soft_until <= now()) LIMIT at_most + 1);
    IF old[4] <> new[4] THEN
        found := found || ARRAY(SELECT l.network FROM listed_network l
                                WHERE l.entered > least(old[4]::bigint, new[4]::bigint)
                                  AND l.entered <= greatest(old[4]::bigint, new[4]::bigint) LIMIT at_most + 1);
    END IF;
    -- An address is not named beside its /64.
    found := found || ARRAY(SELECT l.network
                            FROM (SELECT DISTINCT n FROM unnest(found) n WHERE family(n) = 6 AND masklen(n) = 64) u (unit)
                            CROSS JOIN LATERAL (SELECT i.network FROM listed_network i
                                                WHERE i.network > u.unit AND i.network <= last_within(u.unit) OFFSET 0) l
                            LIMIT at_most + 1);
    found := ARRAY(SELECT DISTINCT n FROM unnest(found) n ORDER BY n);
    RETURN CASE WHEN cardinality(found) <= at_most THEN found END;
END $$;

-- The same networks as firm_listing() has them now; UNTIL is NULL for those that it does not have.
CREATE OR REPLACE FUNCTION hunnypot.changed_listing(class text, inferred text, mark text)
    RETURNS TABLE (network cidr, until timestamptz)
    LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
    SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    RETURN QUERY SELECT n.network, l.until FROM unnest(hunnypot.changed_networks(mark)) n (network)
        LEFT JOIN LATERAL (SELECT f.until FROM hunnypot.firm_listing($1, $2) f WHERE f.network = n.network OFFSET 0) l ON true;
END $$;

-- MARK as an address that no client has, of 240.0.0.0/4 (RFC 1112) or 100::/64, which is for discarding (RFC 6666): who keeps the list in
-- sets puts it into each, and knows by it, the next time, that the set is what it was.
CREATE OR REPLACE FUNCTION hunnypot.mark_address(mark text, family int) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN host(CASE $2 WHEN 4 THEN '240.0.0.0'::inet + ('x' || left(md5($1), 7))::bit(28)::bigint
                        ELSE ('100::' || regexp_replace(left(md5($1), 16), '(....)(....)(....)(....)', E'\\1:\\2:\\3:\\4'))::inet END);
