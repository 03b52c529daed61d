-- consumer: Unbound: include: "FILE" in the clause server:, for a resolver that listed clients can reach
-- syntax: unbound.conf(5), access-control: refused, also where a wider network is allowed
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: action = refuse  deny is silence
SELECT format('access-control: %s %s', network, :'action') FROM hunnypot.firm_listing(:'class', :'inferred') l ORDER BY l.network
