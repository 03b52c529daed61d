-- consumer: threat intelligence platforms: one bundle of indicators
-- syntax: STIX 2.1, JSON; ids are name-based UUIDs (RFC 4122 version 3), so that an indicator keeps its own
--         (a bundle without objects has no list of them: the schema wants one object at least)
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
WITH entry AS (
    SELECT network, class, reason, proof, hunnypot.iso_time(since) AS since, hunnypot.iso_time(until) AS until,
           hunnypot.iso_time(greatest(since, last_seen)) AS modified,
           md5('hunnypot' || network || class || hunnypot.iso_time(since)) AS hash,
           row_number() OVER (ORDER BY network) AS number
    FROM hunnypot.worst_listing(:'class')
)
SELECT line FROM (
    SELECT format('{"type":"bundle","id":"bundle--%s"%s',
                  overlay(overlay(md5('hunnypot' || :'class') PLACING '3' FROM 13) PLACING '8' FROM 17)::uuid,
                  CASE WHEN EXISTS (SELECT FROM entry) THEN ',"objects":[' ELSE '}' END) AS line,
           0 AS number
    UNION ALL
    SELECT CASE number WHEN 1 THEN '' ELSE ',' END || json_build_object(
               'type', 'indicator', 'spec_version', '2.1',
               'id', 'indicator--' || overlay(overlay(hash PLACING '3' FROM 13) PLACING '8' FROM 17)::uuid,
               'created', since, 'modified', modified,
               'name', format('%s (%s, %s)', network, class, proof), 'description', reason,
               'indicator_types', json_build_array('malicious-activity'),
               'pattern', format('[ipv%s-addr:value = ''%s'']', family(network), network), 'pattern_type', 'stix',
               'valid_from', since, 'valid_until', until), number
    FROM entry
    UNION ALL SELECT ']}', NULL WHERE EXISTS (SELECT FROM entry)
) l ORDER BY number NULLS LAST
