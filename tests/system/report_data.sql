-- A month of a small operator, the same each time, up to the clock of the server: for pictures of the report that do not change.
SET session_replication_role = replica;
SET timezone = 'UTC';
UPDATE hunnypot.policy SET listed = true;

-- 0 to 1, by chance but always the same.
CREATE FUNCTION pg_temp.chance(seed text) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN ('x' || left(md5(seed), 8))::bit(32)::bigint / 4294967296.0;

SELECT hunnypot.sensor_hello(name, ('00000000-0000-0000-0000-00000000000' || n)::uuid, '{}', 1)
FROM unnest(ARRAY['backup-a', 'backup-b', 'trap-1']) WITH ORDINALITY s (name, n);
UPDATE hunnypot.sensor SET last_seen = now(), version = '1.0.0', inbox = 0, outbox = sensor_id % 3, aside = 0, instance = gen_random_uuid(),
    counters = '{"sessions": 81234, "hits": 31234, "outage": 812, "recovering": 391, "moved": 12, "unknown": 203, "friend": 77, "none": 40}';

-- More by day than by night, fewer on weekends, and one wave.
CREATE TEMP TABLE hours AS
SELECT h AS hour, (0.4 + 0.6 * sin(pi() * extract(hour FROM h) / 24)) * CASE WHEN extract(isodow FROM h) > 5 THEN 0.45 ELSE 1 END
       * CASE WHEN h BETWEEN now() - interval '11 days' AND now() - interval '9 days' THEN 2.6 ELSE 1 END
       * (0.75 + 0.5 * pg_temp.chance(h::text)) AS weight
FROM generate_series(date_trunc('hour', now() - interval '32 days'), now(), interval '1 hour') h;

INSERT INTO hunnypot.hourly (hour, class, what, number)
SELECT hour, class, what, round(weight * size * share) FROM hours,
    (VALUES ('trap', 30), ('backup', 22), ('address', 9), ('null-sender', 4)) c (class, size),
    (VALUES ('proven', 0.52), ('inferred', 0.14), ('while-listed', 0.12), ('repeated', 0.08), ('excused', 0.05), ('redeemed', 0.07)) w (what, share)
WHERE hour < now() - interval '20 hours' AND round(weight * size * share) > 0 AND NOT (class = 'trap' AND what IN ('inferred', 'redeemed', 'excused'))
  AND NOT (class <> 'trap' AND what = 'repeated')
UNION ALL
SELECT hour, class, what, round(weight * size) FROM hours, (VALUES ('trap', 3.0), ('backup', 1.6), ('address', 0.7)) c (class, size),
    (VALUES ('listed'), ('left')) w (what)
WHERE round(weight * size) > 0 AND (what = 'listed' OR hour > now() - interval '24 days');

INSERT INTO hunnypot.left_alone (hour, what, number)
SELECT hour, what, round(weight * size) FROM hours,
    (VALUES ('hits', 70), ('outage', 5), ('recovering', 2), ('moved', 0.6), ('unknown', 1), ('friend', 1.2), ('none', 0.8)) c (what, size)
WHERE round(weight * size) > 0;

INSERT INTO hunnypot.busiest (day, what, name, hits)
SELECT day::date, what, name, ceil(size * (0.5 + pg_temp.chance(day::date || name))) FROM generate_series(now() - interval '32 days', now(), interval '1 day') day,
    (VALUES ('domain', 'example.com', 400), ('domain', 'shop.example.com', 210), ('domain', 'example.org', 150), ('domain', 'old-brand.example', 96),
            ('domain', 'newsletter.example.net', 44), ('domain', 'xn--bcher-kva.example', 13), ('name', '*.bulk.example.net', 31), ('name', '*.cloud.example', 27),
            ('name', '*.dsl.isp.example', 16), ('name', 'mta.example', 5), ('helo', 'an address in brackets', 280), ('helo', 'win-*', 190),
            ('helo', 'ylmf-pc', 170), ('helo', 'the domain that it writes to', 77), ('helo', 'its own name', 61), ('helo', 'localhost', 22)) n (what, name, size);

INSERT INTO hunnypot.until_listed (day, class, step, number)
SELECT day::date, class, step, round(size * (ARRAY[0, 38, 12, 9, 14, 7, 5, 4, 2, 1, 1])[step + 1] * (0.5 + pg_temp.chance(day::date || class || step)))
FROM generate_series(now() - interval '32 days', now(), interval '1 day') day, (VALUES ('trap', 1.2), ('backup', 0.6), ('address', 0.2)) c (class, size),
    generate_series(0, 10) step;

