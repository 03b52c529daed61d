-- powerdns.sql - a DNSBL (RFC 5782) answered straight from hunnypot.listing, for PowerDNS with its PostgreSQL backend.
--
-- Load it once, after hunnypot db init, as who did that (again is harmless), then say what zone it is:
--     psql -v ON_ERROR_STOP=1 -f powerdns.sql hunnypot
--     psql -c "UPDATE hunnypot.setting SET value = 'bl.example.org' WHERE name = 'dnsbl_zone'" hunnypot
-- pdns/hunnypot.conf has PowerDNS's side.  The zone has a sub-zone for each class: trap.bl.example.org and so on.
BEGIN;
SET LOCAL ROLE hunnypot_owner;

INSERT INTO hunnypot.setting (name, value, meaning) VALUES
    ('dnsbl_zone', 'bl.example.org', 'DNSBL: the zone, in lower case, without a dot at its end'),
    ('dnsbl_ns', 'ns.example.org', 'DNSBL: its name server'),
    ('dnsbl_hostmaster', 'hostmaster.example.org', 'DNSBL: who is responsible for it, with a dot for the @'),
    ('dnsbl_ttl', '60', 'DNSBL: seconds that answers may be kept')
ON CONFLICT DO NOTHING;

-- The address that reversed octets or nibbles stand for, or NULL.
CREATE OR REPLACE FUNCTION hunnypot.dnsbl_address(labels text) RETURNS inet
    LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    IF labels ~ '^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$' THEN
        RETURN concat_ws('.', split_part(labels, '.', 4), split_part(labels, '.', 3), split_part(labels, '.', 2),
                         split_part(labels, '.', 1))::inet;
    ELSIF labels ~ '^([0-9a-f][.]){31}[0-9a-f]$' THEN
        RETURN rtrim(regexp_replace(reverse(replace(labels, '.', '')), '(....)', E'\\1:', 'g'), ':')::inet;
    END IF;
    RETURN NULL;
END $$;

-- The records of QNAME, in the columns that the backend reads.  Every name that is on the way to an address exists, as
-- an empty non-terminal, which has no type: resolvers that ask label by label go on.
-- PowerDNS asks six or eight times for one answer, mostly for names on the way: what is cheap to tell is told first.
CREATE OR REPLACE FUNCTION hunnypot.dnsbl(qname text, qtype text)
    RETURNS TABLE (content text, ttl int, prio int, type text, domain_id int, disabled int, name text, auth int)
    LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    zone  CONSTANT text := (SELECT s.value FROM hunnypot.setting s WHERE s.name = 'dnsbl_zone');
    -- The labels before the zone; NULL when QNAME is not below it.
    below text := CASE WHEN right(qname, length(zone) + 1) = '.' || zone THEN left(qname, -length(zone) - 1) END;
    which text;
    client inet;
    networks cidr[];
    entry record;
    is_there bool := false;
