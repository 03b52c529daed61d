-- Dry run: what a class would list, and what it would not, and why; and enabling it.

-- What would be on the list if the class were listed, or who is not and why.  Nothing is changed.
CREATE OR REPLACE FUNCTION hunnypot.policy_test(class text)
    RETURNS TABLE (network cidr, result text, hits bigint, first_seen timestamptz, last_seen timestamptz, until timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM known_class($1);
    RETURN QUERY
        SELECT f.network,
               CASE WHEN EXISTS (SELECT FROM allow a WHERE a.network && f.network::inet
                                                       AND (a.expires IS NULL OR a.expires > now())) THEN 'allowed'
                    WHEN j.until IS NULL THEN 'not enough'
                    WHEN j.witnessed THEN 'listed, witnessed' ELSE 'listed, inferred' END,
               f.hits, f.first_seen, f.last_seen, j.until
        FROM (SELECT o.network, array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day, o.named, o.witnessed) AS facts,
                     sum(o.hits)::bigint AS hits,
                     (sum(o.hits) FILTER (WHERE o.witnessed AND NOT o.while_listed))::bigint AS proven_hits,
                     (sum(o.hits) FILTER (WHERE NOT o.while_listed))::bigint AS all_hits, min(o.first_seen) AS first_seen, max(o.last_seen) AS last_seen,
                     bool_or(o.named) AS is_named
              FROM offence_day o WHERE o.class = $1 GROUP BY o.network) f
        JOIN policy p ON p.class = $1,
        LATERAL judge(p, f.facts, f.proven_hits, f.all_hits,
                      CASE WHEN f.is_named AND p.named_share > 0 THEN letters_accepted(f.network) ELSE 0 END, now()) j
        UNION ALL
        SELECT w.network, 'ripening', count(*), min(w.time), max(w.time), max(w.ripe) FROM waiting w
        WHERE w.class = $1 GROUP BY w.network
        UNION ALL
        SELECT e.network, e.why, count(*), min(e.hit_time), max(e.hit_time), NULL FROM pardoned e
        WHERE e.class = $1 GROUP BY e.network, e.why
        ORDER BY 2, 1;
END $$;

-- List a class from now on; what that lists is not new to the brake.  How many networks it lists.
CREATE OR REPLACE FUNCTION hunnypot.policy_enable(class text, enabled bool DEFAULT true) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    was_held boolean;
    part     record;
BEGIN
    PERFORM known_class($1);
    PERFORM list_lock();
    was_held := publish_check() IS NOT NULL;
    UPDATE policy p SET listed = $2 WHERE p.class = $1 AND p.listed <> $2;
    FOR part IN SELECT range FROM rework LOOP
        WHILE EXISTS (SELECT FROM rework r WHERE r.range = part.range) LOOP
            PERFORM rework_step(part.range, 5000);
        END LOOP;
    END LOOP;
    -- Only what this listed is released: where the brake holds for something else, it goes on holding.
    IF $2 AND NOT was_held AND EXISTS (SELECT FROM publication) THEN
        PERFORM set_published();
        DELETE FROM publication_growth;
    END IF;
    RETURN (SELECT count(*) FROM listed_network l WHERE l.class = $1 AND l.removed IS NULL AND l.until > now());
END $$;

-- All that is known about an address, in the order in which it happened, as sentences.
CREATE OR REPLACE FUNCTION hunnypot.why(address inet) RETURNS TABLE ("time" timestamptz, what text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    unit cidr := client_network(address);
    form CONSTANT text := 'YYYY-MM-DD HH24:MI:SS "UTC"';
BEGIN
    RETURN QUERY
    SELECT h.time, format('came to %s as %s for %s%s', h.mta_name,
               CASE counted_class(h.class, h.null_sender, h.recipients_total)
                   WHEN 'trap' THEN 'a trap' WHEN 'backup' THEN 'a backup' WHEN 'address' THEN 'the address'
                   ELSE 'a bounce' END, h.domain,
               CASE WHEN h.primary_host IS NOT NULL THEN format('; primary %s took mail then', h.primary_host) ELSE '' END
               || CASE h.name_state WHEN 'confirmed' THEN ', client name confirmed' WHEN 'unknown' THEN ', client name not known'
                                    ELSE '' END
               || CASE WHEN h.while_listed THEN ', on the list already' ELSE '' END)
    FROM hit h WHERE h.client <<= unit
    UNION ALL
    SELECT f.time, CASE f.what
               WHEN 'accepted' THEN format('primary %s accepted this letter, %s after it came here', w.mx,
                                           to_char(f.time - e.time, 'HH24:MI:SS'))
               WHEN 'sender' THEN format('primary %s accepted a letter of this sender', w.mx)
               WHEN 'listed' THEN format('primary %s refused this letter because of the list', w.mx)
               WHEN 'seen' THEN format('primary %s saw the client', w.mx)
               ELSE format('primary %s turned the client away', w.mx) END
    FROM envelope e JOIN witness_found f ON f.hit_id = e.hit_id JOIN witness w ON w.witness_id = f.witness_id
    WHERE e.client <<= unit
    UNION ALL
    SELECT p.told, format('so the hit of %s is %s and does not count', to_char(p.hit_time, form), p.why)
    FROM pardoned p WHERE p.network <<= unit
    UNION ALL
    SELECT w.ripe, format('the hit of %s ripens until then', to_char(w.time, form)) FROM waiting w WHERE w.network <<= unit
    UNION ALL
    SELECT o.counted, format('%s of %s for %s counted, %s', CASE o.hits WHEN 1 THEN 'a hit' ELSE o.hits || ' hits' END, o.day, o.domain,
               CASE WHEN o.while_listed THEN 'but for nothing: the client was on the list'
                    WHEN o.class = 'trap' THEN 'witnessed: a trap gets no mail'
                    WHEN o.witnessed THEN 'witnessed: every primary''s log was watched all the time, and the letter was seen nowhere'
                    ELSE 'inferred: nobody watched every primary''s log' END)
    FROM offence_day o WHERE o.network <<= unit
    UNION ALL
    SELECT l.since, format('on the list (%s, %s) until %s, answered %s', l.class, l.proof, to_char(l.until, form), l.code)
    FROM listed(address) l
    UNION ALL
    SELECT a.created, format('allowed with %s%s', a.network, coalesce(': ' || nullif(a.reason, ''), ''))
    FROM allow a WHERE a.network >>= address AND (a.expires IS NULL OR a.expires > now())
    ORDER BY 1;
END $$;
