-- consumer: Unbound: include: "FILE" in the clause server:, for a resolver that listed clients can reach
-- syntax: unbound.conf(5), access-control: refused, also where a wider network is allowed
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: action = refuse  deny is silence
SELECT format('access-control: %s %s', network, :'action') FROM hunnypot.worst_listing(:'class') l ORDER BY l.network
