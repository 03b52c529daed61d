-- consumer: anything: pf tables (pfctl -t TABLE -T replace -f FILE), scripts
-- syntax: one network a line, in CIDR notation
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT network::text FROM hunnypot.worst_listing(:'class') l ORDER BY l.network
