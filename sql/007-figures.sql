-- 007: more figures for pictures, without addresses of clients: when mail hosts took mail, what sensors left alone, which
-- domains, names and HELOs came most, and how long it took until a network was listed.

-- An upgrade needs TABLES for itself.  It does not queue for that, as who came later would wait behind it: it tries until there is a
-- moment, for two minutes.
CREATE FUNCTION hunnypot.lock_alone(tables text, what text) RETURNS void
LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
BEGIN
    FOR attempt IN 1..1200 LOOP
        BEGIN
            EXECUTE 'LOCK TABLE ' || tables || ' IN ACCESS EXCLUSIVE MODE NOWAIT';
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.1);
        END;
    END LOOP;
    RAISE 'there was always somebody who read %, for two minutes; nothing was changed', what;
END $$;

-- When a mail host was not taking mail, as a sensor told with its signs of life.
CREATE TABLE hunnypot.outage (
    sensor_id integer NOT NULL REFERENCES hunnypot.sensor,
    address   inet NOT NULL,
    since     timestamptz NOT NULL,
    until     timestamptz NOT NULL, -- the last sign of life that told so
    state     text NOT NULL CHECK (state IN ('deferring', 'down')),
    mx        text NOT NULL,        -- its name in the MX record, or its address where the sensor did not tell
    domain    text,                 -- one whose primary it is
    PRIMARY KEY (sensor_id, address, since)
) WITH (fillfactor = 80);

-- When probes reached a mail host: stretches without a gap of two hours.
CREATE TABLE hunnypot.reached (
    mx    text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (mx, since)
) WITH (fillfactor = 80);

-- What came to sensors and what they did not record, by the counters of their signs of life.
CREATE TABLE hunnypot.left_alone (
    hour   timestamptz NOT NULL,
    what   text NOT NULL, -- a counter
    number bigint NOT NULL,
    PRIMARY KEY (hour, what)
) WITH (fillfactor = 80);

-- How many hits were for a domain, or of clients with such a name or HELO, once it was decided what they come to.  Of each day
-- only the busiest; the others are one row, whose name is ''.
CREATE TABLE hunnypot.busiest (
    day  date NOT NULL,
    what text NOT NULL CHECK (what IN ('domain', 'name', 'helo')),
    name text NOT NULL,
    hits bigint NOT NULL,
    PRIMARY KEY (day, what, name)
) WITH (fillfactor = 80);

-- How long after their first hit networks came on the list, which they were not on before.
CREATE TABLE hunnypot.delay (
    day    date NOT NULL,
    class  text NOT NULL,
    step   int NOT NULL, -- of delay_steps()
    number bigint NOT NULL,
    PRIMARY KEY (day, class, step)
) WITH (fillfactor = 80);

-- What is known of the client of a hit that waits, for `busiest`.
SELECT hunnypot.lock_alone('hunnypot.waiting', 'hits');
ALTER TABLE hunnypot.waiting ADD COLUMN client_name text, ADD COLUMN helo text;