BEGIN
    prio := 0;
    domain_id := 1;
    disabled := 0;
    auth := 1;
    name := qname;
    IF below ~ '^([0-9]{1,3}[.]){0,2}[0-9]{1,3}$' THEN
        IF qtype = 'ANY' THEN
            RETURN NEXT;
        END IF;
        RETURN;
    ELSIF qname = zone THEN
        ttl := hunnypot.setting('dnsbl_ttl');
        content := hunnypot.setting('dnsbl_ns');
        IF qtype IN ('NS', 'ANY') THEN
            type := 'NS';
            RETURN NEXT;
        END IF;
        IF qtype IN ('SOA', 'ANY') THEN
            content := format('%s %s %s 600 300 604800 %s', content, hunnypot.setting('dnsbl_hostmaster'), hunnypot.listing_serial(), ttl);
            type := 'SOA';
            RETURN NEXT;
        END IF;
        RETURN;
    ELSIF below !~ '^[0-9.]*$' THEN
        which := (SELECT class FROM hunnypot.policy WHERE class = substring(below FROM '[^.]+$'));
        below := CASE WHEN which IS NULL THEN below ELSE left(below, -length(which) - 1) END;
    END IF;
    client := hunnypot.dnsbl_address(below);
    IF client IN ('127.0.0.2', '::ffff:127.0.0.2') THEN
        RETURN QUERY SELECT record, hunnypot.setting('dnsbl_ttl')::int, prio, kind, domain_id, disabled, name, auth
        FROM (SELECT return_address FROM hunnypot.policy WHERE class = coalesce(which, class) ORDER BY rank LIMIT 1) p,
             LATERAL (VALUES ('A', host(return_address)), ('TXT', '"Test entry"')) r (kind, record)
        WHERE qtype IN (kind, 'ANY');
        is_there := FOUND;
    ELSIF client IS NOT NULL THEN
        networks := hunnypot.covering(CASE family(client) WHEN 4 THEN client ELSE hunnypot.client_address(client) END);
        FOR entry IN SELECT l.network, l.return_address, l.words FROM hunnypot.on_list l
                     WHERE l.network = ANY ((SELECT networks)::cidr[]) AND l.class = coalesce(which, l.class) LOOP
            ttl := hunnypot.setting('dnsbl_ttl');
            IF qtype IN ('A', 'ANY') THEN
                content := host(entry.return_address);
                type := 'A';
                RETURN NEXT;
            END IF;
            IF qtype IN ('TXT', 'ANY') THEN
                content := '"' || entry.words || coalesce(', see ' || replace(nullif(hunnypot.setting('lookup_url'), ''), '$',
                                                                              host(entry.network)), '') || '"';
                type := 'TXT';
                RETURN NEXT;
            END IF;
            is_there := true;
        END LOOP;
        -- Of whom nothing is known for sure, where the policy has an address for that.
        IF NOT is_there AND EXISTS (SELECT FROM hunnypot.policy WHERE suspect_address IS NOT NULL) THEN
            RETURN QUERY SELECT record, hunnypot.setting('dnsbl_ttl')::int, prio, kind, domain_id, disabled, name, auth
            FROM hunnypot.suspect s,
                 LATERAL (VALUES ('A', host(s.return_address)), ('TXT', '"Seen, and not counted yet"')) r (kind, record)
            WHERE s.network = hunnypot.client_network(client) AND s.class = coalesce(which, s.class)
              AND qtype IN (kind, 'ANY');
            is_there := FOUND;
        END IF;
    END IF;
    -- An IPv4 address of four digits that is not listed may be on the way to an IPv6 address.
    IF NOT is_there AND qtype = 'ANY' AND below ~ '^(([0-9a-f][.]){0,30}[0-9a-f]|([0-9]{1,3}[.]){0,2}[0-9]{1,3})?$' THEN
        RETURN NEXT;
    END IF;
END $$;

-- All records, for a transfer (AXFR) to secondaries and for pdnsutil: what dnsbl() answers one by one.
CREATE OR REPLACE FUNCTION hunnypot.dnsbl_zone()
    RETURNS TABLE (content text, ttl int, prio int, type text, domain_id int, disabled int, name text, auth int)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH zone AS (SELECT hunnypot.setting('dnsbl_zone') AS name, hunnypot.setting('dnsbl_ttl')::int AS ttl),
    entry AS (
        SELECT class, network, CASE WHEN family(unit) = 6 AND masklen(unit) < 128 THEN '*.' ELSE '' END || hunnypot.reversed(unit) AS label,
               host(return_address) AS address, reason
        FROM hunnypot.listing, hunnypot.units(network) unit
    ), test AS (
        SELECT sub, hunnypot.reversed(address) AS label,
               (SELECT host(return_address) FROM hunnypot.policy p WHERE p.class = coalesce(sub, p.class) ORDER BY rank LIMIT 1)
                   AS address
        FROM (SELECT NULL::text AS sub UNION ALL SELECT class FROM hunnypot.policy) s,
             (VALUES ('127.0.0.2'::inet), ('::ffff:7f00:2')) t (address)
    ), record AS (
        SELECT label || below AS label, kind, record
        FROM entry, LATERAL (VALUES (''), ('.' || class)) b (below),
             LATERAL (VALUES ('A', address), ('TXT', '"' || reason || '"')) r (kind, record)
        -- A name below a wildcard would hide parts of that.
        WHERE NOT (family(network) = 6 AND masklen(network) = 128
                   AND EXISTS (SELECT FROM hunnypot.listing w
                               WHERE w.network = set_masklen(entry.network, 64) AND below IN ('', '.' || w.class)))
        UNION -- a network within a network is listed as the same
        SELECT label || coalesce('.' || sub, ''), kind, record
        FROM test, LATERAL (VALUES ('A', address), ('TXT', '"Test entry"')) r (kind, record)
    )
    SELECT a.content, a.ttl, a.prio, a.type, a.domain_id, a.disabled, a.name, a.auth
    FROM zone, (VALUES ('SOA'), ('NS')) k (kind), LATERAL hunnypot.dnsbl(zone.name, kind) a
    UNION ALL
    SELECT record, zone.ttl, 0, kind, 1, 0, label || '.' || zone.name, 1 FROM zone, record;
END;

REVOKE ALL ON FUNCTION hunnypot.dnsbl_address, hunnypot.dnsbl, hunnypot.dnsbl_zone FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hunnypot.dnsbl_address, hunnypot.dnsbl, hunnypot.dnsbl_zone TO hunnypot_reader;

COMMIT;
