-- consumer: BIND and other resolvers with response policy zones: answers that name a listed address
-- syntax: draft-vixie-dnsop-dns-rpz: prefix length and address reversed, zz for ::, below rpz-ip or rpz-client-ip
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: ns = localhost  name server of the zone
-- parameter: hostmaster = hostmaster.localhost  who is responsible for it, with a dot for the @
-- parameter: ttl = 300  seconds that answers may be kept
-- parameter: trigger = rpz-ip  rpz-client-ip acts on what listed clients ask for
-- parameter: action = CNAME .  the record: CNAME . is NXDOMAIN, CNAME rpz-drop. is silence
SELECT line FROM (
    SELECT format('$TTL %s', :'ttl') AS line, 1 AS part, NULL::cidr AS network
    UNION ALL SELECT format('@ SOA %s. %s. %s 600 300 604800 300', rtrim(:'ns', '.'), rtrim(:'hostmaster', '.'),
                            hunnypot.listing_serial()), 2, NULL
    UNION ALL SELECT format('@ NS %s.', rtrim(:'ns', '.')), 3, NULL
    UNION ALL SELECT format('%s.%s.%s %s', masklen(network),
                            CASE family(network) WHEN 4 THEN hunnypot.reversed(network) ELSE
                                (SELECT string_agg(word, '.' ORDER BY place DESC)
                                 FROM string_to_table(trim(':' FROM replace(host(network), '::', ':zz:')), ':')
                                      WITH ORDINALITY w (word, place)) END, :'trigger', :'action'), 4, network
        FROM hunnypot.firm_listing(:'class', :'inferred')
) l ORDER BY part, network
