-- consumer: pf of the BSDs: table <hunnypot> persist; pfctl -t hunnypot -T replace -f FILE
-- syntax: pf.conf(5), tables: one network a line; there is no pf in Debian, so this is checked for its form only
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT network::text FROM hunnypot.worst_listing(:'class') l ORDER BY l.network
