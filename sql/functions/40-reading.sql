-- The list as readers see it: by the clock, whether or not tick() has come by.

-- What each network did to each domain in each class: all its hits, and how many of them ripen, were redeemed or excused (a friend's, and
-- those of which no list told whether they are one, too), or counted; those of a client that was on the list already do not count.
CREATE OR REPLACE VIEW hunnypot.offence AS
SELECT network, class, domain, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(hits)::bigint AS hits,
       sum(hits) FILTER (WHERE state = 'ripening')::bigint AS ripening,
       sum(hits) FILTER (WHERE state = 'redeemed')::bigint AS redeemed,
       sum(hits) FILTER (WHERE state IN ('excused', 'friend', 'unanswered'))::bigint AS excused,
       sum(hits) FILTER (WHERE state IN ('witnessed', 'inferred'))::bigint AS counted
FROM (SELECT network, class, domain, first_seen, last_seen, hits,
             CASE WHEN while_listed THEN 'while listed' WHEN witnessed THEN 'witnessed' ELSE 'inferred' END AS state
      FROM hunnypot.offence_day
      UNION ALL SELECT network, class, domain, time, time, 1, 'ripening' FROM hunnypot.waiting
      UNION ALL SELECT network, class, domain, hit_time, hit_time, 1, why FROM hunnypot.pardoned) o
GROUP BY network, class, domain;

-- The offences that were seen last, of a class, a domain, within a network, since then (each may be NULL): found by their newest
-- rows, as to add up all of ten million takes minutes.  That is not enough where the newest rows are of few offences; then it
-- looks at more of them.
CREATE OR REPLACE FUNCTION hunnypot.newest_offences(at_most int, p_class text, p_domain text, p_within cidr, p_since timestamptz)
RETURNS SETOF hunnypot.offence
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    looked_at bigint := at_most * 4::bigint;
    seen bigint;
    networks cidr[];
    classes text[];
    domains text[];
BEGIN
    LOOP
        SELECT coalesce(sum(k.seen), 0), array_agg(k.network) FILTER (WHERE k.place <= at_most),
               array_agg(k.class) FILTER (WHERE k.place <= at_most), array_agg(k.domain) FILTER (WHERE k.place <= at_most)
        INTO seen, networks, classes, domains
        FROM (SELECT r.network, r.class, r.domain, count(*) AS seen,
                     row_number() OVER (ORDER BY max(r.last_seen) DESC, r.network, r.class, r.domain) AS place
              FROM (SELECT a.* FROM (SELECT network, class, domain, last_seen FROM offence_day
                                     UNION ALL SELECT network, class, domain, time FROM waiting
                                     UNION ALL SELECT network, class, domain, hit_time FROM pardoned) a
                    WHERE (p_class IS NULL OR a.class = p_class) AND (p_domain IS NULL OR a.domain = p_domain)
                      AND (p_within IS NULL OR a.network <<= p_within) AND (p_since IS NULL OR a.last_seen >= p_since)
                    ORDER BY a.last_seen DESC LIMIT looked_at) r
              GROUP BY r.network, r.class, r.domain) k;
        EXIT WHEN seen < looked_at OR cardinality(networks) = at_most;
        looked_at := looked_at * 8;
    END LOOP;
    -- OFFSET 0: each by its key, never all of them added up to be joined.
    RETURN QUERY SELECT o.* FROM unnest(networks, classes, domains) AS n (network, class, domain)
        CROSS JOIN LATERAL (SELECT * FROM offence o WHERE o.network = n.network AND o.class = n.class AND o.domain = n.domain
                            OFFSET 0) o;
END
$$;

-- Hits whose letter arrived.
CREATE OR REPLACE VIEW hunnypot.redeemed AS
SELECT hit_id, time, mx, told FROM hunnypot.pardoned WHERE why = 'redeemed';

-- Clients whose hits are not counted yet: a grade of its own, for scores, where the policy gives it an address.
CREATE OR REPLACE VIEW hunnypot.suspect AS
SELECT w.network, w.class, p.suspect_address AS return_address, count(*) AS hits, max(w.ripe) AS until
FROM hunnypot.waiting w JOIN hunnypot.policy p ON p.class = w.class
WHERE p.suspect_address IS NOT NULL AND w.asks IS NULL AND NOT w.friend -- it may be a friend
GROUP BY w.network, w.class, p.suspect_address;

-- Who is listed now.
CREATE OR REPLACE VIEW hunnypot.listed_now AS
SELECT l.* FROM hunnypot.listed_network l WHERE l.removed IS NULL AND l.since <= now() AND l.until > now();

