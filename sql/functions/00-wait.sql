-- An upgrade replaces views, for which nobody may be reading them.  It does not queue for that, as who came later would
-- wait behind it: it tries until there is a moment.
DO $$
BEGIN
    IF to_regclass('hunnypot.listing') IS NULL THEN
        RETURN;
    END IF;
    FOR attempt IN 1..1200 LOOP
        BEGIN
            LOCK TABLE hunnypot.listing, hunnypot.offence IN ACCESS EXCLUSIVE MODE NOWAIT;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.1);
        END;
    END LOOP;
    RAISE 'there was always somebody who read the list, for two minutes; nothing was changed';
END $$;
