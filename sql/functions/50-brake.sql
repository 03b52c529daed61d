-- The brake: the list does not grow faster than in its own measure.  When it would, what is new is held back from exports until
-- an operator releases it; what was there before, and what leaves the list, goes on being exported.

-- How many networks may come on the list in brake_time, and came, and the same of an hour.  The list, of SIZE networks now, is as
-- large as it was at its least in 7 times brake_time: else it could grow by its share of what came just before, again and again.
CREATE OR REPLACE FUNCTION hunnypot.brake_room(size bigint, OUT most bigint, OUT came bigint, OUT hour_most bigint,
                                               OUT hour_came bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    span interval := setting('brake_time')::interval;
BEGIN
    -- A clock that was ahead for a while has left what seems to come: that counts.
    SELECT greatest(setting('brake_floor')::numeric, floor(least(size, min(g.fewest)) * setting('brake_share')::numeric)),
           coalesce(sum(g.fresh) FILTER (WHERE g.at > now() - span), 0),
           coalesce(sum(g.fresh) FILTER (WHERE g.at > now() - interval '1 hour'), 0)
    INTO most, came, hour_came FROM brake_growth g WHERE g.at > now() - 7 * span;
    hour_most := ceil(most / 4.0);
END $$;

-- Why so many networks more may not come; NULL: they may.
CREATE OR REPLACE FUNCTION hunnypot.brake_why(size bigint, fresh bigint) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
DECLARE
    room record := brake_room(size);
BEGIN
    RETURN CASE WHEN fresh + room.hour_came > room.hour_most AND setting('brake_time')::interval > interval '1 hour'
                THEN format('%s new in an hour, of at most %s', fresh + room.hour_came, room.hour_most)
                WHEN fresh + room.came > room.most
                THEN format('%s new in %s, of at most %s', fresh + room.came, setting('brake_time'), room.most) END;
END $$;

-- The change THIS_CHANGE put CAME networks on the list, of which FRESH were not there lately and WIDE (or NULL) is too large
-- to be one client, and took WENT off it.
CREATE OR REPLACE FUNCTION hunnypot.brake_turn(this_change bigint, came bigint, went bigint, fresh bigint, wide cidr) RETURNS void
    LANGUAGE plpgsql SET search_path = hunnypot, pg_temp AS $$
DECLARE
    b      brake;
    reason text;
    size   bigint;
    passed bigint := fresh;
BEGIN
    SELECT * INTO b FROM brake;
    size := b.networks + came - went;
    UPDATE brake SET networks = size;
    IF b.is_free THEN
        -- Who was shown them knows that the list is larger.
        UPDATE brake_growth g SET fewest = g.fewest + came;
        RETURN;
    ELSIF b.held_after IS NOT NULL THEN
        UPDATE brake SET held = held + $4;
        passed := 0;
    ELSIF fresh > 0 THEN
        reason := CASE WHEN wide IS NOT NULL THEN format('%s is shorter than a %s', wide::inet,
                                                         CASE family(wide) WHEN 4 THEN '/24' ELSE '/48' END)
                       ELSE brake_why(b.networks, fresh) END;
    END IF;
    IF reason IS NOT NULL THEN
        UPDATE brake SET held_after = this_change - 1, since = now(), why = reason, held = $4;
        passed := 0;
        RAISE WARNING '%', publish_check();
    END IF;
    INSERT INTO brake_growth AS g VALUES (date_bin('5 minutes', now(), '2000-01-01Z'), least(b.networks, size), passed)
    ON CONFLICT (at) DO UPDATE SET fewest = least(g.fewest, excluded.fewest), fresh = g.fresh + excluded.fresh;
    DELETE FROM brake_growth g WHERE g.at < now() - 7 * setting('brake_time')::interval;
END $$;

CREATE OR REPLACE FUNCTION hunnypot.publish_check() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    RETURN (SELECT format('since %s the brake holds %s back from exports: %s', to_char(b.since, 'YYYY-MM-DD HH24:MI:SS UTC'),
                          count_text(b.held, 'network'), b.why)
            FROM brake b WHERE b.held_after IS NOT NULL);
END $$;

-- The same for sensors, which may ask for nothing else.
CREATE OR REPLACE FUNCTION hunnypot.sensor_brake() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    RETURN publish_check();
END $$;

-- What is on the list now is right: hold nothing of it back, and measure by it.  How many networks were held back.
CREATE OR REPLACE FUNCTION hunnypot.brake_release() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    released bigint;
BEGIN
    PERFORM list_lock();
    SELECT held INTO released FROM brake;
    UPDATE brake SET held_after = NULL, since = NULL, why = NULL, held = 0 WHERE held_after IS NOT NULL;
    IF FOUND THEN
        PERFORM list_changed();
    END IF;
    DELETE FROM brake_growth;
    RETURN released;
END $$;

-- What the brake does, for who looks.
CREATE OR REPLACE VIEW hunnypot.brake_state AS
SELECT CASE WHEN b.held_after IS NULL THEN 'open' ELSE 'holds' END AS state, b.since, b.why, b.held, b.networks,
       r.came, r.most, r.hour_came, r.hour_most
FROM hunnypot.brake b, LATERAL hunnypot.brake_room(b.networks) r;

-- Whom it holds back.
CREATE OR REPLACE VIEW hunnypot.held AS
SELECT l.network, l.class, l.since, l.until, l.hits, l.domains, l.last_seen
FROM hunnypot.listed_network l, hunnypot.brake b
WHERE l.removed IS NULL AND l.until > now() AND l.entered > b.held_after;