INSERT INTO hunnypot.reached (mx, since, until)
SELECT mx, now() - since, now() - until FROM (VALUES
    ('mx1.example.com', interval '40 days', interval '0'), ('mx2.example.com', '40 days', '19 days 5 hours'), ('mx2.example.com', '17 days', '0'),
    ('mail.example.org', '40 days', '0'), ('mx.old-brand.example', '12 days', '1 hour')) r (mx, since, until);
INSERT INTO hunnypot.outage (sensor_id, address, since, until, state, mx, domain)
SELECT 1, address::inet, now() - since, now() - until, state, mx, domain FROM (VALUES
    ('192.0.2.1', interval '10 days 16 hours', interval '9 days 20 hours', 'deferring', 'mx1.example.com', 'example.com'),
    ('192.0.2.2', '19 days 5 hours', '17 days', 'down', 'mx2.example.com', 'example.com'),
    ('192.0.2.2', '5 days 3 hours', '4 days 22 hours', 'deferring', 'mx2.example.com', 'example.com'),
    ('192.0.2.3', '25 days', '24 days 12 hours', 'down', 'mail.example.org', 'example.org'),
    ('192.0.2.4', '1 hour', '0', 'down', 'mx.old-brand.example', 'old-brand.example')) o (address, since, until, state, mx, domain);

INSERT INTO hunnypot.waiting (hit_id, due, ripe, recorded, time, network, class, domain, owner, name_state, while_listed)
SELECT md5('w' || n)::uuid, now() + interval '4 hours', now() + interval '4 hours', t, t, ('203.0.113.' || n % 250)::cidr,
    (ARRAY['trap', 'backup', 'address'])[n % 3 + 1], 'example.com', 'example.com', 'none', false
FROM generate_series(1, 640) n, LATERAL (SELECT now() - n * interval '110 s' AS t) w;

-- Networks with one hit or more, on one day or more; of some a letter arrived.
INSERT INTO hunnypot.offence_day (network, class, domain, day, named, witnessed, while_listed, owner, hits, first_seen, last_seen, counted, counted_again)
SELECT ('198.51.100.' || n)::cidr, class, domain, t::date, n % 11 = 0, class = 'trap' OR n % 3 = 0, false, 'example.com',
    1 + floor(4 * pg_temp.chance('h' || n || d)), t, t + interval '1 hour', t + interval '5 hours', t + interval '6 hours'
FROM generate_series(1, 240) n, generate_series(0, 5) d, LATERAL (SELECT now() - (2 + d * 2) * interval '1 day' AS t,
    CASE WHEN n % 5 < 3 THEN 'trap' WHEN n % 5 = 3 THEN 'backup' ELSE 'address' END AS class, (ARRAY['example.com', 'shop.example.com', 'example.org'])[n % 3 + 1] AS domain) v
WHERE d = 0 OR pg_temp.chance('d' || n) > d * 0.22;
INSERT INTO hunnypot.pardoned (hit_id, why, network, class, domain, hit_time)
SELECT md5('p' || n)::uuid, 'redeemed', ('198.51.100.' || n)::cidr, CASE n % 5 WHEN 3 THEN 'backup' ELSE 'address' END, 'example.com', now() - interval '3 days'
FROM generate_series(1, 240) n WHERE n % 5 >= 3 AND n % 4 = 0;
INSERT INTO hunnypot.listed_network (network, class, since, until, witnessed, soft_until, hits, domains, last_seen, due, serial, entered)
SELECT network, class, min(counted), max(last_seen) + interval '30 days', bool_or(witnessed), '-infinity', sum(hits), 1 + sum(hits) % 3, max(last_seen),
    max(last_seen) + interval '30 days', 1, 1
FROM hunnypot.offence_day WHERE right(host(network), 1) <> '7' GROUP BY 1, 2;
SELECT hunnypot.witness_hello('mx1.example.com', 'one', '1.0.0', ARRAY['0123456789abcdef'], 'envelope');
INSERT INTO hunnypot.witness_stretch SELECT witness_id, now() - interval '8 days', now(), ARRAY['0123456789abcdef'] FROM hunnypot.witness;
