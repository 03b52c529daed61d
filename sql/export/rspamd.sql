-- consumer: rspamd: multimap.conf: hunnypot { type = "ip"; map = "FILE"; symbol = "HUNNYPOT"; score = 6; }
-- syntax: rspamd's maps: one network a line, # and the class behind it
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT format('%s # %s', network, class) FROM hunnypot.worst_listing(:'class') l ORDER BY l.network
