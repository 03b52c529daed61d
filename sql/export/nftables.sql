-- consumer: nftables: nft -f FILE, all of it or nothing; then a rule "tcp dport 25 ip saddr @v4 drop"
-- syntax: nft(8): sets v4 and v6 of a table, emptied and filled; timeouts in hours, so it changes once an hour
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: table = hunnypot  table of family inet
WITH entry AS (
    -- An interval set takes no network inside another one.
    SELECT network, until
    FROM (SELECT network, until, max(set_masklen(broadcast(network), CASE family(network) WHEN 4 THEN 32 ELSE 128 END))
                 OVER before AS covered
          FROM hunnypot.firm_listing(:'class', :'inferred')
          WINDOW before AS (PARTITION BY family(network) ORDER BY network
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) l
    WHERE covered IS NULL OR network::inet > covered
)
SELECT line FROM (
    SELECT format('add table inet %s', :'table') AS line, 4 AS family, 1 AS part, NULL::cidr AS network
    UNION ALL SELECT format('add set inet %s v%s { type ipv%s_addr; flags interval, timeout; }', :'table', f, f), f, 2,
                     NULL FROM unnest(ARRAY[4, 6]) f
    UNION ALL SELECT format('flush set inet %s v%s', :'table', f), f, 3, NULL FROM unnest(ARRAY[4, 6]) f
    UNION ALL SELECT format('add element inet %s v%s {', :'table', family(network)), family(network), 4, NULL
        FROM entry GROUP BY family(network)
    UNION ALL SELECT format('%s timeout %sh,', network, hunnypot.hours_left(until)), family(network), 5, network
        FROM entry
    UNION ALL SELECT '}', family(network), 6, NULL FROM entry GROUP BY family(network)
) l ORDER BY family, part, network
