-- consumer: tcpserver of ucspi-tcp: tcprules FILE.cdb FILE.tmp < FILE
-- syntax: tcprules(1); IPv4 only; the last rule lets everybody else in
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: rule = deny  what to do; allow,RBLSMTPD="-Listed" lets rblsmtpd say why
SELECT line FROM (
    SELECT format('%s:%s', host(unit), :'rule') AS line, unit
    FROM hunnypot.firm_listing(:'class', :'inferred'), hunnypot.units(network) unit WHERE family(network) = 4
    UNION ALL SELECT ':allow', NULL
) l ORDER BY unit NULLS LAST
