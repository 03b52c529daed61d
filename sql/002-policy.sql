-- 002: from offences to listings: the policy, the allowlist, the brake, retention.
--
-- For readers (exports, DNSBL, Postfix, the command line), in schema hunnypot:
--   listing                   who is listed now, one row per network and class: network, class, since, until, code,
--                             return_address, hits, domains, reason, last_seen, rank
--                             (`since`: when it came on the list; `reason`: ready to show, URL included)
--   worst_listing(class)      the same, one row per network: of the class given, or of the worst class when that is ''
--   listing_serial()          when the list last changed, in seconds since 1970, for a zone's SOA
--   listed(inet)              rows of `listing` that cover this address, from the primary key of offence
--   postfix_action(text)      an access(5) action or NULL for any key that Postfix asks
--   publish_check()           NULL: may be published; else why the brake holds
--   published()               to be called after an export replaced its target: what is listed now is not new any more;
--                             does nothing while the brake holds
-- For operators also:
--   policy, allow, setting    tables to change with plain SQL
--   brake_release()           what is listed now is right: let it be published
--   allow_add(network cidr, reason text, author text, expires timestamptz), allow_del(network cidr) returns bool
--   forget(network cidr), expire()    rows (what text, removed bigint)
-- NOTIFY hunnypot_listing comes when listings may have changed.  A listing ends, and an allow expires, by the clock
-- alone, without a notification: whoever waits for one looks again now and then as well.

CREATE DOMAIN hunnypot.plain_text AS text
    CONSTRAINT plain_text_fits_every_format CHECK (value ~ '^[ !#-&(-\[\]-~]*$' AND length(value) <= 100);
COMMENT ON DOMAIN hunnypot.plain_text IS
    'printable ASCII without quotes and backslashes: every format carries it as it is; two and an address fit a TXT';

CREATE TABLE hunnypot.setting (
    name    text PRIMARY KEY,
    value   hunnypot.plain_text NOT NULL,
    meaning text NOT NULL,
    CONSTRAINT setting_value_makes_sense CHECK (
        CASE WHEN name LIKE 'keep\_%' THEN value::interval > '0' AND value::interval < '100 years'
             WHEN name = 'brake_share' THEN value::numeric BETWEEN 0 AND 1
             WHEN name = 'brake_floor' THEN value::bigint >= 0
             ELSE true END)
);
INSERT INTO hunnypot.setting (name, value, meaning) VALUES
    ('keep_hits', '30 days', 'hits older than this are dropped by expire()'),
    ('keep_offences', '90 days', 'offences without a hit for this long are forgotten by expire(), unless still listed'),
    ('brake_share', '0.5', 'the brake holds when more new networks than this share of the published would be listed'),
    ('brake_floor', '100', 'the brake never holds for this many new networks or fewer'),
    ('lookup_url', '', 'where a refused client finds out why; $ stands for its address');

CREATE FUNCTION hunnypot.setting(name text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT s.value::text FROM hunnypot.setting s WHERE s.name = $1);

-- Per class: who is listed, for how long, and with which words.
CREATE TABLE hunnypot.policy (
    class          text PRIMARY KEY,
    rank           int NOT NULL UNIQUE,
    listed         bool NOT NULL,
    min_hits       int NOT NULL CHECK (min_hits >= 1),
    min_span       interval NOT NULL CHECK (min_span >= '0'),
    min_domains    int NOT NULL CHECK (min_domains >= 1),
    lasts          interval NOT NULL CHECK (lasts > '0'),
    growth         numeric NOT NULL CHECK (growth BETWEEN 1 AND 100),
    lasts_max      interval NOT NULL CHECK (lasts_max BETWEEN lasts AND '10 years'),
    return_address inet NOT NULL UNIQUE CHECK (return_address << '127.0.0.0/8' AND return_address <> '127.0.0.1'
                                               AND masklen(return_address) = 32),
    code           text NOT NULL CHECK (code ~ '^([45])[0-9]{2} \1\.[0-9]{1,3}\.[0-9]{1,3}$'),
    reason         hunnypot.plain_text NOT NULL CHECK (reason <> '' AND strpos(reason, '$') = 0)
);
COMMENT ON COLUMN hunnypot.policy.rank IS 'the lowest is the worst class: it speaks for a network listed under several';
COMMENT ON COLUMN hunnypot.policy.listed IS 'false: offences are only watched';
COMMENT ON COLUMN hunnypot.policy.min_hits IS
    'listed from this many hits on, when the first and the last are min_span apart or they went to min_domains domains';
