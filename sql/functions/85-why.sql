-- In words: what happened with a hit, and why a client is listed or not.  Times are in the session's zone.

CREATE OR REPLACE FUNCTION hunnypot.time_text(moment timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN to_char($1, 'YYYY-MM-DD HH24:MI:SSOF');

-- "3.0 s", "04:00:03" or "2 days 01:00:00".
CREATE OR REPLACE FUNCTION hunnypot.span_text(span interval) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE WHEN $1 BETWEEN '-2 minutes' AND '2 minutes' THEN round(abs(extract(epoch FROM $1)), 1) || ' s'
                ELSE date_trunc('second', greatest($1, -$1))::text END;

-- "1 hit", "2 hits", "no hit".
CREATE OR REPLACE FUNCTION hunnypot.count_text(number bigint, noun text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE $1 WHEN 0 THEN 'no ' || $2 WHEN 1 THEN '1 ' || $2 ELSE $1 || ' ' || $2 || 's' END;

-- The fact that a counted HIT went into.  Whether its letter was proven not to have arrived is asked again where both kinds of
-- facts are there.
CREATE OR REPLACE FUNCTION hunnypot.fact_of(hit hunnypot.hit) RETURNS hunnypot.offence_day
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
DECLARE
    fact offence_day;
BEGIN
    SELECT f.* INTO fact FROM offence_day f
    WHERE f.network = client_network(hit.client) AND f.class = counted_class(hit.class, hit.null_sender, hit.recipients_total)
      AND f.domain = hit.domain AND f.day = (least(hit.time, hit.recorded) AT TIME ZONE 'UTC')::date
    ORDER BY f.named = (hit.name_state <> 'none') DESC, f.while_listed = hit.while_listed DESC,
             f.witnessed = was_watched(hit.hit_id, hit.recorded) DESC
    LIMIT 1;
    RETURN fact;
END $$;

-- Why nothing is proven about a hit of which no witness knows that its letter arrived.
CREATE OR REPLACE FUNCTION hunnypot.unproven_text(hit hunnypot.hit) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
DECLARE
    e envelope;
    host text;
BEGIN
    SELECT * INTO e FROM envelope WHERE hit_id = hit.hit_id;
    IF NOT FOUND THEN
        RETURN 'nobody can say whether its letter arrived';
    ELSIF NOT e.whole THEN
        RETURN 'it has more recipients than witnesses look for, or the clock of its sensor was ahead';
    ELSIF cardinality(e.primaries) = 0 THEN
        RETURN 'the primaries of the domain are not known';
    END IF;
    host := (SELECT min(p) FROM unnest(e.primaries) p WHERE NOT EXISTS (SELECT FROM witness w WHERE w.mx = p));
    IF host IS NOT NULL THEN
        RETURN format('nobody watches the log of %s', host);
    END IF;
    RETURN format('the log of %s was not watched all that time', array_to_string(e.primaries, ' or '));
END $$;

-- Until when the logs of all primaries were watched without a gap, from 24 hours before the hit on; NULL: they were not, or
-- it is not known any more.
CREATE OR REPLACE FUNCTION hunnypot.watched_until(hit hunnypot.hit) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
BEGIN
    RETURN (SELECT upper(range)
            FROM envelope e,
                 unnest(watched_times(e.primaries, e.key_id, e.time - interval '24 hours', now())) range
            WHERE e.hit_id = hit.hit_id AND e.whole AND cardinality(e.primaries) > 0
              AND range @> tstzrange(e.time - interval '24 hours', e.time, '[]'));
END $$;

-- What became of a hit: when, in one word, and as a sentence that goes on.
CREATE OR REPLACE FUNCTION hunnypot.hit_outcome(hit hunnypot.hit, OUT "time" timestamptz, OUT state text, OUT what text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
DECLARE
    w    waiting;
    p    pardoned;
    f    offence_day;
    rule policy;
    ripe timestamptz;
    seen timestamptz;
BEGIN
    SELECT * INTO p FROM pardoned x WHERE x.hit_id = hit.hit_id;
    IF FOUND THEN
        "time" := p.told;
        state := p.why;
        what := CASE p.why WHEN 'redeemed' THEN 'so this hit is redeemed, and does not count'
                           WHEN 'voided' THEN 'this hit does not count any more: its client was taken off the list on request'
                           WHEN 'repeated' THEN 'this hit does not count: its letter was counted already when it was tried before'
                           WHEN 'friend' THEN 'a list of friends has the client: this hit does not count'
                           WHEN 'unanswered' THEN 'no list of friends told whether the client is one: this hit is watched, and does not count'
                           ELSE 'as a primary saw the client, whose name is confirmed, this hit is excused, and does not count' END;
        RETURN;
    END IF;
    SELECT * INTO rule FROM policy x WHERE x.class = counted_class(hit.class, hit.null_sender, hit.recipients_total);
    SELECT * INTO w FROM waiting x WHERE x.hit_id = hit.hit_id;
    IF FOUND THEN
        "time" := w.ripe;
        state := 'ripening';
        what := CASE WHEN w.friend THEN 'a list of friends has the client: this hit will not count'
                     WHEN w.asks IS NOT NULL
                     THEN format('this hit waits until %s to be told by a list of friends whether the client is one, and then does not count',
                                 time_text(w.recorded + rule.friend_waits))
                     WHEN w.ripe > now() AND w.ripe > w.recorded + CASE hit.name_state WHEN 'none' THEN rule.ripens ELSE rule.ripens_named END
                     THEN 'this letter is tried again and again, as a mail server does: it has so long to arrive, and the hit does not count before'
                     WHEN w.ripe > now() THEN 'this hit will be ripe, and does not count before'
                     ELSE format('this hit was ripe, but %s: it waits until %s, and then counts as inferred', unproven_text(hit),
                                 time_text(waits_until(w.time, w.recorded, w.ripe, rule.ripens_named, rule.waits))) END;
        RETURN;
    END IF;
    f := fact_of(hit);
    IF f IS NULL THEN
        RETURN;
    END IF;
    ripe := hit.recorded + CASE hit.name_state WHEN 'none' THEN rule.ripens ELSE rule.ripens_named END;
    "time" := least(greatest(ripe, f.counted), now());
    IF f.while_listed THEN
        state := 'while listed';
        what := 'this hit does not count: the client was on the list already, and may have come because of that';
    ELSIF f.class = 'trap' THEN
        state := 'witnessed';
        what := 'this hit counts, witnessed: a trap gets no mail';
    ELSIF f.witnessed THEN
        state := 'witnessed';
        seen := watched_until(hit);
        what := format('this hit counts, witnessed: the letter was seen nowhere until %s, and the log of %s was watched all that time',
                       coalesce(time_text(seen), 'then'),
                       coalesce((SELECT array_to_string(e.primaries, ' and ') FROM envelope e WHERE e.hit_id = hit.hit_id),
                                'every primary'));
    ELSE
        state := 'inferred';
        what := format('this hit counts, inferred: %s', unproven_text(hit));
    END IF;
END $$;

-- All that happened with a hit: that it came, what primaries said before and after, what became of it.
CREATE OR REPLACE FUNCTION hunnypot.hit_story(hit hunnypot.hit) RETURNS TABLE ("time" timestamptz, what text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.time, s.what FROM (
        SELECT 1 AS step, hit.time,
               format(CASE hit.class WHEN 'trap' THEN '%s came to %s, where %s gets no mail'
                                     WHEN 'backup' THEN '%s came to the backup %s of %s'
                                     ELSE '%s came to %s, which is the address of %s, but not its mail server' END,
                      host(hit.client), hit.mta_name, hit.domain)
               || CASE counted_class(hit.class, hit.null_sender, hit.recipients_total) WHEN 'null-sender' THEN ', with a bounce'
                                                                                     ELSE '' END
               || CASE hit.name_state WHEN 'confirmed' THEN '; its name is confirmed'
                                      WHEN 'unknown' THEN '; whether it has a name could not be found out' ELSE '' END
               || CASE hit.friend WHEN 'no' THEN '; no list of friends has it'
                                  WHEN 'unanswered' THEN '; a list of friends did not tell whether it is one' ELSE '' END AS what
        UNION ALL
        SELECT 2, coalesce(asked.time, hit.time), format('primary %s took mail', hit.primary_host)
        FROM (SELECT min(m.time) AS time FROM probe m
              WHERE m.mx = hit.primary_host AND m.time BETWEEN hit.time AND hit.time + interval '1 hour'
                AND family(m.source) = family(hit.client)) asked
        WHERE hit.primary_host IS NOT NULL
        UNION ALL
        SELECT 3, f.time,
               format(CASE f.what WHEN 'accepted' THEN 'primary %s accepted this letter'
                                  WHEN 'sender' THEN 'primary %s accepted a letter of this sender'
                                  WHEN 'listed' THEN 'primary %s refused this letter because of the list'
                                  WHEN 'seen' THEN 'primary %s saw the client'
                                  ELSE 'primary %s turned the client away' END, w.mx)
        FROM witness_found f JOIN witness w USING (witness_id) WHERE f.hit_id = hit.hit_id
        UNION ALL
        SELECT 4, o.time, o.what FROM hit_outcome(hit) o WHERE o.what IS NOT NULL) s
    ORDER BY s.step <> 1, s.step = 4, s.time, s.step;
END $$;

-- The same as one sentence, with times since the hit (T), up to the listing that came of it.
CREATE OR REPLACE FUNCTION hunnypot.hit_words(hit hunnypot.hit) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp AS $$
BEGIN
    RETURN (SELECT string_agg(CASE WHEN s.number = 1 THEN 'at ' || time_text(s.time)
                                   ELSE format('at T%s%s', CASE WHEN s.time < hit.time THEN '-' ELSE '+' END,
                                               span_text(s.time - hit.time)) END || ' ' || s.what, '; ' ORDER BY s.number)
            FROM hit_story(hit) WITH ORDINALITY s (time, what, number))
        || coalesce((SELECT format('; so %s is listed (%s) under %s until %s', l.network, l.proof, l.class, time_text(l.until))
                     FROM hit_outcome(hit) o, listing l
                     WHERE o.state IN ('witnessed', 'inferred')
                       AND l.network = ANY (ARRAY[client_network(hit.client), neighbours(client_network(hit.client))])
                       AND l.class = counted_class(hit.class, hit.null_sender, hit.recipients_total)
                     ORDER BY masklen(l.network) DESC LIMIT 1), '');
END $$;

-- What is_enough() adds up when it looks at the last of FACTS.
CREATE OR REPLACE FUNCTION hunnypot.tally(policy hunnypot.policy, facts hunnypot.offence_day[], proven bool, OUT nameless bigint,
                                          OUT named bigint, OUT days bigint, OUT span interval, OUT owners bigint)
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    WITH counting AS (
        SELECT f.* FROM unnest(facts) WITH ORDINALITY f
        WHERE NOT f.while_listed AND (f.witnessed OR NOT proven) AND (NOT f.named OR proven OR policy.inferred_named)
    ), near AS (
        SELECT * FROM counting
        WHERE last_seen >= (SELECT first_seen FROM counting ORDER BY ordinality DESC LIMIT 1) - policy.counts_for
    )
    SELECT coalesce(sum(hits) FILTER (WHERE NOT n.named), 0), coalesce(sum(hits) FILTER (WHERE n.named), 0), count(DISTINCT day),
           coalesce(max(last_seen) - min(first_seen), '0'), count(DISTINCT owner)
    INTO nameless, named, days, span, owners FROM near n;
END $$;

-- The policy's arithmetic about a network in a class: what there is, and what it takes, of which CLIENTS are a part.
CREATE OR REPLACE FUNCTION hunnypot.arithmetic(policy hunnypot.policy, facts hunnypot.offence_day[], letters bigint, clients int)
    RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = hunnypot, pg_temp AS $$
DECLARE
    t       record := tally(policy, facts, true);
    i       record := tally(policy, facts, false);
    who     bigint := (SELECT count(DISTINCT network) FROM unnest(facts) f WHERE NOT while_listed);
    idle    bigint := (SELECT sum(hits) FROM unnest(facts) f WHERE while_listed);
    far     bigint := (SELECT sum(hits) FROM unnest(facts) f WHERE NOT while_listed) - i.nameless - i.named;
BEGIN
    RETURN concat_ws('; ',
        CASE WHEN clients > 1 THEN format('hits of %s, of %s that it takes', count_text(who, 'client'), clients) END,
        format('witnessed: %s without a name, of %s that it takes', count_text(t.nameless, 'hit'), policy.witnessed_hits),
        CASE WHEN t.named > 0 THEN
            format('with a name: %s in all, of %s', count_text(t.nameless + t.named, 'hit'), policy.named_hits)
            || CASE WHEN policy.named_days > 1 THEN format(', on %s, of %s', count_text(t.days, 'day'), policy.named_days) ELSE '' END
            || CASE WHEN letters IS NULL THEN ', but how many of its letters arrive is not known, as not all witnesses watch, or there are none'
                    WHEN policy.named_share > 0 AND letters > 0
                    THEN format(', and more than %s, which are %s%% of the letters that primaries accepted from it in 7 days',
                                round(policy.named_share * letters, 1), round(policy.named_share * 100, 1)) ELSE '' END END,
        format('inferred: %s of %s, on %s of %s', count_text(i.nameless + i.named, 'hit'), policy.min_hits, count_text(i.days, 'day'),
               policy.min_days)
        || CASE WHEN policy.min_span > '0' AND policy.min_domains > 1
                THEN format(', and %s apart of %s, or to %s of %s', span_text(i.span), span_text(policy.min_span),
                            count_text(i.owners, 'owner'), policy.min_domains) ELSE '' END,
        count_text(nullif(idle, 0), 'hit') || ' while it was on the list',
        CASE WHEN NOT policy.inferred_named AND EXISTS (SELECT FROM unnest(facts) f WHERE f.named AND NOT f.while_listed AND NOT f.witnessed)
             THEN 'what is only inferred does not count for a client with a name'
             WHEN far > 0 THEN format('%s before the last %s', count_text(far, 'hit'), policy.counts_for) END);
END $$;

-- Why a client's network is on the list, or is not: a sentence for each class that it did something in.
CREATE OR REPLACE FUNCTION hunnypot.verdicts(network cidr) RETURNS TABLE (class text, listed bool, what text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    unit    CONSTANT cidr := $1;
    allowed text := (
        SELECT format('it is allowed with %s%s, by %s%s', a.network, coalesce(' (' || nullif(a.reason, '') || ')', ''), a.author,
                      coalesce(', until ' || time_text(a.expires), ''))
        FROM allow a WHERE a.network && unit::inet AND (a.expires IS NULL OR a.expires > now()) ORDER BY masklen(a.network) LIMIT 1);
BEGIN
    IF unit <<= '127.0.0.0/8' OR unit <<= '::/64' THEN
        allowed := 'no such address is ever listed';
    END IF;
    RETURN QUERY
    WITH undecided AS (
        SELECT counted_class(h.class, h.null_sender, h.recipients_total) AS class, count(*) AS hits, max(w.ripe) AS ripe
        FROM hit h JOIN waiting w ON w.hit_id = h.hit_id WHERE h.client <<= unit GROUP BY 1
    ), forgiven AS (
        SELECT p.class, count(*) FILTER (WHERE p.why = 'redeemed') AS redeemed, count(*) FILTER (WHERE p.why = 'excused') AS excused,
               count(*) FILTER (WHERE p.why = 'repeated') AS repeated, count(*) FILTER (WHERE p.why = 'friend') AS friends,
               count(*) FILTER (WHERE p.why = 'unanswered') AS unanswered, count(*) FILTER (WHERE p.why = 'voided') AS voided
        FROM pardoned p WHERE p.network <<= unit GROUP BY 1
    ), facts AS (
        SELECT o.class, array_agg(o ORDER BY o.counted, o.first_seen, o.domain, o.day, o.named, o.witnessed, o.network) AS facts,
               (sum(o.hits) FILTER (WHERE o.witnessed AND NOT o.while_listed))::bigint AS proven_hits,
               (sum(o.hits) FILTER (WHERE NOT o.while_listed))::bigint AS all_hits
        FROM facts_of(unit) o GROUP BY 1
    )
    SELECT p.class, l.class IS NOT NULL,
           CASE WHEN l.class IS NOT NULL THEN
                    format('listed (%s) under %s from %s until %s, answered %s (DNSBL %s)', l.proof, p.class, time_text(l.since),
                           time_text(l.until), l.code, host(l.return_address))
                WHEN allowed IS NOT NULL THEN format('not listed under %s: %s', p.class, allowed)
                WHEN NOT p.listed THEN
                    format('not listed under %s, which is only watched until "hunnypot policy enable %s"', p.class, p.class)
                    || CASE WHEN j.until IS NOT NULL THEN format('; then it would be (%s), until %s',
                            CASE WHEN j.witnessed THEN 'witnessed' ELSE 'inferred' END, time_text(j.until)) ELSE '' END
                WHEN j.since > now() THEN format('not listed under %s until %s: an inferred listing pauses', p.class, time_text(j.since))
                WHEN j.until IS NOT NULL THEN format('about to be listed under %s', p.class)
                WHEN ended.until IS NOT NULL THEN format('not listed under %s any more, since %s', p.class, time_text(least(ended.until, now())))
                ELSE format('not listed under %s: %s', p.class,
                            CASE WHEN f.class IS NULL THEN 'nothing counts yet' ELSE 'it is not enough' END) END
           || coalesce('; ' || CASE WHEN f.class IS NOT NULL THEN arithmetic(p, f.facts, letters, clients_needed(unit, p)) END, '')
           || coalesce('; ' || count_text(w.hits, 'hit') || ' ripening, until ' || time_text(w.ripe), '')
           || coalesce('; ' || count_text(nullif(g.redeemed, 0), 'hit') || ' redeemed', '')
           || coalesce('; ' || count_text(nullif(g.excused, 0), 'hit') || ' excused', '')
           || coalesce('; ' || count_text(nullif(g.repeated, 0), 'hit') || ' more with the same letters', '')
           || coalesce('; ' || count_text(nullif(g.friends, 0), 'hit') || ' of a friend', '')
           || coalesce('; ' || count_text(nullif(g.unanswered, 0), 'hit') || ' of which no list told whether it is a friend', '')
           || coalesce('; ' || count_text(nullif(g.voided, 0), 'hit') || ' voided', '')
           || coalesce('; it was taken off on request at ' || time_text(off.at) || ', and one hit that counts lists it again', '')
    FROM policy o
    CROSS JOIN (SELECT max(r.decided) AS at FROM request r WHERE r.network = unit AND r.state = 'removed') off
    CROSS JOIN LATERAL unnest(ARRAY[CASE WHEN off.at IS NULL THEN o ELSE strict(o) END]) p
    LEFT JOIN facts f ON f.class = p.class
    LEFT JOIN undecided w ON w.class = p.class
    LEFT JOIN forgiven g ON g.class = p.class
    LEFT JOIN LATERAL (SELECT * FROM listing l WHERE l.network = unit AND l.class = p.class) l ON true
    CROSS JOIN LATERAL (SELECT letters_compared(p, unit, true, (SELECT letters_are_known())) AS letters) n
    LEFT JOIN LATERAL judge(p, f.facts, f.proven_hits, f.all_hits, letters, clients_needed(unit, p), now()) j ON true
    LEFT JOIN LATERAL (SELECT greatest((listing_term(p, f.facts, true, letters, clients_needed(unit, p))).until,
                                       (listing_term(p, f.facts, false, letters, clients_needed(unit, p))).until) AS until) ended ON true
    WHERE f.class IS NOT NULL OR w.class IS NOT NULL OR g.class IS NOT NULL OR l.class IS NOT NULL
    ORDER BY p.rank;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL, false, format('nothing is recorded of %s%s', unit, coalesce(', and ' || allowed,
            ': it came to no trap host, or what it did there was no offence; the log of a sensor tells which verdict, at debug'));
    END IF;
    -- Its /64, when that is more than this address alone.
    IF EXISTS (SELECT FROM facts_of(neighbours(unit)) o WHERE o.network <> unit)
       OR EXISTS (SELECT FROM listing l WHERE l.network = neighbours(unit)) THEN
        RETURN QUERY SELECT v.class, v.listed, format('%s: %s', neighbours(unit), v.what) FROM verdicts(neighbours(unit)) v;
    END IF;
END $$;

-- All that is known about an address, one of its last hits after the other; and then why it is listed or not.
CREATE OR REPLACE FUNCTION hunnypot.why(address inet) RETURNS TABLE ("time" timestamptz, what text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = hunnypot, pg_temp SET jit = off
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    unit     CONSTANT cidr := client_network(address);
    around   CONSTANT cidr := neighbours(unit);
    at_most  CONSTANT int := 50;
    wide     CONSTANT cidr[] := covering(client_address(address));
    all_hits bigint := (SELECT count(*) FROM hit h WHERE h.client <<= unit);
BEGIN
    IF all_hits > at_most THEN
        RETURN QUERY SELECT min(h.time), format('the first of %s, of which the last %s follow', count_text(all_hits, 'hit'), at_most)
                     FROM hit h WHERE h.client <<= unit;
    END IF;
    RETURN QUERY
    SELECT s.time, s.what
    FROM (SELECT h FROM hit h WHERE h.client <<= unit ORDER BY h.time DESC LIMIT at_most) newest, hit_story(newest.h)
        WITH ORDINALITY s (time, what, number)
    ORDER BY (newest.h).time, (newest.h).seq, s.number;
    RETURN QUERY SELECT now(), v.what FROM verdicts(unit) v;
    -- A wider network that is listed, by hand or by another version.
    RETURN QUERY SELECT now(), format('listed with %s (%s) under %s until %s', l.network, l.proof, l.class, time_text(l.until))
                 FROM listing l WHERE l.network = ANY (wide) AND l.network <> unit AND l.network IS DISTINCT FROM around;
END $$;
