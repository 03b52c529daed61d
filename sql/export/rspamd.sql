-- consumer: rspamd: multimap.conf: hunnypot { type = "ip"; map = "FILE"; symbol = "HUNNYPOT"; score = 6; }
-- syntax: rspamd's maps: one network a line, # and the class behind it
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT format('%s # %s', network, class) FROM hunnypot.firm_listing(:'class', :'inferred') l ORDER BY l.network