-- With what code, and as what address in DNS, the policy has it refused.
CREATE OR REPLACE FUNCTION hunnypot.listed_code(entry hunnypot.listed_now, policy hunnypot.policy) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN ($1).soft_until > now() OR NOT ($1).witnessed THEN ($2).inferred_code ELSE ($2).code END;
CREATE OR REPLACE FUNCTION hunnypot.listed_address(entry hunnypot.listed_now, policy hunnypot.policy) RETURNS inet
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN ($1).soft_until > now() OR NOT ($1).witnessed THEN ($2).inferred_address ELSE ($2).return_address END;

-- The list without what only an export, or a person, asks for: a look-up is mostly the start of its plan, and of each table in that.
-- Whose policy an export does not ask for, it does not join: hence LEFT.
CREATE OR REPLACE VIEW hunnypot.on_list AS
SELECT l.network, l.class, l.since, l.until,
       hunnypot.listed_code(l, p) AS code, hunnypot.listed_address(l, p) AS return_address, l.hits, l.domains,
       p.reason AS words, l.last_seen, p.rank, l.worse_until IS NULL OR l.worse_until <= now() AS worst,
       CASE WHEN l.witnessed THEN 'witnessed' ELSE 'inferred' END AS proof, l.soft_until <= now() AS firm, l.entered
FROM hunnypot.listed_now l LEFT JOIN hunnypot.policy p ON p.class = l.class;

CREATE OR REPLACE VIEW hunnypot.listing AS
SELECT l.network, l.class, l.since, l.until, l.code, l.return_address, l.hits, l.domains,
       l.words || coalesce(', see ' || replace((SELECT nullif(s.value::text, '') FROM hunnypot.setting s WHERE s.name = 'lookup_url'),
                                               '$', host(l.network)), '') AS reason,
       l.last_seen, l.rank, l.worst, l.proof, l.firm
FROM hunnypot.on_list l
-- What the brake holds back, an export does not see; without an index, as this is nearly all of the list.
WHERE l.entered + 0 <= (SELECT coalesce(min(b.held_after), 9223372036854775807) FROM hunnypot.brake b
                        WHERE current_setting('hunnypot.export', true) = 'on');
COMMENT ON COLUMN hunnypot.listing.worst IS 'no worse class speaks for this network';
COMMENT ON COLUMN hunnypot.listing.firm IS 'is refused for good: witnessed, and not for one letter that may still be on its way';

-- What is listed, each client once, for formats that cannot say "try again later": what may be refused for good, and the rest only if
-- INFERRED is 'yes'.  An address whose /64 answers as firmly is not named beside it, as that would hide parts of it in a DNS zone, where
-- it is a wildcard.  Whether there is such a class is asked apart from the rows, of which there may be none.
CREATE OR REPLACE FUNCTION hunnypot.firm_listing(class text, inferred text) RETURNS SETOF hunnypot.listing
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT l.* FROM hunnypot.listing l
    WHERE (SELECT hunnypot.known_class($1)) IS NOT NULL AND $1 IN ('', l.class) AND ($1 <> '' OR l.worst) AND ($2 = 'yes' OR l.firm)
      AND NOT (family(l.network) = 6 AND masklen(l.network) = 128
               AND EXISTS (SELECT FROM hunnypot.listing w
                           WHERE w.network = set_masklen(l.network, 64) AND $1 IN ('', w.class) AND w.firm >= l.firm));
END;

-- The same for formats that can.
CREATE OR REPLACE FUNCTION hunnypot.worst_listing(class text) RETURNS SETOF hunnypot.listing
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT l.* FROM hunnypot.firm_listing($1, 'yes') l;
END;

-- Lengths of networks that are listed and are neither one address nor the /64 of one: as a rule there is none.  By the index of that
-- name, which is in their order: the first is found at once, whatever the planner thinks of how many there are.
CREATE OR REPLACE VIEW hunnypot.odd_network AS
SELECT masklen(network) AS length FROM hunnypot.listed_network
WHERE NOT CASE family(network) WHEN 4 THEN masklen(network) = 32 ELSE masklen(network) IN (64, 128) END;

CREATE OR REPLACE FUNCTION hunnypot.listed(address inet) RETURNS SETOF hunnypot.listing
    -- Not in SQL: planning takes longer than the rest, and PL/pgSQL keeps its plans.  How many networks it looks for is kept from
    -- the planner, which would think the plan for a few so much cheaper that it makes it anew each time.
    LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    client CONSTANT cidr := CASE family(address) WHEN 4 THEN network(set_masklen(address, 32))
                                                 ELSE hunnypot.client_network(address) END;
