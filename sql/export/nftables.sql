-- consumer: nftables: nft -f FILE, all of it or nothing; then rules "tcp dport 25 ip saddr @v4 drop", the same with ip6 and @v6, and
--           "tcp dport 25 ip6 saddr & ffff:ffff:ffff:ffff:: @v6net drop"; with --watch also --changes "nft -f -"
-- syntax: nft(8): sets of a table, emptied and filled: v4 and v6 of addresses, v6net of IPv6 networks, each as its first address; timeouts in
--         hours, so it changes once an hour
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: table = hunnypot  table of family inet
WITH entry AS (
    SELECT CASE WHEN family(unit) = 4 THEN 'v4' WHEN masklen(unit) = 128 THEN 'v6' ELSE 'v6net' END AS set, unit, until
    FROM hunnypot.firm_listing(:'class', :'inferred'), hunnypot.units(network) unit
)
SELECT line FROM (
    SELECT '' AS set, 1 AS part, format('add table inet %s', :'table') AS line, NULL::cidr AS unit
    UNION ALL SELECT set, 2, format('add set inet %s %s { type %s; flags timeout; }', :'table', set, type), NULL
        FROM (VALUES ('v4', 'ipv4_addr'), ('v6', 'ipv6_addr'), ('v6net', 'ipv6_addr')) s (set, type)
    UNION ALL SELECT set, 3, format('flush set inet %s %s', :'table', set), NULL FROM unnest(ARRAY['v4', 'v6', 'v6net']) set
    UNION ALL SELECT set, 4, format('add element inet %s %s {', :'table', set), NULL FROM entry GROUP BY set
    UNION ALL SELECT set, 5, format('%s timeout %sh,', host(unit), hunnypot.hours_left(until)), unit FROM entry
    UNION ALL SELECT set, 6, '}', NULL FROM entry GROUP BY set
) l ORDER BY set, part, unit

-- changes: all of them or nothing.  A mark is in each set.  That what goes is there is seen to by putting it there.
WITH entry AS (
    SELECT CASE WHEN family(network) = 4 THEN 'v4' WHEN masklen(network) = 128 THEN 'v6' ELSE 'v6net' END AS set, host(network) AS address,
           until
    FROM hunnypot.changed_listing(:'class', :'inferred', :'since')
), marks (set, family) AS (VALUES ('v4', 4), ('v6', 6), ('v6net', 6))
SELECT format('%s element inet %s %s { %s }', verb, :'table', set, elements)
FROM (
    SELECT 1 AS part, 'delete' AS verb, set, hunnypot.mark_address(:'since', family) AS elements FROM marks WHERE :'since' <> ''
    UNION ALL SELECT 2, 'add', set, string_agg(address, ', ') FROM entry GROUP BY set
    UNION ALL SELECT 3, 'delete', set, string_agg(address, ', ') FROM entry GROUP BY set
    UNION ALL SELECT 4, 'add', set, string_agg(format('%s timeout %sh', address, hunnypot.hours_left(until)), ', ')
        FROM entry WHERE until IS NOT NULL GROUP BY set
    UNION ALL SELECT 5, 'add', set, hunnypot.mark_address(:'mark', family) FROM marks
) l ORDER BY part, set
