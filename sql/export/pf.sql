-- consumer: pf of the BSDs: table <hunnypot> persist; pfctl -t hunnypot -T replace -f FILE
-- syntax: pf.conf(5), tables: one network a line; there is no pf in Debian, so this is checked for its form only
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT network FROM hunnypot.firm_listing(:'class', :'inferred') l ORDER BY l.network
