-- consumer: sendmail with FEATURE(`access_db'): makemap hash access < FILE
-- syntax: cf/README "Connect:"; a tab before the value; IPv6 in full groups without leading zeros, as sendmail asks
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT format(E'Connect:%s\tERROR:%s:%s %s',
              CASE family(unit) WHEN 4 THEN host(unit) ELSE
                  'IPv6:' || trim(LEADING ':' FROM regexp_replace(substr(encode(inet_send(unit), 'hex'), 9, 16),
                                                                  '0{0,3}(.{1,4}?)(?=(.{4})*$)', ':\1', 'g')) END,
              split_part(code, ' ', 2), split_part(code, ' ', 1), reason)
FROM hunnypot.worst_listing(:'class'), hunnypot.units(network) unit ORDER BY unit
