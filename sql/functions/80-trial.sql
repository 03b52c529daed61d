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
        FROM (SELECT o.network, array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day, o.named, o.witnessed, o.network) AS facts,
                     sum(o.hits)::bigint AS hits,
                     (sum(o.hits) FILTER (WHERE o.witnessed AND NOT o.while_listed))::bigint AS proven_hits,
                     (sum(o.hits) FILTER (WHERE NOT o.while_listed))::bigint AS all_hits, min(o.first_seen) AS first_seen, max(o.last_seen) AS last_seen,
                     bool_or(o.named) AS is_named
              FROM offence_day o WHERE o.class = $1 GROUP BY o.network
              UNION ALL
              SELECT n.unit, array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day, o.named, o.witnessed, o.network),
                     sum(o.hits)::bigint, (sum(o.hits) FILTER (WHERE o.witnessed))::bigint, sum(o.hits)::bigint, min(o.first_seen),
                     max(o.last_seen), bool_or(o.named)
              FROM (SELECT neighbours(s.network) AS unit FROM (SELECT DISTINCT d.network FROM offence_day d
                                                               WHERE d.class = $1 AND family(d.network) = 6) s
                    GROUP BY 1 HAVING count(*) >= (SELECT prefix_clients FROM policy WHERE class = $1)) n,
                   LATERAL facts_of(n.unit) o
              WHERE o.class = $1 GROUP BY n.unit) f
        JOIN policy p ON p.class = $1,
        LATERAL judge(CASE WHEN f.network IN (SELECT r.network FROM request r WHERE r.state = 'removed') THEN strict(p) ELSE p END, f.facts, f.proven_hits, f.all_hits,
                      letters_compared(p, f.network, f.is_named, (SELECT letters_are_known())),
                      clients_needed(f.network, p), now()) j
        UNION ALL
        SELECT w.network, 'ripening', count(*), min(w.time), max(w.time), max(w.ripe) FROM waiting w
        WHERE w.class = $1 GROUP BY w.network
        UNION ALL
        SELECT e.network, e.why, count(*), min(e.hit_time), max(e.hit_time), NULL FROM pardoned e
        WHERE e.class = $1 GROUP BY e.network, e.why
        ORDER BY 2, 1;
END $$;

-- List a class from now on; the brake lets through what that lists at once.  How many networks it lists.
CREATE OR REPLACE FUNCTION hunnypot.policy_enable(class text, enabled bool DEFAULT true) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    part record;
BEGIN
    PERFORM known_class($1);
    PERFORM list_lock();
    -- What was to be made anew before is not of this.
    FOR part IN SELECT range FROM rework LOOP
        PERFORM rework_whole(part.range);
    END LOOP;
    UPDATE brake SET is_free = true;
    UPDATE policy p SET listed = $2 WHERE p.class = $1 AND p.listed <> $2;
    FOR part IN SELECT range FROM rework LOOP
        PERFORM rework_whole(part.range);
    END LOOP;
    UPDATE brake SET is_free = false;
    RETURN (SELECT count(*) FROM listed_network l WHERE l.class = $1 AND l.removed IS NULL AND l.until > now());
END $$;
