-- consumer: sendmail with FEATURE(`access_db'): makemap hash access < FILE
-- syntax: cf/README "Connect:"; a tab before the value; IPv6 in full groups without leading zeros, as sendmail asks
-- Quoted, so that sendmail leaves the blanks and parentheses as they are.  It takes %0 to %9 in the value for arguments,
-- and then the reply for a format of printf: of four percent signs one is left.
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT format(E'Connect:%s\tERROR:%s:"%s %s"',
              CASE family(unit) WHEN 4 THEN host(unit) ELSE
                  'IPv6:' || trim(LEADING ':' FROM regexp_replace(substr(encode(inet_send(unit), 'hex'), 9, masklen(unit) / 4),
                                                                  '0{0,3}(.{1,4}?)(?=(.{4})*$)', ':\1', 'g')) END,
              split_part(code, ' ', 2), split_part(code, ' ', 1), replace(reason, '%', '%%%%'))
FROM hunnypot.worst_listing(:'class'), hunnypot.units(network) unit ORDER BY unit
