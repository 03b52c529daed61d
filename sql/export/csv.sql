-- consumer: spreadsheets and scripts: every listing, also several of one network
-- syntax: RFC 4180 with header
-- parameter: class =   only this class (trap, backup, address ...); when empty all
SELECT line FROM (
    SELECT 'network,class,since,until,code,return_address,hits,domains,reason,proof' AS line, NULL::cidr AS network, 0 AS rank
    UNION ALL
    SELECT format('%s,%s,%s,%s,%s,%s,%s,%s,"%s",%s', network, class, hunnypot.iso_time(since), hunnypot.iso_time(until),
                  code, host(return_address), hits, domains, reason, proof), network, rank
    FROM hunnypot.listing WHERE (SELECT hunnypot.known_class(:'class')) IS NOT NULL AND :'class' IN ('', class)
) l ORDER BY network NULLS FIRST, rank
