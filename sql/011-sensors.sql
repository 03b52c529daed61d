-- 011: sensors that are given up, clients whose hits wait found by their address, and names that tell two times apart.

-- Given up by somebody: nobody waits for its sign of life any more.  The next one takes that back.
ALTER TABLE hunnypot.sensor ADD COLUMN retired timestamptz;

-- A DNSBL that tells of suspects asks for each client that is not listed.
SELECT hunnypot.lock_alone('hunnypot.waiting, hunnypot.delay, hunnypot.listing_delay', 'hits');
CREATE INDEX waiting_network ON hunnypot.waiting (network);

-- From the first hit of a network on, and from the hit that brought the listing about.
ALTER TABLE hunnypot.delay RENAME TO until_listed;
ALTER TABLE hunnypot.until_listed RENAME CONSTRAINT delay_pkey TO until_listed_pkey;
ALTER TABLE hunnypot.listing_delay RENAME TO hit_to_listing;
ALTER TABLE hunnypot.hit_to_listing RENAME CONSTRAINT listing_delay_pkey TO hit_to_listing_pkey;
DROP FUNCTION IF EXISTS hunnypot.delay_steps(), hunnypot.listing_delay_bounds();
