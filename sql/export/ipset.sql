-- consumer: ipset: ipset restore < FILE, which fills two sets that are there; once after each boot, for a set that is not:
--           ipset create hunnypot4 hash:net family inet; ipset create hunnypot6 hash:net family inet6; with --watch also
--           --changes "ipset restore"
-- syntax: ipset(8): a new set is filled, then changes places with the one in use, whatever options that has; at most ipset's 24 days
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: set = hunnypot  name of the sets, followed by 4 and 6
-- parameter: maxelem = 1048576  networks that a set can hold
WITH sets AS (
    SELECT f, :'set' || f AS name, format('hash:net family %s timeout 0 maxelem %s',
                                          CASE f WHEN 4 THEN 'inet' ELSE 'inet6' END, :'maxelem') AS kind
    FROM unnest(ARRAY[4, 6]) f
)
SELECT line FROM (
    SELECT f, 1 AS part, format('destroy %s-new -exist', name) AS line, NULL::cidr AS network FROM sets -- of a run that was cut off
    UNION ALL SELECT f, 2, format('create %s-new %s', name, kind), NULL FROM sets
    UNION ALL SELECT f, 4, format('add %s-new %s timeout %s', name, network,
                                    least(hunnypot.hours_left(until) * 3600, 2147483)), network
        FROM hunnypot.firm_listing(:'class', :'inferred') JOIN sets ON f = family(network)
    UNION ALL SELECT f, 5, format('swap %s-new %s', name, name), NULL FROM sets
    UNION ALL SELECT f, 6, format('destroy %s-new', name), NULL FROM sets
) l ORDER BY f, part, network

-- changes: up to the first that fails, which is a mark when the sets are not as they were.  (What follows lines of the same kind and set
-- has their options, whatever it says itself: hence the new marks come second.)
WITH entry AS (SELECT network, until FROM hunnypot.changed_listing(:'class', :'inferred', :'since'))
SELECT line FROM (
    SELECT 1 AS part, format('del %s%s %s', :'set', f, hunnypot.mark_address(:'since', f)) AS line, NULL::cidr AS network
        FROM unnest(ARRAY[4, 6]) f WHERE :'since' <> ''
    UNION ALL SELECT 2, format('add %s%s %s timeout 0', :'set', f, hunnypot.mark_address(:'mark', f)), NULL FROM unnest(ARRAY[4, 6]) f
    UNION ALL SELECT 3, format('del %s%s %s -exist', :'set', family(network), network), network FROM entry
    UNION ALL SELECT 4, format('add %s%s %s timeout %s', :'set', family(network), network,
                               least(hunnypot.hours_left(until) * 3600, 2147483)), network
        FROM entry WHERE until IS NOT NULL
) l ORDER BY part, network
