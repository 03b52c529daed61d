-- consumer: spamd of OpenBSD, in spamd.conf: hunnypot:\
--     :black:\
--     :msg="Your address %A is on our list":\
--     :method=file:\
--     :file=FILE:
-- syntax: spamd.conf(5): one IPv4 address or network a line; also pfctl -t TABLE -T replace -f FILE
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT network::text FROM hunnypot.firm_listing(:'class', :'inferred') l WHERE family(network) = 4 ORDER BY l.network