COMMENT ON COLUMN hunnypot.policy.lasts IS
    'how long after the last hit; times growth for each time that it came back after a listing ended, up to lasts_max';
COMMENT ON COLUMN hunnypot.policy.return_address IS 'what a DNSBL answers';
COMMENT ON COLUMN hunnypot.policy.code IS 'SMTP reply code and enhanced status code';

INSERT INTO hunnypot.policy VALUES
    ('trap', 1, true, 1, '0', 1, '30 days', 2, '120 days', '127.0.0.2', '550 5.7.1',
     'Listed for sending to a domain that gets no mail'),
    ('backup', 2, true, 2, '1 hour', 2, '7 days', 2, '60 days', '127.0.0.3', '550 5.7.1',
     'Listed for sending to a backup mail server past the working primary'),
    ('address', 3, true, 2, '1 hour', 2, '7 days', 2, '60 days', '127.0.0.4', '550 5.7.1',
     'Listed for sending to the address of a domain past its mail servers'),
    ('null-sender', 4, false, 2, '1 hour', 2, '7 days', 2, '60 days', '127.0.0.5', '550 5.7.1',
     'Listed for bounces to a host that is not the mail server of the domain');

CREATE TABLE hunnypot.allow (
    network cidr PRIMARY KEY,
    reason  text NOT NULL DEFAULT '',
    author  text NOT NULL DEFAULT session_user,
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz
);
COMMENT ON TABLE hunnypot.allow IS
    'networks that are never listed; one address of an IPv6 /64 keeps all of that off the list';
CREATE INDEX allow_covering ON hunnypot.allow USING gist (network inet_ops);

-- When a person last changed what could be listed.  Recording never writes here.
CREATE TABLE hunnypot.change (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    at       timestamptz NOT NULL
);
INSERT INTO hunnypot.change (at) VALUES (now());

CREATE FUNCTION hunnypot.note_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE hunnypot.change SET at = now();
    NOTIFY hunnypot_listing;
    RETURN NULL;
END $$;
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hunnypot.policy
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.note_change();
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hunnypot.allow
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.note_change();
CREATE TRIGGER note_change AFTER UPDATE ON hunnypot.setting
    FOR EACH STATEMENT EXECUTE FUNCTION hunnypot.note_change();

-- How often a network came back after its listing had ended, and when it came on the list (by the policy of that time).
-- Kept in each row of a network and class that was hit since; the maximum counts.
ALTER TABLE hunnypot.offence
    ADD COLUMN returns int NOT NULL DEFAULT 0,
    ADD COLUMN since timestamptz;

CREATE FUNCTION hunnypot.lasting(policy hunnypot.policy, returns int) RETURNS interval
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN make_interval(secs => least(
        extract(epoch FROM $1.lasts_max)::float8,
        extract(epoch FROM $1.lasts)::float8 * power($1.growth::float8, least($2, 100))));

CREATE FUNCTION hunnypot.is_enough(policy hunnypot.policy, hits numeric, span interval, domains bigint) RETURNS bool
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN $2 >= $1.min_hits AND ($3 >= $1.min_span OR $4 >= $1.min_domains);

-- What the policy makes of the offences, whether or not it is over by now and whether or not it is allowed.
CREATE VIEW hunnypot.judgement AS
SELECT o.network, o.class, o.since, o.last_seen + hunnypot.lasting(p, o.returns) AS until, o.last_seen,
       o.hits::bigint AS hits, o.domains, p.rank, p.code, p.return_address, p.reason
FROM (SELECT network, class, coalesce(max(since), min(first_seen)) AS since, min(first_seen) AS first_seen,
             max(last_seen) AS last_seen, max(returns) AS returns, sum(hits) AS hits, count(*) AS domains
      FROM hunnypot.offence GROUP BY network, class) o
JOIN hunnypot.policy p ON p.class = o.class
WHERE p.listed AND hunnypot.is_enough(p, o.hits, o.last_seen - o.first_seen, o.domains);

CREATE VIEW hunnypot.listing AS
SELECT j.network, j.class, j.since, j.until, j.code, j.return_address, j.hits, j.domains,
       j.reason || coalesce(', see ' || replace((SELECT nullif(hunnypot.setting('lookup_url'), '')), '$',
                                                host(j.network)), '') AS reason,
       j.last_seen, j.rank
