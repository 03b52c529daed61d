-- consumer: BIND, NSD, Knot and other servers of zone files: a DNSBL zone
-- syntax: RFC 1035 master file with RFC 5782 names, relative to the zone; an IPv6 network is a wildcard
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: ns = localhost  name server of the zone
-- parameter: hostmaster = hostmaster.localhost  who is responsible for it, with a dot for the @
-- parameter: ttl = 300  seconds that answers may be kept
-- The serial rises with each change of the list, and stays otherwise, so that an unchanged list is an unchanged file.
WITH entry AS (
    SELECT rank, network, CASE WHEN family(unit) = 6 AND masklen(unit) < 128 THEN '*.' ELSE '' END || hunnypot.reversed(unit) AS name,
           host(return_address) AS address, reason
    FROM hunnypot.worst_listing(:'class'), hunnypot.units(network) unit
    UNION ALL
    SELECT rank, NULL, hunnypot.reversed(test), host(return_address), 'Test entry'
    FROM hunnypot.policy, (VALUES ('127.0.0.2'::inet), ('::ffff:7f00:2')) t (test)
    WHERE rank = (SELECT min(rank) FROM hunnypot.policy WHERE :'class' IN ('', class))
), record AS (
    SELECT format('%s A %s', name, address) AS line, network, name, 1 AS part FROM entry
    UNION ALL SELECT format('%s TXT "%s"', name, reason), network, name, 2 FROM entry
)
SELECT line FROM (
    SELECT format('$TTL %s', :'ttl') AS line, NULL::cidr AS network, '1' AS name, 0 AS part
    UNION ALL SELECT format('@ SOA %s. %s. %s 600 300 604800 300', rtrim(:'ns', '.'), rtrim(:'hostmaster', '.'),
                            hunnypot.listing_serial()), NULL, '2', 0
    UNION ALL SELECT format('@ NS %s.', rtrim(:'ns', '.')), NULL, '3', 0
    UNION ALL SELECT line, network, name, part FROM record
) l ORDER BY part = 0 DESC, network NULLS FIRST, name, part