BEGIN
    RETURN QUERY SELECT * FROM hunnypot.listing l
    WHERE l.network = ANY (CASE WHEN (SELECT o.length FROM hunnypot.odd_network o ORDER BY o.length LIMIT 1) IS NOT NULL
                                THEN hunnypot.covering(client)
                                WHEN family(client) = 4 THEN ARRAY[client] ELSE ARRAY[client, set_masklen(client, 64)] END);
END $$;

-- The serial of the list, which rises with each change.  What has ended since tick() came by last has changed when it ended.
CREATE OR REPLACE VIEW hunnypot.list_serial AS
SELECT greatest((SELECT serial FROM hunnypot.change),
                ceil(extract(epoch FROM (SELECT due FROM hunnypot.listed_network WHERE due <= now() ORDER BY due DESC LIMIT 1)))::bigint)
           AS serial;

CREATE OR REPLACE FUNCTION hunnypot.listing_serial() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off
    SET enable_bitmapscan = off AS $$
BEGIN
    RETURN (SELECT serial FROM list_serial);
END $$;

-- What decides what SELECT, which reads the list alone, gives: as long as this is the same, so is the list.  In a serial a
-- listing that ends in the second of another change does not show.  A database of the same name may be another one, and an
-- upgrade makes this function anew with all others.  Durations change once an hour.
CREATE OR REPLACE FUNCTION hunnypot.listing_state("select" text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off SET enable_seqscan = off
    SET enable_bitmapscan = off AS $$
BEGIN
    RETURN concat_ws(' ', (SELECT system_identifier FROM pg_control_system()),
                     (SELECT oid FROM pg_database WHERE datname = current_database()),
                     (SELECT xmin FROM pg_proc WHERE oid = 'listing_state(text)'::regprocedure),
                     (SELECT serial FROM change),
                     extract(epoch FROM (SELECT max(due) FROM listed_network WHERE due <= now())),
                     extract(epoch FROM date_trunc('hour', now())),
                     encode(sha256(convert_to("select", 'UTF8')), 'hex'));
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
-- cuts the last groups off, also behind a "::", so that 2001:db8::5:6 would be asked again as 2001:db8::5, which is another client:
-- DUNNO says that there is nothing more to ask for.
-- Of several listings the one speaks that does in an export (worse_until): what is refused for good, then the worse class.
-- A set, so that what is not listed is no row, and the map's query nothing but a call: each of its words is planned for each look-up.
CREATE OR REPLACE FUNCTION hunnypot.postfix_actions(key text) RETURNS SETOF text
    LANGUAGE plpgsql STABLE STRICT ROWS 1 AS $$
DECLARE
    client CONSTANT cidr := CASE WHEN key ~ '^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$'
                                 THEN key::cidr
                                 WHEN key ~ '^[0-9a-fA-F:.]*$' THEN hunnypot.client_network(hunnypot.address(key)) END;
    entries hunnypot.listed_now[];
BEGIN
    IF client IS NULL THEN
        RETURN;
    END IF;
    -- Most clients are not listed, which takes one table to tell.
    entries := ARRAY(SELECT l FROM hunnypot.listed_now l
                     WHERE l.network = ANY (CASE WHEN (SELECT o.length FROM hunnypot.odd_network o ORDER BY o.length LIMIT 1) IS NOT NULL
                                                 THEN hunnypot.covering(client)
                                                 WHEN family(client) = 4 THEN ARRAY[client]
                                                 ELSE ARRAY[client, set_masklen(client, 64)] END));
    IF entries <> '{}' THEN
        RETURN QUERY SELECT hunnypot.listed_code(l, p) || ' ' || p.reason
                            || coalesce(', see ' || replace((SELECT nullif(s.value::text, '') FROM hunnypot.setting s WHERE s.name = 'lookup_url'),
                                                            '$', host(l.network)), '')
                     FROM unnest((SELECT entries)) l JOIN hunnypot.policy p ON p.class = l.class
                     ORDER BY l.soft_until > now(), p.rank LIMIT 1;
    ELSIF strpos(key, ':') > 0 THEN
        RETURN NEXT 'DUNNO';
    END IF;
END $$;

-- The same for queries that were written for it: NULL for what is not listed.
CREATE OR REPLACE FUNCTION hunnypot.postfix_action(key text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
    RETURN (SELECT action FROM hunnypot.postfix_actions(key) action);
END $$;