FROM hunnypot.judgement j
WHERE j.until > now()
  -- RFC 5782: 127.0.0.1 is never listed, nor is its IPv6 form; what else is in these networks are test entries.
  AND NOT j.network <<= '127.0.0.0/8' AND NOT j.network <<= '::/64'
  AND NOT EXISTS (SELECT FROM hunnypot.allow a
                  WHERE a.network && j.network AND (a.expires IS NULL OR a.expires > now()));

-- A class that does not exist is an error: its empty list would let everybody in.
CREATE FUNCTION hunnypot.known_class(class text) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF class <> '' AND NOT EXISTS (SELECT FROM hunnypot.policy p WHERE p.class = $1) THEN
        RAISE 'there is no class "%"', class USING ERRCODE = 'invalid_parameter_value',
            HINT = (SELECT 'Classes: ' || string_agg(p.class, ', ' ORDER BY rank) FROM hunnypot.policy p);
    END IF;
    RETURN class;
END $$;

CREATE FUNCTION hunnypot.worst_listing(class text) RETURNS SETOF hunnypot.listing
    LANGUAGE sql STABLE AS $$
SELECT DISTINCT ON (l.network) l.* FROM hunnypot.listing l
WHERE (SELECT hunnypot.known_class($1)) IN ('', l.class) ORDER BY l.network, l.rank $$;

CREATE FUNCTION hunnypot.listing_serial() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT ceil(extract(epoch FROM greatest(
    (SELECT at FROM hunnypot.change),
    (SELECT max(CASE WHEN until > now() THEN since ELSE until END) FROM hunnypot.judgement),
    (SELECT max(expires) FROM hunnypot.allow WHERE expires <= now()))))::bigint $$;

-- The networks of an address that an offence may be kept under.
CREATE FUNCTION hunnypot.covering(address inet) RETURNS cidr[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT set_masklen($1, bits)::cidr
                 FROM generate_series(CASE family($1) WHEN 4 THEN 24 ELSE 48 END,
                                      CASE family($1) WHEN 4 THEN 32 ELSE 64 END) bits);

CREATE FUNCTION hunnypot.listed(address inet) RETURNS SETOF hunnypot.listing
    LANGUAGE sql STABLE ROWS 1 AS $$
SELECT * FROM hunnypot.listing WHERE network = ANY (hunnypot.covering($1)) $$;

-- Every /32 or /64 in NETWORK, for formats that know single addresses only.
CREATE FUNCTION hunnypot.units(network cidr) RETURNS SETOF cidr
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS $$
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
CREATE FUNCTION hunnypot.hours_left(until timestamptz) RETURNS int
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN ceil(extract(epoch FROM $1 - date_trunc('hour', now())) / 3600)::int;

