-- consumer: rbldnsd, the IPv6 half of a zone: rbldnsd ... bl.example:ip4trie:FILE4 bl.example:ip6trie:FILE6
-- syntax: rbldnsd(8), dataset ip6trie; a line ":A:TXT" answers for the entries below, $ is the address
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: ns = localhost  name server of the zone
-- parameter: hostmaster = hostmaster.localhost  who is responsible for it, with a dot for the @
-- parameter: ttl = 300  seconds that answers may be kept
WITH answer AS (
    SELECT class, rank, format(':%s:%s', host(return_address),
                               reason || coalesce(', see ' || nullif(hunnypot.setting('lookup_url'), ''), '')) AS line
    FROM hunnypot.policy WHERE :'class' IN ('', class)
), entry AS (
    SELECT class, network FROM hunnypot.worst_listing(:'class') WHERE family(network) = 6
)
SELECT line FROM (
    SELECT format('$SOA %s %s %s 0 10m 5m 1w 5m', :'ttl', :'ns', :'hostmaster') AS line, 1 AS part,
           0 AS rank, NULL::cidr AS network
    UNION ALL SELECT format('$NS %s %s', :'ttl', :'ns'), 2, 0, NULL
    UNION ALL SELECT format('$TTL %s', :'ttl'), 3, 0, NULL
    UNION ALL SELECT format('::ffff:7f00:2/128 :%s:Test entry', host(return_address)), 4, 0, NULL
        FROM hunnypot.policy WHERE rank = (SELECT min(rank) FROM answer)
    UNION ALL SELECT line, 5, rank, NULL FROM answer WHERE class IN (SELECT class FROM entry)
    UNION ALL SELECT network::text, 5, rank, network FROM entry JOIN answer USING (class)
) l ORDER BY part, rank, network NULLS FIRST
