-- consumer: CrowdSec: cscli decisions delete --scenario hunnypot; cscli decisions import -i FILE.csv
-- syntax: CSV with header, in a file whose name ends in .csv; durations in hours, so that the file changes once an hour
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: type = ban  the remedy
-- parameter: scenario = hunnypot  by this name the next run removes what this one brought: an import only ever adds
SELECT line FROM (
    SELECT 'duration,scope,value,reason,type' AS line, NULL::cidr AS network
    UNION ALL SELECT format('%sh,%s,%s,%s', hunnypot.hours_left(until),
                            CASE WHEN masklen(network) = CASE family(network) WHEN 4 THEN 32 ELSE 128 END THEN 'ip,' || host(network)
                                 ELSE 'range,' || network END, :'scenario', :'type'), network
        FROM hunnypot.firm_listing(:'class', :'inferred')
) l ORDER BY network NULLS FIRST