CREATE FUNCTION hunnypot.iso_time(moment timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- The name of NETWORK in a reverse zone: octets, or as many nibbles as its length has.
CREATE FUNCTION hunnypot.reversed(network inet) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE family($1)
        WHEN 4 THEN regexp_replace(host($1), '^(\d+)\.(\d+)\.(\d+)\.(\d+)$', '\4.\3.\2.\1')
        ELSE rtrim(regexp_replace(reverse(left(encode(substr(inet_send($1), 5), 'hex'), masklen($1) / 4)),
                                  '(.)', '\1.', 'g'), '.') END;

-- The address that KEY is, or NULL: never an error.  To catch one takes a subtransaction, so only what looks like IPv6
-- gets that far.
CREATE FUNCTION hunnypot.address(key text) RETURNS inet
    LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    IF key ~ '^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(?!$)|$)){4}$' THEN
        RETURN key::inet;
    ELSIF key ~* '^[0-9a-f:]{2,39}$' AND key LIKE '%:%:%' THEN
        BEGIN
            RETURN key::inet;
        EXCEPTION WHEN data_exception THEN
            RETURN NULL;
        END;
    END IF;
    RETURN NULL;
END $$;

-- Postfix also asks for names and for truncated addresses.  A truncated IPv4 address is no address.  Of an IPv6 one it
-- cuts the last groups off, also behind a "::", so that 2001::5:6:7:8:9 is asked again as 2001::5:6:7:8, which is in
-- another /64.  That takes a "::" behind the first group or none, so such keys get no answer.
CREATE FUNCTION hunnypot.postfix_action(key text) RETURNS text
    -- Not in SQL: planning takes longer than the rest, and PL/pgSQL keeps its plans.
    LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    client inet := CASE WHEN key !~ '^[^:]*::' THEN hunnypot.address(key) END;
BEGIN
    RETURN (SELECT code || ' ' || reason FROM hunnypot.listed(client) ORDER BY rank LIMIT 1);
END $$;

-- As in 001, and besides: when a network comes on the list, and how often it came back to it.
CREATE OR REPLACE FUNCTION hunnypot.count_offences(clients inet[], classes text[], domains text[],
                                                   null_senders boolean[], times timestamptz[]) RETURNS void
    LANGUAGE sql SET search_path = hunnypot, pg_temp AS $$
WITH new AS (
    SELECT client_network(client) AS network,
           CASE WHEN null_sender AND class <> 'trap' THEN 'null-sender' ELSE class END AS class, domain,
           least(min(time), now()) AS first_seen, least(max(time), now()) AS last_seen, count(*) AS hits
    FROM unnest(clients, classes, domains, null_senders, times) AS hit(client, class, domain, null_sender, time)
    GROUP BY 1, 2, 3
), batch AS (
    SELECT network, class, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(hits) AS hits,
           array_agg(domain) AS domains
    FROM new GROUP BY network, class
), judged AS (
    SELECT b.network, b.class, coalesce(old.returns, 0) AS returns, old.since,
           is_enough(p, old.hits, old.last_seen - old.first_seen, old.domains) AS was_listed,
           old.last_seen + lasting(p, old.returns) < b.first_seen AS is_over,
           is_enough(p, coalesce(old.hits, 0) + b.hits,
                     greatest(old.last_seen, b.last_seen) - least(old.first_seen, b.first_seen),
                     old.domains + cardinality(b.domains) - old.known_domains) AS is_listed
    FROM batch b
    LEFT JOIN policy p ON p.class = b.class
    CROSS JOIN LATERAL (SELECT min(o.first_seen) AS first_seen, max(o.last_seen) AS last_seen, sum(o.hits) AS hits,
                               count(*) AS domains, count(*) FILTER (WHERE o.domain = ANY (b.domains)) AS known_domains,
                               max(o.returns) AS returns, max(o.since) AS since
                        FROM offence o WHERE o.network = b.network AND o.class = b.class) old
)
INSERT INTO offence AS o (network, class, domain, first_seen, last_seen, hits, returns, since)
SELECT network, class, n.domain, n.first_seen, n.last_seen, n.hits,
       CASE WHEN was_listed AND is_over THEN returns + 1 ELSE returns END,
       CASE WHEN was_listed AND NOT is_over THEN since WHEN is_listed THEN now() END
FROM new n JOIN judged j USING (network, class)
ORDER BY network, class, n.domain
ON CONFLICT (network, class, domain) DO UPDATE
SET first_seen = least(o.first_seen, excluded.first_seen),
    last_seen = greatest(o.last_seen, excluded.last_seen),
    hits = o.hits + excluded.hits,
    returns = greatest(o.returns, excluded.returns),
    since = greatest(o.since, excluded.since);
SELECT pg_notify('hunnypot_listing', '')
WHERE EXISTS (SELECT FROM policy p WHERE p.listed AND p.class = ANY (classes));
$$;

-- The brake: what was published last, to tell what is new.
CREATE TABLE hunnypot.publication (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    at       timestamptz NOT NULL,
    networks bigint NOT NULL
);
CREATE TABLE hunnypot.published_network (network cidr PRIMARY KEY);

CREATE FUNCTION hunnypot.publish_check() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wide  cidr;
    last  hunnypot.publication;
    fresh bigint;
    most  bigint;
BEGIN
    -- All in one look at the listings, which is what takes time.
    SELECT min(l.network::inet) FILTER (WHERE masklen(l.network) < CASE family(l.network) WHEN 4 THEN 24 ELSE 48 END),
           count(*) FILTER (WHERE p.network IS NULL)
    INTO wide, fresh
    FROM (SELECT DISTINCT network FROM hunnypot.listing) l
    LEFT JOIN hunnypot.published_network p ON p.network = l.network;
    IF wide IS NOT NULL THEN
        RETURN format('%s is shorter than a %s', wide, CASE family(wide) WHEN 4 THEN '/24' ELSE '/48' END);
    END IF;
    SELECT * INTO last FROM hunnypot.publication;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    most := greatest(hunnypot.setting('brake_floor')::bigint,
                     floor(last.networks * hunnypot.setting('brake_share')::numeric)::bigint);
    IF fresh > most THEN
        RETURN format('%s networks are new since the %s that were published at %s; at most %s may be', fresh,
                      last.networks, to_char(last.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'), most);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION hunnypot.brake_release() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
LOCK TABLE hunnypot.publication IN EXCLUSIVE MODE;
WITH listed AS MATERIALIZED (
    SELECT DISTINCT network FROM hunnypot.listing
), gone AS (
    DELETE FROM hunnypot.published_network p WHERE NOT EXISTS (SELECT FROM listed l WHERE l.network = p.network)
), fresh AS (
    INSERT INTO hunnypot.published_network
    SELECT network FROM listed EXCEPT SELECT network FROM hunnypot.published_network
)
INSERT INTO hunnypot.publication (at, networks) SELECT now(), count(*) FROM listed
    ON CONFLICT (only_row) DO UPDATE SET at = excluded.at, networks = excluded.networks;
$$;

CREATE FUNCTION hunnypot.published() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT hunnypot.brake_release() WHERE hunnypot.publish_check() IS NULL $$;

CREATE FUNCTION hunnypot.allow_add(network cidr, reason text DEFAULT '', author text DEFAULT session_user,
                                   expires timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE sql AS $$
INSERT INTO hunnypot.allow AS a (network, reason, author, expires) VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT allow_pkey
    DO UPDATE SET reason = excluded.reason, author = excluded.author, created = now(), expires = excluded.expires $$;

CREATE FUNCTION hunnypot.allow_del(network cidr) RETURNS bool
    LANGUAGE sql AS $$
WITH gone AS (DELETE FROM hunnypot.allow a WHERE a.network = $1 RETURNING 1) SELECT EXISTS (SELECT FROM gone) $$;

-- Remove what is known about NETWORK.  What is allowed stays: that is an operator's word, not an observation.
CREATE FUNCTION hunnypot.forget(network cidr) RETURNS TABLE (what text, removed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- Offences are kept per /64: less of one cannot be told apart.
    whole cidr := CASE WHEN family($1) = 6 AND masklen($1) > 64 THEN set_masklen($1::inet, 64)::cidr ELSE $1 END;
BEGIN
    what := 'hits';
    DELETE FROM hunnypot.hit WHERE client <<= whole;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'offences';
    DELETE FROM hunnypot.offence WHERE network <<= whole;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    DELETE FROM hunnypot.published_network WHERE network <<= whole;
    UPDATE hunnypot.change SET at = now();
    NOTIFY hunnypot_listing;
END $$;

-- Retention.  It waits at most a few seconds for a reader of an old partition, because recording waits behind it.
CREATE FUNCTION hunnypot.expire() RETURNS TABLE (what text, removed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    oldest timestamptz := now() - hunnypot.setting('keep_hits')::interval;
    part   text;
BEGIN
    what := 'hit partitions';
    removed := 0;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'hunnypot.hit'::regclass AND c.relname ~ '^hit_[0-9]{8}$'
          AND (to_date(substr(c.relname, 5), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= oldest
    LOOP
        EXECUTE format('DROP TABLE hunnypot.%I', part);
        removed := removed + 1;
    END LOOP;
    RETURN NEXT;
    what := 'hits';
    DELETE FROM hunnypot.hit_default WHERE time < oldest;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'offences';
    DELETE FROM hunnypot.offence o WHERE last_seen < now() - hunnypot.setting('keep_offences')::interval
        AND NOT EXISTS (SELECT FROM hunnypot.judgement j
                        WHERE j.network = o.network AND j.class = o.class AND j.until > now());
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    -- Its trigger notes the change, without which listing_serial() could fall.
    what := 'allows';
    DELETE FROM hunnypot.allow WHERE expires <= now();
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hunnypot FROM PUBLIC;
GRANT SELECT ON hunnypot.setting, hunnypot.policy, hunnypot.allow, hunnypot.listing, hunnypot.publication
    TO hunnypot_reader;
GRANT EXECUTE ON FUNCTION hunnypot.setting, hunnypot.lasting, hunnypot.is_enough, hunnypot.covering, hunnypot.listed,
    hunnypot.units, hunnypot.hours_left, hunnypot.iso_time, hunnypot.reversed, hunnypot.address,
    hunnypot.postfix_action, hunnypot.known_class, hunnypot.worst_listing, hunnypot.listing_serial,
    hunnypot.publish_check, hunnypot.published TO hunnypot_reader;
GRANT INSERT, UPDATE, DELETE ON hunnypot.policy, hunnypot.allow, hunnypot.setting TO hunnypot_operator;
GRANT EXECUTE ON FUNCTION hunnypot.brake_release, hunnypot.allow_add, hunnypot.allow_del, hunnypot.forget,
    hunnypot.expire TO hunnypot_operator;
