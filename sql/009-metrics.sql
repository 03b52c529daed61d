-- 009: figures for monitoring that would take too long to count when somebody asks.  Written under list_lock() by refresh().

-- How many listings there are, also those that pause, and those that the brake holds back.
CREATE TABLE hunnypot.listing_count (
    class     text NOT NULL,
    witnessed bool NOT NULL,
    number    bigint NOT NULL,
    PRIMARY KEY (class, witnessed)
) WITH (fillfactor = 50);
INSERT INTO hunnypot.listing_count (class, witnessed, number)
SELECT class, witnessed, count(*) FROM hunnypot.listed_network WHERE removed IS NULL GROUP BY 1, 2;

-- How long it took from a hit to the listing that it brought about: how many took more than PLACE of listing_delay_bounds() and
-- not more than the next, and how many seconds all of them.
CREATE TABLE hunnypot.listing_delay (
    class   text NOT NULL,
    place   int NOT NULL,
    number  bigint NOT NULL,
    seconds numeric NOT NULL,
    PRIMARY KEY (class, place)
) WITH (fillfactor = 50);
