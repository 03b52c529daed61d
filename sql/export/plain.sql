-- consumer: anything: pf tables (pfctl -t TABLE -T replace -f FILE), scripts
-- syntax: one network a line, in CIDR notation
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT network FROM hunnypot.firm_listing(:'class', :'inferred') l ORDER BY l.network
