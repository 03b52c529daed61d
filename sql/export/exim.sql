-- consumer: Exim: in an ACL: deny hosts = net-iplsearch;FILE  message = ${lookup{$sender_host_address}iplsearch{FILE}}
-- syntax: Exim's specification, 9.3 (iplsearch): network, colon, text; IPv6 in quotes; the first that fits counts
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT CASE family(network) WHEN 4 THEN network::text ELSE '"' || network || '"' END || ': ' || reason
FROM hunnypot.firm_listing(:'class', :'inferred')
ORDER BY masklen(network) DESC, network
