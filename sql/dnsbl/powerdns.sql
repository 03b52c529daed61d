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

-- The records of QNAME in ZONE, in those of the backend's columns that are not the same for all.  Every name that is on the way to an
-- address exists, as an empty non-terminal, which has no type: resolvers that ask label by label go on.
-- PowerDNS asks six or eight times for one answer, mostly for names on the way: what is cheap to tell is told first, by few
-- expressions and queries, as to begin with one takes longer than what it does.
CREATE OR REPLACE FUNCTION hunnypot.dnsbl_in(zone text, qname text, qtype text) RETURNS TABLE (content text, ttl int, type text)
    LANGUAGE plpgsql STABLE ROWS 2 AS $$
#variable_conflict use_column
DECLARE
    -- The labels before the zone; NULL when QNAME is not below it.
    below text := CASE WHEN right(qname, length(zone) + 1) = '.' || zone THEN left(qname, -length(zone) - 1) END;
    which text;
    client cidr;
    entries hunnypot.listed_now[];
BEGIN
    IF below ~ '^([0-9]{1,3}[.]){0,2}[0-9]{1,3}$' THEN
        IF qtype = 'ANY' THEN
            RETURN NEXT;
        END IF;
        RETURN;
    ELSIF qname = zone THEN
        RETURN QUERY SELECT CASE kind WHEN 'NS' THEN ns.value::text
                                      ELSE format('%s %s %s 600 300 604800 %s', ns.value, who.value, l.serial, ttl.value) END,
                            ttl.value::int, kind
        FROM hunnypot.setting ns, hunnypot.setting who, hunnypot.setting ttl, hunnypot.list_serial l, (VALUES ('NS'), ('SOA')) k (kind)
        WHERE ns.name = 'dnsbl_ns' AND who.name = 'dnsbl_hostmaster' AND ttl.name = 'dnsbl_ttl' AND qtype IN (kind, 'ANY');
        RETURN;
    ELSIF left(below, 1) = '*' THEN -- no wildcard is in the zone, and PowerDNS asks for one where a name is not
        RETURN;
    ELSIF below ~ '[^0-9.]' THEN
        which := (SELECT class FROM hunnypot.policy WHERE class = substring(below FROM '[^.]+$'));
        below := CASE WHEN which IS NULL THEN below ELSE left(below, -length(which) - 1) END;
    END IF;
    client := CASE WHEN below ~ '^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$'
                   THEN concat_ws('.', split_part(below, '.', 4), split_part(below, '.', 3), split_part(below, '.', 2),
                                  split_part(below, '.', 1))::cidr
                   ELSE hunnypot.client_network(hunnypot.dnsbl_address(below)) END;
    IF client = '127.0.0.2' THEN
        RETURN QUERY SELECT record, hunnypot.setting('dnsbl_ttl')::int, kind
        FROM (SELECT return_address FROM hunnypot.policy WHERE class = coalesce(which, class) ORDER BY rank LIMIT 1) p,
             LATERAL (VALUES ('A', host(return_address)), ('TXT', '"Test entry"')) r (kind, record)
        WHERE qtype IN (kind, 'ANY');
        IF FOUND THEN
            RETURN;
        END IF;
    ELSIF client IS NOT NULL THEN
        -- Most clients are not listed, which takes one table to tell.
        entries := ARRAY(SELECT l FROM hunnypot.listed_now l
                         WHERE l.network = ANY (CASE WHEN (SELECT o.length FROM hunnypot.odd_network o ORDER BY o.length LIMIT 1) IS NOT NULL
                                                     THEN hunnypot.covering(client)
                                                     WHEN family(client) = 4 THEN ARRAY[client]
                                                     ELSE ARRAY[client, set_masklen(client, 64)] END)
                           AND l.class = coalesce(which, l.class));
        IF entries <> '{}' THEN
            RETURN QUERY SELECT record, ttl.value::int, kind
            FROM unnest((SELECT entries)) l JOIN hunnypot.policy p ON p.class = l.class, hunnypot.setting ttl,
                 LATERAL (VALUES ('A', host(hunnypot.listed_address(l, p))),
                                 ('TXT', '"' || p.reason || coalesce(', see ' || replace((SELECT nullif(s.value::text, '') FROM hunnypot.setting s
                                                                                          WHERE s.name = 'lookup_url'),
                                                                                         '$', host(l.network)), '') || '"')) r (kind, record)
            WHERE ttl.name = 'dnsbl_ttl' AND qtype IN (kind, 'ANY');
            RETURN;
        -- Of whom nothing is known for sure, where the policy has an address for that.
        ELSIF EXISTS (SELECT FROM hunnypot.policy WHERE suspect_address IS NOT NULL) THEN
            RETURN QUERY SELECT record, hunnypot.setting('dnsbl_ttl')::int, kind
            FROM hunnypot.suspect s,
                 LATERAL (VALUES ('A', host(s.return_address)), ('TXT', '"Seen, and not counted yet"')) r (kind, record)
            WHERE s.network = client AND s.class = coalesce(which, s.class) AND qtype IN (kind, 'ANY');
            IF FOUND THEN
                RETURN;
            END IF;
        END IF;
    END IF;
    -- An IPv4 address of four digits that is not listed may be on the way to an IPv6 address.
    IF qtype = 'ANY' AND below ~ '^(([0-9a-f][.]){0,30}[0-9a-f]|([0-9]{1,3}[.]){0,2}[0-9]{1,3})?$' THEN
        RETURN NEXT;
    END IF;
END $$;

-- The same with the zone's name read, in all of the columns.
CREATE OR REPLACE FUNCTION hunnypot.dnsbl(qname text, qtype text)
    RETURNS TABLE (content text, ttl int, prio int, type text, domain_id int, disabled int, name text, auth int)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT r.content, r.ttl, 0, r.type, 1, 0, qname, 1
    FROM hunnypot.setting z, hunnypot.dnsbl_in(z.value, qname, qtype) r WHERE z.name = 'dnsbl_zone';
END;

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

REVOKE ALL ON FUNCTION hunnypot.dnsbl_address, hunnypot.dnsbl_in, hunnypot.dnsbl, hunnypot.dnsbl_zone FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hunnypot.dnsbl_address, hunnypot.dnsbl_in, hunnypot.dnsbl, hunnypot.dnsbl_zone TO hunnypot_reader;

COMMIT;
