-- consumer: Exim: in an ACL: deny hosts = net-iplsearch;FILE  message = ${lookup{$sender_host_address}iplsearch{FILE}}
-- syntax: Exim's specification, 9.3 (iplsearch): network, colon, text; IPv6 in quotes; the first that fits counts
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT CASE family(network) WHEN 4 THEN network::text ELSE '"' || network || '"' END || ': ' || reason
FROM hunnypot.worst_listing(:'class')
ORDER BY masklen(network) DESC, network
