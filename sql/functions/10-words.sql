-- Words: how addresses, times and settings are written and read.  Applied anew at each upgrade, as all in this folder.
-- Functions in SQL have their names resolved when they are made, so that they work under any search_path and can be
-- inlined; those in PL/pgSQL carry theirs, or, where a look-up calls them each time, name the schema with each name, as to set
-- anything takes longer than what they do.  No text here has a backslash, which standard_conforming_strings would change.

-- Not in SQL, which would plan it anew for each call.
CREATE OR REPLACE FUNCTION hunnypot.setting(name text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN (SELECT s.value FROM hunnypot.setting s WHERE s.name = $1);
END $$;

-- Who ADDRESS, or the clients of which network, is: IPv4 where it holds an IPv4 address, as base/ipaddr.h has it, with the prefixes
-- that the setting nat64_prefixes names.  What holds none of a client on the Internet stays as it is.
CREATE OR REPLACE FUNCTION hunnypot.client_address(address inet) RETURNS inet
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    -- Of a translator: RFC 6052 2.2 leaves out bits 64 to 71.
    named cidr := CASE WHEN family(address) = 6 THEN
                      (SELECT p FROM unnest(string_to_array(hunnypot.setting('nat64_prefixes'), ' ')::cidr[]) p
                       WHERE address <<= p LIMIT 1) END;
    first int := CASE WHEN named IS NOT NULL THEN masklen(named) / 8
                      WHEN address <<= '2002::/16' THEN 2
                      WHEN address <<= '::ffff:0:0/96' OR address <<= '64:ff9b::/96' OR address <<= '2001::/32' THEN 12 END;
    flip int := CASE WHEN named IS NULL AND address <<= '2001::/32' THEN 255 ELSE 0 END;
    octets bytea := substr(inet_send(address), 5);
    bits int := 0;
    parts int[] := '{}';
    inner_net inet;
BEGIN
    IF first IS NULL OR (masklen(named) < 96 AND get_byte(octets, 8) <> 0) THEN
        RETURN address;
    END IF;
    FOR octet IN first .. first + 4 LOOP
        CONTINUE WHEN cardinality(parts) = 4 OR (octet = 8 AND masklen(named) < 96);
        parts := parts || (get_byte(octets, octet) # flip);
        bits := bits + least(greatest(masklen(address) - 8 * octet, 0), 8);
    END LOOP;
    IF bits = 0 THEN
        RETURN address;
    END IF;
    inner_net := network(set_masklen(array_to_string(parts, '.')::inet, bits));
    IF (named IS NOT NULL OR NOT address <<= '::ffff:0:0/96')
       AND (inner_net <<= ANY ('{0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3}'::inet[])
            OR (named IS NULL AND inner_net <<= ANY ('{10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16}'::inet[]))) THEN
        RETURN address;
    END IF;
    RETURN inner_net;
END $$;

-- The network a client is counted and listed under: its address alone.
CREATE OR REPLACE FUNCTION hunnypot.client_network(client inet) RETURNS cidr
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN family(client) = 4 THEN network(set_masklen(client, 32))
                WHEN family(hunnypot.client_address(client)) = 4 THEN network(set_masklen(hunnypot.client_address(client), 32))
                ELSE network(set_masklen(client, 128)) END;

-- What else is listed for NETWORK when several of its neighbours offended: the /64 of an IPv6 address; NULL for others.
CREATE OR REPLACE FUNCTION hunnypot.neighbours(network cidr) RETURNS cidr
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN family($1) = 6 AND masklen($1) = 128 THEN set_masklen($1, 64) END;

-- The networks of an address that may be listed: written out, as a look-up of one address takes hardly longer than to draw them up.
-- Not PARALLEL SAFE: where there are no statistics, the planner would start workers for a look-up, which takes a thousand times as long.
CREATE OR REPLACE FUNCTION hunnypot.covering(address inet) RETURNS cidr[]
    LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    a CONSTANT cidr := set_masklen(address, CASE family(address) WHEN 4 THEN 32 ELSE 128 END)::cidr;
BEGIN
    IF family(a) = 4 THEN
        RETURN ARRAY[set_masklen(a, 24), set_masklen(a, 25), set_masklen(a, 26), set_masklen(a, 27), set_masklen(a, 28),
                     set_masklen(a, 29), set_masklen(a, 30), set_masklen(a, 31), a];
    END IF;
    RETURN ARRAY[set_masklen(a, 48), set_masklen(a, 49), set_masklen(a, 50), set_masklen(a, 51), set_masklen(a, 52),
                 set_masklen(a, 53), set_masklen(a, 54), set_masklen(a, 55), set_masklen(a, 56), set_masklen(a, 57),
                 set_masklen(a, 58), set_masklen(a, 59), set_masklen(a, 60), set_masklen(a, 61), set_masklen(a, 62),
                 set_masklen(a, 63), set_masklen(a, 64), a];
END $$;

-- The last network within NETWORK, in the order of cidr.
CREATE OR REPLACE FUNCTION hunnypot.last_within(network cidr) RETURNS cidr
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN set_masklen(broadcast($1), CASE family($1) WHEN 4 THEN 32 ELSE 128 END)::cidr;

-- Every /32 or /64 in NETWORK, or itself when it is less, for formats that know single addresses only.
CREATE OR REPLACE FUNCTION hunnypot.units(network cidr) RETURNS SETOF cidr
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF masklen(network) >= (CASE family(network) WHEN 4 THEN 32 ELSE 64 END) THEN
        RETURN NEXT network;
    ELSE
        RETURN QUERY SELECT u.* FROM
            (VALUES (set_masklen(network::inet, masklen(network) + 1)::cidr),
                    (set_masklen(broadcast(network), masklen(network) + 1)::cidr)) AS half(part),
            hunnypot.units(part) u;
    END IF;
END $$;

-- How long a listing goes on, in whole hours and counted from a whole hour, so that a format with durations changes
-- once an hour only.
CREATE OR REPLACE FUNCTION hunnypot.hours_left(until timestamptz) RETURNS int
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN ceil(extract(epoch FROM $1 - date_trunc('hour', now())) / 3600)::int;

CREATE OR REPLACE FUNCTION hunnypot.iso_time(moment timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- The name of NETWORK in a reverse zone: octets, or as many nibbles as its length has.
CREATE OR REPLACE FUNCTION hunnypot.reversed(network inet) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE family($1)
        WHEN 4 THEN concat_ws('.', split_part(host($1), '.', 4), split_part(host($1), '.', 3),
                              split_part(host($1), '.', 2), split_part(host($1), '.', 1))
        ELSE rtrim(regexp_replace(reverse(left(encode(substr(inet_send($1), 5), 'hex'), masklen($1) / 4)),
                                  '(.)', E'\\1.', 'g'), '.') END;

-- The address that KEY is, or NULL: never an error.  To catch one takes a subtransaction, so only what looks like IPv6
-- gets that far.
CREATE OR REPLACE FUNCTION hunnypot.address(key text) RETURNS inet
    LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF key ~ '^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])([.](?!$)|$)){4}$' THEN
        RETURN key::inet;
    ELSIF key ~* '^([0-9a-f:]{2,39}|[0-9a-f:]{2,30}:[0-9.]{7,15})$' AND key LIKE '%:%:%' THEN
        BEGIN
            RETURN key::inet;
        EXCEPTION WHEN data_exception THEN
            RETURN NULL;
        END;
    END IF;
    RETURN NULL;
END $$;

-- A class that does not exist is an error: its empty list would let everybody in.
CREATE OR REPLACE FUNCTION hunnypot.known_class(class text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF class <> '' AND NOT EXISTS (SELECT FROM hunnypot.policy p WHERE p.class = $1) THEN
        RAISE 'there is no class "%"', class USING ERRCODE = 'invalid_parameter_value',
            HINT = (SELECT 'Classes: ' || string_agg(p.class, ', ' ORDER BY rank) FROM hunnypot.policy p);
    END IF;
    RETURN class;
END $$;
