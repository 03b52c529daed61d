-- consumer: CrowdSec: cscli decisions import -i FILE --format csv
-- syntax: CSV with header; durations in hours, so that the file changes once an hour
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: type = ban  the remedy
SELECT line FROM (
    SELECT 'duration,scope,value,reason,type' AS line, NULL::cidr AS network
    UNION ALL SELECT format('%sh,%s,hunnypot-%s,%s', hunnypot.hours_left(until),
                            CASE WHEN masklen(network) = 32 AND family(network) = 4 THEN 'ip,' || host(network)
                                 ELSE 'range,' || network END, class, :'type'), network
        FROM hunnypot.firm_listing(:'class', :'inferred')
) l ORDER BY network NULLS FIRST
