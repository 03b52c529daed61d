-- consumer: rbldns of djbdns (rbldns-data; the zone is its $BASE): IPv4, one answer for the whole file
-- syntax: rbldns-data(8); ":A:TXT", where a $ at the end of TXT is the address asked for, then addresses and prefixes; of TXT it
--         gives no more than 96 bytes, so where the reason has no room there is only the URL
-- parameter: class = trap  the class: one file for each
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT line FROM (
    SELECT format(':%s:%s', host(return_address), CASE WHEN url IS NULL THEN reason
                                                       WHEN length(reason || ', see ' || url) > 96 THEN 'see ' || url
                                                       ELSE reason || ', see ' || url END) AS line,
           NULL::cidr AS network
    FROM hunnypot.policy, substring(hunnypot.setting('lookup_url') FROM '^[^$]+\$?$') AS url WHERE class = :'class'
    UNION ALL SELECT '127.0.0.2', '127.0.0.2'
    UNION ALL SELECT CASE masklen(network) WHEN 32 THEN host(network) ELSE network::text END, network
        FROM hunnypot.firm_listing(:'class', :'inferred') WHERE family(network) = 4
) l ORDER BY network NULLS FIRST
